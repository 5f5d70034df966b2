"""Rewards of completions outside training, to look at what they give and why."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from geoagent.data.record import coordinate
from geoagent.rewards.base import Reward
from geoagent.rewards.judge import read_label
from geoagent.rewards.registry import score_all

_DEGREES: Final = {"latitude": 90.0, "longitude": 180.0}
_TEXTS: Final = ("solution", "country", "region", "city")


def check_row(row: Mapping[str, Any], rewards: Mapping[str, Reward]) -> None:
    """ValueError says what a row lacks that one of the rewards needs."""
    if not isinstance(row.get("completion"), str):
        raise ValueError("completion: missing, or not a text")
    for name, reward in rewards.items():
        for column in reward.columns:
            if row.get(column) is None:
                raise ValueError(f"{column}: missing; reward {name} needs it")
            if column in _DEGREES:
                coordinate(row, column, _DEGREES[column])
            elif column in _TEXTS and not isinstance(row[column], str):
                raise ValueError(f"{column}: not a text")
            elif column == "label":
                read_label(row[column])


def score_rows(
    rows: Iterable[Mapping[str, Any]], rewards: Mapping[str, Reward], batch: int = 64
) -> Iterator[dict[str, Any]]:
    """The same rows with one more key a reward, batch by batch, in their order.

    Rows must have passed `check_row`. OutageError if a reward's service is away.
    """
    waiting: list[Mapping[str, Any]] = []
    for row in rows:
        waiting.append(row)
        if len(waiting) == batch:
            yield from _score(waiting, rewards)
            waiting = []
    if waiting:
        yield from _score(waiting, rewards)


def _score(
    rows: list[Mapping[str, Any]], rewards: Mapping[str, Reward]
) -> Iterator[dict[str, Any]]:
    needed = {column for reward in rewards.values() for column in reward.columns}
    needed |= {name for reward in rewards.values() for name in reward.optional}
    columns = {name: [row.get(name) for row in rows] for name in sorted(needed)}
    completions = [str(row["completion"]) for row in rows]
    scores = score_all(rewards, completions, **columns)
    for index, row in enumerate(rows):
        yield {**row, **{name: column[index].value for name, column in scores.items()}}
