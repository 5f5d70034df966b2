"""`python -m jobs`: submit stages, look at a run, stop it.

Nothing heavy is imported before it is needed: these are commands people type all day.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from geoagent.config import Config, resolve
from geoagent.errors import UsageError, exit_code
from geoagent.run import Run
from jobs.plan import STAGES, Plan, make_plan

_EXAMPLES = """examples:
  python -m jobs submit sft grpo eval recipe=demo name=first
  python -m jobs submit grpo model=qwen2_5_vl_7b cluster=slurm data.path=/data/geoseek
  python -m jobs submit eval name=first recipe=demo --resume
  python -m jobs submit sft grpo --dry-run grpo.beta=0.01
  python -m jobs status runs/first
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
        prog="python -m jobs",
        description="Train and evaluate geolocation models as jobs, on Slurm or on this machine.",
        epilog=_EXAMPLES,
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
    status.add_argument("run", metavar="RUN", help="run directory")
    status.set_defaults(function=_status)
    logs = commands.add_parser("logs", help="print a stage's logs")
    logs.add_argument("run", metavar="RUN", help="run directory")
    logs.add_argument("stage", nargs="?", help="the stage; default: the last that has logs")
    logs.add_argument("--follow", "-f", action="store_true", help="go on as the log grows")
    logs.set_defaults(function=_logs)
    cancel = commands.add_parser("cancel", help="stop all jobs of a run")
    cancel.add_argument("run", metavar="RUN", help="run directory")
    cancel.set_defaults(function=_cancel)
    return parser


def _submit(options: argparse.Namespace) -> int:
    from jobs.rundir import finished_stages, open_run, run_path, update_cluster

    stages = [word for word in options.words if "=" not in word and not word.endswith(".yaml")]
    config = resolve([word for word in options.words if word not in stages])
    if not stages:
        raise UsageError(f"no stage given; there are: {', '.join(STAGES)}")
    if options.resume and config.name is None:
        raise UsageError("--resume: which run? name it with name=…")
    path = run_path(config, stages)
    plan = make_plan(config, stages, finished_stages(path) if options.resume else ())
    slurm = _uses_slurm(config)
    if options.dry_run:
        _show_plan(config, plan, path, slurm)
        return 0
    for note in plan.notes:
        print(note)
    if not slurm:
        from jobs.local import check_single_node

        check_single_node(plan)
    if options.resume:
        _check_ended(Run(path))
    run = open_run(config, path, options.resume)
    if options.resume:
        update_cluster(run, config)
    if not plan.stages:
        print(f"nothing to do: {run.path} has finished {', '.join(stages)}")
        return 0
    return _submit_slurm(config, run, plan) if slurm else _run_here(config, run, plan)


def _check_ended(run: Run) -> None:
    """Two submissions at once would write into the same checkpoints."""
    from jobs.watch import still_running

    running = still_running(run)
    if running:
        shown = _short(run.path)
        raise UsageError(
            f"{shown}: {', '.join(running)} has not ended; look at it with `python -m jobs status "
            f"{shown}`, stop it with `python -m jobs cancel {shown}`"
        )


def _uses_slurm(config: Config) -> bool:
    executor = config.cluster.executor
    if executor == "slurm" and shutil.which("sbatch") is None:
        raise UsageError(
            "cluster.executor=slurm: there is no sbatch here; run this on a login node of the "
            "cluster, or choose cluster=local"
        )
    return executor == "slurm" or (executor == "auto" and shutil.which("sbatch") is not None)


def _show_plan(config: Config, plan: Plan, path: Path, slurm: bool) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"run directory {path}, {'Slurm' if slurm else 'this machine'}")
    for name in ("stage", "after", "command", "nodes", "processes", "minutes", "agent"):
        table.add_column(name, overflow="fold")
    jobs = [*plan.stages, *([plan.agent] if plan.agent else [])]
    for job in jobs:
        table.add_row(
            job.name,
            ", ".join(job.after) or "–",
            f"python -m {' '.join(job.module)} --run …",
            str(job.resources.nodes),
            str(job.processes),
            str(job.resources.time_minutes),
            "asks it" if job.needs_agent else "",
        )
    console = Console()
    console.print(table)
    weights = ", ".join(f"{name} {weight:g}" for name, weight in config.rewards.weights.items())
    console.print(f"rewards: {weights}", highlight=False)
    for note in plan.notes:
        console.print(note, highlight=False)
    console.print("dry run: nothing was written or submitted", highlight=False)


def _submit_slurm(config: Config, run: Run, plan: Plan) -> int:
    from jobs import slurm

    jobs = slurm.submit(config, run, plan)
    for job in jobs.jobs:
        print(f"{job.stage}: job {job.id}")
    print(f"look at it with: python -m jobs status {_short(run.path)}")
    return 0


def _run_here(config: Config, run: Run, plan: Plan) -> int:
    from jobs.display import Display
    from jobs.local import ChainFailed, LocalChain, summary

    shown = _short(run.path)
    started = time.monotonic()
    with Display(run) as display:
        display.say(f"run directory: {shown}")
        again = f"continue with: the same command and --resume name={run.path.name}"
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
    table = run.evaluation(config.eval.benchmark) / "table.txt"
    if table.is_file() and any(stage.name == "eval" for stage in plan.stages):
        print(table.read_text(encoding="utf-8"))
    rows = summary(chain.jobs)
    print("  ".join(f"{stage} {took} ({memory})" for stage, took, memory in rows))
    print(f"in all {time.monotonic() - started:.0f} s; curves: make tensorboard RUN={shown}")
    return 0


def _status(options: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.table import Table

    from jobs.display import clock, read_progress
    from jobs.state import Jobs
    from jobs.watch import agent_health, refresh

    run = Run.open(options.run)
    jobs = refresh(Jobs.load(run))
    table = Table(title=str(options.run))
    for name in ("stage", "job", "state", "step", "time", "figures", "note"):
        table.add_column(name, overflow="fold")
    for job in jobs.jobs:
        progress = read_progress(run, job.stage)
        total = progress.get("total")
        metrics = progress.get("metrics") or {}
        figures = ", ".join(f"{name} {value:.3g}" for name, value in metrics.items())
        note = (
            agent_health(run) if job.stage == "agent" else job.cause or progress.get("message", "")
        )
        steps = f"{progress['step']}/{total}" if total else "–"
        took = clock(job.seconds) if job.seconds is not None else "–"
        table.add_row(job.stage, job.id, job.state, steps, took, figures, note)
    Console().print(table)
    return 0


def _logs(options: argparse.Namespace) -> int:
    from jobs.local import log_files
    from jobs.watch import follow

    run = Run.open(options.run)
    names = [options.stage] if options.stage else [*reversed(STAGES)]
    files = next((found for name in names if (found := log_files(run, name))), [])
    if not files:
        raise UsageError(f"{options.run}: no logs{' of ' + options.stage if options.stage else ''}")
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

    run = Run.open(options.run)
    stopped = cancel(run, Jobs.load(run))
    print(f"stopped: {', '.join(stopped)}" if stopped else "nothing was running")
    return 0


def _short(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
