"""The layers of a cache that keeps less of some key-value heads than of others, and how a query reads what is kept.

While a prompt is read, a layer gives all keys and values, as any cache does; with the last token of the prompt it
*settles*: each key-value head keeps its own part (head_cache.py says which), the rest is freed. The next layer has not
been read by then, so that no more than one layer is ever held whole. What comes later:

    a head that rolls      its first tokens and the last ones; above its size the oldest of these leave
    any other              what it kept, and everything new
    a compensated head     besides, one key and value that stand for all that were dropped (RazorAttention)

Shapes    queries (1, H, Q, D), keys and values (1, G, N, D); a head's own are (1, n, D), its queries (H / G · Q, D)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from foveal.attention.kernel import merge, with_sinks
from foveal.attention.memory_parts import Part, Scores, Window, exact
from foveal.attention.owned_layers import OwnedLayer, Turn
from foveal.attention.rows import Rows
from foveal.errors import InputError
from foveal.models.key_values import KeyValues

if TYPE_CHECKING:
    from foveal.attention.attach import Context

ROLLED = 32
"""New tokens after which a head that rolls lets as many old ones go."""


@dataclass(frozen=True)
class Keep:
    """What one key-value head keeps of a prompt: the places `ids` (n,), None for all."""

    ids: Tensor | None = None
    rolls: int | None = None  # tokens that it keeps of the first, where it rolls
    size: int = 0  # tokens that a head which rolls holds, the first among them
    compensated: bool = False


class Store:
    """One key-value head of a settled layer."""

    def __init__(self, keys: Tensor, values: Tensor, keep: Keep) -> None:
        """Of keys and values (N, D) what `keep` says."""
        self.keep = keep
        self.compensation: tuple[Tensor, Tensor, int] | None = None
        kept = range(len(keys)) if keep.ids is None else keep.ids
        if keep.compensated and len(kept) < len(keys):
            dropped = torch.ones(len(keys), dtype=torch.bool, device=keys.device)
            dropped[kept] = False
            count = int(dropped.sum())
            self.compensation = keys[dropped].float().mean(0), values[dropped].float().mean(0), count
        # Copies: a view would hold the layer's whole keys.
        self.keys, self.values = (
            (part.clone() if keep.ids is None else part[keep.ids].contiguous())[None] for part in (keys, values)
        )
        self._new()

    def _new(self) -> None:
        none = self.keys[:, :0]
        self.window = Window(none, self.values[:, :0], 0)

    def attend(self, queries: Tensor, scores: Scores, sinks: Tensor | None = None) -> Tensor:
        """The output (S, Q, D) of the queries (S, Q, D) of the heads that share this one; `sinks` (S,) are theirs."""
        share, each, width = queries.shape
        parts: list[Part] = []
        if self.keys.shape[1]:
            folded = queries.reshape(1, share * each, width)
            out, sums = exact(folded, Rows(self.keys), Rows(self.values), scores)
            parts.append((out.view(share, each, -1), sums.view(share, each)))
        if len(self.window):
            parts.append(self.window.attend(queries, scores))
        if self.compensation is not None:
            key, value, count = self.compensation
            mass = scores(queries.float() @ key) + math.log(count)
            parts.append((value.expand(share, each, -1), mass))
        return with_sinks(*merge(parts), sinks)[0]

    def append(self, keys: Tensor, values: Tensor) -> None:
        """Take in new tokens (N, D)."""
        self.window.append(keys[None], values[None])

    def roll(self) -> None:
        """Let the oldest tokens go, where this head rolls and holds enough beyond its size."""
        first, over = self.keep.rolls, self.keys.shape[1] + len(self.window) - self.keep.size
        if first is None or over < ROLLED:
            return
        held = ((self.keys, self.window.keys), (self.values, self.window.values))
        keys, values = (torch.cat([old, new.to(old.dtype)], 1) for old, new in held)
        gone = slice(first, first + over)
        if self.keep.compensated:
            self._fold(keys[0, gone], values[0, gone])
        self.keys, self.values = (torch.cat([part[:, :first], part[:, gone.stop :]], 1) for part in (keys, values))
        self._new()

    def _fold(self, keys: Tensor, values: Tensor) -> None:
        """Take tokens (n, D) into the key and value that stand for those that were dropped."""
        nothing = keys.new_zeros(1).float(), values.new_zeros(1).float(), 0
        key, value, count = self.compensation or nothing
        more = count + len(keys)
        key = (key * count + keys.float().sum(0)) / more
        self.compensation = key, (value * count + values.float().sum(0)) / more, more

    def fork(self) -> Store:
        """A store that goes on by itself from here; what is held so far is shared."""
        other = Store.__new__(Store)
        other.__dict__.update(self.__dict__)
        other._new()
        if len(self.window):
            other.window.append(self.window.keys, self.window.values)
        return other

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        held = [self.keys, self.values, self.window.keys, self.window.values]
        held += list(self.compensation[:2]) if self.compensation else []
        return sum(part.nbytes for part in held)


class HeadLayer(OwnedLayer):  # type: ignore[no-untyped-call]
    """A layer that sees the whole text. Made by `HeadCache.make_cache`."""

    what: ClassVar[str] = "A cache by heads"

    def __init__(self, choose: Any, number: int, turn: Turn, tokens: int | None = None) -> None:
        """`choose(layer, keys, query rows, scores)` gives a `Keep` for each head; `tokens`: of the whole prompt."""
        super().__init__(number, turn)
        self.choose, self.given, self.tokens = choose, tokens, tokens
        self.stores: list[Store] = []
        self._reading: KeyValues | None = KeyValues()
        self._observed: Tensor | None = None
        self._fresh: tuple[Tensor, Tensor] | None = None

    @property
    def settled(self) -> bool:
        """Whether the prompt is read."""
        return bool(self.stores)

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Take in (1, G, N, D): all keys and values, or, once settled, the new ones; marked with this layer."""
        if len(key_states) != 1:
            raise InputError(
                f"{len(key_states)} sequences came; a cache by heads holds one, for each would keep other tokens. Send "
                "them one at a time."
            )
        self.begin(key_states)
        value_states = value_states.to(key_states.dtype)  # under autocast keys, which were turned, are float32 alone
        if self.settled:
            keys, values = self._fresh = key_states, value_states
        else:
            assert self._reading is not None
            keys, values = self._reading.update(key_states, value_states)
        return self.marked(keys), values

    def observe(self, query: Tensor, context: Context, rows: int) -> None:
        """Keep the last `rows` queries of a pass, and settle with the last token of the prompt."""
        self.tokens = self.read_to("prompt", self.tokens)
        before = [] if self._observed is None else [self._observed]
        self._observed = torch.cat([*before, query[0]], 1)[:, -rows:].clone()
        if self.length == self.tokens:
            assert self._reading is not None
            held = self._reading
            self.settle(held.keys[0, :, : held.length], held.values[0, :, : held.length], self._observed, context)

    def settle(self, keys: Tensor, values: Tensor, observed: Tensor, context: Context | Scores) -> None:
        """Keep of keys and values (G, N, D) what is chosen, by the last queries (H, T, D)."""
        scores = context if isinstance(context, Scores) else Scores(context.scale, context.softcap)
        keeps: Sequence[Keep] = self.choose(self.number, keys, observed, scores)
        self.stores = [Store(k, v, keep) for k, v, keep in zip(keys, values, keeps, strict=True)]
        self.length, self.is_initialized = keys.shape[1], True
        self._reading = self._observed = None

    def attend(self, query: Tensor, context: Context) -> Tensor:
        """The output (1, H, Q, D) of new queries, whose keys and values were just given to `update`."""
        self.asked()
        assert self._fresh is not None
        keys, values = self._fresh
        self._fresh = None
        scores = Scores(context.scale, context.softcap)
        asked = query[0].view(len(self.stores), -1, query.shape[2], query.shape[3])
        share = [None] * len(self.stores) if context.sinks is None else context.sinks.view(len(self.stores), -1)
        outputs = []
        for store, own, key, value, sinks in zip(self.stores, asked, keys[0], values[0], share, strict=True):
            store.append(key, value)
            outputs.append(store.attend(own, scores, sinks))
            store.roll()
        return torch.cat(outputs)[None].to(query.dtype)

    @property
    def nbytes(self) -> int:
        """Bytes held for keys and values."""
        if self._reading is not None and self._reading.is_initialized:
            return self._reading.keys.nbytes + self._reading.values.nbytes
        return sum(store.nbytes for store in self.stores)

    def fork(self, turn: Turn) -> HeadLayer:
        """A settled layer that goes on by itself from here."""
        other = HeadLayer(self.choose, self.number, turn, self.given)
        other.stores, other.length, other.is_initialized = [one.fork() for one in self.stores], self.length, True
        other._reading = None
        return other

    def reset(self) -> None:
        """Forget everything."""
        self.__dict__.update(HeadLayer(self.choose, self.number, self.turn, self.given).__dict__)
