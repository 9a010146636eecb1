"""Fits the weights of the verifier that are shipped (research/shipped/verification.json), and prints what they do.

    python docs/dev/verification.py --data FOLDER --threads 1 [--model qwen2.5-coder-0.5b]

FOLDER holds r1searcher/2wiki and scifact. Learnt from: sentences of 2Wiki's passages, retold, with a number or name
exchanged, a "not", or the wrong passage; claims made of its two-hop questions; SciFact's training claims, supported and
contradicted. A fifth of the sources is held out and only measured; `foveal bench report-citations` measures other sets.
With --model a part of the pairs is read by a local model, and two numbers are fitted: what the score without it counts,
and what its log-odds count. Five minutes on one core; ten more with a model of half a billion parameters.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from rich.console import Console

from foveal.bench.report_citations_data import (
    CONTRADICTED,
    Pair,
    corpus_texts,
    passage_pairs,
    recorded_pairs,
    scifact_pairs,
)
from foveal.evaluation.classification import auroc
from foveal.evaluation.files import whole_file
from foveal.models import load_encoder, load_language_model
from foveal.models.local_chat import LocalChat
from foveal.research.verification import MODEL, Looked, Verifier, Weights, log_odds
from foveal.research.verification_signals import NAMES
from foveal.training.event_annotation import Isotonic
from foveal.training.same_topic_fitting import fit_linear

SHIPPED = Path(__file__).parents[2] / "src/foveal/research/shipped/verification.json"
CREDIT = (
    "Fitted on passages and recorded questions of 2WikiMultihopQA as in RUCAIBox/R1-Searcher (MIT; passages: CC BY-SA, "
    "Wikipedia) and on SciFact's training claims (CC BY 4.0; abstracts: ODC-By 1.0). No text is contained."
)
RIDGE = 1e-3
SURE = 0.9
"""Probability of being true from which on a claim counts as sure: what the tree planner stops at."""
COUNTS = {"2wiki": 1.0, "questions": 1.0, "scifact": 0.5}
"""How much each set counts; within it, true and false claims count alike."""

console = Console(highlight=False, soft_wrap=True)


def main() -> None:
    """Read the command line, fit, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with r1searcher/2wiki and scifact")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--passages", type=int, default=300)
    parser.add_argument("--questions", type=int, default=130)
    parser.add_argument("--claims", type=int, default=300)
    parser.add_argument("--model", default=None, help="a local model that reads --read pairs")
    parser.add_argument("--read", type=int, default=160)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    sets = pairs_of(given)
    encoder = load_encoder("minilm")
    blank = Weights(dict.fromkeys(NAMES, 0.0), 0.0, 0.5, 0.25)
    looked = {name: looked_at(Verifier(encoder, weights=blank), pairs) for name, pairs in sets.items()}
    held = np.array([one.group for pairs in sets.values() for one in pairs])
    held = np.isin(held, _fifth(held, given.seed))
    found = fitted(sets, looked, ~held)
    told(sets, looked, found, held)
    made = {"plain": asdict(found)}
    if given.model:
        made[MODEL] = asdict(with_model(sets, looked, found, given))
    else:
        made[MODEL] = json.loads(SHIPPED.read_text())["weights"][MODEL] if SHIPPED.is_file() else made["plain"]
    with whole_file(SHIPPED) as partial:
        partial.write_text(json.dumps({"credit": CREDIT, "weights": made}, indent=1) + "\n")
    console.print(f"written: {SHIPPED.name}")


def pairs_of(given: argparse.Namespace) -> dict[str, list[Pair]]:
    """The sets that are learnt from."""
    two = given.data / "r1searcher/2wiki"
    return {
        "2wiki": passage_pairs(corpus_texts(two), seed=given.seed, most=given.passages),
        "questions": recorded_pairs(two, seed=given.seed, most=given.questions),
        "scifact": scifact_pairs(given.data / "scifact", "train")[: given.claims],
    }


def looked_at(verifier: Verifier, pairs: Sequence[Pair]) -> list[Looked]:
    """The signals of each pair."""
    return verifier.looked_at([(one.claim, one.passages) for one in pairs])


def _fifth(groups: np.ndarray, seed: int) -> np.ndarray:
    names = np.unique(groups)
    return np.random.default_rng(seed).permutation(names)[: len(names) // 5]


def table_of(looked: Sequence[Looked]) -> np.ndarray:
    """Signals (N, len(NAMES))."""
    return np.array([[one.signals[name] for name in NAMES] for one in looked], dtype=np.float32)


def fitted(sets: dict[str, list[Pair]], looked: dict[str, list[Looked]], learnt: np.ndarray) -> Weights:
    """Weights by logistic regression, and the bounds of the labels."""
    features = np.concatenate([table_of(one) for one in looked.values()])
    true = np.concatenate([[one.true for one in pairs] for pairs in sets.values()])
    counts = np.concatenate(
        [_counts(np.array([one.true for one in pairs])) * COUNTS[name] for name, pairs in sets.items()]
    )
    weights, bias = fit_linear(features[learnt], true[learnt], ridge=RIDGE, weight=(counts / counts.mean())[learnt])
    return bounded(
        Weights(dict(zip(NAMES, map(_short, weights), strict=True)), _short(bias), 0.5, 0.25),
        sets,
        looked,
        learnt,
    )


def bounded(
    weights: Weights, sets: dict[str, list[Pair]], looked: dict[str, list[Looked]], learnt: np.ndarray
) -> Weights:
    """`supported`: where as many true claims fall below as false ones stay above (names of the passage and SciFact's
    aside); `partly`: where two in a hundred true ones fall below, at most half of it; `sure`: see `_sure`."""
    pairs = [one for some in sets.values() for one in some]
    score = np.array([weights.score(one.signals) for some in looked.values() for one in some])
    clean = np.array([not one.missing for some in looked.values() for one in some])
    kinds = np.array([one.kind for one in pairs])
    true = np.array([one.true for one in pairs])
    counted = learnt & ~np.char.startswith(kinds, "name exchanged for") & (kinds != CONTRADICTED)
    sides = counted & true, counted & ~true

    def worst(bound: float) -> float:
        passed = (score >= bound) & clean
        return max(1 - passed[sides[0]].mean(), passed[sides[1]].mean())

    supported = min(np.linspace(0.05, 0.95, 181), key=worst)
    partly = min(float(np.quantile(score[sides[0]], 0.02)), supported / 2)
    sure = _sure(score[counted], true[counted], clean[counted])
    return Weights(weights.weights, weights.bias, _short(supported), _short(partly), _short(sure))


def _sure(score: np.ndarray, true: np.ndarray, clean: np.ndarray) -> float:
    """The score from which on nine of ten claims that lack nothing are true, by isotonic regression.

    It is fitted on the pairs as they are, of which more are false; the bound is moved to as many of both.
    """
    ratio = true.sum() / (~true).sum()
    bound = SURE * ratio / (SURE * ratio + 1 - SURE)
    likely = Isotonic.fit(score[clean], true[clean])
    return float(likely.scores[np.flatnonzero(likely.values >= bound)[0]])


def with_model(
    sets: dict[str, list[Pair]], looked: dict[str, list[Looked]], plain: Weights, given: argparse.Namespace
) -> Weights:
    """The weights with a model's log-odds: logit of the plain score and log-odds, each by one number."""
    model = LocalChat(load_language_model(given.model))
    every = [(pair, one) for name, pairs in sets.items() if name != "scifact"
             for pair, one in zip(pairs, looked[name], strict=True) if one.best]  # fmt: skip
    order = np.random.default_rng(given.seed).permutation(len(every))
    even = [every[at] for at in order if every[at][0].true][: given.read // 2]
    even += [every[at] for at in order if not every[at][0].true][: given.read - len(even)]
    odds = np.array([log_odds(model, one) for _, one in even], dtype=np.float32)
    logits = np.array([_logit(plain.score(one.signals)) for _, one in even], dtype=np.float32)
    true = np.array([pair.true for pair, _ in even])
    (by_plain, by_model), bias = fit_linear(np.stack([logits, odds], 1), true, ridge=RIDGE)
    console.print(
        f"model alone: AUROC {auroc(odds.tolist(), true.tolist()):.3f}; {by_plain:.3f} · plain + {by_model:.3f} · odds"
    )
    weights = {name: _short(by_plain * one) for name, one in plain.weights.items()} | {MODEL: _short(by_model)}
    mean = float(np.mean(odds))  # the bounds keep their places at the model's mean answer
    bounds = (plain.supported, plain.partly, plain.sure)
    moved = [_short(1 / (1 + np.exp(-(by_plain * _logit(one) + by_model * mean + bias)))) for one in bounds]
    return Weights(weights, _short(by_plain * plain.bias + bias), *moved)


def told(sets: dict[str, list[Pair]], looked: dict[str, list[Looked]], weights: Weights, held: np.ndarray) -> None:
    """Print the weights, and AUROC on what was held out."""
    console.print(
        {name: round(one, 2) for name, one in weights.weights.items()}, weights.bias, weights.supported, weights.partly,
        weights.sure,
    )  # fmt: skip
    for true, share in _reach(sets, looked, weights, held).items():
        console.print(f"held out: {share:.1%} of the {'true' if true else 'false'} claims lack nothing and are sure")
    begin = 0
    for name, pairs in sets.items():
        mine = np.flatnonzero(held[begin : begin + len(pairs)])
        begin += len(pairs)
        scores = [weights.score(looked[name][at].signals) for at in mine]
        for kind in dict.fromkeys(one.kind for one in pairs if not one.true):
            chosen = [at for at, place in enumerate(mine) if pairs[place].true or pairs[place].kind == kind]
            right = [pairs[mine[at]].true for at in chosen]
            if any(right) and not all(right):
                value = auroc([scores[at] for at in chosen], right)
                console.print(f"held out, {name}: {kind}: AUROC {value:.3f} ({len(chosen)} claims)")


def _reach(
    sets: dict[str, list[Pair]], looked: dict[str, list[Looked]], weights: Weights, held: np.ndarray
) -> dict[bool, float]:
    """The share of held-out claims, true and false ones, that reach `sure`; of those kinds that it was read off."""
    both = [(pair, one) for name, pairs in sets.items() for pair, one in zip(pairs, looked[name], strict=True)]
    mine = [both[at] for at in np.flatnonzero(held)]
    mine = [one for one in mine if not one[0].kind.startswith("name exchanged for") and one[0].kind != CONTRADICTED]
    sure = {side: [not one.missing and weights.score(one.signals) >= weights.sure
                   for pair, one in mine if pair.true == side] for side in (True, False)}  # fmt: skip
    return {side: float(np.mean(some)) for side, some in sure.items()}


def _counts(true: np.ndarray) -> np.ndarray:
    return np.where(true, 0.5 / max(1, true.sum()), 0.5 / max(1, (~true).sum()))


def _logit(score: float) -> float:
    return float(np.log(max(score, 1e-9) / max(1 - score, 1e-9)))


def _short(value: float) -> float:
    return round(float(value), 4)


if __name__ == "__main__":
    main()
