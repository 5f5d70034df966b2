"""A model and images → completions, batch by batch.

Generation goes through ms-swift's own engines and template, so the prompt is what training used.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from geoagent.compat import place_tokens_by_model, prepare_torch, use_image_tokens_of
from geoagent.config import ModelConfig
from geoagent.errors import UsageError
from geoagent.evaluate.models import Candidate
from geoagent.modelfolder import refuse_code

if TYPE_CHECKING:
    from PIL.Image import Image

    from geoagent.config import Config

    Conversation = tuple[Sequence[Mapping[str, str]], Sequence[Path | Image]]
    """Messages, in which `<image>` stands for each of the images in turn."""

VISION_TOKENS: Final = (
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)


def predictor(candidate: Candidate, config: Config) -> Predictor:
    """The candidate as `eval.engine` loads it; UsageError if it cannot be loaded."""
    settings, model = config.eval, config.model
    if settings.engine == "vllm":
        from geoagent.evaluate.vllm import VllmPredictor

        return VllmPredictor(
            candidate,
            model,
            model.max_pixels,
            settings.max_new_tokens,
            settings.batch_size,
            config.rollout if config.rollout.eval else None,
        )
    return Predictor(candidate, model, model.max_pixels)


class Predictor:
    """A loaded model on this machine's GPU, or on its CPU.

    `max_pixels` is the size in pixels that larger images are scaled down to; None takes it from
    the model's own processor (ms-swift alone would not). Raises UsageError if the model cannot be
    loaded.
    """

    def __init__(self, candidate: Candidate, config: ModelConfig, max_pixels: int | None) -> None:
        prepare_libraries()
        prepare_torch()
        refuse_code(candidate.model)
        with _loading(candidate):
            use_image_tokens_of(candidate.model)
            place_tokens_by_model()
            self.engine = self._load(candidate, config, max_pixels)

    def _load(self, candidate: Candidate, config: ModelConfig, max_pixels: int | None) -> Any:
        import torch
        from swift.infer_engine import TransformersEngine
        from swift.model import get_model_processor

        model, processor = get_model_processor(
            candidate.model,
            model_type=config.type,
            torch_dtype=dtype(config.dtype),
            device_map=None if torch.cuda.is_available() else "cpu",
        )
        forbid_vision_tokens(model, processor.tokenizer)
        return TransformersEngine(
            model,
            template=chat_template(processor, config, max_pixels),
            adapters=[candidate.adapters] if candidate.adapters else None,
            max_batch_size=0,
        )

    def complete(
        self,
        images: Sequence[Path],
        question: str,
        max_new_tokens: int,
        *,
        temperature: float = 0.0,
        top_p: float = 1.0,
        seed: int = 0,
    ) -> list[str]:
        """What is said to the question about each image, in order; greedy at temperature 0.

        Equal arguments give equal completions. UsageError if the batch does not fit into memory.
        """
        asked = [{"role": "user", "content": f"<image>{question}"}]
        return self.reply(
            [(asked, [image]) for image in images],
            max_new_tokens,
            temperature=temperature,
            top_p=top_p,
            seed=seed,
        )

    def reply(
        self,
        conversations: Sequence[Conversation],
        max_new_tokens: int,
        *,
        temperature: float = 0.0,
        top_p: float = 1.0,
        seed: int = 0,
    ) -> list[str]:
        """The next completion of each conversation; otherwise as `complete`."""
        import torch
        from swift.infer_engine import InferRequest, RequestConfig

        requests = [
            InferRequest(
                messages=list(map(_as_message, messages)), images=list(map(_as_input, images))
            )
            for messages, images in conversations
        ]
        # As GRPO samples: from the whole distribution unless top_p cuts it.
        settings = RequestConfig(
            max_tokens=max_new_tokens, temperature=temperature, top_p=top_p, top_k=-1, seed=seed
        )
        torch.manual_seed(seed)
        try:
            replies = self.engine.infer(requests, settings, use_tqdm=False)
        except torch.OutOfMemoryError as error:
            raise UsageError(
                f"eval.batch_size: {len(requests)} images do not fit into the GPU's memory; "
                "lower it"
            ) from error
        return [str(reply.choices[0].message.content) for reply in replies]

    def close(self) -> None:
        """Give the model's memory back; nothing can be completed afterwards."""
        import gc

        import torch

        del self.engine
        gc.collect()
        torch.cuda.empty_cache()


def _as_message(message: Mapping[str, str]) -> dict[str, str]:
    """ms-swift puts the next image at any place-holder, also where a model has made one up."""
    content = message["content"]
    if message["role"] == "assistant":
        content = content.replace("<image>", "‹image›")
    return {"role": message["role"], "content": content}


def _as_input(image: Path | Image) -> Any:
    return str(image) if isinstance(image, Path) else image


@contextmanager
def _loading(candidate: Candidate) -> Iterator[None]:
    """What the libraries raise over a model folder, as a UsageError."""
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        name = candidate.adapters or candidate.model
        raise UsageError(f"{name}: cannot be loaded ({_reason(error)})") from error


def _reason(error: Exception) -> str:
    """The first line that says something; pydantic, which vLLM checks with, has more around it."""
    lines = [line.strip() for line in str(error).splitlines()]
    told = [line for line in lines if line and "validation error" not in line]
    if not told:
        return type(error).__name__
    return told[0].removeprefix("Value error, ").partition(" [type=")[0][:200]


def chat_template(processor: Any, config: ModelConfig, max_pixels: int | None) -> Any:
    """ms-swift's template of the model, which scales images to `max_pixels`."""
    from swift.template import get_template

    return get_template(
        processor,
        template_type=config.template,
        max_pixels=max_pixels or processor.image_processor.size["longest_edge"],
    )


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


def dtype(name: str) -> Any:
    """Of the weights; float16 has no CPU kernels worth using."""
    import torch

    return getattr(
        torch, "float32" if name == "float16" and not torch.cuda.is_available() else name
    )
