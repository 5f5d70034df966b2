"""Jobs inside an image on a real Slurm: a real container runtime (Charliecloud), real signals,
files and exit codes. Apptainer is called by the same script; tests/unit/jobs/test_container.py has
its command line."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from geoagent.run import Run

from .helpers import SMALL, User, until
from .image import SETTINGS, make_image, missing, squash
from .test_eval_sbatch import ended, sbatch
from .test_interruptions import wait_for_step

LONG = ("sft.max_steps=60", "sft.batch_size=20", "sft.save_steps=1000", "sft.logging_steps=1")
ONE_NODE = ("cluster.sft.nodes=1", "cluster.sft.processes_per_node=1")


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if missing():
        pytest.skip(f"not installed: {', '.join(missing())}; make container-packages")
    return make_image(tmp_path_factory.mktemp("image"))


def inside(image: Path, *words: str) -> tuple[str, ...]:
    return (*SMALL, *SETTINGS, f"container.train_image={image}", *words)


def attempt(run: Run, stage: str, number: int = 1) -> dict[str, str]:
    found: dict[str, str] = json.loads(
        (run.stage(stage) / "logs" / f"attempt-{number}" / "attempt.json").read_text()
    )
    return found


def said(user: User, run: Run) -> str:
    return user.jobs("status", str(run.path)).stdout


def test_a_whole_run_on_two_nodes_with_its_agent(user: User, image: Path) -> None:
    run = user.submit(
        *("sft", "grpo", "eval"), *inside(image, "cluster.check_nodes=true"), name="whole"
    )
    for stage in ("prepare", "sft", "grpo", "eval"):
        assert user.wait(run, stage) == "COMPLETED", user.logs(run)
    written = json.loads(run.manifest_file.read_text())["images"]["train"]
    for stage in ("prepare", "sft", "grpo", "eval", "agent"):
        assert attempt(run, stage)["image"] == f"{image}@sha256:{written['sha256']}"
    assert (run.evaluation("heldout") / "metrics.json").is_file()
    shown = said(user, run)
    assert "failed" not in shown, shown
    left = [*user.cluster.layout.scratch.glob(f"*/geoagent-{os.getuid()}-*")]
    until(lambda: not [path for path in left if path.exists()], 90, lambda: f"{left}")


def test_a_job_that_is_warned_saves_and_goes_on(user: User, image: Path) -> None:
    """The signal reaches the program inside; the requeue is asked for from there."""
    run = user.submit(
        "sft", *inside(image, *LONG, *ONE_NODE, "cluster.sft.partition=low"), name="warned"
    )
    wait_for_step(user, run, 5)
    user.cluster.slurm("srun", "-p", "normal", "-N3", "--exclusive", "sleep", "3")
    assert user.wait(run, "sft") == "COMPLETED", user.logs(run)
    assert attempt(run, "sft", 2)["image"] == attempt(run, "sft")["image"]
    steps = [
        json.loads(line)
        for line in (run.checkpoints("sft") / "logging.jsonl").read_text().splitlines()
    ]
    assert sum("loss" in row for row in steps) == 60  # none twice


def test_cancel_leaves_nothing_behind(user: User, image: Path) -> None:
    run = user.submit("sft", *inside(image, *LONG, *ONE_NODE), name="cancelled")
    wait_for_step(user, run, 3)
    assert user.jobs("cancel", str(run.path)).returncode == 0
    user.leaves_queue(run, "sft")
    # What runs Slurm's commands for the image looks once a second whether it is still needed.
    until(lambda: not processes_of(run), 10, lambda: processes_of(run))


def processes_of(run: Run) -> str:
    """Process ids and command lines."""
    listed = ["pgrep", "-af", str(run.path)]
    return subprocess.run(listed, capture_output=True, text=True).stdout


def test_what_fails_inside_is_told_outside(user: User, image: Path) -> None:
    run = user.submit("prepare", *inside(image), name="breaks")
    assert user.wait(run, "prepare") == "COMPLETED", user.logs(run)
    (run.path / "data" / "sft.jsonl").write_text("no rows\n")
    user.submit("sft", "--resume", name="breaks")
    assert user.wait(run, "sft") == "FAILED"
    until(lambda: "DatasetGenerationError" in said(user, run), 30)


def test_an_image_that_changes_in_the_queue(user: User, image: Path, tmp_path: Path) -> None:
    copy = tmp_path / "train.sqfs"
    copy.write_bytes(image.read_bytes())
    waits = "cluster.additional={begin: now+1hour}"
    run = user.submit("prepare", *inside(copy, waits), name="changed")
    with copy.open("ab") as file:
        file.write(b"more")
    user.cluster.slurm("scontrol", "update", f"jobid={job_of(run)}", "starttime=now")
    assert user.wait(run, "prepare") == "FAILED"
    until(lambda: "is another one than at submission" in said(user, run), 30)


def job_of(run: Run) -> str:
    found: str = json.loads(run.jobs_file.read_text())["jobs"][0]["id"]
    return found


def test_a_node_without_the_gpus_that_it_promises(user: User, image: Path) -> None:
    asks = ("cluster.prepare.gpus_per_node=1",)
    run = user.submit("prepare", *inside(image, *asks), name="no-gpu")
    assert user.wait(run, "prepare") == "FAILED"
    until(lambda: "there is no /dev/nvidia* here" in said(user, run), 30)


def test_an_image_without_the_package(user: User, image: Path, tmp_path: Path) -> None:
    """Refused before anything is written or queued; so is what else can be known by then."""
    words = ("submit", "sft", *SMALL, f"runs_dir={user.runs}", "name=never")
    runtime = "container.runtime=charliecloud"
    bare = squash(image.parent / "root", tmp_path / "bare.sqfs", "opt/geoagent/lib")
    cases = {
        f"container.train_image={bare}": "lacks aiohttp, geoagent, httpx, omegaconf",
        "container.train_image=/nowhere.sqfs": "there is no such file",
        f"container.train_image={image}@sha256:{'0' * 64}": "is asked for: it is another image",
        f"container.train_image={image} container.binds=[/no/where]": "/no/where: is not there",
    }
    for setting, problem in cases.items():
        result = user.jobs(*words, runtime, *setting.split())
        assert result.returncode == 2, result.stdout
        assert problem in result.stderr
    assert not user.runs.exists()


def test_eval_sbatch(user: User, image: Path) -> None:
    """The batch script runs outside, and all that it does inside."""
    run = user.submit("prepare", *inside(image), name="evaluated")
    assert user.wait(run, "prepare") == "COMPLETED", user.logs(run)
    job = sbatch(user, run, "eval.batch_size=2")
    assert set(ended(user, run, job).values()) == {"COMPLETED"}
    assert attempt(run, "eval")["image"].startswith(str(image))
    assert (run.evaluation("heldout") / "metrics.json").is_file()
