"""The stage judge_data with real parts: a tiny model that SFT has taught to name one place."""

from __future__ import annotations

from pathlib import Path

from geoagent.config import resolve, to_yaml
from geoagent.files import read_jsonl
from geoagent.run import Run
from geoagent.train.__main__ import run_stage
from geoagent.train.judge_data import make_judge_data
from tests.two_places import WORDS, write_places


def make_run(folder: Path) -> Run:
    data = write_places(folder / "data")
    config = resolve(["recipe=demo", *WORDS, f"data.path={data}"])
    run = Run(folder / "run")
    run.path.mkdir()
    run.config_file.write_text(to_yaml(config))
    return run


def test_a_trained_models_predictions_are_labelled_by_distance(tmp_path: Path) -> None:
    """It has only seen Paris, so it is right about those pictures and wrong about Lima's."""
    run = make_run(tmp_path)
    run_stage("prepare", run, ["sft"])
    run_stage("sft", run)
    counts = make_judge_data(run)
    predictions = [*read_jsonl(run.stage("judge_data") / "predictions.jsonl")]
    assert counts["model"] == "sft"
    assert counts["predictions"] == len(predictions) == 16  # two draws of each picture
    labels = {
        row["id"]: row["label"] for row in read_jsonl(run.stage("judge_data") / "judge.jsonl")
    }
    assert set(labels.values()) == {True, False}
    assert counts["true"] == counts["false"]
    for name, label in labels.items():
        assert label == (int(name[1]) % 2 == 0)
