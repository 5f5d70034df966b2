"""Files and words of a command line → a configuration, and back to YAML."""

from __future__ import annotations

import dataclasses
import difflib
import re
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from geoagent.config.checks import check_environment, validate
from geoagent.config.schema import Config
from geoagent.errors import UsageError

CONFIG_ROOT: Final = Path(__file__).resolve().parent.parent.parent / "configs"
GROUPS: Final = ("cluster", "model", "recipe", "data", "agent", "benchmark")
COMMAND_LINE: Final = "command line"


@dataclass(frozen=True)
class _Layer:
    """Some keys and where they come from (a file, or the command line)."""

    source: str
    values: DictConfig


def resolve(arguments: Sequence[str] = (), checked: bool = True) -> Config:
    """Config of a command line such as `recipe=demo model=tiny grpo.beta=0.01`.

    `group=choice` reads `configs/GROUP/CHOICE.yaml`; a path that ends in `.yaml` is read as it
    is; everything else is `key=value`. What is not `checked` may contradict itself. Raises
    UsageError.
    """
    files: list[Path] = []
    overrides: list[str] = []
    for argument in arguments:
        if "=" not in argument and argument.endswith((".yaml", ".yml")):
            files.append(Path(argument))
            continue
        key, separator, value = argument.partition("=")
        if separator and key in GROUPS:
            files.append(group_file(key, value))
        else:
            overrides.append(argument)
    return load(files, overrides, checked)


def load(
    files: Sequence[Path | str] = (), overrides: Sequence[str] = (), checked: bool = True
) -> Config:
    """Merge the schema's defaults, files in order and `key=value` overrides, and check it all.

    Raises UsageError with one line: source, key, what is wrong, and the nearest valid key.
    """
    layers: list[_Layer] = []
    for file in files:
        layers += _read_layers(Path(file), ())
    layers += [_override_layer(text) for text in overrides]

    merged: DictConfig = OmegaConf.structured(Config)
    sources: dict[str, str] = {}
    for layer in layers:
        _check_keys(layer.values, Config, "", layer.source)
        check_environment(layer.values, layer.source)
        try:
            merged = typing.cast(DictConfig, OmegaConf.merge(merged, layer.values))
        except (OmegaConfBaseException, TypeError) as error:  # a list for a mapping is the latter
            raise UsageError(f"{layer.source}: {_plain(error)}") from error
        sources.update((key, layer.source) for key in _leaves(layer.values))
    try:
        config = typing.cast(Config, OmegaConf.to_object(merged))
    except OmegaConfBaseException as error:
        source = sources.get(str(error.full_key), COMMAND_LINE)
        raise UsageError(f"{source}: {_plain(error)}") from error
    if checked:
        validate(config, sources)
    return config


def group_file(group: str, choice: str) -> Path:
    """The file of `group=choice`; UsageError lists the choices if there is none."""
    folder = CONFIG_ROOT / group
    path = folder / f"{choice}.yaml"
    names = sorted(file.stem for file in folder.glob("*.yaml"))
    if choice in names:
        return path
    near = difflib.get_close_matches(choice, names, n=1)
    hint = f"did you mean {group}={near[0]}?" if near else f"there are: {', '.join(names)}"
    raise UsageError(f"{COMMAND_LINE}: {group}={choice}: no such choice; {hint}")


def to_yaml(config: Config) -> str:
    """The complete configuration as YAML; `load` of it gives an equal Config."""
    return dump(dataclasses.asdict(config))


def dump(document: Mapping[str, Any]) -> str:
    """A configuration's keys and values as YAML that `load` reads. Some ten times as fast as
    OmegaConf's: a sweep writes thousands."""
    import yaml

    return str(yaml.dump(document, Dumper=_dumper(), sort_keys=False, allow_unicode=True))


@cache
def _dumper() -> Any:
    import yaml

    class Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]
        def ignore_aliases(self, data: object) -> bool:
            return True

    def text(dumper: Any, value: str) -> Any:
        # OmegaConf takes more for numbers than PyYAML does, such as 1e-5.
        style = "'" if _NUMBER.fullmatch(value) else None
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)

    Dumper.add_representer(str, text)
    return Dumper


_NUMBER: Final = re.compile(r"[-+]?[\d_.]*([eE][-+]?\d+)?")


def _read_layers(path: Path, parents: tuple[Path, ...]) -> list[_Layer]:
    """Layers of a file: those of its `defaults:` list, then its own keys."""
    source = shown(path)
    if path.resolve() in parents:
        raise UsageError(f"{source}: defaults: names itself (through {shown(parents[-1])})")
    values = read_yaml(path)
    defaults = values.pop("defaults", OmegaConf.create([]))
    if not OmegaConf.is_list(defaults) or not all(isinstance(name, str) for name in defaults):
        raise UsageError(f"{source}: defaults: expected a list of GROUP/CHOICE names")
    layers: list[_Layer] = []
    for name in defaults:
        child = CONFIG_ROOT / f"{name}.yaml"
        if not child.is_file():
            raise UsageError(f"{source}: defaults: {name}: no file {shown(child)}{_near(child)}")
        layers += _read_layers(child, (*parents, path.resolve()))
    return [*layers, _Layer(source, values)]


def read_yaml(path: Path) -> DictConfig:
    source = shown(path)
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{source}: {error.strerror}{_near(path)}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{source}: not UTF-8 text") from error
    import yaml

    try:
        values = OmegaConf.create(text)
    except (yaml.YAMLError, OmegaConfBaseException) as error:
        raise UsageError(f"{source}: not valid YAML ({_yaml_problem(error)})") from error
    if not isinstance(values, DictConfig):
        raise UsageError(f"{source}: expected keys and values at the top level")
    return values


def _override_layer(text: str) -> _Layer:
    key, separator, _ = text.partition("=")
    if not separator or not key.strip():
        raise UsageError(f"{COMMAND_LINE}: {text}: expected key=value")
    try:
        return _Layer(COMMAND_LINE, OmegaConf.from_dotlist([text]))
    except Exception as error:  # yaml and grammar errors have no common base
        raise UsageError(f"{COMMAND_LINE}: {text}: {_plain(error)}") from error


def _check_keys(values: DictConfig, schema: type, prefix: str, source: str) -> None:
    """Every key of a layer is one of the schema's; names the nearest where it is not."""
    hints = typing.get_type_hints(schema)
    for key in values:
        dotted = f"{prefix}{key!s}"
        if key not in hints:
            meant = nearest_key(_with_leaf(dotted, values._get_node(key)), hints)
            raise UsageError(f"{source}: {dotted}: unknown key{meant}")
        node = values._get_node(key)
        if dataclasses.is_dataclass(hints[key]):
            if not isinstance(node, DictConfig) or node._is_none():
                raise UsageError(f"{source}: {dotted}: expected a group of keys, not a value")
            _check_keys(node, typing.cast(type, hints[key]), f"{dotted}.", source)


def _with_leaf(dotted: str, node: Any) -> str:
    """A key that does not exist, with the first one under it if some group has one of that name,
    which tells better what was meant."""
    if isinstance(node, DictConfig) and not node._is_none() and len(node):
        leaf = next(_leaves(node, f"{dotted}."))
        if any(key.rpartition(".")[2] == leaf.rpartition(".")[2] for key in all_keys()):
            return leaf
    return dotted


def nearest_key(dotted: str, siblings: Mapping[str, Any]) -> str:
    """What to say of a dotted key that does not exist, among `siblings` in its group."""
    prefix, _, name = dotted.rpartition(".")
    known = list(all_keys())
    same = [key for key in known if key.rpartition(".")[2] == name]
    near = difflib.get_close_matches(name, list(siblings), n=1, cutoff=0.6)
    if near and not same:
        return f"; did you mean {prefix + '.' if prefix else ''}{near[0]}?"
    near = difflib.get_close_matches(dotted, same or known, n=1, cutoff=0.0)
    return f"; did you mean {near[0]}?"


def all_keys(schema: type = Config, prefix: str = "") -> Iterator[str]:
    """Dotted names of all keys of the schema."""
    for key, hint in typing.get_type_hints(schema).items():
        if dataclasses.is_dataclass(hint):
            yield from all_keys(typing.cast(type, hint), f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def _leaves(values: DictConfig, prefix: str = "") -> Iterator[str]:
    for key in values:
        node = values._get_node(key)
        if isinstance(node, DictConfig) and not node._is_none() and len(node):
            yield from _leaves(node, f"{prefix}{key!s}.")
        else:
            yield f"{prefix}{key!s}"


def shown(path: Path) -> str:
    """Path as a person would write it: shipped files by their name under configs/."""
    try:
        return str(Path("configs") / path.resolve().relative_to(CONFIG_ROOT))
    except ValueError:
        return str(path)


def _near(path: Path) -> str:
    names = [file.name for file in path.parent.glob("*.yaml")] if path.parent.is_dir() else []
    others = [name for name in names if name != path.name]  # it may be a folder
    near = difflib.get_close_matches(path.name, others, n=1)
    return f"; did you mean {shown(path.parent / near[0])}?" if near else ""


def _yaml_problem(error: Exception) -> str:
    """What a YAML parser says is wrong, with the line."""
    problem, mark = (getattr(error, name, None) for name in ("problem", "problem_mark"))
    return f"line {mark.line + 1}: {problem}" if problem and mark else _plain(error)


def _plain(error: Exception) -> str:
    """The first line of an OmegaConf or YAML message, with the full key in front."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[0] if lines else type(error).__name__
    key = getattr(error, "full_key", None)
    return f"{key}: {text}" if key else text
