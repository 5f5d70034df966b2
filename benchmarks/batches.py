"""Batches as GRPO makes them, and how long our rewards and the released algorithm take for one.

Groups of 8 completions of one picture, whose answers are 3 cities of its country, while no two
reasonings are alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from harness import seconds
from published import Consistency as PublishedConsistency
from published import Semantic as PublishedSemantic
from published import Spatial as PublishedSpatial

from geoagent.agent.client import AgentClient
from geoagent.agent.endpoint import Endpoint
from geoagent.answer import _parse, parse
from geoagent.config import AgentConfig, RewardsConfig
from geoagent.data.cot import chain_of_thought
from geoagent.data.places import City, Country, countries
from geoagent.geo.geocoder import _find
from geoagent.geo.regions import _entry, _same
from geoagent.rewards.base import truth_parts
from geoagent.rewards.registry import build, score_all

GROUP: Final = 8
TIMED: Final = 64
"""Completions that the released algorithm is timed on; it takes one after the other."""

Batch = tuple[list[str], dict[str, list[Any]]]


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


def names(batch: Batch) -> list[str]:
    """All names of a batch's answers and truths, each once."""
    texts, columns = batch
    answers = (parse(text).parts for text in texts)
    truths = (truth_parts(text) for text in columns["solution"])
    return sorted({name for parts in (*answers, *truths) for name in parts})


def settings(concurrency: int) -> AgentConfig:
    """Of a client that has so many questions under way."""
    return AgentConfig(concurrency=concurrency)


def client_of(
    urls: str | Iterable[str], concurrency: int, token: str = "", model: str = "stub"
) -> AgentClient:
    """A client of these servers that has asked its first question already."""
    endpoints = [Endpoint(url, model, token) for url in ([urls] if isinstance(urls, str) else urls)]
    client = AgentClient(settings(concurrency), endpoints=endpoints)
    client.check()
    return client


def ours(wanted: Sequence[str], batch: Batch, agent: AgentClient) -> float:
    """Seconds of these rewards for a batch that is new to all that remembers, but for what a
    process keeps for its lifetime: the encoder and the gazetteer."""
    rewards = build(RewardsConfig(), wanted, agent=agent)
    for remembers in (_parse, _same, _entry, _find):
        remembers.cache_clear()
    texts, columns = batch
    return seconds(lambda: score_all(rewards, texts, **columns))


def warm_up(url: str) -> None:
    """What a process does once: load the encoder, open the gazetteer, import what HTTP needs."""
    texts, columns = completions(GROUP, 0)
    client = client_of(f"{url}/v1", GROUP)
    score_all(build(RewardsConfig(), agent=client), texts, **columns)
    client.close()


def theirs(size: int, encode: Callable[[list[str]], Any], url: str) -> dict[str, dict[str, float]]:
    """Seconds of the released algorithm by reward, with its pauses (`published`) and without."""
    timed = min(size, TIMED)
    texts, columns = completions(timed, 0)
    works: dict[str, dict[str, Callable[[], Any]]] = {
        "semantic": {"published": lambda: PublishedSemantic(encode)(texts, **columns)},
        "spatial": {"published": lambda: PublishedSpatial(url)(texts, **columns)},
        "consistency": {
            "published": lambda: PublishedConsistency(f"{url}/v1", pauses=True)(texts),
            "without_pauses": lambda: PublishedConsistency(f"{url}/v1", pauses=False)(texts),
        },
    }
    found: dict[str, dict[str, float]] = {}
    for name, kinds in works.items():
        taken = {kind: seconds(work) * size / timed for kind, work in kinds.items()}
        found[name] = {"without_pauses": taken["published"], **taken}
    return found
