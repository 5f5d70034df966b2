"""Configuration and stages → what runs, in which order; nothing is touched here."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Final

from geoagent.config import Config, StageResources
from geoagent.stages import (
    POLICY,
    STAGES,
    TRAINING,
    asks_agent,
    check_stages,
    stands_on,
    with_needed,
)
from geoagent.sweep.home import RESULTS

AGENT: Final = "agent"
COLLECT: Final = RESULTS
_MODULES: Final[dict[str, tuple[str, ...]]] = {
    **{name: ("geoagent.train", name) for name in STAGES},
    "eval": ("geoagent.evaluate",),
    AGENT: ("geoagent.agent.server",),
    COLLECT: ("geoagent.sweep",),
}


@dataclass(frozen=True)
class StagePlan:
    """One job. `module`, a module and its arguments, is run with python -m; `after` are the stages
    that must succeed first. `requires` are stages that must have finished when it starts, where
    the scheduler is only told to wait until they have ended."""

    name: str
    module: tuple[str, ...]
    resources: StageResources
    after: tuple[str, ...] = ()
    needs_agent: bool = False
    requires: tuple[str, ...] = ()

    @property
    def processes(self) -> int:
        """Training processes a node."""
        wanted = self.resources.processes_per_node or self.resources.gpus_per_node or 1
        return wanted if self.name in TRAINING else 1


@dataclass(frozen=True)
class Plan:
    """All jobs of one submission, in order; the agent's runs beside those that need it."""

    stages: tuple[StagePlan, ...]
    agent: StagePlan | None
    notes: tuple[str, ...]


def make_plan(config: Config, wanted: Sequence[str], finished: Collection[str] = ()) -> Plan:
    """The stages asked for and those they stand on, without what the run has finished already.

    UsageError for a stage that does not exist.
    """
    check_stages(wanted)
    notes = []
    if config.judge.path is not None and {"judge_data", "judge"} <= {*wanted}:  # as it was begun
        wanted = [name for name in wanted if name != "judge_data"]
        notes.append("judge.path has the rows of judge: judge_data is left out")
    needed = with_needed(config, wanted, finished)
    notes += [
        f"{user} goes on from {stage}, which this run has not finished yet: {stage} is added"
        for stage, user in needed.items()
        if stage != user
    ]
    names = {"prepare", *needed} if needed.keys() - {*finished} else {*needed}
    skipped = [name for name in STAGES if name in names and name in finished]
    if skipped:
        notes.append(f"finished already, left out: {', '.join(skipped)}")
    ordered = [name for name in STAGES if name in names and name not in finished]
    notes += [
        f"nothing goes on from {stage} ({_starts(config, ordered)}): leave it out, unless it is to "
        "be compared"
        for stage in _unused(config, ordered)
    ]
    return plan_stages(config, ordered, notes=notes)


def _unused(config: Config, names: Sequence[str]) -> list[str]:
    """Training stages whose model no later one of these goes on from, other than the last."""
    used = {stage for name in names for stage in stands_on(config, name)}
    return [name for name in names if name in TRAINING and name not in used][:-1]


def _starts(config: Config, names: Sequence[str]) -> str:
    """Where those that could have gone on from another one do begin."""
    policies = [name for name in POLICY if name in names]
    return ", ".join(f"{name}.start_from={getattr(config, name).start_from}" for name in policies)


def plan_stages(
    config: Config,
    names: Sequence[str],
    requires: Sequence[str] = (),
    then: Sequence[str] = (),
    notes: Sequence[str] = (),
) -> Plan:
    """Just these stages, one after the other: they go on from those it `requires`, and what comes
    `then` is somebody else's."""
    stages = tuple(
        replace(
            _stage(config, name, tuple(names[:index][-1:]), (*names[index + 1 :], *then)),
            requires=tuple(requires),
        )
        for index, name in enumerate(names)
    )
    needs = any(stage.needs_agent for stage in stages)
    served = needs and config.agent.backend != "external"
    agent = StagePlan(AGENT, _MODULES[AGENT], config.cluster.agent) if served else None
    return Plan(stages, agent, tuple(notes))


def collector(config: Config) -> StagePlan:
    """The job that makes a sweep's tables when all else has ended."""
    return StagePlan(COLLECT, _MODULES[COLLECT], config.cluster.prepare)


def _stage(config: Config, name: str, after: tuple[str, ...], then: tuple[str, ...]) -> StagePlan:
    told = ("--then", *then) if name == "prepare" else ()
    return StagePlan(
        name,
        (*_MODULES[name], *told),
        getattr(config.cluster, name),
        after,
        needs_agent=asks_agent(config, name),
    )
