"""What answers the tool `search_web`: one interface for the offline index and online services.

Results are what strangers wrote. They are cut to size here; that nothing in them is taken for a
call or an instruction is the business of who shows them to a model.
"""

from __future__ import annotations

import asyncio
import os
import time
import unicodedata
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from geoagent.errors import OutageError, UsageError
from geoagent.files import append_jsonl, read_jsonl

if TYPE_CHECKING:
    from geoagent.config import SearchConfig

SECTION: Final = "rollout.search"
FILES: Final = ("documents", "replay")
"""Settings that name what answers come from."""
MOST: Final = 20
"""Results that providers are asked for, however many are wanted: so answers that are kept serve
every limit. Tavily and Brave give no more."""
_MAX_QUERY: Final = 400
_MAX_WORDS: Final = 50
"""Brave's limits; others' are wider or the same."""
_MAX_TITLE: Final = 200
_MAX_SNIPPET: Final = 600
_MAX_URL: Final = 1000
_PAUSES_S: Final = (0.1, 0.4, 1.5)
"""Before a recording is read again that may be in the midst of a row."""


class SearchUnavailable(OutageError):
    """The search service did not answer; that is not the same as finding nothing."""


@dataclass(frozen=True)
class Result:
    """One result: plain text in one line each, of bounded length."""

    title: str
    snippet: str
    url: str


class SearchProvider(ABC):
    """Queries → results, best first. May be used from any thread and any event loop."""

    def search(self, query: str, limit: int = 10) -> list[Result]:
        """At most `limit` results (1 to 20), best first; none for a query without words.
        SearchUnavailable if a service does not answer, UsageError if it refuses the key."""
        text = _checked(query, limit)
        return self.find(text)[:limit] if text else []

    async def asearch(self, query: str, limit: int = 10) -> list[Result]:
        """As `search`, while other tasks of the event loop go on."""
        text = _checked(query, limit)
        return (await self.afind(text))[:limit] if text else []

    @abstractmethod
    def find(self, query: str) -> list[Result]:
        """Results of a query that was cleaned, MOST at most."""

    async def afind(self, query: str) -> list[Result]:
        """As `find`, while other tasks go on."""
        return await asyncio.to_thread(self.find, query)


def provider(settings: SearchConfig) -> SearchProvider:
    """The provider of these settings. UsageError where they cannot be met; nothing is sent yet."""
    if settings.replay is not None:
        return Replay(Path(settings.replay).expanduser())
    if settings.provider == "offline":
        from geoagent.rollout.offline import offline

        live = offline(settings.documents)
    else:
        from geoagent.rollout.services import service

        live = service(settings)
    if settings.record is not None:
        return Recorder(Path(settings.record).expanduser(), live)
    return live


def check(settings: SearchConfig) -> None:
    """UsageError where the provider of these settings could not be made. Quick: nothing is sent,
    built or written."""
    if settings.replay is not None or settings.provider != "offline":
        provider(replace(settings, record=None))
    elif settings.documents is not None:
        from geoagent.rollout.corpus import digest

        digest(Path(settings.documents).expanduser())


def states(settings: SearchConfig) -> dict[str, Any]:
    """The state of those of FILES that are given, as JSON. UsageError for one that is not there."""
    found: dict[str, Any] = {}
    if settings.documents is not None:
        from geoagent.rollout.corpus import digest

        found["documents"] = digest(Path(settings.documents).expanduser())
    if settings.replay is not None:
        found["replay"] = _state(Path(settings.replay).expanduser())
    return found


def _state(file: Path) -> list[str | int]:
    try:
        found = file.stat()
    except OSError as error:
        raise UsageError(f"{SECTION}.replay: {file}: {error.strerror}") from error
    return [str(file), found.st_size, found.st_mtime_ns]


class Replay(SearchProvider):
    """Answers from a file that a Recorder wrote, and asks nobody."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._known = _recorded(file)

    def find(self, query: str) -> list[Result]:
        """UsageError for a query that is not in the file: any answer would be made up."""
        if query not in self._known:
            raise UsageError(
                f"{SECTION}.replay: {self._file} has no results of {query!r}; record it with "
                f"{SECTION}.record={self._file}"
            )
        return self._known[query]

    async def afind(self, query: str) -> list[Result]:
        return self.find(query)


class Recorder(SearchProvider):
    """Adds what another provider finds to a file. A query that is in it is not asked again, so
    that what was recorded first stands."""

    def __init__(self, file: Path, live: SearchProvider) -> None:
        self._file = file
        self._live = live
        self._known = _recorded(file) if file.exists() else {}
        self._keep([])  # so that a file which cannot be written is told before work begins

    def find(self, query: str) -> list[Result]:
        if query not in self._known:
            self._add(query, self._live.find(query))
        return self._known[query]

    async def afind(self, query: str) -> list[Result]:
        if query not in self._known:
            self._add(query, await self._live.afind(query))
        return self._known[query]

    def _add(self, query: str, found: list[Result]) -> None:
        # Of two tasks that asked the same at once, the first one's answer stands in the file too.
        if self._known.setdefault(query, found) is found:
            self._keep([{"query": query, "results": [asdict(result) for result in found]}])

    def _keep(self, rows: list[dict[str, Any]]) -> None:
        try:
            append_jsonl(self._file, rows)
        except OSError as error:
            raise UsageError(
                f"{SECTION}.record: {self._file} cannot be written ({error.strerror})"
            ) from None


def _recorded(file: Path) -> dict[str, list[Result]]:
    """Query → results. A row that another process is just adding is waited for; one that was left
    in parts is no row, and not left out, since the next would be added to it."""
    for pause_s in _PAUSES_S:
        before = _end(file)
        try:
            return _read(file)
        except UsageError:
            if before == _end(file) and before[1] in (b"", b"\n"):
                raise
        time.sleep(pause_s)
    return _read(file)


def _end(file: Path) -> tuple[int, bytes]:
    """A file's size and last byte; none of a file that cannot be read."""
    try:
        with file.open("rb") as content:
            size = content.seek(0, os.SEEK_END)
            content.seek(max(0, size - 1))
            return size, content.read(1)
    except OSError:
        return 0, b""


def _read(file: Path) -> dict[str, list[Result]]:
    """Query → results; of a query that several processes recorded, the first."""
    known: dict[str, list[Result]] = {}
    for number, row in enumerate(read_jsonl(file), start=1):
        try:
            query = row["query"]
            found = [Result(**result) for result in row["results"]]
            if not all(isinstance(text, str) for one in found for text in asdict(one).values()):
                raise TypeError
        except (KeyError, TypeError):
            raise UsageError(
                f"{file}: row {number}: expected 'query' and 'results', a list of objects with "
                "title, snippet and url"
            ) from None
        known.setdefault(clean(str(query)), [result(**asdict(one)) for one in found])
    return known


def result(title: Any, snippet: Any, url: Any) -> Result:
    """A result of plain text, cut to size; what is no text counts as empty."""
    return Result(
        one_line(title, _MAX_TITLE), one_line(snippet, _MAX_SNIPPET), one_line(url, _MAX_URL)
    )


def clean(query: str) -> str:
    """The query as providers are asked and as it is remembered: one line of printable letters, at
    most 400 of them and 50 words."""
    words = one_line(query, _MAX_QUERY).split()[:_MAX_WORDS]
    return " ".join(words)


def one_line(text: Any, most: int) -> str:
    """Text without control characters, half surrogate pairs and line ends, with single blanks, cut
    at `most` letters; "" for what is no text."""
    if not isinstance(text, str):
        return ""
    # Four times the length leaves room for blanks, and keeps the work on a long text bounded.
    kept = (_shown(letter) for letter in text[: 4 * most])
    return " ".join("".join(kept).split())[:most].rstrip()


def _shown(letter: str) -> str:
    kind = unicodedata.category(letter)
    if kind == "Cf":  # of no width: joiners, directions of writing
        return ""
    return " " if kind[0] in "CZ" else letter


def _checked(query: str, limit: int) -> str:
    if not 1 <= limit <= MOST:
        raise UsageError(f"results of a search: 1 to {MOST}, not {limit}")
    return clean(query)
