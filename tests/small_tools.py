"""GeoVista's demo recipe as small as it can be, for tests of all its stages."""

from __future__ import annotations

from typing import Final

WORDS: Final = (
    "data.scenes_per_country=4",
    "data.limit=12",
    "model.tiny.hidden_size=32",
    "model.tiny.layers=2",
    "model.tiny.vision_depth=2",
    "model.tiny.vision_hidden_size=32",
    "model.tiny.vocabulary=1024",
    "model.tiny.image_size=56",
    "model.max_pixels=3136",
    "sft.max_steps=2",
    "sft.save_steps=2",
    "sft.logging_steps=1",
    "sft.batch_size=2",
    "grpo.max_steps=1",
    "grpo.save_steps=1",
    "grpo.batch_size=2",
    "grpo.generations=2",
    "grpo.max_completion_length=8",
    "eval.limit=2",
    "eval.max_new_tokens=8",
)
