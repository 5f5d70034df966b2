"""What the stages that train learn with: `sft`, `judge` and `grpo`."""

from __future__ import annotations

from dataclasses import dataclass, field

from geoagent.config.ranges import limited


@dataclass
class LoraConfig:
    """Low-rank adapters (Hu et al. 2021); rank 0 trains all parameters."""

    rank: int = limited(64, low=0)
    """Of the adapters; 0: none, all parameters are trained."""
    alpha: int = limited(128, low=1)
    """Their scale times the rank."""


@dataclass
class SftConfig:
    """Supervised fine-tuning on chains of thought (GeoAgent stage 1)."""

    learning_rate: float = limited(1e-5, above=0.0)
    """At its highest."""
    epochs: float = limited(2.0, above=0.0)
    """Passes over the training split; not used if max_steps is set."""
    max_steps: int | None = limited(None, low=1)
    """Optimizer steps; null: as many as `epochs` makes."""
    batch_size: int = limited(1, low=1)
    """Samples a device and step."""
    gradient_accumulation: int = limited(16, low=1)
    """Batches of all devices that make one step."""
    warmup_ratio: float = limited(0.05, low=0.0, high=1.0)
    """Share of the steps in which the learning rate rises."""
    lr_scheduler: str = "cosine"
    """A name of transformers' schedulers, such as cosine, linear, constant."""
    max_length: int = limited(4096, low=64)
    """Tokens of prompt, picture and completion; longer samples are left out."""
    lora: LoraConfig = field(default_factory=LoraConfig)
    freeze_vit: bool = True
    """Keep the vision tower and its projection as they are."""
    gradient_checkpointing: bool = True
    """Compute activations twice instead of keeping them: slower, much less memory."""
    deepspeed: str | None = limited("zero3", choices=("zero0", "zero1", "zero2", "zero3"))
    """Stage of ZeRO; null: plain data parallelism."""
    save_steps: int = limited(200, low=1)
    """Steps between two checkpoints, which is what a killed job loses at most."""
    keep_checkpoints: int = limited(2, low=1)
    """Newest checkpoints that are kept."""
    logging_steps: int = limited(1, low=1)
    """Steps between two points of the curves."""


@dataclass
class StopEarlyConfig:
    """Early stop of a sweep's hopeless points, by successive halving."""

    study: str | None = None
    """Folder that the points of a sweep share; a sweep sets it. null: nothing is stopped."""
    first_step: int = limited(20, low=1)
    """Optimizer steps up to the first comparison; each further one is after `factor` times as
    many."""
    factor: int = limited(3, low=2)
    """Of the points that have come to a comparison, the best 1/factor go on."""
    by: list[str] = field(default_factory=list)
    """Rewards whose mean, without weights, is compared; []: all that have a weight."""


@dataclass
class PolicyConfig:
    """Group relative policy optimisation, whatever it learns."""

    learning_rate: float = limited(1e-5, above=0.0)
    """At its highest."""
    epochs: float = limited(1.0, above=0.0)
    """Passes over the training split; not used if max_steps is set."""
    max_steps: int | None = limited(None, low=1)
    """Optimizer steps; null: as many as `epochs` makes."""
    limit: int | None = limited(None, low=1)
    """Train on this many samples of the training split, drawn with the seed: the samples of a
    smaller limit are among those of a larger one. null: all."""
    batch_size: int = limited(1, low=1)
    """Completions a device and step."""
    gradient_accumulation: int = limited(8, low=1)
    """Batches of all devices that make one step."""
    generations: int = limited(8, low=2)
    """Group size G: completions sampled for one image."""
    temperature: float = limited(0.7, above=0.0)
    """Completions are sampled at it; at that of `grpo` also those of eval.reward_samples."""
    top_p: float = limited(1.0, above=0.0, high=1.0)
    """Nucleus that completions are sampled from; 1: everything."""
    beta: float = limited(0.001, low=0.0)
    """Weight of the KL term against the starting model."""
    iterations: int = limited(1, low=1)
    """Updates on each batch of completions (μ of GRPO)."""
    max_completion_length: int = limited(1024, low=8)
    """Tokens; a completion that is longer is cut and scored as it is."""
    max_length: int = limited(4096, low=64)
    """Tokens of prompt and picture; longer ones lose their beginning."""
    max_pixels: int | None = limited(200000, low=784)
    """As model.max_pixels, for GRPO; null: that one."""
    warmup_ratio: float = limited(0.01, low=0.0, high=1.0)
    """Share of the steps in which the learning rate rises."""
    lr_scheduler: str = "cosine"
    """A name of transformers' schedulers, such as cosine, linear, constant."""
    lora: LoraConfig = field(default_factory=LoraConfig)
    freeze_vit: bool = True
    """Keep the vision tower and its projection as they are."""
    gradient_checkpointing: bool = True
    """Compute activations twice instead of keeping them."""
    vllm: bool = True
    """Generate with vLLM in the training processes (colocated); needs GPUs."""
    vllm_memory: float = limited(0.7, above=0.0, high=1.0)
    """Share of a GPU's memory that vLLM may take."""
    deepspeed: str | None = limited("zero3", choices=("zero0", "zero1", "zero2", "zero3"))
    """Stage of ZeRO; null: plain data parallelism."""
    save_steps: int = limited(100, low=1)
    """Steps between two checkpoints, which is what a killed job loses at most."""
    keep_checkpoints: int = limited(2, low=1)
    """Newest checkpoints that are kept."""
    logging_steps: int = limited(1, low=1)
    """Steps between two points of the curves."""
    log_completions: bool = True
    """Keep the completions in the stage's folder."""


@dataclass
class JudgeConfig(PolicyConfig):
    """GRPO on judging predictions true or false (GRE's RL-I), before that of `grpo`."""

    start_from: str = limited("sft", choices=("sft", "base"))
    """`sft` continues from this run's SFT checkpoint."""
    path: str | None = None
    """Dataset folder with `label`, `predicted_cot` and `predicted_answer`, such as
    `geoagent data make-judge` writes; null: the stage judge_data makes one of this run's own
    predictions."""
    threshold_km: float = limited(200.0, above=0.0)
    """A prediction is true if it is nearer than this. The paper does not give its own."""
    draws: int = limited(2, low=1)
    """Predictions that judge_data samples for each picture of the training split, at
    grpo.temperature."""
    weights: dict[str, float] = field(default_factory=lambda: {"judge": 1.0, "format": 1.0})
    """Rewards of this stage; those of `grpo` are in rewards.weights."""


@dataclass
class GrpoConfig(PolicyConfig):
    """Group relative policy optimisation on places (GeoAgent's stage 2, GRE's RL-II)."""

    start_from: str = limited("sft", choices=("sft", "judge", "base"))
    """The checkpoint of this run that it continues: of `sft`, or of `judge` (GRE); `base` is the
    ablation without either."""
    stop_early: StopEarlyConfig = field(default_factory=StopEarlyConfig)
