"""Queries without a person, from titled texts and their links: CorpusBrain's three tasks, each `source -> title(s)`.

    ISS   an inner sentence (or paragraph) of a document -> its title
    LPS   a passage from the document's beginning -> its title
    HIP   what stands around a link -> the title of the document that the link leads to
Units     a document is its paragraphs in order, without its title; cut into sentences, units are sentences
Numbers   of the authors' code: up to 12 units for ISS (the first, and 11 drawn), 3 joins of three units from the
          beginning for LPS, 3 links for HIP; behind the title of an ISS or LPS target 0 to 4 titles that the document
          links to, by probabilities 0.70, 0.20, 0.05, 0.03, 0.02
Source    Chen et al., CIKM 2022, and its code. There the title is the first unit, but drops out before units are
          counted, so that the true beginning is never taken; here it is, as CorpusBrain++ (arXiv 2402.16767) corrects.
          A link is drawn once, so that drawing ends; one form of the separator is used throughout
Repeats   the pairs of document i in pass p come from (seed, p, i) alone
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from typing import NamedTuple

import numpy as np

from foveal.errors import InputError
from foveal.evaluation.kilt import KiltQuery
from foveal.evaluation.scripts import word_count
from foveal.ranges import COUNT, SEED, SHARE, require_settings

log = logging.getLogger("foveal.training")

TASKS = ("ISS", "LPS", "HIP")
MARKER = "::::"
"""What KILT's lines hold that are headings or list bullets: they are neighbours of nothing, and no source."""

EXTRA = (0.70, 0.20, 0.05, 0.03, 0.02)
"""Probabilities of 0, 1, … titles behind the document's own."""

_WORD = re.compile(r"\w")
_BEGINS = re.compile(r"(?<!\w)(?:\w+|\W)")
"""Where a name may begin: a whole word, or a sign that stands behind no word."""


class Link(NamedTuple):
    """A link in paragraph `paragraph` (from 0) to the document `target`."""

    paragraph: int
    target: str


@dataclass(frozen=True)
class TitledText:
    """A document with a title; `links` may be empty, then it gives no HIP."""

    id: str
    title: str
    paragraphs: tuple[str, ...]
    links: tuple[Link, ...] = ()


@dataclass(frozen=True)
class TitlePair:
    """A source, and the titles that are to be written for it, the document's own first."""

    source: str
    titles: tuple[str, ...]
    task: str = ""

    def __post_init__(self) -> None:
        if not self.source.strip() or not self.titles:
            raise InputError(f"A pair got the source {self.source!r:.60} and {len(self.titles)} titles; it needs both.")


@dataclass(frozen=True, kw_only=True)
class PairSettings:
    """Which pairs are made. `PUBLISHED` has the code's limits, which are meant for Wikipedia."""

    tasks: tuple[str, ...] = TASKS
    inner: int = 12  # units of a document for ISS
    leading: int = 3  # joins for LPS
    joined: int = 3  # units of a join
    linked: int = 3  # links for HIP
    least_unit: int = 0  # words that a unit must have more than
    least_text: int = 0  # words that a document must have, markers left out
    least_title: int = 0  # characters that a title must have more than
    extra: tuple[float, ...] = EXTRA
    seed: int = 0

    def __post_init__(self) -> None:
        unknown = set(self.tasks) - set(TASKS)
        if unknown or not self.tasks:
            raise InputError(f"Pairs got the tasks {self.tasks}; there are: {', '.join(TASKS)}.")
        require_settings("Pairs", self, inner=COUNT, leading=COUNT, joined=COUNT, linked=COUNT, extra=SHARE, seed=SEED)
        if not self.extra or min(self.extra) < 0 or abs(sum(self.extra) - 1) > 1e-6:
            raise InputError(f"Pairs got extra={self.extra}; it needs probabilities that sum to 1.")


PUBLISHED = PairSettings(least_unit=10, least_text=128, least_title=3)


@dataclass(frozen=True)
class TitledCorpus:
    """Documents that can be learned, and what was left out. Make it with `of`."""

    texts: tuple[TitledText, ...]
    short: int = 0  # documents below the limits
    dropped_links: int = 0  # links to documents that are not here, or to the document itself

    @classmethod
    def of(cls, texts: Sequence[TitledText], settings: PairSettings | None = None) -> TitledCorpus:
        """The documents within the limits, their links only to documents that are here.

        InputError: none left, an id twice, or a title twice.
        """
        settings = settings or PairSettings()
        long = [text for text in texts if _long_enough(text, settings)]
        if not long:
            raise InputError(
                f"None of {len(texts)} documents has a title of more than {settings.least_title} characters and a text "
                f"of {settings.least_text} words, so there is nothing to learn. Add some, or lower the limits."
            )
        for what, values in (("id", [one.id for one in long]), ("title", [one.title for one in long])):
            if len(set(values)) < len(values):
                twice = next(value for value in values if values.count(value) > 1)
                raise InputError(
                    f"Two documents have the {what} {twice!r}. Name one of them anew (retrieval.corpusbrain's "
                    "told_apart sets numbers behind titles)."
                )
        here = {text.id for text in long}
        kept = [
            replace(text, links=tuple(one for one in text.links if one.target in here and one.target != text.id))
            for text in long
        ]
        dropped = sum(len(one.links) for one in long) - sum(len(one.links) for one in kept)
        return cls(tuple(kept), len(texts) - len(long), dropped)

    @property
    def titles(self) -> dict[str, str]:
        """Document id -> title."""
        return {text.id: text.title for text in self.texts}

    @property
    def fingerprint(self) -> str:
        """SHA-256 over all of it."""
        digest = hashlib.sha256()
        for text in self.texts:
            digest.update(repr(astuple(text)).encode("utf-8", "surrogatepass"))
        return digest.hexdigest()

    def pairs(self, settings: PairSettings, number: int = 0) -> list[TitlePair]:
        """The pairs of pass `number`."""
        titles, made = self.titles, []
        for place, text in enumerate(self.texts):
            rng = np.random.default_rng((settings.seed, number, place))
            made += pairs_of(text, titles, settings, rng)
        return made


def pairs_of(
    text: TitledText, titles: Mapping[str, str], settings: PairSettings, rng: np.random.Generator
) -> list[TitlePair]:
    """The pairs of one document, each source once; its links lead to documents of `titles`."""
    content = [one for one in text.paragraphs if MARKER not in one and word_count(one) > settings.least_unit]
    linked = [titles[target] for target in dict.fromkeys(link.target for link in text.links)]
    sources: dict[str, str] = {}
    if "ISS" in settings.tasks:
        for source in _inner(content, settings, rng):
            sources.setdefault(source, "ISS")
    if "LPS" in settings.tasks:
        for source in _leading(content, settings):
            sources.setdefault(source, "LPS")
    made = [TitlePair(source, (text.title, *_more(linked, settings, rng)), task) for source, task in sources.items()]
    if "HIP" in settings.tasks:
        made += [TitlePair(source, (titles[target],), "HIP") for source, target in _around_links(text, settings, rng)]
    return made


def _inner(content: Sequence[str], settings: PairSettings, rng: np.random.Generator) -> list[str]:
    """The first unit, and others drawn, each once."""
    others = content[1:]
    drawn = rng.permutation(len(others))[: settings.inner - 1]
    return [*content[:1], *(others[place] for place in sorted(drawn.tolist()))]


def _leading(content: Sequence[str], settings: PairSettings) -> list[str]:
    """Joins of units from the beginning, one after the other."""
    step = settings.joined
    starts = range(0, min(len(content), step * settings.leading), step)
    return [" ".join(content[start : start + step]) for start in starts]


def _more(linked: Sequence[str], settings: PairSettings, rng: np.random.Generator) -> list[str]:
    """Titles behind the document's own."""
    count = min(len(linked), int(rng.choice(len(settings.extra), p=settings.extra)))
    return [linked[place] for place in rng.choice(len(linked), size=count, replace=False)] if count else []


def _around_links(text: TitledText, settings: PairSettings, rng: np.random.Generator) -> list[tuple[str, str]]:
    """Sources and targets of up to `linked` links: the paragraph, and the nearest to its left and right."""
    plain = [place for place, one in enumerate(text.paragraphs) if MARKER not in one]
    links = list(dict.fromkeys(link for link in text.links if link.paragraph in plain))
    inside = [link for link in links if 0 < link.paragraph < len(text.paragraphs) - 1]
    found = []
    for place in rng.permutation(len(inside))[: settings.linked]:
        link = inside[place]
        at = plain.index(link.paragraph)
        around = [text.paragraphs[one] for one in plain[max(0, at - 1) : at + 2]]
        found.append((" ".join(around), link.target))
    return found


def mention_links(texts: Sequence[TitledText], *, least: int = 4) -> list[TitledText]:
    """The texts with links where they hold another one's title, in the same letters, as whole words.

    For collections without links of their own; titles of fewer than `least` characters link nothing.
    """
    named = {text.title: text.id for text in texts if len(text.title) >= max(1, least)}
    sizes: dict[str, set[int]] = {}
    for title in named:
        sizes.setdefault(_BEGINS.findall(title)[0], set()).add(len(title))
    longest_first = {beginning: sorted(found, reverse=True) for beginning, found in sizes.items()}
    made = []
    for text in texts:
        found = [Link(place, named[title]) for place, one in enumerate(text.paragraphs)
                 for title in _mentioned(one, named, longest_first) if named[title] != text.id]  # fmt: skip
        made.append(replace(text, links=tuple(dict.fromkeys((*text.links, *found)))))
    return made


def _mentioned(text: str, named: Collection[str], sizes: Mapping[str, Sequence[int]]) -> Iterator[str]:
    """The titles that stand in a text as whole words, in order, none within another: at each place the longest.

    `sizes` holds, by a title's first word (or sign), the lengths that such titles have: however many titles there are,
    only these are looked up.
    """
    done = 0
    for beginning in _BEGINS.finditer(text):
        start = beginning.start()
        for size in sizes.get(beginning[0], ()) if start >= done else ():
            title = text[start : start + size]
            if title in named and not _WORD.match(text, start + size):
                done = start + size
                yield title
                break


def kilt_pairs(queries: Iterable[KiltQuery], titles: Collection[str]) -> list[TitlePair]:
    """What fine-tuning on a file of KILT's learns: its inputs, and their template questions, ask for its targets.

    Targets that are none of `titles` are left out; a warning counts the queries that so ask for nothing. InputError:
    all of them do.
    """
    named = {" ".join(title.split()): title for title in titles}
    made: list[TitlePair] = []
    count = lost = 0
    for query in queries:
        here = tuple(named[one] for title in query.targets if (one := " ".join(title.split())) in named)
        sources = [source for source in dict.fromkeys((query.input, *query.templates)) if source.strip()]
        made += [TitlePair(source, here, "KILT") for source in sources if here]
        count, lost = count + 1, lost + (not here)
    if not made:
        raise InputError(
            f"None of {count} queries asks for a title of this collection of {len(named)}, so there is nothing to "
            "learn of them. Give a file with answers (KILT's train or dev), and the pages that it asks for."
        )
    if lost:
        log.warning("%d of %d queries ask for no title of this collection, and teach nothing.", lost, count)
    return made


def hold_out(
    texts: Sequence[TitledText], *, each: int = 1, documents: int | None = None, least_words: int = 6, seed: int = 0
) -> tuple[list[TitledText], list[TitlePair]]:
    """Texts without `each` drawn units of `documents` of them (None: of all), and these units as pairs.

    Equal units leave together; links of what left go, too. A text keeps at least two units. InputError: none can go.
    """
    rng = np.random.default_rng(seed)
    chosen = set(rng.permutation(len(texts))[:documents].tolist())
    kept, held = [], []
    for place, text in enumerate(texts):
        fit = [n for n, one in enumerate(text.paragraphs) if word_count(one) >= least_words and MARKER not in one]
        gone: dict[str, None] = {}
        for number in rng.permutation(fit).tolist() if place in chosen else []:
            more = {**gone, text.paragraphs[number]: None}
            if len(gone) < each and sum(one not in more for one in text.paragraphs) >= 2:
                gone = more
        held += [TitlePair(one, (text.title,), "held out") for one in gone]
        kept.append(without(text, gone))
    if not held:
        raise InputError(
            f"Of {len(texts)} documents none has three units, one of them of {least_words} words, so nothing can be "
            "held out to measure by. Give longer texts, or dev pairs of your own."
        )
    return kept, held


def without(text: TitledText, gone: Collection[str]) -> TitledText:
    """The text without these units; links of the others move along."""
    stay = [place for place, one in enumerate(text.paragraphs) if one not in gone]
    numbers = {place: number for number, place in enumerate(stay)}
    links = tuple(Link(numbers[link.paragraph], link.target) for link in text.links if link.paragraph in numbers)
    return replace(text, paragraphs=tuple(text.paragraphs[place] for place in stay), links=links)


def _long_enough(text: TitledText, settings: PairSettings) -> bool:
    plain = [one for one in text.paragraphs if MARKER not in one and one.strip()]
    words = sum(map(word_count, plain))
    return bool(plain) and len(text.title.strip()) > settings.least_title and words >= settings.least_text


def units(text: str, cut: Callable[[str], Sequence[tuple[int, int]]]) -> tuple[str, ...]:
    """The units of a text by a function that gives their places (`text.units.sentences` or `paragraphs`)."""
    return tuple(" ".join(text[start:end].split()) for start, end in cut(text) if text[start:end].strip())
