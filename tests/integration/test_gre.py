"""GRE's three stages with the real parts, from one command to the report.

Few steps: what is tested is that each stage goes on from the one before and learns what it should.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from geoagent.files import read_json, read_jsonl
from geoagent.report.curves import read_stage
from geoagent.run import Run
from tests.two_places import WORDS, write_places

ROOT = str(Path(__file__).parents[2])
SMALL = (
    "recipe=gre_demo",
    "cluster=local",
    *WORDS,
    "judge.max_steps=1",
    "judge.save_steps=1",
    "judge.batch_size=4",
    "judge.generations=4",
    "judge.max_completion_length=16",
    "grpo.max_steps=1",
    "grpo.save_steps=1",
    "grpo.batch_size=4",
    "grpo.generations=4",
    "eval.max_new_tokens=40",
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("gre")
    data = write_places(folder / "data")
    words = [*SMALL, f"data.path={data}", f"runs_dir={folder}/runs", "name=run"]
    done = subprocess.run(
        [sys.executable, "-m", "jobs", "submit", *words],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": ROOT},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return Run(folder / "runs" / "run")


def scalars(run: Run, stage: str) -> set[str]:
    events = EventAccumulator(str(run.tensorboard(stage)))
    events.Reload()
    return set(events.Tags()["scalars"])


def test_the_models_own_predictions_are_what_is_judged(finished: Run) -> None:
    done = read_json(finished.done_file("judge_data"))
    assert done["model"] == "sft"
    rows = [*read_jsonl(finished.stage("judge_data") / "judge.jsonl")]
    assert {row["label"] for row in rows} == {True, False}
    assert done["true"] == done["false"] == len(rows) / 2


def test_each_stage_goes_on_from_the_one_before(finished: Run) -> None:
    before = finished.checkpoints("sft") / "checkpoint-40"
    for stage in ("judge", "grpo"):
        after = finished.checkpoints(stage) / "checkpoint-1"
        assert read_json(after / "args.json")["model"] == str(before)
        before = after


def test_each_is_paid_for_its_own(finished: Run) -> None:
    judged, placed = scalars(finished, "judge"), scalars(finished, "grpo")
    assert {"train/rewards/judge/mean", "train/rewards/format/mean"} <= judged
    assert {"train/rewards/coordinates/mean", "train/rewards/format/mean"} <= placed
    assert "train/rewards/judge/mean" not in placed


def test_both_tell_how_long_they_wait_for_rewards(finished: Run) -> None:
    for stage, reward in (("judge", "judge"), ("grpo", "coordinates")):
        curves = read_stage(finished, stage)
        assert curves is not None
        assert {f"time/{reward}_s", "time/format_s", "time/rewards_share"} <= {*curves.scalars}


def test_all_models_are_evaluated_by_their_coordinates(finished: Run) -> None:
    metrics = read_json(finished.evaluation("heldout") / "metrics.json")
    assert [*metrics["models"]] == ["base", "sft", "judge", "grpo"]
    assert metrics["last"] == "grpo"
    assert metrics["models"]["sft"]["parse_rate"] > 0
    assert [gain["over"] for gain in metrics["gains"].values()] == ["base", "sft", "judge"]
    page = (finished.report / "report.html").read_text(encoding="utf-8")
    assert "RL-I (judge)" in page
