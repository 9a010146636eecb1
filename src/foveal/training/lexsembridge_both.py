"""LexSemBridge trained with its encoder: queries through both, passages through the encoder (or through both, too).

Shapes     a batch has B queries and B·G passages as token ids (., L), masks and units; the relevant passage of query i
           is at i·G
Needs      an encoder of the BERT family that sentence-transformers loads
Readings   of what was trained: with the bridge (`search`), and without it, the encoder alone, for which the bridge was
           only there while it learnt; the bench measures both
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from foveal.errors import ModelUnavailable
from foveal.models import load_encoder
from foveal.models.bert import pooling_of, supports
from foveal.models.bert_torch import pooled
from foveal.models.lexsembridge import Bridge, Reading
from foveal.models.lexsembridge_reading import ENCODER, Reader, Units, bridged, padded, write_bridge
from foveal.training import model_folders
from foveal.training.encoders import dev_metrics
from foveal.training.examples import ApartBatches, Examples, Rows
from foveal.training.first_stage import dev_part
from foveal.training.lexsembridge_losses import Batch, info_nce, own_only, presence_loss
from foveal.training.lexsembridge_settings import LexSemBridgeSettings
from foveal.training.loop import Job
from foveal.training.searches import Floats, VectorSearch, WordSearch


class BridgedEncoder(nn.Module):
    """A SentenceTransformer of the BERT family and a bridge."""

    def __init__(self, encoder: Any, bridge: Bridge, units: Units, *, pooling: str | None) -> None:
        super().__init__()
        self.encoder, self.bridge, self.units, self.pooling = encoder, bridge, units, pooling

    def read(self, texts: Sequence[str], tokens: int) -> dict[str, Tensor]:
        """ids, mask and units (B, L) of the first `tokens` tokens of each text."""
        read = self.encoder.tokenizer(
            list(texts),
            truncation=True,
            max_length=tokens,
            padding=True,
            return_offsets_mapping=True,
            return_tensors="pt",
        )
        found = zip(texts, read["input_ids"].tolist(), read["offset_mapping"].tolist(), strict=True)
        units = padded([self.units.of_places(*one) for one in found])
        mask = read["attention_mask"].bool()
        return {"ids": read["input_ids"], "mask": mask, "units": units.masked_fill(~mask, -1)}

    def forward(self, features: Batch) -> Reading:
        """What the bridge is told of these texts; the part that the loop runs in bfloat16."""
        mask = features["mask"]
        states = self.encoder[0].auto_model(
            input_ids=features["ids"], attention_mask=mask.long()
        ).last_hidden_state.float()  # fmt: skip
        first = states[torch.arange(len(states), device=states.device), mask.long().argmax(dim=1)]
        return Reading(pooled(states, mask, self.pooling), features["units"], states, first)

    def queries(self, features: Batch) -> Tensor:
        """Unit vectors (B, d)."""
        reading: Reading = self(features)
        return self.bridge(reading) if self.bridge.settings.fuse_query else reading.vectors

    def documents(self, features: Batch) -> Tensor:
        """Unit vectors (B, d)."""
        reading: Reading = self(features)
        return self.bridge(reading) if self.bridge.settings.fuse_passage else reading.vectors

    def encoded(self, texts: Sequence[str], side: Callable[[Batch], Tensor], tokens: int) -> Floats:
        """Unit vectors of the texts as the model is now, long texts beside long ones."""
        order = sorted(range(len(texts)), key=lambda row: -len(texts[row]))
        made = np.empty((len(texts), self.bridge.dimension), dtype=np.float32)
        self.eval()
        device = self.bridge.bias.device
        with torch.no_grad():
            for at in range(0, len(order), 32):
                rows = order[at : at + 32]
                features = self.read([texts[row] for row in rows], tokens)
                made[rows] = side({name: value.to(device) for name, value in features.items()}).cpu().numpy()
        return made


class Both:
    """Bridge and encoder, trained together."""

    def __init__(self, bridge: Bridge, units: Units, folder: Path, settings: LexSemBridgeSettings) -> None:
        """`folder` is the encoder's. ModelUnavailable: it is not of the BERT family."""
        if not supports(folder):
            raise ModelUnavailable(
                f"{folder} is no sentence encoder of the BERT family, so it cannot be trained with the bridge. Begin "
                'with one, such as minilm, or train the bridge alone: encoder="frozen".'
            )
        encoder = model_folders.sentence_transformer(folder)
        self.model = BridgedEncoder(encoder, bridge, units, pooling=pooling_of(folder))
        self.settings, self.window = settings, int(encoder.max_seq_length)
        self._saved: Path | None = None
        self._documents: Floats | None = None  # of the whole corpus, by what was saved

    def job(self, learnt: Rows, dev: Examples) -> Job:
        """Rows of texts, their loss, and the dev queries' metrics over a part of the corpus."""
        settings = self.settings
        part = dev_part(dev, WordSearch(dev.corpus), settings.dev_documents)

        def measure(model: Any) -> Mapping[str, float]:
            documents = model.encoded(list(part.values()), model.documents, self.window)
            asked = model.encoded(list(dev.queries.values()), model.queries, self.window)
            return dev_metrics(dev, VectorSearch(list(part), documents, lambda _: asked))

        return Job(
            model=self.model,
            rows=learnt,
            loss=self.loss,
            evaluate=measure,
            plan=ApartBatches(learnt, settings.loop.batch, settings.loop.seed),
            collate=self.collate,
        )

    def collate(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        """The features of queries and passages, each name after the side's."""
        columns = [name for name in rows[0] if name not in ("anchor", "label")]
        texts = [row[name] for row in rows for name in columns]
        queries = self.model.read([row["anchor"] for row in rows], min(self.settings.query_tokens, self.window))
        documents = self.model.read(texts, min(self.settings.document_tokens, self.window))
        return {f"query_{name}": value for name, value in queries.items()} | {
            f"document_{name}": value for name, value in documents.items()
        }

    def loss(self, model: Any, batch: Batch) -> Tensor:
        """InfoNCE over the batch's passages, or each query's own."""
        asked, given = (
            {name: batch[f"{side}_{name}"] for name in ("ids", "mask", "units")} for side in ("query", "document")
        )
        queries, documents = model.queries(asked), model.documents(given)
        group = len(documents) // len(queries)
        allowed = None if self.settings.in_batch else own_only(len(queries), group).to(queries.device)
        targets = torch.arange(len(queries), device=queries.device) * group
        loss = info_nce(queries, documents, targets, temperature=self.settings.temperature, allowed=allowed)
        return loss + presence_loss(model.bridge, model(asked)) if self.settings.init_mlm_head else loss

    def save(self, folder: Path) -> Path:
        """Write the bridge's folder, with the trained encoder in it."""
        folder.mkdir(parents=True)
        model_folders.save_model(self.model.encoder, folder / ENCODER)
        encoder = load_encoder(str(folder / ENCODER))
        self._saved = folder
        return write_bridge(folder, self.model.bridge.cpu(), self.model.units, encoder, copy_encoder=False)

    def search(self, examples: Examples) -> VectorSearch:
        """What was saved, loaded as a search loads it, over the whole corpus."""
        if self._saved is None:
            raise ModelUnavailable("The model was not saved yet; `save` comes before `search`.")
        encoder, bridge = load_encoder(str(self._saved / ENCODER)), self.model.bridge.eval()
        reader = Reader(encoder, self.model.units, bridge.settings)
        texts = list(examples.corpus.values())
        if self._documents is None:
            both = bridge.settings.fuse_passage
            self._documents = bridged(bridge, reader, texts) if both else encoder.encode(texts)
        return VectorSearch(list(examples.corpus), self._documents, lambda asked: bridged(bridge, reader, asked))
