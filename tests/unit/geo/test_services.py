"""Online geocoders, on loopback: what is found, what is not, and what is neither."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from geocoding_server import KEY, KNOWN, GeocodingServer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from geoagent.config import Config, GeocoderConfig, RewardsConfig, resolve, to_yaml
from geoagent.data.record import Record
from geoagent.errors import OutageError, UsageError
from geoagent.evaluate.rows import prediction
from geoagent.geo import services
from geoagent.geo.answers import FILE_NAME
from geoagent.geo.geocoder import geocode
from geoagent.geo.services import KEY_VARIABLE, Service, check, locator
from geoagent.keys import read_key
from geoagent.rewards.registry import build
from tests.loopback import nobody

HUARAZ = "Peru; Ancash; Huaraz"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Two retries without a pause; no key, proxy or other process in the environment."""
    monkeypatch.setattr(services, "_RETRIES", 2)
    monkeypatch.setattr(services, "_ERROR_WAIT_S", 0.0)
    monkeypatch.setattr(services, "_TIMEOUT_S", 5.0)
    for name in (KEY_VARIABLE, "WORLD_SIZE", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    services._service.cache_clear()
    yield
    services._service.cache_clear()
    for name in services._LOGGERS:
        logging.getLogger(name).filters.clear()


@pytest.fixture
def server() -> Iterator[GeocodingServer]:
    server = GeocodingServer()
    yield server
    server.close()


@pytest.fixture
def nominatim(server: GeocodingServer, tmp_path: Path) -> GeocoderConfig:
    return config("nominatim", server, tmp_path)


def config(service: str, server: GeocodingServer, folder: Path, **more: Any) -> GeocoderConfig:
    return GeocoderConfig(
        service=service, url=server.url, cache=str(folder), **{"min_delay_seconds": 0.0, **more}
    )


# --- found, and not ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["nominatim", "photon", "opencage"])
def test_found(
    name: str, server: GeocodingServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    place = locator(config(name, server, tmp_path, user_agent="my-lab"))(HUARAZ)
    assert place is not None
    assert (place.latitude, place.longitude) == KNOWN["Huaraz, Ancash, Peru"]
    assert (place.query, place.level, place.country_code) == (HUARAZ, "city", "PE")
    assert place.matched.startswith("Huaraz")
    assert server.queries == ["Huaraz, Ancash, Peru"]
    assert server.agents == {"my-lab"}


def test_other_scripts_arrive_whole(nominatim: GeocoderConfig) -> None:
    place = locator(nominatim)("中国；安徽省；合肥市")
    assert place is not None
    assert place.matched == "合肥市, 安徽省, 中国"


@pytest.mark.parametrize(
    ("text", "level", "asked"),
    [
        (
            "Peru; Ancash; Nowhere",
            "region",
            ["Nowhere, Ancash, Peru", "Ancash, Peru"],
        ),
        (
            "Peru; Atlantis; Nowhere",
            "country",
            ["Nowhere, Atlantis, Peru", "Atlantis, Peru", "Peru"],
        ),
        ("Peru", "country", ["Peru"]),
        ("Atlantis; Nowhere", None, ["Nowhere, Atlantis", "Atlantis"]),
        ("", None, []),
        (" ; ;\n", None, []),
    ],
)
def test_what_is_not_found_is_dropped_from_the_end(
    text: str,
    level: str | None,
    asked: list[str],
    server: GeocodingServer,
    nominatim: GeocoderConfig,
) -> None:
    place = locator(nominatim)(text)
    assert (place and place.level) == level
    assert server.queries == asked


def test_offline_is_the_built_in_geocoder_itself() -> None:
    assert Config().rewards.geocoder == GeocoderConfig()
    assert locator(GeocoderConfig()) is geocode
    check(GeocoderConfig())


# --- outages -----------------------------------------------------------------------------------

WRONG = {
    "500": 500,
    "502": 502,
    "503": 503,
    "429": 429,
    "402": 402,
    "no json": b"<html>please log in</html>",
    "empty": b"",
    "other json": b"[1]",
    "no number": b'[{"lat": "x", "lon": "1", "display_name": "Peru"}]',
    "off the globe": b'[{"lat": "123", "lon": "1", "display_name": "Peru"}]',
}


@pytest.mark.parametrize("name", ["nominatim", "photon"])
@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG.keys())
def test_a_failure_is_an_outage_and_never_not_found(
    wrong: int | bytes, name: str, server: GeocodingServer, tmp_path: Path
) -> None:
    server.answer = lambda query, number: wrong
    locate = locator(config(name, server, tmp_path))
    with pytest.raises(OutageError, match=rf"geocoder {name} .* does not answer"):
        locate(HUARAZ)
    assert server.queries == ["Huaraz, Ancash, Peru"] * 3
    server.answer = lambda query, number: ""
    place = locate(HUARAZ)  # nothing was kept of the outage
    assert place is not None
    assert place.level == "city"


def test_a_passing_failure_is_asked_again(
    server: GeocodingServer, nominatim: GeocoderConfig
) -> None:
    server.answer = lambda query, number: 500 if number < 3 else ""
    assert locator(nominatim)(HUARAZ) is not None
    assert len(server.queries) == 3


def test_no_reply_in_time(
    server: GeocodingServer, nominatim: GeocoderConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "_TIMEOUT_S", 0.1)
    server.answer = lambda query, number: time.sleep(0.4) or ""
    with pytest.raises(OutageError, match="does not answer"):
        locator(nominatim)(HUARAZ)


def test_nobody_listens(nominatim: GeocoderConfig) -> None:
    with nobody() as port:
        nominatim.url = f"http://127.0.0.1:{port}"
        with pytest.raises(OutageError, match="GeocoderUnavailable"):
            locator(nominatim)(HUARAZ)
        with pytest.raises(OutageError, match=r"rewards.geocoder.service=offline"):
            check(nominatim)


def test_a_question_that_is_refused_is_not_found_if_the_service_is_well(
    server: GeocodingServer, nominatim: GeocoderConfig
) -> None:
    server.answer = lambda query, number: 400 if query.startswith("?") else ""
    assert locator(nominatim)("?") is None
    assert server.queries == ["?", "France"]


def test_a_service_that_refuses_every_question_is_an_outage(
    server: GeocodingServer, nominatim: GeocoderConfig
) -> None:
    server.answer = lambda query, number: b'{"error": "no such endpoint"}'
    with pytest.raises(OutageError):
        locator(nominatim)(HUARAZ)
    with pytest.raises(OutageError):
        check(nominatim)


def test_a_service_without_data_is_warned_of(
    server: GeocodingServer, nominatim: GeocoderConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its data may also be one country's, which can be what somebody wants."""
    check(nominatim)
    assert capsys.readouterr().err == ""
    server.answer = lambda query, number: b"[]"
    check(nominatim)
    assert "nominatim (http://127.0.0.1" in capsys.readouterr().err
    assert server.queries == ["France", "France"]


def test_rewards_and_evaluation_stop_at_an_outage(
    server: GeocodingServer, nominatim: GeocoderConfig
) -> None:
    server.answer = lambda query, number: 503
    reward = build(RewardsConfig(geocoder=nominatim), ["spatial"])["spatial"]
    text = f"<answer>{HUARAZ}</answer>"
    with pytest.raises(OutageError):
        reward([text], latitude=[0.0], longitude=[0.0])
    with pytest.raises(OutageError):
        prediction("base", record(), text, locator(nominatim))


def test_rewards_and_evaluation_ask_the_service(
    server: GeocodingServer, nominatim: GeocoderConfig
) -> None:
    latitude, longitude = KNOWN["Huaraz, Ancash, Peru"]
    reward = build(RewardsConfig(geocoder=nominatim), ["spatial"])["spatial"]
    text = f"<answer>{HUARAZ}</answer>"
    assert reward([text], latitude=[latitude], longitude=[longitude]) == [1.0]
    row = prediction("base", record(), text, locator(nominatim))
    assert (row["predicted_latitude"], row["level"]) == (latitude, "city")
    assert len(server.queries) == 1  # one service in a process, whoever asks


def record() -> Record:
    return Record("1", "1.png", 0.0, 0.0, "Peru", "Ancash", "Huaraz", HUARAZ, "heldout")


# --- the key -----------------------------------------------------------------------------------


def test_a_wrong_key_is_told_at_once(
    server: GeocodingServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY_VARIABLE, "the-wrong-one")
    with pytest.raises(UsageError, match=rf"refuses the key.*HTTP 401.*{KEY_VARIABLE}") as caught:
        locator(config("opencage", server, tmp_path))(HUARAZ)
    assert len(server.queries) == 1
    assert "the-wrong-one" not in str(caught.value)


@pytest.mark.parametrize("wrong", [None, 500, 403, b"<html>", ""])
def test_the_key_is_never_shown(
    wrong: Any,
    server: GeocodingServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Also not where the connection breaks, which urllib3 logs with the whole address."""
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    server.answer = lambda query, number: wrong
    service = Service(config("opencage", server, tmp_path))
    shown = [repr(service), str(service)]
    try:
        shown.append(repr(service.locate(HUARAZ)))
    except (OutageError, UsageError) as error:
        shown += traceback.format_exception(error)
        shown += [repr(one) for one in behind(error)]
    assert (wrong == "") == (len(shown) == 3)
    logged = "".join(logging.Formatter().format(entry) for entry in caplog.records)
    assert "/geocode/v1/json?key=(key)&q=" in logged
    kept = (tmp_path / FILE_NAME).read_bytes() if (tmp_path / FILE_NAME).exists() else b""
    shown += [logged, caplog.text, *capfd.readouterr(), kept.decode("utf-8", "replace")]
    for text in shown:
        assert "s3cret" not in text


def behind(error: BaseException | None) -> Iterator[BaseException]:
    """An error and all that it was raised in the course of, whether or not that is shown."""
    while error is not None:
        yield error
        error = error.__context__


def test_a_retry_is_a_line_and_no_traceback(
    server: GeocodingServer, nominatim: GeocoderConfig, caplog: pytest.LogCaptureFixture
) -> None:
    server.answer = lambda query, number: 500 if number == 1 else ""
    locator(nominatim)(HUARAZ)
    (retry,) = (entry for entry in caplog.records if entry.levelno >= logging.WARNING)
    assert logging.Formatter().format(retry).endswith("(HTTP 500)")
    assert "\n" not in logging.Formatter().format(retry)


def test_no_key_in_configuration_and_manifest(
    server: GeocodingServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from jobs.manifest import manifest

    monkeypatch.setenv(KEY_VARIABLE, KEY)
    whole = Config()
    whole.rewards.geocoder = config("opencage", server, tmp_path)
    locator(whole.rewards.geocoder)
    document, _ = manifest(whole, tmp_path)
    assert KEY not in to_yaml(whole) + json.dumps(document)


@pytest.mark.parametrize(
    ("content", "mode", "problem"),
    [
        (f"{KEY}\n", 0o644, "can be read by others; do: chmod 600"),
        (f"{KEY}\n", 0o640, "can be read by others"),
        ("", 0o600, "expected the key and nothing else"),
        ("key: x\n", 0o600, "expected the key and nothing else"),
        (None, 0o600, "No such file"),
    ],
)
def test_key_files_that_are_refused(
    content: str | None, mode: int, problem: str, tmp_path: Path
) -> None:
    path = tmp_path / "key"
    if content is not None:
        path.write_text(content)
        path.chmod(mode)
    with pytest.raises(UsageError, match=rf"key_file: {path}.*{problem}") as caught:
        read_key(str(path), KEY_VARIABLE, "rewards.geocoder")
    assert KEY not in str(caught.value)


def test_a_key_from_a_file(
    server: GeocodingServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY_VARIABLE, "not-this-one")
    path = tmp_path / "key"
    path.write_text(f"{KEY}\n")
    path.chmod(0o600)
    settings = config("opencage", server, tmp_path, key_file=str(path))
    assert locator(settings)("France; Paris") is not None


# --- settings ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"service": "nominatm"}, "unknown 'nominatm'; did you mean nominatim"),
        ({"service": "offlin"}, "did you mean offline"),
        (
            {"service": "opencage"},
            f"needs a key; put it into the environment variable {KEY_VARIABLE}",
        ),
        ({"service": "liveaddress"}, "needs auth_id and auth_token, for which there is no setting"),
        ({"service": "pelias"}, r"rewards.geocoder.url: pelias needs the address"),
        ({"service": "nominatim", "key_file": "x"}, "key_file: nominatim takes no key"),
        ({"service": "nominatim", "user_agent": ""}, r"user_agent: nominatim does not take ''"),
        ({"service": "baidu", "url": "http://x"}, "baidu has one server only"),
    ],
)
def test_settings_that_are_refused_before_anything_is_sent(
    values: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        locator(GeocoderConfig(**values))


def test_every_other_service_of_geopy_can_be_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    from geopy.geocoders import SERVICE_TO_GEOCODER

    monkeypatch.setenv(KEY_VARIABLE, KEY)
    refused = set()
    for name in SERVICE_TO_GEOCODER:
        try:
            assert callable(locator(GeocoderConfig(service=name)))
        except UsageError:
            refused.add(name)
    assert refused == {"liveaddress", "pelias"}  # two keys; an address


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["url=http://x:8080"], "rewards.geocoder.url: needs a service"),
        (["key_file=x"], "rewards.geocoder.key_file: needs a service"),
        (["service=nominatim", "url=x:8080"], "'x:8080' is no address such as http://HOST:8080"),
        (["service=nominatim", "url=http://me:pass@x"], "has more than a server and a path"),
        (["service=nominatim", "url=http://x/?key=pass"], "has more than a server and a path"),
        (["service=nominatim", "min_delay_seconds=-1"], "out of range"),
        (["user_agent=${oc.env:GEOAGENT_GEOCODER_KEY}"], "secrets are not read into"),
    ],
)
def test_configurations_that_are_refused(words: list[str], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        resolve([f"rewards.geocoder.{word}" for word in words])
    assert message in str(caught.value)
    assert "pass" not in str(caught.value)


def test_the_keys_variable_is_not_written_into_jobs() -> None:
    with pytest.raises(UsageError, match="looks like a secret"):
        resolve([f"cluster.environment.{KEY_VARIABLE}=x"])


# --- pace and cache ----------------------------------------------------------------------------


@pytest.mark.parametrize("processes", [1, 2])
def test_requests_keep_their_distance(
    processes: int, server: GeocodingServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The processes of a job share what the service allows. Retries count as well."""
    monkeypatch.setenv("WORLD_SIZE", str(processes))
    server.answer = lambda query, number: 500 if number == 1 else ""
    locate = locator(config("nominatim", server, tmp_path, min_delay_seconds=0.1))
    began = time.perf_counter()
    assert locate(HUARAZ) is not None
    assert locate("France; Paris") is not None
    assert len(server.queries) == 3
    assert time.perf_counter() - began >= 2 * 0.1 * processes


def test_answers_are_kept_also_that_nothing_was_found(
    server: GeocodingServer, nominatim: GeocoderConfig
) -> None:
    first, second = Service(nominatim), Service(nominatim)
    texts = [HUARAZ, "Peru; Atlantis"]
    places = [first.locate(text) for text in texts]
    assert len(server.queries) == 3
    assert [second.locate(text) for text in texts] == places
    assert len(server.queries) == 3


def test_answers_of_another_service_are_others(
    server: GeocodingServer, nominatim: GeocoderConfig, tmp_path: Path
) -> None:
    locator(nominatim)("Peru")
    locator(config("photon", server, tmp_path))("Peru")
    assert server.queries == ["Peru", "Peru"]


_ASK = """
import sys
from geoagent.config import GeocoderConfig
from geoagent.geo.services import locator
url, cache, *texts = sys.argv[1:]
locate = locator(GeocoderConfig(service="nominatim", url=url, cache=cache, min_delay_seconds=0))
print([place and place.level for place in map(locate, texts)])
"""


def test_two_processes_share_the_answers(server: GeocodingServer, tmp_path: Path) -> None:
    command = [sys.executable, "-c", _ASK, server.url, str(tmp_path), HUARAZ, "Atlantis", "Peru; X"]
    said = [subprocess.run(command, capture_output=True, text=True, check=True) for _ in range(2)]
    assert [one.stdout.strip() for one in said] == ["['city', None, 'country']"] * 2
    assert [one.stderr for one in said] == ["", ""]
    assert server.queries == ["Huaraz, Ancash, Peru", "Atlantis", "X, Peru", "Peru"]


def test_a_cache_that_cannot_be_written_is_no_outage(
    server: GeocodingServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("no folder")
    locate = locator(config("nominatim", server, tmp_path / "file"))
    assert locate(HUARAZ) is not None
    assert locate("France; Paris") is not None
    assert capsys.readouterr().err.count("warning: ") == 1


# --- what models write -------------------------------------------------------------------------


@settings(
    deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(text=st.text(st.characters(), max_size=60))
def test_any_text_has_an_answer(
    text: str, server: GeocodingServer, nominatim: GeocoderConfig
) -> None:
    del server.queries[:]
    place = locator(nominatim)(text)
    assert place is None or place.query == text
    assert all(query.isprintable() and query.strip() for query in server.queries)


def test_long_and_endless_texts_are_cut(server: GeocodingServer, nominatim: GeocoderConfig) -> None:
    assert locator(nominatim)("合" * 10**6) is None
    assert locator(nominatim)("a;" * 10**5) is None
    assert len(server.queries) == 6
    assert max(map(len, server.queries)) == 500
