#!/usr/bin/env python3
"""Checks what the images are made from, without building them.

    .venv/bin/python scripts/check_images.py [FOLDER]

Prints a line for each check, and FILE:LINE for all that is wrong; the exit code is 1 then.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

from fetching import Command, Wrong, commands, fetches_are_pinned  # noqa: E402
from imagefiles import (  # noqa: E402
    IMAGES,
    Definition,
    Pin,
    parse_definition,
    parse_lock,
    read_text,
)

from geoagent.errors import exit_code  # noqa: E402

SECTIONS: Final = (
    "arguments labels files post environment test runscript help".split()  # noqa: SIM905
)
CUDA: Final = "12.4"
_SECRET: Final = re.compile(r"token|secret|passw|api_?key|credential|private_?key|netrc", re.I)
_PRIVATE: Final = re.compile(
    r"(^|/)(~|\.(netrc|ssh|git|env|docker|config|aws|cache)|pip\.conf)(/|$)"
)
_HOST: Final = re.compile(
    r"(?<![\w./-])(?:~(?=/|\s|$)|/(?:(?:var/)?tmp|root|home|dev/shm)(?![\w.-]))|"
    r"\$\{?(?:HOME|TMPDIR|XDG_\w+)\b"
)
"""What Apptainer may bind of the machine that builds, and variables that name it."""
_OWN: Final = re.compile(r"/(opt|usr/local|var/lib/apt/lists|etc/apt/sources\.list\.d)/[^$`]+")
_REMOVERS: Final = ("rm", "rmdir", "unlink", "shred")
_DIGEST: Final = re.compile(r"[\w./-]+@sha256:[0-9a-f]{64}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run all checks on a folder of definition and lock files; 1 if anything is wrong."""
    parser = argparse.ArgumentParser(description="Check what the images are made from.")
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT / "containers")
    folder: Path = parser.parse_args(arguments).folder
    found = 0
    for check, wrong in checks(folder):
        print(f"{'ok   ' if not wrong else 'WRONG'} {check}")
        for where in wrong:
            print(f"      {where}")
        found += len(wrong)
    print(f"{found} wrong" if found else "all is well; nothing was built")
    return 1 if found else 0


def checks(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Each check's name and what is wrong; UsageError if a file cannot be read."""
    definitions = {}
    for image in IMAGES:
        path = folder / f"{image}.def"
        text = read_text(path)
        definitions[image] = definition = parse_definition(text)
        for name, rule in RULES.items():
            yield f"{path.name}: {name}", _shown(path, rule(definition))
        yield f"{path.name}: spython reads it alike", _shown(path, spython_agrees(path, definition))
    locks = {path.stem: [*parse_lock(read_text(path))] for path in sorted(folder.glob("*.lock"))}
    for name in sorted({*locks, *IMAGES, "build"}):
        path = folder / f"{name}.lock"
        locks.setdefault(name, [*parse_lock(read_text(path))])
        yield (
            f"{path.name}: {len(locks[name])} exact versions with hashes",
            _shown(path, pins_are_locked(locks[name])),
        )
    yield "both images agree on CUDA, torch and tools", [*agreement(definitions, locks)]


def _shown(path: Path, wrong: Wrong) -> list[str]:
    return [f"{path}:{line}: {what}" for line, what in sorted(wrong)]


def sections_are_there(definition: Definition) -> Wrong:
    """Each section is there and says something; none runs on the host."""
    for section in SECTIONS:
        if not any(line.strip() for _, line in definition.sections.get(section, [])):
            yield 1, f"%{section} is missing or empty"
    for number, _ in definition.sections.get("setup", [])[:1]:
        yield number, "%setup runs on the host, outside of the image"
    for section in sorted({*definition.sections} - {*SECTIONS, "setup"}):
        yield 1, f"%{section}: no section that is looked at; there are: {', '.join(SECTIONS)}"
    for number, line in (one for lines in definition.sections.values() for one in lines):
        if re.match(r"\s*bootstrap\s*:", line, re.I):
            yield number, "a second Bootstrap: what it builds is not looked at"


def base_has_a_digest(definition: Definition) -> Wrong:
    """The base is an image of a registry, by its digest alone."""
    if definition.header.get("bootstrap") != "docker":
        yield 1, "Bootstrap is not docker"
    base = definition.filled(definition.header.get("from", ""))
    if not _DIGEST.fullmatch(base):
        yield 1, f"From: {base}: not NAME@sha256:DIGEST (Apptainer takes no tag beside a digest)"


def arguments_are_known(definition: Definition) -> Wrong:
    """Each build argument that is used has a default, and Apptainer fills it in."""
    for number, line in definition.sections.get("arguments", []):
        if line.strip() and not re.match(r"\s*(#|\w+=\S)", line):
            yield number, f"{line.strip()}: not NAME=DEFAULT"
    lines = [*enumerate(definition.header.values(), start=1)]
    lines += [line for section in definition.sections.values() for line in section]
    for number, line in lines:
        for name in re.findall(r"{{\s*(\w*)\s*}}", line):
            if name not in definition.arguments:
                yield number, f"{{{{ {name} }}}} has no default in %arguments"
        if re.search(r"#[^!].*{{", line) and not line.lstrip().startswith("#"):
            yield number, "Apptainer fills in no argument after a '#'"


def no_secrets(definition: Definition) -> Wrong:
    """No build argument, variable or file that is like a secret."""
    for section in ("arguments", "environment", "post", "labels"):
        for number, line in definition.sections.get(section, []):
            for name in re.findall(r"(?:^|\s)(\w+)=", line.partition(" #")[0]):
                if _SECRET.search(name):
                    yield number, f"{name}: a secret would be in the image for all to read"
    for number, line in definition.sections.get("files", []):
        source = (line.split() or [""])[0]
        if _PRIVATE.search(source) or _SECRET.search(source) or source in {".", "./", "*"}:
            yield number, f"{source}: such a file or folder may hold secrets"


def sources_are_there(definition: Definition) -> Wrong:
    """All that is copied into the image is in the project."""
    for number, line in definition.sections.get("files", []):
        source = (line.split() or [""])[0]
        if source and not (ROOT / source).exists():
            yield number, f"{source}: not there"


def script_stops_at_errors(definition: Definition) -> Wrong:
    """%post begins with `set -eu`, and nothing in it goes on after an error."""
    lines = [(number, line.strip()) for number, line in definition.sections.get("post", [])]
    first = next(((n, line) for n, line in lines if line and not line.startswith("#")), (1, ""))
    if first[1] != "set -eu":
        yield first[0], "%post does not begin with: set -eu"
    for step in commands(definition):
        if step.operator in {"||", "&&", "&"}:
            yield step.line, f"the script does not stop at an error before {step.operator}"
        if step.name == "set" and any(word.startswith("+") for word in step.words[1:]):
            yield step.line, f"{' '.join(step.words)}: %post no longer stops at errors"


def host_is_left_alone(definition: Definition) -> Wrong:
    """%post names no folder that may be the host's, and removes only what is the image's own:
    Apptainer binds the host's /tmp, and `rm -rf /tmp/*` would empty that."""
    for number, line in definition.sections.get("post", []):
        for found in _HOST.findall(re.sub(r"(^|\s)#.*", "", definition.filled(line))):
            yield number, f"{found} is the host's, which Apptainer may bind; use /opt/build"
    for step in commands(definition):
        for what in _removed(step):
            if not _OWN.fullmatch(what) or ".." in what.split("/"):
                yield step.line, f"it removes {what}, which is not the image's own"


def _removed(step: Command) -> Iterator[str]:
    """The operands of a command that removes."""
    words = step.words[1:]
    words = words[
        : next((i for i, word in enumerate(words) if word.startswith(("<", ">"))), len(words))
    ]
    if step.name == "find":
        if step.has("-delete", *_REMOVERS):
            first = next(i for i, word in enumerate([*words, "-"]) if word.startswith("-"))
            yield from words[:first] or ["what is found here"]
    elif step.name in _REMOVERS:
        yield from [word for word in words if not word.startswith("-")]
    elif any(re.search(rf"(^|[\s/;&|(])({'|'.join(_REMOVERS)})(\s|$)", word) for word in words):
        yield "something within another command"


def spython_agrees(path: Path, definition: Definition) -> Wrong:
    """A second reader finds the same base, files and script."""
    from spython.logger import bot
    from spython.main.parse.parsers import SingularityParser

    bot.level = -3  # it warns of scripts that have more than a line, and of what is found here
    try:
        recipe = SingularityParser(str(path)).parse()["spython-base"]
    except Exception as error:
        yield 1, f"spython cannot read it ({type(error).__name__}: {error})"
        return
    if recipe.fromHeader != definition.header.get("from", "").lower():
        yield 1, f"spython's base is {recipe.fromHeader}"
    for section, theirs in (("files", recipe.files), ("post", recipe.install)):
        ours = [line.strip() for _, line in definition.sections.get(section, []) if line.strip()]
        if missing := [line for line in ours if line not in theirs]:
            yield 1, f"spython does not find in %{section}: {missing[0]}"


def pins_are_locked(pins: Sequence[Pin]) -> Wrong:
    """Each requirement is one version, and each has hashes."""
    if not pins:
        yield 1, "nothing is locked"
    for pin in pins:
        if pin.version is None:
            yield pin.line, f"{pin.name}: not one exact version (NAME==VERSION)"
        elif not pin.hashes:
            yield pin.line, f"{pin.name}: no --hash"
        elif not all(re.fullmatch(r"sha256:[0-9a-f]{64}", one) for one in pin.hashes):
            yield pin.line, f"{pin.name}: a hash that is no sha256"


def agreement(definitions: dict[str, Definition], locks: dict[str, list[Pin]]) -> Iterator[str]:
    """What both images must have alike, and what the base must have alike with torch."""
    versions = {name: {pin.name: pin.version for pin in pins} for name, pins in locks.items()}
    for package in ("torch", "nvidia-cuda-runtime-cu12", "submitit", "omegaconf", "cloudpickle"):
        both = {image: versions[image].get(package) for image in IMAGES}
        if len({*both.values()}) > 1 or None in both.values():
            yield f"{package}: {_told(both)}"
    for image in IMAGES:
        tag = definitions[image].arguments.get("BASE_TAG", "none")
        runtime = versions[image].get("nvidia-cuda-runtime-cu12") or "none"
        if not f"{tag}.".startswith(f"{CUDA}.") or not runtime.startswith(f"{CUDA}."):
            yield f"{image}: the base is {tag}, torch's CUDA {runtime}; both must be {CUDA}"
    for name in ("APT_SNAPSHOT", "UV_WHEEL", "UV_SHA256", "PYTHON_VERSION"):
        both = {image: definitions[image].arguments.get(name) for image in IMAGES}
        if len({*both.values()}) > 1 or None in both.values():
            yield f"{name}: {_told(both)}"
    yield from _uv_agrees(definitions["train"].arguments, locks["build"])


def _uv_agrees(arguments: dict[str, str], build: Sequence[Pin]) -> Iterator[str]:
    """uv is the one that build.lock has, down to the file."""
    pin = next((pin for pin in build if pin.name == "uv"), None)
    wheel, digest = arguments.get("UV_WHEEL", ""), arguments.get("UV_SHA256", "")
    if pin is None:
        yield "uv: not in build.lock"
    elif f"/uv-{pin.version}-" not in wheel or f"sha256:{digest}" not in pin.hashes:
        yield f"uv: UV_WHEEL and UV_SHA256 are not of build.lock's uv {pin.version}"


def _told(both: dict[str, str | None]) -> str:
    return ", ".join(f"{image} has {value or 'none'}" for image, value in both.items())


RULES: Final[dict[str, Callable[[Definition], Wrong]]] = {
    "all sections": sections_are_there,
    "base by digest": base_has_a_digest,
    "build arguments have defaults": arguments_are_known,
    "no secrets": no_secrets,
    "all that is copied is there": sources_are_there,
    "%post leaves the host alone": host_is_left_alone,
    "%post stops at errors": script_stops_at_errors,
    "all that is fetched is pinned": fetches_are_pinned,
}

if __name__ == "__main__":
    sys.exit(exit_code(main))
