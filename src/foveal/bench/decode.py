"""How fast a language model's tokens come: our token loop beside transformers' `generate`, greedy, one conversation.

    rates = decode_rates(load_language_model("qwen2.5-coder-0.5b"), prompt_ids, tokens=64)
    rates.per_token.median         how many times as fast ours is, from the first token to the last

The two take turns in one process with the same weights. Reading the prompt counts to the first token, nothing else;
packing the weights, once a process, is part of the warm-up and is told apart.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from foveal.evaluation.speed import Ratio
from foveal.models.language import LanguageModel

WARM_UP_TOKENS = 3


@dataclass(frozen=True)
class DecodeRates:
    """Ours against `generate`; each `Ratio` is how many times as fast ours is, `b_ms` our own time."""

    first_token: Ratio  # from the call to the first token
    per_token: Ratio  # each token after it
    same: float  # share of the tokens up to the first difference; in bfloat16 a near tie may fall otherwise
    warm_up_s: float  # our first call ever: packing the weights, three tokens


@dataclass
class _Arrivals:
    """A streamer of transformers that notes when each token came."""

    ids: list[int] = field(default_factory=list)
    at: list[float] = field(default_factory=list)

    def put(self, ids: Any) -> None:
        """Called with the prompt first, then with each token."""
        if ids.numel() == 1:
            self.note(int(ids))

    def note(self, token: int) -> None:
        """One token has come."""
        self.at.append(time.perf_counter())
        self.ids.append(token)

    def end(self) -> None:
        """Called at the end."""


@dataclass(frozen=True)
class _Timed:
    ids: list[int]
    first_s: float
    each_s: float


def decode_rates(
    language_model: LanguageModel, prompt_ids: Sequence[int], tokens: int = 64, *, runs: int = 3
) -> DecodeRates:
    """Time `tokens` (2 or more) greedy tokens after a prompt of 2 tokens or more, `runs` times each in turn."""
    from foveal.models.decoding import Decoder

    decoder = Decoder(language_model.model)
    _generated(language_model.model, prompt_ids, WARM_UP_TOKENS)
    start = time.perf_counter()
    _decoded(decoder, prompt_ids, WARM_UP_TOKENS)
    warm_up_s = time.perf_counter() - start
    pairs = [
        (_generated(language_model.model, prompt_ids, tokens), _decoded(decoder, prompt_ids, tokens))
        for _ in range(runs)
    ]
    theirs, ours = pairs[0][0].ids, pairs[0][1].ids
    parted = next((place for place in range(tokens) if theirs[place] != ours[place]), tokens)
    return DecodeRates(
        first_token=Ratio.of((a.first_s, b.first_s) for a, b in pairs),
        per_token=Ratio.of((a.each_s, b.each_s) for a, b in pairs),
        same=parted / tokens,
        warm_up_s=warm_up_s,
    )


def _decoded(decoder: Any, prompt_ids: Sequence[int], count: int) -> _Timed:
    from foveal.models.chat import Sampling
    from foveal.models.decoding import tokens

    arrivals, start = _Arrivals(), time.perf_counter()
    for token in tokens(decoder, decoder.prefill(prompt_ids), Sampling(max_tokens=count)):
        arrivals.note(token)
    return _timed(arrivals, start)


def _generated(model: Any, prompt_ids: Sequence[int], count: int) -> _Timed:
    import torch
    from transformers import GenerationConfig

    ids = torch.tensor([prompt_ids], device=model.device)
    plain: Any = GenerationConfig
    plain = plain(max_new_tokens=count, do_sample=False, eos_token_id=None, pad_token_id=0)
    arrivals, start = _Arrivals(), time.perf_counter()
    model.generate(ids, attention_mask=torch.ones_like(ids), generation_config=plain, streamer=arrivals)
    return _timed(arrivals, start)


def _timed(arrivals: _Arrivals, start: float) -> _Timed:
    at = arrivals.at
    return _Timed(arrivals.ids, at[0] - start, (at[-1] - at[0]) / (len(at) - 1))
