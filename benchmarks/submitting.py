"""What launch.py and sweeps.py do alike: a sweep to submit, and calls of Slurm's commands that are
counted by stand-ins in front of them in PATH."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import yaml

COMMANDS: Final = ("sbatch", "squeue", "sacct", "scontrol", "sinfo", "scancel", "sacctmgr")
SETTINGS: Final = ("model.tiny.hidden_size=32", "grpo.keep_checkpoints=1", "eval.models=last")
"""Checkpoints of a thousand points are to have room on a small disk."""
_REWARDS: Final = ("spatial", "semantic", "consistency")
_NAME: Final = "grid"


def sweep_words(folder: Path, sides: Sequence[int]) -> list[str]:
    """Write a sweep to a folder and give the command that plans it there: a grid over one SFT with
    so many weights of each of three rewards."""
    grid = {
        f"rewards.weights.{name}": [round(0.1 * (k + 1), 2) for k in range(count)]
        for name, count in zip(_REWARDS, sides, strict=True)
    }
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{_NAME}.yaml"
    file.write_text(yaml.safe_dump({"base": ["recipe=demo", *SETTINGS], "grid": grid}))
    return ["jobs", "sweep", str(file), f"runs_dir={folder}/runs"]


def home_of(folder: Path) -> Path:
    """Where the sweep that `sweep_words` wrote to a folder has its runs."""
    return folder / "runs" / _NAME


class Calls:
    """Counts calls of Slurm's commands by what runs in this `environment`."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._log = folder / "calls"
        self.folder = folder / "counting"
        """To be the first in PATH."""
        self.folder.mkdir(parents=True)
        for name in COMMANDS:
            if real := shutil.which(name, path=environment["PATH"]):
                # Jobs that run already have the same PATH; what they ask is not the command's.
                count = f'[ -n "$SLURM_JOB_ID" ] || echo {name} >> {shlex.quote(str(self._log))}'
                script = f'#!/bin/sh\n{count}\nexec {shlex.quote(real)} "$@"\n'
                (self.folder / name).write_text(script)
                (self.folder / name).chmod(0o755)
        path = f"{self.folder}{os.pathsep}{environment['PATH']}"
        self.environment = {**environment, "PATH": path}

    def since(self) -> dict[str, int]:
        """How often each was called since the last time."""
        lines = self._log.read_text().split() if self._log.exists() else []
        self._log.unlink(missing_ok=True)
        return {name: lines.count(name) for name in sorted({*lines})}


def told(calls: Mapping[str, int]) -> str:
    """`8 (6 sbatch, 2 scontrol)`."""
    each = ", ".join(f"{count} {name}" for name, count in calls.items())
    return f"{sum(calls.values())} ({each})"
