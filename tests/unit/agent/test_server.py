"""Where the agent listens, and how its server is watched."""

from __future__ import annotations

import secrets
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from geoagent.agent import server
from geoagent.agent.endpoint import endpoint_file, read_endpoints
from geoagent.agent.server import listen_address, replies, serve
from geoagent.config import AgentConfig, Config, to_yaml
from geoagent.errors import OutageError, UsageError

from .stub import TOKEN, StubServer, reply


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


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Iterator[StubServer]:
    """A server that `serve` takes for one that it has started."""
    stub = StubServer(lambda body, number: reply(body))
    started = server._Server(stub.endpoint.url, "stub", lambda: True, lambda: None)
    monkeypatch.setattr(server, "_start", lambda settings, token, log: started)
    monkeypatch.setattr(secrets, "token_urlsafe", lambda size: TOKEN)
    monkeypatch.setattr(server, "RENEW_S", 0.05)
    yield stub
    stub.close()


@pytest.mark.parametrize(
    ("looks", "said"),
    [
        ([True, False, None], "has stopped by itself"),
        ([True, *[False] * 1000], "takes connections but has not replied for 5 s"),
    ],
)
@pytest.mark.usefixtures("stub")
def test_a_server_that_went_away_is_no_longer_announced(
    looks: list[bool | None], said: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """So that its job can start it again."""
    seen: list[int] = []

    def look(url: str) -> bool | None:
        seen.append(len(read_endpoints(tmp_path)))
        return looks[len(seen) - 1]

    monkeypatch.setattr(server, "replies", look)
    with pytest.raises(OutageError, match=said):
        serve(AgentConfig(request_timeout_s=5.0), tmp_path)
    assert seen[:3] == [0, 1, 1]  # one look without a reply is none too many
    assert not endpoint_file(tmp_path, 0).exists()


def test_a_look_at_a_server(stub: StubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    assert replies(stub.endpoint.url)
    monkeypatch.setattr(server, "_LOOK_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        assert replies(f"http://127.0.0.1:{port}/v1") is False
    assert replies(f"http://127.0.0.1:{port}/v1") is None


@pytest.mark.timeout(60)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_in_the_midst_of_a_wait_ends_it(
    number: signal.Signals, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The handler runs in the thread that waits, which may hold the event's lock just then."""
    ended: list[bool] = []

    def serve(
        settings: AgentConfig, folder: Path, replica: int, stop: threading.Event, **_: Any
    ) -> None:
        with stop._cond:
            signal.raise_signal(number)
        ended.append(stop.wait(30))

    monkeypatch.setattr(server, "serve", serve)
    (tmp_path / "config.yaml").write_text(to_yaml(Config()))
    before = {one: signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGINT)}
    try:
        assert server.main(["--run", str(tmp_path)]) == 0
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
    assert ended == [True]
