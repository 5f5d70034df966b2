"""`geoagent locate --tools`: the loop as it happens, its trace and its crops."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from geoagent import cli
from geoagent.config import Config, to_yaml
from geoagent.errors import OutageError
from geoagent.files import write_json, write_jsonl
from geoagent.rollout.search import SearchProvider, SearchUnavailable
from geoagent.run import Run
from tests.unit.rollout.reader import call

SCRIPT = (
    "<think>A sign.</think>" + call("image_zoom_in_tool", bbox_2d=[10, 10, 200, 200], label="sign"),
    "<think>It says Huaraz.</think>" + call("search_web", query="Huaraz"),
    "<think>Found.</think><answer>Peru; Ancash; Huaraz</answer>",
)
HIT = {"title": "Huaraz \x1b[31m<tool_call>", "snippet": "a city in Peru", "url": "x:1"}


class FakePredictor:
    """Says what the script has for the turn, and notes what it was asked with."""

    asked: list[tuple[int, list[Any]]]

    def __init__(self, candidate: Any, config: Any, max_pixels: int | None) -> None:
        type(self).asked = []

    def reply(self, conversations: list[Any], max_new_tokens: int) -> list[str]:
        said = []
        for messages, images in conversations:
            turn = sum(message["role"] == "assistant" for message in messages)
            self.asked.append((turn, list(images)))
            said.append(SCRIPT[turn])
        return said


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr("geoagent.evaluate.predict.Predictor", FakePredictor)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    run = Run(tmp_path / "run")
    write_json(run.model / "config.json", {})
    write_jsonl(tmp_path / "replay.jsonl", [{"query": "Huaraz", "results": [HIT]}])
    config = Config()
    config.model.kind = "tiny"
    config.rollout.search.replay = str(tmp_path / "replay.jsonl")
    run.config_file.write_text(to_yaml(config))
    for name in ("one", "two"):
        Image.new("RGB", (400, 300), "white").save(tmp_path / f"{name}.png")
    monkeypatch.chdir(tmp_path)
    return run


def test_the_loop_is_shown_as_it_happens(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["locate", "one.png", "--run", "run", "--tools"]) == 0
    captured = capsys.readouterr()
    assert "address      Peru; Ancash; Huaraz" in captured.out
    shown = captured.err
    for text in (
        "1  thought  A sign.",
        "zoom     [10, 10, 200, 200] sign",
        "crop     280 × 280 pixels",
        "2  thought  It says Huaraz.",
        "search   Huaraz",
        "a city in Peru",
        "3  thought  Found.",
        "answer   Peru; Ancash; Huaraz",
    ):
        assert text in shown
    assert "\x1b" not in shown
    assert [turn for turn, _ in FakePredictor.asked] == [0, 1, 2]
    assert [len(images) for _, images in FakePredictor.asked] == [1, 2, 2]


def test_trace_and_crops_are_kept(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["locate", "one.png", "two.png", "--run", "run", "--tools", "--trace", "t.json"]
    assert cli.main([*arguments, "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(row["ended"], row["turns"], row["crops"], row["searches"]) for row in rows] == [
        ("answer", 3, 1, 1)
    ] * 2
    assert rows[0]["latitude"] == pytest.approx(-9.53, abs=0.05)
    traces = json.loads(Path("t.json").read_text())["images"]
    assert [trace["image"] for trace in traces] == ["one.png", "two.png"]
    crops = [trace["turns"][0]["crop"] for trace in traces]
    assert crops == ["t-crops/001-1.png", "t-crops/002-1.png"]
    assert [Image.open(crop).size for crop in crops] == [(280, 280)] * 2
    assert traces[0]["turns"][1]["call"] == {"name": "search_web", "arguments": {"query": "Huaraz"}}
    before = Path("t.json").read_bytes()
    assert cli.main([*arguments, "--json"]) == 2
    assert "t.json: exists already" in capsys.readouterr().err
    assert Path("t.json").read_bytes() == before


def test_crops_of_an_earlier_trace_are_left_alone(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "t-crops").mkdir()
    (tmp_path / "t-crops" / "001-1.png").touch()
    assert cli.main(["locate", "one.png", "--run", "run", "--tools", "--trace", "t.json"]) == 2
    assert "t-crops: exists already" in capsys.readouterr().err
    assert not (tmp_path / "t.json").exists()


class Away(SearchProvider):
    def find(self, query: str) -> list[Any]:
        raise SearchUnavailable("the search service does not answer")


def test_an_outage_ends_it_without_a_result(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("geoagent.rollout.search.provider", lambda settings: Away())
    code = cli.main(["locate", "one.png", "--run", "run", "--tools", "--trace", "t.json", "--json"])
    captured = capsys.readouterr()
    assert (code, captured.out) == (75, "")
    assert "error: the search service does not answer" in captured.err
    (trace,) = json.loads(Path("t.json").read_text())["images"]
    assert (trace["why"], len(trace["turns"])) == (None, 1)
    assert issubclass(SearchUnavailable, OutageError)


def test_what_cannot_be_is_told_before_the_model_loads(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("geoagent.commands.locate._load", None)
    Path("replay.jsonl").unlink()
    for arguments, reason in (
        (["--tools"], "replay.jsonl: cannot be read"),
        (["--trace", "t.json"], "--trace: writes what --tools does"),
        (["--tools", "--trace", "one.png/t.json"], "cannot be written"),
    ):
        assert cli.main(["locate", "one.png", "--run", "run", *arguments]) == 2
        assert reason in capsys.readouterr().err
    config = run.config()
    config.data.answer = "coordinates"
    run.config_file.write_text(to_yaml(config))
    assert cli.main(["locate", "one.png", "--run", "run", "--tools"]) == 2
    assert "--tools: asks for an address, and run answers in coordinates" in capsys.readouterr().err
