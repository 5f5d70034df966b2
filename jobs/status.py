"""What `status` shows: every stage that the run has or had, its state and its newest figures."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from geoagent.config import Config, StageResources
from geoagent.errors import UsageError
from geoagent.evaluate.completions import shard_folders, written_at
from geoagent.files import read_if_there, short
from geoagent.run import Run
from jobs.accounting import Facts, facts
from jobs.advice import by_sbatch, going_on, next_step, unfinished
from jobs.attempt import attempts, newest_logs
from jobs.causes import cause_of
from jobs.display import clock, console, left_of, plain_table, read_progress, show
from jobs.group import home_of
from jobs.health import agent_health
from jobs.plan import AGENT, STAGES, StagePlan, asks_agent
from jobs.state import UNFINISHED, JobRecord, Jobs, finished
from jobs.watch import learn_reasons, refresh

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

_WIDTH: Final = 140
"""Columns that the whole table takes, and that are there where there is no terminal."""
_SHOWN: Final = ("reward", "loss")
_FAILED: Final = ("failed", "died")


@dataclass(frozen=True)
class Hours:
    """Of GPUs, or of CPU cores in a run without GPUs, over all attempts and submissions.

    `expected` is for the whole stage: from its speed so far while it runs, else what it asked for,
    which is an upper `bound`.
    """

    unit: str
    used: float | None
    expected: float | None = None
    bound: bool = True


@dataclass(frozen=True)
class Row:
    """A stage, or the agent; times in seconds. `next` is what to type about a failure."""

    stage: str
    job: str
    state: str
    attempt: int | None = None
    nodes: str = ""
    step: int | None = None
    total: int | None = None
    seconds: float | None = None
    left: float | None = None
    metrics: dict[str, float] | None = None
    hours: Hours | None = None
    peak_gib: float | None = None
    note: str = ""
    cause: str | None = None
    next: str | None = None


def show_status(run: Run, watch: bool = False, as_json: bool = False) -> None:
    """Print it; with `watch` until all jobs have ended. UsageError if nothing was submitted."""
    if as_json:
        print(json.dumps(document(run, rows(run, *_look(run))), ensure_ascii=False, indent=2))
        return
    if not run.jobs_file.is_file():
        home = home_of(run)
        at = f"; it is part of {short(home.path)}" if home != run else ""
        raise UsageError(f"{short(run.path)}: nothing of it has begun{at}")
    output = console()
    narrow = output.width < _WIDTH

    def look() -> tuple[Group, bool]:
        jobs, known = _look(run)
        return page(run, jobs, known, narrow), any(job.state in UNFINISHED for job in jobs.jobs)

    show(look, output, watch)


def _look(run: Run) -> tuple[Jobs, Mapping[str, Facts]]:
    """The jobs as they are now, and what Slurm says of them and of earlier ones; asked once."""
    jobs = Jobs.load(run)
    known = facts(all_ids(jobs)) if jobs.executor == "slurm" else {}
    jobs = refresh(run, jobs, known)
    learn_reasons(jobs)
    return jobs, known


def page(
    run: Run, jobs: Jobs, known: Mapping[str, Facts] | None = None, narrow: bool = False
) -> Group:
    """The table, and under it each stage's newest figures, causes of failures and what to do."""
    from rich.console import Group
    from rich.text import Text

    found = rows(run, jobs, known)
    lines = [line for row in found for line in _lines(row)]
    table = run.evaluation(run.config().eval.benchmark) / "table.txt"
    if table.is_file():
        lines.append(f"results: {short(table)}")
    states = {row.state for row in found}
    if "cancelled" in states and not states & {*UNFINISHED, *_FAILED}:
        lines.append(f"go on with: {going_on(run, unfinished(run, jobs.jobs))}")
    if narrow:
        lines = [f"{row.stage}: {row.note}" for row in found if row.note] + lines
    return Group(_table(run.path.name, found, narrow), *(Text(line) for line in lines))


def document(run: Run, found: Sequence[Row]) -> dict[str, Any]:
    """For programs."""
    return {"run": str(run.path), "jobs": [asdict(row) for row in found]}


def rows(run: Run, jobs: Jobs, known: Mapping[str, Facts] | None = None) -> list[Row]:
    """Of the run's stages in their order, and the agent's; `jobs` are refreshed already. `known`
    is what Slurm says of `all_ids`, if it was asked already."""
    config = run.config()
    records = _all(run, jobs)
    if known is None:
        known = facts(all_ids(jobs)) if jobs.executor == "slurm" else {}
    unit = "GPU" if any(_held(config, job.stage)[0] for job in records) else "CPU"
    return [_row(run, config, jobs, job, known, unit) for job in records]


def all_ids(jobs: Jobs) -> list[str]:
    """Of the jobs that Slurm has and had for a run."""
    earlier = [name for ids in jobs.earlier.values() for name in ids]
    return [*earlier, *(job.id for job in jobs.jobs if job.id)]


def _all(run: Run, jobs: Jobs) -> list[JobRecord]:
    """Those of the last submission, and before them what earlier ones have finished."""
    known = {job.stage: job for job in jobs.jobs}
    for stage in STAGES:
        if stage not in known and run.done_file(stage).is_file():
            known[stage] = finished(run, stage)
    return [known[name] for name in (*STAGES, AGENT) if name in known]


def _row(
    run: Run, config: Config, jobs: Jobs, job: JobRecord, known: Mapping[str, Facts], unit: str
) -> Row:
    shards = _shards(run, job)
    progress = _progress(run, job.stage, shards)
    running = job.state == "running"
    left = left_of(progress, job.seconds or 0.0) if running else None
    tries = [len(attempts(folder)) for folder in (run.stage(job.stage), *shards)]
    if job.stage == AGENT and job.id in known:  # replicas have their folders side by side
        tries = [known[job.id].attempts] if any(tries) else []
    row = Row(
        job.stage,
        job.id,
        job.state,
        max(tries, default=0) or None,
        job.nodes,
        progress.get("step") if progress.get("total") else None,
        progress.get("total"),
        job.seconds,
        left,
        progress.get("metrics") or None,
        _hours(run, config, jobs, job, known, unit, left),
        job.peak_gib,
        _note(run, config, jobs, job, progress) if running else job.waits,
        job.cause,
    )
    return _explained(run, jobs, job, row, shards) if job.state in _FAILED else row


def _explained(run: Run, jobs: Jobs, job: JobRecord, row: Row, shards: Sequence[Path]) -> Row:
    """With the cause of its failure and what to do about it."""
    outcome = read_if_there(run.stage(job.stage) / "outcome.json")
    for folder in shards:
        of_shard = read_if_there(folder / "outcome.json")
        if of_shard.get("code") != 0 and not (folder / "done.json").is_file():
            outcome = of_shard
            said = of_shard.get("cause") or cause_of(1, newest_logs(folder, "*err.log"))
            job = replace(job, cause=job.cause if job.cause and not of_shard else said)
            break
    if job.stage == "eval" and by_sbatch(run) and not outcome:
        job = replace(job, cause=f"see geoagent-eval-{job.id}.log, where it was submitted")
    step = next_step(run, job, jobs.jobs, outcome.get("code"))
    return replace(row, cause=job.cause, next=step)


def _shards(run: Run, job: JobRecord) -> list[Path]:
    """Folders of an evaluation's shards while they are what it is about: until they are merged."""
    folders = shard_folders(run) if job.stage == "eval" else []
    newest = max((written_at(folder / "progress.json") for folder in folders), default=0.0)
    return folders if newest > written_at(run.progress_file("eval")) else []


def _progress(run: Run, stage: str, shards: Sequence[Path]) -> dict[str, Any]:
    """progress.json of a stage, or those of its shards added up."""
    found = [read_if_there(folder / "progress.json") for folder in shards]
    found = [one for one in found if one]
    if not found:
        return read_progress(run, stage)
    added = {key: sum(one.get(key) or 0 for one in found) for key in ("step", "total", "first")}
    times = {"began": min(one["began"] for one in found)}
    times["updated"] = max(one["updated"] for one in found)
    done = sum((folder / "done.json").is_file() for folder in shards)
    return {**added, **times, "message": f"{done} of {len(shards)} shards have ended"}


def _held(config: Config, stage: str) -> tuple[int, int]:
    """GPUs and CPU cores that a stage asks for in all."""
    resources: StageResources = getattr(config.cluster, stage)
    copies = config.agent.replicas if stage == AGENT else 1
    processes = StagePlan(stage, (), resources).processes
    nodes = copies * resources.nodes
    return nodes * resources.gpus_per_node, nodes * processes * resources.cpus_per_process


def _hours(
    run: Run,
    config: Config,
    jobs: Jobs,
    job: JobRecord,
    known: Mapping[str, Facts],
    unit: str,
    left: float | None,
) -> Hours | None:
    """None for a stage that has none of what is counted, and where nothing is known."""
    gpus, cpus = _held(config, job.stage)
    held = gpus if unit == "GPU" else cpus
    mine = [known[name] for name in (*jobs.earlier.get(job.stage, ()), job.id) if name in known]
    if not mine:  # on this machine, or without accounting
        seconds = job.seconds if unit == "GPU" and held else None
        return None if seconds is None else Hours(unit, seconds * held / 3600)
    used = sum(one.gpu_seconds if unit == "GPU" else one.cpu_seconds for one in mine) / 3600
    if not (held or used):
        return None
    if job.stage == "eval" and by_sbatch(run):  # its resources are sbatch's own options
        return Hours(unit, used)
    if left is not None:
        return Hours(unit, used, used + held * left / 3600, bound=False)
    return Hours(unit, used, held * getattr(config.cluster, job.stage).time_minutes / 60)


def _note(run: Run, config: Config, jobs: Jobs, job: JobRecord, progress: dict[str, Any]) -> str:
    if job.stage == AGENT:
        return agent_health(run, config, jobs.executor == "slurm")
    said = str(progress.get("message") or "")
    if asks_agent(config, job.stage) and config.agent.backend == "external":  # it has no row
        said = f"{said}  agent {agent_health(run, config, True)}".strip()
    return said


def _table(title: str, found: Sequence[Row], narrow: bool) -> Table:
    """A `narrow` one has what one looks for first, and no notes."""
    unit = next((row.hours.unit for row in found if row.hours), "GPU")
    table = plain_table(title)
    for name in ("stage", "job", "state", "try", "step", "time", "left", "loss, reward"):
        table.add_column(name, no_wrap=True)
    for name in () if narrow else ("nodes", f"{unit}-hours", "GiB", "note"):
        table.add_column(name, overflow="fold")
    for row in found:
        cells = [
            row.stage,
            row.job or "–",
            row.state,
            str(row.attempt or "–"),
            f"{row.step}/{row.total}" if row.total else "–",
            clock(row.seconds) if row.seconds is not None else "–",
            clock(row.left) if row.left is not None else "",
            _figure(row),
        ]
        if not narrow:
            memory = f"{row.peak_gib:.1f}" if row.peak_gib else "–"
            cells += [row.nodes or "–", _shown(row.hours), memory, row.note]
        table.add_row(*cells)
    return table


def _figure(row: Row) -> str:
    """The one figure that tells how training does."""
    metrics = row.metrics or {}
    name = next((name for name in _SHOWN if name in metrics), None)
    return f"{name} {metrics[name]:.3g}" if name else "–"


def _shown(hours: Hours | None) -> str:
    """`0.5 of ~1.2`: used, and expected from its speed; `of ≤2`: at most, by its time limit."""
    if hours is None or hours.used is None:
        return "–"
    sign = "≤" if hours.bound else "~"
    expected = f" of {sign}{_short(hours.expected)}" if hours.expected is not None else ""
    return f"{_short(hours.used)}{expected}"


def _short(hours: float) -> str:
    return f"{hours:.2f}" if hours < 1 else f"{hours:.1f}" if hours < 100 else f"{hours:.0f}"


def _lines(row: Row) -> Iterator[str]:
    """Newest figures (`rewards/spatial/mean` is shown as `spatial`), cause, and what to do."""
    parts = [
        f"{name.removeprefix('rewards/').removesuffix('/mean')} {value:.3g}"
        for name, value in (row.metrics or {}).items()
    ]
    if parts:
        yield f"{row.stage}: {', '.join(parts)}"
    if row.cause:
        yield f"{row.stage}: {row.cause}"
    if row.next:
        yield f"  next: {row.next}"
