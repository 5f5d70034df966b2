"""Starts and stops the daemons of a mini cluster."""

from __future__ import annotations

import os
import random
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Final

import psutil

from geoagent.errors import UsageError
from geoagent.files import read_if_there, write_atomic, write_json
from jobs.minicluster import configuration, database
from jobs.minicluster.layout import Layout, Ports, Shape, node_name
from jobs.minicluster.packages import missing, path_of
from jobs.processes import Watched, alive, signals_wait, stop_tree

_START_S: Final = 30.0
_STOP_S: Final = 10.0
_POLL_S: Final = 0.05
_COMMAND_S: Final = 300.0
"""An srun waits until a job that it takes the place of has saved and ended."""
_PORTS: Final = range(15000, 32000)
"""Below those that Linux gives to whoever connects to somewhere, which it may do between the choice
of a port and its use."""
_LONGEST_SOCKET: Final = 107
"""Bytes of a Unix socket's path."""


class MiniCluster:
    """A cluster in a folder; `up` and `down` may be called by different processes."""

    def __init__(self, root: Path, shape: Shape | None = None) -> None:
        self.layout = Layout(root.absolute())
        self.shape = shape or Shape()

    def environment(self) -> dict[str, str]:
        """What sbatch and its kin need to find this cluster."""
        return {"SLURM_CONF": str(self.layout.slurm_conf)}

    def slurm(self, *command: str) -> str:
        """Output of one of Slurm's commands, asked of this cluster. CalledProcessError."""
        result = subprocess.run(
            [path_of(command[0]), *command[1:]],
            env={**os.environ, **self.environment()},
            capture_output=True,
            text=True,
            check=True,
            timeout=_COMMAND_S,
        )
        return result.stdout

    def daemons(self) -> dict[str, Watched]:
        """Those that run, by name, in the order of their start."""
        known = read_if_there(self.layout.processes)
        found = {name: Watched(**process) for name, process in known.items()}
        return {name: process for name, process in found.items() if alive(process)}

    # --- up ----------------------------------------------------------------------------------

    def up(self, tell: Callable[[str], None] = lambda message: None) -> None:
        """Start it, whole or not at all. UsageError: packages are missing, it runs already, or a
        daemon does not come up."""
        layout = self.layout
        if missing():
            raise UsageError(f"not installed: {', '.join(missing())}; make cluster-packages")
        if self.daemons():
            raise UsageError(f"{layout.root}: runs already; stop it with make cluster-down")
        if len(os.fsencode(layout.database_socket)) > _LONGEST_SOCKET:
            raise UsageError(f"{layout.root}: the path is too long for Unix sockets")
        self._clear()
        for folder in layout.folders():
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o755)
        for name in map(node_name, range(self.shape.nodes)):
            (layout.scratch / name).mkdir()
            (layout.scratch / name).chmod(0o1777)
        password, ports = secrets.token_hex(16), free_ports(self.shape.nodes)
        self._write_configuration(ports, password)
        try:
            tell("starting munge and MariaDB")
            self._start("munged", self._munged(), layout.munge_socket.exists)
            database.install(layout)
            server = database.server(layout, ports.database)
            self._start("mariadbd", server, layout.database_socket.exists)
            database.create(layout, password)
            tell("starting Slurm")
            self._start("slurmdbd", ["slurmdbd", "-D"], lambda: _listens(ports.database_daemon))
            self.start_controller()
            for name in map(node_name, range(self.shape.nodes)):
                self.start_node(name)
            self._wait("slurmctld", self._nodes_are_idle)
        except BaseException:
            self.down()
            raise

    def start_controller(self) -> None:
        """Start slurmctld, with the state that an earlier one has left."""
        self._start("slurmctld", ["slurmctld", "-D", "-i"], self._controller_answers)

    def start_node(self, name: str) -> None:
        """Start a node's slurmd; the node is there a moment later."""
        self._start(f"slurmd-{name}", ["slurmd", "-D", "-N", name], lambda: True)

    def _write_configuration(self, ports: Ports, password: str) -> None:
        layout, etc = self.layout, self.layout.slurm_conf.parent
        write_atomic(layout.munge_key, secrets.token_bytes(128), mode=0o600)
        text = configuration.slurmdbd_conf(layout, ports, password)
        write_atomic(etc / "slurmdbd.conf", text, mode=0o600)
        write_atomic(etc / "gres.conf", configuration.gres_conf(self.shape))
        write_atomic(etc / "cgroup.conf", configuration.cgroup_conf())
        write_atomic(layout.task_prolog, configuration.task_prolog(layout), mode=0o755)
        first_job_id = int(time.time()) % 50_000_000 + 1_000_000
        text = configuration.slurm_conf(layout, self.shape, ports, first_job_id)
        write_atomic(layout.slurm_conf, text)

    def _munged(self) -> list[str]:
        layout = self.layout
        return [
            "munged",
            "--foreground",
            "--force",  # the folders are a plain user's, which it would refuse
            f"--key-file={layout.munge_key}",
            f"--socket={layout.munge_socket}",
            f"--pid-file={layout.pid('munged')}",
            f"--log-file={layout.log('munge')}",
            f"--seed-file={layout.root / 'run' / 'munge.seed'}",
        ]

    def _start(self, name: str, command: list[str], ready: Callable[[], bool]) -> None:
        """Start a daemon in a session of its own, note its pid, and wait until it is ready."""
        with self.layout.output(name).open("ab") as output, signals_wait():
            process = subprocess.Popen(
                [path_of(command[0]), *command[1:]],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=_clean_environment() | self.environment(),
                cwd=self.layout.root,
                start_new_session=True,
            )
            try:
                known = read_if_there(self.layout.processes)
                write_json(self.layout.processes, {**known, name: asdict(Watched.of(process.pid))})
            except BaseException:  # `down` would not know of it
                stop_tree(process.pid, _STOP_S)
                raise
        self._wait(name, ready)

    def _wait(self, name: str, ready: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _START_S
        while not ready():
            if name not in self.daemons() or time.monotonic() > deadline:
                why = "ended at once" if name not in self.daemons() else "does not answer"
                raise UsageError(f"{name} {why}: {_last_line(self.layout, name)}")
            time.sleep(_POLL_S)

    def _controller_answers(self) -> bool:
        try:
            return "is UP" in self.slurm("scontrol", "ping")
        except subprocess.SubprocessError:
            return False

    def _nodes_are_idle(self) -> bool:
        try:
            states = self.slurm("sinfo", "-h", "-N", "-p", configuration.NORMAL, "-o", "%T").split()
        except subprocess.SubprocessError:
            return False
        return states == ["idle"] * self.shape.nodes

    # --- down --------------------------------------------------------------------------------

    def down(self) -> None:
        """Stop its jobs and daemons and remove its state; logs stay."""
        if "slurmctld" in self.daemons():
            self._cancel_jobs()
        for process in reversed(self.daemons().values()):
            stop_tree(process.pid, _STOP_S)
        for pid in self._jobs_left():
            stop_tree(pid, _STOP_S)
        self._clear()

    def _clear(self) -> None:
        self.layout.processes.unlink(missing_ok=True)
        for folder in self.layout.folders():
            if folder != self.layout.logs:
                shutil.rmtree(folder, ignore_errors=True)

    def _cancel_jobs(self) -> None:
        """Ask all jobs to end, and give them the time that Slurm gives them."""
        deadline = time.monotonic() + _STOP_S
        try:
            ids = self.slurm("squeue", "-h", "-o", "%A").split()
            if ids:
                self.slurm("scancel", *ids)
            while self.slurm("squeue", "-h", "-o", "%A").split() and time.monotonic() < deadline:
                time.sleep(0.2)
        except subprocess.SubprocessError:
            return

    def _jobs_left(self) -> list[int]:
        """Processes of this cluster's jobs that are still there: their environment says so."""
        left = []
        for process in psutil.process_iter():
            try:
                variables = process.environ()
            except (psutil.Error, OSError):
                continue
            ours = variables.get("SLURM_CONF") == str(self.layout.slurm_conf)
            if ours and "SLURM_JOB_ID" in variables and process.pid != os.getpid():
                left.append(process.pid)
        return left


def free_ports(nodes: int) -> Ports:
    """Ports that nobody has, drawn by lot; different from each other."""
    drawn = random.SystemRandom().sample(_PORTS, len(_PORTS))  # others may have the same seed
    controller, daemon, database_port, *rest = islice(filter(_is_free, drawn), 3 + nodes)
    return Ports(controller, daemon, database_port, tuple(rest))


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _clean_environment() -> dict[str, str]:
    """Without the variables of a job or of another cluster: this may run inside one."""
    return {name: value for name, value in os.environ.items() if not name.startswith("SLURM")}


def _last_line(layout: Layout, daemon: str) -> str:
    """What a daemon said last: on its output until it has opened its log."""
    for path in (layout.log(daemon), layout.output(daemon)):
        if path.is_file() and path.stat().st_size:
            text = path.read_text(encoding="utf-8", errors="replace")
            return f"{text.strip().splitlines()[-1]} (log: {path})"
    return f"it said nothing (log: {layout.output(daemon)})"
