"""How long it takes from a command to the first job that runs, and how often the scheduler is
asked: `make bench-launch`.

Sweeps of 1, 10 and 1,000 points are submitted to a mini cluster with Slurm's usual limit of arrays.
The clock starts with the command. The first job runs when its stage, prepare, has begun its first
attempt: Slurm has found it a node and submitit has started there. That is seen in the run's folder;
the scheduler is asked by the commands alone, whose calls are counted. `jobs status` is asked about
all, then `jobs cancel` ends everything.

Commands that people type all day are timed alone, the best of five; `jobs status` is that of the
sweep of one point, with its questions to Slurm. Without Slurm only those are timed that need none.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
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

SIDES: Final = ((1, 1, 1), (10, 1, 1), (10, 10, 10))
"""Values of each of three weights, whose product is the number of points."""
BEST_OF: Final = 5
HELP: Final = {"geoagent --help": ["geoagent.cli", "--help"], "jobs --help": ["jobs", "--help"]}
STATUS: Final = "jobs status"
GOAL_CALLS: Final = 10
GOAL_STATUS_CALLS: Final = 3
GOAL_STATUS_S: Final = 2.0
"""Of the largest sweep."""
GOAL_HELP_S: Final = 0.3
GOAL_COMMAND_S: Final = 1.0
_LONGEST_S: Final = 120.0
_POLL_S: Final = 0.05


def measure(options: argparse.Namespace) -> Figures:
    """All figures, as JSON."""
    commands = {name: best(words) for name, words in HELP.items()}
    sweeps: list[dict[str, Any]] = []
    if missing():
        print(f"nothing submitted: {', '.join(missing())} not installed", file=sys.stderr)
    else:
        sweeps, commands[STATUS] = submitted()
    return {"commands": commands, "sweeps": sweeps, "goals": _goals(commands, sweeps)}


def best(words: Sequence[str], environment: dict[str, str] | None = None) -> float:
    """Seconds of the quickest of five."""
    return min(measured(words, environment)[1]["seconds"] for _ in range(BEST_OF))


def submitted() -> tuple[list[dict[str, Any]], float]:
    """Figures of each sweep, and seconds of `jobs status` of the smallest."""
    with tempfile.TemporaryDirectory(prefix="mini") as place:
        cluster = MiniCluster(Path(place) / "slurm", Shape(nodes=1))
        cluster.up()
        try:
            calls = Calls(Path(place), {**os.environ, **cluster.environment()})
            found, status_s = [], 0.0
            for number, sides in enumerate(SIDES):
                folder = Path(place) / str(number)
                found.append(launched(folder, sides, calls))
                home = str(home_of(folder))
                if number == 0:
                    status_s = best(["jobs", "status", home], calls.environment)
                measured(["jobs", "cancel", home], calls.environment)
                _until(lambda: not cluster.slurm("squeue", "-h"), "the queue is not empty")
                calls.since()
        finally:
            cluster.down()
    return found, status_s


def launched(folder: Path, sides: Sequence[int], calls: Calls) -> dict[str, Any]:
    """Submit a sweep and ask about it: seconds, and calls of the scheduler."""
    words = [*sweep_words(folder, sides), "cluster=mini", "--yes"]
    home = home_of(folder)
    with ThreadPoolExecutor(1) as pool:
        started = time.perf_counter()
        command = pool.submit(measured, words, calls.environment)
        _until(lambda: _begun(home) or _failed(command), "no job has begun")
        runs_s = time.perf_counter() - started
        _, returned = command.result()
    submission = calls.since()
    _, status = measured(["jobs", "status", str(home)], calls.environment)
    return {
        "points": sides[0] * sides[1] * sides[2],
        "returns_s": returned["seconds"],
        "runs_s": runs_s,
        "calls": submission,
        "status_s": status["seconds"],
        "status_calls": calls.since(),
    }


def _begun(home: Path) -> bool:
    """Whether prepare's first attempt is there."""
    return any(home.glob("shared-prepare-*/prepare/logs/*"))


def _failed(command: Future[Any]) -> bool:
    return command.done() and command.exception() is not None


def _until(holds: Callable[[], bool], otherwise: str) -> None:
    deadline = time.monotonic() + _LONGEST_S
    while not holds():
        if time.monotonic() > deadline:
            raise SystemExit(f"error: {otherwise} after {_LONGEST_S:.0f} s")
        time.sleep(_POLL_S)


def _goals(commands: dict[str, float], sweeps: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    goals = [
        verdict(f"{name}: seconds", taken, GOAL_COMMAND_S if name == STATUS else GOAL_HELP_S, True)
        for name, taken in commands.items()
    ]
    if sweeps:
        largest = sweeps[-1]
        what = _points(largest)
        counts = sum(largest["calls"].values()), sum(largest["status_calls"].values())
        goals += [
            verdict(f"{what}, submission: calls of the scheduler", counts[0], GOAL_CALLS, True),
            verdict(f"{what}, status: calls of the scheduler", counts[1], GOAL_STATUS_CALLS, True),
            verdict(f"{what}, status: seconds", largest["status_s"], GOAL_STATUS_S, True),
        ]
    return goals


def _points(row: dict[str, Any]) -> str:
    return f"{row['points']:,} point{'' if row['points'] == 1 else 's'}"


def show(figures: Figures, console: Console) -> None:
    """Print the figures."""
    rows = [
        [f"{row['points']:,}", row["runs_s"], row["returns_s"], row["status_s"]]
        for row in figures["sweeps"]
    ]
    heads = ("points", "first job runs, s", "command returns, s", "status, s")
    if rows:
        console.print(table("Sweeps on a mini cluster", heads, rows))
    for row in figures["sweeps"]:
        console.print(
            f"scheduler calls, {_points(row)}: submission {told(row['calls'])}; "
            f"status {told(row['status_calls'])}",
            highlight=False,
        )
    best_of = f"Commands, the best of {BEST_OF}"
    console.print(table(best_of, ("", "seconds"), [*figures["commands"].items()]))
    show_goals(figures, console)


def draw(figures: Figures) -> Figure:
    """Seconds by points, and of the commands."""
    sweeps, commands = figures["sweeps"], figures["commands"]
    points = [_points(row) for row in sweeps]
    keys = {"first job runs": "runs_s", "command returns": "returns_s", "status": "status_s"}
    series = {name: [row[key] for row in sweeps] for name, key in keys.items()}
    if not sweeps:
        return bars("Commands", "seconds", [*commands], {"": [*commands.values()]})
    return bars("From a sweep's command to its first job", "seconds", points, series)


if __name__ == "__main__":
    sys.exit(run("launch", __doc__, measure, show, draw))
