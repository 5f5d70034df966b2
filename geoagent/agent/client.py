"""Asks the agent: everything at once, each distinct question once, and never makes up an answer."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any, Final, Protocol

from geoagent.agent.chat import ChatClient, ChatStats, Failure
from geoagent.agent.endpoint import Endpoint, agent_folder, read_endpoints
from geoagent.agent.http import Reply, said
from geoagent.agent.prompt import HEALTH
from geoagent.agent.question import Asked
from geoagent.config import AgentConfig
from geoagent.errors import OutageError, UsageError
from geoagent.files import append_jsonl, write_json
from geoagent.keys import token

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
class AgentStats(ChatStats):
    """Counts since the client was made."""

    asked: int = 0
    """Questions put to the client."""
    distinct: int = 0
    """Questions that had to be sent; the others were asked before, here or in this run."""
    answered: int = 0
    invalid: int = 0
    """Distinct questions without a usable reply after all retries."""
    seconds: float = 0.0
    """Time spent in `ask`."""


class AgentClient(ChatClient[Asked, str]):
    """Client of all replicas of an agent, for one process; `ask` may be called from any thread.

    `folder` holds the endpoint files; `endpoints` names servers directly instead. `on_wait` gets
    a message now and then while no agent answers.
    """

    health = HEALTH
    stats: AgentStats

    def __init__(
        self,
        settings: AgentConfig,
        folder: Path | None = None,
        *,
        endpoints: Sequence[Endpoint] | None = None,
        on_wait: Callable[[str], None] | None = None,
    ) -> None:
        super().__init__(settings, on_wait)
        self.settings = settings
        self.folder = folder
        self.stats = AgentStats()
        self._fixed = endpoints
        self._cache: dict[str, Judgement] = {}
        self._answers = folder / "answers.jsonl" if folder is not None else None
        self._lock = threading.Lock()

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
            fresh = self._run(self._ask_all(new)) if new else {}
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
            judgement = self._run(self._ask_all([HEALTH]))[HEALTH]
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

    async def _ask_all(self, questions: Sequence[Asked]) -> dict[Asked, Judgement]:
        """A judgement of each of these distinct questions."""
        judgements: dict[Asked, Judgement] = {}

        def done(question: Asked, answer: str | Failure) -> None:
            if isinstance(answer, Failure):
                judgements[question] = Judgement(None, failed=True, reason=answer.reason)
            else:
                judgements[question] = Judgement(answer)

        await self._each(questions, self._judge, done)
        return judgements

    def _endpoints(self) -> Sequence[Endpoint]:
        if self._fixed is not None:
            return self._fixed
        return read_endpoints(self.folder) if self.folder is not None else []

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

    def _read(self, question: Asked, content: str) -> str:
        return question.read(content)

    def _refused(self, endpoint: Endpoint, reply: Reply) -> None:
        status = reply.status
        if status in (401, 403) and self.settings.backend == "external":
            raise UsageError(
                f"agent.url: {endpoint.url} refuses the token ({status}); put the right one into "
                f"the environment variable {self.settings.token_variable} (agent.token_variable)"
            )
        if status == 404 and self.settings.backend == "external" and not self.stats.answered:
            raise UsageError(
                f"agent.url: {endpoint.url}: no chat model {endpoint.model} there (HTTP 404"
                f"{said(endpoint, reply)}); name it with agent.model=…, and let the address end "
                "as the server's own documentation says, mostly in /v1"
            )

    def _outage(self, silent: float, reason: str) -> str:
        logs = ""
        if self._fixed is None and self.folder is not None:
            logs = f"; see {agent_folder(self.folder)}/logs"
        return (
            f"the consistency agent has not answered for {silent:.0f} s ({reason}){logs}. "
            "Stopped; nothing was scored. Submit again with --resume once it is back"
        )

    def _waiting(self, silent: float, reason: str) -> str:
        return f"waiting for the consistency agent for {silent:.0f} s ({reason})"


def check_usable(questions: Sequence[Asked], judgements: Sequence[Judgement]) -> None:
    """OutageError if nothing at all of many different questions got a usable reply."""
    if len(set(questions)) >= _BROKEN_FROM and all(j.failed for j in judgements):
        raise OutageError(
            f"the agent gave no usable reply to any of {len(set(questions))} "
            f"questions (the last: {judgements[-1].reason}); check agent.model"
        )


def external_endpoint(settings: AgentConfig) -> Endpoint:
    """The server that the configuration names; its token comes from the environment."""
    secret = token(settings.token_variable)
    if not secret:
        raise UsageError(
            f"agent.backend=external: the environment variable {settings.token_variable} "
            "(agent.token_variable) is empty; put the server's token there"
        )
    return Endpoint(url=(settings.url or "").rstrip("/"), model=settings.model, token=secret)


def make_client(
    settings: AgentConfig, folder: Path, on_wait: Callable[[str], None] | None = None
) -> AgentClient:
    """The client of a run: of its own agent, or of the external one that it names."""
    if settings.backend == "external":
        return AgentClient(
            settings, folder, endpoints=[external_endpoint(settings)], on_wait=on_wait
        )
    return AgentClient(settings, folder, on_wait=on_wait)
