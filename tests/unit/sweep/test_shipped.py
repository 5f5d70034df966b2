"""The sweeps in configs/sweep and those that the how-to shows."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from geoagent.config import CONFIG_ROOT
from geoagent.evaluate.metrics import metrics
from geoagent.evaluate.rules import RULES
from geoagent.report.published import published
from geoagent.stages import STAGES
from geoagent.sweep.definition import Sweep, read_sweep, trials
from jobs.sweep.folders import rows
from jobs.sweep.layout import lay_out

ROOT = Path(__file__).resolve().parents[3]
POINTS = {
    "geoagent_table3": 8,
    "geoagent_table4": 5,
    "reward_weights": 11,
    "gre_stages": 5,
    "geovista_ablations": 8,
}
SMALL = {"gre_stages": "gre_demo", "geovista_ablations": "geovista_demo"}
"""Recipes for two cores, where it is not demo."""
HOW_TO = (ROOT / "docs" / "how-to" / "ablations.md").read_text()
EXAMPLES = re.findall(r"```yaml\n(.*?)```", HOW_TO, flags=re.DOTALL)
COMMANDS = re.findall(r"python -m jobs sweep (.*)", HOW_TO)
PREDICTED = {
    "latitude": 48.85341,
    "longitude": 2.3488,
    "predicted_latitude": 48.9,
    "predicted_longitude": 2.3,
    "completion": "<think>{}</think><answer>France; Ile-de-France; Paris</answer>",
    "answer": "France; Ile-de-France; Paris",
    "country": "France",
    "region": "Ile-de-France",
    "city": "Paris",
}


def settings_of(sweep: Sweep, point: str) -> dict[str, float]:
    (found,) = [trial for trial in trials(sweep) if trial.point.name == point]
    return {name: weight for name, weight in found.config.rewards.weights.items() if weight}


def test_all_that_are_shipped_are_named_here() -> None:
    assert {file.stem for file in (CONFIG_ROOT / "sweep").glob("*.yaml")} == set(POINTS)
    rows = dict(re.findall(r"^\| `(\w+)` \|.*\| (\d+) \|$", HOW_TO, flags=re.MULTILINE))
    assert {name: int(count) for name, count in rows.items()} == POINTS


@pytest.mark.parametrize("small", [False, True], ids=["paper", "small"])
@pytest.mark.parametrize("name", POINTS)
def test_points_stages_and_what_they_share(name: str, small: bool) -> None:
    words = [f"recipe={SMALL.get(name, 'demo')}", "benchmark=heldout"] if small else []
    sweep = read_sweep(name, words, seeds=[0, 1])
    found = trials(sweep)
    assert len(sweep.points) == POINTS[name]
    assert len(found) == 2 * POINTS[name]
    assert all(trial.config.eval.models == "last" for trial in found)
    keys = {stage: {t.keys[stage] for t in found if stage in t.keys} for stage in STAGES}
    counted = {stage: len(of_stage) for stage, of_stage in keys.items() if of_stage}
    text = (CONFIG_ROOT / "sweep" / f"{name}.yaml").read_text()
    (said,) = re.findall(r"^# Jobs for each seed: (.*)\.$", text, flags=re.MULTILINE)
    stated = {stage: int(count) for stage, count in re.findall(r"(\w+) (\d+)", said)}
    assert {stage: count / 2 for stage, count in counted.items()} == stated
    if small:
        assert {trial.config.model.kind for trial in found} == {"tiny"}
        assert {trial.config.eval.benchmark for trial in found} == {"heldout"}
        assert {trial.config.eval.path for trial in found} == {None}


@pytest.mark.parametrize("name", POINTS)
def test_columns_and_published_rows_exist(name: str) -> None:
    sweep = read_sweep(name)
    known = metrics([PREDICTED], rules=RULES[sweep.base.eval.rules])
    assert [column for column in sweep.metrics if known.get(column) is None] == []
    named = [point.published for point in sweep.points if point.published]
    assert len(named) == len(set(named))
    if sweep.published is None:
        assert not named
        return
    assert sweep.base.eval.benchmark == sweep.published
    benchmark = published(sweep.published)
    assert benchmark is not None
    figures = {row.name: row.figures for row in benchmark.rows}
    for row in named:  # something is to stand beside the point
        assert set(figures[row]) & set(sweep.metrics)


def test_every_published_ablation_of_geoagent_is_a_point() -> None:
    sweeps = [read_sweep(name) for name in ("geoagent_table3", "geoagent_table4")]
    named = {point.published for sweep in sweeps for point in sweep.points}
    benchmark = published("geoseek_val")
    assert benchmark is not None
    assert {row.name for row in benchmark.rows if row.ablation} <= named


def test_what_the_ablations_of_geoagent_train_with() -> None:
    table3, table4 = read_sweep("geoagent_table3"), read_sweep("geoagent_table4")
    form = {"format": 1.0, "geo_format": 1.0}
    full = {**form, "spatial": 1.5, "semantic": 1.0, "consistency": 0.5}
    assert settings_of(table3, "full") == settings_of(table3, "without-sft") == full
    assert settings_of(table3, "without-spatial-and-consistency") == {**form, "semantic": 1.0}
    assert settings_of(table3, "without-semantic-and-consistency") == {**form, "spatial": 1.5}
    assert settings_of(table3, "without-spatial-and-semantic") == {**form, "consistency": 0.5}
    assert settings_of(table4, "directly-judge") == {**form, "directly_judge": 2.5}
    judged = settings_of(table4, "directly-judge-and-consistency")
    assert judged == {**form, "directly_judge": 2.5, "consistency": 0.5}
    (without,) = [trial for trial in trials(table3) if trial.point.name == "without-sft"]
    assert (without.config.grpo.start_from, "sft" in without.keys) == ("base", False)


def test_weights_are_on_one_plane_and_the_published_ones_among_them() -> None:
    sweep = read_sweep("reward_weights")
    names = ("spatial", "semantic", "consistency")
    weights = [tuple(t.config.rewards.weights[name] for name in names) for t in trials(sweep)]
    assert {sum(point) for point in weights} == {3.0}
    assert (1.5, 1.0, 0.5) in weights


def test_every_published_stage_of_gre_is_a_point() -> None:
    sweep = read_sweep("gre_stages")
    benchmark = published("im2gps3k")
    assert benchmark is not None
    rows = {row.name for row in benchmark.rows if row.source.startswith("GRE Suite")}
    assert {point.published for point in sweep.points} == rows
    found = {trial.point.name: trial for trial in trials(sweep)}
    of_all, alone = found["all"], found["cold-start-coordinates"]
    assert [*of_all.keys] == [*STAGES]
    assert [*alone.keys] == ["prepare", "sft", "grpo", "eval"]
    assert of_all.keys["sft"] == alone.keys["sft"]
    assert of_all.keys["judge"] == found["cold-start-judge"].keys["judge"]
    assert settings_of(sweep, "all") == {"coordinates": 1.0, "format": 1.0}


def test_a_table_knows_the_stages_that_nobody_has_named() -> None:
    """Or a judge_data that failed would be told as a judge that found nothing to go on from."""
    found = trials(read_sweep("gre_stages"))
    stages = {row.point: row.stages for row in rows(lay_out(found, {}), found)}
    assert stages["all"] == ["sft", "judge_data", "judge", "grpo", "eval"]
    assert stages["cold-start"] == ["sft", "eval"]


def test_sizes_of_geovistas_data() -> None:
    found = {trial.point.name: trial.config for trial in trials(read_sweep("geovista_ablations"))}
    sizes = [found[name].grpo.limit for name in ("rl-data-1500", "rl-data-3000", "rl-data-6000")]
    assert [*sizes, found["full"].grpo.limit] == [1500, 3000, 6000, 12000]
    plain = found["without-hierarchical-reward"].rewards
    assert {name: weight for name, weight in plain.weights.items() if weight} == {
        "directly_judge": 1.0
    }
    levels = plain.semantic.weights
    assert (levels.country, levels.region, levels.precise) == (0.0, 0.0, 1.0)


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the how-to's first example under the name that it has there."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights.yaml").write_text(EXAMPLES[0])
    return tmp_path


def test_the_first_example_has_as_many_points_as_the_how_to_says(written: Path) -> None:
    found = trials(read_sweep("weights.yaml"))
    assert (len({trial.point.name for trial in found}), len(found)) == (5, 10)
    assert "these are five points, ten trials" in HOW_TO
    assert len({trial.keys["sft"] for trial in found if "sft" in trial.keys}) == 2  # one a seed


@pytest.mark.parametrize("text", EXAMPLES, ids=range(len(EXAMPLES)))
def test_examples_of_the_how_to_are_read(text: str, written: Path) -> None:
    (written / "example.yaml").write_text(text)
    sweep = read_sweep("example.yaml")
    assert len(trials(sweep)) == len(sweep.points) * len(sweep.seeds)


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_of_the_how_to_name_what_there_is(command: str, written: Path) -> None:
    source, *words = shlex.split(command)
    settings = [word for word in words if "=" in word]
    assert len(trials(read_sweep(source, settings))) >= 5
