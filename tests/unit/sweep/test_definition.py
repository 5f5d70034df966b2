"""Sweeps: what a YAML says becomes points and trials, and each mistake is one line."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from geoagent.config import resolve
from geoagent.errors import UsageError
from geoagent.evaluate.metrics import metrics
from geoagent.evaluate.rules import RULES
from geoagent.sweep.definition import Sweep, read_sweep, trials
from geoagent.sweep.keys import IGNORED

REFERENCE = Path(__file__).parents[3] / "docs" / "reference" / "sweeps.md"
Write = Callable[[str], Path]

GRID = """\
base: [recipe=demo]
grid: {rewards.weights.spatial: [0.5, 1.5], rewards.weights.semantic: [0.5, 1.0]}
"""


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    monkeypatch.chdir(tmp_path)

    def _write(text: str) -> Path:
        Path("mine.yaml").write_text(text, encoding="utf-8")
        return Path("mine.yaml")

    return _write


def refusal(path: Path | str, *words: str) -> str:
    with pytest.raises(UsageError) as caught:
        trials(read_sweep(path, words))
    return str(caught.value)


def names(sweep: Sweep) -> list[str]:
    return [point.name for point in sweep.points]


def test_points_grid_and_random_are_added_up(write: Write) -> None:
    text = """\
title: All three
base: [recipe=demo, benchmark=geoseek_val]
settings: {eval: {limit: 5}, sft.lr_scheduler: linear}
seeds: [0, 1]
metrics: [accuracy_25km]
published: geoseek_val
points:
  full: {published: GeoAgent}
  sft-only: {stages: [eval, sft]}
  without: {settings: {rewards: {weights: {consistency: 0}}}}
grid: {rewards.weights.spatial: [0.5, 3]}
random: {count: 3, space: {grpo.beta: {low: 0.01, high: 0.02}}}
"""
    sweep = read_sweep(write(text))
    random = ["random-001", "random-002", "random-003"]
    assert names(sweep) == ["full", "sft-only", "without", "spatial-0.5", "spatial-3", *random]
    assert (sweep.name, sweep.title, sweep.seeds) == ("mine", "All three", (0, 1))
    assert sweep.points[0].published == "GeoAgent"
    assert sweep.points[1].stages == ("sft", "eval")
    assert sweep.points[2].settings == {"rewards.weights.consistency": 0.0}
    assert sweep.points[3].dimensions == {"rewards.weights.spatial": 0.5}
    assert sweep.base.eval.limit == 5
    assert sweep.base == resolve(sweep.words)
    found = trials(sweep)
    assert len(found) == 16
    assert [(t.point.name, t.seed, t.config.seed) for t in found[:2]] == [
        ("full", 0, 0),
        ("full", 1, 1),
    ]
    assert [*found[2].keys] == ["prepare", "sft", "eval"]
    assert found[4].config.rewards.weights["consistency"] == 0
    assert found[0].config.name is None
    assert found[0].keys["sft"] == found[6].keys["sft"] != found[1].keys["sft"]


def test_the_command_line_comes_after_the_file(write: Write) -> None:
    text = "base: [recipe=geoagent, agent=embedded]\nsettings: {grpo.beta: 0.5}\n" + (
        "points: {a: {}}\nseeds: [0]\nparallel: 2\n"
    )
    words = ["recipe=demo", "grpo.beta=0.25", "name=other"]
    sweep = read_sweep(write(text), words, seeds=[3, 4], parallel=5)
    assert sweep.words == ("recipe=demo", "agent=embedded", "grpo.beta=0.5", "grpo.beta=0.25")
    assert sweep.base == resolve(sweep.words)
    assert (sweep.base.grpo.beta, sweep.base.model.kind) == (0.25, "tiny")
    assert (sweep.name, sweep.seeds, sweep.parallel) == ("other", (3, 4), 5)
    assert read_sweep("mine.yaml", ["name=x"], name="y").name == "y"


def test_seeds_are_the_configurations_if_none_are_given(write: Write) -> None:
    assert read_sweep(write("points: {a: {}}"), ["seed=7"]).seeds == (7,)


@pytest.mark.parametrize("value", ["yes", "a b", "1e-3", "[x", "a: b", "null", "ü", "plain", ""])
def test_settings_are_words_that_give_the_same_again(write: Write, value: str) -> None:
    sweep = read_sweep(write(f"settings: {{data.name: {value!r}}}\npoints: {{a: {{}}}}"))
    assert sweep.base.data.name == value
    assert resolve(sweep.words).data.name == value


def test_constraints_leave_points_out(write: Write) -> None:
    text = GRID + "constraints: ['sum([rewards.weights.spatial, rewards.weights.semantic]) > 1']\n"
    assert names(read_sweep(write(text))) == [
        "spatial-0.5_semantic-1",
        "spatial-1.5_semantic-0.5",
        "spatial-1.5_semantic-1",
    ]


def test_constraints_may_keep_what_contradicts_itself_out(write: Write) -> None:
    text = "base: [recipe=demo]\ngrid: {grpo.batch_size: [32, 12], grpo.generations: [8, 4]}\n"
    assert "grpo.generations: 8 does not divide" in refusal(write(text))
    found = read_sweep(write(text + "constraints: [grpo.batch_size % grpo.generations == 0]\n"))
    assert len(trials(found)) == 3


def test_a_shared_stage_may_change_if_the_file_says_so(write: Write) -> None:
    text = "base: [recipe=demo]\ngrid: {sft.learning_rate: [1e-3, 2e-3, 3e-3]}\n"
    assert refusal(write(text)) == (
        "mine.yaml: grid: sft.learning_rate changes sft, which all points share (it would run 3 "
        "times); take it out of the sweep, or allow it with shared: []"
    )
    assert len(trials(read_sweep(write(text + "shared: []\n")))) == 3
    assert len(trials(read_sweep(write(text + "shared: [prepare]\n")))) == 3


def test_only_points_that_have_the_stage_share_it(write: Write) -> None:
    text = """\
base: [recipe=demo]
points:
  a: {}
  b: {stages: [grpo, eval], settings: {grpo.start_from: base, sft.learning_rate: 1}}
"""
    assert len(trials(read_sweep(write(text)))) == 2


def test_the_key_that_changes_a_shared_stage_is_named(write: Write) -> None:
    text = """\
base: [recipe=demo]
points:
  a: {}
  b: {settings: {grpo.beta: 0.5, data.limit: 10}}
"""
    assert refusal(write(text)).startswith(
        "mine.yaml: points: b: data.limit changes prepare, which all points share (it would run 2 "
    )


def test_the_example_of_the_reference_is_a_sweep(write: Write) -> None:
    example = re.search(r"```yaml\n(.*?)```", REFERENCE.read_text(encoding="utf-8"), re.DOTALL)
    assert example is not None
    sweep = read_sweep(write(example[1]))
    assert len(sweep.points) == 3 + 3 + 20
    assert len(trials(sweep)) == 2 * len(sweep.points)


def test_the_reference_names_all_that_changes_no_result() -> None:
    text = REFERENCE.read_text(encoding="utf-8").partition("never count:")[2]
    assert [key for key in IGNORED if key.rpartition(".")[2] not in text] == []


def test_early_stop_is_read(write: Write) -> None:
    text = GRID + "stop_early: {first_step: 5, by: [spatial]}\n"
    assert read_sweep(write(text)).stop_early == {"first_step": 5, "by": ["spatial"]}
    assert read_sweep(write(GRID)).stop_early is None


def test_a_secret_is_not_read(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hunter2")
    message = refusal(write("title: ${oc.env:HF_TOKEN}\npoints: {a: {}}"))
    assert "secrets are not read" in message
    assert "hunter2" not in message


def test_a_variable_may_be_named(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHERE", "/data/x")
    text = "settings: {data.path: '${oc.env:WHERE}'}\npoints: {a: {}}"
    assert read_sweep(write(text)).base.data.path == "/data/x"


# fmt: off
# ruff: noqa: E501
WRONG = [
    ("points: {a: {settings: {grpo.betta: 1}}}",
     "points: a: grpo.betta: unknown key; did you mean grpo.beta?"),
    ("points: {a: {settings: {grpo: {betta: 1}}}}",
     "points: a: grpo.betta: unknown key; did you mean grpo.beta?"),
    ("points: {a: {settings: {grpo.beta: x}}}",
     "points: a: grpo.beta: Value 'x' of type 'str' could not be converted to Float"),
    ("points: {a: {settings: {grpo.beta: 1, grpo: {beta: 2}}}}",
     "points: a: grpo.beta: is given twice"),
    ("points: {a: {settings: {rewards.weights.spatial: -1}}}",
     "points: a: rewards.weights.spatial: -1.0 is not a weight (0 or more, finite)"),
    ("points: {a: {settings: {rewards.weights.spatal: 1}}}",
     "points: a: rewards.weights.spatal: unknown reward; did you mean spatial?"),
    ("points: {a: {settings: {rewards.weights: 1}}}",
     "points: a: rewards.weights: expected a group of keys, not a value"),
    ("points: {a: {settings: [1]}}",
     "points: a: expected keys of the configuration"),
    ("points: {a: {seting: {}}}",
     "points: a: seting: unknown key; did you mean settings?"),
    ("points: {a: 3}",
     "points: a: expected keys and values (settings, stages, published)"),
    ("points: {a: {stages: [sftt]}}",
     "points: a: stages: unknown stage 'sftt'; did you mean sft?"),
    ("points: {a: {stages: []}}",
     "points: a: stages: no stage given; there are: prepare, sft, judge_data, judge, grpo, eval"),
    ("points: {a/b: {}}",
     "points: 'a/b' is no name of a folder (at most 60 letters, digits, '.', '_', '-')"),
    ("points: {1: {}, 1.5: {}, yes: {settings: {grpo.beta: 0.02}}}",
     "points: 1 is no text (YAML takes 1, 1.0, yes, no, on, off for numbers or truth values); write the name in quotes"),
    ("points: {no: {}}",
     "points: False is no text (YAML takes 1, 1.0, yes, no, on, off for numbers or truth values); write the name in quotes"),
    ("points: {shared: {}}",
     "points: shared: folders of shared stages are called so; give it another name"),
    ("points: {shared-sft: {}}",
     "points: shared-sft: folders of shared stages are called so; give it another name"),
    ("title: {a: 1}\npoints: {a: {}}",
     "title: {'a': 1} is no text; write it in quotes"),
    ("title: 3\npoints: {a: {}}",
     "title: 3 is no text; write it in quotes"),
    ("metrics: [acuracy_750km]\npoints: {a: {}}",
     "metrics: acuracy_750km: no such figure; did you mean accuracy_750km?"),
    ("metrics: [rewards.spatal]\npoints: {a: {}}",
     "metrics: rewards.spatal: no such figure; did you mean rewards.spatial?"),
    ("random: {count: 1, space: {recipe: {choices: [demo]}}}",
     "random: space: recipe: is a group; name single keys, such as grpo.learning_rate"),
    ("random: {count: 1, space: {model: {choices: [tiny]}}}",
     "random: space: model: is a group; name single keys, such as model.kind"),
    ("random: {count: 1, space: {rewards.spatial: {low: 0, high: 1}}}",
     "random: space: rewards.spatial: is a group; name single keys, such as rewards.spatial.tau_km"),
    ("points: {..: {}}",
     "points: '..' is no name of a folder (at most 60 letters, digits, '.', '_', '-')"),
    ("points: [a]",
     "points: expected names of points, each with its settings"),
    ("points: {a: {settings: {seed: 1}}}",
     "points: a: seed: is no setting of a point; use seeds:"),
    ("points: {a: {settings: {name: x}}}",
     "points: a: name: is the run's; the folder of the sweep is named on the command line (name=…)"),
    ("points: {a: {settings: {runs_dir: x}}}",
     "points: a: runs_dir: is the same for all points; set it on the command line (runs_dir=…)"),
    ("grid: {cluster.qos: [a, b]}",
     "grid: cluster.qos: the points share one agent and one cluster; set it for all of them (base:)"),
    ("grid: {agent: {model: [a, b]}}",
     "grid: agent: the points share one agent and one cluster; set it for all of them (base:)"),
    ("grid: {container.runtime: [none]}",
     "grid: container.runtime: the points share one image; set it for all of them (base:)"),
    ("grid: {model: [tiny]}",
     "grid: model: a choice of files is the same for all points (base:); name single keys, such as model.kind"),
    ("grid: {recipe: [demo]}",
     "grid: recipe: a choice of files is the same for all points (base:); name single keys, such as grpo.learning_rate"),
    ("grid: {grpo.save_steps: [1, 2]}",
     "grid: grpo.save_steps: changes no result; use settings:"),
    ("grid: {grpo.stop_early.factor: [3, 4]}",
     "grid: grpo.stop_early.factor: is the same for all points; use stop_early:"),
    ("grid: {grpo.beta: []}",
     "grid: grpo.beta: empty; give it values, or take it out"),
    ("grid: {grpo.beta: 1}",
     "grid: grpo.beta: expected a list of values"),
    ("grid: {grpo.beta: [1, '1e0']}",
     "grid: grpo.beta: 1e0 is there twice"),
    ("grid: {grpo.generations: [4, 4.5]}",
     "grid: grpo.generations: Value '4.5' of type 'float' could not be converted to Integer"),
    ("grid: {rewards.weights.spatial: [1, -1]}",
     "grid: spatial--1: rewards.weights.spatial: -1.0 is not a weight (0 or more, finite)"),
    ("grid: {}",
     "grid: empty; name at least one key, or take it out"),
    ("grid: {sft.seed: [1]}",
     "grid: sft.seed: unknown key; did you mean seed?"),
    ("random: {count: 0, space: {grpo.beta: {low: 0, high: 1}}}",
     "random: count: 0 is not a whole number of at least 1"),
    ("random: {space: {grpo.beta: {low: 0, high: 1}}}",
     "random: count: None is not a whole number of at least 1"),
    ("random: {count: 1, seed: x, space: {grpo.beta: {low: 0, high: 1}}}",
     "random: seed: 'x' is not a whole number of at least 0"),
    ("random: {count: 1}",
     "random: space: empty; name at least one key, or take it out"),
    ("random: {count: 1, space: {grpo.beta: {low: 1, high: 1}}}",
     "random: space: grpo.beta: low 1.0 is not below high 1.0"),
    ("random: {count: 1, space: {grpo.beta: {low: 0, high: 1, log: true}}}",
     "random: space: grpo.beta: log: needs low above 0, not 0.0"),
    ("random: {count: 1, space: {grpo.beta: {low: 0}}}",
     "random: space: grpo.beta: expected low and high, or choices"),
    ("random: {count: 1, space: {grpo.beta: {low: 0, high: .inf}}}",
     "random: space: grpo.beta: low 0.0 is not below high inf"),
    ("random: {count: 1, space: {grpo.beta: {choices: []}}}",
     "random: space: grpo.beta: empty; give it values, or take it out"),
    ("random: {count: 1, space: {grpo.beta: {choices: [1], low: 1}}}",
     "random: space: grpo.beta: either choices, or low and high"),
    ("random: {count: 1, space: {grpo.beta: {lo: 0, high: 1}}}",
     "random: space: grpo.beta: lo: unknown key; did you mean low?"),
    ("random: {count: 1, space: {model.path: {low: 0, high: 1}}}",
     "random: space: model.path: is no number; give its choices"),
    ("random: {count: 1, space: {sft.freeze_vit: {low: 0, high: 1}}}",
     "random: space: sft.freeze_vit: is no number; give its choices"),
    ("random: {count: 3, space: {grpo.beta: {choices: [1, 2]}}}",
     "random: only 2 different points in 300 draws; lower count, widen the space or loosen the constraints"),
    ("seeds: [0, 0]\npoints: {a: {}}",
     "seeds: 0 is there twice"),
    ("seeds: []\npoints: {a: {}}",
     "seeds: expected a list of whole numbers such as [0, 1, 2]"),
    ("seeds: [-1]\npoints: {a: {}}",
     "seeds: -1 is not a whole number of at least 0"),
    ("seeds: [true]\npoints: {a: {}}",
     "seeds: True is not a whole number of at least 0"),
    ("parallel: 0\npoints: {a: {}}",
     "parallel: 0 is not a whole number of at least 1"),
    ("metrics: []\npoints: {a: {}}",
     "metrics: empty; name keys of metrics.json, or take it out"),
    ("metrics: [a, a]\npoints: {a: {}}",
     "metrics: a is there twice"),
    ("shared: [sftt]\npoints: {a: {}}",
     "shared: unknown stage 'sftt'; did you mean sft?"),
    ("shared: [eval]\npoints: {a: {}}",
     "shared: eval: each point has its own; take it out"),
    ("published: geoseek\npoints: {a: {}}",
     "published: no figures of 'geoseek' are known; did you mean geoseek_val?"),
    ("published: geoseek_val\npoints: {a: {published: GeoAgnt}}",
     "points: a: published: geoseek_val has no row 'GeoAgnt'; did you mean GeoAgent?"),
    ("points: {a: {published: GeoAgent}}",
     "points: a: published: of which benchmark? say so in the sweep's own published:"),
    ("point: {a: {}}",
     "point: unknown key; did you mean points?"),
    ("title: nothing",
     "no points; name some in points:, grid: or random:"),
    ("settings: {seed: 1}\npoints: {a: {}}",
     "settings: seed: use seeds:"),
    ("base: [seed=1]\npoints: {a: {}}",
     "base: seed: use seeds:"),
    ("settings: {eval.limitt: 1}\npoints: {a: {}}",
     "settings: eval.limitt: unknown key; did you mean eval.limit?"),
    ("settings: {eval.limit: 0}\npoints: {a: {}}",
     "settings: eval.limit: 0 is out of range (at least 1)"),
    ("settings: [a]\npoints: {a: {}}",
     "settings: expected keys of the configuration"),
    ("base: demo\npoints: {a: {}}",
     "base: expected a list of texts"),
    ("base: [recipe=dem]\npoints: {a: {}}",
     "base: recipe=dem: no such choice; did you mean recipe=demo?"),
    ("base: [grpo.betta=1]\npoints: {a: {}}",
     "base: grpo.betta: unknown key; did you mean grpo.beta?"),
    ("points: {a: {}}\nstop_early: {first: 3}",
     "stop_early: first: unknown key; did you mean first_step?"),
    ("points: {a: {}}\nstop_early: {study: x}",
     "stop_early: study: unknown key; there are: first_step, factor, by"),
    ("points: {a: {}}\nstop_early: {factor: 1}",
     "stop_early: grpo.stop_early.factor: 1 is out of range (at least 2)"),
    ("points: {a: {settings: {rewards.weights.spatial: 0}}}\nstop_early: {by: [spatial]}",
     "stop_early: a: grpo.stop_early.by: spatial has no weight in rewards.weights, so training does not compute it"),
    ("points: {a: {}, b: {}}",
     "points: b is the same as a; take one of them out"),
    ("points: {a: {}, b: {settings: {grpo.save_steps: 5}}}",
     "points: b is the same as a (grpo.save_steps changes no result here); take one of them out"),
    ("points: {a: {}}\ngrid: {grpo.beta: [0.001, 0.1]}",
     "grid: beta-0.001 is the same as a; leave one out with constraints:"),
    ("points: {beta-0.1: {}}\ngrid: {grpo.beta: [0.1]}",
     "points: beta-0.1: grid: or random: makes a point of that name"),
    ("points: {a: {}}\nconstraints: [grpo.beta > 1]",
     "constraints: no point is left"),
]
# fmt: on


@pytest.mark.parametrize(("text", "message"), WRONG)
def test_what_is_wrong_is_one_line(write: Write, text: str, message: str) -> None:
    assert refusal(write(text)) == f"mine.yaml: {message}"


def test_not_yaml(write: Write) -> None:
    assert re.fullmatch(r"mine\.yaml: not valid YAML \(.*\)", refusal(write("points: {a")))
    assert refusal(write("- a")) == "mine.yaml: expected keys and values at the top level"
    assert refusal(write("points: {a: {}}\npoints: {b: {}}")) == (
        "mine.yaml: not valid YAML (line 2: found duplicate key points)"
    )


def test_a_sweep_that_is_not_there(write: Write) -> None:
    write("")
    assert refusal("mina.yaml") == "mina.yaml: No such file or directory; did you mean mine.yaml?"
    assert refusal("geoagent_tabel3") == (
        "command line: geoagent_tabel3: no such sweep; did you mean geoagent_table3?"
    )
    assert refusal("zzz").startswith("command line: zzz: no such sweep; there are: ")


def test_what_is_no_sweep_is_told_apart(write: Write) -> None:
    write("").rename("mine.yaml.bak")
    for name in ("empty", "done", "zz.yaml"):
        Path(name).mkdir()
    Path("done/sweep.json").write_text("{}")
    said = {
        "empty": "command line: empty: this folder holds no sweep (it has no sweep.json)",
        "done": "command line: done: is the folder of a sweep; leave name=… out to go on with it, "
        "or name its YAML to begin another",
        "mine.yaml.bak": "command line: mine.yaml.bak: is no sweep; a sweep's file ends in .yaml",
        "runs/nope": "command line: runs/nope: no such folder of a sweep, and a sweep's file ends "
        "in .yaml",
        "zz.yaml": "zz.yaml: Is a directory",
    }
    assert {source: refusal(source) for source in said} == said


def test_a_seed_that_would_not_run_is_refused(write: Write) -> None:
    path = write(f"{GRID}seeds: [0, 1]\n")
    assert refusal(path, "seed=5") == (
        "command line: seed=5: would do nothing beside mine.yaml: seeds (0, 1); leave it out, or "
        "name its seeds with --seeds"
    )
    with pytest.raises(UsageError, match=r"seed=5: would do nothing beside --seeds \(2\)"):
        read_sweep(path, ["seed=5"], seeds=[2])
    assert read_sweep(path, ["seed=5"], seeds=[5, 6]).seeds == (5, 6)


def test_every_figure_of_an_evaluation_can_be_a_column(write: Write) -> None:
    row = {"latitude": 1, "longitude": 1, "predicted_latitude": 1, "predicted_longitude": 1}
    names = {name for rules in RULES.values() for name in metrics([row], rules=rules)}
    figures = names - {"rules", "intervals", "named", "failures"}
    figures |= {"mean_reward", "sampled_mean_reward", "rewards.spatial", "sampled_rewards.spatial"}
    figures |= {"named.city", "failures.no_answer", "agent.asked", "verifier.judged"}
    sweep = read_sweep(write(f"metrics: {json.dumps(sorted(figures))}\npoints: {{a: {{}}}}"))
    assert sweep.metrics == tuple(sorted(figures))


def test_what_is_wrong_on_the_command_line(write: Write) -> None:
    path = write(GRID)
    assert refusal(path, "grpo.betta=1") == (
        "command line: grpo.betta: unknown key; did you mean grpo.beta?"
    )
    assert refusal(path, "rewards.weights.spatial=1") == (
        "command line: rewards.weights.spatial=1: every point of mine.yaml has its own "
        "rewards.weights.spatial; leave it out"
    )
    assert refusal(path, "name=a/b") == (
        "name: 'a/b' is no name of a folder (at most 60 letters, digits, '.', '_', '-')"
    )
    with pytest.raises(UsageError, match="--parallel: 0 is not a whole number of at least 1"):
        read_sweep(path, parallel=0)
    with pytest.raises(UsageError, match="seeds: 1 is there twice"):
        read_sweep(path, seeds=[1, 1])


CONSTRAINTS = {
    "grpo.betta > 1": "grpo.betta: unknown key; did you mean grpo.beta?",
    "True or grpo.betta > 1": "grpo.betta: unknown key; did you mean grpo.beta?",
    "rewards.weights.spatal > 1": "rewards.weights.spatal: unknown reward; did you mean spatial?",
    "grpo > 1": "grpo is a group of keys",
    "grpo.beta >": "invalid syntax",
    "": "invalid syntax",
    "grpo.beta + 1": "is 1.001, which is neither true nor false",
    "grpo.beta / 0 > 1": "divides by 0",
    "grpo.beta > 'a'": "compares a number with a text",
    "grpo.limit > 1": "compares null with a number",
    "open('x')": "open is none of the functions; there are: min, max, abs, sum",
    "grpo.beta.real() > 1": "grpo.beta.real is none of the functions; there are: min, max, abs, sum",
    "(1).real > 1": "only the keys of the configuration have dots",
    "grpo.beta.real > 1": "grpo.beta.real: unknown key; did you mean grpo.beta?",
    "model.path.__class__ == 1": "model.path.__class__: unknown key; did you mean model.path?",
    "9**9**9 > 1": "cannot be evaluated; there are: + - * /",
    "[1 for i in (1, 2)]": "cannot be evaluated",
    "[1][0] > 0": "cannot be evaluated",
    "f'{1}' == '1'": "cannot be evaluated",
    "max(1, key=abs) == 1": "cannot be evaluated",
    "(lambda: 1)() > 0": "cannot be evaluated",
    "max(1)": "expects a list, not a number",
    "1 in 2": "expects a list, not a number",
    "grpo.beta + 'a' == 1": "calculates with a number and a text",
    "'a' + grpo.beta == 1": "calculates with what are not all numbers",
    "'a' * 200000 == 'a'": "makes a text or a list that is too long",
}


@pytest.mark.parametrize(("text", "message"), CONSTRAINTS.items())
def test_a_constraint_that_cannot_be_evaluated(write: Write, text: str, message: str) -> None:
    said = refusal(write(f'points: {{a: {{}}}}\nconstraints: ["{text}"]'))
    assert said.startswith(f"mine.yaml: constraints: '{text}': {message}")
    assert "\n" not in said


@pytest.mark.parametrize(
    "text",
    [
        "abs(-1) == 1 and min(1, 2) == 1 and max([1, 2]) == 2 and sum((1, 2)) == 3",
        "grpo.start_from in ('sft', 'base') and grpo.limit is None",
        "not grpo.beta > 1 if model.kind == 'pretrained' else False",
        "rewards.weights.hierarchical == 0",
    ],
)
def test_what_a_constraint_may_say(write: Write, text: str) -> None:
    assert names(read_sweep(write(f'points: {{a: {{}}}}\nconstraints: ["{text}"]'))) == ["a"]
