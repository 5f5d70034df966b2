"""The table of countries against what its sources say, and against what can be true."""

from __future__ import annotations

import pycountry
import pytest

from geoagent.geo.countries import Statistics, countries, statistics


def test_figures_of_the_sources() -> None:
    assert statistics("DE") == Statistics(
        "DE", "Germany", "Europe", 84_012_284, 2025, 348_672, 645_000, 2010
    )
    assert statistics("RU") is not None
    assert statistics("ru") == statistics("RU")


@pytest.mark.parametrize(
    ("code", "people", "area", "road"),
    [
        ("FR", 68_512_806, 549_970, 1_028_446),  # area and roads: metropolitan France
        ("PS", 2_184_652 + 3_310_554, 360 + 5_640, 4_686),  # two pages
        ("CW", 153_289, 444, 550),  # the page's name has changed
        ("SH", 7_943, 394, 198),  # the field is that of one island of three
        ("AQ", None, 14_200_000, None),
        ("MS", 5_468, 102, None),  # a volcano has destroyed the roads, and nobody has counted since
        ("GF", 195_506, None, None),  # GeoNames
        ("SS", 12_703_714, None, 7_000),  # the source: "NA"
    ],
)
def test_what_is_not_told_plainly(
    code: str, people: int | None, area: float | None, road: int | None
) -> None:
    found = statistics(code)
    assert found is not None
    assert (found.population, found.land_area_km2, found.road_km) == (people, area, road)


def test_unknown_codes() -> None:
    assert statistics("AN") is None  # no longer a country
    assert statistics("") is None


def test_all_of_iso_and_kosovo() -> None:
    assert set(countries()) == {country.alpha_2 for country in pycountry.countries} | {"XK"}


def test_totals_are_those_of_the_world() -> None:
    rows = countries().values()
    people = [row.population for row in rows if row.population is not None]
    areas = [row.land_area_km2 for row in rows if row.land_area_km2 is not None]
    roads = [row.road_km for row in rows if row.road_km is not None]
    assert 7e9 < sum(people) < 9e9
    assert 1.44e8 < sum(areas) < 1.5e8  # the Factbook's page on the world: 148.94 million
    assert 3e7 < sum(roads) < 6.5e7  # 64 million, with countries of the European Union twice
    assert len(people) >= 230
    assert len(areas) >= 230
    assert len(roads) >= 190
    assert min(*people, *areas, *roads) > 0
    assert {row.road_year for row in rows if row.road_year} <= set(range(1990, 2016))
    assert all(row.road_year is None for row in rows if row.road_km is None)


def test_continents() -> None:
    assert {row.continent for row in countries().values()} == {
        "Africa",
        "Antarctica",
        "Asia",
        "Europe",
        "North America",
        "Oceania",
        "South America",
    }
