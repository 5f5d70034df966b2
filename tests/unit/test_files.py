"""Files that others read, and progress."""

from __future__ import annotations

import json
import os
import socket
import time
from contextlib import suppress
from pathlib import Path

import pytest

from geoagent import files
from geoagent.errors import UsageError
from geoagent.files import link_or_copy, mend_last_line, new_folder, write_jsonl
from geoagent.progress import Progress
from geoagent.run import Run


def test_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "sub" / "a.json"
    files.write_json(path, {"a": "é"})
    assert files.read_json(path) == {"a": "é"}

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        files.write_json(path, {"a": "new"})
    assert files.read_json(path) == {"a": "é"}
    assert [item.name for item in path.parent.iterdir()] == ["a.json"]


def test_secret_is_never_readable_by_others(tmp_path: Path) -> None:
    path = tmp_path / "token"
    files.write_atomic(path, "secret", mode=0o600)
    assert path.stat().st_mode & 0o777 == 0o600


def test_json_lines(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    assert files.write_jsonl(path, [{"a": 1}]) == 1
    files.append_jsonl(path, [{"a": 2}, {"a": 3}])
    assert [row["a"] for row in files.read_jsonl(path)] == [1, 2, 3]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a": 1}\n{"a": \n', r"rows.jsonl:2: not JSON"),
        (b'{"a": 1}\n\n[1]\n', r"rows.jsonl:3: expected a JSON object, found list"),
        (b'{"a": "\xff"}\n', r"not UTF-8"),
    ],
)
def test_bad_lines_are_named(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=message):
        list(files.read_jsonl(path))


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no\.json: cannot be read \(No such file"):
        files.read_json(tmp_path / "no.json")
    with pytest.raises(UsageError, match=r"no\.jsonl: cannot be read"):
        list(files.read_jsonl(tmp_path / "no.jsonl"))
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(UsageError, match="not JSON"):
        files.read_json(tmp_path / "bad.json")


def test_progress_is_written_at_the_start_and_the_end(tmp_path: Path) -> None:
    path = tmp_path / "progress.json"
    progress = Progress(path, total=3)
    progress.update(0, "begin")
    progress.update(1, "too soon for another write")
    assert json.loads(path.read_text())["step"] == 0
    progress.update(3, "end", loss=0.5)
    document = json.loads(path.read_text())
    assert (document["step"], document["total"], document["metrics"]) == (3, 3, {"loss": 0.5})


def test_run_directory(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a run directory"):
        Run.open(tmp_path)
    (tmp_path / "config.yaml").write_text("seed: 7\n")
    run = Run.open(tmp_path)
    assert run.config().seed == 7
    assert run.logs("sft", 2) == run.path / "sft" / "logs" / "attempt-2"
    assert run.evaluation("heldout") == run.path / "eval" / "heldout"


def test_a_new_folder_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "out"

    def half(part: Path) -> None:
        (part / "a").write_text("half")
        raise KeyError

    with pytest.raises(KeyError), new_folder(folder) as part:
        half(part)
    assert [*folder.parent.iterdir()] == []
    folder.mkdir()  # an empty folder may become it
    with new_folder(folder) as part:
        (part / "a").write_text("whole")
        assert [*folder.iterdir()] == []
    assert [(path.name, path.read_text()) for path in folder.iterdir()] == [("a", "whole")]
    assert [*folder.parent.iterdir()] == [folder]


def test_processes_of_two_nodes_with_one_number_do_not_meet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a file system that the nodes share."""
    monkeypatch.setattr(socket, "gethostname", lambda: "node1")
    with new_folder(tmp_path / "out") as part:
        (part / "a").write_text("mine")
        monkeypatch.setattr(socket, "gethostname", lambda: "node2")
        with suppress(KeyError), new_folder(tmp_path / "out"):
            raise KeyError
    assert (tmp_path / "out" / "a").read_text() == "mine"
    assert [*tmp_path.iterdir()] == [tmp_path / "out"]


def test_a_folder_with_something_in_it_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").touch()
    with pytest.raises(UsageError, match="exists already"), new_folder(tmp_path / "out"):
        pass
    assert [*tmp_path.rglob("*")] == [tmp_path / "out", tmp_path / "out" / "mine"]


def test_what_killed_processes_left_an_hour_ago_is_removed(tmp_path: Path) -> None:
    for name, age_s in ((".out.1", 4000), (".out.2", 10), (".outer.1", 4000)):
        (tmp_path / name).mkdir()
        then = time.time() - age_s
        os.utime(tmp_path / name, (then, then))
    with new_folder(tmp_path / "out"):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == [".out.2", ".outer.1", "out"]


def test_half_a_surrogate_pair_is_written_escaped(tmp_path: Path) -> None:
    rows = [{"a": "\ud800"}, {"a": "é"}]
    write_jsonl(tmp_path / "rows.jsonl", rows)
    assert (tmp_path / "rows.jsonl").read_text(encoding="utf-8") == '{"a": "\\ud800"}\n{"a": "é"}\n'


ROW = b'{"id": "a"}\n'


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"", b""),
        (ROW * 2, ROW * 2),
        (ROW + b'{"id": "b', ROW),
        (ROW + b'{"id": "b"}', ROW + b'{"id": "b"}\n'),
        (b'{"id": "b', b""),
        (ROW + b'{"text": "' + b"x" * 200_000, ROW),
        (b'{"text": "' + b"x" * 200_000 + b'"}', b'{"text": "' + b"x" * 200_000 + b'"}\n'),
        (ROW + b'{"text": "\xc3', ROW),
    ],
)
def test_the_line_that_a_kill_has_cut_is_mended(
    tmp_path: Path, before: bytes, after: bytes
) -> None:
    file = tmp_path / "rows.jsonl"
    mend_last_line(file)
    assert not file.exists()
    file.write_bytes(before)
    mend_last_line(file)
    assert file.read_bytes() == after


def test_files_are_linked_or_else_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "a.bin"
    source.write_bytes(b"content")
    assert link_or_copy(source, tmp_path / "new/linked.bin") == "linked"
    assert source.samefile(tmp_path / "new/linked.bin")
    assert link_or_copy(source, tmp_path / "new/linked.bin") is None

    def refused(*_: object) -> None:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refused)
    assert link_or_copy(source, tmp_path / "new/copied.bin") == "copied"
    assert (tmp_path / "new/copied.bin").read_bytes() == b"content"
    assert not source.samefile(tmp_path / "new/copied.bin")
    assert sorted(p.name for p in (tmp_path / "new").iterdir()) == ["copied.bin", "linked.bin"]
