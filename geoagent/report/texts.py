"""Texts of models and datasets as a report has them."""

from __future__ import annotations

from typing import Final

_MAX: Final = 1_200


def cut(text: object, limit: int = _MAX) -> str:
    """A text as it stands, shortened, with what cannot be printed replaced; empty for what is no
    text."""
    if not isinstance(text, str):
        return ""
    clean = "".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in text)
    return clean if len(clean) <= limit else f"{clean[: limit - 1]}…"
