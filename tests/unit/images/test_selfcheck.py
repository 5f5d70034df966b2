"""What the image's own test tells of the databases in it."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from geoagent.rollout import offline

FILE = Path(__file__).resolve().parents[3] / "containers" / "selfcheck.py"


@pytest.fixture
def selfcheck() -> ModuleType:
    spec = importlib.util.spec_from_file_location("selfcheck", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_databases_of_this_machine_are_in_order(selfcheck: ModuleType) -> None:
    assert selfcheck.told(selfcheck.gazetteer()) == []
    assert selfcheck.told(selfcheck.search()) == []


def test_an_index_that_is_missing_or_empty_is_told(
    selfcheck: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    missing = tmp_path / "search-index.sqlite"
    monkeypatch.setenv(offline.VARIABLE, str(missing))
    monkeypatch.setattr(offline, "gazetteer_index", offline.gazetteer_index.__wrapped__)
    (told,) = selfcheck.told(selfcheck.search())
    assert told.startswith(f"UsageError: {offline.VARIABLE}={missing}: no such file")
    monkeypatch.setattr(offline, "gazetteer_index", lambda: offline.Fused())
    (told,) = selfcheck.told(selfcheck.search())
    assert told == f"Huaraz finds [] by {missing}"
