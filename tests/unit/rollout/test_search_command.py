"""`geoagent search` in this process."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from search_server import KEY, SearchServer

from geoagent import cli
from geoagent.rollout import services
from geoagent.rollout.search import Recorder, Result, SearchProvider
from geoagent.rollout.services import KEY_VARIABLE
from tests.loopback import Reply

Run = Callable[..., tuple[int, str, str]]


class Two(SearchProvider):
    def find(self, query: str) -> list[Result]:
        texts = ("Huaraz, Ancash, Peru", "合肥市 " * 40, "geo:-9.5,-77.5")
        return [Result(*texts), Result("second", "x", "y")] if query == "Huaraz" else []


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "searches.jsonl"
    recorder = Recorder(file, Two())
    recorder.search("Huaraz")
    recorder.search("nowhere")
    return file


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*words: str) -> tuple[int, str, str]:
        code = cli.main(["search", *words])
        told = capsys.readouterr()
        return code, told.out, told.err

    return run


def test_results_to_read(run: Run, file: Path) -> None:
    code, out, err = run("Huaraz", f"rollout.search.replay={file}")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == " 1. Huaraz, Ancash, Peru"
    assert lines[1].startswith("    合肥市 合肥市")
    assert lines[-3:] == [" 2. second", "    x", "    y"]
    assert all(len(line) <= 100 for line in lines)


def test_results_to_go_on_with(run: Run, file: Path) -> None:
    code, out, _ = run("Huaraz", "--limit", "1", "--json", f"rollout.search.replay={file}")
    rows = [json.loads(line) for line in out.splitlines()]
    assert (code, [row["url"] for row in rows]) == (0, ["geo:-9.5,-77.5"])
    assert list(rows[0]) == ["title", "snippet", "url"]


def test_nothing_found(run: Run, file: Path) -> None:
    assert run("nowhere", f"rollout.search.replay={file}") == (0, "", "nothing found\n")


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["Huaraz", "--limit", "0"], "1 or more"),
        (["Huaraz", "--limit", "21", "rollout.search.replay=FILE"], "1 to 20, not 21"),
        (["Lima", "rollout.search.replay=FILE"], "has no results of 'Lima'"),
        (["Huaraz", "rollout.search.provider=bing"], "provider"),
        (["Huaraz", "rollout.serch.provider=brave"], "did you mean"),
        ([], "QUERY"),
    ],
)
def test_what_is_wrong_is_one_line(run: Run, file: Path, words: list[str], problem: str) -> None:
    code, out, err = run(*(word.replace("FILE", str(file)) for word in words))
    assert (code, out) == (2, "")
    assert problem in err
    assert err.count("\n") == 1


def test_a_service_that_is_away_is_75(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    monkeypatch.setattr(services, "_FIRST_PAUSE_S", 0.01)
    server = SearchServer()
    server.answer = lambda query, number: Reply(503, b"")
    settings = {"provider": "brave", "url": server.url, "cache": tmp_path, "patience_s": 0.1}
    words = [f"rollout.search.{name}={value}" for name, value in settings.items()]
    code, out, err = run("Huaraz", *words, "rollout.search.min_delay_seconds=0")
    server.close()
    assert (code, out) == (75, "")
    assert "brave" in err
    assert "HTTP 503" in err
    assert KEY not in err
