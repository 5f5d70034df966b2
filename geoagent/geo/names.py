"""One written form for the many that a place's name has."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

MAX_NAME: Final = 200
"""Longer names are cut: the longest real one has 168 letters, and work must stay bounded."""

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
_KINDS: Final = "|".join(_GENERIC)
_AFFIX: Final = re.compile(rf"^(?:the )?(?:(?:{_KINDS}) of )?(.+?)(?: (?:{_KINDS}))*$")
_NOT_WORD: Final = re.compile(r"[^a-z0-9]+")
_ABBREVIATIONS: Final = {"st": "saint", "ste": "sainte", "mt": "mount", "ft": "fort"}
_LETTERS: Final = str.maketrans({"ø": "o", "ł": "l", "đ": "d", "ı": "i", "ð": "d", "æ": "ae"})
"""Letters that Unicode does not take apart into a base and an accent, as gazetteers write them."""


def fold(name: str) -> str:
    """Case, accents and punctuation removed, 'St.' written out: 'São Paulo' → 'sao paulo',
    'St. Louis' → 'saint louis'. Other scripts are kept."""
    text = name[:MAX_NAME]
    if text.isascii():
        text = _NOT_WORD.sub(" ", text.casefold())
    else:
        text = unicodedata.normalize("NFKD", text).casefold()
        text = unicodedata.normalize("NFKD", text).translate(_LETTERS)
        text = "".join(
            character if character.isalnum() or unicodedata.category(character) == "Mc" else " "
            for character in text
            if unicodedata.category(character) != "Mn"
        )
    return " ".join(_ABBREVIATIONS.get(word, word) for word in text.split())


def core(name: str) -> str:
    """The folded name without what only says what kind of place it is: 'Hefei City' → 'hefei'."""
    return without_kind(fold(name))


def without_kind(folded: str) -> str:
    """`core` of a name that is folded already."""
    match = _AFFIX.match(folded)
    return match.group(1) if match else folded
