"""What `status` shows: every stage that the run has or had, its state and its newest figures."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from geoagent.files import read_if_there
from geoagent.run import Run
from jobs.attempt import attempts
from jobs.display import clock, left_of, plain_table, read_progress
from jobs.plan import AGENT, STAGES
from jobs.state import UNFINISHED, JobRecord, Jobs
from jobs.watch import agent_health, refresh

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

_WATCH_S: Final = 5.0
"""Slurm's accounting does not like to be asked more often."""


def show_status(run: Run, watch: bool = False) -> None:
    """Print it; with `watch` until all jobs have ended. UsageError if nothing was submitted."""
    from rich.console import Console
    from rich.live import Live

    console = Console()
    jobs = refresh(run, Jobs.load(run))
    if not watch:
        console.print(_page(run, jobs), soft_wrap=True)
        return
    with Live(_page(run, jobs), console=console, auto_refresh=False) as live:
        while any(job.state in UNFINISHED for job in jobs.jobs):
            time.sleep(_WATCH_S)
            jobs = refresh(run, Jobs.load(run))
            live.update(_page(run, jobs), refresh=True)


def _page(run: Run, jobs: Jobs) -> Group:
    """The table, and under it each stage's newest figures and the cause of its failure."""
    from rich.console import Group
    from rich.text import Text

    records = _all(run, jobs)
    lines = [
        line
        for job in records
        for line in (_figures(run, job), f"{job.stage}: {job.cause}" if job.cause else "")
        if line
    ]
    return Group(_table(run, records), *(Text(line) for line in lines))


def _all(run: Run, jobs: Jobs) -> list[JobRecord]:
    """Those of the last submission, and before them what earlier ones have finished."""
    known = {job.stage: job for job in jobs.jobs}
    for stage in STAGES:
        if stage not in known and run.done_file(stage).is_file():
            seconds = read_if_there(run.done_file(stage)).get("seconds")
            known[stage] = JobRecord(stage, state="finished", started=0.0, ended=seconds)
    return [known[name] for name in (*STAGES, AGENT) if name in known]


def _table(run: Run, records: list[JobRecord]) -> Table:
    table = plain_table(run.path.name)
    for name in ("stage", "job", "state", "try", "step", "time", "left", "GiB"):
        table.add_column(name)
    table.add_column("note", overflow="fold")
    for job in records:
        progress = read_progress(run, job.stage)
        total = progress.get("total")
        took = clock(job.seconds) if job.seconds is not None else "–"
        tries = len(attempts(run.stage(job.stage)))
        table.add_row(
            job.stage,
            job.id or "–",
            job.state,
            str(tries or "–"),
            f"{progress['step']}/{total}" if total else "–",
            took,
            left_of(progress, job.seconds or 0.0) if job.state == "running" else "",
            f"{job.peak_gib:.1f}" if job.peak_gib else "–",
            _note(run, job, progress),
        )
    return table


def _note(run: Run, job: JobRecord, progress: dict[str, Any]) -> str:
    if job.state != "running":
        return ""
    said = agent_health(run) if job.stage == AGENT else str(progress.get("message", ""))
    return "  ".join(part for part in (job.nodes, said) if part)


def _figures(run: Run, job: JobRecord) -> str:
    """Newest figures of a stage in one line; `rewards/spatial/mean` is shown as `spatial`."""
    metrics = read_progress(run, job.stage).get("metrics") or {}
    parts = [
        f"{name.removeprefix('rewards/').removesuffix('/mean')} {value:.3g}"
        for name, value in metrics.items()
    ]
    return f"{job.stage}: {', '.join(parts)}" if parts else ""
