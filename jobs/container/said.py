"""What a job says of its image: that it runs in it, or why its node could not start it."""

from __future__ import annotations

import os
from typing import Final

from geoagent.run import Run

INSIDE: Final = "GEOAGENT_CONTAINER"
"""Variable that programs inside an image have: its file and digest."""
_SHOWN: Final = 3
"""Nodes of a job that are named."""


def inside() -> bool:
    """Whether this process is inside an image already."""
    return INSIDE in os.environ


def refusal(run: Run, home: Run, job: str) -> str | None:
    """Why a job's image was not entered when it began last, if it was not; written by enter.sh to
    the run, or to its group, for a job or an element of an array."""
    places = {one.path / "container" / "refused" for one in (run, home)}
    found = [
        folder
        for place in places
        for name in (job, f"{job}_*")
        for folder in place.glob(f"{name}.*")
    ]
    newest = max((_restarts(folder.name) for folder in found), default=0)
    files = sorted(
        file for folder in found if _restarts(folder.name) == newest for file in folder.glob("*")
    )
    return "; ".join(file.read_text(encoding="utf-8").strip() for file in files[:_SHOWN]) or None


def _restarts(name: str) -> int:
    return int(name.rpartition(".")[2])
