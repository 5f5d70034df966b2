"""The agent that a reward of this run asks."""

from __future__ import annotations

import atexit
import os
import sys
from typing import TYPE_CHECKING

from geoagent.run import Run

if TYPE_CHECKING:
    from geoagent.agent.client import AgentClient
    from geoagent.config import Config


def make_agent(config: Config, run: Run, stage: str) -> AgentClient:
    """The client of this process; its counts are written to the run when the process ends."""
    from geoagent.agent.client import make_client

    def waiting(message: str) -> None:
        print(message, file=sys.stderr, flush=True)

    client = make_client(config.agent, run.agent, on_wait=waiting)
    rank = os.environ.get("RANK", "0")
    atexit.register(client.write_stats, run.agent / f"stats-{stage}-rank-{rank}.json")
    return client
