"""`geoagent serve-agent`"""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any

from geoagent.commands.common import command


def _serve_agent(options: argparse.Namespace) -> int:
    """Becomes `python -m geoagent.agent.server`, which ends in a way of its own."""
    arguments = ["-m", "geoagent.agent.server", "--run", options.run]
    os.execv(sys.executable, [sys.executable, *arguments, "--replica", str(options.replica)])


def add(commands: Any) -> None:
    parser = command(
        commands,
        "serve-agent",
        _serve_agent,
        "serve the consistency agent of a run until it is stopped (Ctrl-C)",
        "%(prog)s --run runs/first",
    )
    parser.add_argument("--run", required=True, metavar="RUN")
    parser.add_argument("--replica", type=int, default=0, metavar="K", help="its number")
