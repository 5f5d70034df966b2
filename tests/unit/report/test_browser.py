"""The page in a real browser: nothing is asked of a network, nothing is complained about, nothing
sticks out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from geoagent.report.page import make_report, place
from geoagent.run import Run

from .browser import STICKING_OUT, Page, check


@pytest.mark.parametrize("runs", [1, 2])
def test_in_a_browser(make_run: Callable[..., Run], page: Page, tmp_path: Path, runs: int) -> None:
    names = ["first", "a-run-with-a-name-that-is-long-" + "and-longer-" * 8][:runs]
    made = [make_run(name, "geoseek_val", curves=True) for name in names]
    file = make_report(made, place(made))
    check(page, file)
    assert page.run("document.querySelectorAll('svg').length") >= 4
    page.screenshot(tmp_path / "page.png")
    assert (tmp_path / "page.png").stat().st_size > 10_000


def test_the_check_sees_what_it_is_for(page: Page, tmp_path: Path) -> None:
    file = tmp_path / "bad.html"
    file.write_text(
        "<!doctype html><body><div style='width: 3000px'>wide</div>"
        "<script>console.error('broken')</script><img src='http://127.0.0.1:9/x.png'>"
    )
    page.open(file, 1280)
    assert any("broken" in problem for problem in page.problems())
    assert "http://127.0.0.1:9/x.png" in page.requests()
    assert len(page.run(STICKING_OUT)) == 1
