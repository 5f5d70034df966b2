"""What a stage's result depends on, as a hash: two stages with the same key are the same work.

Whatever is not said here to change nothing counts, so that a new key of the configuration can
make a stage run once too often, but never pass for another.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any, Final

from geoagent.config import Config, RewardsConfig
from geoagent.stages import POLICY, TRAINING, asks_agent, rewards_of, stands_on, with_needed
from geoagent.vary import value_of

FORMAT: Final = 1
"""Of what is hashed; another number makes all keys new."""
_SHORT: Final = 8

# fmt: off
IGNORED: Final = frozenset((
    # where and under which name it runs
    "name", "runs_dir", "stages", "cluster", "container",
    # a dataset that is read to its end gives the same rows
    "data.strict",
    # what is written on the way, and how much memory and time it takes
    *(f"{stage}.{name}" for stage in TRAINING for name in (
        "save_steps", "keep_checkpoints", "logging_steps", "gradient_checkpointing",
    )),
    *(f"{stage}.{name}" for stage in POLICY for name in ("log_completions", "vllm_memory")),
    "eval.batch_size",
    # whether a training ends early, not what it is until then
    "grpo.stop_early",
    # how a geocoder, a search service or an agent is reached, not what it answers
    "rewards.geocoder.key_file", "rewards.geocoder.cache", "rewards.geocoder.user_agent",
    "rewards.geocoder.min_delay_seconds",
    "rollout.search.key_file", "rollout.search.cache", "rollout.search.min_delay_seconds",
    "rollout.search.timeout_s", "rollout.search.patience_s", "rollout.search.record",
    "agent.url", "agent.token_variable", "agent.replicas", "agent.slots", "agent.threads",
    "agent.request_timeout_s", "agent.retries", "agent.patience_s", "agent.start_timeout_s",
    "agent.concurrency",
))
# fmt: on
"""Keys, and groups of keys, that change no result."""

_SECTIONS: Final = frozenset(("sft", "judge", "grpo", "rewards", "agent", "eval"))
"""Groups that only the stages below look at; all others count from `prepare` on."""
_LATER: Final = frozenset(("model.dtype", "model.max_pixels"))
"""Keys of the other groups that count after `prepare`."""
_OF_EVAL: Final = frozenset(("rollout.eval",))
"""Keys of the other groups that only evaluation looks at."""
_OF_JUDGE_DATA: Final = (
    *("judge.start_from", "judge.threshold_km", "judge.draws", "judge.limit", "eval.engine"),
    *("grpo.temperature", "grpo.top_p", "grpo.max_completion_length"),
)
"""What the predictions that are judged depend on, and which of them are."""
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

    `prepare` is always among them, and what the others stand on.
    """
    keys: dict[str, str] = {}
    for stage in with_needed(config, {"prepare", *stages}):
        document = {
            "format": FORMAT,
            "stage": stage,
            "on": [keys[below] for below in _below(config, stage, keys)],
            "settings": _settings(config, stage),
        }
        text = json.dumps(document, sort_keys=True, separators=(",", ":"))
        keys[stage] = hashlib.sha256(text.encode()).hexdigest()
    return keys


def short(key: str) -> str:
    """The beginning of a key, for names of folders."""
    return key[:_SHORT]


def _below(config: Config, stage: str, earlier: Collection[str]) -> list[str]:
    """The stages whose keys are part of this one's, of those that come before it."""
    if stage == "prepare":
        return []
    if stage == "eval":  # the table has the model that training led to
        found = [name for name in TRAINING if name in earlier][-1:]
    else:
        found = stands_on(config, stage)
    return found or ["prepare"]


def _settings(config: Config, stage: str) -> dict[str, Any]:
    """What a stage's own work depends on, nested as in the configuration."""
    if stage == "prepare":
        return {**_counting(config, "", _SECTIONS | _LATER | _OF_EVAL), "judge": config.judge.path}
    own: dict[str, Any] = {
        "model": {key.partition(".")[2]: value_of(config, key) for key in sorted(_LATER)},
    }
    if stage == "judge_data":
        own |= {key: value_of(config, key) for key in _OF_JUDGE_DATA}
    else:
        own[stage] = _counting(getattr(config, stage), f"{stage}.")
    rewards = rewards_of(config, stage)
    if any(rewards.weights.values()):
        own["rewards"] = _rewards(rewards)
    if stage in ("judge_data", "eval"):
        # Answers are put on the map by the geocoder, whichever rewards there are.
        own["geocoder"] = _counting(config.rewards.geocoder, "rewards.geocoder.")
    if stage == "eval":
        own["others"] = [value_of(config, key) for key in sorted(_OF_EVAL)]
    if stage == "eval" and config.eval.reward_samples:
        own["sampling"] = [config.grpo.temperature, config.grpo.top_p]
    if asks_agent(config, stage):
        own["agent"] = _counting(config.agent, "agent.")
    return own


def _rewards(rewards: RewardsConfig) -> dict[str, Any]:
    """The rewards that have a weight, with what they alone use."""
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
