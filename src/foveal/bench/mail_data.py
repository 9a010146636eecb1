"""A home for the bench `mail` and its tests: invented papers that trend, people who confirmed, mail to a server here.

database, secret = make_home(folder, port, subscribers=60)
    python -m foveal.bench.mail_sender FOLDER        # sends to everybody, as `foveal digest send --now` does
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy import update

from foveal import faults
from foveal.database import Database
from foveal.evaluation.files import whole_file
from foveal.papers.mail.digest import Composer
from foveal.papers.mail.links import Links
from foveal.papers.mail.subscriptions import Preferences, confirm, subscribe
from foveal.papers.people_schema import DeliveryRow
from foveal.papers.records import Named, PaperRecord
from foveal.papers.schema import TopicRow
from foveal.papers.secrets import secret_of
from foveal.papers.store import Paper, PaperStore
from foveal.papers.upserts import upsert
from foveal.settings import Settings

SITE = "https://papers.example.org"
TITLES = (
    "Where to Look When Everything Is Text", "An $O(n \\log n)$ Bound for $\\alpha$-Mixing Attention",
    "Reading a Book\nin One Pass", "Passages < Pages: What a Library Forgets", "Sparse Blocks, Dense Answers",
    "Schr\\\"odinger's Cache: Keys That Are and Are Not", "Une m\\'emoire à long terme", "Counting Votes at \\$5 Each",
    "Landmarks in $\\mathbb{R}^{d}$", "The \u202eSecond\u202c Look", "Headlines Without Headlines", "長い文書を読む",
    "Routing Questions to the Right Page", "Forgetting Curves of Retrieval Heads", "Mail That Arrives Once",
)  # fmt: skip
TOPICS = (TopicRow(id="long-context", title="Long context", query="long context attention"),
          TopicRow(id="retrieval", title="Retrieval", query="retrieval library"))  # fmt: skip


def make_home(
    home: Path,
    port: int,
    *,
    subscribers: int,
    settings: str = "",
    rate: int = 1_000,
    seed: int = 0,
    database: str = "sqlite",
) -> tuple[Database, bytes]:
    """A home with papers of today, topics, and so many who confirmed; their mail goes to 127.0.0.1."""
    lines = (
        f'database = "{database}"',
        "[mail]",
        'host = "127.0.0.1"',
        f"port = {port}",
        'security = "none"',
        'sender = "Daily Papers <papers@example.org>"',
        'bounces = "bounces@example.org"',
        f'url = "{SITE}"',
        'postal = "Example Reading Group, 1 Main Street, Springfield"',
        f"rate = {rate}",
        settings,
    )
    with whole_file(home / "foveal.toml") as partial:
        partial.write_text("\n".join(lines) + "\n", encoding="utf-8")
    opened = Database.open(Settings.load(home, environment={}))
    upsert(opened, papers(faults.now()))
    with opened.writing() as session:
        session.add_all([TopicRow(id=one.id, title=one.title, query=one.query) for one in TOPICS])
    secret = secret_of(home)
    draw = random.Random(seed)
    for number in range(subscribers):
        subscribe_and_confirm(opened, secret, f"reader{number}@example.org", wishes(draw))
    return opened, secret


def papers(now: datetime, *, count: int = len(TITLES)) -> list[PaperRecord]:
    """Invented papers that were listed today or yesterday, the first ones with more votes."""
    return [
        PaperRecord(
            id=f"2610.{number:05d}",
            title=TITLES[number % len(TITLES)] + (f" ({number // len(TITLES) + 1})" if number >= len(TITLES) else ""),
            source="arxiv",
            abstract=f"We ask how a reader finds passage {number} in a library with $n$ pages. It looks, e.g. at two "
            "places. Attention and retrieval are one act, and <b>both</b> are measured.",
            authors=tuple(Named(name=name) for name in ("Léa Martin", "Bo Li", "Ana Sato", "Ivo Novak")[: number % 5]),
            published_at=now - timedelta(days=2),
            categories=("cs.CL", "cs.IR"),
            organisation="Example Lab" if number % 5 == 0 else "",
            votes=200 - number,
            repo_url=f"https://code.example.org/{number}" if number % 3 == 0 else "",
            repo_stars=10 * number if number % 3 == 0 else None,
            summary="A reader that finds any page in two looks." if number % 4 == 0 else "",
            summary_model="small-model" if number % 4 == 0 else "",
            listed_on=(now - timedelta(days=number % 2)).date(),
        )
        for number in range(count)
    ]


def wishes(draw: random.Random) -> Preferences:
    """Somebody's preferences."""
    topics = tuple(one.id for one in TOPICS if draw.random() < 0.3)
    zone = draw.choice(("UTC", "Europe/Paris", "America/New_York", "Asia/Kolkata"))
    return Preferences(topics=topics, hour=draw.randrange(24), zone=zone)


def subscribe_and_confirm(database: Database, secret: bytes, address: str, preferences: Preferences) -> None:
    """Both halves of the double opt-in, as the person does them."""
    sent: list[str] = []
    subscribe(database, secret, address, preferences, deliver=lambda _, __, text: sent.append(text), links=Links(SITE))
    confirm(database, token_in(sent[0]), ip="192.0.2.1")


def token_in(text: str) -> str:
    """The token of the link that confirms."""
    return text.partition(f"{SITE}/mail/confirm/")[2].partition("\n")[0]


def composer(database: Database, now: datetime) -> Composer:
    """Papers by votes, searches by words: what is measured here is the mail."""
    store = PaperStore(database)

    def trending(_: datetime, limit: int) -> Sequence[Paper]:
        return store.page(sort="votes", limit=limit).papers

    def search(query: str, limit: int) -> Sequence[Paper]:
        words = set(query.lower().split())
        found = [p for p in trending(now, limit) if words & set(f"{p.title} {p.abstract}".lower().split())]
        return found[:limit]

    return Composer(database, trending=trending, search=search, now=now)


def skip_waiting(database: Database) -> int:
    """What waits for a second try is due now; how many."""
    moment = faults.now()
    later = update(DeliveryRow).where(DeliveryRow.state == "queued", DeliveryRow.due_at > moment)
    with database.writing() as session:
        return session.execute(later.values(due_at=moment)).rowcount  # type: ignore[attr-defined,no-any-return]


def with_dkim(home: Path, pem: bytes) -> str:
    """Lines of [mail] that sign with this key, which is put into the home."""
    with whole_file(home / "dkim.pem") as partial:
        partial.write_bytes(pem)
    return 'dkim_key = "dkim.pem"\ndkim_selector = "test"'
