"""For tests that interrupt a program, whatever they were started by."""

from __future__ import annotations

import signal


def heed_interrupts() -> None:
    """A shell starts its background jobs, these tests may be one, with SIGINT ignored, and so are
    their children; as `preexec_fn`, this one is not."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
