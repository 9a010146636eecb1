"""The token loop over a searched cache: `models.decoding.tokens` with a step that asks the cache.

    decoder = MemoryDecoder(model, method)
    state = decoder.reading(memory, question_ids)          # the question is answered exactly (memory_layers.py)
    for token in tokens(decoder, state, sampling): …

Known architectures go through their lean layers, all others through transformers under `attach`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from foveal.attention.attach import attach
from foveal.attention.longheads import LongHeads
from foveal.attention.longheads_cache import LongHeadsCache
from foveal.attention.prefill import prefill
from foveal.attention.retrieval_attention import RetrievalAttention, RetrievalCache
from foveal.errors import InputError
from foveal.models.decoding import Decoder, State
from foveal.models.lean import supports


class MemoryDecoder(Decoder):
    """A decoder whose states hold the cache of a method that keeps a text."""

    def __init__(self, model: Any, method: RetrievalAttention | LongHeads) -> None:
        super().__init__(model)
        self.method = method

    def reading(self, memory: RetrievalCache | LongHeadsCache, ids: Sequence[int]) -> State:
        """The state after `ids`, at least one, behind what `memory` holds."""
        if not ids:
            raise InputError("Nothing was asked: give at least one token behind the text.")
        state = State(memory, [memory.get_seq_length()], torch.empty(0), [], lean=supports(self.model))
        self.step(state, [list(ids)])
        return state

    @torch.inference_mode()
    def step(self, state: State, ids: Sequence[Sequence[int]]) -> None:
        """Read tokens (1, N) behind the text."""
        if not state.lean:
            with attach(self.model, self.method):
                state.logits = self.extend(state, ids[0], rows=1)
            return
        with self._turn, self._threads.chosen():
            told = torch.tensor([list(one) for one in ids], device=self.device)
            state.logits = prefill(self.model, told, state.cache.layers, method=self.method)
        state.lengths = [length + len(ids[0]) for length in state.lengths]
