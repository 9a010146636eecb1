"""bench bprop: which words stand for an abstract, and whether training to tell them apart makes a better re-ranker.

words      the mass that each distribution over an abstract's words puts on the words of a claim that it answers, and on
           stop words: 339 pairs of SciFact's test claims, 433 abstracts as collection, 220 words each, MiniLM
reading    documents in a second, in batches and one by one
training   B-PROP, PROP, even draws, masked words only, none: bprop_training.py

The published distributions' figures are bars, and T = 1, the reference's setting, is the control: it must be as good
as even. Nothing is chosen here by a test claim: the shipped temperature is the spec's.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from foveal.bench.bprop_training import training
from foveal.bench.known_sets import is_collection_of
from foveal.bench.retrieval_fusion import Judged
from foveal.bench.settings import BenchSettings
from foveal.errors import InputError
from foveal.evaluation.speed import paired
from foveal.evaluation.tables import Row
from foveal.models.hub import folder_of
from foveal.models.quiet import quiet
from foveal.settings import Settings
from foveal.training.bprop import BPropSettings
from foveal.training.bprop_attention import Attended, AttentionReader, Reading
from foveal.training.bprop_sampling import (
    STOP_WORDS,
    Choices,
    Contrast,
    Likelihood,
    RandomTerms,
    contrastive_choices,
    distribution,
    normalised,
    saturated,
)

OTHERS, WORDS = 150, 220
"""Abstracts of the collection that no test claim is judged with, and words of an abstract that are read."""

MEASURED = {
    "even": 0.063, "unigram": 0.129, "Dirichlet unigram (PROP)": 0.150, "raw attention": 0.157,
    "saturated attention": 0.103, "contrastive, T = 1": 0.067, "contrastive, T = 0.1": 0.107,
    "contrastive, T = 0.05": 0.151, "contrastive, T = 0.02": 0.201, "contrastive, T = 0.01": 0.218,
    "contrastive, T = 0.005": 0.223,
}  # fmt: skip
"""What was measured for the spec. Of stop words nothing is taken over but the limit: which they are is up to a list."""

BARS: Mapping[str, Mapping[str, float]] = {
    "even": {"at_least": 0.058, "at_most": 0.068},
    "unigram": {"at_least": 0.119, "at_most": 0.139},
    "Dirichlet unigram (PROP)": {"at_least": 0.14, "at_most": 0.16},
    **{
        name: {"at_least": round(figure - 0.01, 3)}
        for name, figure in MEASURED.items()
        if "attention" in name or (name.startswith("contrastive") and name != "contrastive, T = 1")
    },
    "contrastive, T = 0.02": {"at_least": 0.19},
}
"""The controls are to be as they were, what looks at attention no worse than a hundredth."""

ADVANTAGE, STOPS = 1.3, 0.02
"""Of the shipped contrast: claim words as a multiple of PROP's, and the most mass on stop words."""

DRAWN = "contrastive, as pre-training draws"
"""Its temperature is in deviations of c over a text's words."""

HELD = ("contrastive, T = 0.02", DRAWN)
"""What is held to the advantage: the specification's temperature, and what `train bprop` draws by."""

Weights = Mapping[str, float]


def bprop(settings: BenchSettings) -> Iterator[Row]:
    """The rows of `foveal bench bprop`."""
    judged = Judged.of(settings)
    yield from word_rows(Abstracts.of(judged), known=is_collection_of("SciFact", judged.test))
    yield speed_row(judged, 16 if settings.quick else 64)
    yield from training(settings)


@dataclass(frozen=True)
class Abstracts:
    """A collection of abstracts as they are read, and the words of the claims that they answer."""

    read: Mapping[str, Attended]
    everywhere: Mapping[str, Attended]  # the same, by the attention of all tokens and not of [CLS]
    pairs: Sequence[tuple[frozenset[str], str]]  # a claim's words, an abstract

    @classmethod
    def of(cls, judged: Judged, *, name: str = "minilm") -> Abstracts:
        """Those judged with a test claim, and `OTHERS` more."""
        qrels, corpus = judged.test.qrels, judged.test.corpus
        asked = dict.fromkeys(document for grades in qrels.values() for document in grades)
        names = [*asked, *[document for document in corpus if document not in asked][:OTHERS]]
        texts = [" ".join(corpus[document].whole.split()[:WORDS]) for document in names]
        reader, other = (AttentionReader.load(name, Reading(rows=rows)) for rows in ("cls", "mean"))
        claims = {claim: frozenset(reader.words([judged.test.queries[claim]])[0]) for claim in qrels}
        pairs = [
            (claims[claim], document)
            for claim, grades in qrels.items()
            for document, grade in grades.items()
            if grade > 0  # the others were judged not to answer
        ]
        if not pairs:
            raise InputError("No test claim has an abstract of grade 1 or more (qrels/test.tsv). Judge some.")
        return cls(
            dict(zip(names, reader.read(texts), strict=True)), dict(zip(names, other.read(texts), strict=True)), pairs
        )

    @cached_property
    def random(self) -> RandomTerms:
        """P(t|R)."""
        return RandomTerms.fit(saturated(one.terms(), Contrast()) for one in self.read.values())

    def masses(self, of: Callable[[str], Weights]) -> tuple[float, float, float]:
        """Mean mass on the claim's words, on stop words, and on the claim's words where stop words are left out."""
        found = []
        for words, document in self.pairs:
            shares = of(document)
            stops = sum(share for word, share in shares.items() if word in STOP_WORDS)
            asked = sum(share for word, share in shares.items() if word in words)
            content = sum(share for word, share in shares.items() if word in words and word not in STOP_WORDS)
            found.append((asked, stops, content / max(1 - stops, 1e-9)))
        claim, stop, left = np.mean(found, axis=0)
        return float(claim), float(stop), float(left)


def word_rows(abstracts: Abstracts, *, known: bool = True) -> Iterator[Row]:
    """Each distribution's three masses; `known`: the abstracts are SciFact's, of which some were measured before."""
    found = {name: abstracts.masses(of) for name, of in distributions(abstracts).items()}
    even, prop = found["even"][0], found["Dirichlet unigram (PROP)"][0]
    for name, (claim, stop, left) in found.items():
        bars: dict[str, Any] = dict(BARS.get(name, {}) if known else {})
        if name in HELD:
            bars["at_least"] = max(bars.get("at_least", 0.0), ADVANTAGE * prop)
        if name == "contrastive, T = 1":
            bars["at_most"] = 1.15 * even
        told = f"measured for the spec: {MEASURED[name]:.3f}" if known and name in MEASURED else ""
        told += "; the control: as good as even" if name == "contrastive, T = 1" else ""
        yield Row.of(name, "mass on the claim's words", claim, note=told, **bars)
        most: dict[str, Any] = {"at_most": STOPS} if name in HELD else {}
        yield Row.of(name, "mass on stop words", stop, **most)
        yield Row.of(name, "mass on the claim's words, stop words left out", left)


def distributions(abstracts: Abstracts) -> dict[str, Callable[[str], Weights]]:
    """Name -> abstract -> distribution over its words."""
    read = abstracts.read
    likelihood = Likelihood.fit([one.words for one in read.values()], others=0, threshold=None)
    plain = Likelihood(likelihood.frequencies, 0.0, others=0, threshold=None)
    rng = np.random.default_rng(0)  # of words from elsewhere, of which there are none

    def contrastive(contrast: Contrast, attended: Mapping[str, Attended] = read) -> Callable[[str], Weights]:
        random = abstracts.random
        if attended is not read:
            random = RandomTerms.fit(saturated(one.terms(), contrast) for one in attended.values())
        return lambda name: _shares(
            contrastive_choices(distribution(attended[name].terms(), contrast), random, contrast)
        )

    return {
        "even": lambda name: normalised(dict.fromkeys(read[name].words, 1.0)),
        "unigram": lambda name: _shares(plain.choices(read[name].words, rng)),
        "Dirichlet unigram (PROP)": lambda name: _shares(likelihood.choices(read[name].words, rng)),
        "raw attention": lambda name: normalised(read[name].terms()),
        "saturated attention": lambda name: distribution(read[name].terms(), Contrast()),
        **{f"contrastive, T = {t:g}": contrastive(Contrast(temperature=t)) for t in (1, 0.1, 0.05, 0.02, 0.01, 0.005)},
        DRAWN: contrastive(BPropSettings().contrast),
        "TF-IDF": tf_idf(read),
        "contrastive, all tokens' attention": contrastive(Contrast(), abstracts.everywhere),
    }


def tf_idf(read: Mapping[str, Attended]) -> Callable[[str], Weights]:
    """What is no attention at all: tf ln(N / df), normalised."""
    holding = Counter(word for one in read.values() for word in set(one.words))

    def shares(name: str) -> Weights:
        counts = Counter(read[name].words)
        return normalised({word: count * math.log(len(read) / holding[word]) for word, count in counts.items()})

    return shares


def speed_row(judged: Judged, count: int, *, tokens: int = 256, name: str = "minilm") -> Row:
    """Documents in a second, batched, against one at a time with all of the model's attentions asked for."""
    reader = AttentionReader.load(name, Reading(max_tokens=tokens))
    texts = [text for text in judged.texts if len(text.split()) >= tokens][:count] or judged.texts[:count]
    one_by_one = OneByOne.load(name, tokens)
    ratio = paired(lambda: [one_by_one.read(text) for text in texts], lambda: reader.read(texts), runs=3)
    note = f"{len(texts)} documents of {tokens} tokens; the target of the spec is 50 on two cores; one by one: {ratio}"
    return Row.of("attention, in batches", "documents per second", 1e3 * len(texts) / ratio.b_ms, note=note)


@dataclass(frozen=True)
class OneByOne:
    """The reference's way: a text at a time, in float32, with the attention of every layer kept."""

    model: object
    tokenizer: object
    tokens: int

    @classmethod
    def load(cls, name: str, tokens: int) -> OneByOne:
        """The model by name."""
        from transformers import AutoModel, AutoTokenizer

        folder = folder_of(name, Settings.load().cache, kind="encoder")
        with quiet():
            model = AutoModel.from_pretrained(folder, attn_implementation="eager", use_safetensors=True).eval()
            return cls(model, AutoTokenizer.from_pretrained(folder), tokens)

    def read(self, text: str) -> np.ndarray:
        """The attention of [CLS] in the last layer, (L,)."""
        import torch

        fed = self.tokenizer(text, truncation=True, max_length=self.tokens, return_tensors="pt")  # type: ignore[operator]
        with torch.inference_mode():
            read = self.model(**fed, output_attentions=True)  # type: ignore[operator]
        found: np.ndarray = read.attentions[-1][0, :, 0].mean(0).numpy()
        return found


def _shares(choices: Choices) -> Weights:
    return dict(zip(choices.words, choices.probabilities.tolist(), strict=True))
