"""What tests of several topics have in common."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.unit.report.browser import Page


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    """A page of a real browser."""
    from tests.unit.report.browser import chromium, program

    if program() is None:
        pytest.skip("Chromium is not installed; make browser-package")
    with chromium(tmp_path / "profile") as page:
        yield page
