"""`geoagent report`"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from geoagent.commands.common import command
from geoagent.errors import UsageError


def _report(options: argparse.Namespace) -> int:
    from geoagent.report.page import make_report, place
    from geoagent.run import Run

    runs = [Run.open(name) for name in options.runs]
    out = options.out or place(runs)
    try:
        print(make_report(runs, out))
    except OSError as error:
        raise UsageError(f"{error.filename or out}: {error.strerror or error}") from error
    return 0


def add(commands: Any) -> None:
    parser = command(
        commands,
        "report",
        _report,
        "make one page to look at of a run: tables, curves, a map of errors, examples; of several "
        "runs, a comparison",
        """%(prog)s runs/first
        %(prog)s runs/first runs/without-consistency runs/seed1
        %(prog)s runs/first --out /tmp/look""",
    )
    parser.add_argument("runs", nargs="+", metavar="RUN")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="write here (RUN/report; of several runs, FIRST_RUN/report/comparison)",
    )
