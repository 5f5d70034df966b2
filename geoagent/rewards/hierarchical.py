"""How fine is the finest level that is right?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from geoagent.answer import parse
from geoagent.geo.regions import finest_level
from geoagent.rewards.base import Reward, Score


class Hierarchical(Reward):
    """GeoVista: β² if the city is right, β if only the province or state, 1 if only the country,
    else 0. Range 0 to β².

    What is right, `geoagent.geo.regions.finest_level` says.
    """

    name = "hierarchical"
    columns = ("country", "region", "city")

    def __init__(self, beta: float) -> None:
        self.beta = beta

    def score(self, completions: Sequence[str], **columns: Any) -> list[Score]:
        count = len(completions)
        truth = zip(*(self.texts(columns, name, count) for name in self.columns), strict=True)
        return [
            self._one(parse(text).parts, *names)
            for text, names in zip(completions, truth, strict=True)
        ]

    def _one(self, parts: Sequence[str], *names: str) -> Score:
        level = finest_level(parts, *names)
        values = {None: 0.0, "country": 1.0, "region": self.beta, "city": self.beta**2}
        return Score(values[level], {"level": level})
