"""A mini cluster for the whole session, somebody who submits to it, and the table of faults."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.minicluster.cluster import MiniCluster
from jobs.minicluster.packages import missing

from .faults import DOCUMENT, Faults, known, update
from .helpers import User, mini_cluster
from .learnt import learnt, prepared

__all__ = ["learnt", "prepared"]

_LIMIT_S = 2400
"""Of a test that has no other; longer than anything that tests wait for here."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        here = item.path.is_relative_to(Path(__file__).parent)
        if here and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(_LIMIT_S))


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
    rows = list(found.rows.values())
    with DOCUMENT.open("r+", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # another worker of the session may have rows as well
        text = file.read()
        if request.config.getoption("--fault-table"):
            file.seek(0)
            file.write(update(text, rows))
            file.truncate()
        else:
            new = {row.fault for row in rows} - {*known(text)}
            assert not new, f"{DOCUMENT}: lacks {new}; write it with --fault-table"
