"""Has a dataset what the stages that are to run need? Asked at submission, and again by prepare."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from geoagent.data.record import DEFAULT_SPLIT, RECORDS_FILE, parse_line, read_lines
from geoagent.errors import UsageError

if TYPE_CHECKING:
    from geoagent.config import DataConfig

_MOST_LINES: Final = 200_000
"""Read of a dataset at submission, a few seconds; prepare reads the rest."""


@dataclass
class Contents:
    """Samples of each split, and how many of them have a chain of thought."""

    splits: Counter[str] = field(default_factory=Counter)
    chains: Counter[str] = field(default_factory=Counter)
    whole: bool = True
    """Whether these are all."""

    def add(self, split: str, chain: bool, count: int = 1) -> None:
        self.splits[split] += count
        self.chains[split] += count * chain


def glance(folder: Path, most_lines: int = _MOST_LINES) -> Contents:
    """What the first lines of a dataset's records.jsonl promise; no image is opened.

    UsageError if the folder or the file is not there. Lines that are no JSON object don't count.
    """
    lines = read_lines(folder / RECORDS_FILE)
    contents = Contents()
    for row in _rows(text for _, text in islice(lines, most_lines)):
        contents.add(str(row.get("split") or DEFAULT_SPLIT), isinstance(row.get("think"), str))
    contents.whole = next(lines, None) is None
    return contents


def _rows(lines: Iterable[str]) -> Iterable[dict[str, Any]]:
    for line in lines:
        try:
            yield parse_line(line)
        except ValueError:
            continue


def check_needs(
    data: DataConfig, folder: Path, stages: Collection[str], contents: Contents, why: str = ""
) -> None:
    """UsageError if one of the stages would find nothing to work on; `why` is added to it."""
    if not contents.whole:
        return
    there = ", ".join(f"{name} ({n})" for name, n in sorted(contents.splits.items())) or "none"
    if not contents.splits[data.train_split] and {"sft", "grpo"} & {*stages}:
        raise UsageError(
            f"{folder}: no usable record in split '{data.train_split}' (data.train_split) to train "
            f"on; its splits: {there}{why}"
        )
    if not contents.chains[data.train_split] and "sft" in stages:
        raise UsageError(
            f"{folder}: no record of split '{data.train_split}' has a chain of thought ('think'), "
            f"which SFT learns; for GRPO without SFT set grpo.start_from=base{why}"
        )
    if not contents.splits[data.eval_split] and "eval" in stages:
        raise UsageError(
            f"{folder}: no usable record in split '{data.eval_split}' (data.eval_split) to "
            f"evaluate on; its splits: {there}; leave out eval, or give rows that split{why}"
        )
