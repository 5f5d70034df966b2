"""Online search: asked politely, once, and a failure of it is never "nothing found"."""

from __future__ import annotations

import asyncio
import json
import logging
import multiprocessing
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from search_server import KEY, SearchServer, bomb

from geoagent.config import SearchConfig
from geoagent.errors import OutageError, UsageError
from geoagent.rollout import services
from geoagent.rollout.search import SearchUnavailable, provider
from geoagent.rollout.services import KEY_VARIABLE, SERVICES, WebSearch
from tests.loopback import Reply, nobody


@pytest.fixture
def server() -> Iterator[SearchServer]:
    server = SearchServer()
    yield server
    server.close()


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("WORLD_SIZE", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    monkeypatch.setattr(services, "_FIRST_PAUSE_S", 0.01)
    yield
    for name in services._LOGGERS:
        logging.getLogger(name).filters.clear()


@pytest.fixture
def settings(server: SearchServer, tmp_path: Path) -> SearchConfig:
    return SearchConfig(
        provider="tavily",
        url=server.url,
        min_delay_seconds=0.0,
        timeout_s=5.0,
        patience_s=0.3,
        cache=str(tmp_path / "cache"),
    )


@pytest.mark.parametrize("name", SERVICES)
def test_each_service_is_asked_and_read_as_its_documentation_says(
    settings: SearchConfig, server: SearchServer, name: str
) -> None:
    search = provider(replace(settings, provider=name))
    found = search.search("  Huaraz\n", limit=1)
    assert [(one.title, one.snippet, one.url) for one in found] == [
        ("Huaraz & around", "A city in Ancash.", "https://example.org/huaraz")
    ]
    assert search.search("no such place") == []
    assert server.queries == ["Huaraz", "no such place"]


def test_a_question_is_asked_once_and_its_answer_serves_every_limit(
    settings: SearchConfig, server: SearchServer
) -> None:
    search = WebSearch(settings)
    assert [len(search.search("Huaraz", limit)) for limit in (1, 10)] == [1, 2]
    assert len(WebSearch(settings).search("Huaraz")) == 2  # another process, as it were
    assert len(server.queries) == 1
    assert len(WebSearch(replace(settings, url=server.url + "/")).search("Huaraz")) == 2
    assert len(server.queries) == 2  # another server, another answer


def test_equal_questions_at_the_same_time_are_one(
    settings: SearchConfig, server: SearchServer
) -> None:
    server.answer = lambda query, number: Reply(wait_s=0.2)

    async def ask() -> list[Any]:
        search = WebSearch(settings)
        return await asyncio.gather(*(search.asearch("Huaraz") for _ in range(8)))

    assert [len(found) for found in asyncio.run(ask())] == [2] * 8
    assert len(server.queries) == 1


def test_different_questions_overlap_in_any_loop(
    settings: SearchConfig, server: SearchServer
) -> None:
    server.answer = lambda query, number: Reply(wait_s=0.3)
    search = WebSearch(settings)

    async def ask(name: str) -> None:
        await asyncio.gather(*(search.asearch(f"{name} {number}") for number in range(16)))

    asyncio.run(ask("a"))
    assert server.most > 4
    asyncio.run(ask("b"))  # another loop
    assert search.search("Huaraz")  # none
    assert len(server.queries) == 33


def test_after_a_fork(settings: SearchConfig, server: SearchServer) -> None:
    search = WebSearch(settings)
    assert search.search("France")
    context = multiprocessing.get_context("fork")
    told = context.SimpleQueue()
    child = context.Process(target=lambda: told.put(len(search.search("Huaraz"))))
    child.start()
    child.join(timeout=20)
    assert child.exitcode == 0
    assert told.get() == 2


def test_requests_keep_their_distance(settings: SearchConfig, server: SearchServer) -> None:
    search = WebSearch(replace(settings, min_delay_seconds=0.2))

    async def ask() -> None:
        await asyncio.gather(*(search.asearch(str(number)) for number in range(4)))

    begun = time.monotonic()
    asyncio.run(ask())
    assert len(server.times) == 4
    # One that was slow on its way may be close to the next, but none comes before its time.
    assert all(at - begun >= 0.2 * k - 0.01 for k, at in enumerate(server.times))


# --- failures --------------------------------------------------------------------------------

FAILURES = {
    "500": Reply(500, b"made to fail"),
    "429": Reply(429, b"{}"),
    "garbage": Reply(body=b"<html>Welcome"),
    "no object": Reply(body=b"[1, 2]"),
    "no results": Reply(body=b'{"results": "none"}'),
    "results of no objects": Reply(body=b'{"results": [1]}'),
    "deep": Reply(body=b"[" * 100_000),
    "not UTF-8": Reply(body=b"\xff\xfe{}"),
    "10 MB": Reply(body=b'{"results": [], "x": "' + b"x" * 10_000_000 + b'"}'),
    "hung up": Reply(hang_up=True),
    "too slow": Reply(wait_s=1.0),
    "a byte now and then": Reply(body=b" " * 9, pause_s=0.2),
    "bomb": bomb(),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_a_failure_is_an_outage_and_never_nothing_found(
    settings: SearchConfig, server: SearchServer, failure: str
) -> None:
    server.answer = lambda query, number: FAILURES[failure]
    search = WebSearch(replace(settings, timeout_s=0.5))
    with pytest.raises(SearchUnavailable, match="does not answer") as caught:
        search.search("Huaraz")
    assert isinstance(caught.value, OutageError)
    assert KEY not in f"{caught.value!r} {caught.value.__cause__!r} {caught.value.__context__!r}"
    server.answer = lambda query, number: None
    search._settings = settings  # and time enough
    assert len(search.search("Huaraz")) == 2  # nothing was kept of the failure


@pytest.mark.parametrize("failure", [name for name in FAILURES if name != "too slow"])
def test_what_passes_is_asked_again(
    settings: SearchConfig, server: SearchServer, failure: str
) -> None:
    server.answer = lambda query, number: FAILURES[failure] if number == 1 else None
    search = WebSearch(replace(settings, patience_s=20.0))
    assert len(search.search("Huaraz")) == 2
    assert len(server.queries) == 2


def test_nobody_is_there(settings: SearchConfig) -> None:
    with nobody() as port, pytest.raises(SearchUnavailable, match="ConnectError"):
        WebSearch(replace(settings, url=f"http://127.0.0.1:{port}")).search("Huaraz")


def test_retry_after_is_kept_to(settings: SearchConfig, server: SearchServer) -> None:
    wait = Reply(429, b"{}", {"Retry-After": "1"})
    server.answer = lambda query, number: wait if number == 1 else None
    assert WebSearch(replace(settings, patience_s=5.0)).search("Huaraz")
    assert server.times[1] - server.times[0] >= 1.0


def test_a_wait_beyond_the_patience_ends_at_once(
    settings: SearchConfig, server: SearchServer
) -> None:
    server.answer = lambda query, number: Reply(429, b"{}", {"Retry-After": "3600"})
    with pytest.raises(SearchUnavailable, match="HTTP 429, come back in 3600 s"):
        WebSearch(replace(settings, patience_s=60.0)).search("Huaraz")
    assert len(server.queries) == 1


def test_a_used_up_plan_ends_at_once(settings: SearchConfig, server: SearchServer) -> None:
    server.answer = lambda query, number: Reply(432, b"{}")
    with pytest.raises(SearchUnavailable, match=r"HTTP 432.*used up"):
        WebSearch(replace(settings, patience_s=60.0)).search("Huaraz")
    assert len(server.queries) == 1


def test_search_engines_that_are_away_have_not_found_nothing(
    settings: SearchConfig, server: SearchServer
) -> None:
    body = b'{"results": [], "unresponsive_engines": [["brave", "timeout"]]}'
    server.answer = lambda query, number: Reply(body=body)
    with pytest.raises(SearchUnavailable, match="search engines behind it"):
        WebSearch(replace(settings, provider="searxng")).search("Huaraz")


def test_a_refused_question_has_no_results_if_another_one_has(
    settings: SearchConfig, server: SearchServer
) -> None:
    server.answer = lambda query, number: Reply(400, b"{}") if query == "odd" else None
    search = WebSearch(settings)
    assert search.search("odd") == []
    assert server.queries == ["odd", "France"]
    server.answer = lambda query, number: Reply(400, b"{}")
    with pytest.raises(SearchUnavailable, match="HTTP 400"):
        search.search("odder")


# --- keys and addresses ----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["tavily", "brave"])
def test_a_wrong_key_is_told_at_once(
    settings: SearchConfig, server: SearchServer, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY_VARIABLE, "wrong-key")
    with pytest.raises(UsageError, match=rf"{name} refuses the key.*{KEY_VARIABLE}") as caught:
        WebSearch(replace(settings, provider=name)).search("Huaraz")
    assert "wrong-key" not in str(caught.value)
    assert len(server.queries) == 1


@pytest.mark.parametrize("key", ["", "  ", "clé", "two words", "line\nend"])
def test_no_usable_key_is_told_before_anything_is_sent(
    settings: SearchConfig, server: SearchServer, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY_VARIABLE, key)
    with pytest.raises(UsageError, match=KEY_VARIABLE) as caught:
        WebSearch(settings)
    assert not key.strip() or key not in str(caught.value)


def test_the_key_from_a_file_that_others_cannot_read(
    settings: SearchConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(KEY_VARIABLE)
    path = tmp_path / "key"
    path.write_text(KEY + "\n")
    path.chmod(0o644)
    with pytest.raises(UsageError, match=r"rollout.search.key_file: .* chmod 600"):
        WebSearch(replace(settings, key_file=str(path)))
    path.chmod(0o600)
    assert WebSearch(replace(settings, key_file=str(path))).search("Huaraz")


@pytest.mark.parametrize("name", ["tavily", "brave"])
def test_the_key_is_in_no_log_and_no_file(
    settings: SearchConfig,
    server: SearchServer,
    name: str,
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
) -> None:
    caplog.set_level(logging.DEBUG)
    echo = {"X-Echo": KEY}
    server.answer = lambda query, number: Reply(500, KEY.encode(), echo) if number == 1 else None
    search = WebSearch(replace(settings, provider=name, patience_s=5.0))
    search.search("Huaraz")
    assert any(record.name.startswith("http") for record in caplog.records)
    assert KEY not in caplog.text
    kept = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert kept
    assert not any(KEY.encode() in file.read_bytes() for file in kept)
    assert all(KEY not in path for path in server.paths)


def test_redirects_are_not_followed(settings: SearchConfig, server: SearchServer) -> None:
    elsewhere = SearchServer()
    try:
        there = {"Location": f"{elsewhere.url}/search"}
        server.answer = lambda query, number: Reply(307, b"", there)
        with pytest.raises(UsageError, match=r"sends elsewhere \(HTTP 307\)"):
            WebSearch(settings).search("Huaraz")
        assert elsewhere.queries == []
    finally:
        elsewhere.close()


@pytest.mark.parametrize(
    "query", ["http://127.0.0.1:9/x", "file:///etc/passwd", "../../admin?x=1#y", "@evil.example/"]
)
@pytest.mark.parametrize("name", SERVICES)
def test_a_query_never_changes_what_is_fetched(
    settings: SearchConfig, server: SearchServer, query: str, name: str
) -> None:
    assert WebSearch(replace(settings, provider=name)).search(query) == []
    assert server.queries == [query]
    assert server.paths[0].partition("?")[0] == SERVICES[name].path


def test_results_are_plain_text_of_bounded_length(
    settings: SearchConfig, server: SearchServer
) -> None:
    row = {"title": "a\x1b[31m\nb\u202e" + "x" * 9999, "content": "y" * 9999, "url": "https://x"}
    rows = [row, {**row, "title": None, "content": 7}, {"title": "no address"}]
    body = json.dumps({"results": rows * 20}).encode()
    server.answer = lambda query, number: Reply(body=body)
    found = WebSearch(settings).search("Huaraz", limit=20)
    assert len(found) == 20
    assert found[0].title.startswith("a [31m bxxx")
    assert (len(found[0].title), len(found[0].snippet)) == (200, 600)
    assert (found[1].title, found[1].snippet) == ("", "")


def test_answers_that_are_no_answers_are_asked_again(
    settings: SearchConfig, server: SearchServer
) -> None:
    search = WebSearch(settings)
    search._answers["Huaraz"] = {"results": [{"title": "x"}]}
    assert len(search.search("Huaraz")) == 2


def test_one_service_a_process(settings: SearchConfig) -> None:
    assert provider(settings) is provider(replace(settings))
    assert provider(settings) is not provider(replace(settings, timeout_s=1.0))
    assert os.environ[KEY_VARIABLE] == KEY
