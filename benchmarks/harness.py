"""What the benchmarks of `make bench` have in common: options, JSON, picture, clocks, tables."""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rich.console import Console
from rich.table import Table

from geoagent.errors import UsageError, exit_code
from geoagent.figures.style import FAINT, SERIES, new_figure, to_png
from geoagent.files import write_atomic, write_json

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Figures = dict[str, Any]
_WIDTH: Final = 100


def run(
    name: str,
    about: str | None,
    measure: Callable[[argparse.Namespace], Figures],
    show: Callable[[Figures, Console], None],
    draw: Callable[[Figures], Figure],
    arguments: Sequence[str] | None = None,
    options: Callable[[argparse.ArgumentParser], None] = lambda parser: None,
) -> int:
    """Measure, print, and with --out write NAME.json and NAME.png; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options(parser)
    parser.add_argument("--out", type=Path, metavar="FOLDER", help=f"write {name}.json, .png there")
    chosen = parser.parse_args(arguments)

    def program() -> int:
        figures = {"cores": len(os.sched_getaffinity(0)), **measure(chosen)}
        show(figures, Console(width=max(Console().width, _WIDTH)))
        if chosen.out:
            write_json(chosen.out / f"{name}.json", figures)
            write_atomic(chosen.out / f"{name}.png", to_png(draw(figures)))
        return 0

    return exit_code(program)


def numbers(text: str) -> list[int]:
    """'8,64' as numbers of 1 or more; UsageError for what is none."""
    try:
        found = [int(piece) for piece in text.split(",")]
    except ValueError as error:
        raise UsageError(f"{text}: expected numbers with commas between") from error
    if min(found) < 1:
        raise UsageError(f"{text}: expected numbers of 1 or more")
    return found


def seconds(work: Callable[[], Any]) -> float:
    """How long a call takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def medians(rounds: int, *works: Callable[[int], float]) -> list[float]:
    """The median of each work's seconds, over rounds in which each has its turn: whatever else the
    machine does meets all of them. A work gets the number of the round."""
    taken = [[work(number) for work in works] for number in range(rounds)]
    return [statistics.median(column) for column in zip(*taken, strict=True)]


def table(
    title: str, heads: Sequence[str], rows: Sequence[Sequence[object]], texts: int = 1
) -> Table:
    """A table whose first `texts` columns are text and the others numbers; None is an empty cell.
    Numbers have three significant digits, or none behind the point from 100 on."""
    made = Table(title=title, title_justify="left")
    for index, head in enumerate(heads):
        made.add_column(head, justify="left" if index < texts else "right")
    for row in rows:
        made.add_row(*(_cell(value) for value in row))
    return made


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def percent(share: float | None) -> str | None:
    """0.9 as '90 %'."""
    return None if share is None else f"{100 * share:.0f} %"


def verdict(what: str, reached: float, goal: float, most: bool = False) -> dict[str, Any]:
    """A goal as JSON: what was measured, and whether it is at least (or at most) the goal."""
    met = reached <= goal if most else reached >= goal
    sign = "≤" if most else "≥"
    return {"what": what, "sign": sign, "goal": goal, "reached": reached, "met": met}


def show_goals(figures: Mapping[str, Any], console: Console) -> None:
    """A line for each goal."""
    for goal in figures["goals"]:
        said = "met" if goal["met"] else "missed"
        console.print(
            f"goal: {goal['what']} {goal['sign']} {goal['goal']:g}; {goal['reached']:.3g}, {said}",
            highlight=False,
        )


def bars(
    title: str,
    unit: str,
    labels: Sequence[str],
    series: Mapping[str, Sequence[float | None]],
    logarithmic: bool = False,
) -> Figure:
    """Groups of horizontal bars, one group a label, one colour a series; None leaves one out."""
    figure = new_figure(height=max(300, 60 + 26 * len(labels) * len(series)))
    axes = figure.subplots()
    thick = 0.8 / len(series)
    for index, (name, values) in enumerate(series.items()):
        places = [row + index * thick for row in range(len(labels))]
        known = [(at, value) for at, value in zip(places, values, strict=True) if value is not None]
        lengths = [value for _, value in known]
        axes.barh([at for at, _ in known], lengths, thick, color=SERIES[index], label=name)
        for at, value in known:
            axes.annotate(f" {_cell(float(value))}", (value, at), va="center", color=FAINT)
    axes.set_yticks([row + 0.4 - thick / 2 for row in range(len(labels))], labels)
    axes.invert_yaxis()
    axes.set_xlabel(unit)
    axes.set_title(title, loc="left")
    axes.margins(x=0.1)
    if logarithmic:
        axes.set_xscale("log")
    if len(series) > 1:
        axes.legend(loc="best")
    return figure
