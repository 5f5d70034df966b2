"""How near is the answer, geocoded, to the truth?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from geoagent.answer import parse
from geoagent.config import SpatialConfig
from geoagent.geo.distance import great_circle_km
from geoagent.geo.geocoder import geocode
from geoagent.geo.services import Locate
from geoagent.rewards import released
from geoagent.rewards.base import Reward, Score


class Spatial(Reward):
    """exp(−D/τ), D the great-circle distance in km between the geocoded answer and the true
    coordinates; 0 where nothing is found (GeoAgent §3.2). Range 0 to 1.

    What the geocoder does not know is dropped from the end of the answer. `published` also gives
    0 from the cut-off on, and reads the FinalAnswer where there is no answer element.
    """

    name = "spatial"
    columns = ("latitude", "longitude")

    def __init__(
        self, config: SpatialConfig, published: bool = False, locate: Locate = geocode
    ) -> None:
        self.config = config
        self.published = published
        self.locate = locate

    def score(self, completions: Sequence[str], **columns: Any) -> list[Score]:
        points = self.points(columns, len(completions))
        return [self._one(text, *point) for text, point in zip(completions, points, strict=True)]

    def _one(self, text: str, latitude: float, longitude: float) -> Score:
        answer = released.final_answer(text) if self.published else "; ".join(parse(text).parts)
        place = self.locate(answer)
        if place is None:
            return Score(0.0, {"located": 0.0})
        distance = great_circle_km(place.latitude, place.longitude, latitude, longitude)
        beyond = self.published and distance >= self.config.cutoff_km
        value = 0.0 if beyond else math.exp(-distance / self.config.tau_km)
        return Score(value, {"located": 1.0, "distance_km": distance, "level": place.level})
