"""Makes the folder of a sweep and the run directories in it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from geoagent.errors import UsageError
from geoagent.files import read_if_there, write_atomic, write_json
from geoagent.run import Run
from geoagent.sweep.definition import Sweep, Trial
from geoagent.sweep.home import Row, SweepHome
from jobs.atonce import each
from jobs.group import Group, Member
from jobs.rundir import as_it_knows, finished_stages, renew_code
from jobs.sweep.layout import Layout

_WITH_PREPARE = ("data", "model")
"""Folders that prepare makes beside its own."""


def renew_home(sweep: Sweep, home: Run, under_way: bool) -> None:
    """Of a sweep that has finished nothing yet, make the copy of the code anew that all of its
    runs have in common."""
    group = Group.of(home)
    begun = any(finished_stages(run) for run in (group.runs() if group else ()))
    if not under_way and not begun:
        renew_code(sweep.base, home)


def keep(home: SweepHome, layout: Layout, trials: Sequence[Trial]) -> None:
    """Write down what belongs where, before anything is submitted."""
    group = Group.of(Run(home.path)) or Group(Run(home.path), {})
    for part in layout.parts.values():
        group.members.setdefault(part.folder, [])
    for folder, trial in zip(layout.trials, trials, strict=True):
        words = [f"{key}={value}" for key, value in trial.point.settings.items()]
        group.members[folder] = [*words, f"seed={trial.seed}"]
    group.parallel = home.parallel
    home.save()  # first: a group with members and without it would be no sweep's
    group.save()


def rows(layout: Layout, trials: Sequence[Trial]) -> list[Row]:
    """The points, with the folder of each seed."""
    found: dict[str, Row] = {}
    for folder, trial in zip(layout.trials, trials, strict=True):
        point = trial.point
        row = found.setdefault(
            point.name,
            Row(
                point.name,
                dict(point.settings),
                dict(point.dimensions),
                [stage for stage in trial.keys if stage != "prepare"],  # also unnamed ones
                point.published,
                {},
            ),
        )
        row.runs[str(trial.seed)] = folder
    return list(found.values())


def make_parts(home: Run, layout: Layout, members: Sequence[Member]) -> None:
    """Run directories of what is to be submitted: their configuration, links to what they go on
    from, and to the code that all share. OSErrors are UsageErrors."""
    manifest = read_if_there(home.manifest_file)
    with _told(home.path):
        each(
            lambda member: _make_part(home, layout, member, manifest),
            members,
            "making run directories",
        )


def _make_part(home: Run, layout: Layout, member: Member, manifest: dict[str, Any]) -> None:
    run, part = member.run, layout.parts[member.run.path.name]
    run.path.mkdir(exist_ok=True)
    _link(run.code, home.code)
    for stage, maker in part.links.items():
        for name in (stage, *(_WITH_PREPARE if stage == "prepare" else ())):
            _link(run.path / name, home.path / maker / name)
    text = as_it_knows(member.config, home)
    mark = hashlib.sha256(text.encode()).hexdigest()
    write_json(run.manifest_file, {**manifest, "config_sha256": mark})
    write_atomic(run.config_file, text)  # last: with it, this is a run directory


def _link(place: Path, target: Path) -> None:
    """Relative, so that the sweep can be moved; as it was before, if somebody changed it."""
    wanted = os.path.relpath(target, place.parent)
    if place.is_symlink() and str(place.readlink()) == wanted:
        return
    place.unlink(missing_ok=True)
    place.symlink_to(wanted, target_is_directory=True)


@contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UsageError(
            f"{error.filename or path}: cannot be written ({error.strerror})"
        ) from None
