"""What a sweep is: points of the configuration, each with its stages, over one or more seeds."""

from __future__ import annotations

import difflib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from geoagent.config import (
    COMMAND_LINE,
    CONFIG_ROOT,
    GROUPS,
    Config,
    check_environment,
    dotted,
    read_yaml,
    resolve,
    shown,
    typed,
    vary,
)
from geoagent.errors import UsageError
from geoagent.stages import STAGES, check_stages
from geoagent.sweep.constraints import Constraints
from geoagent.sweep.keys import stage_keys
from geoagent.sweep.points import (
    Point,
    check_fields,
    check_name,
    grid_points,
    point_settings,
    random_points,
    whole,
)

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
    given = [word for word in words if not word.startswith("name=")]
    named = [word.removeprefix("name=") for word in words if word.startswith("name=")]
    name = check_name(name or (named[-1] if named else path.stem), "name")
    all_words = _words(document, given, text)
    base = _base(all_words, given, text)
    stages = _stages(document.get("stages", list(_STAGES)), f"{text}: stages")
    benchmark = _benchmark(document.get("published"), f"{text}: published")
    points = _points(document, base, stages, benchmark, text)
    return Sweep(
        name=name,
        title=str(document.get("title") or name),
        source=str(path),
        words=tuple(all_words),
        base=base,
        stages=stages,
        points=points,
        seeds=_seeds(list(seeds) or document.get("seeds") or [base.seed], f"{text}: seeds"),
        parallel=_parallel(parallel, document.get("parallel"), text),
        shared=_shared(document.get("shared", list(_SHARED)), f"{text}: shared"),
        metrics=_metrics(document.get("metrics", list(_METRICS)), f"{text}: metrics"),
        published=benchmark,
        stop_early=_stop_early(document.get("stop_early"), f"{text}: stop_early"),
    )


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
    return found


def _check_different(found: Sequence[Trial], source: str) -> None:
    seen: dict[tuple[str, ...], Point] = {}
    for trial in found:
        other = seen.setdefault(tuple(trial.keys.values()), trial.point)
        if other is not trial.point:
            raise UsageError(
                f"{source}: {trial.point.where}: {trial.point.name} is the same as {other.name} "
                f"({other.where}); take one of them out"
            )


def _check_shared(stage: str, found: Sequence[Trial], base: Config, source: str) -> None:
    """UsageError names the setting that makes a stage of one point another than the others'."""
    having = [trial for trial in found if stage in trial.keys]
    counts = Counter(trial.keys[stage] for trial in having)
    if len(counts) < 2:
        return
    usual = stage_keys(replace(base, seed=found[0].seed), [stage])[stage]
    trial = next(trial for trial in having if trial.keys[stage] != usual)
    point, settings = trial.point, dict(trial.point.settings)
    for key in settings:
        rest = {name: value for name, value in settings.items() if name != key}
        config = replace(vary(base, rest, source), seed=trial.seed)
        if stage_keys(config, point.stages)[stage] != trial.keys[stage]:
            break
    where = point.where if point.dimensions else f"{point.where}: {point.name}"
    raise UsageError(
        f"{source}: {where}: {key} changes {stage}, which all points share (it would run "
        f"{len(counts)} times); take it out of the sweep, or allow it with shared: []"
    )


def _find(source: str) -> Path:
    """The file of a sweep that is named, or given by its path."""
    if source.endswith((".yaml", ".yml")):
        return Path(source)
    names = sorted(file.stem for file in SWEEPS.glob("*.yaml"))
    if source in names:
        return SWEEPS / f"{source}.yaml"
    near = difflib.get_close_matches(source, names, n=1)
    hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(names)}, or FILE.yaml"
    raise UsageError(f"{COMMAND_LINE}: {source}: no such sweep; {hint}")


def _document(path: Path, source: str) -> Mapping[str, Any]:
    values = read_yaml(path)
    check_environment(values, source)
    try:
        document = OmegaConf.to_container(values, resolve=True)
    except OmegaConfBaseException as error:
        raise UsageError(f"{source}: {str(error).splitlines()[0]}") from error
    return check_fields(document, _FIELDS, source)


def _words(document: Mapping[str, Any], given: Sequence[str], source: str) -> list[str]:
    """The file's words, with the groups that the command line chooses, its settings, and the
    command line's words."""
    base = _texts(document.get("base", []), f"{source}: base")
    chosen = {word.partition("=")[0]: word for word in given if word.partition("=")[0] in GROUPS}
    used = {word.partition("=")[0] for word in base} & chosen.keys()
    words = [chosen.get(word.partition("=")[0], word) for word in base]
    settings = document.get("settings") or {}
    where = f"{source}: settings"
    if not isinstance(settings, Mapping):
        raise UsageError(f"{where}: expected keys of the configuration")
    values = typed(dotted(settings, where), where)
    for key, other in (("seed", "seeds:"), ("name", "name=… on the command line")):
        if key in values:
            raise UsageError(f"{where}: {key}: use {other}")
    words += [f"{key}={_yaml(value)}" for key, value in values.items()]
    return words + [word for word in given if word.partition("=")[0] not in used]


def _yaml(value: Any) -> str:
    """A value as a word of the command line has it."""
    if isinstance(value, str) and OmegaConf.from_dotlist([f"x={value}"]).x == value:
        return value
    return json.dumps(value, ensure_ascii=False)


def _base(words: Sequence[str], given: Sequence[str], source: str) -> Config:
    try:
        return resolve(words)
    except UsageError as error:
        text = str(error)
        key = text.removeprefix(f"{COMMAND_LINE}: ").partition(":")[0].partition("=")[0]
        if not text.startswith(f"{COMMAND_LINE}: ") or key in {w.partition("=")[0] for w in given}:
            raise
        raise UsageError(f"{source}: base: {text.removeprefix(f'{COMMAND_LINE}: ')}") from error


def _points(
    document: Mapping[str, Any],
    base: Config,
    stages: tuple[str, ...],
    benchmark: str | None,
    source: str,
) -> tuple[Point, ...]:
    """Those with names, then the grid's, then random ones."""
    limits = Constraints(
        _texts(document.get("constraints") or [], f"{source}: constraints"),
        f"{source}: constraints",
    )
    found = [
        point
        for point in _named(document.get("points") or {}, stages, benchmark, f"{source}: points")
        if limits.allow(base, point.settings)
    ]
    if document.get("grid") is not None:
        found += grid_points(document["grid"], base, stages, limits, f"{source}: grid")
    if document.get("random") is not None:
        found += random_points(document["random"], base, stages, limits, f"{source}: random")
    if not found:
        reason = "the constraints allow no point" if document.get("constraints") else "no points"
        raise UsageError(f"{source}: {reason}; the sweep needs points:, grid: or random:")
    names = Counter(point.name for point in found)
    for name, count in names.items():
        if count > 1:
            raise UsageError(
                f"{source}: points: {name}: a point of the grid has that name; choose another"
            )
    return tuple(found)


def _named(values: Any, stages: tuple[str, ...], benchmark: str | None, source: str) -> list[Point]:
    if not isinstance(values, Mapping):
        raise UsageError(f"{source}: expected names of points, each with its settings")
    found = []
    for key, value in values.items():
        name = check_name(str(key), source)
        where = f"{source}: {name}"
        fields = check_fields(value or {}, ("settings", "stages", "published"), where)
        own = _stages(fields["stages"], f"{where}: stages") if "stages" in fields else stages
        settings = point_settings(fields.get("settings") or {}, where)
        row = _row(fields.get("published"), benchmark, f"{where}: published")
        found.append(Point(name, settings, own, published=row))
    return found


def _row(name: Any, benchmark: str | None, source: str) -> str | None:
    """The name of a published row, if the benchmark has it."""
    from geoagent.report.published import published

    if name is None:
        return None
    if benchmark is None:
        raise UsageError(f"{source}: of which benchmark? name it in published: of the sweep")
    found = published(benchmark)
    names = [row.name for row in found.rows] if found else []
    if name not in names:
        raise UsageError(f"{source}: {benchmark} has no row '{name}'; {_hint(str(name), names)}")
    return str(name)


def _benchmark(name: Any, source: str) -> str | None:
    from geoagent.report.published import benchmarks, published

    if name is None or (isinstance(name, str) and published(name)):
        return name
    raise UsageError(
        f"{source}: no figures of '{name}' are known; {_hint(str(name), benchmarks())}"
    )


def _hint(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {near[0]}?" if near else f"there are: {', '.join(known)}"


def _texts(values: Any, source: str) -> list[str]:
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise UsageError(f"{source}: expected a list of texts")
    return values


def _stages(values: Any, source: str) -> tuple[str, ...]:
    """Names of stages, in their order."""
    names = _texts(values, source)
    try:
        check_stages(names)
    except UsageError as error:
        raise UsageError(f"{source}: {error}") from error
    return tuple(stage for stage in STAGES if stage in names)


def _shared(values: Any, source: str) -> tuple[str, ...]:
    return _stages(values, source) if values != [] else ()


def _seeds(values: Any, source: str) -> tuple[int, ...]:
    if not isinstance(values, list) or not values:
        raise UsageError(f"{source}: expected a list of whole numbers such as [0, 1, 2]")
    found = tuple(whole(value, 0, source) for value in values)
    if len({*found}) < len(found):
        raise UsageError(f"{source}: {values} names a seed twice")
    return found


def _parallel(given: int | None, value: Any, source: str) -> int | None:
    if given is not None:
        return whole(given, 1, "--parallel")
    return None if value is None else whole(value, 1, f"{source}: parallel")


def _metrics(values: Any, source: str) -> tuple[str, ...]:
    names = _texts(values, source)
    if not names:
        raise UsageError(f"{source}: empty; name keys of metrics.json, or take it out")
    if len({*names}) < len(names):
        raise UsageError(f"{source}: a metric is there twice")
    return tuple(names)


def _stop_early(values: Any, source: str) -> Mapping[str, Any] | None:
    """Settings of grpo.stop_early, without the folder that the points share."""
    if values is None:
        return None
    if not isinstance(values, Mapping):
        raise UsageError(f"{source}: expected keys such as first_step")
    return dict(values)
