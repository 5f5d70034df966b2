"""jobs.json: which jobs a run has, for whoever asks later."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from typing import Any

from geoagent.files import read_json, write_json
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

    @property
    def seconds(self) -> float | None:
        if self.started is None:
            return None
        return (self.ended or time.time()) - self.started


@dataclass
class Jobs:
    """All jobs of a run's last submission."""

    executor: str
    submitter: int | None = None
    submitter_created: float | None = None
    jobs: list[JobRecord] = field(default_factory=list)

    def save(self, run: Run) -> None:
        write_json(run.jobs_file, asdict(self))

    @classmethod
    def load(cls, run: Run) -> Jobs:
        """UsageError if the run has no jobs.json."""
        document: dict[str, Any] = read_json(run.jobs_file)
        records = [JobRecord(**record) for record in document.pop("jobs")]
        return cls(**document, jobs=records)

    def of(self, stage: str) -> JobRecord:
        return next(job for job in self.jobs if job.stage == stage)
