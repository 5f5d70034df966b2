"""Whether a run's online geocoder answers is asked at submission, and on Slurm by each node."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from geoagent.config import Config, StageResources, resolve
from geoagent.errors import OutageError
from geoagent.geo import services
from geoagent.run import Run
from jobs import preflight
from jobs.nodefacts import Subject, _geocoder, facts
from jobs.plan import StagePlan, make_plan
from jobs.preflight import problems
from tests.loopback import nobody


@pytest.fixture(autouse=True)
def one_service_a_test() -> Iterator[None]:
    services._service.cache_clear()
    yield
    services._service.cache_clear()


@pytest.fixture
def away(tmp_path: Path) -> Iterator[Config]:
    """A run with a geocoder where nobody listens."""
    with nobody() as port:
        url = f"http://127.0.0.1:{port}"
        settings = {"service": "nominatim", "url": url, "cache": str(tmp_path)}
        words = [f"rewards.geocoder.{name}={value}" for name, value in settings.items()]
        yield resolve(["recipe=demo", "rewards.geocoder.min_delay_seconds=0", *words])


@pytest.mark.parametrize("stages", [["eval"], ["grpo"]])
def test_a_run_on_this_machine_asks_at_submission(stages: list[str], away: Config) -> None:
    with pytest.raises(OutageError, match=r"nominatim \(http://127.0.0.1.*service=offline"):
        list(problems(away, make_plan(away, stages)))


def test_on_slurm_only_the_settings_are_looked_at(
    away: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preflight, "uses_slurm", lambda config: True)
    monkeypatch.setattr(preflight, "_scheduler", lambda config, plan: None)
    plan = make_plan(away, ["grpo"])
    assert list(problems(away, plan)) == []
    away.rewards.geocoder.service = "nominatm"
    assert ["did you mean nominatim?" in line for line in problems(away, plan)] == [True]


def test_stages_that_geocode_nothing_do_not_ask(away: Config) -> None:
    assert list(problems(away, make_plan(away, ["sft"]))) == []
    away.rewards.weights["spatial"] = 0.0
    assert list(problems(away, make_plan(away, ["grpo"]))) == []


def test_a_node_that_cannot_reach_it(away: Config, tmp_path: Path) -> None:
    def subject(stage: str) -> Subject:
        plan = StagePlan(stage, ("geoagent.train", stage), StageResources())
        return Subject(Run(tmp_path / "run"), plan, away, leads=False)

    assert "the geocoder nominatim" in facts(subject("grpo"), 30)["geocoder"]
    assert "geocoder" not in facts(subject("sft"), 30)
    away.rewards.weights["spatial"] = 0.0
    _geocoder(subject("grpo"))
