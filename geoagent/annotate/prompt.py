"""What the vision model is asked, and how its reply is read.

GeoAgent (arXiv 2602.12617) names GeoSeek-Val's attributes and their values; it does not publish the
question. The wording and the definitions here are ours (docs/how-to/annotate.md). What images have
in common comes first, so servers that keep the state of a common prefix read it once.
"""

from __future__ import annotations

import json
from typing import Any, Final

from geoagent.data.annotations import ELEMENTS, LOCATABILITY, PRESENCE, Annotation, to_annotation

PROMPT_VERSION: Final = 1
"""Raise it when anything that the model gets changes: texts, schema, size of the image."""
MAX_PIXELS: Final = 1_000_000
"""Larger images are scaled down to this."""

_SYSTEM: Final = (
    "You annotate photographs for a benchmark of image geolocation. Judge only what can be seen in "
    "the photograph. Reply with one JSON object and nothing else."
)
_DEFINITIONS: Final = {
    "manmade": "anything that people have made or built, such as poles, fences or furniture",
    "traffic": "roads, road markings, vehicles, rails, traffic lights",
    "buildings": "houses, towers, ruins and other buildings, from outside or inside",
    "sign": "traffic signs, name plates, shop signs, billboards",
    "language": "written text, if its language or its script can be told",
    "natural": "natural landscape, such as forest, desert, coast, rock; not the sky alone",
    "plants": "trees, grass, flowers, crops",
    "mountains_and_rivers": "mountains, hills, rivers, lakes, sea",
    "weather": "signs of weather or season, such as clouds, clear sky, shadows, rain, snow, fog",
    "agricultural": "fields, orchards, vineyards, pastures, livestock, greenhouses",
}
_QUESTION: Final = """\
1. scene: is each of these elements in the photograph? yes: it clearly is. no: it is not. maybe: \
it cannot be told, for example because it is too small, blurred or hidden.
{definitions}

2. locatability: how well could somebody who knows the world's geography tell from this photograph \
alone where it was taken? A whole number from 0 to 10.
0: not at all, such as a close-up, a blank wall, a blurred image
2: hardly more than a climate
4: a continent, or several countries that are alike
6: a country
8: a region or a city
10: the exact place, such as a landmark or a readable address
Use the odd numbers for what is between.

Reply in this form:
{example}"""
_EXAMPLE: Final = '{{"scene": {{{}}}, "locatability": 0..10}}'.format(
    ", ".join(f'"{name}": "{"|".join(PRESENCE)}"' for name in ELEMENTS)
)


def messages(data_url: str) -> list[dict[str, Any]]:
    """The chat that asks about an image, given as a data URL."""
    definitions = "\n".join(f"- {name}: {text}" for name, text in _DEFINITIONS.items())
    question = _QUESTION.format(definitions=definitions, example=_EXAMPLE)
    content = [
        {"type": "text", "text": question},
        {"type": "image_url", "image_url": {"url": data_url}},
    ]
    return [{"role": "system", "content": _SYSTEM}, {"role": "user", "content": content}]


def schema() -> dict[str, Any]:
    """JSON schema of the reply; servers that can, enforce it while they write. The elements come
    first: a model that has named what it sees judges the place by it."""
    presence = {"type": "string", "enum": list(PRESENCE)}
    scene = _object(dict.fromkeys(ELEMENTS, presence))
    return _object({"scene": scene, "locatability": {"type": "integer", "enum": [*LOCATABILITY]}})


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def read_reply(content: str) -> Annotation:
    """The annotation in a reply; ValueError says why it is not usable.

    Where the server does not enforce the schema, models put the object into a code block, or think
    aloud before it.
    """
    _, _, text = content.rpartition("</think>")
    try:
        value = json.loads(text[text.find("{") : text.rfind("}") + 1])
    except (ValueError, RecursionError) as error:
        raise ValueError("reply is not JSON") from error
    return to_annotation(value)
