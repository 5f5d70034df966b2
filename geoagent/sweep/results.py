"""What has come out of a sweep: state and figures of trials, and of points over their seeds."""

from __future__ import annotations

import difflib
import math
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

from geoagent.files import read_if_there
from geoagent.progress import tracked
from geoagent.report.published import Published, published
from geoagent.report.published import Row as PublishedRow
from geoagent.stages import STAGES
from geoagent.sweep.points import SHARED

if TYPE_CHECKING:
    from geoagent.run import Run
    from geoagent.sweep.home import Row, SweepHome

State = Literal["done", "stopped early", "failed", "missing"]
DONE: Final = "done"
PREPARE: Final = "prepare"
"""The stage that every chain begins with, whether it is named or not."""
_TOLD: Final = 12
"""Names of figures in a note; the rest is in results.json."""
_NOT_FIGURES: Final = ("by", "intervals")
_STOPPED: Final = "stopped"
"""The cause in outcome.json of a program that SIGTERM or an interrupt has ended."""
_STOP_CODES: Final = (-15, 143, -2, 130)
"""The same as exit codes. SIGKILL is none: the kernel sends it where memory is out."""


@dataclass(frozen=True)
class Estimate:
    """A figure over the seeds that have it. `deviation` is the sample standard deviation (divided
    by n - 1), None for one seed: that says nothing about others."""

    mean: float
    deviation: float | None
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Estimate | None:
        """None of no values."""
        if not values:
            return None
        deviation = statistics.stdev(values) if len(values) > 1 else None
        return cls(statistics.fmean(values), deviation, len(values))


@dataclass(frozen=True)
class TrialResult:
    """A point with a seed. Only one that is done has `figures`: flat, under the names and in the
    units of metrics.json, of the model that the run led to.

    `settings` are all keys that the sweep varies, as the run has them; `stage` is the one that
    failed, was stopped or is next, and `why` says more about it; `measured` is what the figures
    were measured on and with; `undefined` are figures that the evaluation has, but as null;
    `seconds` are by stage, of those that are done.
    """

    point: str
    seed: int
    folder: str
    state: State
    settings: Mapping[str, Any]
    stage: str | None = None
    why: str = ""
    figures: Mapping[str, float] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    measured: Measured | None = None
    undefined: tuple[str, ...] = ()


@dataclass(frozen=True)
class Measured:
    """What a run's figures were measured on, and which model it trained."""

    model: str
    data: str
    split: str


@dataclass(frozen=True)
class PointResult:
    """A row of the table: a point with its trials, in the order of the seeds."""

    row: Row
    trials: tuple[TrialResult, ...]
    published: PublishedRow | None = None

    @property
    def name(self) -> str:
        return self.row.point

    @property
    def finished(self) -> list[TrialResult]:
        return [trial for trial in self.trials if trial.state == DONE]

    def estimate(self, metric: str) -> Estimate | None:
        """Over the seeds that have it, None if none has."""
        values = [trial.figures.get(metric) for trial in self.finished]
        return Estimate.of([value for value in values if value is not None])


@dataclass(frozen=True)
class Results:
    """All of a sweep. `metrics` are the columns of its table, `names` the figures that some trial
    has, `benchmark` the published figures that stand beside, `notes` what has to be said."""

    home: SweepHome
    points: tuple[PointResult, ...]
    metrics: tuple[str, ...]
    names: tuple[str, ...]
    benchmark: Published | None = None
    notes: tuple[str, ...] = ()

    @property
    def trials(self) -> list[TrialResult]:
        return [trial for point in self.points for trial in point.trials]

    @property
    def varied(self) -> list[str]:
        """Keys that some point sets, as in the YAML."""
        return list(dict.fromkeys(key for point in self.points for key in point.row.settings))

    def states(self) -> dict[State, int]:
        """How many trials are in each state."""
        states: tuple[State, ...] = ("done", "stopped early", "failed", "missing")
        return {state: sum(t.state == state for t in self.trials) for state in states}


def collect(home: SweepHome) -> Results:
    """Read what the trials have left behind; what is not there is said, and never a number.

    A run that cannot be read costs its own row and nothing else.
    """
    varied = tuple(dict.fromkeys(key for row in home.rows for key in row.settings))
    known = published(home.published) if home.published else None
    runs = [(row, seed, folder) for row in home.rows for seed, folder in row.runs.items()]
    trials = {
        (row.point, seed): _trial(home.run(folder), row, int(seed), varied)
        for row, seed, folder in tracked(runs, "reading runs")
    }
    points = tuple(
        PointResult(
            row,
            tuple(trials[row.point, seed] for seed in row.runs),
            _published_row(known, row),
        )
        for row in home.rows
    )
    names = tuple(sorted({name for trial in trials.values() for name in trial.figures}))
    known_names = {*names, *(name for trial in trials.values() for name in trial.undefined)}
    unknown = [metric for metric in home.metrics if names and metric not in known_names]
    return Results(
        home=home,
        points=points,
        metrics=tuple(metric for metric in home.metrics if metric not in unknown),
        names=names,
        benchmark=known,
        notes=tuple(_notes(home, known, points, sorted(known_names), unknown)),
    )


def _published_row(known: Published | None, row: Row) -> PublishedRow | None:
    rows = known.rows if known else ()
    return next((one for one in rows if one.name == row.published), None)


# --- one trial ---------------------------------------------------------------------------------


def _trial(run: Run, row: Row, seed: int, varied: Sequence[str]) -> TrialResult:
    chain = list(dict.fromkeys([PREPARE, *row.stages]))
    done = {stage: read_if_there(run.done_file(stage)) for stage in chain}
    config = _config(run)
    settings = {key: _value(config, key, row.settings.get(key)) for key in varied}
    state, stage, why = _state(run, chain, done)
    figures: dict[str, float] = {}
    undefined: tuple[str, ...] = ()
    if state == DONE and "eval" in chain:
        benchmark = _value(config, "eval.benchmark")
        figures, undefined, problem = _figures(run, str(benchmark))
        if problem:
            state, stage, why = "failed", "eval", problem
    return TrialResult(
        point=row.point,
        seed=seed,
        folder=run.path.name,
        state=state,
        settings={key: value for key, value in settings.items() if value is not None},
        stage=stage,
        why=why,
        figures=figures,
        seconds={stage: one["seconds"] for stage, one in done.items() if _number(one, "seconds")},
        measured=_measured(config) if figures else None,
        undefined=undefined,
    )


def _state(
    run: Run, chain: Sequence[str], done: Mapping[str, Mapping[str, Any]]
) -> tuple[State, str | None, str]:
    """State, its stage, and what there is to say about it."""
    for stage in chain:
        stopped = done[stage].get("stopped_early")
        if isinstance(stopped, dict):
            return "stopped early", stage, f"at step {stopped.get('step')} of {stopped.get('of')}"
        unfinished = not done[stage] and not (stage == PREPARE and _went_on(done))
        # Of a training that was stopped early then, and has gone on since.
        if unfinished or "skipped" in done[stage]:
            return _unfinished(run, stage)
    return "done", None, ""


def _went_on(done: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether a later stage is done, so that preparation must have been."""
    return any(document for stage, document in done.items() if stage != PREPARE)


def _unfinished(run: Run, stage: str) -> tuple[State, str, str]:
    """Of a stage without done.json. While it runs (again) there is no outcome.json either."""
    folders = [run.stage(stage), *sorted(run.stage(stage).glob("shards/*-of-*"))]
    stopped = False
    for folder in folders:
        outcome = read_if_there(folder / "outcome.json")
        if outcome.get("code") and not (folder / "done.json").is_file():
            if not _was_stopped(outcome):
                cause = str(outcome.get("cause") or f"exit code {outcome['code']}")
                return "failed", stage, one_line(cause)
            stopped = True
    progress = read_if_there(run.progress_file(stage))
    if "step" not in progress:
        return "missing", stage, _STOPPED if stopped else ""
    unit, total = progress.get("unit", "step"), progress.get("total") or "?"
    step = f"{unit} {progress['step']} of {total}"
    return "missing", stage, f"stopped at {step}" if stopped else f"{step} when last seen"


def _was_stopped(outcome: Mapping[str, Any]) -> bool:
    """Whether somebody ended the stage, so that it has not failed. A cause that was found in its
    log says more than the signal."""
    cause = outcome.get("cause")
    return cause == _STOPPED or (not cause and outcome.get("code") in _STOP_CODES)


def one_line(text: str) -> str:
    """Without line ends, and without what a terminal or a file of rows would act on."""
    printable = "".join(letter if letter.isprintable() else " " for letter in text)
    return " ".join(printable.split())


def _config(run: Run) -> Mapping[str, Any]:
    """The run's configuration as it is written, which is all of it; `load` would check each of a
    thousand again. {} if the run has none yet."""
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast, where it is built
    try:
        text = run.config_file.read_text(encoding="utf-8")
        document = yaml.load(text, loader)
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return document if isinstance(document, dict) else {}


def _value(config: Mapping[str, Any], key: str, otherwise: Any = None) -> Any:
    """A dotted key's value."""
    node: Any = config
    for part in key.split("."):
        if not isinstance(node, Mapping) or part not in node:
            return otherwise
        node = node[part]
    return node


def _measured(config: Mapping[str, Any]) -> Measured:
    kind, path = _value(config, "model.kind"), _value(config, "model.path")
    data = _value(config, "eval.path") or _value(config, "data.path") or "the drawn sample"
    split = _value(config, "eval.split") or _value(config, "data.eval_split")
    return Measured("the tiny model" if kind == "tiny" else str(path), str(data), str(split))


def _figures(run: Run, benchmark: str) -> tuple[dict[str, float], tuple[str, ...], str]:
    """Of the last model; the names of those that are null; and what is wrong with metrics.json,
    if something is."""
    file = run.evaluation(benchmark) / "metrics.json"
    document = read_if_there(file)
    models = document.get("models")
    if not isinstance(models, dict) or not models:
        return {}, (), f"eval/{benchmark}/metrics.json is missing or not what an evaluation writes"
    last = document.get("last")
    model = models[last if last in models else list(models)[-1]]
    found = dict(_numbers(model)) if isinstance(model, dict) else {}
    figures = {name: value for name, value in found.items() if value is not None}
    undefined = tuple(name for name in found if name not in figures)
    return figures, undefined, "" if figures else f"eval/{benchmark}/metrics.json has no figures"


def _numbers(node: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float | None]]:
    """Every finite number and null with its dotted name; break-downs and intervals left out."""
    for key, value in node.items():
        if isinstance(value, dict) and key not in _NOT_FIGURES:
            yield from _numbers(value, f"{prefix}{key}.")
        elif value is None or _number(node, key):
            yield f"{prefix}{key}", value


def _number(node: Mapping[str, Any], key: str) -> bool:
    value = node.get(key)
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


# --- what has to be said -----------------------------------------------------------------------


def _notes(
    home: SweepHome,
    known: Published | None,
    points: Sequence[PointResult],
    names: Sequence[str],
    unknown: Sequence[str],
) -> Iterator[str]:
    if unknown:
        yield _unknown(unknown, names)
    yield from _left_out(home)
    if home.published and known is None:
        yield f"There are no published figures of '{home.published}'."
    for point in points:
        if known and point.row.published and point.published is None:
            yield f"{known.title} has no published row '{point.row.published}' ({point.name})."
    used = [point.published for point in points if point.published]
    if known and used:
        yield _comparable(known, used, points)


def _unknown(unknown: Sequence[str], names: Sequence[str]) -> str:
    """One line for all metrics that no evaluation has, with what may have been meant."""
    near = {metric: difflib.get_close_matches(metric, names, n=1) for metric in unknown}
    told = [
        f"'{metric}'" + (f" (did you mean {found[0]}?)" if found else "")
        for metric, found in near.items()
    ]
    there = ", ".join(names[:_TOLD]) + (", …" if len(names) > _TOLD else "")
    listed = "" if all(near.values()) else f"; there are: {there}"
    return f"No evaluation has the figure{'s' * (len(told) > 1)} {', '.join(told)}{listed}."


def _left_out(home: SweepHome) -> Iterator[str]:
    """Runs of the folder that no row has any more: what they measured is of other settings."""
    shown = {folder for row in home.rows for folder in row.runs.values()}
    shared = tuple(f"{SHARED}-{stage}-s" for stage in STAGES)
    runs = sorted(
        folder
        for folder in {*home.stages.values()} - shown
        if not folder.startswith(shared) and home.run(folder).config_file.is_file()
    )
    if runs:
        many = "1 run" if len(runs) == 1 else f"{len(runs):,} runs"
        are = "is" if len(runs) == 1 else "are"
        yield f"{many} of other settings or points {are} left out: {_listed(runs)}."


def _comparable(
    known: Published, used: Sequence[PublishedRow], points: Sequence[PointResult]
) -> str:
    """What published figures and ours were measured on: it is seldom the same."""
    finished = [trial for point in points for trial in point.finished if trial.figures]
    images = f" ({known.images:,} images)" if known.images else ""
    theirs = f"on {known.title}{images} with {known.base}, by {_listed(row.source for row in used)}"
    if not finished:
        return f"Published: {theirs}; ours: nothing yet."
    measured = list(dict.fromkeys(trial.measured for trial in finished if trial.measured))
    ours = _listed(f"split {one.split} of {one.data} with {one.model}" for one in measured)
    counts = sorted({int(t.figures["count"]) for t in finished if "count" in t.figures})
    number = f" ({_listed(f'{count:,}' for count in counts)} images)" if counts else ""
    return f"Published: {theirs}; ours: {ours}{number}."


def _listed(texts: Iterable[str]) -> str:
    """Distinct ones; of many, the first."""
    distinct = list(dict.fromkeys(texts))
    more = f" and {len(distinct) - 3} more" if len(distinct) > 3 else ""
    return f"{', '.join(distinct[:3])}{more}"
