"""bench headlines, sentences and headlines without an article: relatedness in seven languages, and clickbait."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from foveal.bench.headlines_data import LANGUAGES, Ints, Related, clickbait, few, fnc, folds, related
from foveal.bench.settings import BenchSettings
from foveal.evaluation.classification import spearman
from foveal.evaluation.tables import Row
from foveal.papers.headline_features import PLAIN, Features
from foveal.papers.headline_judges import FeatureDesign, FeatureScorer
from foveal.papers.headlines import HeadlineJudge, JudgeSettings
from foveal.registry import require
from foveal.text.ngrams import CharacterTfIdf, GramSettings
from foveal.text.tokens import tokens, words
from foveal.training.linear import Design, FitSettings, fit, softmax

TELUGU = 0.78
"""Spearman of the feature `cosine` with human scores of Telugu pairs; 0.797 when the task was written down."""

PEER_AT, MARGIN = 0.975, 0.005
CLICKBAIT_GRAMS = GramSettings(words=2, most=200_000)
CLICKBAIT_C = 20.0
"""C, and that signs count, were chosen by learning from three folds and looking at a fourth."""
TRANSFERRED, QUICK_TRANSFERRED = 8_000, 2_000
"""English pairs that a judge of Telugu ones learns from."""


def related_rows(settings: BenchSettings) -> Iterator[Row]:
    """Spearman with human scores: character n-grams, words, shared words; then a judge that learnt from English."""
    for language in LANGUAGES:
        data = related(settings, language)
        yield from language_rows(data)
        if language == "tel":
            yield from transfer_rows(data, settings)


def language_rows(data: Related) -> Iterator[Row]:
    """The feature `cosine` beside words; no language may give no number, or nothing but zeros."""
    texts = [words(text) for text in dict.fromkeys((*data.learnt, *(text for pair in data.pairs for text in pair)))]
    cut = [(words(one), words(other)) for one, other in data.pairs]
    ours = cosines(CharacterTfIdf.fit(texts), data.pairs)
    weights = rarity(texts)
    by_words = [word_cosine(one, other, weights) for one, other in cut]
    shared = spearman([dice(one, other) for one, other in cut], data.scores)
    found = spearman(ours, data.scores)
    bars = {"at_least": max(TELUGU, shared)} if data.language == "tel" else {"at_least": 0.0}
    note = f"{len(data.pairs)} {data.split} pairs; {np.mean(np.asarray(ours) == 0):.0%} of them have cosine 0"
    yield Row.of(f"{data.language}: cosine of character n-grams", "Spearman", found, note=note, **bars)
    yield Row.of(f"{data.language}: cosine of words", "Spearman", spearman(by_words, data.scores))
    yield Row.of(f"{data.language}: Dice of words", "Spearman", shared)


def cosines(known: CharacterTfIdf, pairs: Sequence[tuple[str, str]]) -> list[float]:
    """The feature `cosine` of each pair."""
    found: list[float] = Features(known, ("cosine",)).of(pairs).values[:, 0].tolist()
    return found


def dice(one: Sequence[str], other: Sequence[str]) -> float:
    """Twice the different words of both over those of either."""
    a, b = set(one), set(other)
    return 2 * len(a & b) / max(1, len(a) + len(b))


def rarity(texts: Sequence[Sequence[str]]) -> dict[str, float]:
    """Word -> ln((1 + N) / (1 + n)) + 1, n of the N texts have it."""
    counts: dict[str, int] = {}
    for text in texts:
        for word in set(text):
            counts[word] = counts.get(word, 0) + 1
    return {word: float(np.log((1 + len(texts)) / (1 + n)) + 1) for word, n in counts.items()}


def word_cosine(one: Sequence[str], other: Sequence[str], weights: dict[str, float]) -> float:
    """The cosine of TF-IDF over whole words."""
    rows = [{word: list(text).count(word) * weights.get(word, 0.0) for word in set(text)} for text in (one, other)]
    sizes = [sum(value * value for value in row.values()) ** 0.5 for row in rows]
    product = sum(value * rows[1].get(word, 0.0) for word, value in rows[0].items())
    return product / (sizes[0] * sizes[1]) if all(sizes) else 0.0


def transfer_rows(data: Related, settings: BenchSettings) -> Iterator[Row]:
    """A judge of English headlines by features alone, asked how related Telugu sentences are."""
    pairs = few(fnc(settings), QUICK_TRANSFERRED if settings.quick else TRANSFERRED, seed=settings.seed)
    names = tuple(name for name in PLAIN if name not in ("numbers", "negation"))
    chosen = JudgeSettings(features=names, texts=False, changed_numbers=False)
    judge = HeadlineJudge(chosen).fit(pairs)
    own = Features(CharacterTfIdf.fit([words(text) for text in data.learnt]), names)
    assert isinstance(judge.scorer, FeatureScorer)
    scorer = FeatureScorer(FeatureDesign(own, texts=False), judge.scorer.model, judge.scorer.settings, 3)
    shares = softmax(scorer.decisions(data.pairs, own.of(data.pairs)) / judge.temperature)
    note = f"learnt from {len(pairs):,} English pairs; 1 - P(LREL)"
    found = spearman((1 - shares[:, -1]).tolist(), data.scores)
    yield Row.of("English -> Telugu, a judge by features alone", "Spearman", found, note=note)


# -- clickbait --------------------------------------------------------------------------------------------------------


def clickbait_rows(settings: BenchSettings) -> Iterator[Row]:
    """Accuracy in five folds, ours and scikit-learn's, on the same folds."""
    texts, classes = clickbait(settings)
    parts = folds(classes, seed=settings.seed)
    looked_at = parts[:1] if settings.quick else parts
    ours, theirs = [], []
    for held in looked_at:
        learnt = np.setdiff1d(np.arange(len(texts)), held)
        ours.append(own_accuracy(texts, classes, learnt, held))
        theirs.append(peer_accuracy(texts, classes, learnt, held))
    note = f"{len(texts):,} headlines, {len(looked_at)} of 5 folds: " + ", ".join(f"{value:.4f}" for value in ours)
    least = max(PEER_AT, float(np.mean(theirs)) - MARGIN)
    own = float(np.mean(ours))
    yield Row.of("clickbait: n-grams of characters, words and signs", "accuracy", own, at_least=least, note=note)
    yield Row.of("clickbait: scikit-learn, words and pairs of words", "accuracy", float(np.mean(theirs)), note="C = 5")


def own_accuracy(texts: Sequence[str], classes: Ints, learnt: Ints, held: Ints) -> float:
    """Logistic regression over n-grams of characters and words; signs are words, too: clickbait has its own."""
    cut = [[token.lower() for token in tokens(text)] for text in texts]
    known = CharacterTfIdf.fit((cut[at] for at in learnt), CLICKBAIT_GRAMS)
    rows = known.rows(cut)
    none = np.zeros((len(texts), 0), dtype=np.float32)
    design = Design(none, (rows,), (np.arange(len(texts)),))
    model = fit(_narrowed(design, learnt), classes[learnt], FitSettings(c=CLICKBAIT_C, balanced=False), count=2)
    with torch.inference_mode():
        given = model(_narrowed(design, held)).argmax(1).numpy()
    return float((given == classes[held]).mean())


def _narrowed(design: Design, places: Ints) -> Design:
    return Design(design.dense[places], (design.texts[0].take(places),), (np.arange(len(places)),))


def peer_accuracy(texts: Sequence[str], classes: Ints, learnt: Ints, held: Ints) -> float:
    """scikit-learn's TF-IDF of words and pairs of words with its logistic regression, C = 5."""
    vectoriser = require("sklearn.feature_extraction.text", extra="bench").TfidfVectorizer(ngram_range=(1, 2))
    model = require("sklearn.linear_model", extra="bench").LogisticRegression(C=5, max_iter=1000)
    model.fit(vectoriser.fit_transform([texts[at] for at in learnt]), classes[learnt])
    return float((model.predict(vectoriser.transform([texts[at] for at in held])) == classes[held]).mean())
