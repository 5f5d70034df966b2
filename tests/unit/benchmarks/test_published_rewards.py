"""What our rewards are compared with is the released algorithm: it gives the values that ours give
with `rewards.parity: published`, where both are defined."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from types import ModuleType

import numpy as np
import pytest

from geoagent.config import ConsistencyConfig, SemanticConfig
from geoagent.rewards.consistency import Consistency
from geoagent.rewards.semantic import Semantic

Load = Callable[[str], ModuleType]


@pytest.fixture(scope="module")
def batches(benchmark_module: Load) -> ModuleType:
    return benchmark_module("batches")


@pytest.fixture(scope="module")
def url(benchmark_module: Load) -> Iterator[str]:
    """An agent that says France, whatever it is asked."""
    with benchmark_module("stub").serving(0.0, 8) as address:
        yield f"{address}/v1"


def shortened(text: str, characters: int) -> str:
    """The completion, its country's reasoning cut down to so many characters."""
    before, opening, rest = text.partition('"Reasoning": "')
    reasoning, closing, after = rest.partition('"')
    return before + opening + reasoning[:characters] + closing + after


def test_consistency(batches: ModuleType, url: str) -> None:
    texts, _ = batches.completions(8 * 14, 0)  # a picture of each country
    french = next(text for text in texts if '"Conclusion": "France"' in text)
    texts = [*texts[::4], *(shortened(french, length) for length in (80, 90, 120, 150, 200))]
    texts += [french.replace("RegionalGuess", "RegionalGuesses"), french.replace(" ", "  ")]
    client = batches.client_of(url, 8)
    ours = Consistency(ConsistencyConfig(), client, published=True)(texts)
    client.close()
    theirs = batches.PublishedConsistency(url, pauses=False)(texts)
    assert theirs == pytest.approx(ours)
    assert 0.0 in theirs
    assert len({round(value, 4) for value in theirs}) > 4


def encode(names: list[str]) -> np.ndarray:
    """Unit vectors that lie near each other, made of the names' checksums."""
    digits = np.array([list(hashlib.md5(name.encode()).digest()) for name in names], dtype=float)
    vectors = digits[:, :3]
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_semantic(batches: ModuleType) -> None:
    texts, columns = batches.completions(8 * 14, 0)
    texts += ["<answer>France; Bretagne</answer>", "<answer>France</answer>", "Peru; Cusco; Cusco"]
    columns = {"solution": [*columns["solution"], *["<answer>Peru; Cusco; Cusco</answer>"] * 3]}
    ours = Semantic(SemanticConfig(), encode, published=True)(texts, **columns)
    theirs = batches.PublishedSemantic(encode)(texts, **columns)
    assert theirs == pytest.approx(ours)
    assert len({round(value, 4) for value in theirs}) > 4


def test_completions_are_what_is_measured(batches: ModuleType) -> None:
    texts, columns = batches.completions(16, 3)
    assert len(set(texts)) == 16  # no two reasonings alike, so no question is asked twice
    assert len(set(columns["solution"])) == 2  # two pictures
    assert len(batches.names((texts, columns))) < 16 * 6 / 2
