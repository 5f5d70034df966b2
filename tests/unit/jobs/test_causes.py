"""The cause of a failure in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.causes import cause_of, known_as, of_state

CASES = [
    (2, "warning\nerror: data.path: is needed\n", "data.path: is needed"),
    (75, "error: the consistency agent has not answered\n", "the consistency agent has not"),
    (-9, "step 3\n", "killed from outside"),
    (-15, "", "stopped"),
    (1, "torch.OutOfMemoryError: CUDA out of memory. Tried\n", "out of GPU memory"),
    (1, "OSError: [Errno 28] No space left on device\n", "the disk is full"),
    (1, "Traceback\nValueError: bad shape\n", "ValueError: bad shape"),
    (1, "[rank1]: KeyError: 'x'\n", "KeyError: 'x'"),
    (3, "nothing to be read\n", "ended with exit code 3"),
]


@pytest.mark.parametrize(("code", "log", "cause"), CASES)
def test_cause(code: int, log: str, cause: str, tmp_path: Path) -> None:
    (tmp_path / "err.log").write_text("long ago\n" * 10_000 + log)
    assert cause in cause_of(code, [tmp_path / "err.log"])


def test_without_a_log(tmp_path: Path) -> None:
    assert cause_of(1, [tmp_path / "err.log"]) == "ended with exit code 1"


def test_torchrun_is_only_the_messenger(tmp_path: Path) -> None:
    here, there = tmp_path / "err.log", tmp_path / "node-1.err.log"
    here.write_text("torch.distributed.elastic.multiprocessing.errors.ChildFailedError: \n")
    assert cause_of(1, [here]) == "ended with exit code 1"
    there.write_text("[rank3]: AssertionError: Check batch related parameters\n")
    assert cause_of(1, [here, there]) == "AssertionError: Check batch related parameters"
    here.write_text("error: data.path: /x: there is no such folder\n")
    assert cause_of(1, [here, there]) == "data.path: /x: there is no such folder"


def test_a_killed_rank_is_named(tmp_path: Path) -> None:
    log = tmp_path / "err.log"
    log.write_text(
        "torch.distributed.elastic.multiprocessing.errors.ChildFailedError: \n"
        "Root Cause (first observed failure):\n[0]:\n  time      : 2026-11-21_11:40:57\n"
        "  host      : localhost\n  rank      : 3 (local_rank: 1)\n"
        "  exitcode  : -9 (pid: 11016)\n  error_file: <N/A>\n"
    )
    peer = tmp_path / "node-1.err.log"
    peer.write_text("[rank0]: RuntimeError: [gloo/pair.cc:1] Connection closed by peer [::1]\n")
    assert cause_of(1, [peer]).startswith("a process lost the connection to another one (gloo)")
    assert cause_of(1, [peer, log]).startswith("rank 3 was killed from outside")
    other = log.read_text().replace("rank      : 3", "rank      : 1").replace("-9", "1 ")
    peer.write_text(f"{other}======\n")  # what failed on the other node, because of rank 3
    assert cause_of(1, [log, peer]).startswith("rank 3 was killed from outside")
    log.write_text("[rank3]: ValueError: bad shape\n")
    peer.write_text("[rank0]: RuntimeError: [gloo/pair.cc:1] Connection closed by peer [::1]\n")
    assert cause_of(1, [peer, log]) == cause_of(1, [log, peer]) == "ValueError: bad shape"


REAL = [
    # torch 2.13 on a full disk: two ways of writing
    (
        "RuntimeError: [enforce fail at inline_container.cc:672] . unexpected pos 704 vs 598",
        "full?",
    ),
    (
        "safetensors._safetensors_rust.SafetensorError: Error while serializing: I/O error: No "
        "space left on device (os error 28)",
        "the disk is full",
    ),
    ("OSError: [Errno 122] Disk quota exceeded", "the storage quota is used up"),
    (
        "RuntimeError: unable to write to file </torch_281_2877>: No space left on device (28)",
        "/dev/shm",
    ),
    # host memory: torch, numpy, Slurm with OverMemoryKill, Slurm with cgroups
    (
        "RuntimeError: [enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't "
        "allocate memory: you tried to allocate 40000000000000 bytes. Error code 12 (Cannot "
        "allocate memory)",
        "out of memory",
    ),
    ("numpy._core._exceptions._ArrayMemoryError: Unable to allocate 728. TiB", "out of memory"),
    (
        "slurmstepd-n1: error: StepId=627.0 exceeded memory limit (154234880 > 104857600), being "
        "killed\nslurmstepd-n1: error: Exceeded job memory limit",
        "out of memory",
    ),
    (
        "slurmstepd: error: Detected 1 oom-kill event(s) in StepId=7.batch. Some of your processes "
        "may have been killed by the cgroup out-of-memory handler.",
        "out of memory",
    ),
    # GPUs
    (
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total "
        "capacity of 79.15 GiB of which 1.02 GiB is free.",
        "out of GPU memory",
    ),
    ("ValueError: No available memory for the cache blocks. Try increasing", "out of GPU memory"),
    ("RuntimeError: No CUDA GPUs are available", "no GPU that can be used on its node"),
    (
        "torch.AcceleratorError: CUDA error: uncorrectable ECC error encountered",
        "a GPU of its node is broken",
    ),
    # processes that lose each other
    (
        "[rank0]: RuntimeError: [/__w/pytorch/pytorch/third_party/gloo/gloo/transport/tcp/"
        "unbound_buffer.cc:78] Timed out waiting 5000ms for recv operation to complete",
        "a process waited for the others in vain (gloo)",
    ),
    (
        "[rank0]: RuntimeError: [/__w/pytorch/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:"
        "537] Read error [127.0.0.1]:62084: Connection reset by peer. This is typically caused by",
        "a process lost the connection to another one (gloo)",
    ),
    (
        "torch.distributed.DistStoreError: Timed out after 3 seconds waiting for clients. 1/2 "
        "clients joined.",
        "its processes did not meet",
    ),
    (
        "torch.distributed.DistNetworkError: The client socket has timed out after 2000ms while "
        "trying to connect to (127.0.0.1, 1).",
        "its processes did not meet",
    ),
    (
        "torch.distributed.DistNetworkError: The server socket has failed to listen on any local "
        "network address. port: 29544, useIpv6: false, code: -98, name: EADDRINUSE, message: "
        "address already in use",
        "another program took the port",
    ),
    (
        "[rank3]:[E1121 10:00:00.000000000 ProcessGroupNCCL.cpp:616] [Rank 3] Watchdog caught "
        "collective operation timeout: WorkNCCL(SeqNum=42, OpType=ALLREDUCE)",
        "NCCL failed",
    ),
    (
        "torch.distributed.DistBackendError: NCCL error in: /pytorch/torch/csrc/distributed/c10d/"
        "NCCLUtils.cpp:77, unhandled system error",
        "NCCL failed",
    ),
    (
        "slurmstepd: error: *** JOB 7 ON n1 CANCELLED AT 2026-11-21T14:24:50 DUE TO TIME LIMIT ***",
        "out of time",
    ),
    (
        "slurmstepd: error: *** JOB 7 ON n1 CANCELLED AT 2026-11-21T14:24:50 DUE TO PREEMPTION ***",
        "pre-empted",
    ),
    (
        "slurmstepd: error: *** STEP 7.0 ON n1 CANCELLED AT 2026-11-21T14:24:50 DUE TO NODE "
        "FAILURE, SEE SLURMCTLD LOG FOR DETAILS ***",
        "its node failed",
    ),
]


@pytest.mark.parametrize(("log", "cause"), REAL)
def test_what_programs_really_say(log: str, cause: str, tmp_path: Path) -> None:
    (tmp_path / "err.log").write_text(f"Traceback (most recent call last):\n{log}\n")
    found = cause_of(1, [tmp_path / "err.log"])
    assert cause in found
    assert known_as(found) is not None
    assert known_as(f"shard 0-of-2: {found}") == known_as(found)


def test_peers_only_tell_that_another_has_gone(tmp_path: Path) -> None:
    log = tmp_path / "err.log"
    lost = "RuntimeError: [/x/gloo/transport/tcp/pair.cc:553] Connection closed by peer [::1]:1"
    nccl = "torch.distributed.DistBackendError: NCCL error in: x.cpp:77, remote process exited"
    log.write_text(f"[rank1]: KeyError: 'x'\n[rank0]: {lost}\n[rank2]: {nccl}\n")
    assert cause_of(1, [log]) == "KeyError: 'x'"
    log.write_text(f"[rank0]: {nccl}\ntorch.OutOfMemoryError: CUDA out of memory. Tried\n")
    assert cause_of(1, [log]) == "out of GPU memory"


def test_an_earlier_attempt_is_not_the_cause(tmp_path: Path) -> None:
    log = tmp_path / "7_0_log.out"
    log.write_text(
        "slurmstepd-n1: error: Exceeded job memory limit\n"
        "submitit INFO (2026-11-21 14:00:00,000) - Starting with JobEnvironment(job_id=7)\n"
    )
    assert cause_of(-9, [log]).startswith("killed from outside")


def test_states_that_tell_a_cause() -> None:
    assert of_state("OUT_OF_MEMORY") == "out of memory"
    assert of_state("FAILED") is of_state("COMPLETED") is of_state("") is None
