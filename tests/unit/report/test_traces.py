"""Predictions with tools in the page: thoughts, crops and searches, which are only texts."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from geoagent import cli
from geoagent.config import RolloutConfig
from geoagent.evaluate.tools import columns, tool_use
from geoagent.figures.style import SERIES
from geoagent.files import read_jsonl, write_jsonl
from geoagent.report.pictures import pictures
from geoagent.report.traces import read_turns
from geoagent.rollout.environment import Episode, play_together
from geoagent.rollout.tools import SEARCH, ZOOM
from geoagent.run import Run
from tests.unit.report.browser import Page, check
from tests.unit.report.conftest import completion
from tests.unit.report.test_page import HOSTILE, Tags, page_of, text_of
from tests.unit.rollout.provider import Shelf, hit
from tests.unit.rollout.reader import call

BOX = [100, 50, 300, 150]
SHELF = Shelf(
    {
        "Huaraz": [hit(f"Huaraz {n}", "A city in Ancash.", f"geo:-9.5,-77.{n}") for n in range(5)],
        HOSTILE: [hit(HOSTILE, HOSTILE, HOSTILE)],
    }
)


def script(answer: str, query: str = "Huaraz", label: str = "road sign") -> list[str]:
    return [
        f"<think>There is a sign.</think>{call(ZOOM, bbox_2d=BOX, label=label)}",
        f"<think>It cannot be read.</think>{call(ZOOM, bbox_2d=[900, 0, 990, 9])}",
        f"No tags.{call(SEARCH, query=query)}",
        "<tool_call>none</tool_call>",
        answer,
    ]


def played(image: Path, texts: list[str], **limits: int) -> dict[str, Any]:
    """The columns that an evaluated row has of an episode with these completions."""
    episode = Episode(image, RolloutConfig(**limits), SHELF)
    play_together([episode], lambda live: [texts[len(live[0].turns)]])
    return columns(episode.trace())


def with_tools(run: Run, samples: Path, **changes: str) -> Run:
    """The run as if all predictions of its last model had been made with tools."""
    folder = run.evaluation("mine")
    rows = list(read_jsonl(folder / "predictions.jsonl"))
    for row in rows:
        if row["model"] == "grpo":
            row |= played(samples / "images" / "0.jpg", script(row["completion"], **changes))
    write_jsonl(folder / "predictions.jsonl", rows)
    document = json.loads((folder / "metrics.json").read_text())
    document["models"]["grpo"]["tools"] = tool_use([r for r in rows if r["model"] == "grpo"])
    (folder / "metrics.json").write_text(json.dumps(document))
    return run


@pytest.fixture
def run(make_run: Callable[..., Run], tmp_path: Path) -> Run:
    return with_tools(make_run(count=10), tmp_path / "samples")


def test_turns_are_shown(run: Run) -> None:
    page = page_of(run)
    text = text_of(page)
    assert "There is a sign. Zoom: [100, 50, 300, 150] road sign" in text
    assert "It cannot be read. Zoom: [900, 0, 990, 9] Refused: the box is outside the image" in text
    assert "No tags. Search: Huaraz Huaraz 0 A city in Ancash. geo:-9.5,-77.0 Huaraz 1" in text
    assert "Huaraz 3" not in text
    assert "and 2 more" in text
    assert "A tool call. Refused: a call is" in text
    assert re.search(r"Answer: (France|Peru|Norway|Japan|Fiji); ", text)
    assert re.search(r"Country: (France|Peru|Norway|Japan|Fiji) sign The sign is in", text)
    assert text.count("No reasoning stage could be read") == 0
    assert "Use of tools turns crops searches answered, % GRPO 5.00 1.00 1.00 100" in text
    examples = page.count('<article class="example">')
    assert page.count("data:image/jpeg;base64,") == 2 * examples


def test_it_looks_as_it_should(run: Run, page: Page, tmp_path: Path) -> None:
    page_of(run)
    check(page, run.report / "report.html")
    crop = 'document.querySelector(".turns img").getBoundingClientRect().width'
    assert page.run(crop) > 60
    page.screenshot(tmp_path / "page.png")


def test_what_a_model_calls_is_only_text(make_run: Callable[..., Run], tmp_path: Path) -> None:
    run = with_tools(make_run(count=10), tmp_path / "samples", query=HOSTILE, label=HOSTILE)
    tags = Tags()
    tags.feed(page_of(run))
    assert "script" not in tags.names
    assert not any(name.startswith("on") for name in tags.attributes)
    assert any(f"Search: {HOSTILE}" in text for text in tags.texts)


def test_a_thought_without_an_end(tmp_path: Path) -> None:
    Image.new("RGB", (400, 300)).save(tmp_path / "a.png")
    ends = {
        "It goes on and on": "The end: no answer.",
        f"<think>Again.</think>{call(SEARCH, query='Huaraz')}": "The end: turn limit.",
        completion("Peru; Ancash; Huaraz"): "Answer: Peru; Ancash; Huaraz",
    }
    for text, told in ends.items():
        shown, more = read_turns(played(tmp_path / "a.png", [text], turns=1))
        assert ([turn.said for turn in shown], more) == ([told], 0)
    many = [call(SEARCH, query="Huaraz")] * 20
    shown, more = read_turns(played(tmp_path / "a.png", many, turns=20, searches=1))
    assert (len(shown), more) == (12, 8)
    assert shown[1].refused.startswith("all searches for this image are used")
    assert read_turns({"completion": "x"}) == ([], 0)


def test_a_trace_that_is_none_is_told_with_its_line(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    file = run.evaluation("mine") / "predictions.jsonl"
    rows = list(read_jsonl(file))
    for trace in ({"turns": "many"}, [], {"turns": [{"thought": "x"}]}):
        rows[24]["trace"] = trace
        write_jsonl(file, rows)
        assert cli.main(["report", str(run.path)]) == 2
        assert "predictions.jsonl:25: trace: has no turns" in capsys.readouterr().err


def _decoded(address: str) -> Any:
    content = base64.b64decode(address.partition(",")[2])
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"), dtype=int)


def test_crops_are_cut_from_the_image_where_it_is_framed(tmp_path: Path) -> None:
    """Also from one that is larger than models see, and turned by its camera."""
    photo = Image.new("RGB", (4096, 2048), "white")
    photo.paste("red", (1024, 512, 2048, 1024))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90° clockwise
    photo.save(tmp_path / "a.jpg", exif=exif)
    seen = pictures(tmp_path, "a.jpg", [(512, 256, 1024, 512), (5000, 0, 6000, 9)])
    assert seen.crops[1] == ""
    crop = _decoded(seen.crops[0])
    assert crop.shape[1] == 206
    middle = crop[crop.shape[0] // 2, crop.shape[1] // 2]
    assert np.abs(middle - [254, 0, 0]).max() < 10
    frame = [int(SERIES[0][at : at + 2], 16) for at in (1, 3, 5)]
    assert np.abs(crop[1, 100] - frame).max() < 40
    whole = _decoded(seen.image)
    assert whole.shape == (360, 180, 3)
    framed = np.argwhere(np.abs(whole - frame).max(axis=2) < 60)
    top, left = framed.min(axis=0)
    bottom, right = framed.max(axis=0)
    # Of the turned picture: rows from x, columns from the other side's y.
    assert np.abs(np.array([top, bottom]) - [90, 180]).max() <= 3
    assert np.abs(np.array([left, right]) - [90, 135]).max() <= 3
