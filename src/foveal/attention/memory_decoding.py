"""The token loop under an attention method: `models.decoding.tokens` with a step that attends by it.

    decoder = MethodDecoder(model, method)
    state = decoder.read(prompt_ids)                       # the whole prompt in one pass, then token by token

Over a searched cache:

    decoder = MemoryDecoder(model, method)
    state = decoder.reading(memory, question_ids)          # the question is answered exactly (memory_layers.py)
    for token in tokens(decoder, state, sampling): …

Known architectures go through their lean layers, all others through transformers under `attach`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from transformers.cache_utils import DynamicCache

from foveal.attention.attach import AttentionMethod, attach
from foveal.attention.longheads import LongHeads
from foveal.attention.longheads_cache import LongHeadsCache
from foveal.attention.prefill import prefill
from foveal.attention.retrieval_attention import RetrievalAttention, RetrievalCache
from foveal.errors import InputError
from foveal.models.decoding import Decoder, State
from foveal.models.lean import supports


class MethodDecoder(Decoder):
    """A decoder that attends by a method, densely where the method says None (or there is none)."""

    trusts: ClassVar[bool] = False  # what a method looks at depends on how many tokens come at once

    def __init__(self, model: Any, method: AttentionMethod | None = None) -> None:
        super().__init__(model)
        self.method = method

    def read(self, ids: Sequence[int], cache: Any = None) -> State:
        """The state after a prompt of at least one token, read in one pass into `cache` (default: an empty one)."""
        if not ids:
            raise InputError("Nothing was asked: give at least one token.")
        lean = supports(self.model)
        if cache is not None:
            state = State(cache, [cache.get_seq_length()], torch.empty(0), [], lean=lean)
        elif lean:
            state = self.new_state()
        else:
            own = getattr(self.model, "_supports_default_dynamic_cache", None)
            if own is not None and not own():
                raise InputError(
                    f"{type(self.model).__name__} keeps what it reads in a cache of a kind of its own, which nothing "
                    "here goes on from. Choose another model."
                )
            state = State(DynamicCache(config=self.model.config), [0], torch.empty(0), [], lean=False)
        self.step(state, [list(ids)])
        return state

    @torch.inference_mode()
    def step(self, state: State, ids: Sequence[Sequence[int]]) -> None:
        """Read tokens (1, N) behind what was read."""
        if not state.lean:
            with attach(self.model, self.method):
                state.logits = self.extend(state, ids[0], rows=1)
            return
        with self._turn, self._threads.chosen():
            told = torch.tensor([list(one) for one in ids], device=self.device)
            state.logits = prefill(self.model, told, state.cache.layers, method=self.method)
        state.lengths = [length + len(ids[0]) for length in state.lengths]


class MemoryDecoder(MethodDecoder):
    """A decoder whose states hold the cache of a method that keeps a text."""

    method: RetrievalAttention | LongHeads

    def __init__(self, model: Any, method: RetrievalAttention | LongHeads) -> None:
        super().__init__(model, method)

    def reading(self, memory: RetrievalCache | LongHeadsCache, ids: Sequence[int]) -> State:
        """The state after `ids`, at least one, behind what `memory` holds."""
        if not ids:
            raise InputError("Nothing was asked: give at least one token behind the text.")
        return self.read(ids, memory)
