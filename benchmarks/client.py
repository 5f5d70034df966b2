"""How near the agent's client comes to what its server can do: `make bench-client`.

The server is a stand-in (benchmarks/stub.py) with a fixed time for each request and so many at
once. The plain load generator sends the very same bytes over as many connections as it has, one
request after the other on each, and looks at nothing but where a reply ends. It has its turn after
each turn of the client; figures are medians of three.

Tails: two servers, then two of which one takes five times as long. Each question's time is that of
its request. The first batch, in which nobody knows which one is slow, is told apart from those
that follow. Memory is what the process has grown by.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import batches
from harness import Figures, bars, medians, percent, run, seconds, show_goals, table, verdict
from rich.console import Console
from stub import serving

from geoagent.agent.client import AgentClient
from geoagent.agent.endpoint import Endpoint
from geoagent.agent.prompt import Question
from geoagent.progress import tracked

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CASES: Final = ((0.2, 64), (0.05, 64), (0.0, 64))
"""Seconds of a request and requests at once; the last is a server that is as fast as it can be."""
BATCH: Final = 192
FOLLOW: Final = 30
"""Batches after the first one, in which a question to the slow server every 5 s is under 1 %."""
LATENCY_S: Final = 0.2
SLOW: Final = 5.0
ROUNDS: Final = 3
REASONING: Final = "The flag on the pole is red, white and blue, and cars drive on the right. " * 4


class Timed(AgentClient):
    """Keeps how long each request took."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.times: list[float] = []

    async def _send(self, endpoint: Endpoint, body: dict[str, Any]) -> str:
        began = asyncio.get_running_loop().time()
        reply = await super()._send(endpoint, body)
        self.times.append(asyncio.get_running_loop().time() - began)
        return reply


def measure(options: argparse.Namespace) -> Figures:
    """All figures, as JSON."""
    before = _peak_mib()
    throughput = [_throughput(*case) for case in tracked(CASES, "throughput")]
    grown = _peak_mib() - before
    tails = {"even": _tail(1.0), "slow": _tail(SLOW)}
    return {
        "questions": BATCH,
        "throughput": throughput,
        "tails": tails,
        "grown_mib": grown,
        "goals": [
            verdict("client over plain load, 200 ms", throughput[0]["share"], 0.95),
            verdict(
                "99th percentile with a slow server over that without",
                tails["slow"]["p99_s"] / tails["even"]["p99_s"],
                2,
                most=True,
            ),
        ],
    }


def questions(count: int, mark: object) -> list[Question]:
    return [Question("country", f"{REASONING}({mark}/{number})") for number in range(count)]


def _throughput(latency_s: float, capacity: int) -> dict[str, Any]:
    """Questions a second through our client and of the plain load generator."""
    count = 10 * BATCH
    with serving(latency_s, capacity) as url:
        client = batches.client_of(f"{url}/v1", capacity)
        client.ask(questions(BATCH, "warm"))

        def ours(number: int) -> float:
            return seconds(lambda: client.ask(questions(count, number)))

        def plain(number: int) -> float:
            requests = _requests(url, client, questions(count, number))
            return seconds(lambda: asyncio.run(load(url, requests, capacity)))

        taken, least = medians(ROUNDS, ours, plain)
        client.close()
    return {
        "latency_s": latency_s,
        "capacity": capacity,
        "client_per_s": count / taken,
        "plain_per_s": count / least,
        "share": least / taken,
    }


def _requests(url: str, client: AgentClient, asked: Sequence[Question]) -> list[bytes]:
    """What the client sends, as bytes."""
    endpoint = Endpoint(f"{url}/v1", "stub", "")
    bodies = [json.dumps(client._body(endpoint, question, 0)).encode() for question in asked]
    return [
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: stub\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
        for body in bodies
    ]


async def load(url: str, requests: Sequence[bytes], connections: int) -> None:
    """Send all requests and read all replies, nothing else."""
    address = urlsplit(url)
    pending = iter(requests)

    async def worker() -> None:
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        for request in pending:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(int(head.rpartition(b"Content-Length: ")[2]))
        writer.close()

    await asyncio.gather(*(worker() for _ in range(connections)))


def _tail(slow: float) -> dict[str, Any]:
    """Times of the questions with two servers, of which one takes `slow` times as long."""
    with ExitStack() as stack:
        urls = [stack.enter_context(serving(LATENCY_S * times, 64)) for times in (1.0, slow)]
        client = Timed(
            batches.settings(64), endpoints=[Endpoint(f"{url}/v1", "stub", "") for url in urls]
        )
        client.check()
        client.times.clear()
        first = seconds(lambda: client.ask(questions(BATCH, "first")))
        first_times = sorted(client.times)
        client.times.clear()
        for number in range(FOLLOW):
            client.ask(questions(BATCH, number))
        client.close()
    times = sorted(client.times)
    return {
        "slow": slow,
        "first_batch_s": first,
        "first_p99_s": _quantile(first_times, 0.99),
        "p50_s": _quantile(times, 0.5),
        "p99_s": _quantile(times, 0.99),
        "most_s": times[-1],
        "questions": len(times),
    }


def _quantile(times: Sequence[float], share: float) -> float:
    return times[min(int(share * len(times)), len(times) - 1)]


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def show(figures: Figures, console: Console) -> None:
    """Print the figures."""
    rows = [
        (
            f"{1000 * case['latency_s']:.0f} ms, {case['capacity']} at once",
            case["client_per_s"],
            case["plain_per_s"],
            percent(case["share"]),
        )
        for case in figures["throughput"]
    ]
    heads = ("server", "client: questions/s", "plain load", "share")
    console.print(table("The agent's client", heads, rows))
    names = ("first_batch_s", "first_p99_s", "p50_s", "p99_s", "most_s")
    tails = [
        (label, *(figures["tails"][key][name] for name in names))
        for key, label in (("even", "two servers"), ("slow", f"one {SLOW:g} × slower"))
    ]
    columns = ("", "first batch s", "its p99", "then: median", "p99", "most")
    console.print(table(f"Seconds of a question, {LATENCY_S:g} s a request", columns, tails))
    console.print(f"memory: {figures['grown_mib']:.1f} MiB", highlight=False)
    show_goals(figures, console)


def draw(figures: Figures) -> Figure:
    """Questions a second, ours and plain."""
    cases = figures["throughput"]
    return bars(
        "The agent's client beside a plain load generator",
        "questions a second",
        [f"{1000 * case['latency_s']:.0f} ms" for case in cases],
        {
            "client": [case["client_per_s"] for case in cases],
            "plain load": [case["plain_per_s"] for case in cases],
        },
        logarithmic=True,
    )


if __name__ == "__main__":
    sys.exit(run("client", __doc__, measure, show, draw))
