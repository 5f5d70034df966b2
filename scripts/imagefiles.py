"""Reading what images are made from: lock files and Apptainer's definition files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Final

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from geoagent.errors import UsageError

IMAGES: Final = ("train", "agent")
_HASH: Final = re.compile(r"\s--hash[= ](\S+)")
_ARGUMENT: Final = re.compile(r"{{\s*(\w+)\s*}}")


@dataclass(frozen=True)
class Pin:
    """One requirement of a lock file. `version` is None unless it is one exact version."""

    name: str
    version: str | None
    hashes: tuple[str, ...]
    line: int


@dataclass
class Definition:
    """A definition file, taken apart as Apptainer does; lines keep their numbers."""

    header: dict[str, str] = field(default_factory=dict)
    sections: dict[str, list[tuple[int, str]]] = field(default_factory=dict)

    @cached_property
    def arguments(self) -> dict[str, str]:
        """Build arguments and their defaults."""
        lines = (line.strip() for _, line in self.sections.get("arguments", []))
        pairs = (line.partition("=") for line in lines if line and not line.startswith("#"))
        return {name.strip(): value.strip() for name, _, value in pairs}

    def filled(self, text: str) -> str:
        """A text with the defaults in the place of the arguments that have one."""
        return _ARGUMENT.sub(lambda found: self.arguments.get(found[1], found[0]), text)


def parse_definition(text: str) -> Definition:
    """Header and sections of a definition file with one stage. A section that is there twice is
    one."""
    definition, section = Definition(), None
    for number, line in enumerate(text.splitlines(), start=1):
        if line.startswith("%"):
            section = line[1:].split()[0].lower() if line[1:].split() else ""
            definition.sections.setdefault(section, [])
        elif section is not None:
            definition.sections[section].append((number, line))
        elif ":" in line and not line.startswith("#"):
            name, _, value = line.partition(":")
            definition.header[name.strip().lower()] = value.strip()
    return definition


def parse_lock(text: str) -> Iterator[Pin]:
    """Requirements of a lock file as pip and uv read them. What is none, such as an option, is a
    Pin without a version, so that nothing is passed over."""
    for number, line in _logical_lines(text):
        statement = _HASH.sub("", line).strip()
        hashes = tuple(_HASH.findall(line))
        try:
            requirement = Requirement(statement)
        except InvalidRequirement:
            yield Pin(statement, None, hashes, number)
            continue
        versions = [(one.operator, one.version) for one in requirement.specifier]
        exact = len(versions) == 1 and versions[0][0] == "==" and "*" not in versions[0][1]
        version = versions[0][1] if exact and not requirement.url else None
        yield Pin(canonicalize_name(requirement.name), version, hashes, number)


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Lines joined where a backslash ends them, without comments, and the number of the first."""
    joined, first = "", 0
    for number, line in enumerate(text.splitlines(), start=1):
        first = first if joined else number
        if line.rstrip().endswith("\\"):
            joined += line.rstrip()[:-1] + " "
            continue
        joined += re.sub(r"(^|\s)#.*$", "", line)
        if joined.strip():
            yield first, joined
        joined = ""
    if joined.strip():
        yield first, joined


def read_text(path: Path) -> str:
    """A file's text; UsageError if there is none."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: cannot be read ({error})") from None
