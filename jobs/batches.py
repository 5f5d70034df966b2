"""Which runs go into one Slurm array together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

from jobs.group import Member
from jobs.plan import StagePlan


@dataclass
class Batch:
    """Runs whose stages are the same, so that element k of every array is the same run; `ids` has
    the arrays that were submitted, by stage."""

    members: list[Member]
    ids: dict[str, str] = field(default_factory=dict)

    def has(self, stage: str) -> bool:
        return any(planned.name == stage for planned in self.members[0].plan.stages)

    def stages(self, name: str) -> list[StagePlan]:
        """A stage's plan of every run."""
        return [
            next(stage for stage in member.plan.stages if stage.name == name)
            for member in self.members
        ]


def batches(members: Sequence[Member], most: int) -> list[Batch]:
    """Runs that have the same stages to do and ask Slurm for the same, at most `most` together."""
    alike: list[tuple[object, list[Member]]] = []
    for member in members:
        kind = _kind(member)
        same = next((found for known, found in alike if known == kind), None)
        if same is None:
            alike.append((kind, [member]))
        else:
            same.append(member)
    return [
        Batch(found[first : first + most])
        for _, found in alike
        for first in range(0, len(found), most)
    ]


def _kind(member: Member) -> object:
    return [stage.name for stage in member.plan.stages], asdict(member.config.cluster)
