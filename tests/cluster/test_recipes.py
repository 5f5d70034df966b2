"""Recipes from start to report on two nodes, with sizes as small as they can be."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from geoagent.cli import main as geoagent
from geoagent.files import read_json
from tests.small_tools import WORDS as TOOLS
from tests.two_places import WORDS, write_places

from .helpers import User

COMMON = (
    "cluster=mini",
    "cluster.check_nodes=false",  # test_preflight.py and test_training.py have it on
    "cluster.sft.nodes=1",  # it has to learn something, and is not what is tested
    "cluster.sft.processes_per_node=1",
)


@dataclass(frozen=True)
class Recipe:
    """`words` make it small; `data` writes a dataset, if it needs one of its own."""

    name: str
    words: tuple[str, ...]
    stages: tuple[str, ...]
    models: tuple[str, ...]
    data: Callable[[Path], Path] | None = None


RECIPES = (
    Recipe(
        "gre_demo",
        (
            *WORDS,
            *(f"{stage}.max_steps=1" for stage in ("judge", "grpo")),
            *(f"{stage}.save_steps=1" for stage in ("judge", "grpo")),
            *(f"{stage}.batch_size=2" for stage in ("judge", "grpo")),
            *(f"{stage}.generations=4" for stage in ("judge", "grpo")),
            "judge.max_completion_length=16",
            "eval.max_new_tokens=40",
        ),
        ("prepare", "sft", "judge_data", "judge", "grpo", "eval"),
        ("base", "sft", "judge", "grpo"),
        write_places,
    ),
    Recipe("geovista_demo", TOOLS, ("prepare", "sft", "grpo", "eval"), ("base", "sft", "grpo")),
)


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_from_start_to_report(recipe: Recipe, user: User, tmp_path: Path) -> None:
    data = [f"data.path={recipe.data(tmp_path / 'data')}"] if recipe.data else []
    run = user.submit(f"recipe={recipe.name}", *COMMON, *recipe.words, *data)
    assert user.wait(run, "eval") == "COMPLETED", user.logs(run)
    shown = user.jobs("status", str(run.path)).stdout
    for stage in recipe.stages:
        assert run.done_file(stage).is_file()
        assert re.search(rf"{stage} +\d+ +finished +1 ", shown), shown
    metrics = read_json(run.evaluation("heldout") / "metrics.json")
    assert tuple(metrics["models"]) == recipe.models
    assert (run.logs("grpo", 1) / "node-1.err.log").is_file()  # on two nodes
    page = run.report / "report.html"
    page.unlink()
    assert geoagent(["report", str(run.path)]) == 0
    assert page.is_file()
