"""How long a batch's rewards take, beside the released algorithm: `make bench-rewards`.

Batches as GRPO makes them: groups of 8 completions of one picture, whose answers are 3 cities of
its country, while no two reasonings are alike. The agent and an online geocoder are stand-ins on
loopback that take 200 ms for each request and 64 at a time (benchmarks/stub.py); the embedding
model and the offline geocoder are the real ones. The released algorithm is benchmarks/published.py.
It takes one completion after the other, so it is timed on 64 at most, and larger batches are
counted from that. Nothing is remembered from batch to batch; each figure is the median of three,
of the released algorithm's consistency and geocoding a single run.

The limit of `consistency` is the agent's: rounds × one call, where rounds is the number of
questions over the agent's capacity. That of `semantic` is one call of the embedding model with all
names of the batch, each once.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from published import Consistency as PublishedConsistency
from published import Semantic as PublishedSemantic
from published import Spatial as PublishedSpatial
from rich.console import Console
from rich.table import Table
from stub import serving

from geoagent.agent.client import AgentClient
from geoagent.agent.endpoint import Endpoint
from geoagent.agent.prompt import HEALTH, Question
from geoagent.answer import parse, split_parts
from geoagent.config import AgentConfig, RewardsConfig
from geoagent.data.cot import chain_of_thought
from geoagent.data.places import City, Country, countries
from geoagent.errors import exit_code
from geoagent.files import write_json
from geoagent.geo.geocoder import geocode
from geoagent.geo.regions import same_place
from geoagent.progress import tracked
from geoagent.rewards.base import Reward
from geoagent.rewards.embedding import load_encoder
from geoagent.rewards.registry import build, score_all

SIZES: Final = (8, 64, 512)
LATENCY_S: Final = 0.2
CAPACITY: Final = 64
GROUP: Final = 8
ROUNDS: Final = 3
TIMED: Final = 64
"""Completions that the released algorithm is timed on."""

Batch = tuple[list[str], dict[str, list[Any]]]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="8,64,512", metavar="N,N", help="completions a batch")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here as well")
    options = parser.parse_args(arguments)

    def program() -> int:
        figures = measure([int(size) for size in options.sizes.split(",")])
        if options.json:
            write_json(options.json, figures)
        show(figures)
        return 0

    return exit_code(program)


def measure(sizes: Sequence[int]) -> dict[str, Any]:
    """All figures, as JSON."""
    settings = RewardsConfig()
    encode = load_encoder(settings.semantic.model)
    encode(["warm up"] * 64)
    geocode("France; Ile-de-France; Paris")
    with serving(LATENCY_S, CAPACITY) as url:
        cases = [
            case
            for size in tracked(sizes, "batches")
            for case in _batch(size, settings, encode, url)
        ]
        alone = _one_call(url)
    return {
        "cores": len(os.sched_getaffinity(0)),
        "latency_s": LATENCY_S,
        "capacity": CAPACITY,
        "one_call_s": alone,
        "cases": cases,
    }


def completions(size: int, seed: int) -> Batch:
    """A batch and the columns of its truth."""
    texts: list[str] = []
    columns: dict[str, list[Any]] = {name: [] for name in ("solution", "latitude", "longitude")}
    lands = countries()
    for number in range(size):
        picture = number // GROUP + seed
        country = lands[picture % len(lands)]
        true = country.cities[picture // len(lands) % len(country.cities)]
        said = country.cities[number % min(3, len(country.cities))]
        texts.append(_completion(country, said, f"{seed}/{number}"))
        columns["solution"].append(f"<answer>{_address(country, true)}</answer>")
        columns["latitude"].append(true.latitude)
        columns["longitude"].append(true.longitude)
    return texts, columns


def _completion(country: Country, city: City, mark: str) -> str:
    """What a model could have written; `mark` makes each of its reasonings one of its kind."""
    chain = chain_of_thought(country, city).replace('"Reasoning": "', f'"Reasoning": "({mark}) ')
    return f"<think>{chain}</think><answer>{_address(country, city)}</answer>"


def _address(country: Country, city: City) -> str:
    return f"{country.name}; {city.region}; {city.name}"


def _batch(
    size: int, settings: RewardsConfig, encode: Any, url: str
) -> Iterator[dict[str, Any]]:
    """A row for each reward and one for all of them."""
    ours: dict[str, float] = {}
    limits = {"consistency": _agent_limit(size, url), "semantic": _names_limit(size, encode)}
    names = [name for name in settings.weights if settings.weights[name]]
    for name in names:
        ours[name] = _median(lambda seed, name=name: _ours([name], size, seed, settings, url))
    together = _median(lambda seed: _ours(names, size, seed, settings, url))
    theirs = _published(size, encode, url)
    for name in names:
        yield _row(name, size, ours[name], theirs.get(name), limits.get(name))
    everything = {
        kind: sum(times[kind] for times in theirs.values()) for kind in ("pauses", "without")
    }
    yield {
        **_row("all", size, together, everything, None),
        "over_slowest": together / max(ours.values()),
    }


def _ours(
    names: Sequence[str], size: int, seed: int, settings: RewardsConfig, url: str
) -> float:
    """Seconds of a batch that is new to everything that remembers, but for what a process keeps for
    its lifetime: the encoder and the gazetteer."""
    client = AgentClient(AgentConfig(), endpoints=[Endpoint(f"{url}/v1", "stub", "token")])
    client.check()
    rewards = build(settings, names, agent=client)
    warm_texts, warm_columns = completions(GROUP, 10_000 + seed)
    score_all({n: r for n, r in rewards.items() if n != "consistency"}, warm_texts, **warm_columns)
    _forget(rewards)
    texts, columns = completions(size, seed)
    started = time.perf_counter()
    score_all(rewards, texts, **columns)
    took = time.perf_counter() - started
    client.close()
    return took


def _forget(rewards: Mapping[str, Reward]) -> None:
    """As in a process that has just begun."""
    for remembers in (parse, same_place):
        getattr(remembers, "cache_clear", lambda: None)()
    semantic = rewards.get("semantic")
    if semantic is not None:
        semantic._vectors.clear()  # type: ignore[attr-defined]


def _published(size: int, encode: Any, url: str) -> dict[str, dict[str, float]]:
    """Seconds of the released algorithm by reward, with its pauses and without."""
    timed = min(size, TIMED)
    scale = size / timed
    texts, columns = completions(timed, 0)
    found: dict[str, dict[str, float]] = {}
    semantic = _seconds(lambda: PublishedSemantic(encode)(texts, **columns))
    found["semantic"] = dict.fromkeys(("pauses", "without"), semantic * scale)
    spatial = _seconds(lambda: PublishedSpatial(url)(texts, **columns))
    found["spatial"] = dict.fromkeys(("pauses", "without"), spatial * scale)
    found["consistency"] = {
        kind: _seconds(lambda pauses=pauses: PublishedConsistency(url, pauses)(texts)) * scale
        for kind, pauses in (("pauses", True), ("without", False))
    }
    return found


def _agent_limit(size: int, url: str) -> float:
    """Rounds × one call."""
    return math.ceil(3 * size / CAPACITY) * _one_call(url)


def _one_call(url: str) -> float:
    """Seconds of a single question through our client."""
    client = AgentClient(AgentConfig(), endpoints=[Endpoint(f"{url}/v1", "stub", "token")])
    client.check()
    times = [
        _seconds(lambda n=n: client.ask([Question("country", f"{HEALTH.reasoning} {n}")]))
        for n in range(5)
    ]
    client.close()
    return statistics.median(times)


def _names_limit(size: int, encode: Any) -> float:
    """All names of a batch, each once, in one call."""
    texts, columns = completions(size, 0)
    names = {
        name
        for answer in (*(parse(text).answer or "" for text in texts), *columns["solution"])
        for name in split_parts(answer.removeprefix("<answer>").removesuffix("</answer>"))
    }
    return _median(lambda seed: _seconds(lambda: encode(sorted(names))))


def _median(seconds: Callable[[int], float]) -> float:
    return statistics.median(seconds(seed) for seed in range(ROUNDS))


def _seconds(work: Callable[[], Any]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _row(
    name: str,
    size: int,
    ours: float,
    theirs: Mapping[str, float] | None,
    limit: float | None,
) -> dict[str, Any]:
    return {
        "reward": name,
        "completions": size,
        "seconds": ours,
        "limit_s": limit,
        "share_of_limit": limit / ours if limit else None,
        "published_s": theirs["pauses"] if theirs else None,
        "published_without_pauses_s": theirs["without"] if theirs else None,
        "times_faster": theirs["pauses"] / ours if theirs else None,
        "times_faster_without_pauses": theirs["without"] / ours if theirs else None,
    }


def show(figures: dict[str, Any]) -> None:
    """Print the figures on standard output."""
    table = Table(title="Rewards of a batch", title_justify="left")
    heads = ("reward", "batch", "s", "limit s", "share", "published s", "ratio", "no pauses")
    for head in heads:
        table.add_column(head, justify="left" if head == "reward" else "right")
    for case in figures["cases"]:
        share, ratio = case["share_of_limit"], case["times_faster"]
        plain = case["times_faster_without_pauses"]
        table.add_row(
            case["reward"],
            str(case["completions"]),
            f"{case['seconds']:.4f}",
            f"{case['limit_s']:.3f}" if case["limit_s"] else "",
            f"{100 * share:.0f} %" if share else "",
            f"{case['published_s']:.2f}" if ratio else "",
            f"{ratio:.0f}" if ratio else "",
            f"{plain:.0f}" if plain else "",
        )
    console = Console(width=max(Console().width, 100))
    console.print(table)
    for case in figures["cases"]:
        if "over_slowest" in case:
            console.print(
                f"batch {case['completions']}: all rewards take {case['over_slowest']:.2f} × the "
                "slowest of them"
            )
    console.print(f"one call of the agent: {1000 * figures['one_call_s']:.0f} ms")


if __name__ == "__main__":
    sys.exit(main())
