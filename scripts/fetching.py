"""Whether all that an image's script fetches is pinned."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from imagefiles import Definition

_SHA256: Final = re.compile(r"\b[0-9a-f]{64}\b")
_SOURCE: Final = re.compile(r"\bdeb(-src)?\s|\bURIs:")
_SNAPSHOT: Final = re.compile(r"https?://snapshot\.ubuntu\.com/ubuntu/\d{8}T\d{6}Z/?")
_BEFORE: Final = {
    "if",
    "then",
    "else",
    "elif",
    "do",
    "while",
    "until",
    "!",
    "{",
    "exec",
    "env",
    "time",
}
"""Words that a command may follow."""
_CONDITIONS: Final = {"if", "elif", "while", "until", "!"}
"""Those after which a command may fail and the script goes on."""
_SCRIPTS: Final = ("post", "environment", "test", "runscript")
_DOWNLOADERS: Final = {"curl", "wget", "aria2c"}
_UNPINNED: Final = {
    "add-apt-repository",
    "apt-key",
    "bunx",
    "cargo",
    "conda",
    "easy_install",
    "ftp",
    "gem",
    "go",
    "hf",
    "hg",
    "huggingface-cli",
    "mamba",
    "micromamba",
    "modelscope",
    "npm",
    "npx",
    "pdm",
    "pipx",
    "pnpm",
    "poetry",
    "rsync",
    "scp",
    "sftp",
    "svn",
    "uvx",
    "yarn",
}
"""Commands that fetch things in ways that these files have no pin for."""


@dataclass(frozen=True)
class Command:
    """One simple command of a script: its words, the operator after it, and whether it is one that
    may fail without an end of the script."""

    line: int
    words: tuple[str, ...]
    operator: str
    condition: bool

    @property
    def name(self) -> str:
        """What is run, without its folder."""
        return Path(self.words[0]).name

    def has(self, *options: str) -> bool:
        """Whether one of the words, or what is before its '=', is one of these."""
        return any(word.partition("=")[0] in options or word in options for word in self.words)


Wrong = Iterator[tuple[int, str]]
"""Lines and what is wrong with them."""


def fetches_are_pinned(definition: Definition) -> Wrong:
    """All that a script fetches is pinned: by a hash, a commit, or a snapshot of the archive."""
    for script in _SCRIPTS:
        yield from _fetches([*commands(definition, script)])
    for number, line in definition.sections.get("files", []):
        if "/etc/apt" in line:
            yield number, _OTHER_SOURCE


def _fetches(steps: list[Command]) -> Wrong:
    for index, step in enumerate(steps):
        yield from _sources(step)
        rule = _RULES_OF_FETCHING.get(step.name)
        if rule is not None:
            yield from rule(step, steps[:index], steps[index + 1 :])
        elif step.name in _UNPINNED:
            yield step.line, f"nothing pins what {step.name} fetches"
        elif _hidden(step):
            yield step.line, "it fetches within another command; make it a step of its own"
        elif "$" in step.words[0] or "`" in step.words[0] or step.name == "eval":
            yield step.line, f"{step.words[0]}: what is run cannot be seen"


def _hidden(step: Command) -> bool:
    names = "|".join(
        [*_DOWNLOADERS, "git clone", "pip3? install", "urlopen", "urlretrieve", r"http\.client"]
    )
    return any(re.search(rf"(?<![\w./-])({names})(?![\w./-])", word) for word in step.words)


_OTHER_SOURCE: Final = (
    "apt's sources are changed other than by `rm -f /etc/apt/sources.list.d/*` and by what is "
    "written to /etc/apt/sources.list as a whole"
)


def _sources(step: Command) -> Wrong:
    """Sources of apt are those of a snapshot, and are seen where they are written."""
    if _SOURCE.search(" ".join(step.words)) and not _SNAPSHOT.search(" ".join(step.words)):
        yield step.line, "a source of apt that is no snapshot.ubuntu.com/ubuntu/TIME"
    removed = step.name == "rm" and "/etc/apt/sources.list.d/*" in step.words
    written = step.words[-2:] == (">", "/etc/apt/sources.list") and step.name in {"done", "echo"}
    if any("/etc/apt" in word for word in step.words) and not (removed or written):
        yield step.line, _OTHER_SOURCE


def _apt(step: Command, before: list[Command], _: list[Command]) -> Wrong:
    if not step.has("update", "install", "upgrade", "dist-upgrade", "full-upgrade", "build-dep"):
        return
    if not any("/etc/apt/sources.list" in one.words for one in before):
        yield step.line, "apt without an /etc/apt/sources.list that names a snapshot"
    if re.search(r"unauthenticated|insecure|trusted|dir::", " ".join(step.words), re.I):
        yield step.line, "apt that checks no signature, or takes other sources"
    if not any(one.name == "rm" and "/etc/apt/sources.list.d/*" in one.words for one in before):
        yield step.line, "apt while the base's own sources are in /etc/apt/sources.list.d"


def _pip(step: Command, _: list[Command], __: list[Command]) -> Wrong:
    if not step.has("install", "sync", "download", "wheel"):
        return
    if step.has("--no-verify-hashes", "--no-require-hashes"):
        yield step.line, "hashes are not checked"
    if step.has("--require-hashes"):
        if not step.has("--no-build", "--no-build-isolation", "--only-binary"):
            yield (
                step.line,
                "what builds a source package has no hash; give --no-build or --no-build-isolation",
            )
        if not step.has("-r", "--requirement") and not step.has("sync"):
            yield step.line, "--require-hashes without a lock (-r FILE)"
    elif not step.has("--no-index"):
        yield step.line, "pip without --require-hashes"
    elif not step.has("--no-build", "--no-build-isolation", "--only-binary"):
        yield step.line, "--no-index without --no-build-isolation fetches what builds"


def _uv(step: Command, before: list[Command], after: list[Command]) -> Wrong:
    what = step.words[1] if len(step.words) > 1 else ""
    if what == "pip":
        yield from _pip(step, before, after)
    elif what == "python" and step.has("install"):
        versions = [word for word in step.words[3:] if not word.startswith("-")]
        if not versions or not all(re.fullmatch(r"\d+\.\d+\.\d+", one) for one in versions):
            yield step.line, "uv python install without a full version, as 3.11.18"
    elif what not in {"venv", "cache", "version", "--version", "python"}:
        yield step.line, f"nothing pins what uv {what} fetches"


def _python(step: Command, before: list[Command], after: list[Command]) -> Wrong:
    if step.words[1:3] == ("-m", "pip"):
        yield from _pip(step, before, after)
    elif _hidden(step):
        yield step.line, "it fetches within another command; make it a step of its own"


def _download(step: Command, _: list[Command], after: list[Command]) -> Wrong:
    target = _target(step.words)
    check = " ".join(" ".join(one.words) for one in after if after and one.line == after[0].line)
    checked = any(
        one.name == "sha256sum" and one.has("--check", "-c") and one.operator == ";"
        for one in after
        if one.line == after[0].line and not after[0].condition
    )
    if target is None:
        yield step.line, f"{step.name} to no file that could be checked; give --output FILE"
    elif not checked or target not in check or not _SHA256.search(check):
        yield step.line, f"the next step does not check {target} by sha256sum --check"


def _target(words: Sequence[str]) -> str | None:
    """The file that curl or wget writes."""
    options = ("-O", "--output-document") if Path(words[0]).name == "wget" else ("-o", "--output")
    for word, following in zip(words, (*words[1:], ""), strict=True):
        name, equals, value = word.partition("=")
        if name in options:
            return (value if equals else following) or None
    return None


def _git(step: Command, _: list[Command], after: list[Command]) -> Wrong:
    if not step.has("clone", "fetch", "pull", "submodule"):
        return
    following = after[0].words if after else ()
    commit = any(re.fullmatch(r"[0-9a-f]{40}", word) for word in following)
    if not (following[:1] == ("git",) and "checkout" in following and commit):
        yield step.line, "git without a checkout of a commit by its 40 digits in the next step"


_RULES_OF_FETCHING: Final[dict[str, Callable[[Command, list[Command], list[Command]], Wrong]]] = {
    **dict.fromkeys(("apt", "apt-get", "aptitude"), _apt),
    **dict.fromkeys(("pip", "pip3"), _pip),
    **dict.fromkeys(("python", "python3", "python3.11"), _python),
    **dict.fromkeys(_DOWNLOADERS, _download),
    "git": _git,
    "uv": _uv,
}


def commands(definition: Definition, section: str = "post") -> Iterator[Command]:
    """The commands of a script with the arguments' defaults, in the order they are written."""
    joined, first = "", 0
    for number, line in definition.sections.get(section, []):
        first = first if joined else number
        if line.rstrip().endswith("\\"):
            joined += line.rstrip()[:-1] + " "
            continue
        yield from _commands(first, definition.filled(joined + line))
        joined = ""


def _commands(line: int, text: str) -> Iterator[Command]:
    lexer = shlex.shlex(text, posix=True, punctuation_chars=";&|()<>")
    lexer.whitespace_split = True
    lexer.commenters = "#"
    try:
        words = [*lexer]
    except ValueError:  # a here-document, or a string over several lines
        words = text.split()
    simple: list[str] = []
    condition = False
    for word in [*words, ";"]:
        if word and set(word) <= set(";&|()"):
            if simple:
                yield Command(line, tuple(simple), word, condition)
            simple, condition = [], False
        elif simple or not (word in _BEFORE or re.match(r"\w+=", word)):
            simple.append(word)
        else:
            condition = condition or word in _CONDITIONS
