"""What a stage's result depends on, as a hash: two stages with the same key are the same work.

Whatever is not said here to change nothing counts, so that a new key of the configuration can
make a stage run once too often, but never pass for another.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any, Final

from geoagent.config import Config
from geoagent.stages import STAGES, TRAINING, asks_agent, needs_sft
from geoagent.vary import value_of

FORMAT: Final = 1
"""Of what is hashed; another number makes all keys new."""
_SHORT: Final = 8

# fmt: off
IGNORED: Final = frozenset((
    # where and under which name it runs
    "name", "runs_dir", "cluster", "container",
    # a dataset that is read to its end gives the same rows
    "data.strict",
    # what is written on the way, and how much memory and time it takes
    "sft.save_steps", "sft.keep_checkpoints", "sft.logging_steps", "sft.gradient_checkpointing",
    "grpo.save_steps", "grpo.keep_checkpoints", "grpo.logging_steps", "grpo.log_completions",
    "grpo.gradient_checkpointing", "grpo.vllm_memory", "eval.batch_size",
    # whether a training ends early, not what it is until then
    "grpo.stop_early",
    # how a geocoder or an agent is reached, not what it answers
    "rewards.geocoder.key_file", "rewards.geocoder.cache", "rewards.geocoder.user_agent",
    "rewards.geocoder.min_delay_seconds",
    "agent.url", "agent.token_variable", "agent.replicas", "agent.slots", "agent.threads",
    "agent.request_timeout_s", "agent.retries", "agent.patience_s", "agent.start_timeout_s",
    "agent.concurrency",
))
# fmt: on
"""Keys, and groups of keys, that change no result."""

_SECTIONS: Final = frozenset(("sft", "grpo", "rewards", "agent", "eval"))
"""Groups that only the stages below look at; all others count from `prepare` on."""
_LATER: Final = frozenset(("model.dtype", "model.max_pixels"))
"""Keys of the other groups that count after `prepare`."""
_ONLY_FOR: Final[Mapping[str, frozenset[str]]] = {
    "spatial": frozenset(("spatial",)),
    "geocoder": frozenset(("spatial",)),
    "semantic": frozenset(("semantic", "directly_judge")),  # both weigh levels by its weights
    "semantic.model": frozenset(("semantic",)),
    "semantic.region_gate": frozenset(("semantic",)),
    "semantic.precise_gate": frozenset(("semantic",)),
    "consistency": frozenset(("consistency",)),
    "hierarchical_beta": frozenset(("hierarchical",)),
    "coordinates_theta_km": frozenset(("coordinates",)),
}
"""Keys of `rewards` that matter only if one of these rewards has a weight."""


def stage_keys(config: Config, stages: Sequence[str]) -> dict[str, str]:
    """By stage, in order: the hash (SHA-256, 64 hexadecimal digits) of all that its result
    depends on, which is its own settings and the key of the stage that it stands on.

    `prepare` is always among them, and `sft` if GRPO starts from its checkpoint.
    """
    wanted = {"prepare", *stages} | ({"sft"} if needs_sft(config, stages) else set())
    keys: dict[str, str] = {}
    for stage in STAGES:
        if stage in wanted:
            below = _stands_on(config, stage, wanted)
            document = {
                "format": FORMAT,
                "stage": stage,
                "on": keys[below] if below else None,
                "settings": _settings(config, stage),
            }
            text = json.dumps(document, sort_keys=True, separators=(",", ":"))
            keys[stage] = hashlib.sha256(text.encode()).hexdigest()
    return keys


def short(key: str) -> str:
    """The beginning of a key, for names of folders."""
    return key[:_SHORT]


def _stands_on(config: Config, stage: str, stages: set[str]) -> str | None:
    if stage == "prepare":
        return None
    if stage == "eval":  # the table has the model that training led to
        return next((name for name in reversed(TRAINING) if name in stages), "prepare")
    return "sft" if stage == "grpo" and needs_sft(config, stages) else "prepare"


def _settings(config: Config, stage: str) -> dict[str, Any]:
    """What a stage's own work depends on, nested as in the configuration."""
    if stage == "prepare":
        return _counting(config, "", _SECTIONS | _LATER)
    own: dict[str, Any] = {
        "model": {key.partition(".")[2]: value_of(config, key) for key in sorted(_LATER)},
        stage: _counting(getattr(config, stage), f"{stage}."),
    }
    if stage == "grpo" or (stage == "eval" and config.eval.rewards):
        own["rewards"] = _rewards(config)
    if stage == "eval":
        # Answers are put on the map by the geocoder, whichever rewards there are.
        own["geocoder"] = _counting(config.rewards.geocoder, "rewards.geocoder.")
        if config.eval.reward_samples:
            own["sampling"] = [config.grpo.temperature, config.grpo.top_p]
    if asks_agent(config, stage):
        own["agent"] = _counting(config.agent, "agent.")
    return own


def _rewards(config: Config) -> dict[str, Any]:
    """The rewards that have a weight, with what they alone use."""
    rewards = config.rewards
    weights = {name: weight for name, weight in rewards.weights.items() if weight}
    unused = (name for name, users in _ONLY_FOR.items() if not users & weights.keys())
    found = _counting(rewards, "rewards.", frozenset(f"rewards.{name}" for name in unused))
    return {**found, "weights": weights}


def _counting(node: Any, prefix: str, without: frozenset[str] = frozenset()) -> Any:
    """A group of keys as a mapping, without those that change nothing."""
    if not is_dataclass(node):
        return node
    return {
        name: _counting(getattr(node, name), f"{dotted}.", without)
        for name, dotted in _names(node.__class__, prefix)
        if dotted not in without
    }


@cache
def _names(schema: type, prefix: str) -> tuple[tuple[str, str], ...]:
    names = ((item.name, f"{prefix}{item.name}") for item in fields(schema))
    return tuple((name, dotted) for name, dotted in names if dotted not in IGNORED)
