"""A BERT encoder with its masked-language head, as all pre-training here uses it.

Shapes    ids (B, L), mask (B, L) bool -> hidden states (B, L, D), one per layer; hidden (..., D) -> logits (..., V)
Needs     a transformers BertModel or BertForMaskedLM (MiniLM is a BertModel: its head then begins untrained)

The head reads its output weights from the encoder's word embeddings and holds no copy: no tensor is shared by name, so
that a state dict can be written as safetensors. `masked_model` gives the transformers model to be saved and used.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, linear

from foveal.errors import InputError
from foveal.training.pretraining_masks import IGNORED


class MaskedEncoder(nn.Module):
    """The encoder `encoder` and the parts of the head: `transform` (dense, GELU, layer norm) and `bias` (V,)."""

    def __init__(self, model: Any) -> None:
        """Take the model's own encoder, not a copy; of a BertForMaskedLM also a copy of its head."""
        super().__init__()
        from transformers import BertForMaskedLM, BertModel
        from transformers.models.bert import modeling_bert

        if not isinstance(model, BertModel | BertForMaskedLM):
            raise InputError(
                f"Pre-training got a {type(model).__name__}; it needs a transformers BertModel or BertForMaskedLM."
            )
        self.encoder: Any = model.bert if isinstance(model, BertForMaskedLM) else model
        self.config: Any = model.config
        transform: Any = modeling_bert.BertPredictionHeadTransform
        self.transform: Any = transform(model.config)
        self.bias = nn.Parameter(torch.zeros(model.config.vocab_size))
        if isinstance(model, BertForMaskedLM):
            self.transform.load_state_dict(model.cls.predictions.transform.state_dict())
            self.bias.data.copy_(model.cls.predictions.bias.data)
        else:
            begin(self.transform, self.config)

    @property
    def words(self) -> Tensor:
        """The word embeddings (V, D), which are the head's output weights, too."""
        weight: Tensor = self.encoder.embeddings.word_embeddings.weight
        return weight

    def hidden(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, ...]:
        """The embeddings' output and each layer's, (B, L, D)."""
        read = self.encoder(input_ids=ids, attention_mask=mask.long(), output_hidden_states=True)
        states: tuple[Tensor, ...] = read.hidden_states
        return states

    def logits(self, hidden: Tensor) -> Tensor:
        """(..., D) -> (..., V)."""
        return linear(self.transform(hidden), self.words, self.bias)

    def loss(self, hidden: Tensor, labels: Tensor) -> Tensor:
        """Mean cross-entropy of the labels (B, L) that are not IGNORED; 0 where there are none.

        Only the places asked get logits: those of all places would fill V / D times the memory.
        """
        asked = labels != IGNORED
        if not asked.any():
            return hidden.sum() * 0
        return cross_entropy(self.logits(hidden[asked]).float(), labels[asked])

    def masked_model(self) -> Any:
        """A BertForMaskedLM with copies of these weights: `.save_pretrained(folder)` writes what transformers loads."""
        from transformers import BertForMaskedLM

        model: Any = BertForMaskedLM(self.config)
        model.bert.load_state_dict(self.encoder.state_dict(), strict=False)  # a pooler is not taken over
        model.cls.predictions.transform.load_state_dict(self.transform.state_dict())
        model.cls.predictions.bias.data.copy_(self.bias.data)
        return model.eval()


def begin(module: nn.Module, config: Any) -> None:
    """Weights of fresh layers, as BERT begins: normal with its standard deviation, no bias."""
    for part in module.modules():
        if isinstance(part, nn.Linear):
            nn.init.normal_(part.weight, std=config.initializer_range)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
        elif isinstance(part, nn.MultiheadAttention):  # its three input maps are one tensor and no Linear
            nn.init.normal_(part.in_proj_weight, std=config.initializer_range)
            nn.init.zeros_(part.in_proj_bias)


def fresh_layer(config: Any) -> nn.TransformerEncoderLayer:
    """A new layer of the encoder's own form: (B, L, D) -> (B, L, D), layer norm behind each part."""
    layer = nn.TransformerEncoderLayer(
        config.hidden_size,
        config.num_attention_heads,
        config.intermediate_size,
        config.hidden_dropout_prob,
        activation="gelu",
        layer_norm_eps=config.layer_norm_eps,
        batch_first=True,
    )
    begin(layer, config)
    return layer


def through(layers: nn.ModuleList, hidden: Tensor, mask: Tensor) -> Tensor:
    """(B, L, D) through the fresh layers, nothing looking at padding."""
    for layer in layers:
        hidden = layer(hidden, src_key_padding_mask=~mask)
    return hidden
