"""A run whose SFT has learnt the form of an answer, to copy: GRPO then has rewards that differ."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from geoagent.run import Run

from .helpers import User

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
    assert user.wait(run, "sft", seconds=600) == "COMPLETED", user.logs(run)
    return run


def copy(run: Run, user: User, name: str = "run") -> Run:
    return Run(Path(shutil.copytree(run.path, user.runs / name)))
