"""Points whose country everybody can look up, points that are none, and the nearest city."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from geoagent.errors import UsageError
from geoagent.geo import reverse as module
from geoagent.geo.countries import countries
from geoagent.geo.distance import great_circle_km
from geoagent.geo.gazetteer import gazetteer
from geoagent.geo.reverse import Spot, reverse, reverse_many


@pytest.mark.parametrize(
    ("latitude", "longitude", "country"),
    [
        # On either side of a border, within a few kilometres.
        (48.5734, 7.7521, "FR"),  # Strasbourg
        (48.5750, 7.8150, "DE"),  # Kehl
        (42.3314, -83.0458, "US"),  # Detroit
        (42.3149, -83.0364, "CA"),  # Windsor
        (31.7619, -106.4850, "US"),  # El Paso
        (31.6904, -106.4245, "MX"),  # Ciudad Juárez
        (-4.3217, 15.3125, "CD"),  # Kinshasa
        (-4.2634, 15.2429, "CG"),  # Brazzaville
        # Enclaves and small states.
        (47.6970, 8.6900, "DE"),  # Büsingen, inside Switzerland
        (41.9029, 12.4534, "VA"),
        (43.9424, 12.4578, "SM"),
        (43.7384, 7.4246, "MC"),
        (-29.3100, 27.4800, "LS"),  # Maseru
        # What has a code of its own.
        (22.3193, 114.1694, "HK"),
        (22.1987, 113.5439, "MO"),
        (25.0330, 121.5654, "TW"),
        (18.4655, -66.1057, "PR"),
        (78.2232, 15.6267, "SJ"),
        (42.6629, 21.1655, "XK"),
        (44.7866, 20.4489, "RS"),
        # Disputed: as zone.tab has it.
        (44.9521, 34.1024, "UA"),
        (27.1536, -13.2033, "EH"),
        (31.5326, 35.0998, "PS"),
        (31.5017, 34.4668, "PS"),
        (32.0853, 34.7818, "IL"),
        (43.8256, 87.6168, "CN"),
        (35.3390, 33.3190, "CY"),
        (43.0030, 41.0230, "GE"),  # Sukhumi
        # Where zone.tab does not list the country for the zone, or two zones overlap.
        (21.0285, 105.8542, "VN"),  # Hanoi
        (13.7563, 100.5018, "TH"),  # Bangkok
        (17.9757, 102.6331, "LA"),  # Vientiane
        (70.9221, -8.7187, "SJ"),  # Olonkinbyen on Jan Mayen
        (69.6492, 18.9553, "NO"),  # Tromsø
        (31.7040, 35.1870, "PS"),  # Al Khadir, under two zones
        (32.1782, 34.9076, "IL"),  # Kfar Saba, 6 km from Qalqilya
    ],
)
def test_countries(latitude: float, longitude: float, country: str) -> None:
    spot = reverse(latitude, longitude)
    assert spot.country_code == country
    assert spot.city_country_code == country
    assert spot.distance_km < 20


def test_all_fields() -> None:
    spot = reverse(48.1374, 11.5755)
    assert (spot.continent, spot.country_code, spot.country) == ("Europe", "DE", "Germany")
    assert (spot.latitude, spot.longitude) == (48.1374, 11.5755)
    home = gazetteer().region("DE", "Bavaria")
    assert home is not None
    assert spot.region == home.name
    assert spot.distance_km < 2


def test_at_sea() -> None:
    spot = reverse(0.0, -30.0)
    assert (spot.continent, spot.country_code, spot.country, spot.region) == (None,) * 4
    assert spot.city_country_code == "BR"  # Fernando de Noronha or the coast, not Africa
    assert 400 < spot.distance_km < 1500


def test_close_to_the_coast_is_not_at_sea() -> None:
    assert reverse(36.95, -122.10).country_code == "US"  # some 2 km off Santa Cruz


@pytest.mark.parametrize(
    ("latitude", "longitude"),
    [
        (-82.86, 135.0),
        (-80.0, -120.0),  # claimed by nobody
        (-62.1908, -58.9867),  # a Chilean base on an island
        (-60.7403, -44.7425),  # an Argentine one
        (-65.0, -130.0),  # at sea
    ],
)
def test_antarctica_is_the_area_of_its_treaty(latitude: float, longitude: float) -> None:
    spot = reverse(latitude, longitude)
    assert (spot.continent, spot.country_code) == ("Antarctica", "AQ")
    assert (spot.city_country_code != "AQ") == ("AQ" not in module._members())


def test_a_country_without_cities() -> None:
    spot = reverse(28.2083, -177.3792)  # Midway
    assert (spot.continent, spot.country_code) == ("Oceania", "UM")
    assert (spot.city_country_code, spot.region) == ("US", None)
    assert spot.distance_km > 1000


@pytest.mark.parametrize("longitude", [-180.0, -77.0, 0.0, 180.0, 1e6])
def test_poles(longitude: float) -> None:
    assert reverse(-90.0, longitude).country_code == "AQ"
    north = reverse(90.0, longitude)
    assert north.country_code is None
    assert north.city == reverse(90.0, 0.0).city


@pytest.mark.parametrize(("latitude", "country"), [(66.0, "RU"), (-16.8, "FJ"), (0.0, None)])
def test_antimeridian(latitude: float, country: str | None) -> None:
    east, west, far = (reverse(latitude, longitude) for longitude in (180.0, -180.0, 540.0))
    assert east.country_code == west.country_code == far.country_code == country
    assert east.city == west.city == far.city
    assert east.distance_km == pytest.approx(west.distance_km, abs=1e-6)


def test_longitudes_are_wrapped() -> None:
    assert reverse(52.52, 13.405 + 360) == reverse(52.52, 13.405 + 360 - 720)
    assert reverse(52.52, 373.5).longitude == pytest.approx(13.5)
    assert reverse(52.52, 13.405).longitude == 13.405


@pytest.mark.parametrize(
    ("latitude", "longitude", "said"),
    [
        (math.nan, 0.0, "finite"),
        (0.0, math.nan, "finite"),
        (0.0, -math.inf, "finite"),
        (math.inf, 0.0, "finite"),
        (116.4, 39.9, "swapped"),
        (-90.001, 120.0, "between -90 and 90"),
    ],
)
def test_what_is_no_point(latitude: float, longitude: float, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        reverse(latitude, longitude)
    assert reverse_many([latitude, 48.85], [longitude, 2.35])[0] is None


def test_only_what_may_be_swapped_is_called_so() -> None:
    with pytest.raises(UsageError) as error:
        reverse(116.4, 139.9)
    assert "swapped" not in str(error.value)


@given(st.lists(st.tuples(st.floats(), st.floats()), max_size=20))
@example([(math.nan, math.inf), (91.0, 0.0), (0.0, 1e300), (-90.0, -0.0), (5e-324, 180.0)])
def test_many_are_the_single_ones_and_never_an_error(points: list[tuple[float, float]]) -> None:
    latitudes, longitudes = [p[0] for p in points], [p[1] for p in points]
    spots = reverse_many(latitudes, longitudes)
    assert len(spots) == len(points)
    for (latitude, longitude), spot in zip(points, spots, strict=True):
        if math.isfinite(longitude) and abs(latitude) <= 90:
            assert spot == reverse(latitude, longitude)
            assert abs(spot.longitude) <= 180
        else:
            assert spot is None


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(-90, 90), st.floats(-180, 180)), min_size=1, max_size=20))
def test_no_city_of_the_country_is_nearer(points: list[tuple[float, float]]) -> None:
    cities = module._cities()
    for spot in reverse_many(*zip(*points, strict=True)):
        assert spot is not None
        away = great_circle_km(spot.latitude, spot.longitude, cities.latitudes, cities.longitudes)
        same = module._members()[spot.city_country_code]
        assert spot.distance_km == pytest.approx(away[same].min(), abs=1e-4)
        if spot.city_country_code != spot.country_code:
            assert spot.country_code not in module._members()
            assert spot.distance_km == pytest.approx(away.min(), abs=1e-4)


def test_arrays_and_nothing() -> None:
    spots = reverse_many(np.array([48.85, np.nan]), np.array([2.35, 2.35]))
    assert isinstance(spots[0], Spot)
    assert spots[1] is None
    assert reverse_many([], []) == []
    assert reverse_many([None, 48.85], [2.35, 2.35])[0] is None
    with pytest.raises(ValueError, match="2 latitudes, but 1 longitudes"):
        reverse_many([1.0, 2.0], [1.0])


def test_every_zone_has_its_country() -> None:
    """Fails when a newer timezonefinder has zones that the installed tzdata does not list."""
    from timezonefinder import TimezoneFinder

    zones = {name for name in TimezoneFinder().timezone_names if not name.startswith("Etc/")}
    known = module._countries_of_zones()
    assert len(zones) > 400
    assert zones <= set(known)
    assert {code for codes in known.values() for code in codes} <= set(countries())


def test_cities_have_their_region() -> None:
    cities = {(name, country): rest for name, country, *rest in gazetteer().all_cities()}
    region, latitude, longitude, _ = cities["Oslo", "NO"]
    assert region == "Oslo"
    assert (latitude, longitude) == pytest.approx((59.91, 10.75), abs=0.02)


def test_guantanamo_is_in_cuba_whatever_its_time() -> None:
    base, keys = reverse(19.9065, -75.2071), reverse(24.6, -81.7)
    assert (base.country_code, keys.country_code) == ("CU", "US")


@pytest.mark.parametrize("point", [(None, None), ("x", 0.0), (0.0, [1.0])])
def test_no_numbers(point: tuple[Any, Any]) -> None:
    with pytest.raises(UsageError, match="both must be numbers of degrees"):
        reverse(*point)


@pytest.mark.parametrize(
    ("point", "main"),
    [
        ((48.8606, 2.3376), "Paris"),  # the Louvre, in a quarter that GeoNames lists
        ((40.6782, -73.9442), "New York City"),  # Brooklyn
        ((48.8638, 2.4484), "Montreuil"),  # a town of its own beside Paris
        ((34.0195, -118.4912), "Santa Monica"),
        ((-9.53, -77.53), "Huaraz"),
    ],
)
def test_main_city(point: tuple[float, float], main: str) -> None:
    assert reverse(*point).main_city == main


@given(st.lists(st.tuples(st.floats(-90, 90), st.floats(-180, 180)), min_size=1, max_size=5))
def test_main_city_is_near_and_of_the_country(points: list[tuple[float, float]]) -> None:
    for spot in reverse_many(*zip(*points, strict=True)):
        assert spot is not None
        if spot.main_city != spot.city:
            assert spot.distance_km < 25
