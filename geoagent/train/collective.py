"""`python -m geoagent.train.collective`: do the processes of a training job compute and add up?

Started once on each node. It imports torch once, forks the node's processes, and has each compute
on its GPU, meet the others, and take part in an all_reduce, as training will. It prints one JSON
object, {"step": …, "message": …}: "done", or the step that a process of this node failed at or was
still at when the time was over. Then it waits until standard input is closed: a process that left
early would break the sum of the others.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Sequence
from datetime import timedelta
from multiprocessing.connection import Connection, wait
from typing import Any, Final, TextIO

START: Final = "start"
GPU: Final = "GPU"
MEET: Final = "meet"
ADD: Final = "add"
DONE: Final = "done"
_ORDER: Final = (START, GPU, MEET, ADD, DONE)
_SIZE: Final = 1024
"""Rows and columns of the matrices, and numbers that are added up."""
_FREE: Final = 0.8
"""Of a GPU's memory, before training: what is left by others belongs to a process that hangs."""
_GIB: Final = 1024**3


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m geoagent.train.collective")
    for name in ("node", "nodes", "processes", "gpus", "port"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--address", required=True, help="of the first node")
    parser.add_argument("--limit", type=float, required=True, metavar="SECONDS")
    options = parser.parse_args(arguments)
    deadline = time.monotonic() + options.limit
    with os.fdopen(os.dup(1), "w") as answer:
        os.dup2(2, 1)  # NCCL_DEBUG, for one, writes to standard output
        _run(options, deadline, answer)
    return 0


def _run(options: argparse.Namespace, deadline: float, answer: TextIO) -> None:
    import torch

    # A build for CPUs knows no GPUs, and nothing here can mend that: training says so itself.
    if torch.version.cuda is None and torch.version.hip is None:
        options.gpus = 0
    workers = [_start(options, local) for local in range(options.processes)]
    step, message = watch([worker[1] for worker in workers], deadline)
    print(json.dumps({"step": step, "message": message}), file=answer, flush=True)
    sys.stdin.read()
    for process, _ in workers:
        process.kill()


def watch(pipes: Sequence[Connection], deadline: float) -> tuple[str, str]:
    """Step and message of the first process that fails; else of the one that came least far."""
    steps = dict.fromkeys(pipes, START)
    while set(steps.values()) != {DONE} and (left := deadline - time.monotonic()) > 0:
        for pipe in wait([pipe for pipe in pipes if steps[pipe] != DONE], left):
            assert isinstance(pipe, Connection)
            try:
                steps[pipe], message = pipe.recv()
            except EOFError:
                return steps[pipe], "its process was killed"
            if message:
                return steps[pipe], message
    return min(steps.values(), key=_ORDER.index), ""


def _start(options: argparse.Namespace, local: int) -> tuple[Any, Connection]:
    context = multiprocessing.get_context("fork")
    mine, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(options, local, theirs), daemon=True)
    process.start()
    theirs.close()
    return process, mine


def _work(options: argparse.Namespace, local: int, pipe: Connection) -> None:
    step = GPU
    try:
        if options.gpus:
            pipe.send((step, ""))
            compute(options.gpus, local)
        for step, action in ((MEET, _meet), (ADD, _add)):
            pipe.send((step, ""))
            action(options, local)
        pipe.send((DONE, ""))
    except Exception as error:
        pipe.send((step, " ".join(str(error).split())[:300] or type(error).__name__))
    time.sleep(options.limit)  # the parent ends it
    os._exit(0)


def compute(gpus: int, local: int) -> None:
    """Multiply two matrices on this process's GPU. RuntimeError: it is not there, not free, or
    does not compute."""
    import torch

    there = torch.cuda.device_count()
    if there < gpus:
        raise RuntimeError(f"{there} of {gpus} GPUs are there")
    device = torch.device("cuda", local % gpus)
    torch.cuda.set_device(device)
    free, total = torch.cuda.mem_get_info(device)
    if free < _FREE * total:
        raise RuntimeError(
            f"GPU {device.index} has {free / _GIB:.1f} of {total / _GIB:.1f} GiB free: another "
            "process is on it"
        )
    ones = torch.ones(_SIZE, _SIZE, device=device)
    if not bool((ones @ ones == _SIZE).all()):
        raise RuntimeError(f"GPU {device.index} computes wrong products")


def _meet(options: argparse.Namespace, local: int) -> None:
    import torch.distributed as dist

    dist.init_process_group(
        "nccl" if options.gpus else "gloo",
        init_method=f"tcp://{options.address}:{options.port}",
        rank=options.node * options.processes + local,
        world_size=options.nodes * options.processes,
        timeout=timedelta(seconds=options.limit),
    )


def _add(options: argparse.Namespace, local: int) -> None:
    import torch
    import torch.distributed as dist

    device = torch.device("cuda", local % options.gpus) if options.gpus else torch.device("cpu")
    numbers = torch.full((_SIZE,), float(dist.get_rank() + 1), device=device)
    dist.all_reduce(numbers)
    world = dist.get_world_size()
    if not bool((numbers == world * (world + 1) / 2).all()):
        raise RuntimeError(f"the ranks 1 to {world} add up to {numbers[0].item():g}")


if __name__ == "__main__":
    raise SystemExit(main())
