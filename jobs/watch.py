"""Looks at jobs that somebody else submitted, and stops them."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

from geoagent.errors import OutageError
from geoagent.files import read_if_there
from geoagent.run import Run
from jobs.accounting import Facts, facts
from jobs.attempt import newest_logs
from jobs.causes import cause_of
from jobs.container.said import refusal
from jobs.group import Group, home_of
from jobs.plan import AGENT
from jobs.processes import Watched, alive, stop_tree
from jobs.squeue import Queued, queue, reasons
from jobs.state import NOT_STARTED, UNFINISHED, JobRecord, Jobs, finished

_GRACE_S: Final = 30.0
_FORGOTTEN: Final = "it has left the queue, and Slurm does not say how it ended"


def refresh(
    run: Run,
    jobs: Jobs,
    known: Mapping[str, Facts] | None = None,
    queued: Callable[[], Sequence[Queued]] | None = None,
) -> Jobs:
    """The records with what is known now: dead local processes, Slurm's own states (`known`, by
    job, if they were asked for already), and its queue (`queued` gives it, once for many runs)."""
    queued = queued or queue
    if jobs.executor == "slurm":
        if not jobs.complete:
            _adopt(run, jobs, queued)
        if known is None:
            known = facts([job.id for job in jobs.jobs])
        for job in jobs.jobs:
            _learn(run, job, known.get(job.id))
        _learn_without(run, [job for job in jobs.jobs if job.id not in known], queued)
    else:
        for job in jobs.jobs:
            if job.state == "running" and not _lives(job):
                job.state, job.cause = "died", job.cause or "its process is gone"
            elif job.state == "waiting" and not _submitter_lives(jobs):
                job.state = NOT_STARTED
            if job.state in ("cancelled", "died"):
                _only_had_to_leave(run, job)
    return jobs


def _adopt(run: Run, jobs: Jobs, queued: Callable[[], Sequence[Queued]]) -> None:
    """Add the jobs of a submission that was cut off before it could write their ids down."""
    group, mine = Group.of(run), str(run.path.resolve())
    ids = {job.id for job in jobs.jobs}
    for one in group.runs() if group else ():
        ids |= _slurm_ids(one).keys()
    with suppress(OutageError):
        for job in queued():
            if job.run == mine and not ids & {job.id, job.array}:
                ids.add(job.array)
                jobs.jobs.append(JobRecord(job.stage, job.array, "submitted"))


def _learn(run: Run, job: JobRecord, known: Facts | None) -> None:
    """What accounting knows of a job, and what its last attempt has written."""
    if known is None:
        return
    job.state, job.nodes, job.cause = known.state, known.nodes, known.cause
    if known.seconds:
        job.started, job.ended = 0.0, known.seconds
    if job.state in ("failed", "cancelled"):
        _only_had_to_leave(run, job)
    if job.state in ("failed", "finished"):
        outcome = read_if_there(run.stage(job.stage) / "outcome.json")
        job.peak_gib = outcome.get("peak_gib")
    if job.state == "failed" and job.cause is None:
        job.cause = refusal(run, home_of(run), job.id)
    if job.state == "failed" and job.cause is None:
        # From the logs of all nodes, of which some were written after the first node's outcome.
        logs, code = newest_logs(run.stage(job.stage), "*err.log"), outcome.get("code")
        if code is None or code < 0:  # it was killed: Slurm may have said why
            for place in {run.path, home_of(run).path}:  # as it was submitted: alone, or in a group
                logs += sorted(place.glob(f"submitit/{job.id}_*log.out"))
        job.cause = cause_of(1 if code is None else code, logs)


def _only_had_to_leave(run: Run, job: JobRecord) -> None:
    """A job that was ended after its stage was done has finished."""
    if run.done_file(job.stage).is_file():
        job.state, job.cause = "finished", None


def _learn_without(
    run: Run, jobs: Sequence[JobRecord], queued: Callable[[], Sequence[Queued]]
) -> None:
    """What the run's own files and the queue tell of jobs that accounting does not know, or not
    any more. OutageError: Slurm is silent, and the files do not tell."""
    for job in jobs:
        if run.done_file(job.stage).is_file():
            done = finished(run, job.stage)
            job.state, job.started, job.ended = done.state, done.started, done.ended
    left = [job for job in jobs if job.id and job.state in UNFINISHED]
    try:
        ids = {name for one in (queued() if left else ()) for name in (one.id, one.array)}
    except OutageError:
        if any(job.stage != AGENT for job in left):
            raise
        for job in left:  # all stages are known, and only they matter
            job.state = "unknown"
        return
    for job in left:
        if job.id in ids:
            continue
        outcome = read_if_there(run.stage(job.stage) / "outcome.json")
        ended = job.stage == AGENT or outcome.get("code") == 0
        job.state = "finished" if ended else "failed"
        job.peak_gib = outcome.get("peak_gib")
        told = refusal(run, home_of(run), job.id) or outcome.get("cause") or _FORGOTTEN
        job.cause = None if ended else told


def learn_reasons(jobs: Jobs) -> None:
    """Add why jobs wait that do, if Slurm answers."""
    waiting = [job for job in jobs.jobs if job.state == "waiting"]
    with suppress(OutageError):
        known = reasons() if waiting else {}
        for job in waiting:
            job.waits = known.get(job.id, "").replace("None", "")


def _lives(job: JobRecord) -> bool:
    return bool(job.pid and job.created) and alive(Watched(job.pid or 0, job.created or 0.0))


def still_running(run: Run) -> list[str]:
    """Stages that have not ended, of a run or of all runs of a group. OutageError: Slurm is
    silent."""
    group = Group.of(run)
    here = [
        _named(group, one, stage)
        for one in (group.runs() if group else [run])
        for stage in _running_here(one)
    ]
    queued = [*in_queue(run), *_strays(run)]
    return [*dict.fromkeys([*here, *_stages(group, queued)])]


def _running_here(run: Run) -> list[str]:
    jobs = Jobs.load_if_there(run)
    if jobs is None or jobs.executor == "slurm":
        return []
    ended = any(job.state in ("failed", "cancelled") for job in jobs.jobs)
    if not ended and _submitter_lives(jobs):
        running = [job.stage for job in jobs.jobs if job.state == "running"]
        return running or [job.stage for job in jobs.jobs if job.state in UNFINISHED][:1]
    return [job.stage for job in jobs.jobs if job.state == "running" and _lives(job)]


def in_queue(run: Run) -> list[Queued]:
    """Jobs of a run, or of a group and all its runs, that wait or run on Slurm, whether their ids
    were written down or not. OutageError: Slurm is silent."""
    group = Group.of(run)
    runs = [run, *(group.runs() if group else [])]
    if shutil.which("squeue") is None or not any(_on_slurm(one) for one in runs):
        return []
    known = {id: stage for one in runs for id, stage in _slurm_ids(one).items()}
    paths = {str(one.path.resolve()) for one in runs}
    found = []
    for job in queue():
        stage = known.get(job.id) or known.get(job.array)
        if stage or job.run in paths:
            found.append(replace(job, stage=stage or job.stage))
    return found


def _strays(run: Run) -> list[Queued]:
    """Jobs of a group whose submission was cut off that none of its runs knows: each may be of
    this one."""
    home = home_of(run)
    group, jobs = Group.of(home), Jobs.load_if_there(home)
    if group is None or home == run or jobs is None or jobs.complete:
        return []
    known = {id for one in group.runs() for id in _slurm_ids(one)}
    return [job for job in in_queue(home) if job.stage != AGENT and job.id not in known]


def _on_slurm(run: Run) -> bool:
    jobs = Jobs.load_if_there(run)
    return jobs is not None and jobs.executor == "slurm"


def _slurm_ids(run: Run) -> dict[str, str]:
    """Ids and stages of the jobs that the run's last submission gave to Slurm."""
    jobs = Jobs.load_if_there(run)
    if jobs is None or jobs.executor != "slurm":
        return {}
    return {job.id: job.stage for job in jobs.jobs}


def _stages(group: Group | None, queued: Sequence[Queued]) -> Iterator[str]:
    """Stages of jobs, with the name of the run in front if there are several."""
    owners = {id: one for one in (group.runs() if group else []) for id in _slurm_ids(one)}
    for job in queued:
        owner = owners.get(job.id)
        yield _named(group, owner, job.stage) if owner else job.stage


def _named(group: Group | None, run: Run, stage: str) -> str:
    return f"{run.path.name}: {stage}" if group else stage


def _submitter_lives(jobs: Jobs) -> bool:
    return bool(jobs.submitter) and alive(Watched(jobs.submitter or 0, jobs.submitter_created or 0))


def cancel(run: Run) -> list[str]:
    """Stop what still runs of a run, or of all runs of a group; returns the stages that did.
    OutageError: Slurm is silent."""
    group, queued = Group.of(run), in_queue(run)
    if queued:
        from jobs import slurm

        # All of an array at once where all of it is meant.
        ids = sorted({job.id if home_of(run) != run else job.array for job in queued})
        if not slurm.cancel(ids):
            queue()  # jobs that ended meanwhile are no error; a Slurm that is silent is
        for one in group.runs() if group else [run]:
            _note_cancelled(one, {job.id for job in queued if job.waits})
    stopped = [*_stages(group, queued)]
    for one in group.runs() if group else [run]:
        jobs = Jobs.load_if_there(one)
        if jobs is not None and jobs.executor != "slurm":
            stopped += [_named(group, one, stage) for stage in _cancel_here(one, jobs)]
    return [*dict.fromkeys(stopped)]


def _note_cancelled(run: Run, ids: Collection[str]) -> None:
    """Write down that jobs were cancelled before they began: accounting may never tell."""
    jobs = Jobs.load_if_there(run)
    ended = [job for job in jobs.jobs if job.id in ids] if jobs is not None else []
    for job in ended:
        job.state = "cancelled"
    if jobs is not None and ended:
        jobs.save(run)


def _cancel_here(run: Run, jobs: Jobs) -> list[str]:
    running = [job for job in refresh(run, jobs).jobs if job.state in UNFINISHED]
    if running and jobs.submitter and jobs.submitter_created:
        submitter = Watched(jobs.submitter, jobs.submitter_created)
        if alive(submitter):  # it stops its own jobs, in order
            with suppress(ProcessLookupError):  # it has just ended
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
