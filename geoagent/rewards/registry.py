"""Name → reward: the one table that training, scoring and sweeps use."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from geoagent.config import REWARD_NAMES, RewardsConfig
from geoagent.errors import UsageError
from geoagent.rewards.base import Reward, Score

if TYPE_CHECKING:
    from geoagent.rewards.consistency import Agent


def weighted(config: RewardsConfig) -> list[str]:
    """Names of the rewards whose weight is not 0, in the order of the configuration."""
    return [name for name, weight in config.weights.items() if weight > 0]


def build(
    config: RewardsConfig, names: Iterable[str] | None = None, *, agent: Agent | None = None
) -> dict[str, Reward]:
    """The rewards of these names (those with a weight, if none are given).

    `consistency` needs an agent. UsageError for a name that does not exist.
    """
    return {name: _make(name, config, agent) for name in (names or weighted(config))}


def _make(name: str, config: RewardsConfig, agent: Agent | None) -> Reward:
    from geoagent.rewards import coordinates, formats, names, semantic, spatial

    published = config.parity == "published"
    if name == "consistency":
        from geoagent.rewards.consistency import Consistency

        if agent is None:
            raise UsageError("reward consistency: needs an agent; name a run that has one")
        return Consistency(config.consistency, agent, published)
    makers = {
        "format": formats.Format,
        "geo_format": formats.GeoFormat,
        "spatial": lambda: spatial.Spatial(config.spatial),
        "semantic": lambda: semantic.Semantic(config.semantic),
        "directly_judge": lambda: names.DirectlyJudge(config.semantic.weights, published),
        "hierarchical": lambda: names.Hierarchical(config.hierarchical_beta),
        "coordinates": lambda: coordinates.Coordinates(config.coordinates_theta_km),
        "judge": names.Judge,
    }
    if name not in makers:
        near = difflib.get_close_matches(name, REWARD_NAMES, n=1, cutoff=0.4)
        hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(REWARD_NAMES)}"
        raise UsageError(f"unknown reward '{name}'; {hint}")
    return makers[name]()


def total(scores: Mapping[str, Sequence[Score]], weights: Mapping[str, float]) -> list[float]:
    """Weighted sum of the rewards of each completion."""
    columns = [[weights[name] * score.value for score in column] for name, column in scores.items()]
    return [sum(values) for values in zip(*columns, strict=True)]
