"""How near is the answer, geocoded, to the truth?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from geoagent.answer import parse
from geoagent.config import SpatialConfig
from geoagent.geo.distance import great_circle_km
from geoagent.geo.geocoder import geocode
from geoagent.rewards.base import Reward, Score


class Spatial(Reward):
    """exp(−D/τ), D the great-circle distance in km between the geocoded answer and the truth;
    0 from the cut-off on (released code only, hence `cutoff_km`) and where nothing is found
    (GeoAgent §3.2). Range 0 to 1.
    """

    name = "spatial"
    columns = ("latitude", "longitude")

    def __init__(self, config: SpatialConfig) -> None:
        self.config = config

    def score(self, completions: Sequence[str], **columns: Any) -> list[Score]:
        latitudes = self.column(columns, "latitude", len(completions))
        longitudes = self.column(columns, "longitude", len(completions))
        return [
            self._one(text, float(latitude), float(longitude))
            for text, latitude, longitude in zip(completions, latitudes, longitudes, strict=True)
        ]

    def _one(self, text: str, latitude: float, longitude: float) -> Score:
        place = geocode("; ".join(parse(text).parts))
        if place is None:
            return Score(0.0, {"located": 0.0})
        distance = great_circle_km(place.latitude, place.longitude, latitude, longitude)
        near = distance < self.config.cutoff_km
        value = math.exp(-distance / self.config.tau_km) if near else 0.0
        return Score(value, {"located": 1.0, "distance_km": distance, "level": place.level})
