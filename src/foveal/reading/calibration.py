"""Which heads of a model find things: hide facts in a text, ask for them, and see which heads look there.

For every probe (`attention.probes`) its facts are put into a window of the host text at random places, and all heads
of all layers that see the whole text are watched while the question, and the empty question, are read. A head's worth
is the share of attention that it pays to the facts because of the question (its gold mass less that under "N/A").

Heads     of each depth the `HEADS` worthiest are tried together, chosen on one half of the probes and judged on the
          other, both ways; the shallowest depth that is as good as the best (within `SLACK`) is taken, since all
          layers above it need not be run
Judged    by 1 / rank of the worst of a probe's facts among the sentences of the window, on average

Source    gold mass and the empty question: QRHead (arXiv 2506.09944), ICR (arXiv 2410.02642); depth: ours
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from foveal.attention import Recorder, SharedPrefix, attach, watching
from foveal.attention.probes import PROBES, Probe
from foveal.attention.profiles import Profile, architecture_of
from foveal.errors import InputError
from foveal.reading.prompts import NO_QUESTION, prompt_of
from foveal.reading.sentences import Sentence
from foveal.reading.tokens import PlainTokens

if TYPE_CHECKING:
    from foveal.models.language import LanguageModel

HEADS = 12
WINDOW = 700  # tokens of a probe's window
ROUNDS = 2  # windows of each probe
SLACK = 0.02
_SENTENCE = re.compile(r"(?<=[.!?])\s+")

Masses = Tensor  # (layers, heads, sentences): attention to each sentence because of the question


@dataclass(frozen=True)
class Seen:
    """What the heads paid to a probe's window, and which sentences were its facts."""

    masses: Masses
    facts: tuple[int, ...]


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
    layers = whole_layers(model.model.config)
    tokens = PlainTokens(model)
    generator = random.Random(seed)
    probes = [probe for _ in range(ROUNDS) for probe in PROBES]
    seen = []
    for number, probe in enumerate(probes, start=1):
        seen.append(_probed(model, tokens, probe, sentences, layers, generator))
        if on_progress:
            on_progress(number, len(probes))
    return chosen(model, seen, layers)


def whole_layers(config: object) -> list[int]:
    """The layers that see the whole text, not a sliding window of it."""
    count: int = config.num_hidden_layers  # type: ignore[attr-defined]
    kinds = getattr(config, "layer_types", None) or ["full_attention"] * count
    return [layer for layer, kind in enumerate(kinds) if kind == "full_attention"]


def chosen(model: LanguageModel, seen: Sequence[Seen], layers: Sequence[int]) -> Profile:
    """The shallowest set of heads that finds facts about as well as any."""
    halves = (seen[::2], seen[1::2])
    quality = {
        depth: sum(found(judged, worthiest(chosen_on, depth)) for chosen_on, judged in (halves, halves[::-1])) / 2
        for depth in range(1, len(layers) + 1)
    }
    depth = next(depth for depth in quality if quality[depth] >= max(quality.values()) - SLACK)
    heads = worthiest(seen, depth)
    last = [(len(layers) - 1, head) for head in range(seen[0].masses.shape[1])]
    return Profile(
        model=model.name,
        fingerprint=model.fingerprint,
        architecture=architecture_of(model.model.config),
        heads=tuple((layers[row], head) for row, head in heads),
        measured={
            "reciprocal_rank": round(quality[depth], 4),
            "reciprocal_rank_any_depth": round(max(quality.values()), 4),
            "reciprocal_rank_last_layer": round(found(seen, last), 4),
            "probes": len(seen),
        },
    )


def worthiest(seen: Sequence[Seen], depth: int) -> list[tuple[int, int]]:
    """The heads of the first `depth` rows of layers that pay most to the facts, as (row, head)."""
    worth = torch.stack([one.masses[:depth, :, list(one.facts)].mean(-1) for one in seen]).mean(0)
    order = worth.flatten().argsort(descending=True)[:HEADS].tolist()
    return [(place // worth.shape[1], place % worth.shape[1]) for place in order]


def found(seen: Sequence[Seen], heads: Sequence[tuple[int, int]]) -> float:
    """The mean over probes of 1 / rank of the worst fact, 1 where no other sentence comes before the facts."""
    ranks = []
    for one in seen:
        scores = sum(one.masses[row, head] for row, head in heads)
        order = torch.as_tensor(scores).argsort(descending=True).tolist()
        ranks.append(max(order.index(fact) for fact in one.facts) - len(one.facts) + 2)
    return sum(1 / rank for rank in ranks) / len(ranks)


def _probed(
    model: LanguageModel,
    tokens: PlainTokens,
    probe: Probe,
    host: Sequence[str],
    layers: Sequence[int],
    generator: random.Random,
) -> Seen:
    window, facts = hidden(probe, host, tokens, generator)
    prompt = prompt_of(model, tokens)
    tails = [prompt.tail(probe.question), prompt.tail(NO_QUESTION)]
    text = [*prompt.head, *(token for sentence in window for token in sentence.ids)]
    layout = SharedPrefix(torch.tensor([len(text)], device=model.device), len(text), [len(tail) for tail in tails])
    rows = torch.cat([layout.rows(0), layout.rows(1)], dim=1)
    owner = torch.arange(len(window)).repeat_interleave(torch.tensor([len(one) for one in window]))

    def masses(_: int, weights: Tensor) -> Tensor:  # (1, heads, R, K) -> (heads, sentences)
        paid = weights[0, :, :, len(prompt.head) : len(text)]
        because = paid[:, : len(tails[0])].mean(1) - paid[:, len(tails[0]) :].mean(1)
        return torch.zeros(len(paid), len(window)).index_add_(1, owner, because.cpu())

    recorder = Recorder(rows, dict.fromkeys(layers), stop=True, reduce=masses)
    ids = torch.tensor([text + tails[0] + tails[1]], device=model.device)
    with attach(model.model, layout, recorder=recorder) as attached:
        watching(lambda: attached.base(input_ids=ids, position_ids=layout.positions, use_cache=False))
    return Seen(torch.stack([recorder.attention[layer] for layer in layers]), facts)


def hidden(
    probe: Probe, host: Sequence[str], tokens: PlainTokens, generator: random.Random
) -> tuple[list[Sentence], tuple[int, ...]]:
    """A window of the host with the probe's facts in it, in either order, and which sentences they are."""
    start = generator.randrange(len(host) - 100)
    texts: list[str] = []
    size = 0
    for sentence in host[start:]:
        texts.append(sentence)
        size += len(tokens.encode(sentence)) + 1
        if size >= WINDOW:
            break
    facts = list(probe.facts)
    if generator.random() < 0.5:
        facts.reverse()
    places = sorted(generator.sample(range(1, len(texts)), len(facts)))
    for number, (place, fact) in enumerate(zip(places, facts, strict=True)):
        texts.insert(place + number, fact)
    ids = tokens.encode_many([text + " " for text in texts])
    window = [Sentence(0, 0, text, tuple(own)) for text, own in zip(texts, ids, strict=True)]
    return window, tuple(place + number for number, place in enumerate(places))


def _manual() -> str:
    from pydoc_data.topics import topics

    return "\n\n".join(topics.values())
