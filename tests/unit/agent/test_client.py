"""The agent's client: concurrent, sparing, patient, and honest about failures."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from geoagent.agent.client import AgentClient, external_endpoint, make_client
from geoagent.agent.endpoint import Endpoint, endpoint_file, read_endpoints
from geoagent.agent.prompt import HEALTH, MAX_REASONING, Question, messages, read_reply, schema
from geoagent.config import AgentConfig
from geoagent.errors import OutageError, UsageError

from .stub import TOKEN, Given, StubServer, reply

SETTINGS = AgentConfig(patience_s=1.5, request_timeout_s=5.0, retries=2, concurrency=16)
Answer = Callable[[dict[str, Any], int], Given]


@pytest.fixture
def stub() -> Iterator[Callable[..., StubServer]]:
    made: list[StubServer] = []

    def make(answer: Answer = lambda body, number: reply(body), delay_s: float = 0.0) -> StubServer:
        made.append(StubServer(answer, delay_s))
        return made[-1]

    yield make
    for server in made:
        server.close()


def well_but(content: str | int) -> Answer:
    """Answers the question that any agent can, and gives everything else this reply."""
    return lambda body, number: reply(body) if asks_health(body) else content


def asks_health(body: dict[str, Any]) -> bool:
    return bool(body["messages"] == messages(HEALTH))


def questions(count: int) -> list[Question]:
    return [Question("country", f"reasoning number {number}") for number in range(count)]


def test_all_at_once_within_the_bound(stub: Callable[..., StubServer]) -> None:
    server = stub(delay_s=0.15)
    client = AgentClient(replace(SETTINGS, concurrency=8), endpoints=[server.endpoint])
    client.check()  # what is imported for the first request is no part of its time
    started = time.monotonic()
    judgements = client.ask(questions(24))
    assert [judgement.conclusion for judgement in judgements] == ["France"] * 24
    assert 3 <= server.most_at_once <= 8
    assert time.monotonic() - started < 24 * 0.15  # serial cannot be less


def test_each_distinct_question_once(stub: Callable[..., StubServer], tmp_path: Path) -> None:
    server = stub()
    client = AgentClient(SETTINGS, tmp_path, endpoints=[server.endpoint])
    client.ask(questions(3) * 5)
    client.ask(questions(4))
    assert len(server.requests) == 4
    assert (client.stats.asked, client.stats.distinct, client.stats.answered) == (19, 4, 4)
    # Another process of the run knows the answers; a cut last line is no harm.
    with (tmp_path / "answers.jsonl").open("a") as file:
        file.write('{"key": "cut')
    second = AgentClient(SETTINGS, tmp_path, endpoints=[server.endpoint])
    assert second.ask(questions(4))[0].conclusion == "France"
    assert len(server.requests) == 4


def test_order_is_kept(stub: Callable[..., StubServer]) -> None:
    def answer(body: dict[str, Any], number: int) -> str:
        time.sleep(0.05 if number % 2 else 0.0)
        return reply(body, body["messages"][-1]["content"].split("number ")[1].split("\n")[0])

    client = AgentClient(SETTINGS, endpoints=[stub(answer).endpoint])
    assert [j.conclusion for j in client.ask(questions(9))] == [str(n) for n in range(9)]


UNUSABLE = [
    ("no JSON", "not JSON"),
    ("[]", "id"),
    ('{"id": "wrong", "Conclusion": "x"}', "id"),
    (json.dumps({"id": questions(9)[8].id, "Conclusion": "Peru"}), "id"),  # of another question
    (400, "HTTP 400"),
    (500, "HTTP 500"),
    (302, "HTTP 302"),
]


@pytest.mark.parametrize(("content", "reason"), UNUSABLE)
def test_an_unusable_reply_is_a_failure_not_an_answer(
    stub: Callable[..., StubServer], content: str | int, reason: str
) -> None:
    server = stub(well_but(content))
    client = AgentClient(SETTINGS, endpoints=[server.endpoint])
    (judgement,) = client.ask(questions(1))
    assert judgement.failed
    assert judgement.conclusion is None
    assert reason in (judgement.reason or "")
    asked = [body for body in server.requests if not asks_health(body)]
    assert [body["seed"] for body in asked] == [0, 1, 2]
    assert len(server.requests) == 2 * len(asked)  # each time it has shown that it is well
    assert client.stats.invalid == 1
    client.ask(questions(1))  # a failure is not remembered
    assert len(server.requests) == 4 * len(asked)


@pytest.mark.parametrize(("content", "reason"), UNUSABLE)
def test_a_server_that_can_answer_nothing_is_away(
    stub: Callable[..., StubServer], content: str | int, reason: str
) -> None:
    """Whatever it sends: no question is to blame, however often it was asked."""
    settings = replace(SETTINGS, patience_s=0.3)
    client = AgentClient(settings, endpoints=[stub(lambda body, number: content).endpoint])
    with pytest.raises(OutageError, match=reason):
        client.ask(questions(1))
    assert client.stats.invalid == 0


@pytest.mark.parametrize(("content", "reason"), UNUSABLE)
def test_what_a_server_sends_while_it_is_away_is_nobodys_answer(
    stub: Callable[..., StubServer], content: str | int, reason: str
) -> None:
    """More requests fail than a question has retries; then it is back."""
    server = stub(lambda body, number: content if number <= 20 else reply(body))
    settings = replace(SETTINGS, patience_s=60, concurrency=5)
    client = AgentClient(settings, endpoints=[server.endpoint])
    judgements = client.ask(questions(5))
    assert [judgement.conclusion for judgement in judgements] == ["France"] * 5
    assert client.stats.invalid == 0


def test_a_replica_that_can_answer_nothing_gets_little(stub: Callable[..., StubServer]) -> None:
    """It is quick at it, and would else have the fewest questions under way all the time."""
    broken, slow = stub(lambda body, number: "no JSON"), stub(delay_s=0.1)
    settings = replace(SETTINGS, patience_s=60, concurrency=4)
    client = AgentClient(settings, endpoints=[broken.endpoint, slow.endpoint])
    assert [j.conclusion for j in client.ask(questions(20))] == ["France"] * 20
    assert len(broken.requests) < 20


def test_a_body_that_is_no_completion(stub: Callable[..., StubServer]) -> None:
    server = stub(lambda body, number: b"[" * 100_000 if number <= 2 else reply(body))
    client = AgentClient(replace(SETTINGS, patience_s=60), endpoints=[server.endpoint])
    assert client.ask(questions(1))[0].conclusion == "France"


def test_a_server_that_takes_connections_and_never_answers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = Endpoint(f"http://127.0.0.1:{silent.getsockname()[1]}/v1", "m", TOKEN)
        settings = replace(SETTINGS, request_timeout_s=0.3, patience_s=0.5)
        with pytest.raises(OutageError, match="no reply within"):
            AgentClient(settings, endpoints=[endpoint]).ask(questions(1))


def test_a_server_that_answers_for_ever(stub: Callable[..., StubServer]) -> None:
    """A byte now and then is no sign of life."""

    def drip(body: dict[str, Any], number: int) -> Given:
        return reply(body) if number > 1 else slowly()

    def slowly() -> Iterator[bytes]:
        for _ in range(600):
            time.sleep(0.1)
            yield b" "

    settings = replace(SETTINGS, request_timeout_s=1.0, patience_s=60)
    client = AgentClient(settings, endpoints=[stub(drip).endpoint])
    started = time.monotonic()
    assert client.ask(questions(1))[0].conclusion == "France"
    assert time.monotonic() - started < 30
    assert client.stats.retried >= 1


def test_a_retry_can_save_it(stub: Callable[..., StubServer]) -> None:
    server = stub(lambda body, number: reply(body) if number > 1 else "no JSON")
    client = AgentClient(SETTINGS, endpoints=[server.endpoint])
    assert client.ask(questions(1))[0].conclusion == "France"
    assert client.stats.retried == 1


def test_another_replica_takes_over(stub: Callable[..., StubServer]) -> None:
    broken, healthy = stub(lambda body, number: 503), stub()
    client = AgentClient(SETTINGS, endpoints=[broken.endpoint, healthy.endpoint])
    assert not any(judgement.failed for judgement in client.ask(questions(10)))
    assert len(healthy.requests) == 10


def test_a_slow_replica_gets_less(stub: Callable[..., StubServer]) -> None:
    slow, fast = stub(delay_s=0.5), stub(delay_s=0.02)
    settings = replace(SETTINGS, concurrency=4)
    AgentClient(settings, endpoints=[slow.endpoint, fast.endpoint]).ask(questions(40))
    assert len(fast.requests) > 2 * len(slow.requests)


def test_an_outage_is_never_an_answer() -> None:
    said: list[str] = []
    nobody = Endpoint("http://127.0.0.1:9/v1", "none", TOKEN)
    client = AgentClient(SETTINGS, endpoints=[nobody], on_wait=said.append)
    with pytest.raises(OutageError) as caught:
        client.ask(questions(3))
    assert "has not answered for" in str(caught.value)
    assert "nothing was scored" in str(caught.value)
    assert said
    assert "waiting for the consistency agent" in said[0]
    assert client.stats.answered == 0


def test_no_agent_at_all(tmp_path: Path) -> None:
    with pytest.raises(OutageError, match="no agent has announced itself"):
        AgentClient(SETTINGS, tmp_path).ask(questions(1))


def test_a_wrong_token_is_an_outage(stub: Callable[..., StubServer]) -> None:
    endpoint = replace(stub().endpoint, token="wrong")
    with pytest.raises(OutageError, match=r"refuses the token \(401\)") as caught:
        AgentClient(SETTINGS, endpoints=[endpoint]).ask(questions(1))
    assert "wrong" not in str(caught.value)


def test_a_token_that_no_header_can_carry_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = replace(SETTINGS, backend="external", url="http://127.0.0.1:9/v1")
    monkeypatch.setenv("GEOAGENT_AGENT_TOKEN", "se\tcret")
    with pytest.raises(UsageError, match="GEOAGENT_AGENT_TOKEN: a key has letters") as caught:
        external_endpoint(settings)
    assert "cret" not in str(caught.value)
    monkeypatch.setenv("GEOAGENT_AGENT_TOKEN", "secret\r\n")  # of a file with lines
    assert external_endpoint(settings).token == "secret"


def test_an_external_agents_wrong_token_is_said_at_once(stub: Callable[..., StubServer]) -> None:
    settings = replace(SETTINGS, backend="external", patience_s=60)
    endpoint = replace(stub().endpoint, token="wrong")
    started = time.monotonic()
    with pytest.raises(UsageError, match="GEOAGENT_AGENT_TOKEN"):
        AgentClient(settings, endpoints=[endpoint]).ask(questions(3))
    assert time.monotonic() - started < 5


def test_an_external_agent_without_the_model_is_said_at_once(
    stub: Callable[..., StubServer],
) -> None:
    settings = replace(SETTINGS, backend="external", patience_s=60)
    endpoint = stub(lambda body, number: 404).endpoint
    with pytest.raises(UsageError, match=r"no chat model .* there \(HTTP 404.*agent\.model=…"):
        AgentClient(settings, endpoints=[endpoint]).ask(questions(1))


def test_a_question_that_a_server_cannot_take_is_a_failure(
    stub: Callable[..., StubServer],
) -> None:
    def answer(body: dict[str, Any], number: int) -> str | int:
        return 500 if "number 1" in body["messages"][-1]["content"] else reply(body)

    client = AgentClient(replace(SETTINGS, patience_s=60), endpoints=[stub(answer).endpoint])
    judgements = client.ask(questions(3))
    assert [judgement.failed for judgement in judgements] == [False, True, False]
    assert "HTTP 500" in (judgements[1].reason or "")


@pytest.mark.parametrize("row", ['{"key": "k", "conclusion": 5}', '{"key": 1}', "[]", "7", ""])
def test_kept_answers_that_are_not_ours_are_passed_over(
    stub: Callable[..., StubServer], tmp_path: Path, row: str
) -> None:
    key = AgentClient(SETTINGS)._key(questions(1)[0])
    (tmp_path / "answers.jsonl").write_text(row.replace('"k"', f'"{key}"') + "\n")
    client = AgentClient(SETTINGS, tmp_path, endpoints=[stub().endpoint])
    assert client.ask(questions(1))[0].conclusion == "France"


def test_an_agent_that_comes_back_elsewhere(
    stub: Callable[..., StubServer], tmp_path: Path
) -> None:
    Endpoint("http://127.0.0.1:9/v1", "gone", TOKEN).write(endpoint_file(tmp_path, 0))
    server = stub()
    client = AgentClient(replace(SETTINGS, patience_s=60), tmp_path)

    def come_back() -> None:
        while not client.stats.retried:
            time.sleep(0.02)
        server.endpoint.write(endpoint_file(tmp_path, 0))

    threading.Thread(target=come_back, daemon=True).start()
    assert client.ask(questions(2))[0].conclusion == "France"
    assert client.stats.retried > 0


def test_inside_a_running_event_loop(stub: Callable[..., StubServer]) -> None:
    client = AgentClient(SETTINGS, endpoints=[stub().endpoint])

    async def training() -> str | None:
        return client.ask(questions(1))[0].conclusion

    assert asyncio.run(training()) == "France"
    client.close()


def test_endpoint_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    endpoint = Endpoint("http://127.0.0.1:1/v1", "m", TOKEN)
    endpoint.write(endpoint_file(tmp_path, 0))
    assert endpoint_file(tmp_path, 0).stat().st_mode & 0o777 == 0o600
    (tmp_path / "endpoint-1.json").write_text("{")
    (tmp_path / "endpoint-2.json").write_text('{"url": 1, "more": 2}')
    (tmp_path / "endpoint-3.json").write_text(
        '{"url": "u", "model": "m", "token": "t", "expires": "soon"}'
    )
    (found,) = read_endpoints(tmp_path)
    assert found.token == TOKEN
    monkeypatch.setattr(time, "time", lambda: found.expires + 1)
    assert read_endpoints(tmp_path) == []


def test_the_token_is_in_no_log(
    stub: Callable[..., StubServer], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    server = stub()
    AgentClient(SETTINGS, endpoints=[server.endpoint]).ask(questions(1))
    assert TOKEN not in caplog.text
    assert TOKEN not in repr(server.endpoint)


def test_stats_are_written(stub: Callable[..., StubServer], tmp_path: Path) -> None:
    client = AgentClient(SETTINGS, endpoints=[stub().endpoint])
    client.write_stats(tmp_path / "stats.json")
    assert not (tmp_path / "stats.json").exists()
    client.ask(questions(2))
    client.write_stats(tmp_path / "stats.json")
    assert json.loads((tmp_path / "stats.json").read_text())["asked"] == 2


def test_external_agent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    settings = AgentConfig(backend="external", url="http://judge/v1/", model="qwen")
    monkeypatch.delenv("GEOAGENT_AGENT_TOKEN", raising=False)
    with pytest.raises(UsageError, match=r"GEOAGENT_AGENT_TOKEN .* is empty"):
        make_client(settings, tmp_path)
    monkeypatch.setenv("GEOAGENT_AGENT_TOKEN", TOKEN)
    assert external_endpoint(settings) == Endpoint("http://judge/v1", "qwen", TOKEN)


def test_the_prompt_hides_the_own_conclusion_and_keeps_to_its_size() -> None:
    long = Question("region", "x" * 10_000 + "\ud800", (("country", "France"),))
    chat = messages(long)
    assert len(chat[-1]["content"]) < MAX_REASONING + 100
    assert "Which state or region of France?" in chat[-1]["content"]
    first, other = messages(Question("country", "a")), messages(Question("precise", "b"))
    assert first[:-1] == other[:-1]  # the prefix that servers keep
    question = Question("country", "a")
    assert schema(question)["properties"]["id"]["const"] == question.id
    assert question.id == Question("country", "a").id != Question("region", "a").id


def test_replies() -> None:
    question = Question("country", "a")
    assert read_reply(question, json.dumps({"id": question.id, "Conclusion": " Peru "})) == "Peru"
    for bad in ("", "null", json.dumps({"id": question.id}), "[" * 100_000):
        with pytest.raises(ValueError, match="reply"):
            read_reply(question, bad)


def test_check_is_neither_counted_nor_kept(stub: Callable[..., StubServer], tmp_path: Path) -> None:
    server = stub()
    client = AgentClient(SETTINGS, tmp_path, endpoints=[server.endpoint])
    client.check()
    client.check()
    assert len(server.requests) == 2
    assert (client.stats.asked, client.stats.distinct) == (0, 0)
    assert not (tmp_path / "answers.jsonl").exists()
    broken = AgentClient(SETTINGS, endpoints=[stub(lambda *_: "garbage").endpoint])
    with pytest.raises(OutageError, match="answers, but not as it is asked to"):
        broken.check()
