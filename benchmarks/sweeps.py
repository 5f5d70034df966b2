"""How long a sweep of a thousand points takes to plan and to submit:
`.venv/bin/python benchmarks/sweeps.py`.

The points are a grid of three reward weights over one SFT. They are planned with `--dry-run`, and
then, where Slurm is installed, submitted to a mini cluster that allows arrays of a hundred; its
jobs are told to begin in an hour, are asked about with `jobs status`, and are cancelled. Calls of
Slurm's commands are counted by stand-ins in front of them in PATH. `--side 1` and `--side 2` are
submissions of one point and of eight.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml
from measured import measured
from rich.console import Console
from rich.table import Table

from geoagent.errors import exit_code
from geoagent.files import write_json
from jobs.minicluster.cluster import MiniCluster
from jobs.minicluster.layout import Shape
from jobs.minicluster.packages import missing

GOAL_S: Final = 5.0
GOAL_MIB: Final = 300
MOST: Final = 100
"""Elements of an array."""
PARALLEL: Final = 8
COMMANDS: Final = ("sbatch", "squeue", "sacct", "scontrol", "sinfo", "scancel", "sacctmgr")
SETTINGS: Final = ("model.tiny.hidden_size=32", "grpo.keep_checkpoints=1", "eval.models=last")
"""Checkpoints of a thousand points are to have room on a small disk."""


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=10, metavar="N", help="N³ points (10)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here as well")
    options = parser.parse_args(arguments)

    def program() -> int:
        figures = measure(options.side)
        if options.json:
            write_json(options.json, figures)
        show(figures)
        return 0

    return exit_code(program)


def measure(side: int) -> dict[str, Any]:
    """All figures, as JSON."""
    with tempfile.TemporaryDirectory(prefix="mini") as place:
        folder = Path(place)
        weights = [round(0.1 * (k + 1), 2) for k in range(side)]
        names = [f"rewards.weights.{name}" for name in ("spatial", "semantic", "consistency")]
        grid = {name: [*weights] for name in names}
        document = {"base": ["recipe=demo", *SETTINGS], "grid": grid}
        (folder / "grid.yaml").write_text(yaml.safe_dump(document))
        words = ["jobs", "sweep", str(folder / "grid.yaml"), f"runs_dir={folder}/runs"]
        _, planned = measured([*words, "cluster=local", "--dry-run"])
        figures = {"points": side**3, "cores": len(os.sched_getaffinity(0)), "planned": planned}
        if missing():
            print(f"not submitted: {', '.join(missing())} not installed", file=sys.stderr)
            return figures
        return figures | {"submitted": submit(folder / "slurm", words)}


def submit(folder: Path, words: list[str]) -> dict[str, Any]:
    """The submission's figures, and what the queue has then: arrays by stage, the largest one, the
    limits of their elements."""
    cluster = MiniCluster(folder, Shape(nodes=1, max_array_size=MOST))
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
        home = words[-1].partition("=")[2] + "/grid"
        calls.since()
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


class Calls:
    """Counts calls of Slurm's commands by what runs in `environment`."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self._log = folder / "calls"
        place = folder / "counting"
        place.mkdir()
        for name in COMMANDS:
            if real := shutil.which(name, path=environment["PATH"]):
                script = f'#!/bin/sh\necho {name} >> "{self._log}"\nexec {real} "$@"\n'
                (place / name).write_text(script)
                (place / name).chmod(0o755)
        self.environment = {**environment, "PATH": f"{place}:{environment['PATH']}"}

    def since(self) -> dict[str, int]:
        """How often each was called since the last time."""
        lines = self._log.read_text().split() if self._log.exists() else []
        self._log.unlink(missing_ok=True)
        return {name: lines.count(name) for name in sorted({*lines})}


def _arrays(lines: str) -> Iterator[tuple[str, int]]:
    """Stage and elements of each row of the queue."""
    for line in lines.splitlines():
        name, elements = line.split()
        found = re.fullmatch(r"(\d+)-(\d+)(?:%\d+)?", elements)
        yield name.rpartition("-")[2], int(found[2]) - int(found[1]) + 1 if found else 1


def show(figures: dict[str, Any]) -> None:
    """Print the figures on standard output."""
    table = Table(title=f"{figures['points']:,} points, {figures['cores']} cores")
    for column in ("", "seconds", "CPU s", "peak MiB"):
        table.add_column(column, justify="right" if column else "left")
    done = figures.get("submitted", {})
    shown = {"planned": figures["planned"], "submitted": done, "status": done.get("status")}
    for name, row in shown.items():
        if row:
            table.add_row(name, f"{row['seconds']:.1f}", f"{row['cpu']:.1f}", f"{row['mib']:.0f}")
    console = Console()
    console.print(table)
    console.print(f"goals of planning: {GOAL_S:.0f} s, {GOAL_MIB} MiB", highlight=False)
    if done:
        for what, row in (("submission", done), ("status", done["status"])):
            counts = ", ".join(f"{count} {name}" for name, count in row["calls"].items())
            total = sum(row["calls"].values())
            console.print(f"scheduler calls of {what}: {total} ({counts})", highlight=False)
        arrays = ", ".join(f"{count} of {stage}" for stage, count in done["arrays"].items())
        console.print(
            f"{done['jobs']} jobs; arrays: {arrays}; the largest has {done['largest']} elements "
            f"(MaxArraySize {MOST}); elements at a time: {done['limits']} (--parallel {PARALLEL})",
            highlight=False,
        )


if __name__ == "__main__":
    sys.exit(main())
