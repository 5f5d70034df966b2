"""make images: what is run, and what is written, with a fake Apptainer."""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from geoagent.errors import UsageError

ROOT = Path(__file__).resolve().parents[3]
FAKE = """#!/bin/sh
# A fake of apptainer: notes what it is asked for and with which environment.
printf "%s\\n" "$*" >> "$PWD/asked"
env > "$PWD/environment"
case $1 in
  build) for last; do target=$previous; previous=$last; done
         test ! -e "$PWD/broken" || exit 255
         echo an image > "$target" ;;
  key) cat "$PWD/keys" 2>/dev/null || true ;;
  sign) test ! -e "$PWD/locked" || exit 1
        echo signed >> "$2" ;;
  exec) cat "$PWD/noise" 2>/dev/null || true
        printf 'libc6\\t2.35-0ubuntu3.10\\tamd64\\ncurl\\t7.81.0\\tamd64\\n' ;;
esac
"""


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small copy of the project, and a fake Apptainer on the path."""
    kept_out = shutil.ignore_patterns("__pycache__")  # another test may be writing there
    shutil.copytree(ROOT / "containers", tmp_path / "containers", ignore=kept_out)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    for name in ("geoagent", "jobs"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("")
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "apptainer").write_text(FAKE)
    (programs / "apptainer").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    return tmp_path


@pytest.fixture
def script(root: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    pytest.importorskip("cyclonedx")
    script = importlib.import_module("build_images")
    monkeypatch.setattr(script, "ROOT", root)
    monkeypatch.setattr(script.os, "geteuid", lambda: 1000)
    monkeypatch.setattr(script, "SUBUID", root / "subuid")
    return script


def _asked(root: Path) -> list[str]:
    file = root / "asked"
    lines = file.read_text().replace(f".{os.getpid()}.", ".PID.").splitlines()
    file.unlink()
    return [line.replace(str(root), "ROOT") for line in lines]


def test_commands(script: ModuleType, root: Path) -> None:
    (root / "subuid").write_text(f"{os.getuid()}:100000:65536\n")
    assert script.main(["train"]) == 0
    assert _asked(root) == [
        "build --fakeroot images/.train.PID.sif containers/train.def",
        "key list --secret",
        "exec --cleanenv --contain ROOT/images/.train.PID.sif dpkg-query -W -f "
        r"${Package}\t${Version}\t${Architecture}\n",
    ]
    script.main(["train", "--force", "--remote", "--build-arg", "FLASH_ATTN=yes"])
    assert _asked(root)[0] == (
        "build --remote --build-arg FLASH_ATTN=yes images/.train.PID.sif containers/train.def"
    )
    (root / "subuid").unlink()
    script.main(["agent"])
    assert _asked(root)[0] == "build images/.agent.PID.sif containers/agent.def"


def test_what_is_written(script: ModuleType, root: Path) -> None:
    script.main([])
    images = root / "images"
    assert {file.name for file in images.iterdir()} == {
        f"{image}.{end}" for image in ("train", "agent") for end in ("sif", "json", "cdx.json")
    }
    content = (images / "train.sif").read_bytes()
    about = json.loads((images / "train.json").read_text())
    lock = (root / "containers" / "train.lock").read_bytes()
    assert about | {"built": "", "sources": ""} == {
        "image": "train",
        "sha256": hashlib.sha256(content).hexdigest(),
        "bytes": len(content),
        "lock": hashlib.sha256(lock).hexdigest(),
        "built": "",
        "signed": False,
        "sources": "",
    }


def test_bill_of_materials(script: ModuleType, root: Path) -> None:
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    script.main(["train"])
    text = (root / "images" / "train.cdx.json").read_text()
    assert JsonStrictValidator(SchemaVersion.V1_5).validate_str(text) is None
    components = {one["purl"]: one for one in json.loads(text)["components"]}
    assert components["pkg:pypi/torch@2.6.0"]["hashes"][0]["alg"] == "SHA-256"
    assert "pkg:deb/ubuntu/libc6@2.35-0ubuntu3.10?arch=amd64" in components
    assert {"pkg:pypi/uv@0.13.8", "pkg:generic/python@3.11.18"} <= components.keys()
    assert any(one.startswith("pkg:pypi/geoagent@") for one in components)
    assert any("models" in one or "minilm" in one.lower() for one in components)
    assert not any("flash-attn" in one for one in components)
    pins = (root / "containers" / "train.lock").read_text().count("==")
    assert len(components) > pins + 4


def test_bill_of_materials_has_what_build_arguments_add(script: ModuleType, root: Path) -> None:
    script.main(["train", "--build-arg", "FLASH_ATTN=yes", "--build-arg", "PYTHON_VERSION=3.11.9"])
    text = (root / "images" / "train.cdx.json").read_text()
    purls = {one["purl"] for one in json.loads(text)["components"]}
    assert {"pkg:pypi/flash-attn@2.7.4.post1", "pkg:generic/python@3.11.9"} <= purls


def test_what_dpkg_prints_besides_is_told_and_left_out(
    script: ModuleType, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / "noise").write_text("a b\n")
    assert script.main(["agent"]) == 0
    assert script.is_current(root / "images", "agent", script.sources_of("agent", []))
    assert "warning: dpkg-query printed 'a b', which is no package" in capsys.readouterr().err


def test_signed_where_there_is_a_key(script: ModuleType, root: Path) -> None:
    (root / "keys").write_text("Private key listing (/x):\n\n0)  User:  A B\n")
    script.main(["agent"])
    assert "sign ROOT/images/.agent.PID.sif" in _asked(root)
    about = json.loads((root / "images" / "agent.json").read_text())
    content = (root / "images" / "agent.sif").read_bytes()
    assert (about["signed"], content.endswith(b"signed\n")) == (True, True)
    assert about["sha256"] == hashlib.sha256(content).hexdigest()


def test_what_cannot_be_signed_is_kept(
    script: ModuleType, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / "keys").write_text("0)  User:  A B\n")
    (root / "locked").touch()
    assert script.main(["agent"]) == 0
    assert json.loads((root / "images" / "agent.json").read_text())["signed"] is False
    assert "warning: not signed: apptainer sign" in capsys.readouterr().err


def test_only_what_changed_is_built(script: ModuleType, root: Path) -> None:
    script.main([])
    _asked(root)
    script.main([])
    assert not (root / "asked").exists()
    (root / "geoagent" / "__pycache__").mkdir()
    (root / "geoagent" / "__pycache__" / "a.pyc").touch()
    script.main([])
    assert not (root / "asked").exists()
    (root / "containers" / "agent.lock").write_text("six==1.17.0 --hash=sha256:00\n")
    script.main([])
    assert [line.split()[-1] for line in _asked(root)[:1]] == ["containers/agent.def"]
    (root / "images" / "train.sif").write_text("cut")
    script.main([])
    assert _asked(root)[0].split()[-1] == "containers/train.def"
    (root / "jobs" / "new.py").touch()
    script.main([])
    assert len([line for line in _asked(root) if line.startswith("build")]) == 2


def test_another_content_of_the_same_size_is_built_again(script: ModuleType, root: Path) -> None:
    script.main(["train"])
    _asked(root)
    image = root / "images" / "train.sif"
    image.write_bytes(image.read_bytes().swapcase())
    script.main(["train"])
    assert _asked(root)[0].startswith("build")


def test_without_its_bill_an_image_is_built_again(script: ModuleType, root: Path) -> None:
    script.main([])
    _asked(root)
    (root / "images" / "agent.cdx.json").unlink()
    script.main([])
    built = [line.split()[-1] for line in _asked(root) if line.startswith("build")]
    assert built == ["containers/agent.def"]


def _file(path: Path) -> None:
    path.write_text("")


def _dangling(path: Path) -> None:
    path.symlink_to("nowhere")


def _folder_in(path: Path) -> None:
    (path / "agent.sif").mkdir(parents=True)


@pytest.mark.parametrize("make", [_file, _dangling, _folder_in])
def test_where_it_goes_is_looked_at_before_the_build(
    script: ModuleType, root: Path, make: Callable[[Path], None]
) -> None:
    make(root / "images")
    with pytest.raises(UsageError, match=r"images.*(folder|written)"):
        script.main([])
    assert not (root / "asked").exists()


def test_a_folder_that_cannot_be_written(
    script: ModuleType, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "images").mkdir()
    monkeypatch.setattr(script.os, "access", lambda _, mode: not mode & os.W_OK)
    with pytest.raises(UsageError, match="images: cannot be written"):
        script.main([])
    assert not (root / "asked").exists()


def test_ctrl_c(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(script, "build", stopped)
    assert script.main([]) == 130
    assert capsys.readouterr().err.startswith("stopped")


def test_a_build_that_fails_leaves_the_image_before(script: ModuleType, root: Path) -> None:
    script.main(["train"])
    before = {file: file.read_bytes() for file in (root / "images").iterdir()}
    (root / "broken").touch()
    with pytest.raises(UsageError, match=r"apptainer build .* failed \(exit code 255\)"):
        script.main(["train", "--force"])
    assert {file: file.read_bytes() for file in (root / "images").iterdir()} == before


def test_secrets_do_not_reach_the_build(
    script: ModuleType, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("https_proxy", "http://proxy:3128")
    script.main(["agent"])
    environment = (root / "environment").read_text()
    assert ("hf_secret" in environment, "https_proxy=http://proxy" in environment) == (False, True)


def test_dry_run_needs_no_apptainer(
    script: ModuleType, root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setenv("PATH", "")
    assert script.main(["--dry-run", "agent"]) == 0
    told, besides = capsys.readouterr()
    assert told == "apptainer build images/agent.sif containers/agent.def\n"
    assert "images/NAME.json" in besides
    assert not (root / "images").exists()


def test_without_apptainer_it_says_what_to_do(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UsageError, match=r"module load apptainer.*install-unprivileged.*copy"):
        script.main([])


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["trian"], "trian: no such image; there are train and agent"),
        (["--build-arg", "TOKEN=1"], "--build-arg TOKEN=1: expected NAME=VALUE, NAME one of BASE_"),
        (["--build-arg", "FLASH_ATTN"], "--build-arg FLASH_ATTN: expected"),
        (["train", "bogus"], "bogus: no such image"),
        (["--build-arg", "FLASH_ATTN=yes"], "of agent.*name the image: train --build-arg FLASH_"),
        (["train", "--build-arg", "FLASH_ATTN=maybe"], "FLASH_ATTN=maybe: expected yes or no"),
        (["--build-arg", "PYTHON_VERSION=2.7"], "PYTHON_VERSION=2.7: expected 3.11.NUMBER"),
        (["--build-arg", "BASE_DIGEST=sha256:zz"], "BASE_DIGEST=sha256:zz: expected sha256:"),
        (["train", "--build-arg", "MAX_JOBS=0"], "MAX_JOBS=0: expected a number"),
        (["--build-arg", "APT_SNAPSHOT=http://x;rm"], "expected an address"),
        (["--build-arg", "UV_WHEEL=uv.whl"], "expected an address"),
    ],
)
@pytest.mark.parametrize("apptainer", [True, False])
def test_bad_input(
    script: ModuleType, root: Path, words: list[str], told: str, apptainer: bool
) -> None:
    if not apptainer:
        (root / "bin" / "apptainer").unlink()
    with pytest.raises(UsageError, match=told):
        script.main(words)
    assert not (root / "asked").exists()


def test_a_definition_without_files(script: ModuleType, root: Path) -> None:
    path = root / "containers" / "agent.def"
    path.write_text("Bootstrap: docker\n%post\n  true\n")
    with pytest.raises(UsageError, match=r"agent\.def: %files is missing; see: make check-images"):
        script.main([])


def test_a_file_to_copy_is_missing(script: ModuleType, root: Path) -> None:
    (root / "LICENSE").unlink()
    with pytest.raises(UsageError, match="LICENSE: not there"):
        script.main([])


def test_root_needs_no_fakeroot(
    script: ModuleType, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(script.os, "geteuid", lambda: 0)
    options = argparse.Namespace(remote=False, build_arg=[])
    command = script.build_command("apptainer", "train", root / "images" / "x.sif", options)
    assert command == ["apptainer", "build", "images/x.sif", "containers/train.def"]
