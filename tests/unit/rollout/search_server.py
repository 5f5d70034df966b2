"""A stand-in for search services, on loopback: it speaks Tavily's, Brave's and SearXNG's JSON, as
their public documentation has it. None of the real services is asked by tests."""

from __future__ import annotations

import gzip
import json
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

KEY = "tvly-s3cret/key+with=signs"

KNOWN = {
    "France": [("France", "A country in <b>Europe</b>.", "https://example.org/france")],
    "Huaraz": [
        ("Huaraz &amp; around", "A city in Ancash.", "https://example.org/huaraz"),
        ("Plaza de Armas", "The main square of Huaraz.", "https://example.org/plaza"),
    ],
}


@dataclass
class Reply:
    """Anything wrong that a server can do."""

    status: int = 200
    body: bytes | None = None
    """None: what the service answers."""
    headers: dict[str, str] = field(default_factory=dict)
    wait_s: float = 0.0
    pause_s: float = 0.0
    """Between two bytes of the body."""
    hang_up: bool = False


class SearchServer:
    """Answers what it knows, of `KNOWN`; `answer(query, number)` may return what to do instead.
    `queries` are those that came, in order, and `most` how many were under way at once."""

    def __init__(self) -> None:
        self.answer: Callable[[str, int], Reply | None] = lambda query, number: None
        self.queries: list[str] = []
        self.times: list[float] = []
        self.paths: list[str] = []
        self.most = self._now = 0
        self._lock = threading.Lock()
        stub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1  # head and body in one piece, or the second waits for 40 ms

            def do_GET(self) -> None:
                self._serve(parse_qs(urlsplit(self.path).query, keep_blank_values=True)["q"][0])

            def do_POST(self) -> None:
                length = int(self.headers["Content-Length"])
                self._serve(json.loads(self.rfile.read(length))["query"])

            def _serve(self, query: str) -> None:
                with stub._lock:
                    stub.queries.append(query)
                    stub.times.append(time.monotonic())
                    stub.paths.append(self.path)
                    stub._now += 1
                    stub.most = max(stub.most, stub._now)
                    number = len(stub.queries)
                reply = stub.answer(query, number) or Reply()
                time.sleep(reply.wait_s)
                if not reply.hang_up:
                    self._send(reply, self._refusal() or _FORMS[urlsplit(self.path).path](query))
                else:
                    self.close_connection = True
                with stub._lock:
                    stub._now -= 1

            def _refusal(self) -> Any:
                path = urlsplit(self.path).path
                if path == "/res/v1/web/search" and self.headers["X-Subscription-Token"] != KEY:
                    error = {"code": "SUBSCRIPTION_TOKEN_INVALID", "status": 422}
                    return 422, {"type": "ErrorResponse", "error": error}
                tavily = path == "/search" and self.command == "POST"
                if tavily and self.headers["Authorization"] != f"Bearer {KEY}":
                    return 401, {"detail": {"error": "Unauthorized: missing or invalid API key."}}
                return None

            def _send(self, reply: Reply, own: Any) -> None:
                status, document = own if isinstance(own, tuple) else (200, own)
                body = json.dumps(document).encode() if reply.body is None else reply.body
                with suppress(OSError):  # the client has gone
                    self.send_response(reply.status if reply.status != 200 else status)
                    for name, value in reply.headers.items():
                        self.send_header(name, value)
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    size = 1 if reply.pause_s else max(len(body), 1)
                    for start in range(0, len(body), size):
                        self.wfile.write(body[start : start + size])
                        self.wfile.flush()
                        time.sleep(reply.pause_s)

            def log_message(self, *arguments: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            request_queue_size = 128  # with 5, others are kept waiting for a second

        self._server = Server(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


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
