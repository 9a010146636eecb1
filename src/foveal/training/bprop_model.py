"""The model that B-PROP trains: a BERT that scores a word set, or a query, beside a text, and guesses masked words.

Shapes    [CLS] S [SEP] D [SEP] (N, L) -> s = w . dropout(pooler([CLS])) + b, (N,); rows 0, 2, … hold the better set of
          a pair, rows 1, 3, … the worse one
Loss      rop L_rop + mlm L_mlm. "hinge" is the paper's L_rop: max(0, 1 - s+ + s-); "softmax-margin" the code's: the
          same of softmax(s+, s-), which is 2 p-. L_mlm over the text's masked words
Source    Ma et al., SIGIR 2021
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from foveal.errors import InputError
from foveal.models.quiet import quiet
from foveal.training.bprop_pairs import PairRows
from foveal.training.examples import in_parts
from foveal.training.pretraining import collate
from foveal.training.pretraining_masked import MaskedEncoder
from foveal.training.pretraining_masks import IGNORED

ROP_LOSSES = ("hinge", "softmax-margin")


def masked_head(folder: Path) -> Any:
    """The masked-language head of the model in `folder` (transform, bias); None where there is none."""
    from transformers import AutoConfig, BertForMaskedLM

    with quiet():
        config = AutoConfig.from_pretrained(folder)
        if not set(config.architectures or ()) & {"BertForMaskedLM", "BertForPreTraining"}:
            return None
        return BertForMaskedLM.from_pretrained(folder, dtype=torch.float32, use_safetensors=True).cls.predictions


def rop_loss(scores: Tensor, kind: str) -> Tensor:
    """Scores (B, 2) of the better and the worse set -> the mean loss."""
    if kind == "softmax-margin":
        scores = scores.softmax(-1)
    return (1 - scores[:, 0] + scores[:, 1]).clamp(min=0).mean()


class Representative(nn.Module):
    """A BERT with a pooler, a score and a masked-language head; it takes the parts of a classifier with one output."""

    def __init__(
        self,
        classifier: Any,
        *,
        separator: int,
        loss: str = "hinge",
        weights: tuple[float, float] = (1.0, 1.0),
        head: Any = None,
    ) -> None:
        """`classifier`: a BertForSequenceClassification; `separator`: the id of [SEP]; `weights`: of ROP and MLM;
        `head`: that of a BertForMaskedLM (None: a fresh one).

        InputError: it is another model.
        """
        super().__init__()
        if type(classifier).__name__ != "BertForSequenceClassification" or classifier.bert.pooler is None:
            raise InputError(f"B-PROP got a {type(classifier).__name__}; it needs an encoder of the BERT family.")
        self.masked = MaskedEncoder(classifier.bert)
        if head is not None:
            self.masked.transform.load_state_dict(head.transform.state_dict())
            self.masked.bias.data.copy_(head.bias.data)
        self.dropout, self.classifier = classifier.dropout, classifier.classifier
        self.separator, self.loss, self.weights = separator, loss, weights

    def read(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Sets and texts (N, L) -> hidden states (N, L, D) and scores (N,)."""
        separators = ids == self.separator
        segments = (separators.cumsum(1) - separators.long()).clamp(max=1)  # 0 up to the first [SEP], then 1
        read = self.masked.encoder(input_ids=ids, attention_mask=mask.long(), token_type_ids=segments)
        scores: Tensor = self.classifier(self.dropout(read.pooler_output)).squeeze(-1)
        return read.last_hidden_state, scores

    def forward(self, ids: Tensor, ids_mask: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """The loss of a batch: rows 0, 2, … hold the better sets, rows 1, 3, … the worse ones."""
        hidden, scores = self.read(ids, ids_mask)
        loss = hidden.new_zeros((), dtype=torch.float32)
        rop, mlm = self.weights
        if rop:
            loss = loss + rop * rop_loss(scores.float().view(-1, 2), self.loss)
        if mlm:
            loss = loss + mlm * self.masked.loss(hidden, labels)
        return {"loss": loss}


@torch.inference_mode()
def measured(model: Representative, rows: PairRows, *, batch: int = 16, bfloat16: bool = False) -> dict[str, float]:
    """How often the better set scores higher, and how often a masked token is guessed, once a text."""
    device = next(model.parameters()).device
    plain = replace(rows, features=replace(rows.features, masking=None))
    autocast = torch.autocast(device.type, torch.bfloat16) if bfloat16 else nullcontext()
    right = guessed = asked = 0
    with autocast:
        for places in in_parts(range(len(rows)), batch):
            fed = _fed([plain[place] for place in places], rows, device)
            better, worse = model.read(fed["ids"], fed["ids_mask"])[1].view(-1, 2).T
            right += int((better > worse).sum())
        for places in in_parts([n for n, (_, number) in enumerate(rows.flat) if number == 0], batch):
            fed = _fed([rows[place][0] for place in places], rows, device)
            hidden, _ = model.read(fed["ids"], fed["ids_mask"])
            wanted = fed["labels"] != IGNORED
            guessed += int((model.masked.logits(hidden[wanted]).argmax(-1) == fed["labels"][wanted]).sum())
            asked += int(wanted.sum())
    return {"pairs": right / len(rows), "masked": guessed / max(1, asked)}


def _fed(examples: Sequence[Any], rows: PairRows, device: torch.device) -> dict[str, Any]:
    batch = collate(examples, pad_id=rows.features.tokenizer.pad_token_id)
    return {name: value.to(device) for name, value in batch.items()}
