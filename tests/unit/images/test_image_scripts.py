"""lock.sh and check_image_env.sh say what they do and refuse what they do not know, before they
write anything. A uv that only notes what it is asked stands in."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The scripts and the locks, and programs that stand in."""
    for name in ("scripts", "requirements", "containers"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    _program(tmp_path / ".venv/bin/uv", f'echo "$*" >> "{tmp_path}/asked"; exit 1')
    _program(tmp_path / "bin/df", 'echo "Avail"; echo "${FREE:-99000000}"')
    return tmp_path


def _program(path: Path, script: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def _run(
    project: Path, script: str, *words: str, **variables: str
) -> subprocess.CompletedProcess[str]:
    path = f"{project / 'bin'}:{os.environ['PATH']}"
    return subprocess.run(
        [project / "scripts" / script, *words],
        env={**os.environ, "PATH": path, "PLACE": "", **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize("script", ["lock.sh", "check_image_env.sh"])
@pytest.mark.parametrize("word", ["-h", "--help"])
def test_help_does_nothing_else(project: Path, script: str, word: str) -> None:
    done = _run(project, script, word)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"usage: scripts/{script} ")
    assert not (project / "asked").exists()
    assert not (project / ".image-env").exists()


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("lock.sh", ["--bogus"]),
        ("lock.sh", ["--check", "more"]),
        ("check_image_env.sh", ["nosuch"]),
        ("check_image_env.sh", ["train", "agent"]),
    ],
)
def test_unknown_words_are_refused(project: Path, script: str, words: list[str]) -> None:
    done = _run(project, script, *words)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {' '.join(words)}: ")
    assert len(done.stderr.splitlines()) == 1
    assert not (project / "asked").exists()


@pytest.mark.parametrize("place", ["/proc/nosuch", "FILE", "FILE/below"])
def test_a_place_that_cannot_be_made(project: Path, place: str) -> None:
    (project / "FILE").write_text("mine")
    done = _run(project, "check_image_env.sh", PLACE=place)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {place}/train: ")
    assert len(done.stderr.splitlines()) == 1
    assert (project / "FILE").read_text() == "mine"
    assert not (project / "asked").exists()


@pytest.mark.parametrize(
    ("image", "free", "code"), [("train", 9, 2), ("agent", 7, 2), ("agent", 9, 1)]
)
def test_room_is_looked_for_first(project: Path, image: str, free: int, code: int) -> None:
    done = _run(project, "check_image_env.sh", image, FREE=str(free * 1000**2))
    assert done.returncode == code
    assert (project / "asked").exists() == (code == 1)
    assert not (project / ".image-env").exists()
    if code == 2:
        assert "GB are free" in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_another_folder_is_left_alone(project: Path) -> None:
    (project / "mine/train").mkdir(parents=True)
    (project / "mine/train/file").write_text("mine")
    done = _run(project, "check_image_env.sh", PLACE="mine")
    assert (done.returncode, (project / "mine/train/file").read_text()) == (2, "mine")
