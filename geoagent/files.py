"""Files that another process reads: whole or not there at all. And how a path is shown."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from geoagent.errors import UsageError


def write_atomic(path: Path, content: str | bytes, mode: int | None = None) -> None:
    """Write a file so that readers see the old content or the new, never a part.

    The content goes to a temporary file beside it, is flushed to disk and renamed. `mode` sets
    the permissions before the content is written, so a secret is never readable by others.
    """
    with _replacing(path, 0o644 if mode is None else mode) as file:
        file.write(content.encode() if isinstance(content, str) else content)


@contextmanager
def _replacing(path: Path, mode: int) -> Iterator[BinaryIO]:
    """A file that takes the place of another once the block has ended well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            os.fchmod(file.fileno(), mode)
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def write_json(path: Path, value: Any, mode: int | None = None) -> None:
    """Write one JSON document atomically, indented, in UTF-8."""
    write_atomic(path, json.dumps(value, ensure_ascii=False, indent=2) + "\n", mode)


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> int:
    """Write rows as JSON lines atomically, one at a time; returns how many."""
    count = 0
    with _replacing(path, 0o644) as file:
        for row in rows:
            count += 1
            file.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")
    return count


def append_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Append rows as JSON lines and flush them to disk; a line is written in one piece."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    with path.open("ab") as file:
        file.write(text.encode())
        file.flush()
        os.fsync(file.fileno())


def read_json(path: Path) -> Any:
    """Read one JSON document; UsageError names the file if it is missing or not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise UsageError(f"{path}: not JSON ({error})") from error


def read_jsonl(path: Path) -> Iterator[dict[str, Any]]:
    """Rows of a JSON lines file; UsageError names file and line of what is not an object."""
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield _row(line, path, number)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: not UTF-8 text ({error.reason})") from error


def _row(line: str, path: Path, number: int) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path}:{number}: not JSON ({error})") from error
    if not isinstance(row, dict):
        raise UsageError(f"{path}:{number}: expected a JSON object, found {type(row).__name__}")
    return row


def read_if_there(path: Path) -> dict[str, Any]:
    """The JSON object in a file that another process may not have written yet; {} without one."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}


def short(path: Path) -> str:
    """A path as one would type it in the current directory."""
    with suppress(OSError, ValueError):  # the current directory is gone; the path is not inside it
        return str(path.relative_to(Path.cwd()))
    return str(path)
