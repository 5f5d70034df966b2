"""What the tool search_web needs is looked at before anything is submitted."""

from __future__ import annotations

from pathlib import Path

import pytest

from geoagent.config import Config, resolve
from geoagent.rollout import offline
from jobs import preflight
from jobs.plan import make_plan


def lines(config: Config, *stages: str) -> list[str]:
    return list(preflight.problems(config, make_plan(config, stages)))


@pytest.fixture
def config(monkeypatch: pytest.MonkeyPatch) -> Config:
    monkeypatch.delenv("GEOAGENT_SEARCH_KEY", raising=False)
    return resolve(["recipe=geovista_demo", "cluster=local"])


@pytest.mark.parametrize("stages", [("sft",), ("grpo",), ("eval",)])
def test_a_service_without_its_key(stages: tuple[str, ...], config: Config) -> None:
    config.rollout.search.provider = "tavily"
    (line,) = lines(config, *stages)
    assert "GEOAGENT_SEARCH_KEY" in line


def test_who_uses_no_tools_is_not_asked(config: Config) -> None:
    config.rollout.search.provider = "tavily"
    config.rollout.eval = False
    assert len(lines(config, "eval")) == 1  # prepare plays the trajectories of what is trained
    config.rollout.train = False
    assert lines(config, "sft", "grpo", "eval") == []


def test_a_recording_that_is_gone(config: Config, tmp_path: Path) -> None:
    config.rollout.search.replay = str(tmp_path / "searches.jsonl")
    (line,) = lines(config, "eval")
    assert "searches.jsonl: cannot be read" in line


def test_documents_that_are_not_there(config: Config, tmp_path: Path) -> None:
    config.rollout.search.documents = str(tmp_path)
    (line,) = lines(config, "eval")
    assert str(tmp_path) in line


def test_nothing_is_built_or_written(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The index takes most of a minute, and is for the job to build."""
    monkeypatch.setattr(offline, "database", None)
    (tmp_path / "a.md").write_text("# Huaraz")
    config.rollout.search.documents = str(tmp_path)
    config.rollout.search.record = str(tmp_path / "searches.jsonl")
    assert lines(config, "sft", "grpo", "eval") == []
    assert not (tmp_path / "searches.jsonl").exists()
