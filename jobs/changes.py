"""What a run that goes on may have otherwise than it began."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from geoagent.config import Config
from geoagent.errors import UsageError
from geoagent.run import Run
from geoagent.stages import TRAINING
from geoagent.sweep.keys import stage_keys
from geoagent.train.checkpoints import latest
from geoagent.vary import unchecked, value_of
from jobs.plan import STAGES

_MAY_CHANGE: Final = (
    *("cluster.", "container.", "name", "runs_dir", "stages", "eval.", "rollout.eval", "agent."),
)
"""Keys that it may always have otherwise: they change no finished stage."""
_JUDGE_DATA: Final = "judge.path"
"""Only the stage judge reads it, and prepare for that stage: it can do so again."""
_NAMED: Final = 12
"""Changed keys that a message names."""


def begun(runs: Collection[Run]) -> set[str]:
    """Stages that one of the runs has finished, or has a checkpoint of to go on from."""
    return {stage for stage in STAGES if any(_begun(run, stage) for run in runs)}


def _begun(run: Run, stage: str) -> bool:
    trained = stage in TRAINING and latest(run.checkpoints(stage)) is not None
    return trained or run.done_file(stage).is_file()


def needs_prepare(before: Config, now: Config) -> bool:
    """Whether prepare has to read judge data that it has not read before."""
    return now.judge.path not in (None, before.judge.path)


def check_same(before: Config, now: Config, path: Path, stages: Collection[str]) -> None:
    """UsageError if the run at `path` would get other settings of what these stages have done.

    Settings of a training stage (`sft.`, `judge.`, `grpo.`) may change as long as it is not one of
    them, and none of them depends on it.
    """
    old, new = dict(_flat(before)), dict(_flat(now))
    changed = [key for key in new if old.get(key) != new[key] and not key.startswith(_MAY_CHANGE)]
    settled = _settled(before, now, changed, stages)
    if settled:
        key, *others = settled
        names = ", ".join([*others[:_NAMED], *(["…"] if len(others) > _NAMED else [])])
        more = f" (and {len(others)} more: {names})" if others else ""
        raise UsageError(
            f"{path}: {key} is {old.get(key)} in this run and {new[key]} now{more}; continue it as "
            "it began (its settings, a recipe's too, need not be given again), or start another "
            "with name=…"
        )


def _settled(
    before: Config, now: Config, changed: Sequence[str], stages: Collection[str]
) -> list[str]:
    """Those of the changed keys that are not free any more."""
    open_ = {*TRAINING} - {*stages}
    free = [key for key in changed if key.partition(".")[0] in open_]
    values = {key: value_of(now, key) for key in free if key != _JUDGE_DATA}
    if not _alter(before, values, stages):
        return [key for key in changed if key not in free]
    read = [key for key in values if _alter(before, {key: values[key]}, stages)] or [*values]
    return [key for key in changed if key in read or key not in free]


def _alter(before: Config, values: dict[str, Any], stages: Collection[str]) -> bool:
    """Whether the result of one of the stages depends on these changes."""
    then = stage_keys(before, [*stages])
    now = stage_keys(unchecked(before, values), [*stages])
    return any(then[stage] != now[stage] for stage in stages)


def _flat(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for item in dataclasses.fields(node):
        value = getattr(node, item.name)
        if dataclasses.is_dataclass(value):
            yield from _flat(value, f"{prefix}{item.name}.")
        else:
            yield f"{prefix}{item.name}", value
