"""A site over invented papers, and small honest parts for it: search by words, order by votes, links by whole words."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

from fastapi import FastAPI
from sqlalchemy.orm import Session

from foveal.database import Database
from foveal.papers import rising
from foveal.papers.records import Linked, Named, PaperRecord
from foveal.papers.schema import CollectedRow, CollectionRow, KeptRow, PersonRow, TopicRow, VoteRow
from foveal.papers.store import Paper, PaperStore
from foveal.papers.upserts import upsert
from foveal.settings import Settings
from foveal.web.app import create_app
from foveal.web.site import SiteSettings

NOW = datetime.now(UTC)
TODAY = NOW.date()

FIRST = ("Ada", "Bo", "Chidi", "Dana", "Elif", "Femi", "Grete", "Hana", "Ilya", "Júlia", "Kofi", "Léa", "Mei", "Noor")
LAST = ("Abara", "Brandt", "Castro", "Dvořák", "Eriksen", "Fuentes", "Grünwald", "Hosseini", "Ito", "Jansen", "Kim")
HEADS = (
    "Where to Look: {a} for {b}",
    "{a} Is Not Enough: Rethinking {b}",
    "A Closer Look at {a} in {b}",
    "Foveated {a}: {b} with Few Reads",
    "{b} by {a}: Simple, Exact and Fast",
    "Do Models Need {a}? Evidence from {b}",
    "{a}, Revisited",
    "Learning {a} from {b} at Scale",
)
PARTS = (
    "Sparse Attention",
    "Landmark Retrieval",
    "Long-Context Reading",
    "Key–Value Caches",
    "Late Interaction",
    "Test-Time Memory",
    "Needle Search",
    "Legal Question Answering",
    "Chunk Selection",
    "Retrieval Heads",
    "Million-Token Prompts",
    "$k$-Nearest-Neighbour Decoding",
    "Block Ranking",
    "Headline Writing",
    "Cited Reports",
    "$O(n \\log n)$ Transformers",
)
SENTENCES = (
    "Models that read long texts spend most of their time on words that do not matter.",
    "We study when {a} helps {b}, and when it does harm.",
    "Our method keeps a share $\\gamma$ of the attention mass and reads at most $k \\ll n$ blocks of the context.",
    "On seven public benchmarks it matches dense attention at {n} % of its cost.",
    "A simple bound of $O(\\sqrt{{n}})$ on the error explains the gap between {a} and earlier work.",
    "Against a tuned baseline, accuracy rises from 61.{n} to 68.2 while latency falls by a factor of 3.",
    "We find that few heads do the looking: fewer than 5 % of them account for nearly all of the recall.",
    "Costs fall from $5 to $2 for each million tokens.",
    "Code, traces and every figure of the paper can be made again with one command.",
    "An error analysis shows that what remains is mostly ambiguity of the question.",
)
LABS = ("Institute of Reading", "Northlight Lab", "University of Hollow Hills", "Tideway Research")
SUBJECTS = ("cs.CL", "cs.IR", "cs.LG", "cs.AI", "cs.CV", "stat.ML")


def records(count: int = 84, *, days: int = 12, seed: int = 4) -> list[PaperRecord]:
    """Invented papers over the last days, none on the day before yesterday."""
    chance = Random(seed)
    made = []
    for number in range(count):
        a, b = chance.sample(PARTS, 2)
        back = chance.choice([day for day in range(days) if day != 2]) if number > 30 else 0
        names = [f"{chance.choice(FIRST)} {chance.choice(LAST)}" for _ in range(chance.randint(1, 9))]
        body = " ".join(chance.sample(SENTENCES, 6)).format(a=a.lower(), b=b.lower(), n=chance.randint(2, 9))
        code = chance.random() < 0.5
        made.append(
            PaperRecord(
                id=f"2611.{number + 1:05d}",
                title=f"{chance.choice(HEADS).format(a=a, b=b)}",
                abstract=body,
                authors=tuple(Named(name=name) for name in dict.fromkeys(names)),
                organisation=chance.choice(LABS) if chance.random() < 0.4 else "",
                published_at=NOW - timedelta(days=back + chance.randint(0, 4)),
                categories=tuple(dict.fromkeys(chance.choices(SUBJECTS, (6, 3, 3, 2, 1, 1), k=2))),
                repo_url=f"https://github.com/invented/paper-{number}" if code else "",
                repo_stars=int(10 ** chance.uniform(0, 4.4)) if code else None,
                votes=int(10 ** chance.uniform(-0.4, 2.3)),
                comments=max(0, chance.randint(-4, 9)),
                summary=f"It shows when {a.lower()} pays for {b.lower()}." if chance.random() < 0.7 else "",
                summary_model="qwen2.5-0.5b",
                keywords=("long texts", "attention mass", "recall", "tuned baseline"),
                source="hf",
                listed_on=TODAY - timedelta(days=back),
                submitted_by=chance.choice(("mira", "tobias", "yewande", "")),
            )
        )
    return made


def fill(database: Database, given: list[PaperRecord] | None = None) -> None:
    """Papers; two versions of one; a person with a vote and a collection; two topics."""
    papers = records() if given is None else given
    upsert(database, papers)
    first = papers[0]
    newer = first.abstract.replace("few", "very few") + " A second study confirms it."
    links = (
        Linked(kind="model", url="https://models.example/reader-1b", title="invented/reader-1b"),
        Linked(kind="page", url="javascript:alert(1)", title="not a link"),
    )
    upsert(database, [replace(first, version=2, abstract=newer, updated_at=NOW, links=links, source="arxiv")])
    with database.writing() as session:
        _people(session, [paper.id for paper in papers])


def _people(session: Session, ids: list[str]) -> None:
    session.add(PersonRow(id=1, login="mira", email="mira@example.org", name="Mira Ito"))
    session.flush()
    session.add(CollectionRow(id=1, person_id=1, slug="reads", title="Reads of the week", description="Few, and good."))
    session.add(CollectionRow(id=2, person_id=1, slug="mine", title="Mine", public=False))
    session.flush()
    session.add_all(CollectedRow(collection_id=1, paper_id=one, position=n) for n, one in enumerate(ids[:5]))
    session.add_all(VoteRow(paper_id=one, person_id=1) for one in ids[:3])
    session.add(TopicRow(id="sparse", title="Sparse attention", query="sparse attention"))
    session.add(TopicRow(id="law", title="Reading law", query="legal question answering", position=1))


def with_rising(database: Database) -> None:
    """A topic that rises, as the schedule would have kept it."""
    topic = rising.Topic(
        name="State <space> models", stage="growing", count=4, groups=3, burst=5.0, age_days=0.5, score=3.6,
        days=(("2026-11-25", 1), ("2026-11-26", 3)), words=("state", "space"),
        papers=tuple((f"2611.0000{n}", f"Title {n} & more") for n in range(1, 5)),
    )  # fmt: skip
    with database.writing() as session:
        value = json.dumps([asdict(topic)])
        session.add(KeptRow(name=rising.NAME, made_of="x", made_at=datetime.now(UTC) - timedelta(hours=3), value=value))


@dataclass(frozen=True)
class Marks:
    title: tuple[tuple[int, int], ...] = ()
    abstract: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class Hit:
    paper: Paper
    score: float
    marks: Marks
    holds: bool = True


@dataclass(frozen=True)
class Found:
    hits: tuple[Hit, ...]
    total: int | None
    retriever: str = "lexical"
    ranker: str | None = None
    seconds: float = 0.004
    note: str = ""
    waiting: int = 0

    @property
    def holding(self) -> list[Paper]:
        return [hit.paper for hit in self.hits if hit.holds]


@dataclass
class WordSearch:
    """Search: papers that hold most of the words, marked where they stand; near is who shares most title words."""

    store: PaperStore
    asked: list[dict[str, object]] = field(default_factory=list)

    def search(self, query: str, k: int, page: int = 0, **choices: object) -> Found:
        self.asked.append({"query": query, "k": k, "page": page, **choices})
        words = set(re.findall(r"\w+", query.lower()))
        hits = []
        for paper in self.store.page(limit=200).papers:
            marks = Marks(_where(paper.title, words), _where(paper.abstract, words))
            if marks.title or marks.abstract:
                hits.append(Hit(paper, 3 * len(marks.title) + len(marks.abstract), marks))
        hits.sort(key=lambda hit: (-hit.score, hit.paper.id))
        ranker = choices.get("rank")
        return Found(tuple(hits[page * k : (page + 1) * k]), len(hits), ranker=str(ranker) if ranker else None)

    def similar(self, paper_id: str, k: int) -> list[Paper]:
        own = set(self.store.get(paper_id).title.lower().split())
        others = [paper for paper in self.store.page(limit=200).papers if paper.id != paper_id]
        return sorted(others, key=lambda paper: (-len(own & set(paper.title.lower().split())), paper.id))[:k]


def _where(text: str, words: set[str]) -> tuple[tuple[int, int], ...]:
    return tuple(found.span() for found in re.finditer(r"\w+", text) if found[0].lower() in words)


@dataclass(frozen=True)
class Ordered:
    papers: tuple[Paper, ...]
    total: int
    scores: tuple[float, ...]
    signals: tuple[int, ...]


class VoteParts:
    """The parts of pages, with one order: votes."""

    def trending(self, database: Database, *, now: datetime, limit: int, page: int, ids: object = None) -> Ordered:  # noqa: ARG002
        found = PaperStore(database).page(sort="votes", limit=200).papers
        kept = [paper for paper in found if ids is None or paper.id in ids]  # type: ignore[operator]
        part = tuple(kept[page * limit : (page + 1) * limit])
        votes = tuple(paper.all_votes for paper in part)
        return Ordered(part, len(kept), tuple(map(float, votes)), votes)

    def ranked(self, database: Database, name: str, *, now: datetime, limit: int, page: int) -> Ordered:  # noqa: ARG002
        return self.trending(database, now=now, limit=limit, page=page)

    def formulas(self) -> dict[str, str]:
        return {"foveal": "Votes, and nothing else.", "stars": "Stars of the repository."}

    def explained(self, name: str, ordered: Ordered) -> list[list[tuple[str, float, str]]]:  # noqa: ARG002
        return [[("votes", float(votes), f"{votes} votes here and elsewhere")] for votes in ordered.signals]

    def keyword_links(self, abstract: str, keywords: tuple[str, ...]) -> list[tuple[str, str | None]]:
        pattern = "|".join(rf"\b{re.escape(one)}\b" for one in keywords) or "(?!)"
        pieces: list[tuple[str, str | None]] = []
        at = 0
        for found in re.finditer(pattern, abstract, re.IGNORECASE):
            pieces += [(abstract[at : found.start()], None), (found[0], found[0].lower())]
            at = found.end()
        return [*pieces, (abstract[at:], None)]

    def fetch(self, database: Database, settings: Settings, paper_id: str) -> str:  # noqa: ARG002
        upsert(database, [PaperRecord(id=paper_id, title=f"Fetched {paper_id}", source="arxiv")])
        return paper_id


def select(page: Any, selector: str) -> list[Any]:
    """Elements by a CSS selector made of descendants of `tag.class#id[attribute="value"]`."""
    found = [element for one in selector.split(",") for element in page.xpath(_xpath(one.split()))]
    return sorted(found, key=list(page.iter()).index) if "," in selector else found


def _xpath(steps: list[str]) -> str:
    path = ""
    for step in steps:
        tag = re.match(r"[a-z][a-z0-9]*", step)
        path += f".//{tag[0] if tag else '*'}" if not path else f"//{tag[0] if tag else '*'}"
        for kind, name, value in re.findall(r'([.#\[])([\w-]+)(?:="([^"]*)")?', step):
            path += {
                ".": f"[contains(concat(' ', normalize-space(@class), ' '), ' {name} ')]",
                "#": f"[@id='{name}']",
                "[": f"[@{name}='{value}']" if value else f"[@{name}]",
            }[kind]
    return path


def site_app(home: Path, given: list[PaperRecord] | None = None, **options: object) -> FastAPI:
    """The app over a home of its own, filled."""
    settings = Settings(home=home, cache=home / "cache")
    database = Database.open(settings)
    fill(database, given)
    database.close()
    defaults: dict[str, object] = {
        "hosts": ("testserver", "localhost", "127.0.0.1"),
        "search_per_minute": 0,
        "api_per_hour": 0,
    }
    app = create_app(settings, SiteSettings(**{**defaults, **options}))  # type: ignore[arg-type]
    site = app.state.site
    site.parts = VoteParts()
    site.search = WordSearch(site.papers)
    return app


def day_address(day: date) -> str:
    return f"/papers/date/{day}"
