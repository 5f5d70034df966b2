"""Exit code and log → the cause of a failure in one line, with what to do next."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

PORT_TAKEN: Final = "another program took the port that its processes were to meet at"
_TAIL: Final = 20_000
_KNOWN: Final = (
    (
        r"CUDA out of memory|OutOfMemoryError",
        "out of GPU memory: lower batch size or max_pixels",
    ),
    (r"No space left on device|Errno 28", "the disk is full: free some space, then --resume"),
    (r"Disk quota exceeded", "the storage quota is used up: free some space, then --resume"),
    (r"NCCL (error|timeout|watchdog)", "NCCL failed: look for a dead node or network in the log"),
    (r"EADDRINUSE|[Aa]ddress already in use", PORT_TAKEN),
    (r"MemoryError|Cannot allocate memory", "out of memory"),
)
_ERROR: Final = re.compile(
    r"^(?:\[rank\d+\]: ?)?(\w[\w.]*(?:Error|Exception|Interrupt)): (.*)$", re.M
)
_KILLED: Final = re.compile(r"Root Cause[^=]*?\brank +: (\d+) [^=]*?exitcode +: -9\b")
"""What torchrun says of a process that was killed; a line of = ends its report."""
_PEER: Final = re.compile(r"[Cc]onnection (reset|closed|refused)")
"""What processes say when another one has gone."""
_MESSENGERS: Final = ("ChildFailedError", "SignalException", "DistStoreError")
"""Errors of torchrun, which only say that some process failed."""


def cause_of(code: int, logs: Sequence[Path]) -> str:
    """Why a program ended with `code` (negative: a signal), as its standard errors tell: that of
    this node first, then those of the others."""
    text = "\n".join(_tail(log) for log in reversed(logs))
    said = [line[7:] for line in text.splitlines() if line.startswith("error: ")]
    if said and (code in (2, 75) or code == 1):
        return said[-1]
    if code in (-9, 137):
        return "killed from outside (out of memory, or by an administrator)"
    if code in (-15, 143, -2, 130):
        return "stopped"
    for pattern, cause in _KNOWN:
        if re.search(pattern, text):
            return cause
    killed = _KILLED.search(text)
    if killed:
        return f"rank {killed[1]} was killed from outside (out of memory, or by an administrator)"
    errors = [found for found in _ERROR.findall(text) if not found[0].endswith(_MESSENGERS)]
    own = [found for found in errors if not _PEER.search(found[1])]
    if errors:
        name, message = (own or errors)[-1]
        return f"{name}: {message[:200]}"
    return f"ended with exit code {code}"


def _tail(path: Path) -> str:
    try:
        with path.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - _TAIL))
            return file.read().decode("utf-8", "replace").replace("\r", "\n")
    except OSError:
        return ""
