"""The benchmark of the real agent: its figures are complete and add up, and it leaves nothing."""

from __future__ import annotations

import json
import os
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.interrupts import heed_interrupts

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "agent.py"


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(BENCHMARK), "--scenes", "2", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(folder)},
        preexec_fn=heed_interrupts,
    )


def servers(folder: Path) -> list[int]:
    """Processes that serve an agent from a run in this folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_bytes()
        except OSError:  # ended meanwhile
            continue
        if b"geoagent.agent.server" in command and str(folder).encode() in command:
            found.append(int(path.parent.name))
    return found


def test_its_figures_add_up(tmp_path: Path) -> None:
    folder, file = tmp_path / "tmp", tmp_path / "figures.json"
    folder.mkdir()
    process = start(folder, "--slots", "4", "--json", str(file))
    output, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors
    figures = json.loads(file.read_text())
    assert (figures["scenes"], figures["rounds"], figures["slots"]) == (2, 2, 4)
    assert figures["asked"] == figures["distinct"] == 6
    assert list(figures["stages"]) == ["country", "region", "precise"]
    assert all(0 <= stage["right"] <= stage["of"] == 2 for stage in figures["stages"].values())
    right = sum(stage["right"] for stage in figures["stages"].values())
    assert right + figures["unusable"] <= 6
    assert len(figures["questions_per_second"]["rounds"]) == 2
    assert list(figures["against_demo"]) == ["sleep at once", "spin for long"]
    other = figures["against_demo"]["sleep at once"]
    assert 0 < other["lowest"] <= other["highest"]
    assert f"{right} of 6 stages" in output
    assert not servers(folder)
    assert not list(folder.iterdir())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_all_that_it_started(tmp_path: Path, number: signal.Signals) -> None:
    process = start(tmp_path)
    deadline = time.monotonic() + 60
    while not servers(tmp_path):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert not servers(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_a_process_is_being_made_ends_it_too(
    number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[subprocess.Popen[bytes]] = []

    def interrupted(*words: Any, **options: Any) -> subprocess.Popen[bytes]:
        made.append(subprocess_popen(*words, **options))
        os.kill(os.getpid(), number)
        return made[0]

    benchmark = runpy.run_path(str(BENCHMARK))
    subprocess_popen = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", interrupted)
    before = signal.signal(number, signal.default_int_handler)
    try:
        with (
            pytest.raises(KeyboardInterrupt),
            benchmark["_ends_with_us"]([sys.executable, "-c", "import time; time.sleep(600)"]),
        ):
            raise AssertionError("nothing begins once it is to end")
        assert signal.getsignal(number) is signal.default_int_handler
    finally:
        signal.signal(number, before)
        ended = made[0].poll()
        made[0].kill()
    assert ended is not None


@pytest.mark.parametrize("arguments", [["--scenes", "0"], ["--scenes", "99"], ["--slots", "x"]])
def test_what_it_cannot_do_is_said_in_a_line(tmp_path: Path, arguments: list[str]) -> None:
    process = start(tmp_path, *arguments)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 2
    assert errors.startswith(f"error: {' '.join(arguments)}")
    assert errors.count("\n") == 1
