"""Bag-of-words pre-training: a text's one vector must say which words the text holds, without any decoder.

Source    Ma et al., SIGIR 2024 ("Drop your decoder"): the cross-entropy of the masked-language head, read from [CLS],
          against the text's own tokens, beside the masked-language loss
Shapes    ids, labels, word_labels (B, L), ids_mask (B, L) bool -> {"loss", "encoder", "words"}
Data      `masked_examples(..., words=True)`

What RetroMAE's decoder learns in long training (its vector comes to hold the text's terms) is asked for at once, so
that short training on few texts gets there, too.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn, zeros_like

from foveal.training.pretraining_masked import MaskedEncoder
from foveal.training.pretraining_masks import IGNORED


class BagOfWords(nn.Module):
    """The encoder's masked-language loss, and that of the words which its [CLS] names."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = MaskedEncoder(model)

    def forward(self, ids: Tensor, ids_mask: Tensor, labels: Tensor, word_labels: Tensor) -> dict[str, Tensor]:
        hidden = self.model.hidden(ids, ids_mask)[-1]
        encoder = self.model.loss(hidden, labels)
        words = word_loss(self.model.logits(hidden[:, 0]), word_labels)
        return {"loss": encoder + words, "encoder": encoder, "words": words}


def word_loss(logits: Tensor, word_labels: Tensor) -> Tensor:
    """Mean over texts of the mean -log p of a text's distinct tokens: logits (B, V), word_labels (B, L).

    A text without a token that is asked counts as 0.
    """
    asked, logits = word_labels != IGNORED, logits.float()
    held = zeros_like(logits).scatter_reduce_(1, word_labels.clamp(min=0), asked.float(), "amax")  # 1: the text has it
    told = (logits.log_softmax(-1) * held).sum(1) / held.sum(1).clamp(min=1)
    return -told.mean()
