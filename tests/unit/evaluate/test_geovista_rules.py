"""GeoVista's rules as its released evaluation has them, written down anew, against ours.

The script of the release evaluates a response so: names of the truth are searched in the whole text
as whole terms, after folding to lower-case ASCII; the finest that is found decides; a row whose
response is empty is left out; an address that is nowhere lies in Honiara; distances have the mean
radius 6371.0088 km and leave satellite pictures (`planetary`) out; the median is the nearest rank.
"""

from __future__ import annotations

import math
import random
import re
import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoagent.answer import parse_coordinates
from geoagent.evaluate.metrics import metrics
from geoagent.evaluate.rules import GEOAGENT, GEOVISTA, Rules

Row = dict[str, Any]
HONIARA = (-9.4306698, 159.9526758)
TRUTHS = [
    ("Germany", "Bavaria", "Munich", 48.137, 11.575),
    ("Germany", "Hamburg", "Hamburg", 53.551, 9.993),
    ("Brazil", "São Paulo", "São Paulo", -23.55, -46.633),
    ("United States", "Illinois", "Springfield", 39.8, -89.64),
    ("Solomon Islands", "Guadalcanal", "Honiara", -9.433, 159.95),
    ("France", "", "Paris", 48.853, 2.349),
]
ANSWERS = [
    "{country}; {region}; {city}",
    "{country}; {region}; somewhere",
    "{country}; Elsewhere; Nowhere",
    "Deutschland; Bayern; München",
    "USA; Missouri; Springfield",
    "Atlantis; Lost; Sunken",
    "{city}",
    "",
]
THOUGHTS = ["a street", "it is not {country}", "could be {city}, but the signs differ"]
LEVELS = ("country", "region", "city")


def folded(text: str) -> str:
    text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode("ascii").lower()
    return re.sub(r"\s+", " ", re.sub(r"[^a-z0-9\s]", " ", text)).strip()


def has_term(text: str, term: str) -> bool:
    return bool(term) and re.search(rf"(?<!\w){re.escape(term)}(?!\w)", text) is not None


def haversine(first: tuple[float, float], second: tuple[float, float]) -> float:
    (a, b), (c, d) = (tuple(map(math.radians, point)) for point in (first, second))
    chord = math.sin((c - a) / 2) ** 2 + math.cos(a) * math.cos(c) * math.sin((d - b) / 2) ** 2
    return 2 * 6371.0088 * math.atan2(math.sqrt(chord), math.sqrt(1 - chord))


def published(rows: list[Row]) -> dict[str, float]:
    """Shares and the median of the release's script; counts of what they are taken of."""
    hits, evaluated, types = dict.fromkeys(LEVELS, 0), 0, {}
    km = []
    for row in rows:
        response = row["completion"][:4000]
        if not response:
            continue
        evaluated += 1
        found = {level: has_term(folded(response), folded(row[level])) for level in LEVELS}
        found["region"] |= found["city"]
        found["country"] |= found["region"]
        for level in LEVELS:
            hits[level] += found[level]
        of_type = types.setdefault(row["data_type"], [])
        of_type.append(found["city"])
        if row["data_type"] != "planetary":
            point = row["predicted_latitude"], row["predicted_longitude"]
            point = HONIARA if None in point else point
            km.append(haversine((row["latitude"], row["longitude"]), point))
    return {
        "evaluated": evaluated,
        **{f"{level}_accuracy": hits[level] / evaluated for level in LEVELS},
        "accuracy_3km": sum(d < 3 for d in km) / len(km),
        "median_km": sorted(km)[math.ceil(len(km) / 2) - 1],
        **{f"city_accuracy of {name}": sum(hit) / len(hit) for name, hit in types.items()},
    }


def synthetic(count: int, empty: bool) -> list[Row]:
    dice = random.Random(5)
    rows = []
    for number in range(count):
        country, region, city, latitude, longitude = dice.choice(TRUTHS)
        names = {"country": country, "region": region, "city": city}
        answer = dice.choice(ANSWERS).format(**names)
        thought = dice.choice(THOUGHTS).format(**names)
        nowhere = not answer or "Atlantis" in answer or dice.random() < 0.1
        away = dice.choice([0.001, 0.02, 1.0, 30.0])
        completion = f"<think>{thought}</think><answer>{answer}</answer>"
        completion = "" if empty and dice.random() < 0.1 else completion
        rows.append(
            {
                "id": number,
                "latitude": latitude,
                "longitude": longitude,
                "predicted_latitude": None if nowhere else latitude + away,
                "predicted_longitude": None if nowhere else longitude,
                "completion": completion,
                "answer": answer,
                "data_type": dice.choice(["photo", "panorama", "planetary"]),
                **names,
            }
        )
    return rows


def flat(result: dict[str, Any]) -> dict[str, Any]:
    by_type = result["by"]["data_type"].items()
    return {**result, **{f"city_accuracy of {name}": g["city_accuracy"] for name, g in by_type}}


def test_the_same_figures() -> None:
    rows = synthetic(500, empty=False)
    theirs = published(rows)
    ours = flat(metrics(rows, by=["data_type"], rules=GEOVISTA))
    assert theirs.pop("evaluated") == ours["count"] == 500
    differences = {name: abs(ours[name] - value) for name, value in theirs.items()}
    print(f"largest difference of {len(differences)} figures: {max(differences.values()):.3g}")
    assert len(differences) == 8
    assert max(differences.values()) < 1e-9


def test_an_empty_response_counts_here_and_is_left_out_there() -> None:
    rows = synthetic(500, empty=True)
    theirs, ours = published(rows), metrics(rows, rules=GEOVISTA)
    assert theirs["evaluated"] < ours["count"] == 500
    for level in LEVELS:
        share = theirs[f"{level}_accuracy"] * theirs["evaluated"] / 500
        assert ours[f"{level}_accuracy"] == pytest.approx(share, abs=1e-12)


DIFFERENCES = [
    # what differs; the answer; the truth; GeoVista's finest level, ours
    ("another language", "Deutschland; Bayern; München", TRUTHS[0], 0, 3),
    ("only thought of", "Brazil; Rio de Janeiro; Niterói", TRUTHS[0], 3, 0),
    ("a city of that name elsewhere", "USA; Missouri; Springfield", TRUTHS[3], 3, 1),
    ("the city without its country", "Munich", TRUTHS[0], 3, 0),
    ("a kind of place", "Germany; Free State of Bavaria; Munich", TRUTHS[0], 3, 3),
]


@pytest.mark.parametrize(("what", "answer", "truth", "theirs", "ours"), DIFFERENCES)
def test_where_the_rules_differ(
    what: str, answer: str, truth: tuple[Any, ...], theirs: int, ours: int
) -> None:
    country, region, city, latitude, longitude = truth
    thought = f"perhaps {city}" if what == "only thought of" else ""
    row = {
        "latitude": latitude,
        "longitude": longitude,
        "predicted_latitude": None,
        "predicted_longitude": None,
        "answer": answer,
        "completion": f"<think>{thought}</think><answer>{answer}</answer>",
        "country": country,
        "region": region,
        "city": city,
    }
    for found, depth in ((metrics([row], rules=GEOVISTA), theirs), (metrics([row]), ours)):
        shares = [found[f"{level}_accuracy"] for level in LEVELS]
        assert shares == [float(depth > level) for level in range(3)]


@given(st.text(max_size=60), st.text(max_size=12))
def test_terms_are_found_as_the_pattern_finds_them(text: str, term: str) -> None:
    row = {"latitude": 0, "longitude": 0, "predicted_latitude": None, "predicted_longitude": None}
    row |= {"completion": text, "country": term, "region": "", "city": ""}
    found = metrics([row], rules=GEOVISTA)["country_accuracy"]
    assert found == float(has_term(folded(text), folded(term)))


@pytest.mark.parametrize("rules", [GEOVISTA, GEOAGENT], ids=lambda rules: rules.name)
@pytest.mark.parametrize(
    ("answer", "shares"),
    [
        ("Latitude: 48.13743, Longitude: 11.57549", [1.0, 1.0, 1.0]),
        ("[47.4, 10.3]", [1.0, 1.0, 0.0]),  # elsewhere in Bavaria
        ("[35.7, 139.7]", [0.0, 0.0, 0.0]),
        ("[0.0, -30.0]", [0.0, 0.0, 0.0]),  # at sea
    ],
)
def test_coordinates_name_the_place_that_they_are_in(
    rules: Rules, answer: str, shares: list[float]
) -> None:
    point = parse_coordinates(answer)
    assert point
    truth = {"latitude": 48.137, "longitude": 11.575, "country": "Germany"}
    truth |= {"region": "Bavaria", "city": "Munich"}
    predicted = {"predicted_latitude": point[0], "predicted_longitude": point[1]}
    for said in (
        {"answer": answer},
        {"completion": f"<think>A sign.</think><answer>{answer}</answer>"},
    ):
        found = metrics([{**truth, **predicted, **said}], rules=rules)
        assert [found[f"{level}_accuracy"] for level in LEVELS] == shares


def test_the_fallback_is_far_from_everything_but_honiara() -> None:
    rows = [row for row in synthetic(500, empty=False) if row["predicted_latitude"] is None]
    near = [row for row in rows if row["city"] == "Honiara" and row["data_type"] != "planetary"]
    of_distance = [row for row in rows if row["data_type"] != "planetary"]
    result = metrics(rows, rules=GEOVISTA)
    assert result["accuracy_3km"] == len(near) / len(of_distance)
    assert result["geocoded_rate"] == 0.0
    assert result["median_km"] > 2500
    assert metrics(rows)["median_km"] is None


def test_only_satellite_pictures_have_no_distances() -> None:
    rows = [row for row in synthetic(50, empty=False) if row["data_type"] == "planetary"]
    result = metrics(rows, rules=GEOVISTA)
    assert (result["median_km"], result["geoscore"], result["accuracy_3km"]) == (None, None, None)
    assert result["country_accuracy"] > 0
    assert "geoscore" not in result["intervals"]
