"""The table of a sweep as text, Markdown, LaTeX and CSV."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Literal

from geoagent.report.tables import COLUMNS, Column, shown
from geoagent.sweep.fields import short_keys
from geoagent.sweep.results import (
    DONE,
    Estimate,
    PointResult,
    Results,
    TrialResult,
    one_line,
)

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

NOTHING: Final = "–"
_CHANGES: Final = "changes"
_PUBLISHED: Final = "published"
_NAME: Final = "point"
_NARROW: Final = 16
"""Letters of a text column below which it is not squeezed."""
_WIDTH: Final = 40
"""Letters of a text column in the text table, before it is broken."""

_UNLIMITED: Final = 1000
"""Letters of a line that nobody's window cuts."""


@dataclass(frozen=True)
class Cell:
    text: str
    best: bool = False


@dataclass(frozen=True)
class SweepTable:
    """Headings and a row a point, as they are written; `texts` are the numbers of the columns that
    are not figures. `notes` stand below, then `problems`: a line for each trial that failed."""

    headings: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    texts: frozenset[int]
    notes: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


def column(metric: str) -> Column:
    """How a figure is headed and written; those that the report does not know by their names."""
    known = next((one for one in COLUMNS if one.key == metric), None)
    if known is not None:
        return known
    name = _readable(metric)
    if metric.endswith("_rate") or "accuracy" in metric:
        return Column(metric, name, f"{name}, %")
    if metric.startswith(("failures.", "named.", "agent.")):
        return Column(metric, name, name, "whole")
    return Column(metric, name, name, "decimal")


def _readable(metric: str) -> str:
    """`rewards.spatial` → `spatial reward`, `failures.no_answer` → `failures: no answer`."""
    group, _, name = metric.partition(".")
    if group == "rewards" and name:
        return f"{name.replace('_', ' ')} reward"
    return metric.replace("_", " ").replace(".", ": ")


def heading(metric: str) -> str:
    """With its unit where the numbers are not as in metrics.json."""
    one = column(metric)
    return f"{one.heading}, %" if one.form == "percent" else one.heading


def sweep_table(results: Results) -> SweepTable:
    """What each point changes, its figures with the published ones beside them, and its state."""
    names = short_keys(results.varied)
    usual = _usual_stages(results.points)
    printed = {
        m for m in results.metrics if any(_published(p, m) != NOTHING for p in results.points)
    }
    best = {metric: _best(results.points, metric) for metric in results.metrics}
    several = len({trial.seed for trial in results.trials}) > 1
    headings, texts = [_NAME, _CHANGES], {0, 1}
    for metric in results.metrics:
        headings += [heading(metric)] + ([_PUBLISHED] if metric in printed else [])
    unfinished = any(trial.state != DONE for trial in results.trials)
    if unfinished:
        texts.add(len(headings))
        headings.append("state")
    rows = []
    for point in results.points:
        cells = [Cell(point.name), Cell(changes(point, names, usual))]
        for metric in results.metrics:
            text = estimate_text(point.estimate(metric), metric, several)
            cells.append(Cell(text, point.name in best[metric]))
            cells += [Cell(_published(point, metric))] if metric in printed else []
        rows.append((*cells, *([Cell(state_text(point.trials))] if unfinished else [])))
    notes = (*_legend(several, unfinished, names), *results.notes)
    return SweepTable(tuple(headings), tuple(rows), frozenset(texts), notes, problems(results))


def _legend(several: bool, unfinished: bool, names: Mapping[str, str]) -> Iterator[str]:
    if several:
        yield "Mean ± sample standard deviation over the seeds (how many have the figure)."
    if unfinished:
        yield "Seeds that are not done count in no figure."
    cut = [f"{short} = {key}" for key, short in names.items() if short != key]
    if cut:
        yield f"Keys: {', '.join(cut)}."


def estimate_text(estimate: Estimate | None, metric: str, several: bool = True) -> str:
    """`mean ± deviation (seeds)`; without the deviation of one seed, and without the number where
    the sweep has only one."""
    if estimate is None:
        return NOTHING
    form = column(metric).form
    spread = f" ± {shown(estimate.deviation, form)}" if estimate.deviation is not None else ""
    return shown(estimate.mean, form) + spread + (f" ({estimate.count})" if several else "")


def _published(point: PointResult, metric: str) -> str:
    figures = point.published.figures if point.published else {}
    return shown(figures.get(metric), column(metric).form)


def _best(points: Sequence[PointResult], metric: str) -> set[str]:
    """Points with the best mean, as far as can be seen; nobody where all are alike."""
    form, lower = column(metric).form, column(metric).lower_is_better
    estimates = {point.name: point.estimate(metric) for point in points}
    means = {name: one.mean for name, one in estimates.items() if one is not None}
    if len(means) < 2:
        return set()
    best = shown(min(means.values()) if lower else max(means.values()), form)
    alike = {name for name, mean in means.items() if shown(mean, form) == best}
    return alike if len(alike) < len(means) else set()


def best_first(results: Results) -> list[PointResult]:
    """The points by their mean of the first metric; those without it last, in their order."""
    if not results.metrics:
        return list(results.points)
    metric = results.metrics[0]
    sign = 1 if column(metric).lower_is_better else -1

    def place(point: PointResult) -> tuple[bool, float]:
        one = point.estimate(metric)
        return one is None, sign * one.mean if one else 0.0

    return sorted(results.points, key=place)


def _usual_stages(points: Sequence[PointResult]) -> list[str]:
    counts = Counter(tuple(point.row.stages) for point in points)
    return list(counts.most_common(1)[0][0]) if counts else []


def changes(point: PointResult, names: Mapping[str, str], usual: Sequence[str]) -> str:
    """A point's settings, and its stages where they are not the usual ones."""
    parts = [f"{names.get(key, key)}={value_text(v)}" for key, v in point.row.settings.items()]
    if point.row.stages != list(usual):
        parts.append(f"stages={'+'.join(point.row.stages)}")
    return ", ".join(parts) or NOTHING


def value_text(value: Any) -> str:
    """A value as YAML has it, in short."""
    if isinstance(value, float):
        return f"{value:.4g}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def state_text(trials: Sequence[TrialResult]) -> str:
    """What has become of a point's trials; of several that are not alike, how many of each."""
    told = Counter(_told(trial) for trial in trials)
    if len(trials) == 1 or set(told) == {DONE}:
        return next(iter(told), "")
    return "; ".join(f"{count} {text}" for text, count in told.items())


def _told(trial: TrialResult) -> str:
    if trial.state == "missing":
        seen = f" ({trial.why})" if trial.why else " is next"
        return f"missing: {trial.stage}{seen}"
    if trial.state == "failed":
        return f"failed at {trial.stage}"
    return f"stopped early {trial.why}" if trial.state == "stopped early" else trial.state


def problems(results: Results) -> tuple[str, ...]:
    """A line for each trial that failed, with its cause."""
    return tuple(
        f"{trial.folder}: {trial.stage}: {trial.why}"
        for trial in results.trials
        if trial.state == "failed"
    )


# --- forms -------------------------------------------------------------------------------------


def rich_table(table: SweepTable, title: str) -> Table:
    """For a terminal; the best of a column is bold and has an asterisk, which needs no colours."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    made = Table(title=Text(title), title_justify="left", title_style="bold", box=SIMPLE_HEAD)
    for number, name in enumerate(table.headings):
        if number in table.texts and name != _NAME:
            made.add_column(Text(name), overflow="fold", max_width=_WIDTH)
        else:
            side: Literal["left", "right"] = "left" if number in table.texts else "right"
            made.add_column(
                Text(name), justify=side, no_wrap=True, min_width=_widest(table, number)
            )
    for row in table.rows:
        made.add_row(*(_rich_cell(cell) for cell in row))
    return made


def _rich_cell(cell: Cell) -> Any:
    from rich.text import Text

    return Text(f"{cell.text} *", style="bold") if cell.best else Text(cell.text)


def _widest(table: SweepTable, number: int) -> int:
    """Letters of a column's longest cell."""
    from rich.cells import cell_len

    cells = (_rich_cell(row[number]).plain for row in table.rows)
    return max(map(cell_len, (table.headings[number], *cells)))


def _least_width(table: SweepTable) -> int:
    """Letters of a line in which names and figures are whole, and other texts are legible."""
    widths = (
        min(_widest(table, number), _NARROW)
        if number in table.texts and name != _NAME
        else _widest(table, number)
        for number, name in enumerate(table.headings)
    )
    return sum(width + 2 for width in widths)  # a blank on either side


def fitting(table: SweepTable, width: int) -> SweepTable | None:
    """The table with as many of its columns as `width` letters have room for: without what points
    change, which then stands below it, and without published figures. None if that is too much
    still."""
    if _least_width(table) <= width:
        return table
    narrow = _without(table, _CHANGES)
    if _CHANGES in table.headings:
        place = table.headings.index(_CHANGES)
        told = [f"{r[0].text}: {r[place].text}" for r in table.rows if r[place].text != NOTHING]
        narrow = replace(narrow, notes=(*narrow.notes, *(["Changes:"] if told else []), *told))
    if _least_width(narrow) <= width:
        return narrow
    narrow = _without(narrow, _PUBLISHED)
    if _PUBLISHED in table.headings:
        note = "Published figures are left out for want of room; results/table.txt has them."
        narrow = replace(narrow, notes=(*narrow.notes, note))
    return narrow if _least_width(narrow) <= width else None


def _without(table: SweepTable, heading: str) -> SweepTable:
    kept = [number for number, name in enumerate(table.headings) if name != heading]
    return replace(
        table,
        headings=tuple(table.headings[number] for number in kept),
        rows=tuple(tuple(row[number] for number in kept) for row in table.rows),
        texts=frozenset(place for place, number in enumerate(kept) if number in table.texts),
    )


def print_table(table: SweepTable, title: str) -> None:
    """On standard output: in a terminal the columns that it has room for, else, and where names
    and figures would be cut, as in table.txt."""
    from rich.console import Console

    console = Console(highlight=False)
    fits = fitting(table, console.width) if console.is_terminal else None
    if fits is None:
        print(text(table, title), end="")
    else:
        _print(fits, title, console)


def _print(table: SweepTable, title: str, console: Console) -> None:
    """The table with what stands below it."""
    console.print(rich_table(table, title))
    for line in _below(table):
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def _below(table: SweepTable) -> list[str]:
    marked = any(cell.best for row in table.rows for cell in row)
    lines = ["*: best of its column."] if marked else []
    lines += table.notes
    if table.problems:
        lines += [f"Failed ({len(table.problems)}):", *(f"  {line}" for line in table.problems)]
    return lines


def text(table: SweepTable, title: str) -> str:
    """As in a terminal that is as wide as it needs."""
    from rich.console import Console

    output = io.StringIO()
    console = Console(file=output, width=_UNLIMITED, color_system=None, force_terminal=False)
    _print(table, title, console)
    return "\n".join(line.rstrip() for line in output.getvalue().splitlines()).strip() + "\n"


def markdown(table: SweepTable, title: str) -> str:
    """A pipe table, the best bold, and the notes as a list."""
    body = _tabulated(table, "pipe", _pipe, "**{}**")
    lines = [f"- {_pipe(line)}" for line in table.notes]
    lines += [f"- failed: {_pipe(line)}" for line in table.problems]
    return "\n".join([f"## {_pipe(title)}", "", body, "", *lines]).rstrip() + "\n"


_MARKS: Final = str.maketrans({mark: f"\\{mark}" for mark in "\\|*_`<[]#"})


def _pipe(text: str) -> str:
    """Text that Markdown shows as it is, in one line."""
    return one_line(text).translate(_MARKS)


def _tabulated(table: SweepTable, form: str, escaped: Callable[[str], str], bold: str) -> str:
    """Headings and rows in one of tabulate's forms; `bold` has a place for a cell's text."""
    from tabulate import tabulate

    rows = [
        [bold.format(escaped(cell.text)) if cell.best else escaped(cell.text) for cell in row]
        for row in table.rows
    ]
    sides = ["left" if n in table.texts else "right" for n in range(len(table.headings))]
    return tabulate(
        rows,
        [escaped(name) for name in table.headings],
        tablefmt=form,
        disable_numparse=True,
        colalign=sides if rows else None,
    )


def latex(table: SweepTable, title: str) -> str:
    """A table of the package booktabs, the best bold, notes and failures as comments."""
    body = _tabulated(table, "latex_raw", _tex, r"\textbf{{{}}}")
    for rule in ("toprule", "midrule", "bottomrule"):  # no cell has a backslash that is not ours
        body = body.replace(r"\hline", rf"\{rule}", 1)
    notes = [f"% {one_line(line)}" for line in (*table.notes, *table.problems)]
    caption = rf"\caption{{{_tex(title)}}}"
    lines = [r"% \usepackage{booktabs}", *notes, r"\begin{table}", r"\centering", caption]
    return "\n".join([*lines, body, r"\end{table}"]) + "\n"


_SIGNS: Final = {
    "±": r"$\pm$",
    "≤": r"$\leq$",
    "–": "--",
    "−": "$-$",
    "×": r"$\times$",
    "…": r"\ldots{}",
}


def _tex(text: str) -> str:
    """Text as LaTeX, also where a font or an input encoding lacks its signs."""
    from tabulate import LATEX_ESCAPE_RULES

    rules = {**LATEX_ESCAPE_RULES, **_SIGNS}
    return "".join(rules.get(letter, letter) for letter in one_line(text))


def csv_text(results: Results) -> str:
    """A row a trial in full precision, with every figure that some trial has."""
    seconds = list(dict.fromkeys(stage for t in results.trials for stage in t.seconds))
    output = io.StringIO()
    writer = csv.writer(output, lineterminator="\n")
    writer.writerow(
        ["point", "seed", "folder", "state", "stage", "why"]
        + [f"settings.{key}" for key in results.varied]
        + [f"figures.{name}" for name in results.names]
        + [f"seconds.{stage}" for stage in seconds]
    )
    for trial in results.trials:
        row = [trial.point, trial.seed, trial.folder, trial.state, trial.stage, trial.why]
        row += [_plain(trial.settings.get(key)) for key in results.varied]
        row += [trial.figures.get(name) for name in results.names]
        row += [trial.seconds.get(stage) for stage in seconds]
        writer.writerow(row)
    return output.getvalue()


def _plain(value: Any) -> Any:
    return value if isinstance(value, str | int | float | None) else json.dumps(value)


def document(results: Results) -> dict[str, Any]:
    """results.json: everything in full precision."""
    return {
        "title": results.home.title,
        "metrics": list(results.metrics),
        "states": results.states(),
        "points": [
            {
                "point": point.name,
                "settings": point.row.settings,
                "dimensions": point.row.dimensions,
                "stages": point.row.stages,
                "figures": _estimates(point, results.names),
                "published": dict(point.published.figures) if point.published else None,
            }
            for point in results.points
        ],
        "trials": [asdict(trial) for trial in results.trials],
        "notes": list(results.notes),
    }


def _estimates(point: PointResult, names: Sequence[str]) -> dict[str, Any]:
    found = {name: point.estimate(name) for name in names}
    return {name: asdict(one) for name, one in found.items() if one is not None}
