"""bench read, drafts: answers that quote come several tokens a step (models/prompt_lookup.py); what that is worth.

    drafts / none       our token loop with and without them, in turn, the same questions; and whether answers differ
    drafts / generate   beside transformers' `generate` with its own, `prompt_lookup_num_tokens`

Questions of XQuAD, each asked of its own paragraph by the prompt that a reader answers from, greedy, up to the model's
own end. Counted is what comes after the first token: reading the prompt is the same for all. Needs the data set xquad.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from statistics import median
from typing import Any

import torch
from transformers import GenerationConfig

from foveal.bench.readers import Bench
from foveal.bench.settings import BenchSettings
from foveal.evaluation.files import text_in
from foveal.evaluation.tables import Row
from foveal.models.chat import Sampling
from foveal.models.decoding import Decoder, tokens
from foveal.reading.answering import Evidence, messages
from foveal.reading.answering_settings import AnswerSettings
from foveal.reading.memory import Excerpt

ASKED, QUICK, LONGEST = 24, 6, 96
PEERS_DRAFT = 10
"""Tokens that transformers' documentation drafts."""

Run = Callable[[list[int]], tuple[list[int], float]]


def drafts(bench: Bench) -> Iterator[Row]:
    """The rows."""
    model, decoder = bench.model, Decoder(bench.model.model)
    asked = questions(bench.settings, QUICK if bench.settings.quick else ASKED)
    prompts = [model.encode(model.render(one)) for one in asked]
    ways: dict[str, Run] = {
        "none": lambda ids: _ours(decoder, model.stop_ids, ids, drafting=False),
        "drafts": lambda ids: _ours(decoder, model.stop_ids, ids, drafting=True),
        "generate": lambda ids: _generated(model.model, model.stop_ids, ids),
    }
    for way in ways.values():
        way(prompts[0])  # packed and warm
    told = [{name: way(ids) for name, way in ways.items()} for ids in prompts]
    told = [one for one in told if len(one["none"][0]) > 1]
    counts = {name: sum(len(one[name][0]) - 1 for one in told) for name in ways}
    seconds = {name: sum(one[name][1] for one in told) for name in ways}
    rates = {name: counts[name] / seconds[name] for name in ways}
    lengths = f"{len(told)} answers, the middle one of {median(len(one['none'][0]) for one in told):.0f} tokens"
    note = f"{rates['drafts']:.1f} and {rates['none']:.1f} tokens/s; {lengths}"
    yield Row.of(
        "drafts from the prompt / none", "tokens/s, ratio", rates["drafts"] / rates["none"], at_least=1.3, note=note
    )
    same = sum(one["drafts"][0] == one["none"][0] for one in told) / len(told)
    yield Row.of("drafts from the prompt", "answers that stay the same", same, at_least=0.95)
    note = f"{rates['generate']:.1f} tokens/s with prompt_lookup_num_tokens={PEERS_DRAFT}"
    ratio = rates["drafts"] / rates["generate"]
    yield Row.of("drafts from the prompt / transformers' own", "tokens/s, ratio", ratio, at_least=1.5, note=note)


def questions(settings: BenchSettings, count: int) -> list[Any]:
    """What a model is asked, by the prompt of a reader that kept a paragraph."""
    told = json.loads(text_in(settings.one_of("xquad", "xquad.en.json", "xquad.*.json")))["data"]
    paragraphs = chain.from_iterable(one["paragraphs"] for one in told)
    pairs = [(one["context"], asked["question"]) for one in paragraphs for asked in one["qas"]]
    drawn = random.Random(settings.seed).sample(pairs, min(count, len(pairs)))
    shown = AnswerSettings(max_tokens=LONGEST)
    return [
        messages(question, [Evidence("bench", Excerpt(0, len(text), text, 1.0), "XQuAD")], shown)
        for text, question in drawn
    ]


def _ours(decoder: Decoder, stop_ids: Sequence[int], ids: list[int], *, drafting: bool) -> tuple[list[int], float]:
    """An answer, and seconds from its first token on."""
    came: list[float] = []
    answer: list[int] = []
    prompt = ids if drafting else None
    for token in tokens(decoder, decoder.prefill(ids), Sampling(max_tokens=LONGEST), stop_ids=stop_ids, prompt=prompt):
        came.append(time.perf_counter())
        answer.append(token)
    return answer, time.perf_counter() - came[0] if came else 0.0


class _First:
    """A streamer of transformers that notes when the first token came."""

    def __init__(self) -> None:
        self.calls, self.at = 0, 0.0

    def put(self, _: Any) -> None:
        """Called with the prompt, then with what is new."""
        self.calls += 1
        if self.calls == 2:
            self.at = time.perf_counter()

    def end(self) -> None:
        """Called at the end."""


def _generated(model: Any, stop_ids: Sequence[int], ids: list[int]) -> tuple[list[int], float]:
    told = torch.tensor([ids], device=model.device)
    plain: Any = GenerationConfig
    plain = plain(
        max_new_tokens=LONGEST, do_sample=False, eos_token_id=list(stop_ids), pad_token_id=0,
        prompt_lookup_num_tokens=PEERS_DRAFT,
    )  # fmt: skip
    first = _First()
    out = model.generate(told, attention_mask=torch.ones_like(told), generation_config=plain, streamer=first)
    answer = [token for token in out[0, len(ids) :].tolist() if token not in stop_ids]
    return answer, time.perf_counter() - first.at
