"""Do the agents of a run answer?"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Final

from geoagent.agent.endpoint import Endpoint, read_endpoints
from geoagent.config import Config
from geoagent.errors import UsageError
from geoagent.run import Run

_TIMEOUT_S: Final = 3.0


def agent_health(run: Run, config: Config, on_slurm: bool) -> str:
    """In a few words; every server is asked, all at the same time."""
    if config.agent.backend == "external":
        return _external_health(config)
    wanted = config.agent.replicas if on_slurm else 1
    announced = read_endpoints(run.agent)
    if not announced:
        return "none announced yet"
    count = sum(_all_answer(announced))
    return f"{count} of {max(wanted, len(announced))} {'answers' if count == 1 else 'answer'}"


def _external_health(config: Config) -> str:
    """Of a server that is not ours: it may want a token that is not known here."""
    from geoagent.agent.client import external_endpoint

    endpoint = Endpoint(url=(config.agent.url or "").rstrip("/"), model="", token="")
    with suppress(UsageError):
        endpoint = external_endpoint(config.agent)
    return "answers" if _all_answer([endpoint])[0] else f"{endpoint.url} does not answer"


def _all_answer(endpoints: list[Endpoint]) -> list[bool]:
    with ThreadPoolExecutor(len(endpoints)) as pool:
        return list(pool.map(_answers, endpoints))


def _answers(endpoint: Endpoint) -> bool:
    """Whether it serves; one that refuses the token does."""
    import httpx

    headers = {"Authorization": f"Bearer {endpoint.token}"} if endpoint.token else {}
    try:
        reply = httpx.get(
            f"{endpoint.url}/models", headers=headers, timeout=_TIMEOUT_S, trust_env=False
        )
    except (httpx.HTTPError, httpx.InvalidURL):
        return False
    return reply.status_code < 500
