"""Tiny BERT and CLIP folders with random weights, made on the spot."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from geoagent.compat import prepare_torch

WORDS = (
    *("a", "the", "photo", "depicts", "sign", "is", "in", "thai", "red", "roof", "cars", "drive"),
    *("on", "left", "right", "so", "this", "was", "taken", "thailand", "bulgaria", "letters"),
)
_SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def make_bert(folder: Path) -> Path:
    prepare_torch()
    import torch
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder.mkdir(parents=True)
    (folder / "vocab.txt").write_text("\n".join([*_SPECIAL, *WORDS]))
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(_SPECIAL) + len(WORDS),
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=40,
    )
    BertModel(config).save_pretrained(folder)
    return folder


def make_clip(folder: Path) -> Path:
    prepare_torch()
    import torch
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor, CLIPTokenizer

    folder.mkdir(parents=True)
    text: dict[str, Any] = {
        "vocab_size": _clip_vocabulary(folder),
        "eos_token_id": 1,
        "bos_token_id": 0,
        "pad_token_id": 1,
        "max_position_embeddings": 24,
    }
    vision: dict[str, Any] = {"image_size": 32, "patch_size": 8}
    small = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
    }
    torch.manual_seed(1)
    config = CLIPConfig(text_config=text | small, vision_config=vision | small, projection_dim=16)
    model = CLIPModel(config)
    for parameter in model.parameters():  # as large as trained ones: other texts, other vectors
        if parameter.ndim > 1:
            parameter.data.mul_(8)
    model.save_pretrained(folder)
    tokenizer = CLIPTokenizer.from_pretrained(str(folder))
    image = CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    CLIPProcessor(image, tokenizer).save_pretrained(folder)
    return folder


def _clip_vocabulary(folder: Path) -> int:
    """Letters, and letters that end a word."""
    letters = "abcdefghijklmnopqrstuvwxyz.,0123456789"
    tokens = ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{x}</w>" for x in letters)]
    (folder / "vocab.json").write_text(json.dumps({x: n for n, x in enumerate(tokens)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return len(tokens)
