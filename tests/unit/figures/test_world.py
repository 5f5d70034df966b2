"""Maps: great circles and where they are cut, what is left out, and the same bytes each time."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoagent.figures.style import new_figure, to_png, to_svg
from geoagent.figures.world import (
    OUTLINE,
    add_scale,
    draw_arcs,
    draw_density,
    draw_points,
    great_circle,
    world_axes,
)
from geoagent.geo.distance import great_circle_km

pytestmark = pytest.mark.unit

LATITUDES = st.floats(-90, 90)
LONGITUDES = st.floats(-180, 180)


def length_km(line):
    return float(np.sum(great_circle_km(line[:-1, 1], line[:-1, 0], line[1:, 1], line[1:, 0])))


@given(LATITUDES, LONGITUDES, LATITUDES, LONGITUDES)
def test_a_great_circle_is_the_shortest_way_and_stays_on_the_map(lat1, lon1, lat2, lon2):
    lines = great_circle(lat1, lon1, lat2, lon2)
    assert 1 <= len(lines) <= 2
    points = np.vstack(lines)
    assert np.isfinite(points).all()
    assert np.abs(points[:, 0]).max() <= 180
    assert np.abs(points[:, 1]).max() <= 90
    for line in lines:
        assert np.abs(np.diff(line[:, 0])).max() <= 180 + 1e-9
    ends = great_circle_km(points[[0, -1], 1], points[[0, -1], 0], [lat1, lat2], [lon1, lon2])
    assert np.max(ends) < 0.01
    expected = great_circle_km(lat1, lon1, lat2, lon2)
    assert sum(map(length_km, lines)) == pytest.approx(expected, abs=0.5)


def test_tokyo_to_san_francisco_is_cut_where_it_crosses_the_antimeridian():
    west, east = great_circle(35.7, 139.7, 37.8, -122.4)
    assert west[-1, 0] == 180
    assert east[0, 0] == -180
    assert west[-1, 1] == pytest.approx(east[0, 1])
    # Where the great circle's plane meets the meridian of 180°.
    normal = np.cross(*(unit(*point) for point in ((35.7, 139.7), (37.8, -122.4))))
    assert west[-1, 1] == pytest.approx(np.degrees(np.arctan2(normal[0], normal[2])), abs=1e-6)


def unit(lat, lon):
    phi, theta = np.radians([lat, lon])
    return np.array([np.cos(phi) * np.cos(theta), np.cos(phi) * np.sin(theta), np.sin(phi)])


def test_a_way_over_the_prime_meridian_is_one_line():
    assert len(great_circle(51.5, -10, 48.9, 10)) == 1


def test_pairs_with_a_miss_are_left_out_and_their_value_with_them():
    axes = world_axes(new_figure())
    nan = float("nan")
    drawn = draw_arcs(axes, [0, 0, 0], [0, 0, 179], [1, nan, 0], [1, nan, -179], [157, nan, 222])
    assert len(drawn.get_segments()) == 3
    assert drawn.get_array().tolist() == [157, 222, 222]


def test_errors_between_the_same_thresholds_have_the_same_colour():
    drawn = draw_arcs(world_axes(new_figure()), 0, [0] * 4, 0, [1] * 4, [30, 199, 201, 19000])
    colours = [tuple(drawn.to_rgba(value)) for value in drawn.get_array()]
    assert colours[0] == colours[1]
    assert len(set(colours)) == 3


def test_the_same_figure_gives_the_same_bytes():
    def made():
        figure = new_figure(600, 700)
        axes = world_axes(figure, 211)
        drawn = draw_arcs(axes, [35, 0], [139, 0], [38, 10], [-122, 10], [8000, 1500])
        draw_points(axes, [35, 0], [139, 0], label="truth")
        add_scale(axes, drawn, "error in km")
        counts = np.zeros((180, 360))
        counts[100:110, 200:230] = 7
        lower = world_axes(figure, 212)
        add_scale(lower, draw_density(lower, counts), "images")
        return to_png(figure), to_svg(figure)

    png, svg = made()
    assert made() == (png, svg)
    assert png.startswith(b"\x89PNG")
    assert "<dc:date>" not in svg


def test_a_density_without_any_count_is_an_empty_map():
    drawn = draw_density(world_axes(new_figure()), np.zeros((180, 360)))
    assert drawn.get_array().count() == 0


def test_no_ring_of_the_outline_jumps_over_the_map():
    document = json.loads(OUTLINE.read_text(encoding="utf-8"))
    assert len(document["land"]) > 100
    for ring in document["land"]:
        points = np.array(ring)
        assert np.abs(points[:, 0]).max() <= 180
        assert ring[0] == ring[-1]
        inland = points[points[:, 1] > -89]  # Antarctica is closed along the map's lower edge
        assert np.abs(np.diff(inland[:, 0])).max(initial=0) < 180 or points[:, 1].min() == -90


def test_land_is_land():
    from geoagent.figures.world import _outline

    land, _ = _outline()
    inside = land.contains_points([(10, 50), (-100, 40), (135, -25), (179.0, 67.5), (0, -89)])
    assert inside.all()
    assert not land.contains_points([(-30, 30), (-150, 0), (80, -30)]).any()
