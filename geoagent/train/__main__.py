"""`python -m geoagent.train STAGE --run DIR`: one stage of a run, all but its evaluation.

Exit codes: 0 done, or saved and stopped where Run.stop_request asks for it; 143 the same after
SIGTERM; 2 something to be mended by a person (one line on standard error); 75 a service was away,
try again later; anything else is a crash.
"""

from __future__ import annotations

import argparse
import atexit
import os
import signal
import sys
import time
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any, NoReturn

from geoagent.errors import UsageError, end_now, exit_code
from geoagent.files import write_json
from geoagent.modelfolder import stay_offline
from geoagent.run import Run
from geoagent.stages import STAGES as ALL
from geoagent.stages import rows_of

if TYPE_CHECKING:
    from geoagent.config import Config

STAGES = tuple(name for name in ALL if name != "eval")
_HERE = ("prepare", "judge_data")
"""Those that ms-swift has nothing to do with."""


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m geoagent.train", description=__doc__)
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("--run", required=True, metavar="DIR", help="run directory")
    parser.add_argument(
        "--then",
        nargs="*",
        default=STAGES,
        metavar="STAGE",
        help="what the data must do for: stages after prepare (default: training)",
    )
    options = parser.parse_args(arguments)
    stay_offline()
    return exit_code(lambda: run_stage(options.stage, Run.open(options.run), options.then))


def run_stage(stage: str, run: Run, then: Collection[str] = STAGES) -> int:
    """Run one stage to its end and write its done.json (rank 0 only); returns 0."""
    started = time.time()
    if stage in _HERE:
        # Through `finally`, so that no half of a sample is left behind.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
        summary = _here(stage, run, then)
    else:
        trained = _train(stage, run)
        _part()
        if trained is None:
            print(f"{stage}: saved and stopped, as it was asked to", flush=True)
            return 0 if run.stop_request(stage).is_file() else 128 + signal.SIGTERM
        summary = trained
    if int(os.environ.get("RANK", "0")) == 0:
        write_json(run.done_file(stage), {"seconds": round(time.time() - started, 1), **summary})
        if stage not in _HERE and "summary" in summary:
            print(f"{stage}: {summary['summary']}", flush=True)
    return 0


def _here(stage: str, run: Run, then: Collection[str]) -> dict[str, Any]:
    if stage == "prepare":
        from geoagent.train.prepare import prepare

        return prepare(run, then)
    from geoagent.train.judge_data import make_judge_data

    return make_judge_data(run)


def _part() -> None:
    """End the process group together: a process that still talks to one that has left aborts, and
    torchrun on the other nodes then waits minutes for it."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        import torch.distributed as dist

        if dist.is_initialized():
            dist.barrier()
            dist.destroy_process_group()


def _of_first(look: Callable[[], Any]) -> Any:
    """What the first process sees, which wrote the files: a network file system may not show others
    a new one for a minute."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        import torch.distributed as dist

        if dist.is_initialized():
            values = [look() if dist.get_rank() == 0 else None]
            dist.broadcast_object_list(values, src=0)
            return values[0]
    return look()


def _train(stage: str, run: Run) -> dict[str, Any] | None:
    """Hand over to ms-swift, in this process; None if it stopped before its end to be resumed."""
    config = run.config()
    rows = rows_of(config, run, stage)
    if not rows.is_file():
        raise UsageError(f"{rows}: there is no row that {stage} can use")
    from geoagent.compat import prepare_torch

    os.environ["GEOAGENT_RUN"] = str(run.path)
    os.environ["GEOAGENT_STAGE"] = stage
    prepare_torch()
    from geoagent.train.checkpoints import discard_incomplete, reached
    from geoagent.train.halving import stopped

    if int(os.environ.get("RANK", "0")) == 0:
        for left in discard_incomplete(run.checkpoints(stage)):
            print(f"{stage}: {left} is not complete; removed", file=sys.stderr, flush=True)
    max_steps = getattr(config, stage).max_steps
    name, is_last = reached(run.checkpoints(stage), max_steps)
    told = stopped(config, run) if stage == "grpo" else None
    if told is not None:  # killed before it had saved, or before it had ended
        return {"checkpoint": name, **told}
    if is_last:  # killed after its last step
        return {"checkpoint": name}
    _hand_over(stage, config, run)
    name, is_last = _of_first(lambda: reached(run.checkpoints(stage), max_steps))
    if name is None:
        raise RuntimeError(f"{run.checkpoints(stage)}: training ended without a checkpoint")
    told = _of_first(lambda: stopped(config, run) if stage == "grpo" else None)
    if told is not None:
        return {"checkpoint": name, **told}
    return {"checkpoint": name} if is_last else None


def _hand_over(stage: str, config: Config, run: Run) -> None:
    """To ms-swift, which comes back when the training has ended or was stopped."""
    from geoagent.train.arguments import policy_arguments, policy_dataset, sft_arguments

    if stage == "sft":
        from swift.pipelines import sft_main

        sft_main(sft_arguments(config, run))
        return
    from swift.pipelines import rlhf_main

    limit = getattr(config, stage).limit
    whole = policy_dataset(config, run, stage) == str(rows_of(config, run, stage))
    if limit is not None and whole and int(os.environ.get("RANK", "0")) == 0:
        said = f"no more rows than {stage}.limit ({limit}): all are trained on"
        print(f"{stage}: {said}", file=sys.stderr, flush=True)
    rlhf_main(policy_arguments(config, run, stage))


def end(code: int) -> NoReturn:
    """End this process with what is to be done at its end, but leave the interpreter whole.

    Threads of torch's gloo may still hold tensors. One that lets go of them while the interpreter
    is taken apart aborts the process (pytorch/pytorch#179291), and torchrun then takes a training
    for failed that has done all its work.
    """
    atexit._run_exitfuncs()
    end_now(code)


if __name__ == "__main__":
    end(main())
