"""The models that compare steps: a BERT for texts, a CLIP for texts with an image.

Both come from folders on this machine. Nothing is fetched, and only safetensors are read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from geoagent.errors import UsageError
from geoagent.files import read_json
from geoagent.modelfolder import refuse_code, stay_offline

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image
    from torch import Tensor

    Scores = NDArray[np.float64]

_BATCH: Final = 64
CLIP_WEIGHT: Final = 2.5
"""w of CLIPScore (Hessel et al. 2021, §3): stretches cosines, which are seldom above 0.4."""
_PROMPT: Final = "A photo depicts "
"""What CLIPScore's candidates and references begin with (ibid., §3)."""
_BEST_LAYER: Final = {
    ("bert", 12, 768): 9,
    ("bert", 24, 1024): 18,
    ("roberta", 12, 768): 10,
    ("roberta", 24, 1024): 17,
    ("xlm-roberta", 12, 768): 9,
    ("xlm-roberta", 24, 1024): 17,
    ("distilbert", 6, 768): 5,
}
"""Layer whose embeddings agree best with people, by architecture, layers and width (bert-score
0.3.13, which measured them on WMT16)."""


class BertScore:
    """BERTScore F1 (Zhang et al. 2020, eq. 1, without idf weights and rescaling)."""

    def __init__(self, folder: Path) -> None:
        config = _check("--bert", folder)
        self._device = _prepare()
        from transformers import AutoModel, AutoTokenizer

        self._tokenizer: Any = _load("--bert", folder, AutoTokenizer)
        self._model = _load_model("--bert", folder, AutoModel).to(self._device)
        known = self._model.config
        layers = getattr(known, "num_hidden_layers", None)
        positions = getattr(known, "max_position_embeddings", None)
        if layers is None or positions is None:
            raise UsageError(f"--bert: {folder}: is no text encoder ({config.get('model_type')})")
        key = known.model_type, layers, known.hidden_size
        self.layer = _BEST_LAYER.get(key, layers)
        """Whose embeddings are compared; the last where the best one is not known."""
        # RoBERTa's positions begin after its padding id.
        self._limit = min(self._tokenizer.model_max_length, positions - 2)

    def f1(self, candidates: Sequence[str], references: Sequence[str]) -> Scores:
        """F1 of each of (C,) candidates with each of (R,) references, (C, R), 0 to 1: 1 for equal
        texts; 0 without tokens, or where precision or recall is negative. Texts longer than the
        model can read are cut."""
        import numpy as np

        texts = list(dict.fromkeys((*candidates, *references)))
        known = dict(zip(texts, self._embed(texts), strict=True))
        scores = [[_f1(known[c], known[r]) for r in references] for c in candidates]
        return np.array(scores, dtype=float).reshape(len(candidates), len(references))

    def _embed(self, texts: Sequence[str]) -> Iterator[tuple[Tensor, Tensor]]:
        """Of each text the unit vectors of its tokens, (tokens, width), and which of them are its
        own and not [CLS] or [SEP], (tokens,)."""
        import torch

        for start in range(0, len(texts), _BATCH):
            batch = self._tokenizer(
                list(texts[start : start + _BATCH]),
                return_tensors="pt",
                return_special_tokens_mask=True,
                padding=True,
                truncation=True,
                max_length=self._limit,
            ).to(self._device)
            special = batch.pop("special_tokens_mask").bool()
            with torch.inference_mode():
                hidden = self._model(**batch, output_hidden_states=True).hidden_states[self.layer]
            real = batch["attention_mask"].bool().cpu()
            own = real & ~special.cpu()
            units = torch.nn.functional.normalize(hidden.float(), dim=-1).cpu()
            for vectors, is_real, is_own in zip(units, real, own, strict=True):
                yield vectors[is_real], is_own[is_real]


def _f1(candidate: tuple[Tensor, Tensor], reference: tuple[Tensor, Tensor]) -> float:
    """Each token of its own is matched with the most similar one of the other text, which may
    be [CLS] or [SEP] (as in bert-score, whose figures are the published ones)."""
    (ours, own), (theirs, their_own) = candidate, reference
    if not own.any() or not their_own.any():
        return 0.0
    similarity = ours @ theirs.T
    precision = float(similarity[own].max(dim=1).values.mean())
    recall = float(similarity[:, their_own].max(dim=0).values.mean())
    if min(precision, recall) <= 0:
        return 0.0
    return 2 * precision * recall / (precision + recall)


class RefClipScore:
    """RefCLIPScore (Hessel et al. 2021, §3): the harmonic mean of 2.5 · max(cos(image, c), 0) and
    max(max over references r of cos(c, r), 0)."""

    def __init__(self, folder: Path) -> None:
        if (kind := _check("--clip", folder).get("model_type")) != "clip":
            raise UsageError(f"--clip: {folder}: is no CLIP model (model_type: {kind})")
        self._device = _prepare()
        from transformers import CLIPModel, CLIPProcessor

        self._processor: Any = _load("--clip", folder, CLIPProcessor)
        self._model = _load_model("--clip", folder, CLIPModel).to(self._device)

    def score(self, image: Image, candidates: Sequence[str], references: Sequence[str]) -> Scores:
        """Of each of (C,) candidates, with (R,) references, R > 0; (C,), from 0 to 10/7, in
        practice below 1. Texts are cut after what CLIP can read (77 tokens)."""
        import torch

        texts = [_PROMPT + text for text in (*candidates, *references)]
        inputs = self._processor(
            text=texts,
            images=image.convert("RGB"),
            return_tensors="pt",
            padding=True,
            truncation=True,
            max_length=self._model.config.text_config.max_position_embeddings,
        ).to(self._device)
        with torch.inference_mode():
            read = self._model(**inputs)
            units = torch.nn.functional.normalize(read.text_embeds.float(), dim=-1)
            seen = torch.nn.functional.normalize(read.image_embeds.float(), dim=-1)[0]
            own, others = units[: len(candidates)], units[len(candidates) :]
            with_image = CLIP_WEIGHT * (own @ seen).clamp(min=0).double()
            with_texts = (own @ others.T).max(dim=1).values.clamp(min=0).double()
            total = (with_image + with_texts).clamp(min=1e-12)
            scores: Scores = (2 * with_image * with_texts / total).cpu().numpy()
        return scores


def fingerprint(folder: Path) -> str:
    """A short name for a model folder: its configuration, and its weights' names and sizes."""
    read = hashlib.sha256()
    for path in sorted(folder.glob("*.json")):
        read.update(path.name.encode() + path.read_bytes())
    for path in sorted(folder.glob("*.safetensors")):
        read.update(f"{path.name} {path.stat().st_size}".encode())
    return read.hexdigest()[:16]


def _check(key: str, folder: Path) -> dict[str, Any]:
    """The configuration of a model folder that may be loaded."""
    if not folder.is_dir():
        raise UsageError(f"{key}: {folder}: there is no such folder; models are not fetched")
    if not (folder / "config.json").is_file():
        raise UsageError(f"{key}: {folder}: not a model folder (it has no config.json)")
    if not any(folder.glob("*.safetensors")):
        raise UsageError(f"{key}: {folder}: has no *.safetensors, and pickled weights are not read")
    refuse_code(str(folder))
    config = read_json(folder / "config.json")
    if not isinstance(config, dict):
        raise UsageError(f"{folder / 'config.json'}: not a JSON object")
    return config


def _prepare() -> str:
    """Make `import transformers` work; the device that models run on."""
    from geoagent.compat import prepare_torch

    stay_offline()
    prepare_torch()
    import torch
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()  # it tells of heads that a checkpoint has and we don't need
    return "cuda" if torch.cuda.is_available() else "cpu"


def _load_model(key: str, folder: Path, kind: Any) -> Any:
    """UsageError also if weights are missing: they would be drawn at random."""
    model, info = _load(key, folder, kind, use_safetensors=True, output_loading_info=True)
    missing = sorted(name for name in info["missing_keys"] if "pooler" not in name)  # not used
    if missing:
        raise UsageError(
            f"{key}: {folder}: its weights lack {len(missing)} tensors of a {type(model).__name__} "
            f"({missing[0]}, …)"
        )
    return model.eval()


def _load(key: str, folder: Path, kind: Any, **how: Any) -> Any:
    """The model or tokenizer of a folder; UsageError if it cannot be loaded."""
    from safetensors import SafetensorError

    try:
        return kind.from_pretrained(str(folder), local_files_only=True, **how)
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UsageError(f"{key}: {folder}: cannot be loaded ({first[:200]})") from error
