"""The agent fails in every way that was thought of, under GRPO that asks it: no reward is wrong.

All runs are copies of one whose SFT has learnt the form, so that there is something to ask about.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, replace

import psutil
import pytest

from geoagent.agent.client import AgentClient
from geoagent.agent.endpoint import Endpoint, endpoint_file, read_endpoints
from geoagent.errors import UsageError
from geoagent.files import read_json, read_jsonl, write_json
from geoagent.rewards.consistency import Consistency
from geoagent.run import Run
from geoagent.train.checkpoints import latest
from jobs.state import Jobs
from tests.loopback import nobody

from .faults import Faults
from .helpers import User, until
from .learnt import STEPS, copy
from .proxy import GARBAGE, GOOD, SILENT, STATUS, WRONG_ID, Spoiler

PLAN = [(GOOD, 1), (SILENT, 4)]  # the first is asked before training begins
for _spoilt in (GARBAGE, WRONG_ID, *STATUS):
    PLAN += [(GOOD, 2), (_spoilt, 12)]  # more than the retries of the four questions under way


@pytest.fixture(scope="session")
def judge(learnt: Run, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    """The agent again, which nothing disturbs."""
    run = Run(tmp_path_factory.mktemp("judge"))
    shutil.copy(learnt.config_file, run.config_file)
    command = [sys.executable, "-m", "geoagent.agent.server", "--run", str(run.path)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until(lambda: bool(read_endpoints(run.agent)))
        yield read_endpoints(run.agent)[0]
    finally:
        process.terminate()
        process.wait(timeout=120)


@pytest.fixture(scope="module")
def doomed(cluster: object, learnt: Run, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """Training that fails at once, with an agent of its own; looked at after the other tests."""
    user = User(cluster, tmp_path_factory.mktemp("doomed"))  # type: ignore[arg-type]
    run = copy(learnt, user)
    run.dataset("grpo").unlink()
    yield user.submit("grpo", "--resume")
    user.jobs("cancel", str(run.path))


def errors(run: Run) -> str:
    """What GRPO has said on standard error."""
    return "".join(path.read_text() for path in sorted(run.stage("grpo").glob("logs/*/err.log")))


def step(run: Run) -> int:
    path = run.progress_file("grpo")
    return int(json.loads(path.read_text())["step"]) if path.is_file() else 0


def steps(run: Run) -> list[int]:
    """Every step that was trained, in the order of training."""
    rows = read_jsonl(run.checkpoints("grpo") / "logging.jsonl")
    return [int(row["global_step/max_steps"].partition("/")[0]) for row in rows if "loss" in row]


def live(run: Run) -> list[Endpoint]:
    """Announced, with a process that still runs."""
    return [e for e in read_endpoints(run.agent) if psutil.pid_exists(e.pid)]


def wrong_rewards(run: Run, judge: Endpoint) -> int:
    """How many of the rewards that training got are others than the undisturbed agent's answers
    give. What is compared is neither little nor all 0, as an outage would make it."""
    config = run.config()
    client = AgentClient(replace(config.agent, backend="llama_cpp"), endpoints=[judge])
    reward = Consistency(config.rewards.consistency, client)
    compared: list[tuple[float, float]] = []
    for row in read_jsonl(run.checkpoints("grpo") / "completions.jsonl"):
        compared += zip(row["consistency"], reward(row["completion"]), strict=True)
    client.close()
    assert client.stats.invalid == 0
    assert len(compared) >= 8 * STEPS
    assert sum(right > 0 for _, right in compared) >= len(compared) // 4
    return sum(got != pytest.approx(right, abs=1e-6) for got, right in compared)


def check(user: User, run: Run, judge: Endpoint) -> dict[str, int]:
    """Training went on to its end; the figures of a fault's row."""
    state = user.wait(run, "grpo")
    assert state == "COMPLETED", f"{state}\n{user.logs(run)}"
    trained = Counter(steps(run))
    assert sorted(trained) == list(range(1, STEPS + 1))
    stats = read_json(run.agent / "stats-grpo-rank-0.json")
    assert stats["invalid"] == 0
    assert stats["retried"] > 0
    wrong = wrong_rewards(run, judge)
    assert wrong == 0
    result = latest(run.checkpoints("grpo"))
    assert result is not None
    lost = STEPS - int(result.name.removeprefix("checkpoint-"))
    return {"twice": trained.total() - STEPS, "lost": lost, "wrong": wrong}


@pytest.mark.usefixtures("doomed")
def test_an_agent_that_misbehaves(
    user: User, learnt: Run, judge: Endpoint, faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = copy(learnt, user)
    with Spoiler(judge, PLAN) as spoiler:
        monkeypatch.setenv("GEOAGENT_AGENT_TOKEN", "wrong")
        external = ("agent.backend=external", f"agent.url={spoiler.url}")
        user.submit("grpo", "--resume", *external, "agent.request_timeout_s=15")
        assert user.wait(run, "grpo") == "FAILED", user.logs(run)
        said = user.jobs("status", str(run.path)).stdout
        cause = "put the right one into the environment variable GEOAGENT_AGENT_TOKEN"
        assert cause in " ".join(said.split())
        scored = len([*run.checkpoints("grpo").glob("**/completions.jsonl")])
        assert scored == 0
        assert not spoiler.hits

        monkeypatch.setenv("GEOAGENT_AGENT_TOKEN", spoiler.token)
        user.submit("grpo", "--resume")
        figures = check(user, run, judge)
        for kind, count in PLAN[1:]:
            assert kind == GOOD or spoiler.hits[kind] == count
    faults(
        "external agent, wrong token", f'stopped: "… refuses the token …; {cause}"', wrong=scored
    )
    for kind, _ in PLAN:
        if kind != GOOD:
            faults(f"agent {kind}", "survived: asked again until it answered", **figures)


def test_a_wrong_token_and_a_killed_server(
    user: User, learnt: Run, judge: Endpoint, faults: Faults
) -> None:
    run = copy(learnt, user)
    user.submit("grpo", "--resume", "cluster.agent.partition=low")
    until(lambda: step(run) >= 1, seconds=600)
    (first,) = live(run)
    # In mid-training, until training has noticed; then the server renews its file by itself.
    until(lambda: mistaken(run, first))
    until(lambda: live(run)[0].token == first.token)
    until(lambda: under_way(run) > 0)
    os.kill(first.pid, signal.SIGKILL)
    until(lambda: any(agent.pid != first.pid for agent in live(run)))
    figures = check(user, run, judge)
    job = Jobs.load(run).of("agent").id
    shown = user.cluster.slurm("sacct", "-X", "-n", "-P", "-o", "Partition", "-j", job)
    assert shown.split() == ["low"]
    faults("wrong token in the endpoint file", "survived: waited until it was right", **figures)
    faults(
        "agent killed with SIGKILL during a batch",
        "survived: started again in its job, asked again",
        **figures,
    )


def mistaken(run: Run, endpoint: Endpoint) -> bool:
    """Put a wrong token into the file; whether training has noticed."""
    replace(endpoint, token="wrong").write(endpoint_file(run.agent, 0))
    return "refuses the token (401)" in errors(run)


def under_way(run: Run) -> int:
    """Questions that llama.cpp works at."""
    text = (run.agent / "logs" / "replica-0.log").read_text(errors="replace")
    return text.count("| processing task") - text.count("| stop processing")


def test_all_replicas_gone_for_a_minute(
    user: User, learnt: Run, judge: Endpoint, faults: Faults
) -> None:
    run = copy(learnt, user)
    with nobody() as closed, socket.create_server(("127.0.0.1", 0)) as expired:
        expired.setblocking(False)
        announce(run, 7, expired.getsockname()[1], lifetime_s=-1)
        announce(run, 8, closed, lifetime_s=3600)
        user.submit("grpo", "--resume", "agent.replicas=2")
        until(lambda: step(run) >= 1, seconds=600)
        job = Jobs.load(run).of("agent").id
        user.cluster.slurm("scontrol", "requeuehold", job)
        until(lambda: not live(run))
        trained = step(run)
        time.sleep(60)
        assert not live(run)
        assert step(run) <= trained + 1  # what it had the answers for
        user.cluster.slurm("scontrol", "release", job)
        until(lambda: len(live(run)) == 2)
        figures = check(user, run, judge)
        with pytest.raises(BlockingIOError):  # nobody has asked there
            expired.accept()
    assert f"http://127.0.0.1:{closed}/v1: cannot be reached" in errors(run)
    waited = re.findall(r"waiting for the consistency agent for (\d+) s", errors(run))
    assert max(map(int, waited)) >= 30
    for replica in (0, 1):
        log = run.agent / "logs" / f"replica-{replica}.log"
        assert log.read_text(errors="replace").count("| stop processing") > 2
    faults("both agent replicas gone for a minute, then back", "survived: waited", **figures)
    faults(
        "endpoint file stale (expired; or of a closed port)",
        "survived: passed over; asked elsewhere",
        **figures,
    )


def announce(run: Run, replica: int, port: int, lifetime_s: float) -> None:
    """The endpoint file of a server that is dead."""
    dead = Endpoint(f"http://127.0.0.1:{port}/v1", "dead", "token")
    document = asdict(dead) | {"expires": time.time() + lifetime_s}
    write_json(endpoint_file(run.agent, replica), document)


def test_the_agent_ends_when_training_has_failed(user: User, doomed: Run) -> None:
    assert user.wait(doomed, "grpo", seconds=60) == "FAILED"
    assert user.wait(doomed, "agent", seconds=150) == "COMPLETED"
    assert not live(doomed)
    with pytest.raises(UsageError, match="cannot be read"):
        read_json(endpoint_file(doomed.agent, 0))
