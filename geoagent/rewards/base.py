"""What a reward is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from geoagent.errors import UsageError

Part = float | str | None


@dataclass(frozen=True)
class Score:
    """One completion's reward, and what it was made of (for curves and for looking at it)."""

    value: float
    parts: Mapping[str, Part] = field(default_factory=dict)


class Reward(ABC):
    """A function of a batch: completions and ground-truth columns of equal length → scores."""

    name: ClassVar[str]
    columns: ClassVar[tuple[str, ...]] = ()
    """Ground-truth columns that must be there."""

    @abstractmethod
    def score(self, completions: Sequence[str], **columns: Any) -> list[Score]:
        """Scores in the order of the completions. OutageError if a service is away."""

    def __call__(self, completions: Sequence[str], **columns: Any) -> list[float]:
        """Only the values, as trainers want them."""
        return [score.value for score in self.score(completions, **columns)]

    def column(self, columns: Mapping[str, Any], name: str, length: int) -> Sequence[Any]:
        """A ground-truth column; UsageError if it is missing or not as long as the batch."""
        values = columns.get(name)
        if values is None:
            raise UsageError(f"reward {self.name}: column '{name}' is missing from the dataset")
        if isinstance(values, str) or len(values) != length:
            raise UsageError(f"reward {self.name}: column '{name}' does not fit the batch")
        return list(values)


def truth_parts(solution: object) -> tuple[str, ...]:
    """Parts of a true answer, with or without its `<answer>` tags."""
    from geoagent.answer import parse, split_parts

    text = solution if isinstance(solution, str) else ""
    if "<answer>" in text:
        return parse(text).parts
    return split_parts(text)
