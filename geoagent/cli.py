"""`geoagent`: what works on this machine, without a scheduler.

Standard output carries the data and nothing else; messages go to standard error. Exit codes: 0
done, 2 something to be mended by a person, 75 a service was away, 130 interrupted.

Nothing heavy is imported before a command needs it.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from geoagent.commands import (
    config,
    cot_quality,
    data,
    geocode,
    locate,
    metrics,
    report,
    score,
    search,
    serve_agent,
)
from geoagent.commands.common import Parser, program
from geoagent.errors import UsageError, end_now, exit_code


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command, by default the one that this process was started with; returns its exit
    code."""
    try:
        return exit_code(lambda: _command_code(arguments))
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        if arguments is None:  # a thread may be inside torch, and would abort an end in good order
            end_now(130)
        return 130
    except BrokenPipeError:  # `… | head`: the reader has what it wanted
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 141


def _command_code(arguments: Sequence[str] | None) -> int:
    options = _parse(arguments)
    code = int(options.function(options))
    sys.stdout.flush()
    return code


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """argparse takes positional words in one piece only; settings may also follow options."""
    options, more = _parser().parse_known_args(arguments)
    settings = [word for word in more if "=" in word and not word.startswith("-")]
    if len(settings) < len(more) or (more and not hasattr(options, "overrides")):
        raise UsageError(f"unknown argument: {more[0]} (see {program()} --help)")
    if settings:
        options.overrides += settings
    return options


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog=program(), description="Geolocate photographs; look at what is trained.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for module in (
        locate,
        geocode,
        search,
        score,
        metrics,
        cot_quality,
        report,
        serve_agent,
        config,
        data,
    ):
        module.add(commands)
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
