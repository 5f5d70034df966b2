"""Lock files are read whole: nothing in them is passed over."""

from __future__ import annotations

import importlib
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

NAME = st.from_regex(r"[a-z][a-z0-9]{0,8}(-[a-z0-9]{1,5})?", fullmatch=True)
VERSION = st.from_regex(r"[0-9]{1,3}(\.[0-9]{1,3}){1,2}(\.post[0-9])?", fullmatch=True)
HASH = st.from_regex(r"sha256:[0-9a-f]{64}", fullmatch=True)
MARKER = st.sampled_from(["", " ; python_version >= '3.8'", " ; sys_platform == 'linux'"])
PIN = st.tuples(NAME, VERSION, MARKER, st.lists(HASH, max_size=3))
BETWEEN = st.sampled_from(["", "\n", "# a comment\n", "    # via torch\n"])


def _pins(text: str) -> list[Any]:
    return list(importlib.import_module("imagefiles").parse_lock(text))


def _written(pin: tuple[str, str, str, list[str]]) -> str:
    name, version, marker, hashes = pin
    return " \\\n    ".join([f"{name}=={version}{marker}", *(f"--hash={one}" for one in hashes)])


@given(st.lists(st.tuples(PIN, BETWEEN)))
def test_what_is_written_is_read(rows: list[Any]) -> None:
    text = "".join(f"{_written(pin)}\n{between}" for pin, between in rows)
    read = [(pin.name, pin.version, list(pin.hashes)) for pin in _pins(text)]
    assert read == [(name, version, hashes) for (name, version, _, hashes), _ in rows]
    lines = text.splitlines()
    assert all(lines[pin.line - 1].startswith(f"{pin.name}==") for pin in _pins(text))


@given(st.text())
def test_each_line_that_says_something_is_a_pin_or_refused(text: str) -> None:
    pins = _pins(text)
    assert all(pin.version is None or pin.name for pin in pins)
    plain = [line for line in text.splitlines() if line.strip()]
    if plain and not any(mark in text for mark in ("#", "\\")):
        assert len(pins) == len(plain)


def test_names_are_canonical_and_extras_no_matter() -> None:
    (pin,) = _pins("Foo.Bar_baz[all]==1.0 --hash=sha256:00")
    assert (pin.name, pin.version, pin.hashes) == ("foo-bar-baz", "1.0", ("sha256:00",))


def test_a_last_line_that_goes_on_is_read() -> None:
    (pin,) = _pins("six==1.17.0 \\")
    assert (pin.name, pin.hashes) == ("six", ())
