"""How fine is the finest level that is right?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from geoagent.answer import parse
from geoagent.geo.regions import known_apart, same_place
from geoagent.rewards.base import Reward, Score


class Hierarchical(Reward):
    """GeoVista: β² if the city is right, β if only the province or state, 1 if only the country,
    else 0. Range 0 to β².

    A right city implies its region, however that is written, but never its country: there is a
    Paris in Texas. Nor if the answer names another region that the gazetteer knows: there are
    Springfields in many states. In an answer of two parts the second may be either.
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

    def _one(self, parts: Sequence[str], country: str, region: str, city: str) -> Score:
        if not parts or not same_place(parts[0], country, "country"):
            return Score(0.0, {"level": None})
        if len(parts) == 1:
            return Score(1.0, {"level": "country"})
        middle, last = parts[1], parts[-1]
        elsewhere = len(parts) > 2 and known_apart(middle, region, "region", country)
        if same_place(last, city, "precise", country) and not elsewhere:
            return Score(self.beta**2, {"level": "city"})
        if same_place(middle, region, "region", country):
            return Score(self.beta, {"level": "region"})
        return Score(1.0, {"level": "country"})
