"""A sample's image and the crops that a model has made of it, as small JPEGs inside the page."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from geoagent.data.record import decode_image, find_image
from geoagent.figures.style import SERIES
from geoagent.rollout.zoom import BoxError, open_image, own_box, zoom

if TYPE_CHECKING:
    from PIL.Image import Image

THUMBNAIL: Final = 360
"""Pixels of the longer side."""
_CROP: Final = 200
_FRAME: Final = 3
_COLORS: Final = SERIES[:-1]
"""Of a crop's frame, and of its place in the image."""

Box = tuple[float, ...]
"""As a model writes it: x1, y1, x2, y2 in pixels of the image as it is shown."""


@dataclass(frozen=True)
class Pictures:
    """Data: addresses; `crops` has one for each box, empty where there is no such part."""

    image: str
    crops: tuple[str, ...]


def pictures(root: Path, name: str, boxes: Sequence[Box] = ()) -> Pictures:
    """The image `name` below `root` with frames where the boxes are, and what is in them.

    ValueError if the image cannot be used.
    """
    from PIL import ImageOps

    file = find_image(root, name)
    decode_image(file, name)
    with open_image(file) as image:
        crops = tuple(_crop(image, box, number) for number, box in enumerate(boxes))
        # Boxes are in the image as it is stored; it is turned as its camera was held at the end.
        small = image.convert("RGB")
        size = image.size
    small.thumbnail((THUMBNAIL, THUMBNAIL))
    for number, box in enumerate(boxes):
        if crops[number]:
            _frame(small, own_box(size, box), size, number)
    return Pictures(_address(ImageOps.exif_transpose(small)), crops)


def _crop(image: Image, box: Box, number: int) -> str:
    from PIL import ImageOps

    try:
        crop = zoom(image, own_box(image.size, box))
    except BoxError:  # another image than the model has seen
        return ""
    crop.thumbnail((_CROP, _CROP))
    return _address(ImageOps.expand(crop, _FRAME, _COLORS[number % len(_COLORS)]))


def _frame(small: Image, box: Sequence[float], size: tuple[int, int], number: int) -> None:
    """Draw a box of an image of that size on its thumbnail."""
    from PIL import ImageDraw

    left, top, right, bottom = (
        min(max(value * own / whole, 0), own - 1)
        for value, own, whole in zip(box, small.size * 2, size * 2, strict=True)
    )
    color = _COLORS[number % len(_COLORS)]
    ImageDraw.Draw(small).rectangle((left, top, right, bottom), outline=color, width=_FRAME)


def _address(image: Image) -> str:
    output = io.BytesIO()
    image.save(output, "JPEG", quality=80, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(output.getvalue()).decode()}"
