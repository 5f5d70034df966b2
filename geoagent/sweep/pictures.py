"""The pictures of a sweep: what settings do to figures, which points are best, how rewards grew."""

from __future__ import annotations

import re
import statistics
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from geoagent.figures.style import FAINT, SERIES, new_figure
from geoagent.report.charts import Chart, curve_chart, new_axes, plain, style_axes, to_chart
from geoagent.report.curves import read_stage
from geoagent.sweep.effects import (
    Dimension,
    Effects,
    Front,
    front_table,
    standard_error,
    trend_text,
)
from geoagent.sweep.fields import short_keys
from geoagent.sweep.results import Results, TrialResult
from geoagent.sweep.tables import best_first, column, heading, value_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from geoagent.report.curves import Curve

_MAX_DIMENSIONS: Final = 12
_MAX_METRICS: Final = 4
"""Panels side by side."""
_MAX_LINES: Final = 8
"""Learning curves; more are a tangle."""
_MAX_LEGEND: Final = 12
"""Points of the front that the picture names; all are numbered and in the table."""
_NAME_WIDTH: Final = 30
_LOG_FROM: Final = 50.0
"""Largest over smallest value from which an axis is logarithmic."""
_RASTER_FROM: Final = 200
"""Points from which on they are pixels in the page too: it would have megabytes of circles."""
_REWARD: Final = re.compile(r"train/rewards/(\w+)/mean")


def effect_charts(found: Effects, metrics: Sequence[str]) -> list[Chart]:
    """Of each dimension, a panel for each of the first metrics."""
    names = short_keys([dimension.key for dimension in found.dimensions])
    shown = list(metrics)[:_MAX_METRICS]
    charts = (_effect(one, names, shown) for one in found.dimensions[:_MAX_DIMENSIONS])
    return [chart for chart in charts if chart is not None]


def _effect(dimension: Dimension, names: Mapping[str, str], metrics: Sequence[str]) -> Chart | None:
    """None if no trial has any figure."""
    trends = dimension.trends
    if trends is None:
        drawn = [m for m in metrics if any(m in level.estimates for level in dimension.levels)]
    else:
        drawn = [metric for metric in metrics if trends[metric].x]
    if not drawn:
        return None
    figure = new_figure(max(420, 290 * len(drawn)), 290)
    for number, metric in enumerate(drawn, start=1):
        axes = figure.add_subplot(1, len(drawn), number)
        style_axes(axes)
        axes.set_title(plain(heading(metric)), fontsize=10)
        axes.set_xlabel(plain(names[dimension.key]))
        if trends is None:
            _draw_levels(axes, dimension, metric)
        else:
            _draw_trend(axes, dimension, metric)
    caption = (
        "Mean of the trials with each value; bars: ± its standard error."
        if trends is None
        else "A dot a point; above: Spearman's rank correlation and its p-value."
    )
    wide = len(drawn) > 1
    return to_chart(f"effects-{dimension.key}", dimension.key, caption, figure, wide)


def _scaled(metric: str) -> float:
    return 100.0 if column(metric).form == "percent" else 1.0


def _draw_levels(axes: Axes, dimension: Dimension, metric: str) -> None:
    factor = _scaled(metric)
    for place, level in enumerate(dimension.levels):
        estimate = level.estimates.get(metric)
        if estimate is None:
            continue
        mean, error = factor * estimate.mean, standard_error(estimate)
        axes.plot([place], [mean], "o", color=SERIES[0], ms=6)
        if error is not None:
            axes.errorbar([place], [mean], yerr=[factor * error], color=SERIES[0], capsize=3)
    axes.set_xticks(range(len(dimension.levels)))
    labels = [plain(value_text(level.value)) for level in dimension.levels]
    long = max(map(len, labels), default=0) * len(labels) > 24
    axes.set_xticklabels(labels, rotation=30 if long else 0, ha="right" if long else "center")
    axes.margins(x=0.15)


def _draw_trend(axes: Axes, dimension: Dimension, metric: str) -> None:
    assert dimension.trends is not None
    trend = dimension.trends[metric]
    factor = _scaled(metric)
    pixels = len(trend.x) > _RASTER_FROM
    look: dict[str, Any] = {"color": SERIES[0], "ms": 4, "alpha": 0.7, "rasterized": pixels}
    axes.plot(trend.x, [factor * value for value in trend.y], "o", **look)
    if _is_logarithmic(trend.x):
        axes.set_xscale("log")
    axes.set_title(f"{plain(heading(metric))}: {trend_text(trend)}", fontsize=10)


def _is_logarithmic(values: Sequence[float]) -> bool:
    """Whether a quantity looks drawn by its logarithm: half of it is far below the middle."""
    low, high = min(values), max(values)
    return low > 0 and high > _LOG_FROM * low and statistics.median(values) < (low + high) / 8


def front_chart(results: Results, one: Front) -> Chart:
    """All points by two figures; those that no other is better than are numbered as in the table,
    and the first of them named."""
    figure, axes = new_axes(760, 460)
    factors = _scaled(one.x), _scaled(one.y)
    places = {
        point.name: (factors[0] * x, factors[1] * y)
        for point, (x, y) in zip(one.points, one.places, strict=True)
    }
    rest = [place for name, place in places.items() if name not in one.best]
    if rest:
        pixels = len(rest) > _RASTER_FROM
        look: dict[str, Any] = {"color": FAINT, "ms": 4, "alpha": 0.6, "rasterized": pixels}
        axes.plot(*zip(*rest, strict=True), "o", **look, label="other points")
    table = front_table(results, one)
    ordered = [places[row[1].text] for row in table.rows]
    axes.plot(*zip(*ordered, strict=True), "o-", color=SERIES[1], ms=7, lw=1)
    for place, label in joined_labels(ordered, [row[0].text for row in table.rows]).items():
        axes.annotate(label, place, (5, 5), textcoords="offset points", fontsize=9)
    for row in table.rows[:_MAX_LEGEND]:
        said = row[2].text if row[2].text != "–" else row[1].text
        lines = "\n".join(map(plain, textwrap.wrap(said, _NAME_WIDTH)))
        axes.plot([], [], " ", label=f"{row[0].text}  {lines}")
    axes.set(xlabel=plain(heading(one.x)), ylabel=plain(heading(one.y)))
    _better(axes, one)
    axes.margins(0.08)
    axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    title = f"{column(one.x).heading} against {column(one.y).heading}"
    caption = "Numbered: points that no other is better than; numbers are those of the table."
    return to_chart("pareto", title, caption, figure)


def joined_labels(
    places: Sequence[tuple[float, float]], labels: Sequence[str]
) -> dict[tuple[float, float], str]:
    """By place, its label; those of equal places would lie on each other and become `1, 2`."""
    found: dict[tuple[float, float], list[str]] = {}
    for place, label in zip(places, labels, strict=True):
        found.setdefault(place, []).append(label)
    return {place: ", ".join(equal) for place, equal in found.items()}


def _better(axes: Axes, one: Front) -> None:
    """Better is up and to the right."""
    if column(one.x).lower_is_better:
        axes.invert_xaxis()
    if column(one.y).lower_is_better:
        axes.invert_yaxis()


# --- learning curves ---------------------------------------------------------------------------


def learning_curves(results: Results) -> list[Chart]:
    """Total reward of GRPO, then each reward unweighted, of the best points by the first metric
    that have logged any."""
    chosen = list(_logged(results))
    shown = chosen[:_MAX_LINES]
    several = len(results.home.seeds) > 1
    lines: dict[str, list[tuple[str, Curve]]] = {}
    for trial in shown:
        curves = read_stage(results.home.run(trial.folder), "grpo")
        label = f"{trial.point}, seed {trial.seed}" if several else trial.point
        for tag, curve in (curves.scalars if curves else {}).items():
            lines.setdefault(tag, []).append((label, curve))
    wanted = ["train/reward", *sorted(tag for tag in lines if _REWARD.fullmatch(tag))]
    note = ""
    if len(chosen) > len(shown):
        note = f"{len(shown)} of the {len(chosen):,} points that have logged it"
        note += f", the best by {column(results.metrics[0]).heading}." if results.metrics else "."
    return [_learning(tag, lines[tag], note) for tag in wanted if tag in lines]


def _logged(results: Results) -> Iterator[TrialResult]:
    """The first trial of each point that has a curve of GRPO, the best points first."""
    for point in best_first(results):
        for trial in point.trials:
            board = results.home.run(trial.folder).tensorboard("grpo")
            if any(board.glob("events.out.tfevents.*")):
                yield trial
                break


def _learning(tag: str, lines: Sequence[tuple[str, Curve]], note: str) -> Chart:
    found = _REWARD.fullmatch(tag)
    if found:
        title, unit = f"GRPO: reward {found.group(1)}", "mean of the step, unweighted"
    else:
        title, unit = "GRPO: total reward", "weighted sum, mean of the step"
        note = f"{note} Each with its own weights: not to be compared where these differ.".strip()
    return curve_chart(title, title, unit, lines, note=note)
