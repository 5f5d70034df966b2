"""Errors that a person can cause and can mend: shown as one line, never as a traceback."""

from __future__ import annotations


class UsageError(Exception):
    """Something that was asked for cannot be done as asked; the message says what to change.

    Programs print `error: MESSAGE` on standard error and exit with code 2.
    """


class OutageError(RuntimeError):
    """A service that a result depends on did not answer; no result may be made up for it."""
