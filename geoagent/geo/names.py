"""One written form for the many that a place's name has."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import Final

_GENERIC: Final = (
    "city",
    "province",
    "prefecture",
    "state",
    "region",
    "county",
    "district",
    "municipality",
    "department",
    "governorate",
    "oblast",
    "metropolis",
    "special administrative region",
)
_AFFIX: Final = re.compile(
    rf"^(?:the )?(?:(?:{'|'.join(_GENERIC)}) of )?(.+?)(?: (?:{'|'.join(_GENERIC)}))*$"
)


@lru_cache(maxsize=200_000)
def fold(name: str) -> str:
    """Case, accents and punctuation removed: 'São Paulo' → 'sao paulo'; other scripts kept."""
    text = unicodedata.normalize("NFKD", name.casefold())
    kept = (
        character if character.isalnum() else " "
        for character in text
        if not unicodedata.combining(character)
    )
    return " ".join("".join(kept).split())


@lru_cache(maxsize=200_000)
def core(name: str) -> str:
    """The folded name without what only says what kind of place it is: 'Hefei City' → 'hefei'."""
    folded = fold(name[:200])
    match = _AFFIX.match(folded)
    return match.group(1) if match else folded
