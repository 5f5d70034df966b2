"""What a mini cluster is and where its files are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

NORMAL: Final = "normal"
LOW: Final = "low"
"""Jobs of this partition are stopped and requeued when one of the first wants their nodes."""
SCAVENGE: Final = "scavenge"
"""Here they are stopped and cancelled."""


@dataclass(frozen=True)
class Shape:
    """Size of the cluster; nodes have more CPUs and memory than the machine, on paper."""

    nodes: int = 3
    cpus: int = 8
    """A node."""
    memory_mb: int = 16000
    """A node."""
    gpus: int = 2
    """A node; they are device files without a device behind them."""
    max_array_size: int = 1001
    preempt_signal: bool = True
    """Whether a job that is pre-empted gets its warning signal, which few clusters switch on."""


@dataclass(frozen=True)
class Ports:
    """Free ports of the loopback device, one for each daemon that listens."""

    controller: int
    database_daemon: int
    database: int
    nodes: tuple[int, ...]


@dataclass(frozen=True)
class Layout:
    """Names of the files of a cluster."""

    root: Path

    @property
    def slurm_conf(self) -> Path:
        return self.root / "etc" / "slurm.conf"

    @property
    def munge_key(self) -> Path:
        return self.root / "etc" / "munge.key"

    @property
    def munge_socket(self) -> Path:
        return self.root / "run" / "munge.socket"

    @property
    def database(self) -> Path:
        return self.root / "database"

    @property
    def database_socket(self) -> Path:
        return self.root / "run" / "mariadb.socket"

    @property
    def processes(self) -> Path:
        """What was started: pid and start time of each daemon."""
        return self.root / "processes.json"

    @property
    def logs(self) -> Path:
        return self.root / "log"

    @property
    def task_prolog(self) -> Path:
        return self.root / "etc" / "task_prolog"

    @property
    def scratch(self) -> Path:
        """Folders of the nodes that only they use."""
        return self.root / "scratch"

    def log(self, daemon: str) -> Path:
        """What the daemon writes itself."""
        return self.logs / f"{daemon}.log"

    def output(self, daemon: str) -> Path:
        """Its standard output and error."""
        return self.logs / f"{daemon}.out"

    def spool(self, node: str) -> Path:
        """Where the node keeps the sockets and scripts of its jobs."""
        return self.root / "spool" / node

    def pid(self, daemon: str) -> Path:
        return self.root / "run" / f"{daemon}.pid"

    def folders(self) -> tuple[Path, ...]:
        names = ("etc", "run", "log", "state", "spool", "database", "scratch")
        return tuple(self.root / name for name in names)


def node_name(index: int) -> str:
    """Nodes are named by addresses of the loopback device: such names resolve everywhere, so a
    rendezvous by `scontrol show hostnames` works without entries in /etc/hosts."""
    return f"127.0.{1 + index // 250}.{1 + index % 250}"
