"""What the judge is asked about a chain: what kind each step is, and which facts it states."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from geoagent.agent.client import Agent, check_usable
from geoagent.agent.question import FormQuestion, clip

KINDS: Final = ("background", "caption", "inference")
"""Background information, image caption, logical inference (GRE, GREval-Bench)."""
MAX_CHAIN: Final = 4000
"""Characters of a chain that the judge sees at once, about 1,000 tokens of English; longer ones are
cut in the middle."""


@dataclass(frozen=True)
class KindQuestion(FormQuestion):
    """Of which kind is one step?"""

    step: str

    form = "kind"
    system = (
        "You sort steps of a reasoning about where a photo was taken. caption: it says what the "
        "photo shows. background: it states knowledge about the world that holds without the "
        "photo. inference: it concludes where the photo was taken, or rules a place out. Reply "
        'with JSON: {"id": ..., "kind": ...}.'
    )
    examples = (
        ("Step: A yellow taxi waits beside a brick wall.", {"kind": "caption"}),
        ("Step: In Japan cars keep to the left side of the road.", {"kind": "background"}),
        ("Step: So this is most likely the north of Chile.", {"kind": "inference"}),
    )

    @property
    def text(self) -> str:
        return f"Step: {clip(self.step, MAX_CHAIN)}"

    @property
    def fields(self) -> Mapping[str, tuple[Any, ...]]:
        return {"kind": KINDS}


@dataclass(frozen=True)
class FactQuestion(FormQuestion):
    """Does a reasoning state a fact? The reasoning comes first: its facts are asked in a row."""

    reasoning: str
    fact: str

    form = "fact"
    system = (
        "You check whether a reasoning about a photo states a given fact, in whatever words. It "
        "is not enough that it does not contradict it. Reply with JSON: "
        '{"id": ..., "stated": true or false}.'
    )
    examples = (
        (
            "Reasoning: The plates are yellow. Rear plates are yellow in Britain, so this is "
            "England.\nFact: British cars have yellow plates at the back.",
            {"stated": True},
        ),
        (
            "Reasoning: The plates are yellow, so this is England.\nFact: In Britain one drives "
            "on the left.",
            {"stated": False},
        ),
    )

    @property
    def text(self) -> str:
        return f"Reasoning: {clip(self.reasoning, MAX_CHAIN)}\nFact: {clip(self.fact, MAX_CHAIN)}"

    @property
    def fields(self) -> Mapping[str, tuple[Any, ...]]:
        return {"stated": (True, False)}


def kinds(agent: Agent, steps: Sequence[str]) -> list[str | None]:
    """The kind of each step; None where the judge gave no usable reply."""
    questions = [KindQuestion(step) for step in steps]
    return [said["kind"] if said else None for said in _replies(agent, questions)]


def stated(agent: Agent, pairs: Sequence[tuple[str, str]]) -> list[bool | None]:
    """Of each (reasoning, fact), whether the one states the other; None as above."""
    questions = [FactQuestion(reasoning, fact) for reasoning, fact in pairs]
    return [said["stated"] if said else None for said in _replies(agent, questions)]


def _replies(agent: Agent, questions: Sequence[FormQuestion]) -> list[dict[str, Any] | None]:
    judgements = agent.ask(questions)
    check_usable(questions, judgements)
    return [
        json.loads(judgement.conclusion) if judgement.conclusion else None
        for judgement in judgements
    ]
