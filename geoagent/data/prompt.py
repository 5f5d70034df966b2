"""The one question that the model is asked, in training, evaluation and `geoagent locate`."""

from __future__ import annotations

from typing import Final

QUESTION: Final = (
    "Where was this photo taken? Reason in <think> from country to region to place, then give "
    "<answer>Country; Region; Specific location</answer>."
)
