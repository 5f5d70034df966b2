"""What is in Slurm's queue now; works without accounting."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Collection

from geoagent.errors import OutageError, UsageError
from geoagent.run import Run
from jobs.state import Jobs


def queued() -> set[str]:
    """Ids of this user's jobs that wait or run (an array's own id). OutageError: no answer."""
    command = ["squeue", "--noheader", "--user", str(os.getuid()), "--format", "%F"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    except (OSError, subprocess.SubprocessError) as error:
        raise OutageError(f"squeue does not answer ({error})") from error
    return set(result.stdout.split())


def clients_queued(run: Run, stages: Collection[str]) -> bool:
    """Whether any job of these stages waits or runs; True as well while that is not known."""
    try:
        ids = {job.stage: job.id for job in Jobs.load(run).jobs}
        return not ids.keys() >= set(stages) or bool(queued() & {ids[name] for name in stages})
    except (OutageError, UsageError):
        return True
