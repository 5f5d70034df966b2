"""What the settings of a sweep do to its figures, and which points no other is better than."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from geoagent.sweep.fields import short_keys
from geoagent.sweep.results import Estimate, PointResult, Results, TrialResult
from geoagent.sweep.tables import (
    NOTHING,
    Cell,
    SweepTable,
    column,
    estimate_text,
    heading,
    value_text,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CONSISTENCY: Final = "rewards.consistency"
_MANY_LEVELS: Final = 5
"""A number with more values than this, most of them of one point only, is a quantity."""
_MIN_POINTS: Final = 4
"""Of a rank correlation; fewer can have any."""


@dataclass(frozen=True)
class Level:
    """A value of a dimension with the trials that have it, by metric over those that have it."""

    value: Any
    trials: int
    estimates: Mapping[str, Estimate]


@dataclass(frozen=True)
class Trend:
    """A metric over a quantity: values and means of the points that have it, Spearman's rank
    correlation and its two-sided p-value (None of fewer than four points, or of equal ones)."""

    x: tuple[float, ...]
    y: tuple[float, ...]
    rho: float | None
    p_value: float | None


@dataclass(frozen=True)
class Dimension:
    """What a grid or a random draw varies: either its levels, or by metric a trend."""

    key: str
    levels: tuple[Level, ...] = ()
    trends: Mapping[str, Trend] | None = None


@dataclass(frozen=True)
class Front:
    """Points that have two figures, of which `best` are those that no other point is better than
    in one and at least as good in the other."""

    x: str
    y: str
    points: tuple[PointResult, ...]
    places: tuple[tuple[float, float], ...]
    best: frozenset[str]


@dataclass(frozen=True)
class Effects:
    """`trials` is how many the dimensions have, `left_out` how many of these are not finished."""

    dimensions: tuple[Dimension, ...]
    trials: int
    left_out: int
    front: Front | None


def effects(results: Results) -> Effects:
    """Main effects of the dimensions, over finished trials; named points have no part in them."""
    varied = [point for point in results.points if point.row.dimensions]
    keys = dict.fromkeys(key for point in varied for key in point.row.dimensions)
    trials = [trial for point in varied for trial in point.trials]
    dimensions = (_dimension(key, varied, results.metrics) for key in keys)
    return Effects(
        dimensions=tuple(one for one in dimensions if one.trends or len(one.levels) > 1),
        trials=len(trials),
        left_out=sum(not trial.figures for trial in trials),
        front=front(results),
    )


def _dimension(key: str, points: Sequence[PointResult], metrics: Sequence[str]) -> Dimension:
    chosen = [point for point in points if key in point.row.dimensions]
    levels: dict[str, list[PointResult]] = {}
    for point in chosen:
        levels.setdefault(json.dumps(point.row.dimensions[key], sort_keys=True), []).append(point)
    values = [point.row.dimensions[key] for point in chosen]
    if all(map(_is_number, values)) and len(levels) > max(_MANY_LEVELS, len(chosen) / 2):
        return Dimension(key, trends={metric: _trend(key, chosen, metric) for metric in metrics})
    ordered = sorted(levels.values(), key=lambda some: _order(some[0].row.dimensions[key]))
    return Dimension(key, tuple(_level(key, some, metrics) for some in ordered))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _order(value: Any) -> tuple[bool, float, str]:
    """Numbers by size before everything else."""
    return (not _is_number(value), value if _is_number(value) else 0.0, str(value))


def _level(key: str, points: Sequence[PointResult], metrics: Sequence[str]) -> Level:
    trials: list[TrialResult] = [t for point in points for t in point.finished if t.figures]
    found = {
        metric: Estimate.of([t.figures[metric] for t in trials if metric in t.figures])
        for metric in metrics
    }
    estimates = {metric: one for metric, one in found.items() if one is not None}
    return Level(points[0].row.dimensions[key], len(trials), estimates)


def _trend(key: str, points: Sequence[PointResult], metric: str) -> Trend:
    """Over points, not trials: seeds of a point have the same value and are no evidence of their
    own."""
    from scipy.stats import spearmanr

    found = [(float(point.row.dimensions[key]), point.estimate(metric)) for point in points]
    pairs = [(value, estimate.mean) for value, estimate in found if estimate is not None]
    x, y = tuple(value for value, _ in pairs), tuple(mean for _, mean in pairs)
    if len(pairs) < _MIN_POINTS or len(set(x)) < 2 or len(set(y)) < 2:
        return Trend(x, y, None, None)
    rho, p_value = spearmanr(x, y)
    return Trend(x, y, float(rho), float(p_value))


def standard_error(estimate: Estimate) -> float | None:
    """Of the mean; None for one trial."""
    if estimate.deviation is None:
        return None
    return estimate.deviation / math.sqrt(estimate.count)


# --- which points no other is better than ------------------------------------------------------


def front(results: Results) -> Front | None:
    """The first metric against what it may be bought with: the mean consistency reward where all
    have it, else the last metric, else the mean total reward. None if there are no two."""
    metrics = [metric for metric in results.metrics if metric in results.names]
    x = next(iter(metrics), None)
    measured = [point for point in results.points if any(t.figures for t in point.finished)]
    others = [*([CONSISTENCY] if _all_have(measured, CONSISTENCY) else []), *metrics[:0:-1]]
    others += ["mean_reward"] if _all_have(measured, "mean_reward") else []
    y = next((metric for metric in others if metric != x), None)
    if x is None or y is None:
        return None
    found = [(point, point.estimate(x), point.estimate(y)) for point in measured]
    known = [(point, (a.mean, b.mean)) for point, a, b in found if a is not None and b is not None]
    if len(known) < 2:
        return None
    places = tuple(place for _, place in known)
    best = non_dominated(places, (column(x).lower_is_better, column(y).lower_is_better))
    names = frozenset(point.name for (point, _), one in zip(known, best, strict=True) if one)
    return Front(x, y, tuple(point for point, _ in known), places, names)


def _all_have(points: Sequence[PointResult], metric: str) -> bool:
    return bool(points) and all(point.estimate(metric) is not None for point in points)


def non_dominated(places: Sequence[Sequence[float]], lower: Sequence[bool]) -> NDArray[np.bool_]:
    """Of N places with K figures each: whether no other place is better in one figure and at least
    as good in all others; `lower` says of which figures less is better. Equal places don't
    dominate each other."""
    import numpy as np

    values = np.asarray(places, dtype=float).reshape(-1, len(lower)) * np.where(lower, -1.0, 1.0)
    at_least = np.all(values[None] >= values[:, None], axis=-1)
    better = np.any(values[None] > values[:, None], axis=-1)
    return np.asarray(~np.any(at_least & better, axis=1))


# --- as tables ---------------------------------------------------------------------------------


def levels_table(found: Effects, metrics: Sequence[str]) -> SweepTable | None:
    """A row a level: mean ± standard error of each metric. None if no dimension has levels."""
    chosen = [one for one in found.dimensions if one.levels]
    rows = [
        (
            Cell(dimension.key if not number else ""),
            Cell(value_text(level.value)),
            Cell(str(level.trials)),
            *(Cell(_level_text(level, metric)) for metric in metrics),
        )
        for dimension in chosen
        for number, level in enumerate(dimension.levels)
    ]
    headings = ("setting", "value", "trials", *(heading(metric) for metric in metrics))
    notes = ["Mean ± standard error over the finished trials that have the value."]
    notes += [_left_out(found)] if found.left_out else []
    return SweepTable(headings, tuple(rows), frozenset({0}), tuple(notes)) if rows else None


def _left_out(found: Effects) -> str:
    return f"{found.left_out} of {found.trials} trials are not finished and are left out."


def _level_text(level: Level, metric: str) -> str:
    estimate = level.estimates.get(metric)
    if estimate is None:
        return NOTHING
    as_shown = Estimate(estimate.mean, standard_error(estimate), estimate.count)
    return estimate_text(as_shown, metric, several=estimate.count != level.trials)


def trends_table(found: Effects, metrics: Sequence[str]) -> SweepTable | None:
    """A row a quantity: rank correlation with each metric. None if there is no quantity."""
    rows = [
        (
            Cell(dimension.key),
            Cell(str(max((len(trend.x) for trend in dimension.trends.values()), default=0))),
            *(Cell(trend_text(dimension.trends[metric])) for metric in metrics),
        )
        for dimension in found.dimensions
        if dimension.trends is not None
    ]
    names = (column(metric).heading for metric in metrics)
    notes = [
        "Spearman's rank correlation over the points' means, and its two-sided p-value (not "
        "corrected for how many there are; rough below about ten points)."
    ]
    notes += [_left_out(found)] if found.left_out else []
    table = SweepTable(("setting", "points", *names), tuple(rows), frozenset({0}), tuple(notes))
    return table if rows else None


def trend_text(trend: Trend) -> str:
    if trend.rho is None or trend.p_value is None:
        return NOTHING
    p_value = "< 0.001" if trend.p_value < 0.001 else f"= {trend.p_value:.3f}"
    return f"{trend.rho:+.2f} (p {p_value})".replace("-", "−")


def front_table(results: Results, one: Front) -> SweepTable:
    """The points that no other is better than, by the first of the two figures."""
    names = short_keys(results.varied)
    sign = 1 if column(one.x).lower_is_better else -1
    chosen = [
        (place, point)
        for place, point in zip(one.places, one.points, strict=True)
        if point.name in one.best
    ]
    several = len(results.home.seeds) > 1
    rows = tuple(
        (
            Cell(str(number)),
            Cell(point.name),
            Cell(weights_text(point, names)),
            *(Cell(estimate_text(point.estimate(m), m, several)) for m in (one.x, one.y)),
        )
        for number, (_, point) in enumerate(sorted(chosen, key=lambda c: sign * c[0][0]), start=1)
    )
    headings = ("", "point", "weights", heading(one.x), heading(one.y))
    note = (
        f"{len(rows)} of {len(one.points)} points: no other is better in one of the two figures "
        "and at least as good in the other. By means; how sure these are is not considered."
    )
    return SweepTable(headings, rows, frozenset({1, 2}), (note,))


def weights_text(point: PointResult, names: Mapping[str, str]) -> str:
    """The point's reward weights; its other settings if it has none."""
    settings = point.row.settings
    weights = {key: value for key, value in settings.items() if key.startswith("rewards.weights.")}
    shown = weights or settings
    parts = (f"{names.get(key, key)}={value_text(value)}" for key, value in shown.items())
    return ", ".join(parts) or NOTHING
