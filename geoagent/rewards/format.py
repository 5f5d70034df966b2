"""Does the completion have the form it was asked for?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from geoagent.answer import parse
from geoagent.rewards import released
from geoagent.rewards.base import Reward, Score


class Format(Reward):
    """1 for `<think>…</think><answer>…</answer>` and nothing else, each tag once, else 0
    (GeoAgent, `format`). White space around is no fault; `published` sees one in it, and lets
    further tags inside pass."""

    name = "format"

    def __init__(self, published: bool = False) -> None:
        self.published = published

    def score(self, completions: Sequence[str], **columns: Any) -> list[Score]:
        return [Score(float(self._right(text))) for text in completions]

    def _right(self, text: str) -> bool:
        return released.has_format(text) if self.published else parse(text).well_formed
