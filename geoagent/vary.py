"""Changes a few keys of a configuration that is there: what a sweep does for each of its points.

Much faster than to load all of it anew. A key is dotted, as in `grpo.lora.rank`.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from geoagent.config import REWARD_NAMES, Config, nearest_key, nearest_reward, problems
from geoagent.errors import UsageError


def vary(base: Config, settings: Mapping[str, Any], source: str) -> Config:
    """A copy of a checked configuration with a few dotted keys set, checked as `load` does.

    `rewards.weights.NAME` sets one weight and keeps the others. What is
    not changed is shared with `base`. Raises UsageError that begins with `source`.
    """
    config = unchecked(base, typed(settings, source))
    for key, problem in problems(config):
        raise UsageError(f"{source}: {key}: {problem}")
    return config


def unchecked(base: Config, settings: Mapping[str, Any]) -> Config:
    """A copy of a configuration with dotted keys set to values that have the schema's types; they
    may contradict each other."""
    return typing.cast(Config, _with(base, settings))


def dotted(values: Mapping[Any, Any], source: str) -> dict[str, Any]:
    """Nested and dotted keys → dotted keys with what is given for each, whatever that is.

    UsageError for a key that does not exist, a value where keys belong, a key that is there twice.
    """
    found: dict[str, Any] = {}
    for key, value in _spread(values, "", source):
        if key in found:
            raise UsageError(f"{source}: {key}: is given twice")
        found[key] = value
    return found


def typed(settings: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Values of dotted keys as the schema has them (`"1e-4"` → 0.0001); ranges are not checked.

    UsageError for a key that does not exist and for a value of another type.
    """
    return {key: _typed(key, value, source) for key, value in settings.items()}


def kind_of(key: str, source: str) -> Any:
    """The type hint of a dotted key, also of a group of keys or of one name of a mapping.

    UsageError if there is no such key.
    """
    return _place(key, source)[1]


def value_of(config: Config, key: str) -> Any:
    """The value of a dotted key that exists; of a reward that has no weight: 0."""
    node: Any = config
    for name in key.split("."):
        node = node.get(name, 0.0) if isinstance(node, dict) else getattr(node, name)
    return node


def is_group(kind: Any) -> bool:
    """Whether keys belong below a key of this type."""
    return dataclasses.is_dataclass(kind) or typing.get_origin(kind) is dict


def _spread(values: Mapping[Any, Any], prefix: str, source: str) -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        key = f"{prefix}{name!s}"
        if not is_group(kind_of(key, source)):
            yield key, value
        elif isinstance(value, Mapping):
            yield from _spread(value, f"{key}.", source)
        else:
            raise UsageError(f"{source}: {key}: expected a group of keys, not a value")


@cache
def _hints() -> dict[str, tuple[type, Any]]:
    """By dotted key, groups included: the class that it is a field of, and its type hint."""
    found: dict[str, tuple[type, Any]] = {}
    groups: list[tuple[str, type]] = [("", Config)]
    for prefix, schema in groups:
        for name, hint in typing.get_type_hints(schema).items():
            found[f"{prefix}{name}"] = (schema, hint)
            if dataclasses.is_dataclass(hint):
                groups.append((f"{prefix}{name}.", typing.cast(type, hint)))
    return found


def _place(key: str, source: str) -> tuple[type, Any]:
    """The class that a dotted key is a field of, and its type hint."""
    known = _hints()
    if key in known:
        return known[key]
    parent, _, name = key.rpartition(".")
    schema, hint = known.get(parent, (Config, Config))
    if parent and typing.get_origin(hint) is dict and name:
        if parent == "rewards.weights" and name not in REWARD_NAMES:
            raise UsageError(f"{source}: {key}: unknown reward; {nearest_reward(name)}")
        return schema, typing.get_args(hint)[1]
    while parent and parent not in known:
        parent = parent.rpartition(".")[0]
    group = known[parent][1] if parent else Config
    siblings = typing.get_type_hints(group) if dataclasses.is_dataclass(group) else {}
    raise UsageError(f"{source}: {key}: unknown key{nearest_key(key, siblings)}")


@cache
def _node(schema: type) -> DictConfig:
    return OmegaConf.structured(schema)


def _typed(key: str, value: Any, source: str) -> Any:
    """Through OmegaConf, so that it is what `load` would make of it."""
    schema, hint = _place(key, source)
    if is_group(hint):
        raise UsageError(f"{source}: {key}: expected a group of keys, not a value")
    node = _node(schema)
    names = key.split(".")[-1 if key in _hints() else -2 :]
    try:
        OmegaConf.update(node, ".".join(names), value)
        for name in names:
            node = node[name]
    except OmegaConfBaseException as error:
        raise UsageError(f"{source}: {key}: {str(error).splitlines()[0]}") from error
    return OmegaConf.to_object(node) if OmegaConf.is_config(node) else node


def _with(node: Any, values: Mapping[str, Any]) -> Any:
    below: dict[str, dict[str, Any]] = {}
    for key, value in values.items():
        name, _, rest = key.partition(".")
        below.setdefault(name, {})[rest] = value
    changes = {
        name: rests[""] if "" in rests else _with(getattr(node, name), rests)
        for name, rests in below.items()
    }
    return {**node, **changes} if isinstance(node, dict) else replace(node, **changes)
