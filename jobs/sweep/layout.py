"""Which run directory makes which stage of which trial, so that nothing is made twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from geoagent.config import Config
from geoagent.sweep.definition import Trial
from geoagent.sweep.keys import short
from geoagent.sweep.points import SHARED

_COMMON = ("prepare", "sft", "judge_data")
"""Have a folder of their own even for one trial: points that are added later find them there."""


@dataclass
class Part:
    """A run directory of the sweep: the stages that it makes, in their order, and by stage the
    folders whose results it goes on from."""

    folder: str
    config: Config
    stages: list[str] = field(default_factory=list)
    links: dict[str, str] = field(default_factory=dict)
    then: list[str] = field(default_factory=list)
    """Stages that others make of what this makes."""

    def chain(self) -> list[str]:
        """All stages that its last one stands on, and that one."""
        return [*self.links, *self.stages]

    def maker(self, stage: str) -> str:
        return self.links.get(stage, self.folder)


@dataclass
class Layout:
    """`parts` by folder, each behind those that it goes on from; `trials` has the folder of each
    trial; `stages` which folder makes the stage of that key."""

    parts: dict[str, Part]
    trials: list[str]
    stages: dict[str, str]


def lay_out(trials: Sequence[Trial], known: Mapping[str, str]) -> Layout:
    """`known` is `Layout.stages` of earlier times: what has a folder keeps it."""
    uses = Counter(key for trial in trials for key in trial.keys.values())
    makers = dict(known)
    for trial in trials:
        makers.update(_makers(trial, uses, makers))
    layout = Layout({}, [], makers)
    for trial in trials:
        _add(layout, trial)
    return layout


def _makers(
    trial: Trial, uses: Mapping[str, int], known: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    last = [*trial.keys.values()][-1]
    own = known.get(last) or _folder(trial.point.name, trial.seed, last)
    for stage, key in trial.keys.items():
        if key in known:
            continue
        common = stage in _COMMON or uses[key] > 1
        name = _folder(f"{SHARED}-{stage}", trial.seed, key)
        yield key, name if common and key != last else own


def _folder(name: str, seed: int, key: str) -> str:
    return f"{name}-s{seed}-{short(key)}"


def _add(layout: Layout, trial: Trial) -> None:
    """The parts of a trial's chain, each linked to what is before it."""
    chain = list(trial.keys.items())
    for index, (stage, key) in enumerate(chain):
        folder = layout.stages[key]
        part = layout.parts.setdefault(folder, Part(folder, trial.config))
        for before, other in chain[:index]:
            maker = layout.stages[other]
            if maker != folder:
                part.links[before] = maker
        if stage not in part.stages:
            part.stages.append(stage)
        for later, _ in chain[index + 1 :]:
            if later not in part.then:
                part.then.append(later)
    layout.trials.append(layout.stages[chain[-1][1]])
