"""The drawn sample: the same on every machine, readable, and honest about where things are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from geoagent.answer import LEVELS, parse
from geoagent.data import sample
from geoagent.data.cot import chain_of_thought
from geoagent.data.places import countries
from geoagent.data.record import read_records
from geoagent.data.sample import build_sample
from geoagent.data.scenes import _font, draw_flag, font_for, render
from geoagent.geo.distance import great_circle_km
from geoagent.geo.geocoder import geocode


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "sample"
    build_sample(path, scenes_per_country=4)
    return path


def test_size_and_splits(folder: Path) -> None:
    train, bad = read_records(folder, "train", strict=True)
    heldout, _ = read_records(folder, "heldout", strict=True)
    assert bad == []
    assert len({record.country for record in train}) == len(countries()) >= 30
    assert len(train) == 4 * len(countries())
    assert {record.country for record in heldout} == {record.country for record in train}
    pixels = {record.id: (folder / record.image).read_bytes() for record in [*train, *heldout]}
    assert len(set(pixels.values())) == len(pixels), "a scene is in the sample twice"


def test_the_same_seed_draws_the_same_pixels() -> None:
    country = countries()[0]
    first, again, other = (
        render(country, country.cities[0], seed).image.tobytes() for seed in ("a", "a", "b")
    )
    assert first == again
    assert first != other


def test_flags_differ() -> None:
    from PIL import Image, ImageDraw

    pictures: dict[bytes, str] = {}
    for country in countries():
        image = Image.new("RGB", (48, 32))
        draw_flag(ImageDraw.Draw(image), country.flag, (0, 0, 47, 31))
        assert pictures.setdefault(image.tobytes(), country.name) == country.name


def test_every_sign_can_be_written() -> None:
    from fontTools.ttLib import TTFont

    for country in countries():
        for city in country.cities:
            font = _font(font_for(city.sign), 20)
            known = TTFont(font.path).getBestCmap()
            assert [c for c in city.sign if ord(c) not in known and c != " "] == [], city.sign


def test_chains_of_thought_are_what_the_rewards_expect(folder: Path) -> None:
    for record in read_records(folder, "train")[0]:
        assert record.think is not None
        text = f"<think>{record.think}</think><answer>{record.address}</answer>"
        completion = parse(text)
        assert completion.well_formed
        assert completion.valid_json
        assert len(completion.parts) == 3
        assert [completion.stages[level].conclusion for level in LEVELS] == [
            record.country,
            record.region,
            record.city,
        ]
        for stage in completion.stages.values():
            assert stage.complete
            assert len(stage.reasoning) > 200  # the length factor is 1 above
            assert stage.conclusion in stage.reasoning


def test_all_of_it_geocodes() -> None:
    for country in countries():
        for city in country.cities:
            place = geocode(f"{country.name}; {city.region}; {city.name}")
            assert place is not None
            assert place.level == "city"
            away = great_circle_km(place.latitude, place.longitude, city.latitude, city.longitude)
            assert away < 25, city.name


def test_text_is_json() -> None:
    country = countries()[0]
    document = json.loads(chain_of_thought(country, country.cities[0]))
    assert document["FinalAnswer"] == f"{country.name}; {country.cities[0].region}; Paris"


def test_built_once(folder: Path) -> None:
    before = (folder / "sample.json").stat().st_mtime_ns
    build_sample(folder, scenes_per_country=4)
    assert (folder / "sample.json").stat().st_mtime_ns == before


def test_interrupted_building_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sample, "render", stop)
    with pytest.raises(KeyboardInterrupt):
        build_sample(tmp_path / "sample", scenes_per_country=4)
    assert list(tmp_path.iterdir()) == []
