"""A geocoding service on loopback that speaks Nominatim's, Photon's and OpenCage's JSON."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

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


class GeocodingServer:
    """Answers what it knows; `answer(query, number)` may return a Given instead of "": anything
    wrong that a server can do. `queries` are those that came, in order."""

    def __init__(self) -> None:
        self.answer: Callable[[str, int], Given | str] = lambda query, number: ""
        self.queries: list[str] = []
        self.agents: set[str] = set()
        self._lock = threading.Lock()
        stub = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                address = urlsplit(self.path)
                asked = parse_qs(address.query, keep_blank_values=True)
                query = asked["q"][0]
                with stub._lock:
                    stub.queries.append(query)
                    stub.agents.add(self.headers["User-Agent"])
                    number = len(stub.queries)
                given = stub.answer(query, number)
                if address.path.startswith("/geocode") and asked.get("key") != [KEY]:
                    given = 401
                if given == "":
                    given = json.dumps(_FORMS[address.path](query)).encode()
                if given is not None:
                    self._send(given)

            def _send(self, given: Given | str) -> None:
                body = given if isinstance(given, bytes) else b'{"error": "made to fail"}'
                with suppress(OSError):  # the client has gone
                    self.send_response(given if isinstance(given, int) else 200)
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)

            def log_message(self, *arguments: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


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
