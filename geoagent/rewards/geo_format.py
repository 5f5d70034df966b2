"""Are the chain of thought and the address complete?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from geoagent.answer import LEVELS, parse
from geoagent.rewards.base import Reward, Score


class GeoFormat(Reward):
    """1 if the think text is JSON with the three stages, each with its four keys, and the answer
    has two or three parts; else 0 (GeoAgent, `geo_format`). `published` looks at the answer only
    and does not know the full-width semicolon."""

    name = "geo_format"

    def __init__(self, published: bool = False) -> None:
        self.published = published

    def score(self, completions: Sequence[str], **columns: Any) -> list[Score]:
        return [self._one(text) for text in completions]

    def _one(self, text: str) -> Score:
        completion = parse(text)
        stages = sum(
            level in completion.stages and completion.stages[level].complete for level in LEVELS
        )
        parts = len(completion.parts)
        if self.published:
            pieces = (completion.answer or "").split(";")
            right = 2 <= sum(bool(piece.strip()) for piece in pieces) <= 3
        else:
            right = completion.valid_parts and completion.valid_json and stages == len(LEVELS)
        return Score(float(right), {"complete_stages": float(stages), "answer_parts": float(parts)})
