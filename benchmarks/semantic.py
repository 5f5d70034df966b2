"""How near the semantic reward comes to its embedding model: `make bench-semantic`.

The limit is one call of the model with all names of the batch, each once. The released algorithm
calls it for the two names of each pair (benchmarks/published.py); it is timed on 16 completions,
and larger batches are counted from that. Each of the three has its turn in each round, in a thread
of its own as in training; figures are medians of three.
"""

from __future__ import annotations

import argparse
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

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
from published import Semantic as PublishedSemantic
from rich.console import Console

from geoagent.agent.client import AgentClient
from geoagent.config import AgentConfig, RewardsConfig
from geoagent.progress import tracked
from geoagent.rewards.embedding import load_encoder

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ROUNDS: Final = 3
PAIRS: Final = 16
"""Completions whose names are embedded pair by pair."""


def measure(options: argparse.Namespace) -> Figures:
    """All figures, as JSON."""
    cases = [_case(size) for size in tracked(options.sizes, "batches")]
    largest = cases[-1]
    where = f"batch {largest['completions']}"
    return {
        "cases": cases,
        "goals": [
            verdict(f"semantic, {where}: share of the limit", largest["share_of_limit"], 0.9),
            verdict(f"semantic, {where}: times pairwise", largest["pairwise_ratio"], 20),
        ],
    }


def _case(size: int) -> dict[str, Any]:
    encode = load_encoder(RewardsConfig().semantic.model)
    unused = AgentClient(AgentConfig())

    def ours(number: int) -> float:
        return batches.ours(["semantic"], batches.completions(size, number), unused)

    def limit(number: int) -> float:
        names = batches.names(batches.completions(size, number))
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(lambda: seconds(lambda: encode(names))).result()

    def pairwise(number: int) -> float:
        texts, columns = batches.completions(min(size, PAIRS), number)
        reward = PublishedSemantic(encode)
        with ThreadPoolExecutor(1) as thread:
            taken = thread.submit(lambda: seconds(lambda: reward(texts, **columns))).result()
        return taken * size / len(texts)

    for once in (limit, ours):  # what a process loads once
        once(ROUNDS)
    taken, least, pairs = medians(ROUNDS, ours, limit, pairwise)
    distinct = len(batches.names(batches.completions(size, 0)))
    return {
        "completions": size,
        "strings": 6 * size,
        "distinct": distinct,
        "seconds": taken,
        "limit_s": least,
        "pairwise_s": pairs,
        "share_of_limit": least / taken,
        "pairwise_ratio": pairs / taken,
        "strings_per_s": 6 * size / taken,
    }


def show(figures: Figures, console: Console) -> None:
    """Print the figures."""
    keys = ("completions", "strings", "distinct", "seconds", "limit_s")
    rows = [
        (
            *(case[key] for key in keys),
            percent(case["share_of_limit"]),
            case["pairwise_s"],
            case["pairwise_ratio"],
            case["strings_per_s"],
        )
        for case in figures["cases"]
    ]
    heads = (
        "batch",
        "names",
        "distinct",
        "s",
        "limit s",
        "share",
        "pairwise s",
        "ratio",
        "names/s",
    )
    console.print(table("The semantic reward", heads, rows, texts=0))
    show_goals(figures, console)


def draw(figures: Figures) -> Figure:
    """Seconds by batch size."""
    series = {"ours": "seconds", "limit": "limit_s", "pairwise": "pairwise_s"}
    cases = figures["cases"]
    return bars(
        "The semantic reward and its embedding model",
        "seconds",
        [f"{case['completions']} completions" for case in cases],
        {label: [case[key] for case in cases] for label, key in series.items()},
        logarithmic=True,
    )


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--sizes", type=numbers, default=[8, 64, 512], metavar="N,N", help="completions a batch"
    )


if __name__ == "__main__":
    sys.exit(run("semantic", __doc__, measure, show, draw, options=_options))
