"""`python -m jobs.minicluster up|down|status|packages`: a real Slurm on this machine."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from geoagent.errors import UsageError, exit_code
from geoagent.files import short
from jobs.minicluster.cluster import MiniCluster
from jobs.minicluster.layout import Shape
from jobs.minicluster.packages import install

_FOLDER: Final = Path(".minicluster")
_EXAMPLES: Final = """examples:
  python -m jobs.minicluster packages        install Slurm, munge and MariaDB (Debian, as root)
  python -m jobs.minicluster up --nodes 4
  export SLURM_CONF=$PWD/.minicluster/etc/slurm.conf
  python -m jobs submit sft grpo eval recipe=demo cluster=mini name=first
  python -m jobs.minicluster down
"""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m jobs.minicluster",
        description="A real Slurm on this machine: three nodes, three partitions, accounting.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", choices=("up", "down", "status", "packages"))
    parser.add_argument("--dir", type=Path, default=_FOLDER, help=f"its folder ({_FOLDER})")
    shape = Shape()
    parser.add_argument("--nodes", type=int, default=shape.nodes, help=f"how many ({shape.nodes})")
    options = parser.parse_args(arguments)
    cluster = MiniCluster(options.dir, Shape(nodes=options.nodes))
    commands = {"up": _up, "down": _down, "status": _status}
    try:
        if options.command == "packages":
            return exit_code(_packages)
        return exit_code(lambda: commands[options.command](cluster))
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130


def _packages() -> int:
    install()
    return 0


def _up(cluster: MiniCluster) -> int:
    started = time.monotonic()
    cluster.up(lambda message: print(message, file=sys.stderr, flush=True))
    print(cluster.slurm("sinfo", "-o", "%P %D %t %c CPUs %m MB %G"), end="", file=sys.stderr)
    print(f"up in {time.monotonic() - started:.1f} s; use it with:", file=sys.stderr)
    print(f"export SLURM_CONF={cluster.layout.slurm_conf}")
    return 0


def _down(cluster: MiniCluster) -> int:
    running = cluster.daemons()
    cluster.down()
    ended = f"stopped {len(running)} daemons" if running else "nothing was running"
    print(f"{ended}; logs: {short(cluster.layout.logs)}", file=sys.stderr)
    return 0


def _status(cluster: MiniCluster) -> int:
    if not cluster.daemons():
        raise UsageError(f"{short(cluster.layout.root)}: no cluster runs there; make cluster-up")
    print(cluster.slurm("sinfo", "-N", "-l"), cluster.slurm("squeue"), sep="\n", end="")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
