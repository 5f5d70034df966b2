"""The scripts about images as modules."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests may import what is in scripts/; the search path is as before afterwards."""
    monkeypatch.setattr(sys, "path", [str(ROOT / "scripts"), *sys.path])
