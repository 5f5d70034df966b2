"""One sample's loop of thought, tool call and observation, with all its rules.

Training (ms-swift's multi-turn scheduler), `geoagent locate --tools` and prediction all step the
same class. The rules are those of GeoVista's released loop; where ours differ, decision 0110 says
how and why. A tool call names no file and no address: the only file that is opened is the sample's
image, and a query goes to the search provider that the configuration names, nowhere else.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from geoagent.answer import parse
from geoagent.data.prompt import QUESTION
from geoagent.rollout.tools import ZOOM, Call, Malformed, as_data, read_call, system_prompt
from geoagent.rollout.zoom import BoxError, open_image, own_box, shown_size, zoom

if TYPE_CHECKING:
    from PIL.Image import Image

    from geoagent.config import RolloutConfig
    from geoagent.rollout.search import Result, SearchProvider

IMAGE_TAG: Final = "<image>"
"""Stands in a message where an image is, as ms-swift has it."""
NUDGE: Final = (
    "You should consider using the web search tool to find more information about the location."
)
MUST_ANSWER: Final = (
    "Now you must say where the image was taken, within <answer></answer>, without more tool calls."
)
_QUERY, _TITLE, _SNIPPET, _URL = 400, 200, 600, 300
"""Characters that are shown of each: ten results have some 3,000 tokens at most."""
_FRAME: Final = 200
"""More than there is of JSON around one of these, or of words around a tool's output."""
_CROPPING: Final = ThreadPoolExecutor(max_workers=4, thread_name_prefix="crop")
"""Images are decoded whole, so few at a time."""


@dataclass(frozen=True)
class Observation:
    """What follows a completion. `text` is the next message to the model, empty once `done`; where
    there is an `image` (a crop), IMAGE_TAG stands in it exactly once.

    `why`: `zoom` and `search` are calls that were run; `box`, `malformed`, `no crops left`, `no
    searches left` calls that were refused; `answer`, `no answer`, `turn limit` end the episode.
    """

    text: str
    image: Image | None
    done: bool
    why: str


@dataclass(frozen=True)
class Turn:
    """A completion, the call in it, and what it led to."""

    completion: str
    call: Call | None
    observation: Observation


class Episode:
    """The loop over one image. `messages` and `images` are what a model is asked next; `images`
    begins with the sample's file, and crops follow in the order of their IMAGE_TAGs.

    Raises ImageError if the image cannot be read.
    """

    def __init__(self, image: Path, limits: RolloutConfig, provider: SearchProvider) -> None:
        self.image = image
        self._limits = limits
        self._provider = provider
        with open_image(image) as opened:
            self._shown = shown_size(opened.size)
        self.messages = opening(self._shown)
        self.images: list[Path | Image] = [image]
        self.turns: list[Turn] = []
        self.crops = 0
        self.searches = 0

    @property
    def done(self) -> bool:
        return bool(self.turns) and self.turns[-1].observation.done

    @property
    def why(self) -> str | None:
        """How it ended; None before that."""
        return self.turns[-1].observation.why if self.done else None

    async def step(self, completion: str) -> Observation:
        """Take the model's completion and run the call in it, if there is one that may be.

        What a model does wrong is told in the observation. SearchUnavailable if the search service
        is away, UsageError if it refuses us, ImageError if the image cannot be decoded: the episode
        is then as it was before, and has no result.
        """
        if self.done:
            raise RuntimeError(f"{self.image}: the episode is over")
        call = read_call(completion)
        last = len(self.turns) + 1 >= self._limits.turns
        if call is None or last:
            observation = Observation("", None, True, _ending(completion, call))
        elif isinstance(call, Malformed):
            observation = self._refusal(call.why, "malformed")
        elif call.name == ZOOM:
            observation = await self._zoom(call)
        else:
            observation = await self._search(call)
        self._take(completion, call if isinstance(call, Call) else None, observation)
        return observation

    async def _zoom(self, call: Call) -> Observation:
        if self.crops >= self._limits.crops:
            return self._refusal("all crops of this image are used", "no crops left")
        loop = asyncio.get_running_loop()
        try:
            box = call.arguments["bbox_2d"]
            crop = await loop.run_in_executor(_CROPPING, _crop, self.image, box)
        except BoxError as error:
            width, height = self._shown
            return self._refusal(f"{error}; the image has {width} × {height} pixels", "box")
        self.crops += 1
        shown = _echo(call.arguments)
        text = (
            f"For the image, you have zoomed in on the following area: {shown}, and the cropped "
            f"image is as follows:{IMAGE_TAG}"
        )
        return self._observation(text, "zoom", crop)

    async def _search(self, call: Call) -> Observation:
        if self.searches >= self._limits.searches:
            return self._refusal("all searches for this image are used", "no searches left")
        query = call.arguments["query"]
        found = await self._provider.asearch(query, limit=self._limits.results)
        self.searches += 1
        results = [_as_shown(result) for result in found]
        shown = json.dumps(results, ensure_ascii=False, indent=2) if results else "no results"
        text = f"For {_echo(call.arguments)}, the search results are as follows:\n{shown}"
        return self._observation(text, "search")

    def _refusal(self, reason: str, why: str) -> Observation:
        return self._observation(f"Tool call error: {reason}", why)

    def _observation(self, output: str, why: str, image: Image | None = None) -> Observation:
        """A tool's output as a message, with what the model has to be told at this turn."""
        lines = [f"<tool_response>{output}</tool_response>"]
        left = self._limits.turns - len(self.turns) - 1
        if left == 1:
            lines.append(MUST_ANSWER)
        elif left == 2 and not self.searches and self._limits.searches:
            lines.append(NUDGE)
        return Observation("\n".join(lines), image, False, why)

    def _take(self, completion: str, call: Call | None, observation: Observation) -> None:
        self.turns.append(Turn(completion, call, observation))
        self.messages.append({"role": "assistant", "content": completion})
        if not observation.done:
            self.messages.append({"role": "user", "content": observation.text})
        if observation.image is not None:
            self.images.append(observation.image)

    def trace(self, crops: Sequence[str] = ()) -> dict[str, Any]:
        """The episode as JSON; `crops` are the names of the crops' files, in order."""
        names = iter(crops)
        return {
            "image": str(self.image),
            "why": self.why,
            "crops": self.crops,
            "searches": self.searches,
            "answer": parse(self.turns[-1].completion).answer if self.done else None,
            "turns": [_turn(turn, names) for turn in self.turns],
        }


def opening(size: tuple[int, int]) -> list[dict[str, str]]:
    """The messages that an episode begins with, for an image of that `shown_size`."""
    width, height = size
    question = f"{IMAGE_TAG}{QUESTION} The image has {width} × {height} pixels."
    return [
        {"role": "system", "content": system_prompt()},
        {"role": "user", "content": question},
    ]


def depends_on(rollout: RolloutConfig) -> dict[str, Any]:
    """The settings that an episode depends on, beside the model's; how searches are paced, kept
    and recorded changes nothing in it."""
    limits = {name: getattr(rollout, name) for name in ("turns", "crops", "searches", "results")}
    searches = ("provider", "url", "documents", "replay")
    return limits | {name: getattr(rollout.search, name) for name in searches}


def most_told(limits: RolloutConfig) -> int:
    """Characters that an episode tells a model at most: the opening, what tools give, hints."""
    begin = sum(len(message["content"]) for message in opening((9999, 9999)))
    results = limits.results * (_TITLE + _SNIPPET + _URL + _FRAME)
    turn = _QUERY + _FRAME + len(NUDGE) + len(MUST_ANSWER)
    return begin + limits.searches * results + limits.turns * turn


async def play(
    episode: Episode,
    reply: Callable[[Episode], Any],
    watch: Callable[[Episode], None] = lambda episode: None,
) -> None:
    """Step an episode to its end with an asynchronous policy, such as a chat server: `reply` is
    awaited for each completion. `watch` is called after each turn. Raises what `step` raises."""
    while not episode.done:
        await episode.step(await reply(episode))
        watch(episode)


def play_together(
    episodes: Sequence[Episode],
    complete: Callable[[Sequence[Episode]], Sequence[str]],
    watch: Callable[[Episode], None] = lambda episode: None,
) -> None:
    """Step episodes to their ends with a policy that completes a batch at a time.

    All episodes take a turn, then all their tools run at the same time: so the same batches are
    made every time, and results can be repeated. Raises what `step` raises.
    """

    async def rounds() -> None:
        while live := [episode for episode in episodes if not episode.done]:
            completions = complete(live)
            await asyncio.gather(
                *(episode.step(text) for episode, text in zip(live, completions, strict=True))
            )
            for episode in live:
                watch(episode)

    asyncio.run(rounds())


def _ending(completion: str, call: Call | Malformed | None) -> str:
    if parse(completion).answer:
        return "answer"
    return "no answer" if call is None else "turn limit"


def _crop(file: Path, box: Sequence[float]) -> Image:
    """The part of the original image; a box counts pixels of the image as it is shown."""
    with open_image(file) as image:
        return zoom(image, own_box(image.size, box))


def _echo(arguments: Mapping[str, Any]) -> str:
    """A call's arguments as JSON that holds no markup."""
    safe = {
        name: as_data(value, _QUERY) if isinstance(value, str) else value
        for name, value in arguments.items()
    }
    return json.dumps(safe, ensure_ascii=False)


def _as_shown(result: Result) -> dict[str, str]:
    return {
        "title": as_data(result.title, _TITLE),
        "snippet": as_data(result.snippet, _SNIPPET),
        "url": as_data(result.url, _URL),
    }


def _turn(turn: Turn, names: Any) -> dict[str, Any]:
    observation = turn.observation
    call = {"name": turn.call.name, "arguments": dict(turn.call.arguments)} if turn.call else None
    return {
        "completion": turn.completion,
        "thought": parse(turn.completion).think,
        "call": call,
        "why": observation.why,
        "observation": observation.text,
        "crop": next(names, None) if observation.image is not None else None,
    }
