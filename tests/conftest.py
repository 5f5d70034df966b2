"""Marks tests by the folder they are in."""

from __future__ import annotations

from pathlib import Path

import pytest

KINDS = ("unit", "integration", "cluster")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--fault-table", action="store_true", help="write docs/reference/faults.md anew"
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    root = Path(__file__).parent
    for item in items:
        kind = item.path.relative_to(root).parts[0]
        if kind in KINDS:
            item.add_marker(getattr(pytest.mark, kind))
