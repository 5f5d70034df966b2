"""Small work for many runs, several at a time."""

from __future__ import annotations

import threading
import time

import pytest

from jobs.atonce import each


def test_all_are_done_and_several_at_once() -> None:
    together = threading.Barrier(4, timeout=10)
    done: set[int] = set()

    def work(number: int) -> None:
        together.wait()
        done.add(number)

    each(work, range(20), "")
    assert done == {*range(20)}


def test_after_an_error_the_rest_is_left_out() -> None:
    begun: list[int] = []

    def work(number: int) -> None:
        begun.append(number)
        if number == 0:
            raise OSError("the disk is full")
        time.sleep(0.05)

    with pytest.raises(OSError, match="full"):
        each(work, range(1000), "")
    assert len(begun) < 1000
