"""Files → rows, whole or cut, and rows → fields."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from geoagent.data.readers import formats
from geoagent.data.readers.fields import Fields
from geoagent.data.readers.formats import Item, Position, UnreadableError, read_rows
from geoagent.data.readers.sources import Source, sources
from tests.unit.data.readers.publish import picture, put, write, write_parquet

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
objects = st.dictionaries(st.text(), anything, max_size=4)
shared_folder = settings(
    max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)


def read(path: Path, **settings: Any) -> tuple[list[Item], str]:
    """All items, and why there are no more."""
    items: list[Item] = []
    try:
        for item in read_rows(path, Position(), **settings):
            items.append(item)
    except UnreadableError as error:
        return items, str(error)
    return items, ""


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "_CHUNK", 7)


@given(
    rows=st.lists(objects, max_size=6), indent=st.sampled_from([None, 2]), chunk=st.integers(1, 40)
)
@shared_folder
def test_an_array_is_read_as_json_reads_it(
    tmp_path: Path, rows: list[dict[str, Any]], indent: int | None, chunk: int
) -> None:
    path = write(tmp_path / "x.json", json.dumps(rows, indent=indent))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(formats, "_CHUNK", chunk)
        items, reason = read(path)
    assert reason == ""
    assert [number for number, _ in items] == list(range(1, len(rows) + 1))
    assert json.dumps([row for _, row in items]) == json.dumps(rows)


@given(rows=st.lists(objects, min_size=1, max_size=5), data=st.data())
@shared_folder
def test_a_cut_array_gives_the_rows_before_the_cut(
    tmp_path: Path, rows: list[dict[str, Any]], data: st.DataObject
) -> None:
    text = json.dumps(rows)
    place = data.draw(st.integers(1, len(text) - 1))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(formats, "_CHUNK", 16)
        items, reason = read(write(tmp_path / "x.json", text[:place]))
    assert reason
    assert json.dumps([row for _, row in items]) == json.dumps(rows[: len(items)])
    whole = [json.dumps(rows[: count + 1])[:-1] for count in range(len(rows))]
    assert len(items) >= sum(len(start) <= place for start in whole)


@given(
    data=st.binary(max_size=200), suffix=st.sampled_from(["json", "jsonl", "csv", "tsv", "parquet"])
)
@shared_folder
def test_garbage_gives_rows_or_reasons(tmp_path: Path, data: bytes, suffix: str) -> None:
    items, _ = read(write(tmp_path / f"x.{suffix}", data))
    fields = Fields(sources()["osv5m"], text=True)
    for _, row in items:
        assert isinstance(row, str | dict)
        if isinstance(row, dict):
            fields.read(row)


cells = st.lists(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r")), max_size=5
)


@given(rows=st.lists(cells.filter(lambda row: len(row) == 3), max_size=5))
@shared_folder
def test_a_table_is_read_as_it_was_written(tmp_path: Path, rows: list[list[str]]) -> None:
    buffer = io.StringIO()
    csv.writer(buffer, quoting=csv.QUOTE_ALL).writerows([["a", "b", "c"], *rows])
    items, reason = read(write(tmp_path / "x.csv", "\ufeff" + buffer.getvalue()))
    assert reason == ""
    assert [list(row.values()) for _, row in items if isinstance(row, dict)] == rows
    assert [list(row) for _, row in items if isinstance(row, dict)] == [["a", "b", "c"]] * len(rows)


@pytest.mark.parametrize("skip", [0, 1, 2, 3, 4, 6, 9])
def test_rows_are_skipped_alike_in_all_files(tmp_path: Path, skip: int) -> None:
    rows = [{"n": str(number)} for number in range(7)]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    put(tmp_path / "folder", *(f"{row['n']}.jpg" for row in rows))
    paths = [
        write(tmp_path / "x.json", json.dumps(rows)),
        write(tmp_path / "x.jsonl", lines),
        write(tmp_path / "lines.json", lines),
        write(tmp_path / "x.csv", "n\n" + "".join(f"{row['n']}\n" for row in rows)),
        write_parquet(tmp_path / "x.parquet", rows, group=3),
        tmp_path / "folder",
    ]
    for path in paths:
        everything, _ = read(path, name_pattern=r"(?P<n>\d)")
        some, _ = read(path, name_pattern=r"(?P<n>\d)", skip=skip)
        assert some == everything[skip:], path
        assert [row["n"] for _, row in everything if isinstance(row, dict)] == [*"0123456"]


def test_an_element_that_never_ends_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(formats, "_MOST", 1000)
    monkeypatch.setattr(formats, "_CHUNK", 100)
    path = write(tmp_path / "x.json", '[{"a": 1}, {"b": "' + "x" * 100_000)
    position = Position()
    items = read_rows(path, position)
    assert next(items) == (1, {"a": 1})
    with pytest.raises(UnreadableError, match="not JSON after row 1"):
        next(items)
    assert position.done < 10_000, "the rest was not read"


def test_one_list_in_an_object(tmp_path: Path) -> None:
    path = write(
        tmp_path / "x.json", json.dumps({"version": 1, "data": [{"a": 1}, {"a": 2}]}, indent=1)
    )
    assert read(path) == ([(1, {"a": 1}), (2, {"a": 2})], "")


@pytest.mark.parametrize("text", ['[]\n{"a": 1}\n', '[{"a": 1}]{"a": 2}', "[] x"])
def test_what_follows_an_array_is_not_lost_in_silence(tmp_path: Path, text: str) -> None:
    assert "there is more after the closing ]" in read(write(tmp_path / "x.jsonl", text))[1]


def test_deep_json_is_no_crash(tmp_path: Path) -> None:
    assert read(write(tmp_path / "x.json", "[" * 100_000))[1].startswith("not JSON after row 0")
    items, reason = read(write(tmp_path / "y.jsonl", '{"a": 1}\n' + "[" * 100_000))
    assert items[0] == (1, {"a": 1})
    assert str(items[1][1]).startswith("not JSON")
    assert reason == ""


# --- fields ----------------------------------------------------------------------------------


def source(**changes: Any) -> Source:
    return Source(title="x", files={"train": ["x"]}, **changes)


@given(
    row=st.dictionaries(st.sampled_from([*"abc", "lat", "metadata", "images", "think"]), anything)
)
@settings(max_examples=100)
def test_no_row_is_a_crash(row: dict[str, Any]) -> None:
    for entry in sources().values():
        json.dumps(Fields(entry, text=False).read(row), default=str)


@given(names=st.lists(st.text("xyz_", min_size=1), unique_by=lambda name: name.strip("_")))
@settings(max_examples=100)
def test_unknown_columns_are_kept(names: list[str]) -> None:
    row = {f"my {name} column": number for number, name in enumerate(names)}
    found = Fields(source(), text=False).read(row)
    assert sorted(found.values()) == list(range(len(names)))


def test_the_first_column_that_is_not_empty_counts() -> None:
    fields = Fields(source(fields={"city": ["Town Name", "a.b", "*.deep"]}), text=False)
    assert fields.read({"town_name": "X", "a": {"b": "Y"}})["city"] == "X"
    assert fields.read({"town_name": " nan ", "a": {"b": "Y"}})["city"] == "Y"
    assert fields.read({"a": {"c": {"deep": "Z"}}})["city"] == "Z"
    assert fields.read({"metadata": '{"x": {"deep": "M"}}'})["city"] == "M"
    assert "city" not in fields.read({"metadata": "{broken"})


def test_numbers_of_tables() -> None:
    row = {"a": "7", "b": "007", "c": "1.5", "d": "-0.25", "e": "1e5", "f": "12345678901234567890"}
    found = Fields(source(), text=True).read(row)
    assert found == {"a": 7, "b": "007", "c": 1.5, "d": -0.25, "e": 1e5, "f": row["f"]}
    assert Fields(source(), text=False).read(row) == row


def test_bytes_are_no_column() -> None:
    row = {"image": {"bytes": picture()}, "thumb": picture(), "all": [{"bytes": picture()}], "n": 1}
    assert set(Fields(source(), text=False).read(row)) == {"image", "n"}


@pytest.mark.parametrize(
    ("row", "place"),
    [
        ({"country": "NA"}, {"country": "Namibia", "country_code": "NA"}),
        ({"country_code": "pe"}, {"country": "Peru", "country_code": "PE"}),
        ({"country": "Peru", "country_code": "PE"}, {"country": "Peru", "country_code": "PE"}),
        ({"country": "UK"}, {"country": "UK"}),
        (
            {"address": "<answer>Peru; Lima; Miraflores</answer>"},
            {"address": "Peru; Lima; Miraflores", "country": "Peru", "region": "Lima"}
            | {"city": "Miraflores"},
        ),
        ({"address": "somewhere in Peru"}, {}),
    ],
)
def test_places(row: dict[str, str], place: dict[str, str]) -> None:
    assert Fields(source(), text=False).read(row) == place
