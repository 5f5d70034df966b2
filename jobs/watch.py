"""Looks at jobs that somebody else submitted, and stops them."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Final

from geoagent.agent.endpoint import read_endpoints
from geoagent.files import read_if_there
from geoagent.run import Run
from jobs.accounting import Facts, facts
from jobs.attempt import newest_logs
from jobs.causes import cause_of
from jobs.processes import Watched, alive, stop_tree
from jobs.squeue import queued
from jobs.state import NOT_STARTED, UNFINISHED, JobRecord, Jobs

_GRACE_S: Final = 30.0


def refresh(run: Run, jobs: Jobs) -> Jobs:
    """The records with what is known now: dead local processes, Slurm's own states."""
    if jobs.executor == "slurm":
        known = facts([job.id for job in jobs.jobs])
        for job in jobs.jobs:
            _learn(run, job, known.get(job.id))
    else:
        for job in jobs.jobs:
            if job.state == "running" and not _lives(job):
                job.state, job.cause = "died", job.cause or "its process is gone"
            elif job.state == "waiting" and not _submitter_lives(jobs):
                job.state = NOT_STARTED
    return jobs


def _learn(run: Run, job: JobRecord, known: Facts | None) -> None:
    """What accounting knows of a job, and what its last attempt has written."""
    if known is None:
        return
    job.state, job.nodes, job.cause = known.state, known.nodes, known.cause
    if known.seconds:
        job.started, job.ended = 0.0, known.seconds
    if job.state in ("failed", "finished"):
        outcome = read_if_there(run.stage(job.stage) / "outcome.json")
        job.peak_gib = outcome.get("peak_gib")
    if job.state == "failed" and job.cause is None:
        # From the logs of all nodes, of which some were written after the first node's outcome.
        job.cause = cause_of(outcome.get("code", 1), newest_logs(run.stage(job.stage), "*err.log"))


def _lives(job: JobRecord) -> bool:
    return bool(job.pid and job.created) and alive(Watched(job.pid or 0, job.created or 0.0))


def still_running(run: Run) -> list[str]:
    """Stages of the run's last submission that have not ended. OutageError: Slurm is silent."""
    if not run.jobs_file.is_file():
        return []
    jobs = Jobs.load(run)
    if jobs.executor == "slurm":
        ids = queued() if shutil.which("squeue") else set()
        return [job.stage for job in jobs.jobs if job.id in ids]
    ended = any(job.state in ("failed", "cancelled") for job in jobs.jobs)
    if not ended and _submitter_lives(jobs):
        running = [job.stage for job in jobs.jobs if job.state == "running"]
        return running or [job.stage for job in jobs.jobs if job.state in UNFINISHED][:1]
    return [job.stage for job in jobs.jobs if job.state == "running" and _lives(job)]


def _submitter_lives(jobs: Jobs) -> bool:
    return bool(jobs.submitter) and alive(Watched(jobs.submitter or 0, jobs.submitter_created or 0))


def agent_health(run: Run) -> str:
    count = len(read_endpoints(run.agent))
    return f"{count} replica{'s' if count != 1 else ''} announced"


def cancel(run: Run, jobs: Jobs) -> list[str]:
    """Stop what still runs; returns the stages that did."""
    running = [job for job in refresh(run, jobs).jobs if job.state in UNFINISHED]
    if jobs.executor == "slurm":
        from jobs import slurm

        slurm.cancel([job.id for job in running if job.id])
        return [job.stage for job in running]
    if jobs.submitter and jobs.submitter_created:
        submitter = Watched(jobs.submitter, jobs.submitter_created)
        if alive(submitter):  # it stops its own jobs, in order
            os.kill(submitter.pid, signal.SIGTERM)
            deadline = time.monotonic() + 2 * _GRACE_S
            while alive(submitter) and time.monotonic() < deadline:
                time.sleep(0.2)
    stopped = [job for job in running if job.state == "running"]
    for job in stopped:
        if _lives(job) and job.pid:
            stop_tree(job.pid, _GRACE_S)
    return [job.stage for job in stopped]


def follow(places: dict[Path, int]) -> None:
    """Print what the files have behind these places (bytes), and what comes, until Ctrl-C."""
    while True:
        for path, place in places.items():
            with path.open("rb") as file:
                file.seek(place)
                text = file.read()
            places[path] = place + len(text)
            sys.stdout.write(text.decode("utf-8", "replace"))
        sys.stdout.flush()
        time.sleep(0.5)
