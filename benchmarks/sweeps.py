"""How long a sweep of a thousand points takes to plan, and to submit in arrays of a hundred:
`make bench-sweeps`.

The points are a grid of three reward weights over one SFT. They are planned with `--dry-run`, and
then, where Slurm is installed, submitted to a mini cluster that allows arrays of a hundred; its
jobs are told to begin in an hour, are asked about with `jobs status`, and are cancelled. `--side 1`
and `--side 2` are submissions of one point and of eight. launch.py submits to a cluster with the
usual limit, where the first job begins.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from harness import Figures, bars, run, show_goals, table, verdict
from measured import measured
from rich.console import Console
from submitting import Calls, home_of, sweep_words, told

from jobs.minicluster.cluster import MiniCluster
from jobs.minicluster.layout import Shape
from jobs.minicluster.packages import missing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

GOAL_S: Final = 5.0
GOAL_MIB: Final = 300
MOST: Final = 100
"""Elements of an array."""
PARALLEL: Final = 8


def measure(options: argparse.Namespace) -> Figures:
    """All figures, as JSON."""
    side = options.side
    with tempfile.TemporaryDirectory(prefix="mini") as place:
        folder = Path(place)
        words = sweep_words(folder, [side] * 3)
        _, planned = measured([*words, "cluster=local", "--dry-run"])
        figures = {
            "points": side**3,
            "planned": planned,
            "goals": [
                verdict("planning: seconds", planned["seconds"], GOAL_S, most=True),
                verdict("planning: MiB", planned["mib"], GOAL_MIB, most=True),
            ],
        }
        if missing():
            print(f"not submitted: {', '.join(missing())} not installed", file=sys.stderr)
            return figures
        return figures | {"submitted": submit(folder, words)}


def submit(folder: Path, words: list[str]) -> dict[str, Any]:
    """The submission's figures, and what the queue has then: arrays by stage, the largest one, the
    limits of their elements."""
    cluster = MiniCluster(folder / "slurm", Shape(nodes=1, max_array_size=MOST))
    cluster.up()
    try:
        environment = {**os.environ, **cluster.environment()}
        more = ["cluster=mini", "cluster.additional.begin=now+1hour", "--yes"]
        limit = ["--parallel", str(PARALLEL)]
        calls = Calls(folder, environment)
        _, submitted = measured([*words, *more, *limit], calls.environment)
        figures = {**submitted, "calls": calls.since()}
        arrays = list(_arrays(cluster.slurm("squeue", "-h", "-o", "%j %K")))
        # squeue leaves the limit out where Slurm keeps elements apart for their dependencies.
        limits = re.findall(
            r"ArrayTaskThrottle=(\d+)", cluster.slurm("scontrol", "show", "job", "-o")
        )
        home = str(home_of(folder))
        _, asked = measured(["jobs", "status", home], calls.environment)
        status = {**asked, "calls": calls.since()}
        measured(["jobs", "cancel", home], environment)
    finally:
        cluster.down()
    stages = [stage for stage, _ in arrays]
    return {
        **figures,
        "status": status,
        "arrays": {stage: stages.count(stage) for stage in sorted({*stages})},
        "jobs": sum(count for _, count in arrays),
        "largest": max(count for _, count in arrays),
        "limits": sorted({int(limit) for limit in limits}),
    }


def _arrays(lines: str) -> Iterator[tuple[str, int]]:
    """Stage and elements of each row of the queue."""
    for line in lines.splitlines():
        name, elements = line.split()
        found = re.fullmatch(r"(\d+)-(\d+)(?:%\d+)?", elements)
        yield name.rpartition("-")[2], int(found[2]) - int(found[1]) + 1 if found else 1


def show(figures: Figures, console: Console) -> None:
    """Print the figures."""
    keys = ("seconds", "cpu", "mib")
    rows = [[name, *(row[key] for key in keys)] for name, row in _rows(figures).items()]
    title = f"{figures['points']:,} points, arrays of {MOST}, {figures['cores']} cores"
    console.print(table(title, ("", "seconds", "CPU s", "peak MiB"), rows))
    show_goals(figures, console)
    if done := figures.get("submitted"):
        for what, row in (("submission", done), ("status", done["status"])):
            console.print(f"scheduler calls of {what}: {told(row['calls'])}", highlight=False)
        arrays = ", ".join(f"{count} of {stage}" for stage, count in done["arrays"].items())
        console.print(
            f"{done['jobs']} jobs; arrays: {arrays}; the largest has {done['largest']} elements "
            f"(MaxArraySize {MOST}); elements at a time: {done['limits']} (--parallel {PARALLEL})",
            highlight=False,
        )


def _rows(figures: Figures) -> dict[str, dict[str, float]]:
    """What was measured, by what was done."""
    done = figures.get("submitted")
    return {"planned": figures["planned"]} | (
        {"submitted": done, "status": done["status"]} if done else {}
    )


def draw(figures: Figures) -> Figure:
    """Seconds of each command, and how many of them the processor worked."""
    rows = _rows(figures)
    keys = {"seconds": "seconds", "of the processor": "cpu"}
    series = {name: [row[key] for row in rows.values()] for name, key in keys.items()}
    return bars(f"{figures['points']:,} points, arrays of {MOST}", "seconds", [*rows], series)


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--side", type=int, default=10, metavar="N", help="N³ points (10)")


if __name__ == "__main__":
    sys.exit(run("sweeps", __doc__, measure, show, draw, options=_options))
