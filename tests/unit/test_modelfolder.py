"""Where models may come from."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from geoagent import modelfolder
from geoagent.config import resolve
from geoagent.errors import UsageError
from geoagent.modelfolder import check_model, local_folder, stay_offline
from geoagent.run import Run
from geoagent.train.arguments import base_model

NAME = "Qwen/Qwen2.5-VL-7B-Instruct"


def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: str = "{}") -> Path:
    """A hub cache with one model in it, as huggingface_hub lays it out."""
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    model = tmp_path / f"models--{NAME.replace('/', '--')}"
    snapshot = model / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (model / "refs").mkdir()
    (model / "refs" / "main").write_text("abc")
    (snapshot / "config.json").write_text(config)
    return snapshot


@pytest.mark.parametrize("model", ["/no/such", "./no", "~/no", "gpt2", "a/b/c"])
def test_what_is_no_folder_and_no_name(model: str) -> None:
    with pytest.raises(UsageError, match=r"^model\.path: .*: there is no such folder$"):
        check_model("model.path", model)


def test_names_are_refused_unless_they_may_be_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    with pytest.raises(UsageError, match=r"jobs fetch nothing; .* set model.path=DIR"):
        check_model("model.path", NAME)
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    check_model("model.path", NAME)


def test_folders(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a model folder"):
        check_model("model.path", str(tmp_path))
    (tmp_path / "config.json").write_text("{}")
    check_model("model.path", str(tmp_path))


def test_a_cached_model_is_used_from_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = cached(tmp_path, monkeypatch)
    check_model("model.path", NAME)
    assert local_folder(NAME) == snapshot
    assert base_model(resolve(["recipe=geoagent"]), Run(tmp_path)) == str(snapshot)


def test_a_cached_model_may_not_bring_code_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached(tmp_path, monkeypatch, '{"auto_map": {"AutoModel": "evil.Model"}}')
    with pytest.raises(UsageError, match="brings its own code"):
        base_model(resolve(["recipe=geoagent"]), Run(tmp_path))


def test_ms_swift_asks_hugging_face_and_only_if_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in modelfolder.OFFLINE:
        monkeypatch.delenv(name, raising=False)
    stay_offline()
    assert (os.environ["HF_HUB_OFFLINE"], os.environ["USE_HF"]) == ("1", "1")
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    stay_offline()
    assert os.environ["HF_HUB_OFFLINE"] == "0"
