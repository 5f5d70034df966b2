"""Stages on several nodes, with the agent as a job of its own."""

from __future__ import annotations

import json
import re

import pytest

from .helpers import SMALL, User


def test_all_stages_on_two_nodes(user: User) -> None:
    run = user.submit("sft", "grpo", "eval", *SMALL)
    assert user.wait(run, "eval") == "COMPLETED", user.logs(run)
    assert user.wait(run, "agent", seconds=120) == "COMPLETED"
    for stage in ("prepare", "sft", "grpo", "eval"):
        assert run.done_file(stage).is_file()
    text = (run.logs("sft", 1) / "err.log").read_text()
    assert "world_size: 4, local_world_size: 2" in text
    assert (run.logs("sft", 1) / "node-1.err.log").is_file()
    stats = [json.loads(path.read_text()) for path in run.agent.glob("stats-grpo-*.json")]
    assert sum(one["invalid"] for one in stats) == 0
    shown = user.jobs("status", str(run.path)).stdout
    for stage in ("prepare", "sft", "grpo", "eval", "agent"):
        assert re.search(rf"{stage} +\d+ +completed", shown), shown


@pytest.mark.parametrize("zero", ["zero2", "zero3"])
def test_deepspeed_on_two_nodes(user: User, zero: str) -> None:
    words = [f"sft.deepspeed={zero}", f"grpo.deepspeed={zero}", "rewards.weights.consistency=0"]
    run = user.submit("sft", "grpo", *SMALL, *words)
    assert user.wait(run, "grpo") == "COMPLETED", user.logs(run)
    for stage in ("sft", "grpo"):
        assert f"'stage': {zero[-1]}" in (run.logs(stage, 1) / "err.log").read_text()
