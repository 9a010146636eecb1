"""bench layers-lama, what weights are worth: words taken away, even weights, entropy, heads, contexts, ratings.

even       accuracy of trained models (of all seeds, as the next two) whose attention is replaced by an even one
taken      accuracy after a share of a text's words is taken away, those looked at most or words drawn at random
entropy    of the weights over that of even ones; the greatest weight times the length
alike      mean cosine of two heads' weights, and |A A' - I|, with and without the penalty
contexts   the share of a word's variance of scores that lies within the word: 0 where a word has one score everywhere,
           as over word vectors alone, the control
stars      mean absolute error of ratings from 1 to 5: of `ratings` in the data, where they lie there (a table train and
           one test, or the snippets that come with vaderSentiment 0.5); else how near people called two sentences
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from foveal.bench.layers_lama_arms import APART, ARMS, Arms, learnt_on
from foveal.bench.settings import BenchSettings
from foveal.evaluation.files import csv_rows
from foveal.evaluation.labelled import LabelledText, read_texts
from foveal.evaluation.tables import Row
from foveal.nn.lama import diversity, masked_mean
from foveal.nn.text_classifier import TextClassifier, together
from foveal.nn.text_classifier_training import ClassifierSize, classes_of, guessed, measured

TAKEN = (0.1, 0.2, 0.3)
QUICK_MARGIN = 0.01
"""Of models that were trained for one epoch."""
BATCH = 64
SNIPPETS = "Snippets_GroundTruth.txt"
COMMON = 20
"""Times that a word must come in the test texts to be asked how its score varies."""
WITHIN = 0.05


@dataclass(frozen=True)
class Batch:
    """Texts side by side, and what a model makes of them."""

    ids: Tensor
    mask: Tensor
    labels: Tensor
    attention: Tensor


def batches(model: TextClassifier, texts: Sequence[LabelledText]) -> Iterator[Batch]:
    """All texts, by length."""
    rows = sorted(
        ((model.read(one.text), model.classes.index(one.label)) for one in texts), key=lambda row: len(row[0].ids)
    )
    for at in range(0, len(rows), BATCH):
        some = rows[at : at + BATCH]
        ids = together([row for row, _ in some])
        yield Batch(ids, ids != 0, torch.tensor([label for _, label in some]), model(ids).attention)


@torch.no_grad()
def words(arms: Arms) -> Iterator[Row]:
    """On Reuters-8."""
    test = arms.texts("r8").test
    for name in ("LAMA", "LAMA, learned scale", "one head", "structured"):
        models = [arms.learnt("r8", ARMS[name], seed) for seed in arms.seeds]
        every = [(model, list(batches(model, test))) for model in models]
        yield from _looked(name, [batch for _, found in every for batch in found])
        yield from _even(name, every, arms.settings)
        yield from _taken(name, every, arms.settings)
    penalised = arms.learnt("r8", APART["penalty"], arms.seeds[0])
    usual = arms.learnt("r8", ARMS["LAMA, learned scale"], arms.seeds[0])
    alike = {called: heads_alike(batches(model, test)) for called, model in (("", usual), (", penalty", penalised))}
    for called, (cosine, distance) in alike.items():
        bar = alike[""][0] if called else None
        yield Row.of(f"r8: two heads of LAMA, learned scale{called}", "mean cosine of weights", cosine, at_most=bar)
        yield Row.of(f"r8: heads of LAMA, learned scale{called}", "|A A' - I|, Frobenius", distance)


def _looked(name: str, found: Sequence[Batch]) -> Iterator[Row]:
    entropies, peaks = [], []
    for one in found:
        counts = one.mask.sum(-1)
        long = counts > 1
        a, n = one.attention[long].double(), counts[long].double()[:, None]
        entropies.append((-(a * a.clamp(min=1e-30).log()).sum(-1) / n.log()).flatten())
        peaks.append((a.amax(-1) * n).flatten())
    yield Row.of(f"r8: {name}, weights", "entropy / that of even ones", float(torch.cat(entropies).mean()))
    yield Row.of(f"r8: {name}, greatest weight", "times an even one", float(torch.cat(peaks).mean()))


Seen = Sequence[tuple[TextClassifier, Sequence[Batch]]]
"""The models of an arm, one of each seed, and what each made of the test texts."""


def _even(name: str, every: Seen, settings: BenchSettings) -> Iterator[Row]:
    looked = _share(every, lambda model, one: model(one.ids).logits)
    even = _share(every, evenly)
    bar = least_of(settings, every) if name.startswith("LAMA") else None
    note = f"{looked:.4f} and {even:.4f}; {len(every)} seeds"
    yield Row.of(f"r8: {name}, as it looks - evenly", "accuracy", looked - even, at_least=bar, note=note)


def evenly(model: Any, batch: Batch) -> Tensor:
    """Logits with each head's weights the same for all words."""
    _, x = model.tokens(batch.ids, batch.mask)
    mean = masked_mean(x, batch.mask)[:, None].expand(-1, model.pool.count, -1)
    logits: Tensor = model.decide(mean.flatten(1))
    return logits


def least_of(settings: BenchSettings, every: Seen) -> float:
    """By how much accuracy must fall: by a text at least. Weights that say nothing lose just nothing."""
    return -QUICK_MARGIN if settings.quick else 0.99 / sum(len(one.ids) for _, found in every for one in found)


def _taken(name: str, every: Seen, settings: BenchSettings) -> Iterator[Row]:
    """The fall of accuracy, for each share of words."""
    whole = _share(every, lambda model, one: model(one.ids).logits)
    for share in TAKEN:
        draw = torch.Generator().manual_seed(settings.seed)
        orders: dict[str, Callable[[Batch], Tensor]] = {
            "top": lambda one: one.attention.mean(1),
            "drawn": lambda one, draw=draw: torch.rand(one.ids.shape, generator=draw),  # type: ignore[misc]
        }
        top, drawn = (
            _share(every, lambda model, one, by=by, share=share: model(without(one, by(one), share)).logits)  # type: ignore[misc]
            for by in orders.values()
        )
        note = (
            f"{whole:.4f}; without the words looked at most {top:.4f}, without others {drawn:.4f}; {len(every)} seeds"
        )
        bar = least_of(settings, every) if share == TAKEN[0] and name.startswith("LAMA") else None
        metric = "accuracy that falls more"
        yield Row.of(f"r8: {name}, {share:.0%} of the words taken away", metric, drawn - top, at_least=bar, note=note)


def without(batch: Batch, order: Tensor, share: float) -> Tensor:
    """The ids without the share (at least one, never all) of words that come first by `order` (B, T), descending."""
    ids = torch.zeros_like(batch.ids)
    for row, mask in enumerate(batch.mask):
        count = int(mask.sum())
        gone = min(count - 1, max(1, round(share * count)))
        kept = torch.ones(count, dtype=torch.bool)
        kept[order[row, :count].argsort(descending=True)[:gone]] = False
        ids[row, : count - gone] = batch.ids[row, :count][kept]
    return ids


def _share(every: Seen, logits: Callable[[TextClassifier, Batch], Tensor]) -> float:
    """The share of texts that are told right, over all models."""
    right = []
    for model, found in every:
        model.train(False)
        right += [(logits(model, one).argmax(-1) == one.labels).float() for one in found]
    return float(torch.cat(right).mean())


def heads_alike(found: Iterator[Batch]) -> tuple[float, float]:
    """Mean cosine of two heads' weights, and the Frobenius distance of A A' from I."""
    cosines, distances = [], []
    for one in found:
        a = torch.nn.functional.normalize(one.attention, dim=-1)
        heads = a.shape[1]
        both = (a @ a.transpose(-1, -2)).sum((-1, -2)) - heads
        cosines.append(both / (heads * (heads - 1)))
        distances += [math.sqrt(float(diversity(row[None]))) for row in one.attention]
    return float(torch.cat(cosines).mean()), float(np.mean(distances))


# -- contexts ----------------------------------------------------------------------------------------------------------


@torch.no_grad()
def contexts(arms: Arms) -> Iterator[Row]:
    """On movie reviews."""
    test = arms.texts("mr").test
    for name, arm in (("over a GRU", ARMS["LAMA"]), ("over word vectors, the control", APART["words alone"])):
        model = arms.learnt("mr", arm, arms.seeds[0])
        within, note = varies(model, test)
        bar: dict[str, float] = {"at_least": WITHIN} if arm is ARMS["LAMA"] else {"at_most": 1e-6}
        metric = "share of the variance of scores within a word"
        yield Row.of(f"mr: LAMA {name}", metric, within, note=note, **bar)


def varies(model: Any, texts: Sequence[LabelledText]) -> tuple[float, str]:
    """The share of variance within words, mean of the heads; and the word that varies most, in its two texts."""
    scores: dict[int, list[tuple[np.ndarray, str]]] = defaultdict(list)
    for one in texts:
        row = model.read(one.text)
        ids = together([row])
        vectors, x = model.tokens(ids, ids != 0)
        del vectors
        found = model.pool.attend.scores(x, ids != 0)[0].T.numpy()
        for id_, score in zip(row.ids, found, strict=True):
            scores[id_].append((score, one.text))
    common = {id_: rows for id_, rows in scores.items() if id_ > 1 and len(rows) >= COMMON}
    every = np.concatenate([[score for score, _ in rows] for rows in common.values()])
    inside = np.concatenate([[s for s, _ in rows] - np.mean([s for s, _ in rows], 0) for rows in common.values()])
    share = float(np.mean((inside**2).mean(0) / np.maximum(every.var(0), 1e-12)))
    return share, _example(model, common)


def _example(model: Any, common: dict[int, list[tuple[np.ndarray, str]]]) -> str:
    def spread(rows: list[tuple[np.ndarray, str]]) -> float:
        return float(np.ptp([score[0] for score, _ in rows]))

    id_, rows = max(common.items(), key=lambda one: spread(one[1]))
    ordered = sorted(rows, key=lambda one: float(one[0][0]))
    low, high = ordered[0], ordered[-1]
    word = model.words.words[id_ - 2]
    return f"“{word}”: {low[0][0]:.2f} in “{low[1][:60]}”, {high[0][0]:.2f} in “{high[1][:60]}”"


# -- stars -------------------------------------------------------------------------------------------------------------


def stars(arms: Arms) -> Iterator[Row]:
    """LAMA beside the mean and the middle rating."""
    for name, train, test in _rated(arms):
        yield Row.of(f"{name}, texts to learn from", "size", len(train))
        errors = {"the middle rating": guessed(classes_of(train), train, test)["mean absolute error"]}
        for pooling in ("LAMA", "mean"):
            size = ClassifierSize(pooling=pooling.lower(), max_words=200)
            model = learnt_on(arms.settings, f"{name}-{pooling}", train, size, arms.seeds[0], arms.epochs)
            errors[pooling] = measured(model, test)["mean absolute error"]
        for called, error in errors.items():
            bar = errors["the middle rating"] if called == "LAMA" else None
            yield Row.of(f"{name}: {called}", "mean absolute error, stars", error, at_most=bar)


def _rated(arms: Arms) -> Iterator[tuple[str, list[LabelledText], list[LabelledText]]]:
    """What of ratings lies in the data: tables, snippets that people rated; where none does, graded pairs."""
    folder, seed = arms.settings.data / "ratings", arms.settings.seed
    tables = [next(iter(sorted(folder.glob(f"{part}.*"))), None) for part in ("train", "test")]
    if tables[0] and tables[1]:
        yield "ratings", read_texts(tables[0]), read_texts(tables[1])
    found = sorted(folder.glob(f"*{SNIPPETS}"))
    for path in found:
        rows = _snippets(path)
        order = np.random.default_rng(seed).permutation(len(rows)).tolist()
        cut = len(rows) * 4 // 5
        name = path.name.removesuffix(SNIPPETS)
        yield name, [rows[place] for place in order[:cut]], [rows[place] for place in order[cut:]]
    if found or all(tables):
        return
    where = arms.settings.folder("semrel", ("eng_train.csv", "eng_test.csv"))
    parts = [_graded(next(iter(sorted(where.glob(f"eng_{part}.csv*"))))) for part in ("train", "test")]
    yield "semrel, pairs graded 1 to 5", parts[0], parts[1]


def _snippets(path: Path) -> list[LabelledText]:
    """Lines of id, mean rating of twenty people from -4 to 4, text (Hutto and Gilbert, ICWSM 2014), as 1 to 5 stars."""
    rows = (line.split("\t", 2) for line in path.read_text(encoding="utf-8", errors="replace").splitlines())
    return [
        LabelledText(text, str(min(5, max(1, round(3 + float(rating) / 2)))))
        for _, rating, text in rows
        if any(map(str.isalnum, text))
    ]


def _graded(path: Path) -> list[LabelledText]:
    """Pairs of sentences as one text; their relatedness, 0 to 1, in five steps."""
    return [
        LabelledText(f"{row['sentence1']}\n\n{row['sentence2']}", str(min(5, 1 + int(5 * float(row["score"])))))
        for _, row in csv_rows(path, ("sentence1", "sentence2", "score"))
    ]
