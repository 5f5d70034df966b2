"""Completions for the tests of rewards."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from geoagent.agent.client import Judgement
from geoagent.agent.prompt import Question

KEYS = ("CountryIdentification", "RegionalGuess", "PreciseLocalization")
LONG = 201


def stage(conclusion: object, length: int = LONG, letter: str = "x") -> dict[str, object]:
    """A stage whose reasoning has `length` characters."""
    return {
        "Clues": [],
        "Reasoning": letter * length,
        "Conclusion": conclusion,
        "Uncertainty": "low",
    }


def think(*stages: Mapping[str, object]) -> str:
    chain = dict(zip(KEYS, stages, strict=False))
    return json.dumps({"ChainOfThought": chain, "FinalAnswer": "France; Paris"})


def completion(answer: str, *stages: Mapping[str, object]) -> str:
    """A well-formed completion; three long stages if none are given."""
    stages = stages or (stage("France"), stage("Ile-de-France"), stage("Paris"))
    return f"<think>{think(*stages)}</think><answer>{answer}</answer>"


@dataclass
class FakeAgent:
    """Answers with the conclusion listed for the first letter and the stage; None is a failure."""

    replies: Mapping[tuple[str, str], str | None]
    asked: list[Question] = field(default_factory=list)
    calls: int = 0

    def ask(self, questions: Sequence[Question]) -> list[Judgement]:
        self.calls += 1
        self.asked += questions
        return [self._judge(question) for question in questions]

    def _judge(self, question: Question) -> Judgement:
        reply = self.replies[question.reasoning[0], question.stage]
        if reply is None:
            return Judgement(None, failed=True, reason="reply is not JSON")
        return Judgement(reply)
