"""What the lock files must have in common with what they are made from and with each other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
CONTAINERS = ROOT / "containers"
JOBS = ("submitit", "omegaconf", "cloudpickle")
"""A job is pickled by one environment and read by another."""


def pins(file: Path) -> dict[str, str]:
    from imagefiles import parse_lock

    return {pin.name: pin.version or "" for pin in parse_lock(file.read_text(encoding="utf-8"))}


def asked(file: Path) -> dict[str, str]:
    """The exact versions that a .in file asks for, with those of the files that it includes."""
    found: dict[str, str] = {}
    for line in file.read_text(encoding="utf-8").splitlines():
        if line.startswith("-r "):
            found |= asked((file.parent / line[3:]).resolve())
        elif match := re.match(r"([\w.-]+)==([\w.]+)", line):
            found[match[1]] = match[2]
    return found


@pytest.mark.parametrize("name", ["build", "train", "agent", "flash-attn"])
def test_a_lock_has_the_versions_asked_for(name: str) -> None:
    wanted, locked = asked(CONTAINERS / f"{name}.in"), pins(CONTAINERS / f"{name}.lock")
    assert wanted
    assert {package: locked.get(package) for package in wanted} == wanted


def test_the_models_are_those_of_the_set_up() -> None:
    assert pins(CONTAINERS / "models.lock") == asked(ROOT / "requirements/models.txt")


@pytest.mark.parametrize("name", ["train", "agent"])
def test_jobs_are_pickled_and_read_by_the_same_versions(name: str) -> None:
    here = pins(ROOT / "requirements/embedded.txt")
    there = pins(CONTAINERS / f"{name}.lock")
    assert {package: there[package] for package in JOBS} == {
        package: here[package] for package in JOBS
    }


def test_both_images_have_the_same_torch_cuda_and_vllm() -> None:
    train, agent = pins(CONTAINERS / "train.lock"), pins(CONTAINERS / "agent.lock")
    same = {name for name in agent if re.match(r"torch|triton|xformers|vllm|nvidia-", name)}
    assert len(same) > 10
    assert {name: train.get(name) for name in same} == {name: agent[name] for name in same}


@pytest.mark.parametrize("name", ["train", "agent"])
def test_what_builds_does_not_change_what_is_built(name: str) -> None:
    """build.lock is installed first: where the image's lock has the package too, it is the same."""
    build, image = pins(CONTAINERS / "build.lock"), pins(CONTAINERS / f"{name}.lock")
    both = build.keys() & image.keys()
    assert {package: build[package] for package in both} == {
        package: image[package] for package in both
    }


def test_locks_name_no_index_and_no_folder() -> None:
    for lock in CONTAINERS.glob("*.lock"):
        options = re.findall(r"^\s*--(?!hash=sha256:).*|\S+://\S+|^-\w.*", lock.read_text(), re.M)
        assert not options, lock
