"""What has to be mended between package versions before they are imported.

torchvision: the wheel on PyPI is built for CUDA. Beside a CPU-only torch its compiled part cannot
load, the operators it would define are missing, and `import torchvision` (hence transformers'
image processors) fails while it describes them. Nothing here calls those operators (box
suppression for detection), so declaring that they exist is enough.

Where the compiled part loads, `prepare_torch` changes nothing.

ms-swift: its Qwen2.5-VL template has the ids of Qwen's image and video tokens built in. A model
with another vocabulary (the tiny one) has others. For Qwen's own ids nothing changes. It also hands
over position ids, which the model's `generate` cannot use before transformers 5.

vLLM: ms-swift 4.6 adds a plugin to it that imports a model of newer releases, so that vLLM 0.8
cannot look at any. And vLLM 0.8 knows weights only by the names that they had before transformers
4.52.

DeepSpeed: without GPUs the process group is made after the model is loaded, and ZeRO-3, which
splits the model while it loads, would take each process for the only one.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

_OPERATORS: Final = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_VLLM_NAMES: Final = {
    "model.language_model.": "language_model.model.",
    "model.visual.": "visual.",
    "lm_head.": "language_model.lm_head.",
    "model.": "language_model.model.",
}
"""Beginnings of Qwen2.5-VL's weights, as transformers has them and as saved, to vLLM's."""
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


def place_tokens_by_model() -> None:
    """With transformers 4, let Qwen2.5-VL compute the positions of what it generates from.

    ms-swift's template computes them too and gives them to `generate`, of shape (4, batch, length).
    transformers 4 takes the last ones along the second axis, as of (batch, length), and the second
    token fails in the attention. What the model computes when it is given none is the same.
    transformers 5 takes both.
    """
    if not before_transformers_5():
        return
    from swift.template.templates.qwen import Qwen2_5VLTemplate

    prepare = Qwen2_5VLTemplate.prepare_generate_kwargs
    if getattr(prepare, "without_positions", False):
        return

    def prepare_generate_kwargs(self: Any, generate_kwargs: dict[str, Any], **keywords: Any) -> Any:
        generate_kwargs.pop("position_ids", None)
        return prepare(self, generate_kwargs, **keywords)

    prepare_generate_kwargs.without_positions = True  # type: ignore[attr-defined]
    Qwen2_5VLTemplate.prepare_generate_kwargs = prepare_generate_kwargs


def leave_out_plugins() -> None:
    """Keep vLLM from loading the plugins of other packages; call it before vLLM starts an engine.

    Nothing here needs one. A VLLM_PLUGINS that is set is left alone.
    """
    os.environ.setdefault("VLLM_PLUGINS", "")


def name_weights_for_vllm() -> None:
    """Let vLLM 0.8 take Qwen2.5-VL's weights by the names that they have while they are trained.

    Saved weights have the older names, so only GRPO is concerned, which hands over weights from
    memory to the vLLM beside it. Newer releases know both and are left as they are.
    """
    from vllm.model_executor.models.qwen2_5_vl import Qwen2_5_VLForConditionalGeneration
    from vllm.model_executor.models.utils import WeightsMapper

    known = Qwen2_5_VLForConditionalGeneration.hf_to_vllm_mapper.orig_to_new_prefix
    if "model.visual." not in known:
        Qwen2_5_VLForConditionalGeneration.hf_to_vllm_mapper = WeightsMapper(
            orig_to_new_prefix=_VLLM_NAMES
        )


@cache
def before_transformers_5() -> bool:
    """Whether the transformers that is installed is older than 5."""
    return int(version("transformers").split(".")[0]) < 5
