"""Which names of an answer are right, by a language model instead of by rules (GeoVista)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from geoagent.agent.client import Agent, check_usable
from geoagent.agent.question import FormQuestion, clip
from geoagent.evaluate.rules import (
    UNJUDGED,
    Judgement,
    Row,
    answers,
    is_judgeable,
    named,
    true_names,
)

MAX_ANSWER: Final = 500
"""Characters of an answer that the verifier sees; of a true name a fifth of that."""
_FIELDS: Final = ("country", "province_or_state", "city")
_NAMES: Final = ("Country", "Province or state", "City")


@dataclass(frozen=True)
class VerdictQuestion(FormQuestion):
    """Does an answer name the true country, province or state, and city? What the truth doesn't
    name ("") is not asked."""

    answer: str
    truth: tuple[str, str, str]

    form = "verdict"
    system = (
        "You compare an answer to the question where a photo was taken with the true place. For "
        "each level say whether the answer names the same place; other spellings, languages and "
        "abbreviations of a name are the same. A level that the answer does not tell is false. "
        'Reply with JSON: {"id": ..., ...}, with true or false for each level.'
    )
    examples = (
        (
            "Answer: Deutschland; Bayern; Nuremberg\nCountry: Germany\nProvince or state: "
            "Bavaria\nCity: Munich",
            {"country": True, "province_or_state": True, "city": False},
        ),
        (
            "Answer: USA; Texas\nCountry: United States\nProvince or state: Oregon",
            {"country": True, "province_or_state": False},
        ),
    )

    @property
    def text(self) -> str:
        truth = zip(_NAMES, self.truth, strict=True)
        lines = (f"{name}: {clip(text, MAX_ANSWER // 5)}" for name, text in truth if text)
        return "\n".join((f"Answer: {clip(' '.join(self.answer.split()), MAX_ANSWER)}", *lines))

    @property
    def fields(self) -> Mapping[str, tuple[Any, ...]]:
        truth = zip(_FIELDS, self.truth, strict=True)
        return {name: (True, False) for name, text in truth if text}


class Verifier:
    """Judges the names of rows by asking an agent (`Rules.verify`).

    A level that is right makes the coarser ones right, as with GeoVista. An answer without text is
    wrong and not asked about. A row that the agent gives no usable reply for says nothing: it
    counts for no level, but in `unjudged`.
    """

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self.judged = 0
        self.unjudged = 0

    def judge(self, rows: Sequence[Row]) -> list[Judgement]:
        """The judgement of each row; OutageError if the agent does not answer, ValueError if an
        answer or a name is not a text."""
        truths = true_names(rows)
        questions = [
            VerdictQuestion(answer, truth)
            if is_judgeable(row) and truth[0] and answer.strip()
            else None
            for row, answer, truth in zip(rows, answers(rows), truths, strict=True)
        ]
        asked = [question for question in questions if question is not None]
        judgements = self._agent.ask(asked)
        check_usable(asked, judgements)
        said = {question: j.conclusion for question, j in zip(asked, judgements, strict=True)}
        unjudged = sum(said[question] is None for question in asked)
        self.unjudged += unjudged
        self.judged += len(asked) - unjudged
        replies = (said[question] if question else "{}" for question in questions)
        return [
            _judgement(reply, truth) if is_judgeable(row) else UNJUDGED
            for row, reply, truth in zip(rows, replies, truths, strict=True)
        ]


def _judgement(reply: str | None, truth: tuple[str, str, str]) -> Judgement:
    if reply is None:
        return 0, 0  # as if the truth named nothing
    verdict = json.loads(reply)
    right = [depth for depth, name in enumerate(_FIELDS, start=1) if verdict.get(name)]
    return max(right, default=0), named(*truth)
