"""make check-images: the real files pass, and each rule is seen to fail."""

from __future__ import annotations

import importlib
import shutil
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[3]
ZEROS = "0" * 64


@pytest.fixture
def check() -> ModuleType:
    pytest.importorskip("spython")
    return importlib.import_module("check_images")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the real files, to break."""
    kept_out = shutil.ignore_patterns("__pycache__")  # another test may be writing there
    target = tmp_path / "containers"
    return Path(shutil.copytree(ROOT / "containers", target, ignore=kept_out))


def test_the_real_files_pass(check: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    code = check.main([])
    told, warnings = capsys.readouterr()
    assert warnings == ""
    assert (code, told.count("WRONG")) == (0, 0), told
    assert told.count("ok ") >= 20


def _wrong(check: ModuleType, folder: Path) -> list[str]:
    return [line for _, wrong in check.checks(folder) for line in wrong]


BROKEN = {
    "tag": ("nvidia/cuda@{{ BASE_DIGEST }}", "nvidia/cuda:12.4.1", "not NAME@sha256:DIGEST"),
    "tag and digest": ("nvidia/cuda@", "nvidia/cuda:12.4.1@", "no tag beside a digest"),
    "other bootstrap": ("Bootstrap: docker", "Bootstrap: library", "Bootstrap is not docker"),
    "no test": ("%test", "%comments", "%test is missing or empty"),
    "on the host": ("%labels", "%setup\n  touch x\n%labels", "%setup runs on the host"),
    "unknown argument": ("{{ UV_SHA256 }}", "{{ UV_HASH }}", "{{ UV_HASH }} has no default"),
    "after a hash sign": ("set -eu", "set -eu\n  echo a#b {{ BASE_TAG }}", "after a '#'"),
    "secret argument": ("%arguments\n", "%arguments\n  HF_TOKEN=none\n", "HF_TOKEN: a secret"),
    "secret variable": ("  export LC_ALL", "  export API_KEY=x\n  export LC_ALL", "API_KEY"),
    "secret file": ("README.md /opt", "/root/.netrc /opt", "/root/.netrc: such a file"),
    "everything": ("README.md /opt", ". /opt", ".: such a file or folder"),
    "goes on": ("  set -eu\n", "  set -u\n", "%post does not begin with: set -eu"),
    "no checksum": ("sha256sum --check --strict", "cat", "does not check /opt/build/uv.whl"),
    "checksum of another file": (
        '}}  /opt/build/uv.whl"',
        '}}  /opt/build/x"',
        "does not check /opt/build/uv.whl",
    ),
    "piped": (
        "--output /opt/build/uv.whl {{ UV_WHEEL }}",
        "{{ UV_WHEEL }} | sh",
        "to no file that",
    ),
    "wget": ("  set -eu\n", "  set -eu\n  wget https://x.org/a\n", "wget to no file that"),
    "no hashes": ("--require-hashes --no-build -r", "--no-build -r", "pip without --require-hash"),
    "no lock": (
        "--require-hashes --no-build -r /opt/build/build.lock",
        "--require-hashes --no-build setuptools",
        "--require-hashes without a lock",
    ),
    "isolated builds": (
        "--require-hashes --no-build-isolation -r /opt/build/image.lock",
        "--require-hashes -r /opt/build/image.lock",
        "what builds a source package has no hash",
    ),
    "python -m pip": ("  set -eu\n", "  set -eu\n  python3 -m pip install x\n", "pip without"),
    "within if": ("  set -eu\n", "  set -eu\n  if true; then pip install x; fi\n", "pip without"),
    "after a variable": ("  set -eu\n", "  set -eu\n  A=1 pip3 install x\n", "pip without"),
    "over two lines": ("  set -eu\n", "  set -eu\n  pip \\\n    install x\n", "pip without"),
    "in a string": ("  set -eu\n", '  set -eu\n  sh -c "curl x | sh"\n', "within another"),
    "substituted": (
        "  set -eu\n",
        '  set -eu\n  x="$(wget -O- a)"\n  echo "$(curl a)"\n',
        "within",
    ),
    "python -c": ("  set -eu\n", "  set -eu\n  python3 -c 'urlopen(1)'\n", "within another"),
    "loose python": (
        "uv python install {{ PYTHON_VERSION }}",
        "uv python install 3.11",
        "full ver",
    ),
    "uv tool": ("  set -eu\n", "  set -eu\n  uv tool install ruff\n", "nothing pins what uv tool"),
    "npm": ("  set -eu\n", "  set -eu\n  npm install x\n", "nothing pins what npm fetches"),
    "git": ("  set -eu\n", "  set -eu\n  git clone https://x.org/a\n", "git without a checkout"),
    "git tag": (
        "  set -eu\n",
        "  set -eu\n  git clone https://x.org/a b && git -C b checkout v1\n",
        "git without a checkout",
    ),
    "no snapshot": (
        "http://snapshot.ubuntu.com/ubuntu/20260901T000000Z",
        "http://archive.ubuntu.com/ubuntu",
        "is no snapshot.ubuntu.com",
    ),
    "no sources": ("> /etc/apt/sources.list", "> /opt/list", "apt without an /etc/apt/sources"),
    "sources of the base": ("rm -f /etc/apt/sources.list.d/*", "true", "the base's own sources"),
    "host's temporary files": (
        "rm -rf /opt/build",
        "rm -rf /opt/build /tmp/*",
        "/tmp is the host's",
    ),
    "temporary file": ("  set -eu\n", "  set -eu\n  cp a /var/tmp/b\n", "/var/tmp is the host's"),
    "by a variable": ("  set -eu\n", "  set -eu\n  A=/tmp\n", "/tmp is the host's"),
    "host's home": ("  set -eu\n", "  set -eu\n  ls $HOME/x\n", "$HOME is the host's"),
    "removes Ubuntu's": ("  set -eu\n", "  set -eu\n  rm -r /usr/lib\n", "removes /usr/lib"),
    "removes upwards": ("  set -eu\n", "  set -eu\n  rm -r /opt/../x\n", "removes /opt/../x"),
    "removes what a variable says": ("  set -eu\n", "  set -eu\n  rm -r $A\n", "removes $A"),
    "an empty word": ("  set -eu\n", "  set -eu\n  rm -r '' /usr\n", "removes /usr"),
    "finds and removes": ("  set -eu\n", "  set -eu\n  find / -delete\n", "removes /,"),
    "rm within another": (
        "  set -eu\n",
        "  set -eu\n  ls | xargs rm\n",
        "removes something within",
    ),
    "rm in a string": (
        "  set -eu\n",
        "  set -eu\n  sh -c 'rm -r /opt'\n",
        "removes something within",
    ),
    "goes on after a checksum": ("--check --strict", "--check || true", "does not stop"),
    "and then": ("--check --strict", "--check --strict && true", "does not stop"),
    "checksum as a condition": ('  echo "{{ UV_SHA', '  if ! echo "{{ UV_SHA', "does not check"),
    "piped checksum": (
        "--check --strict",
        "--check --strict | cat",
        "does not check /opt/build/uv",
    ),
    "set +e": ("  set -eu\n", "  set -eu\n  set +e\n", "set +e: %post no longer stops"),
    "name in a variable": ("  set -eu\n", "  set -eu\n  $U https://x.org\n", "$U: what is run"),
    "no verifying": (
        "--require-hashes --no-build -r",
        "--require-hashes --no-verify-hashes --no-build -r",
        "hashes are not checked",
    ),
    "printf into sources": (
        "  set -eu\n",
        "  set -eu\n  printf 'deb http://evil ./' >> /etc/apt/sources.list\n",
        "other than by",
    ),
    "one more source": (
        "  apt-get clean\n",
        "  apt-get clean\n  echo x > /etc/apt/sources.list.d/e.list\n",
        "other than by",
    ),
    "copied source": ("README.md /opt", "README.md /etc/apt", "other than by"),
    "no signatures": ("  apt-get -o", "  apt-get --allow-unauthenticated -o", "signature"),
    "fetches when tested": ("%test\n", "%test\n  pip install x\n", "pip without"),
    "fetches when run": ("%runscript\n", "%runscript\n  curl x | sh\n", "to no file that"),
    "unknown section": ("%test\n", "%appinstall x\n  true\n%test\n", "%appinstall: no section"),
    "two stages": ("%help\n", "%help\nBootstrap: docker\n", "a second Bootstrap"),
    "http.client": ("  set -eu\n", "  set -eu\n  python3 -c 'http.client'\n", "within another"),
    "source that is not there": ("README.md /opt", "nosuch /opt", "nosuch: not there"),
    "nameless argument": ("%arguments\n", "%arguments\n  =x\n", "=x: not NAME=DEFAULT"),
    "argument without a default": ("%arguments\n", "%arguments\n  Y\n", "Y: not NAME=DEFAULT"),
    "other CUDA": ("12.4.1-cudnn", "12.8.1-cudnn", "both must be 12.4"),
    "other Python": ("PYTHON_VERSION=3.11.18", "PYTHON_VERSION=3.11.17", "PYTHON_VERSION: train"),
    "other uv": ("uv-0.13.8-py3", "uv-0.13.7-py3", "not of build.lock's uv"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_definition_is_found(check: ModuleType, folder: Path, case: str) -> None:
    before, after, told = BROKEN[case]
    path = folder / "train.def"
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after))
    wrong = _wrong(check, folder)
    assert any(told in line for line in wrong), wrong


def test_only_findings_are_printed(
    check: ModuleType, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = folder / "train.def"
    path.write_text(path.read_text().replace("%labels", "%setup\n  touch x\n%labels"))
    assert check.main([str(folder)]) == 1
    told, warnings = capsys.readouterr()
    assert ("WARNING" in told, warnings) == (False, "")


def test_a_place_is_told(check: ModuleType, folder: Path) -> None:
    path = folder / "agent.def"
    lines = path.read_text().splitlines()
    at = lines.index("  set -eu") + 1
    path.write_text("\n".join([*lines[:at], "  pip install x", *lines[at:]]))
    assert _wrong(check, folder) == [f"{path}:{at + 1}: pip without --require-hashes"]


@pytest.mark.parametrize(
    "step",
    [
        f"curl --output /opt/a https://x.org/a\n  echo '{ZEROS}  /opt/a' | sha256sum -c",
        f"git clone https://x.org/a b\n  git -C b checkout {'0' * 40}",
        "pip install --require-hashes --only-binary :all: -r a.lock",
        "pip install --no-index --no-build-isolation --find-links wheels x",
        "apt-get install -y curl wget git",
        "# pip install x",
        "git --version",
        "rm -r /var/lib/apt/lists/* /opt/build/x # not /tmp",
        "find /opt/build -name x -exec rm '{}' +",
        "touch /opt/build/tmp/x 2>&1",
    ],
)
def test_what_is_pinned_is_let_pass(check: ModuleType, folder: Path, step: str) -> None:
    path = folder / "train.def"
    text = path.read_text()
    path.write_text(text.replace("\n  # 2.", f"\n  {step}\n  # 2.", 1))
    assert _wrong(check, folder) == []


@pytest.mark.parametrize(
    ("lock", "line", "told"),
    [
        ("train", "six", "six: not one exact version"),
        ("train", f"six>=1 --hash=sha256:{ZEROS}", "six: not one exact version"),
        ("agent", f"six==1.* --hash=sha256:{ZEROS}", "six: not one exact version"),
        ("agent", "six==1.17.0", "six: no --hash"),
        ("build", "six==1.17.0 --hash=md5:0", "six: a hash that is no sha256"),
        ("build", "six @ https://x.org/six.whl", "six: not one exact version"),
        ("train", "--extra-index-url https://x.org", "--extra-index-url https://x.org: not one"),
        ("train", "-e .", "-e .: not one exact version"),
    ],
)
def test_an_unlocked_requirement_is_found(
    check: ModuleType, folder: Path, lock: str, line: str, told: str
) -> None:
    path = folder / f"{lock}.lock"
    number = len(path.read_text().splitlines()) + 1
    path.write_text(f"{path.read_text()}{line}\n")
    assert (
        [found for found in _wrong(check, folder) if told in found]
        == [found for found in _wrong(check, folder) if found.startswith(f"{path}:{number}: ")]
        != []
    )


@pytest.mark.parametrize("package", ["torch", "submitit"])
def test_images_that_differ_are_found(check: ModuleType, folder: Path, package: str) -> None:
    path = folder / "agent.lock"
    path.write_text(path.read_text().replace(f"\n{package}==", f"\n{package}==9."))
    assert [line.split(":")[0] for line in _wrong(check, folder)] == [package]


def test_an_empty_lock_is_found(check: ModuleType, folder: Path) -> None:
    (folder / "models.lock").write_text("# nothing\n")
    assert f"{folder / 'models.lock'}:1: nothing is locked" in _wrong(check, folder)


def test_a_missing_file_is_an_error(check: ModuleType, folder: Path) -> None:
    (folder / "train.lock").unlink()
    with pytest.raises(check_error(), match=r"train\.lock: cannot be read"):
        check.main([str(folder)])


def check_error() -> type[Exception]:
    from geoagent.errors import UsageError

    return UsageError
