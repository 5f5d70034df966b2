"""How many replicas the agent needs: a small simulation, checked against measurements:
`make bench-queueing`.

In each step every rank puts three questions a completion to the agent at once, but has at most
`concurrency` under way. A question goes to the replica with the fewest under way from this rank;
a replica answers so many at a time, the others wait in turn. The step's rewards are there when the
slowest rank has all replies (the ranks meet in a collective).

The check does the same on loopback: a process for each rank with our client, a stand-in for each
replica (benchmarks/stub.py) with fixed and with exponential times. The plan for 64 nodes is the
simulation's; its service time and slots are to be measured on the agent that will be used.
"""

from __future__ import annotations

import argparse
import heapq
import random
import statistics
import subprocess
import sys
from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import batches
from client import questions
from harness import Figures, medians, run, seconds, show_goals, table, verdict
from rich.console import Console
from stub import serving

from geoagent.figures.style import SERIES, new_figure
from geoagent.progress import tracked

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STAGES: Final = 3
CONCURRENCY: Final = 64
SERVICE_S: Final = 0.5
SLOTS: Final = 16
CHECKS: Final = ((1, 16, 1, "fixed"), (2, 16, 1, "fixed"), (2, 16, 2, "exponential"))
"""Ranks, completions of each, replicas, times: what two cores can drive."""
RANKS: Final = 64 * 8
COMPLETIONS: Final = (8, 16, 32)
REPLICAS: Final = (4, 16, 32, 64, 128)
ROUNDS: Final = 3


@dataclass(frozen=True)
class Setting:
    """One step's rewards."""

    ranks: int
    completions: int
    """Of each rank."""
    replicas: int
    slots: int
    service_s: float
    times: str = "fixed"
    concurrency: int = CONCURRENCY


@dataclass
class _Replica:
    busy: int = 0
    waiting: deque[int] = field(default_factory=deque)


def simulate(setting: Setting, seed: int = 0) -> float:
    """Seconds until the slowest rank has all replies."""
    draw = random.Random(seed)
    replicas = [_Replica() for _ in range(setting.replicas)]
    left = [STAGES * setting.completions] * setting.ranks
    under_way = [[0] * setting.replicas for _ in range(setting.ranks)]
    events: list[tuple[float, int, int]] = []  # when a reply comes, whose, from which replica
    now = 0.0

    def serve(rank: int, number: int) -> None:
        exponential = setting.times == "exponential"
        taken = draw.expovariate(1 / setting.service_s) if exponential else setting.service_s
        replicas[number].busy += 1
        heapq.heappush(events, (now + taken, rank, number))

    def send(rank: int) -> None:
        # Where several have as few, ranks begin at different ones, as our client does at random.
        loads = under_way[rank]
        number = min(range(len(loads)), key=lambda k: (loads[k], (k - rank) % len(loads)))
        left[rank] -= 1
        loads[number] += 1
        if replicas[number].busy < setting.slots:
            serve(rank, number)
        else:
            replicas[number].waiting.append(rank)

    for _ in range(min(setting.concurrency, STAGES * setting.completions)):
        for rank in range(setting.ranks):
            send(rank)
    while events:
        now, rank, number = heapq.heappop(events)
        replicas[number].busy -= 1
        under_way[rank][number] -= 1
        if replicas[number].waiting:
            serve(replicas[number].waiting.popleft(), number)
        if left[rank]:
            send(rank)
    return now


def limit(setting: Setting) -> float:
    """Rounds × one call, as if all slots were one server's: no step is faster with fixed times."""
    asked = setting.ranks * STAGES * setting.completions
    return -(-asked // (setting.replicas * setting.slots)) * setting.service_s


def observed(setting: Setting) -> float:
    """The same with processes and stand-ins on loopback."""
    with ExitStack() as stack:
        urls = [
            stack.enter_context(serving(setting.service_s, setting.slots, setting.times))
            for _ in range(setting.replicas)
        ]
        count = str(STAGES * setting.completions)
        words = [sys.executable, __file__, "--as-rank", ",".join(urls), "--questions", count]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        ranks: list[Any] = [
            stack.enter_context(subprocess.Popen(words, text=True, **pipes))  # type: ignore[call-overload]
            for _ in range(setting.ranks)
        ]
        for rank in ranks:  # each says when it is ready, and begins when it is told to
            rank.stdout.readline()
        for rank in ranks:
            rank.stdin.write("go\n")
            rank.stdin.flush()
        return max(float(rank.stdout.readline()) for rank in ranks)


def as_rank(urls: Sequence[str], count: int) -> None:
    """One rank of the check: says when it is ready, and how long its questions took."""
    client = batches.client_of([f"{url}/v1" for url in urls], CONCURRENCY)
    client.ask(questions(CONCURRENCY, "warm"))
    print("ready", flush=True)
    sys.stdin.readline()
    print(seconds(lambda: client.ask(questions(count, "rank"))), flush=True)
    client.close()


def measure(options: argparse.Namespace) -> Figures:
    """All figures, as JSON."""
    checks = [_check(Setting(r, c, n, SLOTS, SERVICE_S, t)) for r, c, n, t in tracked(CHECKS, "")]
    plan = [
        _planned(completions, replicas)
        for completions in tracked(COMPLETIONS, "simulating")
        for replicas in REPLICAS
    ]
    goals = [
        verdict(f"measured over simulated, {check['what']}", check["ratio"], 1.25, most=True)
        for check in checks
    ]
    return {
        "service_s": SERVICE_S,
        "slots": SLOTS,
        "ranks": RANKS,
        "checks": checks,
        "plan": plan,
        "goals": goals,
    }


def _check(setting: Setting) -> dict[str, Any]:
    simulated = statistics.median(simulate(setting, seed) for seed in range(15))
    (taken,) = medians(ROUNDS, lambda number: observed(setting))
    what = (
        f"{setting.ranks} × {setting.completions} completions, {setting.replicas} replicas, "
        f"{setting.times}"
    )
    return {"what": what, "simulated_s": simulated, "measured_s": taken, "ratio": taken / simulated}


def _planned(completions: int, replicas: int) -> dict[str, Any]:
    setting = Setting(RANKS, completions, replicas, SLOTS, SERVICE_S, "exponential")
    return {
        "completions": completions,
        "replicas": replicas,
        "seconds": simulate(setting),
        "limit_s": limit(setting),
    }


def show(figures: Figures, console: Console) -> None:
    """Print the figures."""
    keys = ("what", "simulated_s", "measured_s", "ratio")
    rows = [[check[key] for key in keys] for check in figures["checks"]]
    heads = ("ranks and agent", "simulated s", "measured s", "ratio")
    console.print(table("The simulation, checked", heads, rows))
    keys = ("completions", "replicas", "seconds", "limit_s")
    plan = [[row[key] for key in keys] for row in figures["plan"]]
    title = f"{RANKS} ranks; replicas of {SLOTS} slots, {SERVICE_S:g} s a question on average"
    heads = ("completions a rank", "replicas", "simulated s", "rounds × one call s")
    console.print(table(title, heads, plan, texts=0))
    show_goals(figures, console)


def draw(figures: Figures) -> Figure:
    """Seconds of a step's rewards by the number of replicas."""
    figure = new_figure()
    axes = figure.subplots()
    for index, completions in enumerate(COMPLETIONS):
        rows = [row for row in figures["plan"] if row["completions"] == completions]
        replicas = [row["replicas"] for row in rows]
        label = f"{completions} completions a rank"
        axes.plot(
            replicas, [row["seconds"] for row in rows], "o-", color=SERIES[index], label=label
        )
        axes.plot(replicas, [row["limit_s"] for row in rows], ":", color=SERIES[index])
    axes.set(xscale="log", yscale="log", xlabel="replicas", ylabel="seconds of a step's rewards")
    axes.set_title(f"{RANKS} ranks (dotted: rounds × one call)", loc="left")
    axes.legend()
    return figure


def _rank(arguments: list[str]) -> None:
    """The part of a process that `observed` starts."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--as-rank", required=True)
    parser.add_argument("--questions", type=int, required=True)
    options = parser.parse_args(arguments)
    as_rank(options.as_rank.split(","), options.questions)


if __name__ == "__main__":
    if "--as-rank" in sys.argv:
        _rank(sys.argv[1:])
    else:
        sys.exit(run("queueing", __doc__, measure, show, draw))
