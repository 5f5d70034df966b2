"""What the commands share: their parsers, rows that they read, lines that they print."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

from geoagent.data.record import reason_kind
from geoagent.errors import OutageError, UsageError
from geoagent.files import json_line, short

if TYPE_CHECKING:
    from geoagent.agent.client import AgentClient
    from geoagent.config import AgentConfig
    from geoagent.evaluate.truth import Truth

_TOLD: Final = 5
"""Rows of a file that are told of the same reason."""
_SHOWN: Final = 10_000
"""Lines between two steps of a bar."""
FARTHEST_KM: Final = 20_100
"""More than half of the earth's circumference: no answer is further away."""


def program() -> str:
    """This program as one would type it here, whether or not its environment is activated."""
    python = Path(sys.executable)
    script = python.with_name("geoagent")
    return short(script) if script.is_file() else f"{short(python)} -m geoagent.cli"


class Rows:
    """Rows of a JSON lines file, or of standard input for `-`, with where each stands.

    A line that is refused is told on standard error and passed over, and the exit code becomes 2;
    after some of the same reason the rest is only counted. With `strict` it is a UsageError.
    With `progress` a bar shows how far a file is read.
    """

    def __init__(
        self,
        name: str,
        strict: bool = False,
        progress: bool = False,
        decode: Callable[[bytes], Any] = json.loads,
    ) -> None:
        self.line = 0
        """Of the file, from 1: where the row stands that was read last."""
        self._decode = decode
        self._progress = progress
        self.name = "standard input" if name == "-" else name
        self._file = None if name == "-" else Path(name)
        self._strict = strict
        self._refused: Counter[str] = Counter()

    @property
    def refused(self) -> int:
        """How many by now."""
        return self._refused.total()

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
        for self.line, raw in enumerate(self._lines(), start=1):  # noqa: B020
            if not raw.strip():
                continue
            where = f"{self.name}:{self.line}"
            try:
                row = self._decode(raw)
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
            with self._file.open("rb") as file, self._bar() as show:
                for number, raw in enumerate(file):
                    yield raw
                    if number % _SHOWN == 0:
                        show(file.tell())
        except OSError as error:
            raise UsageError(f"{self.name}: cannot be read ({error.strerror})") from error

    @contextmanager
    def _bar(self) -> Iterator[Callable[[int], None]]:
        """Shows how many bytes of the file are read, if somebody is to see it."""
        if not self._progress or self._file is None or not sys.stderr.isatty():
            yield lambda _: None
            return
        from geoagent.progress import progress_bar

        with progress_bar() as progress:
            task = progress.add_task("reading", total=self._file.stat().st_size)
            yield lambda done: progress.update(task, completed=done)


def counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def line(value: Mapping[str, Any]) -> str:
    """One JSON object as one line, in letters that standard output has."""
    return json_line(value, getattr(sys.stdout, "encoding", None) or "utf-8")


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


def whole_number(text: str) -> int:
    """An option's value that is a number of things, 1 or more."""
    try:
        number = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text}: a whole number, 1 or more") from None
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number}: 1 or more")
    return number


def number(low: float, high: float, open_below: bool = False) -> Callable[[str], float]:
    """For options whose value is a number from `low` to `high`, without `low` if `open_below`."""
    limits = f"{'above' if open_below else 'from'} {low:g} {'and at most' if open_below else 'to'}"

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not low <= value <= high or (open_below and value == low):
            raise argparse.ArgumentTypeError(f"{text}: a number {limits} {high:g}")
        return value

    return read


def add_rows(parser: Any, name: str, columns: str) -> None:
    parser.add_argument(name, metavar="FILE", help=f"rows with {columns}; - for stdin")


def add_settings(parser: Any) -> None:
    """`key=value` and `--config FILE`, into `overrides` and `config`."""
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="settings")
    parser.add_argument(
        "--config", action="append", default=[], type=Path, metavar="FILE", help="settings, as YAML"
    )


def add_agent(parser: Any, name: str, help: str, required: bool = False) -> None:
    parser.add_argument(name, metavar="RUN|URL", help=help, required=required)


def agent_client(target: str, settings: AgentConfig, answers: Path | None = None) -> AgentClient:
    """The client of a run's agent, or of a server by its address; with `answers`, it keeps the
    replies in that folder."""
    from geoagent.agent.client import AgentClient, external_endpoint
    from geoagent.agent.endpoint import read_endpoints
    from geoagent.run import Run

    def waiting(message: str) -> None:
        print(message, file=sys.stderr, flush=True)

    if target.startswith(("http://", "https://")):
        settings.backend, settings.url = "external", target
        endpoints = [external_endpoint(settings)]
    else:
        run = Run.open(target)
        settings = run.config().agent
        endpoints = read_endpoints(run.agent)
        if not endpoints:
            raise OutageError(
                f"{target}: no agent is running; start it with: "
                f"{program()} serve-agent --run {target}"
            )
    return AgentClient(settings, answers, endpoints=endpoints, on_wait=waiting)


def judge_client(target: str, settings: AgentConfig, answers: Path | None = None) -> AgentClient:
    """As agent_client; tells of a judge whose figures mean nothing."""
    from geoagent.config import AgentConfig

    client = agent_client(target, settings, answers)
    default = AgentConfig()
    if (client.settings.backend, client.settings.model) == (default.backend, default.model):
        warn(
            f"{default.model} judges chains and names no better than chance: it is for trying "
            "things out; name a larger model's server for figures that mean something"
        )
    return client


def open_truth(folder: Path, split: str | None) -> Truth:
    """The truth of a dataset folder; tells of records that cannot be used."""
    from geoagent.evaluate.truth import Truth

    truth = Truth(folder, split)
    if truth.rejected:
        told = counted(len(truth.rejected), "record")
        warn(f"{truth.file}: {told} cannot be used; `geoagent data check` tells why")
    return truth


def warn(message: str) -> None:
    print(f"warning: {message}", file=sys.stderr)
