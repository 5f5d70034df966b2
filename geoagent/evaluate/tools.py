"""Predictions of models that may zoom and search (`rollout.eval`)."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any, Final

from geoagent.errors import UsageError
from geoagent.rollout.environment import Episode, depends_on, opening, play_together
from geoagent.rollout.search import FILES, states
from geoagent.rollout.zoom import ImageError

if TYPE_CHECKING:
    from geoagent.config import RolloutConfig
    from geoagent.evaluate.predict import Predictor
    from geoagent.rollout.search import SearchProvider

_COUNTED: Final = ("turns", "crops", "searches")


def play_batch(
    predictor: Predictor,
    images: Sequence[Path],
    limits: RolloutConfig,
    search: SearchProvider,
    max_new_tokens: int,
    *,
    temperature: float = 0.0,
    top_p: float = 1.0,
    seed: int = 0,
) -> list[Episode]:
    """An episode an image, in order, each played to its end; greedy at temperature 0.

    Equal arguments give equal episodes if searches find the same: every turn of the batch has a
    seed of its own. SearchUnavailable if the search service is away, UsageError if an image cannot
    be read or a turn does not fit into memory; nothing of the batch then counts.
    """

    def complete(live: Sequence[Episode]) -> list[str]:
        return predictor.reply(
            [(episode.messages, episode.images) for episode in live],
            max_new_tokens,
            temperature=temperature,
            top_p=top_p,
            seed=zlib.crc32(f"{seed}/{len(live[0].turns)}".encode()),
        )

    try:
        episodes = [Episode(image, limits, search) for image in images]
        play_together(episodes, complete)
    except ImageError as error:
        raise UsageError(str(error)) from error
    return episodes


def columns(trace: Mapping[str, Any]) -> dict[str, Any]:
    """What a prediction row has of its episode, from `Episode.trace`."""
    used = {"turns": len(trace["turns"]), "crops": trace["crops"], "searches": trace["searches"]}
    return {"ended": trace["why"], **used, "trace": trace}


def tool_use(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Means of turns, crops and searches an image, and the share that ended with an answer; empty
    where rows were not predicted with tools."""
    if not rows or any("trace" not in row for row in rows):
        return {}
    means = {name: fmean(row[name] for row in rows) for name in _COUNTED}
    return {**means, "answered": fmean(row["ended"] == "answer" for row in rows)}


def made_with(rollout: RolloutConfig) -> dict[str, Any]:
    """All that an episode depends on, beside the model's settings; files as they are now."""
    settings = {name: it for name, it in depends_on(rollout).items() if name not in FILES}
    return {**settings, "opening": opening((0, 0)), **states(rollout.search)}
