"""A server on loopback for tests of what asks one: real HTTP, with anything wrong that a server can
do. Subclasses say what it answers."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self
from urllib.parse import parse_qs, urlsplit


@contextmanager
def nobody() -> Iterator[int]:
    """A port that refuses everybody, and that no other process gets meanwhile."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    query: dict[str, list[str]]
    headers: Message
    body: bytes


@dataclass
class Reply:
    """What is sent."""

    status: int = 200
    body: bytes | None = None
    """None: as the server answers when nothing is wrong, or nothing."""
    headers: dict[str, str] = field(default_factory=dict)
    wait_s: float = 0.0
    pause_s: float = 0.0
    """Between two bytes of the body."""
    hang_up: bool = False
    """Without a word."""


class Loopback:
    """Listens until it is closed; `reply` is called in a thread of each connection. `most` is how
    many requests were under way at once."""

    def __init__(self) -> None:
        self.most = self._now = 0
        self.lock = threading.Lock()
        handler = type("OwnHandler", (_Handler,), {"owner": self})
        self._server = _Server(("127.0.0.1", 0), handler)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def reply(self, request: Request) -> Reply:
        raise NotImplementedError

    def answer_to(self, request: Request) -> Reply:
        with self.lock:
            self._now += 1
            self.most = max(self.most, self._now)
        try:
            reply = self.reply(request)
            time.sleep(reply.wait_s)
            return reply
        finally:
            with self.lock:
                self._now -= 1

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128  # with 5, others are kept waiting for a second


class _Handler(BaseHTTPRequestHandler):
    owner: Loopback
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one piece, or the second waits for 40 ms

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def _serve(self) -> None:
        address = urlsplit(self.path)
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        query = parse_qs(address.query, keep_blank_values=True)
        request = Request(self.command, address.path, query, self.headers, body)
        reply = self.owner.answer_to(request)
        self.close_connection |= reply.hang_up
        with suppress(OSError):  # the client has gone
            self._send(reply)

    def _send(self, reply: Reply) -> None:
        if reply.hang_up:
            return
        body = reply.body or b""
        self.send_response(reply.status)
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
