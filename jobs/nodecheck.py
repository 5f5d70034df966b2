"""Are the nodes of a job fit to train? Asked on each of them, before training's program starts.

The nodes tell each other what they found in files of the attempt's folder, which also shows that
they see each other's files. What fails on some of the nodes is those nodes' fault, and others may
do; what fails on all of them is the job's, and a person has to mend it.
"""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

from geoagent.config import Config
from geoagent.files import read_if_there, write_json
from geoagent.run import Run
from geoagent.train.collective import ADD, DONE, GPU, MEET, START
from jobs.attempt import Attempt, attempts
from jobs.nodefacts import DISK, FILES, NETWORK, Subject, clock_ahead, facts, reach
from jobs.plan import StagePlan
from jobs.processes import die_with_parent, stop_tree
from jobs.rundir import environment

NODE: Final = "node"
JOB: Final = "job"
CLOCK: Final = "clock"
_ARRIVE_S: Final = 90.0
"""For the nodes to see each other's first file: file systems show new files late. Less than the
others wait for the first (jobs.attempt), so that it is the first that tells."""
_FACT_S: Final = 120.0
_REACH_S: Final = 20.0
_CLOCK_S: Final = 30.0
"""Far below the lifetime of an agent's endpoint file (180 s, renewed every 20)."""
_COLLECTIVE_S: Final = 300.0
"""Importing torch from a busy file system can take minutes."""
_SLACK_S: Final = 30.0
_POLL_S: Final = 0.2
_FOLDER: Final = "nodes"
_FINDINGS: Final = "findings.json"


@dataclass(frozen=True)
class Finding:
    """What is wrong with a node, by Slurm's name of it. `fault` is NODE (exclude it, let the job
    run elsewhere) or JOB (a person has to mend something)."""

    node: str
    fault: str
    check: str
    message: str

    def __str__(self) -> str:
        return f"node {self.node}: {self.message}"


@dataclass
class Report:
    """What a node says of itself. `clock` is in seconds ahead of the file system's; `listens` and
    `meets` are ports of the first node; `facts` and `collective` are None until they are known."""

    clock: float = 0.0
    listens: int = 0
    meets: int = 0
    facts: dict[str, str] | None = None
    collective: dict[str, str] | None = None


@dataclass
class Board:
    """Reports of the nodes of one attempt, in files that all of them read."""

    folder: Path
    node: int
    names: tuple[str, ...]
    mine: Report = field(default_factory=Report)

    def write(self) -> None:
        write_json(self.folder / f"{self.node}.json", asdict(self.mine))

    def wait(self, limit_s: float, ready: Callable[[Report], bool]) -> dict[int, Report]:
        """Reports of the nodes that are ready, once all are or the time is over."""
        deadline = time.monotonic() + limit_s
        while True:
            found = {k: report for k in range(len(self.names)) if (report := self._read(k))}
            found = {k: report for k, report in found.items() if ready(report)}
            if len(found) == len(self.names) or time.monotonic() > deadline:
                return found
            time.sleep(_POLL_S)

    def _read(self, node: int) -> Report | None:
        document = read_if_there(self.folder / f"{node}.json")
        return Report(**document) if document else None


def check(run: Run, plan: StagePlan, attempt: Attempt, config: Config) -> list[Finding]:
    """Look at this node, and wait for what the others say; [] if all is well.

    All nodes of the job call it, and the first node's list is the one to act on.
    """
    if not config.cluster.check_nodes:
        return []
    began = time.monotonic()
    board = Board(attempt.logs / _FOLDER, attempt.node, node_names(attempt))
    problems = _look(board, Subject(run, plan, config, attempt.leads), attempt)
    together = attempt.nodes > 1 or plan.resources.gpus_per_node > 0
    if not problems and together:
        problems = _try_together(board, run, plan, attempt)
    found = _blame(problems, board.names, _earlier(attempt))
    if attempt.leads:
        seconds = round(time.monotonic() - began, 1)
        document = {"job": os.environ.get("SLURM_JOB_ID"), "seconds": seconds}
        findings = [asdict(finding) for finding in found]
        write_json(board.folder / _FINDINGS, {**document, "findings": findings})
    return found


def node_names(attempt: Attempt) -> tuple[str, ...]:
    """Slurm's names of the job's nodes, in the order of their numbers."""
    listed = os.environ.get("SLURM_JOB_NODELIST")
    if listed is None:
        return (socket.gethostname(),)
    command = ["scontrol", "show", "hostnames", listed]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    return tuple(result.stdout.split())


# --- looking -----------------------------------------------------------------------------------

Problems = dict[str, dict[int, str]]
"""Check → node → what is wrong."""


def _look(board: Board, subject: Subject, attempt: Attempt) -> Problems:
    """The files, the clocks, and what each node finds by itself."""
    board.folder.mkdir(parents=True, exist_ok=True)
    with _listening() as (listens, meets):
        board.mine = Report(clock_ahead(board.folder), listens, meets)
        board.write()
        there = board.wait(_ARRIVE_S, lambda report: True)
        found = facts(subject, _FACT_S)
        unseen = [board.names[k] for k in range(len(board.names)) if k not in there]
        if unseen and not attempt.leads:
            found[FILES] = f"it does not see the files of {', '.join(unseen)}: {_NOT_SHARED}"
        if not attempt.leads and 0 in there:
            problem = reach(attempt.address, there[0].listens, _REACH_S)
            found |= {NETWORK: problem} if problem else {}
        board.mine.facts = found
        board.write()
        reports = board.wait(_FACT_S + _SLACK_S, lambda report: report.facts is not None)
    return collect(reports, there, len(board.names))


_NOT_SHARED: Final = "is the run directory on a file system that all nodes share?"


def collect(
    reports: Mapping[int, Report], there: Mapping[int, Report], nodes: int
) -> dict[str, dict[int, str]]:
    """Problems of the nodes that have reported, and of those that have not come so far."""
    problems: Problems = {}
    for node in range(nodes):
        if node not in there:
            message = f"no file of it was seen within {_ARRIVE_S:.0f} s; {_NOT_SHARED}"
            problems.setdefault(FILES, {})[node] = message
        elif node not in reports:
            problems.setdefault(FILES, {})[node] = "it has not finished its checks: it hangs"
    for node, report in reports.items():
        for name, message in (report.facts or {}).items():
            problems.setdefault(name, {})[node] = message
    clocks = {node: report.clock for node, report in there.items()}
    off = {node: clock for node, clock in clocks.items() if abs(clock) > _CLOCK_S}
    if off and max(clocks.values()) - min(clocks.values()) > _CLOCK_S:  # else the server's is off
        problems[CLOCK] = {node: _clock_message(clock) for node, clock in off.items()}
    return problems


def _clock_message(ahead: float) -> str:
    way = "ahead of" if ahead > 0 else "behind"
    return (
        f"its clock is {abs(ahead):.0f} s {way} the file system's, and agents' addresses expire by "
        "time: have it set (NTP)"
    )


@contextmanager
def _listening() -> Iterator[tuple[int, int]]:
    """A port that answers, and one that is free."""
    with socket.create_server(("", 0), backlog=512) as server, socket.socket() as probe:
        probe.bind(("", 0))
        yield server.getsockname()[1], probe.getsockname()[1]


# --- together ----------------------------------------------------------------------------------


def _try_together(board: Board, run: Run, plan: StagePlan, attempt: Attempt) -> Problems:
    """Have all processes of the job meet and add up."""
    first = board.wait(0, lambda report: True)[0]
    command = [
        *(sys.executable, "-m", "geoagent.train.collective"),
        f"--node={attempt.node}",
        f"--nodes={attempt.nodes}",
        f"--processes={plan.processes}",
        f"--gpus={plan.resources.gpus_per_node}",
        f"--address={attempt.address or 'localhost'}",
        f"--port={first.meets}",
        f"--limit={_COLLECTIVE_S}",
    ]
    with attempt.log("check").open("ab") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env=environment(run) | {"OMP_NUM_THREADS": "1"},
            start_new_session=True,
            preexec_fn=die_with_parent(),
        )
        try:
            assert process.stdout is not None
            answers, _, _ = select.select([process.stdout], [], [], _COLLECTIVE_S + _SLACK_S)
            board.mine.collective = _said(process.stdout.readline() if answers else b"")
            board.write()
            limit_s = _COLLECTIVE_S + 2 * _SLACK_S
            reports = board.wait(limit_s, lambda report: report.collective is not None)
        finally:
            stop_tree(process.pid, grace_s=1.0)
            if not attempt.log("check").stat().st_size:
                attempt.log("check").unlink()
    return judge(reports, len(board.names))


def _said(line: bytes) -> dict[str, str]:
    """What geoagent.train.collective printed; nothing if it could not even start."""
    try:
        return dict(json.loads(line))
    except ValueError:
        return {"step": START, "message": "python or torch does not start there"}


def judge(reports: Mapping[int, Report], nodes: int) -> Problems:
    """Problems of the nodes whose processes failed by themselves; of all nodes, if their
    processes only did not find together, since that can be no single one's fault."""
    said = {node: report.collective or {} for node, report in reports.items()}
    steps = {
        node: said[node].get("step", START) if node in said else START for node in range(nodes)
    }
    texts = {node: one["message"] for node, one in said.items() if one.get("message")}
    problems: Problems = {}
    for node, step in steps.items():
        if step in (START, GPU):
            name = "GPU" if step == GPU else "torch"
            problems.setdefault(name, {})[node] = texts.get(node, f"it hangs ({_AT[step]})")
    if problems or set(steps.values()) == {DONE}:
        return problems
    stuck = {node: step for node, step in steps.items() if step != DONE}
    return {
        NETWORK: {
            node: f"its processes and those of the other nodes {_AT[step]}"
            f" ({texts.get(node, 'no answer')}); {_DEVICE}"
            for node, step in stuck.items()
        }
    }


_AT: Final = {
    START: "importing torch",
    GPU: "computing on its GPUs",
    MEET: "do not meet",
    ADD: "do not add up",
}
_DEVICE: Final = (
    "name the network device that the nodes share in cluster.environment.NCCL_SOCKET_IFNAME "
    "(without GPUs: GLOO_SOCKET_IFNAME)"
)


# --- whose fault -------------------------------------------------------------------------------


def _blame(
    problems: Problems, names: Sequence[str], earlier: Mapping[str, set[str]]
) -> list[Finding]:
    found = []
    for name, nodes in problems.items():
        fault = whose(name, [names[node] for node in nodes], names, earlier.get(name, set()))
        found += [Finding(names[node], fault, name, text) for node, text in nodes.items()]
    return found


def whose(check: str, bad: Sequence[str], names: Sequence[str], earlier: set[str]) -> str:
    """JOB if a check fails wherever it can: on all nodes, of which there are several or were others
    before (`earlier`: nodes that it has failed on); else NODE."""
    if check == DISK:  # of the folder that all share
        return JOB
    # The first node reaches itself, and sees its own file.
    able = set(names[1:]) if check in (FILES, NETWORK) and len(names) > 1 else set(names)
    return JOB if able <= set(bad) and len(earlier | set(bad)) > 1 else NODE


def _earlier(attempt: Attempt) -> dict[str, set[str]]:
    """Check → nodes that it failed on in earlier attempts of this job."""
    found: dict[str, set[str]] = {}
    for logs in attempts(attempt.logs.parent.parent):
        document = read_if_there(logs / _FOLDER / _FINDINGS)
        if document.get("job") == os.environ.get("SLURM_JOB_ID"):
            for one in document.get("findings", []):
                found.setdefault(one["check"], set()).add(one["node"])
    return found
