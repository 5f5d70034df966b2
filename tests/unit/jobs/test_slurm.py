"""What is handed to Slurm, whose commands are stand-ins (conftest.py)."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from geoagent.config import Config, StageResources, resolve
from geoagent.errors import UsageError
from geoagent.files import write_json
from geoagent.run import Run
from jobs import slurm
from jobs.cli import main
from jobs.group import Member
from jobs.plan import Plan, StagePlan, make_plan
from jobs.preflight import uses_slurm
from jobs.rundir import new_run, run_path
from jobs.squeue import clients_queued, tag
from jobs.stage import StageTask
from jobs.state import JobRecord, Jobs

Flags = Callable[[Path], set[str]]


def submit(tmp_path: Path, *more: str) -> tuple[Run, Jobs]:
    config = resolve(
        ["recipe=geoagent", "cluster=slurm", f"runs_dir={tmp_path}/runs", "name=first", *more]
    )
    run = new_run(config, run_path(config, []))
    return run, submit_one(config, run, make_plan(config, ["sft", "grpo", "eval"]))


def submit_one(config: Config, run: Run, plan: Plan) -> Jobs:
    slurm.submit_all(config, run, [Member(config, run, plan)])
    return Jobs.load(run)


def test_a_chain_of_jobs_with_the_agent_beside_it(
    tmp_path: Path, scheduler: Path, flags: Flags
) -> None:
    run, jobs = submit(tmp_path, "cluster.account=geo", "cluster.grpo.nodes=4", "agent.replicas=3")
    assert [(job.stage, job.id) for job in jobs.jobs] == [
        ("prepare", "101"),
        ("sft", "102"),
        ("agent", "103"),
        ("grpo", "104"),
        ("eval", "105"),
    ]
    sft, agent, grpo = (flags(scheduler / f"{number}.sh") for number in (102, 103, 104))
    assert {"--dependency=afterok:101", "--gpus-per-node=8", "--account=geo"} <= sft
    assert {"--kill-on-invalid-dep=yes", "--requeue", "--nodes=1", "--ntasks-per-node=1"} <= sft
    assert "--cpus-per-task=64" in sft
    assert {"--dependency=afterok:102", "--array=0-2%3", "--gpus-per-node=1"} <= agent
    assert {"--dependency=afterok:102,after:103", "--nodes=4"} <= grpo
    assert Jobs.load(run).of("grpo").id == "104"


@pytest.mark.parametrize(
    ("words", "option"),
    [
        ((), "--gpus-per-node=8"),
        (("cluster.gpu_type=a100",), "--gpus-per-node=a100:8"),
        (("cluster.gpu_type=a100", "cluster.sft.gpu_type=h100"), "--gpus-per-node=h100:8"),
        (("cluster.gpu_option=gres",), "--gres=gpu:8"),
        (("cluster.gpu_option=gres", "cluster.gpu_type=a100"), "--gres=gpu:a100:8"),
    ],
)
def test_gpus_by_type(
    tmp_path: Path, scheduler: Path, flags: Flags, words: tuple[str, ...], option: str
) -> None:
    submit(tmp_path, *words)
    asked = [flag for flag in flags(scheduler / "102.sh") if flag.startswith(("--gpus", "--gres"))]
    assert asked == [option]


def test_modules_variables_and_lines_come_in_this_order(tmp_path: Path, scheduler: Path) -> None:
    words = ["cluster.modules=[cuda/12.4]", "cluster.environment.A=it's", "cluster.setup=[umask 7]"]
    submit(tmp_path, *words)
    lines = (scheduler / "102.sh").read_text().splitlines()
    at = lines.index("module load cuda/12.4 || exit 1")
    assert lines[at + 1 : at + 3] == ["export A='it'\"'\"'s'", "umask 7"]


def test_a_refused_submission_takes_the_others_back(
    tmp_path: Path, scheduler: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAIL_AFTER", "102")
    with pytest.raises(UsageError, match=r"the job of agent \(QOSMaxSubmitJob\); .* --resume$"):
        submit(tmp_path)
    assert (scheduler / "cancelled").read_text() == "101 102\n"
    jobs = Jobs.load(Run(tmp_path / "runs" / "first")).jobs
    assert {job.stage: job.state for job in jobs} == {"prepare": "cancelled", "sft": "cancelled"}


def test_an_interrupted_submission_takes_back_what_slurm_had_taken_already(
    tmp_path: Path, scheduler: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(tmp_path / "runs" / "first")
    sbatch = (scheduler / "sbatch").read_text()
    cut = f"""[[ $n == 102 ]] && {{
      printf '%s\\n' "101|101|R|{tag(run, "prepare")}" "102|102|PD|{tag(run, "sft")}" \\
        "90|90|R|{tag(run, "eval")}" "91|91|R|{tag(Run(tmp_path), "sft")}" > "{scheduler}/queue"
      kill -INT $PPID; sleep 60; }}
    """
    (scheduler / "sbatch").write_text(sbatch.replace('echo "Submitted', f'{cut}echo "Submitted'))
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            submit(tmp_path)
    finally:
        signal.signal(signal.SIGINT, before)
    assert (scheduler / "cancelled").read_text() == "101\n102\n"


def test_grpo_alone_after_a_finished_sft(tmp_path: Path, scheduler: Path, flags: Flags) -> None:
    config = resolve(["recipe=geoagent", "cluster=slurm", f"runs_dir={tmp_path}/runs", "name=x"])
    run = new_run(config, run_path(config, []))
    jobs = submit_one(config, run, make_plan(config, ["grpo"], ["prepare", "sft"]))
    assert [(job.stage, job.id) for job in jobs.jobs] == [("agent", "101"), ("grpo", "102")]
    assert not any(flag.startswith("--dependency") for flag in flags(scheduler / "101.sh"))
    assert "--dependency=after:101" in flags(scheduler / "102.sh")


def test_an_agent_is_needed_while_a_client_is_queued(tmp_path: Path, scheduler: Path) -> None:
    run = Run(tmp_path)
    clients = ("grpo", "eval")
    assert clients_queued(run, clients)  # nobody knows yet
    records = [JobRecord("agent", "1"), JobRecord("grpo", "2"), JobRecord("eval", "3")]
    Jobs("slurm", jobs=records[:2], complete=False).save(run)
    assert clients_queued(run, clients)  # eval is not submitted yet
    long_ago = time.time() - 3600
    os.utime(run.jobs_file, (long_ago, long_ago))
    assert not clients_queued(run, clients)  # and will never be
    Jobs("slurm", jobs=records).save(run)
    (scheduler / "queue").write_text("1|1|R|\n3|3|R|\n")
    assert clients_queued(run, clients)
    (scheduler / "queue").write_text(f"1|1|R|\n4|4|R|{tag(run, 'eval')}\n")
    assert clients_queued(run, clients)  # its id was not written down
    (scheduler / "queue").write_text(f"1|1|R|\n33|33|R|{tag(Run(tmp_path / 'x'), 'eval')}\n")
    assert not clients_queued(run, clients)
    (scheduler / "silent").touch()
    assert clients_queued(run, clients)


def test_the_agent_ends_with_its_last_client(
    tmp_path: Path, scheduler: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.stage._LOOK_S", 0.1)
    run = Run(tmp_path / "run")
    run.code.mkdir(parents=True)
    (run.code / "agent_stand_in.py").write_text("import time\ntime.sleep(600)\n")
    Jobs("slurm", jobs=[JobRecord("grpo", "2")]).save(run)
    plan = StagePlan("agent", ("agent_stand_in",), StageResources())
    result = StageTask(run.path, plan, clients=("grpo",))()
    assert result["code"] == 0
    assert result["cause"] is None


def test_a_queued_run_is_not_continued(
    tmp_path: Path, scheduler: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["submit", "grpo", "recipe=demo", f"runs_dir={tmp_path}", "name=x"]
    assert main(words) == 0
    (scheduler / "queue").write_text("104\n")
    assert main([*words, "--resume"]) == 2
    assert "grpo has not ended" in capsys.readouterr().err
    (scheduler / "silent").touch()
    assert main([*words, "--resume"]) == 75
    assert "squeue does not answer" in capsys.readouterr().err


def test_status_and_cancel(
    tmp_path: Path, scheduler: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, _ = submit(tmp_path)
    assert main(["status", str(run.path)]) == 0
    shown = capsys.readouterr().out
    lines = {line.split()[0]: line for line in shown.splitlines() if line.strip()}
    assert re.search(r"prepare +101 +finished .* 01:30 ", lines["prepare"])
    assert re.search(r"sft +102 +running .* 01:01 .*n\[1-2\]", lines["sft"])
    assert re.search(r"grpo +104 +waiting", lines["grpo"])
    assert "eval: out of time" in shown
    (scheduler / "queue").write_text("102|102|R|\n104|104|R|\n999|999|R|\n")
    assert main(["cancel", str(run.path)]) == 0
    assert "stopped: sft, grpo\n" in capsys.readouterr().out
    assert (scheduler / "cancelled").read_text() == "102 104\n"


def test_status_of_jobs_that_accounting_does_not_know(
    tmp_path: Path, scheduler: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is not kept, was purged, or is away."""
    run, _ = submit(tmp_path)
    (scheduler / "sacct").write_text("#!/bin/bash\nexit 1\n")
    (scheduler / "queue").write_text("104|104|R|\n")
    write_json(run.done_file("prepare"), {"seconds": 9.0})
    write_json(run.stage("sft") / "outcome.json", {"code": 1, "cause": "ValueError: x"})
    assert main(["status", str(run.path)]) == 0
    shown = capsys.readouterr().out
    lines = {line.split()[0]: line for line in shown.splitlines() if line.strip()}
    for stage, state in (
        ("prepare", "finished"),
        ("sft", "failed"),
        ("grpo", "submitted"),
        ("eval", "failed"),
        ("agent", "finished"),
    ):
        assert re.search(rf"{stage} +10\d +{state}", lines[stage]), shown
    assert "sft: ValueError: x" in shown
    assert "eval: it has left the queue, and Slurm does not say how it ended" in shown

    (scheduler / "silent").touch()
    assert main(["status", str(run.path)]) == 75
    assert "squeue does not answer (no reason); is SLURM_CONF set" in capsys.readouterr().err
    for stage in ("sft", "grpo", "eval"):
        write_json(run.done_file(stage), {})
    assert main(["status", str(run.path)]) == 0
    assert re.search(r"agent +103 +unknown", capsys.readouterr().out)


def test_the_command_line_submits(
    tmp_path: Path, scheduler: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["submit", "grpo", "recipe=demo", f"runs_dir={tmp_path}", "name=x"]
    assert main(words) == 0  # `auto` takes Slurm where there is sbatch
    assert "grpo: job 104" in capsys.readouterr().out
    assert (tmp_path / "x" / "jobs.json").is_file()


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("scontrol: fatal: Could not establish a configuration source", "no cluster is set up"),
        ("Slurmctld(primary) at login is DOWN", "controller does not answer (Slurmctld(primary)"),
    ],
)
def test_a_cluster_that_is_not_there_is_said_before_anything_is_written(
    said: str,
    told: str,
    tmp_path: Path,
    scheduler: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PING_SAYS", said)
    words = ["submit", "sft", "recipe=demo", f"runs_dir={tmp_path}/runs", "cluster=slurm"]
    assert main(words) == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_slurm_that_is_installed_for_no_cluster_is_not_chosen(
    scheduler: Path, monkeypatch: pytest.MonkeyPatch, ask_anew: Callable[[], None]
) -> None:
    auto = resolve(["recipe=demo"])
    assert uses_slurm(auto)
    ask_anew()
    monkeypatch.setenv("PING_SAYS", "Slurmctld(primary) at login is DOWN")
    assert uses_slurm(auto)  # a login node is no place to train on
    ask_anew()
    monkeypatch.setenv("PING_SAYS", "scontrol: fatal: Could not establish a configuration source")
    assert not uses_slurm(auto)


def test_a_submission_from_inside_a_job_forgets_it(
    tmp_path: Path, scheduler: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_CONF", "/etc/slurm/slurm.conf")
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "4")
    submit(tmp_path)
    assert os.environ["SLURM_CPUS_PER_TASK"] == "4"  # a wish of the user's own
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    submit(tmp_path / "inside")
    assert [name for name in os.environ if name.startswith("SLURM_")] == ["SLURM_CONF"]
