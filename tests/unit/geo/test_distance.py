"""Great-circle distances against values that can be worked out on paper."""

from __future__ import annotations

import math

import numpy as np
import pytest

from geoagent.geo.distance import EARTH_RADIUS_KM, great_circle_km

QUARTER = EARTH_RADIUS_KM * math.pi / 2


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
