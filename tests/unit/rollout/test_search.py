"""The interface of search: queries, results, recording and replay."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoagent.config import SearchConfig, resolve
from geoagent.errors import UsageError
from geoagent.rollout import offline, search
from geoagent.rollout.search import (
    MOST,
    Recorder,
    Replay,
    Result,
    SearchProvider,
    clean,
    one_line,
    provider,
    result,
)


class Counted(SearchProvider):
    """Finds as many results as it was asked questions."""

    def __init__(self) -> None:
        self.queries: list[str] = []

    def find(self, query: str) -> list[Result]:
        self.queries.append(query)
        return [Result(query, "x", f"geo:{n},0") for n in range(len(self.queries))]


@given(st.text())
def test_a_clean_query_is_one_line_within_limits_and_stays_as_it_is(text: str) -> None:
    found = clean(text)
    assert len(found) <= 400
    assert len(found.split()) <= 50
    assert found == clean(found)
    assert found.isprintable()
    found.encode()


@given(st.text(), st.integers(1, 50))
def test_a_line_is_never_longer_than_it_may_be(text: str, most: int) -> None:
    line = one_line(text, most)
    assert len(line) <= most
    assert line == line.strip()
    assert line.isprintable()
    line.encode()


def test_words_of_a_line_stay() -> None:
    assert (
        one_line(" Plaza\tde\r\nArmas \x00 合肥市 می\u200cخواهم ", 100)
        == "Plaza de Armas 合肥市 میخواهم"
    )
    assert one_line(None, 5) == one_line(7, 5) == ""


@pytest.mark.parametrize("limit", [0, -1, MOST + 1])
def test_limits(limit: int) -> None:
    with pytest.raises(UsageError, match="1 to 20"):
        Counted().search("x", limit)


@pytest.mark.parametrize("query", ["", " \n\t", "\x00\ud800"])
def test_nothing_is_asked_without_words(query: str) -> None:
    search = Counted()
    assert search.search(query) == asyncio.run(search.asearch(query)) == []
    assert search.queries == []


# --- record and replay -----------------------------------------------------------------------


def test_what_is_recorded_is_replayed(tmp_path: Path) -> None:
    file, live = tmp_path / "new" / "searches.jsonl", Counted()
    recorder = Recorder(file, live)
    first = recorder.search(" Huaraz ")
    second = asyncio.run(recorder.asearch("<tool_call> Ärger\nmit 合肥"))
    assert recorder.search("Huaraz") == first
    assert live.queries == ["Huaraz", "<tool_call> Ärger mit 合肥"]
    replay = Replay(file)
    assert replay.search("Huaraz") == asyncio.run(replay.asearch("Huaraz\n")) == first
    assert replay.search("<tool_call> Ärger mit 合肥") == second
    assert replay.search("<tool_call> Ärger mit 合肥", 1) == second[:1]


def test_a_recording_goes_on_and_keeps_what_it_has(tmp_path: Path) -> None:
    file, live = tmp_path / "searches.jsonl", Counted()
    Recorder(file, live).search("Huaraz")
    again = Counted()
    recorder = Recorder(file, again)
    assert len(recorder.search("Huaraz")) == 1
    recorder.search("Lima")
    assert again.queries == ["Lima"]
    assert len(file.read_text().splitlines()) == 2


def test_of_two_processes_that_recorded_the_same_the_first_counts(tmp_path: Path) -> None:
    file = tmp_path / "searches.jsonl"
    one, other = Recorder(file, Counted()), Recorder(file, live := Counted())
    live.find("another one before")
    first, second = one.search("Huaraz"), other.search("Huaraz")
    assert first != second
    assert Replay(file).search("Huaraz") == first


def test_a_row_that_is_just_being_added_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "searches.jsonl"
    Recorder(file, Counted()).search("Huaraz")
    row = json.dumps({"query": "Lima", "results": []}) + "\n"
    left = [row[:20], row[20:]]

    def go_on(_: float) -> None:
        if left:
            file.write_text(file.read_text() + left.pop(0))

    monkeypatch.setattr(search, "time", SimpleNamespace(sleep=go_on))
    go_on(0)
    assert Replay(file).search("Lima") == []
    file.write_text(file.read_text() + row[:20])  # and nobody adds the rest
    with pytest.raises(UsageError, match=r"searches.jsonl:3: not JSON"):
        Recorder(file, Counted())
    file.write_text(file.read_text() + "\n")
    monkeypatch.delattr(search, "time")  # it is told at once
    with pytest.raises(UsageError, match=r"searches.jsonl:3: not JSON"):
        Replay(file)


def test_equal_questions_at_once_are_recorded_once(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "searches.jsonl", Counted())

    async def ask() -> list[list[Result]]:
        return await asyncio.gather(*(recorder.asearch("Huaraz") for _ in range(5)))

    answers = asyncio.run(ask())
    assert all(answer == answers[0] for answer in answers)
    assert Replay(tmp_path / "searches.jsonl").search("Huaraz") == answers[0]
    assert len((tmp_path / "searches.jsonl").read_text().splitlines()) == 1


def test_replay_refuses_what_was_not_recorded(tmp_path: Path) -> None:
    file = tmp_path / "searches.jsonl"
    Recorder(file, Counted()).search("Huaraz")
    with pytest.raises(UsageError, match=r"replay: .*searches.jsonl has no results of 'Lima'; rec"):
        Replay(file).search("Lima")
    with pytest.raises(UsageError, match="no results of 'Lima'"):
        asyncio.run(Replay(file).asearch("Lima"))


@pytest.mark.parametrize(
    "row",
    [
        {"query": "x"},
        {"results": []},
        {"query": "x", "results": [1]},
        {"query": "x", "results": 1},
        {"query": "x", "results": [{"title": "t", "snippet": "s"}]},
        {"query": "x", "results": [{"title": "t", "snippet": "s", "url": None}]},
        {"query": "x", "results": [{"title": "t", "snippet": "s", "url": "u", "more": 1}]},
    ],
)
def test_a_recording_that_is_none_is_refused(tmp_path: Path, row: object) -> None:
    file = tmp_path / "searches.jsonl"
    file.write_text(json.dumps({"query": "a", "results": []}) + "\n" + json.dumps(row) + "\n")
    with pytest.raises(UsageError, match=r"searches.jsonl: row 2: expected 'query' and 'results'"):
        Replay(file)


def test_a_recording_that_is_not_there_or_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot be read \(No such file"):
        Replay(tmp_path / "missing.jsonl")
    with pytest.raises(UsageError, match=r"cannot be read \(Is a directory"):
        Recorder(tmp_path, Counted())
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"rollout.search.record: .* cannot be written"):
        Recorder(tmp_path / "file" / "searches.jsonl", Counted())


@given(st.lists(st.tuples(st.text(), st.text(), st.text())))
def test_any_result_can_be_recorded(tmp_path_factory: pytest.TempPathFactory, texts: list) -> None:
    class Given(SearchProvider):
        def find(self, query: str) -> list[Result]:
            return [result(*row) for row in texts]

    file = tmp_path_factory.mktemp("record") / "searches.jsonl"
    assert Recorder(file, Given()).search("x", MOST) == Replay(file).search("x", MOST)


# --- settings --------------------------------------------------------------------------------


def test_settings_choose_the_provider(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(offline, "gazetteer_index", Counted)
    file = tmp_path / "searches.jsonl"
    (tmp_path / "guides").mkdir()
    (tmp_path / "guides" / "taxis.md").write_text("# Taxis\n\nTaxis in Huaraz are yellow.")
    documents = str(tmp_path / "guides")
    recorded = provider(SearchConfig(documents=documents, record=str(file))).search("yellow taxis")
    assert recorded[0] == Result("Taxis", "Taxis Taxis in Huaraz are yellow.", "taxis.md")
    assert provider(SearchConfig(replay=str(file))).search("yellow taxis") == recorded


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["provider=google"], "provider"),
        (["url=https://x"], "needs a service"),
        (["key_file=x"], "needs a service"),
        (["cache=x"], "needs a service"),
        (["provider=brave", "documents=x"], "needs rollout.search.provider=offline"),
        (["record=x", "replay=x"], "exclude each other"),
        (["provider=searxng"], "rollout.search.url.*is needed"),
        (["provider=searxng", "url=http://x", "key_file=x"], "takes no key"),
        (["provider=tavily", "url=x"], "no address"),
        (["provider=tavily", "url=https://"], "no address"),
        (["provider=tavily", "url=https://a:s3cret@x"], "GEOAGENT_SEARCH_KEY"),
        (["provider=tavily", "url=https://x?key=s3cret"], "GEOAGENT_SEARCH_KEY"),
        (["provider=tavily", "url=http://x.org"], "in the open"),
        (["provider=brave", "url=http://127.0.0.1.evil.example"], "in the open"),
        (["timeout_s=0"], "timeout_s"),
        (["min_delay_seconds=-1"], "min_delay_seconds"),
    ],
)
def test_settings_that_make_no_sense(words: list[str], problem: str) -> None:
    with pytest.raises(UsageError, match=problem) as caught:
        resolve([f"rollout.search.{word}" for word in words])
    assert "s3cret" not in str(caught.value)


def test_settings_that_do() -> None:
    for words in (["provider=tavily", "url=http://127.0.0.1:8080"], ["provider=brave"]):
        resolve([f"rollout.search.{word}" for word in words])
    resolve(["rollout.search.provider=searxng", "rollout.search.url=http://searx.example:8080"])


def test_the_key_is_no_setting() -> None:
    with pytest.raises(UsageError, match="looks like a secret"):
        resolve(["cluster.environment.GEOAGENT_SEARCH_KEY=x"])
