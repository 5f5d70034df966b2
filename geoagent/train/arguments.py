"""Config → the command line of ms-swift; the only place that knows ms-swift's names.

Written for ms-swift 4.6 (`tuner_type`, `external_plugins`, `swift.rewards`).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from geoagent.errors import UsageError
from geoagent.modelfolder import check_model, local_folder, refuse_code
from geoagent.run import Run
from geoagent.train.checkpoints import latest

if TYPE_CHECKING:
    from geoagent.config import Config, GrpoConfig, LoraConfig, SftConfig

ADAPTER_FILE: Final = "adapter_config.json"

_CALLBACKS: Final = ("geoagent_progress", "geoagent_seal", "geoagent_stop")

Flags = dict[str, str | int | float | bool | list[str] | None]


def sft_arguments(config: Config, run: Run) -> list[str]:
    """Arguments of `swift sft` for stage 1."""
    flags = _common(config, run, "sft", config.sft)
    flags |= {
        "model": _weights(config.sft, flags, base_model(config, run)),
        "max_pixels": config.model.max_pixels,
        "per_device_train_batch_size": config.sft.batch_size,
    }
    return _flatten(flags)


def grpo_arguments(config: Config, run: Run, rewards: list[str]) -> list[str]:
    """Arguments of `swift rlhf --rlhf_type grpo` for stage 2.

    `rewards` are names in the registry; their weights come from the configuration.
    """
    grpo = config.grpo
    flags = _common(config, run, "grpo", grpo)
    model, adapters = starting_model(config, run)
    flags |= {
        "rlhf_type": "grpo",
        "dataset": grpo_dataset(config, run),
        "model": _weights(grpo, flags, model),
        "ref_model": model if adapters is None and grpo.lora.rank == 0 else None,
        "adapters": adapters,
        "ref_adapters": adapters,
        "max_pixels": grpo.max_pixels or config.model.max_pixels,
        "per_device_train_batch_size": grpo.batch_size,
        "num_generations": grpo.generations,
        "num_iterations": grpo.iterations,
        "temperature": grpo.temperature,
        "top_p": grpo.top_p,
        "beta": grpo.beta,
        "max_completion_length": grpo.max_completion_length,
        "reward_funcs": rewards,
        "reward_weights": [str(config.rewards.weights[name]) for name in rewards],
        "log_completions": grpo.log_completions,
        "use_vllm": grpo.vllm,
    }
    if grpo.stop_early.study is not None:
        flags["callbacks"] = [*_CALLBACKS, "geoagent_stop_early"]
    if config.rollout.train:
        flags |= {"multi_turn_scheduler": "geoagent_tools", "max_turns": config.rollout.turns}
    if grpo.vllm:
        flags |= {"vllm_mode": "colocate", "vllm_gpu_memory_utilization": grpo.vllm_memory}
    return _flatten(flags)


def grpo_dataset(config: Config, run: Run) -> str:
    """GRPO's rows, or as many of them as `grpo.limit` says, in ms-swift's words.

    `FILE#N` is the first N of all rows in an order that ms-swift draws with data_seed, so that the
    rows of a smaller N are among those of a larger one. It repeats rows to make up an N above what
    there is; then the file alone is named.
    """
    file = run.dataset("grpo")
    limit = config.grpo.limit
    if limit is None:
        return str(file)
    with file.open("rb") as lines:
        count = sum(1 for _ in lines)
    return f"{file}#{limit}" if limit < count else str(file)


def _weights(settings: SftConfig | GrpoConfig, flags: Flags, model: str) -> str:
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


def starting_model(config: Config, run: Run) -> tuple[str, str | None]:
    """The model that GRPO starts from, and the LoRA checkpoint on top of it that it continues.

    A full SFT checkpoint is a model of its own; adapters made by SFT go on the model they were
    trained on. Adapters that GRPO makes belong on the same model. UsageError without a checkpoint.
    """
    if config.grpo.start_from == "base":
        return base_model(config, run), None
    checkpoint = latest(run.checkpoints("sft"))
    if checkpoint is None:
        raise UsageError(
            f"{run.checkpoints('sft')}: no complete checkpoint to start GRPO from; run the sft "
            "stage first, or set grpo.start_from=base"
        )
    if (checkpoint / ADAPTER_FILE).is_file():
        return base_model(config, run), str(checkpoint)
    return str(checkpoint), None


def _common(config: Config, run: Run, stage: str, settings: SftConfig | GrpoConfig) -> Flags:
    """What both stages are told in the same way."""
    flags: Flags = {
        "model_type": config.model.type,
        "template": config.model.template,
        "check_model": False,
        "torch_dtype": config.model.dtype,
        "bf16": config.model.dtype == "bfloat16",
        "fp16": config.model.dtype == "float16",
        "dataset": str(run.dataset(stage)),
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


def _device(settings: SftConfig | GrpoConfig) -> Flags:
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
