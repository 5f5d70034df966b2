"""Which names mean one place."""

from __future__ import annotations

import pytest

from geoagent.geo.regions import finest_level, known_apart, same_place


@pytest.mark.parametrize(
    ("first", "second", "level", "country"),
    [
        ("Hefei", "Hefei City", "precise", None),
        ("Anhui", "ANHUI PROVINCE", "region", None),
        ("Georgia", "State of Georgia", "region", "US"),
        ("São Paulo", "Sao Paulo", "region", None),
        ("USA", "United States", "country", None),
        ("Deutschland", "Germany", "country", None),
        ("Bavaria", "Bayern", "region", "Germany"),
        ("München", "Munich", "precise", "DE"),
        ("Saigon", "Ho Chi Minh City", "precise", "VN"),
    ],
)
def test_same(first: str, second: str, level: str, country: str | None) -> None:
    assert same_place(first, second, level, country)
    assert same_place(second, first, level, country)


@pytest.mark.parametrize(
    ("first", "second", "level", "country"),
    [
        ("", "", "region", None),
        ("!", "?", "region", None),
        ("Paris", "", "precise", "FR"),
        ("Niger", "Nigeria", "country", None),
        ("Congo", "DR Congo", "country", None),
        ("North Korea", "South Korea", "country", None),
        ("Bavaria", "Hesse", "region", "DE"),
        ("Bavaria", "Bayern", "region", None),
        ("York", "New York", "precise", "US"),
    ],
)
def test_different(first: str, second: str, level: str, country: str | None) -> None:
    assert not same_place(first, second, level, country)


def test_known_apart_needs_to_know_both() -> None:
    assert known_apart("Illinois", "Oregon", "region", "US")
    assert not known_apart("Illinois", "State of Illinois", "region", "US")
    assert not known_apart("Illinois", "Atlantis", "region", "US")
    assert not known_apart("Illinois", "Oregon", "region", "Atlantis")


@pytest.mark.parametrize("ask", [same_place, known_apart])
def test_unknown_level(ask: object) -> None:
    with pytest.raises(ValueError, match="continent"):
        ask("Asia", "Asia", "continent", "CN")  # type: ignore[operator]


def test_unknown_is_not_the_same_as_unknown() -> None:
    assert not same_place("Unknown", "unknown", "precise", "US")
    assert not same_place("N/A", "N/A", "region", "US")


@pytest.mark.parametrize(
    ("answer", "level"),
    [
        ("United States; Illinois; Springfield", "city"),
        ("USA; State of Illinois; Springfield", "city"),
        ("United States; Springfield", "city"),
        ("United States; Sangamon County; Springfield", "city"),
        ("United States; Atlantis; Springfield", "city"),
        ("United States; Missouri; Springfield", "country"),
        ("United States; Illinois; Chicago", "region"),
        ("United States; Illinois", "region"),
        ("United States", "country"),
        ("Springfield", None),
        ("France; Illinois; Springfield", None),
        ("", None),
    ],
)
def test_finest_level(answer: str, level: str | None) -> None:
    parts = [part.strip() for part in answer.split(";") if part]
    assert finest_level(parts, "United States", "Illinois", "Springfield") == level


def test_a_truth_without_a_region_has_a_city() -> None:
    assert finest_level(["France", "Île-de-France", "Paris"], "France", "", "Paris") == "city"
    assert finest_level(["France", "Paris"], "", "", "Paris") is None
