"""Sweeps on a real Slurm: shared stages, what is cut off, cancelled or fails, and what is missing
then."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from geoagent.files import read_json
from geoagent.run import Run
from geoagent.sweep.home import SweepHome
from jobs.minicluster.layout import Shape
from jobs.state import Jobs

from .helpers import SMALL, User, mini_cluster, until
from .test_interruptions import ONE
from .test_submissions import slow_sbatch

POINTS: dict[str, Any] = {
    "only-sft": {"stages": ["sft", "eval"]},
    "a": {"settings": {"rewards.weights.spatial": 0.5}},
    "b": {"settings": {"rewards.weights.spatial": 1.0}},
    "c": {"settings": {"rewards.weights.spatial": 2.0}},
    "d": {"settings": {"rewards.weights.spatial": 3.0}},
}
TINY = [*SMALL, *ONE, "sft.max_steps=1", "sft.save_steps=1", "eval.limit=2", "grpo.max_steps=1"]


def write(folder: Path, points: dict[str, Any]) -> Path:
    """A sweep whose points ask no agent: its answers are not what is tested here."""
    document = {
        "title": "four weights",
        "base": TINY,
        "settings": {"rewards.weights.consistency": 0, "eval.models": "last"},
        "parallel": 2,
        "metrics": ["accuracy_750km"],
        "points": points,
    }
    path = folder / "four.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return path


def sweep(user: User, *words: str) -> str:
    result = user.jobs("sweep", *words, "--yes")
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def submitted(said: str) -> dict[str, int]:
    """Jobs by stage, from what `sweep` prints of them."""
    found: dict[str, int] = {}
    for line in said.splitlines():
        stage, _, rest = line.partition(": job ")
        if rest:
            count = int(rest.rpartition("of ")[2]) if "array" in rest else 1
            found[stage] = found.get(stage, 0) + count
    return found


def runs(home: Path) -> dict[str, Run]:
    found = SweepHome.open(home)
    return {row.point: found.run(folder) for row in found.rows for folder in row.runs.values()}


def attempts(run: Run, stage: str) -> int:
    return len([*(run.path / stage / "logs").glob("attempt-*")])


def everything_ends(user: User, seconds: float = 1200) -> None:
    until(
        lambda: not user.cluster.slurm("squeue", "-h").strip(),
        seconds,
        lambda: user.cluster.slurm("squeue"),
    )


def states(home: Path) -> dict[str, str]:
    document = read_json(home / "results" / "results.json")
    return {trial["point"]: trial["state"] for trial in document["trials"]}


@pytest.mark.timeout(3600)  # some fifty programs begin in it
def test_cut_off_cancelled_failed_and_finished(user: User, tmp_path: Path) -> None:
    file = write(tmp_path, POINTS)
    home = user.runs / "four"
    place = [str(file), f"runs_dir={user.runs}"]
    # The shell is killed when Slurm has the GRPO array, and nobody has its id yet.
    slow = slow_sbatch(tmp_path / "slow", number=3)
    shell = user.start("sweep", *place, "--yes", first_in_path=slow)
    until((slow / "stuck").exists)
    os.killpg(shell.pid, signal.SIGKILL)
    shell.communicate()
    first = runs(home)
    assert submitted(sweep(user, str(home))) == {"grpo": 4, "eval": 5, "results": 1}

    # Half of the array is cancelled, and a point is made to fail.
    grpo = {name: jobs_of(run)["grpo"] for name, run in runs(home).items() if name in "abcd"}
    user.cluster.slurm("scancel", grpo["a"], grpo["b"])
    (first["c"].data).unlink()
    everything_ends(user)
    assert states(home) == {
        "only-sft": "done",
        "a": "missing",
        "b": "missing",
        "c": "failed",
        "d": "done",
    }, user.logs(Run(home))
    before = times(runs(home))

    said = submitted(sweep(user, str(home)))
    assert said == {"grpo": 3, "eval": 3, "results": 1}
    everything_ends(user)
    assert set(states(home).values()) == {"done"}, user.logs(first["c"])
    after = times(runs(home))
    assert before.items() <= after.items()  # nothing was done twice
    tried = {name: attempts(run, "grpo") for name, run in runs(home).items() if name in "abcd"}
    assert tried == {"a": 1, "b": 1, "c": 2, "d": 1}
    shared = list(home.glob("shared-*"))
    assert sorted(run.name.split("-s0-")[0] for run in shared) == ["shared-prepare", "shared-sft"]
    assert all(attempts(Run(run), run.name.split("-")[1]) == 1 for run in shared)
    assert "nothing to do: all 5 have finished" in sweep(user, str(home))

    # A point more, and another meaning for one that has finished.
    more = {**POINTS, "e": {"settings": {"rewards.weights.spatial": 4.0}}}
    more["d"] = {"settings": {"rewards.weights.spatial": 3.5}}
    write(tmp_path, more)
    assert submitted(sweep(user, str(home))) == {"grpo": 2, "eval": 2, "results": 1}
    everything_ends(user)
    assert set(states(home).values()) == {"done"}
    assert len(states(home)) == 6
    assert first["d"].path.is_dir()
    assert runs(home)["d"] != first["d"]
    shown = user.jobs("status", str(home)).stdout
    assert "results: job" in shown
    table = user.jobs("sweep", str(home), "--results")
    assert table.returncode == 0, table.stderr
    assert "6 trials: 6 done" in table.stdout


def jobs_of(run: Run) -> dict[str, str]:
    jobs = Jobs.load_if_there(run)
    return {job.stage: job.id for job in jobs.jobs} if jobs is not None else {}


def times(found: dict[str, Run]) -> dict[str, float]:
    """When stages were done, of those that are."""
    return {
        f"{name} {stage}": run.done_file(stage).stat().st_mtime
        for name, run in found.items()
        for stage in ("prepare", "sft", "grpo", "eval")
        if run.done_file(stage).is_file()
    }


@pytest.mark.usefixtures("cluster")  # skips without Slurm
def test_more_points_than_an_array_may_have(
    tmp_path: Path, benchmark_module: Callable[[str], ModuleType]
) -> None:
    with mini_cluster(Shape(nodes=1, max_array_size=8)) as cluster:
        user = User(cluster, tmp_path)
        weights = [round(0.1 * k, 1) for k in range(1, 21)]
        points = {
            f"p{k}": {"settings": {"rewards.weights.spatial": w}} for k, w in enumerate(weights)
        }
        file = write(tmp_path, points)
        words = [str(file), f"runs_dir={user.runs}", "cluster.additional.begin=now+1hour"]
        calls = benchmark_module("submitting").Calls(
            tmp_path / "calls", {**os.environ, **cluster.environment()}
        )
        shell = user.start("sweep", *words, "--parallel", "3", "--yes", first_in_path=calls.folder)
        said = shell.communicate()[0]
        assert shell.returncode == 0, said
        # Three arrays of GRPO and three of evaluation; no agent is asked here.
        assert calls.since() == {"sbatch": 9, "scontrol": 2}
        assert submitted(said) == {"prepare": 1, "sft": 1, "grpo": 20, "eval": 20, "results": 1}
        lines = cluster.slurm("squeue", "-h", "-o", "%A %j %K %E").splitlines()
        grpo = [line.split(maxsplit=3) for line in lines if " four-grpo " in line]
        assert sorted(row[2] for row in grpo) == ["0-3%3", "0-7%3", "0-7%3"]
        ids = sorted(int(row[0]) for row in grpo)
        waits = {int(row[0]): row[3] for row in grpo}
        # One array after the other: together they keep to the limit.
        for before, later in pairwise(ids):
            assert f"afterany:{before}_*" in waits[later]
        home = user.runs / "four"
        shown = user.start("status", str(home), first_in_path=calls.folder)
        assert "results: job" in shown.communicate()[0]
        assert set(calls.since().values()) == {1}  # the queue only if accounting does not tell
        assert user.jobs("cancel", str(home)).returncode == 0
        until(lambda: not cluster.slurm("squeue", "-h").strip())


def test_bad_input(user: User, tmp_path: Path) -> None:
    for points, message in (
        ({"x": {"settings": {"grpo.learning_rat": 1}}}, "did you mean grpo.learning_rate?"),
        ({"x": {"settings": {"rewards.weights.spatial": -1}}}, "is not a weight"),
        ({"x": {}, "y": {}}, "the same"),
        ({"x": {}, "y": {"settings": {"sft.learning_rate": 0.1}}}, "sft"),
    ):
        result = user.jobs("sweep", str(write(tmp_path, points)), f"runs_dir={user.runs}", "--yes")
        assert result.returncode == 2, result.stdout
        assert message in result.stderr, result.stderr
        assert result.stderr.count("\n") == 1
    assert not user.runs.exists()
    asked = user.jobs("sweep", str(write(tmp_path, POINTS)), f"runs_dir={user.runs}")
    assert asked.returncode == 2
    assert "--yes" in asked.stderr
