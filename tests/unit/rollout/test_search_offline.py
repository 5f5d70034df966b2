"""The offline index: what is found first, what is no operator, and that it is kept whole."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geoagent.errors import UsageError
from geoagent.geo import build
from geoagent.geo.gazetteer import Entry, gazetteer
from geoagent.kept import make_database
from geoagent.rollout import corpus, offline
from geoagent.rollout.corpus import Document
from geoagent.rollout.offline import Fused, Index, fill, gazetteer_index
from geoagent.rollout.search import MOST, Result


def index(*texts: tuple[str, str]) -> Index:
    """An index of titles and texts, in memory."""
    memory = sqlite3.connect(":memory:", check_same_thread=False)
    fill(memory, [Document(Result(title, text, ""), [(title, text)]) for title, text in texts])
    return Index(memory)


def titles(search: Index | Fused, query: str) -> list[str]:
    return [found.title for found in search.search(query, MOST)]


SMALL = (
    ("Huaraz", "city in Ancash, Peru"),
    ("Guide to Peru", "Taxis in Huaraz are yellow; sign posts are green."),
    ("合肥市", "安徽省的一座城市"),
    ("München", "Stadt in Bayern"),
    ("मुंबई", "महाराष्ट्र"),
)


@pytest.mark.parametrize(
    ("query", "first"),
    [
        ("huaraz", "Huaraz"),
        ("HUARAZ!", "Huaraz"),
        ("yellow taxis", "Guide to Peru"),
        ("where is a yellow taxi", "Guide to Peru"),
        ("合肥", "合肥市"),
        ("在合肥市的", "合肥市"),
        ("Munchen", "München"),
        ("MÜNCHEN", "München"),
        ("मुंबई", "मुंबई"),
    ],
)
def test_found_first(query: str, first: str) -> None:
    assert titles(index(*SMALL), query)[0] == first


@pytest.mark.parametrize("query", ["zzzz", "!?", "肥合", "Hu"])
def test_nothing_found(query: str) -> None:
    assert titles(_SHARED, query) == []


@settings(max_examples=200)
@given(st.text())
def test_no_query_is_an_error(query: str) -> None:
    assert len(_SHARED.search(query, MOST)) <= len(SMALL)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ('"', []),
        ("') --", []),
        ("^x", []),
        ("hua*", []),
        ("NEAR(a b)", []),
        ("huaraz OR", ["Huaraz", "Guide to Peru"]),
        ("NOT huaraz", ["Huaraz", "Guide to Peru"]),
        ("yellow AND zzzz", ["Guide to Peru"]),
        ("rest:huaraz", ["Huaraz", "Guide to Peru"]),
        ("-huaraz", ["Huaraz", "Guide to Peru"]),
    ],
)
def test_words_are_no_operators(query: str, found: list[str]) -> None:
    assert titles(_SHARED, query) == found


_SHARED = index(*SMALL)


def test_of_two_of_one_name_the_heavier_is_meant() -> None:
    memory = sqlite3.connect(":memory:", check_same_thread=False)
    both = [
        Document(Result("Paris", "Texas", ""), [("Paris", "Texas")], 2.1),
        Document(Result("Paris", "France", ""), [("Paris", "France")], 2.6),
    ]
    fill(memory, both)
    assert [found.snippet for found in Index(memory).search("paris")] == ["France", "Texas"]
    assert Index(memory).search("paris texas")[0].snippet == "Texas"


def test_common_words_add_to_the_score_and_find_nothing_by_themselves() -> None:
    crowd = [(f"Place {number}", "town in Texas") for number in range(300)]
    search = index(*crowd, ("Paris", "town in France"), ("Paris", "town in Texas"))
    found = search.search("Paris Texas", MOST)
    assert [(one.title, one.snippet) for one in found] == [
        ("Paris", "town in Texas"),
        ("Paris", "town in France"),
    ]
    assert len(search.search("Texas", MOST)) == MOST  # without any other


def test_indexes_take_turns() -> None:
    one = index(("Huaraz a", "x"), ("Huaraz bb", "x y z"))
    other = index(("Huaraz c", "x"), ("Huaraz a", "x"))
    assert titles(Fused(one, other), "huaraz") == ["Huaraz a", "Huaraz c", "Huaraz bb"]


# --- the gazetteer ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "title", "told"),
    [
        ("Huaraz", "Huaraz, Ancash, Peru", "9.526° S, 77.529° W"),
        ("Avenida Luzuriaga, Huaraz", "Huaraz, Ancash, Peru", "118,836 people"),
        ("Paris Texas", "Paris, Texas, United States", "in Texas, United States"),
        ("Springfield Illinois", "Springfield, Illinois, United States", "Populated place"),
        ("phone prefix +51", "Peru", "Calling code: +51"),
        (".cl website", "Chile", "Internet domain: .cl"),
        ("what is the capital of Peru", "Peru", "Capital: Lima"),
        ("秘鲁", "Peru", "Capital: Lima"),
        ("Москва", "Moscow", "Russia"),
        ("合肥市", "Hefei", "合肥"),
        ("München Marienplatz", "Munich, Bavaria, Germany", "1,505,005"),
    ],
)
def test_where_places_are(query: str, title: str, told: str) -> None:
    found = gazetteer_index().search(query, 1)[0]
    assert found.title.startswith(title)
    assert told in found.snippet
    assert found.url.startswith("geo:")


def test_a_large_city_is_among_the_first_that_its_name_finds() -> None:
    missed = []
    for name, _, _, latitude, longitude, _ in gazetteer().all_cities()[:300]:
        urls = [found.url for found in gazetteer_index().search(name)]
        if f"geo:{latitude:.5f},{longitude:.5f}" not in urls:
            missed.append(name)
    assert len(missed) <= 3, missed


def test_another_content_has_another_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Checkouts share the folder that indexes are kept in."""
    places = [
        (Entry("Peru", "country", "PE", "", "", -9.2, -75.0, 32_000_000), ["Peru", "PE", "秘鲁"]),
        (Entry("Ancash", "region", "PE", "02", "", -9.5, -77.5, 1_000_000), ["Áncash", "ANC"]),
        (Entry("Huaraz", "city", "PE", "02", "0201", -9.526, -77.529, 118_836), ["Huarás", "ATA"]),
    ]
    monkeypatch.setattr(build, "places", lambda: places)
    made = [
        (document, [[*offline._tokens(text)] for texts in document.passages for text in texts])
        for document in corpus.places()
    ]
    digest = hashlib.sha256(f"{offline._SCHEMA}{offline._COMMON}{made}".encode()).hexdigest()[:16]
    assert (offline.FORMAT, digest) == (2, "38468eae71765b67"), "raise FORMAT, and write both here"


# --- documents -------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "guides"
    (folder / "deep").mkdir(parents=True)
    (folder / "bollards.md").write_text("intro\n\n## Bollards of Peru\n\nWhite with a band.\n")
    (folder / "deep" / "taxis.txt").write_text("Taxis in Huaraz are yellow.")
    rows = [
        {"text": "Shops named Tambo are Peruvian.", "title": "Tambo", "url": "https://t.example"},
        {"text": "Shops named Oxxo are Mexican."},
    ]
    (folder / "shops.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "picture.png").write_bytes(b"\x89PNG taxis")
    return folder


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("white band", ("Bollards of Peru", "bollards.md")),
        ("yellow taxis", ("deep/taxis.txt", "deep/taxis.txt")),
        ("tambo", ("Tambo", "https://t.example")),
        ("oxxo", ("shops.jsonl", "shops.jsonl#2")),
    ],
)
def test_documents_are_found(folder: Path, query: str, found: tuple[str, str]) -> None:
    first = offline.documents_index(folder).search(query)[0]
    assert (first.title, first.url) == found


def test_a_folders_index_is_built_once_and_again_when_it_changes(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        assert offline.documents_index(folder).search("oxxo")
    assert capsys.readouterr().err.count("building") == 1
    (folder / "new.txt").write_text("Kiosks named Ruch are Polish.")
    assert offline.documents_index(folder).search("ruch")
    os.utime(folder / "new.txt", (time.time() + 5, time.time() + 5))
    assert offline.documents_index(folder).search("ruch")
    assert capsys.readouterr().err.count("building") == 2


def test_documents_come_before_places_of_the_same_rank(folder: Path) -> None:
    found = offline.offline(str(folder)).search("Huaraz taxis")
    assert [one.url for one in found][:2] == ["deep/taxis.txt", "geo:-9.52614,-77.52869"]


def test_links_out_of_the_folder_are_left_alone(folder: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("s3cret words")
    (folder / "link.txt").symlink_to(secret)
    (folder / "up").symlink_to(tmp_path, target_is_directory=True)
    assert offline.documents_index(folder).search("s3cret") == []


def test_documents_that_cannot_be_read_are_named(folder: Path) -> None:
    (folder / "bad.txt").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(UsageError, match=r"bad.txt: not UTF-8"):
        offline.documents_index(folder)
    (folder / "bad.txt").unlink()
    (folder / "bad.jsonl").write_text('{"text": "x"}\n{"title": "x"}\n')
    with pytest.raises(UsageError, match=r"bad.jsonl: row 2: 'text' is missing"):
        offline.documents_index(folder)
    (folder / "bad.jsonl").write_text("x")
    os.truncate(folder / "bad.jsonl", corpus._MAX_FILE + 1)
    with pytest.raises(UsageError, match=r"bad.jsonl: larger than 64 MiB"):
        offline.documents_index(folder)
    left = [file.name for file in (folder.parent / "cache" / "geoagent").iterdir()]
    assert left == []


def test_a_folder_without_documents_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"rollout.search.documents: .*no such folder"):
        offline.offline(str(tmp_path / "missing"))
    with pytest.raises(UsageError, match=r"no .md, .txt, .jsonl files in it"):
        offline.offline(str(tmp_path))


@given(st.text(alphabet=st.sampled_from("ab é\n合"), max_size=3000))
def test_passages_have_all_words_and_a_bounded_length(text: str) -> None:
    passages = list(corpus._split(text))
    assert all(0 < len(passage) <= corpus._PASSAGE for passage in passages)
    assert "".join("".join(passages).split()) == "".join(text.split())


def test_whoever_builds_it_makes_the_same_file(tmp_path: Path) -> None:
    """So two that build it at the same time leave one that its checksum fits."""
    documents = [Document(Result(t, s, ""), [(t, s)] * 3) for t, s in SMALL * 50]
    for name in ("a", "b"):
        make_database(tmp_path / f"{name}.sqlite", lambda empty: fill(empty, documents), "x")
    assert (tmp_path / "a.sha256").read_text() == (tmp_path / "b.sha256").read_text()


def test_an_index_made_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / offline.index_file().name
    documents = [Document(Result("Utopia", "", ""), [("Utopia", "")])]
    make_database(path, lambda empty: fill(empty, documents), "search index").close()
    monkeypatch.setenv(offline.VARIABLE, str(path))
    assert gazetteer_index.__wrapped__().search("utopia")
    monkeypatch.setenv(offline.VARIABLE, str(tmp_path / "missing.sqlite"))
    with pytest.raises(UsageError, match=f"{offline.VARIABLE}=.*no such file"):
        gazetteer_index.__wrapped__()
