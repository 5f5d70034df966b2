"""Has a dataset what the stages that are to run need? Asked at submission, and again by prepare."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from geoagent.data.judge import SPLIT, to_judge
from geoagent.data.record import DEFAULT_SPLIT, RECORDS_FILE, parse_line, read_lines
from geoagent.data.trajectory import TRAJECTORY
from geoagent.errors import UsageError

if TYPE_CHECKING:
    from geoagent.config import Config

_MOST_LINES: Final = 200_000
"""Read of a dataset at submission, a few seconds; prepare reads the rest."""


@dataclass
class Contents:
    """Samples of each split, and how many of them have a chain of thought, and a trajectory."""

    splits: Counter[str] = field(default_factory=Counter)
    chains: Counter[str] = field(default_factory=Counter)
    trajectories: Counter[str] = field(default_factory=Counter)
    whole: bool = True
    """Whether these are all."""

    def add(self, split: str, chain: bool, count: int = 1) -> None:
        self.splits[split] += count
        self.chains[split] += count * chain

    def listed(self) -> str:
        """The splits with their sizes, for a message."""
        return ", ".join(f"{name} ({n})" for name, n in sorted(self.splits.items())) or "none"


def glance(folder: Path, most_lines: int = _MOST_LINES) -> Contents:
    """What the first lines of a dataset's records.jsonl promise; no image is opened.

    UsageError if the folder or the file is not there. Lines that are no JSON object don't count.
    """
    lines = read_lines(folder / RECORDS_FILE)
    contents = Contents()
    for row in _rows(text for _, text in islice(lines, most_lines)):
        split = str(row.get("split") or DEFAULT_SPLIT)
        contents.add(split, isinstance(row.get("think"), str))
        contents.trajectories[split] += row.get(TRAJECTORY) is not None
    contents.whole = next(lines, None) is None
    return contents


def _rows(lines: Iterable[str]) -> Iterable[dict[str, Any]]:
    for line in lines:
        try:
            yield parse_line(line)
        except ValueError:
            continue


def check_needs(
    config: Config, folder: Path, stages: Collection[str], contents: Contents, why: str = ""
) -> None:
    """UsageError if one of the stages would find nothing to work on in the run's dataset folder;
    `why` is added to it. An evaluation on another folder is not asked about."""
    if not contents.whole:
        return
    data = config.data
    there = contents.listed()
    if not contents.splits[data.train_split] and {"sft", "judge_data", "grpo"} & {*stages}:
        raise UsageError(
            f"{folder}: no usable record in split '{data.train_split}' (data.train_split) to train "
            f"on; its splits: {there}{why}"
        )
    if "sft" in stages:
        _check_learnable(config, folder, contents, why)
    if "eval" in stages and config.eval.path is None:
        check_evaluated(config, folder, contents, why)


def _check_learnable(config: Config, folder: Path, contents: Contents, why: str) -> None:
    split = config.data.train_split
    trajectories = contents.trajectories[split]
    if contents.chains[split] or (trajectories and config.rollout.train):
        return
    if trajectories:
        raise UsageError(
            f"{folder}: records of split '{split}' have trajectories, which SFT learns with "
            f"rollout.train=true, and no chain of thought ('think'){why}"
        )
    chain = f"a chain of thought ('think'){' or a usable trajectory' * config.rollout.train}"
    raise UsageError(
        f"{folder}: no record of split '{split}' has {chain}, which SFT learns; for GRPO "
        f"without SFT set grpo.start_from=base{why}"
    )


def check_judge(folder: Path, most_lines: int = _MOST_LINES) -> None:
    """UsageError if the first lines of a dataset folder hold no row of judge data, or if all rows
    have the same label."""
    lines = read_lines(folder / RECORDS_FILE)
    why, labels = "", Counter[bool]()
    for row in _rows(text for _, text in islice(lines, most_lines)):
        try:
            if str(row.get("split") or DEFAULT_SPLIT) == SPLIT:
                labels[to_judge(row).label] += 1
        except ValueError as error:
            why = why or f" ({error})"
        if len(labels) == 2:
            return
    if labels and next(lines, None) is not None:
        return  # prepare reads the rest
    if labels:
        ((label, count),) = labels.items()
        raise UsageError(
            f"{folder}: all {count} rows of judge data have the label {str(label).lower()}, and "
            "there must be both: a model would learn to say the same of all"
        )
    raise UsageError(
        f"{folder}: no row of judge data in split '{SPLIT}'{why}; make such a folder with "
        "geoagent data make-judge, or leave judge.path out: the run then makes its own"
    )


def check_evaluated(config: Config, folder: Path, contents: Contents, why: str = "") -> None:
    """UsageError if the folder has nothing to evaluate on; `why` is added to it."""
    split = evaluation_split(config)
    if contents.whole and not contents.splits[split]:
        key = "data.eval_split" if config.eval.split is None else "eval.split"
        raise UsageError(
            f"{folder}: no usable record in split '{split}' ({key}) to evaluate on; its splits: "
            f"{contents.listed()}; leave out eval, or give rows that split{why}"
        )


def evaluation_split(config: Config) -> str:
    """The split of the evaluated rows."""
    return config.eval.split or config.data.eval_split
