"""What breaks while training runs."""

from __future__ import annotations

import os
import signal

import psutil

from geoagent.run import Run
from geoagent.train.checkpoints import latest

from .helpers import SMALL, User
from .test_interruptions import losses, wait_for_step


def rank(run: Run, number: int) -> int:
    """Pid of a training process, which torchrun gave its rank."""
    for process in psutil.process_iter():
        try:
            variables, words = process.environ(), process.cmdline()
        except (psutil.Error, OSError):
            continue
        if variables.get("RANK") == str(number) and str(run.path) in words:
            return process.pid
    raise AssertionError(f"no rank {number}")


def test_a_killed_rank_is_named_and_training_can_go_on(user: User) -> None:
    run = user.submit("sft", *SMALL, "sft.max_steps=40", "sft.save_steps=3")
    wait_for_step(user, run, 5)
    os.kill(rank(run, 3), signal.SIGKILL)
    assert user.wait(run, "sft", seconds=120) == "FAILED"
    assert "sft: rank 3 was killed from outside" in user.jobs("status", str(run.path)).stdout
    saved = latest(run.checkpoints("sft"))
    assert saved is not None
    words = ["--resume", f"runs_dir={user.runs}", "name=run", "sft.max_steps=40"]
    assert user.jobs("submit", "sft", *words).returncode == 0
    assert user.wait(run, "sft") == "COMPLETED", user.logs(run)
    steps = [step for step, _ in losses(run)]
    assert sorted({*steps}) == list(range(1, 41))
    assert len(steps) - 40 <= 3 + 1  # no more than since the checkpoint
