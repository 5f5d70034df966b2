"""Search without a network: an index of the gazetteer's places and of a folder's documents.

The ranking is BM25, as SQLite's FTS5 has it, times the weight of a place. Both indexes are built
once a machine and kept like the gazetteer.
"""

from __future__ import annotations

import os
import re
import sqlite3
import threading
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Final

from geoagent.geo.names import fold
from geoagent.kept import cache_folder, database, prebuilt
from geoagent.rollout import corpus
from geoagent.rollout.corpus import MOST_PASSAGES, Document
from geoagent.rollout.search import MOST, Result, SearchProvider

VARIABLE: Final = "GEOAGENT_SEARCH_INDEX"
"""Environment variable that names an index of the gazetteer made elsewhere."""
FORMAT: Final = 2
"""Raise it when documents, tables or the splitting into words change, so that indexes of other
checkouts are left alone; a test tells."""
_COMMON: Final = 0.01
"""Words in a larger share of the passages only add to the score: they find too much."""
_MOST_TERMS: Final = 32
_FUSION: Final = 60
"""Of reciprocal rank fusion, the constant of its paper (Cormack et al., SIGIR 2009)."""
_SCHEMA: Final = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
CREATE TABLE document (id INTEGER PRIMARY KEY, title TEXT, snippet TEXT, url TEXT, weight REAL);
CREATE TABLE common (term TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE VIRTUAL TABLE passage USING fts5(name, rest, content='',
    tokenize="unicode61 remove_diacritics 0 categories 'L* N* Co Mc Mn'");
CREATE VIRTUAL TABLE temp.vocabulary USING fts5vocab(main, passage, row);
"""
_FIND: Final = f"""
WITH hit AS MATERIALIZED (
    SELECT rowid / {MOST_PASSAGES} AS document, bm25(passage, 3.0, 1.0) AS score
    FROM passage WHERE passage MATCH ?
), best AS (SELECT document, min(score) AS score FROM hit GROUP BY document)
SELECT title, snippet, url FROM best JOIN document ON document.id = best.document
ORDER BY score * weight, id LIMIT {MOST}
"""
_UNSPACED: Final = re.compile(r"([\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff])")
"""Kana and Chinese characters, between which words have no blanks."""
_FUNCTION_WORDS: Final = frozenset(
    (
        *("a", "an", "and", "are", "as", "at", "be", "by", "does", "for", "from", "have", "how"),
        *("i", "in", "is", "it", "its", "of", "on", "or", "that", "the", "there", "this", "to"),
        *("was", "what", "where", "which", "who", "with", "you"),
    )
)


class Index(SearchProvider):
    """An index in an open database."""

    def __init__(self, opened: sqlite3.Connection) -> None:
        self._database = opened
        self._lock = threading.Lock()
        self._common = {term for (term,) in opened.execute("SELECT term FROM common")}

    def find(self, query: str) -> list[Result]:
        match = self._match(query)
        if match is None:
            return []
        with self._lock:
            return [Result(*row) for row in self._database.execute(_FIND, (match,))]

    def _match(self, query: str) -> str | None:
        """The query in FTS5's language: any of its words that are not common, and more of the score
        to what has common ones too. Words are quoted: none of them is an operator."""
        terms = dict.fromkeys(_terms(query))
        words = [term for term in terms if term not in _FUNCTION_WORDS] or [*terms]
        rare = [word for word in words if word not in self._common] or words
        if not rare:
            return None
        more = [word for word in words if word not in rare]
        wanted = " OR ".join(_quoted(rare[:_MOST_TERMS]))
        if not more:
            return wanted
        return f"({wanted}) OR (({wanted}) AND ({' OR '.join(_quoted(more[:_MOST_TERMS]))}))"


class Fused(SearchProvider):
    """Results of several indexes in turns (reciprocal rank fusion); scores of different indexes
    can't be compared."""

    def __init__(self, *parts: SearchProvider) -> None:
        self._parts = parts

    def find(self, query: str) -> list[Result]:
        scores: dict[Result, float] = {}
        for part in self._parts:
            for rank, found in enumerate(part.find(query), start=1):
                scores[found] = scores.get(found, 0.0) + 1 / (_FUSION + rank)
        return sorted(scores, key=lambda found: -scores[found])[:MOST]


def offline(folder: str | None) -> SearchProvider:
    """The index of the gazetteer; with a folder also that of its documents, which come first. Each
    is built at its first use. UsageError for a folder without documents."""
    if folder is None:
        return gazetteer_index()
    return Fused(documents_index(Path(folder).expanduser()), gazetteer_index())


@cache
def gazetteer_index() -> Index:
    """The index of this process: the file that `$GEOAGENT_SEARCH_INDEX` names, else the machine's.
    UsageError if the named file is missing, damaged or another version's."""
    path = index_file()
    if named := os.environ.get(VARIABLE):
        return Index(prebuilt(Path(named), path.name, VARIABLE))
    return Index(database(path, lambda empty: fill(empty, corpus.places()), "search index"))


def index_file() -> Path:
    """Where this machine keeps the index of the gazetteer, or will."""
    from geoagent.geo import build

    return cache_folder() / f"search-v{FORMAT}-{build.version()}.sqlite"


def documents_index(folder: Path) -> Index:
    """The index of a folder, which is built again when one of its documents has changed."""
    name = f"documents-v{FORMAT}-{corpus.digest(folder)}.sqlite"
    return Index(
        database(
            cache_folder() / name,
            lambda empty: fill(empty, corpus.documents(folder)),
            f"search index of {folder}",
        )
    )


def fill(empty: sqlite3.Connection, documents: Iterable[Document]) -> None:
    """Create and fill the tables of an empty database."""
    empty.executescript(_SCHEMA)
    passages = 0
    for number, document in enumerate(documents):
        found = document.result
        row = (number, found.title, found.snippet, found.url, document.weight)
        empty.execute("INSERT INTO document VALUES (?, ?, ?, ?, ?)", row)
        for part, texts in enumerate(document.passages):
            passages += 1
            words = (" ".join(_tokens(text)) for text in texts)
            empty.execute(
                "INSERT INTO passage (rowid, name, rest) VALUES (?, ?, ?)",
                (number * MOST_PASSAGES + part, *words),
            )
    empty.execute("INSERT INTO passage (passage) VALUES ('optimize')")
    empty.execute(
        "INSERT INTO common SELECT term FROM vocabulary WHERE doc > ? ORDER BY term",
        (max(passages * _COMMON, 100),),
    )
    empty.commit()


def _tokens(text: str) -> Iterator[str]:
    """Words of a text in one written form; each character of scripts without blanks is one."""
    for word in text.split():
        folded = fold(word)
        yield from (folded if folded.isascii() else _UNSPACED.sub(r" \1 ", folded)).split()


def _terms(query: str) -> Iterator[str]:
    """What to look for: words, and of characters without blanks each two that follow each other."""
    for word in query.split():
        run: list[str] = []
        for token in [*_tokens(word), ""]:
            if _UNSPACED.fullmatch(token):
                run.append(token)
                continue
            yield from run if len(run) == 1 else (f"{a} {b}" for a, b in pairwise(run))
            run = []
            if token:
                yield token


def _quoted(terms: Iterable[str]) -> list[str]:
    return ['"' + term.replace('"', '""') + '"' for term in terms]
