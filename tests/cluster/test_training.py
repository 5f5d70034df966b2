"""Stages on several nodes, with the agent as a job of its own."""

from __future__ import annotations

import json
import re

from geoagent.run import Run

from .helpers import SMALL, User, until


def test_all_stages_on_two_nodes(user: User) -> None:
    words = ["sft.deepspeed=zero3", "grpo.deepspeed=zero2", "cluster.check_nodes=true"]
    run = user.submit("sft", "grpo", "eval", *SMALL, *words)
    assert user.wait(run, "eval") == "COMPLETED", user.logs(run)
    assert user.wait(run, "agent", seconds=120) == "COMPLETED"
    for stage in ("prepare", "sft", "grpo", "eval"):
        assert run.done_file(stage).is_file()
    check_zero(run, sft=3, grpo=2)
    # Its node is one of its own: nothing would reach an agent that only listened to itself.
    assert "http://127.0.1." in (run.logs("agent", 1) / "err.log").read_text()
    stats = [json.loads(path.read_text()) for path in run.agent.glob("stats-grpo-*.json")]
    assert sum(one["invalid"] for one in stats) == 0
    shown = user.jobs("status", str(run.path)).stdout
    for stage in ("prepare", "sft", "grpo", "eval", "agent"):
        assert re.search(rf"{stage} +\d+ +finished +1 ", shown), shown


def test_the_other_stages_of_zero(user: User) -> None:
    words = ["sft.deepspeed=zero2", "grpo.deepspeed=zero3", "rewards.weights.consistency=0"]
    run = user.submit("sft", "grpo", *SMALL, *words)
    assert user.wait(run, "grpo") == "COMPLETED", user.logs(run)
    check_zero(run, sft=2, grpo=3)


def check_zero(run: Run, **stages: int) -> None:
    for stage, zero in stages.items():
        text = (run.logs(stage, 1) / "err.log").read_text()
        assert f"'stage': {zero}" in text
        assert "world_size: 4, local_world_size: 2" in text
        assert (run.logs(stage, 1) / "node-1.err.log").is_file()


def test_cancel_leaves_nothing_in_the_queue(user: User) -> None:
    run = user.submit("sft", "grpo", "eval", *SMALL)
    user.wait(run, "prepare", lambda state: state != "PENDING")
    shown = user.jobs("cancel", str(run.path)).stdout
    for stage in ("prepare", "sft", "grpo", "eval", "agent"):
        assert stage in shown
    until(lambda: not user.cluster.slurm("squeue", "-h"), 60)
    assert "cancelled" in user.jobs("status", str(run.path)).stdout
    # And it can be continued.
    again = user.jobs("submit", "sft", "--resume", f"runs_dir={user.runs}", "name=run", "--dry-run")
    assert again.returncode == 0, again.stderr
