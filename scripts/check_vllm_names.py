"""Whether vLLM here makes the same of the names that Qwen2.5-VL's weights have in memory, by which
GRPO hands them over, as of those in files, which it reads by itself. Needs no GPU.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from geoagent.compat import leave_out_plugins, name_weights_for_vllm
from geoagent.config import TinyModelConfig
from geoagent.train.tiny import build_tiny


def main() -> int:
    """1 if a weight would go to different places in vLLM, or to none."""
    leave_out_plugins()
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "tiny"
        build_tiny(model, TinyModelConfig(), ["<answer>Peru; Ancash; Huaraz</answer>"] * 8, seed=0)
        stored, live = names(model)
    wrong = mapped(stored) ^ mapped(live)
    name_weights_for_vllm()
    left = (mapped(stored) ^ mapped(live)) - {"language_model.lm_head.weight"}  # tied: not stored
    print(f"{len(stored)} weights; {len(wrong)} differ as vLLM is, {len(left)} as it is used here")
    for name in sorted(left):
        print(f"  {name}")
    return 1 if left or len(stored) < 50 else 0


def names(model: Path) -> tuple[set[str], set[str]]:
    """Names in a checkpoint's files and in the model that is loaded from it."""
    from safetensors import safe_open
    from transformers import Qwen2_5_VLForConditionalGeneration

    stored: set[str] = set()
    for file in model.glob("*.safetensors"):
        with safe_open(str(file), "pt") as weights:
            stored.update(weights.keys())
    loaded = Qwen2_5_VLForConditionalGeneration.from_pretrained(str(model))
    return stored, set(loaded.state_dict())


def mapped(weights: set[str]) -> set[str]:
    """What vLLM makes of the names."""
    from vllm.model_executor.models.qwen2_5_vl import Qwen2_5_VLForConditionalGeneration

    mapper = Qwen2_5_VLForConditionalGeneration.hf_to_vllm_mapper
    return {name for name, _ in mapper.apply((name, None) for name in weights)}


if __name__ == "__main__":
    sys.exit(main())
