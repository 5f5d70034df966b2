"""The file that answers are kept in: many writers, broken files, folders that cannot be written."""

from __future__ import annotations

import multiprocessing
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from geoagent.geo import answers
from geoagent.geo.answers import Answers

PARIS = {"latitude": 48.85, "longitude": 2.35, "address": "Paris, 法国"}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "_PAUSE_S", 0.0)


def test_kept_and_not_asked_are_two_things(tmp_path: Path) -> None:
    kept = Answers(tmp_path / "new" / "answers.sqlite", "nominatim")
    with pytest.raises(KeyError):
        kept["Paris"]
    assert not kept.file.exists()  # nothing is made by looking
    kept["Paris"], kept["Atlantis"] = PARIS, None
    again = Answers(kept.file, "nominatim")
    assert again["Paris"] == PARIS
    assert again["Atlantis"] is None
    with pytest.raises(KeyError):
        Answers(kept.file, "photon")["Paris"]


def test_the_newest_answer_counts(tmp_path: Path) -> None:
    kept = Answers(tmp_path / "answers.sqlite", "nominatim")
    kept["Paris"] = None
    kept["Paris"] = PARIS
    assert kept["Paris"] == PARIS


@settings(
    deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(query=st.text(st.characters(exclude_categories=("Cs",))))
def test_any_query(tmp_path: Path, query: str) -> None:
    kept = Answers(tmp_path / "answers.sqlite", "nominatim")
    kept[query] = {"address": query}
    assert kept[query] == {"address": query}


def _write(file: Path, first: int, count: int) -> None:
    kept = Answers(file, "nominatim")
    for number in range(first, first + count):
        kept[str(number)] = {"number": number}


def test_several_processes_write_at_once(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "_BUSY_S", 60.0)  # on a disk that is slow to commit
    file = tmp_path / "answers.sqlite"
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_write, args=(file, 10 * k, 10)) for k in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(300)
    assert [writer.exitcode for writer in writers] == [0] * 4
    assert capfd.readouterr().err == ""
    kept = Answers(file, "nominatim")
    assert all(kept[str(number)] == {"number": number} for number in range(40))
    with sqlite3.connect(file) as database:
        assert database.execute("PRAGMA journal_mode").fetchone() == ("delete",)
    database.close()


def test_a_passing_error_of_the_file_system_is_no_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    connect, failures = sqlite3.connect, [OSError("stale"), sqlite3.OperationalError("disk I/O")]

    def sometimes(*arguments: Any, **keywords: Any) -> sqlite3.Connection:
        if failures:
            raise failures.pop()
        return connect(*arguments, **keywords)

    monkeypatch.setattr(sqlite3, "connect", sometimes)
    kept = Answers(tmp_path / "answers.sqlite", "nominatim")
    kept["Paris"] = PARIS
    assert kept["Paris"] == PARIS
    assert (failures, capsys.readouterr().err) == ([], "")


@pytest.mark.parametrize("content", [b"not a database" * 999, b"SQLite format 3\0" + b"\xff" * 999])
def test_a_broken_file_is_told_once_each_way_and_left_alone(
    content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "answers.sqlite"
    file.write_bytes(content)
    kept = Answers(file, "nominatim")
    for _ in range(3):
        with pytest.raises(KeyError):
            kept["Paris"]
        kept["Paris"] = PARIS
    told = capsys.readouterr().err.splitlines()
    assert [line.count("cannot be read") for line in told] == [1, 0]
    assert all(line.startswith(f"warning: {file}: ") for line in told)
    assert file.read_bytes() == content


def test_a_row_that_is_no_json_is_as_if_it_was_not_there(tmp_path: Path) -> None:
    kept = Answers(tmp_path / "answers.sqlite", "nominatim")
    kept["Paris"] = PARIS
    for text in ("{cut", "[1]", None):
        with sqlite3.connect(kept.file) as database:
            database.execute("UPDATE answer SET found = ?", (text,))
        database.close()
        with pytest.raises(KeyError):
            kept["Paris"]


def test_a_lock_that_is_held_for_a_while_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(answers, "_BUSY_S", 0.05)
    kept = Answers(tmp_path / "answers.sqlite", "nominatim")
    kept["Paris"] = PARIS
    other = sqlite3.connect(kept.file, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(KeyError):
        kept["Paris"]
    assert "database is locked" in capsys.readouterr().err
    other.execute("COMMIT")
    other.close()
    assert Answers(kept.file, "nominatim")["Paris"] == PARIS


def test_several_are_kept_at_once(tmp_path: Path) -> None:
    kept = Answers(tmp_path / "answers.sqlite", "nominatim")
    kept.update({"Paris": PARIS, "Atlantis": None})
    assert (kept["Paris"], kept["Atlantis"]) == (PARIS, None)
