"""Whether an image holds what its lock file says and can be used: run by `apptainer test`.

    python selfcheck.py train|agent [--lock FILE]

It needs no GPU. Each line says what was looked at; the exit code is 1 if anything is wrong.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

HOME = Path("/opt/geoagent")
CUDA = "12.4"
ENTRY = ("submitit", "omegaconf", "geoagent.run", "jobs.stage")
MODULES = {
    "train": (
        "torch torchvision torchaudio xformers transformers trl peft accelerate datasets deepspeed "
        "swift vllm sentence_transformers qwen_vl_utils geopy tensorboard xllamacpp "
        "geoagent.train.arguments geoagent.evaluate.predict"
    ),
    "agent": "torch xformers transformers vllm vllm.entrypoints.openai.api_server "
    "geoagent.agent.server",
}


def main() -> int:
    """Run all checks; 1 if one of them found something."""
    parser = argparse.ArgumentParser(description="Check an image from within.")
    parser.add_argument("image", choices=sorted(MODULES))
    parser.add_argument("--lock", type=Path, default=Path(__file__).with_name("image.lock"))
    options = parser.parse_args()
    checks = {
        "versions": versions(options.lock),
        "imports": imports((*MODULES[options.image].split(), *ENTRY)),
        "CUDA of torch": cuda(),
    }
    if options.image == "train":
        checks["gazetteer"] = gazetteer()
        checks["search"] = search()
    if (HOME / "image.json").exists():
        checks["image.json"] = description(options.image, options.lock)
    wrong = 0
    for name, found in checks.items():
        problems = told(found)
        wrong += len(problems)
        print(f"{name}: {'ok' if not problems else '; '.join(problems)}", flush=True)
    return 1 if wrong else 0


def told(found: Iterator[str]) -> list[str]:
    """What a check finds; that it cannot be made is found too."""
    problems = []
    try:
        problems += found
    except Exception as error:
        problems.append(f"{type(error).__name__}: {error}")
    return problems


def versions(lock: Path) -> Iterator[str]:
    """Packages of the lock that are missing or there in another version."""
    for name, version in re.findall(r"^([\w.-]+)(?:\[[^]]*\])?==(\S+)", lock.read_text(), re.M):
        try:
            there = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            there = "none"
        if there.partition("+")[0] != version.partition("+")[0]:
            yield f"{name} is {there}, not {version}"


def imports(modules: tuple[str, ...]) -> Iterator[str]:
    """Modules that cannot be imported, for whatever reason."""
    for module in modules:
        try:
            importlib.import_module(module)
        except Exception as error:
            yield f"{module}: {type(error).__name__}: {error}"


def cuda() -> Iterator[str]:
    """Whether torch was built for the base's CUDA."""
    try:
        import torch
    except ImportError:
        yield "there is no torch"
        return
    if torch.version.cuda != CUDA:
        yield f"{torch.version.cuda}, not {CUDA}"


def gazetteer() -> Iterator[str]:
    """Whether the built-in gazetteer answers."""
    from geoagent.geo.geocoder import geocode

    place = geocode("Peru; Ancash; Huaraz")
    if place is None or place.matched != "Huaraz":
        yield f"Huaraz is {place} by {os.environ.get('GEOAGENT_GAZETTEER', 'no named file')}"


def search() -> Iterator[str]:
    """Whether the index for search is there and finds a place by its name."""
    from geoagent.rollout.offline import gazetteer_index

    found = [one.title for one in gazetteer_index().search("Huaraz")]
    if not found or not found[0].startswith("Huaraz"):
        named = os.environ.get("GEOAGENT_SEARCH_INDEX", "no named file")
        yield f"Huaraz finds {found[:3]} by {named}"


def description(image: str, lock: Path) -> Iterator[str]:
    """Whether image.json is of this image, lock and Python."""
    import hashlib

    document = json.loads((HOME / "image.json").read_text())
    python = ".".join(map(str, sys.version_info[:3]))
    expected = {
        "image": image,
        "lock": hashlib.sha256(lock.read_bytes()).hexdigest(),
        "python": python,
    }
    if document != expected:
        yield f"{document}, not {expected}"


if __name__ == "__main__":
    sys.exit(main())
