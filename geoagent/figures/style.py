"""How figures look, and how they become files: matplotlib without its global state.

Figures are made with `new_figure`, never with pyplot. The same figure gives the same bytes.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI: Final = 100
FAINT: Final = "#8a8a8a"
LAND: Final = "#ecebe7"
GRATICULE: Final = "#dddddd"
SERIES: Final = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#e69f00",
    "#56b4e9",
    "#000000",
)
"""Okabe and Ito's colours (2008), which colour-blind people can tell apart."""
SCALE: Final = "cividis_r"
"""Colours of a quantity, dark for much; colour-deficient eyes see the same (Nuñez et al. 2018)."""
ERROR_SCALE: Final = "plasma"
"""Of errors, from blue for small to orange for large; its last quarter is too light for lines."""


def new_figure(width: int = 1200, height: int = 600) -> Figure:
    """An empty figure of so many pixels, white, laid out so that nothing overlaps."""
    from matplotlib.figure import Figure

    return Figure(
        figsize=(width / DPI, height / DPI), dpi=DPI, facecolor="white", layout="constrained"
    )


def to_png(figure: Figure) -> bytes:
    """The figure as PNG."""
    return _saved(figure, "png", {"Software": None})


def to_svg(figure: Figure) -> str:
    """The figure as SVG with its text drawn as outlines. Several in one page belong into <img>:
    their element ids are alike."""
    return _saved(figure, "svg", {"Date": None, "Creator": None}).decode()


def _saved(figure: Figure, form: str, metadata: dict[str, Any]) -> bytes:
    from matplotlib import rc_context

    output = io.BytesIO()
    # Without a salt of its own, each SVG has other ids.
    with rc_context({"svg.hashsalt": "geoagent", "svg.fonttype": "path", "savefig.dpi": "figure"}):
        figure.savefig(output, format=form, metadata=metadata)
    return output.getvalue()
