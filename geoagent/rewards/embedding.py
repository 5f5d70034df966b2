"""The sentence-embedding model of the semantic reward."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from geoagent.errors import UsageError

Encoder = Callable[[list[str]], Any]
"""Texts → unit vectors, one row each."""
_KEY = "rewards.semantic.model"


@cache
def load_encoder(model: str) -> Encoder:
    """The sentence-transformers model of a folder, a hub name, or `package:NAME`, on the CPU;
    loaded once a process.

    Hub names need a network or a filled cache; HF_HUB_OFFLINE is respected. UsageError if the
    model cannot be loaded.
    """
    from geoagent.compat import prepare_torch

    folder = package_folder(model) if model.startswith("package:") else model
    prepare_torch()
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    from sentence_transformers import SentenceTransformer
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # that of a file of some megabytes
    try:
        encoder = SentenceTransformer(folder, device="cpu")
    except (OSError, ValueError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise UsageError(f"{_KEY}: {model}: cannot be loaded ({first})") from error
    finally:
        if shown:
            logging.enable_progress_bar()

    def encode(names: list[str]) -> Any:
        return encoder.encode(
            names, batch_size=128, normalize_embeddings=True, show_progress_bar=False
        )

    return encode


def package_folder(model: str) -> str:
    """The folder inside an installed package (`package:NAME`) that holds a sentence model."""
    package = model.partition(":")[2]
    spec = importlib.util.find_spec(package) if package.isidentifier() else None
    if spec is None or spec.origin is None:
        raise UsageError(f"{_KEY}: package '{package}' is not installed; run: make setup")
    marks = sorted(Path(spec.origin).parent.rglob("modules.json"))
    if not marks:
        raise UsageError(f"{_KEY}: package '{package}' holds no sentence-transformers model")
    return str(marks[0].parent)
