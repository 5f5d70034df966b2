"""One submission of a run at a time."""

from __future__ import annotations

import fcntl
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from geoagent.errors import UsageError
from geoagent.files import short
from geoagent.run import Run
from jobs.command import command
from jobs.group import home_of

_FILE: Final = "submit.lock"


@contextmanager
def submitting(run: Run) -> Iterator[None]:
    """Hold the run's lock; the runs of a group have one together. The kernel frees it however the
    process ends. UsageError if another submission, here or on another node, holds it."""
    home = home_of(run)
    with (home.path / _FILE).open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(
                f"{short(home.path)}: another submission of it is under way; look at it with "
                f"`{command()} status {short(home.path)}`"
            ) from None
        except OSError as error:  # NFS without a lock service, Lustre mounted without flock
            print(
                f"note: {home.path}: its file system has no locks ({error.strerror}); submit this "
                "run from one place at a time",
                file=sys.stderr,
            )
        yield


def busy(run: Run) -> bool:
    """Whether another submission holds the run's lock."""
    try:
        with submitting(run):
            return False
    except UsageError:
        return True
