"""The real gazetteer: what is found, at which level, and what is rightly not found."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geoagent.data.places import countries
from geoagent.errors import UsageError
from geoagent.geo.distance import great_circle_km
from geoagent.geo.geocoder import geocode, geocode_many


def test_all_places_of_the_sample_are_found_within_25_km() -> None:
    cities = [(country, city) for country in countries() for city in country.cities]
    queries = [f"{country.name}; {city.region}; {city.name}" for country, city in cities]
    for (country, city), place in zip(cities, geocode_many(queries), strict=True):
        assert place is not None, city
        assert (place.level, place.country_code) == ("city", country.code)
        away = great_circle_km(place.latitude, place.longitude, city.latitude, city.longitude)
        assert away <= 25, place


@pytest.mark.parametrize(
    ("text", "level", "code", "matched"),
    [
        ("Germany; Bavaria; Munich", "city", "DE", "Munich"),
        ("Deutschland; Bayern; München", "city", "DE", "Munich"),
        ("中国；安徽省；合肥市", "city", "CN", "Hefei"),
        ("France; Paris", "city", "FR", "Paris"),
        ("USA; TX; Paris", "city", "US", "Paris"),
        ("United States; MN, Saint Louis County; Ash Lake", "county", "US", "Saint Louis County"),
        ("Japan", "country", "JP", "Japan"),
        ("Japan; Atlantis; Nowhere", "country", "JP", "Japan"),
        # Territories that answers put under another country.
        ("China; Hong Kong; Kowloon, Jordan Valley", "city", "HK", "Kowloon"),
        ("United States; Puerto Rico; San Juan", "city", "PR", "San Juan"),
        # A region that is also the name or the code of a country.
        ("United States; Georgia; Atlanta", "city", "US", "Atlanta"),
        ("United States; CA; Los Angeles", "city", "US", "Los Angeles"),
        ("Russia; Mongolia; Ulaanbaatar", "country", "RU", "Russia"),
        # Two parts: region or city.
        ("United States; Nevada", "region", "US", "Nevada"),
        ("United States; Georgia", "region", "US", "Georgia"),
        ("United States; New York", "city", "US", "New York City"),
        ("United States; Oklahoma City", "city", "US", "Oklahoma City"),
        ("Mexico; Mexico City", "city", "MX", "Mexico City"),
        # The middle part is a city, the last is not known.
        ("China; Hefei; Some Lane 5", "city", "CN", "Hefei"),
        # Near the region, and far from it.
        ("Russia; Moscow Oblast; Moscow", "city", "RU", "Moscow"),
        # The other way round, and with commas.
        ("Paris; France", "city", "FR", "Paris"),
        ("Huaraz; Ancash; Peru", "city", "PE", "Huaraz"),
        ("Huaraz, Ancash, Peru", "city", "PE", "Huaraz"),
        ("Peru, Ancash", "region", "PE", "Ancash"),
        ("Korea, South", "country", "KR", "South Korea"),
        ("Gambia, The; Banjul", "city", "GM", "Banjul"),
        # Finer than a city, and several names of one place.
        ("Japan; Tokyo; Shibuya; Dogenzaka 2-chome", "city", "JP", "Shibuya"),
        ("Italy; Trentino-Alto Adige; Bolzano/Bozen", "city", "IT", "Bolzano"),
        ("Vietnam; Saigon (Ho Chi Minh City)", "city", "VN", "Ho Chi Minh City"),
        # Second-level divisions.
        ("United States; Hennepin County; Minneapolis", "city", "US", "Minneapolis"),
        ("United States; Minnesota; Hennepin County", "county", "US", "Hennepin County"),
        ("United States; MN, Saint Louis County", "county", "US", "Saint Louis County"),
        ("United States; Minnesota, Duluth", "city", "US", "Duluth"),
        ("United States; Duluth, Minnesota", "city", "US", "Duluth"),
        ("Germany; Landkreis Rosenheim", "city", "DE", "Rosenheim"),
        ("China; Hefei; Luyang", "city", "CN", "Hefei"),
        ("China; Anhui; Luyang, Hefei", "city", "CN", "Hefei"),
        ("Puerto Rico; Puerto Rico; Yauco", "region", "PR", "Yauco"),
        ("Madagascar; Fianarantsoa; Ihosy", "city", "MG", "Ihosy"),
        ("United States; Washington; King County", "county", "US", "King County"),
        ("United States; Arkansas; Jefferson County", "county", "US", "Jefferson County"),
        ("United States; Florida; Columbia County", "county", "US", "Columbia County"),
        ("United States; Florida; Cuba", "region", "US", "Florida"),
        # The region, or the city of its name.
        ("United States; Texas", "region", "US", "Texas"),
        ("United States; Arizona", "region", "US", "Arizona"),
        ("United States; Oklahoma", "region", "US", "Oklahoma"),
        ("China; Xinjiang", "region", "CN", "Xinjiang"),
        ("Argentina; Buenos Aires", "city", "AR", "Buenos Aires"),
        ("Bulgaria; Sofia", "city", "BG", "Sofia"),
        # Slips of the pen.
        ("Germany; Baveria; Munihc", "city", "DE", "Munich"),
        ("Germny; Bavaria; Munich", "city", "DE", "Munich"),
        ("Munich; Bavaria; Germny", "city", "DE", "Munich"),
        ("Russia; Yekaterinbrg", "city", "RU", "Yekaterinburg"),
        ("United States; Texas; Chicago", "region", "US", "Texas"),
        ("China; Beijing; Chaoyang", "region", "CN", "Beijing"),
        # The name is that of a county, and of a larger city elsewhere.
        ("Colombia; San Andrés; San Andrés", "city", "CO", "San Andrés"),
        # What two countries claim, and what belongs to a country but has a code of its own.
        ("Russia; Republic of Crimea; Yalta", "city", "UA", "Yalta"),
        ("Serbia; Kosovo; Pristina", "city", "XK", "Pristina"),
        # Names that no list has.
        ("アメリカ; ニューヨーク", "city", "US", "New York City"),
        ("Англия; Лондон", "city", "GB", "London"),
        ("DRC; Kinshasa", "city", "CD", "Kinshasa"),
        ("Chile; Valparaíso; Easter Island", "city", "CL", "Hanga Roa"),
        # Labels, separators, a continent.
        ("Country: Peru; Region: Ancash; City: Huaraz", "city", "PE", "Huaraz"),
        ("Peru / Ancash / Huaraz", "city", "PE", "Huaraz"),
        ("Peru | Ancash | Huaraz", "city", "PE", "Huaraz"),
        ("Peru - Ancash - Huaraz", "city", "PE", "Huaraz"),
        ("Peru\nAncash\nHuaraz", "city", "PE", "Huaraz"),
        ("South America; Peru; Ancash; Huaraz", "city", "PE", "Huaraz"),
        ("Huaraz, Ancash, Peru, South America", "city", "PE", "Huaraz"),
        ("1. Peru; 2. Ancash; 3. Huaraz", "city", "PE", "Huaraz"),
        ("Answer: Peru>Ancash>Huaraz", "city", "PE", "Huaraz"),
        ("País: Perú; Región: Ancash; Ciudad: Huaraz", "city", "PE", "Huaraz"),
        ("中国安徽省合肥市", "city", "CN", "Hefei"),
        ("中国；浙江省；杭州市西湖区", "city", "CN", "Hangzhou"),
        ("Antarctica; McMurdo Station", "country", "AQ", "Antarctica"),
        # More is said than the name.
        ("Türkiye (Turkey); Istanbul", "city", "TR", "Istanbul"),
        ("England, UK; London", "city", "GB", "London"),
        ("likely Peru; Ancash; near Huaraz", "city", "PE", "Huaraz"),
        ("United States; Illinois; Downtown Chicago", "city", "US", "Chicago"),
        ("Peru; Ancash; Huaraz or Caraz", "city", "PE", "Huaraz"),
        ("Peru; Ancash; Unknown", "region", "PE", "Ancash"),
        ("NA; Khomas; Windhoek", "city", "NA", "Windhoek"),
        # The region comes later, or is none.
        ("United States; Portland; Maine", "city", "US", "Portland"),
        ("United States; West Coast; California", "region", "US", "California"),
        ("US; Midwest; Chicago", "city", "US", "Chicago"),
        ("Australia; East Coast; Brisbane", "city", "AU", "Brisbane"),
        ("Argentina; Buenos Aires; Mar del Plata", "city", "AR", "Mar del Plata"),
        ("United States; California; San Bernardino County; Needles", "city", "US", "Needles"),
        # Two countries.
        ("India; Italy", "country", "IN", "India"),
        ("Spain; Ukraine", "country", "ES", "Spain"),
        ("United States; Lebanon", "city", "US", "Lebanon"),
        # A name of a city elsewhere is no slip.
        ("India; Pakistan; Lahore", "country", "IN", "India"),
        ("United States; California; Paris", "region", "US", "California"),
    ],
)
def test_levels(text: str, level: str, code: str, matched: str) -> None:
    place = geocode(text)
    assert place is not None
    assert (place.level, place.country_code, place.matched) == (level, code, matched)
    assert place.query == text


def test_colombias_san_andres_is_the_island() -> None:
    place = geocode("Colombia; San Andrés; San Andrés")
    assert place is not None
    assert place.longitude == pytest.approx(-81.7, abs=0.1)


@pytest.mark.parametrize(
    ("text", "misspelt"),
    [
        ("Germany; Bavaria; Munich", False),
        ("Germany; Bavaria; Muncih", True),
        ("Germany; Bvaria; Munich", True),
        ("Germny; Bavaria; Munich", True),
        ("Germany; Bavaria; Nowhere at all", False),
    ],
)
def test_says_what_was_taken_for_a_slip(text: str, misspelt: bool) -> None:
    place = geocode(text)
    assert place is not None
    assert place.misspelt is misspelt


def test_what_is_no_text_is_refused_alone_and_nothing_in_a_list() -> None:
    with pytest.raises(UsageError, match="an address is a text, not NoneType"):
        geocode(None)  # type: ignore[arg-type]
    assert geocode_many([None, 7, float("nan"), "Nowhere"]) == [None] * 4


def test_same_name_in_another_region_is_another_place() -> None:
    illinois = geocode("United States; Illinois; Springfield")
    oregon = geocode("United States; Oregon; Springfield")
    assert illinois is not None
    assert oregon is not None
    assert illinois.longitude == pytest.approx(-89.6, abs=0.2)
    assert oregon.longitude == pytest.approx(-123.0, abs=0.2)


@pytest.mark.parametrize(
    "text",
    [
        *("", ";;", "Atlantis; Nowhere; X", "Paris", "42; 17", "�" * 9, "no; it; can", "Nowhere"),
        *("NA", "Unknown; Unknown; NA", "Location: NA", "Chinese; Restaurant"),
        "Colorado; Mountain",
    ],
)
def test_nothing_rather_than_a_guess(text: str) -> None:
    assert geocode(text) is None


@settings(deadline=None, max_examples=50)
@given(st.text(max_size=40))
def test_any_text(text: str) -> None:
    geocode(text)
    geocode(f"France; {text}; {text}")


def test_long_text_is_no_trouble() -> None:
    place = geocode("France; " + "x" * 10**6)
    assert place is not None
    assert place.level == "country"
