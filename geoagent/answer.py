"""A completion → its parts. Whatever a model writes, this gives an answer and never raises.

Forms: GeoAgent's `<think>` JSON with three stages and `<answer>Country; Region; Place</answer>`;
GRE's coordinates (`Latitude: 40.7, Longitude: -73.9` or `[40.7, -73.9]`, latitude first);
GeoVista's `<tool_call>{"name": …, "arguments": {…}}</tool_call>`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

LEVELS: Final = ("country", "region", "precise")
_STAGE_KEYS: Final = {
    "country": ("CountryIdentification",),
    "region": ("RegionalGuess", "RegionGuess"),  # the paper's figure has the second spelling
    "precise": ("PreciseLocalization",),
}
MAX_CHARACTERS: Final = 200_000
"""Longer completions are cut: 1024 tokens are never that long, and work must stay bounded."""
_MAX_REPAIR: Final = 8_000
_MAX_REPAIR_QUOTES: Final = 400
"""The repairer's time grows with characters × quotation marks (2.5 s for 8,000 with a mark at
every second one, measured); a real chain of thought has about a hundred marks."""
_BRACKETS: Final = re.compile(r"[][{}]")
_MAX_DEPTH: Final = 40

_NUMBER: Final = r"([-+]?\d{1,3}(?:\.\d{1,20})?)"
_END: Final = r"(?!\d|\.\d)"
_PAIR: Final = re.compile(rf"\[\s{{0,9}}{_NUMBER}\s{{0,9}},\s{{0,9}}{_NUMBER}\s{{0,9}}\]")
_LATITUDE: Final = re.compile(rf"latitude\s{{0,9}}[:=]\s{{0,9}}{_NUMBER}{_END}", re.IGNORECASE)
_LONGITUDE: Final = re.compile(rf"longitude\s{{0,9}}[:=]\s{{0,9}}{_NUMBER}{_END}", re.IGNORECASE)


@dataclass(frozen=True)
class Stage:
    """One stage of the chain of thought; empty texts where the model wrote none."""

    clues: tuple[str, ...] = ()
    reasoning: str = ""
    conclusion: str = ""
    uncertainty: str = ""
    complete: bool = False
    """All four keys were there."""


@dataclass(frozen=True)
class ToolCall:
    """A call the model asks for; arguments as they came, unchecked."""

    name: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True)
class Completion:
    """What a completion says."""

    think: str | None = None
    """Text between the think tags; where the second is missing (a completion that was cut), up
    to the answer or the end."""
    stages: Mapping[str, Stage] = field(default_factory=dict)
    """Stages that were found, by level: country, region, precise."""
    valid_json: bool = False
    """The think text is JSON as it stands, without repair."""
    final_answer: str | None = None
    answer: str | None = None
    parts: tuple[str, ...] = ()
    """The answer split at `;` or `；`, without empty parts."""
    coordinates: tuple[float, float] | None = None
    """Latitude and longitude in degrees, if the answer gives them in range."""
    tool_calls: tuple[ToolCall, ...] = ()
    well_formed: bool = False
    """`<think>…</think><answer>…</answer>` and nothing else but white space."""
    well_formed_call: bool = False
    """`<think>…</think><tool_call>…</tool_call>` and nothing else but white space."""

    @property
    def valid_parts(self) -> bool:
        """The answer has the two or three parts that an address has."""
        return is_address(self.parts)


def parse(text: object) -> Completion:
    """Read a completion; anything, also what is no text, gives a Completion.

    Texts in the result can be encoded as UTF-8: lone surrogates are replaced by `?`.
    """
    if not isinstance(text, str):
        return Completion()
    return _parse(text[:MAX_CHARACTERS])


@lru_cache(maxsize=1024)  # every reward reads the same batch
def _parse(text: str) -> Completion:
    text = _encodable(text)
    think = _think(text)
    answer = _between(text, "<answer>", "</answer>")
    document, valid = _document(think)
    final = document.get("FinalAnswer")
    return Completion(
        think=think,
        stages=_stages(document),
        valid_json=valid,
        final_answer=_string(final) or None,
        answer=answer.strip() if answer is not None else None,
        parts=split_parts(answer or ""),
        coordinates=parse_coordinates(answer if answer is not None else text),
        tool_calls=_tool_calls(text),
        well_formed=_thought_and(text, "answer"),
        well_formed_call=_thought_and(text, "tool_call"),
    )


def split_parts(answer: str) -> tuple[str, ...]:
    """Parts of an address answer, from coarse to fine."""
    pieces = answer.replace("；", ";").split(";")
    return tuple(piece.strip() for piece in pieces if piece.strip())


def is_address(parts: Sequence[str]) -> bool:
    """Whether there are as many parts as an address has: two or three."""
    return 2 <= len(parts) <= 3


def parse_coordinates(text: str) -> tuple[float, float] | None:
    """Latitude and longitude in one of the two accepted forms, None if absent or out of range.

    The released GRE code then reads the pair as longitude, latitude; that is a bug we don't have.
    """
    latitude, longitude = _LATITUDE.search(text), _LONGITUDE.search(text)
    if latitude and longitude:
        values = float(latitude.group(1)), float(longitude.group(1))
    elif pair := _PAIR.search(text):
        values = float(pair.group(1)), float(pair.group(2))
    else:
        return None
    if not all(map(math.isfinite, values)) or abs(values[0]) > 90 or abs(values[1]) > 180:
        return None
    return values


def _between(text: str, opening: str, closing: str) -> str | None:
    """Text of the first tag pair; None unless both are there."""
    start = text.find(opening)
    if start < 0:
        return None
    end = text.find(closing, start + len(opening))
    return text[start + len(opening) : end] if end >= 0 else None


def _think(text: str) -> str | None:
    closed = _between(text, "<think>", "</think>")
    if closed is not None or "<think>" not in text:
        return closed
    return text.partition("<think>")[2].partition("<answer>")[0]


def _thought_and(text: str, element: str) -> bool:
    """Whether a text is a think element and then another one, each tag once, and nothing else."""
    opening, closing = f"<{element}>", f"</{element}>"
    stripped = text.strip()
    if not (stripped.startswith("<think>") and stripped.endswith(closing)):
        return False
    if any(stripped.count(tag) != 1 for tag in ("<think>", "</think>", opening, closing)):
        return False
    middle = stripped[stripped.find("</think>") + len("</think>") : stripped.find(opening)]
    return stripped.find("</think>") < stripped.find(opening) and not middle.strip()


def _document(think: str | None) -> tuple[dict[str, Any], bool]:
    """The think JSON as a dict, and whether it was valid; {} if there is nothing to be read."""
    if think is None:
        return {}, False
    text = think.strip()
    if text.startswith("```"):
        text = text.strip("`").removeprefix("json").strip()
    if _depth(text) > _MAX_DEPTH:
        return {}, False
    try:
        value = json.loads(text)
        return (value, True) if isinstance(value, dict) else ({}, False)
    except (ValueError, RecursionError):
        return _repaired(text), False


def _repaired(text: str) -> dict[str, Any]:
    """What can be saved of cut or slightly wrong JSON."""
    start = text.find("{")
    quotes = sum(text.count(mark) for mark in "\"'“”")
    if start < 0 or len(text) > _MAX_REPAIR or quotes > _MAX_REPAIR_QUOTES:
        return {}
    from json_repair import repair_json

    try:
        value = repair_json(text[start:], return_objects=True)
    except Exception:  # a repairer of arbitrary text; whatever it trips over, we have no document
        return {}
    return value if isinstance(value, dict) else {}


def _depth(text: str) -> int:
    """Deepest nesting of brackets, counted without parsing."""
    depth = deepest = 0
    for bracket in _BRACKETS.findall(text):
        depth += 1 if bracket in "{[" else -1
        deepest = max(deepest, depth)
    return deepest


def _stages(document: Mapping[str, Any]) -> dict[str, Stage]:
    chain = document.get("ChainOfThought")
    if not isinstance(chain, dict):
        return {}
    found: dict[str, Stage] = {}
    for level, keys in _STAGE_KEYS.items():
        for key in keys:
            if isinstance(chain.get(key), dict):
                found[level] = _stage(chain[key])
                break
    return found


def _stage(values: Mapping[str, Any]) -> Stage:
    clues = values.get("Clues")
    listed = clues if isinstance(clues, list) else [clues]
    return Stage(
        clues=tuple(_string(clue) for clue in listed if isinstance(clue, str | int | float)),
        reasoning=_string(values.get("Reasoning")),
        conclusion=_string(values.get("Conclusion")),
        uncertainty=_string(values.get("Uncertainty")),
        complete=all(key in values for key in ("Clues", "Reasoning", "Conclusion", "Uncertainty")),
    )


def _string(value: object) -> str:
    return _encodable(str(value)).strip() if isinstance(value, str | int | float) else ""


def _encodable(text: str) -> str:
    """The text without lone surrogates, which JSON escapes can bring in and UTF-8 cannot write."""
    return text.encode("utf-8", "replace").decode()


def _tool_calls(text: str) -> tuple[ToolCall, ...]:
    """Calls in the order they stand; malformed ones are left out."""
    calls: list[ToolCall] = []
    for piece in text.split("<tool_call>")[1:]:
        body, closed, _ = piece.partition("</tool_call>")
        if not closed or _depth(body) > _MAX_DEPTH:
            continue
        try:
            value = json.loads(body)
        except (ValueError, RecursionError):
            continue
        if not isinstance(value, dict):
            continue
        name, arguments = value.get("name"), value.get("arguments")
        if isinstance(name, str) and isinstance(arguments, dict):
            calls.append(ToolCall(_encodable(name), arguments))
    return tuple(calls)
