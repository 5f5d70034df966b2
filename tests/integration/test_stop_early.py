"""Early stop with real ms-swift: a run that has learnt the form, and one that has learnt nothing,
share a study; the second stops at the rung, in both of its processes, and the first goes on."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from geoagent.files import read_json
from geoagent.run import Run
from geoagent.train.__main__ import main as train

WORDS = (
    "recipe=demo",
    "cluster=local",
    "data.scenes_per_country=4",
    "data.limit=16",
    "sft.batch_size=8",
    "sft.max_steps=80",
    "sft.save_steps=80",
    "grpo.max_steps=5",
    "grpo.generations=4",
    "grpo.temperature=0.2",
    "grpo.max_completion_length=160",
    "grpo.logging_steps=5",  # beyond the rung: it is logged all the same
    "rewards.weights.consistency=0",
    "grpo.stop_early.first_step=2",
    "grpo.stop_early.factor=2",
    "grpo.stop_early.by=[format]",
)


def submit(folder: Path, *words: str) -> str:
    study = f"grpo.stop_early.study={folder}/study"
    command = [sys.executable, "-m", "jobs", "submit", *WORDS, study, *words, f"runs_dir={folder}"]
    result = subprocess.run(command, capture_output=True, text=True, env={**os.environ})
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def logged_steps(run: Run) -> list[str]:
    lines = (run.checkpoints("grpo") / "logging.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    return [row["global_step/max_steps"] for row in rows if "loss" in row]


def test_the_hopeless_run_stops_at_the_rung_and_the_other_finishes(tmp_path: Path) -> None:
    submit(tmp_path, "sft", "grpo", "grpo.batch_size=8", "name=trained")
    base = ("grpo.start_from=base", "grpo.batch_size=4", "cluster.grpo.processes_per_node=2")
    said = submit(tmp_path, "grpo", "eval", *base, "name=untrained")

    trained, untrained = (Run(tmp_path / name) for name in ("trained", "untrained"))
    good, bad = (
        read_json(tmp_path / "study" / f"{run.path.name}.json") for run in (trained, untrained)
    )
    assert good["values"].keys() == {"2", "4"}
    assert good["values"]["2"] > bad["values"]["2"] == 0.0
    assert "stopped_early" not in read_json(trained.done_file("grpo"))
    assert (trained.checkpoints("grpo") / "checkpoint-5").is_dir()
    assert logged_steps(trained) == ["1/5", "2/5", "4/5", "5/5"]

    done = read_json(untrained.done_file("grpo"))
    assert done["checkpoint"] == "checkpoint-2"
    best = good["values"]["2"]
    assert done["stopped_early"] == {"step": 2, "of": 5, "value": 0.0, "best": best, "rung": 0}
    assert "grpo: stopped early at step 2 of 5" in said
    assert "not evaluated: grpo was stopped early at step 2 of 5" in said
    assert logged_steps(untrained) == ["1/5", "2/5"]
    assert list((untrained.path / "eval").glob("*/metrics.json")) == []

    # Killed before it had written done.json, and before it had saved: it stays stopped.
    for left in ("checkpoint-2", None):
        untrained.done_file("grpo").unlink()
        if left is None:
            shutil.rmtree(untrained.checkpoints("grpo") / "checkpoint-2")
        assert train(["grpo", "--run", str(untrained.path)]) == 0
        again = read_json(untrained.done_file("grpo"))
        assert again["checkpoint"] == left
        assert again["stopped_early"] == done["stopped_early"]
    assert logged_steps(untrained) == ["1/5", "2/5"]
    assert read_json(tmp_path / "study" / "untrained.json") == bad
