"""`geoagent score`"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from geoagent.commands.common import (
    Rows,
    add_agent,
    add_rows,
    add_settings,
    agent_client,
    command,
    line,
)
from geoagent.config import REWARD_NAMES, resolve
from geoagent.errors import UsageError

if TYPE_CHECKING:
    from geoagent.agent.client import AgentClient
    from geoagent.config import AgentConfig


def _score(options: argparse.Namespace) -> int:
    from geoagent.rewards.registry import build
    from geoagent.score import check_row, score_rows

    names = [name.strip() for name in options.rewards.split(",") if name.strip()]
    if not names:
        raise UsageError(f"--rewards: no name; there are: {', '.join(REWARD_NAMES)}")
    config = resolve([*(str(file) for file in options.config), *options.overrides])
    agent = _agent(options.agent, config.agent) if "consistency" in names else None
    rewards = build(config.rewards, names, agent=agent)
    rows = Rows(options.file)

    def usable() -> Iterator[dict[str, Any]]:
        for where, row in rows:
            try:
                check_row(row, rewards)
            except ValueError as error:
                rows.refuse(where, str(error))
                continue
            yield row

    for row in score_rows(usable(), rewards):
        print(line(row))
    if agent is not None and agent.stats.invalid:
        print(
            f"warning: the agent gave no usable reply to {agent.stats.invalid} of "
            f"{agent.stats.distinct} questions; those stages are left out of consistency, and a "
            "completion without any other got the mean of those before it",
            file=sys.stderr,
        )
    return rows.exit_code


def _agent(target: str | None, settings: AgentConfig) -> AgentClient:
    if target is None:
        raise UsageError(
            "reward consistency: asks an agent; name a run whose agent is running, or a server: "
            "--agent runs/NAME or --agent http://HOST:PORT/v1"
        )
    return agent_client(target, settings)


def add(commands: Any) -> None:
    parser = command(
        commands,
        "score",
        _score,
        "rewards of completions: the same rows with one more key a reward",
        """%(prog)s rows.jsonl --rewards spatial,semantic
        %(prog)s rows.jsonl --rewards spatial rewards.spatial.tau_km=100
        %(prog)s predictions.jsonl --rewards consistency --agent runs/first""",
    )
    add_rows(parser, "file", "completion and the truth (solution, latitude, longitude, …)")
    add_settings(parser)
    parser.add_argument(
        "--rewards", required=True, metavar="NAME,…", help=f"of {', '.join(REWARD_NAMES)}"
    )
    add_agent(parser, "--agent", "who judges consistency: a run's agent, or a server")
