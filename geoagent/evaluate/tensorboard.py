"""An evaluation in TensorBoard: figures at the step of their checkpoint, the map of errors,
examples, and which settings led to which figures."""

from __future__ import annotations

import io
import shutil
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from geoagent.evaluate.models import Candidate
from geoagent.rollout.trace import completions

if TYPE_CHECKING:
    from geoagent.config import Config
    from geoagent.report.load import Predictions

Rows = Sequence[Mapping[str, Any]]
_EXAMPLES: Final = 3
_FINAL: Final = ("eval/accuracy_", "eval/geoscore", "eval/median_km", "eval/mean_reward")
"""Figures that runs of a study are compared by."""


def write_tensorboard(
    folder: Path,
    config: Config,
    models: Sequence[Candidate],
    figures: Mapping[str, Mapping[str, Any]],
    rows: Mapping[str, Rows],
) -> None:
    """One TensorBoard run a model, under its name in `folder`; an earlier evaluation is replaced.

    `figures` and `rows` are by model: those of metrics.json, and of predictions.jsonl.
    """
    from torch.utils.tensorboard import SummaryWriter

    from geoagent.report.load import columns

    shutil.rmtree(folder, ignore_errors=True)
    for candidate in models:
        name, step = candidate.name, candidate.step
        scalars = dict(_scalars(figures[name]))
        predictions = columns(rows[name])
        with SummaryWriter(str(folder / name)) as writer:
            for tag, value in scalars.items():
                writer.add_scalar(tag, value, step)
            drawn = _map(name, predictions)
            if drawn is not None:
                writer.add_image("eval/error_map", drawn, step, dataformats="HWC")
            for tag, text in _texts(rows[name], predictions):
                writer.add_text(tag, text, step)
            final = {tag: value for tag, value in scalars.items() if tag.startswith(_FINAL)}
            add_hparams(writer, {"model": name, **settings(config)}, final)


def add_hparams(writer: Any, values: Mapping[str, Any], final: Mapping[str, float]) -> None:
    """Under HPARAMS, a row of the SummaryWriter's run: settings, and the tags of the figures that
    they led to, which are to be written as scalars as well.

    Its own `add_hparams` would make another run for it.
    """
    from torch.utils.tensorboard.summary import hparams

    for summary in hparams(dict(values), dict(final)):
        writer.file_writer.add_summary(summary)


def _scalars(figures: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """All numbers among a model's figures; of the groups of a break-down, the GeoScore."""
    groups = {
        "rewards": "eval/reward_",
        "sampled_rewards": "eval/sampled_reward_",
        "failures": "eval/failures_",
        "tools": "eval/tools_",
    }
    for key, value in figures.items():
        if isinstance(value, int | float):
            yield f"eval/{key}", value
        elif key in groups:
            yield from ((f"{groups[key]}{name}", number) for name, number in value.items())
    for column, values in figures.get("by", {}).items():
        for value, group in values.items():
            if group.get("geoscore") is not None:
                yield f"geoscore_by_{column}/{value}", group["geoscore"]


def settings(config: Config) -> dict[str, Any]:
    """What runs of a study differ in, under the names of the configuration."""
    sft, grpo, rewards = config.sft, config.grpo, config.rewards
    chosen = {
        "seed": config.seed,
        "sft.learning_rate": sft.learning_rate,
        "sft.epochs": sft.epochs,
        "sft.max_steps": sft.max_steps,
        "sft.lora.rank": sft.lora.rank,
        "grpo.start_from": grpo.start_from,
        "grpo.learning_rate": grpo.learning_rate,
        "grpo.epochs": grpo.epochs,
        "grpo.max_steps": grpo.max_steps,
        "grpo.generations": grpo.generations,
        "grpo.temperature": grpo.temperature,
        "grpo.beta": grpo.beta,
        "grpo.lora.rank": grpo.lora.rank,
        "rewards.spatial.tau_km": rewards.spatial.tau_km,
        **{f"rewards.weights.{name}": weight for name, weight in rewards.weights.items()},
    }
    return {key: value for key, value in chosen.items() if value is not None}


def _map(name: str, predictions: Predictions) -> Any:
    """The map of errors as (height, width, 3) bytes; None if nothing was located."""
    import numpy as np
    from PIL import Image

    from geoagent.figures.style import to_png
    from geoagent.report.charts import map_figure

    figure = map_figure(predictions)
    if figure is None:
        return None
    with Image.open(io.BytesIO(to_png(figure))) as image:
        return np.asarray(image.convert("RGB"))


def _texts(rows: Rows, predictions: Predictions) -> Iterator[tuple[str, str]]:
    """The best and the worst predictions; indented, so that Markdown leaves them as they are."""
    from geoagent.report.examples import extremes

    by_id = {row["id"]: row for row in rows}
    for kind, ids in zip(("best", "worst"), extremes(predictions), strict=True):
        for number, name in enumerate(ids[:_EXAMPLES], start=1):
            row = by_id[name]
            off = row["distance_km"]
            told = [
                f"image    {name}",
                f"answer   {row['answer']}",
                f"truth    {row['country']}; {row['region']}; {row['city']}",
                f"distance {'not located' if off is None else f'{off:,.1f} km'}",
                "",
                *completions(row),
            ]
            lines = [part for line in "\n".join(told).splitlines() for part in _wrapped(line)]
            yield f"{kind}/{number}", "\n".join(f"    {line}" for line in lines)


def _wrapped(line: str) -> list[str]:
    return textwrap.wrap(line, 110, replace_whitespace=False) or [""]
