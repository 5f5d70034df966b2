"""Figures of countries: how many people, how much land, how many kilometres of road.

The table is made by `scripts/country_statistics.py`; its head names sources and licences.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

TABLE: Final = Path(__file__).parent / "data" / "countries.tsv"


@dataclass(frozen=True)
class Statistics:
    """A country, or a territory with an ISO code of its own. What no source has is None, as is the
    number of people where nobody lives.

    `continent` is the one that GeoNames counts the whole country to: Russia is Europe, Türkiye,
    Georgia and Kazakhstan are Asia. A population without a year is that of GeoNames. The area is
    that of the land without inland waters; its source gives no year.
    """

    country_code: str
    name: str
    continent: str
    population: int | None
    population_year: int | None
    land_area_km2: float | None
    road_km: int | None
    road_year: int | None


def statistics(country_code: str) -> Statistics | None:
    """Figures of a country by ISO 3166-1 alpha-2 code (XK is Kosovo); None if there is no such
    country."""
    return countries().get(str(country_code).upper())


@cache
def countries() -> dict[str, Statistics]:
    """All 250 countries and territories by ISO code, in alphabetical order of the codes."""
    with TABLE.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader((line for line in file if line[0] != "#"), delimiter="\t")
        return {row["country_code"]: _parse(row) for row in rows}


def _parse(row: dict[str, str]) -> Statistics:
    def whole(column: str) -> int | None:
        return int(row[column]) if row[column] else None

    return Statistics(
        row["country_code"],
        row["name"],
        row["continent"],
        whole("population"),
        whole("population_year"),
        float(row["land_area_km2"]) if row["land_area_km2"] else None,
        whole("road_km"),
        whole("road_year"),
    )
