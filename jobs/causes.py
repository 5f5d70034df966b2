"""Exit code and log → the cause of a failure in one line, and what may mend it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from geoagent.errors import OUTAGE, USAGE

PORT_TAKEN: Final = "another program took the port that its processes were to meet at"
_TAIL: Final = 20_000


@dataclass(frozen=True)
class Known:
    """A cause that is recognised in a log by `pattern`, or by Slurm's own `state` of the job.

    `mend` is what a person does first. `settings` go into the command that goes on; they name
    {stage}, {memory_gb} and {time_minutes} (twice what the stage had) and {nodes}. `anew` are
    settings that a run cannot change in its midst: they need another run.
    """

    said: str
    pattern: str = ""
    state: str = ""
    mend: str = ""
    settings: str = ""
    anew: str = ""


KNOWN: Final = (
    Known(
        "out of GPU memory",
        r"CUDA out of memory|(?:CUDA|HIP) error: out of memory|torch\.OutOfMemoryError"
        r"|No available memory for the cache blocks",
        mend="train smaller batches, more of them a step",
        anew="{stage}.batch_size=1 {stage}.gradient_accumulation=…",
    ),
    Known(
        "the shared memory (/dev/shm) of its node is full",
        r"unable to (?:write to|open) file </torch_|insufficient shared memory",
        mend="ask whose it is; other nodes may have more",
        settings="cluster.additional.exclude={nodes}",
    ),
    Known(
        "the disk is full",
        r"No space left on device|Errno 28\b|os error 28\b",
        mend="free some space",
    ),
    Known("the storage quota is used up", r"Disk quota exceeded|Errno 122\b", mend="free some"),
    Known(
        "a file could not be written to its end (disk or quota full?)",
        r"basic_ios::clear: iostream error|inline_container\.cc:\d+\] \. unexpected pos"
        r"|PytorchStreamWriter failed writing",
        mend="look how much space and quota is left",
    ),
    Known(
        "out of memory",
        r"Exceeded job memory limit|exceeded memory limit|oom[-_ ]kill|MemoryError\b"
        r"|Cannot allocate memory|std::bad_alloc",
        state="OUT_OF_MEMORY",
        settings="cluster.{stage}.memory_gb={memory_gb}",
    ),
    Known(
        "no GPU that can be used on its node",
        r"No CUDA GPUs are available|Found no NVIDIA driver|CUDA driver version is insufficient"
        r"|no CUDA-capable device|CUDA-capable device\(s\) is/are busy or unavailable",
        mend="see that cluster.{stage}.gpus_per_node is not 0; else leave the node out",
        settings="cluster.additional.exclude={nodes}",
    ),
    Known(
        "a GPU of its node is broken",
        r"uncorrectable (?:NVLink|ECC) error|Graphics SM Warp Exception|fallen off the bus",
        mend="tell the administrators; leave the node out",
        settings="cluster.additional.exclude={nodes}",
    ),
    Known(PORT_TAKEN, r"EADDRINUSE|[Aa]ddress already in use"),
    Known(
        "out of time, more often than cluster.requeues",
        r"CANCELLED AT \S+ DUE TO TIME LIMIT",
        state="TIMEOUT",
        settings="cluster.{stage}.time_minutes={time_minutes}",
    ),
    Known(
        "its node failed", r"DUE TO NODE FAILURE|CANCELLED DUE TO NODE FAILURE", state="NODE_FAIL"
    ),
    Known("its node did not start", state="BOOT_FAIL"),
    Known("its deadline has passed", state="DEADLINE"),
    Known("pre-empted, and Slurm did not run it again", r"DUE TO PREEMPTION", state="PREEMPTED"),
)
"""What is recognised first wins: of a full disk, /dev/shm and what torch makes of it come first."""
_PEERS: Final = (
    Known(
        "NCCL failed: a process, a GPU or the network between them is gone",
        r"NCCL (?:error|timeout|watchdog)|nccl(?:UnhandledCuda|System|Internal|Remote)Error"
        r"|Watchdog caught collective operation timeout|NCCL communicator was aborted",
        mend="look for the first error in the logs; if it is always the same node, leave it out",
        settings="cluster.additional.exclude=NODE",
    ),
    Known(
        "its processes did not meet: a node or the network between them is away",
        r"DistStoreError|client socket has timed out|RendezvousTimeoutError"
        r"|RendezvousConnectionError",
        mend="nodes with several networks: name theirs in cluster.setup "
        "(export NCCL_SOCKET_IFNAME=… GLOO_SOCKET_IFNAME=…)",
    ),
    Known(
        "a process waited for the others in vain (gloo): one hangs, or the network is away",
        r"gloo/\S+\] Timed out waiting|Connect timeout \[",
        mend="look at the last lines of all logs",
    ),
    Known(
        "a process lost the connection to another one (gloo)",
        r"gloo/\S+\] .*?(?:Connection (?:closed|reset|refused)|Broken pipe)",
        mend="look for the first error in the logs",
    ),
)
"""What processes say when another one has gone: the cause is elsewhere, if anything says it."""
_ERROR: Final = re.compile(
    r"^(?:\[rank\d+\]: ?)?(\w[\w.]*(?:Error|Exception|Interrupt)): (.*)$", re.M
)
_KILLED: Final = re.compile(r"Root Cause[^=]*?\brank +: (\d+) [^=]*?exitcode +: -9\b")
"""What torchrun says of a process that was killed; a line of = ends its report."""
_PEER: Final = re.compile(
    "|".join(("[Cc]onnection (?:reset|closed|refused)", *(known.pattern for known in _PEERS)))
)
_MESSENGERS: Final = ("ChildFailedError", "SignalException")
"""Errors of torchrun, which only say that some process failed."""
_BEGUN: Final = "Starting with JobEnvironment"
"""What submitit says at the start of each attempt: what is before is about an earlier one."""
_BY_HAND: Final = "killed from outside (out of memory, or by an administrator)"


def cause_of(code: int, logs: Sequence[Path]) -> str:
    """Why a program ended with `code` (negative: a signal), as its standard errors tell: that of
    this node first, then those of the others, and what Slurm itself has said in the job's."""
    text = "\n".join(_tail(log) for log in reversed(logs))
    said = [line[7:] for line in text.splitlines() if line.startswith("error: ")]
    if said and code in (USAGE, OUTAGE, 1):
        return said[-1]
    for known in KNOWN:
        if known.pattern and re.search(known.pattern, text):
            return known.said
    if code in (-9, 137):
        return _BY_HAND
    if code in (-15, 143, -2, 130):
        return "stopped"
    killed = _KILLED.search(text)
    if killed:
        return f"rank {killed[1]} was {_BY_HAND}"
    return _of_errors(text) or f"ended with exit code {code}"


def _of_errors(text: str) -> str:
    """The last exception that is not about another process; else what the peers say."""
    errors = [found for found in _ERROR.findall(text) if not found[0].endswith(_MESSENGERS)]
    own = [found for found in errors if not _PEER.search(": ".join(found))]
    if not own:
        for known in _PEERS:
            if re.search(known.pattern, text):
                return known.said
    if errors:
        name, message = (own or errors)[-1]
        return f"{name}: {message[:200]}"
    return ""


def of_state(state: str) -> str | None:
    """The cause that Slurm's state of a job tells, if it does."""
    return next((known.said for known in KNOWN if state and known.state == state), None)


def known_as(cause: str) -> Known | None:
    """What is known of a cause in one line."""
    return next((known for known in (*KNOWN, *_PEERS) if cause.endswith(known.said)), None)


def _tail(path: Path) -> str:
    try:
        with path.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - _TAIL))
            text = file.read().decode("utf-8", "replace").replace("\r", "\n")
    except OSError:
        return ""
    return text.rpartition(_BEGUN)[2]
