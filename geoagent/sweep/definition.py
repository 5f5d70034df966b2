"""What a sweep is: points of the configuration, each with its stages, over one or more seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from geoagent.config import Config


@dataclass(frozen=True)
class Point:
    """One row of the table: settings (dotted keys) on top of what all points have.

    `dimensions` are the settings that a grid or a random draw has given it, for main effects;
    `published` names the row of the benchmark's published figures that it reproduces.
    """

    name: str
    settings: Mapping[str, Any]
    stages: tuple[str, ...]
    dimensions: Mapping[str, Any] = field(default_factory=dict)
    published: str | None = None


@dataclass(frozen=True)
class Sweep:
    """A sweep as its YAML and the command line say it, with all points written out.

    `words` are those of `geoagent.config.resolve` that make the configuration all points start
    from; `shared` are stages that all points of a seed must have in common; `metrics` are columns
    of the table, keys of metrics.json; `published` is the benchmark whose published figures stand
    beside them.
    """

    name: str
    title: str
    source: str
    words: tuple[str, ...]
    base: Config
    stages: tuple[str, ...]
    points: tuple[Point, ...]
    seeds: tuple[int, ...]
    parallel: int | None
    shared: tuple[str, ...]
    metrics: tuple[str, ...]
    published: str | None
    stop_early: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Trial:
    """A point with a seed: one chain of stages. `config` has neither name nor runs_dir."""

    point: Point
    seed: int
    config: Config
    keys: Mapping[str, str]
    """By stage of the chain, in its order: the hash of everything that its result depends on."""


def trials(sweep: Sweep) -> Sequence[Trial]:
    """Every point with every seed, points first.

    UsageError names the point: a configuration that is refused, two points that are the same, a
    point that would change a stage that the sweep says is shared.
    """
    raise NotImplementedError
