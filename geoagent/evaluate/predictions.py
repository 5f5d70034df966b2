"""Rows of predictions → columns, some rows at a time: a million fit into memory, and are fast."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import IntEnum
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from geoagent.answer import parse, split_parts
from geoagent.data.record import as_number, within
from geoagent.evaluate.groups import Groups, Label, labels
from geoagent.evaluate.rules import Missing, Rules, answer_text, judge
from geoagent.geo.distance import EARTH_RADIUS_KM, great_circle_km

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Row = Mapping[str, Any]
LIMITS: Final = {
    "latitude": 90.0,
    "longitude": 180.0,
    "predicted_latitude": 90.0,
    "predicted_longitude": 180.0,
}
_CHUNK: Final = 10_000
_NUMBERS: Final = {float, int, type(None)}
_UNKNOWN: Final = -1


class Failure(IntEnum):
    """Why a row has no predicted point."""

    NONE = 0
    NO_ANSWER = 1
    NOT_GEOCODED = 2
    """There is an answer, but it is nowhere."""
    UNEXPLAINED = 3
    """The row has neither an answer nor a completion to tell."""
    MISSING = 4
    """The benchmark has the sample, the predictions don't."""


@dataclass(frozen=True)
class Columns:
    """Arrays of N rows each."""

    distance_km: NDArray[np.float64]
    """Infinite for a failure, NaN for a row that has no part in distances."""
    failure: NDArray[np.int8]
    parsed: NDArray[np.int8]
    """1, 0, or -1 without a completion."""
    right: NDArray[np.int8]
    """How many of country, region, city are right; -1 where that cannot be judged."""
    named: NDArray[np.int8]
    """Which of them the truth names, as bits from the country's; -1 as above."""

    def __len__(self) -> int:
        return len(self.distance_km)

    def __getitem__(self, rows: NDArray[np.int64]) -> Columns:
        return Columns(*(column[rows] for column in vars(self).values()))


def read(rows: Iterable[Row], by: Sequence[str], rules: Rules) -> tuple[Columns, list[Groups]]:
    """The columns of all rows, and their groups for each of the break-downs.

    Raises ValueError, with the first row that cannot be used (from 1) as its second argument.
    """
    import numpy as np

    groups = [Groups(name) for name in dict.fromkeys(by)]
    ids = Ids()
    chunks: list[Columns] = []
    first = 0
    for some in _chunks(rows):
        try:
            columns, found = _extract(some, groups, rules)
            ids.add(some)
            for group, named in zip(groups, found, strict=True):
                group.add(named)
        except ValueError as error:
            reason, number = _first_bad(some, groups, rules, ids, error)
            raise ValueError(reason, first + number) from None
        chunks.append(columns)
        first += len(some)
    if not chunks:
        return _extract([], [], rules)[0], groups
    parts = zip(*(vars(chunk).values() for chunk in chunks), strict=True)
    return Columns(*(np.concatenate(part) for part in parts)), groups


def _chunks(rows: Iterable[Row]) -> Iterator[list[Row]]:
    rest = iter(rows)
    while some := list(islice(rest, _CHUNK)):
        yield some


def _first_bad(
    rows: Sequence[Row], groups: Sequence[Groups], rules: Rules, ids: Ids, error: ValueError
) -> tuple[str, int]:
    """What is wrong with the first row that an error may be about, and its number from 1."""
    if len(error.args) == 2:  # it knows
        return error.args[0], error.args[1]
    for number, row in enumerate(rows, start=1):
        try:
            _extract([row], groups, rules)
            ids.add([row])
        except ValueError as own:
            return str(own.args[0]), number
    return str(error), len(rows)


def _extract(
    rows: Sequence[Row], groups: Sequence[Groups], rules: Rules
) -> tuple[Columns, list[list[Label]]]:
    import numpy as np

    distance, missed = _distances(rows, rules)
    failures = np.zeros(len(rows), dtype=np.int8)
    for number in np.flatnonzero(missed).tolist():
        failures[number] = failure(rows[number])
    judged = np.array(judge(rows, rules), dtype=np.int8).reshape(-1, 2)
    parsed = [_parsed(row) for row in rows]
    columns = Columns(
        distance, failures, np.array(parsed, dtype=np.int8), judged[:, 0], judged[:, 1]
    )
    return columns, [labels(group.name, rows) for group in groups]


def _distances(rows: Sequence[Row], rules: Rules) -> tuple[Any, Any]:
    """Distance in km of each row, and whether nothing was predicted for it."""
    import numpy as np

    columns = np.array([_degrees_of(rows, name, limit) for name, limit in LIMITS.items()])
    truth, predicted = np.isnan(columns[:2]), np.isnan(columns[2:])
    if truth.any():
        raise ValueError("the truth (latitude, longitude) is missing")
    if (predicted[0] != predicted[1]).any():
        raise ValueError("only one of predicted_latitude and predicted_longitude is there")
    missed = predicted[0]
    if rules.fallback is not None:
        columns[2:, missed] = np.array(rules.fallback)[:, None]
    distance = np.atleast_1d(great_circle_km(*columns)) * (rules.radius_km / EARTH_RADIUS_KM)
    if rules.fallback is None:
        distance[missed] = np.inf
    if rules.without_distance is not None:
        without = [row.get("data_type") == rules.without_distance for row in rows]
        distance[np.array(without, dtype=bool)] = np.nan
    return distance, missed


def _degrees_of(rows: Sequence[Row], name: str, limit: float) -> Any:
    """A column of degrees, NaN for null; ValueError without saying which row it is."""
    import numpy as np

    try:
        values = [row[name] for row in rows]
    except KeyError:
        raise ValueError(f"no column '{name}'") from None
    if set(map(type, values)) <= _NUMBERS:
        with suppress(OverflowError):
            numbers = np.array(values, dtype=float)
            if np.count_nonzero(np.abs(numbers) <= limit) == len(values) - values.count(None):
                return numbers
    return np.array([_degrees(value, name, limit) for value in values])


def _degrees(value: Any, name: str, limit: float) -> float:
    if value is None:
        return math.nan
    number = math.nan if isinstance(value, str) else as_number(value)
    if not math.isfinite(number):
        raise ValueError(f"{name}: {_shown(value)} is not a number")
    return within(number, name, limit)


def _shown(value: Any) -> str:
    return json.dumps(value, default=str)[:40]


def failure(row: Row) -> Failure:
    """Why a row without a predicted point has none."""
    if isinstance(row.get("answer"), Missing):
        return Failure.MISSING
    if "answer" not in row and "completion" not in row:
        return Failure.UNEXPLAINED
    return Failure.NOT_GEOCODED if split_parts(answer_text(row)) else Failure.NO_ANSWER


def _parsed(row: Row) -> int:
    if "completion" in row:
        return is_parsed(row["completion"])
    return 0 if isinstance(row.get("answer"), Missing) else _UNKNOWN


def is_parsed(completion: object) -> bool:
    """`<think>…</think><answer>…</answer>` with coordinates or an address of 2 or 3 parts."""
    read = parse(completion)
    return read.well_formed and (read.coordinates is not None or read.valid_parts)


class Ids:
    """Refuses an image that a model has two rows for: it would count twice."""

    def __init__(self) -> None:
        self._seen: dict[tuple[Any, Any], set[Any]] = {}

    def add(self, rows: Sequence[Row]) -> None:
        for number, row in enumerate(rows, start=1):
            name = row.get("id")
            if name is None:
                continue
            model, draw = row.get("model"), row.get("draw")
            try:
                seen = self._seen.setdefault((model, draw), set())
                known = name in seen
            except TypeError:
                raise ValueError("id, model or draw: not a text or a number", number) from None
            if known:
                raise ValueError(_twice(name, model), number)
            seen.add(name)


def _twice(name: Any, model: Any) -> str:
    if model is None:
        return f"id '{name}' is there twice; rows of several models need a column 'model'"
    return f"id '{name}' is there twice for model '{model}'"
