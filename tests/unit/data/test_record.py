"""Reading datasets: good rows are kept, bad ones are refused with their reason."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from geoagent.data.prompt import QUESTION
from geoagent.data.record import Record, decode_image, image_root, read_records
from geoagent.data.swift import to_swift_rows, write_swift_jsonl
from geoagent.errors import UsageError

GOOD: dict[str, Any] = {
    "id": "a",
    "image": "a.png",
    "latitude": 48.85,
    "longitude": 2.35,
    "country": "France",
    "region": "Ile-de-France",
    "city": "Paris",
    "split": "train",
    "think": "{}",
    "weather": "rain",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    Image.new("RGB", (64, 64), "red").save(tmp_path / "whole.jpg")
    whole = (tmp_path / "whole.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.jpg").write_text("this is no picture")
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path.parent / "outside.png").write_bytes((tmp_path / "a.png").read_bytes())
    return tmp_path


def write(folder: Path, *rows: Any) -> None:
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    (folder / "records.jsonl").write_text("\n".join(lines) + "\n")


def test_a_good_row(folder: Path) -> None:
    write(folder, GOOD)
    records, rejected = read_records(folder)
    assert rejected == []
    assert records[0].address == "France; Ile-de-France; Paris"
    assert records[0].extra == {"weather": "rain"}
    assert records[0].to_row()["weather"] == "rain"


BAD = [
    ({**GOOD, "image": None}, "image: missing"),
    ({key: value for key, value in GOOD.items() if key != "image"}, "image: missing"),
    ({**GOOD, "image": "no.png"}, "image: 'no.png' does not exist"),
    ({**GOOD, "image": "cut.jpg"}, "image: 'cut.jpg' cannot be decoded"),
    ({**GOOD, "image": "text.jpg"}, "image: 'text.jpg' cannot be decoded"),
    ({**GOOD, "image": "empty.jpg"}, "image: 'empty.jpg' cannot be decoded"),
    ({**GOOD, "image": "../outside.png"}, "is outside the dataset folder"),
    ({**GOOD, "image": "/etc/hostname"}, "is outside the dataset folder"),
    ({**GOOD, "image": "a\0.png"}, "is not a usable path"),
    ({**GOOD, "latitude": 123}, "latitude: 123 is out of range (−90 to 90)"),
    ({**GOOD, "longitude": -180.5}, "longitude: -180.5 is out of range"),
    ({**GOOD, "latitude": None}, "latitude: missing"),
    ({**GOOD, "latitude": "north"}, "latitude: 'north' is not a number"),
    ({**GOOD, "latitude": True}, "latitude: 'True' is not a number"),
    ({**GOOD, "latitude": float("nan")}, "latitude: 'nan' is not a number"),
    ({**GOOD, "id": None}, "id: missing"),
    ({**GOOD, "country": 7}, "country: not a text"),
    ({**GOOD, "think": ["x"]}, "think: not a text"),
    ('{"id": "a", ', "not JSON"),
    ("[1, 2]", "not a JSON object"),
    ("[" * 100_000, "not JSON"),
]


@pytest.mark.parametrize(("row", "reason"), BAD, ids=[reason for _, reason in BAD])
def test_a_bad_row_is_refused_and_the_others_kept(folder: Path, row: Any, reason: str) -> None:
    write(folder, {**GOOD, "id": "first"}, row, {**GOOD, "id": "last"})
    records, rejected = read_records(folder)
    assert [record.id for record in records] == ["first", "last"]
    assert [bad.line for bad in rejected] == [2]
    assert reason in rejected[0].reason
    with pytest.raises(UsageError, match=r"records.jsonl:2: "):
        read_records(folder, strict=True)


def test_an_id_twice(folder: Path) -> None:
    write(folder, GOOD, GOOD)
    records, rejected = read_records(folder)
    assert len(records) == 1
    assert rejected[0].reason == "id 'a' is used by an earlier row"


def test_split_and_limit(folder: Path) -> None:
    write(
        folder, *({**GOOD, "id": f"{split}{n}", "split": split} for n in range(3) for split in "xy")
    )
    assert [record.id for record in read_records(folder, "y")[0]] == ["y0", "y1", "y2"]
    assert [record.id for record in read_records(folder, "y", limit=2)[0]] == ["y0", "y1"]


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"a dataset folder needs this file"):
        read_records(tmp_path)


@given(
    st.lists(
        st.one_of(
            st.text(),
            st.recursive(st.none() | st.floats() | st.text(), st.lists).map(json.dumps),
            st.fixed_dictionaries(
                {
                    key: st.one_of(st.none(), st.floats(), st.text(), st.integers())
                    for key in ("id", "image", "latitude", "longitude")
                }
            ).map(json.dumps),
        ),
        max_size=5,
    )
)
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_garbage_never_raises(tmp_path: Path, lines: list[str]) -> None:
    path = tmp_path / "records.jsonl"
    path.write_bytes("\n".join(lines).encode("utf-8", "surrogatepass"))
    records, rejected = read_records(tmp_path)
    assert records == []
    assert all(bad.reason for bad in rejected)


def test_images_in_another_folder(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    dataset = tmp_path_factory.mktemp("dataset")
    write(dataset, GOOD, {**GOOD, "id": "b", "image": "../outside.png"})
    (dataset / "dataset.json").write_text(json.dumps({"images": str(folder)}))
    records, rejected = read_records(dataset)
    assert [record.id for record in records] == ["a"]
    assert "is outside the dataset folder" in rejected[0].reason
    (row,) = to_swift_rows(records, dataset, "grpo")
    assert row["images"] == [str(folder.resolve() / "a.png")]


@pytest.mark.parametrize("images", ["images", "/no/such/folder", 7, ["/tmp"], "/etc/hostname"])
def test_a_wrong_folder_of_images_is_refused(folder: Path, images: Any) -> None:
    write(folder, GOOD)
    (folder / "dataset.json").write_text(json.dumps({"images": images}))
    with pytest.raises(UsageError, match=r"dataset.json: images: .* correct it if"):
        read_records(folder)


@pytest.mark.parametrize("about", [{}, {"images": None}, []])
def test_images_are_in_the_dataset_folder_by_default(folder: Path, about: Any) -> None:
    write(folder, GOOD)
    (folder / "dataset.json").write_text(json.dumps(about))
    assert image_root(folder) == folder.resolve()


def record(**changes: Any) -> Record:
    values = {key: value for key, value in GOOD.items() if key != "weather"}
    return Record(**{**values, "address": "France; Ile-de-France; Paris", **changes})


def test_sft_rows(tmp_path: Path) -> None:
    (row,) = to_swift_rows([record(), record(id="b", think=None)], tmp_path, "sft")
    assert row["messages"] == [
        {"role": "user", "content": f"<image>{QUESTION}"},
        {
            "role": "assistant",
            "content": "<think>{}</think><answer>France; Ile-de-France; Paris</answer>",
        },
    ]
    assert row["images"] == [str(tmp_path / "a.png")]


def test_grpo_rows_carry_the_truth_and_not_the_answer(tmp_path: Path) -> None:
    (row,) = to_swift_rows([record(think=None)], tmp_path, "grpo")
    assert [message["role"] for message in row["messages"]] == ["user"]
    assert row["solution"] == "<answer>France; Ile-de-France; Paris</answer>"
    assert (row["latitude"], row["longitude"], row["city"]) == (48.85, 2.35, "Paris")


def test_no_rows_no_file(tmp_path: Path) -> None:
    path = tmp_path / "sft.jsonl"
    path.write_text("of an earlier try")
    assert write_swift_jsonl([record(think=None)], tmp_path, "sft", path) == 0
    assert not path.exists()


def test_a_row_without_a_split_is_for_training_only(folder: Path) -> None:
    write(folder, {key: value for key, value in GOOD.items() if key != "split"})
    assert len(read_records(folder, "train")[0]) == 1
    assert read_records(folder, "heldout") == ([], [])


def test_rows_are_written_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "grpo.jsonl"
    assert write_swift_jsonl([record(), record(id="b")], tmp_path, "grpo", path) == 2
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [row["id"] for row in rows] == ["a", "b"]
    assert set(rows[0]) == {
        *("id", "messages", "images", "solution", "latitude", "longitude"),
        *("country", "region", "city", "country_code"),
    }


def test_an_unknown_stage(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'dpo' is none of"):
        next(to_swift_rows([record()], tmp_path, "dpo"))


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_that_is_cut_anywhere_is_refused(tmp_path: Path, progressive: bool) -> None:
    noise = Image.effect_noise((64, 64), 80).convert("RGB")
    noise.save(tmp_path / "whole.jpg", progressive=progressive)
    whole = (tmp_path / "whole.jpg").read_bytes()
    assert decode_image(tmp_path / "whole.jpg", "whole.jpg") == "JPEG"
    for place in range(0, len(whole) - 2, 97):
        (tmp_path / "cut.jpg").write_bytes(whole[:place])
        with pytest.raises(ValueError, match=r"image: 'cut.jpg' cannot be decoded"):
            decode_image(tmp_path / "cut.jpg", "cut.jpg")
