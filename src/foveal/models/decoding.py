"""The token loop: read a prompt, then give its continuation token by token.

    decoder = Decoder(model)                              # any causal model of transformers
    for token in tokens(decoder, prompt_ids, sampling, stop_ids=(2,)): ...

A prompt is read in chunks, which bounds the memory and lets a call be cancelled; only its last token goes through the
LM head. Whole chunks that a prompt shares with the one read before into the same `State`, or with any that a
`PrefixCache` keeps, are not read again, and since chunks always begin at the same places, an answer is the same to the
bit with and without that. Known architectures
decode by `DecodeStep`, many conversations at once; all others by their own forward, one at a time. What is quoted from
the prompt comes several tokens a step (prompt_lookup.py).
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache

from foveal.errors import InputError, ModelUnavailable
from foveal.models.chat import Cancel, Sampling
from foveal.models.decode_step import DecodeStep
from foveal.models.key_values import KeyValues, cache_of, rewind, stacked
from foveal.models.lean import stretches, supports
from foveal.models.prefix_cache import PrefixCache, restore
from foveal.models.prompt_lookup import PromptLookup
from foveal.models.threads import Threads

CHUNK = {"cpu": 256, "cuda": 2048}
"""Tokens of a prompt read at once: no slower than more on that device, and a fraction of a second to a cancel."""

COLDEST = 1e-30
"""The least temperature that logits are divided by: by less they pass what float32 holds. It draws the likeliest."""


NO_NUMBERS = (
    "The model computes what is no number (NaN or infinity), so nothing that it gives can be used. Load it in bfloat16 "
    "or float32 if it was in float16; else its weights, or the text that it had kept, are damaged."
)


@dataclass
class State:
    """What a decoder has read: keys and values, how many tokens in each row, and the logits (rows, vocabulary)."""

    cache: Any
    lengths: list[int]
    logits: Tensor
    chunks: list[int]  # the tokens read as whole chunks at the beginning: those a later prompt may share
    lean: bool = True  # whether `DecodeStep` goes on from here


class Guide(Protocol):
    """Tells the loop which tokens may come, for instance by a grammar."""

    done: bool  # whether the answer is complete

    def mask(self, logits: Tensor) -> Tensor:
        """The logits (vocabulary,) with those of forbidden tokens at minus infinity."""
        ...

    def accept(self, token: int) -> list[int]:
        """Take note of a token; the tokens that must follow it, which need not be chosen."""
        ...

    def end(self) -> None:
        """Take note that a stop token came: the answer is complete if it may end here."""
        ...


class NotTogether(InputError):
    """Prompts that can only be read one at a time."""


class Decoder:
    """A causal model of transformers that reads and decodes; threads take turns, chunk by chunk and token by token."""

    trusts: ClassVar[bool] = True  # `trust` reads as `step` does

    def __init__(self, model: Any, *, kept: PrefixCache | None = None) -> None:
        """Use `model`, which must be in eval mode; its weights are packed at the first step.

        `kept`: what it has read before, by whichever decoder.
        """
        self.model = model
        self.kept = kept
        self.device: torch.device = model.device
        self._turn = Lock()
        self._step: DecodeStep | None = None
        self._threads = Threads(self.device)
        parameters = inspect.signature(type(model).forward).parameters
        self._cache_name = "cache" if "cache" in parameters else "past_key_values"  # up to transformers 5.20

    @property
    def lean(self) -> bool:
        """Whether `DecodeStep` decodes: then prompts are read in chunks, and rows decoded together."""
        return supports(self.model) and not stretches(self.model)

    def prefill(self, ids: Sequence[int], *, into: State | None = None, cancel: Cancel | None = None) -> State:
        """Read a prompt of 1 token or more; `into` is a state of one row that is overwritten, its prefix kept."""
        if not self.lean:  # an attached method wants the whole prompt, an unknown model its own cache
            state = State(DynamicCache(config=self.model.config), [0], torch.empty(0), [], lean=False)
            state.logits = self.extend(state, ids, rows=1)
            return state
        return self._read(ids, into or self.new_state(), cancel)

    def _read(self, ids: Sequence[int], state: State, cancel: Cancel | None) -> State:
        """The same by `DecodeStep`."""
        chunk = CHUNK.get(self.device.type, CHUNK["cuda"])
        state.chunks = state.chunks[: shared_chunks(state.chunks, ids, chunk)]
        if self.kept is not None:
            self._restore(self.kept, state, ids, chunk)
        state.lengths = [len(state.chunks)]
        rewind(state.cache.layers, len(state.chunks))
        for start in range(len(state.chunks), len(ids), chunk):
            if cancel:
                cancel.check()
            part = ids[start : start + chunk]
            self.step(state, [part])
            if len(part) == chunk:
                state.chunks = [*state.chunks, *part]
        if self.kept is not None:
            with torch.inference_mode():
                self.kept.put(state.chunks, state.cache.layers, chunk)
        return state

    def _restore(self, kept: PrefixCache, state: State, ids: Sequence[int], chunk: int) -> None:
        """Take from `kept` what `ids` begin with, beyond what the state holds of them."""
        held = kept.match(ids, chunk)[len(state.chunks) // chunk :]
        with torch.inference_mode():
            restore(state.cache.layers, held, len(state.chunks))
        state.chunks = list(ids[: len(state.chunks) + chunk * len(held)])
        kept.count(len(state.chunks), len(ids) - len(state.chunks))

    @torch.inference_mode()
    def extend(self, state: State, ids: Sequence[int], *, rows: int = 0) -> Tensor:
        """Read `ids` behind the one row of `state` by the model's own forward; logits of the last `rows`, 0 of all."""
        with self._turn, self._threads.chosen():
            output = self.model(
                input_ids=torch.tensor([ids], device=self.device),
                use_cache=True,
                logits_to_keep=rows,
                **{self._cache_name: state.cache},
            )
        state.lengths = [state.lengths[0] + len(ids)]
        logits: Tensor = output.logits[0]
        return logits

    def step(self, state: State, ids: Sequence[Sequence[int]]) -> None:
        """Read tokens (rows, N) behind each row; many tokens only for one row."""
        if not state.lean:
            state.logits = self.extend(state, ids[0], rows=1)
            return
        state.logits = self._stepped(state, ids, 1)[:, -1]

    def trust(self, state: State, ids: Sequence[int], drafts: Sequence[int]) -> Tensor:
        """Read `ids` and then `drafts` behind the one row of a lean state; logits (1 + drafts, vocabulary) of `ids`'
        last token and of each draft. `forget` those that are not kept."""
        return self._stepped(state, [[*ids, *drafts]], 1 + len(drafts))[0]

    def forget(self, state: State, count: int) -> None:
        """Forget the last `count` tokens of the one row of a lean state."""
        state.lengths = [state.lengths[0] - count]
        rewind(state.cache.layers, state.lengths[0])

    @torch.inference_mode()
    def _stepped(self, state: State, ids: Sequence[Sequence[int]], last: int) -> Tensor:
        """Logits (rows, last, vocabulary) of the last tokens."""
        with self._turn:
            if self._step is None:
                self._step = DecodeStep(self.model)
            for layer in state.cache.layers:
                if layer.is_initialized:
                    layer.reserve(max(state.lengths) + len(ids[0]))
            with self._threads.chosen():
                logits = self._step(torch.tensor(ids, device=self.device), state.cache.layers, state.lengths, last=last)
        state.lengths = [length + len(ids[0]) for length in state.lengths]
        return logits

    def batch(
        self, prompts: Sequence[Sequence[int]], *, into: State | None = None, cancel: Cancel | None = None
    ) -> State:
        """Read many prompts into one state with a row for each; what two in a row begin with alike is read once.

        NotTogether: the model decodes by its own forward, for its kind or for what is attached to it just now.
        """
        if not self.lean:
            raise NotTogether(
                f"{type(self.model).__name__} cannot decode {len(prompts)} prompts together: it has no lean layers "
                "here, or something is attached to it. Read them one at a time."
            )
        one = into or self.new_state()
        logits = []

        def read() -> Iterator[Sequence[KeyValues]]:
            for prompt in prompts:
                self._read(prompt, one, cancel)  # lean also where another thread attaches to the model meanwhile
                logits.append(one.logits)
                yield one.cache.layers

        cache = cache_of(stacked(read(), len(prompts), max(map(len, prompts))))
        return State(cache, [len(prompt) for prompt in prompts], torch.cat(logits), [])

    def new_state(self) -> State:
        """A state that has read nothing."""
        return State(cache_of([KeyValues() for _ in self.model.model.layers]), [0], torch.empty(0), [])


def shared_chunks(held: Sequence[int], ids: Sequence[int], chunk: int) -> int:
    """How many of the `held` tokens `ids` begins with, in whole chunks, leaving at least one token of `ids` to read."""
    most = min(len(held), max(0, len(ids) - 1))
    common = next((place for place in range(most) if held[place] != ids[place]), most)
    return common // chunk * chunk


def drawn(logits: Tensor, sampling: Sampling, generator: torch.Generator) -> int:
    """A token from logits (vocabulary,): the likeliest at temperature 0, else drawn from the top_p most likely ones.

    ModelUnavailable: they are no numbers, and would all the same give a token, and an answer.
    """
    most, likeliest = logits.max(-1)
    if not math.isfinite(float(most)):
        raise ModelUnavailable(NO_NUMBERS)
    if sampling.temperature == 0:
        return int(likeliest)
    shares = torch.softmax(logits.float() / max(sampling.temperature, COLDEST), -1).cpu()
    if sampling.top_p < 1:
        shares = nucleus(shares, sampling.top_p)
    return int(torch.multinomial(shares, 1, generator=generator))


def nucleus(shares: Tensor, top_p: float) -> Tensor:
    """The probabilities (vocabulary,) but for the fewest that add up to `top_p` set to 0 (Holtzman et al., 2020)."""
    ordered, order = shares.sort(descending=True)
    before = ordered.cumsum(-1) - ordered
    return torch.zeros_like(shares).scatter(-1, order, ordered.where(before < top_p, 0.0))


def tokens(
    decoder: Decoder,
    state: State,
    sampling: Sampling,
    *,
    stop_ids: Sequence[int] = (),
    cancel: Cancel | None = None,
    guide: Guide | None = None,
    prompt: Sequence[int] | None = None,
) -> Iterator[int]:
    """The tokens that follow what `state` (one row) holds: up to a stop token, a complete answer, or max_tokens.

    `prompt`: what the state has read. Where it is given, and decoder and state allow it, words that are quoted from it
    are read ahead; the tokens are the same, but for the rounding of products of one token and of several.
    """
    generator = torch.Generator().manual_seed(sampling.seed)
    lookup = PromptLookup(prompt) if prompt is not None and state.lean and decoder.trusts else None
    logits, drafts = state.logits, list[int]()  # logits behind the last token, then behind each draft
    given = kept = 0
    while True:
        if cancel:
            cancel.check()
        row = guide.mask(logits[kept]) if guide else logits[kept]
        token = drawn(row, sampling, generator)
        if token in stop_ids:
            if guide:
                guide.end()
            return
        told = [token, *(guide.accept(token) if guide else ())]
        new = told[: sampling.max_tokens - given]
        if guide and len(new) < len(told):
            guide.done = False  # what must follow has no room
        yield from new
        given += len(new)
        if given == sampling.max_tokens or (guide and guide.done):
            return
        if lookup is None:
            decoder.step(state, [new])
            logits = state.logits
            continue
        lookup.add(new)
        if drafts[kept : kept + len(new)] == new:
            kept += len(new)
            continue
        decoder.forget(state, len(drafts) - kept)
        drafts, kept = lookup.draft(sampling.max_tokens - given - 1), 0
        logits = decoder.trust(state, new, drafts)


def decode_rows(
    decoder: Decoder,
    state: State,
    take: Callable[[int, int], bool],
    sampling: Sampling,
    *,
    limits: Sequence[int],
    stop_ids: Sequence[int] = (),
    cancel: Cancel | None = None,
) -> None:
    """`tokens` for all rows of `state` at once: `take(row, token)` gets each, and says whether the row wants more.

    `limits` is max_tokens of each row.
    """
    generators = [torch.Generator().manual_seed(sampling.seed) for _ in limits]
    running = dict.fromkeys(range(len(limits)), 0)  # row -> tokens given
    while True:
        if cancel:
            cancel.check()
        ids = [0] * len(limits)
        for row in list(running):
            ids[row] = drawn(state.logits[row], sampling, generators[row])
            running[row] += 1
            if ids[row] in stop_ids or not take(row, ids[row]) or running[row] == limits[row]:
                del running[row]
        if not running:
            return
        decoder.step(state, [[token] for token in ids])
