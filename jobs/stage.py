"""What a job does: run one stage's program, watch it, and say in one line why it failed."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from geoagent.errors import USAGE
from geoagent.files import write_atomic, write_json
from geoagent.run import Run
from jobs.attempt import Attempt, join
from jobs.causes import cause_of
from jobs.nodecheck import NODE, Finding, check
from jobs.plan import AGENT, TRAINING, StagePlan
from jobs.processes import (
    Watched,
    alive,
    die_with_parent,
    heed_slurm,
    memory_of_tree,
    stop_tree,
)
from jobs.requeue import job_id, reason, requeue
from jobs.rundir import environment
from jobs.squeue import clients_queued

_POLL_S: Final = 0.5
_GRACE_S: Final = 20.0
_AGENT_STARTS: Final = 3
"""How often an agent that ends by itself is started in a job."""
_MEANT: Final = (0, -signal.SIGTERM, USAGE)
"""How one ends that was asked to, the second before it could say so, or that a person has to mend
something for."""
_LATE_S: Final = 30.0
"""How much later than on another node a file may be seen (NFS)."""
_LOOK_S: Final = 60.0
"""Between two questions to Slurm: schedulers don't like to be polled."""

_UNDONE: Final = 70
"""EX_SOFTWARE of sysexits.h."""
_FIRST_S: Final = 20.0
"""How long the other nodes leave the first to act on what was found."""
_SHOWN: Final = 3
"""Findings in a cause; all are in the log."""


class StageFailed(RuntimeError):
    """The stage's program ended with an error; the message is its cause."""


@dataclass
class Outcome:
    """How an attempt ended; written to STAGE/outcome.json."""

    stage: str
    attempt: int
    code: int
    cause: str | None
    seconds: float
    peak_gib: float
    log: str


@dataclass
class StageTask:
    """One stage as submitit runs it; the same object here and on Slurm.

    `watched` is the submitting process of a local run: if that is gone, so is the reason to run.
    `devices` is CUDA_VISIBLE_DEVICES there; on Slurm it is None and the scheduler's is kept.
    `clients` are the stages that ask an agent on Slurm: it ends when none of them is queued.
    `saving_s` is how long a program may take that is asked to save and stop, `requeues` how often
    the job may be run again for something that may pass.
    """

    run: Path
    plan: StagePlan
    replica: int = 0
    watched: Watched | None = None
    devices: str | None = None
    clients: tuple[str, ...] = ()
    saving_s: float = 0.0
    requeues: int = 0
    _next_look: float = field(default=0.0, init=False, repr=False)
    _program: subprocess.Popen[bytes] | None = field(default=None, init=False, repr=False)

    def __call__(self) -> dict[str, Any]:
        heed_slurm()
        run = Run(self.run)
        folder = run.stage(self.plan.name)
        attempt = join(folder)
        if attempt.leads:
            for left in (run.done_file, run.progress_file, run.stop_request):
                left(self.plan.name).unlink(missing_ok=True)
            self._forget_locks(run)
        outcome_file = folder / (
            "outcome.json" if attempt.leads else f"outcome-{attempt.node}.json"
        )
        outcome_file.unlink(missing_ok=True)
        lacks = self._lacks(run)
        findings = [] if lacks else self._check_nodes(run, attempt)
        unfit = lacks or [str(finding) for finding in findings]
        outcome = self._unfit(attempt, unfit) if unfit else self._run(run, attempt)
        write_json(outcome_file, asdict(outcome))
        if findings:
            self._try_elsewhere(attempt, findings)
        elif attempt.leads and (outcome.code != 0 or self.plan.name == AGENT):
            why = reason(outcome.code, outcome.cause)
            if why is not None and self._is_needed(run, at_once=True):
                requeue(why, attempt, folder, self.requeues)
        if outcome.code != 0:
            raise StageFailed(f"{outcome.cause}; log: {outcome.log}")
        return asdict(outcome)

    def _forget_locks(self, run: Run) -> None:
        """Remove what a process has left that was killed while it compiled for DeepSpeed: torch
        would wait for it for ever. No other job of the run compiles now."""
        if self.plan.name in TRAINING:
            for lock in run.extensions.rglob("lock"):
                lock.unlink(missing_ok=True)

    def _lacks(self, run: Run) -> list[str]:
        """Stages that this one goes on from and that have not finished."""
        deadline = time.monotonic() + (_LATE_S if job_id() is not None else 0.0)
        while lacking := [n for n in self.plan.requires if not run.done_file(n).is_file()]:
            if time.monotonic() >= deadline:
                break
            time.sleep(_POLL_S)
        return [
            f"{name} has not finished ({run.stage(name).resolve()}), and {self.plan.name} goes on "
            "from it"
            for name in lacking
        ]

    def _check_nodes(self, run: Run, attempt: Attempt) -> list[Finding]:
        wanted = self.plan.name in TRAINING and job_id() is not None
        return check(run, self.plan, attempt, run.config()) if wanted else []

    def _unfit(self, attempt: Attempt, findings: list[str]) -> Outcome:
        """An attempt that nothing was run in."""
        log = attempt.log("err")
        log.write_text("".join(f"error: {finding}\n" for finding in findings), encoding="utf-8")
        cause = "; ".join(findings[:_SHOWN])
        return Outcome(self.plan.name, attempt.number, USAGE, cause, 0.0, 0.0, str(log))

    def _try_elsewhere(self, attempt: Attempt, findings: list[Finding]) -> None:
        """Have Slurm run this job on other nodes, if it is only nodes that are at fault."""
        if not attempt.leads:
            time.sleep(_FIRST_S)  # where KillOnBadExit is set, leaving would end the first node too
        elif all(finding.fault == NODE for finding in findings):
            nodes = sorted({finding.node for finding in findings})
            why = f"not fit to train: {', '.join(nodes)}"
            requeue(why, attempt, Run(self.run).stage(self.plan.name), self.requeues, nodes)

    def _run(self, run: Run, attempt: Attempt) -> Outcome:
        started, starts = time.time(), 1
        code, peak = self._run_program(run, attempt)
        while self.plan.name == AGENT and code not in _MEANT and starts < _AGENT_STARTS:
            if not self._submitter_lives():
                break
            starts += 1
            print(f"the agent ended ({code}); starting it again", file=sys.stderr, flush=True)
            code, more = self._run_program(run, attempt)
            peak = max(peak, more)
        cause = cause_of(code, attempt.errors()) if code else None
        if code == 0 and self._is_undone(run, attempt):
            code, cause = _UNDONE, "its program ended before its work was done"
        return Outcome(
            self.plan.name,
            attempt.number,
            code,
            cause,
            round(time.time() - started, 1),
            round(peak / 1024**3, 2),
            str(attempt.log("err")),
        )

    def _run_program(self, run: Run, attempt: Attempt) -> tuple[int, int]:
        """Exit code (negative: a signal) and peak memory in bytes of the stage's program."""
        peak, unneeded = 0, False
        with attempt.log("out").open("ab") as out, attempt.log("err").open("ab") as err:
            process = subprocess.Popen(
                self.command(run, attempt),
                stdout=out,
                stderr=err,
                stdin=subprocess.DEVNULL,
                env=self._environment(run),
                start_new_session=True,
                preexec_fn=die_with_parent(),
            )
            self._program = process
            try:
                while process.poll() is None and self._submitter_lives():
                    peak = max(peak, memory_of_tree(process.pid))
                    unneeded = not self._is_needed(run)
                    if unneeded:
                        break
                    time.sleep(_POLL_S)
            finally:
                ended = process.poll()
                stop_tree(process.pid, grace_s=_GRACE_S)  # also what it has left behind
        # Stopped by us: its exit status was taken by the wait inside stop_tree.
        code = -signal.SIGTERM if ended is None else ended
        return 0 if unneeded else code, peak

    def _submitter_lives(self) -> bool:
        return self.watched is None or alive(self.watched)

    def _is_undone(self, run: Run, attempt: Attempt) -> bool:
        """Whether the first node's program has not written done.json, which an agent never does,
        and nobody asked it to save and stop."""
        if self.plan.name == AGENT or not attempt.leads:
            return False
        asked = run.stop_request(self.plan.name).is_file()
        return not asked and not run.done_file(self.plan.name).is_file()

    def _environment(self, run: Run) -> dict[str, str]:
        chosen = {} if self.devices is None else {"CUDA_VISIBLE_DEVICES": self.devices}
        return environment(run) | chosen

    def _is_needed(self, run: Run, at_once: bool = False) -> bool:
        """False for an agent on Slurm whose clients have all left the queue, however they ended."""
        if not self.clients or (time.monotonic() < self._next_look and not at_once):
            return True
        self._next_look = time.monotonic() + _LOOK_S
        return clients_queued(run, self.clients)

    def command(self, run: Run, attempt: Attempt) -> list[str]:
        """The program's command line; several processes are started by torchrun."""
        program = [*self.plan.module, "--run", str(run.path)]
        if self.plan.name == AGENT:
            program += ["--replica", str(self.replica)]
        if self.plan.processes * attempt.nodes == 1:
            return [sys.executable, "-m", *program]
        torchrun = [sys.executable, "-m", "torch.distributed.run", *self._rendezvous(attempt)]
        # Behind "--" torchrun does not take --run for one of its own options.
        return [*torchrun, "-m", "--", *program]

    def _rendezvous(self, attempt: Attempt) -> list[str]:
        flags = [f"--nproc_per_node={self.plan.processes}"]
        if attempt.nodes == 1:
            return ["--standalone", *flags]
        return [
            *flags,
            f"--nnodes={attempt.nodes}",
            f"--node_rank={attempt.node}",
            f"--master_addr={attempt.address}",
            f"--master_port={attempt.port}",
        ]

    def checkpoint(self) -> Any:
        """submitit calls this on the first node when the job is pre-empted or nearly out of time:
        the program saves and stops, the job is requeued and goes on from there."""
        import submitit

        run = Run(self.run)
        if self._program is not None:
            if self.plan.name in TRAINING:
                write_atomic(run.stop_request(self.plan.name), "save and stop\n")
                with suppress(subprocess.TimeoutExpired):
                    self._program.wait(timeout=self.saving_s)
            stop_tree(self._program.pid, _GRACE_S)
        return submitit.helpers.DelayedSubmission(replace(self))
