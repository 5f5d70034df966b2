"""`python -m jobs`: submit stages, look at a run, stop it.

Nothing heavy is imported before it is needed: these are commands people type all day.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from geoagent.config import Config
from geoagent.errors import UsageError, exit_code
from geoagent.run import Run
from jobs.command import command
from jobs.plan import AGENT, COLLECT, STAGES

_EXAMPLES = """examples:
  python -m jobs submit sft grpo eval recipe=demo name=first
  python -m jobs submit grpo model=qwen2_5_vl_7b cluster=slurm data.path=/data/geoseek
  python -m jobs submit eval name=first --resume
  python -m jobs submit sft grpo eval recipe=demo name=three --seeds 0,1,2 --parallel 2
  python -m jobs submit sft grpo --dry-run grpo.beta=0.01
  python -m jobs sweep geoagent_table3 recipe=demo benchmark=heldout --dry-run
  python -m jobs status first --watch
  python -m jobs logs runs/first grpo --follow
  python -m jobs cancel runs/first
"""

_SWEEP_EXAMPLES = """examples:
  python -m jobs sweep geoagent_table3 cluster=slurm data.path=/data/geoseek --dry-run
  python -m jobs sweep geoagent_table3 cluster=slurm data.path=/data --seeds 0,1 --parallel 4
  python -m jobs sweep geoagent_table3 recipe=demo benchmark=heldout --yes
  python -m jobs sweep runs/geoagent_table3             (again: what is missing or has failed)
  python -m jobs sweep runs/geoagent_table3 --results
  python -m jobs sweep my-sweep.yaml name=second
"""


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parse(arguments)
    try:
        return exit_code(lambda: int(options.function(options)))
    except KeyboardInterrupt:
        print("stopped; everything that was started has ended", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """argparse takes no settings after an option (`--dry-run name=x`): they are added here."""
    parser = _parser()
    options, rest = parser.parse_known_args(arguments)
    if rest and (not hasattr(options, "words") or any(word.startswith("-") for word in rest)):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:
        options.words += rest
    return options


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=command(),
        description="Train and evaluate geolocation models as jobs, on Slurm or on this machine.",
        epilog=_EXAMPLES.replace("python -m jobs", command()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    submit = commands.add_parser("submit", help="submit stages, with what they stand on")
    submit.add_argument(
        "words",
        nargs="*",
        metavar="STAGE|key=value",
        help=f"stages ({', '.join(STAGES)}) and settings (group=choice, key=value, FILE.yaml)",
    )
    submit.add_argument("--dry-run", action="store_true", help="show what would run, write nothing")
    submit.add_argument("--resume", action="store_true", help="continue the run of that name")
    submit.add_argument("--seeds", metavar="0,1,2", help="a run for each seed, as Slurm arrays")
    submit.add_argument(
        "--parallel",
        type=int,
        metavar="N",
        help="with --seeds: at most N jobs of a stage at a time",
    )
    submit.set_defaults(function=_submit)
    _add_sweep(commands)
    status = commands.add_parser("status", help="state, step, time and figures of a run's jobs")
    status.add_argument("run", metavar="RUN", nargs="?", help="run; default: the newest in runs/")
    status.add_argument("--watch", "-w", action="store_true", help="go on until all have ended")
    status.add_argument("--json", action="store_true", help="the same for programs")
    status.set_defaults(function=_status)
    logs = commands.add_parser("logs", help="print a stage's logs")
    logs.add_argument("run", metavar="RUN", help="run directory, or its name in runs/")
    logs.add_argument("stage", nargs="?", help="the stage; default: the last that has logs")
    logs.add_argument("--follow", "-f", action="store_true", help="go on as the log grows")
    logs.set_defaults(function=_logs)
    cancel = commands.add_parser("cancel", help="stop all jobs of a run")
    cancel.add_argument("run", metavar="RUN", help="run directory, or its name in runs/")
    cancel.set_defaults(function=_cancel)
    return parser


def _add_sweep(commands: Any) -> None:
    sweep = commands.add_parser(
        "sweep",
        help="submit the points of a sweep, or what of them is missing; show its tables",
        epilog=_SWEEP_EXAMPLES.replace("python -m jobs", command()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    sweep.add_argument(
        "words",
        nargs="+",
        metavar="SWEEP|key=value",
        help="a sweep (FILE.yaml, a name in configs/sweep, or a sweep's folder), and settings of "
        "all points (group=choice, key=value)",
    )
    sweep.add_argument("--seeds", metavar="0,1,2", help="every point with each of these seeds")
    sweep.add_argument(
        "--parallel", type=int, metavar="N", help="at most N jobs of a stage at a time"
    )
    sweep.add_argument("--dry-run", action="store_true", help="show what would run, write nothing")
    sweep.add_argument("--yes", "-y", action="store_true", help="submit without a question")
    sweep.add_argument("--results", action="store_true", help="show and write the tables as of now")
    sweep.set_defaults(function=_sweep)


def _sweep(options: argparse.Namespace) -> int:
    from jobs.group import read_seeds
    from jobs.sweep.command import Request, results, sweep

    named = [word for word in options.words if "=" not in word]
    if len(named) != 1:
        raise UsageError(f"name one sweep, such as geoagent_table3, not {len(named)}")
    words = [word for word in options.words if word not in named]
    seeds = read_seeds(options.seeds) if options.seeds is not None else ()
    _check_parallel(options.parallel)
    request = Request(named[0], words, seeds, options.parallel, options.dry_run, options.yes)
    return results(request) if options.results else sweep(request)


def _check_parallel(parallel: int | None) -> None:
    if parallel is not None and parallel < 1:
        raise UsageError(f"--parallel: {parallel} is less than 1")


def _submit(options: argparse.Namespace) -> int:
    from jobs.group import read_seeds
    from jobs.submission import Request, submit

    stages = [word for word in options.words if "=" not in word and not word.endswith(".yaml")]
    words = [word for word in options.words if word not in stages]
    seeds = read_seeds(options.seeds) if options.seeds is not None else ()
    _check_parallel(options.parallel)
    request = Request(
        stages, words, seeds, options.parallel, resume=options.resume, dry_run=options.dry_run
    )
    return submit(request)


def _status(options: argparse.Namespace) -> int:
    from jobs.group import Group
    from jobs.groupstatus import show_group
    from jobs.status import show_status

    run = _find(options.run)
    group = Group.of(run)
    if group is not None:
        show_group(group, options.watch, options.json)
    else:
        show_status(run, options.watch, options.json)
    return 0


def _find(name: str | None) -> Run:
    """A run by its folder, by its name in runs/, or the newest there."""
    from jobs.rundir import newest_first

    runs = Path(Config().runs_dir)
    names = newest_first(runs)
    if name is None:
        if not names:
            raise UsageError(f"{runs}: no runs there; name one: {command()} status RUN")
        return Run.open(runs / names[0])
    if Run(runs / name).config_file.is_file() and not Run(Path(name)).config_file.is_file():
        return Run.open(runs / name)
    try:
        return Run.open(name)
    except UsageError as error:
        there = f"; in {runs}: {', '.join(names[:5])}" if names else ""
        raise UsageError(f"{error}{there}") from None


def _logs(options: argparse.Namespace) -> int:
    from jobs.watch import follow

    run = _find(options.run)
    files = _newest_logs(run, options.stage)
    if not files:
        known = ", ".join((*STAGES, AGENT))
        wanted = f" of {options.stage} (there are: {known})" if options.stage else ""
        raise UsageError(f"{options.run}: no logs{wanted}")
    places = {}
    for path in files:
        print(f"==> {path} <==")
        content = path.read_bytes()
        places[path] = len(content)
        sys.stdout.write(content.decode("utf-8", "replace"))
    if options.follow:
        follow(places)
    return 0


def _newest_logs(run: Run, stage: str | None) -> list[Path]:
    """Of a stage, or of the last that has any; of every run of a group."""
    from geoagent.agent.endpoint import agent_folder
    from jobs.attempt import newest_logs
    from jobs.group import Group

    if stage == AGENT:
        return newest_logs(agent_folder(run.agent))
    if stage == COLLECT:
        return newest_logs(run.stage(COLLECT))
    group = Group.of(run)
    if group is not None:
        found = [path for one in group.runs() for path in _newest_logs(one, stage)]
        return [*{path.resolve(): path for path in reversed(found)}.values()][::-1]  # shared: once
    names = [stage] if stage else [*reversed(STAGES)]
    return next((found for name in names if (found := newest_logs(run.stage(name)))), [])


def _cancel(options: argparse.Namespace) -> int:
    from jobs.watch import cancel

    run = _find(options.run)
    if not run.jobs_file.is_file():
        raise UsageError(f"{options.run}: nothing of it was submitted")
    stopped = cancel(run)
    print(f"stopped: {', '.join(stopped)}" if stopped else "nothing was running")
    return 0
