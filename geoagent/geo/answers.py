"""Answers of an online service, kept in a file for all processes that ask the same.

SQLite in its default journal mode (rollback): write-ahead logging needs memory that processes
share, which those of several nodes don't have.
"""

from __future__ import annotations

import json
import random
import sqlite3
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final

FILE_NAME: Final = "geocoder-answers-v1.sqlite"
_BUSY_S: Final = 5.0
_TRIES: Final = 4
"""File systems of several nodes report passing errors; locks are waited for by SQLite."""
_PAUSE_S: Final = 0.2
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS answer (service TEXT, query TEXT, found TEXT,
    PRIMARY KEY (service, query)) WITHOUT ROWID
"""
_GET: Final = "SELECT found FROM answer WHERE service = ? AND query = ?"
_PUT: Final = "INSERT OR REPLACE INTO answer VALUES (?, ?, ?)"

Found = dict[str, Any]


class Answers:
    """Query → what a service found, or None where it found nothing; a KeyError where it was not
    asked. `service` names the service and the settings that its answers depend on, and
    `what` is what messages call it.

    May be used from any thread and after a fork: each access opens the file. Where it cannot be
    read or written, that is told once, and this process goes on without.
    """

    def __init__(self, file: Path, service: str, what: str = "geocoder") -> None:
        self.file = file
        self._what = what
        self._service = service
        self._given_up: set[str] = set()

    def __getitem__(self, query: str) -> Found | None:
        for (text,) in self._run(_GET, [(query,)]) if self.file.is_file() else []:
            try:
                found = json.loads(text)
            except (ValueError, TypeError):
                continue
            if found is None or isinstance(found, dict):
                return found
        raise KeyError(query)

    def __setitem__(self, query: str, found: Found | None) -> None:
        self.update({query: found})

    def update(self, answers: Mapping[str, Found | None]) -> None:
        """Keep several at once, which takes hardly longer than one."""
        texts = ((query, json.dumps(found, ensure_ascii=False)) for query, found in answers.items())
        self._run(_PUT, [*texts])

    def _run(self, statement: str, values: Sequence[tuple[str, ...]]) -> list[Any]:
        """Rows of a statement, which is run with each of the values; none if it fails, which is
        tried several times."""
        if statement in self._given_up:
            return []
        problem: Exception | None = None
        for attempt in range(_TRIES):
            time.sleep(_PAUSE_S * attempt * random.random())
            try:
                return self._try(statement, values)
            except (OSError, sqlite3.Error) as error:
                problem = error
        self._given_up.add(statement)
        verb = "read" if statement == _GET else "kept"
        print(
            f"warning: {self.file}: the {self._what}'s answers cannot be {verb} ({problem}); going "
            "on without",
            file=sys.stderr,
            flush=True,
        )
        return []

    def _try(self, statement: str, values: Sequence[tuple[str, ...]]) -> list[Any]:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(self.file, timeout=_BUSY_S, isolation_level=None)
        with closing(connection) as database:
            database.execute(_SCHEMA)
            if statement == _GET:
                return database.execute(statement, (self._service, *values[0])).fetchall()
            database.execute("BEGIN IMMEDIATE")  # waits for other writers, which an upgrade can't
            database.executemany(statement, [(self._service, *row) for row in values])
            database.execute("COMMIT")
            return []
