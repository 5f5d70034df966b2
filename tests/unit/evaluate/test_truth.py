"""`geoagent metrics --truth`: predictions joined with a dataset folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from geoagent import cli
from geoagent.files import write_jsonl

Row = dict[str, Any]


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    rows = [
        {
            "id": name,
            "image": f"{name}.jpg",
            "latitude": 0.0,
            "longitude": float(number),
            "country": "Peru",
            "data_type": "photo" if number else "panorama",
            "split": "val",
        }
        for number, name in enumerate("abc")
    ]
    write_jsonl(tmp_path / "data" / "records.jsonl", rows)
    return tmp_path / "data"


@pytest.fixture
def predict(tmp_path: Path) -> Any:
    def write(*names: str, **more: Any) -> Path:
        rows = [
            {"id": name, "predicted_latitude": 0.0, "predicted_longitude": 0.0, **more}
            for name in names
        ]
        write_jsonl(tmp_path / "p.jsonl", rows)
        return tmp_path / "p.jsonl"

    return write


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    code = cli.main(["metrics", *map(str, words)])
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def test_the_truth_comes_from_the_records(
    dataset: Path, predict: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    file = predict("c", "a", "b", answer="Peru; Ancash; Huaraz")
    code, out, err = run(capsys, file, "--truth", dataset, "--by", "data_type")
    assert (code, err) == (0, "")
    result = json.loads(out)
    assert (result["count"], result["accuracy_1km"], result["country_accuracy"]) == (3, 1 / 3, 1.0)
    assert result["accuracy_200km"] == pytest.approx(2 / 3)
    assert {key: group["count"] for key, group in result["by"]["data_type"].items()} == {
        "panorama": 1,
        "photo": 2,
    }


def test_a_sample_without_a_row_is_a_failure(
    dataset: Path, predict: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(capsys, predict("a"), "--truth", dataset, "--by", "data_type")
    result = json.loads(out)
    assert code == 0
    assert err == "warning: 2 samples without a prediction: counted as failures\n"
    assert (result["count"], result["failures"]["missing"]) == (3, 2)
    assert result["geocoded_rate"] == pytest.approx(1 / 3)
    assert result["by"]["data_type"]["photo"]["failures"]["missing"] == 2


def test_each_model_has_its_own_missing_ones(
    dataset: Path, predict: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [*map(json.loads, predict("a", model="base").read_text().splitlines())]
    rows += map(json.loads, predict("a", "b", model="sft").read_text().splitlines())
    write_jsonl(dataset.parent / "p.jsonl", rows)
    code, out, _ = run(capsys, dataset.parent / "p.jsonl", "--truth", dataset, "--by", "model")
    groups = json.loads(out)["by"]["model"]
    assert code == 0
    assert [groups[name]["count"] for name in ("base", "sft")] == [3, 3]
    assert [groups[name]["failures"]["missing"] for name in ("base", "sft")] == [2, 1]


def test_unknown_ids_are_refused(
    dataset: Path, predict: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(capsys, predict("a", *"tuvwxyz"), "--truth", dataset)
    assert (code, out) == (2, "")
    assert err.endswith("records.jsonl: has no record with id t, u, v, w, x and 2 more\n")
    assert err.count("\n") == 1


def test_a_row_twice_is_refused_with_its_line(
    dataset: Path, predict: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run(capsys, predict("a", "b", "a"), "--truth", dataset)
    assert code == 2
    assert "p.jsonl:3: id 'a' is there twice" in err


def test_the_split_must_be_named(
    dataset: Path, predict: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    with (dataset / "records.jsonl").open("a") as file:
        file.write('{"id": "t", "image": "t.jpg", "latitude": 0, "longitude": 0}\n')
        file.write('{"id": "u", "image": "u.jpg", "latitude": 99, "longitude": 0}\n')
    code, out, err = run(capsys, predict("a"), "--truth", dataset)
    assert (code, out) == (2, "")
    assert "has the splits train, val; say which was predicted: --split train" in err
    code, out, err = run(capsys, predict("t"), "--truth", dataset, "--split", "train")
    assert (code, json.loads(out)["count"]) == (0, 1)
    assert "1 record cannot be used" in err
    assert (
        "no usable record in split 'x'"
        in run(capsys, predict("a"), "--truth", dataset, "--split", "x")[2]
    )


@pytest.mark.parametrize("more", [[], ["--truth", "nowhere"]])
def test_what_does_not_fit(
    more: list[str], predict: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(capsys, predict("a"), "--split", "val", *more)
    assert (code, out) == (2, "")
    assert err.startswith("error: --split: belongs to --truth" if not more else "error: nowhere")


def test_an_empty_file_is_refused_also_with_the_truth(
    dataset: Path, predict: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(capsys, predict(), "--truth", dataset)
    assert (code, out) == (2, "")
    assert "p.jsonl: no rows" in err


def test_an_id_is_the_same_as_a_number_and_as_a_text(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = {"image": "x.jpg", "latitude": 0, "longitude": 0}
    write_jsonl(tmp_path / "data" / "records.jsonl", [{"id": 1, **record}])
    row = {"predicted_latitude": 0, "predicted_longitude": 0}
    write_jsonl(tmp_path / "p.jsonl", [{"id": 1, **row}, {"id": "1", **row}])
    code, _, err = run(capsys, tmp_path / "p.jsonl", "--truth", tmp_path / "data")
    assert code == 2
    assert "p.jsonl:2: id '1' is there twice" in err


def test_a_model_that_is_no_name_is_refused(
    dataset: Path, predict: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run(capsys, predict("a", model=["x"]), "--truth", dataset)
    assert code == 2
    assert "p.jsonl:1: id, model or draw: not a text or a number" in err
