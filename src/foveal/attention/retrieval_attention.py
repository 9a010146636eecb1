"""RetrievalAttention: decoding over a long context by searching its keys instead of scanning them.

    method = RetrievalAttention()
    with attach(model, method):
        memory = method.make_cache(model)                     # a Cache of transformers that owns keys and values
        model.generate(**inputs, cache=memory)                # the prompt is read exactly; what follows is searched
    print(memory.explain())

Each head of each layer that sees the whole text looks at a window (the first and last tokens of the context, and all
that came since) and at the `top_k` hidden keys that an index finds for its query. Both are merged by their
log-sum-exps; the rest is stood for by what it would add if keys were normally distributed (memory_parts.py). The index
learns from the prompt's own queries (roar_graph.py), half of them asked again from behind it (later_queries.py). Below
`crossover` hidden keys all of them are scored, which is exact and no slower there. Layers with a sliding window stay as
they are.

Beside it, in the same class: the other indexes of key_index.py, StreamingLLM (no search), SnapKV (a fixed choice) and
full attention.

Shapes    queries (B, H, Q, D), keys and values (B, G, N, D), H a multiple of G
Needs     the whole context in one pass, or its number of tokens before it is read in several; one beam
Against   flexprefill.py and dhsa.py shorten the reading of a prompt; this shortens each token after it
Source    arXiv 2409.10516 (NeurIPS 2025). A question of several tokens is answered exactly, over window and hidden keys
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from math import floor, inf, isnan, nan
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor
from transformers.cache_utils import Cache

from foveal.attention.key_index import INDEXES, IndexSettings, KeyIndex, build
from foveal.attention.memory_layers import OBSERVED, MemoryLayer, owner_of
from foveal.attention.memory_parts import Nothing, Scores, Snapped
from foveal.attention.method import BlockMethod
from foveal.attention.owned_layers import SlidingLayer, Turn
from foveal.attention.roar_graph import check_shapes
from foveal.attention.rotation import Rotations, rotations_of
from foveal.attention.rows import Rows
from foveal.errors import InputError, UnknownName
from foveal.evaluation.tables import as_text

if TYPE_CHECKING:
    from rich.table import Table

    from foveal.attention.attach import Context

AUTO = "auto"
KINDS = (AUTO, *INDEXES, "streaming", "snapkv", "full")

CROSSOVER = 32_768
"""Hidden keys from which a graph pays: below, scoring all takes little longer, and nothing has to be built."""


@dataclass(frozen=True, kw_only=True)
class RetrievalAttention:
    """Decoding looks at a window and at the keys that an index finds; prompts are read exactly.

    RetrievalAttention (Liu et al., NeurIPS 2025, arXiv 2409.10516). Tokens: `top_k` keys found for each head, `n_sink`
    and `n_local` of the window, `crossover` hidden keys below which all are scored. Needs a cache of `make_cache`.
    InputError: a value out of its range. UnknownName: no such index.
    """

    top_k: int = 400  # hidden keys that each query looks at
    n_sink: int = 128  # first tokens of the context, always looked at
    n_local: int = 512  # last ones
    index: str = AUTO  # one of KINDS
    crossover: int = CROSSOVER  # hidden keys from which "auto" builds a graph
    stream: str = "append"  # "append": what is generated stays in the window; "insert": it moves on to the index
    local_max: int = 1024  # tokens in the window, beyond n_sink and n_local, before they move on
    tail: bool = True  # whether keys that were not found are stood for by their expectation; False: as published
    clusters: int = 64  # of the hidden keys of a group of heads, each with an expectation of its own
    exact_every: int = 0  # steps between two at which the mass looked at is measured exactly, at full cost; 0: never
    indexes: IndexSettings = field(default_factory=IndexSettings)
    prompts: BlockMethod | None = None  # how the context is read; None: densely
    from_layer: int = 0  # layers before it look at everything
    pyramid: float = 1.0  # times that the last layer's top_k goes into the mean, which is `top_k`; 1: all alike
    name: ClassVar[str] = "retrieval"
    takes_sinks: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """InputError: a value out of its range. UnknownName: no index is called that."""
        if (
            self.clusters < 1
            or self.top_k < 1
            or self.n_sink < 0
            or self.n_local < 1
            or self.crossover < 0
            or self.exact_every < 0
            or self.from_layer < 0
            or not 1 <= self.pyramid <= self.top_k
        ):
            raise InputError(
                f"RetrievalAttention got top_k {self.top_k}, n_sink {self.n_sink}, n_local {self.n_local}, crossover "
                f"{self.crossover}, exact_every {self.exact_every}, clusters {self.clusters}, from_layer "
                f"{self.from_layer}, pyramid {self.pyramid}; top_k, n_local and clusters must be at least 1, pyramid 1 "
                "to top_k, the others at least 0."
            )
        if self.stream not in ("append", "insert") or self.local_max < 1:
            raise InputError(
                f"RetrievalAttention got stream {self.stream!r}, local_max {self.local_max}; it streams by 'append' or "
                "'insert', at least 1 token at a time."
            )
        if self.index not in KINDS:
            raise UnknownName(f"No index is called {self.index!r}. There are: {', '.join(KINDS)}.")
        if self.stream == "insert" and self.index in ("snapkv", "full"):
            raise InputError(f"{self.index} has no index to insert into. Stream by 'append'.")

    @property
    def static(self) -> int:
        """Tokens of the context in the window."""
        return self.n_sink + self.n_local

    def at(self, number: int, config: Any) -> RetrievalAttention:
        """What the layer of that number does, in a model of this configuration: all of it, or its share of the keys."""
        if number < self.from_layer:
            return replace(self, index="full", stream="append", from_layer=0, pyramid=1.0)
        if self.pyramid == 1:
            return self
        searching = [one for one, window in enumerate(windows(config)) if window is None and one >= self.from_layer]
        top_k = pyramid_budgets(self.top_k, len(searching), self.pyramid)[searching.index(number)]
        return replace(self, top_k=top_k, from_layer=0, pyramid=1.0)

    def kind_for(self, hidden: int) -> str:
        """The index for so many hidden keys."""
        if self.index == AUTO:
            return "roar" if hidden >= self.crossover else "flat"
        return self.index

    def index_of(self, kind: str, keys: Tensor, queries: Tensor | None, scores: Scores) -> KeyIndex:
        """The index over hidden keys (G, n, D) that these queries (H, T, D) of the context looked at."""
        check_shapes(keys, keys if queries is None else queries)
        if kind in ("streaming", "full"):
            return Nothing(Rows(keys))
        if kind == "snapkv":
            assert queries is not None
            return Snapped.build(keys, queries[:, -OBSERVED:], self.top_k, scores)
        return build(kind, keys, keys if queries is None else queries, self.indexes)

    def make_cache(self, model: Any, *, tokens: int | None = None) -> RetrievalCache:
        """An empty cache for `model`; `tokens` of the context, where it will be read in several passes."""
        return RetrievalCache.empty(model.config, self, tokens=tokens, rotations=self.rotations(model, tokens))

    def rotations(self, model: Any, tokens: int | None = None) -> Rotations | None:
        """How the model turns its queries, in a text of `tokens`, if a graph may learn from them.

        None, and they are learned from as they are, where that is not known: also in a model that turns by other angles
        in a longer text (dynamic, LongRoPE), where nothing says how long it will be.
        """
        if self.index not in (AUTO, "roar"):
            return None
        try:
            found = rotations_of(model)
            if found.by_length:
                return rotations_of(model, reach=tokens) if tokens else None
        except InputError:
            return None
        return found

    # -- as an attention method ------------------------------------------------------------------------------------

    def attend(self, query: Tensor, key: Tensor, value: Tensor, context: Context) -> Tensor | None:
        """The output (B, H, Q, D); None, dense attention, while the context is read, and with any other cache.

        InputError: a mask of one's own, padding behind the context, or a part of the heads.
        """
        owner = owner_of(key)
        if owner is None:
            return None
        owner.check(context)
        if not context.mask.by_position:
            raise InputError("A searched cache needs a causal text; a mask of one's own cannot be kept to.")
        if owner.settled:
            return owner.attend(query, context)
        owner.observe(query, context)
        return self.prompts.attend(query, key, value, context) if self.prompts else None

    def seen(self, rows: Tensor, context: Context) -> Tensor | None:  # noqa: ARG002
        """A recorder shows the model's own attention."""
        return None


class RetrievalCache(Cache):
    """The keys and values of a model, searched: a `Cache` of transformers, made by `RetrievalAttention.make_cache`.

    `layers` are `MemoryLayer`s and `SlidingLayer`s. Afterwards it says how much was looked at.
    """

    layers: list[Any]

    def __init__(self, layers: list[MemoryLayer | SlidingLayer], method: RetrievalAttention) -> None:
        super().__init__(layers=[*layers])
        self.method = method

    @classmethod
    def empty(
        cls,
        config: Any,
        method: RetrievalAttention,
        *,
        tokens: int | None = None,
        rotations: Rotations | None = None,
    ) -> RetrievalCache:
        """A cache for a model of this configuration, whose queries are turned by `rotations`, if that is known.

        InputError: it has layers of another kind, or no tokens.
        """
        if tokens is not None and tokens < 1:
            raise InputError(f"A cache was asked for {tokens} tokens of context; it needs at least 1.")
        turn = Turn()
        layers: list[MemoryLayer | SlidingLayer] = []
        for number, window in enumerate(windows(config)):
            if window is None:
                rotation = rotations.at(number) if rotations else None
                layers.append(MemoryLayer(method.at(number, config), number, turn, tokens, rotation))
            else:
                layers.append(SlidingLayer(window))
        return cls(layers, method)

    @property
    def memories(self) -> list[MemoryLayer]:
        """The layers that see the whole text."""
        return [layer for layer in self.layers if isinstance(layer, MemoryLayer)]

    def watch(self, heads: Mapping[int, Sequence[int]]) -> None:
        """From now on keep what these heads, by layer, pay to each token that they find or see in the window."""
        for layer in self.memories:
            layer.watched, layer.looked = list(heads.get(layer.number, ())), None

    def looked(self) -> Tensor:
        """What the watched heads of single queries paid to each token of the text since (tokens,)."""
        found = torch.zeros(self.get_seq_length(), dtype=torch.float32)
        for layer in self.memories:
            if layer.looked is not None:
                found[: len(layer.looked)] += layer.looked
        return found

    def statistics(self) -> dict[str, Any]:
        """What was looked at, by layer and as a mean; shares are of the hidden keys (scanned), of the mass, or of the
        best keys (recall, where `exact_every` has it measured). `built`: of all layers' indexes the seconds, and as a
        mean what they are like (links of a key, share of the keys that the projection reached, keys attached, …).
        """
        layers = {layer.number: layer.tally.means() for layer in self.memories}
        told = [one for one in layers.values() if one["steps"]]
        names = sorted({name for one in told for name in one})
        mean = {name: sum(one[name] for one in told if name in one) / len(told) for name in names} if told else {}
        kinds = sorted({one.kind for layer in self.memories for one in layer.sequences})
        return {
            "tokens": self.get_seq_length(),
            "hidden": max((len(s.hidden) for one in self.memories for s in one.sequences if s.hidden), default=0),
            "index": ", ".join(kinds),
            "fast_bytes": sum(layer.fast_bytes for layer in self.memories),
            "slow_bytes": sum(layer.slow_bytes for layer in self.memories),
            "built": self._built(),
            "mean": mean,
            "layers": layers,
        }

    def _built(self) -> dict[str, float]:
        """Of the indexes, which took these seconds together: the mean of what each tells."""
        told = [one.built for layer in self.memories for one in layer.sequences if one.built]
        names = sorted({name for one in told for name in one} - {"bytes"})
        sums = {name: sum(one.get(name, 0.0) for one in told) for name in names}
        return {name: value if name == "seconds" else value / len(told) for name, value in sums.items()}

    def explain(self) -> str:
        """The same as a table."""
        return as_text(self.table(), width=110)

    def table(self) -> Table:
        """A row for each layer."""
        from rich.table import Table

        told = self.statistics()
        title = f"{told['tokens']:,} tokens, {told['hidden']:,} hidden behind: {told['index'] or 'nothing yet'}"
        if built := told["built"]:
            title += f", built in {built['seconds']:,.1f} s"
            title += f" ({built['degree']:.1f} links a key)" if "degree" in built else ""
        table = Table(title=title)
        for column in (
            "layer",
            "steps",
            "keys visited",
            "of the hidden",
            "in the window",
            "missed (est.)",
            "recovered",
            "best keys found",
        ):
            table.add_column(column, justify="right")
        for number, one in told["layers"].items():
            shares = [_share(one, name) for name in ("scanned", "window", "missed", "recovered", "recall")]
            visited = f"{one['visited']:,.0f}" if one["steps"] else ""
            table.add_row(str(number), f"{one['steps']:.0f}", visited, *shares)
        return table


def _share(told: Mapping[str, float], name: str) -> str:
    """A mean over a layer's searches, as a person reads it: nothing where there were none, or it cannot be told."""
    value = told.get(name, nan) if told["steps"] else nan
    return "" if isnan(value) else f"{value:.2%}"


def pyramid_budgets(mean: int, layers: int, steepness: float) -> list[int]:
    """The keys of each layer, from the first to the last: they fall evenly, from what is left to mean / steepness, and
    are mean × layers in all (PyramidKV, arXiv 2406.02069, section 4; RetrievalAttention, appendix F).
    """
    last = mean / steepness
    first = 2 * mean - last
    sums = [0.0]
    for number in range(layers):
        place = number / (layers - 1) if layers > 1 else 0.5
        sums.append(sums[-1] + first + (last - first) * place)
    whole = [floor(one + 0.5) for one in sums]
    return [after - before for before, after in pairwise(whole)]


def windows(config: Any) -> list[int | None]:
    """The sliding window of each layer, None where it sees the whole text. InputError: a layer is of another kind.

    A window as long as the model's positions, such as Phi-3's, is none.
    """
    text = config.get_text_config(decoder=True)
    sliding = getattr(text, "sliding_window", None)
    if sliding and sliding >= (getattr(text, "max_position_embeddings", None) or inf):
        sliding = None
    every = "sliding_attention" if sliding else "full_attention"  # as in transformers' caches: Mistral names no kinds
    kinds = getattr(text, "layer_types", None) or [every] * text.num_hidden_layers
    images = ["cross_attention"] if getattr(text, "cross_attention_layers", None) else []  # Mllama's kinds leave it out
    unknown = sorted({*kinds, *images} - {"full_attention", "sliding_attention"})
    if unknown:
        raise InputError(f"A searched cache holds full and sliding attention; this model has {', '.join(unknown)}.")
    return [int(sliding) if kind == "sliding_attention" and sliding else None for kind in kinds]
