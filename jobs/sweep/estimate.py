"""What a submission of a sweep asks for, before anybody is asked whether to."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from geoagent.config import StageResources
from geoagent.files import read_if_there
from geoagent.run import Run
from jobs.disk import GIB, stage_bytes
from jobs.group import Member
from jobs.plan import STAGES, StagePlan
from jobs.sweep.layout import Layout


@dataclass(frozen=True)
class StageEstimate:
    """`jobs` of a stage; `minutes` each at most, and `measured_s` what one took here on average."""

    stage: str
    jobs: int
    resources: StageResources
    measured_s: float | None

    @property
    def gpu_hours(self) -> float:
        """At most."""
        resources = self.resources
        gpus = resources.nodes * resources.gpus_per_node
        return self.jobs * gpus * resources.time_minutes / 60

    def wall_minutes(self, parallel: int | None, each: float | None = None) -> float:
        """If as many run at a time as may; `each` minutes, or the time limit."""
        rounds = math.ceil(self.jobs / min(parallel or self.jobs, self.jobs))
        return rounds * (self.resources.time_minutes if each is None else each)


@dataclass(frozen=True)
class Estimate:
    """Everything that is to be submitted, the agent and the collector aside."""

    stages: tuple[StageEstimate, ...]
    parallel: int | None
    gib: float

    @property
    def jobs(self) -> int:
        return sum(stage.jobs for stage in self.stages)

    @property
    def gpu_hours(self) -> float:
        return sum(stage.gpu_hours for stage in self.stages)

    @property
    def wall_minutes(self) -> float:
        """At most, stage after stage, if the cluster has room."""
        return sum(stage.wall_minutes(self.parallel) for stage in self.stages)

    @property
    def measured_minutes(self) -> float | None:
        """As `wall_minutes`, with what finished stages took; None if one has not been seen."""
        found = [
            None if stage.measured_s is None else stage.wall_minutes(self.parallel, each)
            for stage in self.stages
            for each in [(stage.measured_s or 0) / 60]
        ]
        known = [minutes for minutes in found if minutes is not None]
        return sum(known) if len(known) == len(found) else None


def estimate(
    members: Sequence[Member], home: Run, layout: Layout, parallel: int | None
) -> Estimate:
    planned: dict[str, list[tuple[Member, StagePlan]]] = {}
    for member in members:
        for stage in member.plan.stages:
            planned.setdefault(stage.name, []).append((member, stage))
    measured = _measured(home, layout)
    stages = tuple(
        StageEstimate(name, len(found), found[0][1].resources, measured.get(name))
        for name in STAGES
        if (found := planned.get(name))
    )
    size = sum(
        stage_bytes(member.config, stage.name)
        for found in planned.values()
        for member, stage in found
    )
    return Estimate(stages, parallel, size / GIB)


def _measured(home: Run, layout: Layout) -> Mapping[str, float]:
    """Mean seconds of the stages that have finished in this sweep."""
    seconds: dict[str, list[float]] = {}
    for stage, took in _seconds(home, layout):
        seconds.setdefault(stage, []).append(took)
    return {stage: sum(found) / len(found) for stage, found in seconds.items()}


def _seconds(home: Run, layout: Layout) -> Iterator[tuple[str, float]]:
    for part in layout.parts.values():
        for stage in part.stages:
            took = read_if_there(Run(home.path / part.folder).done_file(stage)).get("seconds")
            if isinstance(took, int | float):
                yield stage, float(took)


def hours(minutes: float) -> str:
    """A time for people."""
    return f"{minutes / 60:.1f} hours" if minutes >= 90 else f"{minutes:.0f} minutes"
