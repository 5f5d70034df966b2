"""What `status` says of jobs that failed on a real Slurm, and what to type next."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

from geoagent.files import read_jsonl
from geoagent.run import Run

from .faults import Faults
from .helpers import SMALL, User, until

ONE = ("cluster.sft.nodes=1", "cluster.sft.processes_per_node=1")
NO_AGENT = "rewards.weights.consistency=0"


def _places(user: User, run: Run) -> tuple[list[str], list[int]]:
    """Lines of `status`, and which of them have a next action below."""
    lines = user.jobs("status", str(run.path)).stdout.splitlines()
    return lines, [k for k in range(len(lines) - 1) if "  next: " in lines[k + 1]]


def said(user: User, run: Run, stage: str) -> tuple[str, str]:
    """Cause and next action of a stage."""
    # Stages after it are cancelled by Slurm, whose accounting knows it a moment later.
    until(lambda: len(_places(user, run)[1]) == 1, 60)
    lines, (place,) = _places(user, run)
    assert lines[place].startswith(f"{stage}: ")
    return lines[place].removeprefix(f"{stage}: "), lines[place + 1].removeprefix("  next: ")


def test_out_of_memory(user: User, faults: Faults) -> None:
    memory = ("cluster.sft.memory_gb=1", "cluster.sft.gpus_per_node=2")
    # Slurm looks at the memory every two seconds: six steps could be done in between.
    long = ("sft.batch_size=40", "sft.max_steps=500")
    run = user.submit("sft", "grpo", *SMALL, *ONE, *memory, *long, NO_AGENT)
    assert user.wait(run, "sft") in ("FAILED", "OUT_OF_MEMORY"), user.logs(run)
    cause, step = said(user, run, "sft")
    assert cause == "out of memory"
    assert "submit sft grpo --resume name=run" in step
    assert step.endswith("cluster.sft.memory_gb=2")
    document = json.loads(user.jobs("status", str(run.path), "--json").stdout)
    rows = {row["stage"]: row for row in document["jobs"]}
    assert list(rows) == ["prepare", "sft", "grpo"]
    assert (rows["sft"]["state"], rows["grpo"]["state"]) == ("failed", "cancelled")
    assert (rows["sft"]["cause"], rows["sft"]["next"]) == (cause, step)
    assert rows["prepare"]["hours"] is None  # it has no GPU, and others have
    hours = rows["sft"]["hours"]
    assert hours["used"] == rows["sft"]["seconds"] * 2 / 3600 > 0
    assert (hours["unit"], hours["expected"], hours["bound"]) == ("GPU", 2.0, True)
    # What it says can be typed, and is enough.
    words = shlex.split(step)[3:]
    assert shlex.split(step)[1:3] == ["-m", "jobs"]
    again = user.jobs(*words, "--dry-run")
    assert again.returncode == 0, again.stderr
    faults("training needs more memory than its job has", f'stopped: "{cause}"')


def test_a_setting_that_cannot_work(user: User, tmp_path: Path) -> None:
    """It is not known at submission: nobody looks at all pictures there."""
    from geoagent.data.sample import build_sample

    data = tmp_path / "data"
    build_sample(data, scenes_per_country=4)
    first = next(read_jsonl(data / "records.jsonl"))
    (data / first["image"]).unlink()
    run = user.submit("sft", *SMALL, *ONE, f"data.path={data}", "data.strict=true", NO_AGENT)
    assert user.wait(run, "prepare") == "FAILED", user.logs(run)
    cause, step = said(user, run, "prepare")
    assert first["image"] in cause
    assert step.startswith("mend that; then: ")
    assert step.endswith(f"submit sft --resume name=run runs_dir={user.runs}")
