"""A stand-in for the agent's server: real HTTP on loopback, answers made up by the test."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from geoagent.agent.endpoint import Endpoint

TOKEN = "a-very-secret-token"


def question_id(body: dict[str, Any]) -> str:
    """The id that the client wants repeated."""
    form = body["response_format"]["json_schema"]["schema"]
    return str(form["properties"]["id"]["const"])


def reply(body: dict[str, Any], conclusion: str = "France") -> str:
    return json.dumps({"id": question_id(body), "Conclusion": conclusion})


Given = str | int | tuple[int, dict[str, str]] | bytes | Iterator[bytes]


class StubServer:
    """`answer(body, number)` gives the content of a reply, an HTTP status to fail with (and headers
    to send with it), a whole body that is none, or one in pieces."""

    def __init__(
        self, answer: Callable[[dict[str, Any], int], Given], delay_s: float = 0.0
    ) -> None:
        self.requests: list[dict[str, Any]] = []
        self.delay_s = delay_s
        self.at_once = self.most_at_once = 0
        self._lock = threading.Lock()
        stub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if self.headers["Authorization"] != f"Bearer {TOKEN}":
                    self._send(401, {"error": "unauthorized"})
                    return
                with stub._lock:
                    stub.requests.append(body)
                    number = len(stub.requests)
                    stub.at_once += 1
                    stub.most_at_once = max(stub.most_at_once, stub.at_once)
                time.sleep(stub.delay_s)
                given = answer(body, number)
                with stub._lock:
                    stub.at_once -= 1
                if isinstance(given, int):
                    given = given, {}
                if isinstance(given, tuple):
                    self._send(given[0], {"error": "made to fail"}, given[1])
                elif isinstance(given, str):
                    self._send(200, {"choices": [{"message": {"content": given}}]})
                else:
                    self._write([given] if isinstance(given, bytes) else given)

            def _send(
                self, status: int, document: dict[str, Any], headers: dict[str, str] | None = None
            ) -> None:
                self._write([json.dumps(document).encode()], status, headers)

            def _write(
                self,
                pieces: Iterable[bytes],
                status: int = 200,
                headers: dict[str, str] | None = None,
            ) -> None:
                self.send_response(status)
                for name, value in (headers or {}).items():
                    self.send_header(name, value)
                self.send_header("Connection", "close")  # where the body ends
                self.end_headers()
                with suppress(OSError):  # the client has gone
                    for piece in pieces:
                        self.wfile.write(piece)

            def log_message(self, *arguments: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def endpoint(self) -> Endpoint:
        port = self.server.server_address[1]
        return Endpoint(f"http://127.0.0.1:{port}/v1", "stub", TOKEN)

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
