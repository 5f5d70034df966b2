"""What the agent is asked: one stage's reasoning, without the stage's own conclusion.

What questions have in common comes first and the id last, so servers that keep the state of a
common prefix read less.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

from geoagent.agent.question import clip, reply_of, short_id

MAX_REASONING: Final = 1200
"""Characters of reasoning that are sent; longer texts are cut in the middle."""
MAX_CONCLUSION: Final = 80

_NOUN: Final = {"country": "country", "region": "state or region", "precise": "city or place"}
_SYSTEM: Final = (
    "You read a reasoning about where a photo was taken and name the one place that it argues "
    'for. Reply with JSON: {"id": ..., "Conclusion": ...}. Copy the place from the reasoning.'
)
_EXAMPLES: Final = (
    (
        "Which country?\nReasoning: Kangaroos are on the sign and cars keep left, so this is "
        "Australia.\nid: qfz",
        '{"id": "qfz", "Conclusion": "Australia"}',
    ),
    (
        "Which state or region of Peru?\nReasoning: Of Peru's parts only Ancash has such peaks; "
        "the region of Peru is Ancash.\nid: bkt",
        '{"id": "bkt", "Conclusion": "Ancash"}',
    ),
    (
        "Which city or place of Styria, Austria?\nReasoning: The sign at the corner reads Graz, so "
        "this is Graz.\nid: wnd",
        '{"id": "wnd", "Conclusion": "Graz"}',
    ),
)


@dataclass(frozen=True)
class Question:
    """One stage of one completion. `earlier`: the model's conclusions of the stages before, as
    (stage, conclusion). Equal questions have equal answers, so each is asked once."""

    stage: str
    reasoning: str
    earlier: tuple[tuple[str, str], ...] = ()

    @property
    def id(self) -> str:
        """Made from the stage and all else, so that equal questions have equal ids and a reply to
        another one is known by its own."""
        return short_id(json.dumps([self.stage, self.reasoning, self.earlier]))

    @property
    def form(self) -> str:
        return "conclusion"

    @property
    def order(self) -> tuple[Any, ...]:
        """Most common part of a question's text first."""
        return self.stage, self.earlier, self.reasoning

    def messages(self) -> list[dict[str, Any]]:
        return messages(self)

    def schema(self) -> dict[str, Any]:
        return schema(self)

    def read(self, content: str) -> str:
        return read_reply(self, content)


HEALTH: Final = Question(
    "country", "The flag by the street is the flag of Norway, so this is Norway."
)
"""A real question that any agent can answer."""


def messages(question: Question) -> list[dict[str, str]]:
    """The chat that asks a question."""
    chat = [{"role": "system", "content": _SYSTEM}]
    for asked, answered in _EXAMPLES:
        chat += [{"role": "user", "content": asked}, {"role": "assistant", "content": answered}]
    earlier = ", ".join(
        clip(" ".join(text.split()), MAX_CONCLUSION) for _, text in reversed(question.earlier)
    )
    within = f" of {earlier}" if earlier else ""
    lines = [
        f"Which {_NOUN[question.stage]}{within}?",
        f"Reasoning: {clip(question.reasoning, MAX_REASONING)}",
        f"id: {question.id}",
    ]
    return [*chat, {"role": "user", "content": "\n".join(lines)}]


def schema(question: Question) -> dict[str, Any]:
    """JSON schema of the reply; servers that can, enforce it while they write."""
    return {
        "type": "object",
        "properties": {
            "id": {"const": question.id},
            "Conclusion": {"type": "string", "minLength": 1, "maxLength": MAX_CONCLUSION},
        },
        "required": ["id", "Conclusion"],
        "additionalProperties": False,
    }


def read_reply(question: Question, content: str) -> str:
    """The conclusion in a reply; ValueError says why it is not usable."""
    conclusion = reply_of(content, question.id).get("Conclusion")
    if not isinstance(conclusion, str) or not conclusion.strip():
        raise ValueError("reply has no Conclusion")
    return conclusion.strip()
