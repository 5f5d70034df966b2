"""What Slurm's accounting knows of jobs, in this project's words."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

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
_CAUSES: Final = {
    "TIMEOUT": "out of time, more often than cluster.requeues: raise time_minutes, then --resume",
    "DEADLINE": "its deadline has passed",
    "OUT_OF_MEMORY": "out of memory: raise memory_gb or lower the batch size, then --resume",
    "NODE_FAIL": "its node failed: --resume goes on from the last checkpoint",
    "BOOT_FAIL": "its node did not start: --resume",
}
_FORMAT: Final = "JobIDRaw,JobID,State,ElapsedRaw,NodeList"


@dataclass(frozen=True)
class Facts:
    """State in this project's words, its cause if Slurm is the one who knows it, running time of
    the last attempt in seconds, and the nodes it has or had."""

    state: str
    cause: str | None
    seconds: float
    nodes: str


def facts(ids: Sequence[str]) -> dict[str, Facts]:
    """By job id, from sacct; {} where there is no accounting."""
    command = ["sacct", "-X", "-n", "-P", "-o", _FORMAT, "-j", ",".join(ids)]
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return {}
    found: dict[str, Facts] = {}
    waiting: dict[str, Facts] = {}
    for line in result.stdout.splitlines():
        raw, shown, state, elapsed, nodes = (line.split("|") + [""] * 5)[:5]
        word = (state.split() or [""])[0]
        seconds = float(elapsed) if elapsed.isdigit() else 0.0
        nodes = "" if nodes == "None assigned" else nodes
        known = Facts(_STATES.get(word, "failed"), _CAUSES.get(word), seconds, nodes)
        for name in (raw, shown, shown.partition("_")[0]):
            found[name] = known
        if "_[" in shown:
            waiting[shown.partition("_")[0]] = known
    # Elements of an array that have not begun have one row together, such as 7_[2-9%2].
    return {
        id: waiting[id.partition("_")[0]] for id in ids if id.partition("_")[0] in waiting
    } | found
