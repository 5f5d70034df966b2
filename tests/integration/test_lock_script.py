"""The lock files are what their .in files ask for, as the package index has it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_locks_are_what_their_files_ask_for() -> None:
    done = check(ROOT)
    assert done.returncode == 0, done.stderr


def test_a_changed_file_is_noticed_and_nothing_written(tmp_path: Path) -> None:
    for folder in ("requirements", "containers", "scripts"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    (tmp_path / ".venv").symlink_to(ROOT / ".venv")
    asked = tmp_path / "containers/build.in"
    asked.write_text(asked.read_text().replace("setuptools==84.2.1", "setuptools==84.2.0"))
    before = (tmp_path / "containers/build.lock").read_bytes()
    done = check(tmp_path)
    assert done.returncode == 1
    assert "containers/build.lock" in done.stderr
    assert "train.lock" not in done.stderr
    assert (tmp_path / "containers/build.lock").read_bytes() == before


def check(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [str(folder / "scripts/lock.sh"), "--check"]
    patient = {**os.environ, "UV_HTTP_RETRIES": "10"}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=patient)
