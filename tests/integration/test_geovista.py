"""GeoVista's stages with the real parts: trajectories, ms-swift, rollouts with tools, evaluation.

Few steps: what is tested is that it runs and what it is trained on, not that the model learns.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from geoagent.config import Config, resolve, to_yaml
from geoagent.data.swift import tool_row
from geoagent.errors import UsageError
from geoagent.evaluate.models import Candidate
from geoagent.files import read_jsonl, write_jsonl
from geoagent.rollout.tools import system_prompt
from geoagent.run import Run
from geoagent.train.__main__ import main as train
from geoagent.train.prepare import prepare
from tests.small_tools import WORDS

SMALL = ("recipe=geovista_demo", "cluster=local", *WORDS)


def rows(path: Path) -> list[Any]:
    return list(read_jsonl(path))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run that went from start to report by one command, whose stages are the recipe's."""
    folder = tmp_path_factory.mktemp("geovista")
    words = [*SMALL, f"runs_dir={folder}/runs", "name=run"]
    command = [sys.executable, "-m", "jobs", "submit", *words]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=folder, env={**os.environ, "PYTHONPATH": ROOT}
    )
    run = Run(folder / "runs" / "run")
    assert done.returncode == 0, done.stdout + done.stderr
    return run


ROOT = str(Path(__file__).parents[2])


def test_the_cold_start_is_played_with_real_tools(finished: Run) -> None:
    made = rows(finished.dataset("sft"))
    assert len(made) == 12
    for row in made:
        roles = [message["role"] for message in row["messages"]]
        assert roles == ["system", *["user", "assistant"] * 3]
        assert row["messages"][0]["content"] == system_prompt()
        assert len(row["images"]) == 2
        assert all(Path(image).is_file() for image in row["images"])
    counts = json.loads(finished.done_file("prepare").read_text())
    assert (counts["train"], counts["learnt_by_sft"], counts["rejected"]) == (12, 12, 0)


def test_grpo_rolls_out_with_tools(finished: Run) -> None:
    """What rollouts did is among the curves, though random weights call nothing."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = EventAccumulator(str(finished.tensorboard("grpo") / "parts-rank-0"))
    board.Reload()
    tags = set(board.Tags()["scalars"])
    assert {f"parts/rollout/{n}" for n in ("turns", "crops", "searches", "answered")} <= tags
    assert board.Scalars("parts/rollout/turns")[0].value >= 1.0


def test_models_are_evaluated_with_tools(finished: Run) -> None:
    output = finished.evaluation("heldout")
    predicted = rows(output / "predictions.jsonl")
    assert [row["model"] for row in predicted] == ["base"] * 2 + ["sft"] * 2 + ["grpo"] * 2
    for row in predicted:
        assert row["trace"]["turns"][-1]["completion"] == row["completion"]
        assert row["ended"] in ("answer", "no answer", "turn limit")
        assert set(row["rewards"]) == {"format", "hierarchical"}
    models = json.loads((output / "metrics.json").read_text())["models"]
    assert [models[name]["tools"]["turns"] >= 1 for name in models] == [True] * 3
    assert "searches an image" in (output / "table.txt").read_text()
    assert (finished.report / "report.html").is_file()


# --- what is trained on ------------------------------------------------------------------------


def test_only_the_assistants_turns_of_a_cold_start_are_trained_on(finished: Run) -> None:
    """Through ms-swift's own reading of the rows and its template, as `swift sft` encodes them."""
    from geoagent.evaluate.predict import Predictor

    model = Predictor(Candidate("base", str(finished.model)), finished.config().model, 3136)
    template = model.engine.template
    template.set_mode("train")
    from swift.dataset import load_dataset

    dataset, _ = load_dataset(str(finished.dataset("sft")))
    tokenizer = template.tokenizer
    for read, row in zip(dataset, rows(finished.dataset("sft")), strict=True):
        encoded = template.encode(read)
        pairs = list(zip(encoded["input_ids"], encoded["labels"], strict=True))
        trained = [token for token, label in pairs if label != -100]
        masked = tokenizer.decode([token for token, label in pairs if label == -100])
        said = [m["content"] for m in row["messages"] if m["role"] == "assistant"]
        assert tokenizer.decode(trained) == "<|im_end|>\n".join([*said, ""])
        for message in row["messages"]:
            if message["role"] != "assistant":
                assert all(part in masked for part in message["content"].split("<image>"))
        pad = tokenizer.convert_tokens_to_ids("<|image_pad|>")
        patches = encoded["image_grid_thw"].prod(dim=1).sum().item() // 4
        assert [token for token, _ in pairs].count(pad) == patches
        assert len(encoded["image_grid_thw"]) == 2


def test_a_chain_of_thought_is_a_trajectory_without_calls(finished: Run) -> None:
    from geoagent.data.record import read_records

    sample = Path(rows(finished.dataset("grpo"))[0]["images"][0]).parents[1]
    record = read_records(sample, "train", limit=1)[0][0]
    row = tool_row(record, sample)
    assert row is not None
    system, question, answer = row["messages"]
    assert system["content"] == system_prompt()
    assert question["content"].endswith("The image has 224 × 224 pixels.")
    assert answer["content"].startswith("<think>{")
    assert row["images"] == [str(sample / record.image)]


# --- a dataset of one's own --------------------------------------------------------------------


def dataset(folder: Path, *changes: dict[str, Any]) -> Path:
    """A dataset folder with as many records, each with one trajectory."""
    call = '<tool_call>{"name": "search_web", "arguments": {"query": "x"}}</tool_call>'
    trajectory = [
        {"from": "human", "value": "<image>Where?"},
        {"from": "gpt", "value": f"<think>a</think>{call}"},
        {"from": "human", "value": "<tool_response>no results</tool_response>"},
        {"from": "gpt", "value": "<think>b</think><answer>Peru; Ancash; Huaraz</answer>"},
    ]
    folder.mkdir()
    Image.new("RGB", (56, 56)).save(folder / "a.png")
    row = {"image": "a.png", "images": ["a.png"], "latitude": -9.5, "longitude": -77.5}
    row |= {"country": "Peru", "region": "Ancash", "city": "Huaraz", "trajectory": trajectory}
    made = [{**row, "id": str(number), **change} for number, change in enumerate(changes)]
    write_jsonl(folder / "records.jsonl", [*made, {**row, "id": "h", "split": "heldout"}])
    return folder


def run_on(folder: Path, path: Path, *words: str) -> Run:
    run = Run(path)
    path.mkdir()
    config = resolve([*SMALL, "data.name=own", f"data.path={folder}", *words])
    run.config_file.write_text(to_yaml(config))
    return run


def test_published_trajectories_are_learnt_and_bad_ones_told(tmp_path: Path) -> None:
    bad = {"images": ["a.png", "../secret.png"]}
    folder = dataset(tmp_path / "data", {}, bad, {"trajectory": None, "think": "x"}, {})
    run = run_on(folder, tmp_path / "run")
    counts = prepare(run, ("sft", "grpo", "eval"))
    assert (counts["learnt_by_sft"], counts["train"], counts["rejected"]) == (3, 4, 1)
    assert [row["id"] for row in rows(run.dataset("sft"))] == ["0", "2", "3"]
    (refused,) = rows(run.data / "rejected.jsonl")
    assert (refused["line"], refused["id"]) == (2, "1")
    assert "images" in refused["reason"]
    assert len(rows(run.dataset("grpo"))) == 4


def test_a_bad_trajectory_stops_a_strict_run(tmp_path: Path) -> None:
    folder = dataset(tmp_path / "data", {}, {"trajectory": [3]})
    run = run_on(folder, tmp_path / "run", "data.strict=true")
    with pytest.raises(UsageError, match=r"records.jsonl:2: trajectory: message 1"):
        prepare(run, ("sft",))


def test_trajectories_need_the_setting(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = run_on(dataset(tmp_path / "data", {}), tmp_path / "run", "rollout.train=false")
    assert train(["prepare", "--then", "sft", "--run", str(run.path)]) == 2
    assert "trajectories, which SFT learns with rollout.train=true" in capsys.readouterr().err


def test_the_demo_is_what_it_says() -> None:
    config: Config = resolve(["recipe=geovista_demo"])
    assert config.stages == ["sft", "grpo", "eval"]
    assert config.rollout.train
    assert config.rollout.eval
