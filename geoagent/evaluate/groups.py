"""Break-downs: which groups a row belongs to."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from geoagent.data.annotations import ELEMENTS
from geoagent.data.record import as_number
from geoagent.geo.countries import countries, statistics

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Members = NDArray[np.int64]

Row = Mapping[str, Any]
COLUMNS: Final = ("data_type", "locatability", "scene", *ELEMENTS, "scene_type", "indoor")
"""Columns of a benchmark that predictions are broken down by."""
BAND: Final = 2
"""Width of a band of locatability, which is from 0 to 10; the last one includes 10."""
MOST_VALUES: Final = 10_000
_NONE: Final = "null"
Label = str | tuple[str, ...]
"""A row's value, or all the groups that it belongs to."""


def labels(name: str, rows: Sequence[Row]) -> list[Label]:
    """The groups of each row in the break-down `name`; ValueError if a row cannot be sorted in.

    `locatability` makes bands; `scene` groups the rows that surely have an element (a column
    `scene` with all elements, or a column each); `continent` is computed where there is no such
    column; any other name is a column, whose values are the groups.
    """
    if name == "continent" and not all(name in row for row in rows):
        return list(_continents(rows))
    if name == "scene":
        return [_elements(row) for row in rows]
    values = [_value(row, name) for row in rows]
    return [_band(value) for value in values] if name == "locatability" else values_of(values)


def values_of(values: Sequence[Any]) -> list[Label]:
    """Texts as they are, anything else as JSON."""
    return [
        value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        for value in values
    ]


def available(rows: Sequence[Row]) -> tuple[list[str], list[str]]:
    """The break-downs of a benchmark that these rows can be sorted into; and for those that they
    have the columns for, but not the values, what is wrong."""
    common = set(rows[0]).intersection(*rows) if rows else set()
    names: list[str] = [name for name in COLUMNS if name in common and name not in ELEMENTS]
    if rows and "scene" not in names and all(map(_has_elements, rows)):
        names.append("scene")
    if any(row.get("country") for row in rows):
        names += ["continent", "country"]
    usable, problems = [], []
    for name in names:
        try:
            Groups(name).add(labels(name, rows))
            usable.append(name)
        except ValueError as error:
            problems.append(f"no break-down by {name}: {error.args[0]}")
    return usable, problems


def _value(row: Row, name: str) -> Any:
    if name not in row:
        raise ValueError(f"no column '{name}'")
    return row[name]


def _band(value: Any) -> str:
    if value is None:
        return _NONE
    score = as_number(value)
    if not 0 <= score <= 10:
        raise ValueError(f"locatability: {_shown(value)} is not a number from 0 to 10")
    low = min(int(score // BAND) * BAND, 10 - BAND)
    return f"{low}-{low + BAND}"


def _elements(row: Row) -> Label:
    given = row.get("scene", row)
    if isinstance(given, str) or given is None:
        return given or _NONE
    if not isinstance(given, Mapping):
        raise ValueError(f"scene: {_shown(given)} is neither a text nor an object")
    if given is row and not _has_elements(row):
        raise ValueError("no column 'scene', nor columns of its elements (manmade, traffic, …)")
    return tuple(name for name in ELEMENTS if _is_there(given, name))


def _has_elements(row: Row) -> bool:
    return any(name in row for name in ELEMENTS)


def _is_there(given: Row, name: str) -> bool:
    value = given.get(name)
    said = value.strip().lower() if isinstance(value, str) else value
    if said in (True, "yes", "true"):
        return True
    if said in (None, False, "no", "maybe", "false", ""):
        return False
    raise ValueError(f"{name}: {_shown(value)} is none of yes, no, maybe")


def _shown(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)[:40]


def _continents(rows: Sequence[Row]) -> Iterator[str]:
    """By the true country's code, else by its name, else by the true point; null at sea."""
    from geoagent.geo.reverse import reverse_many

    codes = [_code(row) for row in rows]
    points = [row for row, code in zip(rows, codes, strict=True) if not code]
    found: Iterator[Any] = iter(())
    if points:
        degrees = ([float(row[name]) for row in points] for name in ("latitude", "longitude"))
        found = iter(reverse_many(*degrees))
    for code in codes:
        if code:
            yield countries()[code].continent
        else:
            spot = next(found)
            yield (spot.continent if spot else None) or _NONE


def _code(row: Row) -> str | None:
    """The ISO code of the true country, if its code or name is a known one."""
    given = (row.get(name) for name in ("country_code", "country"))
    code, name = (text if isinstance(text, str) else "" for text in given)
    return _known_code(code, name)


@lru_cache(maxsize=10_000)
def _known_code(code: str, name: str) -> str | None:
    from geoagent.geo.gazetteer import gazetteer

    known = statistics(code)
    if known is None and name and (entry := gazetteer().country(name)):
        known = statistics(entry.country_code)
    return known.country_code if known else None


class Groups:
    """The groups of one break-down, collected row by row; at most MOST_VALUES values."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._numbers: dict[Label, int] = {}
        self._rows: list[NDArray[np.int32]] = []

    def add(self, some: Sequence[Label]) -> None:
        """Sort in the next rows; ValueError, with the number of the row (from 1) that is one too
        many, if there are too many values."""
        import numpy as np

        numbers = self._numbers
        for number, label in enumerate(some, start=1):
            if label not in numbers:
                numbers[label] = len(numbers)
                if len(numbers) > MOST_VALUES:
                    reason = f"column '{self.name}' has more than {MOST_VALUES} different values"
                    raise ValueError(reason, number)
        self._rows.append(np.array([numbers[label] for label in some], dtype=np.int32))

    def members(self) -> Iterator[tuple[str, Members]]:
        """Each group by its name, with the numbers of its rows (from 0) in ascending order."""
        import numpy as np

        if not self._rows:
            return
        rows = np.concatenate(self._rows)
        order = np.argsort(rows, kind="stable")
        ends = np.cumsum(np.bincount(rows, minlength=len(self._numbers)))
        by_label = dict(zip(self._numbers, np.split(order, ends[:-1]), strict=True))
        names = sorted({name for label in by_label for name in _names(label)})
        for name in names:
            parts = [chosen for label, chosen in by_label.items() if name in _names(label)]
            yield name, parts[0] if len(parts) == 1 else np.sort(np.concatenate(parts))


def _names(label: Label) -> tuple[str, ...]:
    return (label,) if isinstance(label, str) else label
