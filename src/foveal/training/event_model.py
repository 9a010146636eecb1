"""The trainee of event attention: an encoder of the BERT family, the block, and a decoder that is there only meanwhile.

Shapes     token ids (B, L) -> states (B, L, d) -> unit vectors; events of a batch (E, L) are looked at by rows (B, K)
Writer     a decoder begun with the encoder's embeddings and last layers reads a document's states and writes subject,
           verb and object of what it reports, behind a fixed prompt that is no part of the loss; its pooled states are
           another view of the document, told apart by the query. Dropped when the model is saved
Source     the writer: Event-enhanced Retrieval (Zhang et al., LREC-COLING 2024, arXiv 2404.05989)
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from foveal.errors import ModelUnavailable
from foveal.models.bert import pooling_of, supports
from foveal.models.bert_torch import pooled
from foveal.models.event_attention import EventAttention, EventAttentionSettings, EventStates, EventText, facts_of
from foveal.models.quiet import quiet
from foveal.training import model_folders
from foveal.training.searches import Floats

PROMPT = "the sentence's subject is [MASK], verb is [MASK], object is [MASK]"
WRITER_LAYERS = 2
AT_ONCE = 32
"""Texts encoded together outside of training."""

Batch = Mapping[str, Tensor]


class EventModel(nn.Module):
    """Encoder, block, and (in training, where it is asked for) writer."""

    def __init__(self, encoder: Any, attention: EventAttention, writer: Writer | None = None) -> None:
        """`encoder` is a SentenceTransformer."""
        super().__init__()
        self.encoder, self.attention, self.writer = encoder, attention, writer

    @classmethod
    def of(cls, folder: Path, settings: EventAttentionSettings, *, writer: bool, seed: int) -> EventModel:
        """The model that training begins with. ModelUnavailable: the folder's encoder does not fit."""
        if not supports(folder) or pooling_of(folder) != "mean":
            raise ModelUnavailable(
                f"{folder} is no sentence encoder of the BERT family with mean pooling, so no query of it can look at "
                "events token by token. Begin with one, such as minilm."
            )
        encoder = model_folders.sentence_transformer(folder)
        bert = encoder[0].auto_model
        decoder = Writer(bert, encoder.tokenizer, seed=seed) if writer else None
        return cls(encoder, EventAttention(int(bert.config.hidden_size), settings), decoder)

    def tokenise(self, texts: Sequence[str], tokens: int) -> tuple[Tensor, Tensor]:
        """Ids (B, L) of the first `tokens` tokens of each text, and which of them count."""
        most = min(tokens, int(self.encoder.max_seq_length))
        read = self.encoder.tokenizer(list(texts), truncation=True, max_length=most, padding=True, return_tensors="pt")
        return read["input_ids"], read["attention_mask"].bool()

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """States (B, L, d), float32; the part that the loop runs in bfloat16."""
        states: Tensor = self.encoder[0].auto_model(input_ids=ids, attention_mask=mask.long()).last_hidden_state
        return states.float()

    def plain(self, states: Tensor, mask: Tensor) -> Tensor:
        """Unit vectors (B, d) of texts that see no event."""
        return self.attention.documents(pooled(states, mask, "mean"))

    def looked(self, states: Tensor, mask: Tensor, events: EventStates) -> Tensor:
        """Unit vectors (B, d) of queries that looked at their events."""
        seen = self.attention(states, events)
        return self.attention.vectors(seen, mask)

    def encoded(self, texts: Sequence[str], tokens: int) -> Floats:
        """Unit vectors of texts that see no event, as the model is now."""
        made = np.empty((len(texts), self.attention.project.out_features if self.attention.project is not None
                         else self.attention.dimension), dtype=np.float32)  # fmt: skip
        order = sorted(range(len(texts)), key=lambda row: -len(texts[row]))
        for first in range(0, len(order), AT_ONCE):
            rows = order[first : first + AT_ONCE]
            ids, mask = self._placed(self.tokenise([texts[row] for row in rows], tokens))
            with torch.no_grad():
                made[rows] = self.plain(self(ids, mask), mask).cpu().numpy()
        return made

    def queries(self, texts: Sequence[str], events: Sequence[Sequence[EventText]]) -> Floats:
        """Unit vectors of queries with their events, as the model is now."""
        made, settings = [], self.attention.settings
        for first in range(0, len(texts), AT_ONCE):
            part = [list(one)[: settings.events] for one in events[first : first + AT_ONCE]]
            ids, mask = self._placed(self.tokenise(texts[first : first + AT_ONCE], settings.query_tokens))
            names = list(dict.fromkeys(event.text for one in part for event in one)) or ["."]
            event_ids, event_mask = self._placed(self.tokenise(names, settings.event_tokens))
            looks, facts = looks_of(part, names)
            with torch.no_grad():
                states = gathered(self(event_ids, event_mask), event_mask, looks, facts)
                made.append(self.looked(self(ids, mask), mask, states).cpu().numpy())
        return np.concatenate(made) if made else np.empty((0, self.attention.dimension), np.float32)

    def _placed(self, pair: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        device = self.attention.age.device
        return pair[0].to(device), pair[1].to(device)


def looks_of(events: Sequence[Sequence[EventText]], names: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Rows of `names` (B, K), -1 for none, and the facts of these (B, K, 3)."""
    numbers = {text: number for number, text in enumerate(names)}
    most = max([1, *map(len, events)])
    looks = torch.full((len(events), most), -1, dtype=torch.long)
    facts = torch.zeros(*looks.shape, 3)
    for row, one in enumerate(events):
        for place, event in enumerate(one):
            looks[row, place] = numbers[event.text]
            facts[row, place] = torch.tensor(facts_of(event))
    return looks, facts


def gathered(states: Tensor, mask: Tensor, looks: Tensor, facts: Tensor) -> EventStates:
    """Each query's events out of the batch's: states (E, L, d), mask (E, L), looks (B, K) -> (B, K·L, d), ..."""
    length = states.shape[1]
    device = states.device
    looks = looks.to(device)
    there = mask[looks.clamp(min=0)] & (looks >= 0)[:, :, None]
    spread = facts.to(device).repeat_interleave(length, dim=1)
    return EventStates(states[looks.clamp(min=0)].flatten(1, 2), there.flatten(1), spread)


class Writer(nn.Module):
    """Writes what a document reports."""

    prompt: Tensor

    def __init__(self, bert: Any, tokenizer: Any, *, seed: int) -> None:
        """Begun with the embeddings and last layers of `bert`; its attention to documents is drawn from the seed."""
        from transformers import BertLMHeadModel

        super().__init__()
        config = copy.deepcopy(bert.config)
        config.is_decoder, config.add_cross_attention = True, True
        config.num_hidden_layers = min(WRITER_LAYERS, config.num_hidden_layers)
        with quiet(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.decoder: Any = BertLMHeadModel(config)
        self.decoder.bert.embeddings.load_state_dict(bert.embeddings.state_dict())
        last = bert.encoder.layer[-config.num_hidden_layers :]
        for ours, theirs in zip(self.decoder.bert.encoder.layer, last, strict=True):
            ours.load_state_dict(theirs.state_dict(), strict=False)
        ids = tokenizer(PROMPT, add_special_tokens=False)["input_ids"]
        begin = [tokenizer.cls_token_id] if tokenizer.cls_token_id is not None else []
        self.register_buffer("prompt", torch.tensor([*begin, *ids], dtype=torch.long), persistent=False)

    def forward(self, states: Tensor, mask: Tensor, ids: Tensor, ids_mask: Tensor) -> tuple[Tensor, Tensor]:
        """Documents (B, L, d), what is to be written (B, M) -> the mean -log p of its tokens, unit vectors (B, d)."""
        prompt = self.prompt[None].expand(len(ids), -1)
        whole = torch.cat([prompt, ids[:, 1:]], dim=1)  # without its own first token, which the prompt has
        there = torch.cat([torch.ones_like(prompt, dtype=torch.bool), ids_mask[:, 1:]], dim=1)
        read = self.decoder.bert(
            input_ids=whole, attention_mask=there.long(), encoder_hidden_states=states,
            encoder_attention_mask=mask.long(), use_cache=False,
        ).last_hidden_state.float()  # fmt: skip
        first = prompt.shape[1]
        logits = self.decoder.cls(read[:, first - 1 : -1])
        wanted = whole[:, first:].masked_fill(~there[:, first:], -100)
        loss = cross_entropy(logits.float().flatten(0, 1), wanted.flatten(), ignore_index=-100)
        counts = there[:, first:, None].float()
        mean = (read[:, first:] * counts).sum(1) / counts.sum(1).clamp(min=1)
        return loss, normalize(mean, dim=-1)
