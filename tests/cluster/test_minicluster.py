"""The mini cluster itself."""

from __future__ import annotations

import os
import pwd
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest

from geoagent.errors import UsageError
from jobs.minicluster.cluster import MiniCluster
from jobs.minicluster.layout import Shape, node_name
from jobs.processes import Watched, alive

from .helpers import until
from .nodes import kill_node


def test_nodes_partitions_gpus_and_accounting(cluster: MiniCluster) -> None:
    command = "echo $SLURM_NODEID $CUDA_VISIBLE_DEVICES $(scontrol show hostnames)"
    out = cluster.slurm("srun", "-N2", "--gpus-per-node=2", "bash", "-c", command)
    names = out.split("\n")[0].split()[2:]  # any two: one may still be clearing up an earlier job
    assert len({*names}) == 2
    assert sorted(out.splitlines()) == [f"{k} 0,1 {' '.join(names)}" for k in range(2)]
    assert cluster.slurm("sinfo", "-h", "-o", "%R").split() == ["normal", "low", "scavenge"]
    words = ("sacct", "-S", "now-1day", "-X", "-n", "-o", "State")  # else since midnight
    until(lambda: "COMPLETED" in cluster.slurm(*words), 20)


def read(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def test_a_second_one_beside_it_and_nothing_left(cluster: MiniCluster) -> None:
    with tempfile.TemporaryDirectory(prefix="mini") as folder:
        other = MiniCluster(Path(folder), Shape(nodes=1))
        other.up()
        try:
            with pytest.raises(UsageError, match="runs already"):
                other.up()
            script = Path(folder) / "job.sh"
            script.write_text("#!/bin/bash\ntrap '' TERM\necho $$ > pid\nsleep 600\n")
            other.slurm("sbatch", "-D", folder, str(script))
            until(lambda: read(Path(folder) / "pid").endswith("\n"))
            job = Watched.of(int(read(Path(folder) / "pid")))
            kill_node(cluster, node_name(0))  # named like the other's node
            assert len(cluster.daemons()) == 6
            cluster.start_node(node_name(0))
            assert alive(job)
            assert len(other.daemons()) == 5
        finally:
            other.down()
        until(lambda: not alive(job), 20)
        assert other.daemons() == {}
        assert [entry.name for entry in Path(folder).iterdir() if entry.is_dir()] == ["log"]
    assert len(cluster.daemons()) == 7


def test_a_path_too_long_for_sockets_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="too long for Unix sockets"):
        MiniCluster(tmp_path / ("x" * 100)).up()


def test_a_daemon_that_is_not_noted_does_not_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[Watched] = []

    def interrupted(path: Path, document: dict[str, dict[str, Any]]) -> None:
        started.extend(Watched(**one) for one in document.values())
        raise KeyboardInterrupt

    monkeypatch.setattr("jobs.minicluster.cluster.write_json", interrupted)
    other = MiniCluster(tmp_path)
    other.layout.logs.mkdir()
    with pytest.raises(KeyboardInterrupt):
        other._start("sleep", ["sleep", "600"], lambda: True)
    assert [alive(one) for one in started] == [False]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
def test_a_plain_user_can_run_one() -> None:
    nobody = pwd.getpwnam("nobody")
    with tempfile.TemporaryDirectory(prefix="mini") as folder:
        os.chown(folder, nobody.pw_uid, nobody.pw_gid)
        pid = os.fork()
        if pid == 0:  # a plain user could not read this interpreter; it is loaded already
            code = 1
            try:
                os.setgid(nobody.pw_gid)
                os.setgroups([])
                os.setuid(nobody.pw_uid)
                os.environ.update(USER="nobody", LOGNAME="nobody", HOME=folder)
                other = MiniCluster(Path(folder), Shape(nodes=1))
                other.up()
                try:
                    code = 0 if "nobody" in other.slurm("srun", "id", "-un") else 2
                finally:
                    other.down()
            except subprocess.CalledProcessError as error:
                print(error.stderr)
            finally:
                os._exit(code)
        assert os.waitpid(pid, 0)[1] == 0
