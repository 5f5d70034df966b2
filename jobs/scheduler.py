"""Is there a Slurm here, and does it answer? Each question is asked once in a command: what a sweep
asks its scheduler is not to grow with its points."""

from __future__ import annotations

import functools
import re
import shutil
import subprocess
from typing import Final

from geoagent.errors import OutageError, UsageError

_NO_CLUSTER: Final = "Could not establish a configuration source"
"""What Slurm's commands say where they are installed and no cluster is set up."""

_USUAL_ARRAY: Final = 1001
"""MaxArraySize where nothing else is set."""


def found() -> bool:
    """Whether sbatch is here and knows of a cluster. One whose controller is away counts: training
    on its login node instead is not what anybody wants."""
    return shutil.which("sbatch") is not None and _NO_CLUSTER not in _ping()


def check() -> None:
    """UsageError if jobs cannot be submitted from here."""
    if shutil.which("sbatch") is None:
        raise UsageError(
            "cluster.executor=slurm: there is no sbatch here; submit on a login node of the "
            "cluster, or choose cluster=local"
        )
    said = _ping()
    if _NO_CLUSTER in said:
        raise UsageError(
            "cluster.executor=slurm: Slurm is installed but no cluster is set up here; name its "
            "slurm.conf in SLURM_CONF, or choose cluster=local"
        )
    if said and "is UP" not in said:
        raise UsageError(
            f"Slurm's controller does not answer ({said.splitlines()[-1].strip()}); try again later"
        )


@functools.cache
def _ping() -> str:
    """What `scontrol ping` says; empty where there is no scontrol, which proves nothing."""
    try:
        result = subprocess.run(
            ["scontrol", "ping"], capture_output=True, text=True, timeout=30, check=False
        )
    except FileNotFoundError:
        return ""
    except (OSError, subprocess.SubprocessError) as error:
        return str(error)
    return result.stdout + result.stderr


@functools.cache
def max_array_size() -> int:
    """How many elements an array may have: their indices must be below Slurm's MaxArraySize.
    OutageError if Slurm does not tell."""
    try:
        result = subprocess.run(
            ["scontrol", "show", "config"], capture_output=True, text=True, check=False, timeout=30
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise OutageError(f"scontrol does not answer ({error})") from error
    if result.returncode:
        lines = (result.stderr.strip() or result.stdout.strip()).splitlines()
        said = lines[-1].strip() if lines else f"exit code {result.returncode}"
        raise OutageError(f"scontrol does not answer ({said})")
    found = re.search(r"^MaxArraySize\s*=\s*(\d+)", result.stdout, re.M)
    return max(1, int(found[1])) if found else _USUAL_ARRAY  # 0: arrays are disabled
