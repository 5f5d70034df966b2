"""The stage judge_data with real parts: a tiny model that SFT has taught to name one place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PIL import Image

from geoagent.config import resolve, to_yaml
from geoagent.files import read_jsonl, write_jsonl
from geoagent.run import Run
from geoagent.train.__main__ import run_stage
from geoagent.train.judge_data import make_judge_data

PARIS = (48.85341, 2.3488)
LIMA = (-12.04318, -77.02824)
WORDS = (
    "recipe=demo",
    "data.name=two-places",
    "data.answer=coordinates",
    "sft.max_steps=40",
    "sft.learning_rate=5e-3",
    "sft.lr_scheduler=constant",
    "sft.batch_size=4",
    "grpo.temperature=0.3",
    "grpo.max_completion_length=40",
    "model.tiny.hidden_size=64",
    "model.tiny.layers=2",
    "model.tiny.vocabulary=512",
    "model.tiny.image_size=56",
    "model.max_pixels=3136",
)


def make_run(folder: Path) -> Run:
    (folder / "data").mkdir()
    rows: list[dict[str, Any]] = []
    for number in range(8):
        latitude, longitude = (PARIS, LIMA)[number % 2]
        Image.new("RGB", (56, 56), (30 * number, 90, 90)).save(folder / "data" / f"{number}.png")
        row = {"id": f"p{number}", "image": f"{number}.png", "think": "A sign."}
        rows.append({**row, "latitude": latitude, "longitude": longitude})
    write_jsonl(folder / "data" / "records.jsonl", rows)
    config = resolve([*WORDS, f"data.path={folder / 'data'}"])
    run = Run(folder / "run")
    run.path.mkdir()
    run.config_file.write_text(to_yaml(config))
    return run


def test_a_trained_models_predictions_are_labelled_by_distance(tmp_path: Path) -> None:
    """It has only seen Paris, so it is right about those pictures and wrong about Lima's."""
    run = make_run(tmp_path)
    run_stage("prepare", run, ["sft"])
    rows = [row for row in read_jsonl(run.dataset("sft")) if int(row["id"][1:]) % 2 == 0]
    write_jsonl(run.dataset("sft"), rows)
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
