"""The geocoder that the configuration names: the built-in one, or a service of geopy.

A service that fails is an OutageError and never "not found", which only an answer can say.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from geoagent.answer import split_parts
from geoagent.config import GeocoderConfig
from geoagent.errors import OutageError, UsageError, nearest
from geoagent.geo.answers import FILE_NAME, Answers, Found
from geoagent.geo.gazetteer import gazetteer
from geoagent.geo.geocoder import Place, geocode
from geoagent.kept import cache_folder
from geoagent.keys import hide_in_logs, read_key

OFFLINE: Final = "offline"
KEY_VARIABLE: Final = "GEOAGENT_GEOCODER_KEY"
Locate = Callable[[str], Place | None]

_SECTION: Final = "rewards.geocoder"
_KEY_NAMES: Final = ("api_key", "apikey", "subscription_key", "username")
"""What geopy's classes call the key that a service wants."""
_HEALTH: Final = "France"
"""Any geocoder can make something of it."""
_TIMEOUT_S: Final = 10.0
_RETRIES: Final = 5
_ERROR_WAIT_S: Final = 10.0
_MAX_QUERY: Final = 500
"""Characters: an address (URL) has room for some thousand bytes, and a letter takes up to nine."""
_MOST_PARTS: Final = 5
_LEVELS: Final = ("country", "region", "city")
_LOGGERS: Final = ("geopy", "urllib3.connectionpool", "urllib3.util.retry")


def locator(settings: GeocoderConfig) -> Locate:
    """The function that finds a text in the configured way: a Place, or None if there is none.

    It raises OutageError if the service does not answer, and UsageError if it refuses the key.
    UsageError here names what is wrong with the settings; nothing is sent yet.
    """
    if settings.service == OFFLINE:
        return geocode
    return _service(dataclasses.astuple(settings)).locate


def check(settings: GeocoderConfig) -> None:
    """Ask the configured service one question; raises as `locator` and what it gives."""
    if settings.service != OFFLINE:
        _service(dataclasses.astuple(settings)).check()


@cache
def _service(values: tuple[Any, ...]) -> Service:
    """One a process, since a service counts requests however many parts of a program ask."""
    return Service(GeocoderConfig(*values))


class _Refused(Exception):
    """The service has understood that it was asked, but not the question."""


class Service:
    """An online geocoder, asked no faster than it allows, each question once."""

    def __init__(self, settings: GeocoderConfig) -> None:
        from geopy.extra.rate_limiter import RateLimiter

        self.settings = settings
        self._where = settings.url or "its public server"
        self._geocoder = _geocoder(settings)
        # Training's processes share what the service allows.
        self._delay_s = settings.min_delay_seconds * int(os.environ.get("WORLD_SIZE", "1"))
        self._patiently = RateLimiter(
            self._ask,
            min_delay_seconds=self._delay_s,
            max_retries=_RETRIES,
            error_wait_seconds=max(_ERROR_WAIT_S, self._delay_s),
            swallow_exceptions=False,
        )
        folder = Path(settings.cache).expanduser() if settings.cache else cache_folder()
        source = {"service": settings.service, "url": settings.url}
        self._answers = Answers(folder / FILE_NAME, json.dumps(source, sort_keys=True))
        self.locate: Locate = lru_cache(maxsize=100_000)(self._locate)

    def check(self) -> None:
        """OutageError unless there is a proper answer to a question that any geocoder understands;
        a warning if the answer is that there is no such place."""
        if self._health() is None:
            print(
                f"warning: the geocoder {self.settings.service} ({self._where}) does not know "
                f"{_HEALTH}: is its data there?",
                file=sys.stderr,
                flush=True,
            )

    def _health(self) -> Found | None:
        from geopy.exc import GeocoderServiceError

        time.sleep(self._delay_s)
        try:
            return self._ask(_HEALTH)
        except (GeocoderServiceError, _Refused) as error:
            raise self._outage(str(error)) from None

    def _locate(self, text: str) -> Place | None:
        """`level` and `country_code` are those that the text names: services' own differ."""
        parts = split_parts(_clean(text))[:_MOST_PARTS]
        for count in range(len(parts), 0, -1):
            found = self._find(", ".join(reversed(parts[:count])))
            if found is not None:
                country = gazetteer().country(parts[0])
                return Place(
                    query=text,
                    latitude=found["latitude"],
                    longitude=found["longitude"],
                    level=_LEVELS[min(count, len(_LEVELS)) - 1],
                    country_code=country.country_code if country else "",
                    matched=found["address"],
                )
        return None

    def _find(self, query: str) -> Found | None:
        with suppress(KeyError):
            return self._answers[query]
        found = self._answer(query)
        self._answers[query] = found
        return found

    def _answer(self, query: str) -> Found | None:
        from geopy.exc import GeocoderServiceError

        try:
            return self._patiently(query)
        except _Refused:
            self._health()  # it is the question's fault only if another one is answered
            return None
        except GeocoderServiceError as error:
            raise self._outage(str(error)) from None

    def _ask(self, query: str) -> Found | None:
        """What the service finds. The reason of a GeocoderServiceError is ours: geopy's have the
        address that was asked, and the key in it."""
        from geopy import exc

        try:
            location = self._geocoder.geocode(query, exactly_one=True)
            return None if location is None else _kept(location)
        except (exc.GeocoderAuthenticationFailure, exc.GeocoderInsufficientPrivileges) as error:
            problem: Exception = self._no_entry(_reason(error))
        except exc.GeocoderQueryError as error:
            problem = _Refused(_reason(error))
        except Exception as error:  # what is no answer trips each service's parser in its own way
            problem = exc.GeocoderServiceError(_reason(error))
        raise problem  # from out here, so that geopy's error is not shown as the context

    def _no_entry(self, reason: str) -> UsageError:
        return UsageError(
            f"{_SECTION}.service: {self.settings.service} refuses the key, or to answer without "
            f"one ({reason}); put the right one into the environment variable {KEY_VARIABLE} or "
            f"into a file that {_SECTION}.key_file names. Services without keys refuse programs "
            f"that ask too much; see {_SECTION}.user_agent"
        )

    def _outage(self, reason: str) -> OutageError:
        return OutageError(
            f"the geocoder {self.settings.service} ({self._where}) does not answer ({reason}). "
            "Stopped; nothing was made up for it. Try again once it is back, or choose "
            f"{_SECTION}.service={OFFLINE}, which needs no network"
        )


def _clean(text: str) -> str:
    """The text without what can be in no address and trips servers: control characters, half
    surrogate pairs."""
    printable = (letter if letter.isprintable() else " " for letter in text[:_MAX_QUERY])
    return " ".join("".join(printable).split())


def _kept(location: Any) -> Found:
    return {
        "latitude": float(location.latitude),
        "longitude": float(location.longitude),
        "address": str(location.address),
    }


def _reason(error: Exception) -> str:
    """What failed, without anything that geopy says of it."""
    status = getattr(error.__cause__, "status_code", None)
    return f"HTTP {status}" if status else type(error).__name__


# --- settings → geopy's object ---------------------------------------------------------------


def _geocoder(settings: GeocoderConfig) -> Any:
    """geopy's geocoder of that name; UsageError where it wants what was not given."""
    from geopy.exc import ConfigurationError, GeocoderNotFound
    from geopy.geocoders import SERVICE_TO_GEOCODER, get_geocoder_for_service

    try:
        maker = get_geocoder_for_service(settings.service)
    except GeocoderNotFound:
        names = [OFFLINE, *SERVICE_TO_GEOCODER]
        raise UsageError(
            f"{_SECTION}.service: unknown '{settings.service}'; {nearest(settings.service, names)}"
        ) from None
    arguments = _arguments(settings, inspect.signature(maker).parameters)
    try:
        return maker(**arguments)
    except ConfigurationError:
        pass
    raise UsageError(
        f"{_SECTION}.user_agent: {settings.service} does not take '{settings.user_agent}'; give "
        "the name of your program"
    )


def _arguments(
    settings: GeocoderConfig, parameters: Mapping[str, inspect.Parameter]
) -> dict[str, Any]:
    from urllib.request import proxy_bypass

    given: dict[str, Any] = {"timeout": _TIMEOUT_S, "user_agent": settings.user_agent}
    if settings.url is not None:
        if "domain" not in parameters:
            raise UsageError(f"{_SECTION}.url: {settings.service} has one server only")
        scheme, _, domain = settings.url.partition("://")
        given |= {"scheme": scheme, "domain": domain}
        if proxy_bypass(urlsplit(settings.url).netloc):  # geopy does not look at no_proxy
            given["proxies"] = {}
    given |= _key_argument(settings, parameters)
    empty = inspect.Parameter.empty
    missing = [
        name for name, item in parameters.items() if item.default is empty and name not in given
    ]
    if set(missing) & set(_KEY_NAMES):
        raise UsageError(
            f"{_SECTION}.service: {settings.service} needs a key; put it into the environment "
            f"variable {KEY_VARIABLE}, or into a file that {_SECTION}.key_file names"
        )
    if missing == ["domain"]:
        raise UsageError(f"{_SECTION}.url: {settings.service} needs the address of a server")
    if missing:
        raise UsageError(
            f"{_SECTION}.service: {settings.service} needs {' and '.join(missing)}, for which "
            "there is no setting; choose another one"
        )
    return given


def _key_argument(
    settings: GeocoderConfig, parameters: Mapping[str, inspect.Parameter]
) -> dict[str, str]:
    """The key under the name that the service has for it; none if it takes none."""
    # Those with a password have no key, or can do without.
    names = [name for name in _KEY_NAMES if name in parameters and "password" not in parameters]
    if not names and settings.key_file is not None:
        raise UsageError(f"{_SECTION}.key_file: {settings.service} takes no key")
    key = read_key(settings.key_file, KEY_VARIABLE, _SECTION) if names else ""
    hide_in_logs(key, _LOGGERS)
    return {names[0]: key} if key else {}
