"""jobs.json: which jobs a run has, for whoever asks later."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from typing import Any

from geoagent.files import read_if_there, read_json, write_json
from geoagent.run import Run

UNFINISHED = ("waiting", "submitted", "running")
NOT_STARTED = "not started"
"""Of a stage whose submission ended before its turn came."""


@dataclass
class JobRecord:
    """One job. `pid` and `created` identify its process where it runs on this machine."""

    stage: str
    id: str = ""
    state: str = "waiting"
    after: list[str] = field(default_factory=list)
    pid: int | None = None
    created: float | None = None
    started: float | None = None
    ended: float | None = None
    cause: str | None = None
    peak_gib: float | None = None
    nodes: str = ""
    waits: str = ""
    """Why it has not begun, in Slurm's words."""

    @property
    def seconds(self) -> float | None:
        if self.started is None:
            return None
        return (time.time() if self.ended is None else self.ended) - self.started


@dataclass
class Jobs:
    """All jobs of a run's last submission, and the ids of those that Slurm had before it.

    `earlier` has by stage what earlier submissions have given to Slurm, oldest first. `complete`
    is False from the first job of a submission to its last, and stays so if it was cut off; of a
    run in a group, that is its own last job.
    """

    executor: str
    submitter: int | None = None
    submitter_created: float | None = None
    jobs: list[JobRecord] = field(default_factory=list)
    earlier: dict[str, list[str]] = field(default_factory=dict)
    complete: bool = True

    def save(self, run: Run) -> None:
        write_json(run.jobs_file, asdict(self))

    @classmethod
    def load(cls, run: Run) -> Jobs:
        """UsageError if the run has no jobs.json."""
        document: dict[str, Any] = read_json(run.jobs_file)
        records = [JobRecord(**record) for record in document.pop("jobs")]
        return cls(**document, jobs=records)

    @classmethod
    def load_if_there(cls, run: Run) -> Jobs | None:
        """None if nothing of the run was submitted yet."""
        return cls.load(run) if run.jobs_file.is_file() else None

    def of(self, stage: str) -> JobRecord:
        return next(job for job in self.jobs if job.stage == stage)


def finished(run: Run, stage: str) -> JobRecord:
    """The record of a stage that has finished, whoever knows its job."""
    seconds = read_if_there(run.done_file(stage)).get("seconds")
    return JobRecord(stage, state="finished", started=0.0, ended=seconds)


def earlier_jobs(run: Run) -> dict[str, list[str]]:
    """Ids of all jobs that Slurm has had for a run, by stage: `Jobs.earlier` of the next one."""
    before = Jobs.load_if_there(run)
    if before is None:
        return {}
    found = {stage: list(ids) for stage, ids in before.earlier.items()}
    for job in before.jobs:
        if before.executor == "slurm" and job.id:
            found.setdefault(job.stage, []).append(job.id)
    return found
