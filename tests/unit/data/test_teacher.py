"""The scripted teacher's trajectories: real crops, real results, and right answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from geoagent.answer import parse
from geoagent.config import RolloutConfig
from geoagent.data.places import countries
from geoagent.data.record import Record, read_records
from geoagent.data.sample import build_sample
from geoagent.data.teacher import write_scripted_trajectories
from geoagent.data.trajectory import read_trajectory, trajectory_row
from geoagent.errors import UsageError
from geoagent.rewards.hierarchical import Hierarchical
from geoagent.rollout.environment import opening
from geoagent.rollout.search import SearchUnavailable
from geoagent.rollout.tools import Call, read_call
from tests.unit.rollout.provider import Shelf, hit
from tests.unit.rollout.reader import read_sign

PLACES = {(country.code, city.name): city for country in countries() for city in country.cities}


class Echo(Shelf):
    """Finds what it is asked for."""

    def find(self, query: str) -> list[Any]:
        self.asked.append(query)
        return [hit(f"All about {query}", "A page.", "x:1")]


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("teacher") / "sample"
    build_sample(folder, scenes_per_country=1, seed=3)
    return folder


@pytest.fixture(scope="module")
def made(sample: Path) -> tuple[Path, list[Record]]:
    folder = sample.parent / "made"
    count = write_scripted_trajectories(sample, folder, RolloutConfig(), Echo({}))
    records, rejected = read_records(folder, strict=True)
    assert (count, rejected) == (len(records), [])
    return folder, records


def test_every_training_scene_has_one(made: tuple[Path, list[Record]], sample: Path) -> None:
    folder, records = made
    drawn, _ = read_records(sample, "train")
    assert [record.id for record in records] == [record.id for record in drawn]
    for record, scene in zip(records, drawn, strict=True):
        row = trajectory_row(record, folder)
        assert row["messages"][:2] == opening((224, 224))
        assert [m["role"] for m in row["messages"]] == ["system", *["user", "assistant"] * 3]
        picture, crop = map(Path, row["images"])
        assert picture.read_bytes() == (sample / scene.image).read_bytes()
        assert crop.suffix == ".png"


def test_the_crops_show_the_sign(made: tuple[Path, list[Record]]) -> None:
    """A reader of pixels, which knows of no scene, reads the sign in each of them."""
    folder, records = made
    for record in records:
        with Image.open(folder / read_trajectory(record).images[1]) as crop:
            seen = read_sign(crop.convert("RGB"))
        assert seen == PLACES[record.country_code, record.city].sign


def test_it_searches_for_what_it_read_and_answers_what_is_right(
    made: tuple[Path, list[Record]],
) -> None:
    for record in made[1]:
        messages = read_trajectory(record).messages
        sign = PLACES[record.country_code, record.city].sign
        call = read_call(messages[4]["content"])
        assert isinstance(call, Call)
        assert call.arguments["query"] == f"{sign} {record.country}"
        assert f"All about {sign} {record.country}" in messages[5]["content"]
        last = messages[-1]["content"]
        names: dict[str, Any] = {n: [getattr(record, n)] for n in ("country", "region", "city")}
        assert Hierarchical(2.0)([last], **names) == [4.0]
        said = parse(last)
        assert said.well_formed
        assert said.valid_json
        assert said.final_answer == said.answer == record.address
        assert set(said.stages) == {"country", "region", "precise"}


@pytest.mark.parametrize(
    ("limits", "calls"),
    [
        (RolloutConfig(crops=0), 1),
        (RolloutConfig(searches=0), 1),
        (RolloutConfig(turns=2), 1),
        (RolloutConfig(turns=1), 0),
    ],
)
def test_limits_are_kept_to(
    sample: Path, tmp_path: Path, limits: RolloutConfig, calls: int
) -> None:
    write_scripted_trajectories(sample, tmp_path / "made", limits, Echo({}), limit=3)
    records, _ = read_records(tmp_path / "made")
    assert len(records) == 3
    for record in records:
        row = trajectory_row(record, tmp_path / "made")
        assert len(row["messages"]) == 3 + 2 * calls
        assert "Tool call error" not in json.dumps(row)


def test_what_is_there_is_not_made_again_unless_settings_changed(
    sample: Path, tmp_path: Path
) -> None:
    shelf, folder = Echo({}), tmp_path / "made"
    for _ in range(2):
        assert write_scripted_trajectories(sample, folder, RolloutConfig(), shelf, limit=3) == 3
        assert len(shelf.asked) == 3
    write_scripted_trajectories(sample, folder, RolloutConfig(searches=0), shelf, limit=2)
    assert len(read_records(folder, strict=True)[0]) == 2
    assert len(list((folder / "crops").iterdir())) == 2
    assert len(shelf.asked) == 3


def test_an_outage_leaves_nothing(sample: Path, tmp_path: Path) -> None:
    with pytest.raises(SearchUnavailable):
        write_scripted_trajectories(sample, tmp_path / "a", RolloutConfig(), Shelf({}, down=True))
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_sample_or_not_ours_is_refused(sample: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "records.jsonl").write_text("{}\n")
    with pytest.raises(UsageError, match="exists already"):
        write_scripted_trajectories(sample, mine, RolloutConfig(), Echo({}), limit=1)
    other = tmp_path / "other"
    (other / "images").mkdir(parents=True)
    row = {"id": "a", "image": "a.png", "latitude": 1, "longitude": 1, "country_code": "PE"}
    (other / "records.jsonl").write_text(json.dumps(row) + "\n")
    Image.new("RGB", (32, 32)).save(other / "a.png")
    with pytest.raises(UsageError, match=r"sample\.json: cannot be read"):
        write_scripted_trajectories(other, tmp_path / "made", RolloutConfig(), Echo({}))
    (other / "sample.json").write_text('{"version": 3, "seed": 0}')
    with pytest.raises(UsageError, match="a is no scene of a sample of version 3"):
        write_scripted_trajectories(other, tmp_path / "made", RolloutConfig(), Echo({}))
    assert not (tmp_path / "made").exists()
