"""Runs to copy, so that each test need not make them again: one that is prepared, and one whose SFT
has learnt the form of an answer, so that GRPO has rewards that differ."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from geoagent.run import Run

from .helpers import SMALL, User

STEPS = 4
# Twelve scenes are soon known by heart, conclusions included: rewards that are not all 0.
LEARNT = (
    "recipe=demo",
    "cluster=mini",
    *(f"cluster.{stage}.nodes=1" for stage in ("sft", "grpo")),
    *(f"cluster.{stage}.processes_per_node=1" for stage in ("sft", "grpo")),
    "data.scenes_per_country=4",
    "data.limit=12",
    "sft.max_steps=120",
    "sft.batch_size=8",
    "sft.save_steps=120",
    f"grpo.max_steps={STEPS}",
    "grpo.save_steps=1",
    "grpo.batch_size=8",
    "grpo.generations=8",
    "grpo.temperature=0.9",
    "grpo.max_completion_length=192",
    "agent.temperature=0",  # answers that can be compared
    "agent.concurrency=4",
)


@pytest.fixture(scope="session")
def learnt(cluster: object, tmp_path_factory: pytest.TempPathFactory) -> Run:
    user = User(cluster, tmp_path_factory.mktemp("learnt"))  # type: ignore[arg-type]
    run = user.submit("sft", *LEARNT)
    assert user.wait(run, "sft") == "COMPLETED", user.logs(run)
    return run


@pytest.fixture(scope="session")
def prepared(cluster: object, tmp_path_factory: pytest.TempPathFactory) -> Run:
    user = User(cluster, tmp_path_factory.mktemp("prepared"))  # type: ignore[arg-type]
    run = user.submit("prepare", *SMALL)
    assert user.wait(run, "prepare") == "COMPLETED", user.logs(run)
    return run


def copy(run: Run, user: User, name: str = "run") -> Run:
    return Run(Path(shutil.copytree(run.path, user.runs / name)))


def train(run: Run, user: User, *words: str, name: str = "run") -> Run:
    """SFT of a copy of a run that is prepared, as if it had been so with these settings."""
    file = copy(run, user, name).path / "config.yaml"
    OmegaConf.save(OmegaConf.merge(OmegaConf.load(file), OmegaConf.from_dotlist([*words])), file)
    return user.submit("sft", "--resume", name=name)
