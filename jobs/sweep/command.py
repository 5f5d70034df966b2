"""`sweep`: read the points, see what is missing, ask, and submit it."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from geoagent.config import GROUPS, REWARD_NAMES, Config, StopEarlyConfig
from geoagent.errors import UsageError
from geoagent.files import short, write_atomic
from geoagent.run import Run
from geoagent.sweep.definition import Sweep, Trial, read_sweep, trials
from geoagent.sweep.fields import check_name
from geoagent.sweep.home import RESULTS, SweepHome
from geoagent.sweep.keys import short as short_key
from geoagent.sweep.keys import stage_keys
from jobs import preflight
from jobs.command import command
from jobs.disk import GIB, room
from jobs.group import Group, Member
from jobs.lock import busy, submitting
from jobs.plan import collector
from jobs.rundir import new_run
from jobs.sweep import folders
from jobs.sweep.estimate import Estimate, estimate, hours
from jobs.sweep.layout import Layout, lay_out
from jobs.sweep.situation import Situation, clear, look, missing

NOTHING: Final = "nothing was written or submitted"
STUDY: Final = "halving"
"""Folder in the sweep's where its trials tell each other how good they are."""
COPY: Final = "sweep.yaml"
_SECTIONS: Final = {
    "agent": "agent.",
    "benchmark": "eval.",
    "cluster": "cluster.",
    "data": "data.",
    "model": "model.",
}
"""What the choices of a group set; a recipe sets something of everything."""
_PLACE: Final = ("name", "runs_dir")
"""Settings that say where a sweep is, and nothing of its points."""


@dataclass(frozen=True)
class Request:
    """What somebody has asked for; `source` is a YAML, the name of a shipped one, or the folder of
    a sweep that is there."""

    source: str
    words: Sequence[str] = ()
    seeds: Sequence[int] = ()
    parallel: int | None = None
    dry_run: bool = False
    yes: bool = False


@dataclass(frozen=True)
class _Planned:
    sweep: Sweep
    trials: Sequence[Trial]
    layout: Layout
    home: SweepHome
    situation: Situation
    members: list[Member]
    asked: Estimate
    slurm: bool


def sweep(request: Request) -> int:
    """Exit code. UsageError, OutageError."""
    path, source = find(request)
    run = Run(path)
    with ExitStack() as stack:
        begun = run.config_file.is_file()
        if begun:
            _check_sweep(run)
        if begun and not request.dry_run:
            stack.enter_context(submitting(run))
        elif begun and busy(run):
            print("note: another command submits or runs this sweep now; this is what is left")
        planned = _plan(request, path, source)
        found = list(_problems(planned))
        if not planned.members and not found:
            return _nothing(planned, request.dry_run)
        try:
            _show(planned)  # it may ask Slurm
        finally:
            for problem in found:
                print(f"error: {problem}", file=sys.stderr)
        if found or request.dry_run:
            print(NOTHING)
            return 2 if found else 0
        if not request.yes:
            if not _agreed(planned):
                print(NOTHING)
                return 1
            planned = _plan(request, path, source)  # jobs may have ended meanwhile
        if begun:
            folders.renew_home(planned.sweep, run, bool(planned.situation.jobs))
        else:  # refused, if somebody else has made it while this was asking
            new_run(planned.sweep.base, path, {})
            stack.enter_context(submitting(run))
        return _start(planned)


def results(request: Request) -> int:
    """Print the sweep's tables as they are now, and write them to its folder."""
    path, _ = find(request)
    _tell(path)
    return 0


def _tell(path: Path) -> None:
    from geoagent.sweep.report import write_results

    write_results(SweepHome.open(path))
    print(f"written: {short(path / RESULTS)}")


def find(request: Request) -> tuple[Path, str]:
    """The folder of the sweep, and its YAML."""
    given, name = Path(request.source), _word(request.words, "name")
    runs = Path(_word(request.words, "runs_dir") or Config().runs_dir)
    if SweepHome.at(given) and name:
        raise UsageError(f"{request.source}: is a sweep that has its name; leave out name={name}")
    for there in (given, runs / request.source):
        if SweepHome.at(there) and not name:
            return there.absolute(), _source(there)
    return (runs / check_name(name or given.stem, "name")).absolute(), request.source


def _check_sweep(run: Run) -> None:
    """UsageError if the folder is that of a run, or of a group of runs. A sweep whose first
    submission was cut off has a group without members."""
    group = Group.of(run)
    if not SweepHome.at(run.path) and (group is None or group.members):
        raise UsageError(
            f"{short(run.path)}: is a run and no sweep; choose another name for the sweep's folder "
            "with name=…"
        )


def _source(path: Path) -> str:
    """The sweep's YAML, or the copy of it if it is there no longer."""
    source = SweepHome.open(path).source
    if Path(source).is_file():
        return source
    print(f"note: {source} is there no longer; its copy {short(path / COPY)} is used")
    return str(path / COPY)


def _word(words: Sequence[str], key: str) -> str:
    found = [word.partition("=")[2] for word in words if word.partition("=")[0] == key]
    return found[-1] if found else ""


def _plan(request: Request, path: Path, source: str) -> _Planned:
    """What is to be done: from the YAML, what was said now and earlier, and what is there."""
    before = SweepHome.open(path) if SweepHome.at(path) else None
    words = _merged(before.words if before else [], request.words)
    seeds = list(request.seeds) or (before.given_seeds if before else [])
    parallel = request.parallel or (before.given_parallel if before else None)
    definition = read_sweep(source, words, seeds, parallel, name=path.name)
    if before is not None:
        _check_source(before, Path(definition.source))
    found = trials(definition)
    found = _sharing_study(definition, found, path)
    layout = lay_out(found, before.stages if before else {})
    home = SweepHome(
        path=path,
        source=str(Path(definition.source).absolute()),
        title=definition.title,
        words=words,
        seeds=list(definition.seeds),
        parallel=definition.parallel,
        metrics=list(definition.metrics),
        published=definition.published,
        given_seeds=seeds,
        given_parallel=parallel,
        rows=folders.rows(layout, found),
        stages=layout.stages,
    )
    situation = look(Run(path), layout)
    members = missing(situation, layout)
    slurm = preflight.uses_slurm(definition.base)
    asked = estimate(members, Run(path), layout, definition.parallel if slurm else 1)
    return _Planned(definition, found, layout, home, situation, members, asked, slurm)


def _check_source(before: SweepHome, now: Path) -> None:
    """UsageError if the folder is that of another YAML, whose tables would be lost."""
    then = Path(before.source)
    same = now.absolute() in (then, before.path / COPY)
    if then.is_file() and not same:
        raise UsageError(
            f"{short(before.path)}: is the sweep of {short(then)}; choose another name for the "
            f"folder of {short(now)} with name=…"
        )


def _merged(before: Sequence[str], now: Sequence[str]) -> list[str]:
    """What was said earlier holds until something else is said of the same key, or a choice is
    made that sets its section."""
    keys = {word.partition("=")[0] for word in now} | {*_PLACE}
    sections = tuple(_SECTIONS[key] for key in keys if key in _SECTIONS)
    kept = [
        word
        for word in before
        if word.partition("=")[0] not in keys and not word.startswith(sections)
    ]
    here = [word for word in now if word.partition("=")[0] not in _PLACE]
    groups = [word for word in (*kept, *here) if word.partition("=")[0] in GROUPS]
    return [*groups, *(word for word in (*kept, *here) if word not in groups)]


def _sharing_study(sweep: Sweep, found: Sequence[Trial], path: Path) -> Sequence[Trial]:
    """With successive halving, all trials look at one study, and at rewards that all have: their
    weights differ, so that sums of them could not be compared. UsageError if they have none."""
    if sweep.stop_early is None:
        return found
    trained = [trial.config.rewards.weights for trial in found if "grpo" in trial.keys]
    if not trained:
        raise UsageError(f"{sweep.source}: stop_early: no point has grpo; take it out")
    common = [name for name in REWARD_NAMES if all(weights.get(name) for weights in trained)]
    settings = {"by": common, **sweep.stop_early}
    if not settings["by"]:
        raise UsageError(
            f"{sweep.source}: stop_early: no reward has a weight in all points, so that they "
            "cannot be compared"
        )
    # Values of other meanings are not compared with.
    mark = short_key(stage_keys(sweep.base, ["grpo"])["grpo"])
    study = StopEarlyConfig(study=str(path / STUDY / mark), **settings)
    return [
        replace(
            trial, config=replace(trial.config, grpo=replace(trial.config.grpo, stop_early=study))
        )
        if "grpo" in trial.keys  # the weights of others may lack what is compared
        else trial
        for trial in found
    ]


def _problems(planned: _Planned) -> Iterator[str]:
    """One line for each thing that has to be mended first."""
    yield from preflight.problems_of((m.config, m.plan) for m in planned.members)
    place, free = room(planned.home.path)
    needed = planned.asked.gib
    if needed > free / GIB:
        yield (
            f"{place}: {free / GIB:.1f} GiB free, and the sweep needs about {needed:.0f} GiB; "
            "free some, or choose another place with runs_dir=…"
        )


def _show(planned: _Planned) -> None:
    from jobs.sweep.view import show

    show(
        planned.sweep,
        planned.trials,
        planned.layout,
        planned.situation,
        planned.members,
        planned.asked,
        planned.slurm,
    )


def _agreed(planned: _Planned) -> bool:
    if not sys.stdin.isatty():
        raise UsageError("nobody is there to say yes; look at it with --dry-run, submit with --yes")
    what = "submit" if planned.slurm else "run"
    return input(f"{what} these {planned.asked.jobs} jobs? [y/N] ").strip().lower() in ("y", "yes")


def _nothing(planned: _Planned, dry_run: bool) -> int:
    home = planned.home
    shown = f"{command()} sweep {short(home.path)} --results"
    if not dry_run:  # names and columns may be others
        folders.keep(home, planned.layout, planned.trials)
    if planned.situation.jobs:
        count = len(planned.situation.jobs)
        print(
            f"nothing to submit: {count} stages are under way, the others have finished; look at "
            f"them with: {command()} status {short(home.path)}"
        )
    else:
        print(f"nothing to do: all {len(planned.trials)} have finished; the tables: {shown}")
    return 0


def _start(planned: _Planned) -> int:
    home = planned.home
    run = Run(home.path)
    if planned.slurm:
        clear(planned.situation)
    folders.keep(home, planned.layout, planned.trials)
    _copy(Path(planned.sweep.source), home.path)
    folders.make_parts(run, planned.layout, planned.members)
    if not planned.slurm:
        return _run_here(planned)
    from jobs import slurm

    config, limit = planned.sweep.base, planned.sweep.parallel
    under_way = planned.situation.under_way()
    for one in slurm.submit_all(config, run, planned.members, limit, under_way, collector(config)):
        several = f", an array of {one.count}" if one.count > 1 else ""
        print(f"{one.stage}: job {one.id}{several}")
    print(f"look at it with: {command()} status {short(home.path)}")
    print(f"the tables, whenever: {command()} sweep {short(home.path)} --results")
    return 0


def _copy(source: Path, home: Path) -> None:
    """Keep the YAML beside what is made of it."""
    if source != home / COPY:
        write_atomic(home / COPY, source.read_bytes())


def _run_here(planned: _Planned) -> int:
    """Chain after chain; one that fails leaves the others alone. The tables come last."""
    from jobs.submission import run_chain

    home = Run(planned.home.path)
    again = f"go on with: {command()} sweep {short(home.path)}"
    failed = []
    for number, member in enumerate(planned.members):
        left = estimate(planned.members[number:], home, planned.layout, 1).measured_minutes
        more = "" if left is None else f", about {hours(left)} left"
        print(f"[{number + 1}/{len(planned.members)}{more}]", end=" ", flush=True)
        if run_chain(member, again) is None:
            failed.append(member.run.path.name)
    _tell(home.path)
    if failed:
        print(f"failed: {', '.join(failed)}; {again}", file=sys.stderr)
    return 1 if failed else 0
