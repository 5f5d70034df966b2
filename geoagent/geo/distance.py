"""Distances on the Earth."""

from __future__ import annotations

from typing import Any, Final

EARTH_RADIUS_KM: Final = 6371.0
"""The radius that GeoAgent's spatial reward and the benchmarks use."""


def great_circle_km(lat1: Any, lon1: Any, lat2: Any, lon2: Any) -> Any:
    """Great-circle distance in km by the haversine formula; degrees in, numpy broadcasting.

    Scalars give a float. NaN in, NaN out.
    """
    import numpy as np

    phi1, lambda1, phi2, lambda2 = (np.radians(value) for value in (lat1, lon1, lat2, lon2))
    chord = (
        np.sin((phi2 - phi1) / 2) ** 2
        + np.cos(phi1) * np.cos(phi2) * np.sin((lambda2 - lambda1) / 2) ** 2
    )
    distance = 2 * EARTH_RADIUS_KM * np.arcsin(np.sqrt(np.clip(chord, 0.0, 1.0)))
    return float(distance) if np.ndim(distance) == 0 else distance
