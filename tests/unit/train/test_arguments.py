"""Config → ms-swift's command line, and which checkpoint counts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from geoagent.config import Config, resolve
from geoagent.errors import UsageError
from geoagent.run import Run
from geoagent.train.arguments import (
    policy_arguments,
    policy_dataset,
    sft_arguments,
    starting_model,
)
from geoagent.train.checkpoints import discard_incomplete, latest, seal


@pytest.fixture(autouse=True)
def names_on_the_hub_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")


def options(arguments: list[str]) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for word in arguments:
        if word.startswith("--"):
            name, pairs[word[2:]] = word[2:], ""
        else:
            pairs[name] = f"{pairs[name]} {word}".strip()
    return pairs


def checkpoint(run: Run, stage: str, step: int, weights: str = "model.safetensors") -> Path:
    folder = run.checkpoints(stage) / f"checkpoint-{step}"
    folder.mkdir(parents=True)
    (folder / "trainer_state.json").write_text("{}")
    (folder / weights).write_text("x")
    seal(folder)
    return folder


def test_tiny_sft_trains_all_parameters(tmp_path: Path) -> None:
    run = Run(tmp_path)
    found = options(sft_arguments(resolve(["recipe=demo", "seed=3"]), run))
    assert found["model"] == str(tmp_path / "model")
    assert found["tuner_type"] == "full"
    assert found["torch_dtype"] == "float32"
    assert (found["bf16"], found["fp16"]) == ("false", "false")
    assert found["seed"] == found["data_seed"] == "3"
    assert "deepspeed" not in found
    assert "resume_from_checkpoint" not in found


def test_paper_recipe(tmp_path: Path) -> None:
    config = resolve(["recipe=geoagent"])
    run = Run(tmp_path)
    found = options(sft_arguments(config, run))
    assert found["model"] == "Qwen/Qwen2.5-VL-7B-Instruct"
    assert (found["lora_rank"], found["lora_alpha"]) == ("64", "128")
    assert found["deepspeed"] == "zero3"
    adapter = checkpoint(run, "sft", 10, "adapter_model.safetensors")
    (adapter / "adapter_config.json").write_text("{}")
    found = options(policy_arguments(config, run, "grpo"))
    assert found["adapters"] == found["ref_adapters"] == str(adapter)
    assert found["reward_funcs"] == "format geo_format spatial semantic consistency"
    assert found["reward_weights"] == "1.0 1.0 1.5 1.0 0.5"
    assert found["num_generations"] == "8"
    assert (found["use_vllm"], found["vllm_mode"]) == ("true", "colocate")
    assert found["max_pixels"] == "200000"


def test_grpo_starts_from_sft(tmp_path: Path) -> None:
    run, config = Run(tmp_path), resolve(["recipe=demo"])
    with pytest.raises(UsageError, match=r"to start grpo from; run the sft stage first"):
        policy_arguments(config, run, "grpo")
    newest = checkpoint(run, "sft", 100)
    checkpoint(run, "sft", 20)
    assert options(policy_arguments(config, run, "grpo"))["model"] == str(newest)


def test_grpo_without_sft(tmp_path: Path) -> None:
    config = resolve(["recipe=demo", "grpo.start_from=base"])
    found = options(policy_arguments(config, Run(tmp_path), "grpo"))
    assert found["model"] == str(tmp_path / "model")


GRE = ("recipe=gre_demo",)


def lora(run: Run, stage: str, step: int) -> Path:
    """A checkpoint of adapters."""
    folder = checkpoint(run, stage, step, "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text("{}")
    return folder


def test_judge_is_trained_as_grpo_is_with_its_own_settings(tmp_path: Path) -> None:
    run = Run(tmp_path)
    started = checkpoint(run, "sft", 40)
    study = ("grpo.stop_early.study=.", "grpo.stop_early.first_step=1")
    config = resolve([*GRE, "judge.limit=null", "judge.beta=0.5", *study])
    found = options(policy_arguments(config, run, "judge"))
    assert found["model"] == found["ref_model"] == str(started)
    assert found["dataset"] == str(run.stage("judge_data") / "judge.jsonl")
    assert found["output_dir"] == str(run.checkpoints("judge"))
    assert (found["reward_funcs"], found["reward_weights"]) == ("judge format", "1.0 1.0")
    assert found["beta"] == "0.5"
    assert "geoagent_stop_early" not in found["callbacks"]


def test_rows_of_judge_that_prepare_made(tmp_path: Path) -> None:
    run = Run(tmp_path)
    checkpoint(run, "sft", 40)
    config = resolve([*GRE, "judge.path=data/judge", "judge.limit=1"])
    run.data.mkdir()
    run.dataset("judge").write_text("{}\n{}\n")
    found = options(policy_arguments(config, run, "judge"))
    assert found["dataset"] == f"{run.dataset('judge')}#1"


def test_grpo_continues_judge(tmp_path: Path) -> None:
    run, config = Run(tmp_path), resolve(GRE)
    checkpoint(run, "sft", 40)
    with pytest.raises(UsageError, match=r"to start grpo from; run the judge stage first"):
        policy_arguments(config, run, "grpo")
    judged = checkpoint(run, "judge", 12)
    found = options(policy_arguments(config, run, "grpo"))
    assert found["model"] == found["ref_model"] == str(judged)
    assert found["reward_funcs"] == "format coordinates"


def test_adapters_go_on_the_model_that_they_were_trained_on(tmp_path: Path) -> None:
    run = Run(tmp_path)
    config = resolve([*GRE, "judge.lora.rank=8", "grpo.lora.rank=8"])
    whole = checkpoint(run, "sft", 40)
    adapters = lora(run, "judge", 12)
    assert starting_model(config, run, "judge") == (str(whole), None)
    assert starting_model(config, run, "grpo") == (str(whole), str(adapters))


def test_adapters_of_adapters_are_the_base_models(tmp_path: Path) -> None:
    run = Run(tmp_path)
    config = resolve([*GRE, *(f"{stage}.lora.rank=8" for stage in ("sft", "judge", "grpo"))])
    first, second = lora(run, "sft", 40), lora(run, "judge", 12)
    assert starting_model(config, run, "judge") == (str(run.model), str(first))
    assert starting_model(config, run, "grpo") == (str(run.model), str(second))


def test_grpo_is_limited_and_sft_is_not(tmp_path: Path) -> None:
    run, file = Run(tmp_path), str(Run(tmp_path).dataset("grpo"))
    run.data.mkdir()
    run.dataset("grpo").write_text('{"id": 1}\n{"id": 2}\n{"id": 3}\n')
    start = ["recipe=demo", "grpo.start_from=base"]
    for limit, expected in ((1, f"{file}#1"), (2, f"{file}#2"), (3, file), (4, file)):
        config = resolve([*start, f"grpo.limit={limit}"])
        assert policy_dataset(config, run, "grpo") == expected
        assert options(policy_arguments(config, run, "grpo"))["dataset"] == expected
        assert options(sft_arguments(config, run))["dataset"] == str(run.dataset("sft"))
    assert policy_dataset(resolve(start), run, "grpo") == file


def test_a_stage_resumes_from_its_own_checkpoint(tmp_path: Path) -> None:
    run = Run(tmp_path)
    newest = checkpoint(run, "sft", 40)
    found = options(sft_arguments(Config(), run))
    assert found["resume_from_checkpoint"] == str(newest)


def test_a_full_training_that_goes_on_has_its_own_weights(tmp_path: Path) -> None:
    run, config = Run(tmp_path), resolve(["recipe=demo"])
    started = checkpoint(run, "sft", 40)
    assert options(sft_arguments(config, run))["model"] == str(started)
    assert options(policy_arguments(config, run, "grpo"))["model"] == str(started)
    newest = checkpoint(run, "grpo", 7)
    found = options(policy_arguments(config, run, "grpo"))
    assert (found["model"], found["ref_model"]) == (str(newest), str(started))
    assert options(sft_arguments(Config(), run))["model"] == Config().model.path


def test_half_written_checkpoints_are_passed_over(tmp_path: Path) -> None:
    run = Run(tmp_path)
    assert latest(run.checkpoints("sft")) is None
    whole = checkpoint(run, "sft", 10)
    (run.checkpoints("sft") / "checkpoint-20").mkdir()
    no_state = checkpoint(run, "sft", 30)
    (no_state / "trainer_state.json").unlink()
    cut = checkpoint(run, "sft", 40)
    (cut / "model.safetensors").write_text("")
    no_seal = checkpoint(run, "sft", 50)
    (no_seal / "complete.json").unlink()
    (run.checkpoints("sft") / "images").mkdir()
    assert latest(run.checkpoints("sft")) == whole
    left = ["checkpoint-20", "checkpoint-30", "checkpoint-40", "checkpoint-50"]
    assert sorted(discard_incomplete(run.checkpoints("sft"))) == left
    assert sorted(path.name for path in whole.parent.iterdir()) == ["checkpoint-10", "images"]


def test_tools_in_grpo(tmp_path: Path) -> None:
    run = Run(tmp_path)
    base = ["recipe=demo", "grpo.start_from=base"]
    without = options(policy_arguments(resolve(base), run, "grpo"))
    assert "multi_turn_scheduler" not in without
    asked = resolve([*base, "rollout.train=true", "rollout.turns=4"])
    found = options(policy_arguments(asked, run, "grpo"))
    assert (found["multi_turn_scheduler"], found["max_turns"]) == ("geoagent_tools", "4")


def test_paper_recipe_of_geovista(tmp_path: Path) -> None:
    rows = Run(tmp_path).dataset("grpo")
    rows.parent.mkdir()
    rows.write_text("{}\n" * 12_001)
    config = resolve(["recipe=geovista", "grpo.start_from=base"])
    found = options(policy_arguments(config, Run(tmp_path), "grpo"))
    assert found["dataset"] == f"{rows}#12000"
    assert (found["beta"], found["learning_rate"], found["num_generations"]) == (
        "0.0",
        "1e-06",
        "8",
    )
    assert (found["multi_turn_scheduler"], found["max_turns"]) == ("geoagent_tools", "6")
    assert json.loads(found["vllm_limit_mm_per_prompt"]) == {"image": 6}
    assert found["max_pixels"] == "2097152"
    plain = resolve(["recipe=geovista", "grpo.start_from=base", "rollout.train=false"])
    found = options(policy_arguments(plain, Run(tmp_path), "grpo"))
    assert not {"multi_turn_scheduler", "vllm_limit_mm_per_prompt"} & found.keys()
