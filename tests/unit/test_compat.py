"""What is mended between package versions that are not both installed here."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

from geoagent import compat
from geoagent.train import tiny


class Template:
    """Stands in for ms-swift's, which takes ten seconds to import."""

    def prepare_generate_kwargs(self, generate_kwargs: dict[str, Any], *, model: Any) -> Any:
        return {**generate_kwargs, "model": model}


@pytest.fixture
def template(monkeypatch: pytest.MonkeyPatch) -> type[Template]:
    module = ModuleType("swift.template.templates.qwen")
    copy = type("Qwen2_5VLTemplate", (Template,), {})
    module.Qwen2_5VLTemplate = copy  # type: ignore[attr-defined]
    for name in ("swift", "swift.template", "swift.template.templates"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return copy


@pytest.mark.parametrize(("version", "kept"), [("4.57.6", False), ("5.19.0", True)])
def test_positions_are_left_to_the_model_before_transformers_5(
    version: str, kept: bool, template: type[Template], monkeypatch: pytest.MonkeyPatch
) -> None:
    installed(version, monkeypatch)
    compat.place_tokens_by_model()
    compat.place_tokens_by_model()  # training and evaluation may both ask for it
    got = template().prepare_generate_kwargs({"position_ids": 1, "input_ids": 2}, model=3)
    assert got == {"input_ids": 2, "model": 3} | ({"position_ids": 1} if kept else {})


def test_rotary_settings_are_the_same_in_both_words(monkeypatch: pytest.MonkeyPatch) -> None:
    installed("4.57.6", monkeypatch)
    old = tiny._rope(10000.0, [4, 6, 6])
    installed("5.19.0", monkeypatch)
    new = tiny._rope(10000.0, [4, 6, 6])["rope_parameters"]
    assert old["rope_theta"] == new["rope_theta"]
    assert old["rope_scaling"]["mrope_section"] == new["mrope_section"]


def test_plugins_that_are_named_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_PLUGINS", "mine")
    compat.leave_out_plugins()
    assert compat.os.environ["VLLM_PLUGINS"] == "mine"
    monkeypatch.delenv("VLLM_PLUGINS")
    compat.leave_out_plugins()
    assert compat.os.environ["VLLM_PLUGINS"] == ""


def installed(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    compat.before_transformers_5.cache_clear()
    monkeypatch.setattr(compat, "version", lambda name: version)


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    yield
    compat.before_transformers_5.cache_clear()
