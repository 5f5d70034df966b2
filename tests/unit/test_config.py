"""The configuration: layers, overrides, and one clear line for everything that is wrong."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

import geoagent
from geoagent.config import CONFIG_ROOT, Config, load, loading, resolve, to_yaml
from geoagent.errors import UsageError

SHIPPED = sorted(path for path in CONFIG_ROOT.rglob("*.yaml") if path.parent.name != "sweep")


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: str(path.relative_to(CONFIG_ROOT)))
def test_every_shipped_file_loads(path: Path) -> None:
    assert isinstance(load([path]), Config)


def test_there_are_shipped_files() -> None:
    assert len(SHIPPED) >= 7


@pytest.mark.parametrize(
    ("recipe", "stage", "samples", "gpus"),
    [
        ("geoagent", "sft", 10_000, 8),
        ("geoagent", "grpo", 20_000, 8),
        ("gre", "sft", 20_000, 8),
        ("gre", "judge", 10_000, 8),
        ("gre", "grpo", 10_000, 8),
        ("geovista", "sft", 2_000, 8),
        ("geovista", "grpo", 12_000, 64),
    ],
)
def test_recipes_save_long_before_their_end(
    recipe: str, stage: str, samples: int, gpus: int
) -> None:
    """With the papers' numbers of samples and GPUs: a node that dies must not cost all."""
    settings = getattr(resolve([f"recipe={recipe}"]), stage)
    step = settings.batch_size * settings.gradient_accumulation * gpus
    steps = settings.epochs * samples * getattr(settings, "generations", 1) / step
    assert 3 * settings.save_steps <= steps


def test_nothing_given_is_the_schema() -> None:
    assert resolve() == Config()


def test_yaml_gives_the_same_config_again(tmp_path: Path) -> None:
    before = resolve(["recipe=demo", "name=x", "rewards.weights.spatial=0.25", "grpo.beta=1e-4"])
    path = tmp_path / "config.yaml"
    path.write_text(to_yaml(before))
    assert load([path]) == before
    assert before.grpo.beta == 1e-4


@given(st.text(min_size=1) | st.from_regex(r"[-+]?[0-9_.]+([eE][-+]?[0-9]+)?", fullmatch=True))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@example("1e-5")
@example("1_000")
@example("null")
@example("yes")
@example("0x1F")
@example("12:30:45")
@example(".inf")
@example("2026-11-22")
@example("~")
def test_any_text_comes_back(tmp_path: Path, text: str) -> None:
    assume("${" not in text and text.isprintable())
    before = Config(runs_dir=text)
    before.cluster.environment = {"NAME": text}
    path = tmp_path / "config.yaml"
    path.write_text(to_yaml(before), encoding="utf-8")
    assert load([path]) == before


def test_layers_in_order(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("defaults: [model/tiny]\nmodel: {max_pixels: 50176}\ngrpo: {beta: 0.5}\n")
    config = resolve([str(path), "grpo.beta=0.25"])
    assert config.model.kind == "tiny"  # from defaults
    assert config.model.max_pixels == 50176  # the file wins over its defaults
    assert config.grpo.beta == 0.25  # the command line wins over the file


def test_weights_are_merged_by_name() -> None:
    config = resolve(["rewards.weights.spatial=0", "rewards.weights.hierarchical=1"])
    assert config.rewards.weights["spatial"] == 0
    assert config.rewards.weights["hierarchical"] == 1
    assert config.rewards.weights["semantic"] == 1.0


WRONG = {
    "stages=[sftt]": "stages: unknown stage 'sftt'; did you mean sft?",
    "judge.weights.spatail=1": "judge.weights.spatail: unknown reward; there are: judge, format",
    "judge.weights.jugde=1": "judge.weights.jugde: unknown reward; did you mean judge?",
    "judge.weights.judge=0": "judge.weights.judge: is 0; whether it judges rightly is what",
    "rewards.weights.jugde=1": "unknown reward; did you mean directly_judge?",
    "judge.weights.spatial=1": "judge.weights.spatial: is of places, and True or False is none",
    "rewards.weights.judge=1": "rewards.weights.judge: places have no label; the stage judge",
    "judge.generations=3": "judge.generations: 3 does not divide the completions of a step",
    "judge.start_from=grpo": "judge.start_from: 'grpo' is none of sft, base",
    "grpo.generatoins=4": "grpo.generatoins: unknown key; did you mean grpo.generations?",
    "generations=4": "generations: unknown key; did you mean grpo.generations?",
    "modle.kind=tiny": "modle: unknown key; did you mean model.kind?",
    "modle.kindd=tiny": "modle: unknown key; did you mean model?",
    "judge_data.draws=2": "judge_data: unknown key; did you mean judge.draws?",
    "judge_data.nodes=2": "judge_data: unknown key; did you mean cluster.judge_data.nodes?",
    "grpo.lroa.rank=8": "grpo.lroa: unknown key; did you mean grpo.lora.rank?",
    "grpo=4": "grpo: expected a group of keys",
    "grpo.beta=lots": "grpo.beta: Value 'lots' of type 'str' could not be converted to Float",
    "seed=1.5": "seed: Value '1.5'",
    "grpo.beta=-1": "grpo.beta: -1.0 is out of range (at least 0.0)",
    "grpo.top_p=1.5": "grpo.top_p: 1.5 is out of range (at most 1.0)",
    "sft.learning_rate=0": "sft.learning_rate: 0.0 is out of range (more than 0.0)",
    "sft.learning_rate=nan": "sft.learning_rate: nan is not a finite number",
    "model.kind=tny": "model.kind: 'tny' is none of pretrained, tiny; did you mean tiny?",
    "model=tny": "model=tny: no such choice; did you mean model=tiny?",
    "recipe=zzz": "recipe=zzz: no such choice; there are: ",
    "rewards.weights.spatal=1": "rewards.weights.spatal: unknown reward; did you mean spatial?",
    "rewards.weights.spatial=nan": "rewards.weights.spatial: nan is not a weight",
    "rewards.weights.spatial=-1": "rewards.weights.spatial: -1.0 is not a weight",
    "rewards.weights=null": "rewards.weights",
    "sft.epochs=null": "sft.epochs",
    "foo": "foo: expected key=value",
    "=4": "=4: expected key=value",
    "name=[a": "name=[a:",
    "name=${oc.env:HF_TOKEN}": "secrets are not read into the configuration",
    "grpo.generations=3": "grpo.generations: 3 does not divide",
    "model.tiny.image_size=100": "model.tiny.image_size: 100 is not a multiple of 28",
    "grpo.lora.rank=0": "grpo.lora.rank: 0 (all parameters) cannot continue the adapters",
    "model.tiny.kv_heads=3": "model.tiny.kv_heads: 3 does not divide",
    "model.tiny.hidden_size=130": "model.tiny.hidden_size: 130 does not divide",
    "model.tiny.vision_hidden_size=65": "model.tiny.vision_hidden_size",
    "agent.backend=external": "agent.url: is needed",
    "rewards.consistency.full_characters=50": "full_characters: must be above",
}


@pytest.mark.parametrize(("argument", "message"), WRONG.items())
def test_one_line_says_what_is_wrong(argument: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        resolve([argument])
    text = str(caught.value)
    assert message in text
    assert "\n" not in text


def test_all_weights_zero() -> None:
    zeros = [f"rewards.weights.{name}=0" for name in Config().rewards.weights]
    with pytest.raises(UsageError, match="nothing would be learnt"):
        resolve(zeros)


@pytest.mark.parametrize(
    ("setting", "problem"),
    [
        ("agent.url=foo", "agent.url: 'foo' is no address such as http"),
        ("agent.url=http://u:p@h/v1", "agent.url: has more than a server and a path; a key goes"),
        ("cluster.additional.nodes=4", "cluster.additional.nodes: has a key of its own"),
        ("cluster.additional.cpus_per_task=4", "has a key of its own under cluster; set that"),
        ("cluster.environment.WANDB_API_KEY=x", "cluster.environment.WANDB_API_KEY: looks like a"),
        ("cluster.environment.1A=x", "cluster.environment.1A: is no name of a variable"),
        ("cluster.gpu_option=gras", "'gras' is none of gpus-per-node, gres; did you mean gres?"),
    ],
)
def test_settings_that_would_only_fail_later(setting: str, problem: str) -> None:
    with pytest.raises(UsageError, match=re.escape(problem)):
        resolve([setting])


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ("runtime=apptainer", "train_image: is needed with container.runtime"),
        ("agent_image=a.sif", "train_image: is needed with container.agent_image"),
        ("train_image=a.sif@", "train_image: '' is no digest (sha256: and 64 hex digits)"),
        ("runtime=apptainer train_image=a.sif@sha256:12", "train_image: 'sha256:12' is no digest"),
        ("runtime=docker", "runtime: 'docker' is none of none, apptainer, charliecloud"),
        ("runtime=apptainer train_image=a binds=[data]", "binds: 'data' is not SOURCE[:TARGET"),
        ("runtime=apptainer train_image=a binds=[/a:/b:xx]", "binds: '/a:/b:xx' is not SOURCE"),
        ("runtime=apptainer train_image=a binds=['/a,b']", "binds: '/a,b' is not SOURCE"),
        ("runtime=apptainer train_image=a environment=[A=b]", "environment: 'A=b' is no name"),
        ("train_image=a environment=[HOME]", "environment: HOME is the image's own, or is set"),
    ],
)
def test_images_that_cannot_be_used(settings: str, problem: str) -> None:
    with pytest.raises(UsageError, match=re.escape(f"container.{problem}")):
        resolve([f"container.{setting}" for setting in settings.split()])


@pytest.mark.parametrize(
    "setting", ["container.environment={A: b}", "container.binds.0=/x", "cluster.modules={a: b}"]
)
def test_a_list_for_a_mapping_and_a_mapping_for_a_list(setting: str) -> None:
    with pytest.raises(UsageError, match="command line: "):
        resolve([setting])


FILES = {
    "grpo: {generatoins: 4}": "mine.yaml: grpo.generatoins: unknown key; did you mean",
    "grpo: {beta: lots}": "mine.yaml: grpo.beta",
    "grpo: {beta: -2}": "mine.yaml: grpo.beta: -2.0 is out of range",
    "rewards: {weights: {spatail: 1}}": "mine.yaml: rewards.weights.spatail: unknown reward",
    "grpo: [1, 2": "mine.yaml: not valid YAML",
    "- 1\n- 2": "mine.yaml: expected keys and values",
    "defaults: model/tiny": "mine.yaml: defaults: expected a list",
    "defaults: [model/tny]": "defaults: model/tny: no file configs/model/tny.yaml; did you mean",
    "grpo: null": "mine.yaml: grpo: expected a group of keys",
}


@pytest.mark.parametrize(("text", "message"), FILES.items())
def test_the_file_is_named(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        load([path])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_file_names_a_near_one(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("seed: 1\n")
    with pytest.raises(UsageError, match=r"No such file or directory; did you mean .*mine\.yaml"):
        load([tmp_path / "mien.yaml"])


def test_not_text(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="not UTF-8"):
        load([path])


def test_defaults_in_a_circle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "CONFIG_ROOT", tmp_path)
    (tmp_path / "a.yaml").write_text("defaults: [b]\n")
    (tmp_path / "b.yaml").write_text("defaults: [a]\n")
    with pytest.raises(UsageError, match="names itself"):
        load([tmp_path / "a.yaml"])


def test_the_environment_is_read_where_it_is_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCRATCH", "/scratch/me")
    assert resolve(["runs_dir=${oc.env:SCRATCH}/runs"]).runs_dir == "/scratch/me/runs"


def test_no_torch_is_imported() -> None:
    code = "import sys, geoagent.config; print([m for m in sys.modules if m in {'torch', 'numpy'}])"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"


def test_geoagent_knows_nothing_of_jobs() -> None:
    root = Path(geoagent.__file__).parent
    for path in root.rglob("*.py"):
        for line in path.read_text().splitlines():
            words = line.strip().split()
            if words[:1] in (["import"], ["from"]):
                assert words[1].split(".")[0] not in {"jobs", "submitit"}, f"{path}: {line}"


def test_two_ways_to_say_gres() -> None:
    with pytest.raises(UsageError, match=r"cluster\.additional\.gres: is what cluster\.gpu_option"):
        resolve(["cluster.gpu_option=gres", "cluster.additional.gres=tmp:1"])


def test_the_heldout_split_undoes_another_benchmark() -> None:
    plain = resolve(["recipe=demo"])
    assert resolve(["recipe=demo", "benchmark=geobench"]).eval != plain.eval
    assert resolve(["recipe=demo", "benchmark=geobench", "benchmark=heldout"]) == plain


@pytest.mark.parametrize("key", ["train", "eval"])
def test_tools_and_coordinates_exclude_each_other(key: str) -> None:
    with pytest.raises(UsageError, match=r"data\.answer: coordinates exclude rollout\.train"):
        resolve(["data.answer=coordinates", f"rollout.{key}=true"])
