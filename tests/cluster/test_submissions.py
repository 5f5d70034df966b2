"""Submissions that meet each other, are cut off, or come from inside a job."""

from __future__ import annotations

import os
import signal
import sys
from collections import Counter
from pathlib import Path

from geoagent.run import Run
from jobs.state import Jobs

from .faults import Faults
from .helpers import SMALL, User, until
from .test_interruptions import ONE, counts

TINY = (*SMALL, *ONE, "sft.max_steps=2", "sft.save_steps=1")
SBATCH = """#!/bin/bash
# Slurm's own sbatch; it does not come back from its {number}. call, or each takes {seconds} s.
PATH=${{PATH#*:}}
number=$(($(cat {folder}/calls 2>/dev/null || echo 0) + 1))
echo $number > {folder}/calls
sleep {seconds}
said=$(sbatch "$@") || exit
[[ $number == {number} ]] && touch {folder}/stuck && sleep 600
echo "$said"
"""


def slow_sbatch(folder: Path, number: int = 0, seconds: int = 0) -> Path:
    folder.mkdir()
    (folder / "sbatch").write_text(SBATCH.format(folder=folder, number=number, seconds=seconds))
    (folder / "sbatch").chmod(0o755)
    return folder


def submitted(user: User, name: str) -> Counter[str]:
    """How often Slurm was given each job of a run, by the name of the job."""
    words = ("sacct", "-S", "now-1day", "-X", "-n", "-P", "-o", "JobName")  # else since midnight
    names = user.cluster.slurm(*words).split()
    return Counter(one for one in names if one.startswith(f"{name}-"))


def test_two_submissions_of_a_run_at_the_same_time(
    user: User, tmp_path: Path, faults: Faults
) -> None:
    slow = slow_sbatch(tmp_path / "slow", seconds=10)
    place = [f"runs_dir={user.runs}", "name=both"]
    said = []
    for words in ([*TINY], ["--resume"]):
        stage = "sft" if "--resume" in words else "prepare"
        two = [user.start("submit", stage, *words, *place, first_in_path=slow) for _ in range(2)]
        said.append([process.communicate()[0] for process in two])
        assert sorted(process.returncode for process in two) == [0, 2], said
        run = Run.open(user.runs / "both")
        assert user.wait(run, stage) == "COMPLETED", user.logs(run)
    assert "both: this run name is in use" in "".join(said[0])
    assert "both: another submission of it is under way" in "".join(said[1])
    assert submitted(user, "both") == {"both-prepare": 1, "both-sft": 1}
    found = counts(run, 2)
    assert found == {"twice": 0, "lost": 0}
    faults(
        "two submissions of one run name at the same time",
        'survived: one runs, the other is told "another submission of it is under way"',
        **found,
    )


def test_login_node_gone_right_after_submission(user: User, tmp_path: Path, faults: Faults) -> None:
    """First when Slurm has the second job and nobody has its id yet, then once all is submitted."""
    slow = slow_sbatch(tmp_path / "slow", number=2)
    place = [f"runs_dir={user.runs}", "name=cut"]
    login = user.start("submit", "sft", *TINY, *place, first_in_path=slow)
    until((slow / "stuck").exists)
    os.killpg(login.pid, signal.SIGKILL)
    login.communicate()
    run = Run.open(user.runs / "cut")
    assert [job.stage for job in Jobs.load(run).jobs] == ["prepare"]
    shown = user.jobs("status", str(run.path)).stdout
    assert "sft " in shown, shown  # found in the queue
    assert user.wait(run, "prepare") == "COMPLETED", user.logs(run)
    refused = user.jobs("submit", "sft", "--resume", *place)
    assert refused.returncode == 2
    assert "sft has not ended" in refused.stderr
    assert "stopped: sft" in user.jobs("cancel", str(run.path)).stdout
    until(lambda: not user.cluster.slurm("squeue", "-h"))

    login = user.start("submit", "sft", "--resume", *place)
    until(lambda: [job.stage for job in Jobs.load(run).jobs] == ["sft"])
    until(lambda: Jobs.load(run).complete)
    os.killpg(login.pid, signal.SIGKILL)  # not waited for yet, so it is still that process
    login.communicate()
    assert user.wait(run, "sft") == "COMPLETED", user.logs(run)
    assert [*Jobs.load(run).earlier] == ["prepare"]
    again = user.jobs("submit", "sft", "--resume", *place)
    assert "nothing to do" in again.stdout
    found = counts(run, 2)
    assert found == {"twice": 0, "lost": 0}
    faults(
        "login node gone right after submission",
        "survived: what Slurm has runs on; cancel finds all, --resume does the rest",
        **found,
    )


def test_submitted_from_inside_a_job(user: User, faults: Faults) -> None:
    words = [*SMALL, "sft.max_steps=1", f"runs_dir={user.runs}", "name=inner"]
    command = [sys.executable, "-m", "jobs", "submit", "sft", *words]
    user.cluster.slurm("srun", "-n1", "-c1", "--mem=1G", *command)
    run = Run.open(user.runs / "inner")
    assert user.wait(run, "sft") == "COMPLETED", user.logs(run)
    # Two nodes with two processes each, although the job outside had one of everything.
    assert (run.checkpoints("sft") / "checkpoint-1" / "rng_state_3.pth").is_file()
    found = counts(run, 1)
    assert found == {"twice": 0, "lost": 0}
    faults(
        "submitted from inside a job",
        "survived: its jobs have the nodes and processes they ask for",
        **found,
    )
