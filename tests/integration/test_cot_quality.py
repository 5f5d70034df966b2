"""The judge for real: SmolLM2-135M sorts steps, looks for facts and compares names."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from geoagent.agent.client import AgentClient
from geoagent.agent.endpoint import read_endpoints
from geoagent.config import AgentConfig, resolve, to_yaml
from geoagent.data.cot import chain_of_thought
from geoagent.data.places import countries
from geoagent.evaluate.cot.judge import KINDS
from geoagent.evaluate.cot.quality import Quality, Sample
from geoagent.evaluate.verifier import Verifier

SETTINGS: AgentConfig = resolve(["agent=embedded"]).agent


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("run")
    (path / "config.yaml").write_text(to_yaml(resolve(["recipe=demo"])))
    process = subprocess.Popen(
        [sys.executable, "-m", "geoagent.agent.server", "--run", str(path)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 120
    while not read_endpoints(path / "agent"):
        assert process.poll() is None, "the server ended"
        assert time.monotonic() < deadline, "the server did not announce itself"
        time.sleep(0.1)
    yield path
    process.terminate()
    process.wait(timeout=20)


class Constant:
    """What the models say is tested elsewhere."""

    def f1(self, candidates: Sequence[str], references: Sequence[str]) -> Any:
        return np.full((len(candidates), len(references)), 0.5)

    def score(self, image: Any, candidates: Sequence[str], references: Sequence[str]) -> Any:
        return np.full(len(candidates), 0.5)


def test_it_judges_chains(run: Path) -> None:
    client = AgentClient(SETTINGS, run / "agent")
    first, second = (chain_of_thought(country, country.cities[0]) for country in countries()[:2])
    free = "Cars keep left in Thailand. The sign is in Thai script. So this is Thailand."
    samples = [
        Sample([f"<think>{chain}</think><answer>x; y</answer>"], reference, picture)
        for chain, reference in ((first, first), (second, first), (free, free))
    ]
    rows = Quality(client, Constant(), Constant()).score(samples)
    assert client.stats.invalid == 0
    for row in rows:
        assert row["failure"] is None
        assert row["unanswered"] == 0
        assert 0 <= row["cot_quality"] <= 100
        assert all(step["kind"] in KINDS for step in (*row["steps"], *row["reference_steps"]))
    answers = (run / "agent/answers.jsonl").read_text().splitlines()
    assert len(answers) == client.stats.answered
    assert {tuple(json.loads(json.loads(line)["conclusion"])) for line in answers} <= {
        ("kind",),
        ("stated",),
    }
    again = AgentClient(SETTINGS, run / "agent")
    assert Quality(again, Constant(), Constant()).score(samples) == rows
    assert again.stats.distinct == 0


def picture() -> Image.Image:
    return Image.new("RGB", (8, 8))


def test_it_compares_names(run: Path) -> None:
    truth = {"country": "Germany", "region": "Bavaria", "city": "Munich"}
    answers = ("Germany; Bavaria; Munich", "Peru; Lima", "")
    verifier = Verifier(AgentClient(SETTINGS, run / "agent"))
    judged = verifier.judge([{**truth, "answer": answer} for answer in answers])
    assert (verifier.judged, verifier.unjudged) == (2, 0)
    assert judged[2] == (0, 0b111)
    assert all(0 <= right <= 3 and named == 0b111 for right, named in judged)
