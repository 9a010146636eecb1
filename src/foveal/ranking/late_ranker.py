"""Late interaction as a ranker: MaxSim over token vectors, beside the score that the search gave.

    LateRanker.load("my-late").rank(query, hits)       # `foveal train late` made it; or any encoder: load("minilm")

Score     share · MaxSim + (1 - share) · the hit's own, each laid over 0 to 1 among the hits that are read
Cost      a pass over the passages that were not read before; the vectors of the last `MOST` bytes of them are kept
Shapes    query (n, D), passage (m, D), float32, rows of unit length -> MaxSim, a number up to n
Source    ColBERT's re-ranking (Khattab and Zaharia, SIGIR 2020); the blend is `retrieval/fusion.py`'s weighted sum
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Lock

import numpy as np

from foveal.errors import InputError
from foveal.models.chat import Cancel
from foveal.retrieval.late import Floats, TokenModel, TokenVectors, maxsim
from foveal.retrieval.late_tokens import load_token_model
from foveal.retrieval.pipeline import beside_search, by_score
from foveal.types import Hit, require_hits

SHARE = 0.65
"""Of MaxSim: what held-out claims of SciFact chose for a trained model beside BM25."""

MOST = 2**27
"""Bytes of token vectors that a ranker keeps, two for a number."""

BATCH = 16
"""Passages that are read between two looks at whether it was cancelled."""


class KeptVectors:
    """Token vectors by text, the last used ones; safe for many threads."""

    def __init__(self, most: int = MOST) -> None:
        """Up to `most` bytes."""
        self._most, self._size = most, 0
        self._held: OrderedDict[str, np.ndarray] = OrderedDict()
        self._lock = Lock()

    def get(self, text: str) -> Floats | None:
        """The vectors of a text, None where they are not kept."""
        with self._lock:
            found = self._held.get(text)
            if found is not None:
                self._held.move_to_end(text)
        return None if found is None else found.astype(np.float32)

    def put(self, text: str, vectors: Floats) -> Floats:
        """Keep them, let go of what was not used for longest, and give them as `get` will."""
        short = vectors.astype(np.float16)
        with self._lock:
            before = self._held.pop(text, None)
            self._size += short.nbytes - (0 if before is None else before.nbytes)
            self._held[text] = short
            while self._size > self._most and len(self._held) > 1:
                self._size -= self._held.popitem(last=False)[1].nbytes
        return short.astype(np.float32)


@dataclass(frozen=True)
class LateRanker:
    """A `Ranker`; its scores lie in 0 to 1, 1 being the best of the hits by both."""

    model: TokenModel
    share: float = SHARE
    budget: int | None = None  # hits that are read, the rest follow below; None: all that are given
    kept: KeptVectors = field(default_factory=KeptVectors)

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1 or (self.budget is not None and self.budget < 1):
            raise InputError(
                f"Late interaction got share={self.share} and budget={self.budget}; it needs a share above 0 and up "
                "to 1, and at least 1 hit."
            )

    @classmethod
    def load(cls, name: str, *, share: float = SHARE, budget: int | None = None) -> LateRanker:
        """The ranker of a trained model of token vectors, or of an encoder. Errors: as `load_token_model`."""
        return cls(load_token_model(name), share, budget)

    def rank(self, query: str, hits: Sequence[Hit], *, cancel: Cancel | None = None) -> list[Hit]:
        """The best `budget` hits by score, then the rest in their order, below them. Cancelled: by `cancel`.

        A query without words leaves the order as it is.
        """
        taken = list(require_hits(hits)[: self.budget])
        if not taken or not query.strip():
            return list(hits)
        late = self.scores(query, [hit.passage.text for hit in taken], cancel=cancel)
        return by_score(taken, beside_search(late, taken, self.share), "late", hits)

    def scores(self, query: str, texts: Sequence[str], *, cancel: Cancel | None = None) -> list[float]:
        """The MaxSim of each text; a text without words has 0."""
        asked = self.model.queries([query])[0]
        found = [0.0] * len(texts)
        worded = [n for n, text in enumerate(texts) if text.strip()]
        vectors = self._vectors([texts[n] for n in worded], cancel)
        if worded:
            for n, score in zip(worded, maxsim(TokenVectors.of([asked]), TokenVectors.of(vectors))[0], strict=True):
                found[n] = float(score)
        return found

    def _vectors(self, texts: Sequence[str], cancel: Cancel | None) -> list[Floats]:
        found = [self.kept.get(text) for text in texts]
        missing = list(dict.fromkeys(text for text, vectors in zip(texts, found, strict=True) if vectors is None))
        made: dict[str, Floats] = {}
        for first in range(0, len(missing), BATCH):
            if cancel:
                cancel.check()
            part = missing[first : first + BATCH]
            for text, vectors in zip(part, self.model.documents(part), strict=True):
                made[text] = self.kept.put(text, vectors)
        return [made[text] if vectors is None else vectors for text, vectors in zip(texts, found, strict=True)]
