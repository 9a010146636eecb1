"""Bottleneck auto-encoders: a weak decoder must restore a text with the help of its one vector.

    RetroMAE   one decoder layer, text masked by 50 to 70 %; the vector is [CLS]       Xiao et al., EMNLP 2022
    enhanced   (RetroMAE) every token is asked, each sees a draw of its own of the others
    SimLM      two decoder layers; what is masked is replaced by a small model's guesses, all tokens are asked
               Wang et al., ACL 2023
    LexMAE     the vector is a mixture of word embeddings, by what the masked-language head says of the text
               Shen et al., ICLR 2023

Shapes    ids, labels, decoder_ids, decoder_labels (B, L), ids_mask (B, L) bool, sees (B, L, L) bool
          -> {"loss", "encoder", "decoder"}
Data      `masked_examples(..., decoder=Masking(...))`; for SimLM its batches through `replaced`

The decoder gets the vector as its first token, its own masked tokens from the encoder's embeddings, and nothing else
of the encoder. It is thrown away after training.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from foveal.errors import InputError
from foveal.training.pretraining_masked import MaskedEncoder, begin, fresh_layer, through
from foveal.training.pretraining_masks import IGNORED


class BottleneckAutoencoder(nn.Module):
    """The encoder's masked-language loss, and the decoder's."""

    def __init__(self, model: Any, *, layers: int = 1, bottleneck: str = "cls", enhanced: bool = False) -> None:
        """`layers` of the decoder; `bottleneck`: "cls", or "lexicon" (LexMAE).

        InputError: no such bottleneck, no layer, or more than one with enhanced decoding, which is one layer.
        """
        super().__init__()
        if bottleneck not in BOTTLENECKS or layers < 1 or (enhanced and layers > 1):
            raise InputError(
                f"A bottleneck auto-encoder got layers={layers}, bottleneck={bottleneck!r}, enhanced={enhanced}; it "
                f"needs at least one layer (just one if enhanced), and one of {', '.join(BOTTLENECKS)}."
            )
        self.model = MaskedEncoder(model)
        self.bottleneck, self.enhanced = bottleneck, enhanced
        config = self.model.config
        kinds = [EnhancedLayer(config)] if enhanced else [fresh_layer(config) for _ in range(layers)]
        self.decoder = nn.ModuleList(kinds)

    def forward(
        self,
        ids: Tensor,
        ids_mask: Tensor,
        labels: Tensor,
        decoder_ids: Tensor,
        decoder_labels: Tensor,
        sees: Tensor | None = None,
    ) -> dict[str, Tensor]:
        hidden = self.model.hidden(ids, ids_mask)[-1]
        encoder = self.model.loss(hidden, labels)
        vectors = BOTTLENECKS[self.bottleneck](self.model, hidden, ids_mask)
        decoder = self.model.loss(self.decode(vectors, decoder_ids, ids_mask, sees), decoder_labels)
        return {"loss": encoder + decoder, "encoder": encoder, "decoder": decoder}

    def decode(self, vectors: Tensor, decoder_ids: Tensor, mask: Tensor, sees: Tensor | None = None) -> Tensor:
        """The decoder's output (B, L, D), from the texts' vectors (B, D) and its own tokens."""
        if self.enhanced != (sees is not None):
            raise InputError(
                f"A decoder made with enhanced={self.enhanced} got sees={sees is not None}; make the examples with "
                f"enhanced={self.enhanced}, too."
            )
        embedded = self.model.encoder.embeddings(input_ids=decoder_ids)
        context = torch.cat([vectors[:, None], embedded[:, 1:]], dim=1)
        if sees is None:
            return through(self.decoder, context, mask)
        places = self.model.encoder.embeddings.position_embeddings.weight[: decoder_ids.shape[1]]
        output: Tensor = self.decoder[0](vectors[:, None] + places, context, sees)
        return output


class EnhancedLayer(nn.Module):
    """RetroMAE's enhanced decoder: queries (B, L, D) of vector and place, over a context each sees its own part of."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        size, dropout = config.hidden_size, config.hidden_dropout_prob
        self.heads = config.num_attention_heads
        self.attention = nn.MultiheadAttention(size, self.heads, dropout, batch_first=True)
        self.attended = nn.LayerNorm(size, eps=config.layer_norm_eps)
        self.wide, self.narrow = (
            nn.Linear(size, config.intermediate_size),
            nn.Linear(config.intermediate_size, size),
        )
        self.normed = nn.LayerNorm(size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(dropout)
        begin(self, config)

    def forward(self, queries: Tensor, context: Tensor, sees: Tensor) -> Tensor:
        """sees (B, L, L) bool, row sees column; every row sees something."""
        blocked = (~sees).repeat_interleave(self.heads, dim=0)
        attended, _ = self.attention(queries, context, context, attn_mask=blocked, need_weights=False)
        mixed = self.attended(queries + self.dropout(attended))
        inner = self.narrow(nn.functional.gelu(self.wide(mixed)))
        output: Tensor = self.normed(mixed + self.dropout(inner))
        return output


def _cls(model: MaskedEncoder, hidden: Tensor, mask: Tensor) -> Tensor:  # noqa: ARG001
    return hidden[:, 0]


def lexicon(model: MaskedEncoder, hidden: Tensor, mask: Tensor) -> Tensor:
    """The word embeddings, mixed by the softmax of each word's highest logit in the text: (B, D).

    The gradient goes through the mixture only: the embeddings themselves stay as the masked-language losses want them.
    """
    highest = model.logits(hidden).masked_fill(~mask[..., None], -torch.inf).amax(dim=1)
    return highest.softmax(dim=-1) @ model.words.detach()


BOTTLENECKS: Mapping[str, Callable[[MaskedEncoder, Tensor, Tensor], Tensor]] = {"cls": _cls, "lexicon": lexicon}


@torch.no_grad()
def replaced(
    batch: Mapping[str, Tensor],
    guesser: Any,
    *,
    special: frozenset[int],
    generator: torch.Generator | None = None,
) -> dict[str, Tensor]:
    """SimLM's batch from a masked one: guesses stand where tokens were asked, and all tokens are asked.

    `guesser` is a masked-language model of the same vocabulary (transformers; SimLM's is smaller and stays as it is).
    Guesses are drawn by its probabilities, from `generator`, or torch's own, which a Trainer keeps in its checkpoints.
    """
    mask = batch["ids_mask"]
    changed = dict(batch)
    for prefix in ("", "decoder_"):
        ids, labels = batch[f"{prefix}ids"], batch[f"{prefix}labels"]
        asked = labels != IGNORED
        text = torch.where(asked, labels, ids)
        logits = guesser(input_ids=ids, attention_mask=mask.long()).logits[asked]
        guesses = torch.multinomial(logits.float().softmax(-1), 1, generator=generator)[:, 0]
        changed[f"{prefix}ids"] = ids.masked_scatter(asked, guesses)
        ordinary = mask & ~torch.isin(text, torch.tensor(sorted(special), device=text.device))
        changed[f"{prefix}labels"] = text.masked_fill(~ordinary, IGNORED)
    return changed
