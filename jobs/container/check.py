"""What of an image can be known where jobs are submitted."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from geoagent.config import Config
from geoagent.errors import UsageError
from geoagent.run import Run
from geoagent.stages import POLICY
from jobs.container.binds import binds_of
from jobs.container.enter import PYTHON, installed, render, write_script
from jobs.container.images import Image, image_of, runtime_of, setting_of
from jobs.plan import AGENT, Plan, StagePlan

_PROBE: Final = """
import importlib.metadata, importlib.util, json, sys
lacks = [name for name in sys.argv[1:] if importlib.util.find_spec(name) is None]
submitit = None if "submitit" in lacks else importlib.metadata.version("submitit")
print(json.dumps({"python": sys.version_info[:2], "lacks": lacks, "submitit": submitit}))
"""
_PROBE_S: Final = 600.0
"""An image of gigabytes on a busy file system may have to be unpacked first."""
_fit: Final[set[tuple[str, ...]]] = set()
"""Images, with what they were found to have: the runs of a sweep share them."""
_ALL: Final = ("geoagent", "submitit", "omegaconf", "psutil", "httpx", "aiohttp")
_TRAIN: Final = ("torch", "transformers", "swift")


def check_images(config: Config, plan: Plan) -> None:
    """UsageError: an image is missing or another than asked for, jobs could not see a path, or the
    image lacks what its stages import. The last is asked only where images can be started."""
    stages = [*plan.stages, *([plan.agent] if plan.agent else [])]
    images: dict[Path, list[StagePlan]] = {}
    for stage in stages:
        images.setdefault(image_of(config, stage.name).path, []).append(stage)
    image_of(config, AGENT)  # the manifest has it too
    binds_of([config], Run(Path(config.runs_dir).absolute()))
    if installed(runtime_of(config)):
        for of_image in images.values():
            _look_inside(config, of_image)


def _look_inside(config: Config, stages: list[StagePlan]) -> None:
    key, _ = setting_of(config, stages[0].name)
    image = image_of(config, stages[0].name)
    names = sorted({name for stage in stages for name in _imports(config, stage)})
    if (image.sha256, *names) in _fit:
        return
    print(f"looking into {image.path}", file=sys.stderr)
    found = _probe(config, stages[0], image, key, names)
    if found["lacks"]:
        raise UsageError(
            f"{key}: {image.path} lacks {', '.join(found['lacks'])}: it is no image for "
            f"{', '.join(stage.name for stage in stages)}; make images builds one"
        )
    if found["python"] != [3, 11] or found["submitit"] != version("submitit"):
        raise UsageError(
            f"{key}: {image.path} has Python {'.'.join(map(str, found['python']))} and submitit "
            f"{found['submitit']}; jobs are submitted from Python 3.11 with submitit "
            f"{version('submitit')}, and both sides must have the same"
        )
    _fit.add((image.sha256, *names))


def _imports(config: Config, stage: StagePlan) -> tuple[str, ...]:
    predicts = config.eval.engine == "vllm"
    wants_vllm = {
        **{name: getattr(config, name).vllm for name in POLICY},
        "judge_data": predicts,
        "eval": predicts,
        AGENT: config.agent.backend == "vllm",
    }
    vllm = ("vllm",) if wants_vllm.get(stage.name) else ()
    own = ("xllamacpp",) if stage.name == AGENT and config.agent.backend == "llama_cpp" else ()
    return (*_ALL, *(_TRAIN if stage.name != AGENT else ()), *vllm, *own)


def _probe(
    config: Config, stage: StagePlan, image: Image, key: str, names: list[str]
) -> dict[str, Any]:
    """What the image's Python says of itself; it is started as in a job, but without a GPU."""
    bare = StagePlan(stage.name, (), type(stage.resources)())
    with tempfile.TemporaryDirectory(prefix="geoagent-") as folder:
        script = Path(folder) / "container" / "probe.sh"
        home = Run(Path(folder))
        write_script(script, render(config, home, bare, image, binds_of([config], home)))
        try:
            result = subprocess.run(
                ["bash", str(script), "-c", _PROBE, *names],
                capture_output=True,
                text=True,
                timeout=_PROBE_S,
            )
        except subprocess.TimeoutExpired:
            raise UsageError(f"{key}: {image.path} did not start in {_PROBE_S:.0f} s") from None
    lines = result.stdout.splitlines()
    if result.returncode != 0 or not lines:
        said = (result.stderr.strip().splitlines() or [f"exit code {result.returncode}"])[-1]
        raise UsageError(
            f"{key}: {image.path}: its {PYTHON} does not start ({said.removeprefix('error: ')})"
        )
    try:
        found: dict[str, Any] = json.loads(lines[-1])
    except ValueError:
        raise UsageError(f"{key}: {image.path}: its {PYTHON} is no Python") from None
    return found
