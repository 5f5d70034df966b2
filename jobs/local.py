"""Runs a plan on this machine: each stage a submitit job, in order, the agent's beside them.

submitit's local executor has no queue and ignores dependencies, so the order is kept here.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from geoagent.errors import USAGE
from geoagent.files import read_if_there
from geoagent.run import Run
from geoagent.train.checkpoints import latest
from jobs.container.enter import interpreter
from jobs.container.said import refusal
from jobs.display import Display
from jobs.group import home_of, share_agent
from jobs.plan import AGENT, Plan, StagePlan
from jobs.processes import Watched, memory_of_tree, signals_wait, stop_tree
from jobs.stage import StageTask
from jobs.state import NOT_STARTED, JobRecord, Jobs, earlier_jobs

_NO_LIMIT_MIN: Final = 365 * 24 * 60
_POLL_S: Final = 0.5
_GRACE_S: Final = 30.0


class ChainFailed(Exception):
    """A stage failed; what came after it was not started."""


@dataclass
class _Running:
    job: Any
    record: JobRecord
    pid: int


class LocalChain:
    """One submission on this machine; not `recorded` inside a job that jobs.json has already."""

    def __init__(
        self,
        run: Run,
        plan: Plan,
        display: Display,
        agent_wait_s: float,
        recorded: bool = True,
    ) -> None:
        self.recorded = recorded
        self.run = run
        self.plan = plan
        self.display = display
        self.agent_wait_s = agent_wait_s
        me = Watched.of()
        records = [JobRecord(stage.name, after=list(stage.after)) for stage in plan.stages]
        if plan.agent is not None:
            records.append(JobRecord(AGENT))
        self.jobs = Jobs("local", me.pid, me.created, records, earlier_jobs(run))
        self._agent: _Running | None = None
        self._current: _Running | None = None

    def execute(self) -> None:
        """Run all stages. ChainFailed at the first that fails; KeyboardInterrupt on Ctrl-C or
        SIGTERM. Whatever the end, no process is left."""
        share_agent(self.run, None)
        self._save()
        with _terminate_as_interrupt():
            try:
                for index, stage in enumerate(self.plan.stages):
                    self._stage(stage)
                    if not any(later.needs_agent for later in self.plan.stages[index + 1 :]):
                        self._stop_agent("finished")
            except KeyboardInterrupt:
                self.display.say("stopping; training saves after its step first")
                self._stop_all("cancelled")
                raise
            except BaseException:
                self._stop_all("failed")
                raise
            finally:
                self._save()

    def _save(self) -> None:
        if self.recorded:
            self.jobs.save(self.run)

    def _stage(self, stage: StagePlan) -> None:
        if stage.needs_agent and self.plan.agent is not None and self._agent is None:
            self._start_agent(self.plan.agent)
        checkpoint = latest(self.run.checkpoints(stage.name))
        goes_on = f", goes on from {checkpoint.name}" if checkpoint else ""
        self.display.say(f"{stage.name}: started{goes_on}")
        self.run.progress_file(stage.name).unlink(missing_ok=True)
        running = self._launch(stage)
        while not running.job.done():
            self.display.show(stage.name, running.record.seconds or 0.0)
            if stage.needs_agent:
                self._look_after_agent()
            time.sleep(_POLL_S)
        self._finish(running, stage)
        self._current = None

    def _finish(self, running: _Running, stage: StagePlan) -> None:
        record = running.record
        outcome = self._outcome(running, stage.name)
        record.ended = time.time()
        record.peak_gib = outcome.get("peak_gib")
        record.cause = outcome.get("cause")
        record.state = "finished" if outcome.get("code") == 0 else "failed"
        self._save()
        took = f"{record.seconds or 0:.0f} s, at most {record.peak_gib or 0:.1f} GiB"
        if record.state == "failed":
            record.cause = record.cause or f"its job died; see {running.job.paths.stderr}"
            logs = outcome.get("log") or running.job.paths.stderr
            raise ChainFailed(f"{stage.name} failed after {took}: {record.cause} (log: {logs})")
        self.display.say(f"{stage.name}: finished in {took}")
        said = read_if_there(self.run.done_file(stage.name)).get("summary")
        if said:
            self.display.say(f"{stage.name}: {said}")

    def _outcome(self, running: _Running, stage: str) -> dict[str, Any]:
        """How a job ended; one whose image was not entered has written nothing."""
        refused = refusal(self.run, home_of(self.run), running.record.id)
        if refused is not None:
            return {"code": USAGE, "cause": refused}
        return read_if_there(self.run.stage(stage) / "outcome.json")

    def _launch(self, stage: StagePlan) -> _Running:
        import submitit

        python = interpreter([self.run.config()], home_of(self.run), stage)
        executor = submitit.LocalExecutor(folder=self.run.path / "submitit", python=python)
        # time_minutes is for a scheduler; submitit would stop and restart the stage here.
        executor.update_parameters(timeout_min=_NO_LIMIT_MIN, gpus_per_node=0)
        devices = _devices(stage.resources.gpus_per_node)
        task = StageTask(self.run.path, stage, watched=Watched.of(), devices=devices)
        record = self.jobs.of(stage.name)
        with signals_wait():  # until the job is one that _stop_all finds
            with _without_interrupt():
                job: Any = executor.submit(task)
            pid = job._process.pid  # the public interface has no way to reach the process
            record.id, record.pid, record.created = job.job_id, pid, Watched.of(pid).created
            record.state, record.started, record.ended = "running", time.time(), None
            running = _Running(job, record, pid)
            if stage.name == AGENT:
                self._agent = running
            else:
                self._current = running
        self._save()
        return running

    def _start_agent(self, plan: StagePlan) -> None:
        """Start the agent and wait until it has announced itself."""
        self.display.say("agent: starting")
        for path in self.run.agent.glob("endpoint-*.json"):  # of one that was killed
            path.unlink(missing_ok=True)
        agent = self._launch(plan)
        started = time.monotonic()
        while not list(self.run.agent.glob("endpoint-*.json")):
            if agent.job.done():
                cause = self._outcome(agent, AGENT).get("cause") or "its job died"
                raise ChainFailed(f"the agent did not start: {cause} (logs: {self.run.agent}/logs)")
            if time.monotonic() - started > self.agent_wait_s:
                raise ChainFailed(f"the agent did not answer within {self.agent_wait_s:.0f} s")
            self.display.show(AGENT, time.monotonic() - started)
            time.sleep(_POLL_S)
        self.display.say(f"agent: answers after {time.monotonic() - started:.0f} s")

    def _look_after_agent(self) -> None:
        """Note its peak memory; its own job starts it again if it ends."""
        if self._agent is not None and not self._agent.job.done():
            now = round(memory_of_tree(self._agent.pid) / 1024**3, 2)
            self._agent.record.peak_gib = max(now, self._agent.record.peak_gib or 0.0)

    def _stop_agent(self, state: str) -> None:
        if self._agent is None:
            return
        self._stop(self._agent, state)
        self._agent = None

    def _stop_all(self, state: str) -> None:
        if self._current is not None:
            self._stop(self._current, state)
        self._stop_agent("finished" if state == "failed" else state)
        for job in self.jobs.jobs:
            if job.state == "waiting":
                job.state = NOT_STARTED

    def _stop(self, running: _Running, state: str) -> None:
        """The program first, in its own session, then submitit's process that watches it."""
        for pid in _programs(running.pid):
            stop_tree(pid, _GRACE_S)
        stop_tree(running.pid, _GRACE_S)
        if running.record.state == "running":
            running.record.state = state
            running.record.ended = time.time()
        self._save()


def _programs(pid: int) -> list[int]:
    """Descendants that lead a session of their own, which are the stages' programs."""
    import psutil

    try:
        children = psutil.Process(pid).children(recursive=True)
        return [child.pid for child in children if os.getsid(child.pid) == child.pid]
    except (psutil.NoSuchProcess, ProcessLookupError):
        return []


def _devices(count: int) -> str:
    """The first `count` GPUs that this process may use, as CUDA_VISIBLE_DEVICES."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = [str(k) for k in range(count)] if visible is None else visible.split(",")
    return ",".join(names[:count])


@contextmanager
def _terminate_as_interrupt() -> Iterator[None]:
    """SIGTERM to the submitting process ends it as Ctrl-C does."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _without_interrupt() -> Iterator[None]:
    """Processes started here don't get a terminal's Ctrl-C, which goes to its whole foreground
    group: the submitting process alone stops them, in order and with time to end well."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def summary(jobs: Jobs) -> list[tuple[str, str, str]]:
    """Stage, wall time, peak memory of a finished chain; the agent's runs beside its clients'."""
    return [
        (job.stage, f"{job.seconds or 0:.0f} s", f"{job.peak_gib or 0:.1f} GiB")
        for job in jobs.jobs
        if job.started is not None
    ]
