"""Are the names of the answer those of the truth?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from geoagent.answer import LEVELS, parse
from geoagent.config import LevelWeights
from geoagent.geo.regions import same_place
from geoagent.rewards.base import Reward, Score, shares, three_levels, truth_parts


class DirectlyJudge(Reward):
    """Per level 1 if the names are equal, else 0, weighted as the semantic reward is: the
    baseline of GeoAgent's Table 4, in place of spatial and semantic. Range 0 to 1.

    Equal is what `same_place` says; in `published`, the same text.
    """

    name = "directly_judge"
    columns = ("solution",)

    def __init__(self, weights: LevelWeights, published: bool = False) -> None:
        self.weights = shares(weights, "rewards.semantic.weights")
        self.published = published

    def score(self, completions: Sequence[str], **columns: Any) -> list[Score]:
        solutions = self.texts(columns, "solution", len(completions))
        return [
            self._one(three_levels(parse(text).parts), three_levels(truth_parts(solution)))
            for text, solution in zip(completions, solutions, strict=True)
        ]

    def _one(self, ours: Sequence[str], truth: Sequence[str]) -> Score:
        equal = {
            level: float(self._equal(mine, true, level, truth[0]))
            for level, mine, true in zip(LEVELS, ours, truth, strict=True)
        }
        return Score(sum(self.weights[level] * right for level, right in equal.items()), equal)

    def _equal(self, ours: str, truth: str, level: str, country: str) -> bool:
        if self.published:
            return bool(ours) and ours == truth
        return same_place(ours, truth, level, country)
