"""Where the agent listens."""

from __future__ import annotations

import socket

import pytest

from geoagent.agent import server
from geoagent.agent.server import listen_address
from geoagent.errors import UsageError


def test_outside_a_job_only_this_machine_reaches_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    assert listen_address() == "127.0.0.1"


@pytest.mark.parametrize(
    ("name", "resolved", "expected"),
    [
        ("node7", "10.1.2.7", "10.1.2.7"),
        ("node7", "127.0.1.1", "10.9.9.9"),  # /etc/hosts of a Debian
        ("127.0.1.2", "127.0.1.2", "127.0.1.2"),  # a node of the mini cluster
    ],
)
def test_in_a_job_at_the_nodes_address(
    name: str, resolved: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    monkeypatch.setenv("SLURMD_NODENAME", name)
    monkeypatch.setattr(socket, "gethostbyname", lambda asked: resolved)
    monkeypatch.setattr(server, "_outward_address", lambda: "10.9.9.9")
    assert listen_address() == expected


def test_a_node_without_an_address_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    monkeypatch.setenv("SLURMD_NODENAME", "no-such-node.invalid")

    def fail(asked: str) -> str:
        raise socket.gaierror("Name or service not known")

    monkeypatch.setattr(socket, "gethostbyname", fail)
    with pytest.raises(UsageError, match=r"no-such-node.invalid: the name of this node"):
        listen_address()


def test_an_outward_address_is_one() -> None:
    assert socket.inet_aton(server._outward_address())
