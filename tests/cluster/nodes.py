"""Breaks parts of the mini cluster, as they break on a real one."""

from __future__ import annotations

import os
import signal
from contextlib import suppress

import psutil

from geoagent.run import Run
from jobs.minicluster.cluster import MiniCluster
from jobs.processes import stop_tree


def rank(run: Run, number: int) -> int:
    """Pid of a training process, which torchrun gave its rank."""
    for process in psutil.process_iter():
        try:
            variables, words = process.environ(), process.cmdline()
        except (psutil.Error, OSError):
            continue
        if variables.get("RANK") == str(number) and str(run.path) in words:
            return process.pid
    raise AssertionError(f"no rank {number}")


def kill_node(cluster: MiniCluster, node: str) -> None:
    """What a power cut does: slurmd, its step daemons and all that they started, at once, so that
    none of them can tell the controller anything."""
    daemon = psutil.Process(cluster.daemons()[f"slurmd-{node}"].pid)
    victims = [daemon, *daemon.children(recursive=True)]
    for process in psutil.process_iter():
        if _is_step_daemon(process, f"{cluster.layout.spool(node)}/"):
            with suppress(psutil.NoSuchProcess):
                victims += [process, *process.children(recursive=True)]
    for process in victims:
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
    psutil.wait_procs(victims, timeout=10)


def _is_step_daemon(process: psutil.Process, spool: str) -> bool:
    """Step daemons don't have slurmd for their parent; their sockets are in the node's spool,
    whose path tells this cluster from others: all of them name their nodes alike."""
    try:
        if not "".join(process.cmdline()[:1]).startswith("slurmstepd"):
            return False
        return any(spool in str(one.laddr) for one in process.net_connections(kind="unix"))
    except psutil.Error:
        return False


def stop_controller(cluster: MiniCluster) -> None:
    stop_tree(cluster.daemons()["slurmctld"].pid, 20.0)
