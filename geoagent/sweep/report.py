"""Everything that a sweep's folder gets of its results: tables, effects, pictures, page."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from geoagent.files import claimed, write_atomic, write_json
from geoagent.report.page import FILE
from geoagent.sweep.board import write_board
from geoagent.sweep.effects import Effects, effects, front_table, levels_table, trends_table
from geoagent.sweep.home import RESULTS
from geoagent.sweep.page import sweep_page
from geoagent.sweep.pictures import effect_charts, front_chart, learning_curves
from geoagent.sweep.results import Results, collect
from geoagent.sweep.tables import (
    SweepTable,
    best_first,
    column,
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
_PICTURES: Final = ("effects-", "pareto", "grpo-")
"""Beginnings of the names of its pictures."""
_LOCK: Final = "results.lock"
_POLL_S: Final = 0.5


def write_results(home: SweepHome) -> Results:
    """Read what the trials have left behind, write HOME/results, each file whole or not at all, and
    print the table; that comes first, since drawing takes a while.

    Works while trials are unfinished or have failed, and if none has finished. While another
    command draws it waits.
    """
    results = collect(home)
    table = sweep_table(results)
    _write_tables(results, table)
    _show(results, table)
    sys.stdout.flush()
    with _alone(home) as waited:
        if waited:
            results = collect(home)
            table = sweep_table(results)
            _write_tables(results, table)
        _write_pictures(results, table)
        write_board(results)
    return results


@contextmanager
def _alone(home: SweepHome) -> Iterator[bool]:
    """While no other command draws: who comes later waits, and draws again what is there then.
    Tells whether it has waited."""
    waited = False
    while True:
        with claimed(home.path / _LOCK) as mine:
            if mine:
                yield waited
                return
        if not waited:
            waited = True
            print("another command draws this sweep's pictures now: waiting", file=sys.stderr)
        time.sleep(_POLL_S)


def _write_tables(results: Results, table: SweepTable) -> None:
    """The table in its forms, and the trials."""
    folder, title = results.home.path / RESULTS, results.home.title
    write_atomic(folder / "table.txt", text(table, title))
    write_atomic(folder / "table.md", markdown(table, title))
    write_atomic(folder / "table.tex", latex(table, title))
    write_atomic(folder / "trials.csv", csv_text(results))
    write_json(folder / "results.json", document(results))


def _write_pictures(results: Results, table: SweepTable) -> None:
    """The page, its pictures as files, and effects as Markdown; pictures of an earlier time that
    are none any more are removed."""
    folder = results.home.path / RESULTS
    found = effects(results)
    write_atomic(folder / "effects.md", _effects_text(results, found))
    drawn = effect_charts(found, results.metrics)
    front = front_chart(results, found.front) if found.front else None
    curves = learning_curves(results)
    charts = [*drawn, *([front] if front else []), *curves]
    for chart in charts:
        write_atomic(folder / f"{chart.name}.png", chart.png)
    written = {f"{chart.name}.png" for chart in charts}
    for left in folder.glob("*.png"):
        if left.name.startswith(_PICTURES) and left.name not in written:
            left.unlink(missing_ok=True)
    write_atomic(folder / FILE, sweep_page(results, table, found, drawn, front, curves))


def _effects_text(results: Results, found: Effects) -> str:
    tables = {
        "Main effects": levels_table(found, results.metrics),
        "Rank correlations": trends_table(found, results.metrics),
        "Points that no other is better than": (
            front_table(results, found.front) if found.front else None
        ),
    }
    parts = [markdown(table, title) for title, table in tables.items() if table is not None]
    return "\n".join(parts) or "No main effects and no trade-off: too few points have figures.\n"


def _show(results: Results, table: SweepTable) -> None:
    """Print the table, and how many trials are not done; of many points the best by the first
    metric."""
    print_table(_shortened(table, results), results.home.title)
    counts = [f"{count} {state}" for state, count in results.states().items() if count]
    print(f"{len(results.trials)} trials: {', '.join(counts) or 'none'}")
    if not results.names:
        print("no trial has figures yet")


def _shortened(table: SweepTable, results: Results) -> SweepTable:
    rows, problems, notes = table.rows, table.problems, table.notes
    if len(rows) > _SHOWN:
        metric = results.metrics[0] if results.metrics else None
        by_name = dict(zip((point.name for point in results.points), rows, strict=True))
        rows = tuple(by_name[point.name] for point in best_first(results)[:_SHOWN])
        by = f", the best by {column(metric).heading}" if metric else ""
        notes = (*notes, f"{_SHOWN} of {len(table.rows):,} points{by}; all: results/table.txt.")
    if len(problems) > _SHOWN:
        notes = (*notes, f"{_SHOWN} of {len(problems):,} failures; all: results/table.txt.")
        problems = problems[:_SHOWN]
    return replace(table, rows=rows, notes=notes, problems=problems)
