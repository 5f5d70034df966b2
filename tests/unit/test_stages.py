"""What stages need of each other, and what they are paid for."""

from __future__ import annotations

from pathlib import Path

import pytest

from geoagent.config import resolve
from geoagent.run import Run
from geoagent.stages import (
    POLICY,
    STAGES,
    TRAINING,
    asks,
    rewards_of,
    rows_of,
    stands_on,
    starts_from,
    with_needed,
)
from jobs.disk import stage_bytes

GRE = "recipe=gre_demo"


@pytest.mark.parametrize(
    ("words", "stage", "start", "below"),
    [
        ([], "sft", None, []),
        ([], "judge_data", "sft", ["sft"]),
        ([], "judge", "sft", ["sft", "judge_data"]),
        (["judge.path=x"], "judge", "sft", ["sft"]),
        (["judge.start_from=base"], "judge", None, ["judge_data"]),
        (["judge.start_from=base"], "judge_data", None, []),
        ([], "grpo", "judge", ["judge"]),
        (["grpo.start_from=sft"], "grpo", "sft", ["sft"]),
        (["grpo.start_from=base"], "grpo", None, []),
        ([], "eval", None, []),
    ],
)
def test_what_a_stage_starts_from_and_stands_on(
    words: list[str], stage: str, start: str | None, below: list[str]
) -> None:
    config = resolve([GRE, *words])
    assert (starts_from(config, stage), stands_on(config, stage)) == (start, below)


def test_stages_stand_on_earlier_ones_only() -> None:
    config = resolve([GRE])
    for index, stage in enumerate(STAGES):
        assert {*stands_on(config, stage)} <= {*STAGES[:index]}


def test_what_is_added_says_for_whom() -> None:
    needed = with_needed(resolve([GRE]), ["eval", "grpo"], finished=["sft"])
    assert needed == {"judge_data": "judge", "judge": "grpo", "grpo": "grpo", "eval": "eval"}
    assert [*needed] == ["judge_data", "judge", "grpo", "eval"]


def test_each_stage_has_its_rewards() -> None:
    config = resolve([GRE, "rewards.spatial.tau_km=50"])
    assert rewards_of(config, "judge").weights == {"judge": 1.0, "format": 1.0}
    assert rewards_of(config, "judge").spatial.tau_km == 50
    assert asks(config, "grpo", "coordinates")
    assert not asks(config, "judge", "coordinates")
    assert not asks(config, "grpo", "spatial")  # its weight is 0
    assert not any(asks(config, name, "format") for name in ("prepare", "sft", "judge_data"))
    assert not asks(resolve([GRE, "eval.rewards=false"]), "eval", "format")


def test_rows_of_judge_are_its_own_or_prepares(tmp_path: Path) -> None:
    run, config = Run(tmp_path), resolve([GRE])
    assert rows_of(config, run, "judge") == tmp_path / "judge_data" / "judge.jsonl"
    assert rows_of(resolve([GRE, "judge.path=x"]), run, "judge") == run.dataset("judge")
    assert rows_of(config, run, "grpo") == run.dataset("grpo")


def test_disk_is_for_stages_that_leave_checkpoints() -> None:
    config = resolve([GRE])
    sizes = {stage: stage_bytes(config, stage) for stage in STAGES}
    assert sizes["judge"] == sizes["grpo"] == sizes["sft"]
    assert sizes["judge_data"] == sizes["eval"]
    assert {*POLICY} < {*TRAINING}
