"""A mini cluster for the whole session, somebody who submits to it, and the table of faults."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.minicluster.cluster import MiniCluster
from jobs.minicluster.packages import missing

from .faults import DOCUMENT, Faults, replace_table
from .helpers import User, mini_cluster


@pytest.fixture(scope="session")
def cluster() -> Iterator[MiniCluster]:
    if missing():
        reason = f"not installed: {', '.join(missing())}; make cluster-packages"
        pytest.skip(reason)
    with mini_cluster() as cluster:
        yield cluster


@pytest.fixture
def user(cluster: MiniCluster, tmp_path: Path) -> Iterator[User]:
    user = User(cluster, tmp_path)
    yield user
    for path in user.runs.glob("*"):
        user.jobs("cancel", str(path))


@pytest.fixture(scope="session")
def faults(request: pytest.FixtureRequest) -> Iterator[Faults]:
    """Where a test notes what a fault did; `--fault-table` writes the document."""
    found = Faults()
    yield found
    if request.config.getoption("--fault-table"):
        text = DOCUMENT.read_text(encoding="utf-8")
        rows = list(found.rows.values())
        DOCUMENT.write_text(replace_table(text, rows), encoding="utf-8")
