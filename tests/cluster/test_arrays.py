"""Several runs as arrays."""

from __future__ import annotations

from pathlib import Path

import pytest

from geoagent.run import Run
from jobs.group import Group
from jobs.minicluster.layout import Shape
from jobs.state import Jobs

from .faults import Faults
from .helpers import SMALL, User, mini_cluster, until
from .test_interruptions import ONE, counts

TINY = (*SMALL, *ONE, "sft.max_steps=1", "sft.save_steps=1", "eval.limit=2")


def runs_of(home: Run) -> list[Run]:
    group = Group.of(home)
    assert group is not None
    return group.runs()


def test_one_bad_element_leaves_the_others_alone(user: User, faults: Faults) -> None:
    home = user.submit("prepare", *TINY, "--seeds", "0,1,2")
    seeds = runs_of(home)
    assert [run.config().seed for run in seeds] == [0, 1, 2]
    for run in seeds:
        assert user.wait(run, "prepare") == "COMPLETED", user.logs(run)
    rows = seeds[1].dataset("sft").read_text()
    seeds[1].dataset("sft").write_text("not JSON\n")

    words = ["--resume", f"runs_dir={user.runs}", "name=run", "--parallel", "2"]
    assert user.jobs("submit", "sft", "eval", *words).returncode == 0
    states = [user.wait(run, "eval", seconds=1200) for run in seeds]
    assert states == ["COMPLETED", "CANCELLED", "COMPLETED"], user.logs(seeds[0])
    assert user.state(seeds[1], "sft") == "FAILED"
    shown = user.jobs("status", str(home.path)).stdout
    assert "seed-1   finished" in shown
    assert "seed-1: sft: " in shown
    # One agent for all, in the group's folder; it ends by itself.
    assert user.wait(home, "agent", seconds=180) == "COMPLETED"
    assert [*home.agent.glob("logs/attempt-*")] == [home.agent / "logs" / "attempt-1"]
    for run in (seeds[0], seeds[2]):
        assert not (run.agent / "logs").exists()
        assert (run.evaluation("heldout") / "metrics.json").is_file()

    # What failed goes on alone, once its data are mended.
    seeds[1].dataset("sft").write_text(rows)
    before = [Jobs.load(run).of("sft").id for run in seeds]
    assert user.jobs("submit", "sft", *words).returncode == 0
    assert user.wait(seeds[1], "sft") == "COMPLETED", user.logs(seeds[1])
    after = [Jobs.load(run).of("sft").id for run in seeds]
    assert [old == new for old, new in zip(before, after, strict=True)] == [True, False, True]
    assert Jobs.load(seeds[1]).earlier["sft"] == [before[1]]
    found = [counts(run, 1) for run in seeds]
    assert found == [{"twice": 0, "lost": 0}] * 3
    faults(
        "array with one bad element",
        "survived: the others finish; its own later stages are cancelled, --resume does them alone",
        twice=sum(one["twice"] for one in found),
        lost=sum(one["lost"] for one in found),
    )


@pytest.mark.usefixtures("cluster")  # skips without Slurm
def test_more_runs_than_an_array_may_have(tmp_path: Path) -> None:
    with mini_cluster(Shape(nodes=1, max_array_size=2)) as cluster:
        user = User(cluster, tmp_path)
        place = [f"runs_dir={user.runs}", "name=run", "--seeds", "0,1,2", "--parallel", "1"]
        dry = user.jobs("submit", "prepare", *TINY, *place, "--dry-run")
        assert "3 runs, 2 arrays a stage, at most 1 at a time" in dry.stdout
        assert not user.runs.exists()
        # So that the first still runs when the queue is looked at.
        result = user.jobs("submit", "prepare", *TINY, *place, "cluster.setup=[sleep 20]")
        assert result.returncode == 0, result.stderr
        seeds = runs_of(Run.open(user.runs / "run"))
        ids = [Jobs.load(run).of("prepare").id for run in seeds]
        assert [id.partition("_")[2] for id in ids] == ["0", "1", ""]
        user.wait(seeds[0], "prepare", "RUNNING".__eq__)
        rows = cluster.slurm("squeue", "-h", "--array", "-o", "%i %T %E").splitlines()
        array = ids[0].partition("_")[0]
        assert {row.split()[0]: row.split()[1:] for row in rows} == {
            ids[0]: ["RUNNING", "(null)"],
            ids[1]: ["PENDING", "(null)"],  # room for it, but one at a time
            ids[2]: ["PENDING", f"afterany:{array}_*(unfulfilled)"],
        }
        user.jobs("cancel", str(user.runs / "run"))


def test_a_group_is_cancelled_as_a_whole_or_run_by_run(user: User) -> None:
    home = user.submit("sft", *TINY, "--seeds", "0,1,2", "--parallel", "1")
    seeds = runs_of(home)
    user.wait(seeds[0], "prepare", lambda state: state != "PENDING")
    assert "stopped: " in user.jobs("cancel", str(seeds[2].path)).stdout
    shown = user.jobs("cancel", str(home.path)).stdout
    for part in ("seed-0: prepare", "seed-0: sft", "seed-1: prepare", "seed-1: sft"):
        assert part in shown
    assert "seed-2" not in shown
    until(lambda: not user.cluster.slurm("squeue", "-h"))
    assert user.jobs("cancel", str(home.path)).stdout == "nothing was running\n"
