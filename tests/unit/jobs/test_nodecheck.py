"""What nodes find before training, and whose fault it is."""

from __future__ import annotations

import multiprocessing
import shutil
import socket
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from geoagent.config import StageResources, resolve
from geoagent.files import write_jsonl
from geoagent.run import Run
from geoagent.train.collective import ADD, DONE, GPU, MEET, START, watch
from jobs import nodecheck, nodefacts
from jobs.attempt import Attempt
from jobs.nodecheck import JOB, NODE, Report, check, collect, judge, whose
from jobs.nodefacts import Subject, clock_ahead, facts, reach
from jobs.plan import StagePlan
from tests.loopback import nobody

Usage = Callable[[Any], Any]


@pytest.fixture
def subject(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Subject:
    """A run that is fit to train."""
    monkeypatch.setenv("TMPDIR", str(tmp_path / "scratch"))
    (tmp_path / "scratch").mkdir()
    run = Run(tmp_path / "run")
    run.model.mkdir(parents=True)
    for name in ("config.json", "model.safetensors"):
        (run.model / name).write_text("{}")
    image = tmp_path / "image.png"
    image.write_bytes(b"picture")
    write_jsonl(run.dataset("sft"), [{"images": [str(image)]}])
    plan = StagePlan("sft", ("geoagent.train", "sft"), StageResources())
    return Subject(run, plan, resolve(["recipe=demo"]), leads=True)


def free(subject: Subject, monkeypatch: pytest.MonkeyPatch, **places: float) -> None:
    """Let disks have so many GiB free: `run`, `scratch`, `shm`."""
    usage = shutil.disk_usage("/")

    def disk_usage(path: str | Path) -> Any:
        gib = places.get(Path(path).name, 100.0)
        return usage._replace(free=int(gib * 1024**3))

    monkeypatch.setattr(shutil, "disk_usage", disk_usage)


def test_a_fit_node_has_nothing_to_say(subject: Subject) -> None:
    assert facts(subject, 10) == {}


def test_a_model_that_is_not_there(subject: Subject) -> None:
    (subject.run.model / "model.safetensors").unlink()
    assert "no weights" in facts(subject, 10)["model"]
    (subject.run.model / "model.safetensors").symlink_to("nowhere")
    assert "model.safetensors cannot be read" in facts(subject, 10)["model"]


def test_a_pretrained_model_that_is_not_mounted(subject: Subject) -> None:
    subject.config.model.kind = "pretrained"
    subject.config.model.path = "/models/nowhere"
    assert facts(subject, 10)["model"] == "model.path: /models/nowhere: there is no such folder"


def test_a_picture_that_is_not_there(subject: Subject, tmp_path: Path) -> None:
    (tmp_path / "image.png").unlink()
    found = facts(subject, 10)
    assert found == {
        "data": f"{tmp_path}/image.png cannot be read (No such file or directory): is it mounted?"
    }


def test_no_rows_are_no_nodes_fault(subject: Subject) -> None:
    subject.run.dataset("sft").unlink()
    assert facts(subject, 10) == {}


def test_a_full_run_directory_is_told_by_the_first_node(
    subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    free(subject, monkeypatch, run=0.5)
    assert "has 0.5 GiB free, the next checkpoint may need 1.0" in facts(subject, 10)["disk"]
    other = Subject(subject.run, subject.plan, subject.config, leads=False)
    assert facts(other, 10) == {}


def test_a_checkpoint_says_what_the_next_one_needs(
    subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = subject.run.checkpoints("sft") / "checkpoint-3"
    checkpoint.mkdir(parents=True)
    (checkpoint / "weights").write_bytes(b"x" * 1000)
    monkeypatch.setattr(nodefacts, "latest", lambda folder: checkpoint)
    free(subject, monkeypatch, run=0.5)
    assert facts(subject, 10) == {}


def test_scratch_that_is_full_or_gone(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    free(subject, monkeypatch, scratch=0.25)
    assert "has 0.25 GiB free; it takes 1" in facts(subject, 10)["TMPDIR"]
    monkeypatch.setenv("TMPDIR", "/nowhere")
    assert "TMPDIR=/nowhere cannot be written" in facts(subject, 10)["TMPDIR"]


def test_little_shared_memory_matters_with_gpus(
    subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    free(subject, monkeypatch, shm=0.0625)
    assert facts(subject, 10) == {}
    subject.plan.resources.gpus_per_node = 2
    assert "/dev/shm has 0.06 GiB free; 2 processes take 0.50" in facts(subject, 10)["/dev/shm"]


def test_a_check_that_hangs(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()
    monkeypatch.setattr(nodefacts, "_CHECKS", {"data": lambda _: release.wait() and None})
    assert facts(subject, 0.2) == {"data": "does not answer within 0 s"}
    release.set()


@pytest.mark.parametrize("ahead", [-100.0, 0.0, 100.0])
def test_the_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ahead: float) -> None:
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + ahead)
    assert clock_ahead(tmp_path) == pytest.approx(ahead, abs=5)


def test_reaching_the_first_node() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert reach("127.0.0.1", port, 5) is None
    with nobody() as port:
        said = reach("127.0.0.1", port, 5)
    assert said is not None
    assert f"127.0.0.1:{port}" in said


# --- what the reports say ----------------------------------------------------------------------


def reports(*ones: Report) -> dict[int, Report]:
    return dict(enumerate(ones))


def test_a_node_whose_file_is_not_seen_and_one_that_hangs() -> None:
    there = reports(Report(facts={}), Report())
    found = collect({0: there[0]}, there, 3)
    assert "hangs" in found["files"][1]
    assert "file system that all nodes share" in found["files"][2]


def test_what_nodes_found_by_themselves() -> None:
    there = reports(Report(facts={"TMPDIR": "full"}), Report(facts={}))
    assert collect(there, there, 2) == {"TMPDIR": {0: "full"}}


def test_a_clock_that_is_off() -> None:
    there = reports(Report(0.0, facts={}), Report(-95.0, facts={}))
    assert "95 s behind the file system's" in collect(there, there, 2)["clock"][1]
    # The file server's clock is.
    there = reports(Report(90.0, facts={}), Report(95.0, facts={}))
    assert collect(there, there, 2) == {}


def said(*steps: str, **messages: str) -> dict[int, Report]:
    """Reports of nodes whose processes came to these steps; `n1` is the message of node 1."""
    return {
        node: Report(collective={"step": step, "message": messages.get(f"n{node}", "")})
        for node, step in enumerate(steps)
    }


def test_all_add_up() -> None:
    assert judge(said(DONE, DONE), 2) == {}


def test_a_gpu_that_does_not_compute_is_its_nodes_fault() -> None:
    found = judge(said(MEET, GPU, MEET, n1="1 of 2 GPUs are there"), 3)
    assert found == {"GPU": {1: "1 of 2 GPUs are there"}}


def test_a_node_where_nothing_starts() -> None:
    assert judge(said(MEET), 2) == {"torch": {1: "it hangs (importing torch)"}}


@pytest.mark.parametrize("step", [MEET, ADD])
def test_processes_that_do_not_find_together_are_nobodys_fault(step: str) -> None:
    found = judge(said(step, step, n0="Unable to find address for: ib7"), 2)
    assert "Unable to find address for: ib7" in found["network"][0]
    assert "cluster.environment.NCCL_SOCKET_IFNAME" in found["network"][1]
    assert whose("network", ["a", "b"], ["a", "b"], set()) == JOB


@pytest.mark.parametrize(
    ("check", "bad", "names", "earlier", "fault"),
    [
        ("model", "b", "abc", "", NODE),
        ("model", "abc", "abc", "", JOB),
        ("model", "a", "a", "", NODE),  # another may do
        ("model", "b", "b", "a", JOB),  # it did not
        ("model", "a", "ab", "c", NODE),
        ("disk", "a", "abc", "", JOB),
        ("network", "bc", "abc", "", JOB),
        ("network", "b", "abc", "", NODE),
        ("files", "b", "ab", "", NODE),
        ("files", "b", "ab", "c", JOB),
    ],
)
def test_whose_fault_it_is(
    check: str, bad: Sequence[str], names: Sequence[str], earlier: str, fault: str
) -> None:
    assert whose(check, list(bad), list(names), set(earlier)) == fault


def attempt(subject: Subject, number: int = 1) -> Attempt:
    logs = subject.run.logs("sft", number)
    logs.mkdir(parents=True)
    return Attempt(number, logs, address="localhost")


def test_one_node_is_tried_then_another_then_it_is_the_jobs(
    subject: Subject, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    (tmp_path / "image.png").unlink()
    faults = []
    for number, name in enumerate(("n1", "n2"), start=1):
        monkeypatch.setattr(nodecheck, "node_names", lambda _, name=name: (name,))
        (found,) = check(subject.run, subject.plan, attempt(subject, number), subject.config)
        assert str(found).startswith(f"node {name}: ")
        faults.append(found.fault)
    assert faults == [NODE, JOB]


def test_another_node_that_does_not_come(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nodecheck, "_ARRIVE_S", 0.3)
    # For the other's facts, while its own have all the time.
    monkeypatch.setattr(nodecheck, "_SLACK_S", 0.3 - nodecheck._FACT_S)
    monkeypatch.setattr(nodecheck, "node_names", lambda _: ("n1", "n2"))
    (found,) = check(subject.run, subject.plan, attempt(subject), subject.config)
    assert (found.node, found.check, found.fault) == ("n2", "files", NODE)


def test_it_can_be_left_out(subject: Subject, tmp_path: Path) -> None:
    (tmp_path / "image.png").unlink()
    subject.config.cluster.check_nodes = False
    assert check(subject.run, subject.plan, attempt(subject), subject.config) == []


# --- processes of one node ---------------------------------------------------------------------


def test_watching_processes() -> None:
    first, one = multiprocessing.Pipe(duplex=False)
    second, two = multiprocessing.Pipe(duplex=False)
    one.send((ADD, ""))
    two.send((MEET, ""))
    assert watch([first, second], time.monotonic() + 1) == (MEET, "")
    for pipe in (one, two):
        pipe.send((DONE, ""))
    assert watch([first, second], time.monotonic() + 60) == (DONE, "")
    two.send((GPU, "1 of 2 GPUs are there"))
    assert watch([first, second], time.monotonic() + 60) == (GPU, "1 of 2 GPUs are there")
    one.close()
    assert watch([first, second], time.monotonic() + 60) == (START, "its process was killed")
