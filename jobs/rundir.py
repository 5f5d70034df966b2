"""Makes the run directory, or finds the one that is to be continued."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import os
import re
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import yaml

from geoagent.config import COMMAND_LINE, Config, dump, to_yaml
from geoagent.errors import UsageError
from geoagent.files import read_if_there, write_atomic, write_json
from geoagent.modelfolder import OFFLINE
from geoagent.run import Run
from geoagent.vary import kind_of
from jobs.changes import begun, check_same, needs_prepare
from jobs.container.images import described
from jobs.container.said import inside
from jobs.disk import GIB, needed_bytes
from jobs.group import Group
from jobs.manifest import manifest
from jobs.plan import STAGES

ROOT: Final = Path(__file__).resolve().parent.parent
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def run_path(config: Config, stages: Sequence[str]) -> Path:
    """Where the run is or will be; a run without a name gets one from its stages and the time."""
    name = config.name or f"{'-'.join(stages)}-{time.strftime('%Y%m%d-%H%M%S')}"
    if not _NAME.fullmatch(name):
        raise UsageError(f"name: {name!r} is not a run name (letters, digits, '.', '_', '-')")
    return Path(config.runs_dir).absolute() / name


def finished_stages(run: Run, config: Config | None = None) -> list[str]:
    """Stages that need not run again; an evaluation must if `config` wants another one, and prepare
    if it names other judge data."""
    finished = [stage for stage in STAGES if run.done_file(stage).is_file()]
    if config is None or not finished:
        return finished
    before = run.config()
    again = {
        "prepare": needs_prepare(before, config),
        "eval": _evaluated(before) != _evaluated(config),
    }
    return [stage for stage in finished if not again.get(stage)]


def _evaluated(config: Config) -> tuple[Any, ...]:
    """What an evaluation is of that a continued run may have otherwise."""
    return config.eval, config.agent, config.rollout.eval


def find_run(path: Path) -> Run:
    """The run to go on with; UsageError names the one that may have been meant, or the newest."""
    if Run(path).config_file.is_file():
        return Run.open(path)
    names = newest_first(path.parent)
    near = difflib.get_close_matches(path.name, names, n=1) or names[:1]
    hint = f"; --resume name={near[0]}?" if near else ""
    raise UsageError(f"{path}: there is no such run to go on with{hint}")


def check_continued(config: Config, run: Run, parts: Sequence[Run] = ()) -> None:
    """UsageError if the run, or one of those that are `parts` of it, has done something with other
    settings; nothing is written."""
    runs = (run, *parts)
    if any(finished_stages(one) for one in runs):
        check_same(run.config(), config, run.path, begun(runs))
        as_it_knows(config, run)


def continue_run(config: Config, run: Run, parts: Sequence[Run] = ()) -> None:
    """Make a run ready to go on with this configuration. UsageError if it began with another.

    A run that has finished no stage, nor has any of the runs that are `parts` of it, begins anew,
    so that a setting that made the first one fail can be mended.
    """
    _check_space(run.path, config)
    check_continued(config, run, parts)
    if any(finished_stages(one) for one in (run, *parts)):
        for stage in {*finished_stages(run)} - {*finished_stages(run, config)}:
            # Of other settings: no longer finished. Another shard of it may have said so just now.
            run.done_file(stage).unlink(missing_ok=True)
        named = dataclasses.replace(config, name=run.path.name)
        write_atomic(run.config_file, as_it_knows(named, run))
        _note_images(config, run)
    else:
        renew_code(config, run)


def _note_images(config: Config, run: Run) -> None:
    """Add the images of now to a manifest that names others."""
    if inside():  # noted before, by what started this
        return
    document, images = read_if_there(run.manifest_file), described(config)
    if document and document.get("images") != images:
        before = [*document.get("earlier_images", []), document.get("images")]
        write_json(run.manifest_file, {**document, "images": images, "earlier_images": before})


def renew_code(config: Config, run: Run) -> None:
    """Give a run that has done nothing yet the code and the configuration of now."""
    shutil.rmtree(run.code, ignore_errors=True)
    _create(config, run.path)


def new_run(config: Config, path: Path, members: Mapping[str, list[str]] | None = None) -> Run:
    """Make the run directory, or that of a group of so many runs. UsageError if the name is in
    use, or the place is of no use."""
    _make(path)
    try:
        _check_space(path, config, len(members or "1"))
        if members is not None:  # before config.yaml, without which nobody takes it for a run
            Group(Run(path), dict(members)).save()
        return _create(config, path)
    except BaseException:  # Ctrl-C too: half a run could be neither continued nor named again
        shutil.rmtree(path, ignore_errors=True)
        raise


def newest_first(folder: Path) -> list[str]:
    """Names of the runs in a folder."""
    found = []
    for file in folder.glob("*/config.yaml"):
        with suppress(FileNotFoundError):  # a run that is just being removed
            found.append((file.stat().st_mtime, file.parent.name))
    return [name for _, name in sorted(found, reverse=True)]


def _make(path: Path) -> None:
    """Make the folder (that of its own, so that two submissions cannot both have it)."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            path.mkdir()
        except FileExistsError:
            raise UsageError(in_use(path)) from None
        canary = path / ".canary"
        canary.write_text("can this be written?")
        canary.unlink()
    except OSError as error:
        raise UsageError(
            f"{path}: cannot be written ({error.strerror}); choose another place with runs_dir=…"
        ) from None


def in_use(path: Path) -> str:
    """What to say of a new run whose folder is there."""
    if Run(path).config_file.is_file():
        goes_on = "continue that run with --resume"
    else:
        goes_on = "it holds no run yet; remove it if nobody is submitting it now"
    return f"{path}: this run name is in use; {goes_on}, or choose another with name=…"


def _check_space(folder: Path, config: Config, runs: int = 1) -> None:
    free, needed = shutil.disk_usage(folder).free, runs * needed_bytes(config)
    if free < needed:
        like = "a run like this needs" if runs == 1 else f"{runs} runs like this need"
        raise UsageError(
            f"{folder}: {free / GIB:.1f} GiB free, {like} {needed / GIB:.0f} GiB; "
            "free some, or choose another place with runs_dir=…"
        )


def _create(config: Config, path: Path) -> Run:
    run = Run(path)
    try:
        named = dataclasses.replace(config, name=path.name)
        _snapshot(run.code)
        document, diff = manifest(named, ROOT)
        write_json(run.manifest_file, document)
        if diff:
            write_atomic(run.path / "code.diff", diff)
        write_atomic(run.config_file, to_yaml(named))
    except OSError as error:
        raise UsageError(f"{path}: cannot be written ({error.strerror})") from error
    return run


def _snapshot(folder: Path) -> None:
    """Copy what the jobs run, so that later edits don't change a run that waits in the queue."""
    ignore = shutil.ignore_patterns("__pycache__", "*.pyc", "minicluster")
    for name in ("geoagent", "jobs", "configs"):
        shutil.copytree(ROOT / name, folder / name, ignore=ignore)


def as_it_knows(config: Config, run: Run) -> str:
    """The configuration as YAML for the run's own copy of the code, which may be older than this
    and would refuse a key that it does not know. UsageError if such a key was given."""
    document = dataclasses.asdict(config)
    then = _begun_with(run.config_file, run.config_file.stat().st_mtime_ns)
    new = list(_unknown(document, then, _defaults()))
    for path, key, given in new:
        if given:
            raise UsageError(
                f"{run.path}: {path}: the code that this run began with does not know it; give "
                "--resume only what is to change, or start another run with name=…"
            )
        del _section(document, path)[key]
    return dump(document)


@functools.cache
def _defaults() -> dict[str, Any]:
    """Of all settings, once for all runs of a sweep."""
    return dataclasses.asdict(Config())


@functools.cache
def _begun_with(path: Path, changed: int) -> dict[str, Any]:
    """A run's config.yaml, once for all runs of a sweep."""
    document: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return document


def _unknown(
    now: Mapping[str, Any], then: Mapping[str, Any], defaults: Mapping[str, Any], above: str = ""
) -> Iterator[tuple[str, str, bool]]:
    """Keys of now that were not there then: with dots, alone, and whether it is no default. Names
    in a mapping, such as those of rewards, are no keys that a code knows or not."""
    for key, value in now.items():
        path = f"{above}{key}"
        if key not in then:
            yield path, key, key not in defaults or value != defaults[key]
        elif dataclasses.is_dataclass(kind_of(path, COMMAND_LINE)):
            yield from _unknown(value, then[key], defaults[key], f"{path}.")


def _section(document: dict[str, Any], path: str) -> dict[str, Any]:
    for name in path.split(".")[:-1]:
        document = document[name]
    return document


def environment(run: Run) -> dict[str, str]:
    """Environment of a stage: this one, with the run's own copy of the code first."""
    return {
        **OFFLINE,
        **os.environ,
        "PYTHONPATH": str(run.code),
        # `python -m` puts the working directory before PYTHONPATH, and that is the checkout.
        "PYTHONSAFEPATH": "1",
        "PYTHONUNBUFFERED": "1",
        "TOKENIZERS_PARALLELISM": "false",
        # Not in the home directory, where a lock that a killed job has left stops all others.
        "TORCH_EXTENSIONS_DIR": str(run.extensions),
        # Threads that wait by spinning take the cores from the agent and from other people.
        "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "PASSIVE"),
    }
