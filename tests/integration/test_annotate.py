"""`geoagent data annotate` and `make-trajectories` with a real server: llama.cpp decodes the images
and encodes them and, for annotations, holds the text model to the schema. The encoder's weights are
random, so what it says of an image means nothing; how images and replies travel is tested."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from geoagent.agent.endpoint import Endpoint
from geoagent.agent.vision import VisionLimits
from geoagent.cli import main
from geoagent.config import RolloutConfig
from geoagent.data.annotations import ELEMENTS, PRESENCE
from geoagent.data.record import read_records
from geoagent.files import read_jsonl
from geoagent.rollout.environment import Episode
from geoagent.trajectories import client
from tests.unit.rollout.provider import Shelf
from tests.unit.rollout.reader import call

SERVER = Path(__file__).with_name("vision_model.py")
PHOTOS = Path(__file__).parents[2] / "geoagent/data/photos"
TOKEN = "a-very-secret-token"


@contextmanager
def served(folder: Path, kind: str) -> Iterator[str]:
    """The address of the model that is served while the block runs."""
    log = folder / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, str(SERVER), str(folder), kind, TOKEN], stdout=output, stderr=output
        )
    try:
        deadline = time.monotonic() + 120
        while "serving at " not in (said := log.read_text(errors="replace")):
            assert process.poll() is None, said[-3000:]
            assert time.monotonic() < deadline
            time.sleep(0.1)
        yield said.partition("serving at ")[2].split()[0]
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GEOAGENT_VISION_TOKEN", TOKEN)
    return Path(shutil.copytree(PHOTOS, tmp_path / "photos"))


def annotate(dataset: Path, url: str) -> int:
    words = ["--url", url, "--model", "smollm2", "--parallel", "2", "--limit", "2"]
    return main(["data", "annotate", str(dataset), *words])


def test_images_reach_a_vision_model(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with served(tmp_path, "vision") as url:
        assert annotate(dataset, url) == 0
    assert json.loads(capsys.readouterr().out)["annotated"] == 2
    records, _ = read_records(dataset, limit=2)
    for record in records:
        assert record.extra["locatability"] in range(11)
        assert list(record.extra["scene"]) == list(ELEMENTS)
        assert set(record.extra["scene"].values()) <= set(PRESENCE)


def test_a_model_that_takes_no_images_is_told(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with served(tmp_path, "text") as url:
        assert annotate(dataset, url) == 2
    assert "a model that sees images" in capsys.readouterr().err
    assert not (dataset / "annotations.jsonl").exists()


def test_a_real_model_is_asked_for_trajectories(
    dataset: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It finds no place, and what it says instead is kept with the reason."""
    monkeypatch.setattr(client, "MAX_TOKENS", 32)
    with served(tmp_path, "vision") as url:
        words = ["--url", url, "--model", "smollm2", "--limit", "1", "--temperature", "0"]
        command = ["data", "make-trajectories", str(dataset), str(tmp_path / "made"), *words]
        assert main(command) == 0
    out, err = capsys.readouterr()
    summary = json.loads(out)
    assert (summary["played"], summary["kept"], summary["dropped"]) == (1, 0, 1)
    assert "no episode was good enough" in err
    (row,) = read_jsonl(tmp_path / "made" / "rejected.jsonl")
    assert row["trace"]["turns"][0]["completion"].strip()


def test_crops_reach_a_vision_model(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "MAX_TOKENS", 8)
    records, _ = read_records(dataset, limit=1)
    episode = Episode(dataset / records[0].image, RolloutConfig(), Shelf({}))
    zoom = call("image_zoom_in_tool", bbox_2d=[0, 0, 100, 100])
    asyncio.run(episode.step(f"<think>There.</think>{zoom}"))
    pictures = tuple(client.shown(image) for image in episode.images)
    assert len(pictures) == 2
    asked = client.Conversation(tuple(episode.messages), pictures)
    answers: list[Any] = []
    with served(tmp_path, "vision") as url:
        model = client.TrajectoryClient(Endpoint(url, "smollm2", TOKEN), VisionLimits(), 0.0)
        try:
            model.each([asked], model.ask, lambda _, answer: answers.append(answer))
        finally:
            model.close()
    # So small a model may have nothing to say to that; what is refused has another reason.
    assert isinstance(answers[0], str) or answers[0].reason.endswith("reply is empty")
