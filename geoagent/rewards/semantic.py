"""How alike are the names of the answer and of the truth, level by level?"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from geoagent.answer import LEVELS, parse
from geoagent.config import SemanticConfig
from geoagent.errors import UsageError
from geoagent.rewards.base import Reward, Score, truth_parts

Encoder = Callable[[list[str]], Any]
"""Texts → unit vectors, one row each."""


class Semantic(Reward):
    """Weighted sum over country, region and place of the cosine similarity of the embedded names,
    clipped to 0…1 (GeoAgent §3.2; weights 0.1, 0.6, 0.3). A level counts only if the level above
    reached its gate (country 0.7, region 0.5); a level that is missing on either side scores 0.
    """

    name = "semantic"
    columns = ("solution",)

    def __init__(self, config: SemanticConfig, encoder: Encoder | None = None) -> None:
        self.config = config
        self._encoder = encoder
        self._vectors: dict[str, Any] = {}

    def score(self, completions: Sequence[str], **columns: Any) -> list[Score]:
        solutions = self.column(columns, "solution", len(completions))
        pairs = [
            list(zip(parse(text).parts[:3], truth_parts(solution)[:3], strict=False))
            for text, solution in zip(completions, solutions, strict=True)
        ]
        self._embed(name for pair in pairs for names in pair for name in names)
        return [self._one(pair) for pair in pairs]

    def _one(self, pairs: Sequence[tuple[str, str]]) -> Score:
        similar = [self._similarity(*pair) for pair in pairs] + [0.0] * (3 - len(pairs))
        country, region, precise = similar
        region = region if country >= self.config.region_gate else 0.0
        # A level that its own gate closed closes the one below as well.
        precise = precise if region >= self.config.precise_gate else 0.0
        weights = self.config.weights
        value = weights.country * country + weights.region * region + weights.precise * precise
        return Score(value, dict(zip(LEVELS, (country, region, precise), strict=True)))

    def _similarity(self, first: str, second: str) -> float:
        product = float((self._vectors[first] * self._vectors[second]).sum())
        return min(max(product, 0.0), 1.0)

    def _embed(self, names: Iterable[str]) -> None:
        """Embed what is new, all at once: pair by pair is what makes the released code slow."""
        new = sorted(set(names) - self._vectors.keys())
        if len(self._vectors) > 200_000:
            self._vectors.clear()
        if new:
            self._vectors.update(zip(new, self._encode(new), strict=True))

    def _encode(self, names: list[str]) -> Any:
        if self._encoder is None:
            self._encoder = load_encoder(self.config.model)
        return self._encoder(names)


def load_encoder(model: str) -> Encoder:
    """The sentence-transformers model of a folder, a hub name, or `package:NAME`."""
    from geoagent.compat import prepare_torch

    prepare_torch()
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    folder = package_folder(model) if model.startswith("package:") else model
    from sentence_transformers import SentenceTransformer

    try:
        encoder = SentenceTransformer(folder, device="cpu")
    except (OSError, ValueError) as error:
        first = str(error).splitlines()[0]
        raise UsageError(f"rewards.semantic.model: {model}: cannot be loaded ({first})") from error

    def encode(names: list[str]) -> Any:
        return encoder.encode(
            names, batch_size=128, normalize_embeddings=True, show_progress_bar=False
        )

    return encode


def package_folder(model: str) -> str:
    """The folder inside an installed package that holds a sentence-transformers model."""
    package = model.partition(":")[2]
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise UsageError(f"rewards.semantic.model: package {package} is not installed; make setup")
    root = Path(spec.origin).parent
    marks = sorted(root.rglob("modules.json"))
    if not marks:
        raise UsageError(f"rewards.semantic.model: package {package} holds no sentence model")
    return str(marks[0].parent)
