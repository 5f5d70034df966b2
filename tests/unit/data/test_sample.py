"""The drawn sample: the same on every machine, readable, and honest about where things are."""

from __future__ import annotations

import errno
import itertools
import json
import os
import socket
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from fontTools.ttLib import TTFont
from PIL import Image, ImageDraw, ImageFont

from geoagent.answer import LEVELS, parse
from geoagent.data import sample
from geoagent.data.cot import chain_of_thought
from geoagent.data.places import countries
from geoagent.data.record import read_records
from geoagent.data.sample import build_sample
from geoagent.data.scenes import _font, draw_flag, lettering, render
from geoagent.data.swift import completion
from geoagent.errors import UsageError
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


def test_a_sample_built_again_is_the_same_file_by_file(folder: Path, tmp_path: Path) -> None:
    build_sample(tmp_path / "again", scenes_per_country=4)
    build_sample(tmp_path / "other", scenes_per_country=1, seed=1)
    first, again, other = (
        contents(path) for path in (folder, tmp_path / "again", tmp_path / "other")
    )
    assert again == first
    scene = "images/heldout-fr-000.jpg"
    assert other[scene] != first[scene]


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_flags_can_be_told_apart() -> None:
    """At the size a flag has for the tiny model, 5 % of the pixels of any two are different."""
    flags = {}
    for country in countries():
        image = Image.new("RGB", (45, 29))
        draw_flag(ImageDraw.Draw(image), country.flag, (0, 0, 44, 28))
        flags[country.name] = np.asarray(image, dtype=int)
    for first, second in itertools.combinations(flags, 2):
        apart = (abs(flags[first] - flags[second]).max(axis=-1) > 40).mean()
        assert apart > 0.05, (first, second)


def test_an_unknown_emblem_is_an_error() -> None:
    with pytest.raises(ValueError, match="swan: no such emblem"):
        draw_flag(ImageDraw.Draw(Image.new("RGB", (9, 9))), "h red + swan white", (0, 0, 8, 8))


def test_cars_are_on_the_side_that_is_driven_on() -> None:
    """Beside the middle line, the half of the road with the car differs more from the asphalt."""
    for country in countries():
        image = render(country, country.cities[0], "side").image
        road = np.asarray(image.convert("L"), dtype=float)[175:200]
        left, right = (abs(half - 93).mean() for half in (road[:, 30:106], road[:, 118:194]))
        assert (left > right) == (country.driving_side == "left"), country.name


def test_every_sign_and_plate_can_be_written() -> None:
    for country in countries():
        written = [lettering(city.sign) for city in country.cities]
        for name, text in [*written, ("Latin", country.plate[2])]:
            known = TTFont(_font(name, 20).path).getBestCmap()
            assert [c for c in text if ord(c) not in known] == [], text


def test_scripts_that_join_or_stack_are_laid_out_beforehand() -> None:
    """Pillow cannot where the system has no libfribidi."""
    for country in countries():
        for city in country.cities:
            script = unicodedata.name(city.sign[0]).split()[0]
            joins = script in ("ARABIC", "HEBREW", "DEVANAGARI", "THAI")
            assert (len(lettering(city.sign)[1]) == 1) == joins, city.sign
    assert _font("Latin", 20).layout_engine == ImageFont.Layout.BASIC


def test_chains_of_thought_are_what_the_rewards_expect(folder: Path) -> None:
    for record in [*read_records(folder, "train")[0], *read_records(folder, "heldout")[0]]:
        said = parse(completion(record))
        assert said.well_formed
        assert said.valid_json
        truth = [record.country, record.region, record.city][: len(said.stages)]
        assert [said.stages[level].conclusion for level in LEVELS if level in said.stages] == truth
        assert list(said.parts) == truth
        for stage in said.stages.values():
            assert stage.complete
            assert 200 < len(stage.reasoning) <= 330  # the length factor is 1 above 200
            assert stage.conclusion in stage.reasoning


def test_all_of_it_geocodes() -> None:
    for country in countries():
        for city in country.cities:
            place = geocode(f"{country.name}; {city.region}; {city.name}")
            assert place is not None
            assert place.level == "city"
            away = great_circle_km(place.latitude, place.longitude, city.latitude, city.longitude)
            assert away < 25, city.name


def test_a_clue_is_in_the_scene() -> None:
    phoenix = next(c for country in countries() for c in country.cities if c.name == "Phoenix")
    text = chain_of_thought(next(c for c in countries() if phoenix in c.cities), phoenix)
    assert "sand and palms" in text  # the city's own biome, not its country's
    assert "red rocks behind the houses" in text


def test_text_is_json() -> None:
    country = countries()[0]
    document = json.loads(chain_of_thought(country, country.cities[0]))
    assert document["FinalAnswer"] == f"{country.name}; {country.cities[0].region}; Paris"


def test_three_in_five_training_chains_stop_at_the_region(folder: Path) -> None:
    """Whatever the picture shows: so rewards for going on have something to teach."""
    training, _ = read_records(folder, "train")
    whole = [record for record in training if len(parse(completion(record)).stages) == 3]
    assert 0.3 < len(whole) / len(training) < 0.5
    heldout, _ = read_records(folder, "heldout")
    assert all(len(parse(completion(record)).stages) == 3 for record in heldout)


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


def test_another_version_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "sample"
    monkeypatch.setattr(sample, "VERSION", 0)
    build_sample(folder, scenes_per_country=1)
    (folder / "images" / "train-fr-000.jpg").write_bytes(b"old")
    monkeypatch.undo()
    build_sample(folder, scenes_per_country=1)
    assert read_records(folder, strict=True)[1] == []
    assert [path.name for path in tmp_path.iterdir()] == ["sample"]
    assert sorted(path.name for path in folder.iterdir()) == [
        "images",
        "records.jsonl",
        "sample.json",
    ]


def test_what_is_not_a_sample_stays(tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").write_bytes(b"mine")
    for folder in (tmp_path, tmp_path / "holiday.jpg"):
        with pytest.raises(UsageError, match="is not a sample; it would be replaced"):
            build_sample(folder, scenes_per_country=1)
    assert (tmp_path / "holiday.jpg").read_bytes() == b"mine"


def test_another_process_builds_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is second leaves the first one's sample as it is."""
    folder = tmp_path / "sample"
    draw = sample._draw

    def overtaken(part: Path, scenes: int, seed: int) -> object:
        monkeypatch.setattr(sample, "_draw", draw)
        monkeypatch.setattr(os, "getpid", lambda: -1)
        build_sample(folder, scenes, seed)
        monkeypatch.setattr(os, "getpid", getpid)
        (folder / "first").touch()
        return draw(part, scenes, seed)

    getpid = os.getpid
    monkeypatch.setattr(sample, "_draw", overtaken)
    build_sample(folder, scenes_per_country=1)
    assert (folder / "first").exists()
    assert list(tmp_path.iterdir()) == [folder]


def test_another_node_fails_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its process has the same number; the file system is shared."""
    draw, names = sample._draw, iter(["node1", "node2"])

    def fails(part: Path, scenes: int, seed: int) -> object:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    def met(part: Path, scenes: int, seed: int) -> object:
        monkeypatch.setattr(sample, "_draw", fails)
        with pytest.raises(UsageError, match="Input/output error"):
            build_sample(tmp_path / "sample", scenes, seed)
        return draw(part, scenes, seed)

    monkeypatch.setattr(socket, "gethostname", lambda: next(names))
    monkeypatch.setattr(sample, "_draw", met)
    build_sample(tmp_path / "sample", scenes_per_country=1)
    assert read_records(tmp_path / "sample", strict=True)[1] == []
    assert [*tmp_path.iterdir()] == [tmp_path / "sample"]


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(UsageError, match=r"cannot be built there \(No space left on device\)"):
        build_sample(tmp_path / "sample", scenes_per_country=1)
    assert list(tmp_path.iterdir()) == []


def test_both_finish_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other's sample appears after the last look and before ours gets its name."""
    folder = tmp_path / "sample"
    rename = Path.rename

    def overtaken(self: Path, target: Path) -> Path:
        if self == folder:
            raise FileNotFoundError
        monkeypatch.setattr(Path, "rename", rename)
        monkeypatch.setattr(os, "getpid", lambda: -1)
        build_sample(folder, scenes_per_country=1)
        monkeypatch.setattr(os, "getpid", getpid)
        return rename(self, target)

    getpid = os.getpid
    monkeypatch.setattr(Path, "rename", overtaken)
    build_sample(folder, scenes_per_country=1)
    assert list(tmp_path.iterdir()) == [folder]
    assert read_records(folder, strict=True)[1] == []


def test_what_killed_builds_left_is_swept_away(tmp_path: Path) -> None:
    old, new = tmp_path / ".sample.1", tmp_path / ".sample.2"
    for left in (old, new):
        (left / "images").mkdir(parents=True)
    os.utime(old, (1, 1))
    build_sample(tmp_path / "sample", 1)
    assert not old.exists()
    assert new.exists()  # somebody may be building it now


def test_no_scenes_are_no_sample(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="0 scenes a country: 1 or more"):
        build_sample(tmp_path / "sample", 0)
