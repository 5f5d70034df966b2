"""What a sweep is: points of the configuration, each with its stages, over one or more seeds."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Final

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from geoagent.config import (
    COMMAND_LINE,
    CONFIG_ROOT,
    GROUPS,
    Config,
    StopEarlyConfig,
    check_environment,
    read_yaml,
    resolve,
    shown,
)
from geoagent.errors import UsageError, nearest
from geoagent.sweep.constraints import Constraints
from geoagent.sweep.fields import (
    check_fields,
    check_name,
    metric_names,
    published_benchmark,
    seed_numbers,
    stage_names,
    texts,
    whole,
)
from geoagent.sweep.home import SWEEP_FILE, SweepHome
from geoagent.sweep.keys import stage_keys
from geoagent.sweep.points import Point, grid_points, named_points, random_points
from geoagent.vary import dotted, typed, unchecked, value_of, vary

SWEEPS: Final = CONFIG_ROOT / "sweep"
_FIELDS: Final = (
    "title",
    "base",
    "settings",
    "stages",
    "seeds",
    "parallel",
    "shared",
    "metrics",
    "published",
    "points",
    "grid",
    "random",
    "constraints",
    "stop_early",
)
_STAGES: Final = ("sft", "grpo", "eval")
_SHARED: Final = ("prepare", "sft")
_METRICS: Final = ("accuracy_25km", "accuracy_200km", "accuracy_750km")
_PLAIN: Final = re.compile(r"[\w./-]+")
_STOP_EARLY: Final = "grpo.stop_early."


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


def read_sweep(
    source: str | Path,
    words: Sequence[str] = (),
    seeds: Sequence[int] = (),
    parallel: int | None = None,
    name: str | None = None,
) -> Sweep:
    """The sweep in a YAML file, or of that name in configs/sweep (docs/reference/sweeps.md).

    `words` are the command line's settings, which come after the file's own; `seeds`, `parallel`
    and `name` replace the file's (`name=…` among the words does too). UsageError in one line:
    file, key, what is wrong, what to do.
    """
    path = _find(str(source))
    text = shown(path)
    document = _document(path, text)
    named = [word.removeprefix("name=") for word in words if word.startswith("name=")]
    given = [word for word in words if not word.startswith("name=")]
    name = check_name(name or (named or [path.stem])[-1], "name")
    own, settings = _own_words(document, given, text)
    rest = [word for word in given if word not in own]
    base = _base((*own, *rest), given, settings, text)
    sweep = Sweep(
        name=name,
        title=_title(document.get("title", name), f"{text}: title"),
        source=str(path),
        words=(*own, *rest),
        base=base,
        stages=stage_names(document.get("stages", base.stages or list(_STAGES)), f"{text}: stages"),
        points=(),
        seeds=seed_numbers(list(seeds) or document.get("seeds", [base.seed]), f"{text}: seeds"),
        parallel=_parallel(parallel, document.get("parallel"), text),
        shared=_shared(document.get("shared", list(_SHARED)), f"{text}: shared"),
        metrics=metric_names(document.get("metrics", list(_METRICS)), f"{text}: metrics"),
        published=_published(document.get("published"), f"{text}: published"),
        stop_early=_stop_early(document.get("stop_early"), base, f"{text}: stop_early"),
    )
    _check_seed(given, sweep.seeds, "--seeds" if seeds else f"{text}: seeds")
    sweep = replace(sweep, points=_points(document, sweep, text))
    _check_given(sweep, given)
    return sweep


def trials(sweep: Sweep) -> Sequence[Trial]:
    """Every point with every seed, points first.

    UsageError names the point: a configuration that is refused, two points that are the same, a
    point that would change a stage that the sweep says is shared.
    """
    source = shown(Path(sweep.source))
    base = replace(sweep.base, name=None, runs_dir=Config.runs_dir)
    found: list[Trial] = []
    for point in sweep.points:
        config = vary(base, point.settings, f"{source}: {point.where}: {point.name}")
        for seed in sweep.seeds:
            seeded = replace(config, seed=seed)
            found.append(Trial(point, seed, seeded, stage_keys(seeded, point.stages)))
    first = [trial for trial in found if trial.seed == sweep.seeds[0]]
    _check_different(first, source)
    for stage in sweep.shared:
        _check_shared(stage, first, base, source)
    if sweep.stop_early is not None:
        _check_stop_early(sweep.stop_early, first, source)
    return found


def _check_different(found: Sequence[Trial], source: str) -> None:
    seen: dict[str, Trial] = {}
    for trial in found:
        # The last stage's key has in it all that leads to it.
        other = seen.setdefault([*trial.keys.values()][-1], trial)
        if other is trial:
            continue
        point = trial.point
        both = {**point.settings, **other.point.settings}
        idle = [key for key in both if value_of(trial.config, key) != value_of(other.config, key)]
        reason = f" ({', '.join(idle)} changes no result here)" if idle else ""
        cure = "leave one out with constraints:" if point.dimensions else "take one of them out"
        raise UsageError(
            f"{source}: {point.where}: {point.name} is the same as {other.point.name}{reason}; "
            f"{cure}"
        )


def _check_shared(stage: str, found: Sequence[Trial], base: Config, source: str) -> None:
    """UsageError names the setting that makes a stage of one point another than that of others."""
    having = [trial for trial in found if stage in trial.keys]
    count = len({trial.keys[stage] for trial in having})
    if count < 2:
        return
    usual = stage_keys(replace(base, seed=found[0].seed), [stage])[stage]
    trial = next(trial for trial in having if trial.keys[stage] != usual)
    point = trial.point
    for key in point.settings:
        rest = {name: value for name, value in point.settings.items() if name != key}
        config = unchecked(base, {**rest, "seed": trial.seed})
        if stage_keys(config, point.stages)[stage] != trial.keys[stage]:
            break
    where = point.where if point.dimensions else f"{point.where}: {point.name}"
    raise UsageError(
        f"{source}: {where}: {key} changes {stage}, which all points share (it would run "
        f"{count} times); take it out of the sweep, or allow it with shared: []"
    )


def _check_stop_early(settings: Mapping[str, Any], found: Sequence[Trial], source: str) -> None:
    """That every point that has GRPO can be compared with the others."""
    keys = {f"{_STOP_EARLY}{name}": value for name, value in settings.items()}
    for trial in found:
        if "grpo" in trial.keys:
            study = {**keys, f"{_STOP_EARLY}study": "."}
            vary(trial.config, study, f"{source}: stop_early: {trial.point.name}")


def _find(source: str) -> Path:
    """The file of a sweep that is named, or given by its path."""
    if source.endswith((".yaml", ".yml")):
        return Path(source)
    names = sorted(file.stem for file in SWEEPS.glob("*.yaml"))
    if source in names:
        return SWEEPS / f"{source}.yaml"
    said = f"{COMMAND_LINE}: {source}"
    path = Path(source)
    if SweepHome.at(path):
        raise UsageError(
            f"{said}: is the folder of a sweep; leave name=… out to go on with it, or name its "
            "YAML to begin another"
        )
    if path.is_dir():
        raise UsageError(f"{said}: this folder holds no sweep (it has no {SWEEP_FILE})")
    if path.is_file():
        raise UsageError(f"{said}: is no sweep; a sweep's file ends in .yaml")
    if path.name != source:
        raise UsageError(f"{said}: no such folder of a sweep, and a sweep's file ends in .yaml")
    raise UsageError(f"{said}: no such sweep; {nearest(source, names)}")


def _document(path: Path, source: str) -> Mapping[str, Any]:
    values = read_yaml(path)
    check_environment(values, source)
    try:
        document = OmegaConf.to_container(values, resolve=True)
    except OmegaConfBaseException as error:
        raise UsageError(f"{source}: {str(error).splitlines()[0]}") from error
    return check_fields(document, _FIELDS, source)


def _own_words(
    document: Mapping[str, Any], given: Sequence[str], source: str
) -> tuple[list[str], set[str]]:
    """The file's words, and the keys of its settings, which are among them. What the command line
    chooses of a group stands where the file's choice was."""
    chosen = {_key(word): word for word in given if _key(word) in GROUPS}
    words = texts(document.get("base", []), f"{source}: base")
    base = [chosen.get(_key(word), word) for word in words]
    where = f"{source}: settings"
    settings = document.get("settings", {})
    if not isinstance(settings, Mapping):
        raise UsageError(f"{where}: expected keys of the configuration")
    values = typed(dotted(settings, where), where)
    for key, cure in (("seed", "use seeds:"), ("name", "give name=… on the command line")):
        if key in {*values, *map(_key, base)}:
            raise UsageError(f"{where if key in values else f'{source}: base'}: {key}: {cure}")
    return [*base, *(f"{key}={_yaml(value)}" for key, value in values.items())], {*values}


def _key(word: str) -> str:
    return word.partition("=")[0]


def _yaml(value: Any) -> str:
    """A value as a word of the command line has it: plain, where that is read as the same."""
    plain = isinstance(value, str) and _PLAIN.fullmatch(value)
    if plain and OmegaConf.from_dotlist([f"x={value}"]).x == value:
        return str(value)
    return json.dumps(value, ensure_ascii=False)


def _base(
    words: Sequence[str], given: Sequence[str], settings: Container[str], source: str
) -> Config:
    """The configuration of these words; what is wrong with the file's own is said of the file."""
    try:
        return resolve(words)
    except UsageError as error:
        origin, _, problem = str(error).partition(": ")
        key = _key(problem.partition(":")[0])
        if origin not in (COMMAND_LINE, "config") or key in map(_key, given):
            raise
        part = "settings" if key in settings else "base"
        raise UsageError(f"{source}: {part}: {problem}") from error


def _points(document: Mapping[str, Any], sweep: Sweep, source: str) -> tuple[Point, ...]:
    """Those with names, then the grid's, then random ones."""
    where = f"{source}: constraints"
    limits = Constraints(texts(document.get("constraints", []), where), sweep.base, where)
    named = named_points(
        document.get("points", {}), sweep.stages, sweep.published, f"{source}: points"
    )
    found = [point for point in named if limits.allow(point.settings)]
    if "grid" in document:
        found += grid_points(document["grid"], sweep.stages, limits, f"{source}: grid")
    if "random" in document:
        found += random_points(document["random"], sweep.stages, limits, f"{source}: random")
    if not found and limits:
        raise UsageError(f"{where}: no point is left")
    if not found:
        raise UsageError(f"{source}: no points; name some in points:, grid: or random:")
    names = Counter(point.name for point in found)
    twice = next((name for name, count in names.items() if count > 1), None)
    if twice is not None:
        raise UsageError(f"{source}: points: {twice}: grid: or random: makes a point of that name")
    return tuple(found)


def _check_given(sweep: Sweep, given: Sequence[str]) -> None:
    """UsageError if a setting of the command line would reach no point."""
    common = set.intersection(*({*point.settings} for point in sweep.points))
    for word in given:
        if _key(word) in common:
            raise UsageError(
                f"{COMMAND_LINE}: {word}: every point of {shown(Path(sweep.source))} has its own "
                f"{_key(word)}; leave it out"
            )


def _check_seed(given: Sequence[str], seeds: Sequence[int], where: str) -> None:
    """UsageError if `seed=…` names one that does not run. One that does may stay: a sweep that
    began with it gets more by --seeds, and what was said first is among its words."""
    for word in given:
        if _key(word) == "seed" and word.partition("=")[2].strip() not in map(str, seeds):
            raise UsageError(
                f"{COMMAND_LINE}: {word}: would do nothing beside {where} "
                f"({', '.join(map(str, seeds))}); leave it out, or name its seeds with --seeds"
            )


def _title(value: Any, source: str) -> str:
    if not isinstance(value, str):
        raise UsageError(f"{source}: {value!r} is no text; write it in quotes")
    return value


def _published(name: Any, source: str) -> str | None:
    return None if name is None else published_benchmark(name, source)


def _shared(values: Any, source: str) -> tuple[str, ...]:
    if values == []:
        return ()
    names = stage_names(values, source)
    if "eval" in names:
        raise UsageError(f"{source}: eval: each point has its own; take it out")
    return names


def _parallel(given: int | None, value: Any, source: str) -> int | None:
    if given is not None:
        return whole(given, 1, "--parallel")
    return None if value is None else whole(value, 1, f"{source}: parallel")


def _stop_early(values: Any, base: Config, source: str) -> Mapping[str, Any] | None:
    """Settings of grpo.stop_early, without the folder that the points share."""
    if values is None:
        return None
    names = [item.name for item in fields(StopEarlyConfig) if item.name != "study"]
    given = check_fields(values, names, source)
    settings = typed({f"{_STOP_EARLY}{name}": value for name, value in given.items()}, source)
    vary(base, settings, source)
    return {key.removeprefix(_STOP_EARLY): value for key, value in settings.items()}
