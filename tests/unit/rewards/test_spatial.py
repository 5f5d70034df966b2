"""spatial and coordinates."""

from __future__ import annotations

import math

import pytest

from geoagent.config import SpatialConfig
from geoagent.errors import UsageError
from geoagent.geo.geocoder import geocode
from geoagent.rewards.coordinates import Coordinates
from geoagent.rewards.spatial import Spatial

from .helpers import completion

DEGREE_KM = 6371 * math.pi / 180


def beside(text: str, degrees: float) -> dict[str, list[float]]:
    """True coordinates that many degrees of latitude south of where a text is."""
    place = geocode(text)
    assert place is not None
    return {"latitude": [place.latitude - degrees], "longitude": [place.longitude]}


@pytest.mark.parametrize("published", [False, True])
@pytest.mark.parametrize("degrees", [0.0, 0.1, 1.0, 5.0])
def test_spatial_falls_off_with_distance(degrees: float, published: bool) -> None:
    truth = beside("France; Paris", degrees)
    reward = Spatial(SpatialConfig(tau_km=200.0), published)
    (score,) = reward.score([completion("France; Paris")], **truth)
    assert score.value == pytest.approx(math.exp(-degrees * DEGREE_KM / 200), rel=1e-6)
    assert score.parts["distance_km"] == pytest.approx(degrees * DEGREE_KM, abs=1e-4)
    assert score.parts["level"] == "city"


@pytest.mark.parametrize(("degrees", "cut"), [(17.9, False), (18.0, True), (40.0, True)])
def test_only_published_has_the_cut_off(degrees: float, cut: bool) -> None:
    truth = beside("France; Paris", degrees)
    texts = [completion("France; Paris")]
    expected = math.exp(-degrees * DEGREE_KM / 200)
    assert Spatial(SpatialConfig())(texts, **truth) == [pytest.approx(expected, rel=1e-6)]
    cut_off = Spatial(SpatialConfig(cutoff_km=2000.0), published=True)(texts, **truth)
    assert cut_off == [0.0 if cut else pytest.approx(expected, rel=1e-6)]


def test_unknown_last_part_is_dropped() -> None:
    truth = beside("France; Paris", 0.0)
    texts = [completion("France; Paris; Rue de Nulle Part 5"), completion("Atlantis; Paris")]
    found, lost = Spatial(SpatialConfig()).score(
        texts, latitude=truth["latitude"] * 2, longitude=truth["longitude"] * 2
    )
    assert found.value == pytest.approx(1.0)
    assert (lost.value, lost.parts) == (0.0, {"located": 0.0})


def test_final_answer_stands_in_only_in_published() -> None:
    truth = beside("France; Paris", 0.0)
    text = completion("x").partition("<answer>")[0]
    assert Spatial(SpatialConfig())([text], **truth) == [0.0]
    assert Spatial(SpatialConfig(), published=True)([text], **truth) == [pytest.approx(1.0)]


@pytest.mark.parametrize("value", [None, "north", float("nan"), 90.5, [1]])
def test_truth_that_is_no_latitude_is_an_error_and_not_a_zero(value: object) -> None:
    for reward in (Spatial(SpatialConfig()), Coordinates(200.0)):
        with pytest.raises(UsageError, match="'latitude'"):
            reward([completion("France; Paris")], latitude=[value], longitude=[0.0])


def test_columns_of_texts_and_missing_ones() -> None:
    reward = Spatial(SpatialConfig())
    (value,) = reward([completion("France; Paris")], latitude=["48.85341"], longitude=["2.3488"])
    assert value == pytest.approx(1.0, abs=1e-3)
    with pytest.raises(UsageError, match="'longitude' is missing"):
        reward(["x"], latitude=[1.0])
    with pytest.raises(UsageError, match="does not fit"):
        reward(["x"], latitude=[1.0, 2.0], longitude=[1.0])


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("[0.0, 0.0]", 1.0),
        # One degree of longitude on the equator of WGS 84 is 111.3195 km.
        ("Latitude: 0, Longitude: 1", 2 / (1 + math.exp(111.3195 / 200))),
        ("Longitude = 1, Latitude = 0", 2 / (1 + math.exp(111.3195 / 200))),
        # One degree of latitude there is 110.5744 km: the order is latitude, longitude.
        ("[1, 0]", 2 / (1 + math.exp(110.5744 / 200))),
        ("[0, 180]", 0.0),
        ("[91, 0]", 0.0),
        ("France; Paris", 0.0),
    ],
)
def test_coordinates(answer: str, expected: float) -> None:
    reward = Coordinates(theta_km=200.0)
    (score,) = reward.score([f"<answer>{answer}</answer>"], latitude=[0.0], longitude=[0.0])
    assert score.value == pytest.approx(expected, abs=1e-6)


def test_coordinates_far_away_with_a_tiny_theta_do_not_overflow() -> None:
    values = Coordinates(theta_km=1e-3)(["[0, 90]"], latitude=[0.0], longitude=[0.0])
    assert values == [pytest.approx(0.0, abs=1e-300)]
