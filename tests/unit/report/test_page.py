"""The page: what it says, what it must never hold, and what is said of what is missing."""

from __future__ import annotations

import html
import json
import os
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from geoagent import cli
from geoagent.files import read_json, read_jsonl, write_json, write_jsonl
from geoagent.report.charts import Line, accuracy_chart, breakdown_chart
from geoagent.report.confusion import confusion
from geoagent.report.examples import extremes
from geoagent.report.load import columns
from geoagent.report.page import make_report, place
from geoagent.run import Run

from .conftest import prediction, rows_of

Make = Callable[..., Run]


def page_of(*runs: Run) -> str:
    return make_report(runs, place(runs)).read_text()


def text_of(page: str) -> str:
    """Without markup, as a person reads it."""
    bare = re.sub(r"<(style|svg)\b.*?</\1>", " ", page, flags=re.S)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", bare)).split())


def test_one_run(make_run: Make) -> None:
    run = make_run(curves=True)
    page = page_of(run)
    text = text_of(page)
    assert "No paper has figures on 'mine'" in text
    assert "GRPO over SFT" in text
    assert "n = 40 images that both predicted" in text
    assert "uniform guess" in text
    assert "abc123" in text
    assert re.search(r"Country: (France|Peru|Norway|Japan|Fiji) sign The sign is in", text)
    for title in ("Accuracy by distance", "How far off", "Errors of GRPO", "By locatability"):
        assert f"<h4>{title}</h4>" in page
    curves = ("Loss", "Token accuracy", "Total reward", "Rewards", "KL divergence", "Use of tools")
    for title in (*curves, "Waiting for rewards"):
        assert f"<h4>{title}</h4>" in page
    pngs = {file.name for file in (run.path / "report").glob("*.png")}
    assert {"mine-accuracy.png", "mine-map.png", "grpo-total-reward.png"} <= pngs
    figures = json.loads((run.evaluation("mine") / "metrics.json").read_text())["models"]["grpo"]
    low, high = figures["intervals"]["geoscore"]
    assert f"{low:,.0f}–{high:,.0f}" in text
    assert f"{figures['geoscore']:,.0f}" in text


def test_nothing_is_loaded_from_elsewhere_and_ids_are_unique(make_run: Make) -> None:
    page = page_of(make_run(curves=True))
    for attribute in re.findall(r'\b(?:src|href|xlink:href|action|data)="([^"]*)"', page):
        assert attribute.startswith(("#", "data:image/jpeg;base64,")), attribute[:80]
    assert "<script" not in page
    assert not re.search(r"@import|url\((?!#)", page)
    ids = re.findall(r'\bid="([^"]*)"', page)
    assert len(ids) == len(set(ids))
    named = set(re.findall(r'(?:href="#|url\(#)([^")]*)', page))
    assert named <= set(ids)


class Tags(HTMLParser):
    """What a browser would make of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.attributes: set[str] = set()
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.texts.append(data.strip())


HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'`{{ 7*7 }}"


def test_texts_of_models_and_datasets_are_only_texts(make_run: Make) -> None:
    run = make_run(count=10)
    file = run.evaluation("mine") / "predictions.jsonl"
    rows = list(read_jsonl(file))
    for row in rows:
        row["completion"] = row["answer"] = row["country"] = HOSTILE
    write_jsonl(file, rows)
    metrics = run.evaluation("mine") / "metrics.json"
    document = json.loads(metrics.read_text())
    for figures in document["models"].values():
        groups = {HOSTILE: {**figures["by"]["country"]["France"], "count": 9}}
        figures["by"] = {"../../" + HOSTILE: groups}
    metrics.write_text(json.dumps(document))
    page = page_of(run)
    tags = Tags()
    tags.feed(page)
    assert "script" not in tags.names
    assert not any(name.startswith("on") for name in tags.attributes)
    assert tags.texts.count(HOSTILE) == 4  # answer and completion of the best and of the worst
    assert [file.name for file in run.path.parent.glob("*.png")] == []


def test_a_run_that_learnt_to_judge(make_run: Make) -> None:
    run = make_run(curves=True, base=0.1, sft=0.4, judge=0.5, grpo=0.7)
    page = make_report([run], run.report).read_text(encoding="utf-8")
    assert "RL-I (judge)" in page
    assert "true within 200 km; rewards judge 1, format 1" in page
    assert (run.report / "judge-total-reward.png").is_file()
    assert (run.report / "grpo-total-reward.png").is_file()


def test_several_runs_are_compared(make_run: Make) -> None:
    first = make_run("first", sft=0.4)
    second = make_run("second", sft=0.95)
    second.config_file.write_text(second.config_file.read_text().replace("seed: 0", "seed: 5"))
    (second.path / "eval" / "mine").rename(second.path / "eval" / "mine.away")
    (second.path / "eval" / "mine.away").rename(second.path / "eval" / "mine")
    page = page_of(first, second)
    text = text_of(page)
    assert "GeoAgent comparison of 2 runs" in text
    assert "second (SFT) over first (SFT)" in text
    assert "n = 40 images that both predicted" in text
    assert re.search(r"setting first second seed 0 5", text)
    assert "Best and worst" not in text
    assert (first.path / "report" / "comparison" / "report.html").is_file()
    assert not (second.path / "report").exists()


def test_a_run_that_was_not_evaluated_yet(make_run: Make) -> None:
    run = make_run(curves=True)
    for file in run.evaluation("mine").iterdir():
        file.unlink()
    run.manifest_file.unlink()
    text = text_of(page_of(run))
    assert "no finished evaluation yet" in text
    assert "manifest.json is missing" in text
    assert "Total reward" in text


def test_missing_parts_are_told(make_run: Make) -> None:
    run = make_run()
    (run.evaluation("mine") / "predictions.jsonl").unlink()
    text = text_of(page_of(run))
    assert "predictions.jsonl is missing" in text
    assert "No training curves" in text


def test_missing_images_are_told(make_run: Make, tmp_path: Path) -> None:
    run = make_run()
    (tmp_path / "samples" / "images" / "0.jpg").unlink()
    (tmp_path / "samples" / "images" / "1.jpg").write_bytes(b"no image")
    page = page_of(run)
    assert "images/0.jpg&#39; does not exist" in page
    assert "cannot be decoded" in page
    assert "data:image/jpeg" in page
    about = tmp_path / "samples" / "dataset.json"
    about.write_text('{"images": "/moved"}')
    assert "is not the absolute path of a folder" in page_of(run)
    (tmp_path / "samples" / "images").rename(tmp_path / "images")
    about.write_text(json.dumps({"images": str(tmp_path)}))
    assert "data:image/jpeg" in page_of(run)
    (tmp_path / "samples" / "records.jsonl").unlink()
    assert "dataset folder is not there any more" in page_of(run)


def test_an_image_outside_the_dataset_is_not_shown(make_run: Make, tmp_path: Path) -> None:
    run = make_run(count=5)
    (tmp_path / "samples" / "images" / "0.jpg").rename(tmp_path / "secret.jpg")
    file = tmp_path / "samples" / "records.jsonl"
    file.write_text(file.read_text().replace("images/0.jpg", "../secret.jpg"))
    page = page_of(run)
    assert "is outside the dataset folder" in page


def test_published_figures_stand_beside_their_benchmark_only(
    make_run: Make, tmp_path: Path
) -> None:
    text = text_of(page_of(make_run("a", "geoseek_val", count=40)))
    assert "GeoSeek-Val" in text
    assert "Published: GeoAgent, arXiv 2602.12617 Qwen2.5-VL-7B" in text
    assert "all 3,000 images of GeoSeek-Val; these are of 40" in text
    assert "Published ablations (8)" in text
    # A benchmark of its own, in a run that was trained on the drawn sample or on nothing.
    other = make_run("c", "geoseek_val", path=None)
    (tmp_path / "samples" / "sample.json").unlink()
    assert "2602.12617" in text_of(page_of(other))
    drawn = text_of(page_of(make_run("b", "im2gps3k", path=None)))
    assert "the images are the drawn sample" in drawn
    assert "2602.12617" not in drawn


def test_many_predictions_stay_a_page(make_run: Make) -> None:
    run = make_run(count=2000, grpo=0.2)
    page = page_of(run)
    assert re.search(r"a random sample of 300 of the 1,\d\d\d that were", text_of(page))
    assert len(page) < 1_500_000


def test_nothing_located_has_no_map(make_run: Make) -> None:
    run = make_run(base=0.0)
    file = run.evaluation("mine") / "predictions.jsonl"
    write_jsonl(file, [prediction("base", index, None) for index in range(40)])
    page = page_of(run)
    assert "Errors of base" not in page
    assert "not located" in text_of(page)


def test_where_misses_lie_by_geovistas_rules_is_told(make_run: Make) -> None:
    run = make_run()
    assert "Honiara" not in page_of(run)
    file = run.evaluation("mine") / "metrics.json"
    found = read_json(file)
    found["models"]["sft"] |= {"rules": "geovista", "geocoded_rate": 0.75}
    write_json(file, found)
    assert "Share of such images: SFT 25.0%." in text_of(page_of(run))


def test_made_twice_it_is_the_same(make_run: Make) -> None:
    run = make_run()
    without_time = re.compile(r"Made [^<]*UTC")
    first, second = (without_time.sub("", page_of(run)) for _ in range(2))
    assert first == second


def test_the_command(make_run: Make, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    run = make_run(count=5)
    assert cli.main(["report", str(run.path)]) == 0
    assert capsys.readouterr().out == f"{run.path}/report/report.html\n"
    out = tmp_path / "elsewhere"
    assert cli.main(["report", str(run.path), "--out", str(out)]) == 0
    assert (out / "report.html").is_file()


def test_bad_input_is_one_line(
    make_run: Make, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    run = make_run(count=5)
    bare = Run(tmp_path / "bare")
    bare.path.mkdir()
    bare.config_file.write_text("name: bare\n")
    (tmp_path / "file").write_text("")
    one = str(run.path)
    for arguments, said in (
        ([str(tmp_path)], "not a run directory"),
        ([one, one], "given twice"),
        ([str(bare.path), str(bare.path / ".." / "bare")], "given twice"),
        ([one, "--out", str(tmp_path / "file")], "file"),
    ):
        assert cli.main(["report", *arguments]) == 2
        output = capsys.readouterr()
        assert said in output.err
        assert output.err.count("\n") == 1
        assert output.out == ""
    other = Run(tmp_path / "other")
    other.path.mkdir()
    other.config_file.write_text("name: other\n")
    assert cli.main(["report", str(bare.path), str(other.path)]) == 2
    assert "nothing to compare" in capsys.readouterr().err


def test_a_sweep_and_a_folder_of_several_runs_are_refused(
    make_run: Make, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    home = tmp_path / "many"
    for folder in (home, home / "seed0", home / "seed1"):
        folder.mkdir()
        (folder / "config.yaml").write_text("name: many\n")
    (home / "group.json").write_text("{}")
    for arguments in ([str(home)], [str(make_run(count=5).path), str(home)]):
        assert cli.main(["report", *arguments]) == 2
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        assert f"{home}/seed0 {home}/seed1" in said
    (home / "sweep.json").write_text("{}")
    assert cli.main(["report", str(home)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert f"{home}/results/report.html, which `python -m jobs sweep {home} --results`" in said
    assert not (home / "report").exists()


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.text(max_size=60))
def test_any_text_can_be_a_label(text: str) -> None:
    predictions = columns(rows_of("m", 6, 0.5, 0))
    group = {"count": 5, "geoscore": 10.0, "intervals": {"geoscore": [5.0, 20.0]}}
    line = Line(text, predictions, {"by": {"c": {text: group}}})
    charts = [
        accuracy_chart(text, [line, line], {}),
        breakdown_chart(text, "c", [line, line]),
    ]
    for chart in charts:
        assert chart is not None
        assert re.fullmatch(r"[a-z0-9-]*", chart.name)
        assert chart.svg.startswith("<svg")
        assert chart.svg.count("<svg") == 1


def test_best_and_worst() -> None:
    said = [0, 1, 2, None, 0, 0, 4]
    rows = [prediction("m", index, place) for index, place in enumerate(said)]
    best, worst = extremes(columns(rows))
    assert best == ["image-0", "image-1", "image-2"]
    # Fiji is farther from France than Peru is from Fiji; image-3 is nowhere; image-5 is right.
    assert worst == ["image-4", "image-6", "image-3"]
    right = [prediction("m", index, index) for index in range(9)]
    assert extremes(columns(right)) == ([f"image-{index}" for index in range(4)], [])


def test_groups_of_few_images_are_left_out() -> None:
    groups = {str(count): {"count": count, "geoscore": 100.0} for count in range(30)}
    chart = breakdown_chart("x", "country", [Line("m", None, {"by": {"country": groups}})])
    assert chart is not None
    assert "The largest 12 of 30 groups" in chart.caption
    few = {"a": {"count": 4, "geoscore": 100.0}}
    assert breakdown_chart("x", "c", [Line("m", None, {"by": {"c": few}})]) is None


def test_countries_that_are_taken_for_others() -> None:
    rows = [prediction("m", 0, 1), prediction("m", 5, 1), prediction("m", 1, None)]
    rows += [prediction("m", 2, 2), {**prediction("m", 3, 2), "answer": "[59.91, 10.75]"}]
    rows.append({**prediction("m", 4, 4), "country_code": "", "country": "Fidji"})
    at_sea = {"answer": "[30, -40]", "predicted_latitude": 30, "predicted_longitude": -40}
    rows.append({**prediction("m", 7, 7), **at_sea})
    found = confusion(columns(rows))
    assert (found.known, found.right) == (7, 2)
    mistakes = [(one.truth, one.predicted, one.count, one.of) for one in found.mistakes]
    assert mistakes[0] == ("France", "Peru", 2, 2)
    assert ("Japan", "Norway", 1, 1) in mistakes
    assert ("Peru", "not located", 1, 1) in mistakes
    assert ("Norway", "out at sea", 1, 2) in mistakes
    assert found.kinds == 4


def test_the_quality_of_chains_is_shown_if_it_is_of_these_predictions(make_run: Make) -> None:
    run = make_run()
    assert "Quality of chains of thought" not in text_of(page_of(run))
    home = run.evaluation("mine") / "predictions.cot"
    figures = {"count": 40, "cot_quality": 59.123, "background": 0.5, "caption": None}
    figures |= {"inference": 0.25, "intervals": {"cot_quality": [50.0, 61.5]}}
    write_json(home / "figures.json", {"by": {"model": {"grpo": figures}}})
    write_json(home / "settings.json", {"judge": ["openai", "Qwen3-32B"]})
    text = text_of(page_of(run))
    assert "GRPO 40 59.1 50.0–61.5 0.500 – 0.250" in text
    assert "judged by Qwen3-32B" in text
    write_json(home / "figures.json", {"by": None})
    assert "Quality of chains of thought" not in text_of(page_of(run))
    later = (home / "figures.json").stat().st_mtime + 1
    os.utime(run.evaluation("mine") / "predictions.jsonl", (later, later))
    text = text_of(page_of(run))
    assert "59.1" not in text
    assert "The predictions are newer than the judgement of their chains" in text
