"""Name → reward: the one table that training, scoring and sweeps use."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, wait
from typing import TYPE_CHECKING, Any, cast

from geoagent.config import RewardsConfig, check_weights
from geoagent.errors import UsageError, nearest
from geoagent.geo.services import locator
from geoagent.rewards.base import Reward, Score
from geoagent.rewards.consistency import Consistency
from geoagent.rewards.coordinates import Coordinates
from geoagent.rewards.directly_judge import DirectlyJudge
from geoagent.rewards.format import Format
from geoagent.rewards.geo_format import GeoFormat
from geoagent.rewards.hierarchical import Hierarchical
from geoagent.rewards.judge import Judge
from geoagent.rewards.semantic import Semantic
from geoagent.rewards.spatial import Spatial

if TYPE_CHECKING:
    from geoagent.rewards.consistency import Agent


def weighted(config: RewardsConfig) -> list[str]:
    """Names of the rewards whose weight is not 0, in the order of the configuration.

    UsageError names the key of a weight that is unknown, negative or not finite.
    """
    check_weights(config.weights)
    return [name for name, weight in config.weights.items() if weight > 0]


def build(
    config: RewardsConfig, names: Iterable[str] | None = None, *, agent: Agent | None = None
) -> dict[str, Reward]:
    """The rewards of these names (those with a weight, if none are given).

    `consistency` needs an agent. UsageError for a name that does not exist.
    """
    wanted = weighted(config) if names is None else names
    return {name: _make(name, config, agent) for name in wanted}


def _make(name: str, config: RewardsConfig, agent: Agent | None) -> Reward:
    if name == "consistency" and agent is None:
        raise UsageError("reward consistency: needs an agent; name a run that has one")
    published = config.parity == "published"
    makers: dict[str, Callable[[], Reward]] = {
        "format": lambda: Format(published),
        "geo_format": lambda: GeoFormat(published),
        "spatial": lambda: Spatial(config.spatial, published, locator(config.geocoder)),
        "semantic": lambda: Semantic(config.semantic, published=published),
        "consistency": lambda: Consistency(config.consistency, cast("Agent", agent), published),
        "directly_judge": lambda: DirectlyJudge(config.semantic.weights, published),
        "hierarchical": lambda: Hierarchical(config.hierarchical_beta),
        "coordinates": lambda: Coordinates(config.coordinates_theta_km),
        "judge": Judge,
    }
    if name not in makers:
        raise UsageError(f"unknown reward '{name}'; {nearest(name, makers, cutoff=0.4)}")
    return makers[name]()


def score_all(
    rewards: Mapping[str, Reward], completions: Sequence[str], **columns: Any
) -> dict[str, list[Score]]:
    """Scores of a batch by reward, all rewards at the same time: those that wait for a service, or
    compute outside of Python, leave the others room. It takes as long as the slowest of them.

    Raises what a reward raises (OutageError, UsageError), when all have ended.
    """
    begun = {name: begin(reward, completions, **columns) for name, reward in rewards.items()}
    wait(begun.values())
    return {name: future.result() for name, future in begun.items()}


def begin(reward: Reward, completions: Sequence[str], **columns: Any) -> Future[list[Score]]:
    """Score a batch in a thread of its own. It keeps nobody from ending the process, though it may
    wait minutes for an agent that is away; a pool's threads would."""
    future: Future[list[Score]] = Future()

    def work() -> None:
        try:
            future.set_result(reward.score(completions, **columns))
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=work, daemon=True, name=f"reward {reward.name}").start()
    return future


def total(scores: Mapping[str, Sequence[Score]], weights: Mapping[str, float]) -> list[float]:
    """Weighted sum of the rewards of each completion."""
    columns = [[weights[name] * score.value for score in column] for name, column in scores.items()]
    return [sum(values) for values in zip(*columns, strict=True)]
