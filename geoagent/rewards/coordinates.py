"""How near are the coordinates that the model gives itself?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from geoagent.answer import parse
from geoagent.rewards.base import Reward, Score


class Coordinates(Reward):
    """GRE RL-II: 2/(1+exp(d/θ)), d the geodesic distance in km (WGS 84, geopy); 0 if the answer
    has no coordinates or they are out of range. Range 0 to 1.

    Both forms are read latitude first; the released GRE code swaps the two, which is a bug.
    """

    name = "coordinates"
    columns = ("latitude", "longitude")

    def __init__(self, theta_km: float) -> None:
        self.theta_km = theta_km

    def score(self, completions: Sequence[str], **columns: Any) -> list[Score]:
        points = self.points(columns, len(completions))
        return [self._one(text, point) for text, point in zip(completions, points, strict=True)]

    def _one(self, text: str, truth: tuple[float, float]) -> Score:
        from geopy.distance import geodesic

        point = parse(text).coordinates
        if point is None:
            return Score(0.0, {"parsed": 0.0})
        distance = geodesic(point, truth).km
        value = 2.0 / (1.0 + math.exp(min(distance / self.theta_km, 700.0)))
        return Score(value, {"parsed": 1.0, "distance_km": distance})
