"""Rewards that compare the names of the answer with those of the truth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from geoagent.answer import LEVELS, parse
from geoagent.config import LevelWeights
from geoagent.geo.regions import same_place
from geoagent.rewards.base import Reward, Score, truth_parts


class DirectlyJudge(Reward):
    """Per level 1 if the texts are equal, else 0, weighted as the semantic reward is: the
    baseline of GeoAgent's Table 4. Range 0 to 1."""

    name = "directly_judge"
    columns = ("solution",)

    def __init__(self, weights: LevelWeights, published: bool = False) -> None:
        self.weights = weights
        self.published = published

    def score(self, completions: Sequence[str], **columns: Any) -> list[Score]:
        solutions = self.column(columns, "solution", len(completions))
        return [
            self._one(parse(text).parts, truth_parts(solution))
            for text, solution in zip(completions, solutions, strict=True)
        ]

    def _one(self, parts: Sequence[str], truth: Sequence[str]) -> Score:
        equal = {
            level: float(self._equal(ours, theirs, level))
            for level, ours, theirs in zip(LEVELS, parts, truth, strict=False)
        }
        value = sum(getattr(self.weights, level) * right for level, right in equal.items())
        return Score(value, equal)

    def _equal(self, ours: str, theirs: str, level: str) -> bool:
        return ours == theirs if self.published else same_place(ours, theirs, level)


class Hierarchical(Reward):
    """GeoVista: β² if the city is right, β if only the province or state, 1 if only the country,
    else 0. A finer level counts only where the coarser ones are right as well: there is a Paris
    in Texas."""

    name = "hierarchical"
    columns = ("country", "region", "city")

    def __init__(self, beta: float) -> None:
        self.beta = beta

    def score(self, completions: Sequence[str], **columns: Any) -> list[Score]:
        count = len(completions)
        truth = zip(*(self.column(columns, name, count) for name in self.columns), strict=True)
        codes = columns.get("country_code") or [None] * count
        return [
            self._one(parse(text).parts, names, code)
            for text, names, code in zip(completions, truth, codes, strict=True)
        ]

    def _one(self, parts: Sequence[str], truth: Sequence[str], code: str | None) -> Score:
        country, region, city = (name or "" for name in truth)
        if not parts or not same_place(parts[0], country, "country"):
            return Score(0.0, {"level": None})
        region_right = len(parts) > 1 and same_place(parts[1], region, "region", code or None)
        city_right = len(parts) > 1 and same_place(parts[-1], city, "precise", code or None)
        # Two parts, country and city, name the city as well as three do.
        if city_right and (region_right or len(parts) == 2):
            return Score(self.beta**2, {"level": "city"})
        if region_right:
            return Score(self.beta, {"level": "region"})
        return Score(1.0, {"level": "country"})


class Judge(Reward):
    """GRE RL-I: 1 if the model's True or False is the label, else 0."""

    name = "judge"
    columns = ("label",)

    def score(self, completions: Sequence[str], **columns: Any) -> list[Score]:
        labels = self.column(columns, "label", len(completions))
        return [
            self._one(parse(text).answer, label)
            for text, label in zip(completions, labels, strict=True)
        ]

    @staticmethod
    def _one(answer: str | None, label: object) -> Score:
        said = (answer or "").strip().rstrip(".").casefold()
        return Score(float(said in ("true", "false") and said == str(label).strip().casefold()))
