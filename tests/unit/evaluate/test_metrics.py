"""Metrics against values computed by hand: one degree of the equator is 111.1949 km."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoagent.evaluate.metrics import metrics, uniform_guess
from geoagent.evaluate.predictions import is_parsed

DEGREE_KM = 6371 * math.pi / 180


def row(longitude: float | None, **more: Any) -> dict[str, Any]:
    latitude = None if longitude is None else 0.0
    return {
        "latitude": 0,
        "longitude": 0,
        "predicted_latitude": latitude,
        "predicted_longitude": longitude,
        **more,
    }


def test_every_figure_of_seven_rows() -> None:
    degrees = [0.0, 0.1, 1.0, 5.0, 20.0, 90.0]
    result = metrics([*(row(value) for value in degrees), row(None)])
    assert result["count"] == 7
    assert result["parse_rate"] is None  # no completions, so nothing is known about their form
    assert result["geocoded_rate"] == pytest.approx(6 / 7)
    accuracies = [result[f"accuracy_{km}km"] for km in (1, 25, 200, 750, 2500)]
    assert accuracies == pytest.approx([1 / 7, 2 / 7, 3 / 7, 4 / 7, 5 / 7])
    assert result["median_km"] == pytest.approx(5 * DEGREE_KM)
    scores = [5000 * math.exp(-10 * value * DEGREE_KM / 18050) for value in degrees]
    assert result["geoscore"] == pytest.approx(sum(scores) / 7)


def test_geoscore_at_a_known_distance() -> None:
    # 1805 km is where e to the −1 is reached: 5000/e = 1839.397.
    assert metrics([row(1805 / DEGREE_KM)])["geoscore"] == pytest.approx(1839.397, abs=1e-3)


def test_a_threshold_counts_the_distance_itself() -> None:
    just_inside, just_outside = 24.999 / DEGREE_KM, 25.001 / DEGREE_KM
    assert metrics([row(just_inside), row(just_outside)])["accuracy_25km"] == 0.5


def test_the_median_of_an_even_number_is_between_the_middle_two() -> None:
    assert metrics([row(1.0), row(3.0)])["median_km"] == pytest.approx(2 * DEGREE_KM)


def test_no_median_if_half_are_misses() -> None:
    assert metrics([row(0.0), row(None)])["median_km"] is None


def test_antipodes_are_half_the_earth_away() -> None:
    assert metrics([row(180.0)])["median_km"] == pytest.approx(math.pi * 6371)


def test_no_rows_have_no_figures() -> None:
    result = metrics([])
    assert result.pop("count") == 0
    assert result.pop("rules") == "geoagent"
    assert set(result.pop("failures").values()) == {0}
    assert set(result.pop("named").values()) == {0}
    assert result.pop("intervals") == {}
    assert set(result.values()) == {None}


def test_parse_rate_counts_well_formed_completions() -> None:
    good = "<think>x</think><answer>Peru; Ancash; Huaraz</answer>"
    assert metrics([row(0.0, completion=good), row(None, completion="Peru")])["parse_rate"] == 0.5


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<think>x</think><answer>Peru; Ancash</answer>", True),
        ("<think>x</think> <answer>Latitude: 1.5, Longitude: 2</answer>", True),
        ("<think>x</think><answer>Peru</answer>", False),
        ("<think>x</think><answer>a; b; c; d</answer>", False),
        ("<answer>Peru; Ancash</answer>", False),
        (None, False),
    ],
)
def test_what_counts_as_parsed(text: object, expected: bool) -> None:
    assert is_parsed(text) is expected


def test_break_downs() -> None:
    rows = [row(0.0, country="Peru", sign=True), row(None, country="Peru", sign=False)]
    rows.append(row(90.0, country="Mali", sign=None))
    by = metrics(rows, by=["country", "sign"])["by"]
    assert by["country"]["Peru"]["accuracy_1km"] == 0.5
    assert by["country"]["Mali"]["count"] == 1
    assert {key: group["count"] for key, group in by["sign"].items()} == {
        "true": 1,
        "false": 1,
        "null": 1,
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"latitude": None}, "the truth (latitude, longitude) is missing"),
        ({"latitude": 123}, "latitude: 123 is out of range (−90 to 90)"),
        ({"longitude": "x"}, 'longitude: "x" is not a number'),
        ({"predicted_latitude": math.nan}, "predicted_latitude: NaN is not a number"),
        ({"predicted_longitude": True}, "predicted_longitude: true is not a number"),
        ({"predicted_longitude": None}, "only one of predicted_latitude and predicted_longitude"),
    ],
)
def test_a_bad_row_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        metrics([row(0.0), {**row(0.0), **change}])
    assert message in caught.value.args[0]
    assert caught.value.args[1] == 2


def test_a_missing_column_is_no_miss() -> None:
    with pytest.raises(ValueError, match="no column 'predicted_latitude'"):
        metrics([{"latitude": 0, "longitude": 0}])
    with pytest.raises(ValueError, match="no column 'band'"):
        metrics([row(0.0)], by=["band"])


longitudes = st.one_of(st.none(), st.floats(-180, 180))


@given(st.lists(longitudes, min_size=1, max_size=30))
def test_figures_stay_in_range_and_misses_only_lower_them(values: list[float | None]) -> None:
    result = metrics(row(value) for value in values)
    accuracies = [result[f"accuracy_{km}km"] for km in (1, 25, 200, 750, 2500)]
    assert accuracies == sorted(accuracies)
    assert accuracies[-1] <= result["geocoded_rate"] <= 1
    assert 0 <= result["geoscore"] <= 5000
    worse = metrics(row(value) for value in [*values, None])
    assert worse["geoscore"] <= result["geoscore"]
    assert worse["accuracy_750km"] <= result["accuracy_750km"]


def test_chance_is_the_mean_over_all_pairs() -> None:
    places = [(0.0, 0.0), (0.0, 5.0), (0.0, 90.0)]
    result = uniform_guess(places, [(0.0, 0.0), (0.0, 90.0)])
    # Distances in degrees: 0, 5, 90 and 90, 85, 0.
    assert result["count"] == 2
    assert result["places"] == 3
    assert result["accuracy_1km"] == pytest.approx(2 / 6)
    assert result["accuracy_750km"] == pytest.approx(3 / 6)
    scores = [math.exp(-10 * d * DEGREE_KM / 18050) for d in (0, 5, 90, 90, 85, 0)]
    assert result["geoscore"] == pytest.approx(5000 * sum(scores) / 6)
    assert result["median_km"] == round(5 * DEGREE_KM)


def test_chance_is_the_same_piece_by_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    places = [(float(n), float(n * 3)) for n in range(20)]
    truths = [(float(-n), float(n * 5)) for n in range(7)]
    whole = uniform_guess(places, truths)
    monkeypatch.setattr("geoagent.evaluate.metrics._UNIFORM_CELLS", 45)
    assert uniform_guess(places, truths) == pytest.approx(whole)
