"""bench segment-learned, its data: policies parted by company, and texts of other kinds that the models never saw.

policies   tos/*.jsonl: Markdown with headings, `metadata.company`. The paper's setting: only paragraphs under headings
           that the table of topics knows count, neighbours of one topic being one section. Raw: all of them, a section
           being what stands below a heading of the shallowest level that gives four
Choi       choi/choi.jsonl: ten pieces of the Brown corpus in a row; units are sentences
wiki       wiki_toy/corpus.jsonl: the first paragraphs of several articles in a row; it has no headings
regulation obliqa/corpus.jsonl: a section is what is numbered alike to the second place
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from foveal.bench.known_sets import is_set
from foveal.bench.settings import BenchSettings
from foveal.errors import InputError
from foveal.evaluation.files import json_lines
from foveal.text.paragraph_units import SCRAP, readable
from foveal.text.sectioned import SectionSettings, sectioned_documents
from foveal.text.topic_tables import TopicTable
from foveal.text.units import paragraphs
from foveal.training.loop import LoopSettings
from foveal.training.same_topic import Parts, Read
from foveal.training.same_topic_heads import Floats, Paragraphs
from foveal.training.same_topic_pairs import Corpus, Sectioned, deduplicated, shuffled_within, split_by_group
from foveal.types import Encoder

CHOI_SETS = ("3-11", "6-8", "9-11")
"""The lengths of segments that are looked at where they are there; else all that there are."""
EVERY = 8  # documents 0, 8, 16, ... of each set
_CHOI_ID = re.compile(r"[^/]+/([^/]+)/(\d+)")
_SECOND = re.compile(r"\d+(?:\.\d+)?")


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How much is run; learning rates and epochs were not tuned."""

    test_share: float = 0.4  # of all paragraphs, by company
    dev_share: float = 0.2  # of what is left
    documents: int | None = None  # of each part at most
    longest: int = 400  # paragraphs of a document: some have thousands, and would be all that counts
    seeds: int = 3  # of heads that are drawn at random
    pairs: int = 6500  # that a cross-encoder learns from, half of them true gaps: as the specification's 6,545
    epochs: float = 2.0
    raw_pairs: int = 8000  # the same on raw documents, for one epoch
    few_pairs: int = 1600  # of the ablation's cross-encoder, for one epoch; 0: it is left out
    budget: int = 3000  # pairs of the ablation's frozen heads
    window: int = 128  # tokens of a pair
    shuffles: int = 10  # of the control: the mean of few is not within its bar by chance alone
    transfer: int = 40  # documents of each kind that is no policy
    speed: int = 6000  # paragraphs

    def loop(self, seed: int, epochs: float) -> LoopSettings:
        """Of one fine-tuning."""
        from foveal.training.precision import mixed_precision

        return LoopSettings(
            epochs=epochs, batch=32, learning_rate=5e-5, weight_decay=0.01, seed=seed, bfloat16=mixed_precision()
        )


QUICK = Scale(
    documents=40,
    longest=60,
    seeds=1,
    pairs=192,
    epochs=1.0,
    raw_pairs=192,
    few_pairs=0,
    budget=1000,
    shuffles=3,
    transfer=8,
    speed=600,
)


@dataclass(frozen=True)
class Policies:
    """Documents to learn from, to choose with, and of companies that neither has."""

    name: str
    learnt: Sequence[Sectioned]
    dev: Sequence[Sectioned]
    test: Sequence[Sectioned]
    settings: BenchSettings

    @classmethod
    def of(cls, settings: BenchSettings, scale: Scale, *, only_topics: bool) -> Policies:
        """Parted by the seed. InputError: the data set is missing, or has too few companies."""
        chosen = SectionSettings(group="company", most_paragraphs=scale.longest)
        files, table = _files(settings.data / "tos"), TopicTable.terms()
        documents = deduplicated(list(sectioned_documents(files, chosen, table, only_topics=only_topics)))
        if not documents:
            told = "headings of topics that the table knows" if only_topics else "headings"
            raise InputError(f"{settings.data / 'tos'} holds no document with sections under {told}. Give it some.")
        rest, test = split_by_group(documents, scale.test_share, seed=settings.seed)
        learnt, dev = split_by_group(rest, scale.dev_share, seed=settings.seed)
        most, name = scale.documents, "topics" if only_topics else "raw"
        return cls(name, learnt[:most], dev[:most], test[:most], settings)

    @cached_property
    def known(self) -> bool:
        """Whether these are the terms for which figures were set."""
        return is_set(
            "the shared terms", sum(1 for path in _files(self.settings.data / "tos") for _ in json_lines(path))
        )

    @cached_property
    def encoder(self) -> Encoder:
        """The bench's."""
        return self.settings.encoder()

    @cached_property
    def parts(self) -> Parts:
        """All of it with vectors; held are the dev documents, then the test documents."""
        every = [*self.learnt, *self.dev, *self.test]
        texts = Paragraphs([text for one in every for text in one.paragraphs]).beginnings
        vectors = self.settings.cached_vectors(["segment", "policies", self.name], texts, self.encoder)
        return Parts.known(self.learnt, [*self.dev, *self.test], self.encoder, vectors)

    @property
    def held(self) -> tuple[list[Read], list[Read]]:
        """The dev documents, and the test documents."""
        return self.parts.held[: len(self.dev)], self.parts.held[len(self.dev) :]

    def shuffled(self, seed: int) -> Parts:
        """The control: as `parts`, with the paragraphs of each document that is learnt from in another order."""
        known = {text: at for at, text in enumerate(self.parts.corpus.texts)}
        learnt = shuffled_within(self.learnt, seed=seed)
        order = [known[text] for one in learnt for text in one.paragraphs]
        corpus = Corpus.of(learnt, least=1).without([*self.dev, *self.test])
        return replace(self.parts, corpus=corpus, vectors=self.parts.vectors[order])


def without_heading_words(document: Sectioned) -> Sectioned:
    """The document with the words of the headings above a paragraph taken out of it: the leak control."""
    cleaned = []
    for text, heading in zip(document.paragraphs, document.headings, strict=True):
        words = {word for word in re.findall(r"[^\W\d_]+", heading.lower()) if len(word) > 3}
        kept = [word for word in text.split() if re.sub(r"[\W\d_]+", "", word.lower()) not in words]
        cleaned.append(" ".join(kept) or "…")
    return replace(document, paragraphs=tuple(cleaned))


# -- texts of other kinds ---------------------------------------------------------------------------------------------


def transfers(settings: BenchSettings, scale: Scale) -> dict[str, list[Sectioned]]:
    """Kind -> documents, none where none fits. InputError: a data set is missing, or of another layout."""
    return {
        "Choi": _choi(settings, scale.transfer),
        "wiki": _wiki(settings, scale.transfer),
        "regulations": _regulations(settings, scale.transfer),
    }


def read_all(settings: BenchSettings, name: str, documents: Sequence[Sectioned], encoder: Encoder) -> list[Read]:
    """Documents with their vectors, from the bench's cache."""
    texts = Paragraphs([text for one in documents for text in one.paragraphs]).beginnings
    vectors: Floats = settings.cached_vectors(["segment", "transfer", name], texts, encoder)
    return Parts.known([], documents, encoder, vectors).held


@dataclass(frozen=True)
class ChoiDocument:
    """Segments of sentences, the set that the document is of ("3-11": their lengths), and its number there."""

    id: str
    set: str
    number: int
    segments: list[list[str]]


def choi_documents(settings: BenchSettings) -> list[ChoiDocument]:
    """All of them. InputError: the data set is missing, or of another layout."""
    found = []
    for row in _rows(settings, "choi", "choi.jsonl", "segments"):
        name, segments = _CHOI_ID.fullmatch(str(row["_id"])), row["segments"]
        if name is None:
            raise InputError(f"choi has a document {row['_id']!r}; its id needs to be set/segment length/number.")
        if not isinstance(segments, list) or not all(isinstance(one, list) and one for one in segments):
            raise InputError(f"choi: {row['_id']!r} has other segments than lists of at least one sentence.")
        found.append(ChoiDocument(str(row["_id"]), name[1], int(name[2]), segments))
    return found


def choi_chosen(documents: Sequence[ChoiDocument], first: int = 0) -> list[ChoiDocument]:
    """Documents `first`, `first` + EVERY, … of each set; of sets that hold none so numbered, every EVERYth."""
    own = [one for one in documents if one.set in CHOI_SETS] or list(documents)
    numbered = [one for one in own if one.number % EVERY == first]
    return numbered or own[first::EVERY]


def _choi(settings: BenchSettings, most: int) -> list[Sectioned]:
    found = []
    for one in choi_chosen(choi_documents(settings)):
        units = [(sentence, at) for at, piece in enumerate(one.segments) for sentence in piece]
        found.append(_of_units(one.id, units))
    step = max(1, len(found) // most)
    return found[::step][:most]


def _wiki(settings: BenchSettings, most: int) -> list[Sectioned]:
    """Documents of five articles each, three to eight paragraphs of each."""
    rng = np.random.default_rng(settings.seed)
    texts = []
    for row in _rows(settings, "wiki_toy", "corpus.jsonl", "text"):
        text = str(row["text"])
        texts.append([piece for start, end in paragraphs(text) if len(piece := readable(text[start:end])) >= SCRAP])
    made = []
    order = [at for at in rng.permutation(len(texts)).tolist() if len(texts[at]) >= 8]
    for number in range(min(most, len(order) // 5)):
        chosen = order[5 * number : 5 * number + 5]
        units = [(text, place) for place, at in enumerate(chosen) for text in texts[at][: int(rng.integers(3, 9))]]
        made.append(_of_units(f"wiki-{number}", units))
    return made


def _regulations(settings: BenchSettings, most: int) -> list[Sectioned]:
    """Each document's passages, titles left out; a section ends where one of the first two numbers changes."""
    documents: dict[str, list[tuple[str, str]]] = {}
    for row in _rows(settings, "obliqa", "corpus.jsonl", "text"):
        told = row.get("metadata")
        if not isinstance(told, dict) or not {"document", "passage"} <= told.keys():
            raise InputError("obliqa/corpus.jsonl has a passage without metadata.document or metadata.passage.")
        number = _SECOND.match(str(told["passage"]))
        text = readable(str(row["text"]))
        if number and len(text) >= 3 * SCRAP:
            documents.setdefault(str(told["document"]), []).append((text, number[0]))
    made = []
    for name, passages in documents.items():
        places = {number: place for place, number in enumerate(dict.fromkeys(number for _, number in passages))}
        units = sorted(((text, places[number]) for text, number in passages), key=lambda unit: unit[1])[:400]
        if len(units) >= 10 and units[-1][1] >= 3:
            made.append(_of_units(f"regulation-{name}", units))
    return made[:most]


def _of_units(name: str, units: Sequence[tuple[str, int]]) -> Sectioned:
    return Sectioned(name, name, tuple(text for text, _ in units), tuple(number for _, number in units))


def _files(folder: Path) -> list[Path]:
    files = sorted([*folder.glob("*.jsonl"), *folder.glob("*.jsonl.gz")])
    if not files:
        raise InputError(
            f"The data set tos was not found: {folder} holds no .jsonl or .jsonl.gz file. Name the folder that holds "
            "tos/ (JSON lines with _id, text, metadata.company; Markdown with headings) by --data or FOVEAL_DATA."
        )
    return files


def _rows(settings: BenchSettings, name: str, file: str, content: str) -> Iterator[dict[str, Any]]:
    folder = settings.folder(name, [file])
    return rows_of(folder / file if (folder / file).is_file() else folder / f"{file}.gz", content)


def rows_of(path: Path, content: str) -> Iterator[dict[str, Any]]:
    """The objects of a JSON-lines file, each with `_id` and `content`."""
    for where, row in json_lines(path):
        if not isinstance(row, dict) or not {"_id", content} <= row.keys():
            raise InputError(f"{where} lacks _id or {content}; each line is an object with both.")
        yield row
