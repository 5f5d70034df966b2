"""Which names of an answer are right, and why a row has no point."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoagent.evaluate.metrics import metrics
from geoagent.evaluate.rules import GEOVISTA

Row = dict[str, Any]
LEVELS = ("country", "region", "city")


def row(answer: Any = "Peru; Ancash; Huaraz", **more: Any) -> Row:
    return {
        "latitude": -9.53,
        "longitude": -77.53,
        "predicted_latitude": -9.53,
        "predicted_longitude": -77.53,
        "country": "Peru",
        "region": "Ancash",
        "city": "Huaraz",
        "answer": answer,
        **more,
    }


def nowhere(**more: Any) -> Row:
    return {**row(None), "predicted_latitude": None, "predicted_longitude": None, **more}


def shares(result: Row) -> list[float | None]:
    return [result[f"{level}_accuracy"] for level in LEVELS]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("Peru; Ancash; Huaraz", [1, 1, 1]),
        ("Perú; Áncash Region; huaraz", [1, 1, 1]),
        ("Peru; Huaraz", [1, 1, 1]),
        ("Peru; Ancash; Chimbote", [1, 1, 0]),
        ("Peru; Cusco; Cusco", [1, 0, 0]),
        ("Peru", [1, 0, 0]),
        ("Bolivia; Ancash; Huaraz", [0, 0, 0]),
        ("", [0, 0, 0]),
        (None, [0, 0, 0]),
        ("[-9.53, -77.53]", [1, 1, 1]),
        ("Longitude: -77.53 Latitude: -9.53", [1, 1, 1]),
        ("[-16.5, -68.15]", [0, 0, 0]),
        ("[0, -150]", [0, 0, 0]),  # the Pacific
    ],
)
def test_names_of_an_answer(answer: str | None, expected: list[int]) -> None:
    assert shares(metrics([row(answer)])) == expected


def test_what_the_truth_does_not_name_is_not_judged() -> None:
    rows = [row(), row(region=""), row(city=None), row(country="", region="", city="")]
    result = metrics(rows)
    assert result["named"] == {"country": 3, "region": 2, "city": 2}
    assert shares(result) == [1.0, 1.0, 1.0]
    assert shares(metrics([row(country="")])) == [None, None, None]
    assert shares(metrics([row(country="")], rules=GEOVISTA)) == [1.0, 1.0, 1.0]


def test_without_answers_nothing_is_said_of_names() -> None:
    plain = {key: value for key, value in row().items() if key != "answer"}
    result = metrics([row(), plain])
    assert shares(result) == [None, None, None]
    assert result["named"] == {"country": 1, "region": 1, "city": 1}


def test_a_completion_has_an_answer() -> None:
    said = row(completion="<think>t</think><answer>Peru; Ancash; Huaraz</answer>")
    del said["answer"]
    assert shares(metrics([said])) == [1.0, 1.0, 1.0]


def test_every_failure_has_a_reason() -> None:
    unexplained = {key: value for key, value in nowhere().items() if key != "answer"}
    cut = {**unexplained, "completion": "<think>never ends"}
    rows = [
        *(row(), nowhere(), nowhere(answer=" ; "), nowhere(answer="Atlantis; Lost; Sunken")),
        *(unexplained, cut),
    ]
    result = metrics(rows)
    assert result["count"] == 6
    assert result["failures"] == {
        "no_answer": 3,
        "not_geocoded": 1,
        "unexplained": 1,
        "missing": 0,
    }
    assert result["geocoded_rate"] == pytest.approx(1 / 6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"answer": 7}, "answer: 7 is not a text"),
        ({"country": ["Peru"]}, 'country: ["Peru"] is not a text'),
        ({"id": [1]}, "id, model or draw: not a text or a number"),
        ({"latitude": 10**400}, "latitude: 1000"),
    ],
)
def test_a_bad_row_is_named(change: Row, message: str) -> None:
    rows = [row(id=number) for number in range(25_000)]  # more than one chunk
    rows[20_002] |= change
    rows[24_000]["latitude"] = 91
    with pytest.raises(ValueError, match=r".") as caught:
        metrics(rows)
    assert message in caught.value.args[0]
    assert caught.value.args[1] == 20_003


def test_a_row_is_refused_that_would_count_twice() -> None:
    rows = [row(id="a", model="sft"), row(id="a", model="grpo"), row(id="a", model="sft", draw=1)]
    assert metrics(rows)["count"] == 3
    with pytest.raises(ValueError, match="id 'a' is there twice for model 'sft'") as caught:
        metrics([*rows, row(id="a", model="sft"), row(latitude=95)])
    assert caught.value.args[1] == 4
    with pytest.raises(ValueError, match="need a column 'model'"):
        metrics([row(id=1), row(id=1)])


def test_the_first_bad_row_is_the_one_that_is_named() -> None:
    with pytest.raises(ValueError, match="out of range") as caught:
        metrics([row(id="a"), row(latitude=95), row(id="a")])
    assert caught.value.args[1] == 2


texts = st.text(max_size=40) | st.none()


@given(st.lists(st.tuples(texts, texts, texts, texts), min_size=1, max_size=5))
def test_any_text_is_judged(drawn: list[tuple[str | None, ...]]) -> None:
    names = ("answer", "country", "region", "city")
    rows = [row(**dict(zip(names, values, strict=True))) for values in drawn]
    for result in (metrics(rows), metrics(rows, rules=GEOVISTA)):
        known = [share for share in shares(result) if share is not None]
        assert all(0 <= share <= 1 for share in known)
        json.dumps(result, allow_nan=False)
    judged = shares(metrics(rows, rules=GEOVISTA))
    assert judged == sorted(judged, reverse=True)  # a finer hit implies the coarser ones
