"""How a stage's job runs its program, with programs that only pretend."""

from __future__ import annotations

from pathlib import Path

import pytest

from geoagent.config import StageResources, resolve
from jobs.plan import StagePlan
from jobs.rundir import new_run, run_path
from jobs.stage import StageFailed, StageTask

PROGRAM = """
import os, pathlib, signal, sys
run = pathlib.Path(sys.argv[sys.argv.index("--run") + 1])
with (run / "starts").open("a") as file:
    file.write("1")
os.kill(os.getpid(), int(sys.argv[1]))
"""


@pytest.mark.parametrize(("number", "starts"), [("15", "1"), ("11", "111")])
def test_an_agent_that_was_asked_to_end_is_not_started_again(
    tmp_path: Path, number: str, starts: str
) -> None:
    config = resolve(["recipe=demo", f"runs_dir={tmp_path}", "name=first"])
    run = new_run(config, run_path(config, ["sft"]))
    (run.code / "stand_in.py").write_text(PROGRAM)
    agent = StagePlan("agent", ("stand_in", number), StageResources())
    with pytest.raises(StageFailed):
        StageTask(run.path, agent)()
    assert (run.path / "starts").read_text() == starts
