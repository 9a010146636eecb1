"""Small neural rankers trained for a bench: each run once, its scores kept, so that a bench that was stopped goes on.

A run is known by the model, its settings, word vectors and data, and by the code of the modules it is made of: what was
changed there is measured anew. Checkpoints lie in a folder that is gone when the run ends; scores and a few figures
stay, as JSON in the bench's cache.
"""

from __future__ import annotations

import hashlib
import json
import logging
import tempfile
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import stdev

from foveal.bench.code import code_digest
from foveal.bench.settings import BenchSettings
from foveal.evaluation.files import whole_file
from foveal.evaluation.metrics import Run
from foveal.models.hub import folder_of
from foveal.ranking.neural import MODELS
from foveal.ranking.neural.base import NeuralRanker
from foveal.ranking.neural.inputs import Vocabulary
from foveal.ranking.neural.training import NeuralSettings, fit_ranker, scored, untrained
from foveal.ranking.neural.vectors import WordVectors
from foveal.settings import Settings
from foveal.training import checkpoints
from foveal.training.examples import Examples, Scores
from foveal.training.report import plain_settings

log = logging.getLogger("foveal.bench")

PACKAGE = "foveal.ranking.neural"
DIMENSION = 100
"""Numbers of a word vector."""

VECTORS = f"word vectors: the mean of a word's pieces in MiniLM's table, brought to {DIMENSION} by PCA; no GloVe here"


@dataclass(frozen=True)
class Words:
    """What the rankers of one collection share: ids of words, and their vectors, not trained yet."""

    vocabulary: Vocabulary
    vectors: WordVectors

    @classmethod
    def of(
        cls, texts: Collection[str], queries: Iterable[str], *, dimension: int = DIMENSION, learnt: bool = False
    ) -> Words:
        """From the texts to order and the queries to learn from; queries that are tested with are not among them.

        `learnt`: beside the encoder's vectors stand those that are learnt from the texts, as long as they are.
        """
        vocabulary = Vocabulary.of_texts(texts, queries)
        folder = folder_of("minilm", Settings.load().cache, kind="encoder")
        vectors = WordVectors.from_encoder(folder, vocabulary, dimension)
        if learnt:
            vectors = vectors.beside(WordVectors.trained_on(texts, vocabulary, dimension))
        return cls(vocabulary, vectors)

    @property
    def digest(self) -> str:
        """A hash of words and vectors."""
        whole = hashlib.sha256("\0".join(self.vocabulary.words).encode("utf-8", "surrogatepass"))
        whole.update(self.vectors.table.numpy().tobytes())
        return whole.hexdigest()


@dataclass(frozen=True)
class Trained:
    """What a run left: the scores of each split's candidates, and how it went."""

    runs: Mapping[str, Run]  # split -> scores
    best_step: int  # whose weights the scores are of
    steps: int
    seconds: float  # of training, evaluation on the dev queries included
    parameters: int  # that were trained, word vectors left out
    vectors: int  # numbers of the word vectors that were trained


def trained(
    name: str,
    words: Words,
    splits: Mapping[str, Examples],
    found: Scores,
    chosen: NeuralSettings,
    settings: BenchSettings,
) -> Trained:
    """The ranker `name` trained on splits["train"], its weights chosen by MAP on splits["dev"]; all splits are scored.

    `found`: the candidates of every query.
    """
    known_by = {
        "model": name,
        "code": code_digest(MODELS[name].partition(":")[0], f"{PACKAGE}.training", within=PACKAGE),
        "words": words.digest,
        "settings": json.dumps(plain_settings(chosen), sort_keys=True),
        "found": _digest(json.dumps({query: sorted(one) for query, one in found.items()}, sort_keys=True)),
        **{split: examples.fingerprint for split, examples in splits.items()},
    }
    path = settings.cache / "neural" / f"{name}-{_digest(json.dumps(known_by, sort_keys=True))[:24]}.json"
    kept = checkpoints.read(path)
    if kept is None:
        log.info("training %s on %d queries", name, len(splits["train"].queries))
        kept = asdict(_now(name, words, splits, found, chosen, path.parent))
        with whole_file(path) as partial:
            partial.write_text(json.dumps(kept), encoding="utf-8")
    return Trained(**kept)


def _now(
    name: str, words: Words, splits: Mapping[str, Examples], found: Scores, chosen: NeuralSettings, place: Path
) -> Trained:
    scorer = untrained(name, words.vocabulary, words.vectors, chosen)
    rarely = replace(chosen, loop=replace(chosen.loop, checkpoint_every=10**9))  # a run is minutes: none goes on
    place.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=place) as folder:
        curves = fit_ranker(scorer, splits["train"], found, rarely, Path(folder), dev=splits["dev"], known_by={})
    runs = {split: scored(scorer, examples, found) for split, examples in splits.items() if split != "train"}
    own, vectors = sizes(scorer.model)
    return Trained(runs, int(curves.best_step or 0), curves.steps, curves.seconds, own, vectors)


def sizes(model: NeuralRanker) -> tuple[int, int]:
    """How many numbers are trained, word vectors left out, and how many of the word vectors."""
    vectors = sum(one.numel() for one in model.vectors.parameters())
    return sum(one.numel() for one in model.parameters()) - vectors, vectors


def _digest(*parts: str) -> str:
    whole = hashlib.sha256()
    for part in parts:
        whole.update(hashlib.sha256(part.encode("utf-8", "surrogatepass")).digest())
    return whole.hexdigest()


def spread(values: Sequence[float]) -> str:
    """What a note says of the standard deviation; nothing of a single value."""
    return f", ± {stdev(values):.3f}" if len(values) > 1 else ""
