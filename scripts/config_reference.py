#!/usr/bin/env python3
"""Makes docs/reference/config.md from the dataclasses of geoagent/config/.

    .venv/bin/python scripts/config_reference.py [--check]

To be run after a key, its range or its docstring changed. `--check` writes nothing and exits 1 if
the page is not current; tests/unit/test_config_reference.py does the same. Descriptions are the
docstrings of those: mend them there.
"""

from __future__ import annotations

import argparse
import ast
import dataclasses
import inspect
import subprocess
import sys
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

ROOT: Final = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from geoagent import config  # noqa: E402
from geoagent.config import schema, training  # noqa: E402
from geoagent.files import write_atomic  # noqa: E402

PAGE: Final = ROOT / "docs" / "reference" / "config.md"
COMMAND: Final = ".venv/bin/python scripts/config_reference.py"

INTRO: Final = """\
<!-- Made by scripts/config_reference.py from geoagent/config/; edit those, then run it. -->
# Configuration keys

A configuration is made of layers, and each one overrides those before it: the defaults on this
page; the YAML files and `group=choice` words of the command line, in the order they are given; then
all its `key=value` words. `group=choice` reads `configs/GROUP/CHOICE.yaml`. A file may name others
in a list `defaults:` (`defaults: [model/tiny]`), which are read just before it. A list replaces the
list before it; `rewards.weights`, `judge.weights`, `cluster.additional` and `cluster.environment`
are merged name by name.
`geoagent config show recipe=demo grpo.beta=0.01` prints the result. What is wrong is refused in one
line that names the file (or the command line), the key and, where there is no such key, the nearest
one. Some values also have to fit others, as `grpo.generations` the size of a batch; that is checked
too.
"""

AFTER_GROUPS: Final = """\
A file that you put in `configs/GROUP/` is a choice too. `null` below means not set.
"""

# Classes used in so many places that a word stands for them; of others, all names are listed.
PLACEHOLDERS: Final[Mapping[type, str]] = {config.StageResources: "STAGE"}

# Keys that hold a mapping: a word that stands for its names, and a note under the table.
NAMES: Final[Mapping[str, tuple[str, str]]] = {
    "rewards.weights": (
        "NAME",
        f"NAME is one of {', '.join(f'`{name}`' for name in config.REWARD_NAMES)} "
        "([what they reward](rewards.md)). Weights are 0 or more and not all 0; "
        "a reward with weight 0, or without one, is left out.",
    ),
    "judge.weights": ("NAME", ""),
    "cluster.additional": ("OPTION", ""),
    "cluster.environment": ("VARIABLE", ""),
}


class Section(NamedTuple):
    """A dataclass of the schema, its values by default, and the prefixes it is used under."""

    values: Any
    prefixes: list[str]


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the page, or with --check only tell whether it is current; the exit code."""
    parser = argparse.ArgumentParser(description="Make docs/reference/config.md.")
    parser.add_argument("--check", action="store_true", help="exit 1 if the page is not current")
    text = page()
    if not parser.parse_args(arguments).check:
        write_atomic(PAGE, text)
    elif not PAGE.is_file() or PAGE.read_text(encoding="utf-8") != text:
        print(f"error: docs/reference/config.md is not current; run {COMMAND}", file=sys.stderr)
        return 1
    return 0


def page() -> str:
    """The whole page as Markdown."""
    documented = docstrings("\n".join(map(inspect.getsource, (schema, training))))
    parts = [INTRO, group_table(), AFTER_GROUPS]
    parts += [section_text(section, documented) for section in sections()]
    return "\n".join(parts)


def docstrings(source: str) -> dict[tuple[str, str], str]:
    """Docstrings by (class, field); those of the classes themselves by (class, "")."""
    found = {}
    for node in ast.parse(source).body:
        if not isinstance(node, ast.ClassDef):
            continue
        found[node.name, ""] = ast.get_docstring(node) or ""
        for item, after in zip(node.body, node.body[1:], strict=False):
            match item, after:
                case (
                    ast.AnnAssign(target=ast.Name(id=name)),
                    ast.Expr(value=ast.Constant(value=str(text))),
                ):
                    found[node.name, name] = text
    return {key: " ".join(text.split()) for key, text in found.items()}


# --- groups of choices -----------------------------------------------------------------------


def group_table() -> str:
    """The groups and the choices shipped for each."""
    rows = ["| group | shipped choices |", "|---|---|"]
    for group in config.GROUPS:
        choices = ", ".join(f"`{name}`" for name in shipped_choices(group))
        rows.append(f"| `{group}=` | {choices or 'none'} |")
    return "\n".join(rows) + "\n"


def shipped_choices(group: str) -> list[str]:
    """Choices of a group; where git knows, without files that are somebody's own."""
    folder = config.CONFIG_ROOT / group
    files = {file.name for file in folder.glob("*.yaml")}
    tracked = _tracked()
    if tracked:
        files = {name for name in files if f"{group}/{name}" in tracked}
    return sorted(Path(name).stem for name in files)


def _tracked() -> set[str]:
    """Files under configs/ that git tracks; none if this is no git checkout."""
    command = ["git", "-C", str(config.CONFIG_ROOT), "ls-files"]
    try:
        listed = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return set()
    return set(listed.stdout.splitlines())


# --- sections --------------------------------------------------------------------------------


def sections() -> list[Section]:
    """All groups of keys in the schema's order; equal ones in different places are one."""
    found: list[Section] = []
    for prefix, values in _nodes(config.Config(), ""):
        for section in found:
            if section.values == values:
                section.prefixes.append(prefix)
                break
        else:
            found.append(Section(values, [prefix]))
    return found


def _nodes(values: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    yield prefix, values
    for item in dataclasses.fields(values):
        value = getattr(values, item.name)
        if dataclasses.is_dataclass(value):
            yield from _nodes(value, f"{prefix}{item.name}.")


def section_text(section: Section, documented: Mapping[tuple[str, str], str]) -> str:
    """Heading, docstring of the class, the table of its keys, and notes on them."""
    cls = type(section.values)
    prefixes, places = _placeholder(cls, section.prefixes)
    heading = ", ".join(prefix.rstrip(".") for prefix in prefixes) or "Top level"
    lines = [f"## {heading}", "", f"{documented[cls.__name__, '']}{places}", ""]
    lines += ["| key | default | values | what it is |", "|---|---|---|---|"]
    notes = []
    for item in dataclasses.fields(cls):
        value = getattr(section.values, item.name)
        if dataclasses.is_dataclass(value):
            continue
        limits = values_text(typing.get_type_hints(cls)[item.name], item.metadata)
        text = described(cls, item.name, documented)
        lines.append(row(key_text(prefixes, item.name), shown(value), limits, text))
        notes.append(NAMES.get(f"{prefixes[0]}{item.name}", ("", ""))[1])
    return "\n".join([*lines, "", *(f"{note}\n" for note in notes if note)])


def described(cls: type, name: str, documented: Mapping[tuple[str, str], str]) -> str:
    """The docstring of a field, also of one that the class has from another."""
    known = (documented.get((one.__name__, name)) for one in cls.__mro__)
    return next(filter(None, known), "")


def _placeholder(cls: type, prefixes: list[str]) -> tuple[list[str], str]:
    """Prefixes as they are shown, and a sentence that says what a placeholder stands for."""
    word = PLACEHOLDERS.get(cls)
    if word is None or len(prefixes) == 1:
        return prefixes, ""
    parents = {prefix.rstrip(".").rpartition(".")[0] for prefix in prefixes}
    names = [f"`{prefix.rstrip('.').rpartition('.')[2]}`" for prefix in prefixes]
    return [f"{parent}.{word}." for parent in sorted(parents)], f" {word}: {', '.join(names)}."


# --- cells -----------------------------------------------------------------------------------


def row(*cells: str) -> str:
    """A row of a Markdown table."""
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def key_text(prefixes: Sequence[str], name: str) -> str:
    """All full names of a key, as one types them."""
    word = NAMES.get(f"{prefixes[0]}{name}", ("", ""))[0]
    return ", ".join(f"`{prefix}{name}{'.' + word if word else ''}`" for prefix in prefixes)


def shown(value: Any) -> str:
    """A default as one would type it."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, Mapping) and value:
        return ", ".join(f"{name} {shown(item)}" for name, item in value.items())
    if isinstance(value, float):
        return repr(value).replace("e-0", "e-")
    return f"`{value}`" if isinstance(value, str | list | dict) else str(value)


def values_text(hint: Any, limits: Mapping[str, Any]) -> str:
    """Choices, or type and range, and whether null is allowed."""
    kinds = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    names = [type_name(kind) for kind in kinds if kind is not type(None)]
    if "choices" in limits:
        names = [f"`{choice}`" for choice in limits["choices"]]
    if type(None) in kinds:
        names.append("null")
    signs = {"low": "≥", "above": ">", "high": "≤"}
    ranges = [f"{sign} {limits[name]:g}" for name, sign in signs.items() if name in limits]
    if ranges:
        names[0] = f"{names[0]} {', '.join(ranges)}"
    return ", ".join(names)


def type_name(hint: Any) -> str:
    """A type in words."""
    arguments = typing.get_args(hint)
    if typing.get_origin(hint) is list:
        return f"list of {type_name(arguments[0])}"
    if typing.get_origin(hint) is dict:
        return type_name(arguments[1])  # the keys' names are in the key column
    return {int: "integer", float: "number", bool: "true, false", str: "text"}[hint]


if __name__ == "__main__":
    raise SystemExit(main())
