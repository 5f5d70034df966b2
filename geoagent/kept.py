"""SQLite databases that are made once a machine from what is there, and only read from then on."""

from __future__ import annotations

import os
import sqlite3
import sys
import tempfile
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Final

from geoagent.errors import UsageError
from geoagent.files import sha256, write_atomic

_VERSIONS: Final = 3
"""Of one database on a machine; home folders have quotas."""

Fill = Callable[[sqlite3.Connection], None]
"""Creates and fills the tables of an empty database, to the same bytes each time."""


def cache_folder() -> Path:
    """Where files that can be made again are kept."""
    root = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(root).absolute() if root else Path.home() / ".cache") / "geoagent"
    except RuntimeError:
        raise UsageError(
            "there is no home directory to keep caches in; set XDG_CACHE_HOME"
        ) from None


def database(path: Path, fill: Fill, what: str) -> sqlite3.Connection:
    """The database at this path, which is made first if it isn't there or is damaged; `what` is
    what messages call it."""
    opened = open_database(path)
    if opened is None:
        damaged = f"; {path} is damaged" if path.exists() else ""
        print(f"building the {what}, once{damaged}", file=sys.stderr, flush=True)
        opened = make_database(path, fill, what)
    return opened


def prebuilt(path: Path, name: str, variable: str) -> sqlite3.Connection:
    """A database made elsewhere, which an environment variable names; `path` may be a link to it,
    since its name tells its version. UsageError if it is missing, damaged or not called `name`."""
    file = path.resolve()
    mend = f"name another file in {variable}, or unset it to build one here"
    if not file.is_file():
        raise UsageError(f"{variable}={path}: no such file; {mend}")
    if file.name != name:
        raise UsageError(f"{variable}={path}: this is {file.name}, needed is {name}; {mend}")
    opened = open_database(file)
    if opened is None:
        checksum = _checksum_file(file).name
        raise UsageError(f"{variable}={path}: not as {checksum} beside it says; {mend}")
    return opened


def open_database(path: Path) -> sqlite3.Connection | None:
    """The database, or None if it isn't there or isn't as it was made.

    `immutable`: it never changes under its name, so no locks are needed (nor had on NFS).
    """
    try:
        if _checksum_file(path).read_text() != sha256(path):
            return None
        return sqlite3.connect(
            f"{path.as_uri()}?mode=ro&immutable=1", uri=True, check_same_thread=False
        )
    except (OSError, UnicodeDecodeError, sqlite3.Error):
        return None


def make_database(path: Path, fill: Fill, what: str) -> sqlite3.Connection:
    """Build beside the final name and rename; in memory where the folder cannot be written.

    Processes may do so at the same time: what they make is the same to the last byte.
    """
    problem: Exception | str = "another program changes it"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        os.close(handle)
        try:
            with closing(sqlite3.connect(name)) as empty:
                fill(empty)
            Path(name).chmod(0o444)
            write_atomic(_checksum_file(path), sha256(Path(name)))
            os.replace(name, path)
        finally:
            Path(name).unlink(missing_ok=True)
    except (OSError, sqlite3.OperationalError) as error:
        problem = error
    if (kept := open_database(path)) is not None:
        _sweep(path)
        return kept
    print(
        f"warning: the {what} cannot be kept in {path.parent} ({problem}), so that each process "
        "builds its own; name a folder that can be written in XDG_CACHE_HOME",
        file=sys.stderr,
        flush=True,
    )
    memory = sqlite3.connect(":memory:", check_same_thread=False)
    fill(memory)
    return memory


def _checksum_file(path: Path) -> Path:
    return path.with_suffix(".sha256")


def _sweep(path: Path) -> None:
    """Remove older versions of a database, whose names begin alike, but for the newest. Another
    checkout that needs one builds it again."""
    family = path.name.partition("-")[0]
    with suppress(OSError):
        files = path.parent.glob(f"{family}-*.sqlite")
        for old in sorted(files, key=lambda file: -file.stat().st_mtime)[_VERSIONS:]:
            old.unlink(missing_ok=True)
            _checksum_file(old).unlink(missing_ok=True)
