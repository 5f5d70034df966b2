"""The tables of a report: figures of models beside chance and published ones, and differences."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from geoagent.evaluate.metrics import THRESHOLDS_KM
from geoagent.report.charts import Line
from geoagent.report.compare import Comparison
from geoagent.report.published import Row


@dataclass(frozen=True)
class Column:
    """A figure of metrics.json: its heading, what it means, and how it is written."""

    key: str
    heading: str
    meaning: str
    form: str = "percent"
    """percent, whole, km, decimal or points"""
    lower_is_better: bool = False


COLUMNS: Final = (
    Column("count", "images", "images that were evaluated", "whole"),
    Column("parse_rate", "parsed", "completions in the form that was asked for, %"),
    *(Column(f"accuracy_{km}km", f"≤ {km:,} km", f"within {km:,} km, %") for km in THRESHOLDS_KM),
    Column("geoscore", "GeoScore", "mean of 5000·exp(−d/1805 km)", "whole"),
    Column("median_km", "median km", "median distance from the truth", "km", lower_is_better=True),
    Column("country_accuracy", "country", "named country is right, %"),
    Column("region_accuracy", "region", "named region is right, %"),
    Column("city_accuracy", "city", "named city is right, %"),
    Column("accuracy_3km", "< 3 km", "share below 3 km, %"),
)
CHAINS: Final = (
    Column("count", "chains", "chains that were judged", "whole"),
    Column("cot_quality", "quality", "from 0 to 100", "points"),
    Column("background", "background", "share of the annotated facts that is stated", "decimal"),
    Column("caption", "caption", "mean RefCLIPScore", "decimal"),
    Column("inference", "inference", "mean BERTScore F1", "decimal"),
)
TOOLS: Final = ("turns", "crops", "searches", "answered")
_NEVER_BEST: Final = ("count", "parse_rate")


@dataclass(frozen=True)
class Cell:
    text: str
    interval: str = ""
    best: bool = False


@dataclass(frozen=True)
class TableRow:
    label: str
    cells: tuple[Cell, ...]
    kind: str
    """chance, model, published or ablation"""
    source: str = ""
    series: int | None = None
    """Number of its colour."""


@dataclass(frozen=True)
class Table:
    columns: tuple[Column, ...]
    rows: tuple[TableRow, ...] = ()
    folded: tuple[TableRow, ...] = field(default=())


def figures_table(
    lines: Sequence[Line], chance: Mapping[str, Any], published: Sequence[Row]
) -> Table:
    """Models beside chance and published systems; columns that nothing fills are left out."""
    everything = [line.figures for line in lines] + [row.figures for row in published] + [chance]
    columns = tuple(
        column
        for column in COLUMNS
        if any(figures.get(column.key) is not None for figures in everything)
    )
    rows = [TableRow("uniform guess", _cells(columns, chance), "chance")] if chance else []
    for number, line in enumerate(lines):
        best = {c.key for c in columns if _is_best(c, line, lines)}
        rows.append(TableRow(line.label, _cells(columns, line.figures, best), "model", "", number))
    shown = [
        TableRow(
            row.name,
            _cells(columns, row.figures),
            "ablation" if row.ablation else "published",
            row.source,
        )
        for row in published
    ]
    rows += [row for row in shown if row.kind == "published"]
    return Table(columns, tuple(rows), tuple(row for row in shown if row.kind == "ablation"))


def _is_best(column: Column, line: Line, lines: Sequence[Line]) -> bool:
    """As far as can be seen: figures that are written alike are alike."""
    values = [one.figures.get(column.key) for one in lines]
    known = [value for value in values if value is not None]
    if len(known) < 2 or column.key in _NEVER_BEST:
        return False
    best = shown(min(known) if column.lower_is_better else max(known), column.form)
    alike = [shown(value, column.form) == best for value in values]
    return not all(alike) and shown(line.figures.get(column.key), column.form) == best


def _cells(
    columns: Sequence[Column],
    figures: Mapping[str, Any],
    best: set[str] | frozenset[str] = frozenset(),
) -> tuple[Cell, ...]:
    intervals = figures.get("intervals", {})
    return tuple(
        Cell(
            shown(figures.get(column.key), column.form),
            _interval(figures.get(column.key), intervals.get(column.key), column.form),
            column.key in best,
        )
        for column in columns
    )


def _interval(value: Any, ends: Any, form: str) -> str:
    if value is None or not isinstance(ends, list | tuple) or len(ends) != 2:
        return ""
    low, high = (shown(end, form) if end is not None else "∞" for end in ends)
    return f"{low}–{high}"


def shown(value: float | None, form: str) -> str:
    """A figure as it is written in a table; a dash for none."""
    if value is None or not math.isfinite(value):
        return "–"
    if form == "percent":
        return "100" if value == 1 else f"{100 * value:.1f}"
    if form == "decimal":
        return f"{value:.3f}"
    if form == "points":
        return f"{value:.1f}"
    if form == "km" and abs(value) < 100:
        return f"{value:.1f}"
    return f"{value:,.0f}"


def rewards_table(lines: Sequence[Line]) -> tuple[list[str], list[tuple[str, list[str]]]]:
    """Headings, and a row a model: weighted totals, then the unweighted mean of each reward."""
    scored = [line for line in lines if line.figures.get("rewards")]
    names = list(dict.fromkeys(name for line in scored for name in line.figures["rewards"]))
    sampled = any(line.figures.get("sampled_mean_reward") is not None for line in scored)
    headings = ["total", *(["sampled total"] if sampled else []), *names]
    rows = []
    for line in scored:
        values = [line.figures.get("mean_reward")]
        values += [line.figures.get("sampled_mean_reward")] if sampled else []
        values += [line.figures["rewards"].get(name) for name in names]
        rows.append((line.label, ["–" if v is None else f"{v:.3f}" for v in values]))
    return headings, rows


def chains_table(models: Sequence[tuple[str, Mapping[str, Any]]]) -> Table:
    """Of each model (label, figures of its chains) the quality of its chains of thought."""
    rows = [
        TableRow(label, _cells(CHAINS, figures), "model", "", number)
        for number, (label, figures) in enumerate(models)
        if figures
    ]
    return Table(CHAINS, tuple(rows))


def tools_table(lines: Sequence[Line]) -> list[tuple[str, list[str]]]:
    """Of each model that was predicted with tools: mean turns, crops and searches an image, and
    the share of images, in %, at which it came to an answer."""
    return [
        (
            line.label,
            [*(f"{used[name]:.2f}" for name in TOOLS[:-1]), shown(used[TOOLS[-1]], "percent")],
        )
        for line in lines
        if (used := line.figures.get("tools"))
    ]


@dataclass(frozen=True)
class Pair:
    """What changes from one line to another: a row a figure."""

    before: str
    after: str
    comparison: Comparison

    @property
    def rows(self) -> list[tuple[str, str, str, str, bool]]:
        """Name, difference, interval, p-value, and whether that is below 0.05."""
        return [
            (
                one.name,
                signed(one.mean, one.name),
                f"{signed(one.low, one.name)} to {signed(one.high, one.name)}",
                "< 0.001" if one.p_value < 0.001 else f"{one.p_value:.3f}",
                one.p_value < 0.05,
            )
            for one in self.comparison.differences
        ]


def signed(value: float, name: str) -> str:
    """A difference: GeoScore in points, shares in percentage points."""
    text = f"{value:+,.0f}" if name == "GeoScore" else f"{100 * value:+.1f}"
    nothing = not text.strip("+-0.")
    return text[1:] if nothing else text.replace("-", "−")
