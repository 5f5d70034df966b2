"""Has Slurm run a job again, where that may help and nobody is needed for it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from geoagent.files import read_if_there, write_json
from jobs.attempt import ATTEMPT_FILE, Attempt, attempts
from jobs.causes import PORT_TAKEN

_OUTAGE: Final = 75
"""Exit code of a program that a service it needs has left alone (geoagent.errors)."""
_END_S: Final = 120.0
"""How long Slurm may take to end a job that it was asked to requeue."""


def reason(code: int, cause: str | None) -> str | None:
    """Why this job should run again after its program ended so; None if it should not.

    A job that is pre-empted where `PreemptMode=CANCEL` would otherwise be gone for good. What a
    person has to mend, and what fails by itself, would only fail again.
    """
    if job_id() is None:
        return None
    if code == _OUTAGE:
        return "a service was away"
    if cause == PORT_TAKEN:
        return PORT_TAKEN
    return "pre-empted" if _preempted() else None


def requeue(why: str, attempt: Attempt, stage: Path, limit: int) -> None:
    """Ask Slurm to run this job again, which ends it; returns if it was `limit` times already, or
    if Slurm refuses. Pre-emption is nobody's fault and does not count."""
    job = job_id()
    earlier = [read_if_there(logs / ATTEMPT_FILE) for logs in attempts(stage)]
    ours = [one for one in earlier if str(one.get("job", "")).partition(".")[0] == job]
    counted = [one for one in ours if one.get("requeued", "pre-empted") != "pre-empted"]
    if why != "pre-empted" and len(counted) >= limit:
        _say(f"{why}; requeued {limit} times already (cluster.requeues)")
        return
    noted = attempt.logs / ATTEMPT_FILE
    write_json(noted, {**read_if_there(noted), "requeued": why})
    _say(f"{why}: asking Slurm to run this job again")
    result = subprocess.run(["scontrol", "requeue", str(job)], capture_output=True, text=True)
    if result.returncode != 0:
        _say(f"Slurm refuses: {result.stderr.strip()}")
        return
    time.sleep(_END_S)  # leaving now would count as a failure if it came first


def job_id() -> str | None:
    """Of the Slurm job that this process belongs to (an array's element has its own)."""
    return os.environ.get("SLURM_JOB_ID")


def _preempted() -> bool:
    """Whether the scheduler has told this job to make room, and has not ended it yet. False for
    one that was cancelled or is out of time: it would come back from the dead."""
    command = ["scontrol", "show", "job", "--oneliner", str(job_id())]
    try:
        text = subprocess.run(command, capture_output=True, text=True, timeout=60).stdout
    except (OSError, subprocess.SubprocessError):
        return False
    found = dict(re.findall(r"(\w+)=(\S+)", text))
    return found.get("JobState") == "RUNNING" and found.get("PreemptTime", "None") != "None"


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)
