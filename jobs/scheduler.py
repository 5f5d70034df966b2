"""Is there a Slurm here, and does it answer?"""

from __future__ import annotations

import shutil
import subprocess

from geoagent.errors import UsageError

_NO_CLUSTER = "Could not establish a configuration source"
"""What Slurm's commands say where they are installed and no cluster is set up."""


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
