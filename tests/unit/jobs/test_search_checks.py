"""What the tool search_web needs is looked at before anything is submitted, and on Slurm by each
node."""

from __future__ import annotations

from pathlib import Path

import pytest

from geoagent.config import Config, StageResources, resolve
from geoagent.rollout import offline
from geoagent.run import Run
from jobs import preflight
from jobs.nodefacts import Subject, facts
from jobs.plan import StagePlan, make_plan
from tests.loopback import nobody
from tests.unit.rollout.search_server import SearchServer


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


def test_a_node_that_cannot_reach_the_service(config: Config, tmp_path: Path) -> None:
    def found(stage: str) -> dict[str, str]:
        plan = StagePlan(stage, ("geoagent.train", stage), StageResources())
        return facts(Subject(Run(tmp_path / "run"), plan, config, leads=False), 30)

    search = config.rollout.search
    search.cache, search.min_delay_seconds = str(tmp_path / "kept"), 0.0
    with nobody() as port:
        search.provider, search.url = "searxng", f"http://127.0.0.1:{port}"
        assert "searxng" in found("grpo")["search"]
    assert "search" not in found("sft")
    config.rollout.train = False
    assert "search" not in found("grpo")


def test_a_node_that_can(config: Config, tmp_path: Path) -> None:
    plan = StagePlan("grpo", ("geoagent.train", "grpo"), StageResources())
    with SearchServer() as server:
        search = config.rollout.search
        search.provider, search.url, search.min_delay_seconds = "searxng", server.url, 0.0
        search.cache = str(tmp_path / "kept")
        for _ in range(2):
            looked = facts(Subject(Run(tmp_path / "run"), plan, config, leads=False), 30)
            assert "search" not in looked
    assert server.queries == ["France", "France"]  # not from what is kept
    assert not Path(search.cache).exists()
