"""`python -m jobs`: submit stages, look at a run, stop it.

Nothing heavy is imported before it is needed: these are commands people type all day.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from geoagent.config import Config, resolve
from geoagent.errors import UsageError, exit_code
from geoagent.files import short
from geoagent.run import Run
from jobs.plan import AGENT, STAGES, Plan, check_stages, make_plan

if TYPE_CHECKING:
    from jobs.state import Jobs

_EXAMPLES = """examples:
  python -m jobs submit sft grpo eval recipe=demo name=first
  python -m jobs submit grpo model=qwen2_5_vl_7b cluster=slurm data.path=/data/geoseek
  python -m jobs submit eval name=first recipe=demo --resume
  python -m jobs submit sft grpo --dry-run grpo.beta=0.01
  python -m jobs status first --watch
  python -m jobs logs runs/first grpo --follow
  python -m jobs cancel runs/first
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
        nargs="+",
        metavar="STAGE|key=value",
        help=f"stages ({', '.join(STAGES)}) and settings (group=choice, key=value, FILE.yaml)",
    )
    submit.add_argument("--dry-run", action="store_true", help="show what would run, write nothing")
    submit.add_argument("--resume", action="store_true", help="continue the run of that name")
    submit.set_defaults(function=_submit)
    status = commands.add_parser("status", help="state, step, time and figures of a run's jobs")
    status.add_argument("run", metavar="RUN", nargs="?", help="run; default: the newest in runs/")
    status.add_argument("--watch", "-w", action="store_true", help="go on until all have ended")
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


def _submit(options: argparse.Namespace) -> int:
    from jobs.preflight import problems, uses_slurm
    from jobs.rundir import continue_run, find_run, finished_stages, new_run, run_path

    stages = [word for word in options.words if "=" not in word and not word.endswith(".yaml")]
    words = [word for word in options.words if word not in stages]
    config = resolve(words)
    check_stages(stages)
    if options.resume and config.name is None:
        raise UsageError("--resume: which run? name it with name=…")
    path = run_path(config, stages)
    run, finished = None, []
    if options.resume:
        run = find_run(path)
        config = resolve([str(run.config_file), *words])
        finished = finished_stages(run, config)
    plan = make_plan(config, stages, finished)
    if run is not None and not plan.stages:
        print(f"nothing to do: {short(path)} has finished {', '.join(stages)}")
        return 0
    if options.dry_run:
        from jobs.planview import show_plan

        show_plan(config, plan, path)
    found = list(problems(config, plan))
    for problem in found:
        print(f"error: {problem}", file=sys.stderr)
    if found or options.dry_run:
        return 2 if found else 0
    for note in plan.notes:
        print(note)
    if run is None:
        run = new_run(config, path)
    else:
        _check_ended(run)
        continue_run(config, run)
    return _submit_slurm(config, run, plan) if uses_slurm(config) else _run_here(config, run, plan)


def _check_ended(run: Run) -> None:
    """Two submissions at once would write into the same checkpoints."""
    from jobs.watch import still_running

    running = still_running(run)
    if running:
        shown = short(run.path)
        raise UsageError(
            f"{shown}: {', '.join(running)} has not ended; look at it with `{command()} status "
            f"{shown}`, stop it with `{command()} cancel {shown}`"
        )


def _submit_slurm(config: Config, run: Run, plan: Plan) -> int:
    from jobs import slurm

    jobs = slurm.submit(config, run, plan)
    for job in jobs.jobs:
        print(f"{job.stage}: job {job.id}")
    print(f"look at it with: {command()} status {short(run.path)}")
    return 0


def _run_here(config: Config, run: Run, plan: Plan) -> int:
    from jobs.display import Display
    from jobs.local import ChainFailed, LocalChain

    started = time.monotonic()
    with Display(run) as display:
        display.say(f"run directory: {short(run.path)}")
        again = f"continue with: {_resuming(run, plan)}"
        chain = LocalChain(run, plan, display, config.agent.start_timeout_s)
        try:
            chain.execute()
        except ChainFailed as error:
            print(f"error: {error}", file=sys.stderr)
            print(again)
            return 1
        except KeyboardInterrupt:
            print(again)
            raise
    _report(config, run, chain.jobs, time.monotonic() - started)
    return 0


def _resuming(run: Run, plan: Plan) -> str:
    """The command that goes on with what this one began."""
    stages = " ".join(stage.name for stage in plan.stages if stage.name != "prepare")
    place = run.path.parent
    elsewhere = "" if place == Path(Config().runs_dir).absolute() else f" runs_dir={short(place)}"
    return f"{command()} submit {stages or 'prepare'} --resume name={run.path.name}{elsewhere}"


def _report(config: Config, run: Run, jobs: Jobs, seconds: float) -> None:
    """What a finished chain has to say: the table, what each stage took, where to look."""
    from jobs.local import summary

    shown = short(run.path)
    if any(job.stage == "eval" for job in jobs.jobs):
        chosen = run.evaluation(config.eval.benchmark) / "table.txt"
        print(chosen.read_text(encoding="utf-8"))
        for table in sorted((run.path / "eval").glob("*/table.txt")):
            if table != chosen:
                print(f"also evaluated: {table.parent.name} ({short(table)})")
    print("  ".join(f"{stage} {took} ({memory})" for stage, took, memory in summary(jobs)))
    print(f"in all {seconds:.0f} s; curves: make tensorboard RUN={shown}")


def _status(options: argparse.Namespace) -> int:
    from jobs.status import show_status

    show_status(_find(options.run), options.watch)
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
    if name in names and not Run(Path(name)).config_file.is_file():
        return Run.open(runs / name)
    try:
        return Run.open(name)
    except UsageError as error:
        there = f"; in {runs}: {', '.join(names[:5])}" if names else ""
        raise UsageError(f"{error}{there}") from None


def _logs(options: argparse.Namespace) -> int:
    from jobs.attempt import newest_logs
    from jobs.watch import follow

    run = _find(options.run)
    names = [options.stage] if options.stage else [*reversed(STAGES)]
    files = next((found for name in names if (found := newest_logs(run.stage(name)))), [])
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


def _cancel(options: argparse.Namespace) -> int:
    from jobs.state import Jobs
    from jobs.watch import cancel

    run = _find(options.run)
    stopped = cancel(run, Jobs.load(run))
    print(f"stopped: {', '.join(stopped)}" if stopped else "nothing was running")
    return 0


def command() -> str:
    """This program as one would type it here."""
    return f"{short(Path(sys.executable))} -m jobs"
