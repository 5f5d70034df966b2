"""Where an agent can be reached: a small file that its server keeps fresh."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

from geoagent.errors import UsageError
from geoagent.files import read_json, write_json

RENEW_S: Final = 20.0
LIFETIME_S: Final = 180.0
"""Generous against clocks of nodes that differ."""


@dataclass(frozen=True)
class Endpoint:
    """An OpenAI-compatible server. The token is left out of repr, so it never gets into a log."""

    url: str
    model: str
    token: str = field(repr=False)
    revision: str = ""
    pid: int = 0
    host: str = ""
    started: float = 0.0
    expires: float = 0.0

    def write(self, path: Path) -> None:
        """Write or renew the file, readable by its owner only."""
        fresh = asdict(self) | {"expires": time.time() + LIFETIME_S}
        write_json(path, fresh, mode=0o600)


def endpoint_file(folder: Path, replica: int) -> Path:
    return folder / f"endpoint-{replica}.json"


def agent_folder(folder: Path) -> Path:
    """Where the agent of a run announces itself and keeps its logs: in the run's agent folder, or
    where the link `shared` in it points if the run shares the agent of its group."""
    shared = folder / "shared"
    return shared if shared.is_dir() else folder


def read_endpoints(folder: Path) -> list[Endpoint]:
    """Endpoints of a run whose files are not out of date; what cannot be read is passed over,
    since a file may be replaced or removed at any moment."""
    found = []
    for path in sorted(agent_folder(folder).glob("endpoint-*.json")):
        try:
            endpoint = Endpoint(**read_json(path))
            if endpoint.expires > time.time():
                found.append(endpoint)
        except (UsageError, TypeError):
            continue
    return found
