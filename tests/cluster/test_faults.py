"""What breaks while training runs."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import psutil
import pytest

from geoagent.run import Run
from geoagent.train.checkpoints import latest
from jobs.minicluster.layout import node_name
from jobs.state import Jobs

from .helpers import SMALL, User
from .test_interruptions import LONG, losses, wait_for_step


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


@pytest.fixture
def failing_node(user: User) -> Iterator[User]:
    """All nodes are there again afterwards."""
    yield user
    user.cluster.start_node(0)
    user.cluster.slurm("scontrol", "update", f"nodename={node_name(0)}", "state=resume")


def test_a_node_that_fails(failing_node: User) -> None:
    user = failing_node
    run = user.submit("sft", *LONG, "sft.save_steps=10")
    wait_for_step(user, run, 15)
    job = Jobs.load(run).of("sft").id
    assert user.cluster.slurm("squeue", "-h", "-j", job, "-o", "%N").strip() == node_name(0)
    user.cluster.fail_node(0)
    assert user.wait(run, "sft", lambda state: state in ("PENDING", "REQUEUED"), seconds=120)
    assert user.wait(run, "sft") == "COMPLETED", user.logs(run)
    assert user.cluster.slurm("sacct", "-X", "-n", "-o", "NodeList", "-j", job).split()[-1] != (
        node_name(0)
    )
    steps = [step for step, _ in losses(run)]
    assert sorted({*steps}) == list(range(1, 61))
    assert len(steps) - 60 <= 20
