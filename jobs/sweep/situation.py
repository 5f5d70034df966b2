"""What of a sweep has finished and what is under way, and so what is missing."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import takewhile
from typing import Final

from geoagent.config import Config
from geoagent.errors import UsageError
from geoagent.files import read_if_there
from geoagent.run import Run
from geoagent.stages import asks_agent
from jobs import slurm
from jobs.group import Before, Group, Member
from jobs.plan import AGENT, COLLECT, plan_stages
from jobs.squeue import Queued, queue
from jobs.state import JobRecord, Jobs
from jobs.sweep.layout import Layout, Part

_LEAVES_S: Final = 60.0


@dataclass
class Situation:
    """By folder and stage: what has finished, and the jobs that wait or run.

    `agent` is the job of the agent if it is to be kept, and `clients` are the stages of `jobs` that
    ask one; `useless` are jobs that can come to nothing, or
    that the next submission replaces.
    """

    home: Run
    done: set[tuple[str, str]] = field(default_factory=set)
    jobs: dict[tuple[str, str], Queued] = field(default_factory=dict)
    agent: str = ""
    agent_waits: bool = False
    clients: list[str] = field(default_factory=list)
    collector: str = ""
    useless: dict[str, None] = field(default_factory=dict)

    def settled(self, folder: str, stage: str) -> bool:
        return (folder, stage) in self.done or (folder, stage) in self.jobs

    def under_way(self) -> slurm.UnderWay:
        arrays: dict[str, dict[str, None]] = {}
        for (_, stage), job in self.jobs.items():
            arrays.setdefault(stage, {})[job.array] = None
        found = {stage: [*ids] for stage, ids in arrays.items()}
        return slurm.UnderWay(found, self.agent, self.clients)


def look(home: Run, layout: Layout) -> Situation:
    """Ask the run directories, and Slurm if the sweep has jobs there. OutageError: it is silent."""
    situation = Situation(home)
    for part in layout.parts.values():
        run = Run(home.path / part.folder)
        # What has finished before the stage that it goes on from is of an earlier attempt at that.
        done = takewhile(partial(_is_done, run, part), part.stages)
        situation.done.update((part.folder, stage) for stage in done)
    group = Group.of(home)
    own = Jobs.load_if_there(home)
    if group is not None and own is not None and own.executor == "slurm":
        _ask_slurm(situation, group, own)
        for part in layout.parts.values():
            _drop_doomed(situation, part)
    return situation


def _is_done(run: Run, part: Part, stage: str) -> bool:
    """Also what was stopped early, unless the sweep does that no longer."""
    done = run.done_file(stage)
    if not done.is_file():
        return False
    halved = part.config.grpo.stop_early.study is not None
    return halved or not {"stopped_early", "skipped"} & read_if_there(done).keys()


def _ask_slurm(situation: Situation, group: Group, own: Jobs) -> None:
    """Sort the sweep's jobs in the queue by what they are for."""
    known = {job.id: (name, job.stage) for name, job in _records(group)}
    ours = {job.id: job.stage for job in own.jobs}
    mine = str(situation.home.path.resolve())
    waits = True
    for job in queue():
        place = known.get(job.id)
        stage = ours.get(job.id) or ours.get(job.array)
        if place is not None:
            if place not in situation.done:
                situation.jobs[place] = job
        elif stage == AGENT:
            situation.agent, waits = job.array, waits and job.waits
        elif stage == COLLECT:
            situation.collector = job.id
        elif job.run == mine:  # its submission was cut off before its id was written down
            situation.useless[job.id] = None  # not its array, of which others may be known
    situation.agent_waits = waits


def _records(group: Group) -> Iterator[tuple[str, JobRecord]]:
    for run in group.runs():
        jobs = Jobs.load_if_there(run)
        for record in jobs.jobs if jobs is not None and jobs.executor == "slurm" else ():
            yield run.path.name, record


def _drop_doomed(situation: Situation, part: Part) -> None:
    """A job that waits for something that will not come is none."""
    for stage in part.stages:
        job, before = situation.jobs.get((part.folder, stage)), _before(part, stage)
        if job is not None and job.waits and before and not situation.settled(*before):
            situation.useless[job.id] = None
            del situation.jobs[part.folder, stage]


def _before(part: Part, stage: str) -> tuple[str, str] | None:
    """The folder and stage that a stage of the part goes on from."""
    chain = part.chain()
    index = chain.index(stage)
    return (part.maker(chain[index - 1]), chain[index - 1]) if index else None


def missing(situation: Situation, layout: Layout) -> list[Member]:
    """What has to be submitted, runs that others go on from first."""
    found = [_member(situation, part) for part in layout.parts.values()]
    members = [member for member in found if member is not None]
    _settle_agent(situation, layout, members)
    return members


def _settle_agent(situation: Situation, layout: Layout, members: Sequence[Member]) -> None:
    """Whether the agent goes on. Not without a client under way: then it ends at any moment. Nor
    one that waits, if new clients need an agent: what it waits for may come late, or never."""
    situation.clients = sorted(
        {
            stage
            for folder, stage in situation.jobs
            if asks_agent(_config(situation, layout, folder), stage)
        }
    )
    replaced = situation.agent_waits and any(member.plan.agent for member in members)
    if situation.agent and (replaced or not situation.clients):
        situation.useless[situation.agent] = None
        situation.agent = ""


def _config(situation: Situation, layout: Layout, folder: str) -> Config:
    """Of a run, also of a point that is in the YAML no longer."""
    part = layout.parts.get(folder)
    return part.config if part else Run(situation.home.path / folder).config()


def _member(situation: Situation, part: Part) -> Member | None:
    names = [stage for stage in part.stages if not situation.settled(part.folder, stage)]
    if not names:
        return None
    before = _before(part, names[0])
    chain = part.chain()
    plan = plan_stages(part.config, names, chain[: chain.index(names[0])], part.then)
    kept = tuple(
        JobRecord(stage, job.id, "submitted")
        for (folder, stage), job in situation.jobs.items()
        if folder == part.folder
    )
    config = replace(part.config, name=part.folder, runs_dir=str(situation.home.path))
    run = Run(situation.home.path / part.folder)
    if before is None or before in situation.done:
        return Member(config, run, plan, kept=kept)
    job = situation.jobs.get(before)
    maker = Run(situation.home.path / before[0])
    return Member(config, run, plan, Before(maker, before[1], job.id if job else ""), kept)


def clear(situation: Situation) -> None:
    """Cancel what is useless, and wait until it has left. UsageError if it stays."""
    ids = [*situation.useless, *([situation.collector] if situation.collector else [])]
    if not ids:
        return
    slurm.cancel(ids)
    deadline = time.monotonic() + _LEAVES_S
    while left := _in_queue(ids):
        if time.monotonic() > deadline:
            raise UsageError(
                f"{situation.home.path}: jobs {', '.join(left)} of an earlier submission were "
                "cancelled and have not ended; try again in a minute"
            )
        time.sleep(0.5)


def _in_queue(ids: Sequence[str]) -> list[str]:
    return sorted({job.id for job in queue() if job.id in ids or job.array in ids})


def counts(situation: Situation, layout: Layout) -> Mapping[str, tuple[int, int]]:
    """By stage: how many have finished, and how many are under way."""
    found: dict[str, tuple[int, int]] = {}
    for part in layout.parts.values():
        for stage in part.stages:
            done, running = found.get(stage, (0, 0))
            place = (part.folder, stage)
            found[stage] = (done + (place in situation.done), running + (place in situation.jobs))
    return found
