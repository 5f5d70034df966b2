"""What must not become slow again, as ratios with room for machines that have other work."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from types import ModuleType

import numpy as np
import pytest

Load = Callable[[str], ModuleType]
HEAVY = (
    "torch",
    "transformers",
    "swift",
    "sentence_transformers",
    "datasets",
    "vllm",
    "matplotlib",
)
CALL_S = 0.2


@pytest.fixture(scope="module")
def batches(benchmark_module: Load) -> ModuleType:
    return benchmark_module("batches")


@pytest.fixture(scope="module")
def url(benchmark_module: Load, batches: ModuleType) -> Iterator[str]:
    with benchmark_module("stub").serving(CALL_S, 64) as address:
        batches.warm_up(address)
        yield address


def test_a_batch_costs_about_as_much_as_a_call_of_the_agent(batches: ModuleType, url: str) -> None:
    """48 questions to 64 slots, which one after the other take 48 calls and more."""
    client = batches.client_of(f"{url}/v1", 64)
    # The quickest of three: somebody else's work may meet one.
    taken = min(batches.ours(["consistency"], batches.completions(16, k), client) for k in range(3))
    client.close()
    assert client.stats.distinct >= 3 * 48
    assert CALL_S <= taken <= 6 * CALL_S


def test_all_rewards_cost_about_as_much_as_the_slowest(batches: ModuleType, url: str) -> None:
    from geoagent.config import RewardsConfig
    from geoagent.rewards.registry import weighted

    names = weighted(RewardsConfig())
    client = batches.client_of(f"{url}/v1", 64)
    each = [batches.ours([name], batches.completions(16, 1), client) for name in names]
    # Other pictures, since the client keeps what it was answered.
    together = min(batches.ours(names, batches.completions(16, k), client) for k in (50, 60, 70))
    client.close()
    assert together <= 1.5 * max(each) + CALL_S


def test_names_are_embedded_in_one_call(batches: ModuleType) -> None:
    """Counted, without the model: its time says more about the machine than about us."""
    from geoagent.config import SemanticConfig
    from geoagent.rewards.semantic import Semantic

    calls: list[int] = []

    def counting(names: list[str]) -> np.ndarray:
        calls.append(len(names))
        return np.ones((len(names), 1))

    texts, columns = batches.completions(64, 0)
    Semantic(SemanticConfig(), counting).score(texts, **columns)
    batches.PublishedSemantic(counting)(texts, **columns)
    ours, *pairs = calls
    assert len(pairs) == 3 * 64
    assert sum(pairs) > 5 * ours


def test_the_clients_own_work_does_not_grow_with_questions_under_way(
    batches: ModuleType, benchmark_module: Load
) -> None:
    """Processor time of this process, the least of three: other processes' work adds little."""
    questions = benchmark_module("client").questions
    used: dict[int, float] = {}
    with benchmark_module("stub").serving(0.0, 512) as address:
        for under_way in (8, 192):
            client = batches.client_of(f"{address}/v1", under_way)
            client.ask(questions(under_way, "connections are made"))
            each = []
            for number in range(3):
                began = time.process_time()
                client.ask(questions(384, f"{under_way}, {number}"))
                each.append(time.process_time() - began)
            used[under_way] = min(each)
            client.close()
    assert used[192] < 3 * used[8]


@pytest.mark.parametrize(
    "command", [["geoagent.cli", "--help"], ["jobs", "status"], ["jobs", "--help"]]
)
def test_commands_import_nothing_heavy(command: list[str]) -> None:
    result = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", *command], capture_output=True, text=True
    )
    imported = {line.rpartition("|")[2].strip() for line in result.stderr.splitlines()}
    assert "argparse" in imported
    assert not imported.intersection(HEAVY)
