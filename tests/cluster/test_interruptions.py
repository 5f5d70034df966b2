"""Training that is interrupted goes on where it was, with the same curve."""

from __future__ import annotations

import json
import time

import pytest

from geoagent.run import Run
from geoagent.train.checkpoints import latest
from jobs.state import Jobs

from .helpers import SMALL, User

STEPS = 60
"""Longer than Slurm waits with the warning of a job of one minute, on a fast machine too."""
ONE = ("cluster.sft.nodes=1", "cluster.sft.processes_per_node=1")
LONG = (*SMALL, *ONE, f"sft.max_steps={STEPS}", "sft.batch_size=20", "sft.save_steps=1000")


def losses(run: Run) -> list[tuple[int, float]]:
    """Step and loss of every step that was trained, in the order of training."""
    lines = (run.checkpoints("sft") / "logging.jsonl").read_text().splitlines()
    rows = [row for row in map(json.loads, lines) if "loss" in row]
    return [(int(row["global_step/max_steps"].partition("/")[0]), row["loss"]) for row in rows]


@pytest.fixture(scope="module")
def whole(cluster: object, tmp_path_factory: pytest.TempPathFactory) -> list[tuple[int, float]]:
    """The curve of a run that nothing interrupts."""
    user = User(cluster, tmp_path_factory.mktemp("whole"))  # type: ignore[arg-type]
    run = user.submit("sft", *LONG, name="whole")
    assert user.wait(run, "sft") == "COMPLETED", user.logs(run)
    found = losses(run)
    assert [step for step, _ in found] == list(range(1, STEPS + 1))
    return found


def wait_for_step(user: User, run: Run, step: int) -> None:
    deadline = time.monotonic() + 180
    while True:
        path = run.progress_file("sft")
        if path.is_file() and json.loads(path.read_text())["step"] >= step:
            return
        assert time.monotonic() < deadline, user.logs(run)
        time.sleep(0.2)


def attempts(run: Run) -> list[str]:
    return sorted(path.name for path in (run.stage("sft") / "logs").iterdir())


def check(user: User, run: Run, whole: list[tuple[int, float]], tries: int) -> None:
    assert user.wait(run, "sft") == "COMPLETED", user.logs(run)
    assert attempts(run) == [f"attempt-{k}" for k in range(1, tries + 1)]
    found = losses(run)
    assert [step for step, _ in found] == [step for step, _ in whole]
    assert [loss for _, loss in found] == pytest.approx([loss for _, loss in whole], rel=1e-4)
    newest = latest(run.checkpoints("sft"))
    assert newest is not None
    assert newest.name == f"checkpoint-{STEPS}"


def test_preempted_in_mid_epoch(user: User, whole: list[tuple[int, float]]) -> None:
    run = user.submit("sft", *LONG, "cluster.sft.partition=low")
    wait_for_step(user, run, 5)
    user.cluster.slurm("srun", "-p", "normal", "-N3", "--exclusive", "sleep", "3")
    check(user, run, whole, tries=2)


def test_requeued_by_an_administrator(user: User, whole: list[tuple[int, float]]) -> None:
    """No warning: what was trained since the last checkpoint is trained again, no more."""
    run = user.submit("sft", *LONG, "sft.save_steps=10")
    wait_for_step(user, run, 15)
    user.cluster.slurm("scontrol", "requeue", Jobs.load(run).of("sft").id)
    assert user.wait(run, "sft", lambda state: state in ("REQUEUED", "PENDING", "RUNNING"))
    assert user.wait(run, "sft") == "COMPLETED", user.logs(run)
    found = losses(run)
    twice = len(found) - STEPS
    assert 0 <= twice <= 20
    assert dict(found) == pytest.approx(dict(whole), rel=1e-4)
    assert attempts(run) == ["attempt-1", "attempt-2"]


def test_out_of_time(user: User, whole: list[tuple[int, float]]) -> None:
    # The warning comes 30 s before the end; a slow machine gets few steps done until then.
    run = user.submit("sft", *LONG, "cluster.sft.time_minutes=1", "cluster.requeues=20")
    assert user.wait(run, "sft", seconds=600) == "COMPLETED", user.logs(run)
    check(user, run, whole, tries=len(attempts(run)))
    if len(attempts(run)) == 1:
        pytest.skip("this machine is too fast: it had finished before the warning")
