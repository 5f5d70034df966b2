"""The turns of a prediction with tools, as a report shows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from geoagent.answer import parse
from geoagent.report.pictures import Box
from geoagent.report.texts import cut
from geoagent.rollout.tools import SEARCH, ZOOM, Call, read_call
from geoagent.rollout.trace import output, results, turns

_MOST: Final = 12
"""Turns of a prediction; the rest is counted."""
_RESULTS: Final = 3
_THOUGHT: Final = 600


@dataclass(frozen=True)
class Result:
    """What a search has found."""

    title: str
    snippet: str
    url: str


@dataclass(frozen=True)
class Turn:
    """A turn as it is shown; `said` is what was called, or how it ended."""

    thought: str
    said: str
    refused: str = ""
    """Why the call was not run."""
    box: Box = ()
    """Of a zoom that was run."""
    crop: str = ""
    """Data: address, empty if the crop cannot be made any more."""
    results: tuple[Result, ...] = ()
    more: int = 0
    """Results that are not shown."""
    searched: bool = False


def read_turns(row: Mapping[str, Any]) -> tuple[list[Turn], int]:
    """The turns of a row of predictions, and how many more there are; crops are to be added."""
    found = turns(row)
    return [_turn(turn) for turn in found[:_MOST]], len(found[_MOST:])


def with_crops(shown: Sequence[Turn], crops: Sequence[str]) -> tuple[Turn, ...]:
    """The turns with their crops, which are those of the turns with boxes, in order."""
    rest = iter(crops)
    return tuple(replace(turn, crop=next(rest, "")) if turn.box else turn for turn in shown)


def _turn(turn: Mapping[str, Any]) -> Turn:
    said, why = turn["completion"], str(turn.get("why"))
    observation = str(turn.get("observation") or "")
    read = parse(said)
    untagged = said.partition("<tool_call>")[0].partition("<answer>")[0]
    thought = cut(untagged if read.think is None else read.think, _THOUGHT).strip()
    if why == "answer":
        return Turn(thought, f"Answer: {cut(read.answer, 200)}")
    if not observation:
        return Turn(thought, f"The end: {cut(why, 40)}.")
    call = read_call(said)
    if isinstance(call, Call) and (why, call.name) == ("zoom", ZOOM):
        return Turn(thought, _called(call), box=tuple(call.arguments["bbox_2d"]))
    if isinstance(call, Call) and (why, call.name) == ("search", SEARCH):
        listed = results(observation)
        first = tuple(
            Result(cut(one["title"], 120), cut(one["snippet"], 200), cut(one["url"], 120))
            for one in listed[:_RESULTS]
        )
        more = len(listed[_RESULTS:])
        return Turn(thought, _called(call), results=first, more=more, searched=True)
    refused = cut(output(observation).removeprefix("Tool call error: "), 300)
    return Turn(thought, _called(call) if isinstance(call, Call) else "A tool call.", refused)


def _called(call: Call) -> str:
    if call.name == ZOOM:
        box = ", ".join(f"{value:g}" for value in call.arguments["bbox_2d"])
        return f"Zoom: [{box}] {cut(call.arguments.get('label'), 120)}".strip()
    return f"Search: {cut(call.arguments['query'], 200)}"
