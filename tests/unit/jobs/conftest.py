"""A Slurm that only records: sbatch, squeue and scancel are stand-ins; a real cluster is for the
cluster tests."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jobs import scheduler as asked

SBATCH = """#!/bin/bash
n=$(($(cat "{folder}/count" 2>/dev/null || echo 100) + 1))
if [[ $n -gt ${{FAIL_AFTER:-1000}} ]]; then echo "sbatch: error: QOSMaxSubmitJob" >&2; exit 1; fi
echo $n > "{folder}/count"
cp "${{@: -1}}" "{folder}/$n.sh"
echo "Submitted batch job $n"
"""
SCANCEL = """#!/bin/bash
echo "$@" >> "{folder}/cancelled"
"""
SACCT = """#!/bin/bash
cat << EOF
101|101|COMPLETED|90|cpu=8,node=1||n1
102|102|RUNNING|61|cpu=16,gres/gpu=16,node=2||n[1-2]
103|103_0|CANCELLED by 0|0|||None assigned
104|104|PENDING|0|||None assigned
105|105|TIMEOUT|60|cpu=8,gres/gpu=1,node=1||n3
EOF
"""

PING = """#!/bin/bash
echo "${PING_SAYS:-Slurmctld(primary) at login is UP}"
"""

SQUEUE = """#!/bin/bash
[[ -e "{folder}/silent" ]] && exit 1
cat "{folder}/queue" 2>/dev/null || true
"""


@pytest.fixture(autouse=True)
def ask_anew() -> Iterator[Callable[[], None]]:
    """A command asks its scheduler once; each test has another one, and may change it."""

    def forget() -> None:
        asked._ping.cache_clear()
        asked.max_array_size.cache_clear()

    forget()
    yield forget
    forget()


@pytest.fixture
def scheduler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    # Runs of a large model ask for 40 GiB, which the machine need not have free.
    monkeypatch.setattr("jobs.rundir.needed_bytes", lambda config: 0)
    folder = tmp_path / "scheduler"
    folder.mkdir()
    scripts = {"sbatch": SBATCH, "scancel": SCANCEL, "sacct": SACCT, "squeue": SQUEUE}
    scripts["srun"] = "#!/bin/bash\n"
    scripts["scontrol"] = PING
    for name, text in scripts.items():
        text = text.format(folder=folder) if name in ("sbatch", "scancel", "squeue") else text
        called = f'#!/bin/bash\necho {name} >> "{folder}/calls"\n'
        (folder / name).write_text(called + text.removeprefix("#!/bin/bash\n"))
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return folder


@pytest.fixture
def flags() -> Callable[[Path], set[str]]:
    """Options of sbatch in a script."""

    def read(script: Path) -> set[str]:
        lines = script.read_text().splitlines()
        return {line.removeprefix("#SBATCH ") for line in lines if line.startswith("#SBATCH ")}

    return read
