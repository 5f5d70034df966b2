"""The stages of a run, in their order, and what they need of each other."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from geoagent.config import STAGES, Config, RewardsConfig
from geoagent.errors import UsageError, nearest
from geoagent.run import Run

TRAINING: Final = ("sft", "judge", "grpo")
"""Those that leave checkpoints."""
POLICY: Final = ("judge", "grpo")
"""Those that are trained by GRPO: on judging predictions (GRE's RL-I), and on places."""

_OF_NAMES: Final = ("geo_format", "spatial", "semantic", "directly_judge", "hierarchical")
"""Rewards that read an answer as names of places."""
_OF_POINTS: Final = ("coordinates",)
"""And as latitude and longitude."""


def check_stages(names: Sequence[str]) -> None:
    """UsageError unless these are stages, and at least one."""
    if not names:
        raise UsageError(f"no stage given; there are: {', '.join(STAGES)}")
    for name in names:
        if name not in STAGES:
            raise UsageError(f"unknown stage '{name}'; {nearest(name, STAGES)}")


def starts_from(config: Config, stage: str) -> str | None:
    """The stage whose checkpoint this one trains on or predicts with; None: the base model.

    judge_data predicts with the model that is then taught to judge its predictions.
    """
    starts = {
        "judge_data": config.judge.start_from,
        "judge": config.judge.start_from,
        "grpo": config.grpo.start_from,
    }
    start = starts.get(stage, "base")
    return None if start == "base" else start


def stands_on(config: Config, stage: str) -> list[str]:
    """The stages whose results this one reads, in their order; prepare, which all read, aside.

    An evaluation takes the models that there are.
    """
    start = starts_from(config, stage)
    made = ["judge_data"] if stage == "judge" and config.judge.path is None else []
    return [*([start] if start else []), *made]


def with_needed(
    config: Config, names: Collection[str], finished: Collection[str] = ()
) -> dict[str, str]:
    """These stages and all that they stand on and that has not finished, in their order: each with
    the stage that it was added for, or with itself."""
    found = {name: name for name in names}
    for stage in reversed(STAGES):  # a stage stands on earlier ones
        if stage in found and stage not in finished:
            for needed in stands_on(config, stage):
                if needed not in finished:
                    found.setdefault(needed, stage)
    return {stage: found[stage] for stage in STAGES if stage in found}


def rewards_of(config: Config, stage: str) -> RewardsConfig:
    """The rewards that a stage trains on or scores with; without weights if it computes none."""
    if stage == "judge":
        return replace(config.rewards, weights=config.judge.weights)
    scores = stage == "grpo" or (stage == "eval" and config.eval.rewards)
    return config.rewards if scores else replace(config.rewards, weights={})


def never_earned(config: Config) -> list[str]:
    """Rewards of `grpo` with a weight that no answer of the form `data.answer` can earn.

    What consistency looks at, the chain's conclusions, is in names either way.
    """
    foreign = _OF_NAMES if config.data.answer == "coordinates" else _OF_POINTS
    return [name for name in foreign if asks(config, "grpo", name)]


def asks(config: Config, stage: str, reward: str) -> bool:
    """Whether a stage computes a reward."""
    return rewards_of(config, stage).weights.get(reward, 0.0) > 0


def asks_agent(config: Config, stage: str) -> bool:
    """Whether a stage's rewards need the agent."""
    return asks(config, stage, "consistency")


def rows_of(config: Config, run: Run, stage: str) -> Path:
    """The rows that a training stage reads; absent if there is none that it can use.

    judge_data keeps those that it makes in its own folder: runs of a sweep share what prepare has
    written, and may have different ones of these.
    """
    if stage == "judge" and config.judge.path is None:
        return run.stage("judge_data") / "judge.jsonl"
    return run.dataset(stage)
