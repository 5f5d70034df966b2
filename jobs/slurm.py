"""Submits a plan to Slurm: a job a stage, chained with afterok, the agent's beside them."""

from __future__ import annotations

import os
import subprocess
from typing import Any, Final

from geoagent.config import ClusterConfig, Config, StageResources
from geoagent.errors import UsageError
from geoagent.run import Run
from jobs.plan import AGENT, Plan, StagePlan
from jobs.stage import StageTask
from jobs.state import JobRecord, Jobs

_MARGIN_S: Final = 8.0
"""Between the end of saving and the time limit, for the requeue."""


def submit(config: Config, run: Run, plan: Plan) -> Jobs:
    """Submit all jobs; if one cannot be submitted, those before it are cancelled."""
    import submitit

    jobs = Jobs("slurm")
    ids: dict[str, str] = {}
    try:
        _leave_job()
        for stage in plan.stages:
            if stage.needs_agent and plan.agent is not None and AGENT not in ids:
                after = ids[stage.after[0]] if stage.after else ""
                ids[AGENT] = _submit_agent(config, run, plan, after)
                jobs.jobs.append(JobRecord(AGENT, ids[AGENT], "submitted"))
                jobs.save(run)
            ids[stage.name] = _submit_stage(config, run, stage, ids)
            jobs.jobs.append(JobRecord(stage.name, ids[stage.name], "submitted", list(stage.after)))
            jobs.save(run)  # each at once: a job that nobody knows of can't be cancelled
    except BaseException as error:
        cancel(list(ids.values()))
        for job in jobs.jobs:
            job.state = "cancelled"
        jobs.save(run)
        if isinstance(error, submitit.core.utils.FailedJobError):
            raise UsageError(_refused(stage.name, str(error))) from error
        raise
    return jobs


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


def cancel(ids: list[str]) -> None:
    """scancel; ids that are finished already are no error."""
    if ids:
        subprocess.run(["scancel", *ids], check=False, capture_output=True)


def _submit_stage(config: Config, run: Run, stage: StagePlan, ids: dict[str, str]) -> str:
    before = [f"afterok:{ids[name]}" for name in stage.after if name in ids]
    if stage.needs_agent and AGENT in ids:
        before.append(f"after:{ids[AGENT].partition('_')[0]}")
    executor = _executor(config, run, stage)
    if before:
        executor.update_parameters(slurm_dependency=",".join(before))
    return str(
        executor.submit(
            StageTask(
                run.path,
                stage,
                saving_s=config.cluster.warning_s - _MARGIN_S,
                requeues=config.cluster.requeues,
            )
        ).job_id
    )


def _submit_agent(config: Config, run: Run, plan: Plan, after: str) -> str:
    """One job a replica, as an array; it starts when the stage before its first client is done
    and ends when its last client is no longer queued."""
    agent = plan.agent
    assert agent is not None
    clients = tuple(stage.name for stage in plan.stages if stage.needs_agent)
    executor = _executor(config, run, agent)
    if after:
        executor.update_parameters(slurm_dependency=f"afterok:{after}")
    replicas = range(config.agent.replicas)
    with executor.batch():
        limit = config.cluster.requeues
        tasks = [
            StageTask(run.path, agent, replica=k, clients=clients, requeues=limit) for k in replicas
        ]
        jobs = [executor.submit(task) for task in tasks]
    return str(jobs[0].job_id).partition("_")[0]


def _executor(config: Config, run: Run, stage: StagePlan) -> Any:
    import submitit

    executor = submitit.AutoExecutor(
        folder=run.path / "submitit", cluster="slurm", slurm_max_num_timeout=config.cluster.requeues
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
        "slurm_additional_parameters": _additional(cluster),
    }
    if resources.gpus_per_node:
        chosen["slurm_gpus_per_node"] = resources.gpus_per_node
    if resources.memory_gb:
        chosen["mem_gb"] = resources.memory_gb
    chosen |= _where(cluster, resources)
    if cluster.setup:
        chosen["slurm_setup"] = list(cluster.setup)
    return chosen


def _where(cluster: ClusterConfig, resources: StageResources) -> dict[str, str]:
    wanted = {
        "slurm_partition": resources.partition or cluster.partition,
        "slurm_account": cluster.account,
        "slurm_qos": cluster.qos,
        "slurm_constraint": cluster.constraint,
    }
    return {name: value for name, value in wanted.items() if value is not None}


def _additional(cluster: ClusterConfig) -> dict[str, str | bool]:
    # A job whose dependency failed would otherwise stay in the queue for ever.
    return {"kill-on-invalid-dep": "yes", "requeue": True, **cluster.additional}
