"""Nodes are checked before training, and a cluster's profile reaches its jobs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from geoagent.files import read_json
from geoagent.run import Run
from jobs.attempt import attempts
from jobs.state import Jobs

from .faults import Faults
from .helpers import SMALL, User
from .test_interruptions import counts

BAD = "127.0.1.2"
"""The second of the cluster's three nodes."""
TWO = (
    *SMALL,
    "cluster.check_nodes=true",
    "cluster.sft.nodes=2",
    "cluster.sft.processes_per_node=1",
)


@contextmanager
def without_scratch(user: User, node: str) -> Iterator[None]:
    """The node's TMPDIR can't be written, even by root; Slurm would mend one that is missing."""
    folder = user.cluster.layout.scratch / node
    away = folder.with_name("away")
    folder.rename(away)
    folder.symlink_to("/sys")
    try:
        yield
    finally:
        folder.unlink()
        away.rename(folder)


def job(user: User, run: Run, stage: str) -> dict[str, str]:
    """What Slurm says of a stage's job."""
    text = user.cluster.slurm("scontrol", "show", "job", "-o", Jobs.load(run).of(stage).id)
    return dict(re.findall(r"(\S+?)=(\S*)", text))


def test_a_bad_node_is_left_out(user: User, faults: Faults) -> None:
    with without_scratch(user, BAD):
        run = user.submit("sft", *TWO)
        assert user.wait(run, "sft") == "COMPLETED", user.logs(run)
    found = job(user, run, "sft")
    assert found["ExcNodeList"] == BAD
    assert found["NodeList"] == "127.0.1.[1,3]"
    first, second = (
        read_json(logs / "nodes" / "findings.json") for logs in attempts(run.stage("sft"))
    )
    (finding,) = first["findings"]
    assert (finding["node"], finding["fault"], finding["check"]) == (BAD, "node", "TMPDIR")
    assert second["findings"] == []
    found = counts(run, 6)
    faults(
        "node fails its check before training",
        "survived: left out, requeued on the others",
        **found,
    )
    assert found == {"twice": 0, "lost": 0}


def test_a_bad_node_that_no_other_can_stand_in_for(user: User) -> None:
    with without_scratch(user, BAD):
        run = user.submit("sft", *TWO, "cluster.sft.nodes=3")
        assert user.wait(run, "sft") == "FAILED", user.logs(run)
    assert len(attempts(run.stage("sft"))) == 1
    assert f"node {BAD}: TMPDIR={user.cluster.layout.scratch}/{BAD} cannot be written" in " ".join(
        user.jobs("status", str(run.path)).stdout.split()
    )


def test_what_is_wrong_on_all_nodes_is_told_at_once(user: User, tmp_path: Path) -> None:
    """A model that went away between submission and training."""
    run = user.submit("prepare", *TWO)
    assert user.wait(run, "prepare") == "COMPLETED", user.logs(run)
    (run.model / "config.json").unlink()
    words = ["--resume", f"runs_dir={user.runs}", "name=run"]
    result = user.jobs("submit", "sft", *words)
    assert result.returncode == 0, result.stderr
    assert user.wait(run, "sft") == "FAILED", user.logs(run)
    outcome = read_json(run.stage("sft") / "outcome.json")
    assert outcome["code"] == 2
    assert "config.json cannot be read" in outcome["cause"]
    assert len(attempts(run.stage("sft"))) == 1


def test_every_key_of_a_profile_reaches_the_job(
    user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    slurm = user.cluster.slurm
    slurm("sacctmgr", "-i", "add", "qos", "quick")
    slurm("sacctmgr", "-i", "add", "account", "geo")
    slurm("sacctmgr", "-i", "add", "user", "root", "account=geo", "qos=quick,normal")
    # As environment modules define it: a function that bash hands on.
    monkeypatch.setenv("BASH_FUNC_module%%", '() { echo "module $*"; }')
    run = user.submit(
        "prepare",
        *SMALL,
        "cluster.account=geo",
        "cluster.qos=quick",
        "cluster.partition=low",
        "cluster.constraint=rack2",
        "cluster.gpu_type=toy",
        "cluster.modules=[cuda/12.4]",
        "cluster.environment.NCCL_SOCKET_IFNAME=ib 0",
        'cluster.setup=["echo device: $NCCL_SOCKET_IFNAME"]',
        "cluster.additional.nice=7",
        "cluster.prepare={gpus_per_node: 2, cpus_per_process: 3, memory_gb: 3, time_minutes: 17}",
    )
    assert user.wait(run, "prepare") == "COMPLETED", user.logs(run)
    found = job(user, run, "prepare")
    wanted = {
        "Account": "geo",
        "QOS": "quick",
        "Partition": "low",
        "Features": "rack2",
        "NodeList": BAD,
        "TresPerNode": "gres:gpu:toy:2",
        "CPUs/Task": "3",
        "MinMemoryNode": "3G",
        "TimeLimit": "00:17:00",
        "Nice": "7",
    }
    assert {name: found.get(name) for name in wanted} == wanted
    text = "".join(path.read_text() for path in (run.path / "submitit").glob("*.out"))
    assert "module load cuda/12.4" in text
    assert "device: ib 0" in text
