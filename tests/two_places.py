"""A dataset of two places of which SFT sees one, so that a tiny model that was trained for seconds
is right about half of the pictures and wrong about the others."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from PIL import Image

from geoagent.files import write_jsonl

PARIS: Final = (48.85341, 2.3488)
LIMA: Final = (-12.04318, -77.02824)
WORDS: Final = (
    "data.name=two-places",
    "data.answer=coordinates",
    "sft.max_steps=40",
    "sft.save_steps=40",
    "sft.learning_rate=5e-3",
    "sft.lr_scheduler=constant",
    "sft.batch_size=4",
    "grpo.temperature=0.3",
    "grpo.max_completion_length=40",
    "model.tiny.hidden_size=64",
    "model.tiny.layers=2",
    "model.tiny.vocabulary=512",
    "model.tiny.image_size=56",
    "model.max_pixels=3136",
)
"""Settings that learn it."""


def write_places(folder: Path, pictures: int = 8) -> Path:
    """The dataset in a new folder: every other picture is of Paris, p0 the first, and only these
    have a chain of thought; h0 and h1 are held out."""
    folder.mkdir()
    rows = []
    for name in (*(f"p{number}" for number in range(pictures)), "h0", "h1"):
        number = int(name[1:])
        Image.new("RGB", (56, 56), (30 * number, 90, 90)).save(folder / f"{name}.png")
        latitude, longitude = (PARIS, LIMA)[number % 2]
        row: dict[str, Any] = {"id": name, "image": f"{name}.png"}
        row |= {"latitude": latitude, "longitude": longitude}
        thought = {"think": "A sign."} if number % 2 == 0 and name[0] == "p" else {}
        rows.append({**row, **thought, "split": "train" if name[0] == "p" else "heldout"})
    write_jsonl(folder / "records.jsonl", rows)
    return folder
