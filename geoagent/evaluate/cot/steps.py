"""A chain of thought → its steps, which are what the judge sorts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, Final

from geoagent.answer import LEVELS, Completion, parse, parse_coordinates

if TYPE_CHECKING:
    from nltk.tokenize.punkt import PunktSentenceTokenizer

MAX_STEPS: Final = 64
"""Of one chain; the rest is left out. A chain of 2,048 tokens of short sentences has about 100, but
then says the same again and again."""
MAX_STEP: Final = 1200
"""Characters of one step; the rest is left out."""
_MAX_TEXT: Final = 20_000
"""Characters of free text that are split: more than 2,048 tokens have, and bounded work."""
_ABBREVIATIONS: Final = frozenset(
    ("approx", "ave", "ca", "cf", "dr", "e.g", "fig", "i.e", "mr", "mrs", "mt", "nr", "prof", "rd")
).union(("sr", "st", "u.k", "u.s", "vs"))
"""Whose dot ends no sentence; Punkt would learn them from a corpus."""
_FULL_STOP: Final = re.compile(r"(?<=[。！？])")
"""Scripts without spaces between sentences; Punkt wants one."""
_MARK: Final = re.compile(
    r"(?:[#>*•–—-]+\s+|\(?\d{1,3}[.)]\s+|\**step\s+\d{1,3}\s*[:.)-]+\**\s*)+", re.IGNORECASE
)
"""What a line of a list or a heading begins with."""
_TAG: Final = re.compile(r"</?(?:think|observation|tool_response)>")
_ONLY_COORDINATES: Final = re.compile(
    r"(?:\W|\d|\b(?:the|final|answer|coordinates|are|is|and|latitude|longitude)\b)*",
    re.IGNORECASE,
)


def steps(*completions: str) -> list[str]:
    """The steps of a reasoning, in order, each different text once; `completions` are those of all
    turns where a model has used tools, else the one.

    GeoAgent's JSON: of each stage its clues, then the sentences of its reasoning; conclusions are
    answers and no steps. Free text: its sentences, without tool calls, the answer and sentences of
    coordinates only. Empty if there is no reasoning.
    """
    found: dict[str, None] = {}
    for piece in (piece for completion in completions for piece in _pieces(completion)):
        text = " ".join(piece.split())[:MAX_STEP]
        if any(character.isalnum() for character in text) and not _is_answer(text):
            found[text] = None
        if len(found) == MAX_STEPS:
            break
    return list(found)


def _is_answer(text: str) -> bool:
    return parse_coordinates(text) is not None and _ONLY_COORDINATES.fullmatch(text) is not None


def _pieces(completion: str) -> Iterator[str]:
    read = parse(completion)
    return _of_stages(read) if read.stages else _sentences(_free_text(completion, read))


def steps_of_chain(think: str) -> list[str]:
    """The steps of an annotated chain, with or without think tags and answer."""
    return steps(f"<think>{think.partition('<answer>')[0]}</think>")


def _of_stages(read: Completion) -> Iterator[str]:
    for level in LEVELS:
        if stage := read.stages.get(level):
            yield from stage.clues
            yield from _sentences(stage.reasoning)


def _free_text(completion: str, read: Completion) -> str:
    """What is between the think tags; without them, all before the answer."""
    text = read.think if read.think is not None else completion.partition("<answer>")[0]
    parts = text.split("<tool_call>")
    after_calls = (part.partition("</tool_call>")[2] for part in parts[1:])
    return _TAG.sub("\n", "\n".join((parts[0], *after_calls)))


def _sentences(text: str) -> Iterator[str]:
    for line in text[:_MAX_TEXT].splitlines():
        line = line.strip()
        if mark := _MARK.match(line):
            line = line[mark.end() :]
        for piece in _FULL_STOP.split(line):
            yield from _splitter().tokenize(piece)


@cache
def _splitter() -> PunktSentenceTokenizer:
    """Punkt (Kiss & Strunk 2006) without a trained model: its rules and our abbreviations."""
    from nltk.tokenize.punkt import PunktParameters, PunktSentenceTokenizer

    parameters = PunktParameters()
    parameters.abbrev_types = set(_ABBREVIATIONS)
    return PunktSentenceTokenizer(parameters)
