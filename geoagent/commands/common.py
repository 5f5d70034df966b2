"""What the commands share: their parsers, rows that they read, lines that they print."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NoReturn

from geoagent.data.record import reason_kind
from geoagent.errors import UsageError
from geoagent.files import json_line, short

_TOLD: Final = 5
"""Rows of a file that are told of the same reason."""


def program() -> str:
    """This program as one would type it here, whether or not its environment is activated."""
    python = Path(sys.executable)
    script = python.with_name("geoagent")
    return short(script) if script.is_file() else f"{short(python)} -m geoagent.cli"


line: Final = json_line


class Rows:
    """Rows of a JSON lines file, or of standard input for `-`, with where each stands.

    A line that is refused is told on standard error and passed over, and the exit code becomes 2;
    after some of the same reason the rest is only counted. With `strict` it is a UsageError.
    """

    def __init__(self, name: str, strict: bool = False) -> None:
        self.name = "standard input" if name == "-" else name
        self._file = None if name == "-" else Path(name)
        self._strict = strict
        self._refused: Counter[str] = Counter()

    @property
    def exit_code(self) -> int:
        return 2 if self._refused else 0

    def refuse(self, where: str, reason: str) -> None:
        if self._strict:
            raise UsageError(f"{where}: {reason}")
        kind = reason_kind(reason)
        self._refused[kind] += 1
        if self._refused[kind] <= _TOLD:
            print(f"error: {where}: {reason}", file=sys.stderr)

    def _tell_rest(self) -> None:
        for kind, count in self._refused.items():
            if count > _TOLD:
                print(f"… and {counted(count - _TOLD, 'more row')}: {kind}", file=sys.stderr)

    def __iter__(self) -> Iterator[tuple[str, dict[str, Any]]]:
        for number, raw in enumerate(self._lines(), start=1):
            if not raw.strip():
                continue
            where = f"{self.name}:{number}"
            try:
                row = json.loads(raw)
            except (ValueError, RecursionError) as error:
                self.refuse(where, f"not JSON ({error})")
                continue
            if isinstance(row, dict):
                yield where, row
            else:
                self.refuse(where, f"expected a JSON object, found {type(row).__name__}")
        self._tell_rest()

    def _lines(self) -> Iterator[bytes]:
        if self._file is None:
            yield from sys.stdin.buffer
            return
        try:
            with self._file.open("rb") as file:
                yield from file
        except OSError as error:
            raise UsageError(f"{self.name}: cannot be read ({error.strerror})") from error


def counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


class Parser(argparse.ArgumentParser):
    """Errors as one line, as everywhere else."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (see {self.prog} --help)")


def command(commands: Any, name: str, function: Any, help: str, examples: str) -> Any:
    """A command whose --help ends in examples; `%(prog)s` in them is the command as typed."""
    lines = "\n".join(f"  {line.strip()}" for line in examples.strip().splitlines())
    parser = commands.add_parser(
        name,
        help=help,
        description=f"{help[0].upper()}{help[1:]}.",
        epilog=f"examples:\n{lines}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(function=function)
    return parser


def add_rows(parser: Any, name: str, columns: str) -> None:
    parser.add_argument(name, metavar="FILE", help=f"rows with {columns}; - for stdin")
