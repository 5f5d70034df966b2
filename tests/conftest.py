"""Marks tests by the folder they are in."""

from __future__ import annotations

from pathlib import Path

import pytest

KINDS = ("unit", "integration", "cluster")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    root = Path(__file__).parent
    for item in items:
        kind = item.path.relative_to(root).parts[0]
        if kind in KINDS:
            item.add_marker(getattr(pytest.mark, kind))
