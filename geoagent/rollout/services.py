"""Online search: Tavily, Brave and SearXNG, asked no faster than allowed, each question once.

Nothing is fetched but the configured address; no redirect is followed. A service that fails is
SearchUnavailable and never "nothing found", which only an answer can say.
"""

from __future__ import annotations

import asyncio
import json
import os
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import asdict, dataclass
from html import unescape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from geoagent.agent.http import retry_after_s
from geoagent.errors import UsageError
from geoagent.geo.answers import Answers
from geoagent.kept import cache_folder
from geoagent.keys import check_sendable, hide_in_logs, read_key
from geoagent.rollout.search import (
    MOST,
    SECTION,
    Result,
    SearchProvider,
    SearchUnavailable,
    result,
)

if TYPE_CHECKING:
    from geoagent.config import SearchConfig

KEY_VARIABLE: Final = "GEOAGENT_SEARCH_KEY"
FILE_NAME: Final = "search-answers-v1.sqlite"
_HEALTH: Final = "France"
"""Any search finds something."""
_MAX_BODY: Final = 2 << 20
_FIRST_PAUSE_S: Final = 0.5
_MAX_PAUSE_S: Final = 30.0
_LOGGERS: Final = ("httpx", "httpcore.connection", "httpcore.http11", "httpcore.proxy")


class _Away(Exception):
    """No usable reply; the same request may have one after `after_s` seconds, or `never`."""

    def __init__(self, reason: str, after_s: float = 0.0, never: bool = False) -> None:
        super().__init__(reason)
        self.after_s = after_s
        self.never = never


class _Refused(Exception):
    """The service has understood that it was asked, but not the question."""


# --- the services ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Request:
    """What is sent to the service's path for a query."""

    method: str
    headers: Mapping[str, str]
    parameters: Mapping[str, str]
    body: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Service:
    """How one service is asked, and where its results are in a reply."""

    server: str
    """Its public one; "" for what everybody runs themselves."""
    path: str
    needs_key: bool
    request: Callable[[str, str], Request]
    """Query and key → request."""
    rows: Callable[[Any], list[Any]]
    """Reply → its results; KeyError or TypeError for what is no reply."""
    columns: tuple[str, str, str]
    """Of a result: title, snippet, url."""

    def read(self, reply: Any) -> list[Result]:
        """The results of a reply that have an address. KeyError or TypeError for what is none."""
        rows = self.rows(reply)
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise TypeError
        found = [result(*(_text(row.get(column)) for column in self.columns)) for row in rows]
        return [one for one in found if one.url][:MOST]


def _text(value: Any) -> Any:
    """Services put HTML's entities into titles."""
    return unescape(value) if isinstance(value, str) else value


def _tavily(query: str, key: str) -> Request:
    body = {"query": query, "max_results": MOST, "search_depth": "basic"}
    return Request("POST", {"Authorization": f"Bearer {key}"}, {}, body)


def _brave(query: str, key: str) -> Request:
    parameters = {"q": query, "count": str(MOST), "text_decorations": "false"}
    return Request("GET", {"X-Subscription-Token": key}, parameters)


def _brave_rows(reply: Any) -> list[Any]:
    """`web` is missing where nothing was found."""
    if reply["type"] != "search":
        raise TypeError
    return list(reply.get("web", {"results": []})["results"])


def _searxng(query: str, key: str) -> Request:
    return Request("GET", {}, {"q": query, "format": "json"})


def _searxng_rows(reply: Any) -> list[Any]:
    """Nothing, from search engines that did not answer, is no answer."""
    if not reply["results"] and reply.get("unresponsive_engines"):
        raise _Away("the search engines behind it do not answer")
    return list(reply["results"])


SERVICES: Final[Mapping[str, Service]] = {
    "tavily": Service(
        "https://api.tavily.com",
        "/search",
        True,
        _tavily,
        lambda reply: reply["results"],
        ("title", "content", "url"),
    ),
    "brave": Service(
        "https://api.search.brave.com",
        "/res/v1/web/search",
        True,
        _brave,
        _brave_rows,
        ("title", "description", "url"),
    ),
    "searxng": Service(
        "",
        "/search",
        False,
        _searxng,
        _searxng_rows,
        ("title", "content", "url"),
    ),
}


# --- asking them -----------------------------------------------------------------------------


def service(settings: SearchConfig) -> SearchProvider:
    """The service of these settings; one a process, since services count requests however many
    parts of a program ask."""
    values = json.dumps(asdict(settings), sort_keys=True)
    with _lock:
        if values not in _made:
            _made[values] = WebSearch(settings)
        return _made[values]


_made: dict[str, WebSearch] = {}
_lock = threading.Lock()


def _key(settings: SearchConfig) -> str:
    key = read_key(settings.key_file, KEY_VARIABLE, SECTION)
    if not key:
        raise UsageError(
            f"{SECTION}.provider: {settings.provider} needs a key; put it into the environment "
            f"variable {KEY_VARIABLE}, or into a file that {SECTION}.key_file names"
        )
    return check_sendable(key, f"{KEY_VARIABLE}, or {SECTION}.key_file")


class WebSearch(SearchProvider):
    """An online service. UsageError if it needs a key and there is none."""

    def __init__(self, settings: SearchConfig) -> None:
        self._settings = settings
        self._service = SERVICES[settings.provider]
        self._server = (settings.url or self._service.server).rstrip("/")
        self._key = ""
        if self._service.needs_key:
            self._key = _key(settings)
            hide_in_logs(self._key, _LOGGERS)
        # Training's processes share what the service allows.
        self._delay_s = settings.min_delay_seconds * int(os.environ.get("WORLD_SIZE", "1"))
        folder = Path(settings.cache).expanduser() if settings.cache else cache_folder()
        source = {"service": settings.provider, "url": settings.url}
        self._answers = Answers(
            folder / FILE_NAME, json.dumps(source, sort_keys=True), "search service"
        )
        self._starting = threading.Lock()
        self._process = 0
        self._next = 0.0

    def find(self, query: str) -> list[Result]:
        return self._begin(query).result()

    async def afind(self, query: str) -> list[Result]:
        return await asyncio.wrap_future(self._begin(query))

    def _begin(self, query: str) -> Future[list[Result]]:
        """Ask in an event loop of our own thread, so that callers may have any loop or none; begun
        anew after a fork, which threads and connections do not survive."""
        import httpx

        with self._starting:
            if self._process != os.getpid():
                self._process = os.getpid()
                self._loop = asyncio.new_event_loop()
                self._http = httpx.AsyncClient(follow_redirects=False, timeout=None)
                self._writing = asyncio.Lock()
                self._unkept: dict[str, Any] = {}
                self._under_way: dict[str, asyncio.Task[list[Result]]] = {}
                run = self._loop.run_forever
                threading.Thread(target=run, daemon=True, name="search").start()
        return asyncio.run_coroutine_threadsafe(self._once(query), self._loop)

    async def _once(self, query: str) -> list[Result]:
        """Of those who ask the same at the same time, the first one's question counts."""
        task = self._under_way.get(query)
        if task is None:
            task = asyncio.create_task(self._kept(query))
            self._under_way[query] = task
            task.add_done_callback(lambda _: self._under_way.pop(query, None))
        return await asyncio.shield(task)

    async def _kept(self, query: str) -> list[Result]:
        """From the file of answers, or asked and put there."""
        try:
            kept = await asyncio.to_thread(self._answers.__getitem__, query)
            return [Result(**row) for row in (kept or {})["results"]]
        except (KeyError, TypeError):
            pass
        found = await self._patiently(query)
        self._unkept[query] = {"results": [asdict(one) for one in found]}
        async with self._writing:  # what came in while others were written is written together
            if unkept := self._unkept:
                self._unkept = {}
                await asyncio.to_thread(self._answers.update, unkept)
        return found

    async def _patiently(self, query: str) -> list[Result]:
        """Ask again and again, less and less often, until `patience_s` are over."""
        begun, pause = time.monotonic(), _FIRST_PAUSE_S
        while True:
            try:
                return await self._ask(query)
            except _Refused as error:
                if query != _HEALTH:
                    await self._patiently(_HEALTH)  # the question's fault only if another one works
                    return []
                problem = _Away(str(error))
            except _Away as error:
                problem = error
            wait = max(pause, problem.after_s)
            if problem.never or time.monotonic() + wait - begun > self._settings.patience_s:
                raise self._outage(problem) from None
            await asyncio.sleep(wait)
            pause = min(2 * pause, _MAX_PAUSE_S)

    async def _ask(self, query: str) -> list[Result]:
        """One request: its results, or _Away, _Refused or UsageError."""
        import httpx

        await self._turn()
        try:
            async with asyncio.timeout(self._settings.timeout_s):  # httpx's begin with every byte
                status, wait, body = await self._send(query)
        except TimeoutError:
            raise _Away(f"no reply within {self._settings.timeout_s:g} s") from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise _Away(type(error).__name__) from None
        self._check(status, wait, body)
        try:
            return self._service.read(json.loads(body))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise _Away(f"its reply is none of {self._settings.provider}") from None

    async def _turn(self) -> None:
        """Wait until the service may be asked again."""
        start = max(time.monotonic(), self._next)
        self._next = start + self._delay_s
        await asyncio.sleep(start - time.monotonic())

    async def _send(self, query: str) -> tuple[int, float, bytes]:
        """Status, the wait that is asked for, and the body, which is not read beyond its limit and
        never unpacked: a small one may become large."""
        request = self._service.request(query, self._key)
        headers = {"Accept": "application/json", "Accept-Encoding": "identity", **request.headers}
        async with self._http.stream(
            request.method,
            self._server + self._service.path,
            headers=headers,
            params=dict(request.parameters),
            json=request.body,
        ) as response:
            if response.headers.get("Content-Encoding", "identity") != "identity":
                raise _Away("its reply is packed, though that was not asked for")
            body = bytearray()
            async for part in response.aiter_raw():
                body += part
                if len(body) > _MAX_BODY:
                    raise _Away(f"its reply has more than {_MAX_BODY >> 20} MiB")
            wait = retry_after_s(response.headers.get("Retry-After", ""))
            return response.status_code, wait, bytes(body)

    def _check(self, status: int, wait: float, body: bytes) -> None:
        """Raise what a reply other than an answer means."""
        name = self._settings.provider
        if status == 200:
            return
        # Brave has 422 for a wrong key, and a code in the body.
        if self._key and (status in (401, 403) or b"SUBSCRIPTION_TOKEN" in body[:10_000]):
            raise self._no_entry(status)
        if status in (401, 403):
            raise UsageError(
                f"{SECTION}.url: {name} refuses to answer (HTTP {status}); does its "
                "settings.yml have json among search.formats?"
            )
        if 300 <= status < 400:
            raise UsageError(
                f"{SECTION}.url: {self._server} sends elsewhere (HTTP {status}), which is not "
                "followed; give the address that it is at"
            )
        if status == 404:
            raise UsageError(f"{SECTION}.url: {self._server} has no {self._service.path}")
        if status in (402, 432, 433):  # the last two are Tavily's own, for a plan's limits
            raise _Away(f"HTTP {status}: what was paid for is used up", never=True)
        if status in (400, 413, 414, 422):
            raise _Refused(f"HTTP {status}")
        raise _Away(f"HTTP {status}", wait)

    def _no_entry(self, status: int) -> UsageError:
        return UsageError(
            f"{SECTION}.provider: {self._settings.provider} refuses the key (HTTP {status}); put "
            f"the right one into the environment variable {KEY_VARIABLE} or into a file that "
            f"{SECTION}.key_file names"
        )

    def _outage(self, problem: _Away) -> SearchUnavailable:
        later = f", come back in {problem.after_s:.0f} s" if problem.after_s else ""
        return SearchUnavailable(
            f"the search service {self._settings.provider} ({self._server}) does not answer "
            f"({problem}{later}). Stopped; nothing was made up for it. Try again once it is back, "
            f"or choose {SECTION}.provider=offline, which needs no network"
        )
