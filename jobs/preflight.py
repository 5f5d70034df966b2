"""What would make a job fail later and can be known at submission, before anything is written."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from geoagent.config import Config
from geoagent.data.needs import check_evaluated, check_judge, check_needs, glance
from geoagent.data.record import image_root
from geoagent.errors import UsageError
from geoagent.modelfolder import check_model
from geoagent.stages import POLICY, asks, never_earned
from geoagent.vary import value_of
from jobs import scheduler
from jobs.container.check import check_images
from jobs.container.enter import installed
from jobs.container.images import in_use, runtime_of
from jobs.container.said import inside
from jobs.plan import Plan

Check = Callable[[Config, Plan], None]


def problems(config: Config, plan: Plan) -> Iterator[str]:
    """One line for each thing that has to be mended first; quick, and without torch."""
    checks: tuple[Check, ...] = (
        _scheduler,
        _nodes,
        _data,
        _judge_data,
        _evaluated,
        _model,
        _semantic,
        _rewards,
        _geocoder,
        _search,
        _agent,
        _packages,
        _agent_package,
        _images,
    )
    for check in checks:
        try:
            check(config, plan)
        except UsageError as error:
            yield str(error)


def problems_of(runs: Iterable[tuple[Config, Plan]]) -> list[str]:
    """Those of several runs, each once; runs that differ only in what no check looks at are
    checked once together."""
    kinds = {_kind(config, plan): (config, plan) for config, plan in runs}
    found = (line for config, plan in kinds.values() for line in problems(config, plan))
    return [*dict.fromkeys(found)]


def _kind(config: Config, plan: Plan) -> str:
    """The configuration without numbers of training and of rewards, and the stages."""
    bare = Config()
    looked_at = replace(
        config,
        name=None,
        seed=0,
        sft=bare.sft,
        judge=replace(
            bare.judge,
            vllm=config.judge.vllm,
            start_from=config.judge.start_from,
            path=config.judge.path,
            weights=_weighted(config.judge.weights),
        ),
        grpo=replace(bare.grpo, vllm=config.grpo.vllm, start_from=config.grpo.start_from),
        rewards=replace(
            bare.rewards,
            weights=_weighted(config.rewards.weights),
            geocoder=config.rewards.geocoder,
            semantic=replace(bare.rewards.semantic, model=config.rewards.semantic.model),
        ),
    )
    return repr((looked_at, [stage.name for stage in plan.stages]))


def _weighted(weights: Mapping[str, float]) -> dict[str, float]:
    """The same with all weights alike: it only matters which rewards have one."""
    return {name: 1.0 for name in sorted(weights) if weights[name]}


def uses_slurm(config: Config) -> bool:
    """Whether jobs go to Slurm; `auto` asks whether there is one."""
    executor = config.cluster.executor
    return executor == "slurm" or (executor == "auto" and scheduler.found())


def _scheduler(config: Config, plan: Plan) -> None:
    if uses_slurm(config):
        scheduler.check()


def _nodes(config: Config, plan: Plan) -> None:
    if uses_slurm(config):
        return
    for stage in plan.stages:
        if stage.resources.nodes > 1:
            raise UsageError(
                f"cluster.{stage.name}.nodes: {stage.resources.nodes} nodes need Slurm, and jobs "
                "would run on this machine; set it to 1, or submit with cluster=slurm on a login "
                "node"
            )


def _data(config: Config, plan: Plan) -> None:
    data, names = config.data, [stage.name for stage in plan.stages]
    if data.path is not None:
        with _about("data.path"):
            check_needs(config, Path(data.path), names, glance(Path(data.path)))
            image_root(Path(data.path))
    elif data.name != "sample":
        raise UsageError(f"data.path: is needed for data.name={data.name}")


def _judge_data(config: Config, plan: Plan) -> None:
    folder, names = config.judge.path, {stage.name for stage in plan.stages}
    if folder is not None and {"prepare", "judge"} & names:
        with _about("judge.path"):
            check_judge(Path(folder))
            image_root(Path(folder))


def _evaluated(config: Config, plan: Plan) -> None:
    folder = config.eval.path
    if folder is not None and any(stage.name == "eval" for stage in plan.stages):
        with _about("eval.path"):
            check_evaluated(config, Path(folder), glance(Path(folder)))
            image_root(Path(folder))


@contextmanager
def _about(key: str) -> Iterator[None]:
    """Errors name the setting that leads to them."""
    try:
        yield
    except UsageError as error:
        raise UsageError(f"{key}: {error}") from error


def _model(config: Config, plan: Plan) -> None:
    if config.model.kind == "pretrained" and plan.stages:
        check_model("model.path", config.model.path)


def _rewards(config: Config, plan: Plan) -> None:
    names = never_earned(config)
    if names and any(stage.name == "grpo" for stage in plan.stages):
        told = " ".join(f"rewards.weights.{name}=0" for name in names)
        raise UsageError(
            f"rewards.weights: {', '.join(names)}: cannot be earned by answers in the form of "
            f"data.answer={config.data.answer}; set {told}"
        )


def _semantic(config: Config, plan: Plan) -> None:
    used = any(asks(config, stage.name, "semantic") for stage in plan.stages)
    model = config.rewards.semantic.model
    if used and not model.startswith("package:"):
        check_model("rewards.semantic.model", model)


def _geocoder(config: Config, plan: Plan) -> None:
    """On Slurm the nodes ask it themselves; this one may have internet that they have not."""
    names = [stage.name for stage in plan.stages]
    if {"judge_data", "eval"} & {*names} or any(asks(config, name, "spatial") for name in names):
        from geoagent.geo.services import check, locator

        locator(config.rewards.geocoder)  # it refuses what a service cannot be asked with
        if not uses_slurm(config):
            check(config.rewards.geocoder)


def _search(config: Config, plan: Plan) -> None:
    names = {stage.name for stage in plan.stages}
    rollout = config.rollout
    if (rollout.train and names & {"prepare", "grpo"}) or (rollout.eval and "eval" in names):
        from geoagent.rollout.search import check

        check(rollout.search)


def _agent(config: Config, plan: Plan) -> None:
    settings = config.agent
    if any(stage.needs_agent for stage in plan.stages) and settings.backend == "external":
        from geoagent.agent.client import external_endpoint

        external_endpoint(settings)  # it refuses an empty token
    if plan.agent is None:
        return
    if settings.backend == "llama_cpp":
        from geoagent.agent.server import model_file

        model_file(settings.model)
    else:
        check_model("agent.model", settings.model)


def _images(config: Config, plan: Plan) -> None:
    if not in_use(config) or inside():
        return
    if not uses_slurm(config) and not installed(runtime_of(config)):
        raise UsageError(
            f"container.runtime: {runtime_of(config)} is not installed here; install it "
            "(docs/how-to/images.md), or run without images (container.runtime=none)"
        )
    check_images(config, plan)


def _packages(config: Config, plan: Plan) -> None:
    """Of this environment; those of images are looked for in them."""
    if in_use(config) or importlib.util.find_spec("vllm") is not None:
        return
    names = {stage.name for stage in plan.stages}
    without = {f"{name}.vllm": "false" for name in POLICY if name in names}
    without = {key: value for key, value in without.items() if value_of(config, key)}
    if {"judge_data", "eval"} & names and config.eval.engine == "vllm":
        without["eval.engine"] = "transformers"
    if without:
        instead = " ".join(f"{key}={value}" for key, value in without.items())
        raise UsageError(
            f"{', '.join(without)}: the package vllm is not installed in this environment; install "
            f"it, or set {instead} (slower)"
        )


def _agent_package(config: Config, plan: Plan) -> None:
    needed = plan.agent is not None and config.agent.backend == "vllm" and not in_use(config)
    if needed and shutil.which("vllm") is None:
        raise UsageError(
            "agent.backend=vllm: the command vllm is not installed here; install it, or choose "
            "agent=embedded, or a server of yours (agent.backend=external agent.url=…)"
        )
