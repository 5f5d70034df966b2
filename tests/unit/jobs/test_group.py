"""Several runs that are submitted together; Slurm's commands are stand-ins."""

from __future__ import annotations

import json
import multiprocessing
import shutil
import time
from collections.abc import Callable
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest

from geoagent.agent.endpoint import Endpoint, endpoint_file, read_endpoints
from geoagent.config import resolve
from geoagent.errors import UsageError
from geoagent.files import write_json
from geoagent.run import Run
from jobs import submission
from jobs.batches import batches
from jobs.cli import main
from jobs.group import Group, Member, by_seed, home_of, read_seeds, share_agent
from jobs.lock import submitting
from jobs.plan import make_plan
from jobs.state import JobRecord, Jobs, earlier_jobs

Flags = Callable[[Path], set[str]]


def member(name: str, *finished: str, words: tuple[str, ...] = ()) -> Member:
    config = resolve(["recipe=demo", *words])
    return Member(config, Run(Path(name)), make_plan(config, ["sft", "eval"], finished))


def names(found: list) -> list[list[str]]:
    return [[str(member.run.path) for member in batch.members] for batch in found]


def test_runs_with_the_same_to_do_share_an_array() -> None:
    runs = [member("a"), member("b", "prepare"), member("c"), member("d", "prepare")]
    assert names(batches(runs, 100)) == [["a", "c"], ["b", "d"]]
    wide = member("e", words=("cluster.sft.memory_gb=99",))
    assert names(batches([member("a"), wide, member("c")], 100)) == [["a", "c"], ["e"]]


def test_an_array_has_no_more_elements_than_slurm_allows() -> None:
    runs = [member(str(k)) for k in range(5)]
    assert [len(batch) for batch in names(batches(runs, 2))] == [2, 2, 1]
    assert [len(batch) for batch in names(batches(runs, 5))] == [5]
    assert [len(batch) for batch in names(batches(runs, 1))] == [1] * 5


def test_seeds() -> None:
    assert by_seed(read_seeds("0,12")) == {"seed-0": ["seed=0"], "seed-12": ["seed=12"]}
    for wrong in ("", "1,", "a", "-1", "1.5", "0 1", "²"):
        with pytest.raises(UsageError, match=r"--seeds: .* is not a list of whole numbers"):
            read_seeds(wrong)
    with pytest.raises(UsageError, match="names a seed twice"):
        read_seeds("1,2,1")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--seeds", "0,1", "seed=4"],
            "seed: each run of this group has its own; leave out",
        ),
        (["--parallel", "2"], "--parallel: is for several runs"),
        (["--seeds", "0", "--parallel", "0"], "--parallel: 0 is less than 1"),
    ],
)
def test_what_does_not_go_together(
    words: list[str],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["submit", "sft", "recipe=demo", f"runs_dir={tmp_path}", "name=x", *words]) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def submit(tmp_path: Path, *words: str) -> int:
    return main(["submit", "sft", "grpo", "eval", f"runs_dir={tmp_path}", "name=x", *words])


NEW = ("recipe=demo", "cluster=slurm", "--seeds", "0,1,2")


def test_an_array_a_stage(
    tmp_path: Path, scheduler: Path, flags: Flags, capsys: pytest.CaptureFixture[str]
) -> None:
    assert submit(tmp_path, *NEW, "agent.replicas=2", "--parallel", "2") == 0
    assert "sft: job 102, an array of 3\nagent: job 103, an array of 2" in capsys.readouterr().out
    prepare, sft, agent, grpo = (flags(scheduler / f"{k}.sh") for k in (101, 102, 103, 104))
    assert "--array=0-2%2" in prepare & sft & grpo
    assert f"--comment=geoagent:sft:{tmp_path}/x" in sft
    assert "--dependency=aftercorr:101" in sft
    either = "'--dependency=afterok:102_0?afterok:102_1?afterok:102_2'"
    assert either.replace("'", "") in {flag.replace("'", "") for flag in agent}
    assert "--array=0-1%2" in agent
    assert "--dependency=aftercorr:102,after:103" in grpo
    home = Run(tmp_path / "x")
    for k, run in enumerate(Group.of(home).runs()):  # type: ignore[union-attr]
        assert run.config().seed == k
        assert Jobs.load(run).of("grpo").id == f"104_{k}"
        assert (run.agent / "shared").resolve() == home.agent
        assert home_of(run) == home
    assert [job.stage for job in Jobs.load(home).jobs] == ["agent"]


def test_arrays_that_are_full_come_one_after_the_other(
    tmp_path: Path, scheduler: Path, flags: Flags, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PING_SAYS", "is UP\nMaxArraySize            = 2")
    assert submit(tmp_path, *NEW, "--parallel", "1") == 0
    dependencies = {
        number: [f for f in flags(scheduler / f"{number}.sh") if f.startswith("--dep")]
        for number in range(101, 105)
    }
    assert dependencies == {
        101: [],
        102: ["--dependency=afterany:101"],
        103: ["--dependency=aftercorr:101"],
        104: ["--dependency=afterok:102,afterany:103"],
    }


def finish(run: Run, *stages: str) -> None:
    for stage in stages:
        write_json(run.done_file(stage), {"seconds": 1.0})


def test_resume_submits_what_is_missing(
    tmp_path: Path, scheduler: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert submit(tmp_path, *NEW) == 0
    home = Run(tmp_path / "x")
    zero, one, two = Group.of(home).runs()  # type: ignore[union-attr]
    finish(zero, "prepare", "sft", "grpo", "eval")
    finish(one, "prepare", "sft")
    shutil.rmtree(two.path)  # the submission was cut off before it was made
    two.path.mkdir()
    capsys.readouterr()
    assert submit(tmp_path, "--resume", "--seeds", "7", "--dry-run") == 0
    shown = capsys.readouterr().out
    assert "seed-1: grpo, eval\nseed-2, seed-7: prepare, sft, grpo, eval\n" in shown
    assert "3 runs, 2 arrays a stage, as many as there is room for at a time" in shown
    assert not (home.path / "seed-7").exists()
    assert submit(tmp_path, "--resume", "--seeds", "7") == 0
    assert Jobs.load(zero).of("sft").id == "102_0"  # untouched
    assert [job.stage for job in Jobs.load(one).jobs] == ["grpo", "eval"]
    assert Jobs.load(one).earlier == {
        "prepare": ["101_1"],
        "sft": ["102_1"],
        "grpo": ["104_1"],
        "eval": ["105_1"],
    }
    assert Jobs.load(home).earlier == {"agent": ["103"]}
    assert [run.config().seed for run in Group.of(home).runs()] == [0, 1, 2, 7]  # type: ignore[union-attr]
    assert submit(tmp_path, "--resume", "sft.learning_rate=0.5") == 2
    assert "sft.learning_rate is" in capsys.readouterr().err


def test_earlier_jobs_are_kept_however_often_a_run_goes_on(tmp_path: Path) -> None:
    run = Run(tmp_path)
    for ids in (("1", "2"), ("3", "4"), ("5",)):
        records = [JobRecord(stage, id) for stage, id in zip(("sft", "eval"), ids, strict=False)]
        Jobs("slurm", jobs=records, earlier=earlier_jobs(run)).save(run)
    assert earlier_jobs(run) == {"sft": ["1", "3", "5"], "eval": ["2", "4"]}
    Jobs("local", jobs=[JobRecord("sft", "999")], earlier=earlier_jobs(run)).save(run)
    assert earlier_jobs(run) == {"sft": ["1", "3", "5"], "eval": ["2", "4"]}  # 999 is no Slurm job


def test_one_run_of_a_group_goes_on_alone(
    tmp_path: Path, scheduler: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert submit(tmp_path, *NEW) == 0
    alone = ["submit", "grpo", f"runs_dir={tmp_path}/x", "name=seed-1", "--resume"]
    (scheduler / "queue").write_text("104_0|104|R|\n")
    assert main(alone) == 0  # another one's
    assert not (tmp_path / "x" / "seed-1" / "agent" / "shared").exists()
    (scheduler / "queue").write_text("")
    assert main([*alone, "agent.max_tokens=99"]) == 0
    assert submit(tmp_path, "--resume") == 2
    assert "seed-1: agent.* is not what the group has" in capsys.readouterr().err
    assert submit(tmp_path, "--resume", "agent.max_tokens=99", "--dry-run") == 0
    (scheduler / "queue").write_text("109_1|109|R|geoagent:grpo:" + f"{tmp_path}/x/seed-1\n")
    assert main(alone) == 2
    assert "seed-1: grpo has not ended" in capsys.readouterr().err


def test_a_lost_array_is_nobodys_and_everybodys(
    tmp_path: Path, scheduler: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert submit(tmp_path, *NEW) == 0
    home = Run(tmp_path / "x")
    jobs = Jobs.load(home)
    jobs.complete = False
    jobs.save(home)
    (scheduler / "queue").write_text(f"999_1|999|R|geoagent:eval:{home.path}\n")
    capsys.readouterr()
    assert submit(tmp_path, "--resume") == 2
    assert "x: eval has not ended" in capsys.readouterr().err
    assert main(["submit", "eval", f"runs_dir={home.path}", "name=seed-1", "--resume"]) == 2
    assert "seed-1: eval has not ended" in capsys.readouterr().err
    assert main(["status", str(home.path)]) == 0
    assert "eval: job 999, submitted, of a submission that was cut off" in capsys.readouterr().out
    assert main(["cancel", f"{home.path}/seed-1"]) == 0  # it may be another one's
    assert "nothing was running" in capsys.readouterr().out
    assert main(["cancel", str(home.path)]) == 0
    assert "stopped: eval" in capsys.readouterr().out
    assert (scheduler / "cancelled").read_text() == "999\n"


def test_status_of_a_group(
    tmp_path: Path, scheduler: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert submit(tmp_path, *NEW) == 0
    (scheduler / "sacct").write_text(
        "#!/bin/bash\ncat << EOF\n"
        "201|101_0|COMPLETED|90|n1\n202|101_1|TIMEOUT|61|n2\n101|101_2|RUNNING|5|n1\n"
        "102|102_[0,2%2]|PENDING|0|None assigned\n212|102_1|CANCELLED|0|None assigned\nEOF\n"
    )
    arrays = [f"{id}_{k}|{id}|\n" for id in (104, 105) for k in range(3)]
    (scheduler / "queue").write_text("".join(["103_0|103|R|\n", *arrays]))  # new to accounting
    write_json(Run(tmp_path / "x" / "seed-2").progress_file("prepare"), {"step": 1, "total": 3})
    asked = tmp_path / "asked"
    squeue = f"#!/bin/bash\necho once >> {asked}\ncat {scheduler}/queue\n"
    (scheduler / "squeue").write_text(squeue)
    capsys.readouterr()
    assert main(["status", str(tmp_path / "x")]) == 0
    assert asked.read_text() == "once\n"  # not once a run
    rows = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    for row in (
        "run prepare sft grpo eval",  # not those that no run has
        "seed-0 finished 01:30 waiting submitted submitted",
        "seed-1 failed cancelled submitted submitted",
        "seed-2 running 1/3 waiting submitted submitted",
        "agent: job 103, submitted",
    ):
        assert row in rows, rows
    assert any(row.startswith("seed-1: prepare: out of time") for row in rows)


def test_logs_of_a_group(
    tmp_path: Path, scheduler: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert submit(tmp_path, *NEW) == 0
    home = Run(tmp_path / "x")
    assert main(["logs", str(home.path)]) == 2
    for name in ("seed-0/sft", "seed-2/prepare", "agent"):
        logs = home.path / name / "logs" / "attempt-1"
        logs.mkdir(parents=True)
        (logs / "err.log").write_text(f"said by {name}\n")
    capsys.readouterr()
    assert main(["logs", str(home.path)]) == 0
    assert capsys.readouterr().out.count("said by") == 2
    assert main(["logs", f"{home.path}/seed-1", "agent"]) == 0
    assert "said by agent" in capsys.readouterr().out


def test_here_one_run_after_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ran = []

    def run_one(member: Member, home: Run) -> bool:
        ran.append(member.run.path.name)
        return member.config.seed != 0

    monkeypatch.setattr(submission, "_run_one", run_one)
    assert submit(tmp_path, "recipe=demo", "cluster=local", "--seeds", "0,1") == 1
    assert ran == ["seed-0", "seed-1"]
    assert "error: failed: seed-0 of 2 runs" in capsys.readouterr().err


def test_the_agent_of_the_group_or_ones_own(tmp_path: Path) -> None:
    home, run = Run(tmp_path / "x"), Run(tmp_path / "x" / "seed-0")
    Endpoint("http://shared", "m", "t").write(endpoint_file(home.agent, 0))
    Endpoint("http://own", "m", "t").write(endpoint_file(run.agent, 0))
    for shared, url in ((home, "http://shared"), (None, "http://own"), (home, "http://shared")):
        share_agent(run, shared)
        assert [endpoint.url for endpoint in read_endpoints(run.agent)] == [url]


def _hold(path: Path, held: Event) -> None:
    with submitting(Run(path)):
        held.set()
        time.sleep(600)


def test_one_submission_at_a_time(tmp_path: Path) -> None:
    write_json(tmp_path / "group.json", {"members": {}, "parallel": None})
    (tmp_path / "seed-0").mkdir()
    process = multiprocessing.get_context("spawn")
    held = process.Event()
    holder = process.Process(target=_hold, args=(tmp_path / "seed-0", held))
    holder.start()
    assert held.wait(60)
    for path in (tmp_path, tmp_path / "seed-0"):  # a group and its runs have one lock
        with pytest.raises(UsageError, match="another submission of it is under way"):
            submitting(Run(path)).__enter__()
    holder.kill()  # the kernel frees it
    holder.join()
    with submitting(Run(tmp_path)):
        pass


def test_a_file_system_without_locks_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(file: object, how: int) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr("jobs.lock.fcntl.flock", refuse)
    with submitting(Run(tmp_path)):
        assert "its file system has no locks (Function not impl" in capsys.readouterr().err


def test_a_name_whose_run_was_never_finished_making(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "x").mkdir()
    assert submit(tmp_path, "recipe=demo", "cluster=local") == 2
    assert "it holds no run yet; remove it if nobody" in capsys.readouterr().err


def test_the_file_of_a_group(tmp_path: Path) -> None:
    assert Group.of(Run(tmp_path)) is None
    group = Group(Run(tmp_path), by_seed([3]), 4)
    group.save()
    assert Group.of(Run(tmp_path)) == group
    document = json.loads((tmp_path / "group.json").read_text())
    assert document == {"members": {"seed-3": ["seed=3"]}, "parallel": 4}
