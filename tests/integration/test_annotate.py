"""`geoagent data annotate` with a real server: llama.cpp decodes the images, encodes them and
holds the text model to the schema. The encoder's weights are random, so what it says of an image
means nothing; how images and replies travel is what is tested."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from geoagent.cli import main
from geoagent.data.annotations import ELEMENTS, PRESENCE
from geoagent.data.record import read_records

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
