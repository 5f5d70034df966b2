"""What a sweep would do, for the person who is to say yes to it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from geoagent.sweep.definition import Sweep, Trial
from geoagent.sweep.fields import short_keys
from geoagent.sweep.points import SHARED
from geoagent.sweep.tables import value_text
from jobs.batches import batches
from jobs.disk import GIB, room
from jobs.display import console, counted, plain_table
from jobs.group import Member
from jobs.plan import STAGES, StagePlan
from jobs.scheduler import max_array_size
from jobs.sweep.estimate import Estimate, hours
from jobs.sweep.layout import Layout
from jobs.sweep.situation import Situation, counts

_SHOWN: Final = 30
"""Points that are named one by one."""


def show(
    sweep: Sweep,
    trials: Sequence[Trial],
    layout: Layout,
    situation: Situation,
    members: Sequence[Member],
    asked: Estimate,
    slurm: bool,
) -> None:
    """Print points, stages and what they ask for; nothing is written."""
    output = console()
    names = short_keys(list(dict.fromkeys(key for p in sweep.points for key in p.settings)))
    table = plain_table(f"{sweep.title} ({sweep.source})")
    for column in ("point", "changes", "stages"):
        table.add_column(column, overflow="fold")
    for point in sweep.points[:_SHOWN]:
        changes = ", ".join(
            f"{names[key]}={value_text(value)}" for key, value in point.settings.items()
        )
        table.add_row(point.name, changes or "–", " ".join(point.stages))
    output.print(table)
    if len(sweep.points) > _SHOWN:
        output.print(f"and {len(sweep.points) - _SHOWN} more points", highlight=False)
    output.print(_stages(layout, situation, asked, slurm))
    lines = _lines(sweep, trials, situation.home.path, members, asked, slurm)
    for line in lines:
        output.print(line, highlight=False, markup=False, soft_wrap=True)


def _stages(layout: Layout, situation: Situation, asked: Estimate, slurm: bool) -> object:
    table = plain_table("to submit" if slurm else "to run here")
    columns = ("stage", "jobs", "finished", "under way", "nodes", "GPUs", "minutes each at most")
    for column in columns if slurm else columns[:4]:
        table.add_column(column)
    planned = {stage.stage: stage for stage in asked.stages}
    found = counts(situation, layout)
    for name in (name for name in STAGES if name in found):
        done, running = found[name]
        stage = planned.get(name)
        cells = [name, str(stage.jobs if stage else 0), str(done), str(running)]
        if stage and slurm:
            resources = stage.resources
            numbers = (resources.nodes, resources.gpus_per_node, resources.time_minutes)
            cells += [str(number) for number in numbers]
        table.add_row(*cells)
    return table


def _lines(
    sweep: Sweep,
    trials: Sequence[Trial],
    path: Path,
    members: Sequence[Member],
    asked: Estimate,
    slurm: bool,
) -> Iterator[str]:
    seeds = ", ".join(map(str, sweep.seeds))
    yield f"folder: {path}"
    points, runs = counted(len(sweep.points), "point"), counted(len(trials), "trial")
    yield f"{points}, seed{'s' if len(sweep.seeds) > 1 else ''} {seeds}: {runs}; {_shared(members)}"
    if slurm:
        yield from _on_slurm(members, asked)
    else:
        yield "one trial after the other"
    if asked.measured_minutes is not None and asked.jobs:
        yield f"as long as those that have finished here took: {hours(asked.measured_minutes)}"
    elif not slurm:
        yield "how long it takes is told once each stage has finished for a first time"
    free = room(path)[1] / GIB
    yield f"disk: about {asked.gib:.1f} GiB; {free:.0f} GiB are free there (a quota may leave less)"


def _shared(members: Sequence[Member]) -> str:
    shared = [m for m in members if m.run.path.name.startswith(f"{SHARED}-")]
    stages = [stage.name for member in shared for stage in member.plan.stages]
    told = [f"{stages.count(name)} {name}" for name in dict.fromkeys(stages)]
    return f"{' and '.join(told)} once for all of them" if told else "nothing to do is shared"


def _on_slurm(members: Sequence[Member], asked: Estimate) -> Iterator[str]:
    arrays = sum(len(b.members[0].plan.stages) for b in batches(members, max_array_size()))
    limit = f"{asked.parallel} of a stage" if asked.parallel else "all of a stage"
    agents = [m.plan.agent for m in members if m.plan.agent is not None]
    extra = "1 collector" + (f", {_agents(members)}" if agents else "")
    yield f"{asked.jobs} jobs in {arrays} submissions, and {extra}; {limit} at a time"
    yield (
        f"at most {asked.gpu_hours + _agenthours(members, asked):.0f} GPU-hours and "
        f"{hours(asked.wall_minutes)} once they begin, by their time limits"
    )


def _agents(members: Sequence[Member]) -> str:
    replicas = max(m.config.agent.replicas for m in members)
    return f"{replicas} agent{'s' if replicas > 1 else ''} for all"


def _agenthours(members: Sequence[Member], asked: Estimate) -> float:
    """Of the agent, which runs as long as its clients do, or to its time limit."""
    member = next((m for m in members if m.plan.agent is not None), None)
    if member is None or member.plan.agent is None:
        return 0.0
    agent: StagePlan = member.plan.agent
    names = {stage.name for m in members for stage in m.plan.stages if stage.needs_agent}
    clients = [stage for stage in asked.stages if stage.stage in names]
    minutes = sum(stage.wall_minutes(asked.parallel) for stage in clients)
    gpus = agent.resources.nodes * agent.resources.gpus_per_node
    return member.config.agent.replicas * gpus * minutes / 60
