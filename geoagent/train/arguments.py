"""Config → the command line of ms-swift; the only place that knows ms-swift's names.

Written for ms-swift 4.6 (`tuner_type`, `external_plugins`, `swift.rewards`).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Final

from geoagent.errors import UsageError
from geoagent.modelfolder import check_model, local_folder, refuse_code
from geoagent.rewards.registry import weighted
from geoagent.run import Run
from geoagent.stages import rewards_of, rows_of, starts_from
from geoagent.train.checkpoints import latest

if TYPE_CHECKING:
    from geoagent.config import Config, LoraConfig, PolicyConfig, SftConfig

ADAPTER_FILE: Final = "adapter_config.json"

_CALLBACKS: Final = ("geoagent_progress", "geoagent_seal", "geoagent_stop")
_POLICY_CALLBACKS: Final = (*_CALLBACKS, "geoagent_clock")

Flags = dict[str, str | int | float | bool | list[str] | None]


def sft_arguments(config: Config, run: Run) -> list[str]:
    """Arguments of `swift sft`."""
    flags = _common(config, run, "sft", config.sft)
    flags |= {
        "model": _weights(config.sft, flags, base_model(config, run)),
        "max_pixels": config.model.max_pixels,
        "per_device_train_batch_size": config.sft.batch_size,
    }
    return _flatten(flags)


def policy_arguments(config: Config, run: Run, stage: str) -> list[str]:
    """Arguments of `swift rlhf --rlhf_type grpo` for the stage `judge` or `grpo`."""
    settings: PolicyConfig = getattr(config, stage)
    flags = _common(config, run, stage, settings)
    model, adapters = starting_model(config, run, stage)
    rewards = rewards_of(config, stage)
    names = weighted(rewards)
    flags |= {
        "rlhf_type": "grpo",
        "dataset": policy_dataset(config, run, stage),
        "model": _weights(settings, flags, model),
        "ref_model": model if adapters is None and settings.lora.rank == 0 else None,
        "adapters": adapters,
        "ref_adapters": adapters,
        "max_pixels": settings.max_pixels or config.model.max_pixels,
        "per_device_train_batch_size": settings.batch_size,
        "num_generations": settings.generations,
        "num_iterations": settings.iterations,
        "temperature": settings.temperature,
        "top_p": settings.top_p,
        "beta": settings.beta,
        "max_completion_length": settings.max_completion_length,
        "reward_funcs": names,
        "reward_weights": [str(rewards.weights[name]) for name in names],
        "log_completions": settings.log_completions,
        "use_vllm": settings.vllm,
        "callbacks": [*_POLICY_CALLBACKS],
    }
    if settings.vllm:
        flags |= {"vllm_mode": "colocate", "vllm_gpu_memory_utilization": settings.vllm_memory}
    if stage == "grpo":
        flags |= _of_places(config)
    return _flatten(flags)


def _of_places(config: Config) -> Flags:
    """What only GRPO on places can be told."""
    flags: Flags = {}
    if config.grpo.stop_early.study is not None:
        flags["callbacks"] = [*_POLICY_CALLBACKS, "geoagent_stop_early"]
    if config.rollout.train:
        flags |= {"multi_turn_scheduler": "geoagent_tools", "max_turns": config.rollout.turns}
        if config.grpo.vllm:
            flags["vllm_limit_mm_per_prompt"] = json.dumps({"image": 1 + config.rollout.crops})
    return flags


def policy_dataset(config: Config, run: Run, stage: str) -> str:
    """The stage's rows, or as many of them as its `limit` says, in ms-swift's words.

    `FILE#N` is the first N of all rows in an order that ms-swift draws with data_seed, so that the
    rows of a smaller N are among those of a larger one. It repeats rows to make up an N above what
    there is; then the file alone is named.
    """
    file = rows_of(config, run, stage)
    limit: int | None = getattr(config, stage).limit
    if limit is None:
        return str(file)
    with file.open("rb") as lines:
        count = sum(1 for _ in lines)
    return f"{file}#{limit}" if limit < count else str(file)


def _weights(settings: SftConfig | PolicyConfig, flags: Flags, model: str) -> str:
    """Where the weights come from: a full training that goes on takes its checkpoint's.

    The trainer finds none of a Qwen2.5-VL checkpoint's names in the model that it resumes, says
    so in a warning only, and would go on with the weights of `model`.
    """
    checkpoint = flags.get("resume_from_checkpoint")
    return str(checkpoint) if checkpoint is not None and settings.lora.rank == 0 else model


def base_model(config: Config, run: Run) -> str:
    """Where training starts: the model the run built, or the checkpoint it names."""
    if config.model.kind == "tiny":
        return str(run.model)
    model = config.model.path
    folder = local_folder(model)
    if folder is None:
        check_model("model.path", model)  # may be fetched, or is refused
        return model
    refuse_code(str(folder))
    return str(folder)


def starting_model(config: Config, run: Run, stage: str) -> tuple[str, str | None]:
    """The model that a stage starts from, and the LoRA checkpoint on top of it that it continues.

    A full checkpoint is a model of its own; adapters go on the model that they were trained on.
    Those that this stage makes belong on the same model. UsageError without a checkpoint.
    """
    before = starts_from(config, stage)
    if before is None:
        return base_model(config, run), None
    checkpoint = latest(run.checkpoints(before))
    if checkpoint is None:
        key = f"{'grpo' if stage == 'grpo' else 'judge'}.start_from"
        raise UsageError(
            f"{run.checkpoints(before)}: no complete checkpoint to start {stage} from; run the "
            f"{before} stage first, or set {key}=base"
        )
    if (checkpoint / ADAPTER_FILE).is_file():
        return starting_model(config, run, before)[0], str(checkpoint)
    return str(checkpoint), None


def _common(config: Config, run: Run, stage: str, settings: SftConfig | PolicyConfig) -> Flags:
    """What all stages are told in the same way."""
    flags: Flags = {
        "model_type": config.model.type,
        "template": config.model.template,
        "check_model": False,
        "torch_dtype": config.model.dtype,
        "bf16": config.model.dtype == "bfloat16",
        "fp16": config.model.dtype == "float16",
        "dataset": str(rows_of(config, run, stage)),
        "split_dataset_ratio": 0,
        "load_from_cache_file": False,
        "dataset_num_proc": 1,
        "dataloader_num_workers": 0,
        "output_dir": str(run.checkpoints(stage)),
        "add_version": False,
        "logging_dir": str(run.tensorboard(stage)),
        "report_to": "tensorboard",
        "seed": config.seed,
        "data_seed": config.seed,
        "learning_rate": settings.learning_rate,
        "num_train_epochs": settings.epochs,
        "max_steps": settings.max_steps if settings.max_steps is not None else -1,
        "gradient_accumulation_steps": settings.gradient_accumulation,
        "warmup_ratio": settings.warmup_ratio,
        "lr_scheduler_type": settings.lr_scheduler,
        "max_length": settings.max_length,
        "freeze_vit": settings.freeze_vit,
        "freeze_aligner": settings.freeze_vit,
        "gradient_checkpointing": settings.gradient_checkpointing,
        "vit_gradient_checkpointing": settings.gradient_checkpointing,
        "save_steps": settings.save_steps,
        "save_total_limit": settings.keep_checkpoints,
        "logging_steps": settings.logging_steps,
        "external_plugins": str(Path(__file__).with_name("plugin.py")),
        "callbacks": [*_CALLBACKS],
        **_tuner(settings.lora),
        **_device(settings),
    }
    checkpoint = latest(run.checkpoints(stage))
    if checkpoint is not None:
        flags["resume_from_checkpoint"] = str(checkpoint)
    return flags


def _tuner(lora: LoraConfig) -> Flags:
    if lora.rank == 0:
        return {"tuner_type": "full"}
    return {
        "tuner_type": "lora",
        "target_modules": "all-linear",
        "lora_rank": lora.rank,
        "lora_alpha": lora.alpha,
    }


def _device(settings: SftConfig | PolicyConfig) -> Flags:
    import torch

    flags: Flags = {}
    if not torch.cuda.is_available():
        flags["use_cpu"] = True
    if settings.deepspeed:
        flags["deepspeed"] = settings.deepspeed
    return flags


def _flatten(flags: Flags) -> list[str]:
    arguments: list[str] = []
    for name, value in flags.items():
        if value is None:
            continue
        values = value if isinstance(value, list) else [value]
        arguments.append(f"--{name}")
        arguments += [str(item).lower() if isinstance(item, bool) else str(item) for item in values]
    return arguments
