"""The programs that a mini cluster needs, and the packages they come in."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from geoagent.errors import UsageError

PACKAGES: Final = ("slurm-wlm", "munge", "slurmdbd", "mariadb-server")
"""Names on Debian and Ubuntu; 35 MB to fetch."""
PROGRAMS: Final = (
    "slurmctld", "slurmd", "slurmdbd", "munged", "mariadbd", "mariadb-install-db", "sbatch",
)  # fmt: skip
_SYSTEM: Final = ("/usr/sbin", "/sbin", "/usr/local/sbin")
"""Daemons are installed there, which is not on a plain user's PATH."""


def find(program: str) -> str | None:
    """Where a program is, or None."""
    places = os.pathsep.join((os.environ.get("PATH", os.defpath), *_SYSTEM))
    return shutil.which(program, path=places)


def path_of(program: str) -> str:
    """Where a program is; UsageError without it."""
    found = find(program)
    if found is None:
        raise UsageError(f"{program} is not installed; make cluster-packages")
    return found


def missing() -> list[str]:
    """Programs that are not there."""
    return [program for program in PROGRAMS if find(program) is None]


def install() -> None:
    """Install what is missing, where that is allowed; UsageError says what to type where not."""
    if not missing():
        return
    retry = ["-o", "Acquire::Retries=3"]
    command = ["apt-get", "install", "-y", *retry, "--no-install-recommends", *PACKAGES]
    shown = " ".join(command)
    if shutil.which("apt-get") is None:
        raise UsageError(
            f"a mini cluster needs {', '.join(missing())}; Debian has them in "
            f"{', '.join(PACKAGES)}; install what your system calls them"
        )
    if os.geteuid() != 0:
        raise UsageError(f"a mini cluster needs packages that are not there; type: sudo {shown}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    with _services_stay_off():
        for words in (["apt-get", "update", "-qq", *retry], command):
            result = subprocess.run(words, env=environment, capture_output=True, text=True)
            if result.returncode != 0:
                said = (result.stderr.strip().splitlines() or ["no reason"])[-1]
                raise UsageError(f"{' '.join(words)}: {said}")


@contextmanager
def _services_stay_off() -> Iterator[None]:
    """Packages start their services at once unless policy-rc.d forbids it; these would clash
    with nobody's cluster but stay on for ever."""
    policy = Path("/usr/sbin/policy-rc.d")
    if policy.exists():
        yield
        return
    policy.write_text("#!/bin/sh\nexit 101\n")
    policy.chmod(0o755)
    try:
        yield
    finally:
        policy.unlink(missing_ok=True)
