"""bench memory-longheads, the small model: what a model of window 256 does with 1,024 to 8,192 bytes.

likelihood  the same last bytes of real texts behind more and more of what comes before them: perplexity, a byte, of
            the model as it is, by LongHeads (by the same two ways as below), and by a window of 256 bytes that slides
recall      a key once in a long text, asked for at the end; what follows must be right, byte by byte. LongHeads with
            published vectors of 16 bytes, and with bounds of 4 bytes, of which more is asked; beside them the model as
            it is, the first and the last chunks alone, random chunks, chosen chunks that are not moved (a mask), and
            the window that slides
time        of reading, over the length

Likelihood is measured by token (`selection="token"`), so that nothing is chosen by what comes later.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from math import exp
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from foveal.attention import LongHeads
from foveal.attention.prefill import prefill
from foveal.bench.memory_longheads_model import ASK, PARTS, WINDOW, key_of, manual, small_model
from foveal.bench.settings import BenchSettings
from foveal.evaluation.needle import growth
from foveal.evaluation.plots import lines
from foveal.evaluation.tables import Row
from foveal.models.key_values import KeyValues

CHUNK = 16
METHOD = LongHeads(chunk_size=CHUNK, attention_length=WINDOW)
LENGTHS = (256, 512, 1024, 2048, 4096)
RECALLED = (248, 1024, 4096, 8192)
TARGETS = 128
"""Last bytes of a text whose likelihood is measured."""

SLIDING = f"sliding window of {WINDOW}"
PERPLEXITY = "perplexity, a byte"

BOUNDS = LongHeads(chunk_size=4, attention_length=WINDOW, representation="minmax")
"""Bounds stand for small chunks: a key of two bytes does not drown in them."""

OURS = "LongHeads, bounds of 4 bytes"


def small_rows(settings: BenchSettings) -> Iterator[Row]:
    """The rows of the small model."""
    model = small_model(settings)
    yield from likelihood_rows(model, settings)
    yield from recall_rows(model, settings)
    yield from time_rows(model, settings)


@torch.inference_mode()
def logits_of(model: Any, ids: Tensor, method: LongHeads | None) -> Tensor:
    """Logits (B, N, vocabulary) of ids (B, N), read at once."""
    from foveal.attention import attach

    with attach(model, method):
        told: Tensor = model(input_ids=ids, use_cache=False).logits
    return told


# -- likelihood --------------------------------------------------------------------------------------------------------


def likelihood_rows(model: Any, settings: BenchSettings) -> Iterator[Row]:
    """Perplexity, a byte, over the length of what is read."""
    count = 4 if settings.quick else 16
    texts = held_out(count, LENGTHS[-1], settings.seed)
    wanted = texts[:, -TARGETS:]
    systems: dict[str, LongHeads | None] = {
        "LongHeads": replace(METHOD, selection="token"),
        OURS: replace(BOUNDS, selection="token"),
        "model as it is": None,
    }
    told: dict[str, list[float]] = {name: [] for name in systems}
    for length in LENGTHS:
        for name, method in systems.items():
            logits = [logits_of(model, one[None, -length:], method)[:, -TARGETS - 1 : -1] for one in texts]
            told[name].append(exp(fmean(map(_nats, logits, wanted))))
    slid = exp(fmean(_nats(slid_logits(model, one), last) for one, last in zip(texts, wanted, strict=True)))
    yield from flat_rows(told, slid, f"last {TARGETS} bytes of {count} texts", quick=settings.quick)
    series = {**told, SLIDING: [slid] * len(LENGTHS)}
    path = settings.cache / "pictures" / "memory-longheads-likelihood.png"
    draw(LENGTHS, series, path, title="A model of window 256 reads on", y_label="perplexity, a byte")


def flat_rows(told: Mapping[str, Sequence[float]], slid: float, note: str, *, quick: bool) -> Iterator[Row]:
    """Perplexities by length against that within the window, and against the sliding window's."""
    ways = [name for name in told if name != "model as it is"]
    yield Row.of(SLIDING, PERPLEXITY, slid, note=note)
    for place, length in enumerate(LENGTHS):
        yield Row.of(f"model as it is, {length:,} bytes", PERPLEXITY, told["model as it is"][place], note=note)
        for name in ways:
            most = None if length == WINDOW else (1.05 if quick else 1.03) * told[name][0]  # as memory_longheads_tasks
            yield Row.of(f"{name}, {length:,} bytes", PERPLEXITY, told[name][place], at_most=most, note=note)
    for name in ways:
        apart, most = fmean(told[name][1:]) / slid, 1.01 if quick else 1.0
        yield Row.of(f"{name}, past the window", "perplexity / the sliding window's", apart, at_most=most, note=note)
    worse = told["model as it is"][-1] / told["LongHeads"][-1]
    yield Row.of(f"model as it is, {LENGTHS[-1]:,} bytes", "perplexity / LongHeads'", worse, at_least=exp(0.5))


def draw(lengths: Sequence[int], series: dict[str, list[float]], path: Path, *, title: str, y_label: str) -> Path:
    """A line for each system over the length."""
    return lines(lengths, series, path, title=title, x_label="bytes read", y_label=y_label, logarithmic="x")


def held_out(count: int, length: int, seed: int) -> Tensor:
    """(count, length) bytes of what the model was not trained on."""
    text, made = manual()[1], random.Random(seed)
    starts = [made.randrange(len(text) - length) for _ in range(count)]
    return torch.tensor([list(text[start : start + length]) for start in starts])


def slid_logits(model: Any, ids: Tensor) -> Tensor:
    """Logits (1, TARGETS, vocabulary) for the last bytes, each behind the 255 before it and no more."""
    ends = range(len(ids) - TARGETS, len(ids))
    rows = torch.stack([ids[end - WINDOW : end] for end in ends])
    return logits_of(model, rows, None)[:, -1][None]


def _nats(logits: Tensor, wanted: Tensor) -> float:
    return float(-logits.float().log_softmax(-1)[0].gather(1, wanted[:, None]).mean())


# -- recall ------------------------------------------------------------------------------------------------------------


def recall_rows(model: Any, settings: BenchSettings) -> Iterator[Row]:
    """Keys said once, anywhere, and asked for at the end."""
    count = 8 if settings.quick else 50
    shares: dict[str, list[float]] = {name: [] for name in (*SYSTEMS, SLIDING)}
    lengths = RECALLED[:3] if settings.quick else RECALLED
    for length in lengths:
        prompts, answers = recall(count, length, settings.seed)
        for name, method in SYSTEMS.items():
            shares[name].append(recalled(model, prompts, answers, method))
        shares[SLIDING].append(recalled(model, prompts[:, -WINDOW + PARTS :], answers, None))
    for place, length in enumerate(lengths):
        times = length // WINDOW
        where = f"{length:,} bytes, {f'{times} times' if times else 'within'} the window"
        for name, values in shares.items():
            least = most = None
            if name == OURS:
                least = {0: 0.95, 4: 1.0, 16: 0.9}.get(times)
            elif name == "model as it is" and times:
                most = 0.2
            note = f"{count} texts, the key anywhere"
            yield Row.of(f"{name}, {where}", "keys told", values[place], at_least=least, at_most=most, note=note)
        if times:
            yield from clearly_rows({name: values[place] for name, values in shares.items()}, where, count)
    path = settings.cache / "pictures" / "memory-longheads-recall.png"
    draw(lengths, shares, path, title="A key said once, asked for at the end", y_label="keys told")


def clearly_rows(told: Mapping[str, float], where: str, count: int) -> Iterator[Row]:
    """What LongHeads tells beyond the sliding window; clearly more: two standard errors of a difference of shares."""
    for name in (OURS, PUBLISHED):
        least = 2 * (0.5 / count) ** 0.5
        yield Row.of(f"{name}, less the {SLIDING}, {where}", "keys told", told[name] - told[SLIDING], at_least=least)


PUBLISHED = "LongHeads, as published"

SYSTEMS: dict[str, LongHeads | None] = {
    OURS: BOUNDS,
    PUBLISHED: METHOD,
    "model as it is": None,
    "first and last chunks": replace(METHOD, representation="none"),
    "random chunks": replace(METHOD, representation="random"),
    "not moved": replace(METHOD, remap=False),
}
"""What is compared, by name."""


def recall(count: int, length: int, seed: int) -> tuple[Tensor, Tensor]:
    """Prompts (count, length) that end with the byte that asks, and the key that must follow (count, PARTS)."""
    made, texts = random.Random(f"{seed} {length}"), held_out(count, length, seed)
    answers = []
    for number in range(count):
        key = list(key_of(made))
        place = int((length - PARTS - 2) * (number + 0.5) / count)
        texts[number, place : place + PARTS] = torch.tensor(key)
        texts[number, -1] = ASK
        answers.append(key)
    return texts, torch.tensor(answers)


@torch.inference_mode()
def recalled(model: Any, prompts: Tensor, answers: Tensor, method: LongHeads | None) -> float:
    """The share of the prompts after which the model says all bytes of the answer."""
    right = 0
    for number, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
        own = method and replace(method, seed=number)  # random chunks are drawn anew for each text
        layers = own.make_cache(model).layers if own else [KeyValues() for _ in model.model.layers]
        logits, said = prefill(model, prompt[None], layers, method=own), []
        while True:
            said.append(int(logits.argmax()))
            if len(said) == len(answer):
                break
            logits = prefill(model, torch.tensor([said[-1:]]), layers, method=own)
        right += said == answer.tolist()
    return right / len(prompts)


# -- time --------------------------------------------------------------------------------------------------------------


def time_rows(model: Any, settings: BenchSettings) -> Iterator[Row]:
    """Processor seconds of reading by chunks, over the length; of one more token after it."""
    lengths = (2048, 4096, 8192, 16_384) if settings.quick else (4096, 8192, 16_384, 32_768, 65_536)
    text = torch.tensor([list(manual()[0][: lengths[-1]])])
    reading, steps = [], []
    for length in lengths:
        read, step = zip(*(_seconds(model, text[:, :length], METHOD) for _ in range(3)), strict=True)
        reading.append(min(read))
        steps.append(min(step))
    told = ", ".join(f"{length:,}: {taken:.2f}" for length, taken in zip(lengths, reading, strict=True))
    exponent = growth(lengths, reading)
    yield Row.of("LongHeads, small model", "exponent of reading over length", exponent, at_most=1.15, note=f"s: {told}")
    note = f"{1000 * steps[0]:.1f} ms behind {lengths[0]:,} bytes, {1000 * steps[-1]:.1f} ms behind {lengths[-1]:,}"
    yield Row.of("LongHeads, small model", "step, longest / shortest", steps[-1] / steps[0], at_most=2, note=note)


def _seconds(model: Any, ids: Tensor, method: LongHeads) -> tuple[float, float]:
    memory = method.make_cache(model)
    begun = time.process_time()
    prefill(model, ids, memory.layers, method=method)
    between = time.process_time()
    for _ in range(4):
        prefill(model, ids[:, :1], memory.layers, method=method)
    return between - begun, (time.process_time() - between) / 4
