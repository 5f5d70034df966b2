"""How much room there is, and how much runs take."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

from geoagent.config import Config
from geoagent.stages import TRAINING

GIB: Final = 1024**3
_BYTES_A_PARAMETER: Final = 14
"""A weight in 16 bits, and in 32 bits its master copy and AdamW's two moments."""
_PARAMETERS: Final = 7.6e9
_LORA_PARAMETERS: Final = 2.5e6
"""Of Qwen2.5-VL-7B's language model, for each rank of adapters on all its linear layers."""


def room(path: Path) -> tuple[Path, int]:
    """The nearest folder of a path that is there, and the bytes that are free in it."""
    folder = next(place for place in (path, *path.parents) if place.exists())
    return folder, shutil.disk_usage(folder).free


def needed_bytes(config: Config) -> int:
    """A floor for what a run writes: checkpoints of all parameters or of adapters, and logs."""
    return GIB if config.model.kind == "tiny" else 40 * GIB


def stage_bytes(config: Config, stage: str) -> float:
    """Roughly what a stage leaves: checkpoints with the optimizer's state, one more while the
    oldest is replaced. Of a model whose size is not known, as if it were Qwen2.5-VL-7B."""
    if stage not in TRAINING:
        return 0.02 * GIB
    settings, tiny = getattr(config, stage), config.model.tiny
    if config.model.kind == "tiny":
        language = (tiny.vocabulary + 12 * tiny.layers * tiny.hidden_size) * tiny.hidden_size
        parameters = language + 12.0 * tiny.vision_depth * tiny.vision_hidden_size**2
    elif settings.lora.rank:
        parameters = _LORA_PARAMETERS * settings.lora.rank
    else:
        parameters = _PARAMETERS
    return float(parameters * _BYTES_A_PARAMETER * (settings.keep_checkpoints + 1))
