"""What has to be mended between package versions before they are imported.

torchvision: the wheel on PyPI is built for CUDA. Beside a CPU-only torch its compiled part cannot
load, the operators it would define are missing, and `import torchvision` (hence transformers'
image processors) fails while it describes them. Nothing here calls those operators (box
suppression for detection), so declaring that they exist is enough.

Where the compiled part loads, `prepare_torch` changes nothing.

ms-swift: its Qwen2.5-VL template has the ids of Qwen's image and video tokens built in. A model
with another vocabulary (the tiny one) has others. For Qwen's own ids nothing changes.

DeepSpeed: without GPUs the process group is made after the model is loaded, and ZeRO-3, which
splits the model while it loads, would take each process for the only one.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from functools import cache
from pathlib import Path
from typing import Final

_OPERATORS: Final = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_libraries: list[object] = []  # a torch Library withdraws its operators when it is collected


@cache
def prepare_torch() -> bool:
    """Make `import transformers` work on this machine; call it before that import.

    Returns whether anything had to be done.
    """
    if "torchvision" in sys.modules:
        return False
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None or _loads(Path(spec.origin).parent):
        return False
    import torch

    library = torch.library.Library("torchvision", "DEF")
    for schema in _OPERATORS:
        library.define(schema)
    _libraries.append(library)
    return True


def _loads(package: Path) -> bool:
    import torch

    compiled = next(package.glob("_C*.so"), None)
    if compiled is None:
        return False
    try:
        torch.ops.load_library(compiled)
    except OSError:
        return False
    return True


def join_process_group() -> None:
    """Make the process group of several CPU processes; call it before the model is loaded."""
    import torch

    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not torch.cuda.is_available():
        import deepspeed

        deepspeed.init_distributed("gloo")


def use_image_tokens_of(model: str) -> None:
    """Tell ms-swift's Qwen2.5-VL template the image and video token ids of a checkpoint."""
    if not Path(model, "config.json").is_file():
        return  # a hub name: Qwen's own
    from swift.template.templates.qwen import Qwen2_5VLTemplate
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(model)
    Qwen2_5VLTemplate.image_token_id = config.image_token_id
    Qwen2_5VLTemplate.video_token_id = config.video_token_id
