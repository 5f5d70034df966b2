"""`python -m jobs.shards RUN [key=value…]`: what a job of jobs/eval.sbatch does.

First it predicts its part, with nothing beside it; then, if no completion of any shard is missing,
it scores all and writes the tables, with the agent beside it. So the last shard to end merges; one
that is run again after a failure merges as well.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Final

from geoagent.config import Config, resolve
from geoagent.errors import OutageError, UsageError, exit_code
from geoagent.evaluate.completions import MARK, Shard
from geoagent.evaluate.completions import STAGE as EVAL
from geoagent.files import claimed, read_if_there
from geoagent.run import Run
from jobs.changes import check_same
from jobs.container.enter import interpreter
from jobs.group import Group, home_of
from jobs.plan import STAGES, TRAINING, StagePlan, make_plan
from jobs.preflight import problems
from jobs.rundir import continue_run, finished_stages
from jobs.stage import StageFailed, StageTask
from jobs.state import JobRecord, Jobs, earlier_jobs
from jobs.watch import still_running

USAGE: Final = "usage: sbatch [--array=0-N] jobs/eval.sbatch runs/NAME [eval.key=value…]"


def main(arguments: Sequence[str] | None = None) -> int:
    words = sys.argv[1:] if arguments is None else arguments
    return exit_code(lambda: evaluate(words, os.environ))


def evaluate(words: Sequence[str], variables: Mapping[str, str]) -> int:
    """Exit code: 0, or 1 if a program failed. UsageError if something is to be mended first."""
    shard = shard_of(variables)
    run, config = _run(words, variables)
    python = interpreter([config], home_of(run), replace(_predicting(config, Shard()), name=EVAL))
    if python is not None:  # start again inside the image
        command = [*shlex.split(python), "-m", "jobs.shards", *words]
        os.execvp(command[0], command)
    _record(run, variables)
    try:
        StageTask(run.path, _predicting(config, shard), requeues=config.cluster.requeues)()
    except StageFailed as error:
        print(f"error: shard {shard.name}: {error}; submit it again to go on", file=sys.stderr)
        return 1
    done = read_if_there(run.done_file(shard.stage))
    if done["missing"]:
        print(
            f"shard {shard.name}: done; {done['missing']} completions of other shards are "
            "missing, the last shard to end goes on from here"
        )
        return 0
    with claimed(run.stage(EVAL) / "shards" / "merge.lock") as mine:
        if not mine:
            print("nothing is missing; another shard merges")
            return 0
        if read_if_there(run.done_file(EVAL)).get(MARK) == done[MARK]:
            print("nothing is missing; all has been merged already")
            return 0
        return _merge(config, run)


def shard_of(variables: Mapping[str, str]) -> Shard:
    """From the variables of a Slurm array, or the only shard. `SHARDS` says how many there are
    where the array is not all of them (one that is run again)."""
    task = variables.get("SLURM_ARRAY_TASK_ID")
    if task is None:
        return Shard()
    tasks, last = (int(variables[f"SLURM_ARRAY_TASK_{name}"]) for name in ("COUNT", "MAX"))
    count = int(variables.get("SHARDS") or (tasks if tasks == last + 1 else 0))
    if last >= count:
        raise UsageError(
            "--array: is not 0-N; to run some shards again, say how many there are in all, such as "
            f"SHARDS={max(last + 1, count)} sbatch --array={task} jobs/eval.sbatch"
        )
    return Shard(int(task), count)


def _run(words: Sequence[str], variables: Mapping[str, str]) -> tuple[Run, Config]:
    """The run, with settings that it may have now, and checked."""
    named = [word for word in words if "=" not in word] or [variables.get("RUN", "")]
    if len(named) != 1 or not named[0]:
        raise UsageError(USAGE)
    run = Run.open(named[0])
    config = resolve([str(run.config_file), *(word for word in words if "=" in word)])
    group = Group.of(run)
    if group is not None:
        names = ", ".join(f"{named[0].rstrip('/')}/{name}" for name in group.members)
        raise UsageError(f"{named[0]}: is a group; evaluate its runs one by one: {names}")
    if "prepare" not in finished_stages(run):
        raise UsageError(f"{named[0]}: has nothing to evaluate; it has not finished prepare")
    check_same(run.config(), config, run.path, STAGES)  # not even of stages that are to come
    _check_trained(run)
    for problem in problems(config, make_plan(config, [EVAL], _others())):
        raise UsageError(problem)
    continue_run(config, run)
    return run, config


def _check_trained(run: Run) -> None:
    """Checkpoints must not change while they are evaluated."""
    with suppress(OutageError):  # compute nodes may not be let at the queue
        training = [stage for stage in still_running(run) if stage in TRAINING]
        if training:
            raise UsageError(f"{run.path}: {', '.join(training)} has not ended; evaluate it then")


def _others() -> list[str]:
    return [stage for stage in STAGES if stage != EVAL]


def _record(run: Run, variables: Mapping[str, str]) -> None:
    """Note this job, or its array, as the run's evaluation: `status` and `cancel` look there."""
    job = variables.get("SLURM_ARRAY_JOB_ID") or variables.get("SLURM_JOB_ID")
    if job is None:
        return
    jobs = Jobs.load_if_there(run) or Jobs("slurm")
    if any(record.stage == EVAL and record.id == job for record in jobs.jobs):
        return  # another shard has
    earlier = earlier_jobs(run)
    if job in earlier.get(EVAL, ()):
        return  # another shard has meanwhile, or this one began long ago and runs again
    kept = [one for one in jobs.jobs if one.stage != EVAL and jobs.executor == "slurm"]
    for one in kept:
        earlier[one.stage].remove(one.id)
    Jobs("slurm", jobs=[*kept, JobRecord(EVAL, job, "submitted")], earlier=earlier).save(run)


def _predicting(config: Config, shard: Shard) -> StagePlan:
    module = ("geoagent.evaluate", "--shard", f"{shard.index}/{shard.count}")
    return StagePlan(shard.stage, module, config.cluster.eval)


def _merge(config: Config, run: Run) -> int:
    from jobs.display import Display
    from jobs.local import ChainFailed, LocalChain

    plan = make_plan(config, [EVAL], _others())
    with Display(run) as display:
        chain = LocalChain(run, plan, display, config.agent.start_timeout_s, recorded=False)
        try:
            chain.execute()
        except ChainFailed as error:
            print(f"error: {error}; submit it again to go on", file=sys.stderr)
            return 1
    print((run.evaluation(config.eval.benchmark) / "table.txt").read_text(encoding="utf-8"))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
