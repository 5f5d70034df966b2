"""Everything that a sweep's folder gets of its results: tables, effects, pictures, page."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from geoagent.files import write_atomic, write_json
from geoagent.sweep.home import RESULTS
from geoagent.sweep.results import Results, collect
from geoagent.sweep.tables import (
    SweepTable,
    column,
    console_for,
    csv_text,
    document,
    latex,
    markdown,
    print_table,
    sweep_table,
    text,
)

if TYPE_CHECKING:
    from geoagent.sweep.home import SweepHome

_SHOWN: Final = 40
"""Rows that a terminal gets, and failures; table.txt has all."""


def write_results(home: SweepHome) -> Results:
    """Read what the trials have left behind and write HOME/results, each file whole or not at all.

    Works while trials are unfinished or have failed, and if none has finished.
    """
    results = collect(home)
    folder, title = home.path / RESULTS, home.title
    table = sweep_table(results)
    write_atomic(folder / "table.txt", text(table, title))
    write_atomic(folder / "table.md", markdown(table, title))
    write_atomic(folder / "table.tex", latex(table, title))
    write_atomic(folder / "trials.csv", csv_text(results))
    write_json(folder / "results.json", document(results))
    return results


def show_results(results: Results) -> None:
    """Print the table, and how many trials are not done; of many points the best by the first
    metric."""
    table = _shortened(sweep_table(results), results)
    print_table(table, results.home.title, console_for(table))
    counts = [f"{count} {state}" for state, count in results.states().items() if count]
    print(f"{len(results.trials)} trials: {', '.join(counts) or 'none'}")
    if not results.names:
        print("no trial has figures yet")


def _shortened(table: SweepTable, results: Results) -> SweepTable:
    rows, problems, notes = table.rows, table.problems, table.notes
    if len(rows) > _SHOWN:
        metric = results.metrics[0] if results.metrics else None
        order = _best_first(results, metric) if metric else range(len(rows))
        rows = tuple(rows[number] for number in list(order)[:_SHOWN])
        by = f", the best by {column(metric).heading}" if metric else ""
        notes = (*notes, f"{_SHOWN} of {len(table.rows):,} points{by}; all: results/table.txt.")
    if len(problems) > _SHOWN:
        notes = (*notes, f"{_SHOWN} of {len(problems):,} failures; all: results/table.txt.")
        problems = problems[:_SHOWN]
    return replace(table, rows=rows, notes=notes, problems=problems)


def _best_first(results: Results, metric: str) -> list[int]:
    """Numbers of the points by their mean of a figure; those that have none come last."""
    sign = 1 if column(metric).lower_is_better else -1
    means = [point.estimate(metric) for point in results.points]
    keys = [(one is None, sign * one.mean if one else 0.0, n) for n, one in enumerate(means)]
    return [number for _, _, number in sorted(keys)]
