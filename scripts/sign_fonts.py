#!/usr/bin/env python3
"""Makes geoagent/data/fonts from the full fonts; to be run after a sign in places.yaml changed.

Needs fonttools, uharfbuzz and pyyaml, and these fonts in one folder: DejaVuSans-Bold.ttf (in the
Python package matplotlib, or Debian's fonts-dejavu-core), NotoSansDevanagari-Bold.ttf,
NotoSansEthiopic-Bold.ttf, NotoSansThai-Bold.ttf (fonts-noto-core), DroidSansFallback.ttf
(fonts-droid-fallback).

    python scripts/sign_fonts.py FOLDER

Scripts whose letters join or stack are laid out here, once: each such sign becomes one glyph in
the private use area, and shaped.json says which. Drawing then needs no text shaping, which Pillow
only has where the system has libfribidi; without it Arabic would come out reversed and unjoined.
"""

from __future__ import annotations

import json
import sys
import unicodedata
from pathlib import Path
from typing import Any

import uharfbuzz
import yaml
from fontTools import subset
from fontTools.pens.recordingPen import DecomposingRecordingPen
from fontTools.pens.transformPen import TransformPen
from fontTools.pens.ttGlyphPen import TTGlyphPen
from fontTools.ttLib import TTFont

DATA = Path(__file__).resolve().parent.parent / "geoagent" / "data"
SOURCES = {
    "Latin": "DejaVuSans-Bold.ttf",
    "Thai": "NotoSansThai-Bold.ttf",
    "Devanagari": "NotoSansDevanagari-Bold.ttf",
    "Ethiopic": "NotoSansEthiopic-Bold.ttf",
    "CJK": "DroidSansFallback.ttf",
}
SHAPED = ("THAI", "DEVANAGARI", "ARABIC", "HEBREW")
PRIVATE_USE = 0xE000


def main(folder: Path) -> None:
    """Write the subsets and shaped.json."""
    sys.path.insert(0, str(DATA.parent.parent))
    from geoagent.data.scenes import font_for

    signs = sorted({c["sign"] for row in places() for c in row["cities"]})
    shaped = [sign for sign in signs if unicodedata.name(sign[0]).split()[0] in SHAPED]
    codes = {sign: PRIVATE_USE + index for index, sign in enumerate(shaped)}
    plates = [row["plate"][2] for row in places()]
    for name, file in SOURCES.items():
        plain = [sign for sign in signs if sign not in codes and font_for(sign) == name]
        if name == "Latin":
            plain += plates
        mine = {sign: code for sign, code in codes.items() if font_for(sign) == name}
        write_font(folder / file, DATA / "fonts" / f"Signs{name}.ttf", "".join(plain), mine)
    text = json.dumps({sign: chr(code) for sign, code in codes.items()}, indent=1)
    (DATA / "fonts" / "shaped.json").write_text(text + "\n", encoding="utf-8")


def places() -> list[dict[str, Any]]:
    """The rows of places.yaml."""
    rows: list[dict[str, Any]] = yaml.safe_load((DATA / "places.yaml").read_text("utf-8"))
    return rows


def write_font(source: Path, target: Path, letters: str, signs: dict[str, int]) -> None:
    """Subset of a font with the letters, and each sign as one glyph at its code."""
    font = TTFont(source)
    for sign, code in signs.items():
        add_sign(font, source, sign, code)
    options = subset.Options(layout_features=[], name_IDs=["*"], notdef_outline=True)
    options.drop_tables += ["GSUB", "GPOS", "GDEF", "kern"]
    subsetter = subset.Subsetter(options)
    subsetter.populate(unicodes=[*map(ord, letters), *signs.values()])
    subsetter.subset(font)
    for record in font["name"].names:
        if record.nameID in (1, 4, 6, 16):
            record.string = target.stem
    font["head"].modified = font["head"].created  # the same input gives the same file
    font.recalcTimestamp = False
    font.save(target)


def add_sign(font: TTFont, source: Path, sign: str, code: int) -> None:
    """Add a glyph with the whole sign, laid out by HarfBuzz."""
    blob = uharfbuzz.Blob.from_file_path(str(source))
    text = uharfbuzz.Buffer()
    text.add_str(sign)
    text.guess_segment_properties()
    uharfbuzz.shape(uharfbuzz.Font(uharfbuzz.Face(blob)), text)
    glyphs, pen, x = font.getGlyphSet(), TTGlyphPen(None), 0
    for info, place in zip(text.glyph_infos, text.glyph_positions, strict=True):
        outline = DecomposingRecordingPen(glyphs)
        glyphs[font.getGlyphName(info.codepoint)].draw(outline)
        moved = (1, 0, 0, 1, x + place.x_offset, place.y_offset)
        outline.replay(TransformPen(pen, moved))
        x += place.x_advance
    name = f"sign{code:04X}"
    glyph = pen.glyph()
    font.setGlyphOrder([*font.getGlyphOrder(), name])
    font["glyf"].glyphs[name] = glyph
    glyph.recalcBounds(font["glyf"])
    font["hmtx"].metrics[name] = (x, glyph.xMin)
    for table in font["cmap"].tables:
        if table.isUnicode() and table.format in (4, 12):
            table.cmap[code] = name


if __name__ == "__main__":
    main(Path(sys.argv[1]))
