"""BERTScore and RefCLIPScore against computations of their own, text by text."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from geoagent.errors import UsageError
from geoagent.evaluate.cot.models import BertScore, RefClipScore, fingerprint

from .models import make_bert, make_clip

CANDIDATES = ["the sign is in thai", "red roof", "cars drive on the left so this was thailand"]
REFERENCES = ["a sign in thai letters", "so this photo was taken in thailand"]


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bert(tmp_path_factory.mktemp("models") / "bert")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clip(tmp_path_factory.mktemp("models") / "clip")


@pytest.fixture(scope="module")
def picture() -> Image.Image:
    noise = np.random.default_rng(3).integers(0, 255, (48, 40, 3), dtype=np.uint8)
    return Image.fromarray(noise)


def one_by_one(folder: Path, candidate: str, reference: str) -> float:
    """BERTScore's F1 with loops over tokens, one text at a time (no padding)."""
    import torch
    from transformers import AutoTokenizer, BertModel

    model = BertModel.from_pretrained(str(folder)).eval()
    tokenizer: Any = AutoTokenizer.from_pretrained(str(folder))
    vectors = []
    for text in (candidate, reference):
        with torch.no_grad():
            hidden = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0]
        vectors.append([v.numpy().astype(float) for v in hidden])

    def cosine(a: Any, b: Any) -> float:
        return float(a @ b / np.sqrt((a @ a) * (b @ b)))

    ours, theirs = vectors
    # [CLS] and [SEP], first and last, look for no match, but may be one.
    precision = sum(max(cosine(a, b) for b in theirs) for a in ours[1:-1]) / (len(ours) - 2)
    recall = sum(max(cosine(a, b) for a in ours) for b in theirs[1:-1]) / (len(theirs) - 2)
    return 2 / (1 / precision + 1 / recall)


def test_bert_score_is_that_of_single_texts(bert: Path) -> None:
    scores = BertScore(bert).f1(CANDIDATES, REFERENCES)
    assert scores.shape == (3, 2)
    for row, candidate in zip(scores, CANDIDATES, strict=True):
        expected = [one_by_one(bert, candidate, reference) for reference in REFERENCES]
        assert row.tolist() == pytest.approx(expected, abs=1e-5)


def test_bert_score_of_equal_texts_is_1_and_is_symmetric(bert: Path) -> None:
    scores = BertScore(bert).f1(CANDIDATES, CANDIDATES)
    assert np.diag(scores).tolist() == pytest.approx([1.0] * 3, abs=1e-5)
    assert scores == pytest.approx(scores.T, abs=1e-6)
    assert scores.max() <= 1.0 + 1e-5
    assert scores[0, 1] < 0.99


def test_bert_score_of_nothing_and_of_too_much(bert: Path) -> None:
    scorer = BertScore(bert)
    assert scorer.f1(["", "red roof"], ["red roof"])[:, 0].tolist() == pytest.approx([0.0, 1.0])
    assert scorer.f1([], ["red roof"]).shape == (0, 1)
    long = "thai " * 500
    assert scorer.f1([long], [long])[0, 0] == pytest.approx(1.0, abs=1e-5)


def test_the_layer_is_the_measured_one_or_the_last(bert: Path, tmp_path: Path) -> None:
    assert BertScore(bert).layer == 3
    other = tmp_path / "base"
    shutil.copytree(bert, other)
    config = json.loads((other / "config.json").read_text())
    from transformers import BertConfig, BertModel

    shape = {"num_hidden_layers": 12, "hidden_size": 768, "intermediate_size": 8}
    small = BertConfig(**{**config, **shape, "num_attention_heads": 2})
    BertModel(small).save_pretrained(other)
    assert BertScore(other).layer == 9


def clip_by_hand(
    folder: Path, image: Image.Image, candidate: str, references: list[str]
) -> tuple[float, float]:
    """CLIPScore and RefCLIPScore from the parts of the model, one text at a time."""
    import torch
    from transformers import CLIPModel, CLIPProcessor

    model = CLIPModel.from_pretrained(str(folder)).eval()
    processor: Any = CLIPProcessor.from_pretrained(str(folder))

    def text(value: str) -> Any:
        asked = processor.tokenizer(
            f"A photo depicts {value}", return_tensors="pt", truncation=True, max_length=24
        )
        with torch.no_grad():
            found = model.text_projection(model.text_model(**asked).pooler_output)[0]
        return found.numpy().astype(float)

    with torch.no_grad():
        pixels = processor.image_processor(image, return_tensors="pt")["pixel_values"]
        seen = model.visual_projection(model.vision_model(pixels).pooler_output)[0]
    visible = seen.numpy().astype(float)

    def cosine(a: Any, b: Any) -> float:
        return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))

    own = text(candidate)
    with_image = 2.5 * max(cosine(visible, own), 0.0)
    with_texts = max(max(cosine(own, text(r)) for r in references), 0.0)
    both = with_image + with_texts
    return with_image, 2 * with_image * with_texts / both if both else 0.0


def test_ref_clip_score_is_that_of_single_texts(clip: Path, picture: Image.Image) -> None:
    # Random CLIPs have cosines below 0 as well; both signs are to be there.
    candidates = [*CANDIDATES, *(f"{letter} {letter}{letter}" for letter in "bdfhjkmpqvwxz")]
    expected = [clip_by_hand(clip, picture, c, REFERENCES) for c in candidates]
    assert any(seen == 0 for seen, _ in expected)
    assert any(seen > 0 for seen, _ in expected)
    scores = RefClipScore(clip).score(picture, candidates, REFERENCES)
    assert scores.tolist() == pytest.approx([both for _, both in expected], abs=1e-4)
    assert scores.min() >= 0
    assert scores.max() <= 10 / 7


def test_a_reference_as_candidate_scores_best_of_texts(clip: Path, picture: Image.Image) -> None:
    """cos(c, r) is 1, so what is left is the harmonic mean of CLIPScore and 1."""
    scores = RefClipScore(clip).score(picture, REFERENCES, REFERENCES)
    for score, reference in zip(scores, REFERENCES, strict=True):
        seen, _ = clip_by_hand(clip, picture, reference, REFERENCES)
        assert score == pytest.approx(2 * seen / (1 + seen), abs=1e-4)


def test_texts_longer_than_clip_reads_and_grey_images(clip: Path) -> None:
    scores = RefClipScore(clip).score(Image.new("L", (9, 90)), ["red roof " * 99], ["red"])
    assert np.isfinite(scores).all()


@pytest.mark.parametrize("kind", [BertScore, RefClipScore])
def test_folders_that_are_no_models(kind: Any, tmp_path: Path, bert: Path) -> None:
    with pytest.raises(UsageError, match="no such folder"):
        kind(tmp_path / "none")
    with pytest.raises(UsageError, match="it has no config"):
        kind(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    (tmp_path / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(UsageError, match="pickled weights are not read"):
        kind(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"not one")
    with pytest.raises(UsageError, match=r"cannot be loaded|is no CLIP model"):
        kind(tmp_path)
    (tmp_path / "config.json").write_text('{"auto_map": {"AutoModel": "evil.Model"}}')
    with pytest.raises(UsageError, match="brings its own code"):
        kind(tmp_path)


def test_the_wrong_model(bert: Path, clip: Path) -> None:
    with pytest.raises(UsageError, match="is no CLIP model"):
        RefClipScore(bert)
    with pytest.raises(UsageError, match="is no text encoder"):
        BertScore(clip)


def test_weights_that_are_not_there_are_not_drawn(bert: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    other = tmp_path / "holes"
    shutil.copytree(bert, other)
    weights = load_file(other / "model.safetensors")
    del weights["encoder.layer.1.output.dense.weight"]
    save_file(weights, other / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UsageError, match=r"lack 1 tensors.*layer.1.output"):
        BertScore(other)


def test_fingerprints_differ(bert: Path, clip: Path, tmp_path: Path) -> None:
    assert fingerprint(bert) != fingerprint(clip)
    shutil.copytree(bert, tmp_path / "copy")
    assert fingerprint(tmp_path / "copy") == fingerprint(bert)
