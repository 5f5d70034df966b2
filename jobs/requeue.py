"""Has Slurm run a job again, where that may help and nobody is needed for it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Collection
from pathlib import Path
from typing import Final

from geoagent.errors import OUTAGE
from geoagent.files import read_if_there, write_json
from jobs.attempt import ATTEMPT_FILE, Attempt, attempts
from jobs.causes import PORT_TAKEN

_END_S: Final = 120.0
"""How long Slurm may take to end a job that it was asked to requeue."""
_EXCLUDE_S: Final = 4.0
"""Less than KillWait, whose default is 30 s."""


def reason(code: int, cause: str | None) -> str | None:
    """Why this job should run again after its program ended so; None if it should not.

    A job that is pre-empted where `PreemptMode=CANCEL` would otherwise be gone for good. What a
    person has to mend, and what fails by itself, would only fail again.
    """
    if job_id() is None:
        return None
    if code == OUTAGE:
        return "a service was away"
    if cause == PORT_TAKEN:
        return PORT_TAKEN
    return "pre-empted" if _preempted() else None


def requeue(
    why: str, attempt: Attempt, stage: Path, limit: int, without: Collection[str] = ()
) -> None:
    """Ask Slurm to run this job again, on other nodes than `without`, which ends it.

    Returns if it was `limit` times already, or if Slurm refuses. Pre-emption is nobody's fault and
    does not count.
    """
    job = job_id()
    earlier = [read_if_there(logs / ATTEMPT_FILE) for logs in attempts(stage)]
    ours = [one for one in earlier if str(one.get("job", "")).partition(".")[0] == job]
    counted = [one for one in ours if one.get("requeued", "pre-empted") != "pre-empted"]
    if why != "pre-empted" and len(counted) >= limit:
        _say(f"{why}; requeued {limit} times already (cluster.requeues)")
        return
    if without and not _enough_without(_excluded(str(job), without), stage.parent):
        _say(f"{why}; no other nodes would do")
        return
    noted = attempt.logs / ATTEMPT_FILE
    write_json(noted, {**read_if_there(noted), "requeued": why})
    _say(f"{why}: asking Slurm to run this job again")
    # Slurm ends this job at once; ignoring that, here and in scontrol, leaves KillWait seconds.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    refused = _scontrol("requeue", str(job))
    if refused:
        _say(f"Slurm refuses: {refused}")
        return
    if without:
        _exclude(str(job), without)
    time.sleep(_END_S)  # leaving now would count as a failure if it came first


def _exclude(job: str, nodes: Collection[str]) -> None:
    """Keep a job that has just been requeued off these nodes. Slurm takes that for a job that
    waits only, and this one does not start again before its old credentials have expired."""
    everything = _excluded(job, nodes)
    deadline = time.monotonic() + _EXCLUDE_S
    while refused := _scontrol("update", f"jobid={job}", f"excnodelist={everything}"):
        if time.monotonic() > deadline:
            _say(f"{', '.join(nodes)} cannot be excluded: {refused}")
            return
        time.sleep(0.1)


def _excluded(job: str, nodes: Collection[str]) -> str:
    """These nodes, and those that the job is kept off already."""
    known = _show(job).get("ExcNodeList", "(null)")
    return ",".join([*([] if known == "(null)" else [known]), *sorted(nodes)])


def _enough_without(nodes: str, run: Path) -> bool:
    """Whether the job could run without these nodes; one that cannot would wait for ever."""
    job = os.environ.get("SLURM_ARRAY_JOB_ID") or job_id()
    places = [folder / "submitit" / f"{job}_submission.sh" for folder in (run, run.parent)]
    script = next(filter(Path.is_file, places), None)  # the second is a group's
    if script is None:
        return True
    # Its dependencies are done, and Slurm may have forgotten them.
    command = ["sbatch", "--test-only", "--dependency=", f"--exclude={nodes}", str(script)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    return "node configuration is not available" not in result.stderr + result.stdout


def _scontrol(*words: str) -> str:
    """What scontrol says if it refuses."""
    result = subprocess.run(["scontrol", *words], capture_output=True, text=True, check=False)
    return result.stderr.strip() or "no reason" if result.returncode != 0 else ""


def job_id() -> str | None:
    """Of the Slurm job that this process belongs to (an array's element has its own)."""
    return os.environ.get("SLURM_JOB_ID")


def _preempted() -> bool:
    """Whether the scheduler has told this job to make room, and has not ended it yet. False for
    one that was cancelled or is out of time: it would come back from the dead."""
    found = _show(str(job_id()))
    return found.get("JobState") == "RUNNING" and found.get("PreemptTime", "None") != "None"


def _show(job: str) -> dict[str, str]:
    """What Slurm knows of a job; {} if it does not answer."""
    command = ["scontrol", "show", "job", "--oneliner", job]
    try:
        text = subprocess.run(command, capture_output=True, text=True, timeout=60).stdout
    except (OSError, subprocess.SubprocessError):
        return {}
    return dict(re.findall(r"(\w+)=(\S+)", text))


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)
