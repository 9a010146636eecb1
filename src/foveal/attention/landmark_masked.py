"""Landmark attention for masked tokens: each is told from both sides, in a text of any length, layer by layer.

    model = MaskedLandmarks(decoder, LandmarkVariantSettings(block=32, masked=0.15))
    loss = model(ids, labels=ids).loss                  # a window: a share of it masked, and to be told
    logits = model.fill(ids, masked)                    # (B, N, vocabulary); ids and masked (bool) (B, N), any length

In training a query sees all of its block and, through their landmarks, all other blocks of the window. A long text goes
through one layer after another as a whole; in each, a chunk of it looks at itself and at the `top_k` blocks that each
head opens among all others, before and behind, by the greatest share that any token of the chunk gives a landmark.

Positions  as stingy as the causal ones, on either side: to be scored, the nearest k blocks of a side stand where they
           are, all farther ones one place beyond them; once chosen, they stand side by side, nearest to the chunk, with
           one place left empty before the farther ones
Shapes     q (B, H, N, D), k and v (B, G, N, D), not turned
Source     Mohtashami and Jaggi, NeurIPS 2023 (arXiv 2305.16300): masked language modelling as a further use; the
           positions of blocks behind a chunk are ours
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from foveal.attention.attach import Context
from foveal.attention.kernel import merge
from foveal.attention.landmark import is_landmark
from foveal.attention.landmark_cache import ReadSettings
from foveal.attention.landmark_variants import (
    LandmarkVariant,
    LandmarkVariantSettings,
    VariantCache,
    variant_attention,
)
from foveal.errors import InputError
from foveal.nn.next_tokens import LanguageOutput

MASK = "mask.safetensors"
SEED = 0
"""Of what is masked where nothing is learnt, so that what is measured can be compared."""


class MaskedLandmarks(LandmarkVariant):
    """A decoder's layers, trained with landmarks to tell masked tokens from both sides; it writes nothing."""

    def __init__(self, base: Any, settings: LandmarkVariantSettings | None = None) -> None:
        """As `LandmarkModel`. InputError: the settings mask nothing."""
        settings = settings or LandmarkVariantSettings(masked=0.15)
        if not settings.masked:
            raise InputError("MaskedLandmarks got masked = 0; it needs a share of the tokens to be told, such as 0.15.")
        super().__init__(base, settings)
        self.mask = nn.Parameter(self.landmark.detach().clone())

    def forward(self, input_ids: Tensor, labels: Tensor | None = None) -> LanguageOutput:
        """Logits (B, T, vocabulary) of a window with a share of it masked, drawn anew in training; and, of labels
        (B, T), the loss of the masked ones. InputError: wrong shapes, or more tokens than a window has.
        """
        self._check_ids(input_ids)
        if input_ids.shape[1] > self.settings.window_tokens:
            raise InputError(
                f"{input_ids.shape[1]} tokens came; at once it takes {self.settings.window_tokens}. Use fill."
            )
        masked = self.drawn(input_ids)
        logits = self.logits(self._states(input_ids, masked, _Sides(self, None)))
        if labels is None:
            return LanguageOutput(None, logits)
        flat = logits[masked]
        loss = F.cross_entropy(flat if flat.dtype == torch.float64 else flat.float(), labels[masked].long())
        return LanguageOutput(loss, logits)

    def drawn(self, ids: Tensor) -> Tensor:
        """Which of the tokens (B, T) are masked, at least one of each text."""
        generator = None if self.training else torch.Generator().manual_seed(SEED)
        chance = torch.rand(ids.shape, generator=generator, dtype=torch.float32)
        found = chance < self.settings.masked
        return (found | (chance == chance.amin(1, keepdim=True))).to(ids.device)

    @torch.no_grad()
    def fill(self, ids: Tensor, masked: Tensor, *, top_k: int | None = None) -> Tensor:
        """Logits (B, N, vocabulary) of tokens of any number, those of `masked` (B, N) unseen. `top_k`: blocks that a
        head opens for a chunk; None: as many as `make_cache` would take. InputError: shapes, or too many blocks.
        """
        self._check_ids(ids)
        if masked.shape != ids.shape or masked.dtype != torch.bool:
            raise InputError(f"masked is {masked.dtype} {tuple(masked.shape)}; it needs a bool for each of the ids.")
        if top_k is None:
            top_k = min(4, max(1, self.settings.train_length // self.settings.block - 2))
        return self.logits(self._states(ids, masked, _Sides(self, ReadSettings(top_k=top_k).top_k)))

    @torch.no_grad()
    def logprobs(self, ids: Tensor, cache: Any = None) -> Tensor:  # noqa: ARG002
        """The log-probability of a share of the tokens (B, N), each masked: (1, of all texts) float32."""
        masked = self.drawn(ids)
        told = self.fill(ids, masked)[masked].float().log_softmax(-1)
        return told.gather(-1, ids[masked][:, None])[None, :, 0]

    def make_cache(self, settings: ReadSettings | None = None) -> VariantCache:  # noqa: ARG002
        """InputError: a text is not read on from a cache, as all of it is seen from both sides."""
        raise InputError("A masked landmark model sees a text from both sides, and reads none on. Use fill.")

    def _states(self, ids: Tensor, masked: Tensor, method: Any) -> Tensor:
        """The last layer's states of ordinary tokens (B, N, d)."""
        block = self.settings.block
        length = ids.shape[1] + ids.shape[1] // (block - 1)
        marks = is_landmark(length, block, device=ids.device)
        embedded = self.base.get_input_embeddings()(ids)
        embedded = torch.where(masked[..., None], self.mask.to(embedded.dtype), embedded)
        return self._between(embedded, marks, method)

    def _vectors(self) -> dict[str, Tensor]:
        return super()._vectors() | {MASK: self.mask}


class _Sides:
    """Attention to both sides: within a window, or, with `top_k`, chunk by chunk with the blocks that are opened."""

    def __init__(self, model: MaskedLandmarks, top_k: int | None) -> None:
        self.model, self.top_k = model, top_k

    def attend(self, query: Tensor, key: Tensor, value: Tensor, context: Context) -> Tensor:
        """The output (B, H, N, D)."""
        block, training = self.model.settings.block, self.model.training
        if self.top_k is None:
            places = torch.arange(query.shape[2], device=query.device)
            q, k = (self._turned(part, places, context).to(value.dtype) for part in (query, key))
            dropout = self.model.settings.group_dropout if training else 0.0
            return variant_attention(q, k, value, block=block, scale=context.scale, dropout=dropout, causal=False)[0]
        local = self.model.settings.local(self.top_k) // block * block
        parts = [
            self._chunk(query, key, value, context, slice(start, min(start + local, query.shape[2])))
            for start in range(0, query.shape[2], local)
        ]
        return torch.cat(parts, 2)

    def seen(self, rows: Tensor, context: Context) -> Tensor | None:  # noqa: ARG002
        return None

    def _turned(self, x: Tensor, places: Tensor, context: Context) -> Tensor:
        return self.model.rotations.turned(x, places, context.layer)

    def _chunk(self, query: Tensor, key: Tensor, value: Tensor, context: Context, chunk: slice) -> Tensor:
        block, top_k = self.model.settings.block, self.top_k
        assert top_k is not None
        begin = (top_k + 1) * block  # of the chunk: k + 1 places for blocks stand before it
        places = begin + torch.arange(chunk.stop - chunk.start, device=query.device)
        q, k = (self._turned(part[:, :, chunk], places, context).to(value.dtype) for part in (query, key))
        out, sums = variant_attention(q, k, value[:, :, chunk], block=block, scale=context.scale, causal=False)
        whole = query.shape[2] // block
        inside = range(chunk.start // block, -(-chunk.stop // block))
        others = torch.tensor([one for one in range(whole) if one not in inside], device=query.device)
        if not len(others):
            return out
        # how many blocks each stands before (< 0) or behind (>= 0) the chunk
        apart = torch.where(others < inside.start, others - inside.start, others - inside.stop)
        slots = torch.where(apart < 0, apart.clamp(min=-top_k - 1), apart.clamp(max=top_k))
        after = begin + len(inside) * block
        starts = torch.where(apart < 0, begin, after) + slots * block
        groups = key.shape[1]
        marks = self._turned(key[:, :, others * block + block - 1], starts + block - 1, context).to(value.dtype)
        folded = q.reshape(len(q), groups, -1, q.shape[3])
        scores = (folded @ marks.mT).to(sums.dtype).view(*q.shape[:3], -1) * context.scale
        votes = scores.softmax(-1).amax(2)
        chosen = votes.topk(min(top_k, len(others)), -1).indices.sort(-1).values  # (B, H, k), in the text's order
        put = _placed(apart[chosen], top_k, begin, after, block)
        found, total = self._look(q, key, value, context, others[chosen], put)
        return merge([(out, sums.float()), (found, total.float())])[0].to(value.dtype)

    def _look(
        self, q: Tensor, key: Tensor, value: Tensor, context: Context, chosen: Tensor, starts: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Queries (B, H, C, D) over blocks `chosen` (B, H, k) put to `starts`: out (B, H, C, D) and sums (B, H, C)."""
        block, share = self.model.settings.block, q.shape[1] // key.shape[1]
        inner = torch.arange(block, device=q.device)
        index = (chosen[..., None] * block + inner).flatten(2)[..., None]  # (B, H, k b, 1)
        keys, values = (
            part.repeat_interleave(share, 1).gather(2, index.expand(-1, -1, -1, part.shape[3])) for part in (key, value)
        )
        keys = self._turned(keys, (starts[..., None] + inner).flatten(2), context).to(value.dtype)
        scores = (q @ keys.mT).float().view(*q.shape[:3], -1, block) * context.scale
        marks = scores[..., -1]
        sums = marks.logsumexp(-1)
        weights = scores[..., :-1].softmax(-1) * (marks - sums[..., None]).exp()[..., None]
        seen = values.view(*values.shape[:2], -1, block, values.shape[3])[..., :-1, :].flatten(2, 3)
        return weights.flatten(3).to(value.dtype) @ seen, sums


def _placed(apart: Tensor, top_k: int, begin: int, after: int, block: int) -> Tensor:
    """Where chosen blocks begin, by how many blocks they stand `apart` from the chunk (B, H, k), ascending: side by
    side and nearest to it, those that are farther than k one place on.
    """
    before = apart < 0
    count = before.sum(-1, keepdim=True)
    order = torch.arange(apart.shape[-1], device=apart.device)
    left = order - count - (apart < -top_k).int()  # -1: the place just before the chunk
    right = order - count + (apart >= top_k).int()
    return torch.where(before, begin + left * block, after + right * block)
