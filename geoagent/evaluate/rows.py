"""What a row of predictions.jsonl is."""

from __future__ import annotations

from typing import Any

from geoagent.answer import Completion, parse
from geoagent.data.record import Record
from geoagent.data.swift import truth
from geoagent.evaluate.groups import COLUMNS
from geoagent.geo.distance import great_circle_km
from geoagent.geo.geocoder import geocode
from geoagent.geo.services import Locate


def prediction(model: str, record: Record, text: str, locate: Locate = geocode) -> dict[str, Any]:
    """A row: the raw completion, what was read from it, the truth, what figures are broken down
    by, and the distance in km.

    The distance is null where the answer is nowhere. OutageError if `locate` needs a service that
    does not answer.
    """
    completion = parse(text)
    row: dict[str, Any] = {"model": model, "id": record.id, "completion": text}
    row |= {"answer": completion.answer, **located(completion, locate), **truth(record)}
    row |= {name: record.extra[name] for name in COLUMNS if name in record.extra}
    point = row["predicted_latitude"], row["predicted_longitude"]
    here = record.latitude, record.longitude
    return {**row, "distance_km": great_circle_km(*here, *point) if None not in point else None}


def located(completion: Completion, locate: Locate = geocode) -> dict[str, Any]:
    """Where an answer is: coordinates that it gives itself, or its address geocoded; else nulls.

    `level` is the finest level that matched (city, county, region, country), or `coordinates`.
    """
    if completion.coordinates is not None:
        latitude, longitude = completion.coordinates
        level, matched = "coordinates", None
    elif (place := locate("; ".join(completion.parts))) is not None:
        latitude, longitude = place.latitude, place.longitude
        level, matched = place.level, place.matched
    else:
        return dict.fromkeys(("predicted_latitude", "predicted_longitude", "level", "matched"))
    return {
        "predicted_latitude": latitude,
        "predicted_longitude": longitude,
        "level": level,
        "matched": matched,
    }
