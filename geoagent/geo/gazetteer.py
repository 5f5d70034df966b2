"""Countries, first-level divisions and cities by name, from a database built once a machine.

The database is made from installed packages by `geoagent.geo.build` and kept, read-only, in
`~/.cache/geoagent` (or under `$XDG_CACHE_HOME`), where all processes share its pages.
"""

from __future__ import annotations

import os
import sqlite3
import sys
import tempfile
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from geoagent.geo.names import core, fold

LEVELS: Final = ("country", "region", "city")


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
    """Names → places, in any script and with or without the kind of place ('City', 'State of')."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database

    def country(self, name: str) -> Entry | None:
        """A country by name in any language, alias or ISO code."""
        return next(iter(self._find("country", "", name, 1)), None)

    def region(self, country_code: str, name: str) -> Entry | None:
        """A first-level division of a country by any of its names or its ISO code."""
        return next(iter(self._find("region", country_code, name, 1)), None)

    def cities(self, country_code: str, name: str) -> list[Entry]:
        """Cities of that name in a country, largest first, at most 100."""
        return self._find("city", country_code, name, 100)

    def is_region(self, country_code: str, name: str) -> bool:
        """Whether a first-level division has this very name ('Kansas', not 'Kansas City')."""
        return bool(self._rows("region", country_code, (fold(name),), (0,), 1))

    def all_cities(self) -> list[tuple[str, str, str | None, float, float]]:
        """All cities, largest first: name, country code, name of the first-level division (None
        if it isn't known), latitude and longitude in degrees."""
        return self._database.execute(
            "SELECT c.name, c.country, r.name, c.latitude, c.longitude FROM place AS c "
            "LEFT JOIN place AS r ON r.level = ? AND r.country = c.country AND r.region = c.region "
            "WHERE c.level = ? ORDER BY c.id",
            (LEVELS.index("region"), LEVELS.index("city")),
        ).fetchall()

    def _find(self, level: str, country_code: str, name: str, limit: int) -> list[Entry]:
        """Places of this very name; without any, those that share it but for the kind."""
        return self._rows(level, country_code, (fold(name),), (0,), limit) or self._rows(
            level, country_code, (fold(name), core(name)), (0, 1), limit
        )

    def _rows(
        self, level: str, country_code: str, keys: tuple[str, ...], loose: tuple[int, ...], n: int
    ) -> list[Entry]:
        marks = ",".join("?" * len(keys)), ",".join("?" * len(loose))
        rows = self._database.execute(
            "SELECT DISTINCT p.* FROM name AS n JOIN place AS p ON p.id = n.place "
            f"WHERE n.level = ? AND n.country = ? AND n.key IN ({marks[0]}) "
            f"AND n.loose IN ({marks[1]}) ORDER BY p.id LIMIT ?",
            (LEVELS.index(level), country_code, *keys, *loose, n),
        )
        return [Entry(name, LEVELS[kind], *rest) for _, name, kind, *rest in rows]


@cache
def gazetteer() -> Gazetteer:
    """The gazetteer of this process; built at the very first use on a machine (some seconds)."""
    from geoagent.geo import build

    path = cache_folder() / f"gazetteer-{build.version()}.sqlite"
    database = _open(path)
    if database is None:
        print("building the gazetteer, once", file=sys.stderr, flush=True)
        database = _make(path)
    return Gazetteer(database)


def cache_folder() -> Path:
    """Where files that can be made again are kept."""
    root = os.environ.get("XDG_CACHE_HOME")
    return (Path(root).absolute() if root else Path.home() / ".cache") / "geoagent"


def _open(path: Path) -> sqlite3.Connection | None:
    """The database, or None if it isn't there or isn't whole.

    `immutable`: it never changes under its name, so no locks are needed (nor had on NFS).
    """
    if not path.is_file():
        return None
    try:
        database = sqlite3.connect(
            f"{path.as_uri()}?mode=ro&immutable=1", uri=True, check_same_thread=False
        )
        complete = database.execute("SELECT count(*) FROM complete").fetchone()
    except sqlite3.Error:
        return None
    return database if complete == (1,) else None


def _make(path: Path) -> sqlite3.Connection:
    """Build beside the final name and rename; in memory where the folder cannot be written."""
    from geoagent.geo.build import fill

    with suppress(OSError, sqlite3.OperationalError):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        os.close(handle)
        try:
            with closing(sqlite3.connect(name)) as database:
                fill(database)
            os.replace(name, path)
        finally:
            Path(name).unlink(missing_ok=True)
    if (kept := _open(path)) is not None:
        return kept
    memory = sqlite3.connect(":memory:", check_same_thread=False)
    fill(memory)
    return memory
