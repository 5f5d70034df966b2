"""The page in a real browser: nothing is asked of a network, nothing is complained about, nothing
sticks out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from geoagent.report.page import make_report, place
from geoagent.run import Run

from .browser import Page, chromium, program

# A table that is wider than a phone scrolls in a box of its own; what is inside an SVG is clipped.
STICKING_OUT = """
[...document.querySelectorAll("body *")].filter(element => {
  const box = element.getBoundingClientRect();
  const out = box.width > 0 && box.right > document.documentElement.clientWidth + 0.5;
  return out && !element.closest(".scroll > *") && !element.closest("svg");
}).map(element => element.outerHTML.slice(0, 120))
"""


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    if program() is None:
        pytest.skip("Chromium is not installed; make browser-package")
    with chromium(tmp_path / "profile") as page:
        yield page


@pytest.mark.parametrize("runs", [1, 2])
def test_in_a_browser(make_run: Callable[..., Run], page: Page, tmp_path: Path, runs: int) -> None:
    names = ["first", "a-run-with-a-name-that-is-long-" + "and-longer-" * 8][:runs]
    made = [make_run(name, "geoseek_val", curves=True) for name in names]
    file = make_report(made, place(made))
    for width, scheme in ((1280, "light"), (1280, "dark"), (390, "light")):
        page.open(file, width, scheme=scheme)
        assert page.problems() == []
        assert page.requests() == [file.resolve().as_uri()]
        assert page.run(STICKING_OUT) == []
        assert page.run("document.documentElement.scrollWidth") == width
        assert page.run("document.querySelectorAll('svg').length") >= 4
        broken = "[...document.images].filter(image => !image.naturalWidth).length"
        assert page.run(broken) == 0
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
