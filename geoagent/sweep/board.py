"""A sweep in TensorBoard: under HPARAMS a row a trial, what it varies and what came out."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from geoagent.evaluate.tensorboard import add_hparams
from geoagent.sweep.results import Results, TrialResult
from geoagent.sweep.tables import value_text

TENSORBOARD: Final = "tensorboard"
_FINAL: Final = ("accuracy_", "geoscore", "median_km", "mean_reward", "rewards.")
"""Beginnings of the figures that trials are compared by, beside the table's."""


def write_board(results: Results) -> Path:
    """Write HOME/tensorboard/POINT-SEED of each trial that has figures; earlier ones are
    replaced. Returns the folder."""
    from torch.utils.tensorboard import SummaryWriter

    folder = results.home.path / TENSORBOARD
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(exist_ok=True)  # what somebody has open on a network file system stays
    for trial in results.trials:
        final = dict(_final(trial, results))
        if final:
            with SummaryWriter(str(folder / f"{trial.point}-{trial.seed}")) as writer:
                for tag, value in final.items():
                    writer.add_scalar(tag, value, 0)
                add_hparams(writer, _settings(trial), final)
    return folder


def _final(trial: TrialResult, results: Results) -> Iterator[tuple[str, float]]:
    for name, value in trial.figures.items():
        if name in results.metrics or name.startswith(_FINAL):
            yield f"eval/{name}", value


def _settings(trial: TrialResult) -> dict[str, Any]:
    """As HPARAMS can show them: numbers, texts and truth values."""
    settings = {"point": trial.point, "seed": trial.seed, **trial.settings}
    return {
        key: value if isinstance(value, bool | int | float | str) else value_text(value)
        for key, value in settings.items()
    }
