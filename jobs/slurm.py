"""Submits plans to Slurm: a job a stage, or an array over several runs; the agent beside them."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from geoagent.config import ClusterConfig, Config, StageResources
from geoagent.errors import OutageError, UsageError
from geoagent.run import Run
from jobs.atonce import each
from jobs.batches import Batch, batches
from jobs.container.enter import interpreter
from jobs.group import Member, share_agent
from jobs.plan import AGENT, STAGES, StagePlan
from jobs.processes import held_python
from jobs.scheduler import max_array_size
from jobs.squeue import queue, tag
from jobs.stage import StageTask
from jobs.state import JobRecord, Jobs, earlier_jobs

_MARGIN_S: Final = 8.0
"""Between the end of saving and the time limit, for the requeue."""


def submit_all(
    config: Config,
    home: Run,
    members: Sequence[Member],
    parallel: int | None = None,
    under_way: UnderWay | None = None,
    last: StagePlan | None = None,
) -> list[Submitted]:
    """Submit the same stages of several runs, each stage as one array over them.

    An element starts when the same element of the stage before has succeeded; one that fails takes
    its own later stages with it and leaves the others alone. What goes on from other runs waits
    until all of these have ended, and then looks whether its own has finished. At most `parallel`
    jobs of a stage run at a time, together with those that are `under_way`. The agent is shared;
    `home`, the folder of the group, holds what is common to all, and `config` the agent's
    settings. A single run is its own `home`. The `last` job runs there when all others have ended,
    however they did. UsageError if Slurm refuses a job; those before it are cancelled.
    """
    import submitit

    submission = _Submission(config, home, members, parallel, under_way or UnderWay(), last)
    try:
        submission.execute()
    except BaseException as error:
        submission.take_back()
        if isinstance(error, submitit.core.utils.FailedJobError):
            raise UsageError(_refused(submission.stage, str(error))) from error
        raise
    return submission.submitted


@dataclass(frozen=True)
class Submitted:
    """A job, or an array of `count`."""

    stage: str
    id: str
    count: int


@dataclass(frozen=True)
class UnderWay:
    """Jobs of an earlier submission that wait or run: arrays by stage, the agent's job, and the
    stages that ask an agent."""

    arrays: Mapping[str, Sequence[str]] = field(default_factory=dict)
    agent: str = ""
    clients: Sequence[str] = ()


class _Submission:
    def __init__(
        self,
        config: Config,
        home: Run,
        members: Sequence[Member],
        parallel: int | None,
        under_way: UnderWay,
        last: StagePlan | None,
    ) -> None:
        self.config = config
        self.home = home
        self.parallel = parallel
        self.submitted: list[Submitted] = []
        self.stage = ""
        """The one whose job Slurm is being asked for."""
        most = max_array_size() if len(members) > 1 else 1
        self._batches = batches(members, most)
        self._members = members
        kept = [JobRecord(AGENT, under_way.agent, "submitted")] if under_way.agent else []
        self._jobs = {home.path: _jobs_of(home, kept)}
        self._jobs |= {m.run.path: _jobs_of(m.run, m.kept) for m in members}
        self._agent = under_way.agent
        self._under_way = under_way.arrays
        self._clients = under_way.clients
        self._last = {stage: ":".join(ids) for stage, ids in under_way.arrays.items()}
        self._collector = last

    def execute(self) -> None:
        _leave_job()
        each(self._lend_agent, self._members, "sharing the agent")
        self._save(self.home)
        # A stage of all before the next stage of any: the agent depends on whatever comes first.
        for name in STAGES:
            for batch in self._batches:
                if batch.has(name):
                    self._submit_stage(batch, name)
        if self._collector is not None:
            self._submit_collector(self._collector)
        self._jobs[self.home.path].complete = True
        self._save(self.home)

    def take_back(self) -> None:
        """Cancel what was submitted."""
        ours = {one.id for one in self.submitted}
        cancel(sorted(ours))
        unknown = self._unknown()  # the queue may be slow to answer: not before the known ones
        cancel(unknown)
        ours.update(unknown)
        for jobs in self._jobs.values():
            jobs.complete = False
            for job in jobs.jobs:
                if job.id.partition("_")[0] in ours:  # what is kept of earlier goes on
                    job.state = "cancelled"
        each(self._save, [*map(Run, self._jobs)], "writing down what was cancelled")

    def _unknown(self) -> list[str]:
        """What Slurm has taken of the stage it was being asked for, if the answer did not come."""
        known = {one.id for one in self.submitted}
        for jobs in self._jobs.values():
            known.update(job.id.partition("_")[0] for job in jobs.jobs)
        known.update(id for ids in self._under_way.values() for id in ids)
        mine = (self.stage, str(self.home.path.resolve()))
        try:
            found = {job.array for job in queue() if (job.stage, job.run) == mine}
        except OutageError:  # status will find it
            return []
        return sorted(found - known)

    def _save(self, run: Run) -> None:
        self._jobs[run.path].save(run)

    def _lend_agent(self, member: Member) -> None:
        """Of a group, the one that its runs share."""
        shares = member.run != self.home and member.plan.agent is not None
        share_agent(member.run, self.home if shares else None)

    def _submit_stage(self, batch: Batch, name: str) -> None:
        stages = batch.stages(name)
        agent = next((m.plan.agent for m in batch.members if m.plan.agent is not None), None)
        asks = any(stage.needs_agent for stage in stages)
        if asks and agent is not None and not self._agent:
            self._submit_agent(agent, batch)
        self.stage = name
        config = batch.members[0].config
        others = [member.config for member in batch.members[1:]]
        executor = _executor(config, self.home, stages[0], others)
        before = self._dependencies(batch, stages[0], asks)
        if before:
            executor.update_parameters(slurm_dependency=",".join(before))
        executor.update_parameters(slurm_array_parallelism=self.parallel or len(stages))
        saving_s, requeues = config.cluster.warning_s - _MARGIN_S, config.cluster.requeues
        with executor.batch():
            jobs = [
                executor.submit(
                    StageTask(member.run.path, stage, saving_s=saving_s, requeues=requeues)
                )
                for member, stage in zip(batch.members, stages, strict=True)
            ]
        batch.ids[name] = self._last[name] = self._note(name, jobs)
        for member, stage, job in zip(batch.members, stages, jobs, strict=True):
            record = JobRecord(name, job.job_id, "submitted", list(stage.after))
            own = self._jobs[member.run.path]
            own.jobs.append(record)
            # The home's is complete when all is submitted, a run's with its last stage: that is
            # one file less to write for each of many.
            own.complete = member.run != self.home and stage == member.plan.stages[-1]
        each(self._save, [member.run for member in batch.members], f"writing down jobs of {name}")

    def _note(self, stage: str, jobs: Sequence[Any]) -> str:
        """The id of the job or array, kept so that it can be taken back."""
        id = str(jobs[0].job_id).partition("_")[0]
        self.submitted.append(Submitted(stage, id, len(jobs)))
        return id

    def _dependencies(self, batch: Batch, stage: StagePlan, asks: bool) -> list[str]:
        kind = "aftercorr" if len(batch.members) > 1 else "afterok"
        found = [f"{kind}:{batch.ids[name]}" for name in stage.after if name in batch.ids]
        found += [] if found else self._on_others(batch)
        if asks and self._agent:
            found.append(f"after:{self._agent}")
        if self.parallel and stage.name in self._last:
            # Each array has a limit of its own; all together have it only one after the other.
            found.append(f"afterany:{self._last[stage.name]}")
        return found

    def _on_others(self, batch: Batch) -> list[str]:
        """What the first stage of runs waits for that go on from other runs: each element for the
        same element of an array, or else all for all, whichever goes on from which."""
        before = [self._job_before(member) for member in batch.members]
        if _in_step(before):
            return [f"aftercorr:{before[0].partition('_')[0]}"]
        ids = sorted({id for id in before if id})
        if len(ids) > 1 or not all(before):  # who needs none of them must not fall with them
            arrays = sorted({id.partition("_")[0] for id in ids})
            return [f"afterany:{':'.join(arrays)}"] if arrays else []
        return [f"afterok:{id}" for id in ids]

    def _job_before(self, member: Member) -> str:
        """The job that makes what a run goes on from; empty if that is there."""
        before = member.before
        if before is None:
            return ""
        return before.job or self._jobs[before.run.path].of(before.stage).id

    def _submit_collector(self, stage: StagePlan) -> None:
        self.stage = stage.name
        executor = _executor(self.config, self.home, stage)
        ids = [one.id for one in self.submitted if one.stage != AGENT]
        ids += [id for arrays in self._under_way.values() for id in arrays]
        if ids:
            executor.update_parameters(slurm_dependency=f"afterany:{':'.join(ids)}")
        job = executor.submit(
            StageTask(self.home.path, stage, requeues=self.config.cluster.requeues)
        )
        record = JobRecord(stage.name, self._note(stage.name, [job]), "submitted")
        self._jobs[self.home.path].jobs.append(record)

    def _submit_agent(self, agent: StagePlan, batch: Batch) -> None:
        """One job a replica, as an array; it starts when the first run of the batch may need it,
        and ends when no run has a client of it in the queue."""
        self.stage = AGENT
        clients = {s.name for m in self._members for s in m.plan.stages if s.needs_agent}
        clients.update(self._clients)
        limit = self.config.cluster.requeues
        executor = _executor(self.config, self.home, agent)
        if before := self._before_agent(batch):
            executor.update_parameters(slurm_dependency=before)
        replicas = range(self.config.agent.replicas)
        names = tuple(name for name in STAGES if name in clients)
        with executor.batch():
            jobs = [
                executor.submit(
                    StageTask(self.home.path, agent, replica=k, clients=names, requeues=limit)
                )
                for k in replicas
            ]
        self._agent = self._note(AGENT, jobs)
        self._jobs[self.home.path].jobs.append(JobRecord(AGENT, self._agent, "submitted"))
        self._save(self.home)

    def _before_agent(self, batch: Batch) -> str:
        """What the agent waits for; empty if it is needed at once, or may be."""
        if self._clients:
            return ""
        found = []
        for member in batch.members:
            first = next((stage for stage in member.plan.stages if stage.needs_agent), None)
            if first is not None:
                jobs = self._jobs[member.run.path].jobs
                found.append(next((job.id for job in jobs if job.stage in first.after), ""))
        before = [self._job_before(member) for member in batch.members]
        if not all(found) and _in_step(before):  # one that fails must not take the agent along
            found = before
        if all(found):
            return "?".join(f"afterok:{id}" for id in found)  # ?: any of them
        return "".join(self._on_others(batch))


def _in_step(before: Sequence[str]) -> bool:
    """Whether these are the elements of an array from the first on."""
    array = before[0].partition("_")[0]
    return len(before) > 1 and [*before] == [f"{array}_{k}" for k in range(len(before))]


def _jobs_of(run: Run, kept: Sequence[JobRecord]) -> Jobs:
    """Of a new submission; jobs of earlier ones that are kept are no earlier ones."""
    earlier = earlier_jobs(run)
    for job in kept:
        if job.id in earlier.get(job.stage, ()):
            earlier[job.stage].remove(job.id)
    return Jobs("slurm", jobs=list(kept), earlier=earlier, complete=False)


def _leave_job() -> None:
    """Forget the job that this runs in, if it does: sbatch hands its variables on, and srun in the
    new job would take their numbers of tasks, CPUs and GPUs for its own."""
    if "SLURM_JOB_ID" in os.environ:
        for name in [name for name in os.environ if name.startswith(("SLURM_", "SBATCH_"))]:
            if name != "SLURM_CONF":
                del os.environ[name]


def _refused(stage: str, said: str) -> str:
    """What sbatch said, which is the last line of its standard error."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    text = next((line for line in lines if line.startswith("sbatch: error:")), "".join(lines[-1:]))
    return (
        f"Slurm refused the job of {stage} ({text.removeprefix('sbatch: error: ')}); those before "
        "it were cancelled; mend cluster.* and use --resume"
    )


def cancel(ids: Sequence[str]) -> bool:
    """scancel; False if it says that something went wrong, such as a job that has ended already."""
    if not ids:
        return True
    return subprocess.run(["scancel", *ids], check=False, capture_output=True).returncode == 0


def _executor(config: Config, run: Run, stage: StagePlan, others: Sequence[Config] = ()) -> Any:
    """`others` are configurations of further runs whose jobs are in the same array."""
    import submitit

    executor = submitit.AutoExecutor(
        folder=run.path / "submitit",
        cluster="slurm",
        slurm_max_num_timeout=config.cluster.requeues,
        slurm_python=interpreter([config, *others], run, stage) or held_python(),
    )
    executor.update_parameters(**parameters(config, run, stage))
    return executor


def parameters(config: Config, run: Run, stage: StagePlan) -> dict[str, Any]:
    """submitit's parameters of a stage's job."""
    cluster, resources = config.cluster, stage.resources
    chosen: dict[str, Any] = {
        "name": f"{run.path.name}-{stage.name}",
        "nodes": resources.nodes,
        "tasks_per_node": 1,
        "cpus_per_task": resources.cpus_per_process * stage.processes,
        "timeout_min": resources.time_minutes,
        "slurm_signal_delay_s": cluster.warning_s,
        "stderr_to_stdout": True,
        "slurm_additional_parameters": _additional(cluster, tag(run, stage.name)),
    }
    chosen |= _gpus(cluster, resources)
    if resources.memory_gb:
        chosen["mem_gb"] = resources.memory_gb
    chosen |= _where(cluster, resources)
    if lines := _setup(cluster):
        chosen["slurm_setup"] = lines
    return chosen


def _gpus(cluster: ClusterConfig, resources: StageResources) -> dict[str, Any]:
    count, kind = resources.gpus_per_node, resources.gpu_type or cluster.gpu_type
    if not count:
        return {}
    if cluster.gpu_option == "gres":
        return {"slurm_gres": f"gpu:{kind}:{count}" if kind else f"gpu:{count}"}
    return {"slurm_gpus_per_node": f"{kind}:{count}" if kind else count}


def _setup(cluster: ClusterConfig) -> list[str]:
    """Lines of the batch script; variables come last but for what a person wrote, so that a
    module doesn't change them."""
    # Without its modules a job would fail later, and say something else.
    modules = [f"module load {shlex.quote(name)} || exit 1" for name in cluster.modules]
    variables = [f"export {k}={shlex.quote(v)}" for k, v in cluster.environment.items()]
    return [*modules, *variables, *cluster.setup]


def _where(cluster: ClusterConfig, resources: StageResources) -> dict[str, str]:
    wanted = {
        "slurm_partition": resources.partition or cluster.partition,
        "slurm_account": cluster.account,
        "slurm_qos": cluster.qos,
        "slurm_constraint": cluster.constraint,
    }
    return {name: value for name, value in wanted.items() if value is not None}


def _additional(cluster: ClusterConfig, tag: str) -> dict[str, str | bool]:
    # A job whose dependency failed would otherwise stay in the queue for ever.
    comment = f"{cluster.additional.get('comment', '')} {tag}".strip()
    return {"kill-on-invalid-dep": "yes", "requeue": True, **cluster.additional, "comment": comment}
