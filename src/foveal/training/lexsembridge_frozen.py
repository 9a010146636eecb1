"""LexSemBridge's bridge trained alone: over queries that are read once, and the vectors of an index that stays.

Shapes    a batch: vectors (B, d), ids (B, L), states (B, L, d) where LLR reads them, documents (B, G) and also (B, A):
          row numbers of the index, the relevant document first; also holds all that are relevant, -1 as padding
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from foveal.models.lexsembridge import Bridge, Reading
from foveal.models.lexsembridge_reading import Reader, Units, padded, write_bridge
from foveal.training.encoders import dev_metrics
from foveal.training.examples import ApartBatches, Examples, Rows
from foveal.training.lexsembridge_losses import Batch, info_nce, own_only, presence_loss
from foveal.training.lexsembridge_settings import LexSemBridgeSettings
from foveal.training.loop import Curves, Job, LoopSettings, train
from foveal.training.searches import Floats, VectorSearch
from foveal.types import Encoder


class Frozen:
    """The bridge over queries that were read once, and passages that keep their vectors."""

    def __init__(
        self, bridge: Bridge, units: Units, encoder: Encoder, plain: VectorSearch, settings: LexSemBridgeSettings
    ) -> None:
        self.bridge, self.units, self.encoder, self.plain, self.settings = bridge, units, encoder, plain, settings
        self.reader = Reader(encoder, units, settings.bridge)
        self.documents = torch.from_numpy(np.ascontiguousarray(plain.vectors, dtype=np.float32))
        self.places = {name: row for row, name in enumerate(plain.ids)}

    def job(self, learnt: Rows, dev: Examples) -> Job:
        """Rows that are read now, their loss, and the dev queries' metrics."""
        asked = single(self.reader, list(dev.queries.values()))

        def measure(bridge: Any) -> Mapping[str, float]:
            made = self._through(bridge, asked)
            return dev_metrics(dev, VectorSearch(self.plain.ids, self.plain.vectors, lambda _: made))

        return Job(
            model=self.bridge,
            rows=FrozenRows(learnt, single(self.reader, list(learnt.examples.queries.values())), self.places),
            loss=self.loss,
            evaluate=measure,
            plan=ApartBatches(learnt, self.settings.loop.batch, self.settings.loop.seed),
            collate=collate,
        )

    def loss(self, bridge: Any, batch: Batch) -> Tensor:
        """InfoNCE over all passages, or over the batch's; with a fresh head also `presence_loss`."""
        reading, settings = reading_of(batch), self.settings
        queries = bridge(reading)
        documents = self.documents.to(queries.device)
        if settings.whole_corpus:
            loss = over_all(queries, documents, batch, settings.temperature)
        else:
            own = batch["documents"]
            targets = torch.arange(len(own), device=own.device) * own.shape[1]
            allowed = None if settings.in_batch else own_only(*own.shape).to(own.device)
            candidates = documents[own.flatten()]
            loss = info_nce(queries, candidates, targets, temperature=settings.temperature, allowed=allowed)
        return loss + presence_loss(bridge, reading) if settings.init_mlm_head else loss

    def search(self, examples: Examples) -> VectorSearch:
        """The bridge as it is now over the index's vectors."""
        made = self._through(self.bridge, single(self.reader, list(examples.queries.values())))
        return VectorSearch(self.plain.ids, self.plain.vectors, lambda _: made)

    def save(self, folder: Path) -> Path:
        """Write the bridge's folder, a copy of the encoder's in it."""
        folder.mkdir(parents=True)
        return write_bridge(folder, self.bridge, self.units, self.encoder)

    def _through(self, bridge: Bridge, readings: Sequence[Reading]) -> Floats:
        bridge.eval()
        with torch.no_grad():
            parts = [bridge(placed(joined(readings[at : at + 64]), bridge)) for at in range(0, len(readings), 64)]
        made: Floats = torch.cat(parts).cpu().numpy()
        return made


def over_all(queries: Tensor, documents: Tensor, batch: Batch, temperature: float) -> Tensor:
    """InfoNCE of each query's relevant document among all (N, d), the others that are relevant left out."""
    own, also = batch["documents"][:, 0], batch["also"]
    allowed = torch.ones(len(own), len(documents), dtype=torch.bool, device=own.device)
    rows = torch.arange(len(own), device=own.device)
    for column in range(also.shape[1]):
        there = also[:, column] >= 0
        allowed[rows[there], also[there, column]] = False
    allowed[rows, own] = True
    return info_nce(queries, documents, own, temperature=temperature, allowed=allowed)


def fit_on_vectors(
    bridge: Bridge,
    readings: Sequence[Reading],
    targets: Sequence[int],
    documents: Floats,
    loop: LoopSettings,
    folder: Path,
    *,
    evaluate: Callable[[Any], Mapping[str, float]],
    metric: str,
    temperature: float = 0.1,
    identity: Mapping[str, str] | None = None,
) -> Curves:
    """Train a bridge in place on readings of one text or image each, and the row of `documents` that answers each.

    For any encoder, of images, too; `evaluate` and `metric` choose the step: the bridge that it is given may lie on a
    GPU (`placed`), and is back on the processor at the end. Resumes as `loop.train` does.
    """
    every = torch.from_numpy(np.ascontiguousarray(documents, dtype=np.float32))

    def loss(model: Any, batch: Batch) -> Tensor:
        queries = model(reading_of(batch))
        return over_all(queries, every.to(queries.device), batch, temperature)

    rows = [
        {"reading": reading, "documents": [target], "also": [target]}
        for reading, target in zip(readings, targets, strict=True)
    ]
    job = Job(
        model=bridge,
        rows=Repeated(rows),
        loss=loss,
        identity={"what": "lexsembridge on vectors", **(identity or {})},
        evaluate=evaluate,
        metric=metric,
        collate=collate,
    )
    curves = train(job, loop, folder)
    bridge.cpu()
    return curves


@dataclass(frozen=True)
class Repeated:
    """Rows that are the same in each epoch."""

    rows: Sequence[Mapping[str, Any]]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, place: int) -> Mapping[str, Any]:
        return self.rows[place % len(self.rows)]


def reading_of(batch: Batch) -> Reading:
    """The readings of a batch of `collate`."""
    return Reading(batch["vectors"], batch["ids"], batch.get("states"), batch.get("first"))


class FrozenRows:
    """`Rows` whose queries are readings and whose documents are row numbers of the index."""

    def __init__(self, rows: Rows, readings: Sequence[Reading], places: Mapping[str, int]) -> None:
        self.rows, self.places = rows, places
        self.readings = dict(zip(rows.examples.queries, readings, strict=True))
        self._of_code: dict[int, list[int]] = defaultdict(list)  # documents of one text
        for name, code in rows.examples.codes.items():
            self._of_code[code].append(places[name])

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, place: int) -> dict[str, Any]:
        query = self.rows.pairs[place % len(self)][0]
        right = [row for code in self.rows.examples.spared[query] for row in self._of_code[code]]
        documents = [self.places[document] for document in self.rows.documents(place)]
        return {"reading": self.readings[query], "documents": documents, "also": right}


def collate(rows: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
    """vectors, ids and, where there are any, states and first, as in `Reading`; documents (B, G); also (B, A), -1."""
    reading = joined([row["reading"] for row in rows])
    batch = {"vectors": reading.vectors, "ids": reading.ids, "states": reading.states, "first": reading.first}
    batch |= {name: padded([row[name] for row in rows]) for name in ("documents", "also")}
    return {name: value for name, value in batch.items() if value is not None}


def single(reader: Reader, texts: Sequence[str]) -> list[Reading]:
    """One reading for each text, without padding; states as two bytes a number."""
    found = []
    for at in range(0, len(texts), 64):
        many = reader(texts[at : at + 64])
        for row in range(len(many.vectors)):
            # A word that is unknown is -1, as padding is: what stands behind the last known one counts for nothing.
            known = (many.ids[row] >= 0).nonzero()[:, 0]
            length = int(known[-1]) + 1 if len(known) else 0
            states = None if many.states is None else many.states[row : row + 1, :length].to(torch.bfloat16)
            first = None if many.first is None else many.first[row : row + 1]
            found.append(Reading(many.vectors[row : row + 1], many.ids[row : row + 1, :length], states, first))
    return found


def placed(reading: Reading, bridge: Any) -> Reading:
    """The reading where the bridge's weights lie."""
    device = next(bridge.parameters()).device
    states, first = (None if part is None else part.to(device) for part in (reading.states, reading.first))
    return Reading(reading.vectors.to(device), reading.ids.to(device), states, first)


def joined(readings: Sequence[Reading]) -> Reading:
    """Readings of one text each as one reading."""
    length = max(reading.ids.shape[1] for reading in readings)
    missing = [length - reading.ids.shape[1] for reading in readings]
    ids = torch.cat([pad(one.ids, (0, less), value=-1) for one, less in zip(readings, missing, strict=True)])
    states = [
        pad(one.states, (0, 0, 0, less)) for one, less in zip(readings, missing, strict=True) if one.states is not None
    ]
    first = [one.first for one in readings if one.first is not None]
    vectors = torch.cat([one.vectors for one in readings])
    return Reading(vectors, ids, torch.cat(states) if states else None, torch.cat(first) if first else None)
