"""A process that does nothing but look texts up; `benchmarks/geocoder.py` starts it.

Reads groups of texts as a JSON object on standard input, writes figures as one on standard output.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any


def main() -> None:
    groups: dict[str, list[str]] = json.load(sys.stdin)
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    json.dump(measure(groups), sys.stdout)


def measure(groups: dict[str, list[str]]) -> dict[str, Any]:
    """Seconds of the import, from then to the first answer, and by group for all texts at first and
    once more; MiB then."""
    started = time.perf_counter()
    from geoagent.geo.geocoder import geocode

    imported = time.perf_counter()
    geocode("Sweden; Uppsala")
    answered = time.perf_counter()
    seconds: dict[str, list[float]] = {}
    for _ in range(2):
        for name, texts in groups.items():
            started = time.perf_counter()
            for text in texts:
                geocode(text)
            seconds.setdefault(name, []).append(time.perf_counter() - started)
    return {
        "import_s": imported - started,
        "first_answer_s": answered - imported,
        "seconds": seconds,
        **_memory(),
    }


def _memory() -> dict[str, float]:
    lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
    fields = dict(line.split(":", 1) for line in lines)
    return {
        "rss_mib": int(fields["VmRSS"].split()[0]) / 1024,
        "peak_mib": int(fields["VmHWM"].split()[0]) / 1024,
    }


if __name__ == "__main__":
    main()
