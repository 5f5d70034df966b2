"""Does an independent reader reach the model's conclusions from the model's reasoning alone?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from geoagent.agent.prompt import Question
from geoagent.answer import LEVELS, Completion, parse
from geoagent.config import ConsistencyConfig
from geoagent.geo.regions import same_place
from geoagent.rewards.base import Reward, Score

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
    conclusion score 0 and are not asked about.

    Where the agent's reply is unusable even after retries, that stage says nothing about the
    model: it is left out and the other stages' weights are scaled up; if no stage is left, the
    completion gets the mean of the batch. `published` counts such stages as 0 and compares the
    texts exactly (spaces removed), as the released code does.
    """

    name = "consistency"

    def __init__(self, config: ConsistencyConfig, agent: Agent, published: bool = False) -> None:
        self.config = config
        self.agent = agent
        self.published = published

    def score(self, completions: Sequence[str], **columns: Any) -> list[Score]:
        asked = [self._stages(parse(text)) for text in completions]
        judgements = iter(self.agent.ask([stage.question for stages in asked for stage in stages]))
        judged = [[(stage, next(judgements)) for stage in stages] for stages in asked]
        scores = [self._one(stages) for stages in judged]
        return self._fill(scores)

    def _stages(self, completion: Completion) -> list[_Asked]:
        asked: list[_Asked] = []
        earlier: list[tuple[str, str]] = []
        for level in LEVELS:
            stage = completion.stages.get(level)
            if stage is None:
                continue
            factor = self.length_factor(len(stage.reasoning))
            if factor > 0 and stage.conclusion:
                question = Question(level, stage.reasoning, tuple(earlier))
                asked.append(_Asked(level, question, stage.conclusion, factor))
            if stage.conclusion:
                earlier.append((level, stage.conclusion))
        return asked

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
        weights = {level: getattr(self.config.weights, level) for level in LEVELS}
        failed = {s.level for s, judgement in judged if judgement.failed and not self.published}
        agreed = {s.level: s.factor for s, judgement in judged if self._agrees(s, judgement)}
        counts = {
            "asked": float(len(judged)),
            "agreed": float(len(agreed)),
            "agent_failed": float(sum(judgement.failed for _, judgement in judged)),
        }
        left = sum(weights[level] for level in LEVELS if level not in failed)
        if failed and left <= 0:
            return counts
        value = sum(weights[level] * factor for level, factor in agreed.items())
        scale = sum(weights.values()) / left if failed else 1.0
        return Score(value * scale, counts)

    def _agrees(self, stage: _Asked, judgement: Judgement) -> bool:
        if judgement.failed or not judgement.conclusion:
            return False
        if self.published:
            return judgement.conclusion.replace(" ", "") == stage.conclusion.replace(" ", "")
        return same_place(judgement.conclusion, stage.conclusion, stage.level)

    @staticmethod
    def _fill(scores: Sequence[Score | Mapping[str, float]]) -> list[Score]:
        known = [score.value for score in scores if isinstance(score, Score)]
        mean = sum(known) / len(known) if known else 0.0
        return [s if isinstance(s, Score) else Score(mean, {**s, "filled": 1.0}) for s in scores]
