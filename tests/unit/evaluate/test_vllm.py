"""What can be told of vLLM's predictor without vLLM; `make test-vllm` does the rest."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from safetensors.numpy import save_file

from geoagent.config import Config, RolloutConfig
from geoagent.errors import UsageError
from geoagent.evaluate.models import Candidate
from geoagent.evaluate.predict import _reason, predictor
from geoagent.evaluate.vllm import (
    _check_adapters,
    _forbid_vision_tokens,
    _rank,
    _room,
    context,
    most_images,
)
from geoagent.rollout.environment import Episode, most_told, play_together
from tests.unit.rollout.provider import Shelf, hit
from tests.unit.rollout.reader import call

LANGUAGE = "base_model.model.model.language_model.layers.0.mlp.up_proj.lora_A.weight"
VISION = "base_model.model.model.visual.blocks.0.attn.proj.lora_A.weight"


def adapters(folder: Path, names: list[str], **settings: Any) -> str:
    import numpy

    save_file(
        {name: numpy.zeros((2, 2), "float32") for name in names},
        folder / "adapter_model.safetensors",
    )
    (folder / "adapter_config.json").write_text(json.dumps({"r": 8, **settings}))
    return str(folder)


def test_adapters_of_the_language_model_are_taken(tmp_path: Path) -> None:
    _check_adapters(adapters(tmp_path, [LANGUAGE], modules_to_save=[]))


@pytest.mark.parametrize(
    ("names", "settings", "part"),
    [
        ([LANGUAGE, VISION], {}, "the vision tower"),
        ([LANGUAGE], {"modules_to_save": ["lm_head"]}, "whole layers"),
    ],
)
def test_adapters_that_vllm_would_leave_out_in_part(
    tmp_path: Path, names: list[str], settings: dict[str, Any], part: str
) -> None:
    with pytest.raises(UsageError, match=f"change {part}.*; set eval.engine=transformers") as told:
        _check_adapters(adapters(tmp_path, names, **settings))
    assert "\n" not in str(told.value)


def test_the_highest_rank_of_any_layer_counts(tmp_path: Path) -> None:
    assert _rank(adapters(tmp_path, [LANGUAGE])) == 8
    assert _rank(adapters(tmp_path, [LANGUAGE], rank_pattern={"up_proj": 24})) == 24


@given(st.integers(1, 512))
def test_room_for_a_rank(rank: int) -> None:
    room = _room(rank)
    assert room in (8, 16, 32, 64, 128, 256, 320, 512)
    assert rank <= room <= max(8, 2 * rank - 1)


def test_no_room_above_the_highest_rank() -> None:
    with pytest.raises(ValueError, match="rank 513 is above"):
        _room(513)


@pytest.mark.skipif(importlib.util.find_spec("vllm") is not None, reason="vllm is installed")
def test_vllm_that_is_not_installed_is_named() -> None:
    config = Config()
    config.eval.engine = "vllm"
    with pytest.raises(UsageError, match=r"eval\.engine: the package vllm is not installed"):
        predictor(Candidate("x", "/no/such/model"), config)


def test_every_request_bans_the_vision_tokens_that_there_are() -> None:
    class Parameters:
        bad_words: list[str] = []  # noqa: RUF012, as vLLM's

    class Engine:
        def _prepare_generation_config(self, request: str) -> Parameters:
            return Parameters()

    class Tokenizer:
        def get_vocab(self) -> dict[str, int]:
            return {"a": 0, "<|image_pad|>": 1, "<|vision_end|>": 2}

    engine = Engine()
    _forbid_vision_tokens(engine, Tokenizer())
    assert engine._prepare_generation_config("x").bad_words == ["<|vision_end|>", "<|image_pad|>"]


def test_room_for_all_that_an_episode_can_have(tmp_path: Path) -> None:
    """Played with the longest results and arguments there can be, in a vocabulary of characters."""
    assert context(784 * 100, 50, None) == 100 + 512 + 50
    limits = RolloutConfig(turns=5, crops=2, searches=2, results=3)
    long = Shelf({"q" * 400: [hit("t" * 900, "s" * 900, "u" * 900)] * 20})
    file = tmp_path / "a.png"
    Image.new("RGB", (500, 400)).save(file)
    zoom = call("image_zoom_in_tool", bbox_2d=[1.123456, 1, 400, 300], label="l" * 900)
    search = call("search_web", query="q" * 400)
    said = [zoom, search, search, zoom, "x"]
    episode = Episode(file, limits, long)
    play_together([episode], lambda live: [said[len(live[0].turns)]])
    assert (episode.crops, episode.searches) == (2, 2)
    told = sum(len(m["content"]) for m in episode.messages if m["role"] != "assistant")
    assert told <= most_told(limits) < told + 4000
    room = context(784 * 100, 50, limits)
    assert room >= 3 * 100 + told + 5 * 50
    assert most_images(limits) == len(episode.images) == 3


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("1 validation error for X\n  Value error, not so [type=a, input_value=b]\n  c", "not so"),
        ("\n one\ntwo", "one"),
        ("", "OSError"),
    ],
)
def test_reasons_are_one_line_that_says_something(text: str, reason: str) -> None:
    assert _reason(OSError(text)) == reason
