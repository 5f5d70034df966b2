"""The semantic reward with the real sentence-embedding model."""

from __future__ import annotations

import pytest

from geoagent.config import SemanticConfig
from geoagent.rewards.semantic import Semantic


@pytest.fixture(scope="module")
def encoder() -> object:
    from geoagent.rewards.embedding import load_encoder

    return load_encoder(SemanticConfig().model)


@pytest.mark.parametrize("published", [False, True])
def test_nearer_names_score_higher(encoder: object, published: bool) -> None:
    reward = Semantic(SemanticConfig(), encoder, published)  # type: ignore[arg-type]
    answers = (
        "United States; Texas; Houston",
        "United States; State of Texas; Dallas",
        "Japan; Hokkaido; Sapporo",
    )
    texts = [f"<answer>{answer}</answer>" for answer in answers]
    same, near, far = reward(texts, solution=["United States; Texas; Houston"] * 3)
    assert same == pytest.approx(1.0, abs=1e-5)
    assert 0.6 < near < same
    assert 0 <= far < 0.1


def test_alias_that_the_model_does_not_know(encoder: object) -> None:
    text, solution = ["<answer>中国; 安徽; 合肥</answer>"], ["China; Anhui; Hefei"]
    improved = Semantic(SemanticConfig(), encoder)  # type: ignore[arg-type]
    published = Semantic(SemanticConfig(), encoder, published=True)  # type: ignore[arg-type]
    assert improved(text, solution=solution) == [pytest.approx(1.0)]
    assert published(text, solution=solution)[0] < 0.1


@pytest.mark.parametrize("name", ["", "\x00", "?" * 5000, "x" * 100_000])
def test_any_text_can_be_embedded(encoder: object, name: str) -> None:
    reward = Semantic(SemanticConfig(), encoder)  # type: ignore[arg-type]
    (value,) = reward([f"<answer>{name}; {name}</answer>"], solution=["France; Paris"])
    assert 0 <= value <= 1
