"""Countries, first-level divisions and cities by name, from a database built once a machine.

The database is made from installed packages by `geoagent.geo.build` and kept, read-only, in
`~/.cache/geoagent` (or under `$XDG_CACHE_HOME`), where all processes share its pages. Images have
one built in, which `$GEOAGENT_GAZETTEER` names.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property, lru_cache
from pathlib import Path
from typing import Final

from geoagent.geo.names import core, fold, without_kind
from geoagent.kept import cache_folder, database, prebuilt

VARIABLE: Final = "GEOAGENT_GAZETTEER"
"""Environment variable that names a database made elsewhere, as images have one."""
LEVELS: Final = ("country", "region", "county", "city")
"""County: any second-level division."""
OWN: Final = 0
"""The name of a place,"""
OTHER: Final = 1
"""one of its other names,"""
LOOSE: Final = 2
"""one of both without the kind of place,"""
CODE: Final = 3
"""or a country's ISO code: many are words ('no', 'can'), so they count in capitals only."""
_OWN_WEIGHT: Final = 100
"""Of two places, one with a name for its own and one for another, the other must have so many times
the people to be meant: Fish Town in Liberia is not Buchanan, but Bombay is Mumbai."""
_ROWS_KEPT: Final = 20_000
"""Look-ups of names that are remembered."""
_SHORTEST: Final = 5
"""Shorter names are known by their letters or not at all: Iran is not a slip for Iraq."""
_LONG: Final = {"country": 12, "region": 9, "county": 9, "city": 9}
"""Names of so many letters may differ by two. Countries are among words of all sorts: turquoise is
no slip for Turquie."""


@dataclass(frozen=True)
class Entry:
    """One place; coordinates in degrees. `region` and `county` are the GeoNames codes of its first
    and second level."""

    name: str
    level: str
    country_code: str
    region: str
    county: str
    latitude: float
    longitude: float
    population: int
    misspelt: bool = False
    """Whether the name that it was found by, or that of what it is in, was taken for a slip."""

    def within(self, area: Entry) -> bool:
        """Whether it is in a region or a county, which are known to be of its country."""
        if area.level == "city" or self.region != area.region:
            return False
        return area.level != "county" or self.county == area.county


class Gazetteer:
    """Names → places, in any script and with or without the kind of place ('City', 'State of')."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database
        self._rows = lru_cache(maxsize=_ROWS_KEPT)(self._query)

    def country(self, name: str) -> Entry | None:
        """A country by name in any language, alias or, in capitals, ISO code."""
        key = fold(name)
        if key not in self._country_keys and without_kind(key) not in self._country_keys:
            return None
        found = self._find("country", "", name, 1)
        if not found and is_code(name):
            found = self._rows("country", "", (fold(name),), (CODE,), 1)
        return next(iter(found), None)

    @cached_property
    def _country_keys(self) -> frozenset[str]:
        """Most names are no country's, and each answer has some."""
        rows = self._database.execute(
            "SELECT key FROM name WHERE level = ? AND country = ''", (LEVELS.index("country"),)
        )
        return frozenset(key for (key,) in rows)

    def region(self, country_code: str, name: str) -> Entry | None:
        """A first-level division of a country by any of its names or its ISO code."""
        return self.likeliest("region", country_code, name)

    def likeliest(self, level: str, country_code: str, name: str) -> Entry | None:
        """The most populous place of that name and level in a country."""
        return next(iter(self._find(level, country_code, name, 1)), None)

    def region_name(self, country_code: str, region: str) -> str | None:
        """The name of the first-level division that has this GeoNames code (`Entry.region`)."""
        return self._regions.get((country_code, region))

    @cached_property
    def _regions(self) -> dict[tuple[str, str], str]:
        rows = self._database.execute(
            "SELECT country, region, name FROM place WHERE level = ?", (LEVELS.index("region"),)
        )
        return {(country, region): name for country, region, name in rows}

    def counties(self, country_code: str, name: str) -> Sequence[Entry]:
        """Second-level divisions of that name in a country, the most populous first."""
        return self._find("county", country_code, name, 100)

    def cities(self, country_code: str, name: str) -> Sequence[Entry]:
        """Cities of that name in a country, largest first, at most 100."""
        return self._find("city", country_code, name, 100)

    def is_region(self, country_code: str, name: str) -> bool:
        """Whether a first-level division has this very name ('Kansas', not 'Kansas City')."""
        return bool(self._rows("region", country_code, (fold(name),), (OWN, OTHER), 1))

    def similar(self, level: str, country_code: str, name: str) -> list[Entry]:
        """Places whose name is one slip away (a letter too many, missing, wrong, or two swapped),
        of long names two; the fewest slips first, then the largest; a country's code is ''.

        A name that a country has, or a larger city in whatever country for its own, is no slip:
        Paris, California is not Perris, and India no town in Italy.
        """
        from rapidfuzz import process
        from rapidfuzz.distance import OSA

        key = core(name)
        if len(key) < _SHORTEST or (level != "country" and self.country(name)):
            return []
        slips = 1 if len(key) < _LONG[level] else 2
        near = process.extract(
            key,
            self._half_alike(level, country_code, key),
            scorer=OSA.distance,
            score_cutoff=slips,
            limit=20,
        )
        found: dict[Entry, None] = {}
        for most in range(1, slips + 1):
            keys = tuple(other for other, by, _ in near if by == most)
            found |= dict.fromkeys(self._rows(level, country_code, keys, (OWN, OTHER, LOOSE), 100))
        least = self._people_of(fold(name)) if found and level != "country" else 0
        return [replace(entry, misspelt=True) for entry in found if entry.population >= least]

    def _people_of(self, key: str) -> int:
        """The people of the largest city, of all countries, that has this very name."""
        where = ",".join("?" * len(self._countries))
        (people,) = self._database.execute(
            "SELECT max(p.population) FROM name AS n JOIN place AS p ON p.id = n.place "
            f"WHERE n.level = ? AND n.country IN ({where}) AND n.key = ? AND n.kind = {OWN}",
            (LEVELS.index("city"), *self._countries, key),
        ).fetchone()
        return people or 0

    @cached_property
    def _countries(self) -> list[str]:
        rows = self._database.execute(
            "SELECT country FROM place WHERE level = ?", (LEVELS.index("country"),)
        )
        return [code for (code,) in rows]

    def _half_alike(self, level: str, country_code: str, key: str) -> list[str]:
        """Keys that begin or end as this one does: one slip leaves one of its halves as it is,
        unless it swaps the letters where they meet."""
        half = len(key) // 2
        where = LEVELS.index(level), country_code
        head, tail = key[:half], key[: half - 1 : -1]
        begins = self._database.execute(_RANGE.format("name"), (*where, head, head + _LAST))
        ends = self._database.execute(_RANGE.format("backwards"), (*where, tail, tail + _LAST))
        swapped = f"{key[: half - 1]}{key[half]}{key[half - 1]}{key[half + 1 :]}"
        return [*{swapped, *(one for (one,) in begins), *(one[::-1] for (one,) in ends)}]

    def all_cities(self) -> list[tuple[str, str, str | None, float, float, int]]:
        """All cities, largest first: name, country code, name of the first-level division (None
        if it isn't known), latitude and longitude in degrees, population."""
        return self._database.execute(
            "SELECT c.name, c.country, r.name, c.latitude, c.longitude, c.population "
            "FROM place AS c "
            "LEFT JOIN place AS r ON r.level = ? AND r.country = c.country AND r.region = c.region "
            "WHERE c.level = ? ORDER BY c.id",
            (LEVELS.index("region"), LEVELS.index("city")),
        ).fetchall()

    def people(self) -> Iterator[tuple[float, float, int]]:
        """Latitude and longitude in degrees, and how many people live there, of all cities."""
        return self._database.execute(
            "SELECT latitude, longitude, population FROM place WHERE level = ? AND population > 0",
            (LEVELS.index("city"),),
        )

    def _find(self, level: str, country_code: str, name: str, limit: int) -> Sequence[Entry]:
        """Places of this very name; without any, those that share it but for the kind."""
        key = fold(name)
        return self._rows(level, country_code, (key,), (OWN, OTHER), limit) or self._rows(
            level, country_code, (key, without_kind(key)), (OWN, OTHER, LOOSE), limit
        )

    def _query(
        self, level: str, country_code: str, keys: tuple[str, ...], kinds: tuple[int, ...], n: int
    ) -> tuple[Entry, ...]:
        """Places that have one of the folded names, of these kinds; remembered by `_rows`, since
        answers share their countries and regions."""
        marks = ",".join("?" * len(keys)), ",".join("?" * len(kinds))
        rows = self._database.execute(
            "SELECT p.* FROM name AS n JOIN place AS p ON p.id = n.place "
            f"WHERE n.level = ? AND n.country = ? AND n.key IN ({marks[0]}) "
            f"AND n.kind IN ({marks[1]}) GROUP BY p.id "
            f"ORDER BY p.population * iif(min(n.kind) = {OWN}, {_OWN_WEIGHT}, 1) DESC, p.id "
            "LIMIT ?",
            (LEVELS.index(level), country_code, *keys, *kinds, n),
        )
        return tuple(Entry(name, LEVELS[level], *rest) for _, name, level, *rest in rows)


_RANGE: Final = "SELECT key FROM {} WHERE level = ? AND country = ? AND key >= ? AND key < ?"
_LAST: Final = "\U0010ffff"


def is_code(name: str) -> bool:
    """Whether a name is written as ISO 3166-1 writes its codes: 'PE', 'PER'."""
    return len(name) in (2, 3) and name.isascii() and name.isalpha() and name.isupper()


@cache
def gazetteer() -> Gazetteer:
    """The gazetteer of this process: the file that `$GEOAGENT_GAZETTEER` names, else the machine's,
    which is built at the very first use (about a minute). UsageError if the named file is missing,
    damaged or another version's."""
    from geoagent.geo.build import fill

    path = gazetteer_file()
    if named := os.environ.get(VARIABLE):
        return Gazetteer(prebuilt(Path(named), path.name, VARIABLE))
    return Gazetteer(database(path, fill, "gazetteer"))


def gazetteer_file() -> Path:
    """Where this machine keeps it, or will."""
    from geoagent.geo import build

    return cache_folder() / f"gazetteer-{build.version()}.sqlite"
