"""`geoagent data`: datasets are built and checked."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from geoagent.commands import (
    data_annotate,
    data_make_judge,
    data_prepare,
    data_sample,
    data_trajectories,
)
from geoagent.commands.common import command, counted
from geoagent.errors import UsageError


def _build_sample(options: argparse.Namespace) -> int:
    from geoagent.data.sample import build_sample

    build_sample(options.folder, options.scenes, options.seed)
    print(options.folder / "records.jsonl")
    return 0


def _data_check(options: argparse.Namespace) -> int:
    from geoagent.data.record import RECORDS_FILE, Rejected, iter_records

    file = options.folder / RECORDS_FILE
    splits: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    countries: set[str] = set()
    chains = not_json = 0
    first = ""
    for row in iter_records(options.folder, options.split, strict=options.strict):
        if isinstance(row, Rejected):
            reasons[row.kind] += 1
            name = f"{row.id}: " if row.id else ""
            print(f"{file}:{row.line}: {name}{row.reason}", file=sys.stderr)
            continue
        splits[row.split] += 1
        countries.add(row.country)
        chains += row.think is not None
        if row.think is not None and not _has_stages(row.think):
            not_json += 1
            first = first or row.id
    if not_json:
        print(
            f"warning: {file}: think is not the JSON of docs/reference/sample.md in "
            f"{counted(not_json, 'row')}, the first with id {first}",
            file=sys.stderr,
        )
    summary = {
        "records": splits.total(),
        "splits": dict(sorted(splits.items())),
        "countries": len(countries),
        "with_chain_of_thought": chains,
        "chains_not_json": not_json,
        "rejected": reasons.total(),
        "rejected_by_reason": dict(reasons.most_common()),
    }
    print(json.dumps(summary, ensure_ascii=False, indent=2))
    if not splits:
        chosen = f" in split '{options.split}'" if options.split else ""
        raise UsageError(f"{file}: no usable record{chosen}")
    return 2 if reasons else 0


def _has_stages(think: str) -> bool:
    """Whether a chain of thought is JSON with reasoning stages, as rewards and `locate` read it."""
    from geoagent.answer import parse

    said = parse(f"<think>{think}</think>")
    return said.valid_json and bool(said.stages)


def add(commands: Any) -> None:
    group = commands.add_parser("data", help="build, check and annotate datasets")
    kinds = group.add_subparsers(required=True, metavar="COMMAND")
    build = command(
        kinds,
        "build-sample",
        _build_sample,
        "draw the bundled sample of street scenes",
        "%(prog)s data/mine --scenes 8",
    )
    build.add_argument("folder", type=Path, metavar="DST")
    build.add_argument("--scenes", type=int, default=24, metavar="N", help="a country (24)")
    build.add_argument("--seed", type=int, default=0, metavar="N", help="of the drawing (0)")
    data_prepare.add(kinds)
    check = command(
        kinds,
        "check",
        _data_check,
        "read a dataset folder and count what is usable and what is refused",
        """%(prog)s data/mine
        %(prog)s data/mine --split train --strict""",
    )
    check.add_argument("folder", type=Path, metavar="FOLDER")
    check.add_argument("--split", metavar="NAME", help="only this split")
    check.add_argument("--strict", action="store_true", help="stop at the first refused row")
    data_sample.add(kinds)
    data_annotate.add(kinds)
    data_make_judge.add(kinds)
    data_trajectories.add(kinds)
