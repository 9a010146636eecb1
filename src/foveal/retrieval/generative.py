"""Finds documents by writing their titles: a model of titles and a tree of those that there are (CorpusBrain).

    brain = CorpusBrain.of(load_title_model(folder), {document_id: title, …})
    brain.retrieve(["who led the Home Rule party?"], k=5)        # [[TitleHit(document, title, score, probability), …]]
    library.search("who led the Home Rule party?", retriever="generative")

Source    CorpusBrain: Chen et al., CIKM 2022, arXiv 2208.07652; GENRE: De Cao et al., ICLR 2021
Needs     a model that was trained on this collection (`foveal train corpusbrain`): what it knows of the documents are
          its weights; there is no index but the tree. A document that came later is in the tree, and hardly ever found
          before the model has learned it: `not_learned` lists these
Against   words and vectors (`lexical.py`, `dense.py`) compare the query with texts; here nothing is compared. A source
          of candidates for fusion: its scores are of another scale, so fuse ranks

The retriever of a library gives, of each document found, the passage that shares most words with the query.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foveal.errors import InputError
from foveal.retrieval.filters import literal
from foveal.retrieval.snapshots import read_snapshot, write_snapshot
from foveal.retrieval.store import Collection, Store
from foveal.retrieval.store_search import require_k
from foveal.retrieval.trained import trained_folder
from foveal.settings import Settings
from foveal.types import Hit, Passage, Span

if TYPE_CHECKING:
    import numpy.typing as npt

    from foveal.models.title_models import TitleModel
    from foveal.retrieval.constrained_beams import BeamSettings
    from foveal.retrieval.title_trie import TitleTrie

log = logging.getLogger("foveal.retrieval")

DUPLICATES = ("error", "suffix")
MENTION_WORDS = 384
"""Words around a mention that are read, the mention in the middle."""

OPENING = 600
"""Characters of a document's beginning that stand for it where no passage shares a word with the query."""

DEEPER = 4
"""Times k titles that are asked for where a condition keeps only some documents."""


@dataclass(frozen=True, slots=True)
class TitleHit:
    """A document that was found; `probability` is that of its title, all titles there could be sharing 1."""

    document: str
    title: str
    score: float  # log-probability over length to the alpha
    probability: float


def unique_titles(titles: Sequence[str], on_duplicate: str = "error") -> list[str]:
    """Titles that differ: white space as one space, and " (2)", " (3)" behind those that came before ("suffix").

    InputError: two are the same, and `on_duplicate` is "error".
    """
    if on_duplicate not in DUPLICATES:
        raise InputError(f"Titles got on_duplicate={on_duplicate!r}; it is one of {', '.join(DUPLICATES)}.")
    made: list[str] = []
    taken: set[str] = set()
    for title in (" ".join(title.split()) for title in titles):
        name, count = title, 1
        while name in taken:
            if on_duplicate == "error":
                raise InputError(
                    f"Two documents are called {title!r}, so a title would not say which. Name one of them anew, or "
                    'let a number be set behind it (on_duplicate="suffix").'
                )
            count += 1
            name = f"{title} ({count})"
        taken.add(name)
        made.append(name)
    return made


class CorpusBrain:
    """A model of titles over the documents of a collection; make it with `of` or `load`."""

    def __init__(self, model: TitleModel, documents: Sequence[str], titles: Sequence[str], trie: TitleTrie) -> None:
        """Documents and titles in the order of their numbers in the tree."""
        self.model, self.trie = model, trie
        self.documents, self.titles = list(documents), list(titles)
        self._numbers = {title: number for number, title in enumerate(self.titles)}

    @classmethod
    def of(cls, model: TitleModel, titles: Mapping[str, str], *, on_duplicate: str = "error") -> CorpusBrain:
        """Over documents by id and title. InputError: none, two with one title, or one that cannot be written."""
        from foveal.retrieval.title_trie import TitleTrie

        names = unique_titles(list(titles.values()), on_duplicate)
        trie = TitleTrie.of(model.title_ids(names), model.end, fingerprint=model.fingerprint)
        return cls(model, list(titles), names, trie)

    def add(self, document: str, title: str, *, on_duplicate: str = "error") -> None:
        """Add a document: it can be written from now on, and is found once the model has learned it.

        InputError: its title is taken, or cannot be written.
        """
        name = unique_titles([*self.titles, title], on_duplicate)[-1] if title in self._numbers else title
        number = self.trie.add(self.model.title_ids([name])[0])
        if number == len(self.titles):
            self.documents.append(document)
            self.titles.append(name)
        self.documents[number] = document
        self._numbers[name] = number

    def remove(self, title: str) -> None:
        """Take a document out, by its title. InputError: none is called so."""
        if title not in self._numbers:
            raise InputError(f"No document is called {title!r}; `titles` lists them.")
        self.trie.remove(self.model.title_ids([title])[0])
        del self._numbers[title]

    def not_learned(self, learned: Sequence[str]) -> list[str]:
        """The titles that are not among those that a model has learned (`titles` of its corpusbrain.json)."""
        known = set(learned)
        return [title for title in self._numbers if title not in known]

    # -- search -------------------------------------------------------------------------------------------------

    def retrieve(
        self,
        queries: Sequence[str],
        k: int = 10,
        *,
        candidates: Sequence[str] | None = None,
        settings: BeamSettings | None = None,
    ) -> list[list[TitleHit]]:
        """For each query at most `k` documents, best first, each once; of `candidates` (titles) only, if given.

        A blank query, or one of which the model knows no token, finds nothing. More than there are: all of them, and a
        warning in the log. InputError: k < 1, or a candidate that is no title here.
        """
        from foveal.retrieval.constrained_beams import BeamSettings, search_titles

        require_k(k)
        settings, trie, numbers = settings or BeamSettings(), self.trie, list(range(len(self.titles)))
        if candidates is not None:
            trie, numbers = self._of(candidates)
        if k > len(trie):
            log.warning("%d titles were asked for; there are %d, and all are given.", k, len(trie))
        settings = replace(settings, beams=max(settings.beams, min(k, len(trie))))
        asked = [place for place, query in enumerate(queries) if query.strip() and self.model.knows(query)]
        found: list[list[TitleHit]] = [[] for _ in queries]
        written = search_titles(self.model, trie, [queries[place] for place in asked], k, settings) if asked else []
        for place, titles in zip(asked, written, strict=True):
            found[place] = [self._hit(numbers[one.title], one.score, one.log_probability) for one in titles]
        return found

    def score(self, query: str, titles: Sequence[str]) -> npt.NDArray[Any]:
        """The log-probability (N,) of each title for the query, its end included: exact, for any titles at all."""
        from foveal.retrieval.constrained_beams import score_titles

        return score_titles(self.model, [query], self.model.title_ids(titles))[0]

    def link_entities(
        self, text: str, spans: Sequence[tuple[int, int]], k: int = 1, *, settings: BeamSettings | None = None
    ) -> list[list[TitleHit]]:
        """For each mention, characters (start, end) of the text, the documents that it may mean."""
        return self.retrieve([marked(text, start, end) for start, end in spans], k, settings=settings)

    def _of(self, candidates: Sequence[str]) -> tuple[TitleTrie, list[int]]:
        from foveal.retrieval.title_trie import TitleTrie

        unknown = [title for title in candidates if title not in self._numbers]
        if unknown or not candidates:
            said = f"the candidate {unknown[0]!r}, which is no title here" if unknown else "no candidates"
            raise InputError(f"A search for titles got {said}. Take them from `titles`.")
        numbers = [self._numbers[title] for title in dict.fromkeys(candidates)]
        sequences = [self.trie.sequence(number) for number in numbers]
        return TitleTrie.of(sequences, self.trie.end, fingerprint=self.trie.fingerprint), numbers

    def _hit(self, number: int, score: float, log_probability: float) -> TitleHit:
        return TitleHit(self.documents[number], self.titles[number], score, math.exp(log_probability))

    # -- files --------------------------------------------------------------------------------------------------

    def save(self, folder: Path) -> None:
        """Write the documents, their titles and the tree into `folder`, beside which the model stands on its own."""
        living = set(self.trie)
        kept = {self.documents[number]: self.titles[number] for number in range(len(self.titles)) if number in living}
        whole = self if len(kept) == len(self.titles) else CorpusBrain.of(self.model, kept)
        whole.trie.save(folder / "trie")
        write_snapshot(folder / "names", {"documents": whole.documents, "titles": whole.titles}, {})

    @classmethod
    def load(cls, folder: Path, model: TitleModel) -> CorpusBrain:
        """What `save` wrote. InputError: nothing there, or it was made with another model."""
        from foveal.retrieval.title_trie import TitleTrie

        trie = TitleTrie.load(folder / "trie", fingerprint=model.fingerprint)
        names, _ = read_snapshot(folder / "names")
        return cls(model, names["documents"], names["titles"], trie)


def marked(text: str, start: int, end: int, words: int = MENTION_WORDS) -> str:
    """The text around a mention, which stands between its marks; `words` words in all. InputError: no such place."""
    from foveal.models.title_models import MENTION

    if not 0 <= start < end <= len(text):
        raise InputError(f"A mention was to stand at {start} to {end} of a text of {len(text)} characters.")
    mention = text[start:end].split()
    room = max(0, words - len(mention))
    left, right = text[:start].split(), text[end:].split()
    before = min(len(left), max(room // 2, room - len(right)))
    after = right[: room - before]
    return " ".join([*left[len(left) - before :], MENTION[0], *mention, MENTION[1], *after])


# -- over a library --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class GenerativeRetriever:
    """A `Retriever` over a library; `where` is an SQL condition from `filters.sql`."""

    store: Store
    brain: CorpusBrain
    where: str | None = None
    beams: int = 10
    model: str | None = None  # a name of HOME/models, or a folder; None: the one trained last

    @classmethod
    def over(
        cls, collection: Collection, where: str | None, *, model: str | None = None, beams: int = 10
    ) -> GenerativeRetriever:
        """The retriever over a library's documents, by their titles as they are now.

        ModelUnavailable: no model of titles was trained here. UnknownName: none is called `model`.
        """
        settings = getattr(collection, "settings", None) or Settings.load()
        folder = title_model_folder(settings.home, model)
        entries = collection.store.entries()
        titles = {entry.id: entry.title for entry in entries if entry.title.strip()}
        if not titles:
            raise InputError("The library holds no document with a title. Fill it: foveal add FILE_OR_FOLDER")
        brain = _brain(folder, settings.cache, tuple(titles.items()))
        return cls(collection.store, brain, where, beams, model)

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """For each query a passage of each of the `k` documents whose titles fit best."""
        from foveal.retrieval.constrained_beams import BeamSettings

        require_k(k)
        depth = min(k if self.where is None else DEEPER * k, len(self.brain.trie))
        found = self.brain.retrieve(queries, depth, settings=BeamSettings(beams=max(self.beams, depth)))
        return [self._passages(query, hits)[:k] for query, hits in zip(queries, found, strict=True)]

    def _passages(self, query: str, hits: Sequence[TitleHit]) -> list[Hit]:
        made = []
        for hit in hits:
            condition = f"document_id = {literal(hit.document)}"
            best = self.store.lexical(query, 1, f"{condition} AND ({self.where})" if self.where else condition)
            if best:
                made.append(Hit(best[0].passage, hit.score, "generative", best[0].revision))
            elif self.where is None:
                made.append(self._opening(hit))
        return made

    def _opening(self, hit: TitleHit) -> Hit:
        """The beginning of a document."""
        document = self.store.text(hit.document)
        text = document.text[:OPENING]
        return Hit(Passage(Span(document.id, 0, len(text)), text), hit.score, "generative", document.revision)


def title_model_folder(home: Path, model: str | None = None) -> Path:
    """The folder of a model of titles: HOME/models/<model>, a folder, or the one of this home that was trained last."""
    from foveal.models.title_models import ABOUT

    return trained_folder(
        home, ABOUT, model, kind="model of titles", command="foveal train corpusbrain", held="config.json"
    )


@lru_cache(maxsize=2)
def _brain(folder: Path, cache: Path, titles: tuple[tuple[str, str], ...]) -> CorpusBrain:
    from foveal.models.title_models import learned_about, load_title_model

    model = load_title_model(folder, cache=cache)
    brain = CorpusBrain.of(model, dict(titles), on_duplicate="suffix")
    missing = brain.not_learned(learned_about(folder).get("titles", ()))
    if missing:
        log.warning(
            "%d of %d titles are not yet learned, such as %r: train again to find them.", len(missing), len(titles),
            missing[0],
        )  # fmt: skip
    return brain
