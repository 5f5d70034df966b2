"""Early stop: the rule as a pure function, and a run's part in a study with kills and outages."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoagent.config import Config, load, resolve, to_yaml
from geoagent.errors import UsageError
from geoagent.evaluate.__main__ import main as evaluate
from geoagent.files import read_json, write_json
from geoagent.run import Run
from geoagent.train import halving
from geoagent.train.halving import Halving, judge, rewards_of, rung_at, stopped, window_mean

values = st.floats(-1e6, 1e6)


def log(value: float, *steps: int, **other: float) -> list[dict[str, Any]]:
    rewards = {"format": value, **other}
    means = {f"rewards/{name}/mean": mean for name, mean in rewards.items()}
    return [{"step": step, "loss": 0.1, **means} for step in steps]


def a_run(folder: Path, name: str, *words: str, first: int = 20) -> tuple[Config, Run]:
    config = resolve(
        [
            "model=tiny",
            *(f"rewards.weights.{reward}=0" for reward in ("geo_format", "spatial", "semantic")),
            "rewards.weights.consistency=0",
            f"grpo.stop_early.study={folder}/study",
            f"grpo.stop_early.first_step={first}",
            *words,
        ]
    )
    run = Run(folder / name)
    run.path.mkdir(parents=True, exist_ok=True)
    run.config_file.write_text(to_yaml(config))
    return config, run


def stops(folder: Path, name: str, value: float, step: int = 20, *words: str) -> bool:
    """A process that comes to a rung, as it is after any kill: it knows files only."""
    config, run = a_run(folder, name, *words)
    return Halving(config, run).stops(step, 200, log(value, *range(1, step + 1)))


# --- the rule ---


def test_rungs_are_first_step_times_powers_of_factor() -> None:
    assert [s for s in range(200) if rung_at(s, 20, 3) is not None] == [20, 60, 180]
    assert [rung_at(s, 20, 3) for s in (0, 19, 20, 60, 180)] == [None, None, 0, 1, 2]


def test_the_last_step_is_no_rung(tmp_path: Path) -> None:
    one = Halving(*a_run(tmp_path, "a"))
    assert one.is_rung(60, 61)
    assert not one.is_rung(60, 60)
    assert not one.is_rung(61, 100)


@given(st.lists(values, min_size=1, max_size=40), st.integers(2, 6))
def test_the_best_so_far_goes_on(found: list[float], factor: int) -> None:
    best = max(found)
    others = list(found)
    others.remove(best)
    assert not judge(best, others, factor).stop
    assert judge(best, others, factor).best == best


@given(st.lists(values, max_size=10), values, st.integers(2, 12))
def test_fewer_than_factor_stop_nobody(others: list[float], value: float, factor: int) -> None:
    verdict = judge(value, others, factor)
    assert verdict.trials == len(others) + 1
    if verdict.trials < factor:
        assert not verdict.stop


@given(st.lists(values, min_size=2, max_size=40, unique=True), st.integers(2, 6))
def test_of_all_that_have_come_one_in_factor_goes_on(found: list[float], factor: int) -> None:
    gone_on = [
        value
        for value in found
        if not judge(value, [other for other in found if other != value], factor).stop
    ]
    kept = len(found) // factor or len(found)
    assert sorted(gone_on) == sorted(found)[-kept:]


@given(st.lists(values, max_size=20), values, values, st.integers(2, 6))
def test_a_better_value_is_never_worse_off(
    others: list[float], one: float, two: float, factor: int
) -> None:
    low, high = sorted((one, two))
    assert judge(low, others, factor).stop >= judge(high, others, factor).stop


def test_equal_values_are_treated_alike() -> None:
    assert [judge(0.5, [0.5] * n, 3).stop for n in range(7)] == [False] * 7


def test_the_mean_is_over_the_logs_since_the_rung_before_and_has_no_weights() -> None:
    history = [
        *log(9.0, 20, spatial=9.0),
        *log(0.2, 30, spatial=0.4),
        {"step": 35, "train_runtime": 1.0},
        *log(0.6, 60, spatial=0.8),
        *log(9.0, 61, spatial=9.0),
    ]
    assert window_mean(history, ["format", "spatial"], 20, 60) == pytest.approx(0.5)
    assert window_mean(history, ["format"], 20, 60) == pytest.approx(0.4)


@pytest.mark.parametrize("history", [[], [{"step": 5, "loss": 1.0}], log(float("nan"), 5)])
def test_no_number_is_no_value(history: list[dict[str, Any]]) -> None:
    assert window_mean(history, ["format"], 0, 20) is None


# --- one run among others ---


def test_the_hopeless_third_of_three_stops_and_says_so(tmp_path: Path) -> None:
    assert not stops(tmp_path, "a", 0.5)
    assert not stops(tmp_path, "b", 0.9)
    assert stops(tmp_path, "c", 0.7)
    config, run = a_run(tmp_path, "c")
    told = stopped(config, run)
    assert told is not None
    assert told["stopped_early"] == {"step": 20, "of": 200, "value": 0.7, "best": 0.9, "rung": 0}
    assert told["summary"] == (
        "stopped early at step 20 of 200: mean reward 0.7 is not among the best 1 of 3 "
        "(the best: 0.9)"
    )
    assert stopped(*a_run(tmp_path, "b")) is None


def test_a_later_rung_compares_its_own_values(tmp_path: Path) -> None:
    for name, value in (("a", 0.5), ("b", 0.6), ("c", 0.7)):
        assert not stops(tmp_path, name, value)
    for name, value in (("a", 0.9), ("b", 0.8)):
        assert not stops(tmp_path, name, value, 60)
    assert stops(tmp_path, "c", 0.7, 60)
    rungs = read_json(tmp_path / "c" / "grpo" / "stop-early.json")["rungs"]
    assert [(rung["rung"], rung["stop"]) for rung in rungs] == [(0, False), (1, True)]
    assert read_json(tmp_path / "study" / "c.json")["values"] == {"20": 0.7, "60": 0.7}


def test_what_was_decided_stays(tmp_path: Path) -> None:
    assert not stops(tmp_path, "early", 0.1)
    for name in ("a", "b"):
        stops(tmp_path, name, 0.9)
    assert stops(tmp_path, "told", 0.2)
    assert not stops(tmp_path, "early", 0.1), "it went on when nobody else had come"
    assert stops(tmp_path, "told", 5.0), "trained again up to the rung, with luck"
    assert read_json(tmp_path / "study" / "told.json")["values"] == {"20": 0.2}


class KilledError(BaseException):
    """As SIGKILL: nothing after it runs."""


@pytest.mark.parametrize("write", range(1, 4))
def test_a_run_killed_at_any_write_of_a_rung_goes_on_as_if_it_were_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: int
) -> None:
    stops(tmp_path, "a", 0.5)
    stops(tmp_path, "b", 0.5)
    count = 0

    def killed(path: Path, document: Any) -> None:
        nonlocal count
        count += 1
        if count == write:
            raise KilledError
        write_json(path, document)

    monkeypatch.setattr(halving, "write_json", killed)
    with pytest.raises(KilledError):
        stops(tmp_path, "me", 0.4)
    monkeypatch.undo()
    # Resumed from before the rung: it gets there again, a little different. Judged against itself
    # it would be one of four, with a value of its own above it.
    assert stops(tmp_path, "me", 0.35)
    document = read_json(tmp_path / "study" / "me.json")
    assert list(document["values"].values()) == [0.35 if write == 1 else 0.4]
    (rung,) = read_json(tmp_path / "me" / "grpo" / "stop-early.json")["rungs"]
    assert rung["trials"] == 3


def test_a_run_that_began_anew_replaces_what_its_name_had_reported(tmp_path: Path) -> None:
    stops(tmp_path, "a", 0.5)
    stops(tmp_path, "a", 0.6, 60)
    (tmp_path / "a" / "grpo" / "stop-early.json").unlink()
    stops(tmp_path, "a", 0.2)
    assert read_json(tmp_path / "study" / "a.json")["values"] == {"20": 0.2}


def test_others_that_average_other_rewards_are_not_compared_with(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a", "b", "c"):
        write_json(tmp_path / "study" / f"{name}.json", {"rewards": ["judge"], "values": {"20": 9}})
    assert not stops(tmp_path, "me", 0.1)
    said = capsys.readouterr().err
    assert "a, b, c: not compared with at step 20" in said
    assert "grpo.stop_early.by" in said


def test_files_that_are_no_trial_count_for_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = tmp_path / "study"
    study.mkdir()
    strange: Sequence[bytes] = (
        b"",
        b"\xff\xfe",
        b"[1]",
        b'{"values": 3, "rewards": ["format"]}',
        b'{"values": {"20": NaN}, "rewards": ["format"]}',
        b'{"values": {"20": "9"}, "rewards": ["format"]}',
        b'{"values": {"20": 1' + b"0" * 400 + b'}, "rewards": ["format"]}',
        b"[" * 100_000,
    )
    for number, content in enumerate(strange):
        (study / f"x{number}.json").write_bytes(content)
    (study / "folder.json").mkdir()
    os.mkfifo(study / "pipe.json")
    assert not stops(tmp_path, "me", 0.1)
    assert "x0.json: is not what a training writes; passed over" in capsys.readouterr().err
    assert read_json(tmp_path / "me" / "grpo" / "stop-early.json")["rungs"][0]["trials"] == 1


def test_a_study_that_cannot_be_used_stops_nobody_and_is_not_an_answer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "study").write_text("a file where a folder should be")
    assert not stops(tmp_path, "me", 0.1)
    said = capsys.readouterr().err
    assert said.startswith("warning: early stop: ")
    assert said.count("\n") == 1
    assert "not compared at step 20, training goes on" in said
    (tmp_path / "study").unlink()
    for name in ("a", "b"):
        stops(tmp_path, name, 0.9)
    assert stops(tmp_path, "me", 0.1), "no decision was taken while the study was away"


def test_no_logged_reward_is_said_and_not_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, run = a_run(tmp_path, "me")
    assert not Halving(config, run).stops(20, 200, [{"step": 20, "loss": 1.0}])
    assert "no rewards were logged up to step 20" in capsys.readouterr().err
    assert not (tmp_path / "study").exists()


def test_nothing_is_stopped_without_a_study(tmp_path: Path) -> None:
    stops(tmp_path, "a", 0.9)
    stops(tmp_path, "b", 0.9)
    assert stops(tmp_path, "me", 0.1)
    config, run = a_run(tmp_path, "me", "grpo.stop_early.study=null")
    assert stopped(config, run) is None


# --- the stages around it ---


def test_a_run_that_was_stopped_is_not_evaluated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, run = a_run(tmp_path, "me")
    early = {"step": 20, "of": 200, "value": 0.1, "best": 0.9, "rung": 0}
    write_json(run.done_file("grpo"), {"checkpoint": "checkpoint-20", "stopped_early": early})
    assert evaluate(["--run", str(run.path)]) == 0
    why = "grpo was stopped early at step 20 of 200"
    assert capsys.readouterr().out == f"nothing is evaluated: {why}\n"
    assert read_json(run.done_file("eval"))["skipped"] == why
    assert evaluate(["--run", str(run.path), "--shard", "0/2"]) == 2
    assert f"{why}; there is nothing to evaluate" in capsys.readouterr().err


# --- configuration ---


def test_the_rewards_are_those_named_or_all_that_have_a_weight() -> None:
    config = resolve(["rewards.weights.semantic=0"])
    assert rewards_of(config) == ["consistency", "format", "geo_format", "spatial"]
    assert rewards_of(resolve(["grpo.stop_early.by=[spatial]"])) == ["spatial"]


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["by=[spacial]"], "grpo.stop_early.by: unknown reward 'spacial'; did you mean spatial?"),
        (["by=[spatial,spatial]"], "grpo.stop_early.by: names spatial twice"),
        (["study=s", "by=[judge]"], "judge has no weight in rewards.weights"),
        (["factor=1"], "grpo.stop_early.factor: 1 is out of range"),
        (["first_step=0"], "grpo.stop_early.first_step: 0 is out of range"),
        (["study=''"], "grpo.stop_early.study: is empty"),
    ],
)
def test_what_makes_no_sense_is_refused(words: list[str], problem: str) -> None:
    with pytest.raises(UsageError) as error:
        load(overrides=[f"grpo.stop_early.{word}" for word in words])
    assert problem in str(error.value)


def test_a_first_comparison_after_the_end_is_refused() -> None:
    with pytest.raises(UsageError, match=r"20 is not below grpo\.max_steps \(20\)"):
        load(overrides=["grpo.max_steps=20", "grpo.stop_early.study=s"])


def test_a_record_is_json_that_a_person_can_read(tmp_path: Path) -> None:
    stops(tmp_path, "a", 0.5)
    (rung,) = json.loads((tmp_path / "a/grpo/stop-early.json").read_text())["rungs"]
    assert rung == {
        "rung": 0, "step": 20, "of": 200, "value": 0.5, "stop": False, "best": 0.5, "trials": 1,
    }  # fmt: skip
