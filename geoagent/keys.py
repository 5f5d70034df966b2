"""Keys of online services: where they come from, and how they stay out of logs."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote, quote_plus

from geoagent.errors import UsageError


def read_key(key_file: str | None, variable: str, section: str) -> str:
    """A service's key, from the file if one is named, else from the environment variable; "" if
    there is none. UsageError, which names the setting `SECTION.key_file`, for a file that others
    can read, or with anything but one word in it."""
    if key_file is None:
        return os.environ.get(variable, "").strip()
    path = Path(key_file).expanduser()
    where = f"{section}.key_file: {path}"
    try:
        with path.open(encoding="utf-8") as file:
            if os.fstat(file.fileno()).st_mode & 0o077:
                raise UsageError(f"{where} can be read by others; do: chmod 600 {path}")
            words = file.read().split()
    except OSError as error:
        raise UsageError(f"{where}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{where}: not UTF-8 text") from None
    if len(words) != 1:
        raise UsageError(f"{where}: expected the key and nothing else")
    return words[0]


def check_sendable(key: str, where: str) -> str:
    """The key, if an HTTP header can carry it; else UsageError, which says `where` it is from."""
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise UsageError(f"{where}: a key has letters of ASCII only")
    return key


def token(variable: str) -> str:
    """The token in an environment variable, "" if there is none; UsageError if it is not one."""
    return check_sendable(os.environ.get(variable, "").strip(), variable)


def hide_in_logs(key: str, loggers: Iterable[str]) -> None:
    """Keep the key out of what these loggers say: HTTP libraries log addresses, which services take
    it in, also in warnings. And a retry is a line, not a traceback."""
    forms = {key, quote(key), quote(key, safe=""), quote_plus(key)} - {""}

    def tidy(record: logging.LogRecord) -> bool:
        text = record.getMessage()
        if record.exc_info:
            text, record.exc_info = f"{text} ({record.exc_info[1]})", None
        for form in forms:
            text = text.replace(form, "(key)")
        record.msg, record.args = text, ()
        return True

    for name in loggers:
        logging.getLogger(name).addFilter(tidy)
