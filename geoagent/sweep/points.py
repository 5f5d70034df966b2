"""Points of a sweep: those with names, the product of a grid, and random draws."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import random
import re
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from geoagent.config import GROUPS, all_keys
from geoagent.errors import UsageError
from geoagent.sweep.constraints import Constraints
from geoagent.sweep.fields import (
    LONGEST_NAME,
    check_fields,
    check_name,
    published_row,
    short_keys,
    stage_names,
    whole,
)
from geoagent.sweep.keys import IGNORED
from geoagent.vary import dotted, is_group, kind_of, typed

MAX_POINTS: Final = 10_000
"""More are a slip of the pen."""
_TRIES: Final = 100
"""Draws for each random point that is wanted; constraints and repetitions use them up."""
_DIGITS: Final = 4
"""Significant digits of a random number: enough for a search, and readable."""
SHARED: Final = "shared"
"""Folders of stages that points share are called shared-STAGE-…, so no point may be."""
_FIELDS: Final = ("settings", "stages", "published")
"""Of a point with a name."""
_RANGE: Final = ("low", "high", "log", "choices")
"""Of a key of a random space."""
_FIXED: Final[Mapping[str, str]] = {
    "name": "is the run's; the folder of the sweep is named on the command line (name=…)",
    "runs_dir": "is the same for all points; set it on the command line (runs_dir=…)",
    "seed": "is no setting of a point; use seeds:",
    "cluster": "the points share one agent and one cluster; set it for all of them (base:)",
    "agent": "the points share one agent and one cluster; set it for all of them (base:)",
    "container": "the points share one image; set it for all of them (base:)",
    "grpo.stop_early": "is the same for all points; use stop_early:",
}


@dataclass(frozen=True)
class Point:
    """One row of the table: settings (dotted keys) on top of what all points have.

    `dimensions` are the settings that a grid or a random draw has given it, for main effects;
    `published` names the row of the benchmark's published figures that it reproduces; `where` is
    the part of the YAML that it comes from.
    """

    name: str
    settings: Mapping[str, Any]
    stages: tuple[str, ...]
    dimensions: Mapping[str, Any] = field(default_factory=dict)
    published: str | None = None
    where: str = "points"


def named_points(
    values: Any, stages: tuple[str, ...], benchmark: str | None, source: str
) -> Iterator[Point]:
    """Points by their names; `benchmark` is the one whose published rows they name."""
    if not isinstance(values, Mapping):
        raise UsageError(f"{source}: expected names of points, each with its settings")
    for key, value in values.items():
        name = _point_name(key, source)
        where = f"{source}: {name}"
        fields = check_fields({} if value is None else value, _FIELDS, where)
        settings = _own(fields.get("settings", {}), where)
        row = fields.get("published")
        yield Point(
            name,
            typed(settings, where),
            stage_names(fields["stages"], f"{where}: stages") if "stages" in fields else stages,
            published=None if row is None else published_row(row, benchmark, f"{where}: published"),
        )


def _point_name(key: Any, source: str) -> str:
    """UsageError for a name that YAML does not read as text: `1`, `1.0` and `yes` are one key to
    it, so that one point would silently take the place of another."""
    if not isinstance(key, str):
        raise UsageError(
            f"{source}: {key} is no text (YAML takes 1, 1.0, yes, no, on, off for numbers or truth "
            "values); write the name in quotes"
        )
    if key == SHARED or key.startswith(f"{SHARED}-"):
        raise UsageError(
            f"{source}: {key}: folders of shared stages are called so; give it another name"
        )
    return check_name(key, source)


def grid_points(
    values: Any, stages: tuple[str, ...], constraints: Constraints, source: str
) -> Iterator[Point]:
    """The product of the dimensions, the last one changing fastest."""
    dimensions = {
        key: _levels(key, levels, source) for key, levels in _dimensions(values, source).items()
    }
    count = math.prod(map(len, dimensions.values()))
    if count > MAX_POINTS:
        raise UsageError(f"{source}: makes {count} points; {MAX_POINTS} is the most")
    tails = short_keys(list(dimensions))
    found: dict[str, list[dict[str, Any]]] = {}
    for levels in itertools.product(*dimensions.values()):
        settings = dict(zip(dimensions, levels, strict=True))
        if constraints.allow(settings):
            name = "_".join(f"{tails[key]}-{_word(value)}" for key, value in settings.items())
            found.setdefault(name, []).append(settings)
    for name, alike in found.items():
        for settings in alike:
            fitting = _fitting(name, settings, len(alike) == 1)
            yield Point(fitting, settings, stages, settings, None, "grid")


def random_points(
    values: Any, stages: tuple[str, ...], constraints: Constraints, source: str
) -> Iterator[Point]:
    """`count` different points of the space that the constraints allow.

    Each draw depends on the seed, its number and the key alone: with a higher count the first
    points stay what they are.
    """
    values = check_fields(values, ("count", "seed", "space"), source)
    count = whole(values.get("count"), 1, f"{source}: count")
    if count > MAX_POINTS:
        raise UsageError(f"{source}: count: {count} points; {MAX_POINTS} is the most")
    seed = whole(values.get("seed", 0), 0, f"{source}: seed")
    _check_no_group(values.get("space"), f"{source}: space")
    space = {
        key: _range(key, what, f"{source}: space")
        for key, what in _dimensions(values.get("space", {}), f"{source}: space").items()
    }
    seen: set[str] = set()
    for number in range(_TRIES * count):
        settings = {
            key: where.draw(random.Random(f"{seed} {number} {key}")) for key, where in space.items()
        }
        draw = repr(settings)
        if draw not in seen and constraints.allow(settings):
            seen.add(draw)
            name = f"random-{len(seen):03}"
            yield Point(name, settings, stages, settings, None, "random")
            if len(seen) == count:
                return
    raise UsageError(
        f"{source}: only {len(seen)} different points in {_TRIES * count} draws; lower count, "
        "widen the space or loosen the constraints"
    )


def _dimensions(values: Any, source: str) -> dict[str, Any]:
    """What is said of each key that is to vary."""
    found = _own(values, source)
    if not found:
        raise UsageError(f"{source}: empty; name at least one key, or take it out")
    for key in found:
        if key in IGNORED:
            raise UsageError(f"{source}: {key}: changes no result; use settings:")
    return found


def _own(values: Any, source: str) -> dict[str, Any]:
    """Dotted keys that a point may have for itself, with what is given for each."""
    if not isinstance(values, Mapping):
        raise UsageError(f"{source}: expected keys of the configuration")
    for key, value in values.items():
        _check_own(str(key), source)
        if key in GROUPS and not isinstance(value, Mapping):
            raise UsageError(
                f"{source}: {key}: a choice of files is the same for all points (base:); name "
                f"single keys, such as {_example(str(key))}"
            )
    found = dotted(values, source)
    for key in found:
        _check_own(key, source)
    return found


def _check_no_group(space: Any, source: str) -> None:
    """UsageError for a range of a group of keys. Without this, its `low` would be read as a key of
    the group."""
    for key, what in space.items() if isinstance(space, Mapping) else ():
        if isinstance(what, Mapping) and what and {*what} <= {*_RANGE}:
            name = str(key)
            if name in GROUPS or is_group(kind_of(name, source)):
                raise UsageError(
                    f"{source}: {name}: is a group; name single keys, such as {_example(name)}"
                )


def _check_own(key: str, source: str) -> None:
    for fixed, reason in _FIXED.items():
        if key == fixed or key.startswith(f"{fixed}."):
            raise UsageError(f"{source}: {key}: {reason}")


def _example(group: str) -> str:
    return next((key for key in all_keys() if key.startswith(f"{group}.")), "grpo.learning_rate")


def _levels(key: str, levels: Any, source: str) -> list[Any]:
    """The values of a dimension, each as the schema has it."""
    if not isinstance(levels, list):
        raise UsageError(f"{source}: {key}: expected a list of values")
    if not levels:
        raise UsageError(f"{source}: {key}: empty; give it values, or take it out")
    found: list[Any] = []
    for level in levels:
        value = typed({key: level}, source)[key]
        if value in found:
            raise UsageError(f"{source}: {key}: {level} is there twice")
        found.append(value)
    return found


@dataclass(frozen=True)
class _Range:
    """Where the values of a key are drawn from: `choices`, or numbers from low to high, both
    included."""

    choices: Sequence[Any] = ()
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    whole: bool = False

    def draw(self, generator: random.Random) -> Any:
        share = generator.random()
        if self.choices:
            return self.choices[int(share * len(self.choices))]
        # Every whole number gets an interval of the same length.
        low, high = (self.low - 0.5, self.high + 0.5) if self.whole else (self.low, self.high)
        value = low * (high / low) ** share if self.log else low + (high - low) * share
        value = round(value) if self.whole else float(f"{value:.{_DIGITS}g}")
        return min(max(value, self.low), self.high)


def _range(key: str, what: Any, source: str) -> _Range:
    source = f"{source}: {key}"
    what = check_fields(what, _RANGE, source)
    if "choices" in what:
        if len(what) > 1:
            raise UsageError(f"{source}: either choices, or low and high")
        return _Range(choices=_levels(key, what["choices"], source.rpartition(": ")[0]))
    if not {"low", "high"} <= what.keys():
        raise UsageError(f"{source}: expected low and high, or choices")
    kind = kind_of(key, source)
    numbers = {*typing.get_args(kind), kind} & {int, float}
    if not numbers:
        raise UsageError(f"{source}: is no number; give its choices")
    low, high = (typed({key: what[end]}, source)[key] for end in ("low", "high"))
    log = what.get("log", False)
    if not isinstance(log, bool):
        raise UsageError(f"{source}: log: {log!r} is not true or false")
    if not (_number(low) and _number(high) and low < high):
        raise UsageError(f"{source}: low {low} is not below high {high}")
    if log and low <= 0:
        raise UsageError(f"{source}: log: needs low above 0, not {low}")
    return _Range(low=low, high=high, log=log, whole=int in numbers)


def _number(value: Any) -> bool:
    return value is not None and math.isfinite(value)


def _word(value: Any) -> str:
    """A value as a part of a folder's name."""
    if isinstance(value, float):
        text = f"{value:g}"
    else:
        text = value if isinstance(value, str) else json.dumps(value)
    return re.sub(r"[^A-Za-z0-9.-]+", "-", text)


def _fitting(name: str, settings: Mapping[str, Any], plain: bool) -> str:
    """A name that is not too long; `plain`: no other point has it."""
    if plain and len(name) <= LONGEST_NAME:
        return name
    mark = hashlib.sha256(repr(sorted(settings.items())).encode()).hexdigest()[:8]
    return f"{name[: LONGEST_NAME - len(mark) - 1]}-{mark}"
