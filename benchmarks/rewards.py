"""How long a batch's rewards take, beside the released algorithm: `make bench-rewards`.

The agent and an online geocoder are stand-ins on loopback that take 200 ms for each request and 64
at a time (benchmarks/stub.py); the embedding model and the offline geocoder are the real ones. The
batches are those of benchmarks/batches.py, the released algorithm is benchmarks/published.py, with
its random pauses and without. It takes one completion after the other, so it is timed on 64 at
most, and larger batches are counted from that. Nothing is remembered from batch to batch. Figures
are medians of three batches; those of the released algorithm are from a single one.

Of `consistency` the limit is the agent's: rounds × one call, where rounds is the number of
questions over the agent's capacity, so that the released algorithm's time is at most that of its
192 calls over three of ours for 64 completions. An agent of capacity 192 takes them in one round;
there the client's own work shows, and it is told with connections to be made (as when steps are
further apart than connections are kept) and without.
Last, the embedded agent of the demo answers about 8 completions, and about 2 of them as the
released algorithm asks (with the demo's limit of tokens, in its favour).
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import agent as embedded
import batches
from harness import (
    Figures,
    bars,
    medians,
    numbers,
    percent,
    run,
    seconds,
    show_goals,
    table,
    verdict,
)
from published import Consistency as PublishedConsistency
from rich.console import Console
from stub import serving

from geoagent.agent.client import AgentClient
from geoagent.agent.endpoint import read_endpoints
from geoagent.agent.prompt import Question
from geoagent.config import RewardsConfig, resolve
from geoagent.progress import tracked
from geoagent.rewards.embedding import load_encoder
from geoagent.rewards.registry import weighted

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LATENCY_S: Final = 0.2
CAPACITY: Final = 64
WIDE: Final = 192
ROUNDS: Final = 3
_CONNECTIONS: Final = {"opening": "connections to be made", "kept": "connections kept"}
FEW: Final = 2
"""Completions that the embedded agent is asked about as the released algorithm does."""


def measure(options: argparse.Namespace) -> Figures:
    """All figures, as JSON."""
    cases: list[dict[str, Any]] = []
    with serving(LATENCY_S, CAPACITY) as url:
        batches.warm_up(url)
        alone = one_call(f"{url}/v1")
        for size in tracked(options.sizes, "batches"):
            cases += _cases(size, url, alone)
    with serving(LATENCY_S, WIDE) as url:
        wide = _wide(url)
    figures = {
        "latency_s": LATENCY_S,
        "capacity": CAPACITY,
        "one_call_s": alone,
        "cases": cases,
        "wide": {"completions": WIDE // 3, "capacity": WIDE, **wide},
        "embedded": with_embedded_agent(),
    }
    return {**figures, "goals": list(_goals(figures))}


def one_call(url: str) -> float:
    """Seconds of a single question through our client."""
    client = batches.client_of(url, 1)

    def ask(number: int) -> float:
        question = Question("country", f"One call, number {number}.")
        return seconds(lambda: client.ask([question]))

    (taken,) = medians(5, ask)
    client.close()
    return taken


def _times(wanted: Sequence[Sequence[str]], size: int, url: str, concurrency: int) -> list[float]:
    """Seconds of each of these sets of rewards."""

    def time_of(names: Sequence[str]) -> Callable[[int], float]:
        def work(number: int) -> float:
            client = batches.client_of(f"{url}/v1", concurrency)
            taken = batches.ours(names, batches.completions(size, number), client)
            client.close()
            return taken

        return work

    return medians(ROUNDS, *(time_of(names) for names in wanted))


def _wide(url: str) -> dict[str, float]:
    """Seconds of `consistency` where the agent takes all questions at once: of a batch that has to
    open its connections, and of one that follows soon and finds them open."""
    clients = [batches.client_of(f"{url}/v1", WIDE) for _ in range(ROUNDS)]

    def work(number: int) -> float:
        batch = batches.completions(WIDE // 3, number)
        return batches.ours(["consistency"], batch, clients[number % ROUNDS])

    opening, kept = medians(ROUNDS, work, lambda number: work(number + ROUNDS))
    for client in clients:
        client.close()
    return {"opening_s": opening, "kept_s": kept}


def _cases(size: int, url: str, alone: float) -> Iterator[dict[str, Any]]:
    """A row for each reward and one for all of them."""
    names = weighted(RewardsConfig())
    *each, together = _times([*([name] for name in names), names], size, url, CAPACITY)
    theirs = batches.theirs(size, load_encoder(RewardsConfig().semantic.model), url)
    limits = {"consistency": math.ceil(3 * size / CAPACITY) * alone}
    for name, taken in zip(names, each, strict=True):
        yield _row(name, size, taken, theirs.get(name), limits.get(name))
    everything = {
        kind: sum(taken[kind] for taken in theirs.values())
        for kind in ("published", "without_pauses")
    }
    yield {**_row("all", size, together, everything, None), "over_slowest": together / max(each)}


def _row(
    name: str, size: int, taken: float, theirs: Mapping[str, float] | None, limit: float | None
) -> dict[str, Any]:
    kinds = ("published", "without_pauses")
    return {
        "reward": name,
        "completions": size,
        "seconds": taken,
        "limit_s": limit,
        "share_of_limit": limit / taken if limit else None,
        **{f"{kind}_s": theirs[kind] if theirs else None for kind in kinds},
        **{f"{kind}_ratio": theirs[kind] / taken if theirs else None for kind in kinds},
    }


def with_embedded_agent() -> dict[str, Any]:
    """Seconds a completion of the demo's agent, asked by us and as the released algorithm does."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rewards-")))
        agent = embedded.start(folder, stack, "demo", resolve(["recipe=demo"]), {})
        _warm(agent.client)
        (endpoint,) = read_endpoints(folder / "demo" / "agent")
        batch = batches.completions(batches.GROUP, 0)
        taken = batches.ours(["consistency"], batch, agent.client) / batches.GROUP
        settings = agent.config.agent
        released = PublishedConsistency(endpoint.url, True, endpoint.token, settings.max_tokens)
        texts, _ = batches.completions(FEW, 1000)
        theirs = seconds(lambda: released(texts)) / FEW
    return {
        "slots": settings.slots,
        "ours_s": taken,
        "published_s": theirs,
        "ratio": theirs / taken,
    }


def _warm(client: AgentClient) -> None:
    """Each slot reads once what all questions begin with."""
    client.ask([Question("country", f"Warming up, number {number}.") for number in range(8)])


def _goals(figures: Figures) -> Iterator[dict[str, Any]]:
    wide = figures["wide"]
    where = f"consistency, batch {wide['completions']}, capacity {WIDE}"
    for state in ("kept", "opening"):
        calls = wide[f"{state}_s"] / figures["one_call_s"]
        yield verdict(f"{where}, {_CONNECTIONS[state]}: calls of the agent", calls, 1.25, most=True)
    for case in figures["cases"]:
        where = f"{case['reward']}, batch {case['completions']}"
        if (case["reward"], case["completions"]) == ("consistency", 64):
            rounds = case["seconds"] / case["limit_s"]
            yield verdict(f"{where}: time over rounds × one call", rounds, 1.25, most=True)
            yield verdict(f"{where}: times the released algorithm", case["published_ratio"], 100)
            ratio = case["published_s"] / wide["opening_s"]
            yield verdict(f"{where}, capacity {WIDE}: times the released algorithm", ratio, 100)
        if case["reward"] == "all":
            yield verdict(f"{where}: over the slowest", case["over_slowest"], 1.1, most=True)


def show(figures: Figures, console: Console) -> None:
    """Print the figures."""
    heads = ("reward", "batch", "s", "limit s", "share", "published s", "ratio", "without pauses")
    rows = [
        (
            case["reward"],
            case["completions"],
            case["seconds"],
            case["limit_s"],
            percent(case["share_of_limit"]),
            case["published_s"],
            case["published_ratio"],
            case["without_pauses_ratio"],
        )
        for case in figures["cases"]
    ]
    console.print(table("Rewards of a batch", heads, rows))
    ours = figures["embedded"]
    console.print(
        f"one call: {1000 * figures['one_call_s']:.0f} ms; the embedded agent: "
        f"{ours['ours_s']:.2f} s a completion, {ours['published_s']:.2f} s as published",
        highlight=False,
    )
    show_goals(figures, console)


def draw(figures: Figures) -> Figure:
    """Seconds of the largest batch, ours, the limit and the released algorithm."""
    largest = max(case["completions"] for case in figures["cases"])
    cases = [case for case in figures["cases"] if case["completions"] == largest]
    series = {"ours": "seconds", "limit": "limit_s", "published": "published_s"}
    return bars(
        f"Rewards of {largest} completions, agent of {1000 * LATENCY_S:.0f} ms",
        "seconds",
        [case["reward"] for case in cases],
        {label: [case[key] for case in cases] for label, key in series.items()},
        logarithmic=True,
    )


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--sizes", type=numbers, default=[8, 64, 512], metavar="N,N", help="completions a batch"
    )


if __name__ == "__main__":
    sys.exit(run("rewards", __doc__, measure, show, draw, options=_options))
