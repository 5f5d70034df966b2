"""A Qwen2.5-VL folder that writes given completions, one a turn, whatever it is shown: for tests of
what comes after a model has been trained. Engine, template, tools and images are the real ones.

Each completion is one token. All layers but the first add nothing. The first averages over all
tokens before, and so counts those of earlier completions: which of them are there says which turn
it is. After a completion's token follows the end of the turn.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.integration.tiny import tiny

_ANY, _WRITTEN, _FIRST = 0, 1, 2
"""Coordinates of the hidden state: a token, a completion, and from _FIRST on which completion."""
_LOUD = 1e4
"""A completion is one token of thousands."""


def make_scripted(folder: Path, completions: Sequence[str]) -> Path:
    """Write the model; the last completion is repeated from then on."""
    from geoagent.train.tiny import build_tiny

    build_tiny(folder, tiny(56), ["You are a helpful assistant."] * 20, seed=0)
    import torch
    from transformers import AutoTokenizer, Qwen2_5_VLForConditionalGeneration

    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(list(completions))
    tokenizer.save_pretrained(folder)
    model = Qwen2_5_VLForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
    model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    model.config.tie_word_embeddings = model.config.text_config.tie_word_embeddings = False
    written = tokenizer.convert_tokens_to_ids(list(completions))
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    with torch.no_grad():
        _set_weights(model, written, end)
    model.save_pretrained(folder)
    return folder


def _set_weights(model: Any, written: Sequence[int], end: int) -> None:
    import torch

    language, head = model.model.language_model, torch.nn.Parameter(model.lm_head.weight * 0)
    model.lm_head.weight = head
    for layer in language.layers:
        for part in (layer.self_attn, layer.mlp):
            for parameter in part.parameters():
                parameter.zero_()
    for parameter in model.model.visual.merger.parameters():
        parameter.zero_()
    words = language.embed_tokens.weight
    words.zero_()
    words[:, _ANY] = 1.0
    attention = language.layers[0].self_attn
    for number, token in enumerate(written):
        words[token, _WRITTEN] = words[token, _FIRST + number] = 1.0
        attention.v_proj.weight[number, _FIRST + number] = _LOUD
        attention.o_proj.weight[_FIRST + number, number] = 1.0
        # A later completion is the more wanted, the more is there of what comes before it.
        before = _FIRST + number - 1 if number else _ANY
        head[token, before] = 100.0**number
    head[written[-1], _FIRST + len(written) - 1] = 100.0 ** len(written)
    head[end, _WRITTEN] = 1e12
