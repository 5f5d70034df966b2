"""Submits a plan to Slurm: a job a stage, chained with afterok, the agent's beside them."""

from __future__ import annotations

import subprocess
from typing import Any

from geoagent.config import ClusterConfig, Config, StageResources
from geoagent.run import Run
from jobs.plan import AGENT, Plan, StagePlan
from jobs.stage import StageTask
from jobs.state import JobRecord, Jobs


def submit(config: Config, run: Run, plan: Plan) -> Jobs:
    """Submit all jobs; if one cannot be submitted, those before it are cancelled."""
    jobs = Jobs("slurm")
    ids: dict[str, str] = {}
    try:
        for stage in plan.stages:
            if stage.needs_agent and plan.agent is not None and AGENT not in ids:
                ids[AGENT] = _submit_agent(config, run, plan.agent, ids.get(stage.after[0], ""))
                jobs.jobs.append(JobRecord(AGENT, ids[AGENT], "submitted"))
            ids[stage.name] = _submit_stage(config, run, stage, ids)
            jobs.jobs.append(JobRecord(stage.name, ids[stage.name], "submitted", list(stage.after)))
    except BaseException:
        cancel(list(ids.values()))
        raise
    jobs.save(run)
    return jobs


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
    return str(executor.submit(StageTask(run.path, stage)).job_id)


def _submit_agent(config: Config, run: Run, agent: StagePlan, after: str) -> str:
    """One job a replica, as an array; it starts when the stage before its first user is done."""
    executor = _executor(config, run, agent)
    if after:
        executor.update_parameters(slurm_dependency=f"afterok:{after}")
    replicas = range(config.agent.replicas)
    with executor.batch():
        jobs = [executor.submit(StageTask(run.path, agent, replica=k)) for k in replicas]
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
