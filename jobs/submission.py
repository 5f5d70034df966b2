"""`submit`: what is to be done, whether it can be, and the submission itself."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

from geoagent.config import Config, resolve
from geoagent.errors import UsageError
from geoagent.files import read_if_there, short
from geoagent.run import Run
from geoagent.sweep.home import SweepHome
from jobs.advice import resuming
from jobs.command import command
from jobs.doubts import doubts
from jobs.group import Group, Member, by_seed
from jobs.lock import submitting
from jobs.plan import STAGES, check_stages, make_plan
from jobs.preflight import problems_of, uses_slurm
from jobs.rundir import (
    check_continued,
    continue_run,
    find_run,
    finished_stages,
    in_use,
    new_run,
    run_path,
)
from jobs.state import Jobs
from jobs.watch import still_running


@dataclass(frozen=True)
class Request:
    """What somebody has asked for; no stages: those that the configuration names. `seeds` make a
    group of runs; `parallel` limits it."""

    stages: Sequence[str]
    words: Sequence[str]
    seeds: Sequence[int] = ()
    parallel: int | None = None
    resume: bool = False
    dry_run: bool = False


def submit(request: Request) -> int:
    """Exit code. UsageError, OutageError."""
    # With --resume these are only what is to change, and may be of no use by themselves.
    config = resolve(request.words, checked=not request.resume)
    if request.resume and config.name is None:
        raise UsageError("--resume: which run? name it with name=…")
    if not request.resume:
        request = _with_stages(request, config)
    path = run_path(config, request.stages)
    home = find_run(path) if request.resume else Run(path)
    _check_no_sweep(home)
    with ExitStack() as stack:
        if request.resume and not request.dry_run:
            _enter(stack, home)
        group = _group(request, home)
        if request.resume:
            config = resolve([str(home.config_file), *request.words])
            request = _with_stages(request, config)
            check_continued(config, home, group.runs() if group else ())
        members = _members(request, config, home, group)
        if request.resume and not members:
            return _nothing(request, config, home)
        found = _problems(config, members, None if request.resume else home)
        try:
            if request.dry_run:
                from jobs.planview import show_plan

                show_plan(members, home.path, group)  # it may ask Slurm
        finally:
            for problem in found:
                print(f"error: {problem}", file=sys.stderr)
        if found or request.dry_run:
            return 2 if found else 0
        for note in dict.fromkeys(note for member in members for note in member.plan.notes):
            print(note)
        for note in doubts(config, members[0].plan):
            print(note)
        if not request.resume:
            new_run(config, home.path, group.members if group else None)
            stack.enter_context(submitting(home))
        _prepare(request, config, home, group, members)
        return _start(config, home, group, members)


def _with_stages(request: Request, config: Config) -> Request:
    """The request with the stages that it means; UsageError if there are none, or no such ones."""
    stages = request.stages or config.stages
    if not stages:
        raise UsageError(
            "no stage given, and the configuration names none, as a recipe does (stages: […]); "
            f"there are: {', '.join(STAGES)}"
        )
    check_stages(stages)
    return replace(request, stages=stages)


def _check_no_sweep(home: Run) -> None:
    """UsageError for a sweep, and for a run of one: that would write into what others share, and
    its results would no longer be those of its point."""
    for place, what in ((home.path, "is a sweep"), (home.path.parent, "is a run of a sweep")):
        if SweepHome.at(place):
            raise UsageError(
                f"{short(home.path)}: {what}; go on with it: {command()} sweep {short(place)}"
            )


def _enter(stack: ExitStack, home: Run) -> None:
    """Keep others from submitting the run, and see that its jobs have ended."""
    try:
        stack.enter_context(submitting(home))
    except UsageError:
        _check_ended(home)  # says more than the lock
        raise
    _check_ended(home)


def _group(request: Request, home: Run) -> Group | None:
    """The group that is asked for, or that is there already, with what is new in it."""
    group = Group.of(home) if request.resume else None
    if group is None and request.resume and request.seeds:
        raise UsageError(f"--seeds: {short(home.path)} is one run; start a group with another name")
    if group is None and request.seeds:
        group = Group(home, {})
    if group is None and request.parallel is not None:
        raise UsageError("--parallel: is for several runs; name their seeds with --seeds")
    if group is not None:
        group.members |= by_seed(request.seeds)
        group.parallel = request.parallel or group.parallel
        group.check(request.words)
    return group


def _members(request: Request, config: Config, home: Run, group: Group | None) -> list[Member]:
    """The run, or the runs of a group, that something is to be done for."""
    if group is None:
        finished = finished_stages(home, config) if request.resume else []
        members = [Member(config, home, make_plan(config, request.stages, finished))]
    else:
        members = [_member(request, group, name) for name in group.members]
    return [member for member in members if member.plan.stages or not request.resume]


def _member(request: Request, group: Group, name: str) -> Member:
    """A run of a group: as it began, or like the others but for what it has for itself."""
    run = group.run(name)
    begun = next((one for one in (run, group.home) if one.config_file.is_file()), None)
    base = [str(begun.config_file)] if begun else []
    config = resolve([*base, *request.words, *group.members[name]])
    config = replace(config, name=name, runs_dir=str(group.home.path))
    finished = finished_stages(run, config) if run.config_file.is_file() else []
    return Member(config, run, make_plan(config, request.stages, finished))


def _nothing(request: Request, config: Config, home: Run) -> int:
    """Say that all has finished, and that settings which nothing would read are not kept."""
    lost = "; the settings that were given are not kept" if config != home.config() else ""
    print(f"nothing to do: {short(home.path)} has finished {', '.join(request.stages)}{lost}")
    return 0


def _problems(config: Config, members: Sequence[Member], new: Run | None) -> list[str]:
    """Those of all runs, each once, and of the folder of a new one."""
    taken = [in_use(new.path)] if new is not None and new.path.exists() else []
    found = problems_of((member.config, member.plan) for member in members)
    return [*dict.fromkeys([*taken, *found, *_other_agents(config, members)])]


def _other_agents(config: Config, members: Sequence[Member]) -> Iterator[str]:
    """Runs that the group's one agent would judge otherwise than they ask for."""
    for member in members:
        if member.plan.agent is not None and member.config.agent != config.agent:
            yield (
                f"{member.run.path.name}: agent.* is not what the group has, and its runs share "
                "one agent; name the same for all, or go on with this run alone (--resume "
                f"name={member.run.path.name} runs_dir={short(member.run.path.parent)})"
            )


def _check_ended(run: Run) -> None:
    """Two submissions at once would write into the same checkpoints."""
    running = still_running(run)
    if running:
        shown = short(run.path)
        raise UsageError(
            f"{shown}: {', '.join(running)} has not ended; look at it with `{command()} status "
            f"{shown}`, stop it with `{command()} cancel {shown}`"
        )


def _prepare(
    request: Request, config: Config, home: Run, group: Group | None, members: Sequence[Member]
) -> None:
    """Make what directories are missing, and those that are there ready to go on."""
    if request.resume:
        continue_run(config, home, group.runs() if group else ())
    if group is None:
        return
    group.save()
    for member in members:
        if member.run.config_file.is_file():
            continue_run(member.config, member.run)
        else:
            shutil.rmtree(member.run.path, ignore_errors=True)  # of a submission that was cut off
            new_run(member.config, member.run.path)


def _start(config: Config, home: Run, group: Group | None, members: Sequence[Member]) -> int:
    if not uses_slurm(config):
        return _run_here(home, members)
    from jobs import slurm

    for one in slurm.submit_all(config, home, members, group.parallel if group else None):
        several = f", an array of {one.count}" if one.count > 1 else ""
        print(f"{one.stage}: job {one.id}{several}")
    print(f"look at it with: {command()} status {short(home.path)}")
    return 0


def _run_here(home: Run, members: Sequence[Member]) -> int:
    """Run after run; one that fails leaves the others alone."""
    failed = []
    for number, member in enumerate(members, start=1):
        if len(members) > 1:
            print(f"{member.run.path.name}: run {number} of {len(members)}", flush=True)
        if not _run_one(member, home):
            failed.append(member.run.path.name)
    if failed and len(members) > 1:
        print(f"error: failed: {', '.join(failed)} of {len(members)} runs", file=sys.stderr)
    return 1 if failed else 0


def _run_one(member: Member, home: Run) -> bool:
    started = time.monotonic()
    stages = [stage.name for stage in member.plan.stages if stage.name != "prepare"]
    jobs = run_chain(member, f"continue with: {resuming(home, stages)}")
    if jobs is not None:
        _report(member.config, member.run, jobs, time.monotonic() - started)
    return jobs is not None


def run_chain(member: Member, again: str) -> Jobs | None:
    """Run the stages of a run on this machine; None if one failed. That is told, and `again`."""
    from jobs.display import Display
    from jobs.local import ChainFailed, LocalChain

    run = member.run
    with Display(run) as display:
        display.say(f"run directory: {short(run.path)}")
        chain = LocalChain(run, member.plan, display, member.config.agent.start_timeout_s)
        try:
            chain.execute()
        except ChainFailed as error:
            print(f"error: {error}", file=sys.stderr)
            print(again)
            return None
        except KeyboardInterrupt:
            print(again)
            raise
    return chain.jobs


def _report(config: Config, run: Run, jobs: Jobs, seconds: float) -> None:
    """What a finished chain has to say: the table, what each stage took, where to look."""
    from jobs.local import summary

    shown = short(run.path)
    if any(job.stage == "eval" for job in jobs.jobs):
        chosen = run.evaluation(config.eval.benchmark) / "table.txt"
        skipped = read_if_there(run.done_file("eval")).get("skipped")
        print(f"not evaluated: {skipped}" if skipped else chosen.read_text(encoding="utf-8"))
        for table in sorted((run.path / "eval").glob("*/table.txt")):
            if table != chosen:
                print(f"also evaluated: {table.parent.name} ({short(table)})")
        for page in run.report.glob("report.html"):
            print(f"to look at: {short(page)}")
    print("  ".join(f"{stage} {took} ({memory})" for stage, took, memory in summary(jobs)))
    print(f"in all {seconds:.0f} s; curves: make tensorboard RUN={shown}")
