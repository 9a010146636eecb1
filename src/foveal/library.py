"""One collection of texts: add, search, read, ask, remove. The facade that most users meet; the work is done below it.

    library = Library.open("~/papers")              # a home folder; made when it is not there
    library.add(["reports/", "https://example.org/page", "arxiv:2103.00020"])
    hits = library.search("where is sight sharpest?", k=5, where="kind=pdf")
    library.get(hits[0].passage.span.document_id).quote(hits[0].passage.span)
    library.ask("where is sight sharpest?").citations         # from the library; `read`: from one document, all of it

Many processes may search while one adds; what `add` reported done survives a kill at any moment.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foveal import given
from foveal.errors import InputError, LibraryError, NoLibrary, UnknownDocument
from foveal.models.characters import is_read, one_text, scalar
from foveal.models.hub import require_known, whole_name
from foveal.ranking.chosen import Usual, by_now
from foveal.registry import RETRIEVERS, SEGMENTERS, lookup, require_name
from foveal.retrieval import tables
from foveal.retrieval.adding import AddReport, OwnWork, Work, no_lesser
from foveal.retrieval.creation import create_library, is_empty
from foveal.retrieval.encoding_anew import encode_anew
from foveal.retrieval.filters import DOCUMENT_COLUMNS, literal, sql
from foveal.retrieval.indexing import Indexer, storable
from foveal.retrieval.lexical import LexicalRetriever
from foveal.retrieval.naming import NAMED, find
from foveal.retrieval.pruning import gone
from foveal.retrieval.renaming import rename
from foveal.retrieval.rows import Entry, Stats
from foveal.retrieval.sent_files import known_again
from foveal.retrieval.store import Store
from foveal.settings import Settings
from foveal.text.loading import Skipped, Source, discover
from foveal.text.segmenter_by_name import make_segmenter
from foveal.text.sources import load_settings
from foveal.types import Document, Encoder, Hit, Ranker, Retriever, Segmenter

if TYPE_CHECKING:
    from foveal.models.chat import Cancel, ChatModel
    from foveal.models.language import LanguageModel
    from foveal.ranking.explanation import Explanation
    from foveal.reading import Reading, ReadSettings
    from foveal.reading.asking import Asked, AskEvent, AskSettings


class Library:
    """One collection; make it with `Library.open`."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self.store = store
        self.settings = settings
        self._usual = Usual()
        self._made = store.made_with

    @classmethod
    @given.takes(encoder=given.MAYBE_TEXT, segmenter=given.MAYBE_TEXT, settings=given.SETTINGS)
    def open(
        cls,
        home: str | Path | None = None,
        *,
        encoder: str | None = None,
        segmenter: str | None = None,
        create: bool = True,
        settings: Settings | None = None,
    ) -> Library:
        """The library in the folder `home` (default: FOVEAL_HOME, or the user's data folder), or on an object store.

        "s3://bucket/papers" is one that Lance speaks (s3, gs, az, …); its keys come from the environment, and all but
        the tables stays on this machine (see `settings.py`).

        A new one gets `encoder` (a name of `foveal models`, a folder, a hub id, or "none" for search by words only)
        and `segmenter` (a name of `registry.SEGMENTERS`). NoLibrary: not there and not to be made. LibraryError:
        damaged, too new, or made with another encoder or segmenter than the one given.
        """
        chosen = settings or Settings.load(home)
        uri = chosen.library_uri
        if not tables.exists(uri):
            if not create:
                raise NoLibrary(f"There is no library in {chosen.place} yet. Make one: foveal add FILE_OR_FOLDER")
            create_library(chosen, encoder or chosen.encoder, segmenter or chosen.segmenter)
        library = cls(Store.open(uri), chosen)
        if create and not library._agrees(encoder, segmenter) and is_empty(library.store):
            kept = library.store.settings
            create_library(chosen, encoder or kept["encoder"], segmenter or kept["segmenter"], anew=True)
            library = cls(Store.open(uri), chosen)
        library._require("encoder", encoder)
        library._require("segmenter", segmenter)
        return library

    @given.takes(on_progress=given.CALL, work=given.WORK)
    def add(
        self,
        sources: Sequence[str | Path],
        *,
        prune: bool = False,
        on_progress: Callable[[AddReport], None] = lambda _: None,
        work: Work | None = None,
    ) -> AddReport:
        """Add files, folders, URLs and `arxiv:ID`s; what is already there, unchanged, is passed over.

        `prune` also removes documents that came from these files and folders and are no longer in them. `work` loads,
        cuts and encodes (default: this process; `scale.adding.RayWork`: a cluster); the library comes out the same.

        A source that cannot be read is reported in `skipped` and the rest goes on. InputError: a path that is not
        there. LibraryBusy: another process is adding. StorageFull: no space; what was reported done is kept.
        """
        settings = load_settings(self.settings)
        found = list(discover(sources, settings))
        report = AddReport(sources=sum(isinstance(one, Source) for one in found))
        report.skipped += [one for one in found if isinstance(one, Skipped)]
        work = work or OwnWork(self, on_progress=on_progress)
        documents = work.load([one for one in found if isinstance(one, Source)], settings, report)
        try:
            ours = known_again(documents, self.store, self.settings.home)
            self._index(no_lesser(ours, report, self.entries), report, on_progress, work)
        finally:
            getattr(documents, "close", lambda: None)()  # a cluster would load on for nobody
        if prune:
            left = gone(self.store.entries("starts_with(source, 'file://')"), sources, report)
            report.removed = [entry.id for entry in (self.remove(left) if left else [])]
        return report

    @given.takes(on_progress=given.CALL)
    def add_documents(
        self, documents: Iterable[Document], *, on_progress: Callable[[AddReport], None] = lambda _: None
    ) -> AddReport:
        """Add documents that were made elsewhere (see `Document.of`)."""
        return self._index(storable(documents), AddReport(), on_progress)

    @given.takes(rank=given.RANKER, candidates=given.optional(given.WHOLE), budget_ms=given.MAYBE_NUMBER)
    def search(
        self,
        query: str,
        k: int = 10,
        *,
        retriever: str | None = None,
        rank: str | Ranker | None = None,
        candidates: int | None = None,
        budget_ms: float | None = None,
        where: str | Sequence[str] | None = None,
        **options: Any,
    ) -> list[Hit]:
        """The `k` passages that fit `query` best, by a retriever of `registry.RETRIEVERS` ("hybrid" where it can).

        `rank` orders the best `candidates` anew (None: as many as its weight beside the search was fitted over, 20
        where it has none, or what a cascade's first stage takes): a ranker, or a name for
        `ranking.by_name.load_ranker`, which loads a model at each call; with `budget_ms`, or names with commas between,
        a cascade, whose budget holds search and ranking. Without `rank` and `retriever` the home's ranker does (`foveal
        train use`, loaded once), with "none" nothing. `where` keeps passages by title, date, source or metadata (see
        `retrieval.filters`); `options` go to the retriever (hybrid: fusion="weighted" or "rrf", dense_weight, depth;
        lexsembridge and generative: model).
        """
        query = scalar(one_text(query, "A query"))
        found = self.retriever(retriever, where=where, **options)
        if budget_ms is not None and not isinstance(rank, str):
            raise InputError("A budget is for rankers by name (rank='knrm:100,blockrank'); or give it to a Cascade.")
        if rank is None and retriever is None:
            rank = self._usual.ranker(self.settings)
        if rank is None or rank == "none":
            return found.search([query], k)[0]
        from foveal.ranking.by_name import load_ranker
        from foveal.ranking.cascade import Cascade, CascadeSearch
        from foveal.retrieval.pipeline import Pipeline, usual_candidates

        ranker = load_ranker(rank, home=self.settings.home, budget_ms=budget_ms) if isinstance(rank, str) else rank
        if isinstance(ranker, Cascade):
            return CascadeSearch(found, ranker, candidates or ranker.stages[0].candidates).search([query], k)[0]
        budget = usual_candidates(ranker) if candidates is None else candidates
        return Pipeline([found, ranker], [budget, budget]).search([query], k)[0]

    @given.takes(query=given.TEXT, ranker=given.LOADED, counts=given.COUNTS, seconds=given.MAYBE_NUMBER)
    def explain(
        self,
        query: str,
        hits: Sequence[Hit],
        ranker: Ranker | None = None,
        *,
        counts: Sequence[int] | None = None,
        seconds: float | None = None,
    ) -> list[Explanation]:
        """Which words or sentences of each hit match: as `ranker` sees it (`ranking.explaining.explain`, which says
        what `counts` and `seconds` are), or by the query's words, weighed by how rare they are here.
        """
        from foveal.ranking.explaining import WordWeights, explain

        hits = list(given.each("explain", hits, given.HIT))
        words = WordWeights.searched(query, hits, LexicalRetriever(self.store), self.store.counts()["passages"])
        return explain(query, hits, ranker, words=words, counts=counts, seconds=seconds)

    def retriever(
        self, name: str | None = None, *, where: str | Sequence[str] | None = None, **options: Any
    ) -> Retriever:
        """The `Retriever` called `name` over this library; "name:model" is one with `model=` among its `options`.

        UnknownName lists the names there are.
        """
        self._follow()
        name = one_text(name or ("hybrid" if self.store.dimension else "lexical"), "The name of a retriever")
        name, _, model = name.partition(":")
        options = {"model": model, **options} if model else options
        kind = lookup(RETRIEVERS, name, kind="retriever")
        unknown = options.keys() - getattr(kind, "__dataclass_fields__", options).keys()
        if unknown:
            option = min(unknown)
            kinds = {one: lookup(RETRIEVERS, one, kind="retriever") for one in RETRIEVERS}
            others = [one for one, made in kinds.items() if option in getattr(made, "__dataclass_fields__", ())]
            advice = f"Those that have it: {', '.join(others)}." if others else "No retriever has it."
            raise InputError(f"The {name} retriever has no option {option}. {advice}")
        made: Retriever = kind.over(self, sql(where), **options)
        return made

    @given.takes(question=given.TEXT, model=given.READS, settings=given.READ, state=given.optional(given.PATH))
    def read(
        self,
        which: str,
        question: str,
        *,
        model: LanguageModel | None = None,
        settings: ReadSettings | None = None,
        state: str | Path | None = None,
    ) -> Reading:
        """The answer from one document, read whole; `which` is as for `get`.

        `model` reads and answers (default: that of `load_language_model`). For events, several questions, or another
        answerer see `reading.InfiniRetri`.
        """
        from foveal.models import load_language_model
        from foveal.reading import InfiniRetri, ReadSettings

        document = self.get(which)
        model = model or load_language_model(cache=self.settings.cache)
        reader = InfiniRetri(model, settings or ReadSettings(), home=self.settings.home)
        return reader.read(document, question, state=None if state is None else Path(state))

    @given.takes(on_event=given.CALL)
    def ask(
        self,
        question: str,
        k: int = 8,
        *,
        on_event: Callable[[AskEvent], None] = lambda _: None,
        **options: Any,
    ) -> Asked:
        """The answer to `question` from this library, with citations; `options` are those of `ask_stream`."""
        for event in self.ask_stream(question, k, **options):
            on_event(event)
        return event  # type: ignore[return-value]  # the last one is the answer

    @given.takes(model=given.CHAT, reader=given.READS, rank=given.RANKER, settings=given.ASKS, cancel=given.CANCEL)
    def ask_stream(
        self,
        question: str,
        k: int = 8,
        *,
        model: str | ChatModel | None = None,
        reader: LanguageModel | None = None,
        retriever: str | None = None,
        rank: str | Ranker | None = None,
        where: str | Sequence[str] | None = None,
        settings: AskSettings | None = None,
        cancel: Cancel | None = None,
    ) -> Iterator[AskEvent]:
        """Search, answer from the best of `k` passages, telling what happens.

        `model` answers: a name (see `load_chat`) or a chat model. `reader` reads around the passages, if the settings
        say so (default: `model` where it is local). The last event is `Asked`; that the library does not hold the
        answer is one, too. InputError: an empty question. NoLibrary: an empty library.
        """
        from foveal.models import load_chat
        from foveal.models.language import DEFAULT
        from foveal.reading.asking import Asked, Asker, Searched, not_in_library
        from foveal.reading.likeness import KNOWN

        begun = time.perf_counter()
        if not one_text(question, "A question").strip():
            raise InputError("The question is empty. Ask something that the library may answer.")
        if not self.store.counts()["documents"]:
            raise NoLibrary(f"The library in {self.settings.place} is empty. Fill it: foveal add FILE_OR_FOLDER")
        hits = self.search(question, k, retriever=retriever, rank=rank, where=where)
        yield Searched(tuple(hits))
        if not hits:
            yield not_in_library(question)
            return
        if model is None or isinstance(model, str):
            model = load_chat(model or DEFAULT, cache=self.settings.cache)
        encoder = self.encoder if self.store.settings["encoder"] == KNOWN else None
        asker = Asker(self._stored, model, reader, settings, encoder=encoder, home=self.settings.home)
        for event in asker.stream(question, hits, cancel=cancel):
            seconds = time.perf_counter() - begun
            yield replace(event, seconds=seconds) if isinstance(event, Asked) else event

    def _stored(self, which: str, revision: str | None) -> Document:
        return self.get(which, revision=revision)

    def documents(self, where: str | Sequence[str] | None = None) -> list[Entry]:
        """The documents that fulfil `where`, without their texts, in the order in which they were added."""
        return self.store.entries(sql(where, DOCUMENT_COLUMNS))

    def metadata_keys(self) -> tuple[set[str], int]:
        """What the metadata of documents here has, and of how many: of all, or of a sample of many (`Store.sample`)."""
        looked_at = self.store.sample("metadata")
        return {key for one in set(looked_at) for key in json.loads(one)}, len(looked_at)

    def entries(self, document_ids: Sequence[str]) -> dict[str, Entry]:
        """Id -> document without its text, for those of `document_ids` that are there."""
        ids = ",".join(literal(one) for one in dict.fromkeys(given.each("entries", document_ids, given.TEXT)))
        return {entry.id: entry for entry in self.store.entries(f"id IN ({ids})")} if ids else {}

    @given.takes(revision=given.MAYBE_TEXT)
    def get(self, which: str, *, revision: str | None = None) -> Document:
        """The document with that id (or its first 6 digits or more), path, URL or address.

        `revision`, a hash or its beginning, asks for that text though another has replaced it since.
        """
        if re.fullmatch(r"[0-9a-f]{32}", one_text(which, NAMED)):
            return self.store.text(which, revision)
        return self.store.text(self.only(which).id, revision)

    def only(self, which: str) -> Entry:
        """The one document that `find` finds. UnknownDocument: none, or several."""
        entries = self.find(which)
        if len(entries) > 1:
            raise UnknownDocument(f"{which} holds {len(entries)} documents; give the id of one (see `foveal list`).")
        return entries[0]

    def find(self, which: str) -> list[Entry]:
        """The documents that an id, its beginning, a path, a folder or a URL names. UnknownDocument: none."""
        return find(self.store, which)

    def remove(self, which: str | Sequence[Entry]) -> list[Entry]:
        """Remove what `find(which)` finds, or just these entries, and return them."""
        if isinstance(which, str) or not isinstance(which, Iterable):
            entries = self.find(which)
        else:
            entries = list(given.each("remove", which, given.ENTRY))
        with self.store.writing(going_on=True):
            self.store.remove([entry.id for entry in entries])
        return entries

    def rename(self, which: str | Entry, title: str) -> Entry:
        """Give the document that `which` names another title, or "" its own back (`retrieval.renaming`)."""
        return rename(self.store, which if isinstance(which, Entry) else self.only(which), title)

    def stats(self) -> Stats:
        """Counts and sizes."""
        settings = self.store.settings
        return Stats(
            home=self.settings.place,
            bytes=self.store.bytes(),
            encoder=settings["encoder"],
            segmenter=settings["segmenter"],
            schema=int(settings["schema"]),
            ranker=by_now(self.settings),
            **(self.store.counts() | {"passages": self.store.visible_passages()}),
        )

    def compact(self) -> None:
        """Merge small files and drop older versions: afterwards the library is smaller and as fast as it can be."""
        with self.store.writing():
            self.store.refresh_indexes(compact=True)

    @given.takes(encoder=given.TEXT, on_progress=given.CALL)
    def encode_anew(self, encoder: str, *, on_progress: Callable[[int, int], None] = lambda _done, _of: None) -> int:
        """Let another `encoder` make all vectors; the old ones serve until they are whole. Passages encoded."""
        from foveal.models import load_encoder

        made = load_encoder(encoder, cache=self.settings.cache, home=self.settings.home)
        return encode_anew(self.store, made, str(whole_name(encoder)), on_progress=on_progress)

    @cached_property
    def encoder(self) -> Encoder:
        """The encoder that made this library's vectors. LibraryError: it is another one by now, or there is none."""
        from foveal.models import load_encoder

        name = self.store.settings["encoder"]
        if name == "none":
            said = "This library was made without an encoder, so it can be searched by words only: --retriever lexical."
            raise InputError(said)
        encoder = load_encoder(name, cache=self.settings.cache, home=self.settings.home)
        if encoder.fingerprint != self.store.settings["fingerprint"]:
            raise LibraryError(
                f"The encoder {name} is not the one that made this library's vectors (its files have changed), so "
                f"they cannot be compared. Put the old model back, or encode all anew: foveal admin encoder {name}"
            )
        return encoder

    @given.takes(query=given.TEXT, retriever=given.MAYBE_TEXT)
    def reads(self, query: str, retriever: str | None = None) -> bool:
        """Whether its encoder knows any token of `query`; True where a search of that name does not go by it."""
        by_it = (retriever or "hybrid") in ("hybrid", "dense", "fresh") and self.store.settings["encoder"] != "none"
        return not by_it or is_read(self.encoder, query)

    @cached_property
    def segmenter(self) -> Segmenter:
        """What cuts this library's documents into passages."""
        encoder = None if self.store.settings["encoder"] == "none" else self.encoder
        return make_segmenter(self.store.settings["segmenter"], encoder, home=self.settings.home)

    def _index(
        self,
        documents: Iterable[Document],
        report: AddReport,
        on_progress: Callable[[AddReport], None],
        work: Work | None = None,
    ) -> AddReport:
        work = work or OwnWork(self)
        with self.store.writing(going_on=True):
            self._follow()
            encode = None if self.store.settings["encoder"] == "none" else work.encode
            indexer = Indexer(self.store, work.segment, encode, lambda _: on_progress(report), ahead=work.ahead)
            indexer.index(documents, report)
            with report.timed("index"):
                if report.added or report.updated or self.store.stale():
                    work.index(self.store)
        return report

    def _follow(self) -> None:
        """Be the library that lies here by now: another process may have made it anew, with another encoder."""
        self.store.follow()
        if self._made != (made := self.store.made_with):
            self._made = made
            for name in ("encoder", "segmenter"):
                self.__dict__.pop(name, None)

    def _agrees(self, encoder: str | None, segmenter: str | None) -> bool:
        kept = self.store.settings
        return whole_name(encoder) in (None, kept["encoder"]) and segmenter in (None, kept["segmenter"])

    def _require(self, kind: str, given: str | None) -> None:
        stored = self.store.settings[kind]
        if given is not None and whole_name(given) not in (None, stored):
            if kind == "segmenter":  # a name that means nothing is no other choice
                require_name(SEGMENTERS, given.partition(":")[0], kind=kind)
            elif given != "none":
                require_known(given, kind=kind, home=self.settings.home)
            other = "encode it anew: foveal admin encoder" if kind == "encoder" else "make another (--home) with"
            said = f"This library was made with the {kind} {stored!r}, not {given!r}, and keeps it. "
            raise LibraryError(f"{said}Leave the choice out, or {other} {given}")
