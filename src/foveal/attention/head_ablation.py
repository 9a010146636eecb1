"""What a model loses without some heads: codes hidden in a text are asked for with heads masked, and with others.

    for one in ablate(model, head_scores(model)):
        print(one.name, one.right)

Each code is five digits drawn for it, so that nothing but the text can give it. The answer's beginning is given, and it
is right if the model's likeliest token is the right one at each digit: what greedy decoding would say.

The control masks as many heads that are no retrieval heads, drawn anew for each of `draws`.

Source    Wu et al., ICLR 2025 (arXiv 2404.15574), section 4; `head_masking.py` has the modes and phases
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean

import torch

from foveal.attention.head_detection import prompt_parts, rewound
from foveal.attention.head_masking import MaskHeads
from foveal.attention.memory_decoding import MethodDecoder
from foveal.attention.retrieval_heads import Head, HeadScores, random_heads
from foveal.errors import InputError
from foveal.evaluation.haystack import haystack, manual, plant_all
from foveal.evaluation.needles import FAMILY_NAMES, GIVEN_NAMES, Needle
from foveal.models.language import LanguageModel

QUESTION = "Question: {question}\nAnswer:"
TOGETHER = 3
"""Codes that are hidden in one text."""


@dataclass(frozen=True, kw_only=True)
class AblationSettings:
    """What is masked, and on how many questions."""

    counts: tuple[int, ...] = (5, 10, 20)  # heads
    needles: int = 12
    length: int = 1024  # tokens of a text
    draws: int = 3  # of other heads
    mode: str = "zero"  # see head_masking.py
    phase: str = "all"
    seed: int = 0

    def __post_init__(self) -> None:
        """InputError: a value out of its range."""
        if not self.counts or min(*self.counts, self.needles, self.draws) < 1 or self.length < 128:
            raise InputError("An ablation needs at least one head, needle and draw, and a text of 128 tokens.")
        MaskHeads((), mode=self.mode, phase=self.phase)  # says what is wrong with these


@dataclass(frozen=True)
class Ablated:
    """What was masked, the share of codes that were still given, and the nats a token of the right ones."""

    name: str
    heads: int
    right: float
    nats: float


@dataclass(frozen=True)
class _Asked:
    """A text, and for each code in it the tokens that ask for it and its own."""

    text: list[int]
    codes: list[tuple[list[int], list[int]]]


def ablate(
    model: LanguageModel,
    scores: HeadScores,
    settings: AblationSettings | None = None,
    *,
    texts: Sequence[str] | None = None,
    on_step: Callable[[int, int], None] | None = None,
) -> list[Ablated]:
    """Nothing masked, then for each count the strongest heads and draws of others.

    `on_step(done, total)` counts questions. InputError: the scores are another model's, there are too few heads, or a
    text with its question does not fit the model.
    """
    settings = settings or AblationSettings()
    scores.check(model.model.config)
    masks = list(_masks(scores, settings))
    asked = list(_questions(model, settings, texts))
    longest = max(len(one.text) + len(ask) + len(code) for one in asked for ask, code in one.codes)
    if longest > model.context_tokens:
        raise InputError(
            f"Text, question and code take {longest} tokens, and {model.name} has {model.context_tokens} positions. "
            "Ask over shorter texts."
        )
    found, done = [], 0
    for name, heads in masks:
        method = MaskHeads(heads, mode=settings.mode, phase=settings.phase) if heads else None
        decoder = MethodDecoder(model.model, method)
        told: list[tuple[bool, float]] = []
        for one in asked:
            told += _given(decoder, one)
            done += len(one.codes)
            if on_step:
                on_step(done, len(masks) * settings.needles)
        right, nats = zip(*told, strict=True)
        found.append(Ablated(name, len(heads), fmean(right), fmean(nats)))
    return found


def _masks(scores: HeadScores, settings: AblationSettings) -> Iterator[tuple[str, list[Head]]]:
    yield "none", []
    for count in settings.counts:
        strongest = scores.top(count)
        yield f"{count} strongest", strongest
        for draw in range(settings.draws):
            yield (
                f"{count} others, draw {draw + 1}",
                random_heads(scores, count, settings.seed + draw, beside=strongest),
            )


def _questions(model: LanguageModel, settings: AblationSettings, texts: Sequence[str] | None) -> Iterator[_Asked]:
    draw = random.Random(f"codes {settings.seed}")
    needles = _needles(settings.needles, draw)
    hosts = list(texts or manual())
    for start in range(0, len(needles), TOGETHER):
        own = needles[start : start + TOGETHER]
        turned = [*hosts[start % len(hosts) :], *hosts[: start % len(hosts)]]
        hay = haystack(turned, settings.length, lambda text: len(model.encode(text)))
        depths = [100 * (place + draw.random()) / len(own) for place in range(len(own))]
        planted = plant_all(hay, [needle for needle, _ in own], depths)
        head, ask = prompt_parts(model, planted[0].text, QUESTION)
        codes = [
            ([*ask(needle.question), *model.encode(prefix)], model.encode(f" {needle.answer}"))
            for needle, prefix in own
        ]
        yield _Asked(model.encode(head), codes)


def _needles(count: int, draw: random.Random) -> list[tuple[Needle, str]]:
    """So many codes; nobody has two in one text, of which either would be right."""
    made: list[tuple[Needle, str]] = []
    while len(made) < count:
        told = {needle.question for needle, _ in made[len(made) // TOGETHER * TOGETHER :]}
        one = _needle(draw)
        if one[0].question not in told:
            made.append(one)
    return made


def _needle(draw: random.Random) -> tuple[Needle, str]:
    name = f"{draw.choice(GIVEN_NAMES)} {draw.choice(FAMILY_NAMES)}"
    code = str(draw.randint(10_000, 99_999))
    told = f"The code of {name} is"
    return Needle("literal", (f"{told} {code}.",), f"What is the code of {name}?", code), f" {told}"


def _given(decoder: MethodDecoder, one: _Asked) -> Iterator[tuple[bool, float]]:
    """For each code whether it comes, token by token, and the nats a token of it; the text is read once."""
    state = decoder.read(one.text)
    for ask, code in one.codes:
        state = rewound(decoder, state, one.text)
        decoder.step(state, [ask])
        told = [state.logits[0]]
        for token in code[:-1]:
            decoder.step(state, [[token]])
            told.append(state.logits[0])
        rows, wanted = torch.stack(told).float().log_softmax(-1).cpu(), torch.tensor(code)
        nats = -rows.gather(1, wanted[:, None]).mean()
        yield bool((rows.argmax(-1) == wanted).all()), float(nats)
