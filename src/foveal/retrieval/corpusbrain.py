"""CorpusBrain: finds documents by writing their titles, with a model of titles and a tree of those that there are.

    brain = CorpusBrain.of(load_title_model(folder), {document_id: title, …})
    brain.retrieve(["who led the Home Rule party?"], k=5)        # [[TitleHit(document, title, score, probability), …]]
    brain.retrieve_several(["who led it, and after whom?"], k=5)      # several documents in one answer: TitlesHit

Source    CorpusBrain: Chen et al., CIKM 2022, arXiv 2208.07652; GENRE: De Cao et al., ICLR 2021
Needs     a model that was trained on this collection (`training/corpusbrain.py`): what it knows of the documents is in
          its weights; there is no index but the tree. A document that came later is in the tree, and hardly ever found
          before the model has learned it: `not_learned` lists these
Against   words and vectors (`lexical.py`, `dense.py`) compare the query with texts; here nothing is compared.
          `generative.py` is the retriever of a library
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foveal.errors import InputError, LibraryCorrupt
from foveal.evaluation.kilt import MARKS, MENTION_WORDS, marked_mention
from foveal.ranges import require_k
from foveal.retrieval.snapshots import read_snapshot

if TYPE_CHECKING:
    import numpy.typing as npt

    from foveal.models.title_models import TitleModel
    from foveal.retrieval.constrained_beams import BeamSettings
    from foveal.retrieval.title_answers import TitlesHit
    from foveal.retrieval.title_trie import TitleTrie

log = logging.getLogger("foveal.retrieval")

DUPLICATES = ("error", "suffix")

NARROWED = 4
"""Trees of some of the titles that are kept: who searches under a condition asks more than once."""

_NUMBER = re.compile(r" \(\d+\)")


@dataclass(frozen=True, slots=True)
class TitleHit:
    """A document that was found; `probability` is that of its title, all titles there could be sharing 1."""

    document: str
    title: str
    score: float  # log-probability over length to the alpha
    probability: float


def unique_titles(
    titles: Sequence[str],
    on_duplicate: str = "error",
    model: TitleModel | None = None,
    *,
    kept: Mapping[int, str] | None = None,
) -> list[str]:
    """Titles that differ: white space as one space, and " (2)", " (3)" behind those that came before ("suffix").

    With a model they differ by its tokens: an uncased one writes "Résumé" and "resume" alike. `kept`: names that some
    have already, by their places. InputError: two are the same, and `on_duplicate` is "error"; with a model, one cannot
    be written, or no number tells it from others.
    """
    _require_known(on_duplicate)
    cleaned, held = [_cleaned(title) for title in titles], kept or {}
    named = [held.get(place, title) for place, title in enumerate(cleaned)]
    keys: Sequence[Hashable] = named if model is None else [*map(tuple, model.title_ids(named))]
    owners: dict[Hashable, str] = {keys[place]: name for place, name in held.items()}
    last: dict[Hashable, int] = {}  # what a title's tokens are -> the number that was set behind it last
    made: list[str] = []
    taken: set[Hashable] = set()  # by a title that keeps its name
    for place, (title, key) in enumerate(zip(cleaned, keys, strict=True)):
        if place in held and key not in taken:
            taken.add(key)
            made.append(named[place])
            continue
        name, own = title, key
        while own in owners:
            if on_duplicate == "error":
                raise _alike(owners[own], title)
            last[key] = last.get(key, 1) + 1
            name = _numbered(title, last[key], most=len(titles))
            own = name if model is None else tuple(model.title_ids([name])[0])
        owners[own] = name
        made.append(name)
    return made


def told_apart(
    titles: Mapping[str, str], model: TitleModel | None = None, *, learned: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Documents by id and title with titles that differ to the model; left out are those that it cannot write.

    `learned`: the names by which a model learned documents. Who is still called so keeps the name, number included,
    whatever came or went before it. A title of too many tokens is shortened. Letters that a tokenizer lacks are all the
    same to it; one title of nothing else would stop the whole collection. A warning in the log counts them.
    """
    cleaned = {document: _cleaned(title) for document, title in titles.items()}
    if model is not None:
        cleaned = dict(zip(cleaned, model.shortened([*cleaned.values()]), strict=True))
    fits = [bool(title) for title in cleaned.values()] if model is None else model.writable([*cleaned.values()])
    kept = [document for document, one in zip(cleaned, fits, strict=True) if one]
    lost = [title for title, one in zip(cleaned.values(), fits, strict=True) if not one]
    if lost:
        log.warning(
            "%d of %d titles cannot be written by this model, such as %r: it finds none of their documents.",
            len(lost), len(cleaned), lost[0],
        )  # fmt: skip
    known = learned or {}
    names = {place: known[one] for place, one in enumerate(kept) if _is_named(known.get(one, ""), cleaned[one])}
    return dict(zip(kept, unique_titles([cleaned[one] for one in kept], "suffix", model, kept=names), strict=True))


def _is_named(name: str, title: str) -> bool:
    """Whether it is the title, or the title with a number behind it."""
    return name == title or (name.startswith(title) and _NUMBER.fullmatch(name, len(title)) is not None)


def _cleaned(title: str) -> str:
    return " ".join(title.split())


def _numbered(title: str, number: int, *, most: int) -> str:
    """The title with a number behind it. InputError: so many are not needed to tell `most` titles apart."""
    if number > most + 1:
        raise InputError(
            f"No number behind the title {title!r} tells it from the others: the model has no tokens for numbers. Name "
            "that document anew."
        )
    return title if number == 1 else f"{title} ({number})"


def _alike(one: str, other: str) -> InputError:
    said = f"called {one!r}" if one == other else f"called {one!r} and {other!r}, which this model writes alike"
    return InputError(
        f"Two documents are {said}, so a title would not say which. Name one of them anew, or let a number be set "
        'behind it (on_duplicate="suffix").'
    )


def _require_known(on_duplicate: str) -> None:
    if on_duplicate not in DUPLICATES:
        raise InputError(f"Titles got on_duplicate={on_duplicate!r}; it is one of {', '.join(DUPLICATES)}.")


class CorpusBrain:
    """A model of titles over the documents of a collection; make it with `of` or `load`."""

    def __init__(self, model: TitleModel, documents: Sequence[str], titles: Sequence[str], trie: TitleTrie) -> None:
        """Documents and titles in the order of their numbers in the tree."""
        self.model, self.trie = model, trie
        self.documents, self.titles = list(documents), list(titles)
        self._numbers = {title: number for number, title in enumerate(self.titles)}
        self._held = set(self.documents)  # that can be found
        self._narrowed: dict[tuple[str, ...], tuple[TitleTrie, Sequence[int]]] = {}

    @classmethod
    def of(cls, model: TitleModel, titles: Mapping[str, str], *, on_duplicate: str = "error") -> CorpusBrain:
        """Over documents by id and title. InputError: none, two with one title, or one that cannot be written.

        `told_apart` numbers equal titles, shortens long ones, and leaves out what cannot be written.
        """
        from foveal.retrieval.title_trie import TitleTrie

        names = unique_titles(list(titles.values()), on_duplicate, model)
        trie = TitleTrie.of(model.title_ids(names), model.end, fingerprint=model.fingerprint)
        return cls(model, list(titles), names, trie)

    def add(self, document: str, title: str, *, on_duplicate: str = "error") -> None:
        """Add a document: it can be written from now on, and is found once the model has learned it.

        InputError: its title is taken, or cannot be written, or the document has one already.
        """
        _require_known(on_duplicate)
        if document in self._held:
            raise InputError(f"The document {document!r} has a title already. Remove that first, to name it anew.")
        title, number = _cleaned(title), 1
        name, [ids] = title, self.model.title_ids([title])
        while (known := self.trie.find(ids)) is not None:
            if on_duplicate == "error":
                raise _alike(self.titles[known], title)
            number += 1
            name = _numbered(title, number, most=len(self.trie))
            [ids] = self.model.title_ids([name])
        place = self.trie.add(ids)
        if place == len(self.titles):
            self.documents.append(document)
            self.titles.append(name)
        self.documents[place], self.titles[place] = document, name
        self._numbers[name] = place
        self._held.add(document)
        self._narrowed.clear()

    def remove(self, title: str) -> None:
        """Take a document out, by its title. InputError: none is called so."""
        if title not in self._numbers:
            raise InputError(f"No document is called {title!r}; `titles` lists them.")
        self.trie.remove(self.model.title_ids([title])[0])
        self._held.discard(self.documents[self._numbers.pop(title)])
        self._narrowed.clear()

    def not_learned(self, learned: Sequence[str], documents: Mapping[str, str] | None = None) -> list[str]:
        """The titles that are not among those that a model has learned (`titles` of its corpusbrain.json).

        `documents` (of the same file) says which document each was learned of: where some of these are here, a title
        that was learned of another one is not known.
        """
        known, of = set(learned), documents or {}
        ours = any(document in of for document in self._held)
        return [
            title
            for title, number in self._numbers.items()
            if title not in known or (ours and of.get(self.documents[number]) != title)
        ]

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
        trie, numbers = self._of(candidates)
        if k > len(trie):
            log.warning("%d titles were asked for; there are %d, and all are given.", k, len(trie))
        settings = settings or BeamSettings()
        settings = replace(settings, beams=max(settings.beams, min(k, len(trie))))
        written = self._of_known(queries, lambda asked: search_titles(self.model, trie, asked, k, settings))
        return [[self._hit(numbers[one.title], one.score, one.log_probability) for one in found] for found in written]

    def retrieve_several(
        self,
        queries: Sequence[str],
        k: int = 10,
        *,
        most: int = 5,
        candidates: Sequence[str] | None = None,
        settings: BeamSettings | None = None,
    ) -> list[list[TitlesHit]]:
        """At most `k` answers a query, of one to `most` documents each: what ISS and LPS teach. Else as `retrieve`."""
        from foveal.retrieval.constrained_beams import BeamSettings
        from foveal.retrieval.title_answers import search_answers, titles_hit

        require_k(k)
        trie, numbers = self._of(candidates)
        settings = settings or BeamSettings()
        settings = replace(settings, beams=max(settings.beams, k))
        written = self._of_known(queries, lambda asked: search_answers(self.model, trie, asked, k, settings, most=most))
        return [[titles_hit(one, numbers, self.documents, self.titles) for one in found] for found in written]

    def score(self, query: str, titles: Sequence[str]) -> npt.NDArray[Any]:
        """The log-probability (N,) of each title for the query, its end included: exact, for any titles at all."""
        from foveal.retrieval.constrained_beams import score_titles

        return score_titles(self.model, [query], self.model.title_ids(titles))[0]

    def link_entities(
        self, text: str, spans: Sequence[tuple[int, int]], k: int = 1, *, settings: BeamSettings | None = None
    ) -> list[list[TitleHit]]:
        """For each mention, characters (start, end) of the text, the documents that it may mean."""
        return self.retrieve([self._around(text, start, end) for start, end in spans], k, settings=settings)

    def _around(self, text: str, start: int, end: int) -> str:
        """The mention in what stands around it: so few words, where it must be, that the model reads up to it."""
        words = MENTION_WORDS
        while True:
            query = marked(text, start, end, words)
            if not words or self.model.reads(query[: query.rindex(MARKS[1]) + len(MARKS[1])]):
                return query
            words //= 2

    def _of_known(self, queries: Sequence[str], search: Callable[[list[str]], list[list[Any]]]) -> list[list[Any]]:
        """What `search` finds for the queries of which the model knows a token; for others nothing."""
        asked = [place for place, query in enumerate(queries) if query.strip() and self.model.knows(query)]
        found: list[list[Any]] = [[] for _ in queries]
        for place, one in zip(asked, search([queries[place] for place in asked]) if asked else [], strict=True):
            found[place] = one
        return found

    def _of(self, candidates: Sequence[str] | None) -> tuple[TitleTrie, Sequence[int]]:
        """The tree of these titles alone, and their numbers in that of all; those asked for last are kept."""
        if candidates is None:
            return self.trie, range(len(self.titles))
        named = tuple(candidates)
        narrowed = self._narrowed.pop(named, None) or self._narrow(named)
        self._narrowed[named] = narrowed
        for old in list(self._narrowed)[:-NARROWED]:
            self._narrowed.pop(old, None)  # another thread may have taken it out
        return narrowed

    def _narrow(self, candidates: Sequence[str]) -> tuple[TitleTrie, Sequence[int]]:
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
        whole.trie.save(folder / "trie", beside={"documents": whole.documents, "titles": whole.titles})

    @classmethod
    def load(cls, folder: Path, model: TitleModel) -> CorpusBrain:
        """What `save` wrote. InputError: nothing there, or it was made with another model. LibraryCorrupt: damaged."""
        from foveal.retrieval.title_trie import TitleTrie

        trie, names = TitleTrie.load_beside(folder / "trie", fingerprint=model.fingerprint)
        if "titles" not in names:  # an earlier version wrote them after the tree, so that a kill could part the two
            names, _ = read_snapshot(folder / "names")
            written = [trie.find(ids) for ids in model.title_ids(names["titles"])]
            if written != [*range(len(trie))]:
                raise LibraryCorrupt(
                    f"The titles in {folder} are not those of the tree beside them: a kill came between the two. Build "
                    "and save them again."
                )
        return cls(model, names["documents"], names["titles"], trie)


def marked(text: str, start: int, end: int, words: int = MENTION_WORDS) -> str:
    """The text around a mention, which stands between its marks; `words` words in all. InputError: no such place."""
    if not 0 <= start < end <= len(text):
        raise InputError(f"A mention was to stand at {start} to {end} of a text of {len(text)} characters.")
    return marked_mention(text[:start], text[start:end], text[end:], words)
