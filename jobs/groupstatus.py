"""What `status` shows of a group: a row a run, a column a stage."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Final

from geoagent.run import Run
from jobs.accounting import Facts, facts
from jobs.display import clock, console, plain_table, read_progress, show
from jobs.group import Group
from jobs.health import agent_health
from jobs.plan import AGENT, COLLECT, STAGES
from jobs.squeue import queue
from jobs.state import UNFINISHED, JobRecord, Jobs, finished
from jobs.status import all_ids, document, rows
from jobs.watch import refresh

if TYPE_CHECKING:
    from rich.console import Group as Lines

_SHOWN: Final = 60
"""Runs that get a row each."""


def show_group(group: Group, watch: bool = False, as_json: bool = False) -> None:
    """Print it; with `watch` until all jobs have ended."""

    if as_json:
        found, known = _look(group)
        runs = [(group.run(name), jobs) for name, jobs in found.items() if name != AGENT]
        documents = [document(run, rows(run, jobs, known)) for run, jobs in runs]
        print(json.dumps({"group": str(group.home.path), "runs": documents}, indent=2))
        return

    def look() -> tuple[Lines, bool]:
        found, _ = _look(group)
        states = {job.state for jobs in found.values() for job in jobs.jobs}
        return _page(group, found), not states.isdisjoint(UNFINISHED)

    show(look, console(), watch)


def _look(group: Group) -> tuple[dict[str, Jobs], Mapping[str, Facts]]:
    """The jobs of every run, by its name, and the group's own by AGENT; and what Slurm says of them
    and of earlier ones, which is asked once."""
    runs = {AGENT: group.home, **{name: group.run(name) for name in group.members}}
    found = {name: jobs for name, run in runs.items() if (jobs := Jobs.load_if_there(run))}
    ids = [id for jobs in found.values() if jobs.executor == "slurm" for id in all_ids(jobs)]
    known = facts(ids)
    queued = cache(queue)
    return {name: refresh(runs[name], jobs, known, queued) for name, jobs in found.items()}, known


def _page(group: Group, found: dict[str, Jobs]) -> Lines:
    """The table; under it the agent, jobs that no run knows of, and why runs have failed. Of many
    runs only those are shown that have something to show, and how many there are of each kind."""
    from rich.console import Group as Lines
    from rich.text import Text

    table = plain_table(group.home.path.name)
    table.add_column("run", overflow="fold")
    lines, rows = [], []
    for name in group.members:
        jobs = found[name].jobs if name in found else []
        cells = _cells(group.run(name), jobs)
        states = {job.state for job in jobs}
        rows.append(_Row(name, cells, not states.isdisjoint(("running", "failed"))))
        lines += [f"{name}: {job.stage}: {job.cause}" for job in jobs if job.cause]
    shown = [index for index in range(len(STAGES)) if any(row.cells[index] != "–" for row in rows)]
    for index in shown:
        table.add_column(STAGES[index], no_wrap=True)
    for row in _chosen(rows):
        table.add_row(row.name, *(row.cells[index] for index in shown))
    if len(rows) > _SHOWN:
        lines = [*_counts(rows), *lines[:_SHOWN]]
    config = group.home.config()
    own = found[AGENT].jobs if AGENT in found else []
    for job in own:
        if job.stage == COLLECT:
            lines.append(
                f"results: job {job.id}, {job.state}{f': {job.cause}' if job.cause else ''}"
            )
        elif job.stage == AGENT:
            health = f", {agent_health(group.home, config, True)}" if job.state == "running" else ""
            lines.append(f"agent: job {job.id}, {job.state}{health}")
        else:
            lines.append(
                f"{job.stage}: job {job.id}, {job.state}, of a submission that was cut off"
            )
    return Lines(table, *(Text(line) for line in lines))


@dataclass(frozen=True)
class _Row:
    name: str
    cells: Sequence[str]
    busy: bool
    """Whether one of its jobs runs or has failed."""


def _chosen(rows: Sequence[_Row]) -> Sequence[_Row]:
    return rows if len(rows) <= _SHOWN else [row for row in rows if row.busy][:_SHOWN]


def _counts(rows: Sequence[_Row]) -> Iterator[str]:
    """How many runs are in which state, stage by stage."""
    for index, stage in enumerate(STAGES):
        states = Counter(row.cells[index].split()[0] for row in rows)
        del states["–"]
        if states:
            told = ", ".join(f"{count} {state}" for state, count in states.most_common())
            yield f"{stage}: {told}"


def _cells(run: Run, jobs: Sequence[JobRecord]) -> list[str]:
    """A run's stages: state, and step or time."""
    known = {job.stage: job for job in jobs}
    return [_cell(run, stage, known.get(stage)) for stage in STAGES]


def _cell(run: Run, stage: str, job: JobRecord | None) -> str:
    if job is None:
        if not run.done_file(stage).is_file():
            return "–"
        job = finished(run, stage)
    progress = read_progress(run, stage)
    if job.state == "running" and progress.get("total"):
        return f"running {progress['step']}/{progress['total']}"
    if job.state == "finished" and job.seconds:
        return f"finished {clock(job.seconds)}"
    return job.state
