"""`geoagent data`: datasets are built and checked."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geoagent.commands import (
    data_annotate,
    data_make_judge,
    data_prepare,
    data_sample,
    data_trajectories,
)
from geoagent.commands.common import command, counted, warn
from geoagent.errors import UsageError

if TYPE_CHECKING:
    from geoagent.data.record import Record


def _build_sample(options: argparse.Namespace) -> int:
    from geoagent.data.sample import build_sample

    build_sample(options.folder, options.scenes, options.seed)
    print(options.folder / "records.jsonl")
    return 0


def _data_check(options: argparse.Namespace) -> int:
    from geoagent.data.record import RECORDS_FILE, Rejected, image_root, iter_records

    file = options.folder / RECORDS_FILE
    found, root = _Found(), image_root(options.folder)
    for row in iter_records(options.folder, options.split, strict=options.strict):
        if isinstance(row, Rejected):
            found.reasons[row.kind] += 1
            name = f"{row.id}: " if row.id else ""
            print(f"{file}:{row.line}: {name}{row.reason}", file=sys.stderr)
        else:
            found.add(row, root)
    found.warn(file)
    print(json.dumps(found.summary(), ensure_ascii=False, indent=2))
    if not found.splits:
        chosen = f" in split '{options.split}'" if options.split else ""
        raise UsageError(f"{file}: no usable record{chosen}")
    return 2 if found.reasons else 0


@dataclass
class _Found:
    """What a dataset folder holds."""

    splits: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    countries: set[str] = field(default_factory=set)
    chains: int = 0
    not_json: int = 0
    """Chains of thought that are not JSON with stages."""
    first_not_json: str = ""
    trajectories: int = 0
    not_usable: int = 0
    """Trajectories that cannot be trained on."""
    first_not_usable: str = ""
    labels: Counter[str] = field(default_factory=Counter)
    """Of rows of judge data."""

    def add(self, record: Record, root: Path) -> None:
        from geoagent.data.judge import CHAIN
        from geoagent.data.trajectory import has_trajectory, trajectory_row

        self.splits[record.split] += 1
        self.countries.add(record.country)
        if record.think is not None:
            self.chains += 1
            if not _has_stages(record.think):
                self.not_json += 1
                self.first_not_json = self.first_not_json or record.id
        if has_trajectory(record):
            self.trajectories += 1
            try:
                trajectory_row(record, root)
            except ValueError as error:
                self.not_usable += 1
                self.first_not_usable = self.first_not_usable or f"{record.id}: {error}"

        if CHAIN in record.extra:
            self.labels[_label(record)] += 1

    def warn(self, file: Path) -> None:
        """Tell of what is accepted in records, but of no use in training."""
        if self.not_json:
            warn(
                f"{file}: think is not the JSON of docs/reference/sample.md in "
                f"{counted(self.not_json, 'row')}, the first with id {self.first_not_json}"
            )
        if self.not_usable:
            warn(
                f"{file}: {counted(self.not_usable, 'row')} with a trajectory that cannot be "
                f"trained on, the first with id {self.first_not_usable}"
            )

    def summary(self) -> dict[str, Any]:
        return {
            "records": self.splits.total(),
            "splits": dict(sorted(self.splits.items())),
            "countries": len(self.countries),
            "with_chain_of_thought": self.chains,
            "chains_not_json": self.not_json,
            "with_trajectory": self.trajectories,
            "trajectories_not_usable": self.not_usable,
            "judge_labels": dict(sorted(self.labels.items())),
            "rejected": self.reasons.total(),
            "rejected_by_reason": dict(self.reasons.most_common()),
        }


def _label(record: Record) -> str:
    """Of a row of judge data: true or false, or that the stage judge leaves it out."""
    from geoagent.data.judge import to_judge

    try:
        return str(to_judge(record.extra).label).lower()
    except ValueError:
        return "not usable"


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
