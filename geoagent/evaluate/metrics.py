"""Rows of predictions → the figures that geolocation papers report."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from geoagent.answer import parse
from geoagent.geo.distance import great_circle_km

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Distances = NDArray[np.float64]

THRESHOLDS_KM: Final = (1, 25, 200, 750, 2500)
"""Street, city, region, country, continent."""
GEOSCORE_SCALE_KM: Final = 1805.0
"""GeoScore = 5000·exp(−10·d/18050)."""
_LIMITS: Final = {
    "latitude": 90.0,
    "longitude": 180.0,
    "predicted_latitude": 90.0,
    "predicted_longitude": 180.0,
}
_UNIFORM_CELLS: Final = 2_000_000
"""Distances that are held in memory at once."""


def metrics(rows: Iterable[Mapping[str, Any]], by: Sequence[str] = ()) -> dict[str, Any]:
    """Figures of prediction rows, and of each value of the columns in `by` under the key `by`.

    A row has `latitude`, `longitude` and `predicted_latitude`, `predicted_longitude` in degrees;
    null predictions are misses and stay in every mean. Where all rows have a `completion`,
    `parse_rate` is the share of those that are in the form that was asked for.

    Raises ValueError, with the first row that cannot be used (from 1) as its second argument.
    """
    kept = list(rows)
    distances = row_distances(kept)
    parsed = [is_parsed(row["completion"]) if "completion" in row else None for row in kept]
    result = _figures(distances, parsed)
    if by:
        result["by"] = {name: _groups(kept, name, distances, parsed) for name in by}
    return result


def row_distances(rows: Sequence[Mapping[str, Any]]) -> Distances:
    """Great-circle distance in km of each row; NaN where nothing was predicted.

    Raises ValueError(message, number of the row from 1).
    """
    import numpy as np

    columns = np.full((len(rows), len(_LIMITS)), np.nan)
    for number, row in enumerate(rows, start=1):
        try:
            columns[number - 1] = _coordinates(row)
        except ValueError as error:
            raise ValueError(str(error), number) from None
    return np.atleast_1d(great_circle_km(*columns.T))


def _coordinates(row: Mapping[str, Any]) -> list[float]:
    """The four coordinates in the order of _LIMITS; NaN for both of a missing prediction."""
    values = [_degrees(row, name, limit) for name, limit in _LIMITS.items()]
    if math.isnan(values[0]) or math.isnan(values[1]):
        raise ValueError("the truth (latitude, longitude) is missing")
    if math.isnan(values[2]) != math.isnan(values[3]):
        raise ValueError("only one of predicted_latitude and predicted_longitude is there")
    return values


def _degrees(row: Mapping[str, Any], name: str, limit: float) -> float:
    if name not in row:
        raise ValueError(f"no column '{name}'")
    value = row[name]
    if value is None:
        return math.nan
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{name}: {json.dumps(value)[:40]} is not a number")
    if abs(value) > limit:
        raise ValueError(f"{name}: {value:g} is out of range (−{limit:g} to {limit:g})")
    return float(value)


def is_parsed(completion: object) -> bool:
    """`<think>…</think><answer>…</answer>` with coordinates or an address of 2 or 3 parts."""
    read = parse(completion)
    return read.well_formed and (read.coordinates is not None or read.valid_parts)


def _groups(
    rows: Sequence[Mapping[str, Any]],
    name: str,
    distances: Distances,
    parsed: Sequence[bool | None],
) -> dict[str, Any]:
    members: dict[str, list[int]] = {}
    for index, row in enumerate(rows):
        if name not in row:
            raise ValueError(f"no column '{name}'", index + 1)
        value = row[name]
        key = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        members.setdefault(key, []).append(index)
    return {
        key: _figures(distances[chosen], [parsed[index] for index in chosen])
        for key, chosen in sorted(members.items())
    }


def _figures(distances: Distances, parsed: Sequence[bool | None]) -> dict[str, Any]:
    """Accuracies from 0 to 1, GeoScore from 0 to 5000, median in km.

    A miss is infinitely far away: beyond every threshold, GeoScore 0, and no median (null) if
    half the rows or more are misses. No rows at all: null for everything.
    """
    import numpy as np

    count = len(distances)
    known = [value for value in parsed if value is not None]
    far = np.where(np.isnan(distances), np.inf, distances)
    result: dict[str, Any] = {
        "count": count,
        "parse_rate": sum(known) / count if count and len(known) == count else None,
        "geocoded_rate": float(np.isfinite(far).mean()) if count else None,
    }
    for threshold in THRESHOLDS_KM:
        result[f"accuracy_{threshold}km"] = float((far <= threshold).mean()) if count else None
    result["geoscore"] = float(geoscore(far).mean()) if count else None
    middle = float(np.median(far)) if count else math.inf
    result["median_km"] = middle if math.isfinite(middle) else None
    return result


def geoscore(distance_km: Any) -> Any:
    """5000·exp(−10·d/18050), 0 for an infinite distance (GeoAgent §4.1, after GeoGuessr)."""
    import numpy as np

    return 5000.0 * np.exp(-np.asarray(distance_km) / GEOSCORE_SCALE_KM)


def uniform_guess(
    places: Sequence[tuple[float, float]], truths: Sequence[tuple[float, float]]
) -> dict[str, Any]:
    """What chance is: expected figures of guessing one of `places`, each equally likely.

    Both are (latitude, longitude) in degrees. Computed over all pairs, not drawn; the median is
    that of all pairs, to the kilometre.
    """
    import numpy as np

    hits = np.zeros(len(THRESHOLDS_KM))
    score, histogram = 0.0, np.zeros(20_100, dtype=np.int64)
    for distances in _pairs(np.asarray(places, float), np.asarray(truths, float)):
        hits += [(distances <= threshold).sum() for threshold in THRESHOLDS_KM]
        score += float(geoscore(distances).sum())
        histogram += np.bincount(np.rint(distances).astype(np.int64), minlength=len(histogram))
    pairs = len(places) * len(truths)
    result: dict[str, Any] = {"count": len(truths), "places": len(places)}
    for threshold, hit in zip(THRESHOLDS_KM, hits, strict=True):
        result[f"accuracy_{threshold}km"] = float(hit / pairs)
    result["geoscore"] = score / pairs
    result["median_km"] = float(np.searchsorted(np.cumsum(histogram), pairs / 2))
    return result


def _pairs(places: Distances, truths: Distances) -> Iterator[Distances]:
    """Distances in km between all truths and all places, some truths at a time."""
    step = max(1, _UNIFORM_CELLS // len(places))
    for start in range(0, len(truths), step):
        some = truths[start : start + step]
        yield great_circle_km(
            some[:, None, 0], some[:, None, 1], places[None, :, 0], places[None, :, 1]
        ).ravel()
