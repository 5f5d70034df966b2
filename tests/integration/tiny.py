"""The smallest Qwen2.5-VL that there is something to see of."""

from __future__ import annotations

from geoagent.config import TinyModelConfig


def tiny(image_size: int) -> TinyModelConfig:
    """Of images of so many pixels a side."""
    return TinyModelConfig(
        hidden_size=32,
        layers=2,
        heads=2,
        kv_heads=1,
        vision_hidden_size=32,
        vision_depth=2,
        vision_heads=2,
        vocabulary=512,
        image_size=image_size,
    )
