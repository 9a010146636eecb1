"""Adding to the library by the site: what was given, the long job that adds it, and what became of each."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import UploadFile

from foveal.errors import InputError, LibraryBusy
from foveal.library import Library
from foveal.retrieval.adding import AddReport
from foveal.retrieval.filters import literal
from foveal.retrieval.rows import Entry
from foveal.retrieval.sent_files import documents_at
from foveal.web.answers import one_line
from foveal.web.documents import note_added
from foveal.web.job import LIBRARY, Job
from foveal.web.papers_views import counted
from foveal.web.site import Site
from foveal.web.telling import told
from foveal.web.uploads import Given, addresses_in, file_given, forget, pasted_given
from foveal.web.works import plain, whole

MOST_FILES = 20
"""Files that are taken at once."""

BUSY_S, BUSY_LOOK_S = 1800.0, 0.5
"""Seconds that a job waits for another process that adds, and between two looks."""


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
    noted: Callable[[str, AddReport, Library], None] = lambda *_: None  # whose it is that something was added

    @classmethod
    def remade(cls, site: Site, asked: Mapping[str, Any], result: Mapping[str, Any] | None) -> AddWork:
        """From what the database has of it."""
        given = whole(tuple[Given, ...], asked["given"])
        if result is not None:
            outcome = whole(tuple[Added, ...], result["outcome"])
            return cls(given, lambda: site.library, outcome=outcome, passages=result["passages"])
        return cls.of(site, given)

    def check_here(self) -> None:
        """InputError: a file that was sent is not on this machine."""
        for one in self.given:
            if one.kept is not None and not one.kept.is_file():
                raise InputError(f"{one.name} was sent to another machine, and is not here.")

    @classmethod
    def of(cls, site: Site, given: tuple[Given, ...]) -> AddWork:
        """Things to add to the library of a site."""
        there, others = (lambda: _there(site)), (lambda: site.jobs.unfinished(LIBRARY))
        return cls(
            given, lambda: site.library, found=there, others=others,
            noted=lambda whose, report, library: note_added(site, whose, report, library),
        )  # fmt: skip

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
            self.noted(job.whose, report, library)
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
        for one in self.given:
            if one.kept and one.address not in wanted and not (library and documents_at(library.store, one.address)):
                forget(one)


def _there(site: Site) -> Library | None:
    """The library, where there is one: a look does not make it."""
    return site.library if site.has_library else None


def _advance(job: Job, report: AddReport) -> None:
    if part := report.part:
        counted_of = f"{part.read:,} of {part.of:,} {part.what}"
        job.progressed(f"Reading {one_line(part.name, 80)}: {counted_of}", part.read, part.of)
        return
    ready = max(report.passages, report.encoded)
    if report.sources_read == report.sources and ready < report.cut:  # what is left is to be encoded
        job.progressed(f"{ready:,} of {counted(report.cut, 'passage')}", ready, report.cut)
        return
    text = f"{counted(ready, 'passage')} so far" if ready else "Cutting into passages"
    job.progressed(text, report.sources_read, max(1, report.sources))


def _outcome(given: Given, report: AddReport, library: Library) -> Added:
    entries = documents_at(library.store, given.address)  # one, or those of its lines
    for state in ("added", "updated", "unchanged"):
        done = [entry for entry in entries if entry.id in getattr(report, state)]
        if done:
            return Added(given.name, state, done[0], count=len(done), twin=_twin(library, done[0]))
    reasons = [one.reason for one in report.skipped if one.address.partition("#")[0] == given.address]
    reason = reasons[0] if reasons else "It gave no document."
    said = told(reason.replace(str(given.kept or given.name), given.name), library.settings)
    return Added(given.name, "skipped", said=said)


def _twin(library: Library, entry: Entry) -> Entry | None:
    """Another document that says just the same."""
    alike = library.store.entries(f"revision = {literal(entry.revision)}", limit=2)
    return next((one for one in alike if one.id != entry.id), None)


def given_by(site: Site, files: Sequence[UploadFile], pasted: str, title: str) -> Iterator[Given]:
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
