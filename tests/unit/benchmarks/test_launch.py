"""What the benchmark of the launch path says of its figures, with and without Slurm."""

from __future__ import annotations

import argparse
import io
from collections.abc import Callable
from types import ModuleType

import pytest
from rich.console import Console


@pytest.fixture
def launch(
    benchmark_module: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch
) -> ModuleType:
    module = benchmark_module("launch")
    monkeypatch.setattr(module, "best", lambda words: 0.25)
    return module


def sweep(points: int) -> dict[str, object]:
    calls = {"sbatch": 6, "scontrol": 2}
    return {
        "points": points,
        "returns_s": 1.0,
        "runs_s": 2.0,
        "calls": calls,
        "status_s": 2.5,
        "status_calls": {"sacct": 1},
    }


def said(launch: ModuleType) -> str:
    figures = launch.measure(argparse.Namespace())
    output = io.StringIO()
    launch.show(figures, Console(file=output, width=100))
    assert launch.draw(figures).axes[0].get_title(loc="left")
    return output.getvalue()


def test_goals_are_those_of_the_largest_sweep(
    launch: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "missing", list)
    monkeypatch.setattr(launch, "submitted", lambda: ([sweep(1), sweep(1000)], 1.5))
    text = said(launch)
    assert "1 point: submission 8 (6 sbatch, 2 scontrol); status 1 (1 sacct)" in text
    assert "1,000 points, submission: calls of the scheduler ≤ 10; 8, met" in text
    assert "1,000 points, status: seconds ≤ 2; 2.5, missed" in text
    assert "jobs status: seconds ≤ 1; 1.5, missed" in text


def test_without_slurm_the_commands_are_timed(
    launch: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "missing", lambda: ["slurmctld"])
    text = said(launch)
    assert "geoagent --help: seconds ≤ 0.3; 0.25, met" in text
    assert "points" not in text
