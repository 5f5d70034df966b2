"""Puts questions to OpenAI-compatible servers: concurrently, patiently, and an outage of a server
is never an answer. What is asked and how a reply is read is the business of who derives from it."""

from __future__ import annotations

import asyncio
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, Protocol, TypeVar

from geoagent.agent.balance import Balance
from geoagent.agent.endpoint import Endpoint
from geoagent.agent.http import Http, NoReply, Reply, quiet_about_connections, retry_after_s, said
from geoagent.errors import OutageError

Question = TypeVar("Question")
Answer = TypeVar("Answer")
Item = TypeVar("Item")
Result = TypeVar("Result")

_MESSAGE_EVERY_S: Final = 30.0
_FIRST_PAUSE_S: Final = 0.2
_MAX_PAUSE_S: Final = 5.0
_REFUSALS: Final = (401, 403, 404, 405, 501)
"""Of servers that are no chat servers, or do not want us."""


class Limits(Protocol):
    """What a client keeps to; an AgentConfig has it."""

    @property
    def concurrency(self) -> int:
        """Questions under way at once."""

    @property
    def retries(self) -> int:
        """How often an unusable reply is asked for again."""

    @property
    def request_timeout_s(self) -> float:
        """Seconds that one request may take."""

    @property
    def patience_s(self) -> float:
        """Seconds without any usable reply after which the servers count as away."""


@dataclass(frozen=True)
class Failure:
    """A server that is well replied, but not usably, after all retries."""

    reason: str


@dataclass
class ChatStats:
    """Counts since the client was made."""

    retried: int = 0
    """Requests that were sent again, for whatever reason."""


class Unavailable(Exception):
    """This endpoint did not answer; another one, or the same later (`after_s`), may."""

    def __init__(self, reason: str, after_s: float = 0.0) -> None:
        super().__init__(reason)
        self.after_s = after_s


class Unusable(Exception):
    """The endpoint replied, but with nothing of use: it or the question may be the cause."""


class ChatClient(ABC, Generic[Question, Answer]):
    """Client of one or more servers for one process. `on_wait` gets a message now and then while
    none of them answers; `health` is a question that any server which works can answer."""

    health: Question
    stats: ChatStats

    def __init__(self, limits: Limits, on_wait: Callable[[str], None] | None = None) -> None:
        self._limits = limits
        self._on_wait = on_wait or (lambda message: None)
        self._balance = Balance()
        self._alive = 0.0
        self._told = 0.0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._http = Http()

    @abstractmethod
    def _endpoints(self) -> Sequence[Endpoint]:
        """The servers there are just now."""

    @abstractmethod
    def _body(self, endpoint: Endpoint, question: Question, attempt: int) -> dict[str, Any]:
        """Body of the request for a chat completion; `attempt` counts from 0."""

    @abstractmethod
    def _read(self, question: Question, content: str) -> Answer:
        """The answer in the text of a reply; ValueError says why there is none."""

    @abstractmethod
    def _outage(self, silent: float, reason: str) -> str:
        """Message of the error once nothing has answered for `silent` seconds."""

    @abstractmethod
    def _waiting(self, silent: float, reason: str) -> str:
        """Message for somebody who waits."""

    def _refused(self, endpoint: Endpoint, reply: Reply) -> None:
        """May raise UsageError for a status of `_REFUSALS`; otherwise the server counts as away."""

    def close(self) -> None:
        """Close connections and the background thread."""
        if self._loop is not None:
            self._run(self._http.close())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._loop = None

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run in a loop of our own thread: trainers may have a loop running in theirs."""
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._loop.set_exception_handler(quiet_about_connections)
            threading.Thread(target=self._loop.run_forever, daemon=True, name="agent").start()
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:  # of a person who stops it, too
            future.cancel()
            raise

    async def _each(
        self,
        items: Iterable[Item],
        work: Callable[[Item], Awaitable[Result]],
        done: Callable[[Item, Result], None],
    ) -> None:
        """Work on all items, `concurrency` at a time, begun in their order; they are drawn as they
        are needed. The first error ends all."""
        self._alive = time.monotonic()
        pending = iter(items)

        async def worker() -> None:
            for item in pending:
                done(item, await work(item))

        tasks = [asyncio.create_task(worker()) for _ in range(self._limits.concurrency)]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()

    async def _judge(self, question: Question) -> Answer | Failure:
        """One question until there is a usable reply, its retries are used up, or all is dark.

        A reply of no use is held against the question only if the server that gave it answers
        another one right after. A server that cannot even do that is away, whatever it sends.
        """
        attempt, pause = 0, _FIRST_PAUSE_S
        while True:
            wait = pause
            try:
                endpoint = self._choose()
                return await self._answer(endpoint, question, attempt)
            except Unusable as error:
                reason = str(error)
                if question == self.health or await self._is_well(endpoint):
                    if attempt == self._limits.retries:
                        return Failure(reason)
                    attempt += 1
                    self.stats.retried += 1
                    continue
            except Unavailable as error:
                reason, wait = str(error), max(pause, error.after_s)
            self._check_patience(reason, wait)
            self.stats.retried += 1
            await asyncio.sleep(wait)
            pause = min(pause * 2, _MAX_PAUSE_S)

    async def _is_well(self, endpoint: Endpoint) -> bool:
        """Whether the endpoint answers a question that any can; if not, it is left alone for a
        while."""
        try:
            await self._answer(endpoint, self.health, attempt=0)
        except Unusable:
            self._balance.rest(endpoint)
            return False
        except Unavailable:
            return False
        return True

    async def _answer(self, endpoint: Endpoint, question: Question, attempt: int) -> Answer:
        """The endpoint's answer."""
        with self._balance.sending(endpoint):
            content = await self._send(endpoint, self._body(endpoint, question, attempt))
            try:
                answer = self._read(question, content)
            except ValueError as error:
                raise Unusable(f"{endpoint.url}: {error}") from None
        self._alive = time.monotonic()
        return answer

    def _choose(self) -> Endpoint:
        """The server for the next question."""
        endpoints = self._endpoints()
        if not endpoints:
            raise Unavailable("no agent has announced itself")
        return self._balance.choose(endpoints)

    async def _send(self, endpoint: Endpoint, body: dict[str, Any]) -> str:
        limit = self._limits.request_timeout_s
        try:
            reply = await self._http.post(endpoint, "/chat/completions", body, limit)
        except NoReply as error:
            self._balance.rest(endpoint)
            raise Unavailable(str(error)) from None
        return self._content(endpoint, reply)

    def _content(self, endpoint: Endpoint, reply: Reply) -> str:
        status = reply.status
        if status in _REFUSALS:
            self._refused(endpoint, reply)
        if status in (401, 403):
            self._balance.rest(endpoint)
            raise Unavailable(f"{endpoint.url}: refuses the token ({status})")
        if status > 500 or status in (404, 408, 429):
            self._balance.rest(endpoint)
            raise Unavailable(f"{endpoint.url}: HTTP {status}", retry_after_s(reply.retry_after))
        if status != 200:
            raise Unusable(f"{endpoint.url}: HTTP {status}{said(endpoint, reply)}")
        try:
            return str(reply.json()["choices"][0]["message"]["content"])
        except (ValueError, KeyError, IndexError, TypeError, RecursionError):
            raise Unusable(f"{endpoint.url}: reply is not a chat completion") from None

    def _check_patience(self, reason: str, wait: float) -> None:
        """Tell that we wait; give up once nothing has answered for `patience_s`, or if a server
        asks to be left alone (Retry-After) for longer than that."""
        now = time.monotonic()
        silent = now - self._alive
        if wait > max(self._limits.patience_s, _MAX_PAUSE_S):
            raise OutageError(self._outage(silent, f"{reason}, come back in {wait:.0f} s"))
        if silent >= self._limits.patience_s:
            raise OutageError(self._outage(silent, reason))
        if now - self._told >= _MESSAGE_EVERY_S:
            self._told = now
            self._on_wait(self._waiting(silent, reason))
