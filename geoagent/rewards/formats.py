"""Does the completion have the form it was asked for?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from geoagent.answer import LEVELS, Completion, parse
from geoagent.rewards.base import Reward, Score


class Format(Reward):
    """1 for `<think>…</think><answer>…</answer>` and nothing else, else 0 (GeoAgent, `format`)."""

    name = "format"

    def score(self, completions: Sequence[str], **columns: Any) -> list[Score]:
        return [Score(float(parse(text).well_formed)) for text in completions]


class GeoFormat(Reward):
    """1 if the think text is JSON with the three stages, all four keys in each, and the answer
    has two or three parts; else 0 (GeoAgent, `geo_format`)."""

    name = "geo_format"

    def score(self, completions: Sequence[str], **columns: Any) -> list[Score]:
        return [self._one(parse(text)) for text in completions]

    @staticmethod
    def _one(completion: Completion) -> Score:
        stages = sum(
            level in completion.stages and completion.stages[level].complete for level in LEVELS
        )
        parts = len(completion.parts)
        right = completion.valid_json and stages == len(LEVELS) and 2 <= parts <= 3
        return Score(float(right), {"complete_stages": float(stages), "answer_parts": float(parts)})
