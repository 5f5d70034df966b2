"""What Slurm's commands say reaches the person who asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from geoagent.errors import OutageError
from jobs.scheduler import max_array_size


def scontrol(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    file = folder / "scontrol"
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")


def test_the_size_of_an_array_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scontrol(tmp_path, "echo 'MaxArraySize            = 8'", monkeypatch)
    assert max_array_size() == 8


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo 'slurm_load_ctl_conf error: Unable to contact' >&2; exit 1", "Unable to contact"),
        ("exit 3", "exit code 3"),
    ],
)
def test_a_refusal_is_said_in_slurms_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, said: str
) -> None:
    scontrol(tmp_path, script, monkeypatch)
    with pytest.raises(OutageError) as caught:
        max_array_size()
    assert said in str(caught.value)
    assert "Command" not in str(caught.value)
