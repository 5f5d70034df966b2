"""`geoagent cot-quality` and `geoagent metrics --verifier` with a judge behind real HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from geoagent import cli
from geoagent.evaluate.cot import assess
from geoagent.files import read_jsonl, write_jsonl

from .judge import Judge
from .models import make_bert, make_clip

CHAINS = {
    "a": "red roof. Thai is in Thailand. So this is Thailand.",
    "b": "the sign is in thai. So this is Thailand.",
    "c": None,
}


@pytest.fixture
def judge() -> Iterator[Judge]:
    with Judge() as judge:
        yield judge


@pytest.fixture
def url(judge: Judge, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("GEOAGENT_AGENT_TOKEN", "secret")
    return f"{judge.url}/v1"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("models")
    return make_bert(folder / "bert"), make_clip(folder / "clip")


def record(name: str, chain: str | None) -> dict[str, Any]:
    place = {"country": "Thailand", "region": "Songkhla", "city": "Hat Yai"}
    point = {"latitude": 7.0, "longitude": 100.5}
    return {"id": name, "image": f"{name}.png", "think": chain, "split": "val", **point, **place}


def prediction(name: str, think: str, model: str = "grpo") -> dict[str, Any]:
    completion = f"<think>{think}</think><answer>Thailand; Hat Yai</answer>"
    return {"id": name, "model": model, "completion": completion}


@pytest.fixture
def arguments(tmp_path: Path, url: str, models: tuple[Path, Path]) -> list[str]:
    data = tmp_path / "data"
    data.mkdir()
    for name in CHAINS:
        Image.new("RGB", (40, 40), "red").save(data / f"{name}.png")
    write_jsonl(data / "records.jsonl", [record(*item) for item in CHAINS.items()])
    rows = [
        prediction("a", "red roof. So this is Thailand."),
        prediction("b", "So this is Thailand."),
        prediction("c", "red."),
        prediction("a", "red roof.", "sft"),
        prediction("c", "red.", "sft"),
    ]
    write_jsonl(tmp_path / "predictions.jsonl", rows)
    bert, clip = models
    return [
        *("cot-quality", str(tmp_path / "predictions.jsonl"), "--truth", str(data)),
        *("--agent", url, "--bert", str(bert), "--clip", str(clip), "--by", "model"),
    ]


def test_figures_and_rows(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(arguments) == 0
    told = capsys.readouterr()
    result = json.loads(told.out)
    assert "warning: 1 sample without a prediction: scored 0" in told.err
    assert result["count"] == 6
    assert result["failures"] == {
        "no_reference": 2,
        "no_image": 0,
        "unjudged": 0,
        "no_reasoning": 0,
        "missing": 1,
    }
    rows = {
        (row["model"], row["id"]): row
        for row in read_jsonl(tmp_path / "predictions.cot/rows.jsonl")
    }
    first = rows["grpo", "a"]
    assert first["background"] == 0.0
    assert first["inference"] == pytest.approx(1.0, abs=1e-5)
    assert 0 <= first["caption"] <= 10 / 7
    expected = (0.0 + first["inference"] + min(first["caption"], 1.0)) / 3 * 100
    assert first["cot_quality"] == pytest.approx(expected)
    assert rows["sft", "b"]["cot_quality"] == 0.0
    scored = [row["cot_quality"] for row in rows.values() if row["cot_quality"] is not None]
    assert len(scored) == result["scored"]["cot_quality"] == 4
    assert result["cot_quality"] == pytest.approx(sum(scored) / 4)
    low, high = result["intervals"]["cot_quality"]
    assert low <= result["cot_quality"] <= high
    kept = json.loads((tmp_path / "predictions.cot/figures.json").read_text())
    assert kept == result  # with the figures of each model, whatever --by says
    groups = result["by"]["model"]
    assert groups["grpo"]["cot_quality"] * 2 + groups["sft"]["cot_quality"] * 2 == pytest.approx(
        sum(scored)
    )


def test_a_stopped_run_goes_on(
    arguments: list[str],
    judge: Judge,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(assess, "_AT_ONCE", 2)
    assert cli.main([*arguments, "--out", str(tmp_path / "whole")]) == 0
    whole = capsys.readouterr().out
    add = assess.Parts.add

    def die(self: assess.Parts, rows: Any) -> None:
        add(self, rows)
        raise KeyboardInterrupt

    out = tmp_path / "stopped"
    with monkeypatch.context() as stopped:
        stopped.setattr(assess.Parts, "add", die)
        assert cli.main([*arguments, "--out", str(out)]) == 130
    assert len(list(read_jsonl(out / "rows.jsonl"))) == 2
    with (out / "rows.jsonl").open("a") as file:
        file.write('{"id": "b", "made_w')  # cut by a kill
    judge.asked.clear()
    capsys.readouterr()
    assert cli.main([*arguments, "--out", str(out)]) == 0
    assert capsys.readouterr().out == whole
    assert len(list(read_jsonl(out / "rows.jsonl"))) == 6
    before = list(judge.asked)
    assert len(before) == len(set(before))
    assert not any("red roof" in text and text.startswith("Step") for text in before)  # was kept
    assert cli.main([*arguments, "--out", str(out)]) == 0
    assert judge.asked == before
    assert capsys.readouterr().out == whole


def test_a_row_that_changed_is_scored_anew(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(arguments) == 0
    before = json.loads(capsys.readouterr().out)
    file = tmp_path / "predictions.jsonl"
    rows = list(read_jsonl(file))
    rows[1]["completion"] = "<think>No.</think>"
    write_jsonl(file, rows)
    assert cli.main(arguments) == 0
    after = json.loads(capsys.readouterr().out)
    assert after["by"]["model"]["grpo"]["inference"] < before["by"]["model"]["grpo"]["inference"]
    assert after["by"]["model"]["sft"] == before["by"]["model"]["sft"]
    kept = list(read_jsonl(tmp_path / "predictions.cot/rows.jsonl"))
    assert len(kept) == after["count"] == 6
    other = file.rename(tmp_path / "other.jsonl")
    arguments[1] = str(other)
    assert cli.main([*arguments, "--out", str(tmp_path / "predictions.cot")]) == 2
    assert "made with other predictions; choose another --out" in capsys.readouterr().err
    assert list(read_jsonl(tmp_path / "predictions.cot/rows.jsonl")) == kept


def test_the_thoughts_of_all_turns_are_the_chain(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call = '<tool_call>{"name": "search_web", "arguments": {"query": "red roof"}}</tool_call>'
    first = {"completion": f"<think>red roof.</think>{call}", "observation": "Thai is in Thailand."}
    last = prediction("a", "So this is Thailand.")
    row = {**last, "trace": {"turns": [first, {"completion": last["completion"]}]}}
    file = tmp_path / "predictions.jsonl"
    write_jsonl(file, [row])
    assert cli.main([*arguments, "--out", str(tmp_path / "turns")]) == 0
    kept = next(read_jsonl(tmp_path / "turns/rows.jsonl"))
    assert [step["text"] for step in kept["steps"]] == ["red roof.", "So this is Thailand."]
    assert kept["background"] == 0  # what a search has found is not what the model has said
    write_jsonl(file, [{**row, "trace": {"turns": [{"completion": "<think>no</think>"}]}}])
    capsys.readouterr()
    assert cli.main([*arguments, "--out", str(tmp_path / "turns")]) == 0
    assert [step["text"] for step in next(read_jsonl(tmp_path / "turns/rows.jsonl"))["steps"]] == [
        "no"
    ]


def test_figures_of_another_judge_are_not_mixed(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(arguments) == 0
    rows = (tmp_path / "predictions.cot/rows.jsonl").read_bytes()
    assert cli.main([*arguments, "agent.model=other"]) == 2
    assert "made with other judge; choose another --out" in capsys.readouterr().err
    assert (tmp_path / "predictions.cot/rows.jsonl").read_bytes() == rows


def test_what_the_judge_cannot_judge_is_asked_again_next_time(
    arguments: list[str], judge: Judge, capsys: pytest.CaptureFixture[str]
) -> None:
    judge.broken = "Step: So this is"
    assert cli.main([*arguments, "agent.retries=1"]) == 0
    told = capsys.readouterr()
    assert "warning: the judge gave no usable reply to 1 of" in told.err
    result = json.loads(told.out)
    assert result["failures"]["unjudged"] == 1  # grpo's b has nothing else
    assert result["unanswered"] == 6  # in each row that has the step, or whose annotation has
    judge.broken = "\0"
    assert cli.main([*arguments, "agent.retries=1"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert (again["failures"]["unjudged"], again["unanswered"]) == (0, 0)
    assert again["inference"] > 0


def test_an_outage_is_no_result(
    arguments: list[str], judge: Judge, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    judge.status = 503
    assert cli.main([*arguments, "agent.patience_s=0.3"]) == 75
    told = capsys.readouterr()
    assert told.out == ""
    assert "has not answered" in told.err
    assert not (tmp_path / "predictions.cot/rows.jsonl").exists()


def test_a_broken_image_costs_its_sample_only(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "data/a.png").write_bytes(b"no image")
    assert cli.main(arguments) == 0
    failures = json.loads(capsys.readouterr().out)["failures"]
    assert failures["no_image"] == 2


def test_images_elsewhere_and_grevals_chains(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(arguments) == 0
    expected = capsys.readouterr().out
    data, pictures = tmp_path / "data", tmp_path / "pictures"
    pictures.mkdir()
    for path in data.glob("*.png"):
        path.rename(pictures / path.name)
    (data / "dataset.json").write_text(json.dumps({"images": str(pictures)}))
    rows = [{**row, "gt_cot": row.pop("think")} for row in read_jsonl(data / "records.jsonl")]
    write_jsonl(data / "records.jsonl", rows)
    assert cli.main([*arguments, "--out", str(tmp_path / "other")]) == 0
    assert capsys.readouterr().out == expected


def test_refusals(arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def refused(*changed: str) -> str:
        assert cli.main([*arguments, *changed]) == 2
        return capsys.readouterr().err

    assert "no such folder" in refused("--bert", str(tmp_path / "none"))
    assert "is no CLIP model" in refused("--clip", arguments[arguments.index("--bert") + 1])
    assert "--by: no column 'colour'" in refused("--by", "colour")
    assert "no usable record in split 'train'" in refused("--split", "train")
    file = tmp_path / "predictions.jsonl"
    row = next(read_jsonl(file))
    write_jsonl(file, [row, row])
    assert "predictions.jsonl:2: id 'a' is there twice" in refused()
    write_jsonl(file, [{"id": "a", "completion": None}])
    assert "predictions.jsonl:1: completion: missing, or not a text" in refused()
    for trace in ([], {}, {"turns": []}, {"turns": [{"thought": "x"}]}):
        write_jsonl(file, [{"id": "a", "trace": trace}])
        assert "predictions.jsonl:1: trace: has no turns" in refused()
    write_jsonl(file, [])
    assert "no rows" in refused()
    write_jsonl(tmp_path / "data/records.jsonl", [record("a", None)])
    assert "no record has an annotated chain" in refused()


def test_metrics_by_a_verifier(
    url: str, judge: Judge, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "rows.jsonl"
    point = {"predicted_latitude": 7.0, "predicted_longitude": 100.4}
    answers = ("Thailand; Hat Yai", "Laos; Vientiane", "Thailand; broken")
    rows = [
        {**record(str(number), None), **point, "answer": answer}
        for number, answer in enumerate(answers)
    ]
    write_jsonl(file, rows)
    judge.broken = "broken"
    assert cli.main(["metrics", str(file), "--verifier", url, "agent.retries=0"]) == 0
    told = capsys.readouterr()
    result = json.loads(told.out)
    assert "no usable reply for 1 row: not in the accuracies of names" in told.err
    assert result["verifier"] == {"judged": 2, "unjudged": 1}
    assert result["country_accuracy"] == result["city_accuracy"] == 0.5
    assert result["named"]["city"] == 2
    assert cli.main(["metrics", str(file), "agent.retries=0"]) == 2
    assert "belong to --verifier" in capsys.readouterr().err
