"""make bundle: what is packed, what is refused, and that the other side can install it."""

from __future__ import annotations

import errno
import hashlib
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

from geoagent.errors import UsageError
from geoagent.geo import gazetteer as gazetteer_module
from geoagent.geo.gazetteer import gazetteer_file
from geoagent.rollout import offline
from geoagent.rollout.offline import index_file

ROOT = Path(__file__).resolve().parents[3]


def _wheel(folder: Path, name: str) -> str:
    """A wheel that installs an empty module; its requirement with a hash."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}-1.0-py3-none-any.whl"
    about = f"{name}-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}.py", "")
        archive.writestr(
            f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"
        )
        archive.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr(f"{about}/RECORD", "")
    return f"{name}==1.0 --hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}\n"


def _git(folder: Path, *words: str) -> None:
    git = ["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run([*git, *words], check=True)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small project under git, whose locks name wheels in a folder instead of an index."""
    root = tmp_path / "project"
    for folder in ("containers", "requirements", "scripts", "docs/how-to"):
        (root / folder).mkdir(parents=True)
    shutil.copy(ROOT / "scripts" / "bundle_install.sh", root / "scripts")
    (root / "scripts" / "setup.sh").write_text("")
    (root / "docs" / "how-to" / "offline.md").write_text("# How\n")
    (root / "Makefile").write_text("")
    index = tmp_path / "index"
    (root / "containers" / "build.lock").write_text(_wheel(index, "builder"))
    (root / "containers" / "models.lock").write_text(_wheel(index, "carrier"))
    locked = _wheel(index, "first")
    unlocked = _wheel(index, "second").split()[0]
    (root / "requirements" / "embedded.txt").write_text(f"{locked}{unlocked}\n")
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "All"]):
        _git(root, *command)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    return root


@pytest.fixture
def script(root: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script, for that project, with databases of a few bytes."""
    script = importlib.import_module("bundle")
    parts = []
    for name in ("gazetteer", "search"):
        file = root.parent / f"{name}-v1.sqlite"
        file.write_text("places")
        parts.append(script.Part(name, {f"{name}/{file.name}": file}))
    monkeypatch.setattr(script, "ROOT", root)
    monkeypatch.setattr(script, "_databases", lambda dry_run: parts)
    return script


@pytest.fixture
def out(root: Path) -> Path:
    return root.parent / "out"


def _image(folder: Path, name: str, **about: object) -> None:
    """What `make images` leaves of an image, here of a few bytes."""
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.sif").write_text(name)
    digest = hashlib.sha256(name.encode()).hexdigest()
    described = {"image": name, "sha256": digest, "bytes": len(name), **about}
    (folder / f"{name}.json").write_text(json.dumps(described))
    (folder / f"{name}.cdx.json").write_text("{}")


def _sums(out: Path) -> dict[str, str]:
    lines = (out / "SHA256SUMS").read_text().splitlines()
    return {name: digest for digest, name in (line.split("  ") for line in lines)}


def test_everything_is_packed_and_has_a_checksum(script: ModuleType, root: Path, out: Path) -> None:
    images, model, data = root / "images", root.parent / "m", root.parent / "d"
    for folder in (images, model / "deep", data):
        folder.mkdir(parents=True)
    _image(images, "train")
    (model / "deep" / "weights").write_text("w")
    (model / "linked").symlink_to("deep/weights")
    (data / "records.jsonl").write_text("{}")
    script.main(["--out", str(out), "--model", str(model), "--data", str(data)])
    files = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    assert files - {"SHA256SUMS", script.MARK} == {*_sums(out)}
    assert {
        *("images/train.sif", "models/m/linked", "models/m/deep/weights", "data/d.sha256"),
        *("gazetteer/gazetteer-v1.sqlite", "search/search-v1.sqlite", "source.tar"),
        "wheels/first-1.0-py3-none-any.whl",
    } <= files
    assert "data/d/records.jsonl" not in files
    for name, digest in _sums(out).items():
        assert hashlib.sha256((out / name).read_bytes()).hexdigest() == digest
    check = subprocess.run(["sha256sum", "-c", out / "data" / "d.sha256"], cwd=data, check=False)
    assert check.returncode == 0
    manifest = json.loads((out / "MANIFEST.json").read_text())
    assert manifest["parts"]["models/m"]["bytes"] == 2
    assert (out / "requirements" / "wheels.txt").read_text().count("--hash=sha256:") == 2


@pytest.mark.parametrize("there", [True, False])
def test_databases_are_those_that_jobs_will_look_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, there: bool
) -> None:
    """Of a dry run nothing is built; else what this machine has not got yet is."""
    script = importlib.import_module("bundle")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    files = {"gazetteer": gazetteer_file(), "search": index_file()}

    def build(name: str) -> None:
        files[name].parent.mkdir(exist_ok=True)
        files[name].touch()

    monkeypatch.setattr(gazetteer_module, "gazetteer", lambda: build("gazetteer"))
    monkeypatch.setattr(offline, "gazetteer_index", lambda: build("search"))
    for name in files if there else ():
        build(name)
    packed = {part.name: [*part.files] for part in script._databases(dry_run=True)}
    whole = {
        name: [f"{name}/{file.name}", f"{name}/{file.stem}.sha256"] for name, file in files.items()
    }
    assert packed == (whole if there else {name: [] for name in files})
    assert {part.name: [*part.files] for part in script._databases(dry_run=False)} == whole
    monkeypatch.setattr(offline, "gazetteer_index", lambda: None)
    files["search"].unlink()
    with pytest.raises(UsageError, match=r"search-.*cannot be kept there; set XDG_CACHE_HOME"):
        script._databases(dry_run=False)


def _install(
    out: Path, *words: str, cwd: Path | None = None, **variables: str
) -> subprocess.CompletedProcess[str]:
    command = [str(out / "install.sh"), *words]
    environment = {**os.environ, **variables}
    return subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=cwd, env=environment
    )


@pytest.fixture
def bundle(script: ModuleType, out: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A bundle with wheels, and beside it a folder of somebody's with an environment."""

    def download(pins: list, folder: Path) -> None:  # in no time
        for pin in pins:
            shutil.copy(out.parent / "index" / f"{pin.name}-1.0-py3-none-any.whl", folder)

    monkeypatch.setattr(script, "_pip_download", download)
    script.main(["--out", str(out)])
    mine = out.parent / "mine"
    (mine / ".venv").mkdir(parents=True)
    (mine / ".venv" / "keep").touch()
    (mine / "file").touch()
    return out


def test_the_other_side_installs_it(script: ModuleType, root: Path, out: Path) -> None:
    _image(root / "images", "agent")
    script.main(["--out", str(out), "--wheels", "none"])
    there = root.parent / "the re"
    done = _install(out, str(there))
    assert done.returncode == 0, done.stderr
    assert (there / "images" / "agent.sif").read_text() == "agent"
    assert (there / "Makefile").exists()
    assert f"source {root.parent}/the\\ re/offline.env" in done.stdout
    assert (there / "offline.env").read_text().splitlines() == [
        f"export GEOAGENT_GAZETTEER={out}/gazetteer/gazetteer-v1.sqlite",
        f"export GEOAGENT_SEARCH_INDEX={out}/search/search-v1.sqlite",
    ]
    again = _install(out, str(there))
    assert (again.returncode, "exists and is not empty" in again.stderr) == (2, True)


_BACKEND = """
import zipfile
from pathlib import Path

def build_editable(folder, *_):
    with zipfile.ZipFile(Path(folder, "own-1.0-py3-none-any.whl"), "w") as archive:
        archive.writestr("own.pth", str(Path.cwd()))
        about = "own-1.0.dist-info"
        archive.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\\nName: own\\nVersion: 1.0\\n")
        archive.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\\nTag: py3-none-any\\n")
        archive.writestr(f"{about}/RECORD", "")
    return "own-1.0-py3-none-any.whl"
"""


def test_the_other_side_gets_an_environment(
    request: pytest.FixtureRequest, root: Path, tmp_path: Path
) -> None:
    (root / "backend.py").write_text(_BACKEND)
    system = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    (root / "pyproject.toml").write_text(system)
    _git(root, "add", ".")
    _git(root, "commit", "-qm", "Backend")
    done = _install(request.getfixturevalue("bundle"), "the re", sys.executable, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    there = tmp_path / "the re"
    code = "import backend, builder, carrier, first, second; print(backend.__file__)"
    python = [there / ".venv" / "bin" / "python", "-c", code]
    shown = subprocess.run(python, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == str(there / "backend.py")
    assert (there / ".venv" / ".requirements").read_text().strip()
    assert not (there / ".installing").exists()


def test_an_installation_that_failed_leaves_no_environment_and_can_be_done_again(
    bundle: Path,
) -> None:
    there, elsewhere = bundle.parent / "there", bundle.parent / "elsewhere"
    for _ in range(2):  # the small project cannot be installed: it has no pyproject.toml
        done = _install(bundle, str(there), sys.executable, PIP_TARGET=str(elsewhere))
        assert (done.returncode, "pyproject.toml" in done.stderr) == (1, True), done.stderr
        assert not (there / ".venv").exists()
    assert not elsewhere.exists()  # a setting of the user's


def test_what_changed_on_the_way_is_refused(script: ModuleType, root: Path, out: Path) -> None:
    script.main(["--out", str(out), "--wheels", "none"])
    verified = _install(out, "--verify")
    assert (verified.returncode, "all as they were packed" in verified.stdout) == (0, True)
    (out / "source.tar").write_text("other")
    done = _install(out, str(root.parent / "there"))
    assert (done.returncode, "source.tar" in done.stdout + done.stderr) == (2, True)
    assert not (root.parent / "there").exists()
    (out / "SHA256SUMS").unlink()
    assert "was not finished" in _install(out, "--verify").stderr


def test_what_is_there_is_not_fetched_again(
    script: ModuleType, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched: list[str] = []
    download = script._pip_download

    def noted(pins: list, folder: Path) -> None:
        fetched.extend(pin.name for pin in pins)
        download(pins, folder)

    monkeypatch.setattr(script, "_pip_download", noted)
    script.main(["--out", str(out)])
    assert sorted(fetched) == ["builder", "carrier", "first", "second"]
    before = _sums(out)
    fetched.clear()
    (out / "wheels" / "first-1.0-py3-none-any.whl").write_text("cut")
    (out / "wheels" / "left-2.0-py3-none-any.whl").write_text("of an older lock")
    script.main(["--out", str(out)])
    assert (fetched, _sums(out)) == (["first"], before)


def test_a_wheel_with_another_hash_is_refused(script: ModuleType, root: Path, out: Path) -> None:
    path = root / "requirements" / "embedded.txt"
    path.write_text(f"first==1.0 --hash=sha256:{'0' * 64}\n")
    with pytest.raises(UsageError, match=r"pip could not fetch one of first, .*HASHES"):
        script.main(["--out", str(out)])
    assert not (out / "SHA256SUMS").exists()


def test_a_dry_run_writes_nothing(
    script: ModuleType, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script.main(["--out", str(out), "--dry-run"])
    assert not out.exists()
    assert "needed       1.5 GB" in capsys.readouterr().out


def test_too_little_disk(script: ModuleType, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(out.parent)._replace(free=1000)
    monkeypatch.setattr(script.shutil, "disk_usage", lambda place: usage)
    with pytest.raises(UsageError, match=r"free, 1\.5 GB needed"):
        script.main(["--out", str(out)])
    assert not out.exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--model", "nowhere"], "nowhere: no such folder"),
        (["--data", "empty"], "empty: has no files"),
        (["--data", "odd"], "checksums cannot hold"),
        (["--data", "bytes"], "checksums cannot hold"),
        (["--out", "odd"], "odd: exists and is no bundle"),
        (["--out", "file/x"], "file: not a folder that can be written"),
        (["--model", ""], r"'\.': name the folder itself"),
        (["--model", "odd/.."], r"'odd/\.\.': name the folder itself"),
        (["--model", "/"], "'/': name the folder itself"),
        (["--model", "fifo"], "fifo/pipe: is neither a file nor a folder"),
        (["--model", "a/m", "--model", "b/m"], "a/m and .*/b/m: .*same name"),
        (["--data", "a/m", "--data", "b/m"], "a/m and .*/b/m: .*same name"),
        (["--model", "dangling"], "dangling/weights: leads nowhere"),
        (["--model", "circle"], "circle/again: leads back to"),
        (["--model", "a", "--out", "a/m/inside"], "a/m/inside: the bundle .* inside .*/a"),
    ],
)
@pytest.mark.parametrize("dry_run", [[], ["--dry-run"]])
def test_bad_input(
    script: ModuleType,
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    told: str,
    dry_run: list[str],
) -> None:
    monkeypatch.chdir(root.parent)
    for folder in ("empty", "odd", "bytes", "fifo", "a/m", "b/m", "dangling", "circle"):
        Path(folder).mkdir(parents=True)
    (Path("odd") / "a\nb").touch()
    (Path("bytes") / "a\udcffb").touch()
    os.mkfifo("fifo/pipe")
    for name in ("file", "a/m/weights", "b/m/weights", "circle/weights"):
        Path(name).touch()
    Path("dangling/weights").symlink_to("gone")
    Path("circle/again").symlink_to("../circle")
    before = sorted(Path().rglob("*"))
    with pytest.raises(UsageError, match=told):
        script.main([*words, "--wheels", "none", *dry_run])
    assert sorted(Path().rglob("*")) == before


def test_links_to_folders_are_followed(
    script: ModuleType, root: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, elsewhere = root.parent / "d", root.parent / "elsewhere"
    for folder in (data, elsewhere / "deep"):
        folder.mkdir(parents=True)
    (elsewhere / "deep" / "1.jpg").write_text("1")
    (data / "images").symlink_to(elsewhere)
    (data / "again").symlink_to(elsewhere)  # twice the same is no circle
    words = ["--out", str(out), "--wheels", "none", "--data", str(data)]
    script.main([*words, "--dry-run"])
    assert "data/d       2 files, only listed" in capsys.readouterr().out
    script.main([*words, "--copy-data"])
    assert (out / "data" / "d" / "images" / "deep" / "1.jpg").read_text() == "1"
    listed = (out / "data" / "d.sha256").read_text()
    assert listed.split()[1::2] == ["again/deep/1.jpg", "images/deep/1.jpg"]


def test_what_an_earlier_bundle_had_is_removed(
    script: ModuleType, root: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = root.parent / "m"
    model.mkdir()
    (model / "old").write_text("o")
    (model / "kept").write_text("k")
    _image(root / "images", "train")
    script.main(["--out", str(out), "--model", str(model)])
    (out / "gazetteer" / "gazetteer-v0.sqlite").write_text("older places")
    (out / "search" / "search-v0.sqlite").write_text("older places")
    (out / ".fetch.killed").mkdir()
    (out / "notes.txt").write_text("mine")
    (model / "old").unlink()
    shutil.rmtree(root / "images")
    capsys.readouterr()
    script.main(["--out", str(out), "--wheels", "none", "--model", str(model)])
    files = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    assert files == {*_sums(out), "SHA256SUMS", script.MARK, "notes.txt"}
    assert "models/m/kept" in files
    assert {path.name for path in out.iterdir() if path.is_dir()} == {
        *("gazetteer", "models", "search")
    }
    assert "removed" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("about", "told"),
    [
        ({"sha256": "0" * 64}, "not the image that train.json describes"),
        ({"bytes": 7}, "not the image that train.json describes"),
        ({"image": "agent"}, "not the image that train.json describes"),
    ],
)
def test_an_image_that_is_not_as_described(
    script: ModuleType, root: Path, about: dict[str, object], told: str
) -> None:
    _image(root / "images", "train", **about)
    with pytest.raises(UsageError, match=rf"train\.sif: {told}.*make images FORCE=1"):
        script.main(["--dry-run"])


def test_an_image_without_its_description(script: ModuleType, root: Path) -> None:
    (root / "images").mkdir()
    (root / "images" / "train.sif").touch()
    with pytest.raises(UsageError, match=r"train\.json: missing; build the image again"):
        script.main(["--dry-run"])


def test_images_that_are_not_built_are_named(
    script: ModuleType, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _image(root / "images", "train")
    script.main(["--dry-run"])
    told = capsys.readouterr().out
    assert "images       3 files, 0.0 MB; not built: agent" in told


def test_bundles_need_a_checkout_of_their_own(script: ModuleType, root: Path, out: Path) -> None:
    for make in (lambda: None, lambda: _git(root.parent, "init", "-q")):
        shutil.rmtree(root / ".git", ignore_errors=True)
        make()
        for words in ([], ["--dry-run"]):
            with pytest.raises(UsageError, match="bundles need a git checkout"):
                script.main(["--out", str(out), "--wheels", "none", *words])
        assert not out.exists()


def test_what_cannot_be_read_or_written_is_told_in_a_line(
    script: ModuleType, root: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(source: Path, target: Path) -> None:
        target.write_text("some")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))

    monkeypatch.setattr(script.shutil, "copyfile", full)
    with pytest.raises(UsageError, match=r"gazetteer.*: No space left on device"):
        script.main(["--out", str(out), "--wheels", "none"])
    assert not [*out.rglob("*.part")]
    assert not (out / "SHA256SUMS").exists()


def test_a_folder_that_may_not_be_read(
    script: ModuleType, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = root.parent / "m"
    (model / "locked").mkdir(parents=True)
    (model / "weights").touch()
    listed = os.scandir

    def scandir(path: Path) -> object:  # root may read everything
        if Path(path).name == "locked":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return listed(path)

    monkeypatch.setattr(os, "scandir", scandir)
    monkeypatch.setattr(os, "listdir", lambda path: [one.name for one in scandir(path)])
    with pytest.raises(UsageError, match="locked: Permission denied"):
        script.main(["--dry-run", "--model", str(model)])


def test_ctrl_c_is_no_traceback(
    script: ModuleType, out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(script, "_source", stopped)
    assert script.main(["--out", str(out), "--wheels", "none"]) == 130
    assert "run it again" in capsys.readouterr().err


def test_help_explains_every_option(script: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        script.main(["--help"])
    told = " ".join(capsys.readouterr().out.split())
    assert "requirements/embedded.txt" in told
    for option in ("--out DIR", "--model DIR", "--data DIR"):
        assert re.search(rf"{option} [a-z].{{20}}", told), option


def test_the_copied_page_has_no_links_that_lead_nowhere(
    script: ModuleType, root: Path, out: Path
) -> None:
    page = root / "docs" / "how-to" / "offline.md"
    page.write_text("# How\n[Images](images.md#a), [here](#how), [there](https://a.org)\n")
    script.main(["--out", str(out), "--wheels", "none"])
    text = (out / "INSTALL.md").read_text()
    assert "Images (`docs/how-to/images.md`), [here](#how), [there](https://a.org)" in text


def _tree(folder: Path) -> set[Path]:
    return {*folder.rglob("*")}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "usage: ./install.sh DESTINATION"),
        ([""], "usage: ./install.sh DESTINATION"),
        (["--bogus"], "usage: ./install.sh DESTINATION"),
        (["new", "python3.11", "more"], "usage: ./install.sh DESTINATION"),
        (["--verify", "new"], "usage: ./install.sh DESTINATION"),
        (["/proc/zz"], "/proc/zz: cannot be made"),
        (["file/below"], "file/below: cannot be made"),
        (["file"], "file: not a folder that can be written"),
        ([".venv"], ".venv: exists and is not empty"),
        (["../out"], "out: is in the bundle"),
        (["../out/new"], "out/new: is in the bundle"),
        (["new", "/bin/true"], "/bin/true: Python 3.11 with venv is needed"),
        (["new", "./nowhere"], "./nowhere: Python 3.11 with venv is needed"),
    ],
)
def test_an_installation_that_cannot_be_touches_nothing(
    bundle: Path, words: list[str], told: str
) -> None:
    mine, before = bundle.parent / "mine", _tree(bundle.parent)
    python = [sys.executable] if len(words) == 1 else []
    done = _install(bundle, *words, *python, cwd=mine)
    assert (done.returncode, told in done.stderr) == (2, True), done.stderr
    assert _tree(bundle.parent) == before


def test_help_of_the_installation(bundle: Path) -> None:
    before = _tree(bundle.parent)
    for word in ("-h", "--help"):
        done = _install(bundle, word)
        assert (done.returncode, done.stderr) == (0, "")
        assert "./install.sh DESTINATION" in done.stdout
    assert _tree(bundle.parent) == before


def test_a_list_of_checksums_that_was_cut(bundle: Path) -> None:
    path = bundle / "SHA256SUMS"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:-2]))
    there = bundle.parent / "there"
    done = _install(bundle, str(there), sys.executable)
    told = f"lists {len(lines) - 2} files, MANIFEST.json {len(lines)}"
    assert (done.returncode, told in done.stderr) == (2, True), done.stderr
    path.write_text("")
    assert _install(bundle, "--verify").returncode == 2
    assert not there.exists()


def test_only_what_was_checked_is_installed(script: ModuleType, root: Path, out: Path) -> None:
    _image(root / "images", "train")
    script.main(["--out", str(out), "--wheels", "none"])
    (out / "images" / "stray.sif").write_text("unchecked")
    (out / "gazetteer" / "stray.sqlite").write_text("unchecked")
    (out / "wheels").mkdir()
    there = root.parent / "there"
    there.mkdir()
    (there / ".installing").touch()
    (there / "images").mkdir()
    os.link(out / "images" / "train.sif", there / "images" / "train.sif")  # stopped the first time
    done = subprocess.run(  # not bash, and not where the bundle is
        ["sh", "out/install.sh", "there"],
        cwd=root.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    names = {path.name for path in (there / "images").iterdir()}
    assert names == {"train.sif", "train.json", "train.cdx.json"}
    assert "stray" not in (there / "offline.env").read_text()
    assert not (there / ".installing").exists()
    assert "no .venv" in done.stdout
