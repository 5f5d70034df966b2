"""Processes of two nodes, here on one machine, meet and add up, or say why not."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from jobs.minicluster.cluster import free_ports


def start(node: int, port: int, limit: float, **variables: str) -> subprocess.Popen[bytes]:
    words = {"node": node, "nodes": 2, "processes": 2, "gpus": 0, "port": port, "limit": limit}
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "geoagent.train.collective", "--address=127.0.0.1"),
            *(f"--{name}={value}" for name, value in words.items()),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1", **variables},
    )


def said(process: subprocess.Popen[bytes]) -> tuple[str, str]:
    assert process.stdout is not None
    answer = json.loads(process.stdout.readline())
    return answer["step"], answer["message"]


def finish(processes: list[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        process.communicate(timeout=60)
        assert process.returncode == 0


def test_two_nodes_with_two_processes_each() -> None:
    port = free_ports(1).controller
    # What libraries write to standard output is not the answer.
    noise = {"TORCH_CPP_LOG_LEVEL": "INFO", "TORCH_DISTRIBUTED_DEBUG": "DETAIL"}
    processes = [start(node, port, 300, **noise) for node in range(2)]
    assert [said(process) for process in processes] == [("done", "")] * 2
    finish(processes)


def test_a_node_that_does_not_come() -> None:
    process = start(0, free_ports(1).controller, 60)  # torch is imported meanwhile
    assert said(process) == ("meet", "")
    finish([process])


def test_a_device_that_is_not_there() -> None:
    port = free_ports(1).controller
    processes = [start(node, port, 300, GLOO_SOCKET_IFNAME="ib7") for node in range(2)]
    for process in processes:
        step, message = said(process)
        assert step == "meet"
        assert "ib7" in message
    finish(processes)
