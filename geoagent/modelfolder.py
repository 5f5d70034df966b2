"""What is checked of a model's folder before anything loads it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from geoagent.errors import UsageError
from geoagent.files import read_json


def refuse_code(model: str) -> None:
    """UsageError if a model folder wants Python of its own run (`auto_map` in one of its files).

    ms-swift loads every model with trust_remote_code, so a folder that someone handed over could
    run anything. Qwen2.5-VL needs no such code.
    """
    for file in sorted(Path(model).glob("*config.json")):
        if _mentions(read_json(file), "auto_map"):
            raise UsageError(f"{file}: brings its own code (auto_map), which is not run here")


def _mentions(value: Any, key: str) -> bool:
    if isinstance(value, dict):
        return key in value or any(_mentions(item, key) for item in value.values())
    return isinstance(value, list) and any(_mentions(item, key) for item in value)
