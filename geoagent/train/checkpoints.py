"""Which checkpoint is complete, and which is the newest."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import Final

from geoagent.files import read_if_there, read_json, write_json

SEAL: Final = "complete.json"
"""Lists the files of a checkpoint with their sizes in bytes; written once all are on disk."""
_NAME: Final = re.compile(r"checkpoint-(\d+)")


def latest(folder: Path) -> Path | None:
    """The complete checkpoint with the highest step in `folder`, or None.

    One that was being written when its job was killed or its disk was full, or that has lost a
    part since, is passed over.
    """
    return max((found for found in _all(folder) if is_complete(found)), key=_step, default=None)


def is_complete(checkpoint: Path) -> bool:
    """Whether it was saved to its end and all of its files have the size that they then had."""
    sizes = read_if_there(checkpoint / SEAL).get("files")
    if not isinstance(sizes, dict) or not sizes:
        return False
    return all(_size(checkpoint / name) == size for name, size in sizes.items())


def seal(checkpoint: Path) -> None:
    """Mark a checkpoint as complete, for the process that knows that all others have written."""
    files = [path for path in checkpoint.rglob("*") if path.is_file() and path.name != SEAL]
    for path in files:
        with path.open("rb") as file:
            os.fsync(file.fileno())
    sizes = {str(path.relative_to(checkpoint)): path.stat().st_size for path in sorted(files)}
    write_json(checkpoint / SEAL, {"files": sizes})


def discard_incomplete(folder: Path) -> list[str]:
    """Remove what `latest` passes over, and return its names: nobody can go on from there, it
    takes space, and its seal could be taken for that of the files that will be written over it."""
    left = [found for found in _all(folder) if not is_complete(found)]
    for path in left:
        shutil.rmtree(path)
    return [path.name for path in left]


def reached(folder: Path, max_steps: int | None = None) -> tuple[str | None, bool]:
    """Name of the latest checkpoint, None if there is none, and whether it is the last."""
    found = latest(folder)
    return (None, False) if found is None else (found.name, is_last(found, max_steps))


def is_last(checkpoint: Path, max_steps: int | None = None) -> bool:
    """Whether nothing is left to train at this checkpoint; null: as long as its training was to
    be."""
    state = read_json(checkpoint / "trainer_state.json")
    return bool(state["global_step"] >= (max_steps or state["max_steps"]))


def _all(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return [path for path in folder.iterdir() if _NAME.fullmatch(path.name) and path.is_dir()]


def step_of(folder: Path) -> int | None:
    """The step that a checkpoint was saved at; None if the folder is none."""
    name = _NAME.fullmatch(folder.name)
    return int(name.group(1)) if name else None


def _step(checkpoint: Path) -> int:
    return step_of(checkpoint) or 0


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1
