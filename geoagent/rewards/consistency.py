"""Does an independent reader reach the model's conclusions from the model's reasoning alone?"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from geoagent.agent.client import check_usable
from geoagent.agent.prompt import Question
from geoagent.answer import LEVELS, parse
from geoagent.config import ConsistencyConfig
from geoagent.geo.regions import same_place
from geoagent.rewards import released
from geoagent.rewards.base import Reward, Score, shares

if TYPE_CHECKING:
    from geoagent.agent.client import Judgement


class Agent(Protocol):
    """What this reward needs of the agent."""

    def ask(self, questions: Sequence[Question]) -> list[Judgement]: ...


@dataclass(frozen=True)
class _Asked:
    """One stage of one completion that the agent is asked about."""

    level: str
    question: Question
    conclusion: str
    factor: float


class Consistency(Reward):
    """Σ weight · length factor · agreement over the three stages (GeoAgent §3.2). Range 0 to 1.

    Agreement is 1 if the agent's conclusion names the model's place. The length factor is 0 below
    90 characters of reasoning, 1 above 200, else a sigmoid. Stages without reasoning or
    conclusion score 0 and are not asked about. All stages of all completions are asked at once.

    Where the agent's reply is unusable even after retries, that stage says nothing about the
    model: it is left out and the other stages' weights are scaled up; if no stage is left, the
    completion gets the mean of those of the batch that the agent could judge, or of the batches
    before. Where nothing at all of a batch was usable, OutageError. `published` counts such
    stages as 0, compares texts exactly (spaces removed), and gives 0 unless all three stages are
    there in valid JSON.
    """

    name = "consistency"

    def __init__(self, config: ConsistencyConfig, agent: Agent, published: bool = False) -> None:
        self.config = config
        self.agent = agent
        self.published = published
        self.weights = shares(config.weights, "rewards.consistency.weights")
        self._mean = 0.0
        """Of the completions that were judged in the newest batch that had any."""

    def score(self, completions: Sequence[str], **columns: Any) -> list[Score]:
        asked = [list(self._asked(text)) for text in completions]
        judgements = self.agent.ask([stage.question for stages in asked for stage in stages])
        check_usable([stage.question for stages in asked for stage in stages], judgements)
        replies = iter(judgements)
        judged = [[(stage, next(replies)) for stage in stages] for stages in asked]
        return self._fill([self._one(stages) for stages in judged])

    def _fill(self, scores: Sequence[Score | Mapping[str, float]]) -> list[Score]:
        """Completions that could not be judged get the mean of those that were."""
        known = [s.value for s in scores if isinstance(s, Score) and s.parts["asked"]]
        self._mean = sum(known) / len(known) if known else self._mean
        filled = {"filled": 1.0}
        return [s if isinstance(s, Score) else Score(self._mean, {**s, **filled}) for s in scores]

    def _asked(self, text: str) -> Iterator[_Asked]:
        earlier: tuple[tuple[str, str], ...] = ()
        for level, (reasoning, conclusion) in self._stages(text).items():
            factor = self.length_factor(len(reasoning))
            if factor > 0 and conclusion:
                yield _Asked(level, Question(level, reasoning, earlier), conclusion, factor)
            if conclusion:
                earlier = (*earlier, (level, conclusion))

    def _stages(self, text: str) -> dict[str, tuple[str, str]]:
        """Reasoning and conclusion by level, in order."""
        if self.published:
            chain = released.chain(text) or {}
            return {
                level: (stage["Reasoning"], str(stage["Conclusion"] or ""))
                for level, stage in chain.items()
            }
        stages = parse(text).stages
        return {
            level: (stages[level].reasoning, stages[level].conclusion)
            for level in LEVELS
            if level in stages
        }

    def length_factor(self, characters: int) -> float:
        """0 below min_characters, 1 above full_characters, else 1/(1+exp(−s·(x − ½))), x from 0
        to 1 between the two (released code; s = 8)."""
        low, high = self.config.min_characters, self.config.full_characters
        if characters < low:
            return 0.0
        if characters > high:
            return 1.0
        x = (characters - low) / (high - low)
        return 1.0 / (1.0 + math.exp(-self.config.steepness * (x - 0.5)))

    def _one(self, judged: Sequence[tuple[_Asked, Judgement]]) -> Score | Mapping[str, float]:
        """The score, or only the counts where the agent gave nothing to go by."""
        failed = {stage.level for stage, judgement in judged if judgement.failed}
        agreed = {s.level: s.factor for s, judgement in judged if self._agrees(s, judgement)}
        counts = {
            "asked": float(len(judged)),
            "agreed": float(len(agreed)),
            "agent_failed": float(len(failed)),
        }
        value = sum(self.weights[level] * factor for level, factor in agreed.items())
        if not failed or self.published:
            return Score(value, counts)
        left = sum(weight for level, weight in self.weights.items() if level not in failed)
        if len(failed) == len(judged) or left <= 0:
            return counts
        return Score(value / left, counts)

    def _agrees(self, stage: _Asked, judgement: Judgement) -> bool:
        if judgement.failed or not judgement.conclusion:
            return False
        ours, theirs = stage.conclusion, judgement.conclusion
        if self.published:
            return theirs.strip().replace(" ", "") == ours.strip().replace(" ", "")
        earlier = stage.question.earlier
        country = next((text for level, text in earlier if level == "country"), None)
        ours, theirs = _without_coarser(ours, earlier), _without_coarser(theirs, earlier)
        return same_place(ours, theirs, stage.level, country)


def _without_coarser(conclusion: str, earlier: Sequence[tuple[str, str]]) -> str:
    """'Munich, Bavaria, Germany' after the stages Germany and Bavaria → 'Munich'."""
    pieces = [piece.strip() for piece in conclusion[:1000].split(",")]
    country = earlier[0][1] if earlier else None
    while len(pieces) > 1 and any(
        same_place(pieces[-1], text, level, country) for level, text in earlier
    ):
        pieces.pop()
    return ", ".join(pieces)
