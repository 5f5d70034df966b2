"""The simulation of agents' replicas, where the answer is known."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from types import ModuleType

import pytest


@pytest.fixture(scope="module")
def queueing(benchmark_module: Callable[[str], ModuleType]) -> ModuleType:
    return benchmark_module("queueing")


@pytest.mark.parametrize(
    ("ranks", "completions", "replicas", "slots", "expected"),
    [
        (1, 8, 1, 24, 1.0),  # all at once
        (1, 8, 1, 8, 3.0),
        (1, 8, 1, 23, 2.0),
        (1, 64, 1, 192, 3.0),  # a rank has 64 under way
        (2, 16, 1, 48, 2.0),
        (2, 16, 2, 48, 1.0),
        (4, 8, 3, 8, 4.0),
    ],
)
def test_fixed_times(
    queueing: ModuleType, ranks: int, completions: int, replicas: int, slots: int, expected: float
) -> None:
    setting = queueing.Setting(ranks, completions, replicas, slots, 1.0)
    assert queueing.simulate(setting) == pytest.approx(expected)
    assert queueing.limit(setting) <= expected


def test_exponential_times(queueing: ModuleType) -> None:
    """Of n at once, the last is there after 1 + 1/2 + … + 1/n on average."""
    setting = queueing.Setting(1, 4, 1, 12, 1.0, "exponential")
    taken = [queueing.simulate(setting, seed) for seed in range(2000)]
    expected = sum(1 / k for k in range(1, 13))
    assert statistics.fmean(taken) == pytest.approx(expected, rel=0.05)
