"""Files that another process reads: whole or not there at all. And how a path is shown."""

from __future__ import annotations

import fcntl
import glob
import hashlib
import json
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, Final

from geoagent.errors import UsageError

_LEFT_S: Final = 3600.0
_PIECE: Final = 1 << 16


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
            file.write(json_line(row).encode() + b"\n")
    return count


def append_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Append rows as JSON lines and flush them to disk; a line is written in one piece."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json_line(row) + "\n" for row in rows)
    with path.open("ab") as file:
        file.write(text.encode())
        file.flush()
        os.fsync(file.fileno())


def mend_last_line(path: Path) -> None:
    """End the last line of a file that rows are appended to, since the next row would be lost with
    it, or remove it if a kill has left only a part; nothing is done without the file."""
    if not path.exists():
        return
    with path.open("rb+") as file:
        end = start = file.seek(0, os.SEEK_END)
        tail = b""
        while start > 0 and b"\n" not in tail:
            start = max(0, start - _PIECE)
            file.seek(start)
            tail = file.read(end - start)
        tail = tail[tail.rfind(b"\n") + 1 :]
        if not tail:
            return
        try:
            json.loads(tail)
            file.seek(end)
            file.write(b"\n")
        except ValueError:
            file.truncate(end - len(tail))


def json_line(value: Mapping[str, Any], encoding: str = "utf-8") -> str:
    """One JSON object as one line, escaped where the encoding lacks its letters; UTF-8 lacks half
    surrogate pairs."""
    text = json.dumps(value, ensure_ascii=False)
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return json.dumps(value, ensure_ascii=True)
    return text


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


def sha256(path: Path) -> str:
    """A file's checksum in hexadecimal digits, read in pieces. OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_if_there(path: Path) -> dict[str, Any]:
    """The JSON object in a file that another process may not have written yet; {} without one."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}


def link_or_copy(source: Path, target: Path) -> str | None:
    """Give a file a second name by a hard link, or else copy it: `linked`, `copied`, or None if
    there is something of that name already. A copy is whole or not there."""
    if target.exists():
        return None
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:  # another file system, one without links, or somebody else's file
        with source.open("rb") as original, _replacing(target, 0o644) as copy:
            shutil.copyfileobj(original, copy)
        return "copied"
    return "linked"


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A folder to fill, beside the one that it becomes when all went well; it is removed otherwise.

    What earlier ones that were killed have left, an hour ago or more, is removed as well.
    UsageError if there is something already, or nothing can be written.
    """
    place = folder.absolute()  # '.' has no name
    part = part_of(place)
    require_new(folder)
    try:
        sweep_parts(place)
        part.mkdir(parents=True)
        yield part
        part.rename(place)
    except OSError as error:
        reason = error.strerror or error
        raise UsageError(f"{folder}: cannot be written ({reason})") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def require_new(folder: Path) -> None:
    """UsageError unless a folder isn't there yet or is empty."""
    try:
        taken = folder.exists() and not (folder.is_dir() and not any(folder.iterdir()))
    except OSError as error:
        raise UsageError(f"{folder}: cannot be read ({error.strerror})") from error
    if taken:
        raise UsageError(f"{folder}: exists already; name a new folder")


def part_of(folder: Path) -> Path:
    """Where this process prepares a folder, beside it: numbers of processes are a node's own, and
    file systems are shared."""
    return folder.with_name(f".{folder.name}.{socket.gethostname()}.{os.getpid()}")


def sweep_parts(folder: Path) -> None:
    """Remove what was to become this folder an hour ago or more."""
    for left in folder.parent.glob(f".{glob.escape(folder.name)}.*"):
        with suppress(OSError):
            if time.time() - left.stat().st_mtime > _LEFT_S:
                shutil.rmtree(left, ignore_errors=True)


def short(path: Path) -> str:
    """A path as one would type it in the current directory."""
    with suppress(OSError, ValueError):  # the current directory is gone; the path is not inside it
        return str(path.relative_to(Path.cwd()))
    return str(path)


@contextmanager
def claimed(path: Path) -> Iterator[bool]:
    """Whether this process alone has the lock file, until the end of the block; the kernel lets go
    of it when the process dies, on whatever node (NFS included)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True
