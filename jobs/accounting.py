"""What Slurm's accounting knows of jobs, in this project's words."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import Final

from jobs.causes import of_state

_STATES: Final = {
    "PENDING": "waiting",
    "REQUEUED": "waiting",
    "REQUEUE_FED": "waiting",
    "REQUEUE_HOLD": "waiting",
    "RESV_DEL_HOLD": "waiting",
    "SPECIAL_EXIT": "waiting",
    "CONFIGURING": "running",
    "RUNNING": "running",
    "COMPLETING": "running",
    "STAGE_OUT": "running",
    "SIGNALING": "running",
    "STOPPED": "running",
    "SUSPENDED": "running",
    "RESIZING": "running",
    "PREEMPTED": "pre-empted",
    "COMPLETED": "finished",
    "CANCELLED": "cancelled",
    "REVOKED": "cancelled",
}
"""The rest are kinds of failure."""
_ORDER: Final = ("running", "waiting", "failed", "cancelled", "pre-empted", "finished")
"""The state of an array is the first of these that one of its elements has."""
_FORMAT: Final = "JobIDRaw,JobID,State,ElapsedRaw,AllocTRES,Submit,NodeList"


@dataclass(frozen=True)
class Facts:
    """State in this project's words, its cause if Slurm is the one who knows it, running time of
    the last attempt in seconds, and the nodes it has or had; of an array, of all its elements.

    `attempts`, `gpu_seconds` and `cpu_seconds` (what was allocated times how long) are of all
    attempts, requeued ones too.
    """

    state: str
    cause: str | None
    seconds: float
    nodes: str
    attempts: int = 1
    gpu_seconds: float = 0.0
    cpu_seconds: float = 0.0


def facts(ids: Sequence[str]) -> dict[str, Facts]:
    """By job id, from sacct; {} where there is no accounting."""
    if not ids:
        return {}
    command = ["sacct", "-D", "-X", "-n", "-P", "-o", _FORMAT, "-j", ",".join(ids)]
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return {}
    found = _read(result.stdout)
    # Elements of an array that have not begun have one row together, such as 7_[2-9%2].
    waiting = {name.partition("_")[0]: one for name, one in found.items() if "_[" in name}
    alike = {name: waiting.get(name.partition("_")[0]) for name in ids}
    return {name: one for name, one in alike.items() if one} | found


def _read(text: str) -> dict[str, Facts]:
    """What sacct has printed: a line an attempt."""
    attempts: dict[str, list[tuple[str, Facts]]] = {}
    names: dict[str, list[str]] = {}
    for line in text.splitlines():
        raw, shown, state, elapsed, tres, submitted, nodes = (line.split("|") + [""] * 7)[:7]
        attempts.setdefault(raw, []).append((submitted, _attempt(state, elapsed, tres, nodes)))
        names[raw] = list({raw: 0, shown: 0, shown.partition("_")[0]: 0})
    elements: dict[str, list[Facts]] = {}
    for raw, found in attempts.items():
        job = _newest([one for _, one in sorted(found, key=itemgetter(0))])
        for name in names[raw]:
            elements.setdefault(name, []).append(job)
    # An array's own id is also the raw id of one of its elements.
    return {name: _together(jobs) for name, jobs in elements.items()}


def _attempt(state: str, elapsed: str, tres: str, nodes: str) -> Facts:
    word = (state.split() or [""])[0]
    seconds = float(elapsed) if elapsed.isdigit() else 0.0
    held = dict(part.partition("=")[::2] for part in tres.split(","))
    gpus, cpus = (seconds * float(held.get(name) or 0) for name in ("gres/gpu", "cpu"))
    nodes = "" if nodes == "None assigned" else nodes
    return Facts(_STATES.get(word, "failed"), of_state(word), seconds, nodes, 1, gpus, cpus)


def _newest(attempts: Sequence[Facts]) -> Facts:
    """The last attempt, with what all have used."""
    return replace(
        attempts[-1],
        attempts=len(attempts),
        gpu_seconds=sum(one.gpu_seconds for one in attempts),
        cpu_seconds=sum(one.cpu_seconds for one in attempts),
    )


def _together(jobs: Sequence[Facts]) -> Facts:
    """An array as one job."""
    state = min((job.state for job in jobs), key=_ORDER.index)
    alike = [job for job in jobs if job.state == state]
    return Facts(
        state,
        next((job.cause for job in alike if job.cause), None),
        max(job.seconds for job in jobs),
        ",".join(dict.fromkeys(job.nodes for job in alike if job.nodes)),
        max(job.attempts for job in jobs),
        sum(job.gpu_seconds for job in jobs),
        sum(job.cpu_seconds for job in jobs),
    )
