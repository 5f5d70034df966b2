"""Runs as an evaluation leaves them, of made-up predictions."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from geoagent.config import Config, to_yaml
from geoagent.evaluate.groups import available
from geoagent.evaluate.metrics import metrics, uniform_guess
from geoagent.files import write_json, write_jsonl
from geoagent.run import Run

PLACES = (
    ("France", "Ile-de-France", "Paris", "FR", 48.85341, 2.3488),
    ("Peru", "Ancash", "Huaraz", "PE", -9.52614, -77.52869),
    ("Norway", "Oslo", "Oslo", "NO", 59.91273, 10.74609),
    ("Japan", "Tokyo", "Tokyo", "JP", 35.6895, 139.69171),
    ("Fiji", "Central", "Suva", "FJ", -18.14161, 178.44149),
)
REASONING = "The sign is in this country's language, and the plants fit as well."


def truth(index: int) -> dict[str, Any]:
    country, region, city, code, latitude, longitude = PLACES[index % len(PLACES)]
    return {
        "id": f"image-{index}",
        "latitude": latitude,
        "longitude": longitude,
        "country": country,
        "region": region,
        "city": city,
        "country_code": code,
        "locatability": index % 11,
    }


def completion(address: str) -> str:
    country, region, place = address.split("; ")
    stages = {
        name: {
            "Clues": ["sign"],
            "Reasoning": REASONING,
            "Conclusion": conclusion,
            "Uncertainty": "low",
        }
        for name, conclusion in (
            ("CountryIdentification", country),
            ("RegionalGuess", region),
            ("PreciseLocalization", place),
        )
    }
    think = json.dumps({"ChainOfThought": stages, "FinalAnswer": address})
    return f"<think>{think}</think><answer>{address}</answer>"


def prediction(model: str, index: int, said: int | None) -> dict[str, Any]:
    """A row that names the place with that number, or nothing that could be located."""
    row = {"model": model, **truth(index)}
    if said is None:
        nothing = dict.fromkeys(("predicted_latitude", "predicted_longitude", "distance_km"))
        return {**row, "completion": "???", "answer": None, **nothing}
    place = truth(said)
    address = f"{place['country']}; {place['region']}; {place['city']}"
    from geoagent.geo.distance import great_circle_km

    here, there = [(one["latitude"], one["longitude"]) for one in (row, place)]
    return {
        **row,
        "completion": completion(address),
        "answer": address,
        "predicted_latitude": there[0],
        "predicted_longitude": there[1],
        "distance_km": great_circle_km(*here, *there),
    }


def rows_of(model: str, count: int, skill: float, seed: int) -> list[dict[str, Any]]:
    """Of `count` images the share `skill` is right, a tenth of the others is nowhere."""
    random = np.random.default_rng(seed)
    said: list[int | None] = []
    for index in range(count):
        wrong = int(random.integers(len(PLACES)))
        lost = random.random() < 0.1
        said.append(index if random.random() < skill else None if lost else wrong)
    return [prediction(model, index, place) for index, place in enumerate(said)]


def evaluated(folder: Path, rows: Mapping[str, list[dict[str, Any]]], samples: Path) -> None:
    """What the evaluation stage writes into RUN/eval/BENCHMARK."""
    everything = [row for some in rows.values() for row in some]
    write_jsonl(folder / "predictions.jsonl", everything)
    first = next(iter(rows.values()))
    by, _ = available(first)
    truths = [(row["latitude"], row["longitude"]) for row in first]
    result = {
        "models": {
            name: {**metrics(some, by), "mean_reward": 1.5, "rewards": {"spatial": 0.5}}
            for name, some in rows.items()
        },
        "last": list(rows)[-1],
        "uniform": uniform_guess(sorted(set(truths)), truths),
    }
    write_json(folder / "metrics.json", result)
    write_json(folder / "made_with.json", {name: {"samples": [str(samples)]} for name in rows})


def write_samples(folder: Path, count: int) -> None:
    for index in range(min(count, len(PLACES))):
        (folder / "images").mkdir(parents=True, exist_ok=True)
        image = Image.new("RGB", (640, 400), (40 * index, 120, 90))
        image.save(folder / "images" / f"{index}.jpg")
    records = [
        {**truth(index), "image": f"images/{index % len(PLACES)}.jpg", "split": "heldout"}
        for index in range(count)
    ]
    write_jsonl(folder / "records.jsonl", records)


def write_curves(run: Run, stages: Sequence[str], steps: int = 80) -> None:
    from torch.utils.tensorboard import SummaryWriter

    random = np.random.default_rng(0)
    tags = {
        "sft": ("train/loss", "train/token_acc"),
        "judge": ("train/reward", "train/kl", "train/rewards/judge/mean"),
        "grpo": (
            *("train/reward", "train/reward_std", "train/kl", "train/rewards/spatial/mean"),
            *("parts/rollout/turns", "time/rewards_share"),
        ),
    }
    for stage, names in ((stage, tags[stage]) for stage in stages):
        with SummaryWriter(str(run.tensorboard(stage))) as writer:
            for step in range(1, steps + 1):
                for name in names:
                    writer.add_scalar(name, float(random.random()), step)


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Run]:
    """A run with an evaluation of `count` images, on data of its own."""

    def make(
        name: str = "first",
        benchmark: str = "mine",
        count: int = 40,
        curves: bool = False,
        path: str | None = "data",
        **skills: float,
    ) -> Run:
        run = Run(tmp_path / name)
        samples = tmp_path / "samples"
        if not samples.exists():
            write_samples(samples, count)
        if path is None:
            write_json(samples / "sample.json", {"scenes_per_country": 1})
        config = Config()
        config.eval.benchmark = benchmark
        config.data.path = path
        run.path.mkdir()
        run.config_file.write_text(to_yaml(config))
        write_json(run.manifest_file, {"created": "today", "git": {"commit": "abc123"}})
        chosen = skills or {"base": 0.1, "sft": 0.5, "grpo": 0.7}
        rows = {
            model: rows_of(model, count, skill, seed)
            for seed, (model, skill) in enumerate(chosen.items())
        }
        evaluated(run.evaluation(benchmark), rows, samples)
        if curves:
            write_curves(run, [name for name in chosen if name != "base"])
        return run

    return make
