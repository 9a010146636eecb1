"""Queries encoded with what is happening: an encoder of the BERT family and a block of event attention.

    model = EventEncoder.load("my-events")
    model.encode_query(["who won?"], [[EventText("Brazil holds run-off", age_days=0.5, burst=3.0)]])
    model.encode_document(texts)                        # sees no event: an ordinary index

Shapes    texts -> unit vectors (n, d), float32
Source    Yang et al., 2023, arXiv 2312.00372; `models/event_attention.py` has the formulas
Against   a query without events gets the plain encoder's vector, bit by bit
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from foveal.errors import InputError
from foveal.models.folders import written_at
from foveal.retrieval.trained import trained_folder
from foveal.settings import Settings
from foveal.types import Encoder

if TYPE_CHECKING:
    from torch import Tensor

    from foveal.models.event_attention import EventAttention, EventAttentionSettings, EventStates, EventText
    from foveal.retrieval.fresh_fusion import Fusion

Floats = npt.NDArray[np.float32]
AT_ONCE = 64
"""Queries that look at their events together."""

KEPT = 4096
"""Events whose states are kept: the same ones are looked at by many queries."""


class EventEncoder:
    """Two sides of one encoder: documents as they are, queries with their events."""

    def __init__(self, encoder: Encoder, attention: EventAttention, fusion: Fusion | None = None) -> None:
        """`fusion`: what a search is fused by, where that was fitted.

        InputError: the block is for vectors of another length.
        """
        if attention.dimension != encoder.dimension:
            raise InputError(
                f"Event attention over {attention.dimension} numbers got the encoder {encoder.name} of "
                f"{encoder.dimension}; both must belong together."
            )
        self.encoder, self.attention, self.fusion = encoder, attention.eval(), fusion
        self._states: dict[str, Tensor] = {}

    @classmethod
    def untrained(cls, encoder: Encoder, settings: EventAttentionSettings | None = None) -> EventEncoder:
        """The block as it begins, over any encoder of the BERT family."""
        from foveal.models.event_attention import EventAttention

        return cls(encoder, EventAttention(encoder.dimension, settings))

    @classmethod
    def load(
        cls, name: str | Path | None = None, *, encoder: Encoder | None = None, home: Path | None = None
    ) -> EventEncoder:
        """The model in a folder, of that name (HOME/models), or the one trained last.

        UnknownName: none is called so. ModelUnavailable: none was trained, or its files are damaged.
        """
        from foveal.models.event_reading import read_event_model
        from foveal.retrieval.fresh_fusion import Fusion

        folder = event_folder(home or Settings.load().home, name)
        found, own = read_event_model(folder, encoder)
        return cls(own, found, Fusion.read(folder))

    def save(self, folder: Path) -> Path:
        """Write the block, a copy of its encoder, and what was fitted. InputError: the folder is there already."""
        from foveal.models.event_reading import write_event_model

        if folder.exists():
            raise InputError(f"{folder} is there already, and a library may use it. Give the model another name.")
        write_event_model(folder, self.attention, self.encoder)
        if self.fusion is not None:
            self.fusion.write(folder)
        return folder

    def encode_document(self, texts: Sequence[str]) -> Floats:
        """Unit vectors of documents."""
        return self._projected(np.asarray(self.encoder.encode(texts), dtype=np.float32))

    def encode_query(self, queries: Sequence[str], events: Sequence[Sequence[EventText]] | None = None) -> Floats:
        """Unit vectors of queries, each with its events (None: without any), as many of them as the settings say.

        InputError: not one list of events for each query.
        """
        if events is not None and len(events) != len(queries):
            raise InputError(f"{len(queries)} queries came with {len(events)} lists of events; each needs one.")
        made = self.encode_document(queries) if len(queries) else np.empty((0, self.encoder.dimension), np.float32)
        looking = [row for row, one in enumerate(events or ()) if one and queries[row].strip()]
        for first in range(0, len(looking), AT_ONCE):
            rows = looking[first : first + AT_ONCE]
            made[rows] = self._looked([queries[row] for row in rows], [(events or ())[row] for row in rows])
        return made

    def weights(self, query: str, events: Sequence[EventText]) -> list[float]:
        """The share of attention that each event gets, over heads and the query's tokens; they sum to 1."""
        import torch

        with torch.inference_mode():
            states, _, joined = self._read([query], [events])
            spread = self.attention.attention(states, joined)[0].mean(dim=(0, 1))
            taken = [event.text for event in self._taken(events)]
            held = self._states_of(taken)
            lengths = [len(held[text]) for text in taken]
            parts = torch.split(spread[: sum(lengths)], lengths)
            return [float(part.sum()) for part in parts]

    def _looked(self, queries: Sequence[str], events: Sequence[Sequence[EventText]]) -> Floats:
        import torch

        with torch.inference_mode():
            states, mask, joined = self._read(queries, events)
            vectors: Floats = self.attention.vectors(self.attention(states, joined), mask).numpy()
        return vectors

    def _read(
        self, queries: Sequence[str], events: Sequence[Sequence[EventText]]
    ) -> tuple[Tensor, Tensor, EventStates]:
        import torch
        from torch.nn.utils.rnn import pad_sequence

        from foveal.models.event_attention import joined
        from foveal.models.event_reading import token_states

        taken = [self._taken(one) for one in events]
        held = self._states_of([event.text for one in taken for event in one])
        asked = token_states(self.encoder, queries, self.attention.settings.query_tokens)
        mask = torch.arange(max(map(len, asked))) < torch.tensor([len(one) for one in asked])[:, None]
        parts = [[(held[event.text], event) for event in one] for one in taken]
        return pad_sequence(asked, batch_first=True), mask, joined(parts, self.encoder.dimension)

    def _states_of(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """Of events, those that are kept and those read now. Threads may ask at once: none sees another one forget."""
        from foveal.models.event_reading import token_states

        held = self._states
        found = {text: held[text] for text in texts if text in held}
        new = [text for text in dict.fromkeys(texts) if text not in found]
        if new:
            found |= dict(zip(new, token_states(self.encoder, new, self.attention.settings.event_tokens), strict=True))
            self._states = dict([*held.items(), *((text, found[text]) for text in new)][-KEPT:])
        return found

    def _taken(self, events: Sequence[EventText]) -> Sequence[EventText]:
        return [event for event in events if event.text.strip()][: self.attention.settings.events]

    def _projected(self, vectors: Floats) -> Floats:
        if self.attention.project is None:
            return vectors
        import torch

        with torch.inference_mode():
            made: Floats = self.attention.documents(torch.from_numpy(vectors)).numpy()
        return made


def loaded(name: str, home: Path) -> EventEncoder:
    """A model by its name, loaded once, with the encoder in its folder."""
    folder = event_folder(home, name)
    return _loaded(folder, home, written_at(folder))


@lru_cache(maxsize=2)
def _loaded(folder: Path, home: Path, written: int) -> EventEncoder:  # noqa: ARG001
    return EventEncoder.load(folder, home=home)


def event_folder(home: Path, name: str | Path | None = None) -> Path:
    """The folder of an event model: HOME/models/<name>, a folder, or, None, that of the one trained last."""
    from foveal.models.event_reading import ABOUT

    return trained_folder(home, ABOUT, name, kind="event model", command="foveal train events")
