"""The agent on vLLM against the agent on llama.cpp: `make test-vllm`, outside CI.

Starts both by the server of the product, with the same weights, checks what a server must do (a
token that is asked for and that nobody else can see, a reply in the schema), and asks both the same
questions through the product's client.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import httpx
import psutil
from agent import Agent, choose, start, warm_up

from geoagent.agent.endpoint import Endpoint, read_endpoints
from geoagent.agent.prompt import HEALTH, Question, messages, read_reply, schema
from geoagent.config import resolve
from geoagent.data.record import Record
from geoagent.data.swift import completion
from geoagent.errors import OutageError, exit_code
from geoagent.rewards.consistency import Consistency

_CACHE_GIB: Final = "1"
"""Of vLLM's cache of keys and values; by itself it takes a large share of the machine's memory."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, help="folder of the weights that vLLM loads")
    parser.add_argument("--scenes", type=int, default=10, metavar="N", help="held-out scenes (10)")
    options = parser.parse_args()
    return exit_code(lambda: compare(options.model.resolve(), options.scenes))


def compare(model: Path, scenes: int) -> int:
    """Print the figures; 1 if vLLM's server does not do what it must."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vllm-agent-")))
        chosen, rest = choose(folder / "sample", scenes)
        embedded = resolve(["recipe=demo"])
        started = time.monotonic()
        served = resolve(["recipe=demo", "agent.backend=vllm", f"agent.model={model}"])
        variables = {"VLLM_CPU_KVCACHE_SPACE": _CACHE_GIB}
        vllm = start(folder, stack, "vllm", served, variables)
        print(f"vLLM answered its first question after {time.monotonic() - started:.0f} s")
        llama = start(folder, stack, "llama.cpp", embedded, {})
        (endpoint,) = read_endpoints(folder / "vllm" / "agent")
        found = {
            "without the token": status(endpoint, None) == 401,
            "with a wrong token": status(endpoint, "wrong") == 401,
            "token in no command line": not in_a_command_line(endpoint.token),
            "schema obeyed though the chat says nothing of it": obeys_schema(endpoint),
        }
        for name, good in found.items():
            print(f"{name}: {'as it should be' if good else 'NOT as it should be'}")
        answers = [ask(agent, chosen, rest) for agent in (vllm, llama)]
        same = sum(a == b for a, b in zip(*answers, strict=True))
        print(f"same conclusion: {same} of {len(answers[0])}")
    return 0 if all(found.values()) else 1


def ask(agent: Agent, scenes: list[Record], rest: list[Record]) -> list[str | None]:
    """The conclusions for all stages of the scenes' true chains of thought."""
    warm_up(agent, rest)
    reward = Consistency(agent.config.rewards.consistency, agent.client)
    stages = [stage for scene in scenes for stage in reward._asked(completion(scene))]
    started = time.monotonic()
    judgements = agent.client.ask([stage.question for stage in stages])
    rate = len({stage.question for stage in stages}) / (time.monotonic() - started)
    valid = sum(not judgement.failed for judgement in judgements)
    right = sum(reward._agrees(s, j) for s, j in zip(stages, judgements, strict=True))
    print(
        f"{agent.name}: {valid} of {len(stages)} replies valid, {agent.client.stats.retried} asked "
        f"again, {right} name the right place, {rate:.1f} questions a second"
    )
    return [judgement.conclusion for judgement in judgements]


def post(
    endpoint: Endpoint, question: Question, chat: list[dict[str, str]], token: str | None
) -> Any:
    form = {"name": "conclusion", "strict": True, "schema": schema(question)}
    body = {
        "model": endpoint.model,
        "messages": chat,
        "max_tokens": 200,
        "temperature": 0,
        "response_format": {"type": "json_schema", "json_schema": form},
    }
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return httpx.post(
        f"{endpoint.url}/chat/completions", json=body, headers=headers, timeout=300, trust_env=False
    )


def status(endpoint: Endpoint, token: str | None) -> int:
    return int(post(endpoint, HEALTH, messages(HEALTH), token).status_code)


def obeys_schema(endpoint: Endpoint) -> bool:
    """Whether a reply has the id that only the schema names."""
    chat = [{"role": "user", "content": "Which country has the city of Oslo?"}]
    reply = post(endpoint, HEALTH, chat, endpoint.token)
    try:
        return bool(read_reply(HEALTH, reply.json()["choices"][0]["message"]["content"]))
    except (ValueError, KeyError):
        print(f"vLLM replied: {reply.text[:300]}")
        return False


def in_a_command_line(token: str) -> bool:
    """Whether anybody on the machine can read it in the list of processes."""
    lines = [process.info["cmdline"] or [] for process in psutil.process_iter(["cmdline"])]
    if not any("serve" in line for line in lines):
        raise OutageError("vLLM's process is not in the list of processes")
    return any(token in word for line in lines for word in line)


if __name__ == "__main__":
    raise SystemExit(main())
