"""The figures of a report, each as SVG for the page and as PNG beside it."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from geoagent.evaluate.metrics import THRESHOLDS_KM
from geoagent.figures.style import (
    ERROR_SCALE,
    FAINT,
    GRATICULE,
    LAND,
    SERIES,
    new_figure,
    to_png,
    to_svg,
)
from geoagent.report.curves import Curves
from geoagent.report.load import Predictions
from geoagent.stages import POLICY

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from geoagent.report.curves import Curve

NAMES_OF_KM: Final = dict(
    zip(THRESHOLDS_KM, ("street", "city", "region", "country", "continent"), strict=True)
)
MAX_ARCS: Final = 300
"""Lines of an error map; more are a tangle, and a page of many megabytes."""
_INK: Final = "#2b2b2b"
_ON_LIGHT: Final = "#1b1b1b"
"""Of a text on the lightest of the error colours, which is light in the dark as well."""
NOT_LOCATED: Final = "#c9c9c6"
_DASHES: Final = ("-", "--", "-.", ":")
_SMOOTHED_FROM: Final = 60
"""Points of a curve from which on a running mean is drawn through them."""
_LONG_LABEL: Final = 18
"""Letters of a curve's name from which on the names stand below the plot: inside they hide it."""
_SEED: Final = 0


@dataclass(frozen=True)
class Line:
    """One curve of a figure: a model of a run, or a run."""

    label: str
    predictions: Predictions | None
    figures: Mapping[str, Any]


@dataclass(frozen=True)
class Chart:
    """A figure in both forms; `name` is that of the PNG file."""

    name: str
    title: str
    caption: str
    svg: str
    png: bytes
    wide: bool = False


def accuracy_chart(name: str, lines: Sequence[Line], uniform: Mapping[str, Any]) -> Chart:
    """Share of images within a distance, from 0.1 km on; what was not located is never within."""
    import numpy as np

    figure, axes = new_axes(640, 420)
    grid = np.union1d(np.logspace(-1, np.log10(20_100), 300), THRESHOLDS_KM)
    for number, line in enumerate(lines):
        if line.predictions is None:
            continue
        distances = line.predictions.distance_km
        near = np.sort(distances[~np.isnan(distances)])
        share = 100 * np.searchsorted(near, grid, side="right") / len(distances)
        axes.plot(grid, share, label=plain(line.label), **series_look(number))
    chance = [(km, uniform.get(f"accuracy_{km}km")) for km in THRESHOLDS_KM]
    known = [(km, 100 * share) for km, share in chance if share is not None]
    if known:
        axes.plot(*zip(*known, strict=True), "o:", color=FAINT, ms=3, lw=1, label="uniform guess")
    axes.set(xscale="log", xlim=(0.1, 20_100), ylim=(-2, 102))
    axes.set(xlabel="distance from the truth, km", ylabel="images within it, %")
    _thresholds(axes)
    axes.legend(frameon=False, fontsize=9, loc="best")
    caption = "An image without a located answer is never within any distance."
    return to_chart(name, "Accuracy by distance", caption, figure)


def _thresholds(axes: Axes) -> None:
    for km, word in NAMES_OF_KM.items():
        axes.axvline(km, color=GRATICULE, lw=0.8, zorder=0.5)
        axes.text(km, 103, word, rotation=35, fontsize=7.5, color=FAINT, ha="left", va="bottom")
    axes.set_xticks([0.1, *THRESHOLDS_KM, 20_000])
    axes.set_xticklabels(["0.1", "1", "25", "200", "750", "2,500", "20,000"], fontsize=8)
    axes.minorticks_off()


def classes_chart(name: str, lines: Sequence[Line]) -> Chart:
    """How large the errors are: shares of images between the thresholds, and of those that were
    not located."""
    from matplotlib.patches import Patch

    shown = [line for line in lines if line.predictions is not None]
    figure, axes = new_axes(640, 150 + 45 * len(shown))
    for row, line in enumerate(shown):
        assert line.predictions is not None
        _bar(axes, row, line.predictions)
    axes.set_yticks(range(len(shown)))
    axes.set_yticklabels([plain(line.label) for line in shown])
    axes.set(ylim=(len(shown) - 0.5, -0.5), xlim=(0, 100), xlabel="images, %")
    axes.grid(visible=False)
    words = [*(f"≤ {km:,} km" for km in THRESHOLDS_KM), "farther", "not located"]
    colors = [*_error_colors(), NOT_LOCATED]
    axes.legend(
        handles=[Patch(color=color, label=word) for color, word in zip(colors, words, strict=True)],
        frameon=False,
        fontsize=8,
        ncols=4,
        loc="lower left",
        bbox_to_anchor=(0, 1.0),
        borderaxespad=0.2,
    )
    return to_chart(
        name, "How far off", "Each image is in the smallest class that it fits.", figure
    )


def _bar(axes: Axes, row: int, predictions: Predictions) -> None:
    """One model's classes side by side, with the share in those that have room for it."""
    import numpy as np

    colors = [*_error_colors(), NOT_LOCATED]
    inks = ["white"] * (len(colors) - 2) + [_ON_LIGHT, _INK]
    # NaN is sorted behind everything: not located is the last class.
    bounds = [*THRESHOLDS_KM, np.inf]
    classes = np.searchsorted(bounds, predictions.distance_km, side="left")
    shares = 100 * np.bincount(classes, minlength=len(colors)) / len(classes)
    starts = np.cumsum(shares) - shares
    axes.barh(row, shares, left=starts, color=colors, height=0.6)
    for start, share, ink in zip(starts, shares, inks, strict=True):
        if share >= 6:
            place: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 8.5, "color": ink}
            axes.text(start + share / 2, row, f"{share:.0f}", **place)


def error_map(name: str, line: Line, wide: bool = True) -> Chart | None:
    """Great circles from truth to prediction; of many, a random but fixed sample. None if nothing
    was located."""
    import numpy as np

    assert line.predictions is not None
    figure = map_figure(line.predictions)
    if figure is None:
        return None
    distances = line.predictions.distance_km
    missed, count = int(np.isnan(distances).sum()), len(distances)
    caption = f"From each truth (dot) to where {line.label} placed it"
    caption += f"; {missed:,} of {count:,} images were not located"
    if count - missed > MAX_ARCS:
        caption += f"; drawn: a random sample of {MAX_ARCS:,} of the {count - missed:,} that were"
    return to_chart(name, f"Errors of {line.label}", f"{caption}.", figure, wide)


def map_figure(predictions: Predictions) -> Figure | None:
    """The map, 1200 × 680 pixels, of at most MAX_ARCS images; None if nothing was located."""
    import numpy as np

    from geoagent.figures.world import add_scale, draw_arcs, draw_points, world_axes

    distances = predictions.distance_km
    located = np.flatnonzero(~np.isnan(distances))
    if not len(located):
        return None
    if len(located) > MAX_ARCS:
        located = np.random.default_rng(_SEED).choice(located, MAX_ARCS, replace=False)
    # Short errors above long ones; equal ones as in the file.
    order = located[np.lexsort((located, -distances[located]))]
    lat, lon, to_lat, to_lon = predictions.places[order].T
    figure = new_figure(1200, 680)
    axes = world_axes(figure)
    arcs = draw_arcs(axes, lat, lon, to_lat, to_lon, values=distances[order])
    draw_points(axes, lat, lon, color=_INK)
    add_scale(axes, arcs, "error, km")
    return figure


# --- training ----------------------------------------------------------------------------------

Panel = tuple[str, str, tuple[tuple[str, str], ...]]
_SFT_PANELS: Final[tuple[Panel, ...]] = (
    ("Loss", "cross-entropy", (("train/loss", "loss"),)),
    ("Token accuracy", "share of tokens", (("train/token_acc", "token accuracy"),)),
)
_POLICY_PANELS: Final[tuple[Panel, ...]] = (
    ("Total reward", "weighted sum", (("train/reward", "mean of the step"),)),
    ("Rewards", "mean, unweighted", ()),
    ("KL divergence", "to the model before", (("train/kl", "KL"),)),
    (
        "Completion length",
        "tokens",
        (
            ("train/completions/mean_length", "mean"),
            ("train/completions/max_length", "longest"),
            ("train/completions/min_length", "shortest"),
        ),
    ),
    (
        "Distance",
        "km, of located answers",
        (
            ("parts/spatial/distance_km", "mean distance"),
            ("parts/coordinates/distance_km", "mean distance of coordinates"),
        ),
    ),
    (
        "Use of tools",
        "mean of an image",
        tuple((f"parts/rollout/{name}", name) for name in ("turns", "crops", "searches")),
    ),
    ("Waiting for rewards", "share of a step's time", (("time/rewards_share", "share"),)),
    ("Loss", "policy loss", (("train/loss", "loss"),)),
)
_REWARD: Final = re.compile(r"train/rewards/(\w+)/mean")


def training_charts(curves: Curves) -> list[Chart]:
    """The curves of one stage; those that it has not logged are left out."""
    charts = []
    for title, unit, tags in _POLICY_PANELS if curves.stage in POLICY else _SFT_PANELS:
        chosen = tags or tuple(
            (tag, found.group(1)) for tag in curves.scalars if (found := _REWARD.fullmatch(tag))
        )
        lines = [(label, curves.scalars[tag]) for tag, label in chosen if tag in curves.scalars]
        if lines:
            spread = curves.scalars.get(f"{chosen[0][0]}_std") if len(lines) == 1 else None
            charts.append(curve_chart(f"{curves.stage}-{_slug(title)}", title, unit, lines, spread))
    return charts


def overlaid_charts(runs: Sequence[tuple[str, Sequence[Curves]]]) -> list[Chart]:
    """Loss of SFT, and total reward and KL divergence of RL, with a curve a run."""
    charts = []
    for stage, tag, title, unit in (
        ("sft", "train/loss", "SFT: loss", "cross-entropy"),
        ("judge", "train/reward", "RL-I: total reward", "weighted sum, mean of the step"),
        ("judge", "train/kl", "RL-I: KL divergence", "to the model before"),
        ("grpo", "train/reward", "GRPO: total reward", "weighted sum, mean of the step"),
        ("grpo", "train/kl", "GRPO: KL divergence", "to the model before"),
    ):
        lines = [
            (name, one.scalars[tag])
            for name, curves in runs
            for one in curves
            if one.stage == stage and tag in one.scalars
        ]
        if lines:
            charts.append(curve_chart(f"{_slug(title)}", title, unit, lines))
    return charts


def curve_chart(
    name: str,
    title: str,
    unit: str,
    lines: Sequence[tuple[str, Curve]],
    spread: Curve | None = None,
    note: str = "",
) -> Chart:
    """Curves over the steps. Long ones are drawn faintly with their running mean on top; `spread`
    is a standard deviation around the only one; `note` begins the caption."""
    import numpy as np

    below = len(lines) > 1 and max(len(label) for label, _ in lines) > _LONG_LABEL
    figure, axes = new_axes(440, 300 + (16 * len(lines) if below else 0))
    smoothed = False
    for number, (label, (steps, values)) in enumerate(lines):
        look = series_look(number)
        if len(steps) >= _SMOOTHED_FROM:
            smoothed = True
            axes.plot(steps, values, color=look["color"], lw=0.7, alpha=0.3)
            values = _running_mean(values)
        marker = "o" if len(steps) == 1 else None
        axes.plot(steps, values, label=plain(label), marker=marker, **look)
    caption = note
    if spread is not None and len(spread[0]) == len(lines[0][1][0]):
        steps, values = lines[0][1]
        band = spread[1]
        axes.fill_between(steps, values - band, values + band, color=SERIES[0], alpha=0.15, lw=0)
        band_is = "Band: ± the standard deviation within groups of completions."
        caption = f"{caption} {band_is}".strip()
    if smoothed:
        caption = f"{caption} Faint: each logged value; strong: running mean.".strip()
    axes.set(xlabel="step", ylabel=unit)
    axes.margins(x=0.01)
    if not np.any([np.min(curve[1]) < 0 for _, curve in lines]) and spread is None:
        axes.set_ylim(bottom=0)
    if below:
        figure.legend(frameon=False, fontsize=8, loc="outside lower left")
    elif len(lines) > 1:
        axes.legend(frameon=False, fontsize=8, ncols=2 if len(lines) > 3 else 1)
    return to_chart(name, title, caption, figure)


def _running_mean(values: Any) -> Any:
    """Over a thirtieth of the curve, over what there is at its ends."""
    import numpy as np

    window = np.ones(max(3, len(values) // 30))
    return np.convolve(values, window, "same") / np.convolve(np.ones(len(values)), window, "same")


# --- break-downs -------------------------------------------------------------------------------

MAX_GROUPS: Final = 12
MIN_IMAGES: Final = 5
"""Of a group; the score of fewer says nothing."""


def breakdown_chart(name: str, column: str, lines: Sequence[Line]) -> Chart | None:
    """GeoScore of each value of a column, with its 95 % interval where there is one. None if no
    group is large enough."""
    groups = [line.figures.get("by", {}).get(column, {}) for line in lines]
    counts = {value: one["count"] for group in groups for value, one in group.items()}
    values = [value for value, count in counts.items() if count >= MIN_IMAGES]
    if len(values) > MAX_GROUPS:
        values = sorted(values, key=lambda value: (-counts[value], value))[:MAX_GROUPS]
    if not values:
        return None
    figure, axes = new_axes(560, 110 + len(values) * (16 + 8 * len(lines)))
    for number, (line, group) in enumerate(zip(lines, groups, strict=True)):
        offset = 0.5 * ((number + 0.5) / len(lines) - 0.5)
        for row, value in enumerate(values):
            _dot(axes, group.get(value, {}), row + offset, number, line.label if not row else None)
    axes.set_yticks(range(len(values)))
    axes.set_yticklabels([f"{plain(value)} ({counts[value]:,})" for value in values], fontsize=8)
    axes.set(ylim=(len(values) - 0.5, -0.5), xlim=(-100, 5100), xlabel="GeoScore")
    axes.grid(axis="x", color=GRATICULE, lw=0.6)
    if len(lines) > 1:
        axes.legend(frameon=False, fontsize=8, ncols=3, loc="lower left", bbox_to_anchor=(0, 1))
    caption = "Bars: 95 % bootstrap intervals. In brackets: images."
    if len(counts) > len(values):
        caption += f" The largest {len(values)} of {len(counts):,} groups"
        caption += f", those with {MIN_IMAGES} images or more."
    return to_chart(name, f"By {column.replace('_', ' ')}", caption, figure)


def _dot(
    axes: Axes, figures: Mapping[str, Any], height: float, number: int, label: str | None
) -> None:
    score = figures.get("geoscore")
    if score is None:
        return
    color = series_look(number)["color"]
    low, high = figures.get("intervals", {}).get("geoscore") or (score, score)
    axes.plot([low, high], [height, height], color=color, lw=1.4, alpha=0.6)
    marker = "osD^v"[number % 5]
    axes.plot(
        [score], [height], marker, color=color, ms=5, label=None if label is None else plain(label)
    )


# --- what they share ---------------------------------------------------------------------------


def new_axes(width: int, height: int) -> tuple[Figure, Axes]:
    """A figure of so many pixels with one plot in it."""
    figure = new_figure(width, height)
    axes: Axes = figure.add_subplot()
    style_axes(axes)
    return figure, axes


def style_axes(axes: Axes) -> None:
    """No box, faint lines, a grid that what is drawn stands above."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    axes.tick_params(color=FAINT, labelcolor=_INK, labelsize=9)
    axes.xaxis.label.set_color(_INK)
    axes.yaxis.label.set_color(_INK)
    axes.grid(axis="y", color=GRATICULE, lw=0.6)
    axes.set_axisbelow(True)


def series_look(number: int) -> dict[str, Any]:
    """Colour and dashes of the n-th curve; dashes tell them apart without colours."""
    return {
        "color": SERIES[number % len(SERIES)],
        "linestyle": _DASHES[number % len(_DASHES)],
        "lw": 1.8,
    }


def plain(text: str) -> str:
    """A label as matplotlib draws it letter by letter: no formulas, no hidden entries."""
    shown = "".join(letter if letter.isprintable() else " " for letter in text)
    shown = shown if len(shown) <= 40 else f"{shown[:39]}…"
    return ("\u200b" if shown.startswith("_") or not shown else "") + shown.replace("$", r"\$")


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def to_chart(name: str, title: str, caption: str, figure: Figure, wide: bool = False) -> Chart:
    """The figure in both forms; `name` becomes that of its file."""
    with warnings.catch_warnings():
        # Names in scripts that the font has not got are drawn as boxes.
        warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)
        svg, png = to_svg(figure), to_png(figure)
    name = _slug(name)  # a benchmark and a column may be called anything
    return Chart(name, title, caption, inline_svg(svg, name), png, wide)


@cache
def _error_colors() -> list[str]:
    """Of the classes of errors, as on the map."""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    steps = len(THRESHOLDS_KM)
    return [to_hex(colormaps[ERROR_SCALE](0.75 * n / steps)) for n in range(steps + 1)]


@cache
def _variables() -> dict[str, str]:
    """Colours that the page's style sheet chooses, for light and dark."""
    return {
        "#ffffff": "--surface",
        "#000000": "--ink",
        _INK: "--ink",
        FAINT: "--faint",
        GRATICULE: "--rule",
        LAND: "--land",
        **{color: f"--series-{number}" for number, color in enumerate(SERIES[:-1])},
        **{color: f"--error-{number}" for number, color in enumerate(_error_colors())},
        NOT_LOCATED: "--nowhere",
    }


_PATH: Final = re.compile(r' d="[^"]*"')
_DIGITS: Final = re.compile(r"(\.\d\d)\d+")
"""More than two decimals are less than can be seen, and half of the page's size."""
_UNWANTED: Final = re.compile(
    r"<\?xml.*?\?>|<!DOCTYPE.*?>|<!--.*?-->|<metadata>.*?</metadata>", re.S
)


def inline_svg(svg: str, prefix: str) -> str:
    """An SVG of matplotlib as part of a page: its ids are its own (several figures have the same
    ones), its colours those of the page, its size that of the place it stands in."""
    svg = _UNWANTED.sub("", svg).strip()
    svg = re.sub(r'\bid="', f'id="{prefix}-', svg)
    svg = re.sub(r'href="#', f'href="#{prefix}-', svg).replace("url(#", f"url(#{prefix}-")
    head, end, body = svg.partition(">")
    head = re.sub(r'\s(width|height)="[^"]*"', "", head)
    body = _PATH.sub(lambda found: _DIGITS.sub(r"\1", found.group()), body)
    body = re.sub(r"<defs>\s*<style[^>]*>.*?</style>\s*</defs>", "", body, count=1, flags=re.S)
    variables = _variables()
    colors = re.compile("|".join(variables))
    return head + end + colors.sub(lambda found: f"var({variables[found.group()]})", body)
