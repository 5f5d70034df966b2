"""Marks tests by the folder they are in, and keeps the environment of one from the next."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import settings

KINDS = ("unit", "integration", "cluster")
NEVER_SKIPPED = [Path(__file__).parent / name for name in ("cluster", "unit/report")]
"""What needs Slurm or a browser, which CI has."""

# Machines are shared: how long an example takes says nothing.
settings.register_profile("geoagent", deadline=None)
settings.load_profile("geoagent")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--fault-table", action="store_true", help="write docs/reference/faults.md anew"
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In CI, where everything can be had, a skipped test of these is a failure."""
    report = yield
    here = any(item.path.is_relative_to(folder) for folder in NEVER_SKIPPED)
    if os.environ.get("CI") and report.skipped and here:
        report.outcome = "failed"
        report.longrepr = f"skipped, which CI does not allow: {report.longrepr}"
    return report


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    root = Path(__file__).parent
    for item in items:
        kind = item.path.relative_to(root).parts[0]
        if kind in KINDS:
            item.add_marker(getattr(pytest.mark, kind))


def restored() -> Iterator[None]:
    """What a command sets for its own process (LOG_LEVEL, HF_HUB_OFFLINE) would reach the jobs that
    later tests submit."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


restored_after_module = pytest.fixture(scope="module", autouse=True)(restored)
restored_after_test = pytest.fixture(autouse=True)(restored)


@pytest.fixture(scope="session")
def benchmark_module() -> Callable[[str], ModuleType]:
    """Modules of benchmarks/ by name; they are scripts that import each other from their folder."""

    def load(name: str) -> ModuleType:
        with pytest.MonkeyPatch.context() as patch:
            folder = Path(__file__).parents[1] / "benchmarks"
            patch.setattr(sys, "path", [str(folder), *sys.path])
            return importlib.import_module(name)

    return load
