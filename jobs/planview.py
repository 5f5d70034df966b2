"""What a dry run shows: the stages, what they train on, and what they ask for."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Final

from geoagent.config import ClusterConfig, Config, LoraConfig, PolicyConfig, SftConfig
from geoagent.data.needs import evaluation_split
from geoagent.stages import POLICY, rewards_of, starts_from
from jobs.batches import batches
from jobs.container.enter import installed
from jobs.container.images import runtime_of, setting_of
from jobs.display import console, counted, plain_table
from jobs.doubts import doubts
from jobs.group import Group, Member
from jobs.plan import TRAINING, Plan, StagePlan
from jobs.preflight import uses_slurm
from jobs.scheduler import max_array_size

_NOTHING: Final = "dry run: nothing was written or submitted"


def show_plan(members: Sequence[Member], path: Path, group: Group | None = None) -> None:
    """Print it; nothing is written or submitted. Of several runs the one with most to do is shown,
    and in a line each which run does what."""

    most = max(members, key=lambda member: len(member.plan.stages))
    config, plan = most.config, most.plan
    slurm = uses_slurm(config)  # it may ask the controller
    where = "on Slurm; GPUs and processes a node" if slurm else "on this machine"
    table = plain_table(f"{path.name} {where}")
    for name in ("stage", "runs", "nodes", "GPUs", "processes", "minutes"):
        table.add_column(name, no_wrap=name == "runs")
    for stage in [*plan.stages, *([plan.agent] if plan.agent else [])]:
        resources = stage.resources
        numbers = (resources.nodes, resources.gpus_per_node, stage.processes)
        # Only a scheduler takes time_minutes for a limit.
        minutes = str(resources.time_minutes) if slurm else "–"
        table.add_row(stage.name, stage.module[0], *map(str, numbers), minutes)
    output = console()
    output.print(table)
    for line in (
        f"run directory: {path}",
        *(_runs(members, group, slurm) if group else ()),
        *_lines(config, plan, slurm),
        *plan.notes,
        *doubts(config, plan),
        _NOTHING,
    ):
        output.print(line, highlight=False, markup=False, soft_wrap=True)


def _runs(members: Sequence[Member], group: Group, slurm: bool) -> Iterator[str]:
    """Which runs do what, and how many at a time."""
    together: dict[tuple[str, ...], list[str]] = {}
    for member in members:
        stages = tuple(stage.name for stage in member.plan.stages)
        together.setdefault(stages, []).append(member.run.path.name)
    for stages, names in together.items():
        yield f"{', '.join(names)}: {', '.join(stages)}"
    if not slurm:
        yield "one run after the other"
        return
    arrays = len(batches(members, max_array_size()))
    each = "an array a stage" if arrays == 1 else f"{arrays} arrays a stage"
    limit = f"at most {group.parallel}" if group.parallel else "as many as there is room for"
    yield f"{counted(len(members), 'run')}, {each}, {limit} at a time"


def _lines(config: Config, plan: Plan, slurm: bool) -> Iterator[str]:
    if slurm:
        yield f"cluster: {_where(config.cluster)}"
    yield from _container(config, plan)
    model, data = config.model, config.data
    random = f"random, built from seed {config.seed}"
    yield f"model: {random if model.kind == 'tiny' else model.path}, {model.dtype}"
    drawn = f"drawn sample, {data.scenes_per_country} scenes a country"
    drawn = drawn if data.name == "sample" else f"{data.name}, but data.path does not say where"
    limit = f", the first {data.limit} of each split" if data.limit else ""
    yield f"data: {data.path or drawn}{limit}"
    stages = {stage.name: stage for stage in plan.stages}
    if config.judge.path is not None and "judge" in stages:
        yield f"data of judge: {config.judge.path}"
    for stage in plan.stages:
        if model.kind == "pretrained" and stage.name in TRAINING and not _has_gpus(stage):
            yield f"note: {stage.name} asks for no GPU (cluster.{stage.name}.gpus_per_node)"
        gpus = stage.resources.gpus_per_node
        if stage.name not in TRAINING and gpus > 1:
            yield (
                f"note: {stage.name} is one process, which {gpus} GPUs make no faster than one "
                f"(cluster.{stage.name}.gpus_per_node)"
            )
    if "sft" in stages:
        yield f"sft: {_training(config.sft, stages['sft'], 'samples')}"
    if "judge_data" in stages:
        yield f"judge_data: {_judge_data(config)}"
    for name in POLICY:
        if name in stages:
            yield from _policy(config, stages[name])
    if "eval" in stages:
        yield f"eval: {_evaluation(config)}"
    yield from _tools(config, {*stages})
    if plan.agent is not None:
        clients = ", ".join(stage.name for stage in plan.stages if stage.needs_agent)
        yield f"agent: {config.agent.model} ({config.agent.backend}), asked by {clients}"
    elif any(stage.needs_agent for stage in plan.stages):
        yield f"agent: {config.agent.url} (external)"


def _tools(config: Config, stages: Collection[str]) -> Iterator[str]:
    """Which stages' models may zoom and search, and how often."""
    rollout = config.rollout
    on = {"sft": rollout.train, "grpo": rollout.train, "eval": rollout.eval}
    if users := [name for name in on if on[name] and name in stages]:
        yield (
            f"tools in {', '.join(users)}: turns ≤ {rollout.turns}, crops ≤ {rollout.crops}, "
            f"searches ≤ {rollout.searches} a picture, {rollout.search.provider}"
        )


def _judge_data(config: Config) -> str:
    """What is judged, and what counts as true."""
    model = starts_from(config, "judge_data") or "the base model"
    draws = counted(config.judge.draws, "prediction")
    return (
        f"{draws} of {model} a picture, true within {config.judge.threshold_km:g} km, "
        f"{config.eval.engine}"
    )


def _policy(config: Config, stage: StagePlan) -> Iterator[str]:
    """What a stage of GRPO does, and what it is paid for."""
    settings: PolicyConfig = getattr(config, stage.name)
    rows = settings.limit
    yield (
        f"{stage.name}: {_training(settings, stage, 'completions')}, "
        f"{settings.generations} a picture"
        f"{f', on {rows} samples drawn from its data' if rows else ''}"
    )
    weights = rewards_of(config, stage.name).weights
    paid = [(name, weight) for name, weight in weights.items() if weight]
    of_stage = "" if stage.name == "grpo" else f" of {stage.name}"
    yield f"rewards{of_stage}: {', '.join(f'{name} {weight:g}' for name, weight in paid)}"


def _evaluation(config: Config) -> str:
    """What is evaluated on, and how."""
    settings = config.eval
    folder = settings.path or config.data.path or "the drawn sample"
    limit = settings.limit or config.data.limit
    return ", ".join(
        [
            f"{settings.benchmark}, split '{evaluation_split(config)}' of {folder}",
            *([f"the first {limit}"] if limit else []),
            f"{settings.engine}, batches of {settings.batch_size}",
            *(["only the model that training led to"] if settings.models == "last" else []),
            f"names judged by the rules of {settings.rules}",
            "rewards too" if settings.rewards else "no rewards",
        ]
    )


def _container(config: Config, plan: Plan) -> Iterator[str]:
    """Which image, and whether this machine could look into it."""
    runtime = runtime_of(config)
    if runtime == "none":
        return
    stages = [*plan.stages, *([plan.agent] if plan.agent else [])]
    images = dict.fromkeys(setting_of(config, stage.name)[1] for stage in stages)
    yield f"{runtime}: {', '.join(images)}"
    if not installed(runtime):
        yield f"note: {runtime} is not here, so the images were not looked into"


def _where(cluster: ClusterConfig) -> str:
    """What every job is submitted with."""
    keys = ("partition", "account", "qos", "constraint")
    named = {key: getattr(cluster, key) for key in keys} | cluster.additional
    return ", ".join(f"{key} {value}" for key, value in named.items() if value) or "its defaults"


def _has_gpus(stage: StagePlan) -> bool:
    return stage.resources.gpus_per_node > 0


def _training(settings: SftConfig | PolicyConfig, stage: StagePlan, unit: str) -> str:
    """Length, size of a step, learning rate and what is trained."""
    processes = stage.processes * stage.resources.nodes
    size = settings.batch_size * settings.gradient_accumulation * processes
    steps = settings.max_steps
    length = counted(steps, "step") if steps else counted(settings.epochs, "epoch")
    return f"{length}, {size} {unit} a step, lr {settings.learning_rate:g}, {_lora(settings.lora)}"


def _lora(lora: LoraConfig) -> str:
    return f"LoRA of rank {lora.rank}" if lora.rank else "all parameters"
