"""Tools that are used well lead to the right answer, on scenes made for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from geoagent.answer import parse
from geoagent.config import RolloutConfig, SearchConfig
from geoagent.data.places import countries
from geoagent.data.scenes import render
from geoagent.evaluate.rows import located
from geoagent.geo.distance import great_circle_km
from geoagent.rewards.hierarchical import Hierarchical
from geoagent.rollout.environment import Episode, play_together
from geoagent.rollout.search import provider
from tests.unit.rollout.provider import Shelf, hit
from tests.unit.rollout.reader import policy

PLACES = [(country, city) for country in countries() for city in country.cities]


@pytest.fixture(scope="module")
def episodes(tmp_path_factory: pytest.TempPathFactory) -> list[Episode]:
    """One scene of every city, played to its end."""
    folder = tmp_path_factory.mktemp("scenes")
    shelf = Shelf(
        {
            city.sign: [hit(f"{city.name}, {city.region}, {country.name}", "a city")]
            for country, city in PLACES
        }
    )
    made = []
    for number, (country, city) in enumerate(PLACES):
        file = folder / f"{number}.png"
        render(country, city, f"scripted/{number}").image.save(file)
        made.append(Episode(file, RolloutConfig(), shelf))
    play_together(made, policy)
    return made


def test_a_policy_that_zooms_and_searches_finds_the_place(episodes: list[Episode]) -> None:
    assert {episode.why for episode in episodes} == {"answer"}
    truth: dict[str, Any] = {
        "country": [country.name for country, _ in PLACES],
        "region": [city.region for _, city in PLACES],
        "city": [city.name for _, city in PLACES],
    }
    answers = [episode.turns[-1].completion for episode in episodes]
    scores = [score.value for score in Hierarchical(2.0).score(answers, **truth)]
    assert scores == [4.0] * len(PLACES)


def test_the_offline_index_leads_to_most_places(episodes: list[Episode]) -> None:
    """The policy takes the largest of the places it is told of, which is wrong for a few signs."""
    shelf = provider(SearchConfig())
    again = [Episode(episode.image, RolloutConfig(), shelf) for episode in episodes]
    play_together(again, policy)
    near = 0
    for episode, (_, city) in zip(again, PLACES, strict=True):
        place = located(parse(episode.turns[-1].completion))
        point = place["predicted_latitude"], place["predicted_longitude"]
        near += None not in point and great_circle_km(city.latitude, city.longitude, *point) < 25
    assert near / len(PLACES) > 0.9


def test_without_tools_the_same_policy_finds_nothing(episodes: list[Episode]) -> None:
    blind = Shelf({})
    again = [Episode(episode.image, RolloutConfig(crops=0), blind) for episode in episodes[:3]]
    with pytest.raises(IndexError):  # there is no crop to read
        play_together(again, policy)


def test_the_answer_comes_from_what_the_tools_gave(episodes: list[Episode], tmp_path: Path) -> None:
    """With a search that finds another place, the same policy says that other place."""
    country, city = PLACES[0]
    file = tmp_path / "scene.png"
    render(country, city, "scripted/other").image.save(file)
    wrong = Shelf({city.sign: [hit("Poseidonis, Nowhere, Atlantis")]})
    episode = Episode(file, RolloutConfig(), wrong)
    play_together([episode], policy)
    assert "<answer>Atlantis; Nowhere; Poseidonis</answer>" in episode.turns[-1].completion
