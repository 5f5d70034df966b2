"""semantic, with vectors whose similarities are chosen."""

from __future__ import annotations

import sys
import types
from pathlib import Path

import numpy as np
import pytest

from geoagent.config import LevelWeights, SemanticConfig
from geoagent.errors import UsageError
from geoagent.rewards import semantic
from geoagent.rewards.embedding import load_encoder, package_folder
from geoagent.rewards.semantic import Semantic

from .helpers import completion

SIMILAR = {"c": 0.8, "cc": 0.6, "r": 0.5, "rr": 0.4, "p": 0.9, "n": -0.5}
"""Similarity of each made-up name to 'true'."""


class Encoder:
    """Unit vectors with the cosine of SIMILAR to the first axis."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []

    def __call__(self, names: list[str]) -> np.ndarray:
        self.batches.append(names)
        cosines = np.array([SIMILAR.get(name, 1.0) for name in names])
        return np.stack([cosines, np.sqrt(1 - cosines**2)], axis=1)


def values(answers: list[str], published: bool = False, solution: str = "t; t; t") -> list[float]:
    reward = Semantic(SemanticConfig(), Encoder(), published)
    texts = [completion(answer) for answer in answers]
    return reward(texts, solution=[f"<answer>{solution}</answer>"] * len(texts))


@pytest.mark.parametrize("published", [False, True])
@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("t; t; t", 1.0),
        ("c; r; p", 0.1 * 0.8 + 0.6 * 0.5 + 0.3 * 0.9),
        # The country is under its gate of 0.7, which shuts out the region, and that the place.
        ("cc; r; p", 0.1 * 0.6),
        # The region is under 0.5: it counts itself, but shuts out the place.
        ("c; rr; p", 0.1 * 0.8 + 0.6 * 0.4),
        ("c; r", 0.1 * 0.8 + 0.6 * 0.5),
        ("c", 0.1 * 0.8),
        ("n; r; p", 0.0),
        ("", 0.0),
        ("c; r; t; t", 0.1 * 0.8 + 0.6 * 0.5 + 0.3 * 1.0),
    ],
)
def test_weights_and_gates(answer: str, expected: float, published: bool) -> None:
    if answer == "" and published:
        expected = 0.0
    assert values([answer], published) == [pytest.approx(expected)]


def test_level_missing_in_the_truth_scores_nothing() -> None:
    assert values(["c; r; p"], solution="t; t") == [pytest.approx(0.1 * 0.8 + 0.6 * 0.5)]


def test_aliases_are_one_place_unless_published(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SIMILAR, "Deutschland", 0.0)
    monkeypatch.setitem(SIMILAR, "Bayern", 0.0)
    answer, solution = ["Deutschland; Bayern; p"], "Germany; Bavaria; t"
    assert values(answer, False, solution) == [pytest.approx(0.1 + 0.6 + 0.3 * 0.9)]
    assert values(answer, True, solution) == [pytest.approx(0.0)]


def test_whole_completion_is_the_answer_only_in_published() -> None:
    for published, expected in ((False, 0.0), (True, 0.08)):
        reward = Semantic(SemanticConfig(), Encoder(), published)
        assert reward(["c"], solution=["t; t; t"]) == [pytest.approx(expected)]


def test_weights_are_shares() -> None:
    config = SemanticConfig(weights=LevelWeights(country=2.0, region=1.0, precise=1.0))
    reward = Semantic(config, Encoder())
    assert reward([completion("c; r; t")], solution=["t; t; t"]) == [
        pytest.approx(0.5 * 0.8 + 0.25 * 0.5 + 0.25)
    ]
    none = SemanticConfig(weights=LevelWeights(country=0.0, region=0.0, precise=0.0))
    with pytest.raises(UsageError, match=r"rewards\.semantic\.weights"):
        Semantic(none)


def test_one_batch_of_distinct_names_a_call_and_none_twice() -> None:
    encoder = Encoder()
    reward = Semantic(SemanticConfig(), encoder)
    texts = [completion("c; r; p"), completion("c; r; p"), completion("c; rr")]
    reward(texts, solution=["t; t; t"] * 3)
    assert encoder.batches == [["c", "p", "r", "rr", "t"]]
    reward(texts, solution=["t; t; u"] * 3)
    assert encoder.batches[1:] == [["u"]]


def test_memory_starts_anew_when_it_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(semantic, "_MAX_VECTORS", 2)
    reward = Semantic(SemanticConfig(), Encoder())
    for _ in range(3):
        assert reward([completion("c; r; p")], solution=["t; t; t"]) == [pytest.approx(0.65)]


@pytest.mark.parametrize("solution", [None, 3])
def test_truth_that_is_no_text_is_an_error_and_not_a_zero(solution: object) -> None:
    with pytest.raises(UsageError, match="'solution', row 0"):
        Semantic(SemanticConfig(), Encoder())(["x"], solution=[solution])


def test_failing_encoder_is_no_zero() -> None:
    def broken(names: list[str]) -> np.ndarray:
        raise RuntimeError("no memory")

    with pytest.raises(RuntimeError, match="no memory"):
        Semantic(SemanticConfig(), broken)([completion("c; r")], solution=["t; t"])


@pytest.mark.parametrize("name", ["not_there_at_all", "os.path/..", "", "json"])
def test_package_without_a_model(name: str) -> None:
    with pytest.raises(UsageError, match=r"rewards\.semantic\.model"):
        package_folder(f"package:{name}")


def test_model_that_cannot_be_loaded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(folder: str, device: str) -> None:
        raise OSError(f"{folder} is not a model\nand more")

    fake = types.ModuleType("sentence_transformers")
    fake.SentenceTransformer = refuse  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "sentence_transformers", fake)
    monkeypatch.setattr("geoagent.compat.prepare_torch", lambda: False)
    with pytest.raises(UsageError, match=r"rewards\.semantic\.model: .* cannot be loaded"):
        load_encoder(str(tmp_path))


def test_the_model_is_loaded_once_a_process(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    loaded: list[str] = []
    fake = types.ModuleType("sentence_transformers")
    fake.SentenceTransformer = lambda folder, device: loaded.append(folder)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "sentence_transformers", fake)
    monkeypatch.setattr("geoagent.compat.prepare_torch", lambda: False)
    assert load_encoder(str(tmp_path)) is load_encoder(str(tmp_path))
    assert loaded == [str(tmp_path)]
