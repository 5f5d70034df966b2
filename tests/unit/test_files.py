"""Files that others read, and progress."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from geoagent import files
from geoagent.errors import UsageError
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
