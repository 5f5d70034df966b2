"""A stand-in for search services, on loopback: it speaks Tavily's, Brave's and SearXNG's JSON, as
their public documentation has it. None of the real services is asked by tests."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from tests.loopback import Loopback, Reply, Request

KEY = "tvly-s3cret/key+with=signs"

KNOWN = {
    "France": [("France", "A country in <b>Europe</b>.", "https://example.org/france")],
    "Huaraz": [
        ("Huaraz &amp; around", "A city in Ancash.", "https://example.org/huaraz"),
        ("Plaza de Armas", "The main square of Huaraz.", "https://example.org/plaza"),
    ],
}


class SearchServer(Loopback):
    """Answers what it knows, of `KNOWN`; `answer(query, number)` may return what to do instead.
    `queries` are those that came, in order, with `times` and `paths`."""

    def __init__(self) -> None:
        self.answer: Callable[[str, int], Reply | None] = lambda query, number: None
        self.queries: list[str] = []
        self.times: list[float] = []
        self.paths: list[str] = []
        super().__init__()

    def reply(self, request: Request) -> Reply:
        sent = request.method == "POST"
        query = json.loads(request.body)["query"] if sent else request.query["q"][0]
        with self.lock:
            self.queries.append(query)
            self.times.append(time.monotonic())
            self.paths.append(request.path)
            number = len(self.queries)
        given = self.answer(query, number) or Reply()
        if given.body is not None or given.hang_up:
            return given
        return replace(_refusal(request) or _found(request.path, query), wait_s=given.wait_s)


def _found(path: str, query: str) -> Reply:
    return Reply(body=json.dumps(_FORMS[path](query)).encode())


def _refusal(request: Request) -> Reply | None:
    """For who has not got the key, which SearXNG does not want."""
    if request.path == "/res/v1/web/search" and request.headers["X-Subscription-Token"] != KEY:
        error = {"code": "SUBSCRIPTION_TOKEN_INVALID", "status": 422}
        return Reply(422, json.dumps({"type": "ErrorResponse", "error": error}).encode())
    tavily = request.path == "/search" and request.method == "POST"
    if tavily and request.headers["Authorization"] != f"Bearer {KEY}":
        detail = {"error": "Unauthorized: missing or invalid API key."}
        return Reply(401, json.dumps({"detail": detail}).encode())
    return None


def bomb() -> Reply:
    """A small body that unpacks to a large one."""
    return Reply(body=gzip.compress(bytes(50 << 20)), headers={"Content-Encoding": "gzip"})


def _rows(query: str, snippet: str) -> list[dict[str, Any]]:
    return [
        {"title": title, snippet: text, "url": url, "score": 0.5}
        for title, text, url in KNOWN.get(query, [])
    ]


def _search(query: str) -> Any:
    """Tavily's and SearXNG's have the same names."""
    return {"query": query, "results": _rows(query, "content"), "unresponsive_engines": []}


def _brave(query: str) -> Any:
    reply: dict[str, Any] = {"type": "search", "query": {"original": query}}
    if query in KNOWN:
        reply["web"] = {"type": "search", "results": _rows(query, "description")}
    return reply


_FORMS: dict[str, Callable[[str], Any]] = {"/search": _search, "/res/v1/web/search": _brave}
