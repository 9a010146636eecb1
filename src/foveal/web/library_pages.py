"""The library: what it holds, search in it, things put in and taken out.

GET  /library?q=…                     documents, or what a search finds; retriever, rank and filter by name; `judge=1`
                                      with grades beside each passage (judging.py)
POST /library/add                     files, and a URL, arXiv id or text: starts a job, and leads to its page
GET  /library/{which}/remove          asks whether it is meant
POST /library/{which}/remove          removes the document, and the file that was kept of an upload
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, File, Form, HTTPException, Request, Response, UploadFile
from fastapi.responses import RedirectResponse

from foveal.errors import FovealError, InputError, LibraryBusy, ModelUnavailable, UnknownDocument, UnknownName
from foveal.evaluation.judgements import FILE, GRADES, query_id, read_judgements
from foveal.library import AddReport, Library
from foveal.ranking.chosen import NONE, chosen, load_chosen
from foveal.retrieval.by_document import best_of_each
from foveal.retrieval.filters import literal
from foveal.retrieval.rows import Entry, shown_from
from foveal.retrieval.words import plain_quotes
from foveal.types import Hit, Ranker, Span, document_id
from foveal.web.answers import author_of, one_line, where_of
from foveal.web.document_text import place_address
from foveal.web.jobs import LIBRARY, Job
from foveal.web.limits import limited
from foveal.web.offered import check_ranker, check_retriever, rankers, retrievers
from foveal.web.pages import page
from foveal.web.papers_views import counted
from foveal.web.passage_marks import Marked, marked_words
from foveal.web.ranked import Within, within
from foveal.web.rights import Needs, may, whose_job
from foveal.web.safety import guarded
from foveal.web.site import Site, site_of
from foveal.web.small_forms import SmallForms, Uploads
from foveal.web.telling import told
from foveal.web.uploads import ACCEPT, Given, addresses_in, file_given, forget, pasted_given, upload_of
from foveal.web.works import plain, whole

LISTED = 50
"""Documents on a page."""

FOUND = 20
"""Passages that a search shows."""

MOST_FILES = 20
"""Files that are taken at once."""

LONGEST_QUERY = 2000

SHORT_AUTHOR = 80
"""Characters of an author in a list."""

BUSY_S, BUSY_LOOK_S = 1800.0, 0.5
"""Seconds that a job waits for another process that adds, and between two looks."""

BUSY_AFTER_S = 10
"""Seconds after which to come again to remove something meanwhile."""

NOTHING_ASKED = {
    "query": "", "retriever": "", "rank": "", "where": "", "as_of": "", "found": (), "wrong": "", "judging": False,
    "each": False, "note": "", "asked": {},
}  # fmt: skip
EMPTY = {"why": "", "pasted": ""}

router = APIRouter(route_class=SmallForms, include_in_schema=False)


@dataclass(frozen=True)
class Added:
    """What became of one thing that was given."""

    name: str
    state: str  # "added", "updated", "unchanged", "skipped"
    entry: Entry | None = None
    count: int = 1  # documents that it gave; `entry` is the first
    said: str = ""  # why it was skipped
    twin: Entry | None = None  # another document with the same text


@dataclass
class AddWork:
    """Things to add: what `jobs.Work` asks for, and what the page shows."""

    given: tuple[Given, ...]
    library: Callable[[], Library]
    lane: str = LIBRARY
    outcome: tuple[Added, ...] = ()
    passages: int = 0
    kind: str = "add"
    found: Callable[[], Library | None] = lambda: None  # the library, where there is one already
    others: Callable[[], Sequence[Job]] = list  # jobs that add, too, maybe the same file

    @classmethod
    def remade(cls, site: Site, asked: Mapping[str, Any], result: Mapping[str, Any] | None) -> AddWork:
        """From what the database has of it. InputError: a file that was sent is not on this machine."""
        given = whole(tuple[Given, ...], asked["given"])
        if result is not None:
            outcome = whole(tuple[Added, ...], result["outcome"])
            return cls(given, lambda: site.library, outcome=outcome, passages=result["passages"])
        for one in given:
            if one.kept is not None and not one.kept.is_file():
                raise InputError(f"{one.name} was sent to another machine, and is not here.")
        return cls.of(site, given)

    @classmethod
    def of(cls, site: Site, given: tuple[Given, ...]) -> AddWork:
        """Things to add to the library of a site."""
        there, others = (lambda: _there(site)), (lambda: site.jobs.unfinished(LIBRARY))
        return cls(given, lambda: site.library, found=there, others=others)

    def to_row(self) -> Mapping[str, Any]:
        """What it takes to add them again."""
        return {"given": plain(self.given, tuple[Given, ...])}

    def result(self) -> Mapping[str, Any]:
        """What the page shows."""
        return {"outcome": plain(self.outcome, tuple[Added, ...]), "passages": self.passages}

    @property
    def title(self) -> str:
        """For people."""
        first = one_line(self.given[0].name, 80)
        return f"Add {first}" + (f" and {len(self.given) - 1} more" if len(self.given) > 1 else "")

    def page(self, key: str) -> str:
        """The page of jobs."""
        return f"/jobs/{key}"

    def __call__(self, job: Job) -> None:
        """Add them. What was kept of a file that gave no document is deleted, unless the server stops meanwhile."""
        try:
            job.progressed("Opening the library", now=True)
            library = self.library()
            job.progressed("Reading", 0, len(self.given), now=True)
            report = self._added(job, library)
            self.passages = report.passages
            self.outcome = tuple(_outcome(one, report, library) for one in self.given)
        finally:
            if not job.stopping:
                self.dropped(job)

    def _added(self, job: Job, library: Library) -> AddReport:
        """Add, once no other process does. LibraryBusy: one did all the time."""
        until = time.monotonic() + BUSY_S
        while True:
            try:
                return library.add([one.source for one in self.given], on_progress=lambda now: _advance(job, now))
            except LibraryBusy:
                if time.monotonic() > until:
                    raise
                job.progressed("Waiting: another process is adding to the library", now=True)
                time.sleep(BUSY_LOOK_S)

    def dropped(self, job: Job | None = None) -> None:
        """It is over, or never begins: delete files that were kept, are in no library, and no other job is to add."""
        library = self.found()
        works = [other.work for other in self.others() if other is not job]
        wanted = {one.address for work in works if isinstance(work, AddWork) for one in work.given}
        ids = {document_id(one.address): one for one in self.given if one.kept and one.address not in wanted}
        there = library.entries(list(ids)) if library else {}
        for key, one in ids.items():
            if key not in there:
                forget(one)


def _there(site: Site) -> Library | None:
    """The library, where there is one: a look does not make it."""
    return site.library if site.has_library else None


def _advance(job: Job, report: AddReport) -> None:
    ready = max(report.passages, report.encoded)
    if report.sources_read == report.sources and ready < report.cut:  # what is left is to be encoded
        job.progressed(f"{ready:,} of {counted(report.cut, 'passage')}", ready, report.cut)
        return
    text = f"{counted(ready, 'passage')} so far" if ready else "Cutting into passages"
    job.progressed(text, report.sources_read, max(1, report.sources))


def _outcome(given: Given, report: AddReport, library: Library) -> Added:
    entries = _made_of(given, library)
    for state in ("added", "updated", "unchanged"):
        done = [entry for entry in entries if entry.id in getattr(report, state)]
        if done:
            return Added(given.name, state, done[0], count=len(done), twin=_twin(library, done[0]))
    reasons = [one.reason for one in report.skipped if one.address.partition("#")[0] == given.address]
    reason = reasons[0] if reasons else "It gave no document."
    said = told(reason.replace(str(given.kept or given.name), given.name), library.settings)
    return Added(given.name, "skipped", said=said)


def _made_of(given: Given, library: Library) -> list[Entry]:
    """The documents that a source gave: one, or those of its lines."""
    conditions = f"id = {literal(document_id(given.address))} OR source = {literal(given.address)}"
    return library.store.entries(conditions)


def _twin(library: Library, entry: Entry) -> Entry | None:
    """Another document that says just the same."""
    alike = library.store.entries(f"revision = {literal(entry.revision)}", limit=2)
    return next((one for one in alike if one.id != entry.id), None)


@dataclass(frozen=True)
class Found:
    """A passage that a search found, as the page shows it."""

    title: str
    where: str
    address: str
    text: Sequence[Marked]
    score: float
    source: str
    span: Span
    revision: str
    author: str = ""
    published_at: datetime | None = None
    grade: int | None = None  # what it was given for this query, where grades are shown


@router.get("/library")
def library_page(
    request: Request,
    q: str = "",
    retriever: str = "",
    rank: str = "",
    where: str = "",
    as_of: str = "",
    each: bool = False,
    p: int = 1,
    judge: bool = False,
) -> Response:
    """Documents, or what a search finds; `each`: of each document the best passage alone."""
    site = site_of(request)
    query, found, wrong, note = q.strip()[:LONGEST_QUERY], list[Found](), "", ""
    if query and site.has_library:
        limited("search")(request)
        try:
            found, note = _search(request, query, retriever, rank, where, as_of, each=each, judging=judge)
        except FovealError as error:  # said beside the form, which keeps what was typed
            wrong = site.told(error)
    how = {"retriever": retriever, "rank": rank, "where": where, "as_of": as_of}
    grouped = {"each": "1"} if each else {}
    told: dict[str, object] = {
        "query": query,
        "asked": {"q": query} | how | grouped,
        "each": each,
        "found": found,
        "wrong": wrong,
        "note": note,
    }
    return _shown(request, told | how | {"judging": judge and may(request, "judge")}, number=p)


def _shown(
    request: Request, asked: Mapping[str, object], *, number: int = 1, refused: Mapping[str, str] = EMPTY
) -> Response:
    """The page of the library; `refused` says what was not added, and why."""
    site = site_of(request)
    counts = site.library.store.counts() if site.has_library else {"documents": 0, "passages": 0}
    ids = [] if asked.get("query") or not counts["documents"] else site.library.store.listed("id")["id"].to_pylist()
    last = max(1, -(-len(ids) // LISTED))
    number = max(1, min(number, last))
    shown = ids[::-1][(number - 1) * LISTED : number * LISTED]  # the newest first; only these are read whole
    entries = site.library.entries(shown) if shown else {}
    values = {
        "documents": [entries[one] for one in shown if one in entries],
        "count": counts["documents"],
        "passages": counts["passages"],
        "number": number,
        "last": last,
        "retrievers": retrievers(site.settings.home),
        "rankers": rankers(site.settings.home),
        "own_ranker": chosen(site.settings),
        "adding": site.jobs.unfinished(LIBRARY),
        "accept": ACCEPT,
        "refused": refused,
        "grades": GRADES,
        "author_of": author_of,
    }
    status = 400 if refused["why"] or asked["wrong"] else 200
    return page(request, "library/library.html", {**NOTHING_ASKED, **asked, **values}, status=status)


def add(
    request: Request,
    files: Annotated[list[UploadFile] | None, File()] = None,
    pasted: Annotated[str, Form()] = "",
    title: Annotated[str, Form()] = "",
) -> Response:
    """Begin to add what was given."""
    site = site_of(request)
    given: list[Given] = []
    try:
        for one in _given(site, files or [], pasted, title):
            given.append(one)  # noqa: PERF402 (those before one that is refused are told from those after it)
        job = site.jobs.start(AddWork.of(site, tuple(given)), whose=whose_job(request))
    except Exception as error:
        AddWork.of(site, tuple(given)).dropped()
        if not isinstance(error, InputError):
            raise
        return _shown(request, {"wrong": ""}, refused={"why": site.told(error), "pasted": pasted})
    return RedirectResponse(job.page, 303)


router.add_api_route(  # the one form that may be large
    "/library/add",
    add,
    methods=["POST"],
    dependencies=[Depends(guarded), Depends(Needs("add"))],
    route_class_override=Uploads,
)


@router.get("/library/{which}/remove", dependencies=[Depends(Needs("remove"))])
def ask_to_remove(request: Request, which: str) -> Response:
    """The question whether it is meant."""
    site = site_of(request)
    entry = entry_of(site, which)
    return page(request, "library/remove.html", {"entry": entry, "kept": upload_of(site.settings, entry.source)})


@router.post("/library/{which}/remove", dependencies=[Depends(guarded), Depends(Needs("remove"))])
def remove(request: Request, which: str) -> Response:
    """Remove a document."""
    site = site_of(request)
    entry = entry_of(site, which)
    kept = upload_of(site.settings, entry.source)
    try:
        site.library.remove([entry])
    except LibraryBusy:
        raise HTTPException(
            503, "The library is being added to just now. Nothing was removed; come again once that is done.",
            {"Retry-After": str(BUSY_AFTER_S)},
        ) from None  # fmt: skip
    if kept:
        forget(Given(kept, kept.name, entry.source, kept))
    return RedirectResponse("/library", 303)


def entry_of(site: Site, which: str) -> Entry:
    """The document of that id, or of the only one that begins so. UnknownDocument: none. Never a path: an id only."""
    if not (which.isalnum() and 6 <= len(which) <= 32):
        raise InputError(f"{which[:80]!r} is no id of a document; ids have 6 to 32 letters and digits.")
    if not site.has_library:
        raise UnknownDocument("The library is empty: there is no document here yet.")
    return site.library.store.entry(which)


def place_of(site: Site, entry: Entry, start: int, end: int, revision: str) -> str | None:
    """The heading that a passage stands under. InputError: the document has changed since it was found."""
    there = {(begin, stop): heading for begin, stop, heading in site.library.store.places(entry.id)}
    if revision != entry.revision or (start, end) not in there:
        raise InputError(f"{entry.title or 'The document'} has changed since it was found. Search again.")
    return there[start, end]


def _given(site: Site, files: Sequence[UploadFile], pasted: str, title: str) -> Iterator[Given]:
    """All that a form holds, one by one; what was yielded is kept, also where InputError comes after it."""
    chosen = [file for file in files if file.filename]
    addresses = addresses_in(pasted)
    for given, what in ((chosen, "files"), (addresses, "addresses")):
        if len(given) > MOST_FILES:
            raise InputError(
                f"{len(given)} {what} were sent; at most {MOST_FILES} are taken at once. Send the rest after."
            )
    for file in chosen:
        yield file_given(site.settings, file.filename or "", file.file.read())
    if len(addresses) > 1:
        yield from (pasted_given(site.settings, one) for one in dict.fromkeys(addresses))
    elif pasted.strip() or not chosen:
        yield pasted_given(site.settings, pasted, title)


def _search(
    request: Request, query: str, retriever: str, rank: str, where: str, as_of: str, *, each: bool, judging: bool
) -> tuple[list[Found], str]:
    """The passages, and what is to be said of how they were ordered."""
    site = site_of(request)
    check_retriever(retriever, site.settings.home)
    as_of = as_of.strip()
    if as_of and retriever not in ("", "fresh"):
        raise InputError(
            f"“As of” goes with the search “fresh”, not with “{retriever}”. Choose fresh, or clear the day."
        )
    moment: dict[str, Any] = {"at": as_of} if as_of else {}  # of the search that knows what was fresh
    retriever = retriever or ("fresh" if moment else "")
    ranker, bounded = _ranker(request, rank, chosen(site.settings, retriever=retriever, rank=rank))
    candidates = bounded.candidates if bounded else None

    def passages(k: int) -> list[Hit]:
        return site.library.search(
            plain_quotes(query), k, retriever=retriever or None, rank=ranker or NONE, candidates=candidates,
            where=where.strip() or None, **moment,
        )  # fmt: skip

    hits = best_of_each(passages, FOUND) if each else passages(FOUND)
    note = bounded.said() if bounded else ""
    entries = site.library.entries([hit.passage.span.document_id for hit in hits])
    pairs = [(hit, entry) for hit in hits if (entry := entries.get(hit.passage.span.document_id))]
    found = [_found(hit, entry, query) for hit, entry in pairs]
    if not judging:
        return found, note
    given = {one.key: one.grade for one in read_judgements(site.settings.home / FILE)}
    asked = query_id(query)
    return [replace(one, grade=given.get((asked, one.span, one.revision))) for one in found], note


def _ranker(request: Request, rank: str, name: str) -> tuple[Ranker | None, Within | None]:
    """What orders a search by `name`, for `rank` that a visitor asked for; within the site's time for a stranger."""
    site = site_of(request)
    check_ranker(rank, site.settings.home)  # here, so that it holds whoever loads them: this process, or a cluster
    if not name:
        return None, None
    try:
        bounded = within(request, name, named=bool(rank))
        return bounded or site.rankers.get(name, site.settings.home), bounded
    except (UnknownName, ModelUnavailable):
        if not rank:
            load_chosen(site.settings)  # says what the site's own needs
        raise


def _found(hit: Hit, entry: Entry, query: str) -> Found:
    span = hit.passage.span
    where = where_of(entry.pages, hit.passage.heading, entry.title, span)
    address = place_address(span.document_id, span.start, span.end, hit.revision)
    text, revision = marked_words(hit.passage.text[shown_from(hit, entry) :], query), hit.revision or entry.revision
    author, dated = author_of(entry.metadata, SHORT_AUTHOR), entry.published_at
    return Found(entry.title, where, address, text, hit.score, hit.source, span, revision, author, dated)
