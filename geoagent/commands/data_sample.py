"""`geoagent data sample`: fewer images, spread over countries and people instead of cameras."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geoagent.commands.common import command, counted
from geoagent.errors import UsageError

if TYPE_CHECKING:
    from geoagent.data.draw import Draw
    from geoagent.data.sampling import Source


def _data_sample(options: argparse.Namespace) -> int:
    from rich.console import Console

    from geoagent.data.balance import as_table
    from geoagent.data.sampling import sample

    sources = [_source(word, options.count) for word in options.sources]
    target = None if options.dry_run else options.folder
    draws = sample(sources, target, options.seed, options.split)
    Console(highlight=False).print(as_table(draws))
    refused = _tell(draws)
    if target is not None:
        print(target / "records.jsonl")
    return 2 if refused else 0


def _source(word: str, count: int | None) -> Source:
    """SRC, or SRC:COUNT or SRC:all unless there is a folder of that whole name."""
    from geoagent.data.sampling import Source

    match = re.fullmatch(r"(.+):(\d{1,12}|all)", word)
    if match and not Path(word).exists():
        return Source(Path(match[1]), None if match[2] == "all" else int(match[2]))
    if count is None:
        raise UsageError(f"{word}: how many? give --count M, or name it {word}:M or {word}:all")
    return Source(Path(word), count)


def _tell(draws: Mapping[str, Draw]) -> int:
    """Messages on standard error; returns how many rows were refused."""
    from geoagent.data.sampling import unknown_of

    for name, drawn in draws.items():
        pool = drawn.pool
        for row in pool.refusals.examples:
            place = f"{pool.file}:{row.line}: {f'{row.id}: ' if row.id else ''}"
            print(f"error: {place}{row.reason}", file=sys.stderr)
        for kind, count in pool.refusals.more():
            print(f"… and {counted(count, 'more row')}: {kind}", file=sys.stderr)
        if pool.at_sea:
            print(f"{name}: {counted(pool.at_sea, 'row')} at sea left out", file=sys.stderr)
        if lacking := int(drawn.lacking.sum()):
            print(
                f"{name}: countries with fewer rows than their quota: "
                f"{int((drawn.lacking > 0).sum())}; others give the {lacking:,} that they lack",
                file=sys.stderr,
            )
        for figure, codes in unknown_of(drawn).items():
            print(f"{name}: no {figure} known, counts as 0: {', '.join(codes)}", file=sys.stderr)
    return sum(drawn.pool.refusals.counts.total() for drawn in draws.values())


def add(kinds: Any) -> None:
    sample = command(
        kinds,
        "sample",
        _data_sample,
        "draw a sample by countries' roads, people and land, into a new dataset folder",
        """%(prog)s data/osv5m data/loc --count 12500 --dry-run
        %(prog)s data/osv5m data/loc --count 12500 --seed 1
        %(prog)s data/osv5m:12500 data/geocomp:7500 data/geoseek-loc""",
    )
    sample.add_argument(
        "sources",
        nargs="+",
        metavar="SRC[:M|:all]",
        help="dataset folder, and how many rows to draw",
    )
    sample.add_argument("folder", type=Path, metavar="DST", help="the folder to make")
    sample.add_argument("--count", type=int, metavar="M", help="rows of each SRC without :M")
    sample.add_argument("--seed", type=int, default=0, metavar="K", help="of the draw (0)")
    sample.add_argument("--split", metavar="NAME", help="draw from this split only")
    sample.add_argument("--dry-run", action="store_true", help="print the table and write nothing")
