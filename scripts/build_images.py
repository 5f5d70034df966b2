#!/usr/bin/env python3
"""Builds the images with Apptainer, signs them and says what is inside.

    .venv/bin/python scripts/build_images.py [train|agent …] [--force] [--remote] [--dry-run]
        [--build-arg KEY=VALUE]

For each image that is not current: images/NAME.sif, beside it NAME.json (checksum, size, lock,
whether it is signed) and NAME.cdx.json (all packages inside, CycloneDX 1.5). `make images` does so.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import pwd
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

from imagefiles import (  # noqa: E402
    IMAGES,
    Definition,
    Pin,
    parse_definition,
    parse_lock,
    read_text,
)

from geoagent.errors import UsageError, exit_code  # noqa: E402
from geoagent.files import read_if_there, sha256, write_atomic, write_json  # noqa: E402

SUBUID: Final = Path("/etc/subuid")
MISSING: Final = (
    "neither apptainer nor singularity is here. Try `module load apptainer`; or install it without "
    "root by its own tools/install-unprivileged.sh (github.com/apptainer/apptainer); or build on "
    "another machine or in CI and copy images/ here; or see docs/how-to/images.md"
)
_PASSED: Final = re.compile(
    r"PATH|HOME|USER|LOGNAME|LANG|LC_\w+|TERM|TMPDIR|(https?|no|all)_proxy|SSL_CERT_FILE|GNUPGHOME|"
    r"XDG_RUNTIME_DIR|(APPTAINER|SINGULARITY)_(TMPDIR|CACHEDIR|CONFIGDIR|DOCKER_\w+)",
    re.I,
)
"""Variables that Apptainer may see: others may hold secrets, and %post must not depend on them."""
_PACKAGES: Final = ["dpkg-query", "-W", "-f", r"${Package}\t${Version}\t${Architecture}\n"]


_VALUES: Final = {
    "APT_SNAPSHOT": (r"https?://[\w./:-]+", "an address"),
    "BASE_DIGEST": (r"sha256:[0-9a-f]{64}", "sha256: and 64 lower-case hexadecimal digits"),
    "BASE_TAG": (r"[\w.-]+", "a tag"),
    "FLASH_ATTN": ("yes|no", "yes or no"),
    "MAX_JOBS": (r"[1-9]\d*", "a number from 1"),
    "PYTHON_VERSION": (r"3\.11\.\d+", "3.11.NUMBER, which the locks are for"),
    "UV_SHA256": ("[0-9a-f]{64}", "64 lower-case hexadecimal digits"),
    "UV_WHEEL": (r"https?://[\w./:-]+\.whl", "an address of a wheel"),
}
"""What a build argument may be: %post takes it as it is."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Build what is not current; UsageError if a word is wrong, Apptainer is missing or a build
    fails."""
    options = _parser().parse_args(arguments)
    folder = ROOT / "images"
    sources = {image: sources_of(image, options.build_arg) for image in options.images or IMAGES}
    program = shutil.which("apptainer") or shutil.which("singularity")
    if program is None and not options.dry_run:
        raise UsageError(MISSING)
    _look_at(folder)
    try:
        for image, checksum in sources.items():
            if not options.force and is_current(folder, image, checksum):
                print(f"{image}: current; FORCE=1 builds it again")
            elif options.dry_run:
                part = folder / f"{image}.sif"
                print(shlex.join(build_command("apptainer", image, part, options)), flush=True)
                note = "make images signs it as well, and writes images/NAME.json and NAME.cdx.json"
                print(f"{image}: {note}", file=sys.stderr)
            else:
                assert program is not None
                build(program, image, folder, checksum, options)
    except KeyboardInterrupt:
        print("stopped; the images that were there are as they were", file=sys.stderr)
        return 130
    return 0


def _look_at(folder: Path) -> None:
    """Before hours of building: UsageError if images could not be put there."""
    if (folder.exists() or folder.is_symlink()) and not folder.is_dir():
        raise UsageError(f"{folder}: no folder, but images go there; move it away")
    if not os.access(folder if folder.is_dir() else folder.parent, os.W_OK | os.X_OK):
        raise UsageError(f"{folder}: cannot be written; images go there")
    for image in IMAGES:
        for end in ("sif", "json", "cdx.json"):
            if (folder / f"{image}.{end}").is_dir():
                raise UsageError(f"{folder}/{image}.{end}: a folder; an image's file goes there")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Build the images with Apptainer.",
        epilog="example: make images ARGS='train --build-arg FLASH_ATTN=yes'",
    )
    parser.add_argument("images", nargs="*", metavar="train|agent", help="default: both")
    parser.add_argument("--force", action="store_true", help="build what is current as well")
    parser.add_argument("--remote", action="store_true", help="let a remote builder do it")
    parser.add_argument("--dry-run", action="store_true", help="print the commands, run none")
    parser.add_argument("--build-arg", action="append", default=[], metavar="KEY=VALUE")
    return parser


def sources_of(image: str, build_arguments: Sequence[str]) -> str:
    """A checksum of all that an image is made from: definition, build arguments, and files.
    UsageError if there is no such image, argument or file."""
    if image not in IMAGES:
        raise UsageError(f"{image}: no such image; there are {' and '.join(IMAGES)}")
    path, definition = _definition(image)
    for argument in build_arguments:
        _check(argument, image, definition)
    digest = hashlib.sha256(json.dumps(sorted(build_arguments)).encode())
    for file in (path, *_files(_copied(definition))):
        digest.update(f"{file.relative_to(ROOT)}\0{sha256(file)}\n".encode())
    return digest.hexdigest()


def _definition(image: str) -> tuple[Path, Definition]:
    path = ROOT / "containers" / f"{image}.def"
    definition = parse_definition(read_text(path))
    if not _copied(definition):
        raise UsageError(f"{path}: %files is missing; see: make check-images")
    return path, definition


def _copied(definition: Definition) -> list[Path]:
    """What a definition copies into the image."""
    lines = (line.split() for _, line in definition.sections.get("files", []))
    return [ROOT / words[0] for words in lines if words]


def _check(argument: str, image: str, definition: Definition) -> None:
    name, equals, value = argument.partition("=")
    if not (equals and value) or name not in definition.arguments:
        known = ", ".join(definition.arguments)
        other = f"; name the image: train --build-arg {argument}" if name in _VALUES else ""
        raise UsageError(
            f"--build-arg {argument}: expected NAME=VALUE, NAME one of {known}, "
            f"which are those of {image}.def{other}"
        )
    pattern, expected = _VALUES.get(name, (".+", "a value"))
    if not re.fullmatch(pattern, value):
        raise UsageError(f"--build-arg {argument}: expected {expected}")


def _files(paths: Sequence[Path]) -> Iterator[Path]:
    for path in paths:
        inside = sorted(path.rglob("*")) if path.is_dir() else [path]
        for file in inside:
            if not file.exists():
                raise UsageError(f"{file}: not there, but the definition copies it into the image")
            if file.is_file() and "__pycache__" not in file.parts:
                yield file


def is_current(folder: Path, image: str, sources: str) -> bool:
    """Whether an image and its files are there, it is the one described, and was built from these
    sources."""
    file, about = folder / f"{image}.sif", read_if_there(folder / f"{image}.json")
    return (
        about.get("sources") == sources
        and (folder / f"{image}.cdx.json").is_file()
        and file.is_file()
        and file.stat().st_size == about.get("bytes")
        and sha256(file) == about.get("sha256")
    )


def build_command(program: str, image: str, target: Path, options: argparse.Namespace) -> list[str]:
    """What builds an image, run in the root of the project."""
    command = [program, "build"]
    if options.remote:
        command.append("--remote")
    elif os.geteuid() != 0 and _has_subuid():
        command.append("--fakeroot")
    for argument in options.build_arg:
        command += ["--build-arg", argument]
    return [*command, str(target.relative_to(ROOT)), f"containers/{image}.def"]


def _has_subuid() -> bool:
    """Whether this user may map user ids; without, Apptainer finds a way of its own or says so."""
    try:
        owners = {line.split(":")[0] for line in SUBUID.read_text().splitlines()}
        return bool(owners & {str(os.getuid()), pwd.getpwuid(os.getuid()).pw_name})
    except (OSError, KeyError):
        return False


def build(
    program: str, image: str, folder: Path, sources: str, options: argparse.Namespace
) -> None:
    """Build beside the final name, sign, describe, and rename; the description comes last, so that
    an image without one, or with another's, is built again."""
    folder.mkdir(exist_ok=True)
    part = folder / f".{image}.{os.getpid()}.sif"
    try:
        _run(build_command(program, image, part, options))
        signed = sign(program, part)
        debian = _run([program, "exec", "--cleanenv", "--contain", str(part), *_PACKAGES], True)
        lock = ROOT / "containers" / f"{image}.lock"
        about = {
            "image": image,
            "sha256": sha256(part),
            "bytes": part.stat().st_size,
            "lock": sha256(lock),
            "built": datetime.now(UTC).isoformat(timespec="seconds"),
            "signed": signed,
            "sources": sources,
        }
        bill = bill_of_materials(about, *locked(image, options.build_arg), debian)
        (folder / f"{image}.json").unlink(missing_ok=True)
        part.rename(folder / f"{image}.sif")
    finally:
        part.unlink(missing_ok=True)
    write_atomic(folder / f"{image}.cdx.json", bill)
    write_json(folder / f"{image}.json", about)
    state = "signed" if signed else "not signed"
    print(f"{image}: images/{image}.sif, {about['bytes']} bytes, sha256 {about['sha256']}, {state}")


def sign(program: str, image: Path) -> bool:
    """Sign if there is a secret key; whether it is signed. An image that cannot be signed is kept,
    since it took long to make."""
    try:
        listed = _run([program, "key", "list", "--secret"], True)
        if not re.search(r"^\s*\d+\)", listed, re.M):
            print("no key to sign with; one is made by: apptainer key newpair", file=sys.stderr)
            return False
        _run([program, "sign", str(image)])
    except UsageError as error:
        print(f"warning: not signed: {error}", file=sys.stderr)
        return False
    return True


def _run(command: list[str], quiet: bool = False) -> str:
    """Run a command in the root of the project, with few of the variables of this one; what it
    printed, if quiet. UsageError if it fails."""
    environment = {name: value for name, value in os.environ.items() if _PASSED.fullmatch(name)}
    output = subprocess.PIPE if quiet else None
    try:
        done = subprocess.run(
            command, cwd=ROOT, env=environment, stdout=output, text=True, check=True
        )
    except subprocess.CalledProcessError as error:
        shown = shlex.join([Path(command[0]).name, *command[1:3]])
        raise UsageError(f"{shown} failed (exit code {error.returncode}); see above") from None
    return done.stdout or ""


def locked(image: str, build_arguments: Sequence[str]) -> tuple[list[Pin], str]:
    """What the image's locks install, and its version of Python."""
    _, definition = _definition(image)
    values = definition.arguments | dict(one.split("=", 1) for one in build_arguments)
    locks = [path for path in _copied(definition) if path.suffix == ".lock"]
    if values.get("FLASH_ATTN") != "yes":
        locks = [path for path in locks if path.stem != "flash-attn"]
    pins = [pin for lock in locks for pin in parse_lock(read_text(lock))]
    return pins, values["PYTHON_VERSION"]


def bill_of_materials(about: dict[str, Any], pins: Sequence[Pin], python: str, debian: str) -> str:
    """CycloneDX 1.5 as JSON: the locks' packages with the hashes of the files that may have been
    installed, Python, this package, and the Debian packages as dpkg-query lists them (name,
    version, architecture)."""
    from cyclonedx.model import HashAlgorithm, HashType
    from cyclonedx.model.bom import Bom
    from cyclonedx.model.component import Component, ComponentType
    from cyclonedx.output.json import JsonV1Dot5
    from packageurl import PackageURL

    def hashed(digests: Iterable[str]) -> list[HashType]:
        return [HashType(alg=HashAlgorithm.SHA_256, content=one) for one in digests]

    project = tomllib.loads(read_text(ROOT / "pyproject.toml"))["project"]
    found: dict[PackageURL, Iterable[str]] = {
        PackageURL("generic", name="python", version=python): [],
        PackageURL("pypi", name=project["name"], version=project["version"]): [],
        **{PackageURL("pypi", name=pin.name, version=pin.version): pin.hashes for pin in pins},
        **{PackageURL("deb", "ubuntu", *row): [] for row in _rows(debian)},
    }
    bom = Bom()
    bom.metadata.component = whole = Component(
        name=f"geoagent-{about['image']}",
        type=ComponentType.CONTAINER,
        version=about["built"],
        hashes=hashed([about["sha256"]]),
    )
    for purl, hashes in found.items():
        bom.components.add(
            Component(
                name=purl.name,
                version=purl.version,
                hashes=hashed(one.removeprefix("sha256:") for one in hashes),
                purl=purl,
                bom_ref=purl.to_string(),
            )
        )
    bom.register_dependency(whole, bom.components)
    return JsonV1Dot5(bom).output_as_string(indent=2) + "\n"


def _rows(debian: str) -> Iterator[tuple[str, str, dict[str, str]]]:
    """Name, version and qualifiers of each package. Another line is told and left out: the image
    took too long to make to throw it away."""
    for line in debian.splitlines():
        row = line.split("\t")
        if len(row) == 3:
            yield row[0], row[1], {"arch": row[2]}
        else:
            told = f"dpkg-query printed {line!r}, which is no package; left out of the bill"
            print(f"warning: {told}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(exit_code(main))
