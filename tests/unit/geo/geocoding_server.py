"""A geocoding service on loopback that speaks Nominatim's, Photon's and OpenCage's JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from tests.loopback import Loopback, Reply, Request

KEY = "s3cret/key+with=signs"

KNOWN = {
    "Huaraz, Ancash, Peru": (-9.5278, -77.5278),
    "Ancash, Peru": (-9.3, -77.6),
    "Peru": (-9.2, -75.0),
    "Paris, France": (48.8534, 2.3488),
    "France": (46.6, 1.9),
    "合肥市, 安徽省, 中国": (31.86, 117.28),
}

Given = int | bytes | None
"""A status to fail with, a body, or None to close the connection without a word."""


class GeocodingServer(Loopback):
    """Answers what it knows; `answer(query, number)` may return a Given instead of "": anything
    wrong that a server can do. `queries` are those that came, in order."""

    def __init__(self) -> None:
        self.answer: Callable[[str, int], Given | str] = lambda query, number: ""
        self.queries: list[str] = []
        self.agents: set[str] = set()
        super().__init__()

    def reply(self, request: Request) -> Reply:
        query = request.query["q"][0]
        with self.lock:
            self.queries.append(query)
            self.agents.add(request.headers["User-Agent"])
            number = len(self.queries)
        given = self.answer(query, number)
        if request.path.startswith("/geocode") and request.query.get("key") != [KEY]:
            given = 401
        if given == "":
            given = json.dumps(_FORMS[request.path](query)).encode()
        if isinstance(given, bytes):
            return Reply(body=given)
        if isinstance(given, int):
            return Reply(given, b'{"error": "made to fail"}')
        return Reply(hang_up=True)


def _nominatim(query: str) -> Any:
    if query not in KNOWN:
        return []
    latitude, longitude = KNOWN[query]
    return [{"lat": str(latitude), "lon": str(longitude), "display_name": query}]


def _photon(query: str) -> Any:
    features = []
    if query in KNOWN:
        latitude, longitude = KNOWN[query]
        point = {"type": "Point", "coordinates": [longitude, latitude]}
        properties = {"name": query.split(",")[0], "countrycode": "PE"}
        features = [{"type": "Feature", "geometry": point, "properties": properties}]
    return {"type": "FeatureCollection", "features": features}


def _opencage(query: str) -> Any:
    results = []
    if query in KNOWN:
        latitude, longitude = KNOWN[query]
        results = [{"formatted": query, "geometry": {"lat": latitude, "lng": longitude}}]
    return {"status": {"code": 200, "message": "OK"}, "results": results}


_FORMS = {"/search": _nominatim, "/api": _photon, "/geocode/v1/json": _opencage}
