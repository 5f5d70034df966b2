"""What a stage sees of the machine from inside its image."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from geoagent.config import Config
from geoagent.data.record import image_root
from geoagent.errors import UsageError
from geoagent.geo.gazetteer import VARIABLE as GAZETTEER
from geoagent.geo.gazetteer import gazetteer_file
from geoagent.modelfolder import local_folder
from geoagent.rollout.offline import VARIABLE as SEARCH_INDEX
from geoagent.rollout.offline import index_file
from geoagent.run import Run
from jobs.group import home_of

_THEIRS: Final = frozenset(
    map(Path, ("/", "/tmp", "/var/tmp", "/dev", "/dev/shm", "/proc", "/sys"))
)
"""Places that a runtime puts there itself."""


@dataclass(frozen=True)
class Bind:
    """`source` of the machine at `target` in the image."""

    source: Path
    target: Path
    writable: bool = False

    def __str__(self) -> str:
        """As runtimes take it."""
        return f"{self.source}:{self.target}:{'rw' if self.writable else 'ro'}"


def binds_of(configs: Sequence[Config], home: Run, make: bool = False) -> list[Bind]:
    """All of them, each place once, and what is above another before it: the working directory and
    what the configurations name to be read, the run directory (of a group: the group's) to be
    written, and what a person asks for.

    `make` makes folders that jobs would make. UsageError for a path that is not there, or that a
    runtime cannot be told.
    """
    try:
        found = _Places()
        found.add(Path.cwd())
        for config in configs:
            for path in _read(config):
                found.add(path)
        for path in _written(configs, home, make):
            found.add(path, writable=True)
        asked = [_asked_for(text) for config in configs for text in config.container.binds]
        for bind in asked:
            if not bind.source.exists():
                raise UsageError(f"container.binds: {bind.source}: is not there")
    except OSError as error:
        raise UsageError(f"{error.filename}: {error.strerror}; jobs are to see it") from None
    targets = found.binds | {bind.target: bind for bind in asked}
    for bind in targets.values():
        if set(str(bind.source)) & set(":,\n") or set(str(bind.target)) & set(":,\n"):
            raise UsageError(f"{bind.source}: its name has a colon or a comma, which images can't")
    return sorted(targets.values(), key=lambda bind: len(bind.target.parts))


class _Places:
    """Binds by their targets. A folder is there by its real name, and by the one it is called by,
    unless that is a link in a place that is there."""

    def __init__(self) -> None:
        self.binds: dict[Path, Bind] = {}

    def add(self, path: Path, writable: bool = False) -> None:
        real = path.resolve()
        if real in _THEIRS:
            return
        self._put(Bind(real, real, writable))
        if path != real and not {*path.parents} & {*self.binds}:
            self._put(Bind(real, path, writable))

    def _put(self, bind: Bind) -> None:
        before = self.binds.get(bind.target)
        if before is None or bind.writable:
            self.binds[bind.target] = bind


def _asked_for(text: str) -> Bind:
    source, target, mode = [*text.split(":"), "", ""][:3]
    return Bind(Path(source), Path(target or source), writable=mode != "ro")


def _read(config: Config) -> Iterator[Path]:
    for folder in (config.data.path, config.judge.path, config.eval.path):
        if folder is not None and Path(folder).is_dir():
            yield Path(folder).absolute()
            yield image_root(Path(folder))
    for name in _models(config):
        path = Path(name)
        if path.exists():
            yield path.absolute()
        if path.is_dir():  # in a snapshot of a hub's cache all files are links
            yield from {file.resolve().parent for file in path.iterdir() if file.is_symlink()}
    for there in named(config).values():
        yield there if there.is_dir() else there.parent
    search = config.rollout.search
    for name in filter(None, (config.rewards.geocoder.key_file, search.key_file, search.documents)):
        yield Path(name).expanduser().absolute()
    if search.replay is not None:
        yield Path(search.replay).expanduser().absolute().parent


def _models(config: Config) -> list[str]:
    """What the configuration names as models."""
    own = [config.model.path] if config.model.kind == "pretrained" else []
    return [*own, config.rewards.semantic.model, config.agent.model]


def named(config: Config) -> dict[str, Path]:
    """Environment variable → what it names on this machine, as far as that is there: the databases
    that it was told of or has built for this code, and Hugging Face's cache, if a model is called
    by its name there."""
    from huggingface_hub.constants import HF_HUB_CACHE

    files = {GAZETTEER: gazetteer_file(), SEARCH_INDEX: index_file()}
    told = {name: Path(os.environ.get(name) or file).resolve() for name, file in files.items()}
    found = {name: file for name, file in told.items() if file.is_file()}
    if any(local_folder(name) for name in _models(config) if not Path(name).exists()):
        found["HF_HUB_CACHE"] = Path(HF_HUB_CACHE).absolute()
    return found


def _written(configs: Sequence[Config], home: Run, make: bool) -> Iterator[Path]:
    yield home_of(home).path.absolute()
    for config in configs:
        for folder in _kept(config):
            if make:
                folder.mkdir(parents=True, exist_ok=True)
            if folder.is_dir():
                yield folder


def _kept(config: Config) -> Iterator[Path]:
    """Folders in which jobs keep something for others."""
    search, study = config.rollout.search, config.grpo.stop_early.study
    for name in filter(None, (study, config.rewards.geocoder.cache, search.cache)):
        yield Path(name).expanduser().absolute()
    if search.record is not None:
        yield Path(search.record).expanduser().absolute().parent
