"""Distances against values that can be worked out on paper, were surveyed, or are geopy's."""

from __future__ import annotations

import math

import geopy.distance
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from geoagent.geo.distance import EARTH_RADIUS_KM, geodesic_km, great_circle_km

QUARTER = EARTH_RADIUS_KM * math.pi / 2
EQUATOR_KM = 2 * math.pi * 6378.137
HALF_MERIDIAN_KM = 20003.931459  # WGS-84
POINTS = st.tuples(st.floats(-90, 90), st.floats(-180, 180))


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ((0, 0), (0, 0), 0.0),
        ((0, 0), (0, 90), QUARTER),
        ((90, 0), (0, 123), QUARTER),
        ((0, 0), (0, 180), 2 * QUARTER),
        ((90, 0), (-90, 0), 2 * QUARTER),
        ((0, 179.5), (0, -179.5), QUARTER / 90),
        ((60, 0), (61, 0), QUARTER / 90),
    ],
)
def test_known_distances(
    one: tuple[float, float], other: tuple[float, float], expected: float
) -> None:
    distance = great_circle_km(*one, *other)
    assert isinstance(distance, float)
    assert distance == pytest.approx(expected, abs=1e-6)
    assert great_circle_km(*other, *one) == pytest.approx(distance)


def test_paris_to_new_york() -> None:
    assert great_circle_km(48.8566, 2.3522, 40.7128, -74.0060) == pytest.approx(5837, abs=1)


def test_arrays_broadcast_and_nan_stays() -> None:
    distances = great_circle_km(np.array([0.0, np.nan, 0.0]), 0.0, 0.0, np.array([0.0, 0.0, 90.0]))
    assert distances.shape == (3,)
    assert distances[0] == 0
    assert np.isnan(distances[1])
    assert distances[2] == pytest.approx(QUARTER)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ((0, 0), (0, 0), 0.0),
        ((0, 0), (0, 90), EQUATOR_KM / 4),
        ((0, 179.5), (0, -179.5), EQUATOR_KM / 360),
        ((0, 179.5), (0, 180.5), EQUATOR_KM / 360),
        ((0, -540), (0, 540), 0.0),
        ((90, 0), (90, 77), 0.0),
        ((90, 12), (-90, -99), HALF_MERIDIAN_KM),
        ((0, 0), (0, 180), HALF_MERIDIAN_KM),  # over a pole, since the Earth is flat there
        ((35, -20), (-35, 160), HALF_MERIDIAN_KM),
    ],
)
def test_known_geodesics(
    one: tuple[float, float], other: tuple[float, float], expected: float
) -> None:
    distance = geodesic_km(*one, *other)
    assert isinstance(distance, float)
    assert distance == pytest.approx(expected, abs=1e-6)
    assert geodesic_km(*other, *one) == pytest.approx(distance, abs=1e-9)


def test_surveyed_geodesic() -> None:
    """Flinders Peak to Buninyong, 54,972.271 m: the example of Australia's geodetic manual."""
    peak = -(37 + 57 / 60 + 3.72030 / 3600), 144 + 25 / 60 + 29.52440 / 3600
    buninyong = -(37 + 39 / 60 + 10.15610 / 3600), 143 + 55 / 60 + 35.38390 / 3600
    assert geodesic_km(*peak, *buninyong) == pytest.approx(54.972271, abs=1e-6)


@given(POINTS, POINTS)
@example((0.0, 0.0), (0.5, 179.7))  # nearly antipodes: Vincenty's formula does not converge
@example((90.0, 0.0), (-90.0, 180.0))
@example((-30.0, 180.0), (-30.0, -180.0))
def test_geodesics_are_those_of_geopy(one: tuple[float, float], other: tuple[float, float]) -> None:
    distance = geodesic_km(*one, *other)
    assert distance == pytest.approx(geopy.distance.geodesic(one, other).km, abs=1e-6)
    assert distance == pytest.approx(great_circle_km(*one, *other), rel=0.006, abs=1e-9)


@given(POINTS, POINTS)
def test_great_circles_are_those_of_geopy(
    one: tuple[float, float], other: tuple[float, float]
) -> None:
    theirs = geopy.distance.great_circle(one, other).km
    ratio = EARTH_RADIUS_KM / geopy.distance.EARTH_RADIUS
    assert great_circle_km(*one, *other) == pytest.approx(theirs * ratio, rel=1e-6, abs=1e-4)


def test_geodesics_of_arrays() -> None:
    lat1 = np.array([[0.0], [60.0]])
    lon2 = np.array([0.0, 1.0, 180.0])
    distances = geodesic_km(lat1, 0.0, lat1, lon2)
    assert distances.shape == (2, 3)
    for row, latitude in zip(distances, (0.0, 60.0), strict=True):
        singly = [geodesic_km(latitude, 0, latitude, longitude) for longitude in lon2]
        assert row.tolist() == pytest.approx(singly, abs=1e-9)
    assert geodesic_km(np.array([]), 0.0, 1.0, 1.0).shape == (0,)


@pytest.mark.parametrize("place", range(4))
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_has_no_geodesic(place: int, value: float) -> None:
    point = [1.0, 2.0, 3.0, 4.0]
    point[place] = value
    assert math.isnan(geodesic_km(*point))
    among = geodesic_km(*(np.array([0.0, degrees]) for degrees in point))
    assert among[0] == 0
    assert math.isnan(among[1])


def test_no_geodesic_beyond_a_pole() -> None:
    assert math.isnan(geodesic_km(90.1, 0, 0, 0))
