"""The gazetteer's database: made once, whole or not at all, and not trusted when broken."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from geoagent.errors import UsageError
from geoagent.geo import build, gazetteer
from geoagent.geo.gazetteer import Entry
from geoagent.kept import cache_folder, make_database, open_database


def make(path: Path) -> sqlite3.Connection:
    return make_database(path, build.fill, "gazetteer")


@pytest.fixture
def few_cities(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only large cities, in no county, so that building takes a few seconds."""
    monkeypatch.setattr(build, "MIN_POPULATION", 15000)
    monkeypatch.setattr(build, "_counties_of_cities", dict)
    monkeypatch.setattr(build, "_translations", lambda domain: [])
    monkeypatch.setattr(build, "_country_names", lambda: [("Norge", "NO"), ("Norge", "SE")])


@pytest.mark.usefixtures("few_cities")
def test_built_once_and_then_opened(tmp_path: Path) -> None:
    path = tmp_path / "cache" / "places.sqlite"
    made = gazetteer.Gazetteer(make(path))
    assert {file.name for file in path.parent.iterdir()} == {"places.sqlite", "places.sha256"}
    country = made.country("norge")
    assert country is not None
    assert country.country_code == "NO"
    oslo = made.cities("NO", "Oslo")[0]
    assert (oslo.level, oslo.region) == ("city", "12")
    assert oslo.latitude == pytest.approx(59.91, abs=0.01)
    again = open_database(path)
    assert again is not None
    assert gazetteer.Gazetteer(again).cities("NO", "Oslo")[0] == oslo
    with pytest.raises(sqlite3.OperationalError):
        again.execute("DELETE FROM place")


def test_in_memory_where_nothing_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "fill", lambda database: database.executescript(_TINY))
    (tmp_path / "file").write_text("no folder")
    made = gazetteer.Gazetteer(make(tmp_path / "file" / "places.sqlite"))
    assert made.country("Utopia")


def test_who_cannot_keep_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(build, "fill", lambda database: database.executescript(_TINY))
    (tmp_path / "file").write_text("no folder")
    make(tmp_path / "file" / "places.sqlite")
    told = capsys.readouterr().err
    assert told.startswith(f"warning: the gazetteer cannot be kept in {tmp_path / 'file'} (")
    assert "XDG_CACHE_HOME" in told


def test_older_versions_are_removed_but_for_the_newest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "fill", lambda database: database.executescript(_TINY))
    for age, name in enumerate(("gazetteer-v5", "gazetteer-v4", "gazetteer-v3", "gazetteer-v2"), 1):
        for file in (tmp_path / f"{name}.sqlite", tmp_path / f"{name}.sha256"):
            file.touch()
            os.utime(file, (10**9 - age, 10**9 - age))
    make(tmp_path / "gazetteer-v6.sqlite").close()
    left = {file.name for file in tmp_path.iterdir()}
    versions = ("gazetteer-v6", "gazetteer-v5", "gazetteer-v4")
    assert left == {f"{name}.{kind}" for name in versions for kind in ("sqlite", "sha256")}


def test_every_alias_is_known() -> None:
    known = gazetteer.gazetteer()
    for row in build.table(build.ALIASES):
        name, meant = row["name"], row["stands_for"]
        if row["level"] == "country":
            found = known.country(name)
            assert found is not None, name
            assert found.country_code == meant, name
        elif row["level"] == "region":
            assert known.region(meant[:2], name) is not None, name
        else:
            country, _, city = meant.partition("; ")
            assert city in {entry.name for entry in known.cities(country, name)}, name


def test_regions_have_their_english_names() -> None:
    known = gazetteer.gazetteer()
    names = [("DE", "Bayern"), ("IT", "Toscana"), ("JP", "北海道"), ("RU", "Московская область")]
    found = [known.region(*name) for name in names]
    english = ["Bavaria", "Tuscany", "Hokkaidō", "Moscow Province"]
    assert [entry and entry.name for entry in found] == english
    tehran = known.region("IR", "Tehran")  # CLDR has Tehran under the code that Fars has now
    assert tehran is not None
    assert tehran.latitude == pytest.approx(35.7, abs=0.3)


def test_the_very_name_of_a_larger_city_elsewhere_is_no_slip() -> None:
    known = gazetteer.gazetteer()
    assert known.similar("city", "US", "Paris") == []  # Perris
    assert known.similar("city", "IN", "Lahore") == []  # Ahor
    slip = known.similar("city", "DE", "Muncih")[0]
    assert (slip.name, slip.misspelt) == ("Munich", True)


@pytest.mark.parametrize("content", [b"", b"not a database" * 999])
def test_broken_file_is_not_used(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "places.sqlite"
    path.write_bytes(content)
    assert open_database(path) is None


def test_a_file_that_is_not_as_it_was_made_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "fill", lambda database: database.executescript(_TINY))
    path = tmp_path / "places.sqlite"
    make(path).close()
    assert open_database(path) is not None
    whole = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(whole[:-1] + b"x")
    assert open_database(path) is None
    path.write_bytes(whole)
    assert open_database(path) is not None
    (tmp_path / "places.sha256").unlink()
    assert open_database(path) is None


def test_whoever_builds_it_makes_the_same_file(tmp_path: Path) -> None:
    """So two that build it at the same time leave one that its checksum fits."""
    code = """
import sys
from pathlib import Path
from geoagent.errors import UsageError
from geoagent.geo import build
from geoagent.kept import make_database
build.MIN_POPULATION = 15000
build._counties_of_cities = dict
build._translations = lambda domain: []
make_database(Path(sys.argv[1]), build.fill, "gazetteer")
"""
    makers = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path / f"{seed}.sqlite")],
            env={**os.environ, "PYTHONHASHSEED": seed},  # sets have another order
        )
        for seed in ("1", "2")
    ]
    assert [maker.wait() for maker in makers] == [0, 0]
    assert (tmp_path / "1.sha256").read_text() == (tmp_path / "2.sha256").read_text()


def test_interrupted_build_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(database: sqlite3.Connection) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(build, "fill", interrupted)
    with pytest.raises(KeyboardInterrupt):
        make(tmp_path / "places.sqlite")
    assert list(tmp_path.iterdir()) == []


def test_first_use_builds_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(build, "fill", lambda database: database.executescript(_TINY))
    first, second = gazetteer.gazetteer.__wrapped__(), gazetteer.gazetteer.__wrapped__()
    assert first.country("utopia") == second.country("UTOPIA")
    assert capsys.readouterr().err.count("building") == 1
    names = {file.name for file in (tmp_path / "geoagent").iterdir()}
    assert names == {f"gazetteer-{build.version()}.{end}" for end in ("sqlite", "sha256")}


_TINY = f"""
{build._SCHEMA}
INSERT INTO place VALUES (0, 'Utopia', 0, 'UT', '', '', 1.0, 2.0, 3);
INSERT INTO name VALUES (0, '', 'utopia', 0, 0);
"""


def _built(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(build, "fill", lambda database: database.executescript(_TINY))
    path = folder / f"gazetteer-{build.version()}.sqlite"
    make(path).close()
    return path


def test_a_named_file_is_taken_and_nothing_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    link = tmp_path / "gazetteer.sqlite"
    link.symlink_to(_built(tmp_path / "image", monkeypatch))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv(gazetteer.VARIABLE, str(link))
    assert gazetteer.gazetteer.__wrapped__().country("utopia")
    assert (capsys.readouterr().err, (tmp_path / "home").exists()) == ("", False)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ("missing", "no such file"),
        ("another", "this is gazetteer-v1.sqlite, needed is gazetteer-v"),
        ("damaged", "not as gazetteer-"),
    ],
)
def test_a_named_file_that_will_not_do_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: str, told: str
) -> None:
    path = _built(tmp_path, monkeypatch)
    if wrong == "missing":
        path.unlink()
    elif wrong == "another":
        path = path.rename(path.with_name("gazetteer-v1.sqlite"))
    else:
        path.chmod(0o644)
        path.write_bytes(path.read_bytes()[:-1])
    monkeypatch.setenv(gazetteer.VARIABLE, str(path))
    with pytest.raises(UsageError, match=f"^{gazetteer.VARIABLE}={path}: {told}.*unset it"):
        gazetteer.gazetteer.__wrapped__()


def test_another_content_has_another_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Checkouts share the folder that gazetteers are kept in. What the tables of this package and
    others' lists say is in the name anyway."""
    places = [
        (Entry("Peru", "country", "PE", "", "", -9.2, -75.0, 32_000_000), ["Peru", "PE", "秘鲁"]),
        (Entry("Áncash", "region", "PE", "02", "", -9.5, -77.5, 1_000_000), ["Áncash", "ANC"]),
        (Entry("Huaraz", "city", "PE", "02", "0201", -9.526, -77.529, 118_836), ["Huarás City"]),
    ]
    monkeypatch.setattr(build, "places", lambda: places)
    monkeypatch.setattr(build, "_aliases", lambda level: [])
    made = sqlite3.connect(":memory:")
    build.fill(made)
    tables = ("place", "name", "backwards")
    rows = [made.execute(f"SELECT * FROM {table} ORDER BY 1, 2, 3").fetchall() for table in tables]
    assert all(rows)
    digest = hashlib.sha256(f"{build._SCHEMA}{build.MIN_POPULATION}{rows}".encode()).hexdigest()
    assert (build.FORMAT, digest[:16]) == (3, "fcc436abbe3c25cd"), (
        "raise FORMAT, and write both here"
    )


def test_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "geoagent"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path(os.environ["HOME"]) / ".cache" / "geoagent"


def test_real_gazetteer_knows_all_countries_with_a_city() -> None:
    known = gazetteer.gazetteer()
    for name in ("Vatican", "Türkiye", "Россия", "Czechia", "Côte d'Ivoire", "XK", "KOR"):
        assert known.country(name) is not None, name
    assert known.country("Atlantis") is None
    assert known.is_region("US", "Kansas")
    assert not known.is_region("US", "Kansas City")


def test_codes_count_in_capitals_only() -> None:
    known = gazetteer.gazetteer()
    for code, word in (("NO", "no"), ("CAN", "can"), ("IN", "in"), ("IT", "It")):
        assert known.country(code) is not None
        assert known.country(word) is None
    assert known.country("usa") is not None  # written so often that it is a name


@pytest.mark.parametrize(
    ("level", "country", "name", "meant"),
    [
        ("country", "", "Germny", "Germany"),
        ("country", "", "Swtizerland", "Switzerland"),
        ("region", "US", "Minesota", "Minnesota"),
        ("region", "DE", "Baveria", "Bavaria"),
        ("city", "CN", "Hefie City", "Hefei"),
        ("city", "US", "Philadelhpai", "Philadelphia"),
        ("city", "RU", "Екатеринбрг", "Yekaterinburg"),
    ],
)
def test_slips_of_the_pen(level: str, country: str, name: str, meant: str) -> None:
    assert gazetteer.gazetteer().similar(level, country, name)[0].name == meant


@pytest.mark.parametrize(
    ("level", "country", "name"),
    [
        ("country", "", "Irak"),
        ("country", "", "Zorblaxia"),
        ("city", "FR", "Lyen"),
        ("city", "", ""),
    ],
)
def test_what_is_no_slip(level: str, country: str, name: str) -> None:
    assert gazetteer.gazetteer().similar(level, country, name) == []


def test_second_level_divisions() -> None:
    known = gazetteer.gazetteer()
    county = known.counties("US", "Saint Louis County")
    assert {one.region for one in county} >= {"MN", "MO"}
    (hennepin,) = known.counties("US", "Hennepin")
    assert (hennepin.level, hennepin.region, hennepin.county) == ("county", "MN", "053")
    assert known.cities("US", "Minneapolis")[0].within(hennepin)
    assert hennepin.latitude == pytest.approx(45.0, abs=0.3)
