"""Stands between training and the agent, and spoils some of what goes through."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

import httpx

from geoagent.agent.endpoint import Endpoint

GOOD: Final = "good"
SILENT: Final = "accepts connections and never answers"
GARBAGE: Final = "returns garbage"
WRONG_ID: Final = "returns a wrong id"
STATUS: Final = {"returns HTTP 500": 500, "returns HTTP 429": 429}
_SILENT_S: Final = 120.0
"""Longer than any client waits."""


class Spoiler:
    """An agent's server that misbehaves in a fixed order, and behaves when that is done with.

    `plan`: what happens to how many requests. `hits` counts what happened.
    """

    def __init__(self, agent: Endpoint, plan: Sequence[tuple[str, int]]) -> None:
        self.agent = agent
        self.token = "of-the-spoiler"
        self.hits: Counter[str] = Counter()
        self._plan = [kind for kind, count in plan for _ in range(count)]
        self._replies: dict[str, bytes] = {}
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def __enter__(self) -> Spoiler:
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        self._server.shutdown()
        self._server.server_close()

    def answer(self, question: bytes) -> tuple[int, bytes]:
        """Status and body for one request."""
        with self._lock:
            kind = self._plan.pop(0) if self._plan else GOOD
            self.hits[kind] += 1
        if kind == GOOD:
            return self._ask(question)
        if kind == WRONG_ID:
            return 200, next(self._of_others(question))
        if kind == SILENT:
            self._closed.wait(_SILENT_S)
        return STATUS.get(kind, 200), b"<html>Not what you asked for</html>"

    def _ask(self, question: bytes) -> tuple[int, bytes]:
        headers = {"Authorization": f"Bearer {self.agent.token}"}
        url = f"{self.agent.url}/chat/completions"
        body = json.loads(question)
        response = httpx.post(url, json=body, headers=headers, timeout=_SILENT_S)
        with self._lock:
            self._replies[_asked(question)] = response.content
        return response.status_code, response.content

    def _of_others(self, question: bytes) -> Iterator[bytes]:
        """The agent's own replies to other questions, the newest first."""
        with self._lock:
            known = [*self._replies.items()]
        yield from (reply for asked, reply in reversed(known) if asked != _asked(question))

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        spoiler = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                question = self.rfile.read(int(self.headers["Content-Length"]))
                wrong = self.headers["Authorization"] != f"Bearer {spoiler.token}"
                status, body = (401, b"{}") if wrong else spoiler.answer(question)
                with suppress(OSError):  # it has stopped to wait
                    self.send_response(status)
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)

            def log_message(self, *arguments: Any) -> None:
                pass

        return Handler


def _asked(question: bytes) -> str:
    return json.dumps(json.loads(question)["messages"])
