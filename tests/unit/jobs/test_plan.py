"""What is planned for which stages."""

from __future__ import annotations

import pickle
import pickletools

import pytest

from geoagent.config import resolve
from geoagent.errors import UsageError
from jobs.plan import make_plan


def names(plan: object) -> list[str]:
    return [stage.name for stage in plan.stages]  # type: ignore[attr-defined]


def test_the_whole_chain() -> None:
    plan = make_plan(resolve(["recipe=demo"]), ["sft", "grpo", "eval"])
    assert names(plan) == ["prepare", "sft", "grpo", "eval"]
    assert [stage.after for stage in plan.stages] == [(), ("prepare",), ("sft",), ("grpo",)]
    assert [stage.needs_agent for stage in plan.stages] == [False, False, True, True]
    assert plan.agent is not None
    assert plan.agent.module == ("geoagent.agent.server",)
    told = ("geoagent.train", "prepare", "--then", "sft", "grpo", "eval")
    assert plan.stages[0].module == told


def test_order_is_ours_not_the_callers() -> None:
    assert names(make_plan(resolve(["recipe=demo"]), ["eval", "sft"])) == ["prepare", "sft", "eval"]


def test_grpo_brings_sft_along() -> None:
    plan = make_plan(resolve(["recipe=demo"]), ["grpo"])
    assert names(plan) == ["prepare", "sft", "grpo"]
    assert "sft is added" in plan.notes[0]


def test_grpo_from_base_does_not() -> None:
    plan = make_plan(resolve(["recipe=demo", "grpo.start_from=base"]), ["grpo"])
    assert names(plan) == ["prepare", "grpo"]


GRE = ["recipe=gre_demo"]


def test_judging_brings_along_what_it_judges_and_who_said_it() -> None:
    plan = make_plan(resolve(GRE), ["grpo"])
    assert names(plan) == ["prepare", "sft", "judge_data", "judge", "grpo"]
    assert [stage.after for stage in plan.stages][1:] == [
        ("prepare",),
        ("sft",),
        ("judge_data",),
        ("judge",),
    ]
    assert plan.stages[2].module == ("geoagent.train", "judge_data")
    assert [note.partition(",")[0] for note in plan.notes] == [
        "judge goes on from sft",
        "judge goes on from judge_data",
        "grpo goes on from judge",
    ]


def test_what_has_finished_brings_nothing_along() -> None:
    done = ["prepare", "judge"]
    assert names(make_plan(resolve(GRE), ["grpo"], done)) == ["grpo"]
    judged = make_plan(resolve(GRE), ["judge"], ["prepare", "sft", "judge_data"])
    assert names(judged) == ["judge"]


def test_judge_data_that_is_there_is_not_made() -> None:
    given = resolve([*GRE, "judge.path=data/judge"])
    assert names(make_plan(given, ["judge"])) == ["prepare", "sft", "judge"]
    both = make_plan(given, ["judge_data", "judge"])  # what a run that failed is continued with
    assert names(both) == ["prepare", "sft", "judge"]
    assert "judge_data is left out" in both.notes[0]
    base = resolve([*GRE, "judge.start_from=base"])
    assert names(make_plan(base, ["judge"])) == ["prepare", "judge_data", "judge"]


@pytest.mark.parametrize(
    ("words", "finished", "unused"),
    [
        ([], [], ""),
        (["judge.path=x"], [], ""),
        (["judge.start_from=base"], [], "sft (judge.start_from=base, grpo.start_from=judge)"),
        (["grpo.start_from=sft"], [], "judge (judge.start_from=sft, grpo.start_from=sft)"),
        (["grpo.start_from=sft"], ["prepare", "sft", "judge_data", "judge"], ""),
        (["judge.start_from=base"], ["prepare", "sft"], ""),
    ],
)
def test_what_is_trained_for_nothing_is_told(
    words: list[str], finished: list[str], unused: str
) -> None:
    config = resolve([*GRE, *words])
    notes = [n for n in make_plan(config, config.stages, finished).notes if "nothing" in n]
    assert len(notes) == bool(unused)
    assert all(note.startswith(f"nothing goes on from {unused}: leave it out") for note in notes)


def test_rewards_of_judge_are_its_own() -> None:
    """Which are none that the agent is asked for."""
    plain = make_plan(resolve(["recipe=demo"]), ["judge", "grpo"])
    assert [stage.name for stage in plain.stages if stage.needs_agent] == ["grpo"]


def test_finished_stages_are_left_out() -> None:
    plan = make_plan(resolve(["recipe=demo"]), ["sft", "grpo"], ["prepare", "sft"])
    assert names(plan) == ["grpo"]
    assert plan.stages[0].after == ()
    assert "finished already, left out: prepare, sft" in plan.notes
    done = ["prepare", "sft", "grpo"]
    assert names(make_plan(resolve(["recipe=demo"]), ["sft", "grpo"], done)) == []


def test_no_agent_where_nobody_asks() -> None:
    assert make_plan(resolve(["recipe=demo"]), ["sft"]).agent is None
    off = resolve(["recipe=demo", "rewards.weights.consistency=0"])
    assert make_plan(off, ["grpo", "eval"]).agent is None
    external = resolve(["recipe=demo", "agent.backend=external", "agent.url=http://x/v1"])
    plan = make_plan(external, ["grpo"])
    assert plan.agent is None
    assert plan.stages[-1].needs_agent


def test_processes_follow_the_gpus() -> None:
    plan = make_plan(resolve(["recipe=geoagent", "cluster=slurm"]), ["sft", "eval"])
    assert {stage.name: stage.processes for stage in plan.stages} == {
        "prepare": 1,
        "sft": 8,
        "eval": 1,
    }


def test_unknown_stage() -> None:
    with pytest.raises(UsageError, match=r"unknown stage 'gpro'; did you mean grpo\?"):
        make_plan(resolve(["recipe=demo"]), ["gpro"])
    with pytest.raises(UsageError, match=r"there are: prepare, sft, judge_data, judge, grpo, eval"):
        make_plan(resolve(["recipe=demo"]), ["zzzz"])


def test_a_job_is_read_by_the_code_of_a_run_that_is_older() -> None:
    job = pickle.dumps(make_plan(resolve(["recipe=demo"]), ["eval"]).stages)
    told = [text for _, text, _ in pickletools.genops(job) if isinstance(text, str)]
    assert [text for text in told if text.startswith("geoagent.config")] == ["geoagent.config"]
