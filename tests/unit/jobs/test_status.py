"""What `status` shows of a run, from its files and what Slurm would say."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from geoagent.agent.endpoint import Endpoint, endpoint_file
from geoagent.config import Config, resolve, to_yaml
from geoagent.files import write_json
from geoagent.run import Run
from jobs import status, watch
from jobs.accounting import Facts
from jobs.advice import next_step
from jobs.health import agent_health
from jobs.state import JobRecord, Jobs
from jobs.status import Hours, rows, show_status


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run in runs/ of the current directory, as on a cluster with eight GPUs a node."""
    monkeypatch.chdir(tmp_path)
    config = resolve(["recipe=geoagent", "cluster=slurm", "name=first"])
    run = Run(tmp_path / "runs" / "first")
    run.path.mkdir(parents=True)
    run.config_file.write_text(to_yaml(config))
    return run


Known = Callable[..., Jobs]


@pytest.fixture
def known(run: Run, monkeypatch: pytest.MonkeyPatch) -> Known:
    """Jobs of the run, of which Slurm says this."""

    def make(**facts: Facts) -> Jobs:
        jobs = Jobs("slurm", jobs=[JobRecord(name, f"job-{name}") for name in facts])
        said = {f"job-{name}": fact for name, fact in facts.items()}
        monkeypatch.setattr(watch, "facts", lambda ids: said)
        monkeypatch.setattr(status, "facts", lambda ids: said)
        jobs.save(run)
        return watch.refresh(run, jobs)

    return make


def test_hours_used_and_expected(run: Run, known: Known) -> None:
    write_json(
        run.progress_file("sft"),
        {"step": 30, "first": 20, "total": 50, "began": 1000.0, "updated": 1600.0},
    )
    jobs = known(
        prepare=Facts("finished", None, 60, "n1", 1, 0, 480),
        # Twice: the first attempt took half an hour of eight GPUs.
        sft=Facts("running", None, 900, "n2", 2, 8 * (1800 + 900), 0),
        grpo=Facts("waiting", None, 0, "", 1, 0, 0),
    )
    prepare, sft, grpo = rows(run, jobs)
    assert prepare.hours is None
    assert sft.left == 600 / 10 * 20
    assert sft.hours == Hours("GPU", 6.0, 6.0 + 8 * 1200 / 3600, bound=False)
    assert grpo.hours == Hours("GPU", 0.0, 8 * 48.0, bound=True)
    assert (sft.attempt, sft.step, sft.total, sft.nodes) == (None, 30, 50, "n2")


def test_hours_of_earlier_submissions(run: Run, known: Known) -> None:
    jobs = known(
        sft=Facts("finished", None, 900, "n2", 1, 3600, 0),
        before=Facts("cancelled", None, 900, "n2", 1, 7200, 0),
    )
    jobs.jobs.pop()
    jobs.earlier = {"sft": ["job-before"]}
    (row,) = rows(run, jobs)
    assert row.hours == Hours("GPU", 3.0, 8 * 24.0)


def test_cores_where_there_are_no_gpus(run: Run, known: Known) -> None:
    config = run.config()
    for name in ("prepare", "sft", "grpo", "eval", "agent"):
        getattr(config.cluster, name).gpus_per_node = 0
    run.config_file.write_text(to_yaml(config))
    (row,) = rows(run, known(prepare=Facts("finished", None, 60, "n1", 1, 0, 8 * 360)))
    assert row.hours == Hours("CPU", 0.8, 8 * 120 / 60)


def test_a_page_and_a_document(run: Run, known: Known, capsys: pytest.CaptureFixture[str]) -> None:
    metrics = {"rewards/spatial/mean": 0.5, "loss": 0.25, "reward": 1.5}
    write_json(run.progress_file("grpo"), {"step": 3, "total": 9, "metrics": metrics})
    known(
        sft=Facts("failed", "out of memory", 90, "n1", 1, 8 * 90, 0),
        grpo=Facts("cancelled", None, 0, ""),
    )
    show_status(run)
    shown = capsys.readouterr().out
    assert "GPU-hours" in shown
    assert "0.20 of ≤192" in shown
    assert "reward 1.5" in shown
    assert "grpo: spatial 0.5, loss 0.25, reward 1.5" in shown
    assert "sft: out of memory\n  next: " in shown
    show_status(run, as_json=True)
    document = json.loads(capsys.readouterr().out)
    assert [row["stage"] for row in document["jobs"]] == ["sft", "grpo"]
    assert document["jobs"][0]["hours"]["used"] == 0.2
    known(sft=Facts("cancelled", None, 0, ""))
    show_status(run)
    assert "-m jobs submit sft --resume name=first" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("cause", "code", "step"),
    [
        ("out of time, more often than cluster.requeues", None, "cluster.sft.time_minutes=2880"),
        ("out of memory", None, "cluster.sft.memory_gb=GIB"),
        ("a GPU of its node is broken", 1, "cluster.additional.exclude=n7"),
        ("its node failed", None, "submit sft grpo --resume name=first"),
        ("the disk is full", 1, "free some space; then: "),
        ("out of GPU memory", 1, "runs/first/config.yaml name=first-2 sft.batch_size=1"),
        ("data.path: /x: there is no such folder", 2, "mend that; then: "),
        ("the consistency agent has not answered for 600 s", 75, "logs runs/first agent; then"),
        ("ValueError: bad shape", 1, "logs runs/first sft; then: "),
    ],
)
def test_what_to_do_next(run: Run, cause: str, code: int | None, step: str) -> None:
    job = JobRecord("sft", "1", "failed", cause=cause, nodes="n7")
    jobs = [JobRecord("prepare", "0", "finished"), job, JobRecord("grpo", "2", "cancelled")]
    assert step in next_step(run, job, jobs, code)


def shard(run: Run, index: int, step: int, **more: Any) -> Path:
    folder = run.stage("eval") / "shards" / f"{index}-of-2"
    counted = {"step": step, "first": 0, "total": 10, "began": 100.0, "updated": 110.0}
    write_json(folder / "progress.json", counted)
    for name, document in more.items():
        write_json(folder / f"{name}.json", document)
    return folder


def test_shards_are_one_row(run: Run, known: Known) -> None:
    shard(run, 0, 10, done={"missing": 6})
    shard(run, 1, 4)
    (row,) = rows(run, known(eval=Facts("running", None, 20, "n1,n2", 1, 40, 0)))
    assert (row.step, row.total, row.note) == (14, 20, "1 of 2 shards have ended")
    assert row.left == 10 / 14 * 6
    shard(run, 1, 4, outcome={"code": 1, "cause": "ValueError: bad shape"})
    (row,) = rows(run, known(eval=Facts("failed", None, 20, "n1,n2", 1, 3600, 0)))
    assert row.cause == "ValueError: bad shape"
    assert row.next is not None
    assert row.next.endswith("sbatch --array=0-1 jobs/eval.sbatch runs/first")
    assert row.hours == Hours("GPU", 1.0)
    write_json(run.progress_file("eval"), {"step": 20, "total": 20, "message": "scoring"})
    future = time.time() + 10
    os.utime(run.progress_file("eval"), (future, future))
    (row,) = rows(run, known(eval=Facts("running", None, 20, "n1", 1, 40, 0)))
    assert row.note == "scoring"


def test_shards_whose_files_are_just_removed(
    run: Run, known: Known, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = known(eval=Facts("running", None, 20, "n1", 1, 40, 0))
    progress = shard(run, 0, 4) / "progress.json"
    progress.write_text("")  # between its time and its text
    (row,) = rows(run, jobs)
    assert (row.step, row.note) == (None, "")
    progress.unlink()
    glob = Path.glob

    def listed(folder: Path, pattern: str) -> Iterator[Path]:
        return iter([progress]) if pattern.startswith("shards/") else glob(folder, pattern)

    monkeypatch.setattr(Path, "glob", listed)  # between its name and its time
    (row,) = rows(run, jobs)
    assert (row.step, row.note) == (None, "")


@pytest.fixture
def serve() -> Iterator[Callable[[int], str]]:
    """Servers that answer everything with this status."""
    servers: list[ThreadingHTTPServer] = []

    def start(code: int) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(code)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}/v1"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_agents_are_asked(run: Run, serve: Callable[[int], str]) -> None:
    config = run.config()
    config.agent.replicas = 2
    assert agent_health(run, config, on_slurm=True) == "none announced yet"
    Endpoint(serve(200), "m", "t").write(endpoint_file(run.agent, 0))
    assert agent_health(run, config, on_slurm=True) == "1 of 2 answers"
    assert agent_health(run, config, on_slurm=False) == "1 of 1 answers"
    Endpoint(serve(401), "m", "t").write(endpoint_file(run.agent, 1))
    assert agent_health(run, config, on_slurm=True) == "2 of 2 answer"
    Endpoint("http://127.0.0.1:9/v1", "m", "t").write(endpoint_file(run.agent, 1))
    assert agent_health(run, config, on_slurm=True) == "1 of 2 answers"
    Endpoint(serve(503), "m", "t").write(endpoint_file(run.agent, 0))
    assert agent_health(run, config, on_slurm=True) == "0 of 2 answer"


def test_an_external_agent_is_asked_without_its_token(
    run: Run, serve: Callable[[int], str], known: Known
) -> None:
    config: Config = run.config()
    config.agent.backend, config.agent.url = "external", serve(401)
    assert agent_health(run, config, on_slurm=True) == "answers"
    config.agent.url = "http://127.0.0.1:9/v1"
    assert agent_health(run, config, on_slurm=True) == "http://127.0.0.1:9/v1 does not answer"
    run.config_file.write_text(to_yaml(config))
    write_json(run.progress_file("grpo"), {"step": 0, "message": "waiting"})
    (row,) = rows(run, known(grpo=Facts("running", None, 20, "n1")))
    assert row.note == "waiting  agent http://127.0.0.1:9/v1 does not answer"
