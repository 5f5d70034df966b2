"""Several runs that are submitted together: one run directory each, in the folder of the group.

The group's own folder looks like a run's: what its runs have in common, their agent, their arrays.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from geoagent.config import Config
from geoagent.errors import UsageError
from geoagent.files import read_json, write_json
from geoagent.run import Run
from jobs.plan import Plan
from jobs.state import JobRecord

_FILE: Final = "group.json"


@dataclass(frozen=True)
class Before:
    """A stage of another run; `job` is its id if it has been submitted already."""

    run: Run
    stage: str
    job: str = ""


@dataclass(frozen=True)
class Member:
    """A run, and what of it is to be done; its first stage goes on from what is `before` it."""

    config: Config
    run: Run
    plan: Plan
    before: Before | None = None
    kept: tuple[JobRecord, ...] = ()
    """Its jobs that are under way."""


@dataclass
class Group:
    """`members` has by name of the run's folder the settings in which it differs from the others;
    `parallel` is how many jobs of a stage may run at a time."""

    home: Run
    members: dict[str, list[str]]
    parallel: int | None = None

    def save(self) -> None:
        document = {"members": self.members, "parallel": self.parallel}
        write_json(self.home.path / _FILE, document)

    @classmethod
    def of(cls, run: Run) -> Group | None:
        """The group that has its folder here; None if this is a run."""
        path = run.path / _FILE
        return cls(run, **read_json(path)) if path.is_file() else None

    def run(self, name: str) -> Run:
        return Run(self.home.path / name)

    def runs(self) -> list[Run]:
        """Those that have been made."""
        found = [self.run(name) for name in self.members]
        return [run for run in found if run.config_file.is_file()]

    def check(self, words: Sequence[str]) -> None:
        """UsageError if a setting is given to all that each has for itself."""
        own = {word.partition("=")[0] for words in self.members.values() for word in words}
        for word in words:
            if word.partition("=")[0] in own:
                key = word.partition("=")[0]
                raise UsageError(f"{key}: each run of this group has its own; leave out {word}")


def by_seed(seeds: Sequence[int]) -> dict[str, list[str]]:
    """Members that differ in their seed."""
    return {f"seed-{seed}": [f"seed={seed}"] for seed in seeds}


def read_seeds(text: str) -> list[int]:
    """`0,1,2` → the seeds. UsageError for anything else."""
    words = text.split(",")
    if not all(word.isascii() and word.isdigit() for word in words):
        raise UsageError(f"--seeds: {text!r} is not a list of whole numbers such as 0,1,2")
    seeds = [int(word) for word in words]
    if len({*seeds}) < len(seeds):
        raise UsageError(f"--seeds: {text} names a seed twice")
    return seeds


def home_of(run: Run) -> Run:
    """The group's folder for a run of a group, else the run itself."""
    parent = Run(run.path.parent)
    return parent if (parent.path / _FILE).is_file() else run


def share_agent(run: Run, home: Run | None) -> None:
    """Let the programs of a run ask the agent of its group, or its own again."""
    link = run.agent / "shared"
    link.unlink(missing_ok=True)
    if home is not None:
        run.agent.mkdir(parents=True, exist_ok=True)
        home.agent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(home.agent, run.agent), target_is_directory=True)
