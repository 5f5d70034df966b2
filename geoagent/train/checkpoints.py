"""Which checkpoint is complete, and which is the newest."""

from __future__ import annotations

import re
from pathlib import Path

from geoagent.files import read_json

_NAME = re.compile(r"checkpoint-(\d+)")


def latest(folder: Path) -> Path | None:
    """The complete checkpoint with the highest step in `folder`, or None.

    A checkpoint that was being written when its job was killed is passed over.
    """
    if not folder.is_dir():
        return None
    steps = [
        (int(match.group(1)), path)
        for path in folder.iterdir()
        if (match := _NAME.fullmatch(path.name)) and is_complete(path)
    ]
    return max(steps)[1] if steps else None


def is_complete(checkpoint: Path) -> bool:
    """The trainer writes its state after weights, optimizer and random state; weights must be
    there in one of the forms that can be loaded."""
    state = checkpoint / "trainer_state.json"
    if not state.is_file() or state.stat().st_size == 0:
        return False
    forms = ("model.safetensors", "model.safetensors.index.json", "adapter_model.safetensors")
    return any((checkpoint / name).is_file() for name in forms)


def is_last(checkpoint: Path, max_steps: int | None = None) -> bool:
    """Whether nothing is left to train at this checkpoint; null: as long as its training was to
    be."""
    state = read_json(checkpoint / "trainer_state.json")
    return bool(state["global_step"] >= (max_steps or state["max_steps"]))
