"""The cause of a failure in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.causes import cause_of

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
    assert cause_of(1, [peer]).startswith("RuntimeError: [gloo")
    assert cause_of(1, [peer, log]).startswith("rank 3 was killed from outside")
    other = log.read_text().replace("rank      : 3", "rank      : 1").replace("-9", "1 ")
    peer.write_text(f"{other}======\n")  # what failed on the other node, because of rank 3
    assert cause_of(1, [log, peer]).startswith("rank 3 was killed from outside")
    log.write_text("[rank3]: ValueError: bad shape\n")
    peer.write_text("[rank0]: RuntimeError: [gloo/pair.cc:1] Connection closed by peer [::1]\n")
    assert cause_of(1, [peer, log]) == cause_of(1, [log, peer]) == "ValueError: bad shape"
