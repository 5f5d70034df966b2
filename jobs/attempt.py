"""One try of a stage, which all nodes of its job share: its number, its logs, where they meet."""

from __future__ import annotations

import os
import socket
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from geoagent.files import read_if_there, write_json
from jobs.container.said import INSIDE

ATTEMPT_FILE: Final = "attempt.json"
_WAIT_S: Final = 120.0
"""How long the other nodes wait for the first: file systems show new files late."""
_POLL_S: Final = 0.2


class NotBegun(RuntimeError):
    """The first node of the job has not begun this attempt."""


@dataclass(frozen=True)
class Attempt:
    """`node` of `nodes` counts from 0; node 0 leads. `address` and `port` are where they meet."""

    number: int
    logs: Path
    node: int = 0
    nodes: int = 1
    address: str = ""
    port: int = 0

    @property
    def leads(self) -> bool:
        return self.node == 0

    def log(self, name: str) -> Path:
        """A log of this node; the first node's have plain names."""
        return self.logs / (f"{name}.log" if self.leads else f"node-{self.node}.{name}.log")

    def errors(self) -> list[Path]:
        """Standard errors of the attempt, this node's first."""
        mine = self.log("err")
        return [mine, *sorted(path for path in self.logs.glob("*err.log") if path != mine)]


def join(stage: Path) -> Attempt:
    """Begin an attempt on the first node, or join it on the others. NotBegun after two minutes."""
    node = int(os.environ.get("SLURM_NODEID", "0"))
    nodes = int(os.environ.get("SLURM_JOB_NUM_NODES", "1"))
    found = _begin(stage) if node == 0 else _wait_for(stage)
    logs, document = found
    return Attempt(_number(logs), logs, node, nodes, document["address"], document["port"])


def attempts(stage: Path) -> list[Path]:
    """Log folders of a stage's attempts, oldest first."""
    return sorted(stage.glob("logs/attempt-*"), key=_number)


def newest_logs(stage: Path, pattern: str = "*.log") -> list[Path]:
    """Logs of a stage's newest attempt, the first node's first."""
    found = attempts(stage)
    return sorted(found[-1].glob(pattern)) if found else []


def _number(logs: Path) -> int:
    return int(logs.name.removeprefix("attempt-"))


def _key() -> str:
    """Tells a job, and each requeue of it, from others; a run has at most one at a time."""
    variables = ("SLURM_JOB_ID", "SLURM_RESTART_COUNT")
    return ".".join(os.environ.get(name, "0") for name in variables)


def _begin(stage: Path) -> tuple[Path, dict[str, Any]]:
    logs = _new_folder(stage)
    with socket.socket() as probe:  # a port that nobody has, unlike one made from the job's id
        probe.bind(("", 0))
        port = probe.getsockname()[1]
    address = os.environ.get("SLURMD_NODENAME", socket.gethostname())
    document = {"job": _key(), "address": address, "port": port, "began": time.time()}
    if INSIDE in os.environ:
        document["image"] = os.environ[INSIDE]
    write_json(logs / ATTEMPT_FILE, document)
    return logs, document


def _new_folder(stage: Path) -> Path:
    earlier = attempts(stage)
    number = _number(earlier[-1]) if earlier else 0
    while True:  # replicas of the agent begin at the same time
        number += 1
        logs = stage / "logs" / f"attempt-{number}"
        with suppress(FileExistsError):
            logs.mkdir(parents=True)
            return logs


def _wait_for(stage: Path) -> tuple[Path, dict[str, Any]]:
    deadline = time.monotonic() + _WAIT_S
    while time.monotonic() < deadline:
        for logs in reversed(attempts(stage)):
            document = read_if_there(logs / ATTEMPT_FILE)
            if document.get("job") == _key():
                return logs, document
        time.sleep(_POLL_S)
    raise NotBegun(f"the first node of job {_key()} has not begun within {_WAIT_S:.0f} s")
