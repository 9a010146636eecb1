"""Documents with sections, and the pairs of paragraphs that a same-topic model learns from.

adjacent           every true gap of a document, as a segmenter meets it, weighted so that both answers count alike
consecutive        pairs within a section, and across sections of the same document (the paper's best)
random_paragraph   paragraphs of one topic from anywhere, and of two topics
section            the same with whole sections in place of paragraphs

Split     by group (the company, the folder, the site), never by paragraph: templates of one author would leak
Leaks     documents that say the same are kept once; a paragraph to learn from that also stands in a document that is
          measured is in no pair (`without`), nor is a pair of two equal texts
Source    Aumiller et al., ICAIL 2021; its published sampler may pair a paragraph with itself, and merges two sections
          of one topic that do not touch: this one does neither
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foveal.errors import InputError, UnknownName

Ids = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Sectioned:
    """A document's paragraphs in order, without headings; for each the number of its section, from 0, rising.

    `group` is what is never split; `lost` counts true boundaries that fell inside a paragraph when items were joined.
    """

    name: str
    group: str
    paragraphs: tuple[str, ...]
    sections: tuple[int, ...]
    topics: tuple[str, ...] = ()  # of each paragraph, "" for none
    headings: tuple[str, ...] = ()  # above each paragraph, the titles of all that it stands under
    lost: int = 0

    def __post_init__(self) -> None:
        if len(self.paragraphs) != len(self.sections) or list(self.sections) != sorted(self.sections):
            raise InputError(
                f"{self.name} came with {len(self.paragraphs)} paragraphs and the sections {self.sections[:20]}; each "
                "paragraph needs its section's number, and they must not fall."
            )

    @property
    def masses(self) -> list[int]:
        """The paragraphs of each section."""
        return [sum(1 for _ in run) for _, run in groupby(self.sections)]

    @property
    def same(self) -> Bools:
        """For each gap (n - 1,) whether the section goes on."""
        numbers = np.array(self.sections)
        same: Bools = numbers[1:] == numbers[:-1]
        return same

    @property
    def digest(self) -> str:
        """What it says, where its sections begin and what they are called."""
        said = "\x1f".join((self.group, *self.paragraphs, *map(str, self.sections), *self.topics))
        return hashlib.sha256(said.encode("utf-8", "surrogatepass")).hexdigest()


def fingerprint(documents: Sequence[Sectioned]) -> str:
    """Of a set of documents, in their order."""
    return hashlib.sha256("".join(one.digest for one in documents).encode()).hexdigest()


def deduplicated(documents: Sequence[Sectioned]) -> list[Sectioned]:
    """The documents, of those with the same paragraphs the first."""
    seen: dict[tuple[str, ...], Sectioned] = {}
    for document in documents:
        seen.setdefault(tuple(map(_plain, document.paragraphs)), document)
    return list(seen.values())


def split_by_group(
    documents: Sequence[Sectioned], share: float, *, seed: int
) -> tuple[list[Sectioned], list[Sectioned]]:
    """What is left, and groups drawn until they hold `share` of all paragraphs. InputError: fewer than two groups."""
    groups: dict[str, list[Sectioned]] = defaultdict(list)
    for document in documents:
        groups[document.group].append(document)
    if len(groups) < 2:
        raise InputError(
            f"{len(documents)} documents of {len(groups)} group cannot be split into groups to learn from and "
            "groups to measure with. Give documents of more authors or folders, or name what parts them (--group)."
        )
    names = sorted(groups)
    wanted = share * sum(len(document.paragraphs) for document in documents)
    held: set[str] = set()
    count = 0
    for at in np.random.default_rng(seed).permutation(len(names)):
        size = sum(len(document.paragraphs) for document in groups[names[at]])
        if len(held) < len(names) - 1 and (not held or count + size / 2 <= wanted):
            held.add(names[at])
            count += size
    return [one for one in documents if one.group not in held], [one for one in documents if one.group in held]


@dataclass(frozen=True)
class Corpus:
    """The paragraphs of many documents, one after the other: texts, and for each its document, section and topic."""

    texts: tuple[str, ...]
    document: Ids
    section: Ids  # counted through all documents
    topic: Ids  # -1: none
    topics: tuple[str, ...] = ()
    blocked: frozenset[int] = frozenset()  # in no pair

    @classmethod
    def of(cls, documents: Sequence[Sectioned], *, least: int = 2) -> Corpus:
        """Topics that stand in fewer than `least` documents are none."""
        holding = Counter(topic for one in documents for topic in {_plain(topic) for topic in one.topics} if topic)
        topics = sorted(topic for topic, count in holding.items() if count >= least)
        numbers = {topic: place for place, topic in enumerate(topics)}
        texts: list[str] = []
        document, section, topic = list[int](), list[int](), list[int]()
        before = 0
        for place, one in enumerate(documents):
            texts += one.paragraphs
            document += [place] * len(one.paragraphs)
            section += [before + number for number in one.sections]
            topic += [numbers.get(_plain(name), -1) for name in one.topics or [""] * len(one.paragraphs)]
            before += max(one.sections, default=-1) + 1
        places, sections, named = (np.array(column, dtype=np.int64) for column in (document, section, topic))
        return cls(tuple(texts), places, sections, named, tuple(topics))

    def without(self, held: Sequence[Sectioned]) -> Corpus:
        """The corpus with the paragraphs that also stand in the documents `held` left out of all pairs."""
        known = {_plain(text) for one in held for text in one.paragraphs}
        return replace(self, blocked=frozenset(at for at, text in enumerate(self.texts) if _plain(text) in known))

    @cached_property
    def of_sections(self) -> Corpus:
        """Each section as one text, its paragraphs joined."""
        numbers, firsts = np.unique(self.section, return_index=True)
        within = defaultdict(list)
        for number, text in zip(self.section.tolist(), self.texts, strict=True):
            within[number].append(text)
        texts = tuple("\n\n".join(within[number]) for number in numbers.tolist())
        blocked = frozenset(np.searchsorted(numbers, self.section[sorted(self.blocked)]).tolist())
        return Corpus(texts, self.document[firsts], numbers, self.topic[firsts], self.topics, blocked)


@dataclass(frozen=True)
class Pairs:
    """Two paragraphs of a corpus by number, whether they are of one section or topic, and how much the pair counts."""

    left: Ids
    right: Ids
    same: Bools
    weight: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.left)

    def __add__(self, other: Pairs) -> Pairs:
        both = (np.concatenate(pair) for pair in zip(self._columns(), other._columns(), strict=True))
        return Pairs(*both)

    def only(self, chosen: Bools | Ids) -> Pairs:
        """Those of the pairs."""
        return Pairs(*(column[chosen] for column in self._columns()))

    def drawn(self, count: int, rng: np.random.Generator) -> Pairs:
        """At most `count` of them, in their order."""
        return self if len(self) <= count else self.only(np.sort(rng.permutation(len(self))[:count]))

    def _columns(self) -> tuple[NDArray[Any], ...]:
        return self.left, self.right, self.same, self.weight


def adjacent(corpus: Corpus) -> Pairs:
    """All true gaps; each answer's pairs weigh half of all together."""
    at = np.flatnonzero(corpus.document[1:] == corpus.document[:-1])
    same = corpus.section[at] == corpus.section[at + 1]
    return balanced(_allowed(corpus, at, at + 1, same))


def consecutive(corpus: Corpus, rng: np.random.Generator, *, each: int = 3) -> Pairs:
    """For each paragraph up to `each` others of its section, and `each` of other sections of its document.

    Sections of fewer than three paragraphs and documents of one section are passed over; of a section of n paragraphs
    at most (n - 1) // 2 go with one of them, so that small sections do not repeat themselves.
    """
    left, right, same = [], [], []
    for document in np.unique(corpus.document):
        inside = np.flatnonzero(corpus.document == document)
        for number in np.unique(corpus.section[inside]):
            own = inside[corpus.section[inside] == number]
            others = inside[corpus.section[inside] != number]
            if len(own) < 3 or not len(others):
                continue
            for at in own:
                alike = rng.permutation(own[own != at])[: min(each, (len(own) - 1) // 2)]
                unlike = rng.permutation(others)[:each]
                left += [at] * (len(alike) + len(unlike))
                right += [*alike, *unlike]
                same += [True] * len(alike) + [False] * len(unlike)
    return _made(corpus, left, right, same)


def random_paragraph(corpus: Corpus, rng: np.random.Generator, *, each: int = 3) -> Pairs:
    """For each paragraph with a topic `each` of the same topic and `each` of another one, from any document."""
    known = np.array([at for at in np.flatnonzero(corpus.topic >= 0) if at not in corpus.blocked], dtype=np.int64)
    members = {topic: np.flatnonzero(corpus.topic[known] == topic) for topic in np.unique(corpus.topic[known])}
    left, right, same = [], [], []
    for place, at in enumerate(known):
        own = members[corpus.topic[at]]
        alike = rng.choice(len(own) - 1, size=min(each, len(own) - 1), replace=False)
        others = len(known) - len(own)
        unlike = rng.choice(others, size=min(each, others), replace=False)
        left += [at] * (len(alike) + len(unlike))
        right += known[own[_beside(alike, np.searchsorted(own, [place]))]].tolist()
        right += known[_beside(unlike, own)].tolist()
        same += [True] * len(alike) + [False] * len(unlike)
    return _made(corpus, left, right, same)


def _beside(numbers: Ids, taken: Ids) -> Ids:
    """The places of these numbers where those beside the `taken` ones, which rise, are counted from 0."""
    return numbers + np.searchsorted(taken - np.arange(len(taken)), numbers, side="right")


def section(corpus: Corpus, rng: np.random.Generator, *, each: int = 3) -> Pairs:
    """As `random_paragraph` over whole sections: the pairs are of `corpus.of_sections`."""
    return random_paragraph(corpus.of_sections, rng, each=each)


STRATEGIES: dict[str, Callable[..., Pairs]] = {
    "consecutive": consecutive,
    "random_paragraph": random_paragraph,
    "section": section,
}


def pairs_of(strategy: str, corpus: Corpus, *, seed: int, each: int = 3) -> tuple[Corpus, Pairs]:
    """The pairs of a strategy, balanced, and the corpus that they number. UnknownName: no such strategy."""
    if strategy not in STRATEGIES:
        raise UnknownName(f"No way to draw pairs is called {strategy!r}. There are: {', '.join(STRATEGIES)}.")
    made = balanced(STRATEGIES[strategy](corpus, np.random.default_rng(seed), each=each))
    return (corpus.of_sections if strategy == "section" else corpus), made


def shuffled_within(documents: Sequence[Sectioned], *, seed: int) -> list[Sectioned]:
    """The control: paragraphs of each document in another order, under the same sections. Nothing can be learnt."""
    rng = np.random.default_rng(seed)
    made = []
    for one in documents:
        order = rng.permutation(len(one.paragraphs))
        made.append(replace(one, paragraphs=tuple(one.paragraphs[at] for at in order)))
    return made


def balanced(pairs: Pairs) -> Pairs:
    """The pairs with weights by which both answers count alike, 1 on average."""
    counts = {answer: max(1, int((pairs.same == answer).sum())) for answer in (True, False)}
    weight = np.where(pairs.same, len(pairs) / 2 / counts[True], len(pairs) / 2 / counts[False])
    return replace(pairs, weight=weight.astype(np.float32))


def _made(corpus: Corpus, left: Sequence[int], right: Sequence[int], same: Sequence[bool]) -> Pairs:
    columns = np.array(left, dtype=np.int64), np.array(right, dtype=np.int64), np.array(same, dtype=np.bool_)
    return _allowed(corpus, *columns)


def _allowed(corpus: Corpus, left: Ids, right: Ids, same: Bools) -> Pairs:
    """The pairs without those of equal texts, and those with a paragraph that is blocked."""
    plain = [_plain(text) for text in corpus.texts]
    kept = [
        plain[a] != plain[b] and a not in corpus.blocked and b not in corpus.blocked
        for a, b in zip(left.tolist(), right.tolist(), strict=True)
    ]
    return Pairs(left, right, same, np.ones(len(left), dtype=np.float32)).only(np.array(kept, dtype=np.bool_))


def _plain(text: str) -> str:
    return " ".join(text.lower().split())
