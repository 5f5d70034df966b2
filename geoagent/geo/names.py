"""One written form for the many that a place's name has."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import Final

MAX_NAME: Final = 200
"""Longer names are cut: the longest real one has 168 letters, and work must stay bounded."""

_NOT_WORD: Final = re.compile(r"[^a-z0-9]+")
_ABBREVIATIONS: Final = {"st": "saint", "ste": "sainte", "mt": "mount", "ft": "fort"}
_LETTERS: Final = str.maketrans(
    {"ø": "o", "ł": "l", "đ": "d", "ı": "i", "ð": "d", "æ": "ae", "ə": "a"}
    | dict.fromkeys("'`´‘’′ʹʻʼʽʾʿˈ")
)
"""Letters that Unicode does not take apart into a base and an accent, as gazetteers write them, and
what is written for a glottal stop or an elision: it is left out as often as not."""


@lru_cache(maxsize=10_000)
def fold(name: str) -> str:
    """Case, accents, apostrophes and punctuation removed, 'St.' written out: 'São Paulo' →
    'sao paulo', 'St. Louis' → 'saint louis', 'Xi'an' → 'xian'. Other scripts are kept."""
    text = name[:MAX_NAME]
    if text.isascii():
        text = _NOT_WORD.sub(" ", text.casefold().translate(_LETTERS))
    else:
        text = unicodedata.normalize("NFKD", text.translate(_LETTERS)).casefold()
        text = unicodedata.normalize("NFKD", text).translate(_LETTERS)
        text = "".join(
            character if character.isalnum() or unicodedata.category(character) == "Mc" else " "
            for character in text
            if unicodedata.category(character) not in ("Mn", "Cf")
        )
        text = unicodedata.normalize("NFC", text)  # Hangul in one piece again
    return " ".join(_ABBREVIATIONS.get(word, word) for word in text.split())


def _either(*words: str) -> str:
    return "|".join(fold(word) for word in words)


_OF: Final = _either(
    *("city", "province", "prefecture", "state", "region", "county", "district", "municipality"),
    *("department", "governorate", "oblast", "metropolis", "republic", "canton", "emirate"),
    *(
        "voivodeship",
        "territory",
        "island",
        "town",
        "village",
        "commune",
        "kingdom",
        "principality",
    ),
)
"""Before a name, with 'of'."""
_BEFORE: Final = _either(
    *("provincia", "província", "province", "provincie", "departamento", "département"),
    *("región", "regione", "região", "estado", "distrito", "municipio", "município", "comarca"),
    *("wilaya", "gouvernorat", "canton", "kanton", "kabupaten", "kota", "tỉnh", "thành phố"),
    *("changwat", "ostan", "județul", "województwo", "powiat", "gmina", "freistaat", "ciudad"),
    *("landkreis", "kreis", "bezirk"),
    *("ciudad autónoma", "respublika", "republika", "grad", "misto", "federation"),
    *("область", "республика", "город", "محافظة", "ولاية", "إمارة", "مدينة", "منطقة"),
)
"""Before a name, with or without 'de', 'di', …"""
_AFTER: Final = _either(
    *("city", "province", "prefecture", "state", "region", "county", "district", "municipality"),
    *("department", "governorate", "oblast", "metropolis", "special administrative region"),
    *("krai", "kray", "republic", "canton", "voivodeship", "emirate", "parish", "division"),
    *("territory", "autonomous region", "autonomous prefecture", "autonomous community"),
    *("autonomous okrug", "autonomous oblast", "autonomous republic", "metropolitan city"),
    *("special city", "capital region", "federal district", "metropolitan area", "town"),
    *(
        "village",
        "township",
        "borough",
        "commune",
        "regency",
        "kreis",
        "bezirk",
        "raion",
        "rayon",
        "megye",
        "kraj",
    ),
    *("do", "si", "gun", "gu", "ken", "fu", "shi", "sheng", "xian", "län", "fylke", "kommune"),
    *("oblast'", "oblysy", "ili", "vilayeti", "область", "край", "республика", "район"),
    *("автономный округ",),
)
_ENDING: Final = _either(
    *("特别行政区", "特別行政區", "自治区", "自治區", "自治州", "自治县", "地区", "特別市"),
    *("省", "市", "县", "縣", "区", "區", "州", "府", "都", "道", "県", "郡", "町", "村"),
    *("특별자치도", "특별자치시", "특별시", "광역시", "시", "도", "군", "구"),
)
"""Written without a space."""
_AFFIX: Final = re.compile(
    rf"^(?:the )?(?:(?:{_OF}) of |(?:{_BEFORE})(?: (?:de|del|della|di|do|da|dos|des|du|d))? )?"
    rf"(.+?)(?: (?:{_AFTER}))*$"
)
_ATTACHED: Final = re.compile(rf"^(..+?)(?:{_ENDING})$")


def core(name: str) -> str:
    """The folded name without what only says what kind of place it is: 'Hefei City' → 'hefei',
    'Provincia de Salta' → 'salta', '合肥市' → '合肥'."""
    return without_kind(fold(name))


_NOTHING: Final = frozenset(
    fold(words)
    for words in (
        *(
            "unknown",
            "n/a",
            "na",
            "none",
            "null",
            "nowhere",
            "unclear",
            "uncertain",
            "undetermined",
        ),
        *("unspecified", "not specified", "not sure", "not available", "unidentified", "islands"),
        *("unable to determine", "cannot be determined", "cannot determine", "indeterminate"),
        *("rural", "urban", "suburban", "countryside", "remote", "rural area", "urban area"),
        *("desconocido", "inconnu", "unbekannt", "неизвестно", "未知", "不明"),
    )
)
_HEDGE: Final = re.compile(
    r"^(?:somewhere |approximately |likely |probably |possibly |perhaps |maybe )*"
    r"(?:(?:in|near|around|outside|close to|(?:the )?(?:outskirts|suburbs?|vicinity) of"
    r"|downtown|central|greater|north of|south of|east of|west of) )*(?:the )?(.+?)"
    r"(?: (?:area|vicinity|suburbs?|outskirts|surroundings))?$",
    re.IGNORECASE,
)


def says_nothing(name: str) -> bool:
    """Whether a name only says that it is not known, or how the country looks: 'Rural'."""
    folded = fold(name)
    return not folded or folded in _NOTHING


def without_hedge(name: str) -> str:
    """A name without words such as 'near', 'probably', 'downtown', '… area'."""
    match = _HEDGE.match(name)
    return match.group(1) if match else name


def without_kind(folded: str) -> str:
    """`core` of a name that is folded already."""
    match = _AFFIX.match(folded)
    name = match.group(1) if match else folded
    attached = None if name.isascii() else _ATTACHED.match(name)
    return attached.group(1) if attached else name
