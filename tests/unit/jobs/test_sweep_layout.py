"""Which run directory makes which stage."""

from __future__ import annotations

from collections.abc import Sequence

from geoagent.config import Config
from geoagent.sweep.definition import Point, Trial
from jobs.sweep.layout import Layout, lay_out


def trial(name: str, seed: int = 0, **keys: str) -> Trial:
    """`keys` by stage, short: what a key is does not matter here."""
    full = {stage: f"{key}-{seed}".ljust(64, "0") for stage, key in keys.items()}
    return Trial(Point(name, {}, tuple(keys)), seed, Config(seed=seed), full)


def full(name: str, seed: int = 0, grpo: str | None = None) -> Trial:
    made = grpo or f"g{name}"
    return trial(name, seed, prepare="p", sft="s", grpo=made, eval=f"e{name}")


def made(layout: Layout) -> dict[str, tuple[list[str], dict[str, str]]]:
    return {name: (part.stages, part.links) for name, part in layout.parts.items()}


def stages(layout: Layout) -> list[str]:
    return [stage for part in layout.parts.values() for stage in part.stages]


def test_what_trials_share_is_made_once() -> None:
    base = trial("base", prepare="p", eval="ex")
    only = trial("only", prepare="p", sft="s", eval="eo")
    raw = trial("raw", prepare="p", grpo="gr", eval="er")
    layout = lay_out([base, only, raw, full("a"), full("b")], {})
    prepare, sft = "shared-prepare-s0-p-000000", "shared-sft-s0-s-000000"
    assert made(layout) == {
        prepare: (["prepare"], {}),
        "base-s0-ex-00000": (["eval"], {"prepare": prepare}),
        sft: (["sft"], {"prepare": prepare}),
        "only-s0-eo-00000": (["eval"], {"prepare": prepare, "sft": sft}),
        "raw-s0-er-00000": (["grpo", "eval"], {"prepare": prepare}),
        "a-s0-ea-00000": (["grpo", "eval"], {"prepare": prepare, "sft": sft}),
        "b-s0-eb-00000": (["grpo", "eval"], {"prepare": prepare, "sft": sft}),
    }
    assert sorted(stages(layout)) == ["eval"] * 5 + ["grpo"] * 3 + ["prepare", "sft"]


def test_seeds_share_nothing() -> None:
    layout = lay_out([full("a", seed) for seed in (0, 1, 2)], {})
    assert stages(layout).count("sft") == 3
    assert len({*layout.trials}) == 3


def test_trials_that_differ_in_their_evaluation_train_once() -> None:
    layout = lay_out([full("a", grpo="g"), full("b", grpo="g")], {})
    assert stages(layout).count("grpo") == 1
    maker = layout.stages["g-0".ljust(64, "0")]
    assert maker.startswith("shared-grpo-s0-")
    assert [layout.parts[name].links["grpo"] for name in layout.trials] == [maker, maker]


def test_what_is_there_keeps_its_folder() -> None:
    first = lay_out([full("a")], {})
    assert lay_out([full("a")], first.stages).stages == first.stages
    # Another name for the same, and a second point that evaluates the same otherwise.
    renamed = trial("z", prepare="p", sft="s", grpo="ga", eval="ea")
    other = trial("other", prepare="p", sft="s", grpo="ga", eval="eother")
    second = lay_out([renamed, other], first.stages)
    assert second.trials[0] == first.trials[0]
    part = second.parts[second.trials[1]]
    assert (part.stages, part.links["grpo"]) == (["eval"], first.trials[0])
    # Another meaning: another folder, and the old one is known still.
    changed = lay_out([trial("a", prepare="p", sft="s", grpo="new", eval="enew")], first.stages)
    assert changed.trials != first.trials
    assert first.stages.items() <= changed.stages.items()


def test_makers_come_before_what_goes_on_from_them() -> None:
    trials: Sequence[Trial] = [full(name, seed) for name in "abc" for seed in (0, 1)]
    layout = lay_out(trials, {})
    names = list(layout.parts)
    for name, part in layout.parts.items():
        for maker in part.links.values():
            assert names.index(maker) < names.index(name)


def test_a_chain_that_ends_where_another_goes_on() -> None:
    layout = lay_out([trial("only", prepare="p", sft="s"), full("a")], {})
    assert stages(layout).count("sft") == 1
    assert layout.parts[layout.trials[1]].links["sft"] == layout.trials[0]
