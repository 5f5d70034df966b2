"""Training that is interrupted goes on where it was, with the same curve."""

from __future__ import annotations

import re
import signal
import time
from pathlib import Path

import pytest

from geoagent.files import read_if_there, read_jsonl
from geoagent.run import Run
from geoagent.train.checkpoints import latest
from jobs.minicluster.layout import Shape
from jobs.state import Jobs

from .faults import Faults
from .helpers import ENDED, User, mini_cluster, until
from .learnt import copy, train

STEPS = 60
ONE = ("cluster.sft.nodes=1", "cluster.sft.processes_per_node=1")
LONG = (*ONE, f"sft.max_steps={STEPS}", "sft.batch_size=20", "sft.save_steps=1000")


def curve(run: Run, stage: str, figure: str) -> list[tuple[int, float]]:
    """Step and figure of every step that was trained, in the order of training."""
    rows = read_jsonl(run.checkpoints(stage) / "logging.jsonl")
    return [
        (int(row["global_step/max_steps"].partition("/")[0]), row[figure])
        for row in rows
        if "loss" in row
    ]


def losses(run: Run) -> list[tuple[int, float]]:
    return curve(run, "sft", "loss")


@pytest.fixture(scope="module")
def whole(
    cluster: object, prepared: Run, tmp_path_factory: pytest.TempPathFactory
) -> list[tuple[int, float]]:
    """The curve of a run that nothing interrupts."""
    user = User(cluster, tmp_path_factory.mktemp("whole"))  # type: ignore[arg-type]
    run = train(prepared, user, *LONG, name="whole")
    assert user.wait(run, "sft") == "COMPLETED", user.logs(run)
    found = losses(run)
    assert [step for step, _ in found] == list(range(1, STEPS + 1))
    return found


def counts(run: Run, steps: int) -> dict[str, int]:
    """Of SFT: steps that were trained twice, and steps that are missing."""
    done = [step for step, _ in losses(run)]
    return {"twice": len(done) - len({*done}), "lost": len({*range(1, steps + 1)} - {*done})}


def wait_for_step(user: User, run: Run, step: int, stage: str = "sft") -> None:
    deadline = time.monotonic() + 300
    while True:
        if read_if_there(run.progress_file(stage)).get("step", 0) >= step:
            return
        assert time.monotonic() < deadline, user.logs(run)
        time.sleep(0.2)


def attempts(run: Run) -> list[str]:
    return sorted(path.name for path in (run.stage("sft") / "logs").iterdir())


def check(
    user: User, run: Run, whole: list[tuple[int, float]], fault: str, result: str, faults: Faults
) -> None:
    """The curve is that of the run that nothing interrupted: note how near it is."""
    assert user.wait(run, "sft") == "COMPLETED", user.logs(run)
    found = losses(run)
    newest = dict(found)
    assert sorted(newest) == [step for step, _ in whole]
    off = max(abs(newest[step] / loss - 1) for step, loss in whole)
    assert off < 1e-4
    checkpoint = latest(run.checkpoints("sft"))
    assert checkpoint is not None
    assert checkpoint.name == f"checkpoint-{STEPS}"
    same = (
        f"{len(whole)} losses within {off:.0e} of the uninterrupted run's"
        if off
        else (f"all {len(whole)} losses those of the uninterrupted run")
    )
    faults(fault, f"survived: {result}; {same}", **counts(run, STEPS))


def test_preempted_in_mid_epoch(
    prepared: Run, user: User, whole: list[tuple[int, float]], faults: Faults
) -> None:
    run = train(prepared, user, *LONG, "cluster.sft.partition=low")
    wait_for_step(user, run, 5)
    user.cluster.slurm("srun", "-p", "normal", "-N3", "--exclusive", "sleep", "3")
    check(user, run, whole, "pre-empted in mid-epoch", "saved, requeued", faults)
    assert len(losses(run)) == STEPS
    assert attempts(run) == ["attempt-1", "attempt-2"]


def test_grpo_preempted(user: User, learnt: Run, faults: Faults) -> None:
    """And its agent. Completions are drawn at random: the random state has to go on as well."""
    whole, run = copy(learnt, user, "whole"), copy(learnt, user, "cut")
    steps = "grpo.max_steps=7"  # so that it is not done before it is pre-empted
    user.submit("grpo", "--resume", steps, name="whole")
    assert user.wait(whole, "grpo") == "COMPLETED", user.logs(whole)
    low = [f"cluster.{stage}.partition=low" for stage in ("grpo", "agent")]
    user.submit("grpo", "--resume", steps, *low, name="cut")
    wait_for_step(user, run, 1, "grpo")
    user.cluster.slurm("srun", "-p", "normal", "-N3", "--exclusive", "sleep", "3")
    # A step that waits for its agent does not end within the grace time: not saved, but requeued.
    ended = ("COMPLETED", "FAILED", "CANCELLED")
    assert user.wait(run, "grpo", ended.__contains__) == "COMPLETED", user.logs(run)
    for stage in ("grpo", "agent"):
        assert (run.stage(stage) / "logs" / "attempt-2").is_dir(), user.logs(run)
    for figure in ("loss", "reward"):
        found, right = dict(curve(run, "grpo", figure)), dict(curve(whole, "grpo", figure))
        assert found == pytest.approx(right, rel=1e-4, abs=1e-6)  # losses are about 0
    trained = [step for step, _ in curve(run, "grpo", "loss")]
    rewards = dict(curve(whole, "grpo", "reward"))
    assert len({*rewards.values()}) > 1
    twice, lost = len(trained) - len({*trained}), len({*rewards} - {*trained})
    assert twice <= 1
    assert lost == 0
    result = f"survived: requeued; all {len(rewards)} losses and mean rewards the same"
    faults("GRPO and its agent pre-empted", result, twice=twice, lost=lost)


def test_preempted_where_that_cancels(
    prepared: Run, tmp_path: Path, whole: list[tuple[int, float]], faults: Faults
) -> None:
    """And where nothing warns but the SIGTERM at the beginning of the grace time."""
    with mini_cluster(Shape(nodes=1, preempt_signal=False)) as other:
        user = User(other, tmp_path)
        run = train(prepared, user, *LONG, "cluster.sft.partition=scavenge")
        wait_for_step(user, run, 5)
        other.slurm("srun", "-p", "normal", "--exclusive", "sleep", "3")
        result = "saved, asked for its requeue itself"
        check(user, run, whole, "pre-empted with PreemptMode=CANCEL", result, faults)
    assert len(losses(run)) == STEPS
    assert attempts(run) == ["attempt-1", "attempt-2"]


def test_requeued_by_an_administrator(
    prepared: Run, user: User, whole: list[tuple[int, float]], faults: Faults
) -> None:
    """No warning: what was trained since the last checkpoint is trained again, no more."""
    run = train(prepared, user, *LONG, "sft.save_steps=10")
    wait_for_step(user, run, 15)
    user.cluster.slurm("scontrol", "requeue", Jobs.load(run).of("sft").id)
    user.wait(run, "sft", "REQUEUED".__eq__, every=True)
    check(user, run, whole, "`scontrol requeue`", "went on from its last checkpoint", faults)
    assert len(losses(run)) - STEPS <= 20
    assert attempts(run) == ["attempt-1", "attempt-2"]


def test_out_of_time(
    prepared: Run, user: User, whole: list[tuple[int, float]], faults: Faults
) -> None:
    """By the signal that is Slurm's warning, at steps that do not depend on the machine's speed.
    submitit takes it for that of a time limit if the limit is ten minutes or less."""
    run = train(prepared, user, *LONG, "cluster.sft.time_minutes=10", "cluster.requeues=2")
    for _ in range(2):
        warn(user, run)
    check(user, run, whole, "time limit reached", "saved and requeued 2 times", faults)
    assert len(losses(run)) == STEPS
    assert attempts(run) == ["attempt-1", "attempt-2", "attempt-3"]


def warn(user: User, run: Run) -> None:
    """Signal the job's steps, as Slurm does, when some have been trained; until it begins anew."""
    wait_for_step(user, run, saved(run) + 5)
    before = len(attempts(run))
    user.cluster.slurm("scancel", "--signal=USR2", Jobs.load(run).of("sft").id)
    until(lambda: len(attempts(run)) > before, said=lambda: user.logs(run))


def saved(run: Run) -> int:
    """The newest checkpoint's step."""
    newest = latest(run.checkpoints("sft"))
    return int(newest.name.removeprefix("checkpoint-")) if newest is not None else 0


SLOW_START = """
import os, pathlib, time
here = pathlib.Path(__file__).parent
if not (here / "warned").exists():
    (here / "pid").write_text(str(os.getpid()))
    while not (here / "warned").exists():
        time.sleep(0.1)
"""


def has_pending(pid: str, number: int) -> bool:
    """Whether a process keeps a signal for later, or has ended."""
    try:
        status = Path("/proc", pid, "status").read_text()
    except OSError:
        return True
    masks = re.findall(r"^(?:SigPnd|ShdPnd):\s*(\w+)$", status, re.MULTILINE)
    return any(int(mask, 16) >> (number - 1) & 1 for mask in masks)


def test_warned_while_python_starts(
    prepared: Run, user: User, tmp_path: Path, whole: list[tuple[int, float]], faults: Faults
) -> None:
    """The signal would end a Python that has no handler for it yet, and a job that ends so is a
    failed one."""
    slow = tmp_path / "slow"
    slow.mkdir()
    (slow / "sitecustomize.py").write_text(SLOW_START)
    where = f"cluster.environment.PYTHONPATH={slow}"
    run = train(prepared, user, *LONG, where)
    until(lambda: (slow / "pid").is_file() and bool((slow / "pid").read_text()))
    user.cluster.slurm("scancel", "--signal=USR2", Jobs.load(run).of("sft").id)
    until(lambda: has_pending((slow / "pid").read_text(), signal.SIGUSR2))
    (slow / "warned").touch()
    user.wait(run, "sft", ("REQUEUED", *ENDED).__contains__, every=True)
    check(user, run, whole, "warned while its Python starts (not in an image)", "requeued", faults)
    assert attempts(run) == ["attempt-1"]


def test_out_of_time_by_the_clock(prepared: Run, user: User) -> None:
    """Slurm's own warning, 30 to 60 s before the limit, to a training that would not end by then
    on any machine."""
    run = train(prepared, user, *LONG, "sft.max_steps=100000", "cluster.sft.time_minutes=2")
    until(lambda: run.logs("sft", 2).is_dir() and saved(run) > 0, 600, lambda: user.logs(run))
    wait_for_step(user, run, saved(run) + 1)
    user.jobs("cancel", str(run.path))
    user.leaves_queue(run, "sft")
    trained = [step for step, _ in losses(run)]
    assert trained == [*range(1, len(trained) + 1)]  # none lost, none twice
