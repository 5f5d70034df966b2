"""A GGUF file as a folder that vLLM loads: `python gguf_to_safetensors.py FILE FOLDER`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any


def convert(file: Path, folder: Path) -> None:
    """Unpack the weights to bfloat16; the tokenizer and its chat template come along."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    model: Any = AutoModelForCausalLM.from_pretrained(
        file.parent,
        gguf_file=file.name,
        dtype=torch.bfloat16,
        quantization_config=GgufConfig(gguf_file=file.name, dequantize=True),
    )
    tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    # No longer quantized: transformers would refuse to save it, and vLLM to read it.
    model.hf_quantizer = None
    model.is_quantized = False
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


if __name__ == "__main__":
    convert(Path(sys.argv[1]), Path(sys.argv[2]))
