"""A policy without learning: it zooms in on the drawn scenes' sign, reads it in the crop by
comparing letters, searches for what it read, and answers what it found."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from geoagent.data.places import countries
from geoagent.data.scenes import COLOURS, FONTS, lettering
from geoagent.rollout.environment import Episode
from geoagent.rollout.tools import SEARCH, ZOOM

SIGN = (83, 33)
"""Width and height of the drawn signs."""
SHIFTS = [(down, right) for down in range(-3, 4) for right in range(-3, 4)]


def call(name: str, **arguments: Any) -> str:
    return f"<tool_call>{json.dumps({'name': name, 'arguments': arguments})}</tool_call>"


def policy(live: Sequence[Episode]) -> list[str]:
    """Completions from what a model is given: messages and images."""
    return [policy_of(episode.messages, episode.images) for episode in live]


def policy_of(messages: Sequence[dict[str, str]], images: Sequence[Any]) -> str:
    """A completion; images are files or open images."""
    said = sum(message["role"] == "assistant" for message in messages)
    if said == 0:
        box = find_sign(images[0])
        return f"<think>There is a sign.</think>{call(ZOOM, bbox_2d=box, label='road sign')}"
    if said == 1:
        sign = read_sign(images[1])
        return f"<think>The sign says {sign}.</think>{call(SEARCH, query=sign)}"
    return f"<think>That is it.</think><answer>{choose(messages[-1]['content'])}</answer>"


def choose(told: str) -> str:
    """Of the places that a search tells of, the one with the most people, as an answer."""
    results = re.findall(r'"title": "(.*?)",\s+"snippet": "(.*?)"', told)
    best = (-1, "")
    for title, snippet in results:
        people = re.search(r"Populated place .*?([\d,]+) people", snippet)
        number = int(people[1].replace(",", "")) if people else 0
        if number > best[0]:
            best = number, "; ".join(reversed(title.split(", ")))
    return best[1]


def find_sign(image: Path | Image.Image) -> list[int]:
    """The box of the board: what is nearest to its colours, in the part where signs stand."""
    opened = Image.open(image) if isinstance(image, Path) else image
    pixels = np.asarray(opened.convert("RGB"), dtype=float)
    best: tuple[int, list[int]] = (0, [0, 0, 1, 1])
    for name in ("blue", "green"):
        near = np.abs(pixels - COLOURS[name]).sum(axis=2) < 75
        for top in range(28, 49):
            counts = near[top : top + SIGN[1], 126:219].sum(axis=0)
            sums = np.convolve(counts, np.ones(SIGN[0]), "valid")
            left = int(sums.argmax())
            if sums[left] > best[0]:
                x = 126 + left
                best = int(sums[left]), [x, top, x + SIGN[0], top + SIGN[1]]
    return best[1]


def read_sign(crop: Image.Image) -> str:
    """The sign whose letters correlate best with the crop's, over shifts of a few pixels."""
    small = crop.resize(SIGN, Image.Resampling.BOX)
    seen = np.asarray(small.convert("RGB"), dtype=float).min(axis=2)
    signs, letters = _letters()
    return signs[int((letters @ _normal(seen)).argmax()) // len(SHIFTS)]


def _normal(picture: Any) -> Any:
    inner = picture[4:-4, 4:-4].ravel()
    return (inner - inner.mean()) / inner.std()


@cache
def _letters() -> tuple[list[str], Any]:
    """Every sign of the sample, and its letters drawn at each shift."""
    signs = [city.sign for country in countries() for city in country.cities]
    rows = [
        _normal(np.roll(drawn, shift, axis=(0, 1)))
        for drawn in map(_drawn, signs)
        for shift in SHIFTS
    ]
    return signs, np.stack(rows)


def _drawn(sign: str) -> Any:
    name, text = lettering(sign)
    size, font = 25, None
    while font is None or font.getlength(text) > 76:
        size -= 1
        font = ImageFont.truetype(
            str(FONTS / f"Signs{name}.ttf"), size, layout_engine=ImageFont.Layout.BASIC
        )
    image = Image.new("L", SIGN, 20)
    draw = ImageDraw.Draw(image)
    draw.text((SIGN[0] // 2, SIGN[1] // 2), text, font=font, fill=255, anchor="mm")
    return np.asarray(image, dtype=float)
