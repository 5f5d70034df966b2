"""A part of a sample's image, enlarged: what `image_zoom_in_tool` gives.

Whatever a model writes as a box, the work is bounded: what is decoded is limited by the image's
header before a pixel is read, and a crop never has more than 2048 · 1024 pixels.
"""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from PIL.Image import Image

FACTOR: Final = 28
"""Both sides of a crop are multiples: Qwen2.5-VL sees patches of 14 pixels, merged 2 × 2."""
MIN_PIXELS: Final = 256 * 256
MAX_PIXELS: Final = 2048 * 1024
MAX_RATIO: Final = 50
"""Longer side to shorter; Qwen2.5-VL's processor refuses 200, and such strips show nothing."""
MAX_DECODED: Final = 178_956_970
"""Pixels of an image that is opened, as RGB 540 MB; the largest panoramas have 16384 × 8192. Pillow
has the same limit, so that no image which a look at the dataset has let in stops a rollout."""


class BoxError(ValueError):
    """A box that no crop can be made of; the message is for the model."""


class ImageError(ValueError):
    """A sample's image that cannot be read; the message is for a person."""


def open_image(path: Path) -> Image:
    """The image, its pixels not decoded yet; ImageError if that cannot be done safely."""
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # ours is below
            image = Image.open(path)
    except Image.UnidentifiedImageError as error:
        raise ImageError(f"{path}: not an image, or of an unknown kind") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ImageError(f"{path}: cannot be read as an image ({error})") from error
    if image.width * image.height > MAX_DECODED:
        image.close()
        raise ImageError(
            f"{path}: {image.width} × {image.height} pixels; at most {MAX_DECODED:,} are decoded"
        )
    return image


def shown_size(size: tuple[int, int]) -> tuple[int, int]:
    """Width and height of an image as boxes count them: scaled down to at most 2048 · 1024 pixels,
    as the released loop does, never up."""
    width, height = size
    scale = min(1.0, math.sqrt(MAX_PIXELS / (width * height)))
    return max(1, int(width * scale)), max(1, int(height * scale))


def own_box(size: tuple[int, int], bbox_2d: Sequence[float]) -> list[float]:
    """A box that counts pixels of an image as it is shown, in pixels of the image itself."""
    across, down = (own / told for own, told in zip(size, shown_size(size), strict=True))
    x1, y1, x2, y2 = bbox_2d
    return [x1 * across, y1 * down, x2 * across, y2 * down]


def crop_box(size: tuple[int, int], bbox_2d: Sequence[float]) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of a box in whole pixels of an image of that width and height.

    What reaches over the edge is cut off. BoxError if nothing that can be shown is left.
    """
    if len(bbox_2d) != 4 or not all(math.isfinite(value) for value in bbox_2d):
        raise BoxError("bbox_2d has to be four numbers: [x1, y1, x2, y2]")
    x1, y1, x2, y2 = bbox_2d
    if x1 >= x2 or y1 >= y2:
        raise BoxError("the box has no area; it is [x1, y1, x2, y2] with x1 < x2 and y1 < y2")
    width, height = size
    if x1 >= width or y1 >= height or x2 <= 0 or y2 <= 0:
        raise BoxError("the box is outside the image")
    left, top = math.floor(max(x1, 0)), math.floor(max(y1, 0))
    right, bottom = math.ceil(min(x2, width)), math.ceil(min(y2, height))
    if max(right - left, bottom - top) > MAX_RATIO * min(right - left, bottom - top):
        raise BoxError(f"the box is too thin: one side is more than {MAX_RATIO} times the other")
    return left, top, right, bottom


def crop_size(width: int, height: int) -> tuple[int, int]:
    """Width and height that a box is scaled to: near its proportions, multiples of 28, and between
    256 · 256 and 2048 · 1024 pixels (the rule of Qwen2.5-VL's `smart_resize`)."""
    wide, high = (max(FACTOR, round(side / FACTOR) * FACTOR) for side in (width, height))
    if wide * high > MAX_PIXELS:
        scale = math.sqrt(MAX_PIXELS / (width * height))
        wide, high = (math.floor(side * scale / FACTOR) * FACTOR for side in (width, height))
    elif wide * high < MIN_PIXELS:
        scale = math.sqrt(MIN_PIXELS / (width * height))
        wide, high = (math.ceil(side * scale / FACTOR) * FACTOR for side in (width, height))
    return wide, high


def zoom(image: Image, bbox_2d: Sequence[float]) -> Image:
    """The part of an image inside a box in pixels of that image, as RGB of `crop_size`.

    BoxError: see `crop_box`. ImageError if the image's pixels cannot be decoded.
    """
    from PIL import Image as Images

    left, top, right, bottom = box = crop_box(image.size, bbox_2d)
    size = crop_size(right - left, bottom - top)
    try:
        part = image.crop(box).convert("RGB")
    except (OSError, SyntaxError, ValueError, Images.DecompressionBombError) as error:
        raise ImageError(f"the image cannot be decoded ({error})") from error
    return part.resize(size, Images.Resampling.BICUBIC)


def as_png(crop: Image) -> bytes:
    """A crop as a file that has every pixel as it is."""
    content = io.BytesIO()
    crop.save(content, "PNG", compress_level=1)  # a quarter of the time, 15 % more
    return content.getvalue()
