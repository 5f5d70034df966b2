"""The MariaDB behind slurmdbd, whose state is thrown away with the cluster."""

from __future__ import annotations

import os
import subprocess
from typing import Final

from jobs.minicluster.layout import Layout
from jobs.minicluster.packages import path_of

NAME: Final = "slurm"
"""Of the database and of its user."""


def install(layout: Layout) -> None:
    """Make an empty data directory (a second or two)."""
    command = [
        path_of("mariadb-install-db"),
        "--no-defaults",
        "--auth-root-authentication-method=normal",
        "--skip-test-db",
        f"--datadir={layout.database}",
        *_user(),
    ]
    with layout.output("mariadb-install-db").open("wb") as log:
        subprocess.run(command, stdout=log, stderr=log, check=True)


def server(layout: Layout, port: int) -> list[str]:
    """The server's command line; slurmdbd wants a port, which listens on the loopback only."""
    return [
        path_of("mariadbd"),
        "--no-defaults",
        *_user(),
        f"--datadir={layout.database}",
        "--bind-address=127.0.0.1",
        f"--port={port}",
        f"--socket={layout.database_socket}",
        f"--pid-file={layout.pid('mariadbd')}",
        "--innodb-buffer-pool-size=64M",
        "--innodb-log-file-size=16M",
        "--innodb-flush-log-at-trx-commit=0",
    ]


def create(layout: Layout, password: str) -> None:
    """Slurm's database, and a user who may do everything in it and nothing else; then root, who
    had no password, may not log in any more."""
    statements = "".join(
        f"CREATE USER '{NAME}'@'{host}' IDENTIFIED BY '{password}';"
        f"GRANT ALL ON {NAME}.* TO '{NAME}'@'{host}';"
        for host in ("localhost", "127.0.0.1")
    )
    lock = "ALTER USER 'root'@'localhost' ACCOUNT LOCK;"
    subprocess.run(
        [path_of("mariadb"), "--no-defaults", "-u", "root", f"--socket={layout.database_socket}"],
        input=f"CREATE DATABASE {NAME};{statements}{lock}".encode(),
        capture_output=True,
        check=True,
    )


def _user() -> list[str]:
    return ["--user=root"] if os.geteuid() == 0 else []
