"""Which file of an image a stage runs in, and its checksum."""

from __future__ import annotations

import os
import stat
import sys
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from geoagent.config import Config
from geoagent.errors import UsageError
from geoagent.files import read_if_there, sha256, write_json
from geoagent.kept import cache_folder
from jobs.plan import AGENT

_LARGE: Final = 512 * 1024**2
"""Bytes that take seconds to read."""


@dataclass(frozen=True)
class Image:
    """A file and what it holds; `sha256` in hex."""

    path: Path
    sha256: str
    bytes: int


def runtime_of(config: Config) -> str:
    """What starts images: apptainer, charliecloud, or none."""
    container = config.container
    return container.runtime or ("apptainer" if container.train_image else "none")


def in_use(config: Config) -> bool:
    """Whether jobs run inside images."""
    return runtime_of(config) != "none"


def setting_of(config: Config, stage: str) -> tuple[str, str]:
    """The key that says which image a stage runs in, and what it says."""
    container = config.container
    if stage == AGENT and container.agent_image:
        return "container.agent_image", container.agent_image
    return "container.train_image", container.train_image or ""


def file_of(config: Config, stage: str) -> Path:
    """The image's file; UsageError if there is none."""
    key, setting = setting_of(config, stage)
    path = Path(setting.partition("@")[0]).expanduser().absolute()
    try:
        kind = path.stat().st_mode
    except FileNotFoundError:
        raise UsageError(
            f"{key}: {path}: there is no such file; make images builds it "
            "(docs/how-to/images.md), container.runtime=none does without"
        ) from None
    except OSError as error:
        raise UsageError(f"{key}: {path}: {error.strerror}") from None
    if not stat.S_ISREG(kind):
        raise UsageError(f"{key}: {path}: is no file; name the image's file")
    if not os.access(path, os.R_OK):
        raise UsageError(f"{key}: {path}: may not be read")
    return path


def image_of(config: Config, stage: str) -> Image:
    """The image of a stage. UsageError: it is not there, or another than the setting's digest."""
    key, setting = setting_of(config, stage)
    path = file_of(config, stage)
    found = Image(path, sha256_of(path), path.stat().st_size)
    wanted = setting.partition("@sha256:")[2].lower()
    if wanted and found.sha256 != wanted:
        raise UsageError(
            f"{key}: {path} has sha256 {found.sha256}, and {wanted} is asked for: it is another "
            "image, or was not copied to its end"
        )
    return found


def described(config: Config) -> dict[str, dict[str, Any] | None]:
    """The images for a manifest; None where a job needs no image."""
    if not in_use(config):
        return {"train": None, "agent": None}
    found = {"train": image_of(config, "train"), "agent": image_of(config, AGENT)}
    return {name: {**asdict(image), "path": str(image.path)} for name, image in found.items()}


def sha256_of(path: Path) -> str:
    """Of a file's contents; remembered as long as the file is not touched, since an image has
    gigabytes."""
    state = path.stat()
    facts = [state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns]
    file = cache_folder() / "image-digests.json"
    known = read_if_there(file)
    entry = known.get(str(path), {})
    if entry.get("facts") == facts:
        return str(entry["sha256"])
    if state.st_size > _LARGE:
        print(f"reading {path} ({state.st_size / 1e9:.1f} GB) for its digest", file=sys.stderr)
    found = sha256(path)
    with suppress(OSError):  # else it is read again next time
        write_json(file, {**known, str(path): {"facts": facts, "sha256": found}})
    return found
