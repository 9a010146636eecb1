"""The layers of a cache that is searched: they own the keys and values, and answer the attention that asks for them.

While the context is read, a layer gives all keys and values, as any cache does, and keeps some of the queries. Once it
has read the context it *settles*: the window is cut off, the index built, the queries forgotten. From then on `update`
gives only the new tokens, marked with the layer, and the attached method lets the layer answer (`attend`).

    one query after the context     window and search, merged
    several (a follow-up question)  exact: the window, and every hidden key by blocks

What is kept lies in the processor's memory, or in a mapped file, wherever the model runs; a GPU sends queries there.

Shapes    queries (B, H, Q, D), keys and values (B, G, N, D); each sequence of a batch has parts of its own, and padding
          is in none of them
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from foveal.attention.kernel import merge, with_sinks
from foveal.attention.key_index import INDEXES, every_product
from foveal.attention.later_queries import later_queries
from foveal.attention.memory_parts import Hidden, Part, Scores, Tail, Window, exact, read_found
from foveal.attention.owned_layers import OwnedLayer, Turn, check_watched, layer_of
from foveal.attention.roar_graph import spread
from foveal.attention.rows import Rows
from foveal.errors import InputError
from foveal.models.key_values import KeyValues

if TYPE_CHECKING:
    from foveal.attention.attach import Context
    from foveal.attention.retrieval_attention import RetrievalAttention
    from foveal.attention.roar_graph import Found
    from foveal.attention.rotation import Rotation

OBSERVED = 64
"""Last queries of a context that are kept besides the sample: SnapKV votes by them."""


def owner_of(key: Tensor) -> MemoryLayer | None:
    """The layer that gave these keys to the model, if it is one of this module."""
    found = layer_of(key)
    return found if isinstance(found, MemoryLayer) else None


@dataclass
class Tally:
    """What a layer's queries did, summed over steps and heads."""

    steps: int = 0
    scanned: float = 0.0  # share of the hidden keys that were visited
    visited: float = 0.0  # the same as a number
    window: float = 0.0  # share of the mass looked at that lay in the window
    estimates: int = 0
    missed: float = 0.0  # estimated share of the whole mass that was not looked at
    exact_steps: int = 0
    recovered: float = 0.0  # true share of the whole mass that was looked at, on the steps where it was measured
    least: float = 1.0  # of these, the least of any head
    searches: int = 0  # of the steps where it was measured, those on which keys were looked for
    recall: float = 0.0  # share of the best keys that were found, on these
    exact_questions: int = 0  # tokens that were answered exactly, in passes of several

    def add(self, found: Found, count: int, seen: Tensor, looked: Tensor, tail: Tensor | None) -> None:
        """Take in a search among `count` keys, by the log-sum-exps (H, Q) of the window, of it and what was found, and
        of the rest; None: there is no rest, or it cannot be told.
        """
        visited = float(found.visited.float().mean())
        self.steps += 1
        self.visited += visited
        self.scanned += visited / count
        self.window += float((seen - looked).exp().mean())
        if tail is not None or found.ids.shape[2] == count:
            self.estimates += 1
            self.missed += 0.0 if tail is None else float(torch.sigmoid(tail - looked).mean())

    def measure(self, found: Found, products: Tensor, looked: Tensor, whole: Tensor) -> None:
        """Take in a search beside the products (H, Q, n) with all keys, and the log-sum-exps (H, Q) of both."""
        if found.ids.shape[2]:
            self.searches += 1
            self.recall += found_of_best(found, products)
        share = (looked - whole).exp()
        self.exact_steps += 1
        self.recovered += float(share.mean())
        self.least = min(self.least, float(share.min()))

    def means(self) -> dict[str, float]:
        """Each as a mean over steps."""
        steps, exactly = max(1, self.steps), max(1, self.exact_steps)
        told = {name: getattr(self, name) / steps for name in ("scanned", "visited", "window")}
        told |= {"missed": self.missed / self.estimates if self.estimates else math.nan}
        told |= {"steps": float(self.steps), "exact_tokens": float(self.exact_questions)}
        told |= {"recovered": self.recovered / exactly, "least": self.least} if self.exact_steps else {}
        return told | ({"recall": self.recall / self.searches} if self.searches else {})


@dataclass
class Parts:
    """One sequence of a settled layer."""

    window: Window
    hidden: Hidden | None  # None: the context fits into the window
    kind: str = "none"
    built: Mapping[str, float] = field(default_factory=dict)  # what building the index took and showed


class MemoryLayer(OwnedLayer):  # type: ignore[no-untyped-call]
    """A layer that sees the whole text. Made by `RetrievalAttention.make_cache`."""

    def __init__(
        self,
        method: RetrievalAttention,
        number: int,
        turn: Turn,
        tokens: int | None = None,
        rotation: Rotation | None = None,
    ) -> None:
        """`tokens` of the context; None: those of the first pass. `rotation` of the layer's queries, if it is known."""
        super().__init__(number, turn)
        self.rotation = rotation
        self.method, self.given, self.tokens = method, tokens, tokens
        self.sequences: list[Parts] = []
        self.tally = Tally()
        self.watched: list[int] = []  # heads whose looks at single tokens are kept
        self.looked: Tensor | None = None  # their weights (tokens,) so far, summed over single queries
        self._reading: KeyValues | None = KeyValues()
        self._asked: list[tuple[Tensor, Tensor]] = []  # positions (T,) and queries (B, H, T, D)
        self._new: tuple[Tensor, Tensor] | None = None

    @property
    def settled(self) -> bool:
        """Whether the context is read."""
        return bool(self.sequences)

    # -- as a cache ------------------------------------------------------------------------------------------------

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Take in (B, G, N, D): all keys and values held, or, once settled, the new ones; marked with this layer."""
        self.begin(key_states)
        if self.settled:
            keys, values = self._new = key_states, value_states
        else:
            assert self._reading is not None
            keys, values = self._reading.update(key_states, value_states)
        return self.marked(keys), values

    def reset(self) -> None:
        """Forget everything."""
        fresh = MemoryLayer(self.method, self.number, self.turn, self.given, self.rotation)
        self.__dict__.update(fresh.__dict__)

    # -- while the context is read ---------------------------------------------------------------------------------

    def observe(self, query: Tensor, context: Context) -> None:
        """Take note of the queries of a pass, and settle with the last one of the context."""
        self.tokens = self.read_to("context", self.tokens)
        first = self.length - query.shape[2]
        real = context.mask.real
        ends = [self.tokens, *(int(one.nonzero().max()) + 1 for one in ([] if real is None else real) if one.any())]
        wanted = self._wanted(self.tokens, ends)
        here = wanted[(wanted >= first) & (wanted < self.length)]
        if len(here):
            self._asked.append((here, query[:, :, (here - first).to(query.device)].cpu()))
        if self.length == self.tokens:
            self._settle(context)

    def _wanted(self, tokens: int, ends: list[int]) -> Tensor:
        """Positions of the queries that are kept: a sample, and those before each of `ends`, where a text ends."""
        method, kept = self.method, torch.zeros(tokens, dtype=torch.bool)
        if tokens > method.static and method.kind_for(tokens - method.static) in ("roar", "snapkv"):
            kept[method.n_sink + spread(tokens - method.n_sink, method.indexes.roar.queries)] = True
            for end in ends:
                kept[max(method.n_sink, end - OBSERVED) : end] = True
        return kept.nonzero().flatten()

    def _settle(self, context: Context) -> None:
        reading, asked = self._reading, self._asked
        assert reading is not None
        real = context.mask.real
        scores = Scores(context.scale, context.softcap)
        made = []
        for number in range(reading.keys.shape[0]):
            start, end = (0, self.length) if real is None else _span(real[number])
            keys, values = (part[number, :, start:end].cpu() for part in (reading.keys, reading.values))
            first = start + self.method.n_sink
            mine = [((places >= first) & (places < end), one[number]) for places, one in asked]
            queries = torch.cat([one[:, kept] for kept, one in mine], 1) if mine else None
            places = torch.cat([at[kept] for (at, _), (kept, _) in zip(asked, mine, strict=True)]) if mine else None
            made.append(self._sequence(keys, values, queries, places, end, scores))
        self.sequences, self._reading, self._asked = made, None, []

    def _sequence(
        self, keys: Tensor, values: Tensor, queries: Tensor | None, places: Tensor | None, end: int, scores: Scores
    ) -> Parts:
        """The parts of a text that ends at `end`: keys and values (G, n, D), queries kept (H, T, D), their places."""
        sinks, local, count = self.method.n_sink, self.method.n_local, keys.shape[1]
        if count <= self.method.static:
            return Parts(Window(keys, values, min(sinks, count)), None)
        ends = torch.cat([torch.arange(sinks), torch.arange(count - local, count)])
        window = Window(keys[:, ends], values[:, ends], sinks)
        held, read = (part[:, sinks : count - local].clone() for part in (keys, values))
        if held.dtype == torch.float16:  # the compiled walk reads float32 and bfloat16
            held, read = held.float(), read.float()
        kind = self.method.kind_for(held.shape[1])
        begun = time.perf_counter()
        if kind == "roar" and self.rotation is not None and queries is not None and places is not None:
            queries = later_queries(queries, places, self.rotation, end)
        index = self.method.index_of(kind, held, queries, scores)
        built = {"seconds": time.perf_counter() - begun, **index.stats()}
        return Parts(window, Hidden(index, Rows(read), Tail.of(held, read, self.method.clusters)), kind, built)

    def resume(self, one: Parts, length: int) -> None:
        """Hold what was read before."""
        self.sequences, self.length, self._reading, self.is_initialized = [one], length, None, True

    # -- once it is settled ----------------------------------------------------------------------------------------

    def attend(self, query: Tensor, context: Context) -> Tensor:
        """The output (B, H, Q, D) of new queries, whose keys and values were just given to `update`."""
        self.asked()
        assert self._new is not None
        if len(query) != len(self.sequences):
            raise InputError(f"{len(query)} sequences came; the cache holds {len(self.sequences)}.")
        check_watched(self.number, self.watched, query.shape[1])
        real = context.mask.real
        if real is not None and not bool(real[:, -query.shape[2] :].all()):
            raise InputError(
                "Padding came behind the context, and a searched cache would take it for text. Send questions of one "
                "length, or each text by itself."
            )
        queries, keys, values = (part.cpu() for part in (query, *self._new))
        self._new = None
        scores, sinks = Scores(context.scale, context.softcap), context.sinks
        sinks = None if sinks is None else sinks.detach().cpu()
        rows = []
        for number, one in enumerate(self.sequences):
            one.window.append(keys[number], values[number])
            rows.append(self._answer(one, queries[number], scores, sinks))
        return torch.stack(rows).to(query.device, query.dtype)

    def _answer(self, one: Parts, queries: Tensor, scores: Scores, sinks: Tensor | None) -> Tensor:
        seen = with_sinks(*one.window.attend(queries, scores), sinks)  # once: all that is merged with it counts them
        if one.hidden is None:
            self._watch(one, queries, None, seen[1], scores)
            return seen[0]
        if queries.shape[1] > 1 or one.kind == "full":
            self.tally.exact_questions += queries.shape[1]
            output, total = merge([seen, exact(queries, one.hidden.index.keys, one.hidden.values, scores)])
            self._watch(one, queries, None, total, scores)
        else:
            output = self._searched(one, one.hidden, queries, seen, scores)
        if self.method.stream == "insert":
            self._hide(one)
        return output

    def _searched(self, one: Parts, hidden: Hidden, queries: Tensor, seen: Part, scores: Scores) -> Tensor:
        """The output over the window, which was `seen`, what the index finds, and the tail."""
        found = hidden.index.search(queries, self.method.top_k)
        read = read_found(found, hidden.values, scores)
        looked = torch.logaddexp(seen[1], read[1])
        tail = self._tail(hidden, found, queries, scores)
        self._watch(one, queries, found, looked, scores)
        self.tally.add(found, len(hidden), seen[1], looked, None if tail is None else tail[1])
        every = self.method.exact_every
        if every and self.tally.steps % every == 0:
            products = every_product(queries, hidden.index.keys)
            whole = torch.logaddexp(seen[1], scores(products).logsumexp(-1))
            self.tally.measure(found, products, looked, whole)
        if tail is None or not self.method.tail or hidden.index.kind not in INDEXES:
            return merge([seen, read])[0]
        return merge([seen, read, tail])[0]

    def _tail(self, hidden: Hidden, found: Found, queries: Tensor, scores: Scores) -> Part | None:
        """What the keys that were not found would add; None where there are none, or the model caps its scores."""
        k = found.ids.shape[2]
        if scores.softcap is not None or k >= len(hidden):
            return None
        if k and hidden.index.kind in INDEXES:
            lowest = scores(found.products).masked_fill(found.ids < 0, math.inf).amin(-1)
        else:  # a baseline's choice: what it leaves out may score anything
            lowest = torch.full(queries.shape[:2], math.inf, dtype=torch.float32)
        return hidden.tail.beyond(queries, lowest, scores.scale)

    def _watch(self, one: Parts, queries: Tensor, found: Found | None, total: Tensor, scores: Scores) -> None:
        """Add up what the watched heads of a single query paid to each token, in the text's order.

        `found` of the hidden keys, None: all of them; `total` is the log-sum-exp (H, Q) of all that was looked at.
        """
        if not self.watched or queries.shape[1] > 1:
            return
        window, sinks = one.window.paid(queries, self.watched, total, scores), one.window.sinks
        hidden = _paid_hidden(one.hidden, queries, self.watched, found, total, scores) if one.hidden else window[:0]
        paid = torch.cat([window[:sinks], hidden, window[sinks:]])
        self.looked = paid if self.looked is None else pad_sequence([paid, self.looked], padding_value=0.0).sum(1)

    def _hide(self, one: Parts) -> None:
        """Move what is no longer recent from the window to the index, many tokens at a time."""
        assert one.hidden is not None
        over = len(one.window) - self.method.static
        if over > self.method.local_max:
            one.hidden.add(*one.window.give(over))

    # -- what it takes ---------------------------------------------------------------------------------------------

    @property
    def fast_bytes(self) -> int:
        """Bytes that every step reads whole: the windows and the tails."""
        total = 0
        for one in self.sequences:
            total += sum(part.nbytes for part in (one.window.keys, one.window.values))
            if one.hidden:
                total += one.hidden.tail.nbytes
        return total

    @property
    def slow_bytes(self) -> int:
        """Bytes of which a step reads a few: hidden keys and values, and the index."""
        hidden = [one.hidden for one in self.sequences if one.hidden]
        parts = [part.nbytes for one in hidden for rows in (one.index.keys, one.values) for part in rows.parts]
        return sum(parts) + int(sum(one.index.stats()["bytes"] for one in hidden))


def found_of_best(found: Found, products: Tensor) -> float:
    """The share of the k hidden keys with the largest products (H, Q, n) that are among the k that were looked for."""
    best = torch.zeros(products.shape, dtype=torch.bool)
    best.scatter_(-1, products.topk(found.ids.shape[2]).indices, True)
    hits = best.gather(-1, found.ids.clamp(min=0)) & (found.ids >= 0)
    return float(hits.float().mean())


def _paid_hidden(
    hidden: Hidden, queries: Tensor, heads: list[int], found: Found | None, total: Tensor, scores: Scores
) -> Tensor:
    """What these heads of one query each (H, 1, D) paid to each hidden token (n,), of those that were `found`."""
    if found is None:
        products = every_product(queries, hidden.index.keys)[heads, 0]
        return (scores(products) - total[heads]).exp().sum(0)
    ids = found.ids[heads, 0]
    paid = (scores(found.products[heads, 0]) - total[heads]).exp().masked_fill(ids < 0, 0.0)
    return paid.new_zeros(len(hidden)).index_add_(0, ids.clamp(min=0).flatten(), paid.flatten())


def _span(real: Tensor) -> tuple[int, int]:
    """First and one past the last real token of a sequence (N,) bool. InputError: none is, or padding lies between."""
    places = real.nonzero().flatten()
    if not len(places) or int(places[-1]) + 1 - int(places[0]) != len(places):
        raise InputError("A sequence of the batch is empty, or has padding in its middle. Pad on one side only.")
    return int(places[0]), int(places[-1]) + 1
