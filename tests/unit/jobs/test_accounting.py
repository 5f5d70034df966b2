"""What sacct prints → state, attempts and hours of a job; the lines are Slurm 22.05's own."""

from __future__ import annotations

import subprocess

import pytest

from jobs import accounting
from jobs.accounting import facts

REQUEUED = """\
631|631|REQUEUED|4|billing=2,cpu=2,gres/gpu=2,mem=16000M,node=1|2026-11-21T14:22:49|127.0.1.1
631|631|RUNNING|12|billing=2,cpu=2,gres/gpu=2,mem=16000M,node=1|2026-11-21T14:22:54|127.0.1.3
"""
WAITING = """\
631|631|PREEMPTED|4|billing=2,cpu=2,gres/gpu=2,mem=16000M,node=1|2026-11-21T14:22:49|127.0.1.1
631|631|PENDING|0||2026-11-21T14:22:54|None assigned
"""
ARRAY = """\
624|623_0|COMPLETED|25|billing=1,cpu=1,mem=2G,node=1|2026-11-21T14:17:45|127.0.1.1
625|623_1|{state}|21|billing=1,cpu=1,mem=2G,node=1|2026-11-21T14:17:45|127.0.1.2
623|623_2|COMPLETED|21|billing=1,cpu=1,mem=2G,node=1|2026-11-21T14:17:45|127.0.1.1
"""


@pytest.fixture
def printed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What sacct is to print, last."""
    texts: list[str] = []

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, 0, texts[-1], "")

    monkeypatch.setattr(accounting.subprocess, "run", run)
    return texts


def test_hours_of_all_attempts(printed: list[str]) -> None:
    printed.append(REQUEUED)
    job = facts(["631"])["631"]
    assert (job.state, job.seconds, job.nodes, job.attempts) == ("running", 12, "127.0.1.3", 2)
    assert (job.gpu_seconds, job.cpu_seconds) == (2 * (4 + 12), 2 * (4 + 12))
    printed.append(WAITING)
    job = facts(["631"])["631"]
    assert (job.state, job.seconds, job.nodes, job.gpu_seconds) == ("waiting", 0, "", 8)
    assert job.cause is None


def test_an_array_is_one_job_and_its_elements(printed: list[str]) -> None:
    printed.append(ARRAY.format(state="COMPLETED"))
    found = facts(["623"])
    assert found["623"].state == "finished"
    assert found["623"].seconds == 25
    assert found["623"].cpu_seconds == 25 + 21 + 21
    assert found["623"].nodes == "127.0.1.1,127.0.1.2"
    assert found["623_1"].cpu_seconds == found["625"].cpu_seconds == 21
    printed.append(ARRAY.format(state="CANCELLED by 0"))
    assert facts(["623"])["623"].state == "cancelled"
    printed.append(ARRAY.format(state="OUT_OF_MEMORY"))
    found = facts(["623"])
    assert (found["623"].state, found["623"].cause) == ("failed", "out of memory")
    assert (found["623_0"].state, found["623_0"].cause) == ("finished", None)
    printed.append(ARRAY.format(state="RUNNING"))
    assert facts(["623"])["623"].state == "running"


def test_elements_that_wait_together(printed: list[str]) -> None:
    printed.append(
        "624|623_0|RUNNING|25|cpu=1|2026-11-21T14:17:45|n1\n"
        "623|623_[1-9%2]|PENDING|0||2026-11-21T14:17:45|None assigned\n"
    )
    found = facts(["623_0", "623_7"])
    assert (found["623_0"].state, found["623_7"].state) == ("running", "waiting")


def test_no_accounting(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*_: object, **__: object) -> None:
        raise FileNotFoundError("sacct")

    monkeypatch.setattr(accounting.subprocess, "run", run)
    assert facts(["1"]) == {}
    assert facts([]) == {}
