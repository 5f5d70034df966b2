"""What is allowed and seldom meant, told before it is done."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from geoagent.config import Config
from geoagent.data.needs import glance
from geoagent.errors import UsageError
from geoagent.stages import TRAINING
from jobs.plan import Plan


def doubts(config: Config, plan: Plan) -> Iterator[str]:
    """A line for each; reads the first lines of the dataset, as preflight does, which tells what is
    wrong with it."""
    names = {stage.name for stage in plan.stages}
    drawn = config.data.path is None and config.data.name == "sample"
    read = (config.eval.path is None and "eval" in names) or names & {"judge_data", *TRAINING}
    if drawn and read and config.model.kind == "pretrained":
        yield (
            "note: data.path is not set, so the data is the drawn sample: toy pictures, for a "
            "pretrained model"
        )
    rollout = config.rollout
    if not rollout.train or not names & {"sft", "grpo"}:
        return
    if not rollout.crops and not rollout.searches:
        yield "note: rollout.train is on, and rollout.crops and rollout.searches are 0: no tools"
    elif "sft" in names and config.data.path is not None:
        with suppress(UsageError):
            yield from _untaught(config, Path(config.data.path))


def _untaught(config: Config, folder: Path) -> Iterator[str]:
    contents, split = glance(folder), config.data.train_split
    if contents.whole and not contents.trajectories[split]:
        yield (
            f"note: 0 of {contents.splits[split]} rows of split '{split}' have a trajectory: SFT "
            "will teach no calls of tools (rollout.train)"
        )
