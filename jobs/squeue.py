"""What is in Slurm's queue now; works without accounting."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from geoagent.errors import OutageError, UsageError
from geoagent.run import Run
from jobs.state import Jobs

_TAG: Final = re.compile(r"(?:^|\s)geoagent:(\w+):(/.*)$")
_SUBMITTING_S: Final = 600.0
"""A submission whose last job has been written down longer ago than this was cut off."""


@dataclass(frozen=True)
class Queued:
    """A job that waits or runs. `array` is the id of the array that it is an element of, else its
    own; `stage` and `run` are what its tag says, and empty for somebody else's job."""

    id: str
    array: str
    stage: str = ""
    run: str = ""
    waits: bool = False


def tag(run: Run, stage: str) -> str:
    """A job's comment: whose it is, also if its id was never written down."""
    return f"geoagent:{stage}:{run.path.resolve()}"


def queue() -> list[Queued]:
    """This user's jobs, an array's elements one by one. OutageError: no answer."""
    return [_read(line) for line in _ask("%i|%F|%t|%k") if line.strip()]


def reasons() -> dict[str, str]:
    """Why jobs of this user wait, by id, in Slurm's words. OutageError: no answer."""
    found = (line.split(maxsplit=1) for line in _ask("%i %r"))
    return {words[0]: words[1].strip() for words in found if len(words) == 2}


def _ask(form: str) -> list[str]:
    command = ["squeue", "--user", str(os.getuid()), "--noheader", "--array", "--format", form]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.SubprocessError) as error:
        raise OutageError(f"squeue does not answer ({error})") from error
    if result.returncode != 0:
        said = (result.stderr.strip().splitlines() or ["no reason"])[-1]
        raise OutageError(
            f"squeue does not answer ({said}); is SLURM_CONF set as it was at submission?"
        )
    return result.stdout.splitlines()


def _read(line: str) -> Queued:
    id, array, state, comment = [*line.split("|", 3), "", "", ""][:4]
    found = _TAG.search(comment)
    stage, run = (found[1], found[2]) if found else ("", "")
    return Queued(id, array or id, stage, run, waits=state == "PD")


def clients_queued(run: Run, stages: Collection[str]) -> bool:
    """Whether any job of these stages waits or runs; True as well while that is not known."""
    try:
        jobs = Jobs.load(run)
        if not jobs.complete and time.time() - run.jobs_file.stat().st_mtime < _SUBMITTING_S:
            return True
        ids = {job.id for job in jobs.jobs if job.stage in stages}
        mine = str(run.path.resolve())
        return any(
            job.id in ids or job.array in ids or (job.run == mine and job.stage in stages)
            for job in queue()
        )
    except (OutageError, UsageError, OSError):
        return True
