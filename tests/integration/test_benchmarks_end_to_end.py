"""GeoBench and GREval-Bench from the publisher's files to the page: what docs/how-to/benchmarks.md
says, with a model that is scripted, on drawn scenes."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from geoagent import cli
from geoagent.data.record import Record, read_records
from geoagent.data.sample import build_sample
from geoagent.evaluate.cot.steps import steps_of_chain
from geoagent.files import read_jsonl
from geoagent.run import Run
from tests.integration.scripted_model import make_scripted
from tests.unit.data.readers.publish import write_json, write_parquet
from tests.unit.evaluate.cot.judge import Judge
from tests.unit.evaluate.cot.models import make_bert, make_clip
from tests.unit.rollout.reader import call

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "how-to" / "benchmarks.md"
SCENES = 5


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the scenes, both benchmarks as they are published, and a model that zooms,
    searches, and always answers with the place of the first scene."""
    place = tmp_path_factory.mktemp("benchmarks")
    build_sample(place / "scenes", 4)
    records = read_records(place / "scenes", "heldout")[0][:: 2 * 9][:SCENES]
    assert len({record.country for record in records}) == SCENES
    publish_geobench(place / "GeoBench", place / "scenes", records)
    publish_greval(place / "GREval-Bench", place / "scenes", records)
    first = records[0]
    make_scripted(
        place / "model",
        [
            f"<think>There is a sign.</think>{call('image_zoom_in_tool', bbox_2d=[5, 5, 90, 60])}",
            f"<think>So it is {first.city}.</think>{call('search_web', query=first.city)}",
            f"<think>So that is it.</think><answer>{first.address}</answer>",
        ],
    )
    make_bert(place / "bert")
    make_clip(place / "clip")
    return place


def publish_geobench(folder: Path, scenes: Path, records: list[Record]) -> None:
    """Images inside; the last is a satellite picture, of which no distance counts."""
    rows = []
    for number, record in enumerate(records):
        about = {
            "uid": record.id,
            "data_type": "planetary" if number == len(records) - 1 else "photo",
            "lat": record.latitude,
            "lng": record.longitude,
            "location": {
                "country": record.country,
                "province_or_state": record.region,
                "city": record.city,
            },
        }
        content = (scenes / record.image).read_bytes()
        image = {"bytes": content, "path": f"{number}.jpg"}
        rows.append({"image": image, "metadata": json.dumps(about, ensure_ascii=False)})
    write_parquet(folder / "data" / "train-00000-of-00001.parquet", rows)


def publish_greval(folder: Path, scenes: Path, records: list[Record]) -> None:
    """Images beside, chains of thought as free text."""
    rows = []
    for record in records:
        assert record.think is not None
        name = f"imgs/{record.id}.jpg"
        (folder / "imgs").mkdir(parents=True, exist_ok=True)
        shutil.copyfile(scenes / record.image, folder / name)
        chain = " ".join(f"{step.rstrip('.')}." for step in steps_of_chain(record.think)[:6])
        truth = {"gt_lat": record.latitude, "gt_lon": record.longitude}
        row = {"sample_id": record.id, "image_path": name, "gt_cot": f"{chain} So there."}
        rows.append({**row, **truth})
    write_json(folder / "GREval-Bench.json", rows)


@pytest.fixture(scope="module")
def judge() -> Iterator[Judge]:
    with Judge() as judge:
        yield judge


def commands() -> list[list[str]]:
    """Those of the page, word by word."""
    blocks = re.findall(r"```bash\n(.*?)```", PAGE.read_text(), flags=re.S)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return [line.split("#")[0].split() for line in lines if line.split("#")[0].strip()]


def run_here(words: list[str], place: Path, judge: Judge) -> None:
    """A command of the page, in a folder of its own, with small and local stand-ins."""
    stand_ins = {
        "/data/GeoBench": [str(place / "GeoBench")],
        "/data/GREval-Bench": [str(place / "GREval-Bench")],
        "/models/roberta-large": [str(place / "bert")],
        "/models/clip-vit-base-patch32": [str(place / "clip")],
        "http://HOST:8000/v1": [f"{judge.url}/v1"],
        "jobs/eval.sbatch": [str(ROOT / "jobs" / "eval.sbatch")],
        "model.path=/models/GeoVista-7B": [
            f"model.path={place / 'model'}",
            *("model.dtype=float32", "model.max_pixels=12544", "cluster=local"),
            *("data.scenes_per_country=4", "eval.batch_size=3", "eval.max_new_tokens=8"),
        ],
    }
    program, *rest = (part for word in words for part in stand_ins.get(word, [word]))
    if program == ".venv/bin/geoagent":
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(place)
            patch.setenv("GEOAGENT_AGENT_TOKEN", "secret")
            assert cli.main(rest) == 0
        return
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "GEOAGENT_PYTHON": sys.executable}
    done = subprocess.run(
        [sys.executable if program == ".venv/bin/python" else program, *rest],
        **{"cwd": place, "env": environment, "capture_output": True, "text": True},
    )
    assert done.returncode == 0, (words, done.stdout, done.stderr)


@pytest.fixture(scope="module")
def run(place: Path, judge: Judge) -> Run:
    """All that the page says has been done."""
    for words in commands():
        run_here(words, place, judge)
    return Run.open(place / "runs" / "geovista")


def rows_of(run: Run, benchmark: str) -> list[dict[str, Any]]:
    return list(read_jsonl(run.evaluation(benchmark) / "predictions.jsonl"))


@pytest.mark.parametrize("benchmark", ["geobench", "greval"])
def test_all_is_predicted_with_tools(run: Run, benchmark: str) -> None:
    rows = rows_of(run, benchmark)
    assert len(rows) == SCENES
    for row in rows:
        assert (row["ended"], row["turns"], row["crops"], row["searches"]) == ("answer", 3, 1, 1)
        zoomed, searched, answered = row["trace"]["turns"]
        assert "cropped image is as follows" in zoomed["observation"]
        assert rows[0]["city"] in searched["observation"]
        assert answered["completion"] == row["completion"]
    figures = json.loads((run.evaluation(benchmark) / "metrics.json").read_text())["models"]
    assert figures["base"]["tools"] == {"turns": 3, "crops": 1, "searches": 1, "answered": 1}


def test_each_benchmark_is_judged_by_its_rules(run: Run) -> None:
    """The model is right about the first scene, whose place it always names."""
    geobench, greval = (
        json.loads((run.evaluation(name) / "metrics.json").read_text())["models"]["base"]
        for name in ("geobench", "greval")
    )
    assert geobench["city_accuracy"] == greval["city_accuracy"] == 1 / SCENES
    assert geobench["accuracy_3km"] == 1 / (SCENES - 1)  # without the satellite picture
    assert "accuracy_3km" not in greval
    assert greval["accuracy_25km"] == 1 / SCENES
    assert set(geobench["by"]["data_type"]) == {"photo", "planetary"}


def test_the_chain_is_the_thoughts_of_all_turns(run: Run) -> None:
    (first, *_) = read_jsonl(run.evaluation("greval") / "predictions.cot" / "rows.jsonl")
    city = rows_of(run, "greval")[0]["city"]
    expected = ["There is a sign.", f"So it is {city}.", "So that is it."]
    assert [step["text"] for step in first["steps"]] == expected
    assert first["failure"] is None
    assert 0 < first["cot_quality"] <= 100


def test_the_page_shows_all_of_it(run: Run) -> None:
    text = (run.report / "report.html").read_text()
    for told in (
        "<h2>GeoBench</h2>",
        "<h2>GREval-Bench</h2>",
        "<h3>Use of tools</h3>",
        "<h3>Quality of chains of thought</h3>",
        "judged by Qwen3-32B",
        "Zoom: [5, 5, 90, 60]",
        f"Search: {rows_of(run, 'greval')[0]['city']}",
        "GeoVista-7B",
    ):
        assert told in text, told
    assert 'alt="Crop of' in text
