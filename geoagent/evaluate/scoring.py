"""The rewards of training, on completions that were predicted."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from geoagent.evaluate.intervals import mean_interval
from geoagent.rewards.registry import build, score_all, total, weighted

if TYPE_CHECKING:
    from geoagent.agent.client import AgentClient
    from geoagent.config import Config
    from geoagent.rewards.base import Score


class Scorer:
    """Scores rows of predictions.jsonl with the weighted rewards of a configuration."""

    def __init__(self, config: Config, agent: AgentClient | None) -> None:
        self.config = config.rewards
        self.agent = agent
        names = weighted(config.rewards) if config.eval.rewards else []
        self.rewards = build(config.rewards, names, agent=agent) if names else {}
        # Enough to keep the agent busy; a small agent on a CPU takes seconds for one question.
        self.chunk = max(8, config.agent.slots * config.agent.replicas)

    def score(self, rows: Sequence[dict[str, Any]], tell: Callable[[int], None]) -> dict[str, Any]:
        """Add `rewards` and their weighted sum `reward` to the rows; returns the means, and their
        95 % intervals as if the rows were independent of each other.

        Empty if the configuration wants no rewards. `tell` gets the number of rows of each chunk
        that is done. OutageError if a reward's service is away.
        """
        if not self.rewards:
            return {}
        scores: dict[str, list[Score]] = {name: [] for name in self.rewards}
        for start in range(0, len(rows), self.chunk):
            chunk = rows[start : start + self.chunk]
            columns = {name: [row.get(name) for row in chunk] for name in chunk[0]}
            completions = [row["completion"] for row in chunk]
            for name, column in score_all(self.rewards, completions, **columns).items():
                scores[name] += column
            tell(len(chunk))
        totals = total(scores, self.config.weights)
        for index, row in enumerate(rows):
            row["rewards"] = {name: column[index].value for name, column in scores.items()}
            row["reward"] = totals[index]
        return self._means(scores, totals)

    def _means(self, scores: dict[str, list[Score]], totals: list[float]) -> dict[str, Any]:
        import numpy as np

        values = {name: [score.value for score in column] for name, column in scores.items()}
        means = {name: sum(column) / len(column) for name, column in values.items()}
        result: dict[str, Any] = {"mean_reward": sum(totals) / len(totals), "rewards": means}
        drawn = {"mean_reward": totals, **{f"reward_{name}": values[name] for name in values}}
        result["intervals"] = {
            name: list(mean_interval(np.array(column))) for name, column in drawn.items()
        }
        if "consistency" in scores:
            result["agent"] = {
                label: int(sum(float(s.parts.get(part) or 0) for s in scores["consistency"]))
                for label, part in (
                    ("asked", "asked"),
                    ("agreed", "agreed"),
                    ("failed", "agent_failed"),
                )
            }
        return result

    def stats(self) -> dict[str, Any]:
        """What the agent was asked so far, under the key `agent`; empty without one."""
        return {} if self.agent is None else {"agent": asdict(self.agent.stats)}


def gain(before: Sequence[dict[str, Any]], after: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Mean difference of `reward` between two models' scored rows, and its standard error.

    Differences are taken image by image (`id`; draws of one image are averaged first). The error
    is that of the choice of images; null for fewer than two.
    """
    earlier, later = _by_image(before), _by_image(after)
    differences = [later[image] - earlier[image] for image in earlier]
    error = None
    if len(differences) > 1:
        error = statistics.stdev(differences) / math.sqrt(len(differences))
    return {"mean": statistics.fmean(differences), "standard_error": error}


def _by_image(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    images: dict[str, list[float]] = {}
    for row in rows:
        images.setdefault(row["id"], []).append(row["reward"])
    return {image: statistics.fmean(values) for image, values in images.items()}
