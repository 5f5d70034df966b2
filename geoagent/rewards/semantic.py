"""How alike are the names of the answer and of the truth, level by level?"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from geoagent.answer import LEVELS, parse, split_parts
from geoagent.config import SemanticConfig
from geoagent.geo.regions import same_place
from geoagent.rewards import released
from geoagent.rewards.base import Reward, Score, shares, three_levels, truth_parts
from geoagent.rewards.embedding import Encoder, load_encoder

_MAX_VECTORS: Final = 200_000
"""About 300 MB of vectors of 384 numbers; then the memory starts anew."""
_MAX_NAME: Final = 1000
"""Characters of a name that are embedded; models read 128 to 256 tokens."""


class Semantic(Reward):
    """Weighted sum over country, region and place of the cosine similarity of the embedded names,
    clipped to 0…1 (GeoAgent §3.2; weights 0.1, 0.6, 0.3). Range 0 to 1.

    A level counts only if the level above reached its gate (country 0.7, region 0.5; a level that
    was itself shut out counts 0 there); its own low similarity does not shut it out. A level that
    is missing on either side scores 0. Names that `same_place` knows as one place have similarity
    1, so that 'Bayern' is 'Bavaria' also for an English model; `published` asks the model only,
    and takes the whole completion for the answer where there is no answer element.
    """

    name = "semantic"
    columns = ("solution",)

    def __init__(
        self, config: SemanticConfig, encoder: Encoder | None = None, published: bool = False
    ) -> None:
        self.config = config
        self.published = published
        self.weights = shares(config.weights, "rewards.semantic.weights")
        self._encoder = encoder
        self._vectors: dict[str, Any] = {}

    def score(self, completions: Sequence[str], **columns: Any) -> list[Score]:
        solutions = self.texts(columns, "solution", len(completions))
        pairs = [
            self._pairs(text, solution)
            for text, solution in zip(completions, solutions, strict=True)
        ]
        self._embed(name for three in pairs for pair in three if all(pair) for name in pair)
        return [self._one(three) for three in pairs]

    def _pairs(self, text: str, solution: str) -> list[tuple[str, str]]:
        """The model's and the true name of each level; "" where there is none."""
        parts = split_parts(released.answer(text)) if self.published else parse(text).parts
        ours, theirs = three_levels(parts), three_levels(truth_parts(solution))
        return [
            (first[:_MAX_NAME], second[:_MAX_NAME])
            for first, second in zip(ours, theirs, strict=True)
        ]

    def _one(self, pairs: Sequence[tuple[str, str]]) -> Score:
        true_country = pairs[0][1]
        gates = (0.0, self.config.region_gate, self.config.precise_gate)
        counted: dict[str, float] = {}
        above = 0.0
        for level, gate, pair in zip(LEVELS, gates, pairs, strict=True):
            opened = above >= gate and all(pair)
            above = self._similarity(*pair, level, true_country) if opened else 0.0
            counted[level] = above
        return Score(sum(self.weights[level] * alike for level, alike in counted.items()), counted)

    def _similarity(self, first: str, second: str, level: str, country: str) -> float:
        if not self.published and same_place(first, second, level, country):
            return 1.0
        product = float((self._vectors[first] * self._vectors[second]).sum())
        return min(max(product, 0.0), 1.0)

    def _embed(self, names: Iterable[str]) -> None:
        """Embed what is new, all at once: pair by pair is what makes the released code slow."""
        if len(self._vectors) > _MAX_VECTORS:
            self._vectors.clear()
        new = sorted(set(names) - self._vectors.keys())
        if not new:
            return
        if self._encoder is None:
            self._encoder = load_encoder(self.config.model)
        self._vectors.update(zip(new, self._encoder(new), strict=True))
