"""A random Qwen2.5-VL, small enough to learn the bundled sample on two CPU cores.

Architecture, processor and chat format are those of Qwen/Qwen2.5-VL-7B-Instruct; only the widths,
the depths and the vocabulary are smaller. The weights are drawn from the seed, so two machines
with the same package versions start from the same model.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from geoagent.compat import before_transformers_5, prepare_torch
from geoagent.files import part_of

if TYPE_CHECKING:
    from geoagent.config import TinyModelConfig

# In the order of Qwen2.5's own tokenizer; the names are what templates and processors look up.
SPECIAL_TOKENS: Final = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|object_ref_start|>",
    "<|object_ref_end|>",
    "<|box_start|>",
    "<|box_end|>",
    "<|quad_start|>",
    "<|quad_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)

# Tags; names, that is runs of capitalised words or of other scripts; punctuation; other words.
# A name must be one token wherever it stands, or the model cannot learn to repeat it.
_PIECES: Final = (
    r"<[^>]*>"
    r"|\p{Lu}[\p{L}\p{M}\d'-]*(?: \p{Lu}[\p{L}\p{M}\d'-]*)*"
    r"|[\p{Lo}\p{M}]+(?: [\p{Lo}\p{M}]+)*"
    r"|[\",;.:{}\[\]][\",;.:{}\[\] ]*"
    r"|[^<\",;.:\p{Lu}\p{Lo}]+"
)

CHAT_TEMPLATE: Final = (
    "{% if messages[0]['role'] != 'system' %}<|im_start|>system\nYou are a helpful assistant."
    "<|im_end|>\n{% endif %}{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}"
    "<|vision_start|><|image_pad|><|vision_end|>{% elif 'text' in part %}{{ part['text'] }}"
    "{% endif %}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def build_tiny(folder: Path, config: TinyModelConfig, texts: Iterable[str], seed: int) -> None:
    """Build model, tokenizer and processor in `folder`, whole or not at all.

    `texts` is what the tokenizer is trained on: questions and completions of the training split.
    An existing folder is replaced.
    """
    prepare_torch()
    import torch
    from transformers import Qwen2_5_VLForConditionalGeneration

    part = part_of(folder)
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        tokenizer = _tokenizer(texts, config.vocabulary)
        _save_processor(part, tokenizer, config.image_size)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            model = Qwen2_5_VLForConditionalGeneration(_model_config(config, tokenizer))
        model.generation_config.update(**_generation(tokenizer))
        model.save_pretrained(part)
        shutil.rmtree(folder, ignore_errors=True)
        part.rename(folder)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise


def _tokenizer(texts: Iterable[str], vocabulary: int) -> Any:
    """Byte-level BPE, so any text can be written, whose merges may span words.

    The completions are mostly fixed phrases. One token a phrase makes a completion about a
    hundred tokens long instead of several hundred, which is what a CPU can generate in seconds.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PIECES), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        min_frequency=8,
        show_progress=False,
    )
    core.train_from_iterator(texts, trainer)
    tokenizer = _tokenizer_class()(
        tokenizer_object=core,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=list(SPECIAL_TOKENS[1:]),
        model_max_length=32768,
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def _tokenizer_class() -> Any:
    """What Qwen2.5-VL's processor takes: before transformers 5, only the model's own class."""
    import transformers

    if before_transformers_5():
        return transformers.Qwen2TokenizerFast  # type: ignore[attr-defined]
    return transformers.PreTrainedTokenizerFast


def _save_processor(folder: Path, tokenizer: Any, image_size: int) -> None:
    from transformers import (
        Qwen2_5_VLProcessor,
        Qwen2VLImageProcessor,
        Qwen2VLVideoProcessor,
    )

    pixels = {"shortest_edge": 28 * 28 * 4, "longest_edge": image_size * image_size}
    processor = Qwen2_5_VLProcessor(
        image_processor=Qwen2VLImageProcessor(size=pixels),
        tokenizer=tokenizer,
        video_processor=Qwen2VLVideoProcessor(),
        chat_template=CHAT_TEMPLATE,
    )
    processor.save_pretrained(folder)


def _model_config(config: TinyModelConfig, tokenizer: Any) -> Any:
    from transformers import Qwen2_5_VLConfig

    token = tokenizer.convert_tokens_to_ids
    head = config.hidden_size // config.heads
    # Rotary sections for time, height and width: together half a head, as 16/24/24 of 64 are.
    time = head // 8
    height = (head // 2 - time) // 2
    return Qwen2_5_VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": config.hidden_size,
            "intermediate_size": config.hidden_size * 3,
            "num_hidden_layers": config.layers,
            "num_attention_heads": config.heads,
            "num_key_value_heads": config.kv_heads,
            "max_position_embeddings": 32768,
            **_rope(10000.0, [time, height, head // 2 - time - height]),
            "bos_token_id": token("<|endoftext|>"),
            "eos_token_id": token("<|im_end|>"),
            "pad_token_id": token("<|endoftext|>"),
            "tie_word_embeddings": True,
        },
        vision_config={
            "depth": config.vision_depth,
            "hidden_size": config.vision_hidden_size,
            "intermediate_size": config.vision_hidden_size * 3,
            "num_heads": config.vision_heads,
            "out_hidden_size": config.hidden_size,
            "fullatt_block_indexes": [config.vision_depth - 1],
            "window_size": 112,
        },
        image_token_id=token("<|image_pad|>"),
        video_token_id=token("<|video_pad|>"),
        vision_start_token_id=token("<|vision_start|>"),
        vision_end_token_id=token("<|vision_end|>"),
        tie_word_embeddings=True,
    )


def _rope(theta: float, sections: list[int]) -> dict[str, Any]:
    """The rotary embedding in the words of the transformers that is here; 5 renamed them."""
    if before_transformers_5():
        return {
            "rope_theta": theta,
            "rope_scaling": {"type": "mrope", "mrope_section": sections},
        }
    return {
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": theta,
            "mrope_section": sections,
        }
    }


def _generation(tokenizer: Any) -> dict[str, Any]:
    """A random model may sample a vision token, which breaks the forward pass: forbid them."""
    vision = ("<|vision_start|>", "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>")
    return {
        "eos_token_id": tokenizer.convert_tokens_to_ids("<|im_end|>"),
        "pad_token_id": tokenizer.convert_tokens_to_ids("<|endoftext|>"),
        "suppress_tokens": [
            tokenizer.convert_tokens_to_ids(name) for name in (*vision, "<|video_pad|>")
        ],
    }
