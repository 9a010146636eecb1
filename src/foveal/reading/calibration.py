"""Which heads of a model find things: hide facts in a text, ask for them, and see which heads look there.

The facts of all probes (`attention.probes`) are hidden in windows of the host text, a few in each, and all heads of all
layers that see the whole text are watched while every window is asked every probe's question, and the empty one. So
each head scores the sentences of all windows for each question as a reader does (see looking.py), and a probe's rank
is that of its facts, the last of them counting, among all of these sentences.

Heads     the `HEADS` with the best ranks, by the mean of their logarithms, among the layers up to a depth
Depth     for each, the heads are chosen on one half of the probes and judged together on the other, both ways; the
          shallowest depth that is as good as the best (within `SLACK`) is taken, since no layer above it need be run

Source    facts as gold and the empty question: QRHead (arXiv 2506.09944), ICR (arXiv 2410.02642); ranks and depth: ours
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from foveal.attention import Recorder, SharedPrefix, watch
from foveal.attention.probes import PROBES, Probe
from foveal.attention.profiles import Profile, architecture_of, whole_layers
from foveal.errors import InputError
from foveal.reading.looking import by_sentence
from foveal.reading.prompts import NO_QUESTION, prompt_of
from foveal.reading.sentences import Sentence
from foveal.reading.tokens import PlainTokens

if TYPE_CHECKING:
    from foveal.models.language import LanguageModel

HEADS = 12
WINDOW = 700  # tokens of a window of the host
TOGETHER = 2  # probes whose facts are hidden in one window
SLACK = 0.05  # of the mean logarithm of the rank
_SENTENCE = re.compile(r"(?<=[.!?])\s+")

Scores = Tensor  # (layers, heads, sentences of all windows): what each head alone gives them, see looking.py


@dataclass(frozen=True)
class Seen:
    """What the heads gave the sentences of all windows for one probe's question, and which of them are its facts."""

    scores: Scores
    facts: tuple[int, ...]


@dataclass(frozen=True)
class Hidden:
    """A window of the host, and where in it the facts of some probes stand: (probe, sentence)."""

    window: list[Sentence]
    places: tuple[tuple[int, int], ...]


def calibrate(
    model: LanguageModel,
    *,
    host: str | None = None,
    seed: int = 0,
    on_progress: Callable[[int, int], None] | None = None,
) -> Profile:
    """The profile of `model`, measured on the probes hidden in `host` (default: Python's manual).

    `on_progress(done, total)` counts windows. InputError: a host of fewer than 400 sentences.
    """
    sentences = [one for one in _SENTENCE.split(host or _manual()) if 20 < len(one) < 400]
    if len(sentences) < 400:
        raise InputError(f"The host text has {len(sentences)} sentences of usual length; calibration needs 400.")
    tokens = PlainTokens(model)
    windows = hidden(PROBES, sentences, tokens, random.Random(seed))
    layers = whole_layers(model.model.config)
    scores = []
    for number, one in enumerate(windows, start=1):
        scores.append(_scores(model, tokens, one.window, layers))
        if on_progress:
            on_progress(number, len(windows))
    return chosen(model, _by_probe(windows, scores), layers)


def chosen(model: LanguageModel, seen: Sequence[Seen], layers: Sequence[int]) -> Profile:
    """The shallowest set of heads that finds facts about as well as any."""
    halves = (seen[::2], seen[1::2])
    quality = {
        depth: sum(log_rank(judged, best_heads(chosen_on, depth)) for chosen_on, judged in (halves, halves[::-1])) / 2
        for depth in range(1, len(layers) + 1)
    }
    depth = next(depth for depth in quality if quality[depth] <= min(quality.values()) + SLACK)
    last = [(len(layers) - 1, head) for head in range(seen[0].scores.shape[1])]
    return Profile(
        model=model.name,
        fingerprint=model.fingerprint,
        architecture=architecture_of(model.model.config),
        heads=tuple((layers[row], head) for row, head in best_heads(seen, depth)),
        measured={
            "rank": round(math.exp(quality[depth]), 3),
            "rank_best_depth": round(math.exp(min(quality.values())), 3),
            "rank_last_layer": round(math.exp(log_rank(seen, last)), 3),
            "probes": len(seen),
            "sentences": seen[0].scores.shape[2],
        },
    )


def best_heads(seen: Sequence[Seen], depth: int) -> list[tuple[int, int]]:
    """The heads of the first `depth` rows of layers that rank the facts best, as (row, head)."""
    mean = torch.stack([ranks(one.scores[:depth], one.facts).log() for one in seen]).mean(0)
    order = mean.flatten().argsort(stable=True)[:HEADS].tolist()
    return [(place // mean.shape[1], place % mean.shape[1]) for place in order]


def log_rank(seen: Sequence[Seen], heads: Sequence[tuple[int, int]]) -> float:
    """The mean logarithm of the facts' rank by the mean of `heads`: 0 where they always come first."""
    rows, columns = [row for row, _ in heads], [head for _, head in heads]
    found = [math.log(float(ranks(one.scores[rows, columns].mean(0), one.facts))) for one in seen]
    return sum(found) / len(found)


def ranks(scores: Tensor, facts: Sequence[int]) -> Tensor:
    """(…, sentences) -> (…): the rank of the worst fact, not counting the other facts; 1 is the best."""
    worst = scores[..., list(facts)].min(-1, keepdim=True).values
    return (scores >= worst).sum(-1).float() - len(facts) + 1


def hidden(probes: Sequence[Probe], host: Sequence[str], tokens: PlainTokens, generator: random.Random) -> list[Hidden]:
    """Windows of the host with `TOGETHER` probes' facts in each, in any order and place."""
    order = generator.sample(range(len(probes)), len(probes))
    return [
        _window([(probe, probes[probe]) for probe in order[start : start + TOGETHER]], host, tokens, generator)
        for start in range(0, len(order), TOGETHER)
    ]


def _window(
    probes: Sequence[tuple[int, Probe]], host: Sequence[str], tokens: PlainTokens, generator: random.Random
) -> Hidden:
    facts = [(number, fact) for number, probe in probes for fact in probe.facts]
    generator.shuffle(facts)
    left = WINDOW - sum(len(tokens.encode(fact)) + 1 for _, fact in facts)
    texts: list[str] = []
    for sentence in host[generator.randrange(len(host) - 100) :]:
        texts.append(sentence)
        left -= len(tokens.encode(sentence)) + 1
        if left <= 0:
            break
    places = sorted(generator.sample(range(len(texts) + 1), len(facts)))
    places = [place + number for number, place in enumerate(places)]
    for place, (_, fact) in zip(places, facts, strict=True):
        texts.insert(place, fact)
    ids = tokens.encode_many([text + " " for text in texts])
    window = [Sentence(0, 0, text, tuple(own)) for text, own in zip(texts, ids, strict=True)]
    return Hidden(window, tuple((number, place) for place, (number, _) in zip(places, facts, strict=True)))


def _scores(model: LanguageModel, tokens: PlainTokens, window: list[Sentence], layers: Sequence[int]) -> Tensor:
    """What every head gives the sentences of `window`: (layers, heads, probes, sentences)."""
    prompt = prompt_of(model, tokens)
    tails = [prompt.tail(question) for question in (*(probe.question for probe in PROBES), NO_QUESTION)]
    sizes = [len(tail) for tail in tails]
    text = [*prompt.head, *(token for sentence in window for token in sentence.ids)]
    layout = SharedPrefix(torch.tensor([len(text)], device=model.device), len(text), sizes)
    rows = torch.cat([layout.rows(number) for number in range(len(tails))], dim=1)

    def scores(_: int, weights: Tensor) -> Tensor:  # (1, heads, R, K) -> (heads, probes, sentences)
        parts = torch.split(weights[0, :, :, len(prompt.head) : len(text)], sizes, dim=1)
        paid = torch.stack([part.mean(1) for part in parts], dim=1)
        return by_sentence((paid[:, :-1] - paid[:, -1:]).cpu(), window)

    recorder = Recorder(rows, dict.fromkeys(layers), stop=True, reduce=scores)
    ids = torch.tensor([text + [token for tail in tails for token in tail]], device=model.device)
    watch(model.model, ids, recorder, method=layout, positions=layout.positions)
    return torch.stack([recorder.attention[layer] for layer in layers])


def _by_probe(windows: Sequence[Hidden], scores: Sequence[Tensor]) -> list[Seen]:
    """The scores of all windows' sentences for each probe, and the places of its facts among them."""
    starts = [0, *accumulate(len(one.window) for one in windows)]
    facts: dict[int, list[int]] = {}
    for start, one in zip(starts, windows, strict=False):
        for probe, place in one.places:
            facts.setdefault(probe, []).append(start + place)
    every = torch.cat(list(scores), dim=-1)
    return [Seen(every[:, :, probe], tuple(places)) for probe, places in sorted(facts.items())]


def _manual() -> str:
    from pydoc_data.topics import topics

    return "\n\n".join(topics.values())
