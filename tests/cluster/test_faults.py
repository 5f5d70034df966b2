"""What breaks while training runs."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from geoagent.files import read_if_there
from geoagent.run import Run
from geoagent.train.checkpoints import latest
from jobs.minicluster.cluster import MiniCluster

from .faults import Faults
from .helpers import User
from .learnt import train
from .nodes import kill_node, rank, stop_controller
from .test_interruptions import ONE, attempts, counts, wait_for_step

STEPS = 24
SAVE = 4
LONG = (f"sft.max_steps={STEPS}", f"sft.save_steps={SAVE}", "sft.batch_size=8")
TWO = ("cluster.sft.processes_per_node=1",)  # one on each of two nodes


def go_on(user: User, run: Run) -> None:
    """Submit again by hand, and wait for the end."""
    user.leaves_queue(run, "sft")
    words = ["submit", "sft", "--resume", f"runs_dir={user.runs}", f"name={run.path.name}"]
    result = user.jobs(*words)
    assert result.returncode == 0, result.stdout + result.stderr
    assert user.wait(run, "sft") == "COMPLETED", user.logs(run)


def test_a_killed_rank_is_named_and_training_can_go_on(
    prepared: Run, user: User, faults: Faults
) -> None:
    run = train(prepared, user, *LONG, *TWO)
    wait_for_step(user, run, SAVE + 1)
    os.kill(rank(run, 1), signal.SIGKILL)
    assert user.wait(run, "sft", seconds=120) == "FAILED"
    said = "rank 1 was killed from outside"
    assert f"sft: {said}" in user.jobs("status", str(run.path)).stdout
    go_on(user, run)
    found = counts(run, STEPS)
    assert found["lost"] == 0
    assert found["twice"] <= SAVE
    faults("rank 1 killed with SIGKILL", f'stopped: "{said} …"; finished after `--resume`', **found)


def test_a_node_that_dies(prepared: Run, user: User, cluster: MiniCluster, faults: Faults) -> None:
    run = train(prepared, user, *LONG, *TWO)
    wait_for_step(user, run, SAVE + 1)
    node = read_if_there(run.logs("sft", 1) / "attempt.json")["address"]  # of rank 0
    kill_node(cluster, node)
    try:
        user.wait(run, "sft", "NODE_FAIL".__eq__, seconds=120, every=True)
        user.wait(run, "sft", "NODE_FAIL".__ne__)  # it is that for a moment before it waits again
        assert user.wait(run, "sft") == "COMPLETED", user.logs(run)
    finally:
        cluster.start_node(node)
    assert attempts(run) == ["attempt-1", "attempt-2"]
    assert read_if_there(run.logs("sft", 2) / "attempt.json")["address"] != node
    found = counts(run, STEPS)
    assert found["lost"] == 0
    assert found["twice"] <= SAVE
    result = "survived: requeued by Slurm, finished on other nodes"
    faults("slurmd killed with its steps (node failure)", result, **found)


def test_the_controller_is_restarted(
    prepared: Run, user: User, cluster: MiniCluster, faults: Faults
) -> None:
    run = train(prepared, user, *LONG, *ONE)
    wait_for_step(user, run, 3)
    stop_controller(cluster)
    time.sleep(5)
    cluster.start_controller()
    assert user.wait(run, "sft") == "COMPLETED", user.logs(run)
    assert attempts(run) == ["attempt-1"]
    found = counts(run, STEPS)
    assert found == {"twice": 0, "lost": 0}
    faults("slurmctld restarted during a run", "survived: the job did not notice", **found)


def test_the_port_of_the_rendezvous_is_taken(prepared: Run, user: User, faults: Faults) -> None:
    run = train(prepared, user, *TWO)
    file = run.logs("sft", 1) / "attempt.json"
    deadline = time.monotonic() + 180
    while not (meeting := read_if_there(file)):
        assert time.monotonic() < deadline, user.logs(run)
        time.sleep(0.01)
    with socket.socket() as other:  # before torchrun, which has to import torch, comes to it
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("0.0.0.0", meeting["port"]))
        other.listen()
        while "requeued" not in read_if_there(file):
            assert time.monotonic() < deadline, user.logs(run)
            time.sleep(0.1)
    user.wait(run, "sft", "REQUEUED".__eq__, every=True)
    assert user.wait(run, "sft") == "COMPLETED", user.logs(run)
    assert attempts(run) == ["attempt-1", "attempt-2"]
    found = counts(run, 6)
    assert found == {"twice": 0, "lost": 0}
    faults("port already taken", "survived: requeued, met at another port", **found)


def test_the_newest_checkpoint_is_cut(prepared: Run, user: User, faults: Faults) -> None:
    run = train(prepared, user, *LONG, *ONE)
    wait_for_step(user, run, 2 * SAVE + 1)
    user.jobs("cancel", str(run.path))
    assert user.wait(run, "sft") == "CANCELLED"
    user.leaves_queue(run, "sft")  # it saves before it goes
    newest = latest(run.checkpoints("sft"))
    assert newest is not None
    weights = newest / "model.safetensors"
    os.truncate(weights, weights.stat().st_size // 2)
    before = latest(run.checkpoints("sft"))
    assert before is not None
    go_on(user, run)
    assert f"{newest.name} is not complete; removed" in (run.logs("sft", 2) / "err.log").read_text()
    found = counts(run, STEPS)
    assert found["lost"] == 0
    assert found["twice"] <= 2 * SAVE
    result = f"survived: removed, went on from {before.name} instead of {newest.name}"
    faults("newest checkpoint truncated", result, **found)


@contextmanager
def small_disk(megabytes: int) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="disk") as folder:
        mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "none", folder]
        if subprocess.run(mount, capture_output=True).returncode != 0:
            pytest.skip("a small disk needs the right to mount")
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", "--lazy", folder], check=True)


def fill(disk: Path, leave: int) -> Path:
    """A file that leaves at most so many bytes free."""
    ballast = disk / "ballast"
    with ballast.open("wb") as file:
        while (room := shutil.disk_usage(disk).free - leave) > 0:
            try:
                os.posix_fallocate(file.fileno(), os.fstat(file.fileno()).st_size, room)
            except OSError as error:
                if error.errno != errno.ENOSPC:  # something was saved in between: look again
                    raise
    return ballast


def test_the_disk_is_full_during_a_save(
    prepared: Run, cluster: MiniCluster, faults: Faults
) -> None:
    steps = 5 * STEPS  # there are saves to come, however fast this machine is
    with small_disk(1200) as disk:
        user = User(cluster, disk)
        run = train(prepared, user, *LONG, *ONE, f"sft.max_steps={steps}")
        wait_for_step(user, run, SAVE + 1)
        ballast = fill(disk, leave=4_000_000)  # a checkpoint takes more
        assert user.wait(run, "sft", seconds=120) == "FAILED", user.logs(run)
        shown = user.jobs("status", str(run.path)).stdout
        said = "the disk is full"
        assert f"sft: {said}" in shown, shown + user.logs(run)
        saved = latest(run.checkpoints("sft"))
        assert saved is not None
        ballast.unlink()
        go_on(user, run)
        found = counts(run, steps)
        assert found["lost"] == 0
        assert found["twice"] <= SAVE
    result = f'stopped: "{said}"; finished after `--resume`'
    faults("run directory full during a save", result, **found)
