"""What `status` shows of a group: a row a run, a column a stage."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from geoagent.files import read_if_there
from geoagent.run import Run
from jobs.accounting import facts
from jobs.display import clock, plain_table, read_progress
from jobs.group import Group
from jobs.health import agent_health
from jobs.plan import AGENT, STAGES
from jobs.state import UNFINISHED, JobRecord, Jobs
from jobs.status import document, rows
from jobs.watch import refresh

if TYPE_CHECKING:
    from rich.console import Group as Lines

_WATCH_S: Final = 5.0
"""Slurm's accounting does not like to be asked more often."""


def show_group(group: Group, watch: bool = False, as_json: bool = False) -> None:
    """Print it; with `watch` until all jobs have ended."""
    from rich.console import Console
    from rich.live import Live

    console = Console()
    found = _look(group)
    if as_json:
        runs = [(group.run(name), jobs) for name, jobs in found.items() if name != AGENT]
        documents = [document(run, rows(run, jobs)) for run, jobs in runs]
        print(json.dumps({"group": str(group.home.path), "runs": documents}, indent=2))
        return
    if not watch:
        console.print(_page(group, found), soft_wrap=True)
        return
    with Live(_page(group, found), console=console, auto_refresh=False) as live:
        while any(job.state in UNFINISHED for jobs in found.values() for job in jobs.jobs):
            time.sleep(_WATCH_S)
            found = _look(group)
            live.update(_page(group, found), refresh=True)


def _look(group: Group) -> dict[str, Jobs]:
    """The jobs of every run, by its name, and the group's own by AGENT; Slurm is asked once."""
    runs = {AGENT: group.home, **{name: group.run(name) for name in group.members}}
    found = {name: jobs for name, run in runs.items() if (jobs := Jobs.load_if_there(run))}
    slurm = [jobs for jobs in found.values() if jobs.executor == "slurm"]
    known = facts([job.id for jobs in slurm for job in jobs.jobs]) if slurm else {}
    return {name: refresh(runs[name], jobs, known) for name, jobs in found.items()}


def _page(group: Group, found: dict[str, Jobs]) -> Lines:
    """The table; under it the agent, jobs that no run knows of, and why runs have failed."""
    from rich.console import Group as Lines
    from rich.text import Text

    table = plain_table(group.home.path.name)
    for column in ("run", *STAGES):
        table.add_column(column)
    lines = []
    for name in group.members:
        jobs = found[name].jobs if name in found else []
        table.add_row(name, *_cells(group.run(name), jobs))
        lines += [f"{name}: {job.stage}: {job.cause}" for job in jobs if job.cause]
    config = group.home.config()
    own = found[AGENT].jobs if AGENT in found else []
    for job in own:
        if job.stage == AGENT:
            health = f", {agent_health(group.home, config, True)}" if job.state == "running" else ""
            lines.append(f"agent: job {job.id}, {job.state}{health}")
        else:
            lines.append(
                f"{job.stage}: job {job.id}, {job.state}, of a submission that was cut off"
            )
    return Lines(table, *(Text(line) for line in lines))


def _cells(run: Run, jobs: Sequence[JobRecord]) -> list[str]:
    """A run's stages: state, and step or time."""
    known = {job.stage: job for job in jobs}
    return [_cell(run, stage, known.get(stage)) for stage in STAGES]


def _cell(run: Run, stage: str, job: JobRecord | None) -> str:
    if job is None:
        if not run.done_file(stage).is_file():
            return "–"
        seconds = read_if_there(run.done_file(stage)).get("seconds")
        job = JobRecord(stage, state="finished", started=0.0, ended=seconds)
    progress = read_progress(run, stage)
    if job.state == "running" and progress.get("total"):
        return f"running {progress['step']}/{progress['total']}"
    if job.state == "finished" and job.seconds:
        return f"finished {clock(job.seconds)}"
    return job.state
