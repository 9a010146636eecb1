"""How many examples a model answers right, as it is or under a method: labels, lettered options, answers in words.

    plain = scored(model, examples)
    ours = scored(model, examples, ACT({9: [8]}))
    compared(ours, plain, seed=0).accuracy            # mean difference, its bootstrap interval, p of a randomisation

rule       whole: the label string with the highest log-probability a token (labels of any length)
           compat: the label whose last token has the highest logit behind the prompt (the paper's)
           greedy: the likeliest token of all must be the label's first (the paper's, for lettered options)
answers    greedy decoding to the end of the line, scored by a metric of evaluation/answers.py

Prompts of one length go through the model together. Nats are those of the right label among the labels.

Source    the protocol of Yu et al., ICML 2024 (arXiv 2406.15765), read in its code; `whole` is ours
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
import torch
from torch import Tensor

from foveal.attention.attach import AttentionMethod, attach
from foveal.attention.memory_decoding import MethodDecoder
from foveal.attention.prefill import prefill
from foveal.attention.retrieval_heads import Head
from foveal.errors import InputError, UnknownName
from foveal.evaluation.answers import score
from foveal.evaluation.labelled import Labelled
from foveal.evaluation.likelihood import Paired, paired
from foveal.evaluation.metrics import randomisation_p_value
from foveal.models.chat import Sampling
from foveal.models.decoding import State, tokens
from foveal.models.key_values import KeyValues, rewind
from foveal.models.language import LanguageModel
from foveal.models.lean import supports
from foveal.training.examples import in_parts

SCORINGS = ("whole", "compat", "greedy")
AT_ONCE = 1024
"""Tokens of prompts that go through the model together."""


@dataclass(frozen=True, slots=True)
class Scored:
    """One example: how right (0 or 1; an answer in words: 0 to 1), and the nats of the right label."""

    right: float
    nats: float


@dataclass(frozen=True, slots=True)
class Compared:
    """Differences over the same examples, ours less the other's; `p` is two-sided, of the accuracy."""

    accuracy: Paired
    nats: Paired  # less is better
    p: float


def scored(
    model: LanguageModel,
    examples: Sequence[Labelled],
    method: AttentionMethod | None = None,
    *,
    scoring: str = "whole",
    on_step: Callable[[int, int], None] | None = None,
) -> list[Scored]:
    """Each example's label by the model under `method`. InputError: unlabelled ones. UnknownName: no such scoring."""
    check_labelled(examples, scoring)
    found: dict[int, Scored] = {}
    for places in _together(model, examples):
        own = [examples[place] for place in places]
        logits = _label_scores(model, own, method, scoring)
        for place, one, row in zip(places, own, logits, strict=True):
            found[place] = judged(row, one.gold or 0)
        if on_step:
            on_step(len(found), len(examples))
    return [found[place] for place in range(len(examples))]


def check_labelled(examples: Sequence[Labelled], scoring: str) -> None:
    """InputError: none, or one without a label. UnknownName: no such scoring."""
    if scoring not in SCORINGS:
        raise UnknownName(f"No scoring is called {scoring!r}. There are: {', '.join(SCORINGS)}.")
    if not examples:
        raise InputError("No example came; give at least one.")
    without = next((place for place, one in enumerate(examples, 1) if one.gold is None), None)
    if without is not None:
        raise InputError(
            f"Example {without} of {len(examples)} has no label ({examples[without - 1].prompt[:60]!r}). Only labelled "
            'examples can tell which answer is right: give "choices" and "gold".'
        )


def judged(scores: Tensor, gold: int) -> Scored:
    """From the scores (L,) of the labels, and behind them, for `greedy`, one that any of them must exceed."""
    nats = -float(scores.log_softmax(-1)[gold])
    return Scored(float(int(scores.argmax()) == gold), nats)


def answered(
    model: LanguageModel,
    examples: Sequence[Labelled],
    method: AttentionMethod | None = None,
    *,
    metric: str = "f1",
    max_tokens: int = 24,
    on_step: Callable[[int, int], None] | None = None,
) -> list[Scored]:
    """Each example's answer in words: greedy decoding to the end of the line. Nats are not told (0)."""
    found = []
    for done, one in enumerate(examples, 1):
        if not one.answers:
            raise InputError(f'Example {done} has no "answers" ({one.prompt[:60]!r}).')
        decoder = MethodDecoder(model.model, method)
        state = decoder.read(prompt_ids(model, one.prompt))
        ids: list[int] = []
        told = ""
        for token in tokens(decoder, state, Sampling(max_tokens=max_tokens), stop_ids=model.stop_ids):
            ids.append(token)
            told = model.tokenizer.decode(ids)  # all of them: a character may take several
            if "\n" in told.strip():
                break
        found.append(Scored(score(metric, told.strip().partition("\n")[0], one.answers), 0.0))
        if on_step:
            on_step(done, len(examples))
    return found


def compared(ours: Sequence[Scored], other: Sequence[Scored], *, seed: int) -> Compared:
    """Paired, over the same examples in the same order; at least two."""
    right = np.array([one.right - two.right for one, two in zip(ours, other, strict=True)])
    nats = np.array([one.nats - two.nats for one, two in zip(ours, other, strict=True)])
    p = randomisation_p_value(right, rounds=10_000, seed=seed)
    return Compared(paired(right, seed=seed), paired(nats, seed=seed), p)


def accuracy(found: Sequence[Scored]) -> float:
    """The mean of what was right."""
    return fmean(one.right for one in found)


def candidates(model: LanguageModel, layers: Sequence[int] | None = None) -> list[Head]:
    """The heads that may be calibrated: of layers 2 to L - 2, as published (the first two and the last are left out),
    or of `layers`; of a model of three layers or less the last one's."""
    config = model.model.config.get_text_config()
    count = int(config.num_hidden_layers)
    first = min(2, count - 1)
    chosen = list(range(first, max(first + 1, count - 1)) if layers is None else layers)
    if not chosen or min(chosen) < 0 or max(chosen) >= count:
        raise InputError(f"Layers {chosen} were asked for; {model.name} has 0 to {count - 1}.")
    return [(layer, head) for layer in chosen for head in range(config.num_attention_heads)]


def drawn_heads(among: Sequence[Head], count: int, seed: int) -> list[Head]:
    """A control: as many heads, drawn."""
    return sorted(random.Random(f"heads {seed}").sample(list(among), count))


def prompt_ids(model: LanguageModel, text: str) -> list[int]:
    """The tokens of a prompt, behind those that the model expects before any text (Gemma's <bos>)."""
    start, ids = list(model.tokenizer("").input_ids), model.encode(text)
    return ids if start and ids[: len(start)] == start else [*start, *ids]


def label_tokens(model: LanguageModel, example: Labelled, scoring: str) -> list[int]:
    """The token that stands for each label behind a prompt. InputError: two labels would share one."""
    pieces = [model.encode(example.continuation(place)) for place in range(len(example.choices))]
    if scoring == "whole" and any(len(piece) > 1 for piece in pieces):
        raise InputError(
            f"The labels {', '.join(example.choices)} are not one token each for {model.name}. Take other words, or "
            "the scoring compat, which looks at their last tokens."
        )
    ids = [piece[0] if scoring == "greedy" else piece[-1] for piece in pieces]
    if len(set(ids)) < len(ids):
        raise InputError(f"Two of the labels {', '.join(example.choices)} share the token that tells them apart.")
    return ids


def last_scores(ids: Sequence[int], logits: Tensor, scoring: str) -> Tensor:
    """The scores of labels by their tokens, from the logits (vocabulary,) behind a prompt; `greedy`: one more, the
    best of all other tokens."""
    found = logits.float().log_softmax(-1)
    if scoring != "greedy":
        return found[list(ids)]
    others = found.clone()
    others[list(ids)] = -torch.inf
    return torch.cat([found[list(ids)], others.max()[None]])


def _together(model: LanguageModel, examples: Sequence[Labelled]) -> list[list[int]]:
    """Places of the examples that can share a batch: equally long prompts with the same labels behind them."""
    groups: dict[tuple[int, tuple[str, ...]], list[int]] = {}
    for place, one in enumerate(examples):
        labels = tuple(one.continuation(choice) for choice in range(len(one.choices)))
        groups.setdefault((len(prompt_ids(model, one.prompt)), labels), []).append(place)
    made = []
    for (length, _), places in sorted(groups.items()):
        size = max(1, AT_ONCE // max(1, length))
        made += in_parts(places, size)
    return made


def _label_scores(
    model: LanguageModel, examples: Sequence[Labelled], method: AttentionMethod | None, scoring: str
) -> list[Tensor]:
    """For each of a batch the scores of its labels."""
    pass_ = _LeanPass(model, method) if supports(model.model) else _PlainPass(model, method)
    logits = pass_.read([prompt_ids(model, one.prompt) for one in examples])
    if scoring != "whole":
        ids = label_tokens(model, examples[0], scoring)
        return [last_scores(ids, row, scoring) for row in logits]
    first = logits.float().log_softmax(-1)
    labels = []
    for place in range(len(examples[0].choices)):
        ids = model.encode(examples[0].continuation(place))
        told = first[:, ids[0]]
        if len(ids) > 1:
            more = pass_.behind([ids[:-1]] * len(examples)).float().log_softmax(-1)
            told = told + sum(more[:, place, token] for place, token in enumerate(ids[1:]))
        labels.append(told / len(ids))
    return list(torch.stack(labels, 1))


class _LeanPass:
    """Prompts over lean layers, then what follows them, once for each label."""

    def __init__(self, model: LanguageModel, method: AttentionMethod | None) -> None:
        self.model, self.method, self.length = model.model, method, 0
        self.layers = [KeyValues() for _ in range(model.model.config.num_hidden_layers)]

    def read(self, prompts: list[list[int]]) -> Tensor:
        """The logits (B, vocabulary) behind prompts of one length."""
        self.length = len(prompts[0])
        return prefill(self.model, self._ids(prompts), self.layers, method=self.method)

    def behind(self, ids: list[list[int]]) -> Tensor:
        """The logits (B, n, vocabulary) of tokens behind the prompts."""
        rewind(self.layers, self.length)
        return prefill(self.model, self._ids(ids), self.layers, method=self.method, rows=len(ids[0]))

    def _ids(self, ids: list[list[int]]) -> Tensor:
        return torch.tensor(ids, device=self.model.device)


class _PlainPass:
    """The same by transformers, for other architectures: prompt by prompt."""

    def __init__(self, model: LanguageModel, method: AttentionMethod | None) -> None:
        self.decoder = MethodDecoder(model.model, method)
        self.states: list[State] = []

    def read(self, prompts: list[list[int]]) -> Tensor:
        """As above."""
        self.states = [self.decoder.read(prompt) for prompt in prompts]
        return torch.cat([state.logits for state in self.states])

    def behind(self, ids: list[list[int]]) -> Tensor:
        """As above."""
        with attach(self.decoder.model, self.decoder.method):
            told = [self.decoder.extend(copy.deepcopy(one), own) for one, own in zip(self.states, ids, strict=True)]
        return torch.stack(told)
