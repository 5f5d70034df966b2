"""Crops: the reference's sizes, the right pixels, and bounded work whatever a box says."""

from __future__ import annotations

import io
import resource
import struct
import zlib
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from geoagent.rollout import zoom as module
from geoagent.rollout.zoom import (
    FACTOR,
    MAX_PIXELS,
    MAX_RATIO,
    MIN_PIXELS,
    BoxError,
    ImageError,
    crop_box,
    crop_size,
    open_image,
    shown_size,
    zoom,
)

SIDES = st.integers(1, 20_000)
NUMBERS = st.one_of(st.integers(-(10**6), 10**6), st.floats(allow_nan=True))


@given(SIDES, SIDES)
def test_sizes_are_those_that_the_model_sees(width: int, height: int) -> None:
    if max(width, height) > MAX_RATIO * min(width, height):
        return
    wide, high = crop_size(width, height)
    assert wide % FACTOR == high % FACTOR == 0
    assert MIN_PIXELS <= wide * high <= MAX_PIXELS


@cache
def qwens_rule() -> Any:
    from geoagent.compat import prepare_torch

    prepare_torch()
    from qwen_vl_utils.vision_process import smart_resize

    return smart_resize


@given(SIDES, SIDES)
def test_sizes_are_those_of_qwens_own_rule(width: int, height: int) -> None:
    smart_resize = qwens_rule()
    if max(width, height) > MAX_RATIO * min(width, height):
        return
    high, wide = smart_resize(height, width, FACTOR, MIN_PIXELS, MAX_PIXELS)
    assert crop_size(width, height) == (wide, high)


@given(SIDES, SIDES, st.lists(NUMBERS, min_size=4, max_size=4))
def test_a_box_is_inside_the_image_or_refused(width: int, height: int, box: list[float]) -> None:
    try:
        left, top, right, bottom = crop_box((width, height), box)
    except BoxError:
        return
    assert 0 <= left < right <= width
    assert 0 <= top < bottom <= height
    assert max(right - left, bottom - top) <= MAX_RATIO * min(right - left, bottom - top)


@pytest.mark.parametrize(
    ("box", "reason"),
    [
        ([10, 10, 10, 50], "no area"),
        ([50, 50, 10, 10], "no area"),
        ([300, 0, 400, 50], "outside"),
        ([-50, 0, 0, 50], "outside"),
        ([0, 100, 50, 120], "outside"),
        ([0, 0, 200, 1], "too thin"),
        ([0, 0, float("nan"), 5], "four numbers"),
        ([0, 0, float("inf"), 5], "four numbers"),
        ([0, 0, 5], "four numbers"),
    ],
)
def test_boxes_that_are_refused(box: list[float], reason: str) -> None:
    with pytest.raises(BoxError, match=reason):
        crop_box((200, 100), box)


def test_what_reaches_over_the_edge_is_cut_off() -> None:
    assert crop_box((200, 100), [-20, 40.6, 90.2, 130]) == (0, 40, 91, 100)


def test_a_crop_shows_the_pixels_of_the_box() -> None:
    image = Image.new("RGB", (400, 300), "white")
    image.paste((200, 30, 30), (100, 100, 200, 200))
    crop = zoom(image, [100, 100, 200, 200])
    assert crop.size == (280, 280)
    assert crop.getextrema() == ((200, 200), (30, 30), (30, 30))
    assert zoom(image, [201, 0, 400, 300]).getextrema() == ((255, 255),) * 3


def test_a_crop_is_rgb_whatever_the_image_is() -> None:
    for mode in ("L", "P", "RGBA", "CMYK", "1"):
        assert zoom(Image.new(mode, (60, 60)), [0, 0, 30, 30]).mode == "RGB"


@pytest.mark.parametrize(("width", "height"), [(4096, 2048), (16384, 8192), (1, 100_000)])
def test_large_images_are_shown_smaller_and_never_larger(width: int, height: int) -> None:
    wide, high = shown_size((width, height))
    assert 1 <= wide * high <= MAX_PIXELS
    assert shown_size((640, 480)) == (640, 480)


def png(width: int, height: int) -> bytes:
    """A PNG whose header promises that many pixels, and which has a few bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = zlib.compress(b"\0" * 1000)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(("width", "height"), [(15_000, 15_000), (60_000, 60_000)])
def test_a_decompression_bomb_is_refused_before_a_pixel_is_decoded(
    tmp_path: Path, width: int, height: int
) -> None:
    bomb = tmp_path / "bomb.png"
    bomb.write_bytes(png(width, height))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ImageError, match=r"pixels|decompression bomb"):
        open_image(bomb)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # KiB


def test_what_a_dataset_may_hold_is_opened(tmp_path: Path) -> None:
    """Pillow's own limit is that of the look at a dataset's images; a lower one would end a rollout
    in the middle of training."""
    (tmp_path / "large.png").write_bytes(png(15_000, 11_900))
    with open_image(tmp_path / "large.png") as image:
        assert image.size == (15_000, 11_900)


def test_a_strip_of_100000_by_1_pixels_takes_little(tmp_path: Path) -> None:
    strip = Image.new("RGB", (100_000, 1))
    with pytest.raises(BoxError, match="too thin"):
        zoom(strip, [0, 0, 100_000, 1])
    assert zoom(strip, [0, 0, 50, 1]).size[0] * FACTOR <= MAX_PIXELS


@pytest.mark.parametrize("content", [b"", b"not an image", png(64, 64)[:20]])
def test_a_file_that_is_no_image_is_told(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "photo.png"
    file.write_bytes(content)
    with pytest.raises(ImageError, match=r"photo\.png"):
        open_image(file)


def test_an_image_that_is_cut_short_is_told_at_the_crop(tmp_path: Path) -> None:
    whole = io.BytesIO()
    Image.effect_noise((400, 400), 50).save(whole, "JPEG")
    file = tmp_path / "photo.jpg"
    file.write_bytes(whole.getvalue()[:2000])
    with open_image(file) as image, pytest.raises(ImageError, match="cannot be decoded"):
        zoom(image, [0, 0, 100, 100])


def test_limits_are_the_references() -> None:
    assert (module.FACTOR, module.MIN_PIXELS, module.MAX_PIXELS) == (28, 65536, 2097152)
