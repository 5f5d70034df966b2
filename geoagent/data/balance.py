"""What a sample changed: the countries' rows before and after, as a table and on a map."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from geoagent.data.draw import Draw
from geoagent.geo.countries import countries

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.table import Table

COLUMNS: Final = (
    "source",
    "country_code",
    "country",
    "rows",
    "rows_share",
    "quota",
    "taken",
    "taken_share",
    "lacking",
)


class _Line(NamedTuple):
    code: str
    name: str
    rows: int
    quota: int
    taken: int
    lacking: int


def as_tsv(draws: Mapping[str, Draw]) -> str:
    """A line for each source and country that has rows or a quota, the largest quota first."""
    text = io.StringIO()
    table = csv.writer(text, delimiter="\t", lineterminator="\n")
    table.writerow(COLUMNS)
    for source, drawn in draws.items():
        before, after = (max(int(column.sum()), 1) for column in (drawn.rows, drawn.taken))
        for line in _lines([drawn]):
            code, name, rows, quota, taken, lacking = line
            shares = f"{rows / before:.6f}", f"{taken / after:.6f}"
            table.writerow((source, code, name, rows, shares[0], quota, taken, shares[1], lacking))
    return text.getvalue()


def as_table(draws: Mapping[str, Draw], top: int = 20) -> Table:
    """The countries with the largest quotas of all sources, the rest in one line, and all."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    lines = _lines([*draws.values()])
    every = _summed("all", lines)
    if rest := lines[top:]:
        lines = [*lines[:top], _summed(f"{len(rest)} more", rest)]
    before, after = max(every.rows, 1), max(every.taken, 1)
    table = Table(box=SIMPLE_HEAD)
    table.add_column("country")
    for column in ("rows", "%", "quota", "taken", "%", "lacking"):
        table.add_column(column, justify="right")
    for _, name, rows, quota, taken, lacking in (*lines, every):
        parts = f"{100 * rows / before:.1f}", f"{100 * taken / after:.1f}"
        table.add_row(
            name, f"{rows:,}", parts[0], f"{quota:,}", f"{taken:,}", parts[1], f"{lacking:,}"
        )
    return table


def as_map(draws: Mapping[str, Draw]) -> Figure:
    """Images in each cell of 1°, before and after, on two maps."""
    import numpy as np

    from geoagent.figures.style import new_figure
    from geoagent.figures.world import add_scale, draw_density, world_axes
    from geoagent.geo.cells import COLUMNS as WIDTH
    from geoagent.geo.cells import ROWS as HEIGHT

    before = [drawn.pool.cells for drawn in draws.values()]
    after = [drawn.pool.cells[drawn.chosen] for drawn in draws.values()]
    figure = new_figure(1200, 1340)
    for position, title, parts in ((211, "before", before), (212, "after", after)):
        cells = np.concatenate(parts)
        counts = np.bincount(cells, minlength=HEIGHT * WIDTH).reshape(HEIGHT, WIDTH)
        axes = world_axes(figure, position)
        axes.set_title(f"{title}: {len(cells):,} rows in {np.count_nonzero(counts):,} cells of 1°")
        add_scale(axes, draw_density(axes, counts), "rows in a cell")
    return figure


def _summed(name: str, lines: Sequence[_Line]) -> _Line:
    columns = zip(*(line[2:] for line in lines), strict=True)
    return _Line("", name, *(sum(column) for column in columns))


def _lines(draws: Sequence[Draw]) -> list[_Line]:
    rows, quota, taken, lacking = (
        sum(getattr(drawn, name) for drawn in draws) for name in _Line._fields[2:]
    )
    lines = [
        _Line(code, one.name, *(int(column[number]) for column in (rows, quota, taken, lacking)))
        for number, (code, one) in enumerate(countries().items())
    ]
    some = [line for line in lines if line.rows or line.quota]
    return sorted(some, key=lambda line: (-line.quota, -line.rows, line.code))
