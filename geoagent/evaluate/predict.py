"""A model and images → completions, batch by batch.

Generation goes through ms-swift's own engine and template, so the prompt is what training used.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from geoagent.compat import prepare_torch, use_image_tokens_of
from geoagent.config import ModelConfig
from geoagent.data.prompt import QUESTION
from geoagent.errors import UsageError
from geoagent.evaluate.models import Candidate
from geoagent.modelfolder import refuse_code

VISION_TOKENS: Final = (
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)


class Predictor:
    """A loaded model on this machine's GPU, or on its CPU.

    `max_pixels` is the size in pixels that larger images are scaled down to; None takes it from
    the model's own processor (ms-swift alone would not). Raises UsageError if the model cannot be
    loaded.
    """

    def __init__(self, candidate: Candidate, config: ModelConfig, max_pixels: int | None) -> None:
        prepare_libraries()
        prepare_torch()
        import torch
        from safetensors import SafetensorError
        from swift.infer_engine import TransformersEngine
        from swift.model import get_model_processor
        from swift.template import get_template

        on_gpu = torch.cuda.is_available()
        refuse_code(candidate.model)
        try:
            use_image_tokens_of(candidate.model)
            model, processor = get_model_processor(
                candidate.model,
                model_type=config.type,
                torch_dtype=_dtype(config.dtype, on_gpu),
                device_map=None if on_gpu else "cpu",
            )
            template = get_template(
                processor,
                template_type=config.template,
                max_pixels=max_pixels or processor.image_processor.size["longest_edge"],
            )
            forbid_vision_tokens(model, processor.tokenizer)
            adapters = [candidate.adapters] if candidate.adapters else None
            self.engine = TransformersEngine(
                model, template=template, adapters=adapters, max_batch_size=0
            )
        except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
            reason = str(error).strip().splitlines() or [type(error).__name__]
            name = candidate.adapters or candidate.model
            raise UsageError(f"{name}: cannot be loaded ({reason[0][:200]})") from error

    def complete(
        self,
        images: Sequence[Path],
        max_new_tokens: int,
        *,
        temperature: float = 0.0,
        top_p: float = 1.0,
        seed: int = 0,
    ) -> list[str]:
        """One completion an image, in order; greedy at temperature 0.

        Equal arguments give equal completions. UsageError if the batch does not fit into memory.
        """
        import torch
        from swift.infer_engine import InferRequest, RequestConfig

        question: list[Any] = [{"role": "user", "content": f"<image>{QUESTION}"}]
        requests = [InferRequest(messages=question, images=[str(image)]) for image in images]
        # As GRPO samples: from the whole distribution unless top_p cuts it.
        settings = RequestConfig(
            max_tokens=max_new_tokens, temperature=temperature, top_p=top_p, top_k=-1
        )
        torch.manual_seed(seed)
        try:
            replies = self.engine.infer(requests, settings, use_tqdm=False)
        except torch.OutOfMemoryError as error:
            raise UsageError(
                f"eval.batch_size: {len(images)} images do not fit into the GPU's memory; lower it"
            ) from error
        return [str(reply.choices[0].message.content) for reply in replies]


def prepare_libraries() -> None:
    """Only errors from ms-swift, no bars from transformers, and OpenMP threads that sleep while
    they wait: spinning ones are ten times slower on cores that others use too (decision 0050).

    Call before they are imported.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("LOG_LEVEL", "ERROR")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")


def forbid_vision_tokens(model: Any, tokenizer: Any) -> None:
    """A model that has learnt little may sample a vision token, which its next step trips over."""
    known = tokenizer.get_vocab()
    suppressed = set(model.generation_config.suppress_tokens or [])
    suppressed.update(known[name] for name in VISION_TOKENS if name in known)
    model.generation_config.suppress_tokens = sorted(suppressed)


def _dtype(name: str, on_gpu: bool) -> Any:
    """float16 has no CPU kernels worth using."""
    import torch

    return getattr(torch, "float32" if name == "float16" and not on_gpu else name)
