"""Asks the agent: everything at once, each distinct question once, and never makes up an answer."""

from __future__ import annotations

import asyncio
import hashlib
import json
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import asdict, dataclass
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from geoagent.agent.endpoint import Endpoint, agent_folder, read_endpoints
from geoagent.agent.prompt import HEALTH
from geoagent.agent.question import Asked
from geoagent.config import AgentConfig
from geoagent.errors import OutageError, UsageError
from geoagent.files import append_jsonl, write_json

if TYPE_CHECKING:
    import httpx

_MESSAGE_EVERY_S: Final = 30.0
_FIRST_PAUSE_S: Final = 0.2
_MAX_PAUSE_S: Final = 5.0
_CONNECT_S: Final = 10.0
"""A node that has gone does not even refuse."""
_ORDER: Final = attrgetter("order")
_BROKEN_FROM: Final = 8
"""If this many different questions of a batch, or more, and all of them, got no usable reply,
then the agent is broken. Fewer may be odd texts, at which work must not stop."""


@dataclass(frozen=True)
class Judgement:
    """The agent's conclusion (of a FormQuestion, its fields as JSON); or `failed`, if it replied
    but not usably after all retries."""

    conclusion: str | None
    failed: bool = False
    reason: str | None = None


class Agent(Protocol):
    """What those who ask need of the client."""

    def ask(self, questions: Sequence[Asked]) -> list[Judgement]: ...


@dataclass
class AgentStats:
    """Counts since the client was made."""

    asked: int = 0
    """Questions put to the client."""
    distinct: int = 0
    """Questions that had to be sent; the others were asked before, here or in this run."""
    answered: int = 0
    invalid: int = 0
    """Distinct questions without a usable reply after all retries."""
    retried: int = 0
    """Requests that were sent again, for whatever reason."""
    seconds: float = 0.0
    """Time spent in `ask`."""


class _Unavailable(Exception):
    """This endpoint did not answer; another one, or the same later, may."""


class _Unusable(Exception):
    """The endpoint replied, but with nothing of use: it or the question may be the cause."""


class AgentClient:
    """Client of all replicas of an agent, for one process; `ask` may be called from any thread.

    `folder` holds the endpoint files; `endpoints` names servers directly instead. `on_wait` gets
    a message now and then while no agent answers.
    """

    def __init__(
        self,
        settings: AgentConfig,
        folder: Path | None = None,
        *,
        endpoints: Sequence[Endpoint] | None = None,
        on_wait: Callable[[str], None] | None = None,
    ) -> None:
        self.settings = settings
        self.folder = folder
        self.stats = AgentStats()
        self._fixed = endpoints
        self._on_wait = on_wait or (lambda message: None)
        self._cache: dict[str, Judgement] = {}
        self._answers = folder / "answers.jsonl" if folder is not None else None
        self._lock = threading.Lock()
        self._load: dict[str, int] = {}
        self._resting: dict[str, float] = {}
        self._alive = 0.0
        self._told = 0.0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._http: httpx.AsyncClient | None = None

    def ask(self, questions: Sequence[Asked]) -> list[Judgement]:
        """Judgements in the order of the questions.

        Raises OutageError if no agent answers for `patience_s`, and UsageError if an external one
        refuses the token; nothing is judged then.
        """
        with self._lock:
            started = time.monotonic()
            self._recall()
            keys = {question: self._key(question) for question in dict.fromkeys(questions)}
            # Like ones beside each other: servers reuse what neighbours have in common.
            new = sorted((q for q, key in keys.items() if key not in self._cache), key=_ORDER)
            fresh = dict(zip(new, self._run(self._ask_all(new)), strict=True)) if new else {}
            self._remember({keys[q]: j for q, j in fresh.items() if not j.failed})
            self.stats.asked += len(questions)
            self.stats.distinct += len(new)
            self.stats.invalid += sum(judgement.failed for judgement in fresh.values())
            self.stats.answered += sum(not judgement.failed for judgement in fresh.values())
            self.stats.seconds += time.monotonic() - started
            return [fresh.get(question) or self._cache[keys[question]] for question in questions]

    def check(self) -> None:
        """Return once an agent has answered a question in the form that training needs; it is
        neither counted nor kept. Raises as `ask`, and OutageError if its replies are unusable."""
        with self._lock:
            (judgement,) = self._run(self._ask_all([HEALTH]))
        if judgement.failed:
            raise OutageError(
                f"the consistency agent answers, but not as it is asked to ({judgement.reason})"
            )

    def _key(self, question: Asked) -> str:
        """Same agent and same messages, same key."""
        asked = [self.settings.backend, self.settings.model, question.messages()]
        return hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:32]

    def _recall(self) -> None:
        """Read once what any process of the run has asked before: the stages of a run, and a
        training that is resumed, meet the same questions again."""
        if self._cache or self._answers is None or not self._answers.is_file():
            return
        for line in self._answers.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                row = json.loads(line)
                key, conclusion = row["key"], row["conclusion"]
            except (ValueError, KeyError, TypeError):  # cut by a kill
                continue
            if isinstance(key, str) and isinstance(conclusion, str):
                self._cache[key] = Judgement(conclusion)

    def _remember(self, answers: dict[str, Judgement]) -> None:
        self._cache.update(answers)
        if self._answers is not None and answers:
            rows = [{"key": key, "conclusion": j.conclusion} for key, j in answers.items()]
            append_jsonl(self._answers, rows)

    def write_stats(self, path: Path) -> None:
        """Write the counts as JSON, if anything was asked."""
        if self.stats.asked:
            write_json(path, asdict(self.stats))

    def close(self) -> None:
        """Close connections and the background thread."""
        if self._loop is not None:
            if self._http is not None:
                self._run(self._http.aclose())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._loop = self._http = None

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run in a loop of our own thread: trainers may have a loop running in theirs."""
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            threading.Thread(target=self._loop.run_forever, daemon=True, name="agent").start()
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _ask_all(self, questions: Sequence[Asked]) -> list[Judgement]:
        import httpx

        if self._http is None:
            limits = httpx.Limits(max_connections=self.settings.concurrency)
            timeout = httpx.Timeout(None, connect=_CONNECT_S)  # the rest: see _send
            self._http = httpx.AsyncClient(limits=limits, timeout=timeout, trust_env=False)
        self._alive = time.monotonic()
        gate = asyncio.Semaphore(self.settings.concurrency)

        async def one(question: Asked) -> Judgement:
            async with gate:
                return await self._judge(question)

        tasks = [asyncio.create_task(one(question)) for question in questions]
        try:
            return await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()

    async def _judge(self, question: Asked) -> Judgement:
        """One question until there is a usable reply, its retries are used up, or all is dark.

        A reply of no use is held against the question only if the server that gave it answers
        another one right after. A server that cannot even do that is away, whatever it sends.
        """
        attempt, pause = 0, _FIRST_PAUSE_S
        while True:
            try:
                endpoint = self._choose()
                return Judgement(await self._answer(endpoint, question, attempt))
            except _Unusable as error:
                reason = str(error)
                if question == HEALTH or await self._is_well(endpoint):
                    if attempt == self.settings.retries:
                        return Judgement(None, failed=True, reason=reason)
                    attempt += 1
                    self.stats.retried += 1
                    continue
            except _Unavailable as error:
                reason = str(error)
            self._check_patience(reason)
            self.stats.retried += 1
            await asyncio.sleep(pause)
            pause = min(pause * 2, _MAX_PAUSE_S)

    async def _is_well(self, endpoint: Endpoint) -> bool:
        """Whether the endpoint answers a question that any agent can; if not, it is left alone
        for a while."""
        try:
            await self._answer(endpoint, HEALTH, attempt=0)
        except _Unusable:
            self._rest(endpoint)
            return False
        except _Unavailable:
            return False
        return True

    async def _answer(self, endpoint: Endpoint, question: Asked, attempt: int) -> str:
        """The conclusion that the endpoint comes to."""
        try:
            conclusion = question.read(await self._send(endpoint, question, attempt))
        except ValueError as error:
            raise _Unusable(f"{endpoint.url}: {error}") from None
        self._alive = time.monotonic()
        return conclusion

    def _rest(self, endpoint: Endpoint) -> None:
        self._resting[endpoint.url] = time.monotonic() + _MAX_PAUSE_S

    def _choose(self) -> Endpoint:
        """The endpoint with the fewest questions under way, leaving out those that just failed."""
        endpoints = self._endpoints()
        if not endpoints:
            raise _Unavailable("no agent has announced itself")
        now = time.monotonic()
        awake = [e for e in endpoints if self._resting.get(e.url, 0.0) <= now]
        return min(awake or endpoints, key=lambda e: self._load.get(e.url, 0))

    def _endpoints(self) -> Sequence[Endpoint]:
        if self._fixed is not None:
            return self._fixed
        return read_endpoints(self.folder) if self.folder is not None else []

    async def _send(self, endpoint: Endpoint, question: Asked, attempt: int) -> str:
        import httpx

        assert self._http is not None
        limit = self.settings.request_timeout_s
        self._load[endpoint.url] = self._load.get(endpoint.url, 0) + 1
        try:
            # Of the whole: httpx's own limits begin anew with every byte.
            async with asyncio.timeout(limit):
                response = await self._http.post(
                    f"{endpoint.url}/chat/completions",
                    json=self._body(endpoint, question, attempt),
                    headers={"Authorization": f"Bearer {endpoint.token}"},
                )
        except TimeoutError:
            self._rest(endpoint)
            raise _Unavailable(f"{endpoint.url}: no reply within {limit:.0f} s") from None
        except httpx.HTTPError as error:
            self._rest(endpoint)
            raise _Unavailable(f"{endpoint.url}: {type(error).__name__}") from None
        finally:
            self._load[endpoint.url] -= 1
        return self._content(endpoint, response)

    def _body(self, endpoint: Endpoint, question: Asked, attempt: int) -> dict[str, Any]:
        form = {"name": question.form, "strict": True, "schema": question.schema()}
        return {
            "model": endpoint.model,
            "messages": question.messages(),
            "max_tokens": self.settings.max_tokens,
            "temperature": self.settings.temperature,
            "seed": attempt,
            "response_format": {"type": "json_schema", "json_schema": form},
        }

    def _content(self, endpoint: Endpoint, response: httpx.Response) -> str:
        status = response.status_code
        if status in (401, 403) and self.settings.backend == "external":
            raise UsageError(
                f"agent.url: {endpoint.url} refuses the token ({status}); put the right one into "
                f"the environment variable {self.settings.token_variable} (agent.token_variable)"
            )
        if status in (401, 403):
            self._rest(endpoint)
            raise _Unavailable(f"{endpoint.url}: refuses the token ({status})")
        if status > 500 or status in (404, 408, 429):
            self._rest(endpoint)
            raise _Unavailable(f"{endpoint.url}: HTTP {status}")
        if status != 200:
            raise _Unusable(f"{endpoint.url}: HTTP {status}")
        try:
            return str(response.json()["choices"][0]["message"]["content"])
        except (ValueError, KeyError, IndexError, TypeError, RecursionError):
            raise _Unusable(f"{endpoint.url}: reply is not a chat completion") from None

    def _check_patience(self, reason: str) -> None:
        """Tell that we wait; give up once nothing has answered for `patience_s`."""
        now = time.monotonic()
        silent = now - self._alive
        if silent >= self.settings.patience_s:
            logs = ""
            if self._fixed is None and self.folder is not None:
                logs = f"; see {agent_folder(self.folder)}/logs"
            raise OutageError(
                f"the consistency agent has not answered for {silent:.0f} s ({reason}){logs}. "
                "Stopped; nothing was scored. Submit again with --resume once it is back"
            )
        if now - self._told >= _MESSAGE_EVERY_S:
            self._told = now
            self._on_wait(f"waiting for the consistency agent for {silent:.0f} s ({reason})")


def check_usable(questions: Sequence[Asked], judgements: Sequence[Judgement]) -> None:
    """OutageError if nothing at all of many different questions got a usable reply."""
    if len(set(questions)) >= _BROKEN_FROM and all(j.failed for j in judgements):
        raise OutageError(
            f"the agent gave no usable reply to any of {len(set(questions))} "
            f"questions (the last: {judgements[-1].reason}); check agent.model"
        )


def external_endpoint(settings: AgentConfig) -> Endpoint:
    """The server that the configuration names; its token comes from the environment."""
    import os

    token = os.environ.get(settings.token_variable, "")
    if not token:
        raise UsageError(
            f"agent.backend=external: the environment variable {settings.token_variable} "
            "(agent.token_variable) is empty; put the server's token there"
        )
    return Endpoint(url=(settings.url or "").rstrip("/"), model=settings.model, token=token)


def make_client(
    settings: AgentConfig, folder: Path, on_wait: Callable[[str], None] | None = None
) -> AgentClient:
    """The client of a run: of its own agent, or of the external one that it names."""
    if settings.backend == "external":
        return AgentClient(
            settings, folder, endpoints=[external_endpoint(settings)], on_wait=on_wait
        )
    return AgentClient(settings, folder, on_wait=on_wait)
