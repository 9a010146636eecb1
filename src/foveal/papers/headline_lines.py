"""What is said of titles, beside them: judged by a judge that somebody trained, with a line of a writer where better.

    judge_new(database, settings)                  # the titles listed last; the schedule and `papers headlines` call it
    lines_of(database, ["2605.01234"])             # id -> Line: for pages and feeds, which judge nothing themselves
    digest_line(database)                          # paper -> a sentence or None: what a digest adds below a title

Off      unless foveal.toml names a judge, [headlines] judge = "mine"; none is shipped: no set with labels allows it
Kept     with the names of judge and writer, and a hash of what they saw: a paper whose words change is judged anew, as
         all listed last are where a judge or writer was trained anew
Author   the title is never changed; a written line stands beside it, named as what it is, and only where the judge
         finds it better borne out by the abstract
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import select

from foveal import faults
from foveal.database import Database
from foveal.errors import InputError
from foveal.papers.plain_titles import one_line, plain_tex
from foveal.papers.schema import HeadlineRow, ListingRow, PaperRow
from foveal.settings import Settings, expanded, load_part

if TYPE_CHECKING:
    from foveal.papers.headline_writer import Writer
    from foveal.papers.headlines import HeadlineJudge
    from foveal.papers.store import Paper

UNTRAINED = (
    "Titles are not judged: no judge is named. Train one on headlines with labels (foveal train headline-judge "
    'labelled.csv --name mine), and name it in foveal.toml: [headlines] judge = "mine".'
)


@dataclass(frozen=True, kw_only=True)
class HeadlineSettings:
    """The table [headlines] of foveal.toml."""

    judge: str = ""  # of `foveal train headline-judge`, or a folder; "": titles are not judged
    writer: str = ""  # of `foveal train headline-writer`, or a language model; "": nothing is written
    candidates: int = 4  # lines that a writer makes of a paper, of which the best judged stands beside the title
    days: int = 3  # listings of the last so many days
    most: int = 60  # papers at a time

    def __post_init__(self) -> None:
        if min(self.candidates, self.days, self.most) < 1 or (self.writer and not self.judge):
            raise InputError(
                "The table [headlines] of foveal.toml needs numbers of at least 1, and a judge where it names a writer."
            )


@dataclass(frozen=True, kw_only=True)
class Line:
    """What stands beside a title."""

    label: str
    share: float  # probability of the label, 0 to 1
    sure: bool
    evidence: str  # a sentence of the abstract, "" where none fits
    judge: str
    written: str = ""
    writer: str = ""
    made_at: datetime | None = None

    @property
    def meaning(self) -> str:
        """The label in words."""
        from foveal.evaluation.headlines import TECLASS

        return TECLASS.meanings.get(self.label, self.label)


@dataclass
class Judged:
    """What was done; `off` says why nothing could be."""

    judged: list[str] = field(default_factory=list)
    written: int = 0
    left: int = 0
    licence: str = ""
    off: str = ""
    stopped: bool = False


Load = Callable[[HeadlineSettings, Settings], "tuple[HeadlineJudge, Writer | None]"]
"""Loads the judge and writer of some settings."""


class _Asked(NamedTuple):
    paper: str
    title: str
    abstract: str
    made_of: str


def headline_settings(home: Path) -> HeadlineSettings:
    """What foveal.toml says of headlines. InputError: it is not as it should be."""
    return load_part("headlines", HeadlineSettings, home)


def judge_new(
    database: Database,
    settings: Settings,
    *,
    chosen: HeadlineSettings | None = None,
    stop: Event | None = None,
    on_judged: Callable[[Judged], None] = lambda _: None,
    load: Load | None = None,
) -> Judged:
    """Judge the titles listed last that were not judged as they stand. UnknownName: no such judge or writer.

    Each is kept at once: a broken-off run goes on. Models are loaded only where there is something to judge.
    """
    chosen = chosen or headline_settings(settings.home)
    if not chosen.judge:
        return Judged(off=UNTRAINED)
    if load is None:  # said now, also where there is nothing to judge
        _require_named(chosen, settings)
    asked = list(_asked(database, chosen, settings.home))
    told = Judged(left=len(asked))
    if not asked:
        return told
    judge, writer = (load or load_models)(chosen, settings)
    told.licence = judge.licence
    for one in asked[: chosen.most]:
        if stop is not None and stop.is_set():
            told.stopped = True
            break
        row = _judged(one, judge, writer, chosen)
        with database.writing() as session:
            if session.get(PaperRow, one.paper) is not None:
                session.merge(row)
        told.judged.append(one.paper)
        told.written += bool(row.written)
        told.left -= 1
        on_judged(told)
    return told


def lines_of(database: Database, papers: Sequence[str]) -> dict[str, Line]:
    """What is kept of these papers' titles."""
    with database.reading() as session:
        rows = session.scalars(select(HeadlineRow).where(HeadlineRow.paper_id.in_(list(papers)))).all()
    names = Line.__dataclass_fields__
    return {row.paper_id: Line(**{name: getattr(row, name) for name in names}) for row in rows}


def digest_line(database: Database) -> Callable[[Paper], str | None]:
    """A function that gives the line of a digest: what was written about a paper, and by whom."""

    def line(paper: Paper) -> str | None:
        found = lines_of(database, [paper.id]).get(paper.id)
        return (
            f"{found.written} (written by {found.writer}, judged by {found.judge})" if found and found.written else None
        )

    return line


def _asked(database: Database, chosen: HeadlineSettings, home: Path) -> Iterator[_Asked]:
    """Papers listed last, whose title was not judged as it stands by this judge and writer, as these are now."""
    today = faults.now().date()
    listed = select(ListingRow.paper_id).where(ListingRow.day.between(today - timedelta(days=chosen.days - 1), today))
    wanted = (
        select(PaperRow.id, PaperRow.title, PaperRow.abstract, HeadlineRow.made_of)
        .outerjoin(HeadlineRow, HeadlineRow.paper_id == PaperRow.id)
        .where(PaperRow.id.in_(listed), PaperRow.abstract != "", PaperRow.withdrawn.is_(False))
        .order_by(PaperRow.id.desc())
    )
    with database.reading() as session:
        rows = session.execute(wanted).all()
    models = (chosen.judge, chosen.writer, str(chosen.candidates), *_trained(chosen, home))
    for which, title, abstract, made_of in rows:
        seen = "\n".join((plain_tex(title), abstract, *models))
        now = sha256(seen.encode("utf-8", "surrogatepass")).hexdigest()
        if now != made_of and plain_tex(title) and abstract.strip():
            yield _Asked(which, plain_tex(title), abstract.strip(), now)


def _trained(chosen: HeadlineSettings, home: Path) -> list[str]:
    """When judge and writer were trained, where they were: who is trained anew keeps the name, and judges anew."""
    from foveal.models.folders import written_at

    named = [expanded(name) for name in (chosen.judge, chosen.writer) if name]
    folders = [next((one for one in (home / "models" / name, name) if one.is_dir()), None) for name in named]
    return [str(written_at(folder)) for folder in folders if folder is not None]


def _require_named(chosen: HeadlineSettings, settings: Settings) -> None:
    """UnknownName: no such judge or writer."""
    from foveal.papers.headline_names import judge_folder, writer_folder

    judge_folder(chosen.judge, settings.home)
    if chosen.writer:
        writer_folder(chosen.writer, settings.home)


def load_models(chosen: HeadlineSettings, settings: Settings) -> tuple[HeadlineJudge, Writer | None]:
    """The judge and, where there is one, the writer of these names. UnknownName: there is none."""
    from foveal.papers.headline_writer import load_writer
    from foveal.papers.headlines import load_judge

    return load_judge(chosen.judge, settings), load_writer(chosen.writer, settings) if chosen.writer else None


def _judged(one: _Asked, judge: HeadlineJudge, writer: Writer | None, chosen: HeadlineSettings) -> HeadlineRow:
    from foveal.papers.headline_writer import rewrite

    line = ""
    if writer is None:
        found = judge.predict(one.title, one.abstract)
    else:
        both = rewrite(writer, one.title, one.abstract, judge, n=chosen.candidates)
        assert both.author.judgement is not None
        found = both.author.judgement
        line = one_line(both.written.text)[:300] if both.written else ""
    return HeadlineRow(
        paper_id=one.paper,
        made_of=one.made_of,
        label=found.label[:20],
        share=found.probabilities[found.label],
        sure=found.sure,
        evidence=" ".join((found.evidence_sentence or "").split()),
        judge=_called(chosen.judge),
        written=line,
        writer=_called(chosen.writer) if line else "",
        made_at=faults.now(),
    )


def _called(name: str) -> str:
    """A model's name as readers see it: of one that is named by its folder, the folder's own."""
    folder = expanded(name)
    return (folder.name if folder.is_dir() else name)[:120]
