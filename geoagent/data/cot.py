"""Chains of thought for the drawn scenes, in the form of GeoSeek-CoT (GeoAgent §3.1).

The sentences are fixed; only what is visible in the scene and the names differ. Each reasoning
is longer than 200 characters, above which the consistency reward is not scaled down. Like
GeoSeek-CoT's answers, they may stop at the region.
"""

from __future__ import annotations

import json
from typing import Final

from geoagent.data.places import City, Country

STAGES: Final = ("CountryIdentification", "RegionalGuess", "PreciseLocalization")

_SETTINGS: Final = {
    "coast": "the sea behind the houses",
    "mountains": "snowy mountains behind the houses",
    "hills": "green hills behind the houses",
    "boulevard": "a row of tall buildings behind the houses",
    "canal": "a canal beside the road",
    "plain": "an open plain behind the houses",
    "desert": "red rocks behind the houses",
}
_LOOKS: Final = {
    "temperate": "soft green grass",
    "mediterranean": "dry mediterranean grass",
    "alpine": "alpine meadows and firs",
    "boreal": "dark northern firs",
    "steppe": "pale steppe grass",
    "desert": "sand and palms",
    "tropical": "lush tropical green",
    "savanna": "yellow savanna grass",
}


def chain_of_thought(country: Country, city: City, precise: bool = True) -> str:
    """The `<think>` content for one scene, as JSON text; without `precise` it ends at the
    region, as its answer does."""
    stages = [_country(country, city), _region(country, city)]
    answer = f"{country.name}; {city.region}"
    if precise:
        stages.append(_precise(city))
        answer += f"; {city.name}"
    document = {"ChainOfThought": dict(zip(STAGES, stages, strict=False)), "FinalAnswer": answer}
    return json.dumps(document, ensure_ascii=False)


def _stage(clues: list[str], reasoning: str, conclusion: str, doubt: str) -> dict[str, object]:
    return {"Clues": clues, "Reasoning": reasoning, "Conclusion": conclusion, "Uncertainty": doubt}


def _country(country: Country, city: City) -> dict[str, object]:
    side, plate = country.driving_side, country.plate[0]
    reasoning = (
        f"The flag on the pole is the flag of {country.name}. Cars drive on the {side} side, the "
        f"road has {country.line} lines and the plate of the car is {plate}. Houses with "
        f"{country.wall} walls and {_LOOKS[city.biome]} fit as well, so this photo was taken "
        f"in {country.name}."
    )
    clues = [f"flag of {country.name}", f"driving on the {side}", f"{plate} plate"]
    return _stage(clues, reasoning, country.name, "low")


def _region(country: Country, city: City) -> dict[str, object]:
    setting = _SETTINGS[city.setting]
    reasoning = (
        f"Within the country there is {setting} and the sign beside the road names a city of "
        f"{city.region}. The scenery and the houses are typical of {city.region}, and nothing in "
        f"the photo speaks against it, so the region of {country.name} is {city.region}."
    )
    return _stage([setting, "road sign"], reasoning, city.region, "medium")


def _precise(city: City) -> dict[str, object]:
    setting = _SETTINGS[city.setting]
    reasoning = (
        f"Finally, the road sign reads {city.sign}, which is the local name of {city.name}. "
        f"With {setting} this matches the streets of {city.name} well, and other cities of the "
        f"region look different, so the most likely place of this photo is {city.name}."
    )
    return _stage([f"sign reads {city.sign}", setting], reasoning, city.name, "medium")
