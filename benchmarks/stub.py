"""A stand-in for the agent and for an online geocoder: HTTP on loopback, in a process of its own.

Each request takes a fixed time, or one drawn from an exponential distribution with that mean; of
more than `capacity` at once the others wait for their turn, first come, first served, as in a model
server with so many slots. A chat is answered with the id that it asks for and a conclusion made of
nothing: how long answers take is measured here, not what they say.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

CONCLUSION: Final = "France"
TIMES: Final = ("fixed", "exponential")
_PLACE: Final = {"results": [{"geometry": {"lat": 48.85, "lng": 2.35}}]}


@contextmanager
def serving(latency_s: float, capacity: int, times: str = "fixed") -> Iterator[str]:
    """The address of a server (without /v1) that lives as long as this."""
    words = [sys.executable, str(Path(__file__)), str(latency_s), str(capacity), times]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.terminate()


class Stub:
    """The server itself."""

    def __init__(self, latency_s: float, capacity: int, times: str) -> None:
        self._latency = latency_s
        self._slots = asyncio.Semaphore(capacity)
        self._draw = random.Random(0) if times == "exponential" else None

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection, one after the other, until it is closed."""
        try:
            while (request := await _read(reader)) is not None:
                async with self._slots:
                    await asyncio.sleep(self._takes())
                content = json.dumps(_answer(request)).encode()
                writer.write(
                    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                    b"Content-Length: %d\r\n\r\n%b" % (len(content), content)
                )
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    def _takes(self) -> float:
        if self._draw is None or not self._latency:
            return self._latency
        return self._draw.expovariate(1 / self._latency)


async def _read(reader: asyncio.StreamReader) -> dict[str, Any] | None:
    """The JSON body of a request, {} of one without; None at the end."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    length = re.search(rb"content-length: *(\d+)", head, re.IGNORECASE)
    body = await reader.readexactly(int(length[1])) if length else b"{}"
    return dict(json.loads(body))


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    if "messages" not in request:
        return _PLACE
    form = request.get("response_format")
    if form:
        name = form["json_schema"]["schema"]["properties"]["id"]["const"]
    else:  # as the released code asks
        name = json.loads(request["messages"][-1]["content"])["id"]
    content = json.dumps({"id": name, "Conclusion": CONCLUSION})
    return {"choices": [{"message": {"role": "assistant", "content": content}}]}


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("latency_s", type=float)
    parser.add_argument("capacity", type=int)
    parser.add_argument("times", choices=TIMES)
    options = parser.parse_args()
    stub = Stub(options.latency_s, options.capacity, options.times)
    server = await asyncio.start_server(stub.connected, "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
