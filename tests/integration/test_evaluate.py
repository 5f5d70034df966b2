"""Prediction and evaluation with the real Qwen2.5-VL architecture, tiny and random."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from geoagent import cli
from geoagent.config import Config, to_yaml
from geoagent.data.prompt import QUESTION
from geoagent.errors import UsageError
from geoagent.evaluate import __main__ as program
from geoagent.evaluate.models import Candidate
from geoagent.evaluate.predict import VISION_TOKENS, Predictor
from geoagent.files import write_jsonl
from geoagent.run import Run
from geoagent.train.checkpoints import seal
from tests.integration.tiny import tiny

PIXELS = 112 * 112


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of four photographs in `data` and a random model in `model`."""
    from geoagent.train.tiny import build_tiny

    folder = tmp_path_factory.mktemp("evaluate")
    (folder / "data").mkdir()
    rows = []
    for index, color in enumerate(("red", "green", "blue", "gray")):
        # Sizes differ, so that a batch has to be padded.
        Image.new("RGB", (100 + 60 * index, 150), color).save(folder / "data" / f"{color}.jpg")
        rows.append(
            {
                "id": color,
                "image": f"{color}.jpg",
                "latitude": 10.0 * index,
                "longitude": 20.0,
                "country": "Peru",
                "region": "Ancash",
                "city": "Huaraz",
                "split": "heldout",
            }
        )
    write_jsonl(
        folder / "data" / "records.jsonl", [*rows, {**rows[0], "id": "t", "split": "train"}]
    )
    texts = [f"system\nYou are a helpful assistant.\nuser\n{QUESTION}\nassistant\n"] * 20
    build_tiny(folder / "model", tiny(112), texts, seed=1)
    generation = folder / "model" / "generation_config.json"  # published ones ban nothing
    settings = json.loads(generation.read_text())
    del settings["suppress_tokens"]
    generation.write_text(json.dumps(settings))
    return folder


def config_for(folder: Path) -> Config:
    config = Config()
    config.model.kind, config.model.dtype, config.model.max_pixels = "tiny", "float32", PIXELS
    config.model.tiny = tiny(112)
    config.data.name, config.data.path = "test", str(folder / "data")
    config.rewards.weights = dict.fromkeys(config.rewards.weights, 0.0) | {"format": 1.0}
    config.eval.batch_size, config.eval.max_new_tokens = 3, 12
    return config


@pytest.fixture(scope="module")
def predictor(folder: Path) -> Predictor:
    return Predictor(Candidate("base", str(folder / "model")), config_for(folder).model, PIXELS)


@pytest.fixture
def images(folder: Path) -> list[Path]:
    return sorted((folder / "data").glob("*.jpg"))


def test_a_crop_is_where_the_tool_has_put_it(
    images: list[Path], predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not where the model has written a place-holder of its own."""
    asked: list[Any] = []
    said = SimpleNamespace(choices=[SimpleNamespace(message=SimpleNamespace(content="x"))])
    monkeypatch.setattr(
        predictor.engine, "infer", lambda requests, *_, **__: asked.extend(requests) or [said]
    )
    messages = [
        {"role": "user", "content": "<image>Where?"},
        {"role": "assistant", "content": "I see <image> there."},
        {"role": "user", "content": "The crop:<image>"},
    ]
    predictor.reply([(messages, images[:2])], 4)
    template = predictor.engine.template
    row = {"messages": asked[0].messages, "images": asked[0].images}
    text = processor_of(predictor).tokenizer.decode(template.encode(row)["input_ids"])
    assert text.count("<|vision_start|>") == 2
    assert "The crop:<|vision_start|>" in text


def test_the_prompt_is_that_of_training(
    folder: Path, images: list[Path], predictor: Predictor
) -> None:
    """Token by token, against what ms-swift encodes for training and what Qwen documents."""
    from swift.template import get_template
    from transformers import AutoProcessor

    processor = AutoProcessor.from_pretrained(folder / "model")
    chat: list[Any] = [
        {"role": "system", "content": "You are a helpful assistant."},
        {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": QUESTION}]},
    ]
    text = processor.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    assert text.count("<|vision_start|><|image_pad|><|vision_end|>Where was") == 1

    trainer = get_template(processor_of(predictor), template_type="qwen2_5_vl", max_pixels=PIXELS)
    trainer.set_mode("train")
    for image in images:
        question = {"role": "user", "content": f"<image>{QUESTION}"}
        answer = {"role": "assistant", "content": "<think>x</think>"}
        trained = trainer.encode({"messages": [question, answer], "images": [str(image)]})
        asked = predictor.engine.template.encode({"messages": [question], "images": [str(image)]})
        prompt = list(asked["input_ids"])
        assert trained["input_ids"][: len(prompt)] == prompt
        assert (trained["pixel_values"] == asked["pixel_values"]).all()
        patches = prompt.count(processor.tokenizer.convert_tokens_to_ids("<|image_pad|>"))
        assert 1 <= patches <= PIXELS // 28**2
        pads = "<|image_pad|>" * patches
        assert processor.tokenizer.decode(prompt) == text.replace("<|image_pad|>", pads)


def processor_of(predictor: Predictor) -> Any:
    return predictor.engine.template.processor


def test_a_batch_says_what_its_images_say_alone(images: list[Path], predictor: Predictor) -> None:
    together = predictor.complete(images, QUESTION, 12)
    alone = [predictor.complete([image], QUESTION, 12)[0] for image in images]
    assert together == alone


def test_seeds_decide_what_is_sampled(images: list[Path], predictor: Predictor) -> None:
    first, again, other = (
        predictor.complete(images, QUESTION, 12, temperature=1.0, seed=seed) for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other


def test_no_vision_token_is_ever_written(images: list[Path], predictor: Predictor) -> None:
    """The model is made to want nothing else; without the ban its next step would fail."""
    vocabulary = processor_of(predictor).tokenizer.get_vocab()
    wanted = [vocabulary[name] for name in VISION_TOKENS]

    def prefer(module: Any, inputs: Any, logits: Any) -> Any:
        logits[..., wanted] += 1e4
        return logits

    hook = predictor.engine.model.lm_head.register_forward_hook(prefer)
    try:
        texts = predictor.complete(images[:2], QUESTION, 6, temperature=1.0)
    finally:
        hook.remove()
    assert not any(name in text for name in VISION_TOKENS for text in texts)


def make_run(folder: Path, path: Path, config: Config) -> Run:
    """A run whose SFT made a full checkpoint and whose GRPO made adapters."""
    from peft import LoraConfig, get_peft_model
    from transformers import Qwen2_5_VLForConditionalGeneration

    run = Run(path)
    shutil.copytree(folder / "model", run.model)
    full = run.checkpoints("sft") / "checkpoint-2"
    shutil.copytree(folder / "model", full)
    seal(full)
    adapters = run.checkpoints("grpo") / "checkpoint-3"
    model = Qwen2_5_VLForConditionalGeneration.from_pretrained(run.model)
    settings = LoraConfig(target_modules=["q_proj", "v_proj"], r=4, init_lora_weights=False)
    get_peft_model(model, settings).save_pretrained(adapters)
    seal(adapters)
    run.config_file.write_text(to_yaml(config))
    return run


def test_a_run_from_base_to_adapters(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = config_for(folder)
    config.eval.reward_samples = 1
    run = make_run(folder, tmp_path / "run", config)
    assert program.main(["--run", str(run.path)]) == 0
    table = capsys.readouterr().out
    assert [name in table for name in ("uniform guess", "base", "SFT", "GRPO")] == [True] * 4
    output = run.evaluation("heldout")
    result = json.loads((output / "metrics.json").read_text())
    assert {name: figures["count"] for name, figures in result["models"].items()} == {
        "base": 4,
        "sft": 4,
        "grpo": 4,
    }
    assert "sampled_mean_reward" in result["models"]["grpo"]
    rows = [json.loads(line) for line in (output / "predictions.jsonl").read_text().splitlines()]
    said = {
        name: [r["completion"] for r in rows if r["model"] == name] for name in result["models"]
    }
    assert said["base"] == said["sft"]  # the same weights
    assert said["base"] != said["grpo"]  # the adapters do count


def test_locate_from_the_command_line(
    folder: Path, tmp_path: Path, images: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    run = Run(tmp_path)
    shutil.copytree(folder / "model", run.model)
    config = config_for(folder)
    run.config_file.write_text(to_yaml(config))
    (tmp_path / "bad.jpg").write_bytes(images[0].read_bytes()[:300])
    arguments = ["locate", str(tmp_path / "bad.jpg"), str(images[0]), "--run", str(run.path)]
    assert cli.main([*arguments, "--json"]) == 2
    captured = capsys.readouterr()
    assert [json.loads(line)["image"] for line in captured.out.splitlines()] == [str(images[0])]
    assert captured.err.startswith(f"error: {tmp_path / 'bad.jpg'}: ")


@pytest.mark.parametrize("damage", ["cut", "code", "gone"])
def test_models_that_cannot_be_used(folder: Path, tmp_path: Path, damage: str) -> None:
    model = tmp_path / "model"
    shutil.copytree(folder / "model", model)
    if damage == "cut":
        weights = model / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:1000])
    elif damage == "code":
        settings = json.loads((model / "config.json").read_text())
        settings["auto_map"] = {"AutoConfig": "evil.Config"}
        (model / "config.json").write_text(json.dumps(settings))
        (model / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    else:
        shutil.rmtree(model)
    message = "brings its own code" if damage == "code" else "cannot be loaded"
    with pytest.raises(UsageError, match=message) as caught:
        Predictor(Candidate("x", str(model)), config_for(folder).model, PIXELS)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "ran").exists()
