"""A model and images → completions, by vLLM: for thousands of images on a GPU."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any, Final

from geoagent.compat import leave_out_plugins
from geoagent.config import ModelConfig, RolloutConfig
from geoagent.errors import UsageError
from geoagent.evaluate.models import Candidate
from geoagent.evaluate.predict import VISION_TOKENS, Predictor, chat_template, dtype
from geoagent.files import read_json
from geoagent.rollout.environment import most_told
from geoagent.train.arguments import ADAPTER_FILE

_PATCH: Final = 28
"""Width in pixels of what becomes one token of Qwen2.5-VL."""
_WORDS: Final = 512
"""Tokens for the question and the chat's frame: more than they have bytes, in any vocabulary."""
_FRAME: Final = 16
"""Tokens around a message and around an image."""
_ROOMS: Final = (8, 16, 32, 64, 128, 256, 320, 512)
"""Ranks of adapters that vLLM makes room for."""


class VllmPredictor(Predictor):
    """A loaded model in vLLM, in this process: on its first visible GPU, or on the CPU.

    `max_new_tokens` and `batch_size` are the most that `complete` will be asked for, and `tools`,
    if any, the limits of the episodes whose turns `reply` will be asked for; vLLM makes room for
    them at the start. Otherwise as Predictor. UsageError also if vLLM is not installed, or if the
    adapters change what vLLM cannot adapt.
    """

    def __init__(
        self,
        candidate: Candidate,
        config: ModelConfig,
        max_pixels: int | None,
        max_new_tokens: int,
        batch_size: int,
        tools: RolloutConfig | None = None,
    ) -> None:
        if importlib.util.find_spec("vllm") is None:
            raise UsageError(
                "eval.engine: the package vllm is not installed in this environment; install it, "
                "or set eval.engine=transformers (slower)"
            )
        self._max_new_tokens = max_new_tokens
        self._batch_size = batch_size
        self._tools = tools
        _prepare_vllm()
        super().__init__(candidate, config, max_pixels)

    def _load(self, candidate: Candidate, config: ModelConfig, max_pixels: int | None) -> Any:
        import torch
        from swift.infer_engine import VllmEngine
        from swift.model import get_processor

        if candidate.adapters:
            _check_adapters(candidate.adapters)
        processor = get_processor(
            candidate.model, model_type=config.type, torch_dtype=dtype(config.dtype)
        )
        template = chat_template(processor, config, max_pixels)
        engine = VllmEngine(
            candidate.model,
            template=template,
            torch_dtype=dtype(config.dtype),
            model_type=config.type,
            adapters=[candidate.adapters] if candidate.adapters else None,
            max_lora_rank=_room(_rank(candidate.adapters) if candidate.adapters else 1),
            max_model_len=context(template.max_pixels, self._max_new_tokens, self._tools),
            max_num_seqs=self._batch_size,
            limit_mm_per_prompt={"image": most_images(self._tools), "video": 0},
            # Kept keys and values would be of other arithmetic than new ones.
            enable_prefix_caching=False,
            # On a CPU, compiling takes longer than it saves.
            enforce_eager=not torch.cuda.is_available(),
            # For the size of its trial run: an image of the largest size it would ever be given.
            engine_kwargs={"mm_processor_kwargs": {"max_pixels": template.max_pixels}},
        )
        _forbid_vision_tokens(engine, processor.tokenizer)
        if candidate.adapters:  # now, so that bad ones are refused while loading
            engine.engine.add_lora(engine._add_adapter(engine.default_adapter_request))
        return engine

    def close(self) -> None:
        from vllm.distributed import cleanup_dist_env_and_memory

        self.engine.engine.engine_core.shutdown()
        super().close()
        cleanup_dist_env_and_memory()


def most_images(tools: RolloutConfig | None) -> int:
    """Of one prompt: the picture, and with tools its crops."""
    return 1 if tools is None else 1 + tools.crops


def context(max_pixels: int, max_new_tokens: int, tools: RolloutConfig | None) -> int:
    """Tokens of a prompt and its completion at most, if no token is shorter than a character."""
    patches = max_pixels // _PATCH**2
    if tools is None:
        return patches + _WORDS + max_new_tokens
    images = most_images(tools) * (patches + _FRAME)
    return images + most_told(tools) + tools.turns * (max_new_tokens + 2 * _FRAME)


def _prepare_vllm() -> None:
    """In this process, so that its order of work, hence its rounding, is the same each time, and
    so that it ends with this process; quiet, without plugins, and it sends nothing to its makers.

    Call before vLLM is imported.
    """
    leave_out_plugins()
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")


def _forbid_vision_tokens(engine: Any, tokenizer: Any) -> None:
    """As predict.forbid_vision_tokens, in what ms-swift makes of each request."""
    known = tokenizer.get_vocab()
    banned = [name for name in VISION_TOKENS if name in known]
    prepare = engine._prepare_generation_config

    def without(request: Any) -> Any:
        parameters = prepare(request)
        parameters.bad_words = banned
        return parameters

    engine._prepare_generation_config = without


def _check_adapters(adapters: str) -> None:
    """UsageError if vLLM cannot apply all of them: it adapts the language model's linear layers,
    and passes over the vision tower's without a word.
    """
    from safetensors import safe_open

    with safe_open(Path(adapters, "adapter_model.safetensors"), framework="pt") as tensors:
        vision = any(".visual." in name for name in tensors.keys())  # noqa: SIM118, no mapping
    if vision or read_json(Path(adapters, ADAPTER_FILE)).get("modules_to_save"):
        part = "the vision tower" if vision else "whole layers (modules_to_save)"
        raise UsageError(
            f"{adapters}: these adapters change {part}, which vLLM cannot apply; set "
            "eval.engine=transformers"
        )


def _rank(adapters: str) -> int:
    """The highest of the adapters' layers."""
    settings = read_json(Path(adapters, ADAPTER_FILE))
    return max([settings["r"], *(settings.get("rank_pattern") or {}).values()])


def _room(rank: int) -> int:
    """The smallest of vLLM's rooms that holds a rank; ValueError if none does."""
    rooms = [room for room in _ROOMS if room >= rank]
    if not rooms:
        raise ValueError(f"rank {rank} is above vLLM's highest, {_ROOMS[-1]}")
    return rooms[0]
