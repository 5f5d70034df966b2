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

from geoagent.geo.geocoder import Place

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "benchmarks" / "data"
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
    answers = benchmark.read_answers(DATA / "answers.tsv")
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
    answers = benchmark.read_answers(DATA / "answers.tsv")
    keys = Counter((answer.id, answer.form) for answer in answers)
    assert set(keys.values()) == {1}
    for answer in answers:
        assert -90 <= answer.latitude <= 90, answer
        assert -180 <= answer.longitude <= 180, answer
        assert len(answer.country) == 2, answer
        assert answer.query.strip(), answer


def test_forms_of_one_place_have_one_truth(benchmark: ModuleType) -> None:
    truths: dict[str, set[tuple[float, float]]] = {}
    for answer in benchmark.read_answers(DATA / "answers.tsv"):
        truths.setdefault(answer.id, set()).add((answer.latitude, answer.longitude))
    assert {len(found) for found in truths.values()} == {1}


def test_500_texts_that_are_no_place(benchmark: ModuleType) -> None:
    texts = benchmark.read_garbage(DATA / "garbage.txt")
    assert len(texts) == len(set(texts)) == 500
    queries = {answer.query for answer in benchmark.read_answers(DATA / "answers.tsv")}
    assert not queries & set(texts)


def test_what_is_not_resolved_is_wrong_but_in_no_median(benchmark: ModuleType) -> None:
    answer = benchmark.Answer("s1", "two parts", "A; B", 0.0, 0.0, "XX", "simplemaps", "B")
    place = Place("A; B", 0.0, 0.0, "city", "XX", "B")
    results = [
        benchmark.Result(answer, place, 10.0, True),
        benchmark.Result(answer, place, 100.0, True),
        benchmark.Result(answer, place, 500.0, False),
        benchmark.Result(answer, None, None, True),
    ]
    figures = benchmark.shares(results, {})
    assert figures["resolved"] == 0.75
    assert [figures[f"within_{km}_km"] for km in (25, 200, 750)] == [0.25, 0.5, 0.75]
    assert figures["median_km"] == 100.0
    assert figures["in_gazetteer"] == 3
    assert figures["in_gazetteer_within_25_km"] == pytest.approx(1 / 3)
    assert figures["levels"] == {"city": 3, "none": 1}


def test_the_worst_are_one_of_each_place(benchmark: ModuleType) -> None:
    place = Place("", 0.0, 0.0, "city", "XX", "B")
    results = [
        benchmark.Result(
            benchmark.Answer(key, form, form, 0.0, 0.0, "XX", "simplemaps", "B"), place, km, True
        )
        for key, form, km in (("s1", "two parts", 3.0), ("s1", "ascii", 9.0), ("s2", "ascii", 5.0))
    ]
    assert [(row["id"], row["km"]) for row in benchmark.worst(results)] == [
        ("s1", 9.0),
        ("s2", 5.0),
    ]


def test_goals_are_met_at_their_bounds(benchmark: ModuleType) -> None:
    shares = {"in_gazetteer_within_25_km": 0.97, "within_200_km": 0.9}
    figures = {
        "accuracy": dict.fromkeys(("well-formed", "all", "all but airports"), shares),
        "no_place": {"texts": 500, "resolved": ["x"] * 5},
        "bad_input": {"empty": {"exceptions": []}},
    }
    assert all(goal["met"] for goal in benchmark.goals(figures).values())
    worse = figures | {"no_place": {"texts": 500, "resolved": ["x"] * 6}}
    missed = [name for name, goal in benchmark.goals(worse).items() if not goal["met"]]
    assert missed == ["texts that are no place: resolved"]


def test_enough_distinct_texts_to_look_up(benchmark: ModuleType) -> None:
    groups = benchmark.groups(
        benchmark.read_answers(DATA / "answers.tsv"), benchmark.read_garbage(DATA / "garbage.txt")
    )
    texts = [text for group in groups.values() for text in group]
    assert len(texts) == len(set(texts)) >= 20_000


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
