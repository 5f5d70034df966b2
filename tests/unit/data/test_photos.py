"""The real photographs: few, evaluation only, and with their sources."""

from __future__ import annotations

from pathlib import Path

import geoagent.data
from geoagent.data.record import read_records
from geoagent.geo.distance import great_circle_km
from geoagent.geo.geocoder import geocode

FOLDER = Path(geoagent.data.__file__).with_name("photos")


def test_each_can_be_read_and_says_where_it_is_from() -> None:
    photos, rejected = read_records(FOLDER, "photos", strict=True)
    assert rejected == []
    assert len(photos) == 6
    for photo in photos:
        assert photo.think is None  # nothing to train on
        assert photo.extra["source"]
        assert photo.extra["coordinates_from"].startswith(("EXIF", "known subject: "))
        assert f"`{Path(photo.image).name}`" in (FOLDER / "LICENCES.md").read_text()
        assert photo.extra["licence"].startswith(("MIT, ©", "CC BY 2.0, ©", "public domain"))


def test_addresses_are_near_the_coordinates() -> None:
    for photo in read_records(FOLDER, "photos")[0]:
        place = geocode(photo.address)
        assert place is not None
        away = great_circle_km(place.latitude, place.longitude, photo.latitude, photo.longitude)
        assert away < 18, photo.id
