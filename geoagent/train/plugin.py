"""What ms-swift loads at start: our rewards, the progress file, the tiny model's token ids.

ms-swift imports this file by path (`external_plugins`). The run directory comes in the
environment variable GEOAGENT_RUN, because ms-swift has no argument for it.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from swift.callbacks import TrainerCallback, callbacks_map
from swift.rewards import ORM, orms

from geoagent.compat import (
    join_process_group,
    leave_out_plugins,
    name_weights_for_vllm,
    place_tokens_by_model,
    use_image_tokens_of,
)
from geoagent.errors import OutageError, UsageError, end_now, tell
from geoagent.progress import Progress
from geoagent.rewards.registry import begin
from geoagent.run import Run
from geoagent.stages import POLICY, asks_agent, rewards_of
from geoagent.train.arguments import base_model
from geoagent.train.checkpoints import seal
from geoagent.train.halving import Halving
from geoagent.train.timing import StepClock

RUN = Run.open(os.environ["GEOAGENT_RUN"])
STAGE = os.environ["GEOAGENT_STAGE"]
CONFIG = RUN.config()


class ProgressCallback(TrainerCallback):
    """Copies the trainer's step and newest figures to progress.json (rank 0 only)."""

    SHOWN = ("loss", "reward", "reward_std", "kl", "learning_rate", "grad_norm", "token_acc")

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        first = state.global_step
        self.progress = Progress(RUN.progress_file(STAGE), total=state.max_steps, first=first)
        if state.is_world_process_zero:
            self.progress.update(state.global_step, "training")

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.is_world_process_zero:
            self.progress.update(state.global_step, "training")

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any
    ) -> None:
        if not state.is_world_process_zero or not logs:
            return
        shown = {
            name: float(value)
            for name, value in logs.items()
            if isinstance(value, int | float)
            and (name in self.SHOWN or (name.startswith("rewards/") and name.endswith("/mean")))
        }
        self.progress.update(state.global_step, "training", **shown)


class SealCallback(TrainerCallback):
    """Marks a checkpoint as complete once all processes have written their parts of it."""

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        import torch.distributed as dist

        if dist.is_initialized() and dist.get_world_size() > 1:
            dist.barrier()
        if state.is_world_process_zero:
            seal(Path(args.output_dir) / f"checkpoint-{state.global_step}")


class StopCallback(TrainerCallback):
    """Saves and stops after a step once this was asked for: by the file Run.stop_request, or by
    SIGTERM, which Slurm sends at the beginning of a pre-empted job's grace time."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self._terminated = False

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        def remember(number: int, frame: object) -> None:
            self._terminated = True

        self._before = signal.signal(signal.SIGTERM, remember)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step < state.max_steps and self._asked(args.device):
            control.should_save = control.should_training_stop = True

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        signal.signal(signal.SIGTERM, self._before)

    def _asked(self, device: Any) -> bool:
        return _any_process(self._terminated or RUN.stop_request(STAGE).is_file(), device)


class StopEarlyCallback(TrainerCallback):
    """Saves and stops at a rung of successive halving where this run is hopeless.

    The rung's step is logged, whatever logging_steps says, and judged with that log: it is the
    last thing before the trainer looks whether to save.
    """

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self._halving = Halving(CONFIG, RUN)
        self._rung: int | None = None

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self._halving.is_rung(state.global_step, state.max_steps):
            self._rung = state.global_step
            control.should_log = True

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self._rung is None:
            return
        step, self._rung = self._rung, None
        first = state.is_world_process_zero
        stop = first and self._halving.stops(step, state.max_steps, state.log_history)
        if _any_process(stop, args.device):
            control.should_save = control.should_training_stop = True


class ClockCallback(TrainerCallback):
    """Logs how long each step took, and how much of that it waited for rewards."""

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        CLOCK.begin()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        figures = {f"time/{name}": value for name, value in CLOCK.end().items()}
        RECORDER.write(figures, state.global_step)


def _any_process(flag: bool, device: Any) -> bool:
    """Whether it is so in any process. All must agree on the step that they stop at: one that went
    on alone would wait for ever in the next collective."""
    import torch
    import torch.distributed as dist

    if not (dist.is_initialized() and dist.get_world_size() > 1):
        return flag
    found = torch.tensor([int(flag)], device=device)
    dist.all_reduce(found, op=dist.ReduceOp.MAX)
    return bool(found.item())


def leave(error: OutageError | UsageError) -> NoReturn:
    """End this process at once with the error's exit code.

    Not an exception: with several processes the others would wait for this one in their next
    collective until NCCL's time-out. torchrun stops them when this one ends.
    """
    end_now(tell(error))


class RewardAdapter(ORM):
    """One registered reward as ms-swift calls it; subclasses only differ in their name. ms-swift
    awaits all rewards of a batch together, so that they take as long as the slowest.

    It names the TensorBoard curve after the class: `rewards/spatial/mean`. Rollouts with
    tools bring the column `trace`; the first reward of a batch notes how they used them.
    """

    reward: Any
    first: bool

    async def __call__(self, completions: Sequence[str], **columns: Any) -> list[float]:
        with CLOCK.reward(self.reward.name):
            return await self._score(completions, columns)

    async def _score(self, completions: Sequence[str], columns: dict[str, Any]) -> list[float]:
        step = getattr(columns.get("trainer_state"), "global_step", 0)
        rollouts = [infos or {} for infos in columns.get("rollout_infos") or ()]
        if any("trace" in infos for infos in rollouts):
            columns["trace"] = [infos.get("trace") for infos in rollouts]
            if self.first:
                RECORDER.add("rollout", [_used(infos) for infos in rollouts], step)
        try:
            scores = await asyncio.wrap_future(begin(self.reward, completions, **columns))
        except (OutageError, UsageError) as error:
            leave(error)
        RECORDER.add(self.reward.name, [score.parts for score in scores], step)
        return [score.value for score in scores]


def _used(rollout: Mapping[str, Any]) -> dict[str, float]:
    """How a rollout used its tools, and whether it came to an answer."""
    used = {name: rollout[name] for name in ("crops", "searches", "answered") if name in rollout}
    return {**used, "turns": len(rollout.get("trace", ()))}


class PartsRecorder:
    """This process's own TensorBoard scalars: means of what the rewards are made of, so curves are
    explained, and times. No training ends for them: that one cannot be written is said once."""

    def __init__(self) -> None:
        self._writer: Any = None
        self._fails = False

    def add(self, name: str, rows: Sequence[Mapping[str, Any]], step: int) -> None:
        columns: dict[str, list[float]] = {}
        for parts in rows:
            for part, value in parts.items():
                if isinstance(value, int | float) and not isinstance(value, bool):
                    columns.setdefault(part, []).append(float(value))
        means = {f"parts/{name}/{part}": sum(v) / len(v) for part, v in columns.items()}
        self.write(means, step)

    def write(self, scalars: Mapping[str, float], step: int) -> None:
        """Scalars by tag."""
        if not scalars or self._fails:
            return
        try:
            if self._writer is None:
                self._writer = self._open()
            for tag, value in scalars.items():
                self._writer.add_scalar(tag, value, step)
        except Exception as error:  # of the writer's own thread too, at any later call
            self._fails = True
            print(f"{STAGE}: curves of rewards and times end here: {error!r}", file=sys.stderr)

    def _open(self) -> Any:
        from torch.utils.tensorboard import SummaryWriter

        rank = os.environ.get("RANK", "0")
        return SummaryWriter(str(RUN.tensorboard(STAGE) / f"parts-rank-{rank}"))


RECORDER = PartsRecorder()
CLOCK = StepClock(getattr(CONFIG, STAGE).iterations if STAGE in POLICY else 1)


def register_rewards() -> None:
    """Put every reward that the stage pays for into ms-swift's table."""
    from geoagent.rewards.registry import build
    from geoagent.train.rewards import make_agent

    rewards = rewards_of(CONFIG, STAGE)
    agent = make_agent(CONFIG, RUN, STAGE) if asks_agent(CONFIG, STAGE) else None
    if agent is not None:
        agent.check()  # a model that has learnt little gives it nothing to answer for a long time
    for number, (name, reward) in enumerate(build(rewards, agent=agent).items()):
        orms[name] = type(name, (RewardAdapter,), {"reward": reward, "first": number == 0})


def register_tools() -> None:
    """Put the scheduler of rollouts with tools into ms-swift's table, as the run has them."""
    from swift.rollout import multi_turns

    from geoagent.rollout.search import provider
    from geoagent.train.scheduler import ToolScheduler

    own = {
        "limits": CONFIG.rollout,
        "provider": provider(CONFIG.rollout.search),
        "leave": staticmethod(leave),
    }
    multi_turns["geoagent_tools"] = type("ToolsOfThisRun", (ToolScheduler,), own)


callbacks_map["geoagent_progress"] = ProgressCallback
callbacks_map["geoagent_seal"] = SealCallback
callbacks_map["geoagent_stop"] = StopCallback
callbacks_map["geoagent_stop_early"] = StopEarlyCallback
callbacks_map["geoagent_clock"] = ClockCallback
use_image_tokens_of(base_model(CONFIG, RUN))
place_tokens_by_model()
if getattr(CONFIG, STAGE).deepspeed == "zero3":
    join_process_group()
if STAGE in POLICY and getattr(CONFIG, STAGE).vllm:
    leave_out_plugins()
    name_weights_for_vllm()
if STAGE in POLICY:
    register_rewards()
if STAGE == "grpo" and CONFIG.rollout.train:
    register_tools()
