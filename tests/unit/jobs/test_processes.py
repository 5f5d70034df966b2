"""Processes are watched and stopped as whole trees, and never taken for another."""

from __future__ import annotations

import shlex
import subprocess
import sys
import time

import psutil

from jobs.processes import Watched, alive, held_python, memory_of_tree, stop_tree
from tests.interrupts import ended

STUBBORN = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(child.pid, flush=True)
time.sleep(600)
"""


def start(code: str) -> tuple[subprocess.Popen[str], int]:
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout is not None
    return process, int(process.stdout.readline())


def test_a_tree_that_ignores_sigterm_is_stopped() -> None:
    process, child = start(STUBBORN)
    assert memory_of_tree(process.pid) > psutil.Process(child).memory_info().rss
    stop_tree(process.pid, grace_s=0.5)
    process.wait(timeout=60)
    assert ended(child)


def test_a_child_whose_parent_has_gone_is_stopped_as_well() -> None:
    orphan = (
        "import os, subprocess, sys\n"
        'p = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])\n'
        "print(p.pid, flush=True)\n"
        "os._exit(0)\n"
    )
    process, child = start(orphan)
    process.wait(timeout=60)
    assert not ended(child)
    stop_tree(process.pid, grace_s=2)
    deadline = time.monotonic() + 60
    while not ended(child):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_recycled_pid_is_another_process() -> None:
    me = Watched.of()
    assert alive(me)
    assert not alive(Watched(me.pid, me.created - 100))
    process = subprocess.Popen([sys.executable, "-c", "pass"])
    gone = Watched.of(process.pid)
    process.wait()
    assert not alive(gone)
    assert memory_of_tree(gone.pid) == 0
    stop_tree(gone.pid, grace_s=0.1)  # nothing to stop is no error


def test_slurms_signals_are_kept_until_they_are_heeded() -> None:
    code = """
import os, signal
from jobs.processes import heed_slurm
os.kill(os.getpid(), signal.SIGUSR2)
os.kill(os.getpid(), signal.SIGTERM)
heard = []
for number in (signal.SIGUSR2, signal.SIGTERM):
    signal.signal(number, lambda it, _: heard.append(signal.Signals(it).name))
print(heard)
heed_slurm()
print(sorted(heard))
"""
    command = f"{held_python()} -u -c {shlex.quote(code)}"
    result = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == "[]\n['SIGTERM', 'SIGUSR2']\n"


def test_a_clock_that_was_set_makes_no_other_process() -> None:
    me = Watched.of()
    assert alive(Watched(me.pid, me.created + 30))
