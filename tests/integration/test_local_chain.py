"""Real submitit jobs on this machine, with stage programs that only pretend to train.

The programs are stand-ins so that faults can be had at will and in seconds; test_pipeline.py runs
the real ones.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from geoagent.config import StageResources, resolve
from geoagent.run import Run
from geoagent.train.checkpoints import seal
from jobs.display import Display
from jobs.local import ChainFailed, LocalChain, _devices, summary
from jobs.plan import Plan, StagePlan
from jobs.rundir import new_run, run_path
from tests.interrupts import ended, heed_interrupts

PROGRAM = """
import json, os, pathlib, subprocess, sys, time
what, name = sys.argv[1], sys.argv[2]
run = pathlib.Path(sys.argv[sys.argv.index("--run") + 1])
(run / name).mkdir(exist_ok=True)
stale = (run / name / "progress.json").exists()
(run / name / "pid").write_text(str(os.getpid()))
progress = {"step": 1, "total": 2, "unit": "step", "message": "busy", "metrics": {"loss": 0.5}}
(run / name / "progress.json").write_text(json.dumps(progress))
if what == "fail":
    print("error: data.path: there is no such folder", file=sys.stderr)
    sys.exit(2)
if what == "say":
    (run / name / "done.json").write_text(json.dumps({"summary": f"3 rows refused, {stale=}"}))
    sys.exit(0)
if what == "undone":
    sys.exit(0)
if what == "crash":
    raise ValueError("something is wrong")
if what == "where":
    import geoagent
    (run / name / "where").write_text(geoagent.__file__)
    what = 0
if what == "polite":
    import signal
    def end(*_):
        time.sleep(2.5)
        (run / name / "bye").write_text("saved")
        sys.exit(0)
    signal.signal(signal.SIGTERM, end)
    (run / name / "child").write_text(str(os.getpid()))
    time.sleep(600)
if what in ("hang", "agent"):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    (run / name / "child").write_text(str(child.pid))
    if what == "agent":
        (run / "agent" / "endpoint-0.json").write_text("{}")
    time.sleep(600)
if what == "mortal-agent":
    with (run / "agent" / "starts").open("a") as file:
        file.write("1")
    (run / "agent" / "endpoint-0.json").write_text("{}")
    time.sleep(1.5)
    sys.exit(75)
if what == "until-111":
    while (run / "agent" / "starts").read_text() != "111":
        time.sleep(0.05)
    what = 0
time.sleep(float(what))
(run / name / "done.json").write_text("{}")
"""


def stage(
    name: str, what: str, after: tuple[str, ...] = (), needs_agent: bool = False
) -> StagePlan:
    return StagePlan(name, ("stand_in", what, name), StageResources(), after, needs_agent)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    config = resolve(["recipe=demo", f"runs_dir={tmp_path}", "name=first"])
    run = new_run(config, run_path(config, ["sft"]))
    (run.code / "stand_in.py").write_text(PROGRAM)
    return run


def execute(run: Run, *stages: StagePlan, agent: StagePlan | None = None) -> LocalChain:
    with Display(run) as display:
        chain = LocalChain(run, Plan(stages, agent, ()), display, agent_wait_s=120)
        chain.execute()
    return chain


def states(run: Run) -> dict[str, str]:
    return {job["stage"]: job["state"] for job in json.loads(run.jobs_file.read_text())["jobs"]}


def gone(path: Path) -> bool:
    return ended(int(path.read_text()))


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 120
    while not path.is_file() or not path.read_text():
        assert time.monotonic() < deadline, f"{path} did not appear"
        time.sleep(0.05)


def test_stages_in_order(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    chain = execute(run, stage("sft", "1"), stage("grpo", "0", after=("sft",)))
    assert states(run) == {"sft": "finished", "grpo": "finished"}
    sft, grpo = chain.jobs.jobs
    assert sft.ended is not None
    assert grpo.started is not None
    assert sft.ended <= grpo.started
    assert (sft.peak_gib or 0) > 0
    assert "sft: finished in" in capsys.readouterr().out
    assert (run.logs("sft", 1) / "err.log").is_file()


def test_stages_run_the_copy_of_the_code(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parents[2])  # where people submit from
    execute(run, stage("sft", "where"))
    assert Path((run.stage("sft") / "where").read_text()).is_relative_to(run.code)


def test_a_failure_stops_the_chain_and_says_why(run: Run) -> None:
    with pytest.raises(ChainFailed, match=r"sft failed .* data.path: there is no such folder"):
        execute(run, stage("sft", "fail"), stage("grpo", "0", after=("sft",)))
    assert states(run) == {"sft": "failed", "grpo": "not started"}
    assert not run.stage("grpo").exists()


def test_what_a_stage_says_of_its_work_is_shown(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    old = run.checkpoints("prepare") / "checkpoint-7"
    old.mkdir(parents=True)
    (old / "model.safetensors").write_text("{}")
    seal(old)
    run.progress_file("prepare").write_text('{"step": 9, "total": 9}')
    execute(run, stage("prepare", "say"))
    shown = capsys.readouterr().out
    assert "prepare: started, goes on from checkpoint-7" in shown
    assert "prepare: 3 rows refused, stale=False" in shown


def test_a_crash_is_named(run: Run) -> None:
    with pytest.raises(ChainFailed, match=r"sft failed .* ValueError: something is wrong"):
        execute(run, stage("sft", "crash"))


def test_a_program_that_ends_before_its_work_is_done_has_failed(run: Run) -> None:
    execute(run, stage("sft", "0"))  # an earlier attempt's done.json does not count
    with pytest.raises(ChainFailed, match="ended before its work was done"):
        execute(run, stage("sft", "undone"))


def test_attempts_have_logs_of_their_own(run: Run) -> None:
    with pytest.raises(ChainFailed):
        execute(run, stage("sft", "fail"))
    execute(run, stage("sft", "0"))
    assert (run.logs("sft", 1) / "err.log").read_text().startswith("error:")
    assert (run.logs("sft", 2) / "err.log").read_text() == ""


def test_the_agent_lives_as_long_as_it_is_needed(run: Run) -> None:
    chain = execute(
        run,
        stage("sft", "0"),
        stage("grpo", "1", after=("sft",), needs_agent=True),
        stage("eval", "0", after=("grpo",)),
        agent=stage("agent", "agent"),
    )
    assert states(run) == dict.fromkeys(("sft", "grpo", "eval", "agent"), "finished")
    assert gone(run.agent / "pid")
    assert gone(run.agent / "child")
    assert (chain.jobs.of("agent").peak_gib or 0) > 0
    assert [name for name, _, _ in summary(chain.jobs)] == ["sft", "grpo", "eval", "agent"]


def test_an_external_agent_is_not_started_here(run: Run) -> None:
    execute(run, stage("grpo", "0", needs_agent=True))
    assert states(run) == {"grpo": "finished"}


def test_an_agent_that_cannot_start_is_named(run: Run) -> None:
    with pytest.raises(ChainFailed, match=r"the agent did not start: data.path: there is no such"):
        execute(run, stage("grpo", "1", needs_agent=True), agent=stage("agent", "fail"))
    assert states(run)["grpo"] == "not started"


def test_a_lock_of_a_killed_compiler_stops_nobody(run: Run) -> None:
    lock = run.extensions / "deepspeed_shm_comm" / "lock"
    lock.parent.mkdir(parents=True)
    lock.touch()
    execute(run, stage("sft", "0"))
    assert not lock.exists()


def test_an_agent_that_ends_is_started_again(run: Run) -> None:
    execute(run, stage("grpo", "until-111", needs_agent=True), agent=stage("agent", "mortal-agent"))
    assert (run.agent / "starts").read_text() == "111"


def test_an_old_announcement_is_no_agent(run: Run) -> None:
    run.agent.mkdir()
    (run.agent / "endpoint-0.json").write_text("{}")
    with pytest.raises(ChainFailed, match="the agent did not start"):
        execute(run, stage("grpo", "1", needs_agent=True), agent=stage("agent", "fail"))


@pytest.mark.parametrize(
    ("visible", "count", "given"),
    [(None, 0, ""), (None, 2, "0,1"), ("2,3", 1, "2"), ("GPU-a1", 1, "GPU-a1"), ("", 1, "")],
)
def test_a_stage_sees_the_gpus_it_asked_for(
    visible: str | None, count: int, given: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert _devices(count) == given


def test_gpus_and_time_reach_the_program(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,6")
    code = "import os, pathlib, sys\nrun = pathlib.Path(sys.argv[-1])\n"
    code += "(run / 'seen').write_text(os.environ['CUDA_VISIBLE_DEVICES'])\n"
    code += "(run / 'sft' / 'done.json').write_text('{}')\n"
    (run.code / "see.py").write_text(code)
    execute(run, StagePlan("sft", ("see",), StageResources(gpus_per_node=1, processes_per_node=1)))
    assert (run.path / "seen").read_text() == "5"


SUBMIT = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_local_chain import execute, stage
from geoagent.run import Run
execute(Run(Path({run!r})), stage("grpo", "hang", needs_agent=True), agent=stage("agent", "agent"))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopping_the_command_leaves_no_process(run: Run, number: signal.Signals) -> None:
    code = SUBMIT.format(tests=str(Path(__file__).parent), run=str(run.path))
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.DEVNULL, preexec_fn=heed_interrupts
    )
    for name in ("grpo/child", "agent/child"):
        wait_for(run.path / name)
    submitit_pid = next(
        job["pid"] for job in json.loads(run.jobs_file.read_text())["jobs"] if job["pid"]
    )
    process.send_signal(number)
    process.wait(timeout=60)
    for name in ("grpo/pid", "grpo/child", "agent/pid", "agent/child"):
        assert gone(run.path / name), name
    assert ended(submitit_pid)
    assert states(run) == {"grpo": "cancelled", "agent": "cancelled"}


def test_ctrl_c_in_a_terminal_lets_programs_end_well(run: Run) -> None:
    """A terminal sends SIGINT to the whole foreground group, submitit's processes included."""
    code = SUBMIT.format(tests=str(Path(__file__).parent), run=str(run.path))
    code = code.replace('"hang"', '"polite"')
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=heed_interrupts,
    )
    for name in ("grpo/child", "agent/child"):
        wait_for(run.path / name)
    os.killpg(process.pid, signal.SIGINT)
    process.wait(timeout=60)
    assert (run.path / "grpo" / "bye").is_file()
    assert all(gone(run.path / name) for name in ("grpo/child", "agent/child"))
    assert states(run) == {"grpo": "cancelled", "agent": "cancelled"}


def test_killing_the_command_leaves_no_process(run: Run) -> None:
    code = SUBMIT.format(tests=str(Path(__file__).parent), run=str(run.path))
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL)
    for name in ("grpo/child", "agent/child"):
        wait_for(run.path / name)
    process.kill()
    process.wait(timeout=10)
    deadline = time.monotonic() + 30
    names = ("grpo/pid", "grpo/child", "agent/pid", "agent/child")
    while not all(gone(run.path / name) for name in names) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert [name for name in names if not gone(run.path / name)] == []


def test_cancel_from_outside(run: Run) -> None:
    code = SUBMIT.format(tests=str(Path(__file__).parent), run=str(run.path))
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL)
    wait_for(run.path / "grpo" / "child")
    environment = {**os.environ, "COLUMNS": "200"}
    command = [sys.executable, "-m", "jobs"]
    shown = subprocess.run(
        [*command, "status", str(run.path)], capture_output=True, text=True, env=environment
    )
    assert "running" in shown.stdout
    assert "1/2" in shown.stdout
    stopped = subprocess.run(
        [*command, "cancel", str(run.path)], capture_output=True, text=True, check=True
    )
    assert "grpo" in stopped.stdout
    process.wait(timeout=30)
    assert gone(run.path / "grpo" / "child")
    again = subprocess.run([*command, "cancel", str(run.path)], capture_output=True, text=True)
    assert "nothing was running" in again.stdout
