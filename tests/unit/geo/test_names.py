"""One form for many spellings."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoagent.geo.names import core, fold


@pytest.mark.parametrize(
    ("name", "folded"),
    [
        ("São Paulo", "sao paulo"),
        ("St. Louis", "saint louis"),
        ("  Île-de-France ", "ile de france"),
        ("Tromsø", "tromso"),
        ("Łódź", "lodz"),
        ("İstanbul", "istanbul"),
        ("北京市", "北京市"),
        ("N'Djamena", "n djamena"),
        ("!?", ""),
        ("", ""),
    ],
)
def test_fold(name: str, folded: str) -> None:
    assert fold(name) == folded


@pytest.mark.parametrize(
    ("name", "without"),
    [
        ("Hefei City", "hefei"),
        ("State of Mexico", "mexico"),
        ("Anhui Province", "anhui"),
        ("Kyoto Prefecture", "kyoto"),
        ("The Province of Turin", "turin"),
        ("Hong Kong Special Administrative Region", "hong kong"),
        ("City", "city"),
        ("Citystate", "citystate"),
    ],
)
def test_core(name: str, without: str) -> None:
    assert core(name) == without


@given(st.text(max_size=9))
def test_folding_twice_changes_nothing(name: str) -> None:
    assert fold(fold(name)) == fold(name)
    assert len(core(name)) <= len(fold(name))
