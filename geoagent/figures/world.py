"""Maps of the world: land, points, great circles and densities in equirectangular axes.

The outlines are made by `scripts/world_outline.py`, which names their source and licence.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from geoagent.figures.style import ERROR_SCALE, FAINT, GRATICULE, LAND, SCALE, SERIES

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.collections import LineCollection, PathCollection, QuadMesh
    from matplotlib.figure import Figure
    from matplotlib.gridspec import SubplotSpec
    from matplotlib.path import Path as Outline
    from numpy.typing import ArrayLike, NDArray

OUTLINE: Final = Path(__file__).parent / "data" / "world.json"
_STEP: Final = 1.0
"""Degrees between the points of a great circle."""


def world_axes(figure: Figure, position: int | SubplotSpec = 111) -> Axes:
    """Axes of longitude (±180°) and latitude (±90°) with land, borders and a graticule of 30°.

    `position` is that of `Figure.add_subplot`.
    """
    from matplotlib.collections import LineCollection
    from matplotlib.patches import PathPatch

    axes: Axes = figure.add_subplot(position)
    axes.set(xlim=(-180, 180), ylim=(-90, 90), aspect="equal", facecolor="white")
    axes.set(xticks=range(-180, 181, 30), yticks=range(-90, 91, 30), axisbelow=True)
    axes.grid(visible=True, color=GRATICULE, linewidth=0.5)
    axes.tick_params(length=0, labelbottom=False, labelleft=False)
    for spine in axes.spines.values():
        spine.set(color=GRATICULE, linewidth=0.8)
    land, borders = _outline()
    shore = PathPatch(land, facecolor=LAND, edgecolor=FAINT, linewidth=0.5, zorder=0.6)
    axes.add_patch(shore)
    lines = LineCollection(borders, colors=FAINT, linewidths=0.25, zorder=0.7)
    axes.add_collection(lines, autolim=False)
    return axes


def draw_points(
    axes: Axes, lat: ArrayLike, lon: ArrayLike, color: str = SERIES[0], label: str | None = None
) -> PathCollection:
    """N points in degrees, smaller the more there are; what is not finite is left out. With
    `label` the series is in `axes.legend()`."""
    import numpy as np

    lat, lon = (np.asarray(degrees, dtype=float).ravel() for degrees in (lat, lon))
    size = float(np.clip(3000 / max(len(lat), 1), 1.5, 14))
    return axes.scatter(lon, lat, s=size, color=color, linewidths=0, label=label, zorder=4)


def draw_arcs(
    axes: Axes,
    from_lat: ArrayLike,
    from_lon: ArrayLike,
    to_lat: ArrayLike,
    to_lon: ArrayLike,
    values: ArrayLike | None = None,
) -> LineCollection:
    """Great circles between N pairs of points, from truths to predictions; degrees.

    `values`, N distances in km, colour them by the benchmarks' thresholds (1, 25, 200, 750 and
    2500 km); `add_scale` explains them. Pairs that are not finite
    (misses) are left out.
    """
    import numpy as np
    from matplotlib.collections import LineCollection

    ends = np.broadcast_arrays(
        *(np.asarray(one, dtype=float).ravel() for one in (from_lat, from_lon, to_lat, to_lon))
    )
    arcs = [great_circle(*pair) for pair in np.stack(ends, axis=-1).tolist()]
    drawn = LineCollection(
        [line for arc in arcs for line in arc],
        colors=SERIES[0] if values is None else None,
        linewidths=0.7,
        alpha=0.7,
        zorder=3,
        **({} if values is None else _by_threshold()),
    )
    if values is not None:
        pieces = [len(arc) for arc in arcs]
        drawn.set_array(np.repeat(np.asarray(values, dtype=float).ravel(), pieces))
    axes.add_collection(drawn, autolim=False)
    return drawn


def _by_threshold() -> dict[str, Any]:
    """A colour for each class of errors between two thresholds, and for those beyond the last."""
    from matplotlib import colormaps
    from matplotlib.colors import BoundaryNorm, ListedColormap

    from geoagent.evaluate.metrics import THRESHOLDS_KM

    bounds = [0.0, *(float(km) for km in THRESHOLDS_KM)]
    scale = colormaps[ERROR_SCALE]
    colours = [scale(0.75 * number / (len(bounds) - 1)) for number in range(len(bounds))]
    return {
        "cmap": ListedColormap(colours),
        "norm": BoundaryNorm(bounds, len(bounds), extend="max"),
    }


def draw_density(axes: Axes, counts: ArrayLike) -> QuadMesh:
    """How many there are in each cell of 1°, coloured by the logarithm; empty cells show the map.

    `counts` is (180, 360) from 90° S and 180° W. `add_scale` explains them.
    """
    import numpy as np
    from matplotlib.colors import LogNorm

    cells = np.ma.masked_less_equal(np.asarray(counts, dtype=float), 0)
    most = float(cells.max()) if cells.count() else 1.0
    return axes.pcolormesh(
        np.arange(-180, 181),
        np.arange(-90, 91),
        cells,
        cmap=SCALE,
        norm=LogNorm(1, max(most, 10.0)),
        rasterized=True,
        zorder=2,
    )


def add_scale(axes: Axes, drawn: LineCollection | QuadMesh, label: str) -> None:
    """What the colours of arcs or of a density mean, under the map."""
    figure = axes.get_figure()
    assert figure is not None
    scale = figure.colorbar(
        drawn, ax=axes, location="bottom", label=label, shrink=0.5, aspect=50, pad=0.02
    )
    scale.outline.set_visible(False)
    scale.ax.tick_params(length=0)


def great_circle(lat1: float, lon1: float, lat2: float, lon2: float) -> list[NDArray[np.float64]]:
    """The shortest way between two points as lines of (longitude, latitude) in degrees, within
    ±180°: one line, or two where it is cut at the antimeridian; none unless all is finite.

    Of the ways between antipodes the one over the North Pole is taken.
    """
    import numpy as np

    if not np.isfinite([lat1, lon1, lat2, lon2]).all():
        return []
    start, end = _vectors(np.array([lat1, lat2]), np.array([lon1, lon2]))
    across = np.cross(np.cross(start, end), start)
    length = float(np.linalg.norm(across))
    if length < 1e-12:
        if start @ end > 0:
            return [_degrees(np.stack([start, end]))]
        across = np.array([0.0, 0.0, 1.0]) - start[2] * start  # towards the pole
        length = float(np.linalg.norm(across))
        if length < 1e-12:  # from pole to pole
            across, length = np.array([1.0, 0.0, 0.0]), 1.0
    angle = float(np.arctan2(np.linalg.norm(np.cross(start, end)), start @ end))
    steps = np.linspace(0.0, angle, max(2, int(np.ceil(np.degrees(angle) / _STEP)) + 1))[:, None]
    return _cut(np.cos(steps) * start + np.sin(steps) * (across / length))


def _cut(points: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """A way of (N, 3) unit vectors as lines in degrees; where it crosses the antimeridian, one
    ends there and the next begins on the other side."""
    import numpy as np

    y, degrees = points[:, 1], _degrees(points)
    for first in np.flatnonzero(np.abs(np.diff(degrees[:, 0])) > 180).tolist():
        # The chord between two points of a great circle is in the circle's plane.
        share = y[first] / (y[first] - y[first + 1]) if y[first] != y[first + 1] else 0.5
        seam = _degrees((points[first] + share * (points[first + 1] - points[first]))[None])[0, 1]
        side = float(np.copysign(180.0, degrees[first, 0]))
        head = np.vstack([degrees[: first + 1], [side, seam]])
        tail = np.vstack([[-side, seam], degrees[first + 1 :]])
        return [head, tail]
    return [degrees]


def _vectors(lat: NDArray[np.float64], lon: NDArray[np.float64]) -> NDArray[np.float64]:
    import numpy as np

    phi, theta = np.radians(lat), np.radians(lon)
    return np.stack(
        [np.cos(phi) * np.cos(theta), np.cos(phi) * np.sin(theta), np.sin(phi)], axis=-1
    )


def _degrees(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N, 3) vectors of any length → (N, 2) longitude and latitude."""
    import numpy as np

    x, y, z = points.T
    return np.degrees(np.stack([np.arctan2(y, x), np.arctan2(z, np.hypot(x, y))], axis=-1))


@cache
def _outline() -> tuple[Outline, list[NDArray[np.float64]]]:
    """Land as one path, whose holes run the other way round than its shores; borders as lines."""
    import numpy as np
    from matplotlib.path import Path as Outline

    document = json.loads(OUTLINE.read_text(encoding="utf-8"))
    rings = [Outline(np.array(ring), closed=True) for ring in document["land"]]
    return Outline.make_compound_path(*rings), [np.array(line) for line in document["borders"]]
