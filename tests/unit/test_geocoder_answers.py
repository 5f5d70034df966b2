"""The benchmark's lists are as their page says, and misspellings are one edit away."""

from __future__ import annotations

import importlib
import sys
from collections import Counter
from pathlib import Path
from random import Random
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

ROOT = Path(__file__).resolve().parents[2]
LETTERS = st.sampled_from("abcdeéßñ文ый ’-")


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return _module("scripts", "geocoder_answers")


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    return _module("benchmarks", "geocoder")


def _module(folder: str, name: str) -> ModuleType:
    """A script as a module; the search path is as before afterwards."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [str(ROOT / folder), *sys.path])
        return importlib.import_module(name)


def test_enough_answers_of_each_form_and_of_all_the_world(benchmark: ModuleType) -> None:
    answers = benchmark.read_answers()
    forms = Counter(answer.form for answer in answers)
    assert len(answers) >= 3000
    assert min(forms.values()) >= 200, forms
    assert set(benchmark.WELL_FORMED) < set(forms)
    cities = [answer for answer in answers if answer.form == "three parts"]
    assert len(cities) >= 1000
    assert len({answer.country for answer in cities}) >= 200
    # No country has more than a share that could hide the others.
    assert max(Counter(answer.country for answer in cities).values()) <= 12


def test_answers_are_sane(benchmark: ModuleType) -> None:
    answers = benchmark.read_answers()
    keys = Counter((answer.id, answer.form) for answer in answers)
    assert set(keys.values()) == {1}
    for answer in answers:
        assert -90 <= answer.latitude <= 90, answer
        assert -180 <= answer.longitude <= 180, answer
        assert len(answer.country) == 2, answer
        assert answer.query.strip(), answer


def test_forms_of_one_place_have_one_truth(benchmark: ModuleType) -> None:
    truths: dict[str, set[tuple[float, float]]] = {}
    for answer in benchmark.read_answers():
        truths.setdefault(answer.id, set()).add((answer.latitude, answer.longitude))
    assert {len(found) for found in truths.values()} == {1}


def test_500_texts_that_are_no_place(benchmark: ModuleType) -> None:
    texts = benchmark.read_garbage()
    assert len(texts) == len(set(texts)) == 500
    queries = {answer.query for answer in benchmark.read_answers()}
    assert not queries & set(texts)


@given(st.text(LETTERS, max_size=20), st.integers(0, 1000))
def test_a_misspelling_is_one_edit_away(script: ModuleType, name: str, seed: int) -> None:
    from rapidfuzz.distance import OSA

    wrong = script.misspelt(name, Random(seed), {"abcde"})
    if wrong is None:
        return
    assert OSA.distance(name, wrong) == 1
    assert wrong[0] == name[0]
    assert script.plain(wrong) not in {script.plain(name), "abcde"}


@pytest.mark.parametrize(
    ("text", "digits", "degrees"),
    [("+5230", 2, 52.5), ("-00908", 3, -9.13333), ("-0860929", 3, -86.15806)],
)
def test_coordinates_of_the_zones(
    script: ModuleType, text: str, digits: int, degrees: float
) -> None:
    assert script._degrees(text, digits) == pytest.approx(degrees)


def test_sizes_take_turns(script: ModuleType) -> None:
    """Of a country with one large city and many small ones, the large one is drawn as well."""
    sizes = [10_000.0] * 50 + [5_000_000.0]
    cities = [
        script.City(f"{k}", f"n{k}", f"n{k}", "r", "c", "XX", 0.0, 0.0, size)
        for k, size in enumerate(sizes)
    ]
    drawn = script.draw(cities, Random(0))
    assert sorted(city.id for city in drawn) == sorted(city.id for city in cities)


def test_one_file_that_is_not_the_package(script: ModuleType, tmp_path: Path) -> None:
    file = tmp_path / "cities.json"
    file.write_text('{"city": 1}', encoding="utf-8")
    assert script.main([str(file)]) == 2
