"""Papers to other programs (BibTeX, RIS, CSV), and all that the database holds of a person, to them or away.

    EXPORTS["bibtex"](papers)                      # one text; also "ris", "csv", "json"
    person_data(database, "ana")                   # every row of theirs, by table, as plain values
    delete_person(database, "ana")                 # Deleted(rows by table, comments that were emptied)

A person's rows are found by the keys of the tables that the database has: each column that refers to `person.id`, each
that holds their address or login, and what belongs to such rows. So a table that is added later is in the export, and
in what is deleted.
Deleted    the account with votes, collections, sessions; comments lose their words, and those without answers go; a
           paper's listing stays, without the name of who submitted it
"""

from __future__ import annotations

import csv
import io
import json
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any

from sqlalchemy import Column, ColumnElement, MetaData, Table, and_, delete, func, or_, select, update
from sqlalchemy.orm import Session

from foveal import faults
from foveal.database import Database
from foveal.errors import UnknownPaper
from foveal.papers.schema import CommentRow, PersonRow
from foveal.papers.store import Paper

CSV_COLUMNS = (
    *(
        "id",
        "version",
        "title",
        "authors",
        "author_count",
        "organisation",
        "published",
        "listed",
        "categories",
        "votes",
    ),
    *("comments", "doi", "journal_ref", "url", "repo_url", "repo_stars", "abstract"),
)
_ADDRESSES = ("email", "address")
_LOGINS = ("submitted_by", "picked_by", "actor", "target")
_SECRET = re.compile(r"hash|secret|token|password")
_TEX = {
    **{one: f"\\{one}" for one in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
}
_MATH = re.compile(r"(\$[^$]*\$)")


# papers


def bibtex(papers: Sequence[Paper]) -> str:
    """One @article or @misc for each paper, with keys that differ."""
    keys: dict[str, int] = {}
    return "\n".join(_bibtex(paper, _fresh(_key(paper), keys)) for paper in papers)


def ris(papers: Sequence[Paper]) -> str:
    """One record for each paper, lines ended as the format has them."""
    return "".join(f"{line}\r\n" for paper in papers for line in _ris(paper))


def as_csv(papers: Sequence[Paper]) -> str:
    """A table with a head; cells that a spreadsheet would take for a formula are quoted by an apostrophe."""
    held = io.StringIO()
    writer = csv.writer(held)
    writer.writerow(CSV_COLUMNS)
    for paper in papers:
        writer.writerow([_cell(value) for value in _row(paper)])
    return held.getvalue()


def as_json(papers: Sequence[Paper]) -> str:
    """The papers as objects, times in ISO format."""
    from dataclasses import asdict

    return json.dumps([asdict(paper) for paper in papers], default=_plain, ensure_ascii=False, indent=1) + "\n"


EXPORTS: Mapping[str, Callable[[Sequence[Paper]], str]] = {
    "bibtex": bibtex,
    "ris": ris,
    "csv": as_csv,
    "json": as_json,
}


def _bibtex(paper: Paper, key: str) -> str:
    fields = {
        "title": f"{{{_tex(paper.title)}}}",
        "author": " and ".join(_tex(author.name) for author in paper.authors),
        "year": str(paper.published_at.year) if paper.published_at else "",
        "month": f"{paper.published_at:%b}".lower() if paper.published_at else "",
        "journal": _tex(paper.journal_ref),
        "doi": paper.doi,
        "eprint": paper.id if paper.is_arxiv else "",
        "archiveprefix": "arXiv" if paper.is_arxiv else "",
        "primaryclass": paper.categories[0] if paper.is_arxiv and paper.categories else "",
        "url": paper.page_url,
        "abstract": _tex(paper.abstract),
    }
    bare = ("month",)
    lines = [f"  {name} = {value if name in bare else f'{{{value}}}'}," for name, value in fields.items() if value]
    return "\n".join([f"@{'article' if paper.journal_ref else 'misc'}{{{key},", *lines, "}", ""])


def _tex(text: str) -> str:
    """Text for TeX; what stands between dollars is TeX already, if the dollars come in pairs."""
    parts = _MATH.split(text) if text.count("$") % 2 == 0 else [text]
    return "".join(
        part if _MATH.fullmatch(part) and _balanced(part) else "".join(_TEX.get(one, one) for one in part)
        for part in parts
    )


def _balanced(text: str) -> bool:
    """Whether the braces close in order: one that does not would swallow the rest of the file."""
    depth = 0
    for one in re.sub(r"\\[{}]", "", text):
        depth += (one == "{") - (one == "}")
        if depth < 0:
            return False
    return depth == 0


def _key(paper: Paper) -> str:
    """Family name, year, first long word of the title: martin2026looking."""
    family = paper.authors[0].name.split()[-1] if paper.authors else paper.organisation or "anonymous"
    year = str(paper.published_at.year) if paper.published_at else ""
    word = next((one for one in _ascii(paper.title).split() if len(one) > 3), "")
    return f"{_ascii(family).replace(' ', '')}{year}{word}" or "paper"


def _fresh(key: str, keys: dict[str, int]) -> str:
    keys[key] = keys.get(key, 0) + 1
    return key if keys[key] == 1 else f"{key}-{keys[key]}"


def _ascii(text: str) -> str:
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return " ".join(re.findall(r"[a-z0-9]+", plain.lower()))


def _ris(paper: Paper) -> Iterator[str]:
    yield f"TY  - {'JOUR' if paper.journal_ref else 'UNPB'}"
    fields = [
        ("TI", paper.title),
        *(("AU", _reversed(author.name)) for author in paper.authors),
        ("PY", str(paper.published_at.year) if paper.published_at else ""),
        ("DA", f"{paper.published_at:%Y/%m/%d}" if paper.published_at else ""),
        ("JO", paper.journal_ref),
        ("DO", paper.doi),
        ("UR", paper.page_url),
        ("L1", paper.pdf_url),
        *(("KW", word) for word in paper.keywords),
        ("AB", paper.abstract),
        ("ID", paper.id),
    ]
    yield from (f"{tag}  - {' '.join(value.split())}" for tag, value in fields if value)
    yield "ER  - "


def _reversed(name: str) -> str:
    *first, last = name.split() or [""]
    return f"{last}, {' '.join(first)}" if first else last


def _row(paper: Paper) -> list[Any]:
    published = paper.published_at.date() if paper.published_at else ""
    return [
        *(paper.id, paper.version, paper.title, "; ".join(author.name for author in paper.authors), paper.author_count),
        *(paper.organisation, published, paper.listed_on or "", " ".join(paper.categories), paper.all_votes),
        *(paper.all_comments, paper.doi, paper.journal_ref, paper.page_url, paper.repo_url),
        *("" if paper.repo_stars is None else paper.repo_stars, paper.abstract),
    ]


def _cell(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value


# people


@dataclass
class Deleted:
    """What a deletion did: rows that went, by table, and comments that stay without words, for the answers to them."""

    login: str
    rows: dict[str, int] = field(default_factory=dict)
    emptied: int = 0


def person_data(database: Database, which: str) -> dict[str, Any]:
    """All rows of a person, by table; `which` is their login or address. UnknownPaper: there is no such person.

    Left out are columns that only prove who they are (hashes of links and sessions).
    """
    with database.reading() as session:
        person = _person(session, which)
        found: dict[str, Any] = {"exported_at": faults.now()}
        for table, condition in _tables_of(session, person):
            columns = [column for column in table.columns if not _SECRET.search(column.name)]
            rows = session.execute(select(*columns).where(condition)).mappings()
            held = [{name: _plain_value(value) for name, value in row.items()} for row in rows]
            if held:
                found[table.name] = held
    return found


def delete_person(database: Database, which: str) -> Deleted:
    """Delete a person and what is theirs. UnknownPaper: there is no such person."""
    with database.writing() as session:
        person = _person(session, which)
        done = Deleted(person.login)
        _forget_comments(session, person, done)
        _forget_login(session, person)
        for table, condition in reversed(list(_tables_of(session, person, logins=False))):
            if table.name in ("person", "comment"):
                continue
            if _is_shared(table):
                _unlink(session, table, person.id)
                continue
            gone = session.scalar(select(func.count()).select_from(table).where(condition)) or 0
            session.execute(delete(table).where(condition))
            done.rows |= {table.name: gone} if gone else {}
        session.delete(person)
        done.rows["person"] = 1
    return done


def _person(session: Session, which: str) -> PersonRow:
    found = session.scalar(select(PersonRow).where(or_(PersonRow.login == which, PersonRow.email == which)))
    if found is None:
        raise UnknownPaper(f"Nobody here is called {which[:80]!r}. Give a login or an e-mail address.")
    return found


def _tables_of(
    session: Session, person: PersonRow, *, logins: bool = True
) -> Iterator[tuple[Table, ColumnElement[bool]]]:
    """Each table that may hold rows of a person, and which rows those are; what is referred to comes first."""
    tables = MetaData()
    tables.reflect(bind=session.connection())  # what the database has, whoever declared it
    owned: dict[Table, ColumnElement[bool]] = {}
    for table in tables.sorted_tables:
        conditions = [*_direct(table, person, logins=logins), *_through(table, owned)]
        if conditions:
            yield table, or_(*conditions)
        if conditions and table.name != "person" and not _is_shared(table):
            owned[table] = or_(*conditions)


def _direct(table: Table, person: PersonRow, *, logins: bool) -> list[ColumnElement[bool]]:
    """Rows that name the person themselves."""
    if table.name == "person":
        return [table.c.id == person.id]
    found = [column == person.id for column in _references(table)]
    found += [func.lower(table.c[name]) == person.email.lower() for name in _ADDRESSES if name in table.c]
    return found + [table.c[name] == person.login for name in _LOGINS if logins and name in table.c]


def _through(table: Table, owned: Mapping[Table, ColumnElement[bool]]) -> list[ColumnElement[bool]]:
    """Rows that belong to rows of theirs: the papers of a collection, what was sent to a subscription."""
    return [
        key.parent.in_(select(key.column).where(owned[key.column.table]))
        for key in table.foreign_keys
        if key.column.table in owned and key.column.table is not table
    ]


def _references(table: Table) -> list[Column[Any]]:
    """The columns that refer to a person."""
    return [
        column for column in table.columns if any(key.target_fullname == "person.id" for key in column.foreign_keys)
    ]


def _is_shared(table: Table) -> bool:
    """Whether a row outlives its person: each reference to one may be empty."""
    references = _references(table)
    named = any(name in table.c for name in _ADDRESSES)
    return bool(references) and not named and all(column.nullable for column in references)


def _unlink(session: Session, table: Table, person: int) -> None:
    for column in _references(table):
        session.execute(update(table).where(column == person).values({column.name: None}))
    if table.name == "author":
        session.execute(
            update(table).where(and_(table.c.person_id.is_(None), table.c.status != "hidden")).values(status="none")
        )


def _forget_comments(session: Session, person: PersonRow, done: Deleted) -> None:
    """Empty a person's comments that were answered, and delete the others."""
    mine = CommentRow.person_id == person.id
    answered = set(session.scalars(select(CommentRow.parent_id).where(CommentRow.parent_id.is_not(None))))
    for comment in session.scalars(select(CommentRow).where(mine)).all():
        if comment.id in answered:
            comment.raw, comment.html, comment.person_id = "", "", None
            comment.hidden_at = comment.hidden_at or faults.now()
            done.emptied += 1
        else:
            session.delete(comment)
            done.rows["comment"] = done.rows.get("comment", 0) + 1
    session.flush()


def _forget_login(session: Session, person: PersonRow) -> None:
    for table, _ in _tables_of(session, person):
        for name in _LOGINS:
            if name in table.c:
                session.execute(update(table).where(table.c[name] == person.login).values({name: ""}))


def _plain_value(value: object) -> object:
    if isinstance(value, datetime) and value.tzinfo is None:  # SQLite forgets the zone, which is always UTC
        value = value.replace(tzinfo=UTC)
    return value.isoformat() if isinstance(value, datetime | date) else value


def _plain(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime | date) else str(value)
