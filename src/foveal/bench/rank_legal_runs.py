"""bench rank-legal: the questions in three parts, BM25's candidates, the models that order them, and their scores.

Parts        training questions; dev questions, which choose among steps and tune the weight; test questions
Candidates   BM25S (Lù, 2024) with k1 1.2 and b 0.75 over words in lower case, found once for all questions
Articles     those that a question's candidates or answers hold; of each the first `SENTENCES` sentences
Kept         candidates, vectors, trained models and their scores lie in the bench's cache by hashes of what made them,
             the code among it
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from foveal.bench.code import code_digest
from foveal.bench.rank_legal_arms import RATES, SENTENCES, Arm, Sizes, arms
from foveal.bench.settings import BenchSettings, text_digest
from foveal.evaluation.files import whole_file
from foveal.evaluation.legal import Article, LegalCollection
from foveal.evaluation.metrics import Run
from foveal.ranking.article_models import load_article_model
from foveal.ranking.attentive_cnn import AttentiveCNN, AttentiveCNNSettings, Vocabulary
from foveal.ranking.legal import LegalHit, LegalSettings
from foveal.ranking.legal_training import Tuned, corpus_of, examples_of, tuned_on
from foveal.ranking.paraformer import Paraformer
from foveal.ranking.sections import passage_of
from foveal.registry import require
from foveal.text.languages import word_cutter
from foveal.training.articles import ordered, sentences_in, train_articles
from foveal.training.examples import Examples
from foveal.training.loop import LoopSettings
from foveal.training.precision import mixed_precision
from foveal.training.report import Report
from foveal.training.runs import RunSettings
from foveal.types import Encoder, Hit

ENCODER = "minilm"
K1, B = 1.2, 0.75


class Law:
    """A collection's questions and articles as the bench reads them."""

    def __init__(
        self,
        learnt: LegalCollection,
        dev: LegalCollection,
        test: LegalCollection,
        settings: BenchSettings,
        sizes: Sizes,
    ) -> None:
        self.name, self.settings, self.sizes = learnt.name, settings, sizes
        self.articles = learnt.articles
        cuts = ((dev, sizes.dev), (test, sizes.test))
        names = list(learnt.qrels)
        order = np.random.default_rng(settings.seed).permutation(len(names))[: max(sizes.counts)]
        self._order = [names[row] for row in order]
        parts = [only(learnt, self._order), *(only(one, list(one.qrels)[:most]) for one, most in cuts)]
        queries = {query: part.queries[query] for part in parts for query in part.qrels}
        self.found = bm25(self.articles, queries, sizes.candidates, settings)
        held = {name for found in self.found.values() for name in found}
        held |= {name for part in parts for judged in part.qrels.values() for name in judged}
        read = corpus_of((one for name, one in self.articles.items() if name in held), cut=sizes.cut)
        self.corpus = {name: "\n".join(sentences_in(text)[:SENTENCES]) for name, text in read.items()}
        self.learnt, self.dev, self.test = (examples_of(part, self.corpus) for part in parts)
        self.candidates = {
            query: sorted(found, key=lambda name: (-found[name], name))[: sizes.candidates]
            for query, found in self.found.items()
        }
        self.arms = arms(sizes)

    # -- what is trained ----------------------------------------------------------------------------------------------

    def part(self, count: int) -> Examples:
        """The first `count` training questions of an order that the seed draws; more than there are: all."""
        return self.learnt.only(self._order[:count])

    def trained(self, name: str, count: int, *, shuffled: bool = False) -> tuple[Report, Any]:
        """The report of an arm trained on `count` questions, now or before, and its model; `shuffled`: each article's
        questions were given to another article, of the dev questions too, and no step is chosen: the last one counts.
        """
        arm, learnt = self.arms[name], self.part(count)
        dev = self.dev.only(list(self.dev.queries)[: self.sizes.steps_dev])
        if shuffled:
            learnt, dev = (with_shuffled_labels(one, self.settings.seed) for one in (learnt, dev))
        epochs = self.sizes.counts[count][isinstance(arm.model, AttentiveCNNSettings)]
        loop = LoopSettings(
            epochs=epochs if arm.learns or isinstance(arm.model, AttentiveCNNSettings) else 8 * epochs,
            batch=8,
            learning_rate=RATES.get(name, 3e-5),
            seed=self.settings.seed,
            bfloat16=arm.learns and mixed_precision(),
        )
        _, report = train_articles(
            self._new(arm, learnt),
            learnt,
            replace(arm.training, loop=loop),
            first_stage=self._search,
            first_stage_name=f"BM25S, k1 {K1}, b {B}, {self._digest(self.learnt, self.dev)}",
            last=shuffled,
            run=RunSettings(home=self.home, dev=dev),
        )
        rejected = self.home / "runs" / "train" / report.name / "rejected"
        place = self.home / "models" / report.name if report.kept else rejected
        options = {} if arm.learns or isinstance(arm.model, AttentiveCNNSettings) else {"encoder": self.encoder}
        return report, load_article_model(place, **options)

    @cached_property
    def code(self) -> str:
        """The code by which models are trained, and score: by other code both are made anew."""
        engines = ("foveal.ranking.paraformer", "foveal.ranking.attentive_cnn")
        return code_digest("foveal.training.articles", *engines, within="foveal.ranking")

    @property
    def home(self) -> Path:
        """Where the trained models lie, each under a name that tells of data and settings."""
        return self.settings.cache / "training" / f"legal-{self.code}"

    def fresh(self, name: str) -> Paraformer | AttentiveCNN:
        """The model of an arm before it is trained on all questions."""
        return self._new(self.arms[name], self.part(max(self.sizes.counts)))

    def _new(self, arm: Arm, learnt: Examples) -> Paraformer | AttentiveCNN:
        if isinstance(arm.model, AttentiveCNNSettings):
            lines = [line for text in learnt.corpus.values() for line in sentences_in(text)]
            return AttentiveCNN(Vocabulary.of([*lines, *learnt.queries.values()]), arm.model)
        return Paraformer.over(ENCODER if arm.learns else self.encoder, arm.model, tuned=arm.learns)

    def _search(self, queries: Sequence[str], k: int) -> list[dict[str, float]]:
        """The candidates again, by a question's text."""
        return [dict(list(self._by_text[query].items())[:k]) for query in queries]

    @cached_property
    def _by_text(self) -> dict[str, dict[str, float]]:
        parts = (self.learnt, self.dev, self.test)
        return {text: self.found[query] for part in parts for query, text in part.queries.items()}

    @cached_property
    def encoder(self) -> Encoder:
        """The encoder as it is; sentences and whole articles come from the cache."""
        sentences = dict.fromkeys(line for text in self.corpus.values() for line in sentences_in(text))
        wholes = dict.fromkeys(self.wholes.values())
        return Remembering(self.settings, self.name, list(sentences | wholes))

    @cached_property
    def wholes(self) -> dict[str, str]:
        """Article id -> its text in one line."""
        return {name: " ".join(text.split()) for name, text in self.corpus.items()}

    # -- scores -------------------------------------------------------------------------------------------------------

    def scores(self, name: str, model: Callable[[], Any], corpus: Mapping[str, str] | None = None) -> Run:
        """A model's score of each candidate of the dev and test questions; made once, `name` says by what."""
        asked = Examples(
            {**self.dev.queries, **self.test.queries}, corpus or self.corpus, {**self.dev.judged, **self.test.judged}
        )
        made_by = f"{name} {self._digest(self.dev, self.test)} {asked.fingerprint} {self.code}"
        digest = hashlib.sha256(made_by.encode()).hexdigest()
        path = self.settings.cache / "legal" / f"scores-{digest[:24]}.npy"
        if not path.is_file():
            run = ordered(model(), asked, self.found, self.sizes.candidates)
            made = [[run[query][one] for one in self.candidates[query]] for query in asked.queries]
            with whole_file(path) as partial:
                np.save(partial, np.array([score for row in made for score in row], dtype=np.float32))
        kept = iter(np.load(path, allow_pickle=False).tolist())
        return {query: {one: next(kept) for one in self.candidates[query]} for query in asked.queries}

    def hits(self, scores: Run, questions: Examples) -> dict[str, list[LegalHit]]:
        """The candidates with both scores."""
        return {
            query: [
                LegalHit(self._hit(one, self.found[query][one]), self.found[query][one], scores[query][one])
                for one in self.candidates[query]
            ]
            for query in questions.queries
        }

    def tuned(self, scores: Run) -> Tuned:
        """Weight and rule that are best on the dev questions."""
        return tuned_on(self.hits(scores, self.dev), self.dev.judged, LegalSettings(candidates=self.sizes.candidates))

    def _hit(self, name: str, score: float) -> Hit:
        return Hit(self._passages[name], score, "words")

    @cached_property
    def _passages(self) -> dict[str, Any]:
        return {name: passage_of(self.articles[name]) for name in self.corpus}

    def _digest(self, *parts: Examples) -> str:
        """A hash of what BM25 found for the questions."""
        found = [[query, self.found[query]] for part in parts for query in part.queries]
        return hashlib.sha256(json.dumps(found).encode()).hexdigest()[:16]


class Remembering:
    """An `Encoder` that has some texts' vectors from the bench's cache."""

    def __init__(self, settings: BenchSettings, name: str, texts: Sequence[str]) -> None:
        self._encoder = settings.encoder()
        vectors = settings.cached_vectors((name, "sentences"), texts, self._encoder)
        self._rows = dict(zip(texts, vectors, strict=True))
        self.name, self.dimension = self._encoder.name, self._encoder.dimension
        self.fingerprint, self.max_tokens = self._encoder.fingerprint, self._encoder.max_tokens

    def encode(self, texts: Sequence[str]) -> Any:
        """Unit vectors (len(texts), dimension)."""
        new = [text for text in dict.fromkeys(texts) if text not in self._rows]
        made = dict(zip(new, self._encoder.encode(new), strict=True)) if new else {}
        return np.stack([made[text] if text in made else self._rows[text] for text in texts])

    def token_offsets(self, text: str) -> Any:
        """Those of the encoder."""
        return self._encoder.token_offsets(text)


def bm25(articles: Mapping[str, Article], queries: Mapping[str, str], depth: int, settings: BenchSettings) -> Run:
    """The best `depth` articles of each question by BM25S, best first; kept."""
    texts = [article.text for article in articles.values()]
    digest = text_digest(f"bm25s {K1} {B} {depth}, words once", [*articles, *texts, *queries, *queries.values()])
    path = settings.cache / "legal" / f"bm25-{digest[:24]}.json"
    if not path.is_file():
        run = _bm25(list(articles), texts, queries, depth)
        with whole_file(path) as partial:
            partial.write_text(json.dumps(run), encoding="utf-8")
    kept: Run = json.loads(path.read_text(encoding="utf-8"))
    return kept


def _bm25(names: Sequence[str], texts: Sequence[str], queries: Mapping[str, str], depth: int) -> Run:
    bm25s: Any = require("bm25s", extra="bench")
    cut = word_cutter("plain")
    index = bm25s.BM25(k1=K1, b=B)
    index.index([cut(text) for text in texts], show_progress=False)
    depth = min(depth, len(names))
    asked = [list(dict.fromkeys(cut(text))) for text in queries.values()]  # a word counts once, said twice or not
    found, scores = index.retrieve(asked, k=depth, show_progress=False)
    return {
        query: {names[row]: float(score) for row, score in zip(found[at], scores[at], strict=True) if score > 0}
        for at, query in enumerate(queries)
    }


def only(collection: LegalCollection, names: Sequence[str]) -> LegalCollection:
    """The collection with these questions."""
    queries = {name: collection.queries[name] for name in names}
    return replace(collection, queries=queries, qrels={name: collection.qrels[name] for name in names})


def with_shuffled_labels(examples: Examples, seed: int) -> Examples:
    """The same questions, each answered by what an article drawn at random stands for."""
    names = list(examples.corpus)
    moved = dict(zip(names, np.random.default_rng(seed).permutation(names).tolist(), strict=True))
    judged = {query: {moved[name]: grade for name, grade in found.items()} for query, found in examples.judged.items()}
    return replace(examples, judged=judged)


def asked_before(examples: Examples, run: Run) -> Run:
    """A score that reads nothing: how many training questions an article answers."""
    counts = Counter(name for found in examples.positives.values() for name in found)
    return {query: {name: float(counts[name]) for name in found} for query, found in run.items()}
