"""What the routes of one running app share: settings, database, library, search; each opened when first asked for.

site = site_of(request)        # in a route
site.papers.get("2605.01234"); site.library.search(...)
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar, cast

from fastapi import Request

from foveal.database import Database
from foveal.errors import InputError, ModelUnavailable, UnknownName
from foveal.library import Library
from foveal.papers.classes import PaperClasses
from foveal.papers.headline_lines import Line, headline_settings, lines_of
from foveal.papers.mail.settings import MailSettings, load_mail
from foveal.papers.store import PaperStore
from foveal.research.report_runs import MakeReporter, reporter_of
from foveal.retrieval import tables
from foveal.settings import Settings
from foveal.web.job_keeping import Keeping
from foveal.web.jobs import Jobs
from foveal.web.kept_jobs import KeptJobs
from foveal.web.limits import Limits, people_at
from foveal.web.models import LocalModels, Models, Rankers, RankersByName, is_served
from foveal.web.papers_parts import PaperParts
from foveal.web.ranked import Timed
from foveal.web.settings import WebSettings, checked_writers
from foveal.web.telling import told
from foveal.web.works import remade

if TYPE_CHECKING:
    from foveal.papers.paper_search import PaperSearch
    from foveal.papers.store import Paper
    from foveal.web.research_desk import Desk


Deliver = Callable[[str, str, str], None]
"""Sends a text by mail: to an address, a subject, the text."""

logger = logging.getLogger("foveal.web")


def in_the_log(address: str, subject: str, text: str) -> None:
    """What a site without mail does with a message: whoever runs it reads it in the terminal, and passes it on."""
    logger.warning("No mail is set up. This would have been sent to %s: %s\n%s", address, subject, text)


T = TypeVar("T")


class _Once(cached_property[T]):
    """A part that is opened when first asked for, and once, though several threads ask: from 3.12 on Python holds none
    of them back."""

    if not TYPE_CHECKING:  # the types are those of cached_property

        def __get__(self, site, owner=None):
            if site is None:
                return self
            with site._locks.setdefault(self.attrname, threading.RLock()):
                if self.attrname not in site.__dict__:
                    site.__dict__[self.attrname] = self.func(site)
                return site.__dict__[self.attrname]


@dataclass(frozen=True, kw_only=True)
class SiteSettings:
    """How the app is served."""

    title: str = "Foveal"
    base_url: str = ""  # "https://papers.example.org": what feeds and mails point to; "" takes that of the request
    hosts: tuple[str, ...] = ("localhost", "127.0.0.1", "[::1]")  # names that a request may call us by; "*" is any
    writers: str = ""  # who may add, ask and remove (rights.py): one of WRITERS; "" as [web] says, or else anyone
    sign_up: bool = True  # whoever can read an address gets an account; off: only people that an admin added
    demo: bool = False  # a banner says that the papers are invented
    max_upload_mb: int = 64
    search_per_minute: int = 60  # searches of one address; 0 is any number
    ranked_per_minute: int = 6  # of these such that a ranker orders, by strangers; 0 is any number
    api_per_hour: int = 600  # answers of the API, feeds of searches, whole collections for one address; 0 is any
    trusted_proxies: tuple[str, ...] = ()  # addresses whose X-Forwarded-For is believed

    def __post_init__(self) -> None:
        checked_writers(self.writers)
        if self.max_upload_mb < 1 or not self.hosts:
            raise InputError(f"{self} needs at least one host, and an upload limit of 1 MB or more.")


DEFAULTS = SiteSettings()


@dataclass
class Site:
    """The parts of a running app."""

    settings: Settings
    options: SiteSettings
    models: Models = field(default_factory=LocalModels)
    jobs: Jobs = field(default_factory=Jobs)
    rankers: RankersByName = field(default_factory=Rankers)
    timed: Timed = field(default_factory=Timed)
    parts: PaperParts = field(default_factory=PaperParts)
    limits: Limits = field(default_factory=Limits)
    web: WebSettings = field(default_factory=WebSettings)
    reporter: MakeReporter = reporter_of
    deliver: Deliver = in_the_log
    _locks: dict[str, threading.RLock] = field(default_factory=dict)  # of each part

    def __post_init__(self) -> None:
        """Jobs outlive this process: they are kept in the database."""
        self.jobs.told = self.told
        self.jobs.people = lambda whose: people_at(whose, self.web.shared)
        if is_served(self.models):
            self.jobs.settings = replace(self.jobs.settings, answering=self.web.answers_at_once)
        self.jobs.keeping = Keeping(
            self.jobs, lambda: KeptJobs(self.database), lambda kind, asked, result: remade(self, kind, asked, result)
        )

    @_Once
    def mail(self) -> MailSettings | None:
        """How mail leaves this site, None where it does not. InputError: the settings are not whole."""
        mail = load_mail(self.settings)
        return mail.complete() if mail.host else None

    @_Once
    def judges_titles(self) -> bool:
        """Whether foveal.toml names a judge of titles. InputError: its table is not as it should be."""
        return bool(headline_settings(self.settings.home).judge)

    @_Once
    def classes(self) -> PaperClasses | None:
        """What names the topic of papers, where foveal.toml names a classifier that is there; else None."""
        if not self.settings.classifier:
            return None
        from foveal.nn.text_classifier_training import classifier_named

        try:
            model = classifier_named(self.settings.classifier, self.settings.home)
        except (UnknownName, ModelUnavailable) as error:
            logger.warning("Papers are shown without their topic. %s", error)
            return None
        return PaperClasses(model, self.settings.classifier)

    @_Once
    def database(self) -> Database:
        """The database of this home."""
        return Database.open(self.settings)

    @_Once
    def papers(self) -> PaperStore:
        """The papers of this home."""
        return PaperStore(self.database)

    @_Once
    def search(self) -> PaperSearch:
        """Search over the papers."""
        from foveal.papers.paper_search import PaperSearch

        return PaperSearch.open(self.settings, database=self.database)

    @_Once
    def research(self) -> Desk:
        """Runs of research."""
        from foveal.web.research_desk import Desk

        return Desk(self)

    @_Once
    def library(self) -> Library:
        """The library of this home; made, empty, where there is none."""
        return Library.open(settings=self.settings)

    @property
    def has_library(self) -> bool:
        """Whether there is one already: to make it takes a while, so that a page which only looks does not."""
        return "library" in self.__dict__ or tables.exists(self.settings.library_uri)

    def lines(self, papers: Sequence[Paper]) -> Mapping[str, Line]:
        """What is said beside the titles of papers, where a judge is named; looked up, never judged."""
        return lines_of(self.database, [paper.id for paper in papers]) if self.judges_titles and papers else {}

    def told(self, error: Exception) -> str:
        """What a visitor reads of an error: where anything lies on this machine is nobody's business."""
        return told(str(error), self.settings)

    def close(self) -> None:
        """End the jobs, and close what was opened."""
        self.jobs.close()
        if "database" in self.__dict__:
            self.database.close()


def site_of(request: Request) -> Site:
    """The site that a request came to."""
    return cast(Site, request.app.state.site)


def base_url(request: Request) -> str:
    """The address of the app, without a slash at its end."""
    return site_of(request).options.base_url or str(request.base_url).rstrip("/")
