"""Where models come from, and what is checked of their folders before anything loads them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

from geoagent.errors import UsageError
from geoagent.files import read_json

OFFLINE: Final = {"HF_HUB_OFFLINE": "1", "USE_HF": "1"}
"""Nothing is fetched unless somebody sets HF_HUB_OFFLINE=0, and then from Hugging Face: without
USE_HF, ms-swift looks for every model's name at modelscope.cn."""


def stay_offline() -> None:
    """Set OFFLINE for this process; call it before a model library is imported."""
    for name, value in OFFLINE.items():
        os.environ.setdefault(name, value)


def local_folder(model: str) -> Path | None:
    """A model's folder on this machine: itself, or its snapshot in the hub's cache, or None."""
    if Path(model).is_dir():
        return Path(model)
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        config = try_to_load_from_cache(model, "config.json")
    except HFValidationError:  # a path
        return None
    return Path(config).parent if isinstance(config, str) else None


def check_model(key: str, model: str) -> None:
    """UsageError if a model, the value of `key`, is not here and may not be fetched either."""
    folder = local_folder(model)
    if folder is not None:
        if not any((folder / name).is_file() for name in ("config.json", "modules.json")):
            raise UsageError(f"{key}: {model}: not a model folder (it has no config.json)")
    elif model.startswith(("/", ".", "~")) or model.count("/") != 1:
        raise UsageError(f"{key}: {model}: there is no such folder")
    elif os.environ.get("HF_HUB_OFFLINE", "1").upper() in ("1", "ON", "YES", "TRUE"):
        raise UsageError(
            f"{key}: {model}: is no folder, and jobs fetch nothing; fetch it where there is "
            f"internet (.venv/bin/hf download {model} --local-dir DIR) and set {key}=DIR, or let "
            "jobs fetch it with HF_HUB_OFFLINE=0"
        )


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
