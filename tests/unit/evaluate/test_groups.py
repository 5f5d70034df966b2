"""Break-downs."""

from __future__ import annotations

from typing import Any

import pytest

from geoagent.data.annotations import ELEMENTS
from geoagent.evaluate.groups import MOST_VALUES, available, labels
from geoagent.evaluate.metrics import metrics

Row = dict[str, Any]


def row(**more: Any) -> Row:
    point = {"latitude": 0.0, "longitude": 0.0}
    return {**point, "predicted_latitude": 0.0, "predicted_longitude": 0.0, **more}


def counts(rows: list[Row], name: str) -> dict[str, int]:
    groups = metrics(rows, by=[name])["by"][name]
    return {key: group["count"] for key, group in groups.items()}


def test_bands_of_locatability() -> None:
    scores = [0, 1.99, "2.0", 5, 7.5, 8, 9, 10, None]
    assert counts([row(locatability=score) for score in scores], "locatability") == {
        "0-2": 2,
        "2-4": 1,
        "4-6": 1,
        "6-8": 1,
        "8-10": 3,
        "null": 1,
    }


@pytest.mark.parametrize("score", [-0.1, 10.5, "high", True, float("nan"), "nan", 10**400, [3]])
def test_a_score_that_is_none(score: Any) -> None:
    with pytest.raises(ValueError, match="is not a number from 0 to 10") as caught:
        metrics([row(locatability=3), row(locatability=score)], by=["locatability"])
    assert caught.value.args[1] == 2


def test_scene_elements_overlap_and_only_yes_counts() -> None:
    together = [
        row(scene={"sign": "yes", "plants": "Yes"}),
        row(scene={"sign": "maybe", "plants": "yes"}),
        row(scene={"sign": "no", "plants": "no"}),
    ]
    assert counts(together, "scene") == {"plants": 2, "sign": 1}
    apart = [row(sign=True, plants="yes"), row(sign=False, plants="yes"), row(sign=None, plants="")]
    assert counts(apart, "scene") == {"plants": 2, "sign": 1}


def test_the_accuracy_of_an_element_is_that_of_its_rows() -> None:
    rows = [row(sign="yes"), row(sign="yes", predicted_longitude=90.0), row(sign="no")]
    assert metrics(rows, by=["scene"])["by"]["scene"]["sign"]["accuracy_1km"] == 0.5


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"scene": {"sign": "often"}}, 'sign: "often" is none of yes, no, maybe'),
        ({"scene": 3}, "scene: 3 is neither a text nor an object"),
        ({}, "no column 'scene', nor columns of its elements"),
    ],
)
def test_a_scene_that_is_none(more: Row, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        metrics([row(**more)], by=["scene"])


def test_a_scene_may_be_a_name() -> None:
    assert counts([row(scene="street"), row(scene=None)], "scene") == {"null": 1, "street": 1}


def test_continents() -> None:
    rows = [
        row(country_code="PE"),
        row(country_code="", country="Japan"),
        row(country="not a country", latitude=48.85, longitude=2.35),
        row(latitude=0.0, longitude=-150.0),
    ]
    assert labels("continent", rows) == ["South America", "Asia", "Europe", "null"]
    assert labels("continent", [row(continent="Mu")]) == ["Mu"]


def test_too_many_values_are_no_break_down() -> None:
    with pytest.raises(ValueError, match="'id' has more than"):
        metrics((row(id=number) for number in range(MOST_VALUES + 1)), by=["id"])


def test_what_a_benchmark_can_be_broken_down_by() -> None:
    common = {"country": "Peru", "data_type": "photo", "locatability": 3}
    assert available([row(**common), row(**common, indoor=True)]) == (
        ["data_type", "locatability", "continent", "country"],
        [],
    )
    elements = dict.fromkeys(ELEMENTS, "no")
    assert available([row(**elements), row(sign="yes")]) == (["scene"], [])
    assert available([]) == ([], [])


def test_a_column_that_is_not_usable_is_told() -> None:
    usable, problems = available([row(country="Peru", locatability="high", scene={"sign": 2})])
    assert usable == ["continent", "country"]
    assert [problem.split(":")[0] for problem in problems] == [
        "no break-down by locatability",
        "no break-down by scene",
    ]


def test_a_column_with_too_many_values_is_told() -> None:
    rows = [row(scene_type=str(number)) for number in range(MOST_VALUES + 1)]
    usable, (problem,) = available(rows)
    assert usable == []
    assert f"'scene_type' has more than {MOST_VALUES} different values" in problem


def test_a_group_has_the_figures_of_its_rows_alone() -> None:
    rows = [row(x="a", predicted_longitude=number / 50) for number in range(150)]
    others = [row(x="b", predicted_longitude=5.0 + number) for number in range(10)]
    alone = metrics(rows)
    del alone["rules"]
    mixed = [one for pair in zip(rows, others, strict=False) for one in pair] + rows[10:]
    found = metrics(mixed, by=["x"])["by"]["x"]["a"]
    assert found == alone
