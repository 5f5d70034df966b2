"""A command in a process of its own: its time and peak memory, taken from the system."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence


def measured(
    words: Sequence[str], environment: Mapping[str, str] | None = None
) -> tuple[str, dict[str, float]]:
    """Standard output of `python -m …`; seconds, seconds of a core, and peak MiB. SystemExit with
    its code if it fails. Keep this process small: on Linux a child begins with its peak."""
    started = time.perf_counter()
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen([sys.executable, "-m", *words], stdout=output, env=environment)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.perf_counter() - started
        if process.returncode:
            raise SystemExit(process.returncode)
        output.seek(0)
        said = output.read()
    cpu = usage.ru_utime + usage.ru_stime
    return said, {"seconds": seconds, "cpu": cpu, "mib": usage.ru_maxrss / 1024}
