"""The script by which a stage's Python starts inside its image.

submitit takes it for the interpreter: `sbatch` and `srun` stay outside, its own entry point and all
that it starts are inside. What is checked on the node, and how the two runtimes are called, is in
enter.sh.
"""

from __future__ import annotations

import hashlib
import shlex
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from geoagent.config import Config
from geoagent.files import write_atomic
from geoagent.run import Run
from jobs.container.binds import Bind, binds_of, named
from jobs.container.images import Image, image_of, in_use, runtime_of
from jobs.container.said import INSIDE, inside
from jobs.plan import StagePlan

PYTHON: Final = "/opt/geoagent/bin/python"
"""The interpreter of images that `make images` builds."""
# fmt: off
LET_IN: Final = (
    "SLURM*", "SUBMITIT*", "GEOAGENT_*", "CUDA_*", "NVIDIA_*", "GPU_DEVICE_ORDINAL", "NCCL_*",
    "GLOO_*", "UCX_*", "FI_*", "OMP_*", "KMP_*", "MKL_*", "TORCH*", "PYTORCH_*", "TRITON_*",
    "DS_*", "VLLM_*", "HF_*", "TRANSFORMERS_*", "TOKENIZERS_*", "USE_HF", "http_proxy",
    "https_proxy", "no_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY",
    "USER", "LOGNAME", "LANG", "LC_*", "TZ", "TERM",
)
KEPT_OUT: Final = (
    "CUDA*", "NVIDIA*", "TORCH*", "PYTORCH*", "TRITON*", "VLLM*", "HF*", "TRANSFORMERS*",
)
_PLACES: Final = ("HOME", "PATH", "ROOT", "CACHE", "DIR")
# fmt: on
"""LET_IN: variables of a job that programs inside have as well; a * stands for any rest of a name.
KEPT_OUT: of these, names that end in _HOME, _PATH and so on stay outside: they are places of the
node, such as CUDA_HOME of a module, and the image has its own."""
_HERE: Final = Path(__file__).parent
_COMMANDS: Final = ("scontrol", "squeue", "sacct", "sbatch")


def interpreter(configs: Sequence[Config], home: Run, stage: StagePlan) -> str | None:
    """The command that stands for Python in the jobs of a stage; None: this process's own.

    It writes the script, under a name of its own for what is in it, since jobs that wait may have
    another. `configs` are those of the runs in an array, which share their images and `home`, the
    run or its group. UsageError: see image_of and binds_of.
    """
    if not in_use(configs[0]) or inside():
        return None
    binds = binds_of(configs, home, make=True)
    text = render(configs[0], home, stage, image_of(configs[0], stage.name), binds)
    mark = hashlib.sha256(text.encode()).hexdigest()[:8]
    script = home.path.absolute() / "container" / f"{stage.name}-{mark}.sh"
    write_script(script, text)
    return shlex.join(["bash", str(script)])


def write_script(script: Path, text: str) -> None:
    """Write a script of `render`, which belongs into `container/` of its home, and those that it
    calls."""
    (script.parent / "bin").mkdir(parents=True, exist_ok=True)
    write_atomic(script.parent / "relay.sh", (_HERE / "relay.sh").read_text())
    ask = (_HERE / "ask.sh").read_text()
    for name in _COMMANDS:
        write_atomic(script.parent / "bin" / name, ask, mode=0o755)
    write_atomic(script, text)


def render(config: Config, home: Run, stage: StagePlan, image: Image, binds: Sequence[Bind]) -> str:
    """The script's text."""
    values = {
        "stage": stage.name,
        "runtime": runtime_of(config),
        "image": str(image.path),
        "digest": image.sha256,
        "python": PYTHON,
        "home": str(home.path.absolute()),
        "gpus": str(stage.resources.gpus_per_node),
    }
    lists = {
        "binds": map(str, binds),
        "let_in": LET_IN,
        "kept_out": [f"{name}_{place}" for name in KEPT_OUT for place in _PLACES],
        "named": (
            *config.cluster.environment,
            *config.container.environment,
            config.agent.token_variable,
        ),
        "inside": _inside(config, home, image),
    }
    head = [f"{name}={shlex.quote(value)}" for name, value in values.items()]
    head += [f"{name}=({_quoted(items)})" for name, items in lists.items()]
    return "\n".join(["#!/bin/bash", *head, (_HERE / "enter.sh").read_text()])


def _quoted(items: Iterable[str]) -> str:
    return "".join(f"\n  {shlex.quote(item)}" for item in items) + "\n"


def _inside(config: Config, home: Run, image: Image) -> list[str]:
    """Variables that programs inside have from here; those of the node come to them there."""
    found = {
        INSIDE: f"{image.path}@sha256:{image.sha256}",
        "PYTHONPATH": str(home.code.absolute()),
        "PYTHONSAFEPATH": "1",  # see decision 0040
        "PYTHONNOUSERSITE": "1",
    }
    return [f"{name}={value}" for name, value in (found | named(config)).items()]


def installed(runtime: str) -> bool:
    """Whether this machine can start images."""
    names = {"apptainer": ("apptainer", "singularity"), "charliecloud": ("ch-run",)}
    return any(shutil.which(name) for name in names.get(runtime, ()))
