"""The file of annotations: read whatever a kill has left, refused where a person erred."""

from __future__ import annotations

import json
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geoagent.annotate.prompt import read_reply
from geoagent.data.annotations import (
    ELEMENTS,
    PRESENCE,
    Annotated,
    Annotation,
    columns,
    read_annotations,
    to_annotation,
)
from geoagent.data.record import read_records
from geoagent.errors import UsageError

ANNOTATIONS = st.builds(
    Annotation,
    st.integers(0, 10),
    st.fixed_dictionaries({name: st.sampled_from(PRESENCE) for name in ELEMENTS}),
)
ROWS = st.one_of(
    st.builds(Annotated, st.text("abc", min_size=1), st.just("m"), st.just(1), ANNOTATIONS),
    st.builds(
        Annotated, st.text("abc", min_size=1), st.just("m"), st.just(1), st.none(), st.text("xyz")
    ),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


def text_of(rows: list[Annotated]) -> str:
    return "".join(json.dumps(row.to_row()) + "\n" for row in rows)


@settings(deadline=None)
@given(st.lists(ROWS, max_size=8), st.data())
def test_a_file_that_was_cut_anywhere_holds_all_its_whole_lines(
    rows: list[Annotated], data: st.DataObject
) -> None:
    text = text_of(rows)
    cut = data.draw(st.integers(0, len(text)))
    whole = rows[: text[:cut].count("\n")]
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "annotations.jsonl").write_text(text[:cut])
        found = read_annotations(Path(name))
    # The last line may be whole but for its end.
    assert found in ({r.id: r for r in whole}, {r.id: r for r in rows[: len(whole) + 1]})


@settings(deadline=None)
@given(JSON)
def test_any_json_is_an_annotation_or_refused(value: Any) -> None:
    with suppress(ValueError):
        annotation = to_annotation(value)
        assert set(annotation.scene) == set(ELEMENTS)


@settings(deadline=None)
@given(st.text() | JSON.map(json.dumps))
def test_any_reply_is_an_annotation_or_refused(content: str) -> None:
    with suppress(ValueError):
        assert read_reply(content).locatability in range(11)


@settings(deadline=None)
@given(ANNOTATIONS)
def test_replies_in_the_forms_that_models_write(annotation: Annotation) -> None:
    text = json.dumps({"scene": annotation.scene, "locatability": annotation.locatability})
    for content in (
        text,
        f"```json\n{text}\n```",
        f"<think>A road {{and}} a sign.</think>\n{text}",
        f"Here it is: {text} I hope it helps.",
        text.replace('"yes"', '"Yes "'),
        text.replace(f": {annotation.locatability}}}", f": {annotation.locatability}.0}}"),
    ):
        assert read_reply(content) == annotation


def test_deep_and_endless_replies() -> None:
    for content in ("{" * 100_000 + "}" * 100_000, '{"a":' * 50_000 + "}" * 50_000, "", "}{"):
        with pytest.raises(ValueError, match="reply is not JSON"):
            read_reply(content)


SCENE = dict.fromkeys(ELEMENTS, "no")


def test_the_newest_row_of_an_id_counts(tmp_path: Path) -> None:
    rows = [
        Annotated("a", "m", 1, None, "no JSON"),
        Annotated("a", "m", 1, Annotation(3, SCENE)),
        Annotated("b", "m", 1, Annotation(4, SCENE)),
        Annotated("b", "m", 1, None, "no JSON"),
    ]
    (tmp_path / "annotations.jsonl").write_text(text_of(rows))
    assert columns(tmp_path) == {"a": {"locatability": 3, "scene": SCENE}}
    assert read_annotations(tmp_path / "nowhere") == {}


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"id": "a", "locatability": 12, "scene": SCENE}, "locatability: 12"),
        ({"id": "a", "locatability": 2, "scene": {**SCENE, "sign": "oui"}}, "sign"),
        ({"id": 5, "locatability": 2, "scene": SCENE}, "id: missing"),
        ([], "id: missing"),
    ],
)
def test_a_row_that_a_person_got_wrong_is_told(tmp_path: Path, row: Any, reason: str) -> None:
    (tmp_path / "annotations.jsonl").write_text("\n" + json.dumps(row) + "\n")
    with pytest.raises(UsageError, match=rf"annotations.jsonl:2: .*{reason}.*correct or remove it"):
        read_annotations(tmp_path)


def test_a_records_own_columns_win(tmp_path: Path) -> None:
    row = {"id": 1, "image": "a.jpg", "latitude": 1, "longitude": 2, "locatability": 9.5}
    other = {**row, "id": "two", "note": "x"}
    del other["locatability"]
    flat = {**other, "id": "flat", "sign": "yes"}
    (tmp_path / "records.jsonl").write_text("\n".join(map(json.dumps, (row, other, flat))))
    names = ("1", "two", "flat", "gone")
    annotations = [Annotated(name, "m", 1, Annotation(3, SCENE)) for name in names]
    (tmp_path / "annotations.jsonl").write_text(text_of(annotations))
    first, second, third = read_records(tmp_path, check_images=False)[0]
    assert first.extra == {"locatability": 9.5, "scene": SCENE}
    assert second.extra == {"locatability": 3, "scene": SCENE, "note": "x"}
    assert third.extra == {"locatability": 3, "note": "x", "sign": "yes"}
    assert second.to_row()["scene"] == SCENE
