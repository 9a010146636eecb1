"""Papers that nobody wrote, as many as are wanted, for measuring how fast they are found: words drawn by Zipf's law.

    fill(database, 20_000, seed=0)        # papers, authors, categories, keywords, days; written past the upserts

Each paper has 5 to 12 words in its title and 60 to 220 in its abstract, of 30,000 made-up words; half of an abstract's
are of one of 200 topics, so that papers have neighbours. Vectors, where they are wanted, follow the topic, too:
`topic_vectors` stand in for the papers', and what searches is encoded by the real encoder.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import insert

from foveal.database import Base, Database
from foveal.papers.records import name_key, title_key
from foveal.papers.schema import AuthorRow, CategoryRow, KeywordRow, ListingRow, PaperRow

Floats = npt.NDArray[np.float32]

WORDS, TOPICS, TOPIC_WORDS, PEOPLE = 30_000, 200, 300, 8_000
CATEGORIES = ("cs.CL", "cs.LG", "cs.CV", "cs.AI", "cs.IR", "cs.RO", "stat.ML", "eess.AS", "math.OC", "q-bio.NC")
FIRST_DAY = datetime(2024, 1, 1, tzinfo=UTC)
APART = timedelta(minutes=40)
"""Between two papers: 36 a day."""

_ONSETS = ("b", "d", "f", "g", "k", "l", "m", "n", "p", "r", "s", "t", "v", "st", "tr", "pl")
_VOWELS = ("a", "e", "i", "o", "u", "ea", "io")


def vocabulary(size: int = WORDS) -> list[str]:
    """Words of two syllables and more, all different."""
    syllables = [onset + vowel for onset in _ONSETS for vowel in _VOWELS]
    base = len(syllables)
    return [
        "".join(syllables[number // base**place % base] for place in range(2 if number < base**2 else 3)) + "n"
        for number in range(size)
    ]


@dataclass(frozen=True)
class Drawn:
    """One paper's words; `topic` is what half of its abstract is about."""

    id: str
    topic: int
    title: str
    abstract: str


def drawn(count: int, seed: int = 0) -> Iterator[Drawn]:
    """The papers' words, the same for the same seed."""
    draw = np.random.default_rng(seed)
    words = np.array(vocabulary())
    topics = np.array([draw.permutation(WORDS)[:TOPIC_WORDS] for _ in range(TOPICS)])
    for number in range(count):
        topic = int(draw.integers(TOPICS))
        title = _words(draw, int(draw.integers(5, 13)), topics[topic])
        abstract = _words(draw, int(draw.integers(60, 221)), topics[topic])
        sentences = [" ".join(words[part]).capitalize() + "." for part in np.array_split(abstract, 6)]
        one = f"{2401 + number // 1000 % 12 + number // 12_000 * 100}.{number:05d}"
        yield Drawn(one, topic, " ".join(words[title]).title(), " ".join(sentences))


def _words(draw: np.random.Generator, count: int, topic: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Places of words: half of the topic's, half of all, the first ones far the most often."""
    zipf = np.minimum(draw.zipf(1.2, size=count) - 1, WORDS - 1)
    own = topic[np.minimum(draw.zipf(1.5, size=count) - 1, TOPIC_WORDS - 1)]
    return np.where(draw.random(count) < 0.5, own, zipf)


def fill(database: Database, count: int, *, seed: int = 0, until: datetime | None = None) -> list[Drawn]:
    """Put that many papers into an empty database, by few statements, and say which.

    They begin on `FIRST_DAY`, or end at `until`.
    """
    first = FIRST_DAY if until is None else until - count * APART
    draw = np.random.default_rng(seed + 1)
    papers = list(drawn(count, seed))
    rows: dict[type[Base], list[dict[str, Any]]] = {
        table: [] for table in (PaperRow, AuthorRow, CategoryRow, KeywordRow, ListingRow)
    }
    for number, paper in enumerate(papers):
        for table, made in _rows(paper, first + number * APART, draw).items():
            rows[table] += made
    with database.writing() as session:
        for table, made in rows.items():
            session.execute(insert(table), made)
    return papers


def _rows(paper: Drawn, at: datetime, draw: np.random.Generator) -> dict[type[Base], list[dict[str, Any]]]:
    people = [f"Ada B. Person{int(one)}" for one in draw.integers(PEOPLE, size=int(draw.integers(1, 9)))]
    chosen = list(dict.fromkeys(CATEGORIES[int(one)] for one in draw.integers(len(CATEGORIES), size=2)))
    words = paper.abstract.lower().replace(".", "").split()
    keywords = list(dict.fromkeys(words[int(one)] for one in draw.integers(len(words), size=6)))
    row = {
        "id": paper.id, "title": paper.title, "title_key": title_key(paper.title), "abstract": paper.abstract,
        "published_at": at, "primary_category": chosen[0], "author_count": len(people), "source": "arxiv",
        "votes_elsewhere": int(draw.integers(200)), "changed_at": at, "created_at": at,
        "repo_url": f"https://example.org/code/{paper.id}" if draw.random() < 0.5 else "",
    }  # fmt: skip
    authors = [
        {"paper_id": paper.id, "position": place, "name": name, "name_key": name_key(name)}
        for place, name in enumerate(people)
    ]
    categories = [{"paper_id": paper.id, "name": name, "position": place} for place, name in enumerate(chosen)]
    linked = [{"paper_id": paper.id, "position": place, "words": word} for place, word in enumerate(keywords)]
    listing = [{"paper_id": paper.id, "day": at.date(), "listed_at": at}]
    return {PaperRow: [row], AuthorRow: authors, CategoryRow: categories, KeywordRow: linked, ListingRow: listing}


def topic_vectors(papers: Sequence[Drawn], dimension: int, *, spread: float = 0.7, seed: int = 0) -> Floats:
    """Unit vectors (papers, dimension), each near its topic's direction; `spread` is the length of the noise on it."""
    draw = np.random.default_rng(seed)
    topics = draw.normal(size=(TOPICS, dimension))
    topics /= np.linalg.norm(topics, axis=1, keepdims=True)
    own = topics[[paper.topic for paper in papers]]
    made = own + draw.normal(size=own.shape) * spread / np.sqrt(dimension)
    unit: Floats = (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float32)
    return unit
