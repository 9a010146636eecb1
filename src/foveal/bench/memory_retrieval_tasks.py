"""bench memory-retrieval, tasks: needles answered over a kept text, and how far predictions move from dense attention.

Questions are read token by token, each token searched, so that a system that hides the needle cannot see it even then.

needles     literal ones, keys of one form among others of it, a pass key; full attention, RetrievalAttention over its
            graphs and over all keys, StreamingLLM of the same window, SnapKV of the same size, which has not seen the
            question when it chooses
likelihood  real text that goes on: Kullback-Leibler divergence from full attention over the same kept text, next-token
            agreement; Gemma 3 270M over its graphs, whatever the length
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from foveal.attention import RetrievalAttention
from foveal.attention.memory_decoding import MemoryDecoder
from foveal.attention.memory_parts import Scores, Snapped
from foveal.attention.memory_store import keep, load
from foveal.attention.retrieval_attention import RetrievalCache
from foveal.bench.memory_retrieval_data import KINDS, LOCAL, SINKS, ReadText, kept_by
from foveal.bench.settings import BenchSettings
from foveal.evaluation.answers import contains
from foveal.evaluation.tables import Row
from foveal.models.chat import Sampling
from foveal.models.decoding import State, tokens
from foveal.models.language import load_language_model

OTHER = "gemma3-270m"
ANSWER = 24
TOP_K = RetrievalAttention().top_k
PYRAMID = 4.0
"""How steeply budgets fall from layer to layer, where they are tried."""
ANSWERED = 0.001
"""What full attention must answer: where it answers nothing, nothing is worse, and no control fails."""

SHORT_TEXT = 20_000
"""Tokens below which three needles of a kind are asked for, not all."""


def needle_rows(text: ReadText, indexes: Sequence[str]) -> Iterator[Row]:
    """Answers to the needles of the kept text by each system, RetrievalAttention by each of `indexes`."""
    for kind in KINDS:
        some = text.of_kind(kind)[-3 if text.tokens < SHORT_TEXT else None :]
        told = {
            name: fmean(_answered(text, name, one.needle.question, one.needle.answer) for one in some)
            for name in ("full", *indexes, "snapkv", "streaming")
        }
        yield from answer_rows(told, indexes, f"{len(some)} needles ({kind}), {text.tokens:,} tokens")


def answer_rows(told: Mapping[str, float], indexes: Sequence[str], where: str) -> Iterator[Row]:
    """Each system's share of right answers: RetrievalAttention as many as full attention, StreamingLLM half at most."""
    yield Row.of(f"full attention, {where}", "answers", told["full"], at_least=ANSWERED)
    for index in indexes:
        yield Row.of(f"RetrievalAttention ({index}), {where}", "answers", told[index], at_least=told["full"])
    note = "by the text's last 64 queries"
    yield Row.of(f"SnapKV, {SINKS} + {LOCAL} + {TOP_K}, {where}", "answers", told["snapkv"], note=note)
    least = 0.5 * told["full"]
    yield Row.of(f"control: StreamingLLM, {SINKS} + {LOCAL}, {where}", "answers", told["streaming"], at_most=least)


def _answered(text: ReadText, system: str, question: str, answer: str) -> bool:
    memory = opened(text, system)
    decoder = MemoryDecoder(text.model.model, memory.method)
    state = stepped(decoder, memory, text.prompt.tail(question))
    ids = list(tokens(decoder, state, Sampling(max_tokens=ANSWER), stop_ids=text.model.stop_ids))
    return contains(text.model.tokenizer.decode(ids, skip_special_tokens=True), answer)


def opened(text: ReadText, system: str) -> RetrievalCache:
    """The kept text under one of the kinds of index; what SnapKV keeps is chosen now, by queries that were noted."""
    if system != "snapkv":
        return load(text.folder, text.model, RetrievalAttention(index=system, n_sink=SINKS, n_local=LOCAL))
    memory = load(text.folder, text.model, RetrievalAttention(index="streaming", n_sink=SINKS, n_local=LOCAL))
    for layer in memory.memories:
        (one,) = layer.sequences
        if one.hidden is not None:
            held = one.hidden.index.keys
            snapped = Snapped.build(held.base, text.observed(layer.number), TOP_K, Scores(held.width**-0.5))
            one.hidden.index, one.kind = snapped, snapped.kind
    return memory


def stepped(decoder: MemoryDecoder, memory: RetrievalCache, ids: Sequence[int]) -> State:
    """The state after `ids`, read one by one."""
    state = State(memory, [memory.get_seq_length()], torch.empty(0), [])
    for token in ids:
        decoder.step(state, [[token]])
    return state


def likelihood_rows(settings: BenchSettings) -> Iterator[Row]:
    """Predictions of the other model along a real text, over its graphs and over all keys."""
    from pydoc_data.topics import topics

    loaded = load_language_model(OTHER, dtype="bfloat16")
    length, steps = (6_000, 32) if settings.quick else (16_000, 200)
    ids = loaded.encode("\n\n".join(topics.values()))[: length + steps]
    method = RetrievalAttention(index="roar", n_sink=SINKS, n_local=LOCAL, exact_every=4)
    read = f"{loaded.fingerprint} {method} {ids[:length]} {kept_by()}"  # another Python has another manual
    key = hashlib.sha256(read.encode()).hexdigest()[:16]
    folder = settings.cache / "memory" / f"{OTHER}-{length}-{key}"
    keep(loaded, ids[:length], folder, replace(method, exact_every=0))
    said: dict[str, Tensor] = {}
    told: dict[str, dict[str, Any]] = {}
    ways = {index: replace(method, index=index) for index in ("full", "flat", "roar", "streaming")}
    ways["pyramid"] = replace(method, index="flat", pyramid=PYRAMID)
    for name, mine in ways.items():
        memory = load(folder, loaded, mine)
        decoder = MemoryDecoder(loaded.model, mine)
        state = State(memory, [length], torch.empty(0), [])
        rows = []
        for token in ids[length:]:
            decoder.step(state, [[token]])
            rows.append(state.logits[0].float().log_softmax(-1))
        said[name], told[name] = torch.stack(rows), memory.statistics()["mean"]
    dense = said["full"]
    apart = {name: float((dense.exp() * (dense - ours)).sum(-1).mean()) for name, ours in said.items()}
    same = {name: float((ours.argmax(-1) == dense.argmax(-1)).float().mean()) for name, ours in said.items()}
    where = f"{OTHER}, {steps} tokens behind {length:,}"
    note = f"visited {told['roar']['visited']:,.0f} of {length - SINKS - LOCAL:,}"
    yield Row.of(f"flat, {where}", "nats from full attention", apart["flat"])
    most = max(1.5 * apart["flat"], apart["flat"] + 0.005)
    yield Row.of(f"roar, {where}", "nats from full attention", apart["roar"], at_most=most, note=note)
    yield Row.of(f"roar, {where}", "same next token", same["roar"], at_least=min(0.95, same["flat"]))
    note = "nats from full attention; it hides what the others search"
    yield Row.of(
        f"control: StreamingLLM, {where}", "times those of roar", apart["streaming"] / apart["roar"], note=note
    )
    ratio, note = apart["pyramid"] / apart["flat"], f"as many keys in all, the last layer's a {PYRAMID:g}th of the mean"
    yield Row.of(f"flat, budgets by layer / all alike, {where}", "nats from full attention, ratio", ratio, note=note)
    behind = told["flat"]["recovered"] - told["roar"]["recovered"]
    yield Row.of(f"roar, {where}", "mass behind flat's", behind, at_most=0.01)
