"""The built-in geocoder in geopy's form keeps what geopy's own tests ask of its geocoders.

Each docstring names the tests of geopy that it answers to. What they ask of the services only
(proxies that are used, HTTP errors, documentation in reStructuredText, being listed in
`SERVICE_TO_GEOCODER`, which programs cannot add to) has no counterpart here.
"""

from __future__ import annotations

import asyncio
import inspect
import ssl
import sys
from dataclasses import asdict, dataclass
from functools import partial
from types import ModuleType
from typing import Any

import geopy.geocoders
import pytest
from geopy.adapters import AioHTTPAdapter, RequestsAdapter, URLLibAdapter
from geopy.exc import GeocoderNotFound, GeocoderQueryError
from geopy.extra.rate_limiter import AsyncRateLimiter, RateLimiter
from geopy.geocoders import Nominatim, get_geocoder_for_service
from geopy.geocoders.base import DEFAULT_SENTINEL, Geocoder
from geopy.location import Location
from geopy.point import Point
from hypothesis import given, settings
from hypothesis import strategies as st

from geoagent.geo.geocoder import geocode
from geoagent.geo.offline import OfflineGeocoder

HUARAZ = (-9.52779, -77.52778)


@dataclass(frozen=True)
class Spot:
    """As geoagent.geo.reverse has it."""

    latitude: float
    longitude: float
    continent: str | None
    country_code: str | None
    country: str | None
    region: str | None
    city: str
    city_country_code: str
    distance_km: float
    main_city: str


PLACES = (
    (-9.53, -77.53, "South America", "PE", "Peru", "Ancash", "Huaraz"),
    (48.85, 2.35, "Europe", "FR", "France", "Île-de-France", "Paris"),
    (31.86, 117.28, "Asia", "CN", "China", "Anhui", "Hefei"),
    (1.29, 103.85, "Asia", "SG", "Singapore", "Singapore", "Singapore"),
    (40.71, -74.0, "North America", "US", "United States", "New York", "New York City"),
)


def nearest(latitude: float, longitude: float) -> Spot:
    """Stands in for geoagent.geo.reverse.reverse: five places, the sea off Ghana, the pole."""
    row = min(PLACES, key=lambda row: (row[0] - latitude) ** 2 + (row[1] - longitude) ** 2)
    *_, continent, code, country, region, city = row
    if abs(latitude) < 1 and abs(longitude) < 1:
        return Spot(latitude, longitude, None, None, None, None, city, code, 999.0, city)
    if latitude < -80:
        return Spot(
            latitude, longitude, "Antarctica", "AQ", "Antarctica", None, city, code, 999.0, city
        )
    return Spot(latitude, longitude, continent, code, country, region, city, code, 1.0, city)


@pytest.fixture(autouse=True)
def known_points(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("geoagent.geo.reverse")
    module.reverse = nearest  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "geoagent.geo.reverse", module)


@pytest.fixture
def geocoder() -> OfflineGeocoder:
    return OfflineGeocoder()


# --- the form ----------------------------------------------------------------------------------


def test_init_method_signature() -> None:
    """test_init_method_signature."""
    parameters = inspect.signature(OfflineGeocoder.__init__).parameters
    for name in ("timeout", "proxies", "user_agent", "ssl_context", "adapter_factory"):
        assert parameters[name].kind is inspect.Parameter.KEYWORD_ONLY
    for name in ("timeout", "proxies", "ssl_context"):
        assert parameters[name].default is DEFAULT_SENTINEL
    assert parameters["user_agent"].default is parameters["adapter_factory"].default is None


@pytest.mark.parametrize("method", ["geocode", "reverse"])
def test_method_signatures(method: str) -> None:
    """test_geocode_method_signature, test_reverse_method_signature."""
    signature = inspect.signature(getattr(OfflineGeocoder, method))
    _, query, *others = signature.parameters.values()
    assert (query.name, query.kind) == ("query", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    assert {item.kind for item in others} == {inspect.Parameter.KEYWORD_ONLY}
    assert signature.parameters["exactly_one"].default is True
    assert signature.parameters["timeout"].default is DEFAULT_SENTINEL
    # Whoever calls geopy's geocoders by these names can call this one.
    theirs = inspect.signature(getattr(Nominatim, method)).parameters
    assert set(signature.parameters) <= set(theirs)


def test_no_extra_public_methods() -> None:
    """test_no_extra_public_methods."""
    methods = {
        name
        for name, _ in inspect.getmembers(OfflineGeocoder, inspect.isfunction)
        if not name.startswith("_")
    }
    assert methods == {"geocode", "reverse"}
    assert issubclass(OfflineGeocoder, Geocoder)


def test_init_with_args() -> None:
    """GeocoderTestCase.test_init_with_args, test_user_agent_custom, and of the adapters
    test_geocoder_constructor_has_both_schemes_proxy."""
    context = ssl.create_default_context()
    made = OfflineGeocoder(
        scheme="http",
        timeout=942,
        proxies="192.0.2.0:8080",
        user_agent="my_user_agent/1.0",
        ssl_context=context,
    )
    assert (made.scheme, made.timeout, made.ssl_context) == ("http", 942, context)
    assert made.proxies == {"http": "192.0.2.0:8080", "https": "192.0.2.0:8080"}
    assert made.headers == {"User-Agent": "my_user_agent/1.0"}


def test_init_with_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    """GeocoderTestCase.test_init_with_defaults, test_init_with_none_overrides_default,
    test_user_agent_default."""
    options = geopy.geocoders.options
    monkeypatch.setattr(options, "default_user_agent", "mocked_user_agent/0.0.0")
    monkeypatch.setattr(options, "default_timeout", 10)
    made = OfflineGeocoder()
    assert made.headers["User-Agent"] == "mocked_user_agent/0.0.0"
    assert (made.timeout, made.scheme) == (10, options.default_scheme)
    assert OfflineGeocoder(timeout=None).timeout is None


def test_geopys_table_of_services_does_not_have_it() -> None:
    """GetGeocoderTestCase: there is no way to add a geocoder to get_geocoder_for_service."""
    with pytest.raises(GeocoderNotFound):
        get_geocoder_for_service("offlinegeocoder")


# --- geocode -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "address", "level"),
    [
        ("Peru; Ancash; Huaraz", "Huaraz, Ancash, Peru", "city"),
        ("France; Paris", "Paris, Île-de-France, France", "city"),
        ("中国；安徽省；合肥市", "Hefei, Anhui, China", "city"),
        ("United States; Nevada", "Nevada, United States", "region"),
        ("Japan", "Japan", "country"),
        ("Singapore; Singapore", "Singapore", "city"),
    ],
)
def test_geocode(query: str, address: str, level: str, geocoder: OfflineGeocoder) -> None:
    """BaseTestNominatim.test_geocode; TestGeoNames.test_query_urlencoding for other scripts."""
    location = geocoder.geocode(query)
    place = geocode(query)
    assert isinstance(location, Location)
    assert place is not None
    assert location.address == str(location) == address
    assert (location.latitude, location.longitude) == (place.latitude, place.longitude)
    assert location.point == Point(place.latitude, place.longitude)
    assert location.raw == asdict(place)
    assert location.raw["level"] == level
    named, (latitude, longitude) = location
    assert (named, latitude, longitude) == (address, *location.point[:2])


def test_where_it_is(geocoder: OfflineGeocoder) -> None:
    """BaseTestGeocoder.geocode_run with its delta of half a degree."""
    location = geocoder.geocode(query="Peru; Ancash; Huaraz")
    assert tuple(location.point)[:2] == pytest.approx(HUARAZ, abs=0.5)
    assert location.altitude == 0


@pytest.mark.parametrize("exactly_one", [True, False])
@pytest.mark.parametrize("query", ["dsadjkasdjasd", "", " ", ";;;", "\x00"])
def test_geocode_empty_result(query: str, exactly_one: bool, geocoder: OfflineGeocoder) -> None:
    """test_geocode_empty_result; BaseTestGeocoder refuses an empty list in place of None."""
    assert geocoder.geocode(query, exactly_one=exactly_one) is None


def test_exactly_one(geocoder: OfflineGeocoder) -> None:
    """BaseTestGeocoder._verify_request: a list where exactly_one is false."""
    one = geocoder.geocode("France; Paris")
    assert geocoder.geocode("France; Paris", exactly_one=False) == [one]
    assert geocoder.reverse(HUARAZ, exactly_one=False) == [geocoder.reverse(HUARAZ)]


@pytest.mark.parametrize("timeout", [None, 1, 0.5, DEFAULT_SENTINEL])
def test_timeout_is_taken(timeout: Any, geocoder: OfflineGeocoder) -> None:
    """GeocoderTestCase.test_call_geocoder_timeout, as far as it goes without a network."""
    assert geocoder.geocode("Japan", timeout=timeout) is not None
    assert geocoder.reverse(HUARAZ, timeout=timeout) is not None


@pytest.mark.parametrize("query", [None, 5, float("nan"), b"Japan", ["Japan"]])
def test_queries_that_are_no_text(query: Any, geocoder: OfflineGeocoder) -> None:
    """geopy raises GeocoderQueryError, which is also a ValueError, for input that cannot do."""
    with pytest.raises(GeocoderQueryError, match="not " + type(query).__name__):
        geocoder.geocode(query)


@settings(deadline=None, max_examples=50)
@given(st.text(max_size=40))
def test_any_text(text: str) -> None:
    location = OfflineGeocoder(adapter_factory=URLLibAdapter).geocode(f"Peru; {text}")
    assert location is None or isinstance(location.address, str)


# --- reverse -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "query",
    [
        HUARAZ,
        list(HUARAZ),
        Point(*HUARAZ),
        Point(*HUARAZ, 3.05),
        "-9.52779, -77.52778",
        "  -9.52779  ,  -77.52778 ",
        "-9.52779 -77.52778",
        "9 31m 40s S, 77 31m 40s W",
        (-9.52779, 360 - 77.52778),
    ],
)
def test_reverse(query: Any, geocoder: OfflineGeocoder) -> None:
    """test_reverse; GeocoderPointCoercionTestCase: a Point, a tuple, a text, spaces around it."""
    location = geocoder.reverse(query)
    assert location.address == "Huaraz, Ancash, Peru"
    assert tuple(location.point)[:2] == pytest.approx(HUARAZ, abs=1e-4)
    assert location.raw["country_code"] == "PE"
    assert location.raw["distance_km"] == 1.0


def test_a_country_without_cities(geocoder: OfflineGeocoder) -> None:
    """The nearest city is another country's, and no part of the address."""
    assert geocoder.reverse((-89.9, 0)).address == "Antarctica"


@pytest.mark.parametrize("exactly_one", [True, False])
def test_reverse_empty_result(exactly_one: bool, geocoder: OfflineGeocoder) -> None:
    """BaseTestNominatim.test_reverse_empty_result, which has this point."""
    assert geocoder.reverse(Point(0.05, -0.15), exactly_one=exactly_one) is None


@pytest.mark.parametrize(
    "query",
    [
        "175 5th Avenue, NYC, USA",
        "",
        "x" * 300,
        (91.0, 0.0),
        (-91.0, 0.0),
        (float("nan"), 0.0),
        (0.0, float("inf")),
        (1, 2, 3, 4),
        ("north", "west"),
        48.85,
        None,
        object(),
    ],
)
@pytest.mark.filterwarnings("ignore:Latitude normalization")
def test_bad_points(query: Any, geocoder: OfflineGeocoder) -> None:
    """GeocoderPointCoercionTestCase.test_address, and test_point's latitudes beyond the poles.
    geopy's Point takes None for 0° N 0° E, and raises TypeError for an object()."""
    with pytest.raises(ValueError, match=r"."):
        geocoder.reverse(query)


@settings(deadline=None, max_examples=50)
@given(st.floats(-90, 90), st.floats(-1e6, 1e6))
def test_any_point(latitude: float, longitude: float) -> None:
    """Longitudes beyond 180° are turned back, as Point does."""
    location = OfflineGeocoder(adapter_factory=URLLibAdapter).reverse((latitude, longitude))
    if location is not None:
        assert location.latitude == pytest.approx(latitude)
        assert -180 <= location.longitude <= 180


# --- with the rest of geopy --------------------------------------------------------------------


@pytest.mark.parametrize("adapter", [RequestsAdapter, URLLibAdapter])
def test_with_synchronous_adapters(adapter: Any) -> None:
    """The tests of each adapter; `with` closes it."""
    with OfflineGeocoder(adapter_factory=adapter) as geocoder:
        assert isinstance(geocoder, OfflineGeocoder)
        assert geocoder.geocode("Japan").address == "Japan"
        assert geocoder.reverse(HUARAZ).address == "Huaraz, Ancash, Peru"


def test_with_an_asynchronous_adapter() -> None:
    """BaseTestGeocoder._make_request, which awaits what a geocoder with such an adapter gives."""

    async def ask() -> list[Any]:
        async with OfflineGeocoder(adapter_factory=AioHTTPAdapter) as geocoder:
            waiting = geocoder.geocode("Japan")
            assert inspect.isawaitable(waiting)
            return [
                await waiting,
                await geocoder.geocode("dsadjkasdjasd"),
                *await geocoder.reverse(HUARAZ, exactly_one=False),
                *await asyncio.gather(geocoder.geocode("France; Paris"), geocoder.geocode("Peru")),
            ]

    japan, nothing, huaraz, paris, peru = asyncio.run(ask())
    assert nothing is None
    assert [place.address for place in (japan, huaraz, paris, peru)] == [
        *("Japan", "Huaraz, Ancash, Peru", "Paris, Île-de-France, France", "Peru")
    ]


def test_bad_input_to_an_asynchronous_one_is_told_at_once() -> None:
    """geopy's geocoders read the point before they make the awaitable."""
    geocoder = OfflineGeocoder(adapter_factory=AioHTTPAdapter)
    with pytest.raises(ValueError, match="no point"):
        geocoder.reverse(None)
    with pytest.raises(GeocoderQueryError):
        geocoder.geocode(5)


def test_the_wrong_kind_of_with() -> None:
    """Geocoder.__enter__ and __aenter__ refuse the other kind's adapter."""
    with pytest.raises(TypeError), OfflineGeocoder(adapter_factory=AioHTTPAdapter):
        pass

    async def enter() -> None:
        async with OfflineGeocoder(adapter_factory=URLLibAdapter):
            pass

    with pytest.raises(TypeError):
        asyncio.run(enter())


def test_rate_limiter(geocoder: OfflineGeocoder) -> None:
    """test_max_retries: errors of a query are swallowed after the retries, others are not."""
    limited = RateLimiter(
        geocoder.geocode, max_retries=1, error_wait_seconds=0, return_value_on_exception="nothing"
    )
    found = [limited(query, exactly_one=True) for query in ("France; Paris", "dsadjkasdjasd")]
    assert [place and place.raw["level"] for place in found] == ["city", None]
    assert limited(5) == "nothing"
    reverse = RateLimiter(geocoder.reverse)
    assert reverse(HUARAZ).address == "Huaraz, Ancash, Peru"
    with pytest.raises(ValueError, match="no point"):
        reverse(None)


def test_asynchronous_rate_limiter() -> None:
    """The tests of the rate limiter with `is_async`, and its documented example with gather."""

    async def ask() -> list[Any]:
        async with OfflineGeocoder(adapter_factory=AioHTTPAdapter) as geocoder:
            limited = AsyncRateLimiter(geocoder.geocode, min_delay_seconds=0.001)
            return await asyncio.gather(*(limited(query) for query in ("Peru", "Japan", "x")))

    assert [place and place.address for place in asyncio.run(ask())] == ["Peru", "Japan", None]


def test_synchronous_rate_limiter_refuses_an_asynchronous_geocoder() -> None:
    """test_sync_raises_for_awaitable."""
    geocoder = OfflineGeocoder(adapter_factory=AioHTTPAdapter)
    waiting: list[Any] = []

    def ask(query: str) -> Any:
        waiting.append(geocoder.geocode(query))
        return waiting[-1]

    with pytest.raises(ValueError, match="AsyncRateLimiter"):
        RateLimiter(ask)("Japan")
    waiting[0].close()


def test_a_column_of_a_table(geocoder: OfflineGeocoder) -> None:
    """The documented use with pandas: apply with a RateLimiter, then points of what was found."""
    import pandas

    table = pandas.DataFrame({"name": ["Peru; Ancash; Huaraz", "dsadjkasdjasd", "Japan"]})
    table["location"] = table["name"].apply(RateLimiter(geocoder.geocode))
    table["point"] = table["location"].apply(lambda place: tuple(place.point) if place else None)
    assert table["point"][0] == pytest.approx((*HUARAZ, 0.0), abs=0.5)
    assert table["point"].isna().tolist() == [False, True, False]


def test_partial(geocoder: OfflineGeocoder) -> None:
    """The documented use of functools.partial to set what a call would else get each time."""
    all_of = partial(geocoder.geocode, exactly_one=False)
    assert [place.address for place in all_of("Japan")] == ["Japan"]


def test_with_the_real_points(monkeypatch: pytest.MonkeyPatch, geocoder: OfflineGeocoder) -> None:
    """What the stand-in is for, once geoagent.geo.reverse is there."""
    monkeypatch.delitem(sys.modules, "geoagent.geo.reverse")
    pytest.importorskip("geoagent.geo.reverse")
    assert geocoder.geocode("Peru; Ancash; Huaraz").address == "Huaraz, Ancash, Peru"
    location = geocoder.reverse(HUARAZ)
    assert location.address == "Huaraz, Ancash, Peru"
    assert tuple(location.point)[:2] == pytest.approx(HUARAZ)
    assert geocoder.reverse((0.0, -30.0)) is None


def test_arguments_of_nominatim(geocoder: OfflineGeocoder) -> None:
    """Programs that pass what geopy's Nominatim takes go on working."""
    place = geocoder.geocode(
        "Peru; Ancash; Huaraz", language="en", limit=1, addressdetails=True, country_codes="pe"
    )
    assert place.address == "Huaraz, Ancash, Peru"
    assert geocoder.geocode("Peru; Ancash; Huaraz", country_codes=["CL", "AR"]) is None
    assert geocoder.reverse("-9.53, -77.53", language="en", zoom=10) is not None


def test_structured_queries(geocoder: OfflineGeocoder) -> None:
    """geopy's `test_structured_query`"""
    query = {"city": "Huaraz", "state": "Ancash", "country": "Peru", "street": "Luzuriaga 1"}
    assert geocoder.geocode(query).address == "Huaraz, Ancash, Peru"
    with pytest.raises(GeocoderQueryError, match="'planet' is no part of a query"):
        geocoder.geocode({"planet": "Mars"})
