"""How long a bias-reducing sample of a million rows takes, and its memory: `make bench-sampling`.

The rows are made by chance: at the gazetteer's cities, which are mostly where cameras are as well,
up to 0.2° off. They share 50,000 images, so that as many files need not be made as rows. The
command runs in a process of its own: once on rows that have a country's code, once on rows that
have coordinates only.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import numpy as np
from rich.console import Console
from rich.table import Table

from geoagent.errors import UsageError, exit_code
from geoagent.files import read_json, read_jsonl, write_json, write_jsonl
from geoagent.geo.gazetteer import gazetteer

IMAGES: Final = 50_000
KINDS: Final = {"code": "rows have a country's code", "coordinates": "rows have coordinates only"}

CHILD: Final = """
import re, sys, time
from geoagent.cli import main
code = main(sys.argv[1:])
print(time.process_time(), re.search(r"VmHWM:\\s*(\\d+)", open("/proc/self/status").read())[1])
sys.exit(code)
"""
"""The command, then seconds of CPU time and peak memory in KiB. What the system tells the parent of
its child counts the parent's own memory, too."""


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000, metavar="N", help="(1000000)")
    parser.add_argument("--count", type=int, default=20_000, metavar="M", help="(20000)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here as well")
    options = parser.parse_args(arguments)

    def program() -> int:
        figures = measure(options.rows, options.count)
        if options.json:
            write_json(options.json, figures)
        show(figures)
        return 0

    return exit_code(program)


def measure(rows: int, count: int) -> dict[str, Any]:
    """All figures, as JSON."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        image = folder / "code" / "images"
        image.mkdir(parents=True)
        for number in range(min(IMAGES, rows)):
            (image / f"{number:05d}.jpg").write_bytes(b"\xff\xd8")
        cases = {}
        for kind in KINDS:
            make(folder / kind, rows, kind)
            write_json(folder / kind / "dataset.json", {"images": str(folder / "code")})
            cases[kind] = run(folder / kind, folder / f"{kind}-sample", count)
    return {"cores": len(os.sched_getaffinity(0)), "rows": rows, "count": count, "cases": cases}


def make(folder: Path, rows: int, kind: str) -> None:
    """A dataset folder's records.jsonl."""
    folder.mkdir(exist_ok=True)
    cities = gazetteer().all_cities()
    chance = np.random.default_rng(0)
    numbers = chance.integers(len(cities), size=rows)
    off = chance.uniform(-0.2, 0.2, size=(rows, 2))

    def lines() -> Any:
        for number, (city, (north, east)) in enumerate(
            zip(numbers.tolist(), off.tolist(), strict=True)
        ):
            name, code, region, latitude, longitude, _ = cities[city]
            known = {"country": code, "region": region, "city": name, "country_code": code}
            yield {
                "id": str(number),
                "image": f"images/{number % IMAGES:05d}.jpg",
                "latitude": round(min(max(latitude + north, -90.0), 90.0), 5),
                "longitude": round(min(max(longitude + east, -180.0), 180.0), 5),
                **(known if kind == "code" else {}),
            }

    write_jsonl(folder / "records.jsonl", lines())


def run(source: Path, target: Path, count: int) -> dict[str, Any]:
    """The command's seconds and peak memory; UsageError unless it made what was asked for."""
    words = ["data", "sample", str(source), str(target), "--count", str(count)]
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", CHILD, *words], capture_output=True, text=True, check=False
    )
    seconds = time.perf_counter() - started
    if done.returncode:
        raise UsageError(f"{' '.join(words)} failed: {done.stderr[-2000:]}")
    *_, cpu_s, peak_kib = done.stdout.split()
    made = read_json(target / "sample.json")
    ids = {row["id"] for row in read_jsonl(target / "records.jsonl")}
    if len(ids) != count:
        raise UsageError(f"{target}: {len(ids)} different rows instead of {count}")
    return {
        "seconds": round(seconds, 1),
        "cpu_seconds": round(float(cpu_s), 1),
        "peak_mib": round(int(peak_kib) / 1024),
        "file_mib": round((source / "records.jsonl").stat().st_size / 2**20),
        "at_sea": made["sources"][0]["at_sea"],
        "images": made["images"],
    }


def show(figures: dict[str, Any]) -> None:
    """Print the figures on standard output."""
    table = Table(title=f"{figures['count']:,} of {figures['rows']:,} rows")
    for column in ("source", "seconds", "CPU s", "peak MiB", "records.jsonl MiB", "images"):
        table.add_column(column, justify="left" if column == "source" else "right")
    for kind, row in figures["cases"].items():
        times = f"{row['seconds']}", f"{row['cpu_seconds']}"
        sizes = f"{row['peak_mib']:,}", f"{row['file_mib']:,}"
        table.add_row(KINDS[kind], *times, *sizes, f"{sum(row['images'].values()):,}")
    Console().print(table)


if __name__ == "__main__":
    sys.exit(main())
