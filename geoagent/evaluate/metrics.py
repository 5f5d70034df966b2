"""Rows of predictions → the figures that geolocation papers report."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from geoagent.evaluate.intervals import Interval, mean_interval, median_interval, share_interval
from geoagent.evaluate.predictions import Columns, Failure, read
from geoagent.evaluate.rules import GEOAGENT, LEVELS, Rules
from geoagent.geo.distance import great_circle_km

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Distances = NDArray[np.float64]

THRESHOLDS_KM: Final = (1, 25, 200, 750, 2500)
"""Street, city, region, country, continent."""
GEOSCORE_SCALE_KM: Final = 1805.0
"""GeoScore = 5000·exp(−10·d/18050)."""
_UNIFORM_CELLS: Final = 2_000_000
"""Distances that are held in memory at once."""
Figure = tuple[float, Interval] | None


def metrics(
    rows: Iterable[Mapping[str, Any]], by: Sequence[str] = (), rules: Rules = GEOAGENT
) -> dict[str, Any]:
    """Figures of prediction rows, and of each group of the break-downs in `by` under that key.

    A row has `latitude`, `longitude` and `predicted_latitude`, `predicted_longitude` in degrees;
    null predictions are misses and stay in every mean. Where all rows have a `completion`,
    `parse_rate` is the share of those that are in the form that was asked for; with an `answer`
    and the true `country`, `region`, `city` there are accuracies of these. Keys, definitions and
    sources: docs/reference/metrics.md.

    Raises ValueError, with the first row that cannot be used (from 1) as its second argument.
    """
    columns, groups = read(rows, by, rules)
    result = {"rules": rules.name, **_figures(columns, rules)}
    if groups:
        result["by"] = {
            group.name: {name: _figures(columns[chosen], rules) for name, chosen in group.members()}
            for group in groups
        }
    return result


def _figures(columns: Columns, rules: Rules) -> dict[str, Any]:
    """Accuracies from 0 to 1, GeoScore from 0 to 5000, median in km, and their intervals.

    No rows at all: null for everything.
    """
    import numpy as np

    found: dict[str, Figure] = {"parse_rate": None, "geocoded_rate": None}
    if len(columns) and columns.parsed.min() >= 0:
        found["parse_rate"] = _share(columns.parsed)
    if len(columns):
        found["geocoded_rate"] = _share(columns.failure == Failure.NONE)
    found |= _of_distances(columns.distance_km[~np.isnan(columns.distance_km)], rules)
    found |= _of_names(columns)
    judged = columns.named.clip(0)
    counts = np.bincount(columns.failure, minlength=len(Failure))
    return {
        "count": len(columns),
        **{name: _finite(figure[0]) if figure else None for name, figure in found.items()},
        "named": {level: int((judged >> depth & 1).sum()) for depth, level in enumerate(LEVELS)},
        "failures": {kind.name.lower(): int(counts[kind]) for kind in Failure if kind},
        "intervals": {
            name: [_finite(end) for end in figure[1]] for name, figure in found.items() if figure
        },
    }


def _of_distances(distance: Distances, rules: Rules) -> dict[str, Figure]:
    """A failure is infinitely far away: beyond every threshold, GeoScore 0, and no median (null)
    if half the rows or more are failures."""
    import numpy as np

    hits = {f"accuracy_{threshold}km": distance <= threshold for threshold in THRESHOLDS_KM}
    if rules.below_km is not None:
        hits[f"accuracy_{rules.below_km:g}km"] = distance < rules.below_km
    if not len(distance):
        return dict.fromkeys([*hits, "geoscore", "median_km"])
    found = {name: _share(within) for name, within in hits.items()}
    scores = geoscore(distance)
    found["geoscore"] = float(scores.mean()), mean_interval(scores)
    ordered = np.sort(distance)
    middle = ordered[[math.ceil(len(ordered) / 2) - 1, len(ordered) // 2]]
    median = middle[0] if rules.nearest_rank else middle.mean()
    found["median_km"] = float(median), median_interval(ordered, rules.nearest_rank)
    return found


def _of_names(columns: Columns) -> dict[str, Figure]:
    """Of a level, the share among the truths that name it; null where a row cannot be judged."""
    found: dict[str, Figure] = {}
    judged = len(columns) > 0 and columns.right.min() >= 0
    for depth, level in enumerate(LEVELS):
        right = columns.right[(columns.named >> depth & 1) == 1] > depth
        found[f"{level}_accuracy"] = _share(right) if judged and len(right) else None
    return found


def _share(hits: Any) -> Figure:
    count = len(hits)
    number = int(hits.sum())
    return number / count, share_interval(number, count)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


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
