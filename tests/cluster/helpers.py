"""Somebody who submits to the mini cluster, and small jobs to submit."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from geoagent.run import Run
from jobs.minicluster.cluster import MiniCluster
from jobs.minicluster.layout import Shape
from jobs.state import Jobs

ENDED = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED"}
SMALL = (
    "recipe=demo",
    "cluster=mini",
    "cluster.check_nodes=false",  # test_preflight.py and test_training.py have it on
    "data.scenes_per_country=4",
    "sft.max_steps=6",
    "sft.save_steps=3",
    "sft.logging_steps=1",
    "sft.batch_size=2",
    "grpo.max_steps=2",
    "grpo.save_steps=1",
    "grpo.batch_size=2",
    "grpo.generations=4",
    "grpo.max_completion_length=32",
    "eval.limit=4",
    "eval.max_new_tokens=32",
    "eval.reward_samples=0",
)


def until(holds: Callable[[], bool], seconds: float = 240, said: Callable[[], str] = str) -> None:
    """Wait; an assertion fails, with what is `said` then, if it takes longer."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, said()
        time.sleep(0.1)


@contextmanager
def mini_cluster(shape: Shape | None = None) -> Iterator[MiniCluster]:
    """A cluster for as long as it is needed."""
    # Not in pytest's folder: its path is too long for Unix sockets.
    with tempfile.TemporaryDirectory(prefix="mini", ignore_cleanup_errors=True) as folder:
        cluster = MiniCluster(Path(folder), shape)
        cluster.up()
        try:
            yield cluster
        finally:
            cluster.down()


class User:
    """Somebody on the login node."""

    def __init__(self, cluster: MiniCluster, folder: Path) -> None:
        self.cluster = cluster
        self.runs = folder / "runs"

    def jobs(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "jobs", *words],
            capture_output=True,
            text=True,
            env=self._environment(),
        )

    def start(self, *words: str, first_in_path: Path | None = None) -> subprocess.Popen[str]:
        """As `jobs`, without waiting; in a process group of its own."""
        environment = self._environment()
        if first_in_path is not None:
            environment["PATH"] = f"{first_in_path}{os.pathsep}{environment['PATH']}"
        return subprocess.Popen(
            [sys.executable, "-m", "jobs", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
            start_new_session=True,
        )

    def _environment(self) -> dict[str, str]:
        """Without what measures coverage in sub-processes: jobs would take twice as long."""
        mine = {k: v for k, v in os.environ.items() if not k.startswith("COVERAGE")}
        return mine | self.cluster.environment()

    def submit(self, *words: str, name: str = "run") -> Run:
        result = self.jobs("submit", *words, f"runs_dir={self.runs}", f"name={name}")
        assert result.returncode == 0, result.stdout + result.stderr
        return Run.open(self.runs / name)

    def state(self, run: Run, stage: str) -> str:
        """Of the stage's job, as accounting knows it: COMPLETED, RUNNING, …"""
        job = Jobs.load(run).of(stage).id
        lines = self.cluster.slurm("sacct", "-X", "-n", "-P", "-o", "State", "-j", job)
        return (lines.split() or ["PENDING"])[0]

    def leaves_queue(self, run: Run, stage: str) -> None:
        """A job that was cancelled is there until all of its processes have ended."""
        id = Jobs.load(run).of(stage).id
        until(lambda: not self.cluster.slurm("squeue", "-h", "-j", id), 60, lambda: self.logs(run))

    def states(self, run: Run, stage: str) -> list[str]:
        """Of all tries of the stage's job, the newest last: [REQUEUED, RUNNING], …"""
        job = Jobs.load(run).of(stage).id
        lines = self.cluster.slurm("sacct", "-D", "-X", "-n", "-P", "-o", "State", "-j", job)
        return [line.split()[0] for line in lines.splitlines()] or ["PENDING"]

    def wait(
        self,
        run: Run,
        stage: str,
        until: Callable[[str], bool] = ENDED.__contains__,
        seconds: float = 1500,
        every: bool = False,
    ) -> str:
        """The stage's state once `until` holds of it, or of any earlier one of its `every` try."""
        deadline = time.monotonic() + seconds
        while True:
            state = self.state(run, stage)
            if until(state) or (every and any(map(until, self.states(run, stage)))):
                return state
            assert time.monotonic() < deadline, f"{stage} is still {state}\n{self.logs(run)}"
            time.sleep(0.5)

    def logs(self, run: Run) -> str:
        """The ends of all logs, for the message of a test that fails."""
        files = sorted(run.path.glob("*/logs/*/*err.log")) + sorted(run.path.glob("submitit/*.out"))
        return "\n".join(f"== {file}\n{file.read_text()[-1500:]}" for file in files)
