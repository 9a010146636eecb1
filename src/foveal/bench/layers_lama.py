"""bench layers-lama: attention with low-rank heads as the pooling of a text classifier (nn/lama.py).

exact      against the sums of the paper, and what numbers must be (layers_lama_exact.py)
speed      pooling alone, one row of 512 to 8,192 tokens, beside structured and multi-head attention (the same)
accuracy   Reuters-8 and movie reviews: ten classifiers that differ in one part, three seeds; TF-IDF and a linear SVM
           beside them; 20 newsgroups read flat and sentence by sentence
words      what the weights are worth: even weights, words taken away, entropy, heads alike (layers_lama_words.py)
contexts   the score of one word in different texts (the same)
stars      ratings by their mean absolute error (the same)
tokens     pooling of a frozen encoder's tokens; several vectors a text for retrieval (layers_lama_tokens.py)

Arms are trained here, once, and kept in the bench's cache; a run that was stopped goes on. The quick run trains one
epoch of one seed and leaves out 20 newsgroups and the tokens. Not run here: the paper's sets Yelp, IMDB and News
Aggregator.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import fmean, pstdev

from foveal.bench.known_sets import held_to, is_set
from foveal.bench.layers_lama_arms import Arm, Arms, Texts, scores_of
from foveal.bench.layers_lama_exact import exact, speed
from foveal.bench.layers_lama_tokens import tokens
from foveal.bench.layers_lama_words import contexts, stars, words
from foveal.bench.settings import BenchSettings
from foveal.evaluation.tables import Row
from foveal.nn.text_classifier_training import ClassifierSize
from foveal.registry import require

LEAST_ABOVE = {"one head": 0.0, "mean": 0.0, "max": 0.0, "structured": -0.01}
"""What LAMA's accuracy must be above these on Reuters-8, in the full run."""
MARGIN = 0.01
"""By which the quick run may stay below that."""
FEWER = 1 / 3
"""Of the parameters of structured attention."""
SPECIFIED = {
    "LAMA": 0.948, "LAMA, learned scale": 0.948, "LAMA + ctx": 0.951, "mean": 0.935, "max": 0.905, "one head": 0.935,
    "structured": 0.955,
}  # fmt: skip
"""Accuracy on Reuters-8 as specified, of one seed."""
BELOW, WEAKER = 0.01, 0.03
"""By which LAMA may stay below that, as seeds do; and the others: one that is weaker still is no peer."""


def lama(settings: BenchSettings) -> Iterator[Row]:
    """The rows of `foveal bench layers-lama`."""
    yield from exact(settings)
    yield from speed(settings)
    arms = Arms(settings)
    yield from accuracy(arms)
    yield from words(arms)
    yield from contexts(arms)
    yield from stars(arms)
    if not settings.quick:
        yield from documents(arms)
        yield from tokens(settings)


# -- accuracy ----------------------------------------------------------------------------------------------------------


def accuracy(arms: Arms) -> Iterator[Row]:
    """Each arm on both sets; LAMA less those that it is held against."""
    for name in ("r8", "mr"):
        texts = arms.texts(name)
        yield Row.of(f"{name}, texts to learn from", "size", len(texts.train))
        found: dict[str, float] = {}
        pooling: dict[str, int] = {}
        for arm in arms.chosen(name):
            models = [arms.learnt(name, arm, seed) for seed in arms.seeds]
            shares = [scores_of(model, texts.test)["accuracy"] for model in models]
            parts = models[0].parameters_by_part()
            found[arm.name], pooling[arm.name] = fmean(shares), parts["pooling"]
            least = specified(name, arm.name, quick=arms.settings.quick)
            note = _spread(shares, parts)
            row = Row.of(f"{name}: {arm.name}", "accuracy", found[arm.name], at_least=least, note=note)
            yield held_to("Reuters-8", is_set("Reuters-8", len(texts.train), len(texts.test)), row)
        yield from _outside(name, texts)
        yield from compared(name, found, pooling, quick=arms.settings.quick)


def specified(name: str, arm: str, *, quick: bool) -> float | None:
    """The least accuracy of an arm in the full run; None where none is specified."""
    if name != "r8" or arm not in SPECIFIED or quick:
        return None
    return SPECIFIED[arm] - (BELOW if arm.startswith("LAMA") else WEAKER)


def _spread(shares: Sequence[float], parts: dict[str, int]) -> str:
    spread = f"{len(shares)} seeds, spread {pstdev(shares):.4f}" if len(shares) > 1 else "one seed"
    return f"{spread}; pooling {parts['pooling']:,} of {sum(parts.values()):,} parameters"


def compared(name: str, found: dict[str, float], pooling: dict[str, int], *, quick: bool) -> Iterator[Row]:
    """LAMA less each other arm; bars where the set is Reuters-8, and on parameters."""
    margin = MARGIN if quick else 0.0
    for other in (one for one in found if one != "LAMA"):
        least = LEAST_ABOVE.get(other) if name == "r8" else None
        bar = None if least is None else least - margin
        yield Row.of(f"{name}: LAMA - {other}", "accuracy", found["LAMA"] - found[other], at_least=bar)
    for other in (one for one in ("structured", "full multi-head") if one in pooling):
        ratio = pooling["LAMA"] / pooling[other]
        note = f"{pooling['LAMA']:,} and {pooling[other]:,}"
        yield Row.of(f"{name}: LAMA / {other}", "parameters of the pooling", ratio, at_most=FEWER, note=note)


def _outside(name: str, texts: Texts) -> Iterator[Row]:
    """The peer that is no network."""
    features = require("sklearn.feature_extraction.text", extra="train")
    svm = require("sklearn.svm", extra="train")
    vectors = features.TfidfVectorizer(sublinear_tf=True, min_df=2)
    model = svm.LinearSVC().fit(
        vectors.fit_transform([one.text for one in texts.train]), [one.label for one in texts.train]
    )
    said = model.predict(vectors.transform([one.text for one in texts.test]))
    right = fmean(float(a == b.label) for a, b in zip(said, texts.test, strict=True))
    yield Row.of(f"{name}: TF-IDF, linear SVM", "accuracy", right, note="scikit-learn, on the whole texts")


def documents(arms: Arms) -> Iterator[Row]:
    """20 newsgroups by date, flat and sentence by sentence."""
    texts = arms.texts("20ng")
    forms = {
        "mean": Arm("mean", ClassifierSize(pooling="mean", max_words=200)),
        "LAMA, flat": Arm("LAMA-flat", ClassifierSize(max_words=200)),
        "LAMA, flat, words of MiniLM": Arm("LAMA-flat-words", ClassifierSize(max_words=200), words_of_encoder=True),
        "LAMA, sentence by sentence": Arm("LAMA-sentences", ClassifierSize(hierarchical=True)),
    }
    for called, arm in forms.items():
        model = arms.learnt("20ng", arm, arms.seeds[0])
        told = scores_of(model, texts.test)
        note = f"macro F1 {told['macro F1']:.3f}; {sum(model.parameters_by_part().values()):,} parameters"
        yield Row.of(f"20ng: {called}", "accuracy", told["accuracy"], note=note)
    yield from _outside("20ng", texts)
