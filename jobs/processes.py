"""Processes by pid and start time; nothing is ever found or stopped by its name."""

from __future__ import annotations

import ctypes
import os
import shlex
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Final

import psutil

_POLL_S: Final = 0.1
_KILLED_S: Final = 5.0
"""How long the kernel may take over a process that was killed."""
_CLOCK_S: Final = 60.0
"""Start times are counted from when the machine was started, as its clock has it now: that moves
when the clock is set. All pids do not come round in so short a time."""
_SLURM_SENDS: Final = (signal.SIGUSR2, signal.SIGTERM)
"""The warning before the end of a job's time or before it has to make room, and the end."""


@dataclass(frozen=True)
class Watched:
    """A process that cannot be mistaken for a later one with the same pid."""

    pid: int
    created: float

    @classmethod
    def of(cls, pid: int | None = None) -> Watched:
        process = psutil.Process(pid or os.getpid())
        return cls(process.pid, process.create_time())


def alive(watched: Watched) -> bool:
    """Whether that very process still runs (a zombie does not)."""
    try:
        process = psutil.Process(watched.pid)
        same = abs(process.create_time() - watched.created) < _CLOCK_S
        return same and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def tree(pid: int) -> list[psutil.Process]:
    """A process and all that descend from it, or are in its process group or session.

    The session finds children whose own parent has gone.
    """
    found: dict[int, psutil.Process] = {}
    try:
        root = psutil.Process(pid)
        found[pid] = root
        for child in root.children(recursive=True):
            found[child.pid] = child
    except psutil.NoSuchProcess:
        pass
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and os.getsid(process.pid) == pid:
                found.setdefault(process.pid, process)
        except (ProcessLookupError, PermissionError):
            continue
    return list(found.values())


def memory_of_tree(pid: int) -> int:
    """Resident bytes of a process and its descendants together."""
    total = 0
    try:
        root = psutil.Process(pid)
        for process in (root, *root.children(recursive=True)):
            try:
                total += process.memory_info().rss
            except psutil.NoSuchProcess:
                continue
    except psutil.NoSuchProcess:
        return total
    return total


def stop_tree(pid: int, grace_s: float) -> None:
    """End a process and all of its tree: asked first, then killed after `grace_s` seconds."""
    members = [process for process in tree(pid) if process.is_running()]
    for process in members:
        try:
            process.terminate()
        except psutil.NoSuchProcess:
            continue
    left = [*{*_wait(members, grace_s), *tree(pid)}]
    for process in left:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    _wait(left, _KILLED_S)


def _wait(processes: list[psutil.Process], seconds: float) -> list[psutil.Process]:
    """Those that still run after so many seconds. A zombie has ended: its parent, which may be
    an init that takes its time, only has not asked how."""
    deadline = time.monotonic() + seconds
    while left := [process for process in processes if _runs(process)]:
        if time.monotonic() > deadline:
            break
        psutil.wait_procs(left, timeout=_POLL_S)
    return left


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@contextmanager
def signals_wait() -> Iterator[None]:
    """What would end this process does so at the end of the block: Popen, interrupted between the
    start of a process and its return, leaves one that nobody knows of. Main thread only."""
    came: list[int] = []
    with ExitStack() as stack:
        for number in (signal.SIGINT, signal.SIGTERM):
            handler = signal.getsignal(number)
            if callable(handler):  # what is ignored, or simply ends us, stays as it is
                stack.callback(signal.signal, number, handler)
                signal.signal(number, lambda it, _: came.append(it))
        yield
    if came:
        raise KeyboardInterrupt


def held_python() -> str:
    """This Python as a shell command, for a program that calls `heed_slurm` once it knows what to
    do with Slurm's signals. They are kept until then: one that comes earlier would kill it, and a
    job that is killed is not run again."""
    code = (
        "import os, signal, sys; "
        f"signal.pthread_sigmask(signal.SIG_BLOCK, {[int(it) for it in _SLURM_SENDS]}); "
        "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
    )
    return shlex.join([sys.executable, "-ISc", code])


def heed_slurm() -> None:
    """Take Slurm's signals from now on, and those that `held_python` has kept."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SLURM_SENDS)


def die_with_parent() -> Callable[[], None]:
    """For preexec_fn: the child is told to end when its parent dies, however that comes about.

    SIGINT, which local jobs are started without (see jobs.local), reaches it again. SIGUSR2, by
    which Slurm warns all processes of a job, ends those that know nothing of it: only submitit's
    process is to take it, and asks the program to save in another way (StageTask.checkpoint).
    """
    library = ctypes.CDLL(None, use_errno=True)
    option = 1  # PR_SET_PDEATHSIG

    def prepare() -> None:
        library.prctl(option, signal.SIGTERM)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        signal.signal(signal.SIGUSR2, signal.SIG_IGN)

    return prepare
