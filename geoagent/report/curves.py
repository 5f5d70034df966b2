"""Curves of training, from the TensorBoard files that its stages write."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from geoagent.run import Run
from geoagent.stages import TRAINING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Curve = tuple[NDArray[np.int64], NDArray[np.float64]]

PARTS: Final = "parts-rank-0"
"""Where GRPO logs what rewards are made of; each process its own share, the first is shown."""


@dataclass(frozen=True)
class Curves:
    """The scalars of one stage: by tag, steps and values in the order of the steps."""

    stage: str
    scalars: Mapping[str, Curve]


def read_curves(run: Run) -> list[Curves]:
    """Of each training stage that has logged something."""
    found = (read_stage(run, stage) for stage in TRAINING)
    return [curves for curves in found if curves is not None]


def read_stage(run: Run, stage: str) -> Curves | None:
    """None if the stage has logged nothing."""
    folder = run.tensorboard(stage)
    scalars = {**_scalars(folder), **_scalars(folder / PARTS)}
    return Curves(stage, scalars) if scalars else None


def _scalars(folder: Path) -> dict[str, Curve]:
    """All scalars of a folder's event files with their finite values.

    A resumed stage has done some steps twice: the later value counts.
    """
    if not any(folder.glob("events.out.tfevents.*")):
        return {}
    import numpy as np
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    events.Reload()
    curves: dict[str, Curve] = {}
    for tag in events.Tags()["scalars"]:
        values = {event.step: event.value for event in events.Scalars(tag)}
        steps = np.array(sorted(values), dtype=np.int64)
        curve = np.array([values[step] for step in steps.tolist()], dtype=float)
        finite = np.isfinite(curve)
        if finite.any():
            curves[tag] = steps[finite], curve[finite]
    return curves
