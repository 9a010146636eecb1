"""DHSA: a fixed budget of keys for each query, chosen by chunks that follow the text (Xiong et al., NeurIPS 2025 ws.).

    with attach(model, DHSA(density=0.25)):
        model.generate(**inputs)

The keys of a layer are cut into chunks where a small predictor expects later queries to use the two sides unequally
(boundaries.py). One vector stands for each chunk (chunks.py), one for each block of queries; their products say which
chunks a block of queries looks at, head by head, until the budget of keys is spent. The last `local` and the first
`sink` keys are always among them, and the last `dense_tail` queries, where a prompt's question stands, see all.

    block_keep     what the kernel gets: key blocks of 32 tokens by the mean of their tokens' scores
    token_keep     the paper's selection, token by token: the reference, for small sizes
    decode         with `sparse_decode`, one query chooses among the chunks of the prompt and those of what was
                   generated since, compares itself with the keys of the best, `compared` times `budget`, and takes the
                   values of its nearest, in all as many as `budget` keys and values (dhsa_step.py); else it is exact

Chunks of a prompt are kept from its reading. A cache that was filled elsewhere is cut at the first step, to the same
chunks.

Shapes    queries (B, H, Q, d), keys (B, G, K, d) -> blocks (B, H, query blocks of 128, key blocks of 32)
Source    arXiv 2510.24606 and its code; ours: selection by head (the code averages heads first), keys centred before
          the root-length pooling (chunks.py), decoding (a to-do in the code), in which an answer is fixed chunks of
          its own (paper: one chunk, which in a long answer leaves no room for the prompt) and keys decide within the
          chunks (paper: all of a chunk, `compared=1`)
Cuts      as many as boundaries_from allows, whatever the scores (the code asks for a score above a threshold): with 0.5
          the same mass is kept, and a text in which nothing was above it would be one chunk. The tail is cut like the
          rest (the code: never): its queries look at everything, and what was generated finds a place of the question
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import resources
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import Tensor

from foveal.attention.blocks import BLOCK, Blocks
from foveal.attention.boundaries import BoundaryPredictor, boundaries_from, fixed_boundaries, label_boundaries
from foveal.attention.chunks import POOLINGS, block_vectors, chunk_means, top_tokens, upsample
from foveal.attention.dhsa_sharing import BOUNDS, CHOICE, of_first_layer
from foveal.attention.dhsa_step import Held, Spans, known_by, looked_at
from foveal.attention.estimates import block_means, check_finite, check_pair, largest
from foveal.attention.method import BlockMethod
from foveal.attention.nearest_attention import Runs, nearest_attention
from foveal.attention.own_boundaries import own_predictor
from foveal.attention.profiles import architecture_of
from foveal.attention.remarks import warn_once
from foveal.errors import InputError

if TYPE_CHECKING:
    from foveal.attention.attach import Context

BUDGET, DENSITY, LONG = 1024, 0.125, 8192
"""Keys for each query of a text up to 8,192 tokens; above, this share of the text."""

KEY_BLOCK = 32

KEPT = 4
"""Texts whose chunks a layer keeps: conversations that take turns are not cut anew at each step."""

Starts = tuple[int, ...]

log = logging.getLogger("foveal.attention")


@dataclass(frozen=True)
class DHSA(BlockMethod):
    """A fixed budget of keys for each query, by chunks that follow the text (Xiong et al., 2025, arXiv 2510.24606).

    `budget`: keys for each query at most; or `density`: the same as a share of the text's length, above 0 and at most
    1. Neither: 1,024 keys, of texts above 8,192 tokens an eighth; but no fewer than are always seen. InputError: both,
    or a value out of its range.
    """

    budget: int | None = None
    density: float | None = None
    boundaries: Literal["predicted", "fixed", "oracle"] = "predicted"  # where keys are cut into chunks
    starts: Starts | None = None  # the chunks' first tokens, such as sentences', rising, in place of `boundaries`
    predictor: BoundaryPredictor | None = None  # None: one that was trained here for the model, else a shipped one
    pooling: str = "sqrt_centred"  # how a vector is made of a chunk's keys, one of chunks.POOLINGS
    local: int = BLOCK  # the last keys before a query, in tokens, that are always seen
    sink: int = KEY_BLOCK  # the first keys of the text, likewise
    dense_tail: int = BLOCK  # tokens at the end that look at everything
    chunk: int = KEY_BLOCK  # of fixed boundaries
    sparse_decode: bool = False  # whether new tokens go by the budget, too
    compared: float = 1.5  # of a decoding step's budget: keys that are compared, the values of the rest of 2 are read
    share_boundaries: bool = False  # whether all layers take the chunks of the first one that is done
    share_choice: bool = False  # and its blocks, head by head: the least work, and the coarsest
    name: ClassVar[str] = "dhsa"
    key_block: ClassVar[int] = KEY_BLOCK  # type: ignore[misc]

    def __post_init__(self) -> None:
        """InputError: both budget and density, or a value out of its range."""
        if self.budget is not None and self.density is not None:
            raise InputError("DHSA got both a budget and a density; give one.")
        if self.density is not None and not 0 < self.density <= 1:
            raise InputError(f"DHSA got a density of {self.density}; it must lie above 0 and at most be 1.")
        self._check_cuts()
        if min(self.local, self.sink, self.dense_tail) < 0 or self.chunk < 1 or self.local < 1:
            raise InputError(
                f"DHSA got local {self.local}, sink {self.sink}, dense_tail {self.dense_tail}, chunk {self.chunk}; "
                "local and chunk must be at least 1 token, the others at least 0."
            )
        if self.budget is not None and self.budget < self._always:
            raise InputError(
                f"DHSA got a budget of {self.budget} keys, which cannot hold {self.local} local and {self.sink} first "
                f"ones: with the {self.query_block} of a query's own block, in blocks of {self.key_block}, these are "
                f"{self._always}. Raise it."
            )
        if not 1 <= self.compared < 2:
            raise InputError(
                f"DHSA got compared = {self.compared}; a decoding step compares from 1 to below 2 budgets of keys."
            )
        if self.predictor is not None and not isinstance(self.predictor, BoundaryPredictor):
            raise InputError(
                f"DHSA got {self.predictor!r} for a predictor; it needs a BoundaryPredictor (docs/dhsa.md)."
            )
        if self.pooling not in POOLINGS:
            raise InputError(f"No pooling is called {self.pooling!r}. There are: {', '.join(POOLINGS)}.")

    def _check_cuts(self) -> None:
        if self.boundaries not in ("predicted", "fixed", "oracle"):
            raise InputError(f"DHSA cuts at 'predicted', 'fixed' or 'oracle' boundaries, not at {self.boundaries!r}.")
        if self.starts is not None and self.boundaries != "predicted":
            raise InputError(f"DHSA got both starts of chunks and {self.boundaries!r} boundaries; give one.")
        if self.starts is not None and any(a >= b for a, b in pairwise((-1, *self.starts))):
            raise InputError(f"DHSA got the starts {self.starts[:8]}…; they must be tokens from 0 on that rise.")

    def budget_for(self, keys: int) -> int:
        """Keys for each query of a text of `keys` tokens."""
        if self.budget is not None:
            return self.budget
        short = self.density is None and keys <= LONG
        wanted = BUDGET if short else int((DENSITY if self.density is None else self.density) * keys)
        return max(self._always, wanted)

    @property
    def _always(self) -> int:
        """Keys of the blocks that are looked at in any case."""
        return (self._local_blocks + -(-self.sink // self.key_block)) * self.key_block

    @property
    def _local_blocks(self) -> int:
        """Key blocks up to a query block's end; its own are among them, as every query sees itself."""
        return max(-(-self.local // self.key_block), self.query_block // self.key_block)

    def prefill(self, query: Tensor, key: Tensor, context: Context) -> Blocks | None:
        """The blocks of each head; None where the budget holds the whole text.

        InputError: queries and keys that do not fit, or hold NaN or infinity, or keys of another model's predictor.
        """
        check_pair(query, key)
        keys = key.shape[2]
        if self.budget_for(keys) >= keys and not self.sparse_decode:
            return None
        bounds = self._bounds(query, key, context)
        texts = [*zip(torch.split(query, 1), torch.split(key, 1), bounds, strict=True)]

        @cache
        def vectors(number: int) -> Tensor:
            return self._pooled(*texts[number][1:])

        def chosen() -> Tensor:
            return torch.cat([self.block_keep(*one, vectors(number)) for number, one in enumerate(texts)])

        if self.sparse_decode and context.memory is not None:  # of a batch the last one; it is decoded exactly
            _, own, cut = texts[-1]
            context.memory[context.layer] = (Held.of(own, cut, vectors(len(texts) - 1), self.pooling),)
        keep = of_first_layer(CHOICE, key, context, chosen) if self.share_choice else chosen()
        return self.blocks(keep, query, key)

    def _pooled(self, key: Tensor, bounds: Tensor) -> Tensor:
        return chunk_means(key, bounds, pooling=self.pooling)

    # -- where to cut ----------------------------------------------------------------------------------------------

    def _bounds(self, query: Tensor, key: Tensor, context: Context) -> list[Tensor]:
        """The chunks of each text: this layer's, or those of the first one."""

        def cut() -> list[Tensor]:
            texts = zip(torch.split(query, 1), torch.split(key, 1), strict=True)
            return [self.cut(asked, one, context) for asked, one in texts]

        shared = self.share_boundaries or self.share_choice
        return of_first_layer(BOUNDS, key, context, cut) if shared else cut()

    def cut(self, query: Tensor, key: Tensor, context: Context) -> Tensor:
        """The chunks' starts and the end (n + 1,) of one text's keys (1, G, K, d)."""
        keys = key.shape[2]
        if self.starts is not None:  # those beyond the keys are of what is read later
            inner = [start for start in self.starts if 0 < start < keys]
            return torch.tensor([0, *inner, keys], device=key.device)
        if self.boundaries == "fixed":
            return fixed_boundaries(keys, self.chunk).to(key.device)
        if self.boundaries == "oracle":
            if query.shape[2] != keys:
                raise InputError("Oracle boundaries need all queries: read the text in one piece.")
            return boundaries_from(label_boundaries(query, key, scale=context.scale)[0], threshold=0.0)
        predictor = self.predictor or predictor_for(context.module.config)
        scores = predictor.to(key.device).predict(key)
        check_finite(query, key, scores)
        return boundaries_from(scores[0])

    # -- where to look ---------------------------------------------------------------------------------------------

    def block_keep(self, query: Tensor, key: Tensor, bounds: Tensor, vectors: Tensor) -> Tensor:
        """The key blocks (1, H, query blocks, key blocks) that each block of queries looks at."""
        asked = block_means(query, self.query_block, lead=self.lead(query, key))
        folded = asked.view(1, key.shape[1], -1, asked.shape[3])  # the heads of a group share its keys
        check_finite(query, key, asked, vectors)
        blocks = block_vectors(vectors, bounds, self.key_block)
        scores = (folded @ blocks.transpose(-1, -2)).view(*asked.shape[:3], -1)
        rows, columns = self.grid(query, key)
        last = rows + self.query_block // self.key_block - 1
        causal = columns <= last[:, None]
        end = last.clamp(max=len(columns) - 1)  # where a text ends within a block of queries, so does what is near
        local = causal & (columns > end[:, None] - self._local_blocks)
        always = local | (columns * self.key_block < self.sink)
        ranked = scores.masked_fill(~causal, -torch.inf).masked_fill(always & causal, torch.inf)
        budget, keys = self.budget_for(key.shape[2]), key.shape[2]
        count = max(1, budget // self.key_block) if budget < keys else len(columns)
        return (largest(ranked, count) | self.last(query, key, self.dense_tail)) & causal

    def token_keep(self, query: Tensor, key: Tensor, bounds: Tensor) -> Tensor:
        """What each block of queries looks at, token by token: (1, H, query blocks, K) bool."""
        vectors = chunk_means(key, bounds, pooling=self.pooling)
        asked = block_means(query, self.query_block)
        folded = asked.view(1, key.shape[1], -1, asked.shape[3])
        scores = upsample((folded @ vectors.transpose(-1, -2)).view(*asked.shape[:3], -1), bounds, key.shape[2])
        return top_tokens(
            scores, self.budget_for(key.shape[2]), block=self.query_block, local=self.local, sink=self.sink
        )

    # -- decoding --------------------------------------------------------------------------------------------------

    def attend(self, query: Tensor, key: Tensor, value: Tensor, context: Context) -> Tensor | None:
        """As every method does; where a step cannot go by its budget, and looks at all keys, that is said once."""
        keys, mask = key.shape[2], context.mask.read
        if self.sparse_decode and query.shape[2] == 1 and not mask.slides and self.budget_for(keys) < keys:
            if len(query) > 1 or mask.real is not None:
                _say("it decodes one text at a time, and this is a batch, or padded")
            elif not mask.by_position:
                _say("its mask is the caller's own")
        return super().attend(query, key, value, context)

    def decode(self, query: Tensor, key: Tensor, value: Tensor, context: Context) -> Tensor | None:
        """One query (1, H, 1, d) over `budget` keys of the chunks that it scores highest; None: over all."""
        budget = self.budget_for(key.shape[2])
        if not self.sparse_decode or len(query) != 1 or budget >= key.shape[2]:
            return None
        held = self._held(query, key, context)
        if held is None:
            return None
        runs, count = self.step_keys(query, key, held, budget)
        how: dict[str, Any] = {"scale": context.scale, "softcap": context.softcap, "sinks": context.sinks}
        return nearest_attention(query, key, value, runs, count=count, **how)

    def step_keys(self, query: Tensor, key: Tensor, held: Held, budget: int) -> tuple[Runs, int]:
        """The keys that a step compares with its query, and how many of the nearest it attends."""
        wanted = min(round(self.compared * budget), 2 * budget - 1)
        if wanted < key.shape[2]:
            runs = looked_at(query, key, held, Spans(self.sink, self.local, self.chunk), wanted)
        else:
            runs = Runs.whole(query.shape[1], key.shape[2], key.device)
        return runs, min(runs.listed, 2 * budget - runs.listed)

    def _held(self, query: Tensor, key: Tensor, context: Context) -> Held | None:
        """The chunks of the text that the keys (1, G, K, d) begin with, made now where none were kept.

        None: they cannot be made, or not be kept; it is said.
        """
        if context.memory is None:
            _say("nothing is kept from one step to the next: use it inside of attach(…)")
            return None
        known: tuple[Held, ...] = context.memory.get(context.layer, ())
        found = known_by(known, key)
        if found is None and self.boundaries == "oracle":
            _say("oracle boundaries need the prompt's queries, and it was read elsewhere")
        elif found is None:
            before = key[:, :, :-1]  # the newest key is the query's own
            (bounds,) = self._bounds(query, before, context)
            found = Held.of(before, bounds, self._pooled(before, bounds), self.pooling)
            context.memory[context.layer] = (found, *known)[:KEPT]
        if found is not None:
            found.stepped(key)
        return found


def _say(why: str) -> None:
    warn_once(log, "DHSA decodes over all keys, not over its budget: %s (docs/dhsa.md).", why)


def predictor_for(config: Any) -> BoundaryPredictor:
    """The predictor of a model of this configuration: trained here, else shipped. InputError: there is none."""
    return own_predictor(config) or shipped_predictor(config)


def shipped_predictor(config: Any) -> BoundaryPredictor:
    """The predictor that is shipped for a model of this configuration. InputError: there is none."""
    architecture = architecture_of(config)
    found = _shipped().get(architecture)
    if found is None:
        raise InputError(
            f"No boundary predictor is shipped for a model like this one ({architecture}). Train one: foveal train "
            "boundaries --model … (docs/dhsa.md); or use DHSA(boundaries='fixed')."
        )
    return _loaded(found)


def _shipped() -> dict[str, str]:
    """Architecture -> file."""
    folder = Path(str(resources.files("foveal.attention"))) / "shipped"
    found = {}
    for path in sorted(folder.glob("boundaries-*.safetensors")):
        origin = _loaded(str(path)).origin
        if origin is not None:
            found[origin.architecture] = str(path)
    return found


@lru_cache(maxsize=8)
def _loaded(path: str) -> BoundaryPredictor:
    return BoundaryPredictor.load(Path(path))
