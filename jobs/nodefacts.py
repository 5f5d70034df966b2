"""What a node can say of itself before training, in a second and without torch."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Final

from geoagent.config import Config
from geoagent.errors import OutageError, UsageError
from geoagent.files import read_jsonl
from geoagent.modelfolder import check_model, local_folder
from geoagent.run import Run
from geoagent.stages import asks, rows_of
from geoagent.train.checkpoints import latest
from jobs.disk import GIB, needed_bytes
from jobs.plan import StagePlan

FILES: Final = "files"
NETWORK: Final = "network"
DISK: Final = "disk"

_SCRATCH: Final = GIB
"""Free bytes in TMPDIR: compiled kernels and caches go there."""
_SHARED_MEMORY: Final = 256 * 1024**2
"""Free bytes of /dev/shm for each process with a GPU; NCCL takes tens of megabytes a process, and
Docker gives 64 to all of them."""


@dataclass(frozen=True)
class Subject:
    """What is looked at."""

    run: Run
    plan: StagePlan
    config: Config
    leads: bool


def facts(subject: Subject, limit_s: float) -> dict[str, str]:
    """Check → what is wrong. A check that hangs, as file systems do, is among them."""
    found: dict[str, str] = {}
    for name, look in _CHECKS.items():
        problem = _within(limit_s, look, subject)
        if problem is not None:
            found[name] = problem
    return found


def _within(limit_s: float, look: Callable[[Subject], None], subject: Subject) -> str | None:
    said = [f"does not answer within {limit_s:.0f} s"]

    def ask() -> None:
        try:
            look(subject)
            said.clear()
        except (UsageError, OSError) as error:
            said[0] = str(error)

    thread = threading.Thread(target=ask, daemon=True)  # one that hangs must not keep us here
    thread.start()
    thread.join(limit_s)
    return said[0] if said else None


def clock_ahead(folder: Path) -> float:
    """Seconds that this node's clock is ahead of the file system's, which is the same for all
    nodes; 0 where the difference is within the time that writing a file took."""
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".clock-") as file:
        before = time.time()
        file.write(b"what time is it?")
        file.flush()
        os.fsync(file.fileno())
        changed = os.fstat(file.fileno()).st_mtime
        after = time.time()
    return min(after - changed, 0.0) or max(before - changed, 0.0)


def reach(address: str, port: int, limit_s: float) -> str | None:
    """What is wrong if the first node's port does not answer."""
    try:
        socket.create_connection((address, port), timeout=limit_s).close()
    except OSError as error:
        return f"the first node does not answer at {address}:{port} ({error})"
    return None


def _model(subject: Subject) -> None:
    model = subject.config.model
    name = str(subject.run.model) if model.kind == "tiny" else model.path
    folder = local_folder(name)
    if folder is None:
        check_model("model.path", name)  # may be fetched, or is refused
        return
    files = [folder / "config.json", *folder.glob("*.safetensors"), *folder.glob("*.bin")]
    if len(files) == 1:
        raise UsageError(f"{folder}: there are no weights (*.safetensors)")
    for file in files:
        _readable(file)


def _data(subject: Subject) -> None:
    """The first row's picture: prepare has read all of them, but on another node."""
    file = rows_of(subject.config, subject.run, subject.plan.name)
    if not file.is_file():  # there is no row that this stage can use, as training says
        return
    for row in islice(read_jsonl(file), 1):
        for image in row.get("images", []):
            _readable(Path(image))


def _readable(path: Path) -> None:
    try:
        with path.open("rb") as file:
            file.read(1)
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror}): is it mounted?") from error


def _geocoder(subject: Subject) -> None:
    """An online one answers here too: nodes often have no internet."""
    if asks(subject.config, subject.plan.name, "spatial"):
        from geoagent.geo.services import check

        try:
            check(subject.config.rewards.geocoder)
        except OutageError as error:
            raise UsageError(str(error)) from error


def _search(subject: Subject) -> None:
    """An online service answers here too. What is kept of it would say nothing of this node."""
    search = subject.config.rollout.search
    used = subject.plan.name == "grpo" and subject.config.rollout.train
    if not used or search.provider == "offline" or search.replay is not None:
        return
    from geoagent.rollout.search import provider

    with tempfile.TemporaryDirectory() as cache:
        once = replace(search, cache=cache, record=None, patience_s=0.0)
        try:
            provider(once).search("France")
        except OutageError as error:
            raise UsageError(str(error)) from error


def _disk(subject: Subject) -> None:
    """Room for the next checkpoint, asked once: the nodes share it."""
    if not subject.leads:
        return
    newest = latest(subject.run.checkpoints(subject.plan.name))
    needed = needed_bytes(subject.config) if newest is None else _size(newest)
    free = shutil.disk_usage(subject.run.path).free
    if free < needed:
        raise UsageError(
            f"{subject.run.path} has {free / GIB:.1f} GiB free, the next checkpoint may need "
            f"{needed / GIB:.1f}: free some, then --resume"
        )


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _scratch(subject: Subject) -> None:
    folder = Path(os.environ.get("TMPDIR") or "/tmp")
    try:
        with tempfile.NamedTemporaryFile(dir=folder):
            free = shutil.disk_usage(folder).free
    except OSError as error:
        raise UsageError(f"TMPDIR={folder} cannot be written ({error.strerror})") from error
    if free < _SCRATCH:
        raise UsageError(f"TMPDIR={folder} has {free / GIB:.2f} GiB free; it takes 1")


def _shared_memory(subject: Subject) -> None:
    if not subject.plan.resources.gpus_per_node:
        return
    needed = _SHARED_MEMORY * subject.plan.processes
    free = shutil.disk_usage("/dev/shm").free
    if free < needed:
        raise UsageError(
            f"/dev/shm has {free / GIB:.2f} GiB free; {subject.plan.processes} processes take "
            f"{needed / GIB:.2f}"
        )


_CHECKS: Final[dict[str, Callable[[Subject], None]]] = {
    "model": _model,
    "data": _data,
    "geocoder": _geocoder,
    "search": _search,
    DISK: _disk,
    "TMPDIR": _scratch,
    "/dev/shm": _shared_memory,
}
