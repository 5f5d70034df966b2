"""jobs/eval.sbatch: one job, or an array whose last shard to end merges."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from geoagent.files import read_jsonl
from geoagent.run import Run
from jobs.rundir import ROOT

from .faults import Faults
from .helpers import SMALL, User

SETTINGS = ("eval.batch_size=2", "eval.limit=7", "eval.reward_samples=1")


@pytest.fixture(scope="module")
def prepared(cluster: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[User, Run]]:
    """A run with a model and data, and nothing trained: its base model is evaluated."""
    user = User(cluster, tmp_path_factory.mktemp("eval"))
    run = user.submit("prepare", *SMALL)
    assert user.wait(run, "prepare") == "COMPLETED", user.logs(run)
    yield user, run
    user.jobs("cancel", str(run.path))


def sbatch(user: User, run: Run, *words: str, array: str | None = None, **variables: str) -> str:
    """Submit it as one would; returns the job's id."""
    chosen = ["--array", array] if array else []
    named = [] if "RUN" in variables else [str(run.path)]
    output = user.runs.parent / "%x-%j.log"
    options = ["--parsable", "--cpus-per-task=1", "--mem=2G", f"--output={output}", *chosen]
    result = subprocess.run(
        ["sbatch", *options, "jobs/eval.sbatch", *named, *words],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | user.cluster.environment() | variables,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def ended(user: User, run: Run, job: str) -> dict[str, str]:
    """State of each task of a job, once all have ended."""
    deadline = time.monotonic() + 300
    while job in user.cluster.slurm("squeue", "-h", "-o", "%F").split():
        assert time.monotonic() < deadline, said(user) + user.logs(run)
        time.sleep(0.5)
    while True:  # accounting learns of it a little later
        lines = user.cluster.slurm("sacct", "-X", "-n", "-P", "-o", "JobID,State", "-j", job)
        states = dict(line.split("|") for line in lines.split("\n") if "|" in line)
        if not {"RUNNING", "PENDING"} & set(states.values()):
            return {task: state.split()[0] for task, state in states.items()}
        assert time.monotonic() < deadline
        time.sleep(0.5)


def said(user: User) -> str:
    return "\n".join(path.read_text() for path in sorted(user.runs.parent.glob("*.log")))


def results(run: Run, benchmark: str) -> list[Any]:
    """Everything that was predicted and scored; how long the agent took is left out."""
    folder = run.evaluation(benchmark)
    metrics = json.loads((folder / "metrics.json").read_text())
    del metrics["agent"]
    rows = [list(read_jsonl(folder / name)) for name in ("predictions.jsonl", "sampled.jsonl")]
    return [metrics, *rows, (folder / "table.txt").read_text().partition("\n")[2]]


def test_shards_give_the_metrics_of_one_job(prepared: tuple[User, Run]) -> None:
    user, run = prepared
    job = sbatch(user, run, *SETTINGS, "eval.benchmark=whole")
    assert ended(user, run, job) == {job: "COMPLETED"}, said(user) + user.logs(run)
    job = sbatch(user, run, *SETTINGS, "eval.benchmark=parts", array="0-2", RUN=str(run.path))
    states = ended(user, run, job)
    assert states == {f"{job}_{k}": "COMPLETED" for k in range(3)}, said(user) + user.logs(run)
    assert results(run, "parts") == results(run, "whole")
    _, greedy, sampled, _ = results(run, "parts")
    assert len({row["completion"] for row in greedy}) > 1
    assert (len(greedy), len(sampled)) == (7, 7)
    written = [
        {row["id"] for row in read_jsonl(file)}
        for file in sorted(run.evaluation("parts").glob("completions/*-of-3.jsonl"))
    ]
    # Batches of two in turn, the last of one: 0 and 3, 1, 2.
    assert [len(ids) for ids in written] == [3, 2, 2]
    assert len(set.union(*written)) == 7
    # Submitted again there is nothing to predict, and nothing to merge.
    before = run.done_file("eval").read_bytes()
    job = sbatch(user, run, array="0-2")
    assert set(ended(user, run, job).values()) == {"COMPLETED"}
    assert run.done_file("eval").read_bytes() == before
    assert "all has been merged already" in said(user)


def test_a_shard_that_was_killed_goes_on(prepared: tuple[User, Run], faults: Faults) -> None:
    user, run = prepared
    long = ("eval.benchmark=killed", "eval.rewards=false", "eval.limit=36", "eval.batch_size=1")
    job = sbatch(user, run, *long, "eval.max_new_tokens=128", array="0-2")
    folder = run.evaluation("killed") / "completions"
    for shard, stop in ((0, "scontrol requeue"), (1, "scancel")):
        wait_for_rows(user, folder / f"{shard}-of-3.jsonl")
        user.cluster.slurm(*stop.split(), f"{job}_{shard}")
    killed = rows(folder / "1-of-3.jsonl")
    states = ended(user, run, job)
    assert states.pop(f"{job}_1") == "CANCELLED"
    assert set(states.values()) == {"COMPLETED"}, said(user) + user.logs(run)
    assert 0 < len(killed) < 12
    assert len(rows(folder / "0-of-3.jsonl")) == len(rows(folder / "2-of-3.jsonl")) == 12
    assert not (run.evaluation("killed") / "metrics.json").exists()
    again = sbatch(user, run, array="1", SHARDS="3")
    assert set(ended(user, run, again).values()) == {"COMPLETED"}, said(user) + user.logs(run)
    predicted = list(read_jsonl(run.evaluation("killed") / "predictions.jsonl"))
    assert len({row["id"] for row in predicted}) == len(predicted) == 36
    now = rows(folder / "1-of-3.jsonl")
    assert now[: len(killed)] == killed
    everything = Counter(row for k in range(3) for row in rows(folder / f"{k}-of-3.jsonl"))
    assert len(everything) == everything.total() == 36
    result = f"survived: submitted again, it went on behind its {len(killed)} completions"
    faults("a shard of an evaluation is cancelled, another requeued", result)


def wait_for_rows(user: User, file: Path) -> None:
    deadline = time.monotonic() + 180
    while not (file.is_file() and file.stat().st_size):
        assert time.monotonic() < deadline, said(user)
        time.sleep(0.1)


def rows(file: Path) -> list[str]:
    """Ids of the records whose completions are in a file."""
    return [row["id"] for row in read_jsonl(file)]
