"""`geoagent`: what works on this machine, without a scheduler.

Standard output carries the data and nothing else; messages go to standard error. Exit codes: 0
done, 2 something to be mended by a person, 75 a service was away, 130 interrupted.

Nothing heavy is imported before a command needs it.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

from geoagent.config import REWARD_NAMES, Config, resolve, to_yaml
from geoagent.data.record import reason_kind
from geoagent.errors import OutageError, UsageError, exit_code
from geoagent.files import short
from geoagent.modelfolder import stay_offline

if TYPE_CHECKING:
    from geoagent.agent.client import AgentClient
    from geoagent.config import AgentConfig
    from geoagent.evaluate.predict import Predictor


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    try:
        return exit_code(lambda: _command_code(arguments))
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `… | head`: the reader has what it wanted
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 141


def program() -> str:
    """This program as one would type it here, whether or not its environment is activated."""
    python = Path(sys.executable)
    script = python.with_name("geoagent")
    return short(script) if script.is_file() else f"{short(python)} -m geoagent.cli"


def _command_code(arguments: Sequence[str] | None) -> int:
    options = _parse(arguments)
    code = int(options.function(options))
    sys.stdout.flush()
    return code


# --- geoagent locate -------------------------------------------------------------------------


def _locate(options: argparse.Namespace) -> int:
    from geoagent.locate import as_text, check_image, locate

    images = []
    for image in options.images:
        try:
            check_image(image)
            images.append(image)
        except ValueError as error:
            print(f"error: {image}: {error}", file=sys.stderr)
    if images:
        with redirect_stdout(sys.stderr):  # libraries' chatter is not a result
            predictor, max_new_tokens = _predictor(options)
        for result in locate(images, predictor, max_new_tokens):
            print(_line(result) if options.json else as_text(result), flush=True)
    return 0 if len(images) == len(options.images) else 2


def _predictor(options: argparse.Namespace) -> tuple[Predictor, int]:
    """The model that was chosen, and how many tokens it may write."""
    from geoagent.evaluate.models import choose, from_folder, trained_pixels
    from geoagent.evaluate.predict import Predictor
    from geoagent.run import Run

    stay_offline()
    if options.model is not None:
        if options.stage is not None:
            raise UsageError("--stage: belongs to --run; --model is one model already")
        config = Config()
        candidate, pixels = from_folder(options.model), trained_pixels(options.model)
    else:
        run = Run.open(options.run)
        config = run.config()
        candidate, pixels = choose(config, run, options.stage), config.model.max_pixels
    return Predictor(candidate, config.model, pixels), config.eval.max_new_tokens


# --- geoagent geocode, score, metrics --------------------------------------------------------


def _geocode(options: argparse.Namespace) -> int:
    from geoagent.geo.geocoder import geocode

    if (options.text is None) == (options.jsonl is None):
        raise UsageError("geocode: give either TEXT or --jsonl FILE")
    if options.text is not None:
        place = geocode(options.text)
        print(_line(_place(options.text, place)), flush=True)
        if place is None:
            print(_nothing_found(options.text), file=sys.stderr)
        return 0
    rows = _Rows(options.jsonl)
    for where, row in rows:
        query = row.get("query")
        if not isinstance(query, str):
            rows.refuse(where, "query: missing, or not a text")
            continue
        print(_line(_place(query, geocode(query))))
    return rows.exit_code


def _place(query: str, place: Any) -> dict[str, Any]:
    """A line of `geocode`; nulls where nothing was found."""
    keys = ("latitude", "longitude", "level", "country_code", "matched")
    return {"query": query, **{key: getattr(place, key, None) for key in keys}}


def _nothing_found(text: str) -> str:
    from geoagent.answer import split_parts

    form = "; addresses are 'Country; Region; Place'" if len(split_parts(text)) < 2 else ""
    return f"nothing found for {text!r}{form}"


def _score(options: argparse.Namespace) -> int:
    from geoagent.rewards.registry import build
    from geoagent.score import check_row, score_rows

    names = [name.strip() for name in options.rewards.split(",") if name.strip()]
    if not names:
        raise UsageError(f"--rewards: no name; there are: {', '.join(REWARD_NAMES)}")
    config = resolve([*(str(file) for file in options.config), *options.overrides])
    agent = _agent(options.agent, config.agent) if "consistency" in names else None
    rewards = build(config.rewards, names, agent=agent)
    rows = _Rows(options.file)

    def usable() -> Iterator[dict[str, Any]]:
        for where, row in rows:
            try:
                check_row(row, rewards)
            except ValueError as error:
                rows.refuse(where, str(error))
                continue
            yield row

    for row in score_rows(usable(), rewards):
        print(_line(row))
    if agent is not None and agent.stats.invalid:
        print(
            f"warning: the agent gave no usable reply to {agent.stats.invalid} of "
            f"{agent.stats.distinct} questions; those stages are left out of consistency, and a "
            "completion without any other got the mean of those before it",
            file=sys.stderr,
        )
    return rows.exit_code


def _agent(target: str | None, settings: AgentConfig) -> AgentClient:
    """The client of a run's agent, or of a server by its address."""
    from geoagent.agent.client import AgentClient, external_endpoint
    from geoagent.agent.endpoint import read_endpoints
    from geoagent.run import Run

    def waiting(message: str) -> None:
        print(message, file=sys.stderr, flush=True)

    if target is None:
        raise UsageError(
            "reward consistency: asks an agent; name a run whose agent is running, or a server: "
            "--agent runs/NAME or --agent http://HOST:PORT/v1"
        )
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
    return AgentClient(settings, endpoints=endpoints, on_wait=waiting)


def _metrics(options: argparse.Namespace) -> int:
    from geoagent.evaluate.metrics import metrics

    rows = _Rows(options.file, strict=True)
    places, kept = [], []
    for where, row in rows:
        places.append(where)
        kept.append(row)
    if not kept:
        raise UsageError(f"{rows.name}: no rows")
    try:
        result = metrics(kept, options.by)
    except ValueError as error:
        message, number = error.args
        raise UsageError(f"{places[number - 1]}: {message}") from error
    print(json.dumps(result, ensure_ascii=True, indent=2))
    return 0


# --- geoagent serve-agent, config, data ------------------------------------------------------


def _serve_agent(options: argparse.Namespace) -> int:
    """Becomes `python -m geoagent.agent.server`, which ends in a way of its own."""
    arguments = ["-m", "geoagent.agent.server", "--run", options.run]
    os.execv(sys.executable, [sys.executable, *arguments, "--replica", str(options.replica)])


def _config_show(options: argparse.Namespace) -> int:
    print(to_yaml(resolve(options.words)), end="")
    return 0


def _build_sample(options: argparse.Namespace) -> int:
    from geoagent.data.sample import build_sample

    build_sample(options.folder, options.scenes, options.seed)
    print(options.folder / "records.jsonl")
    return 0


def _data_check(options: argparse.Namespace) -> int:
    from geoagent.data.record import RECORDS_FILE, read_records

    file = options.folder / RECORDS_FILE
    records, rejected = read_records(options.folder, options.split, strict=options.strict)
    for row in rejected:
        print(f"{file}:{row.line}: {f'{row.id}: ' if row.id else ''}{row.reason}", file=sys.stderr)
    chains = {record.id: record.think for record in records if record.think is not None}
    not_json = [name for name, think in chains.items() if not _has_stages(think)]
    if not_json:
        print(
            f"warning: {file}: think is not the JSON of docs/reference/sample.md in "
            f"{_counted(len(not_json), 'row')}, the first with id {not_json[0]}",
            file=sys.stderr,
        )
    summary = {
        "records": len(records),
        "splits": dict(sorted(Counter(record.split for record in records).items())),
        "countries": len({record.country for record in records}),
        "with_chain_of_thought": len(chains),
        "chains_not_json": len(not_json),
        "rejected": len(rejected),
        "rejected_by_reason": dict(Counter(row.kind for row in rejected).most_common()),
    }
    print(json.dumps(summary, ensure_ascii=False, indent=2))
    if not records:
        chosen = f" in split '{options.split}'" if options.split else ""
        raise UsageError(f"{file}: no usable record{chosen}")
    return 2 if rejected else 0


def _has_stages(think: str) -> bool:
    """Whether a chain of thought is JSON with reasoning stages, as rewards and `locate` read it."""
    from geoagent.answer import parse

    said = parse(f"<think>{think}</think>")
    return said.valid_json and bool(said.stages)


# --- input and output ------------------------------------------------------------------------

_TOLD: Final = 5
"""Rows of a file that are told of the same reason."""


class _Rows:
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
                print(f"… and {_counted(count - _TOLD, 'more row')}: {kind}", file=sys.stderr)

    def __iter__(self) -> Iterator[tuple[str, dict[str, Any]]]:
        for number, line in enumerate(self._lines(), start=1):
            if not line.strip():
                continue
            where = f"{self.name}:{number}"
            try:
                row = json.loads(line)
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


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _line(value: Mapping[str, Any]) -> str:
    """One JSON object as one line; half surrogate pairs, which have no UTF-8, stay escaped."""
    text = json.dumps(value, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(value, ensure_ascii=True)
    return text


# --- the parser ------------------------------------------------------------------------------


class _Parser(argparse.ArgumentParser):
    """Errors as one line, as everywhere else."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (see {self.prog} --help)")


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
    parser = _Parser(prog=program(), description="Geolocate photographs; look at what is trained.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_locate(commands)
    _add_geocode(commands)
    _add_score(commands)
    _add_metrics(commands)
    _add_serve_agent(commands)
    _add_config(commands)
    _add_data(commands)
    return parser


def _command(commands: Any, name: str, function: Any, help: str, examples: str) -> Any:
    """A command whose --help ends in examples; `%(prog)s` in them is the command as typed."""
    lines = "\n".join(f"  {line.strip()}" for line in examples.strip().splitlines())
    command = commands.add_parser(
        name,
        help=help,
        description=f"{help[0].upper()}{help[1:]}.",
        epilog=f"examples:\n{lines}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.set_defaults(function=function)
    return command


def _add_rows(command: Any, name: str, columns: str) -> None:
    command.add_argument(name, metavar="FILE", help=f"rows with {columns}; - for stdin")


def _add_locate(commands: Any) -> None:
    command = _command(
        commands,
        "locate",
        _locate,
        "say where photographs were taken: address, coordinates, reasoning",
        """%(prog)s photo.jpg --run runs/first
        %(prog)s *.jpg --run runs/first --stage sft --json > places.jsonl
        %(prog)s photo.jpg --model checkpoints/checkpoint-800""",
    )
    command.add_argument("images", nargs="+", type=Path, metavar="IMAGE")
    model = command.add_mutually_exclusive_group(required=True)
    model.add_argument("--run", metavar="RUN", help="use the last model of this run")
    model.add_argument("--model", type=Path, metavar="DIR", help="use this checkpoint")
    command.add_argument(
        "--stage", choices=("base", "sft", "grpo"), help="use this model of the run instead"
    )
    command.add_argument("--json", action="store_true", help="one JSON object an image and line")


def _add_geocode(commands: Any) -> None:
    command = _command(
        commands,
        "geocode",
        _geocode,
        "coordinates of addresses, without a network; one JSON object a line",
        """%(prog)s 'China; Hong Kong; Kowloon'
        %(prog)s --jsonl queries.jsonl
        echo '{"query": "Peru; Ancash; Huaraz"}' | %(prog)s --jsonl -""",
    )
    command.add_argument("text", nargs="?", metavar="TEXT", help="'Country; Region; Place'")
    _add_rows(command, "--jsonl", "a key query")


def _add_score(commands: Any) -> None:
    command = _command(
        commands,
        "score",
        _score,
        "rewards of completions: the same rows with one more key a reward",
        """%(prog)s rows.jsonl --rewards spatial,semantic
        %(prog)s rows.jsonl --rewards spatial rewards.spatial.tau_km=100
        %(prog)s predictions.jsonl --rewards consistency --agent runs/first""",
    )
    _add_rows(command, "file", "completion and the truth (solution, latitude, longitude, …)")
    command.add_argument(
        "overrides",
        nargs="*",
        metavar="key=value",
        help="settings, such as rewards.parity=published",
    )
    command.add_argument(
        "--rewards", required=True, metavar="NAME,…", help=f"of {', '.join(REWARD_NAMES)}"
    )
    command.add_argument(
        "--config", action="append", default=[], type=Path, metavar="FILE", help="settings, as YAML"
    )
    command.add_argument(
        "--agent", metavar="RUN|URL", help="who judges consistency: a run's agent, or a server"
    )


def _add_metrics(commands: Any) -> None:
    command = _command(
        commands,
        "metrics",
        _metrics,
        "accuracy at 1, 25, 200, 750 and 2500 km, GeoScore and median of predictions, as JSON",
        """%(prog)s predictions.jsonl
        %(prog)s predictions.jsonl --by model --by country""",
    )
    columns = "latitude, longitude, predicted_latitude, predicted_longitude (null: a miss)"
    _add_rows(command, "file", columns)
    command.add_argument(
        "--by", action="append", default=[], metavar="COLUMN", help="also for each of its values"
    )


def _add_serve_agent(commands: Any) -> None:
    command = _command(
        commands,
        "serve-agent",
        _serve_agent,
        "serve the consistency agent of a run until it is stopped (Ctrl-C)",
        "%(prog)s --run runs/first",
    )
    command.add_argument("--run", required=True, metavar="RUN")
    command.add_argument("--replica", type=int, default=0, metavar="K", help="its number")


def _add_config(commands: Any) -> None:
    group = commands.add_parser("config", help="the configuration")
    command = _command(
        group.add_subparsers(required=True, metavar="COMMAND"),
        "show",
        _config_show,
        "print the resolved configuration as YAML",
        """%(prog)s recipe=demo
        %(prog)s my.yaml grpo.beta=0.01""",
    )
    command.add_argument("words", nargs="*", metavar="FILE|group=choice|key=value")


def _add_data(commands: Any) -> None:
    group = commands.add_parser("data", help="build and check datasets")
    kinds = group.add_subparsers(required=True, metavar="COMMAND")
    build = _command(
        kinds,
        "build-sample",
        _build_sample,
        "draw the bundled sample of street scenes",
        "%(prog)s data/mine --scenes 8",
    )
    build.add_argument("folder", type=Path, metavar="DST")
    build.add_argument("--scenes", type=int, default=24, metavar="N", help="a country (24)")
    build.add_argument("--seed", type=int, default=0, metavar="N", help="of the drawing (0)")
    check = _command(
        kinds,
        "check",
        _data_check,
        "read a dataset folder and count what is usable and what is refused",
        """%(prog)s data/mine
        %(prog)s data/mine --split train --strict""",
    )
    check.add_argument("folder", type=Path, metavar="FOLDER")
    check.add_argument("--split", metavar="NAME", help="only this split")
    check.add_argument("--strict", action="store_true", help="stop at the first refused row")


if __name__ == "__main__":
    raise SystemExit(main())
