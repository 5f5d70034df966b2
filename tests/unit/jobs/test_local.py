"""Jobs on this machine; tests/integration/test_local_chain.py has more."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import submitit

from geoagent.config import StageResources, resolve
from jobs.display import Display
from jobs.local import LocalChain
from jobs.plan import Plan, StagePlan
from jobs.processes import Watched, alive
from jobs.rundir import new_run, run_path
from jobs.state import Jobs


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_a_job_is_being_started_stops_it_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    config = resolve(["recipe=demo", f"runs_dir={tmp_path}", "name=first"])
    run = new_run(config, run_path(config, ["sft"]))
    (run.code / "stand_in.py").write_text("import time\ntime.sleep(600)\n")
    plan = Plan((StagePlan("sft", ("stand_in",), StageResources()),), None, ())
    submit = submitit.LocalExecutor.submit

    def interrupted(self: Any, *task: Any) -> Any:
        job = submit(self, *task)
        os.kill(os.getpid(), number)
        return job

    monkeypatch.setattr(submitit.LocalExecutor, "submit", interrupted)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with Display(run) as display:
            chain = LocalChain(run, plan, display, agent_wait_s=20)
            with pytest.raises(KeyboardInterrupt):
                chain.execute()
    finally:
        signal.signal(signal.SIGINT, before)
    job = Jobs.load(run).of("sft")
    assert job.state == "cancelled"
    assert job.pid
    assert job.created
    assert not alive(Watched(job.pid, job.created))
