"""Errors that a person can cause and can mend: shown as one line, never as a traceback."""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Final, NoReturn

USAGE: Final = 2
"""Exit code of a program that a person has to mend something for."""
OUTAGE: Final = 75
"""Exit code of a program that a service it needs has left alone: try again later."""


class UsageError(Exception):
    """Something that was asked for cannot be done as asked; the message says what to change.

    Programs print `error: MESSAGE` on standard error and exit with code 2.
    """


class OutageError(RuntimeError):
    """A service that a result depends on did not answer; no result may be made up for it."""


def nearest(name: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """What to say of a name that is none of the known ones: the one that may have been meant, or
    all of them. `cutoff` is how alike it has to be, from 0 to 1 (difflib's ratio)."""
    names = list(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=cutoff)
    return f"did you mean {near[0]}?" if near else f"there are: {', '.join(names)}"


def exit_code(program: Callable[[], int]) -> int:
    """Run a program; its own exit code, or 2 for a UsageError and 75 (try again later) for an
    OutageError, each told in one line on standard error. Everything else is raised."""
    try:
        return program()
    except (UsageError, OutageError) as error:
        return tell(error)


def end_now(code: int) -> NoReturn:
    """End this process at once, with what it has printed; the interpreter is not taken apart."""
    with suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def tell(error: UsageError | OutageError) -> int:
    """Print an error in one line on standard error; returns the exit code that goes with it."""
    print(f"error: {error}", file=sys.stderr, flush=True)
    return USAGE if isinstance(error, UsageError) else OUTAGE
