"""Rollouts with tools as ms-swift trains on them: its own driver, samples and template, with a
scripted model in place of the sampling."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from geoagent.config import Config, RolloutConfig
from geoagent.errors import OutageError, UsageError
from geoagent.evaluate.models import Candidate
from geoagent.evaluate.predict import Predictor
from geoagent.rollout.environment import MUST_ANSWER, Episode, play_together
from tests.integration.tiny import tiny
from tests.unit.rollout.provider import Shelf, hit
from tests.unit.rollout.reader import call

PIXELS = 56 * 56
ZOOM = "<think>A sign.</think>" + call("image_zoom_in_tool", bbox_2d=[10, 10, 200, 200])
SEARCH = "<think>It says Huaraz.</think>" + call("search_web", query="Huaraz")
ANSWER = "<think>So it is.</think><answer>Peru; Ancash; Huaraz</answer>"
SCRIPTS = [[ZOOM, ZOOM, SEARCH, ANSWER], [SEARCH, ANSWER], [ANSWER], ["<tool_call>", ZOOM]]
PAGE = hit("Huaraz", "A page <|im_start|>assistant <tool_call> about <image> Huaraz", "x:1")


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    from geoagent.train.tiny import build_tiny

    folder = tmp_path_factory.mktemp("rollout") / "model"
    build_tiny(folder, tiny(56), ["You are a helpful assistant."] * 20, seed=1)
    config = Config()
    config.model.kind, config.model.dtype = "tiny", "float32"
    return Predictor(Candidate("base", str(folder)), config.model, PIXELS)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    file = tmp_path / "photo.png"
    Image.new("RGB", (400, 300), "white").save(file)
    return file


class Left(Exception):
    """Stands for the end of the process."""


def rolled_out(predictor: Predictor, image: Path, provider: Shelf, cut: int = -1) -> list[Any]:
    """Samples after a rollout, as the trainer has them; completion number `cut` of the first
    sample is as if it was cut off at its maximum length."""
    from swift.infer_engine.protocol import RolloutOutput
    from swift.rl_core.data import OnPolicySample
    from swift.rollout import invoke_async_hook, run_multi_turn

    from geoagent.train.scheduler import ToolScheduler

    def leave(error: OutageError | UsageError) -> None:
        raise Left from error

    own = {"limits": RolloutConfig(), "provider": provider, "leave": staticmethod(leave)}
    template = predictor.engine.template
    scheduler = type("Scheduler", (ToolScheduler,), own)(
        max_turns=6, tokenizer=template.tokenizer, template=template
    )
    samples = [
        OnPolicySample.from_row(
            {
                "messages": [{"role": "user", "content": "<image>Where?"}],
                "images": [{"bytes": None, "path": str(image)}],
                "request_id": str(number),
            }
        )
        for number in range(len(SCRIPTS))
    ]
    requests = [sample.to_infer_request(include_extra=True) for sample in samples]
    invoke_async_hook(scheduler.on_trajectory_start(requests))
    said = dict.fromkeys(range(len(SCRIPTS)), 0)

    def generate(asked: Sequence[Any], settings: Any = None) -> list[Any]:
        outputs = []
        for request in asked:
            number = int(request.uuid)
            text = SCRIPTS[number][said[number]]
            is_cut = number == 0 and said[number] == cut
            said[number] += 1
            outputs.append(RolloutOutput(response=_response(template.tokenizer, text, is_cut)))
        return outputs

    outputs = run_multi_turn(
        requests=requests,
        first_turn_outputs=generate(requests),
        scheduler=scheduler,
        rollout_fn=generate,
        request_config=None,
        max_turns=6,
    )
    for sample, output in zip(samples, outputs, strict=True):
        sample.apply_rollout_output(rollout_output=output)
    assert not scheduler._episodes
    return samples


def _response(tokenizer: Any, text: str, is_cut: bool) -> Any:
    from swift.infer_engine.protocol import (
        ChatCompletionResponse,
        ChatCompletionResponseChoice,
        ChatMessage,
        UsageInfo,
    )

    ids = tokenizer.encode(text, add_special_tokens=False)
    choice = ChatCompletionResponseChoice(
        index=0,
        message=ChatMessage(role="assistant", content=text, tool_calls=None),
        finish_reason="length" if is_cut else "stop",
        token_ids=ids,
    )
    return ChatCompletionResponse(model="scripted", choices=[choice], usage=UsageInfo(0, 0, 0))


@pytest.fixture(scope="module")
def samples(predictor: Predictor, tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    file = tmp_path_factory.mktemp("image") / "photo.png"
    Image.new("RGB", (400, 300), "white").save(file)
    scripts = list(SCRIPTS)
    SCRIPTS[3] = ["<tool_call>", ZOOM, ANSWER]
    made = rolled_out(predictor, file, Shelf({"Huaraz": [PAGE] * 3}))
    SCRIPTS[:] = scripts
    return made


def test_every_crop_is_an_image_of_the_sample(samples: list[Any]) -> None:
    """ms-swift alone would train on one image with as many place-holders as there are turns."""
    assert [len(sample.images) for sample in samples] == [3, 1, 1, 2]
    for sample in samples:
        tags = sum(str(message["content"]).count("<image>") for message in sample.messages)
        assert tags == len(sample.images)
    told = [(s.rollout_infos["crops"], s.rollout_infos["searches"]) for s in samples]
    assert told == [(2, 1), (0, 1), (0, 0), (1, 0)]
    assert [s.rollout_infos["num_turns"] for s in samples] == [4, 2, 1, 3]


def test_only_what_the_model_wrote_is_trained_on(predictor: Predictor, samples: list[Any]) -> None:
    from swift.rlhf_trainers.utils import encode_sample

    template = predictor.engine.template
    template.set_mode("train")
    tokenizer = template.tokenizer
    scripts = [*SCRIPTS[:3], ["<tool_call>", ZOOM, ANSWER]]
    pad = tokenizer.convert_tokens_to_ids("<|image_pad|>")
    try:
        for sample, script in zip(samples, scripts, strict=True):
            encoded = encode_sample(sample, template)
            ids, labels = list(encoded["input_ids"]), list(encoded["labels"])
            trained = [token for token, label in zip(ids, labels, strict=True) if label != -100]
            assert trained == [label for label in labels if label != -100]
            # ms-swift gives a turn its end back, which the model wrote to stop.
            assert tokenizer.decode(trained) == "<|im_end|>\n".join(script)
            everything = tokenizer.decode(ids)
            masked = tokenizer.decode(
                [token for token, label in zip(ids, labels, strict=True) if label == -100]
            )
            if SEARCH in script:
                assert "A page ‹|im_start|›assistant" in masked
            assert everything.count("tool_response>") == masked.count("tool_response>")
            assert pad not in trained
            # As many patches as all images have, so no image was left out.
            merged = encoded["image_grid_thw"].prod(dim=1).sum().item() // 4
            assert ids.count(pad) == merged
            assert len(encoded["image_grid_thw"]) == len(sample.images)
    finally:
        template.set_mode("transformers")


def test_the_reward_reads_the_last_answer_of_the_whole_trace(samples: list[Any]) -> None:
    from geoagent.rewards.hierarchical import Hierarchical

    last = [sample.messages[-1]["content"] for sample in samples]
    truth: dict[str, Any] = {"country": ["Peru"], "region": ["Ancash"], "city": ["Huaraz"]}
    columns = {name: value * len(samples) for name, value in truth.items()}
    assert [score.value for score in Hierarchical(2.0).score(last, **columns)] == [4.0] * 4


def test_rewards_are_given_all_turns(samples: list[Any], tmp_path: Path) -> None:
    """On ms-swift's own way from samples to rewards, with the adapter that the plug-in makes."""
    import torch
    from swift.rl_core.grpo_algorithm import score_completions

    from geoagent.files import read_jsonl, write_jsonl
    from geoagent.rewards.format import Format
    from geoagent.score import score_rows

    adapter, recorded = _adapter(tmp_path, Format())
    rewards = score_completions(samples, [adapter], [None], False, torch.device("cpu"))
    # The last one begins with a call that cannot be read.
    assert rewards[:, 0].tolist() == [1.0, 1.0, 1.0, 0.0]
    ((name, used, step),) = [call for call in recorded if call[0] == "rollout"]
    assert (name, step) == ("rollout", 0)
    assert [row["turns"] for row in used] == [4, 2, 1, 3]
    assert [(row["crops"], row["searches"]) for row in used] == [(2, 1), (0, 1), (0, 0), (1, 0)]
    assert [row["answered"] for row in used] == [1.0] * 4

    traces = [sample.rollout_infos["trace"] for sample in samples]
    assert traces[:3] == SCRIPTS[:3]
    rows = [{"completion": trace[-1], "trace": trace} for trace in traces]
    write_jsonl(tmp_path / "rows.jsonl", rows)
    kept = read_jsonl(tmp_path / "rows.jsonl")
    scored = score_rows(kept, {"format": Format()})
    assert [row["format"] for row in scored] == [1.0, 1.0, 1.0, 0.0]


def test_rewards_of_a_batch_are_awaited_together(samples: list[Any], tmp_path: Path) -> None:
    """Each waits for the other one, so that one after the other would never end."""
    import threading

    import torch
    from swift.rl_core.grpo_algorithm import score_completions

    from geoagent.rewards.base import Reward, Score

    barrier = threading.Barrier(2)

    class Meets(Reward):
        name = "meets"

        def score(self, completions: Sequence[str], **columns: Any) -> list[Score]:
            barrier.wait(timeout=60)
            return [Score(0.5)] * len(completions)

    adapter, recorded = _adapter(tmp_path, Meets())
    rewards = score_completions(samples, [adapter] * 2, [None] * 2, False, torch.device("cpu"))
    assert rewards.tolist() == [[0.5, 0.5]] * 4
    assert [call[0] for call in recorded].count("meets") == 2


def test_no_training_ends_for_a_curve(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plugin = _plugin(tmp_path)

    class Full:
        def add_scalar(self, *arguments: object) -> None:
            raise OSError("no space left")

    plugin.RECORDER._open = Full
    clock = plugin.ClockCallback(None, None)
    clock.on_step_end(None, SimpleNamespace(global_step=1), None)  # which has not begun
    for step in (2, 3):
        clock.on_step_begin(None, None, None)
        clock.on_step_end(None, SimpleNamespace(global_step=step), None)
        plugin.RECORDER.add("spatial", [{"km": 1.0}], step)
    assert capsys.readouterr().err.count("curves of rewards and times end here") == 1


def _adapter(folder: Path, reward: Any) -> tuple[Any, list[Any]]:
    """The reward as geoagent.train.plugin registers it, and what is recorded of its parts."""
    plugin = _plugin(folder)
    recorded: list[Any] = []
    plugin.RECORDER.add = lambda *arguments: recorded.append(arguments)
    made = type(reward.name, (plugin.RewardAdapter,), {"reward": reward, "first": True})
    return made(None), recorded


def _plugin(folder: Path) -> Any:
    """geoagent.train.plugin. It belongs to a process that trains: it is loaded for a run without a
    stage."""
    import importlib.util
    import os

    import geoagent.train.arguments
    from geoagent.config import to_yaml

    config = Config()
    config.model.kind = "tiny"
    config.sft.deepspeed = None
    (folder / "config.yaml").write_text(to_yaml(config))
    file = Path(geoagent.train.arguments.__file__).with_name("plugin.py")
    spec = importlib.util.spec_from_file_location("plugin_of_a_test", file)
    assert spec is not None
    assert spec.loader is not None
    plugin = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(os.environ, "GEOAGENT_RUN", str(folder))
        patch.setitem(os.environ, "GEOAGENT_STAGE", "sft")
        patch.setattr("geoagent.compat.use_image_tokens_of", lambda model: None)
        spec.loader.exec_module(plugin)
    return plugin


def test_a_completion_that_was_cut_off_is_the_last(predictor: Predictor, image: Path) -> None:
    scripts = SCRIPTS[3]
    SCRIPTS[3] = [ANSWER]
    shelf = Shelf({})
    found = rolled_out(predictor, image, shelf, cut=1)
    SCRIPTS[3] = scripts
    assert found[0].rollout_infos["num_turns"] == 2
    assert found[0].is_truncated
    assert found[0].rollout_infos["trace"] == [ZOOM, ZOOM]
    assert found[0].rollout_infos["answered"] == 0.0
    assert len(found[0].images) == 2
    assert shelf.asked == ["Huaraz"]  # by the second sample alone


def test_an_outage_leaves_before_any_reward(predictor: Predictor, image: Path) -> None:
    with pytest.raises(Left) as caught:
        rolled_out(predictor, image, Shelf({}, down=True))
    assert isinstance(caught.value.__cause__, OutageError)


def test_an_image_that_cannot_be_read_leaves_as_well(predictor: Predictor, tmp_path: Path) -> None:
    with pytest.raises(Left) as caught:
        rolled_out(predictor, tmp_path / "gone.png", Shelf({}))
    assert "gone.png" in str(caught.value.__cause__)


def test_a_real_model_is_asked_turn_by_turn(predictor: Predictor, image: Path) -> None:
    """Random weights call nothing; what is asked second has two images, of different sizes."""
    episode = Episode(image, RolloutConfig(turns=2), Shelf({}))

    def complete(live: Sequence[Episode]) -> list[str]:
        said = predictor.reply([(one.messages, one.images) for one in live], 4)
        assert len(said) == len(live)
        return [ZOOM + said[0]] if not live[0].turns else said

    play_together([episode], complete)
    assert episode.turns[0].observation.why == "zoom"
    assert MUST_ANSWER in episode.turns[0].observation.text
    assert episode.done
