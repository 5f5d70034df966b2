"""The stages of a run, in their order, and what they need of each other."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from geoagent.config import Config
from geoagent.errors import UsageError, nearest

STAGES: Final = ("prepare", "sft", "grpo", "eval")
TRAINING: Final = ("sft", "grpo")


def check_stages(names: Sequence[str]) -> None:
    """UsageError unless these are stages, and at least one."""
    if not names:
        raise UsageError(f"no stage given; there are: {', '.join(STAGES)}")
    for name in names:
        if name not in STAGES:
            raise UsageError(f"unknown stage '{name}'; {nearest(name, STAGES)}")


def needs_sft(config: Config, names: Collection[str]) -> bool:
    """Whether one of these stages starts from an SFT checkpoint."""
    return "grpo" in names and config.grpo.start_from == "sft"


def asks_agent(config: Config, stage: str) -> bool:
    """Whether a stage's rewards need the agent."""
    if config.rewards.weights.get("consistency", 0.0) <= 0:
        return False
    return stage == "grpo" or (stage == "eval" and config.eval.rewards)
