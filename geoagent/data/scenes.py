"""Street scenes drawn by code: what a country's streets show, simple enough for a small model.

A scene shows the flag, a road sign with the city's name in the local script, a car on the side
that the country drives on with its kind of plate, the colour of the road's lines, the biome's
colours, the houses' walls and roofs, and the city's setting (coast, mountains, canal, …).
Position, size, light, clouds and noise are drawn from the seed, so no two scenes are the same.
"""

from __future__ import annotations

import json
import math
import random
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from geoagent.data.places import City, Country

if TYPE_CHECKING:
    from PIL.Image import Image

Colour = tuple[int, int, int]
Box = tuple[float, float, float, float]

FONTS: Final = Path(__file__).with_name("fonts")
SIZE: Final = 224
HORIZON: Final = 120

COLOURS: Final[dict[str, Colour]] = {
    "white": (245, 245, 245),
    "black": (25, 25, 25),
    "red": (205, 25, 40),
    "maroon": (130, 25, 50),
    "blue": (20, 60, 165),
    "navy": (15, 25, 95),
    "sky": (95, 180, 235),
    "green": (0, 125, 65),
    "gold": (250, 205, 20),
    "yellow": (250, 215, 40),
    "orange": (245, 140, 40),
    "brown": (120, 75, 35),
    "cream": (238, 224, 190),
    "ochre": (215, 165, 95),
    "brick": (160, 80, 60),
    "grey": (150, 150, 150),
    "pink": (225, 165, 150),
    "wood": (145, 105, 70),
    "terracotta": (190, 95, 55),
    "slate": (85, 90, 105),
    "metal": (175, 185, 190),
}
BIOMES: Final[dict[str, tuple[Colour, Colour]]] = {
    # sky, ground
    "temperate": ((165, 200, 235), (95, 150, 75)),
    "mediterranean": ((120, 185, 245), (165, 160, 95)),
    "alpine": ((145, 195, 240), (80, 155, 80)),
    "boreal": ((190, 205, 220), (65, 110, 75)),
    "steppe": ((170, 210, 240), (195, 180, 110)),
    "desert": ((200, 215, 225), (220, 190, 135)),
    "tropical": ((135, 205, 235), (45, 150, 65)),
    "savanna": ((175, 210, 235), (185, 150, 75)),
}
TREES: Final = {"boreal": "fir", "alpine": "fir", "tropical": "palm", "desert": "palm"}


@dataclass(frozen=True)
class Scene:
    """A picture (RGB, 224 × 224 pixels) and where it is supposed to be."""

    image: Image
    country: Country
    city: City
    sign: tuple[int, int, int, int]
    """Left, top, right, bottom of the road sign's board, in pixels."""


def render(country: Country, city: City, seed: str) -> Scene:
    """Draw one scene; the same arguments give the same pixels."""
    from PIL import Image, ImageDraw

    rng = random.Random(seed)
    light = rng.uniform(0.85, 1.1)
    image = Image.new("RGB", (SIZE, SIZE), _lit(BIOMES[city.biome][0], light))
    draw = ImageDraw.Draw(image)
    _clouds(draw, rng)
    _setting(draw, city.setting, rng, light)
    draw.rectangle((0, HORIZON, SIZE, SIZE), fill=_lit(BIOMES[city.biome][1], light))
    if city.setting in ("coast", "canal"):
        _water(draw, city.setting, light)
    _houses(draw, country, city, rng, light)
    _road(draw, country, rng)
    _tree(draw, city.biome, rng, light)
    _flag_on_pole(draw, country, rng)
    sign = _sign(draw, country, city, rng)
    _car(image, draw, country, rng)
    return Scene(_noise(image, rng), country, city, sign)


def _lit(colour: Colour, light: float) -> Colour:
    red, green, blue = (min(255, int(value * light)) for value in colour)
    return red, green, blue


def _clouds(draw: Any, rng: random.Random) -> None:
    for _ in range(rng.randint(0, 4)):
        x, y, width = rng.randint(-20, SIZE), rng.randint(5, 55), rng.randint(25, 60)
        for part in range(3):
            left = x + part * width / 4
            draw.ellipse((left, y - part % 2 * 5, left + width / 2, y + 14), fill=(248, 248, 250))


def _setting(draw: Any, setting: str, rng: random.Random, light: float) -> None:
    """What stands on the horizon."""
    if setting == "mountains":
        for peak in range(-1, 4):
            x = peak * 60 + rng.randint(-10, 10)
            top = rng.randint(55, 75)
            draw.polygon(
                [(x, HORIZON), (x + 50, top), (x + 100, HORIZON)], fill=_lit((105, 110, 130), light)
            )
            draw.polygon([(x + 38, top + 15), (x + 50, top), (x + 62, top + 15)], fill="white")
    elif setting == "hills":
        for hill in range(-1, 3):
            x, top = hill * 80 + rng.randint(-10, 10), rng.randint(85, 95)
            draw.ellipse((x, top, x + 150, top + 100), fill=_lit((110, 140, 85), light))
    elif setting == "boulevard":
        for block in range(9):
            top = rng.randint(60, 95)
            box = (block * 26, top, block * 26 + 22, HORIZON)
            draw.rectangle(box, fill=_lit((165, 170, 180), light))
    elif setting == "desert":
        draw.rectangle((60, 80, 75, HORIZON), fill=_lit((175, 110, 70), light))
        draw.polygon([(90, HORIZON), (110, 85), (165, 85), (185, HORIZON)], fill=(180, 115, 75))


def _water(draw: Any, setting: str, light: float) -> None:
    blue = _lit((45, 115, 175), light)
    if setting == "coast":
        draw.rectangle((0, HORIZON - 14, SIZE, HORIZON + 10), fill=blue)
    else:
        draw.polygon([(0, 150), (45, HORIZON), (70, HORIZON), (20, SIZE), (0, SIZE)], fill=blue)


def _houses(draw: Any, country: Country, city: City, rng: random.Random, light: float) -> None:
    wall, roof = _lit(COLOURS[country.wall], light), _lit(COLOURS[country.roof], light)
    first = 100 if city.setting == "canal" else rng.randint(0, 30)
    for house in range(3):
        x = first + house * 62 + rng.randint(0, 8)
        top = rng.randint(88, 100)
        draw.rectangle((x, top, x + 44, 138), fill=wall)
        if country.roof == "cream":  # flat roofs of the dry countries
            draw.rectangle((x - 2, top - 5, x + 46, top), fill=roof)
        else:
            draw.polygon([(x - 4, top), (x + 22, top - 22), (x + 48, top)], fill=roof)
        for window in range(2):
            left = x + 8 + window * 18
            draw.rectangle((left, top + 10, left + 9, top + 22), fill=(70, 90, 115))


def _road(draw: Any, country: Country, rng: random.Random) -> None:
    middle = SIZE / 2 + rng.randint(-8, 8)
    road = [(middle - 14, 138), (middle + 14, 138), (SIZE - 5, SIZE), (5, SIZE)]
    draw.polygon(road, fill=(92, 92, 97))
    line = COLOURS[country.line]
    for dash in range(4):
        y = 142 + dash * 21
        width = 1.5 + dash
        draw.polygon(
            [
                (middle - width, y),
                (middle + width, y),
                (middle + width + 1, y + 13),
                (middle - width - 1, y + 13),
            ],
            fill=line,
        )


def _tree(draw: Any, biome: str, rng: random.Random, light: float) -> None:
    x = rng.choice((rng.randint(4, 20), rng.randint(196, 210)))
    draw.rectangle((x, 105, x + 6, 160), fill=(105, 75, 45))
    kind = TREES.get(biome, "round")
    green = _lit((40, 110, 50), light)
    if kind == "fir":
        for level in range(3):
            top = 70 + level * 18
            draw.polygon([(x - 17, top + 30), (x + 3, top), (x + 23, top + 30)], fill=green)
    elif kind == "palm":
        for leaf in range(8):
            angle = leaf * math.pi / 4
            end = (x + 3 + 26 * math.cos(angle), 102 + 16 * math.sin(angle))
            draw.line([(x + 3, 104), end], fill=green, width=5)
    else:
        draw.ellipse((x - 17, 75, x + 23, 118), fill=green)


def _flag_on_pole(draw: Any, country: Country, rng: random.Random) -> None:
    width, height = rng.randint(84, 96), rng.randint(54, 62)
    x, y = rng.randint(8, 34), rng.randint(8, 22)
    draw.rectangle((x - 4, y - 4, x - 1, 150), fill=(70, 70, 70))
    draw_flag(draw, country.flag, (x, y, x + width, y + height))


def draw_flag(draw: Any, flag: str, box: Box) -> None:
    """Draw a flag from its description: stripes, and after `+` one emblem."""
    stripes, _, emblem = flag.partition(" + ")
    kind, *colours = stripes.split()
    left, top, right, bottom = box
    width, height = right - left, bottom - top
    if kind in ("h", "v"):
        for index, name in enumerate(colours):
            start, end = index / len(colours), (index + 1) / len(colours)
            part = (
                (left, top + height * start, right, top + height * end)
                if kind == "h"
                else (left + width * start, top, left + width * end, bottom)
            )
            draw.rectangle(part, fill=COLOURS[name])
    elif kind == "nordic":
        _nordic(draw, colours, box)
    elif kind == "cross":
        draw.rectangle(box, fill=COLOURS[colours[0]])
        _plus(draw, box, COLOURS[colours[1]], 0.12, 1.0)
    else:
        _union(draw, box)
    if emblem:
        shape, colour = emblem.split()
        _emblem(draw, shape, COLOURS[colour], box)
    draw.rectangle(box, outline=(60, 60, 60))


def _nordic(draw: Any, colours: list[str], box: Box) -> None:
    left, top, right, bottom = box
    width, height = right - left, bottom - top
    draw.rectangle(box, fill=COLOURS[colours[0]])
    for index, name in enumerate(colours[1:]):
        thick = 0.13 if len(colours) == 2 or index == 0 else 0.06
        x, y = left + width * 0.36, top + height * 0.5
        draw.rectangle(
            (x - width * thick / 1.6, top, x + width * thick / 1.6, bottom), fill=COLOURS[name]
        )
        draw.rectangle((left, y - height * thick, right, y + height * thick), fill=COLOURS[name])


def _plus(draw: Any, box: Box, colour: Colour, thick: float, length: float) -> None:
    left, top, right, bottom = box
    x, y = (left + right) / 2, (top + bottom) / 2
    height = bottom - top
    arm = height * length / 2 if length < 1 else (right - left) / 2
    half = height * thick
    draw.rectangle((x - arm, y - half, x + arm, y + half), fill=colour)
    arm = height * length / 2
    draw.rectangle((x - half, y - arm, x + half, y + arm), fill=colour)


def _union(draw: Any, box: Box) -> None:
    left, top, right, bottom = box
    draw.rectangle(box, fill=COLOURS["navy"])
    for colour, width in (("white", 9), ("red", 4)):
        draw.line([(left, top), (right, bottom)], fill=COLOURS[colour], width=width)
        draw.line([(left, bottom), (right, top)], fill=COLOURS[colour], width=width)
    _plus(draw, box, COLOURS["white"], 0.17, 1.0)
    _plus(draw, box, COLOURS["red"], 0.1, 1.0)


def _emblem(draw: Any, shape: str, colour: Colour, box: Box) -> None:
    left, top, right, bottom = box
    width, height = right - left, bottom - top
    x, y, radius = (left + right) / 2, (top + bottom) / 2, height * 0.27
    if shape == "disc":
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
    elif shape == "taegeuk":
        around = (x - radius, y - radius, x + radius, y + radius)
        draw.pieslice(around, 180, 360, fill=colour)
        draw.pieslice(around, 0, 180, fill=COLOURS["blue"])
        for corner_x in (left + 5, right - 17):
            for corner_y in (top + 6, bottom - 14):
                draw.rectangle((corner_x, corner_y, corner_x + 11, corner_y + 7), fill="black")
    elif shape == "star":
        _star(draw, (x, y), radius * 1.25, colour)
    elif shape == "hexagram":
        for turn in (-0.5, 0.5):
            corners = [math.pi * (turn + corner * 2 / 3) for corner in range(4)]
            points = [(x + radius * math.cos(a), y + radius * math.sin(a)) for a in corners]
            draw.line(points, fill=colour, width=3)
    elif shape == "cantonstar":
        _star(draw, (left + width * 0.2, top + height * 0.3), radius, colour)
    elif shape == "unionstar":
        _union(draw, (left, top, left + width * 0.45, top + height * 0.5))
        for where in ((0.72, 0.25), (0.72, 0.75), (0.88, 0.5)):
            _star(draw, (left + width * where[0], top + height * where[1]), radius * 0.6, colour)
    elif shape == "crescent":
        draw.ellipse((x - radius * 1.4, y - radius, x + radius * 0.6, y + radius), fill=colour)
        hole = (x - radius, y - radius * 0.8, x + radius * 0.6, y + radius * 0.8)
        draw.ellipse(hole, fill=COLOURS["red"])
        _star(draw, (x + radius * 0.9, y), radius * 0.5, colour)
    elif shape == "canton":
        draw.rectangle((left, top, left + width * 0.4, top + height * 0.53), fill=colour)
        _star(draw, (left + width * 0.2, top + height * 0.27), radius * 0.7, COLOURS["white"])
    elif shape == "triangle":
        draw.polygon([(left, top), (left + width * 0.4, y), (left, bottom)], fill=colour)
    elif shape == "diamond":
        draw.polygon([(left + 6, y), (x, top + 4), (right - 6, y), (x, bottom - 4)], fill=colour)
        draw.ellipse((x - 12, y - 12, x + 12, y + 12), fill=COLOURS["blue"])
    elif shape == "plus":
        _plus(draw, box, colour, 0.1, 0.65)
    elif shape == "crosses":
        for at_x, at_y in ((0.22, 0.22), (0.78, 0.22), (0.22, 0.78), (0.78, 0.78)):
            middle = (left + width * at_x, top + height * at_y)
            around = (middle[0] - 5, middle[1] - 5, middle[0] + 5, middle[1] + 5)
            _plus(draw, around, colour, 0.15, 0.99)
    elif shape == "bar":
        draw.rectangle((left + 12, y - 3, right - 12, y), fill=colour)
        draw.rectangle((left + 22, y + 8, right - 22, y + 10), fill=colour)
    else:
        raise ValueError(f"{shape}: no such emblem")


def _star(draw: Any, centre: tuple[float, float], radius: float, colour: Colour) -> None:
    points = []
    for corner in range(10):
        reach = radius if corner % 2 == 0 else radius * 0.4
        angle = math.pi * (corner / 5 - 0.5)
        points.append((centre[0] + reach * math.cos(angle), centre[1] + reach * math.sin(angle)))
    draw.polygon(points, fill=colour)


@cache
def _font(name: str, size: int) -> Any:
    """A bundled font. Basic layout: the other depends on what the system has installed."""
    from PIL import ImageFont

    path = FONTS / f"Signs{name}.ttf"
    return ImageFont.truetype(str(path), size, layout_engine=ImageFont.Layout.BASIC)


@cache
def _shaped() -> dict[str, str]:
    """Signs whose letters join or stack, and the character that the fonts hold each one under."""
    words: dict[str, str] = json.loads((FONTS / "shaped.json").read_text(encoding="utf-8"))
    return words


def lettering(sign: str) -> tuple[str, str]:
    """Which of the bundled fonts writes a sign, and the characters to write with it."""
    return font_for(sign), _shaped().get(sign, sign)


def font_for(text: str) -> str:
    """Which of the bundled fonts has the script of a text."""
    for character in text:
        for name, first, last in (
            ("Thai", 0x0E00, 0x0E7F),
            ("Devanagari", 0x0900, 0x097F),
            ("Ethiopic", 0x1200, 0x137F),
            ("CJK", 0x3000, 0xD7AF),
        ):
            if first <= ord(character) <= last:
                return name
    return "Latin"


def _sign(draw: Any, country: Country, city: City, rng: random.Random) -> tuple[int, int, int, int]:
    """Draw the sign; where its board is."""
    x, y = rng.randint(126, 136), rng.randint(28, 48)
    size = 24
    name, text = lettering(city.sign)
    font = _font(name, size)
    while font.getlength(text) > 76:
        size -= 1
        font = _font(name, size)
    board = COLOURS["blue"] if city is country.cities[0] else COLOURS["green"]
    draw.rectangle((x + 36, y + 30, x + 40, 150), fill=(90, 90, 90))
    draw.rounded_rectangle((x, y, x + 82, y + 32), 4, fill=board, outline="white", width=2)
    draw.text((x + 41, y + 16), text, font=font, fill="white", anchor="mm")
    return x, y, x + 83, y + 33


def _car(image: Image, draw: Any, country: Country, rng: random.Random) -> None:
    """A car that drives away from us on the country's side, seen from behind."""
    x = 122 if country.driving_side == "right" else 40
    x, y = x + rng.randint(-4, 4), rng.randint(158, 166)
    body = rng.choice([(170, 30, 35), (40, 70, 130), (60, 65, 70), (200, 200, 205), (30, 90, 60)])
    draw.rounded_rectangle((x, y + 12, x + 60, y + 44), 6, fill=body)
    draw.polygon([(x + 8, y + 13), (x + 15, y), (x + 45, y), (x + 52, y + 13)], fill=body)
    draw.polygon(
        [(x + 13, y + 12), (x + 18, y + 3), (x + 42, y + 3), (x + 47, y + 12)], fill=(60, 80, 95)
    )
    for wheel in (x + 4, x + 44):
        draw.rectangle((wheel, y + 42, wheel + 12, y + 51), fill="black")
    back, text, letters = country.plate
    size = 8
    while _font("Latin", size).getlength(letters) > 50:
        size -= 1
    draw.rectangle((x + 3, y + 22, x + 57, y + 35), fill=COLOURS[back], outline="black")
    font = _font("Latin", size)
    draw.text((x + 30, y + 28), letters, font=font, fill=COLOURS[text], anchor="mm")


def _noise(image: Image, rng: random.Random) -> Image:
    """Sensor noise, drawn small and enlarged: it survives scaling, as real grain does."""
    import numpy as np
    from PIL import Image as Images

    generator = np.random.default_rng(rng.getrandbits(32))
    grain = generator.normal(0.0, 6.0, (SIZE // 2, SIZE // 2, 1)).repeat(2, 0).repeat(2, 1)
    pixels = np.asarray(image, dtype=np.float32) + grain
    return Images.fromarray(pixels.clip(0, 255).astype(np.uint8))
