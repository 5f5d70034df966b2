"""States and figures of trials, and what is made of them over seeds."""

from __future__ import annotations

import math
import statistics
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoagent.files import write_json
from geoagent.sweep.home import SweepHome
from geoagent.sweep.results import Estimate, collect

from .folders import Folder

pytestmark = pytest.mark.unit


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=8))
def test_estimate_is_that_of_numpy(values: list[float]) -> None:
    found = Estimate.of(values)
    assert found is not None
    assert found.count == len(values)
    assert math.isclose(found.mean, float(np.mean(values)), rel_tol=1e-9, abs_tol=1e-6)
    if len(values) == 1:
        assert found.deviation is None
    else:
        expected = float(np.std(values, ddof=1))
        assert found.deviation is not None
        assert math.isclose(found.deviation, expected, rel_tol=1e-6, abs_tol=1e-6)
        assert math.isclose(found.deviation, statistics.stdev(values), rel_tol=1e-9)


def test_nothing_is_no_number() -> None:
    assert Estimate.of([]) is None


def test_a_training_that_went_on_after_an_early_stop_is_yet_to_be_evaluated(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.row("stopped")
    folder.stopped("stopped")
    write_json(folder.run("stopped").done_file("grpo"), {"seconds": 9.0})
    (trial,) = collect(folder.home).trials
    assert (trial.state, trial.stage, trial.why) == ("missing", "eval", "")


def test_every_state(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    for point in ("done", "stopped", "failed", "new", "running"):
        folder.row(point)
    folder.done("done", accuracy_25km=0.25)
    folder.stopped("stopped")
    folder.failed("failed", stage="sft", cause="no\n \x1b[31mmemory")
    run = folder.run("running")
    for stage in ("prepare", "sft"):
        write_json(run.done_file(stage), {"seconds": 2.0})
    write_json(run.progress_file("grpo"), {"step": 3, "total": 9, "unit": "step"})
    found = {trial.point: trial for trial in collect(folder.home).trials}
    told = {name: (trial.state, trial.stage, trial.why) for name, trial in found.items()}
    assert told == {
        "done": ("done", None, ""),
        "stopped": ("stopped early", "grpo", "at step 20 of 100"),
        "failed": ("failed", "sft", "no [31mmemory"),
        "new": ("missing", "prepare", ""),
        "running": ("missing", "grpo", "step 3 of 9 when last seen"),
    }
    assert found["done"].figures["accuracy_25km"] == 0.25
    assert found["done"].figures["rewards.spatial"] == 0.25
    assert found["done"].seconds == dict.fromkeys(("prepare", "sft", "grpo", "eval"), 1.5)
    assert found["running"].seconds == {"prepare": 2.0, "sft": 2.0}
    assert all(not trial.figures for name, trial in found.items() if name != "done")


def test_figures_are_those_of_the_last_model_without_what_is_none(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.row("one")
    folder.done("one", accuracy_25km=0.5)
    (trial,) = collect(folder.home).trials
    assert trial.figures["accuracy_25km"] == 0.5  # the base model's is 0.999
    assert "median_km" not in trial.figures
    assert not any(name.startswith(("by", "intervals", "rules")) for name in trial.figures)


def test_a_figure_counts_the_seeds_that_have_it(tmp_path: Path) -> None:
    folder = Folder(tmp_path, seeds=[0, 1, 2])
    folder.row("one", (0, 1, 2))
    folder.done("one", 0, geoscore=1000.0, median_km=10.0)
    folder.done("one", 1, geoscore=2000.0)
    folder.failed("one", 2)
    (point,) = collect(folder.home).points
    assert point.estimate("geoscore") == Estimate(1500.0, pytest.approx(707.1067811865476), 2)
    assert point.estimate("median_km") == Estimate(10.0, None, 1)
    assert point.estimate("city_accuracy") is None


def test_a_run_that_was_evaluated_before_and_is_trained_again_has_no_figures(
    tmp_path: Path,
) -> None:
    folder = Folder(tmp_path)
    folder.row("one")
    run = folder.done("one", geoscore=1000.0)
    run.done_file("grpo").unlink()
    (trial,) = collect(folder.home).trials
    assert (trial.state, trial.stage, trial.figures) == ("missing", "grpo", {})


@pytest.mark.parametrize("text", ["{", "[]", '{"models": {}}', '{"models": {"grpo": 1}}'])
def test_broken_metrics_cost_their_trial_only(tmp_path: Path, text: str) -> None:
    folder = Folder(tmp_path)
    folder.row("good")
    folder.row("bad")
    folder.done("good", geoscore=1.0)
    run = folder.done("bad")
    (run.evaluation("heldout") / "metrics.json").write_text(text)
    good, bad = collect(folder.home).trials
    assert good.state == "done"
    assert (bad.state, bad.stage, bad.figures) == ("failed", "eval", {})
    assert "eval/heldout/metrics.json" in bad.why


def test_a_shard_that_failed_is_its_evaluations_failure(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.row("one")
    run = folder.failed("one", stage="eval")
    (run.stage("eval") / "outcome.json").unlink()
    write_json(run.stage("eval/shards/0-of-2") / "outcome.json", {"code": 0})
    write_json(run.stage("eval/shards/1-of-2") / "outcome.json", {"code": 137, "cause": "killed"})
    (trial,) = collect(folder.home).trials
    assert (trial.state, trial.stage, trial.why) == ("failed", "eval", "killed")


def test_settings_are_those_that_the_run_has(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.row("full")
    folder.row("slow", settings={"grpo.learning_rate": 1e-6, "rewards.weights.spatial": 3.0})
    full, slow = collect(folder.home).trials
    assert full.settings == {"grpo.learning_rate": 1e-5, "rewards.weights.spatial": 1.5}
    assert slow.settings == {"grpo.learning_rate": 1e-6, "rewards.weights.spatial": 3.0}


def test_a_metric_that_nobody_has_is_said(tmp_path: Path) -> None:
    folder = Folder(tmp_path, metrics=["geoscore", "accuracy_5km"])
    folder.row("one")
    assert collect(folder.home).metrics == ("geoscore", "accuracy_5km")  # nobody can know yet
    folder.done("one", geoscore=1.0)
    results = collect(folder.home)
    assert results.metrics == ("geoscore",)
    (note,) = results.notes
    assert note.startswith(
        "No evaluation has the figure 'accuracy_5km'; there are: count, geoscore"
    )


def test_published_rows_and_what_they_were_measured_on(tmp_path: Path) -> None:
    folder = Folder(tmp_path, published="geoseek_val", metrics=["accuracy_25km"])
    folder.row("full", published="GeoAgent")
    folder.row("odd", published="GeoAgnt")
    folder.done("full", accuracy_25km=0.5)
    results = collect(folder.home)
    assert results.points[0].published is not None
    assert results.points[0].published.figures["accuracy_25km"] == pytest.approx(0.1569)
    assert results.points[1].published is None
    assert results.notes == (
        "GeoSeek-Val has no published row 'GeoAgnt' (odd).",
        "Published: on GeoSeek-Val (3,000 images) with Qwen2.5-VL-7B, by GeoAgent, arXiv "
        "2602.12617; ours: split heldout of the drawn sample with Qwen/Qwen2.5-VL-7B-Instruct "
        "(98 images).",
    )


def test_a_sweep_without_runs(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    row = folder.row("one")
    folder.home.path.joinpath(row.runs["0"], "config.yaml").unlink()
    (trial,) = collect(SweepHome.open(tmp_path)).trials
    assert (trial.state, trial.stage, trial.settings) == ("missing", "prepare", {})


@pytest.mark.parametrize(
    ("outcome", "state", "why"),
    [
        ({"code": -15, "cause": "stopped"}, "missing", "stopped at step 3 of 9"),
        ({"code": 130, "cause": None}, "missing", "stopped at step 3 of 9"),
        ({"code": 1, "cause": "stopped"}, "missing", "stopped at step 3 of 9"),
        ({"code": 143, "cause": "out of memory"}, "failed", "out of memory"),
        ({"code": -9, "cause": None}, "failed", "exit code -9"),
        ({"code": -11, "cause": "ended with exit code -11"}, "failed", "ended with exit code -11"),
        ({"code": 1, "cause": None}, "failed", "exit code 1"),
    ],
)
def test_who_was_stopped_has_not_failed(
    tmp_path: Path, outcome: dict[str, object], state: str, why: str
) -> None:
    folder = Folder(tmp_path)
    folder.row("one")
    run = folder.failed("one")
    write_json(run.stage("grpo") / "outcome.json", outcome)
    write_json(run.progress_file("grpo"), {"step": 3, "total": 9, "unit": "step"})
    (trial,) = collect(folder.home).trials
    assert (trial.state, trial.stage, trial.why) == (state, "grpo", why)


def test_stopped_before_the_first_step(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.row("one")
    run = folder.failed("one", cause="stopped")
    (trial,) = collect(folder.home).trials
    assert (trial.state, trial.why) == ("missing", "stopped")
    failed = run.stage("grpo/shards/1-of-2") / "outcome.json"
    write_json(failed, {"code": 1, "cause": "no memory"})
    (trial,) = collect(folder.home).trials
    assert (trial.state, trial.why) == ("failed", "no memory")


def test_a_metric_that_is_null_is_known(tmp_path: Path) -> None:
    folder = Folder(tmp_path, metrics=["median_km", "geoscore"])
    folder.row("one")
    folder.done("one", geoscore=1.0)
    results = collect(folder.home)
    assert results.metrics == ("median_km", "geoscore")
    assert results.notes == ()
    assert results.points[0].estimate("median_km") is None
    assert "median_km" not in results.names


def test_unknown_metrics_get_one_line_that_says_what_was_meant(tmp_path: Path) -> None:
    folder = Folder(tmp_path, metrics=["acuracy_750km", "meadian_km"])
    folder.row("one")
    folder.done("one", accuracy_750km=0.5)
    results = collect(folder.home)
    assert results.metrics == ()
    assert results.notes == (
        "No evaluation has the figures 'acuracy_750km' (did you mean accuracy_750km?), "
        "'meadian_km' (did you mean median_km?).",
    )


def test_runs_that_are_in_no_row_any_more_are_said(tmp_path: Path) -> None:
    folder = Folder(tmp_path, metrics=["rewards.spatial"])
    for point in ("kept", "old", "older"):
        folder.row(point)
        folder.done(point)
    names = [folder.run(point).path.name for point in ("kept", "old", "older")]
    shared = "shared-sft-s0-9f8e7d6c"
    (tmp_path / shared).mkdir()
    (tmp_path / shared / "config.yaml").touch()
    folders = [*names, shared, "never-made-s0-11111111"]
    folder.home.stages = {str(number): name for number, name in enumerate(folders)}
    assert collect(folder.home).notes == ()
    folder.home.rows = folder.home.rows[:1]
    assert collect(folder.home).notes == (
        "2 runs of other settings or points are left out: old-s0-1a2b3c4d, older-s0-1a2b3c4d.",
    )
