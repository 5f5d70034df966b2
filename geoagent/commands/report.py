"""`geoagent report`"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, Final

from geoagent.commands.common import command
from geoagent.errors import UsageError

_GROUP_FILE: Final = "group.json"
"""What runs that are submitted together have in their common folder."""
_NAMED: Final = 4
"""Runs that an error names."""


def _report(options: argparse.Namespace) -> int:
    from geoagent.report.page import make_report, place
    from geoagent.run import Run

    for name in options.runs:
        _refuse_several(name)
    runs = [Run.open(name) for name in options.runs]
    out = options.out or place(runs)
    try:
        print(make_report(runs, out))
    except OSError as error:
        raise UsageError(f"{error.filename or out}: {error.strerror or error}") from error
    return 0


def _refuse_several(name: str) -> None:
    """UsageError for the folder of a sweep, or of several runs: it has no figures of its own."""
    from geoagent.report.page import FILE
    from geoagent.sweep.home import RESULTS, SweepHome

    path = Path(name)
    if SweepHome.at(path):
        page = path / RESULTS / FILE
        how = "" if page.is_file() else f", which `python -m jobs sweep {name} --results` makes"
        raise UsageError(f"{name}: is a sweep; its page is {page}{how}")
    if (path / _GROUP_FILE).is_file():
        members = sorted(str(file.parent) for file in path.glob("*/config.yaml"))
        named = " ".join(members[:_NAMED]) + (" …" if len(members) > _NAMED else "")
        raise UsageError(f"{name}: is a folder of several runs; name these: {named}")


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
