"""For tests that interrupt a program, whatever they were started by."""

from __future__ import annotations

import signal

import psutil


def heed_interrupts() -> None:
    """A shell starts its background jobs, these tests may be one, with SIGINT ignored, and so are
    their children; as `preexec_fn`, this one is not."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def ended(pid: int) -> bool:
    """Whether a process has, even if nobody has asked for its exit code yet."""
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:  # it may go while one looks
        return True
