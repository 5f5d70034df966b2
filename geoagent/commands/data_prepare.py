"""`geoagent data prepare`: a published dataset becomes a dataset folder."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from geoagent.commands.common import command, counted, line, whole_number

_PREVIEW: Final = 3


def _prepare(options: argparse.Namespace) -> int:
    from geoagent.data.readers.plan import Request, make_plan
    from geoagent.data.readers.prepare import prepare
    from geoagent.data.record import REJECTED_FILE

    request = Request(
        name=options.name,
        place=options.source,
        split=options.split,
        limit=options.limit,
        images=options.images,
        check=options.check_images,
    )
    plan = make_plan(request)
    for note in plan.notes:
        print(f"note: {note}", file=sys.stderr)
    if options.dry_run:
        return _preview(plan, options.limit or _PREVIEW)
    summary = prepare(plan, options.folder, options.workers, options.strict)
    for reason, count in summary["rejected_by_reason"].items():
        print(f"refused: {counted(count, 'row')}: {reason}", file=sys.stderr)
    if summary["rejected"]:
        print(f"all of them: {options.folder / REJECTED_FILE}", file=sys.stderr)
    # Which countries is in summary.json: they fill screens.
    countries = {split: len(found) for split, found in summary["countries"].items()}
    print(json.dumps({**summary, "countries": countries}, ensure_ascii=False, indent=2))
    return 2 if summary["rejected"] else 0


def _preview(plan: Any, count: int) -> int:
    from geoagent.data.readers.prepare import preview

    refused = 0
    for where, outcome in preview(plan, count):
        if isinstance(outcome, str):
            refused += 1
            print(f"refused: {where}: {outcome}", file=sys.stderr)
        else:
            print(line(outcome.to_row()))
    return 2 if refused else 0


class _List(argparse.Action):
    """Prints the datasets that are known and ends, as --help does."""

    def __init__(self, option_strings: Sequence[str], dest: str, **settings: Any) -> None:
        super().__init__(option_strings, dest, nargs=0, **settings)

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from geoagent.data.readers.sources import sources

        for name, source in sources().items():
            files = "; ".join(f"{split}: {found[0]}" for split, found in source.files.items())
            print(f"{name:20} {source.title:26} {files}")
        parser.exit()


def add(kinds: Any) -> None:
    parser = command(
        kinds,
        "prepare",
        _prepare,
        "make a dataset folder of a published dataset; killed and started again, it goes on",
        """%(prog)s osv5m /data/osv5m data/osv5m --split test
        %(prog)s gre30k-cot /data/GRE30K data/gre-cot --dry-run
        %(prog)s mp16 /data/mp16 data/mp16-places --check-images no
        %(prog)s mine.yaml /data/mine data/mine
        %(prog)s --list""",
    )
    parser.add_argument("name", metavar="NAME", help="one of --list, or a YAML file of your own")
    parser.add_argument("source", type=Path, metavar="SRC", help="the dataset as it was downloaded")
    parser.add_argument("folder", type=Path, metavar="DST", help="a new folder")
    parser.add_argument("--list", action=_List, help="list the datasets that are known")
    parser.add_argument("--split", metavar="NAME", help="only this split")
    parser.add_argument(
        "--limit", type=whole_number, metavar="N", help="only the first N usable rows"
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="print the first rows, write nothing"
    )
    parser.add_argument("--strict", action="store_true", help="stop at the first refused row")
    parser.add_argument(
        "--images", type=Path, metavar="DIR", help="where the images are, if not in SRC"
    )
    parser.add_argument(
        "--check-images",
        choices=("decode", "exists", "no"),
        default="decode",
        help="decode each (the default), only see that it is there, or take rows without images",
    )
    parser.add_argument(
        "--workers",
        type=whole_number,
        default=len(os.sched_getaffinity(0)),
        metavar="N",
        help="processes that look at images (as many as cores)",
    )
