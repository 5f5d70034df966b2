"""What must hold of a configuration: ranges, what keys demand of each other, no secrets."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from omegaconf import DictConfig, OmegaConf

from geoagent.config.ranges import out_of_range
from geoagent.config.schema import (
    REWARD_NAMES,
    STAGES,
    Config,
    ContainerConfig,
    GeocoderConfig,
    SearchConfig,
    StageResources,
)
from geoagent.config.training import GrpoConfig, JudgeConfig
from geoagent.errors import UsageError, nearest

_SECRET_WORDS: Final = (
    *("TOKEN", "SECRET", "PASSWORD", "CREDENTIAL", "API_KEY", "GEOCODER_KEY", "SEARCH_KEY"),
)


def check_environment(values: DictConfig, source: str) -> None:
    """Interpolated variables end up in config.yaml, so none may be a secret."""
    text = OmegaConf.to_yaml(values)
    for word in _SECRET_WORDS:
        for line in text.splitlines():
            if "${" in line and word in line.upper():
                raise UsageError(
                    f"{source}: {line.strip()}: secrets are not read into the "
                    "configuration; name the variable instead (agent.token_variable)"
                )


def validate(config: Config, sources: Mapping[str, str] | None = None) -> None:
    """Check ranges, choices and what must hold between keys; raises UsageError."""
    for key, problem in problems(config):
        raise UsageError(f"{(sources or {}).get(key, 'config')}: {key}: {problem}")


def problems(config: Config) -> Iterator[tuple[str, str]]:
    """Keys with a value that cannot be, and what is wrong with it."""
    for key, value, limits in _values(config, ""):
        problem = out_of_range(value, limits)
        if problem:
            yield key, problem
    yield from _weight_problems(config.rewards.weights)
    yield from _weight_problems(config.judge.weights, "judge.weights")
    yield from _misplaced_weights(config)
    yield from _contradictions(config)


def _values(node: Any, prefix: str) -> Iterator[tuple[str, Any, Mapping[str, Any]]]:
    for item in dataclasses.fields(node):
        value = getattr(node, item.name)
        if dataclasses.is_dataclass(value):
            yield from _values(value, f"{prefix}{item.name}.")
        else:
            yield f"{prefix}{item.name}", value, item.metadata


def check_weights(weights: Mapping[str, float]) -> None:
    """Rewards that exist, with finite weights of 0 or more, not all 0; raises UsageError."""
    for key, problem in _weight_problems(weights):
        raise UsageError(f"config: {key}: {problem}")


def _weight_problems(
    weights: Mapping[str, float], where: str = "rewards.weights"
) -> Iterator[tuple[str, str]]:
    known = _JUDGING if where == "judge.weights" else _OF_PLACES
    for name, weight in weights.items():
        key = f"{where}.{name}"
        if name not in REWARD_NAMES:
            yield key, f"unknown reward; {nearest(name, known, cutoff=0.4)}"
        elif not math.isfinite(weight) or weight < 0:
            yield key, f"{weight} is not a weight (0 or more, finite)"
    if not any(weights.values()):
        yield where, "all are 0; nothing would be learnt"


def _misplaced_weights(config: Config) -> Iterator[tuple[str, str]]:
    """Rewards that could score nothing that the stage's model writes."""
    if config.rewards.weights.get("judge"):
        yield "rewards.weights.judge", "places have no label; the stage judge pays judge.weights"
    if not config.judge.weights.get("judge"):
        yield "judge.weights.judge", "is 0; whether it judges rightly is what RL-I teaches"
    for name, weight in config.judge.weights.items():
        if weight and name in REWARD_NAMES and name not in _JUDGING:
            reason = f"is of places, and True or False is none; there are: {', '.join(_JUDGING)}"
            yield f"judge.weights.{name}", reason


_JUDGING: Final = ("judge", "format")
"""Rewards of a judgement."""
_OF_PLACES: Final = tuple(name for name in REWARD_NAMES if name != "judge")


def nearest_reward(name: str) -> str:
    """What to say of a name in rewards.weights that is no reward's."""
    return nearest(name, _OF_PLACES, cutoff=0.4)


def _contradictions(config: Config) -> Iterator[tuple[str, str]]:
    """What no single key's range can say."""
    tiny = config.model.tiny
    if tiny.hidden_size % tiny.heads or (tiny.hidden_size // tiny.heads) % 2:
        yield "model.tiny.hidden_size", f"{tiny.hidden_size} does not divide into even heads"
    if tiny.vision_hidden_size % tiny.vision_heads:
        yield "model.tiny.vision_hidden_size", "is not a multiple of model.tiny.vision_heads"
    if tiny.heads % tiny.kv_heads:
        yield "model.tiny.kv_heads", f"{tiny.kv_heads} does not divide model.tiny.heads"
    if tiny.image_size % 28:
        yield "model.tiny.image_size", f"{tiny.image_size} is not a multiple of 28"
    for stage in config.stages:
        if stage not in STAGES:
            yield "stages", f"unknown stage '{stage}'; {nearest(stage, STAGES)}"
    for stage in ("judge", "grpo"):
        yield from _policy_contradictions(config, stage)
    yield from _stop_early_contradictions(config)
    consistency = config.rewards.consistency
    if consistency.full_characters <= consistency.min_characters:
        yield "rewards.consistency.full_characters", "must be above min_characters"
    if config.agent.backend == "external" and not config.agent.url:
        yield "agent.url", "is needed for agent.backend=external"
    agent = config.agent
    yield from _url_contradictions("agent.url", agent.url, agent.token_variable, "8000/v1")
    yield from _geocoder_contradictions(config.rewards.geocoder)
    yield from _search_contradictions(config.rollout.search)
    if config.data.answer == "coordinates" and (config.rollout.train or config.rollout.eval):
        reason = "coordinates exclude rollout.train and rollout.eval, which ask for an address"
        yield "data.answer", reason
    for option in config.cluster.additional:
        if option.replace("_", "-") in _SBATCH_OPTIONS:
            yield f"cluster.additional.{option}", "has a key of its own under cluster; set that"
    if config.cluster.gpu_option == "gres" and "gres" in config.cluster.additional:
        yield "cluster.additional.gres", "is what cluster.gpu_option=gres asks for GPUs with"
    for name in config.cluster.environment:
        if not name.isidentifier() or not name.isascii():
            yield f"cluster.environment.{name}", "is no name of a variable"
        if any(word in name.upper() for word in _SECRET_WORDS):
            yield (
                f"cluster.environment.{name}",
                "looks like a secret, and this is written to files that others read; export it "
                "where you submit, and jobs have it",
            )
    yield from _container_contradictions(config.container)


def _policy_contradictions(config: Config, stage: str) -> Iterator[tuple[str, str]]:
    """Of the settings of a stage that is trained by GRPO."""
    settings: JudgeConfig | GrpoConfig = getattr(config, stage)
    completions = settings.batch_size * settings.gradient_accumulation
    if completions % settings.generations and not _many(config, stage):
        yield (
            f"{stage}.generations",
            f"{settings.generations} does not divide the completions of a step "
            f"({stage}.batch_size {settings.batch_size} × {stage}.gradient_accumulation "
            f"{settings.gradient_accumulation})",
        )
    start = settings.start_from
    if start != "base" and getattr(config, start).lora.rank and not settings.lora.rank:
        yield (
            f"{stage}.lora.rank",
            f"0 (all parameters) cannot continue the adapters of {start}.lora.rank",
        )


def _container_contradictions(container: ContainerConfig) -> Iterator[tuple[str, str]]:
    if not container.train_image:
        for name in ("runtime", "agent_image"):
            if getattr(container, name) not in (None, "none"):
                yield "container.train_image", f"is needed with container.{name}"
    for name in ("train_image", "agent_image"):
        _, asked, digest = (getattr(container, name) or "").partition("@")
        if asked and not re.fullmatch(r"sha256:[0-9a-fA-F]{64}", digest):
            yield f"container.{name}", f"'{digest}' is no digest (sha256: and 64 hex digits)"
    for bind in container.binds:
        if not re.fullmatch(r"/[^:,\n]*(:/[^:,\n]*(:(ro|rw))?)?", bind) or "/../" in f"{bind}/":
            yield "container.binds", f"'{bind}' is not SOURCE[:TARGET[:ro]] with absolute paths"
    for name in container.environment:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*\*?", name):
            yield "container.environment", f"'{name}' is no name of a variable (* may end it)"
        if name in _OF_IMAGES:
            yield "container.environment", f"{name} is the image's own, or is set for each job"


_OF_IMAGES: Final = ("HOME", "PATH", "TMPDIR", "LD_LIBRARY_PATH", "PYTHONPATH", "PYTHONHOME")


def _stop_early_contradictions(config: Config) -> Iterator[tuple[str, str]]:
    stop_early, weights = config.grpo.stop_early, config.rewards.weights
    for name in stop_early.by:
        if name not in REWARD_NAMES:
            yield "grpo.stop_early.by", f"unknown reward '{name}'; {nearest_reward(name)}"
        elif stop_early.by.count(name) > 1:
            yield "grpo.stop_early.by", f"names {name} twice"
        elif stop_early.study is not None and not weights.get(name):
            yield (
                "grpo.stop_early.by",
                f"{name} has no weight in rewards.weights, so training does not compute it",
            )
    if stop_early.study == "":
        yield "grpo.stop_early.study", "is empty; name a folder, or null"
    steps = config.grpo.max_steps
    if stop_early.study is not None and steps is not None and stop_early.first_step >= steps:
        yield (
            "grpo.stop_early.first_step",
            f"{stop_early.first_step} is not below grpo.max_steps ({steps}): it would stop nothing",
        )


def _geocoder_contradictions(geocoder: GeocoderConfig) -> Iterator[tuple[str, str]]:
    for name in ("url", "key_file"):
        if getattr(geocoder, name) is not None and geocoder.service == "offline":
            yield f"rewards.geocoder.{name}", "needs a service (rewards.geocoder.service)"
    yield from _url_contradictions("rewards.geocoder.url", geocoder.url, "GEOAGENT_GEOCODER_KEY")


def _url_contradictions(
    key: str, url: str | None, variable: str, usual: str = "8080"
) -> Iterator[tuple[str, str]]:
    """Of a service's address, whose `usual` end is for a hint; `variable` is where its secret
    belongs."""
    if not url:
        return
    if set(url) & set("@?#"):  # not shown: it may be a secret
        yield key, f"has more than a server and a path; a key goes into {variable}"
    elif not re.match(r"https?://[^/\s]", url):
        yield key, f"'{url}' is no address such as http://HOST:{usual}"


def _search_contradictions(search: SearchConfig) -> Iterator[tuple[str, str]]:
    section = "rollout.search"
    offline = search.provider == "offline"
    for name in ("url", "key_file", "cache"):
        if getattr(search, name) is not None and offline:
            yield f"{section}.{name}", f"needs a service ({section}.provider)"
    if search.documents is not None and not offline:
        yield f"{section}.documents", f"needs {section}.provider=offline"
    if search.record is not None and search.replay is not None:
        yield f"{section}.replay", "and record exclude each other: replay asks nobody"
    if search.provider == "searxng":
        if search.url is None:
            yield f"{section}.url", "is needed for provider=searxng: the address of your server"
        if search.key_file is not None:
            yield f"{section}.key_file", "searxng takes no key"
    yield from _url_contradictions(f"{section}.url", search.url, "GEOAGENT_SEARCH_KEY")
    plain = (search.url or "").startswith("http://")
    if plain and search.provider in ("tavily", "brave") and not _on_loopback(search.url or ""):
        yield f"{section}.url", "would have the key sent in the open; use https://"


def _on_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    return host in ("localhost", "::1") or bool(re.fullmatch(r"127(\.\d{1,3}){3}", host))


# fmt: off
_SBATCH_OPTIONS: Final = frozenset((
    "account", "array", "constraint", "cpus-per-task", "dependency", "gpus-per-node", "job-name",
    "mem", "nodes", "ntasks", "ntasks-per-node", "open-mode", "output", "partition", "qos",
    "requeue", "signal", "time",
))
# fmt: on
"""What is made of other keys; a second value would silently win."""


def _many(config: Config, stage: str) -> bool:
    """Several processes share the completions of a step; ms-swift checks their product."""
    resources: StageResources = getattr(config.cluster, stage)
    return resources.nodes * max(resources.gpus_per_node, resources.processes_per_node or 1) > 1
