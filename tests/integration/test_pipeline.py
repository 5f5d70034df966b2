"""The whole path with the real parts: ms-swift, the tiny Qwen2.5-VL, the agent, the rewards.

Few steps: what is tested is that it runs, resumes and refuses, not that the model learns.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from geoagent.config import Config, resolve, to_yaml
from geoagent.evaluate.__main__ import main as evaluate
from geoagent.report.curves import read_stage
from geoagent.run import Run
from geoagent.train.__main__ import main as train
from geoagent.train.checkpoints import latest

SMALL = (
    "recipe=demo",
    "cluster=local",
    "data.scenes_per_country=4",
    "sft.max_steps=6",
    "sft.save_steps=3",
    "sft.logging_steps=1",
    "sft.batch_size=4",
    "grpo.max_steps=2",
    "grpo.save_steps=1",
    "grpo.batch_size=4",
    "grpo.gradient_accumulation=1",
    "grpo.generations=4",
    "grpo.max_completion_length=48",
    "eval.limit=6",
    "eval.max_new_tokens=48",
)


def submit(
    tmp_path: Path, *words: str, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "jobs", "submit", *words, f"runs_dir={tmp_path}/runs"]
    return subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, **(environment or {})}
    )


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run that went through all stages by one command."""
    folder = tmp_path_factory.mktemp("pipeline")
    result = submit(folder, "sft", "grpo", "eval", *SMALL, "name=all")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "uniform guess" in result.stdout
    return Run.open(folder / "runs" / "all")


def test_every_stage_left_what_it_should(finished: Run) -> None:
    for stage in ("prepare", "sft", "grpo", "eval"):
        assert finished.done_file(stage).is_file(), stage
    assert (finished.checkpoints("sft") / "checkpoint-6" / "model.safetensors").is_file()
    assert (finished.checkpoints("grpo") / "checkpoint-2" / "model.safetensors").is_file()
    assert len(rows(finished.data / "grpo.jsonl")) == len(rows(finished.data / "sft.jsonl")) == 196
    assert rows(finished.data / "rejected.jsonl") == []
    assert json.loads(finished.manifest_file.read_text())["packages"]["torch"]
    jobs = json.loads(finished.jobs_file.read_text())["jobs"]
    assert {job["state"] for job in jobs} == {"finished"}
    assert not list(finished.agent.glob("endpoint-*.json"))


def test_tensorboard_has_the_rewards(finished: Run) -> None:
    curves = read_stage(finished, "grpo")
    assert curves is not None
    for name in finished.config().rewards.weights:
        assert f"train/rewards/{name}/mean" in curves.scalars
    assert any(tag.startswith("parts/spatial/") for tag in curves.scalars)


def test_tensorboard_has_the_time_that_steps_wait_for_rewards(finished: Run) -> None:
    curves = read_stage(finished, "grpo")
    assert curves is not None
    times = {tag: curves.scalars[tag] for tag in curves.scalars if tag.startswith("time/")}
    each = [f"time/{name}_s" for name in finished.config().rewards.weights]
    assert set(times) == {*each, "time/rewards_s", "time/step_s", "time/rewards_share"}
    assert all(steps.tolist() == [1, 2] for steps, _ in times.values())
    waited, taken = times["time/rewards_s"][1], times["time/step_s"][1]
    for name in each:
        assert (times[name][1] > 0).all()
        assert (times[name][1] <= waited).all()
    assert (waited < taken).all()
    assert times["time/rewards_share"][1] == pytest.approx(waited / taken, rel=1e-4)


def test_predictions_and_metrics(finished: Run) -> None:
    folder = finished.evaluation("heldout")
    metrics = json.loads((folder / "metrics.json").read_text())
    assert set(metrics["models"]) == {"base", "sft", "grpo"}
    assert metrics["last"] == "grpo"
    greedy = [row for row in rows(folder / "predictions.jsonl") if row["model"] == "sft"]
    assert len(greedy) == 6
    assert set(greedy[0]["rewards"]) == set(finished.config().rewards.weights)
    assert "GRPO" in (folder / "table.txt").read_text()


def distance(first: Path, second: Path) -> float:
    """Mean absolute difference of two models' language weights."""
    one, two = (load_file(folder / "model.safetensors") for folder in (first, second))
    names = [name for name in one if "layers" in name and "visual" not in name]
    assert names
    return sum(float((one[name] - two[name]).abs().mean()) for name in names) / len(names)


def test_in_process_stages_resume_and_evaluate(finished: Run, tmp_path: Path) -> None:
    """The same programs in this process: SFT goes on from its checkpoint, then evaluation."""
    copy = tmp_path / "copy"
    shutil.copytree(finished.path, copy, ignore=shutil.ignore_patterns("grpo", "eval", "code"))
    config = resolve([*SMALL, "sft.max_steps=8", "rewards.weights.consistency=0", "name=copy"])
    (copy / "config.yaml").write_text(to_yaml(config))
    assert train(["prepare", "--run", str(copy)]) == 0
    before = len(rows(copy / "sft" / "checkpoints" / "logging.jsonl"))
    assert train(["sft", "--run", str(copy)]) == 0
    logged = rows(copy / "sft" / "checkpoints" / "logging.jsonl")[before:]
    steps = [int(row["global_step/max_steps"].split("/")[0]) for row in logged if "loss" in row]
    assert min(steps) > 6, "training began again from the start"
    checkpoints = copy / "sft" / "checkpoints"
    again = distance(checkpoints / "checkpoint-8", copy / "model")
    assert distance(checkpoints / "checkpoint-8", checkpoints / "checkpoint-6") < again / 2, (
        "training went on with the weights it began with"
    )
    assert evaluate(["--run", str(copy)]) == 0
    assert (copy / "eval" / "heldout" / "metrics.json").is_file()


def test_two_processes_on_this_machine(tmp_path: Path) -> None:
    result = submit(tmp_path, "sft", *SMALL, "cluster.sft.processes_per_node=2", "name=two")
    assert result.returncode == 0, result.stdout + result.stderr
    log = tmp_path / "runs" / "two" / "sft" / "logs" / "attempt-1" / "err.log"
    assert "OMP_NUM_THREADS environment variable for each process" in log.read_text()  # torchrun


def test_a_stopped_training_has_saved_and_goes_on_by_its_name(tmp_path: Path) -> None:
    run = Run(tmp_path / "runs" / "stopped")
    words = [*SMALL, "sft.max_steps=40", "sft.save_steps=1000", f"runs_dir={run.path.parent}"]
    command = [sys.executable, "-m", "jobs", "submit", "sft", *words, "name=stopped"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    log = run.checkpoints("sft") / "logging.jsonl"  # a row each step; progress.json: each second
    deadline = time.monotonic() + 600
    while not log.is_file() or log.read_text().count("\n") < 3:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.terminate()
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "--resume name=stopped" in output
    saved = latest(run.checkpoints("sft"))
    assert saved is not None
    assert not run.done_file("sft").exists()
    result = submit(tmp_path, "sft", "--resume", "name=stopped")
    assert result.returncode == 0, result.stderr
    assert f"sft: started, goes on from {saved.name}" in result.stdout
    logged = rows(log)
    steps = [int(row["global_step/max_steps"].split("/")[0]) for row in logged if "loss" in row]
    assert steps == list(range(1, 41))


def test_an_agent_that_is_down_stops_training_and_scores_nothing(
    finished: Run, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(finished.path, copy, ignore=shutil.ignore_patterns("grpo", "eval", "code"))
    (copy / "agent" / "answers.jsonl").unlink(missing_ok=True)
    settings = [*SMALL, "name=copy", "agent.patience_s=1"]
    # Completions of an untrained model ask nothing: ask about the true chains of thought.
    (copy / "config.yaml").write_text(to_yaml(resolve(settings)))
    code = (
        "import asyncio, json, os, sys\n"
        "from pathlib import Path\n"
        "from geoagent.compat import prepare_torch\n"
        "prepare_torch()\n"
        "from geoagent.agent.client import AgentClient\n"
        "AgentClient.check = lambda self: None\n"  # it goes away after training has begun
        "from geoagent.train import plugin\n"
        "from swift.rewards import orms\n"
        "row = json.loads(Path(sys.argv[1], 'data/sft.jsonl').read_text().splitlines()[0])\n"
        "text = row['messages'][1]['content']\n"
        "print(asyncio.run(orms['format']()([text], solution=['x'])))\n"
        "print('reward:', asyncio.run(orms['consistency']()([text], solution=['x'])))\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, str(copy)],
        capture_output=True,
        text=True,
        env={**os.environ, "GEOAGENT_RUN": str(copy), "GEOAGENT_STAGE": "grpo"},
    )
    assert "[1.0]" in result.stdout
    assert result.returncode == 75, result.stderr
    assert "reward:" not in result.stdout
    assert "error: the consistency agent has not answered for" in result.stderr
    assert "waiting for the consistency agent" in result.stderr


def test_an_agent_that_is_down_is_noticed_before_training(finished: Run, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(finished.path, copy, ignore=shutil.ignore_patterns("grpo", "eval", "code"))
    settings = [*SMALL, "name=copy", "agent.patience_s=1"]
    (copy / "config.yaml").write_text(to_yaml(resolve(settings)))
    code = [sys.executable, "-m", "geoagent.train", "grpo", "--run", str(copy)]
    result = subprocess.run(code, capture_output=True, text=True)
    assert result.returncode == 75, result.stderr
    assert "error: the consistency agent has not answered for" in result.stderr
    assert not (copy / "grpo" / "progress.json").exists()


def dataset(folder: Path, latitude: float = 1.0, image: bytes | None = None) -> Path:
    from PIL import Image

    folder.mkdir()
    Image.new("RGB", (112, 112)).save(folder / "good.png")
    (folder / "bad.jpg").write_bytes(image or b"\xff\xd8 cut")
    think = json.dumps({"ChainOfThought": {}, "FinalAnswer": "France; Paris"})
    base = {"latitude": 48.8, "longitude": 2.3, "country": "France", "city": "Paris"}
    lines: list[object] = [
        "no object",
        {**base, "id": "other", "image": "good.png", "split": "hold-out"},
        {**base, "id": "good", "image": "good.png", "think": think},
        {**base, "id": "none"},
        {**base, "id": "corrupt", "image": "bad.jpg"},
        {**base, "id": "far", "image": "good.png", "latitude": 123},
    ]
    (folder / "records.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return folder


def prepared(
    tmp_path: Path, *more: str, then: tuple[str, ...] = ("sft", "grpo")
) -> tuple[int, Path]:
    run = tmp_path / "run"
    run.mkdir()
    folder = dataset(tmp_path / "data")
    words = [*SMALL, "data.name=mine", f"data.path={folder}", *more]
    config: Config = resolve(words)
    (run / "config.yaml").write_text(to_yaml(config))
    return train(["prepare", "--then", *then, "--run", str(run)]), run


def test_bad_rows_are_left_out_and_listed(tmp_path: Path) -> None:
    code, run = prepared(tmp_path)
    assert code == 0
    assert [row["id"] for row in rows(run / "data" / "sft.jsonl")] == ["good"]
    reasons = {row["id"]: row["reason"] for row in rows(run / "data" / "rejected.jsonl")}
    assert reasons["none"] == "image: missing"
    assert "cannot be decoded" in reasons["corrupt"]
    assert "latitude: 123 is out of range" in reasons["far"]
    summary = json.loads((run / "prepare" / "done.json").read_text())["summary"]
    assert summary.startswith(
        "1 samples to train on, 0 held out; 4 rows refused, the first in line 1: not a JSON object"
    )
    assert summary.endswith("rejected.jsonl); not used: split hold-out (1)")


def test_strict_stops_at_the_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _ = prepared(tmp_path, "data.strict=true")
    assert code == 2
    assert "records.jsonl:1: not a JSON object" in capsys.readouterr().err


def test_nothing_usable(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _ = prepared(tmp_path, "data.train_split=other")
    assert code == 2
    assert "no usable record in split 'other'" in capsys.readouterr().err


def test_nothing_to_evaluate_on_is_said_before_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, run = prepared(tmp_path, then=("sft", "eval"))
    assert code == 2
    assert "no usable record in split 'heldout' (data.eval_split)" in capsys.readouterr().err
    assert not (run / "prepare" / "done.json").exists()


def test_sft_without_chains_of_thought_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, run = prepared(tmp_path, "grpo.start_from=base", then=("grpo",))
    assert code == 0
    (run / "data" / "sft.jsonl").unlink()  # as of rows without a chain
    assert train(["sft", "--run", str(run)]) == 2
    assert "there is no row that sft can use" in capsys.readouterr().err


def test_data_without_a_path_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "config.yaml").write_text(to_yaml(resolve([*SMALL, "data.name=mine"])))
    started = time.time()
    assert train(["prepare", "--run", str(tmp_path)]) == 2
    assert "data.path: is needed for data.name=mine" in capsys.readouterr().err
    assert time.time() - started < 60
