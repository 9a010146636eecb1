"""Heads of bench segment-learned: fitted over frozen vectors, or fine-tuned and kept with their scores.

Test documents decide nothing here: heads are fitted on training documents, and calibrated on the dev documents.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np

from foveal.bench.code import code_digest
from foveal.bench.segment_learned_data import (
    Policies,
    Scale,
)
from foveal.models.folders import fingerprint as model_fingerprint
from foveal.models.hub import folder_of
from foveal.settings import Settings
from foveal.training import checkpoints
from foveal.training.same_topic import (
    SameTopicSettings,
    calibrated,
    layout_head,
    topic_head,
    vector_head,
)
from foveal.training.same_topic_heads import Floats, Head, Paragraphs
from foveal.training.same_topic_model import SameTopicModel
from foveal.training.same_topic_pairs import fingerprint
from foveal.training.same_topic_tuned import tuned

TRAINING = ("foveal.training.same_topic_tuned", "foveal.evaluation.segmentation", "foveal.models.encoders")
"""What trains heads, chooses their steps, and scores by them; and what it imports of its packages."""


class Arms:
    """What is learnt from one set of policies."""

    def __init__(self, data: Policies, scale: Scale, base: str) -> None:
        self.data, self.scale, self.base = data, scale, base
        self.dev, self.test = data.held
        self._frozen: dict[int, dict[str, Head]] = {}

    @property
    def quick(self) -> bool:
        """Whether bars that a fine-tuning of minutes cannot meet are left out."""
        return self.data.settings.quick

    def wanted(self, seed: int) -> SameTopicSettings:
        """How frozen heads are trained."""
        return SameTopicSettings(loop=replace(self.scale.loop(seed, 1.0), seed=seed))

    def frozen(self, seed: int) -> dict[str, Head]:
        """The heads over vectors, and of layout, of one seed; fitted once."""
        if seed not in self._frozen:
            self._frozen[seed] = self._fitted(seed)
        return dict(self._frozen[seed])

    def _fitted(self, seed: int) -> dict[str, Head]:
        wanted, parts = self.wanted(seed), self.data.parts
        _, pairs, vectors = parts.pairs(wanted)
        made: dict[str, Head | None] = {
            "vectors": vector_head(parts.encoder, vectors, pairs, self.dev, wanted.ridges),
            "topics": topic_head(parts, self.dev, wanted),
            "layout": layout_head(parts.corpus, self.dev, wanted.ridges),
        }
        return {name: head for name, head in made.items() if head is not None}

    def fine_tuned(self, kind: str, seed: int, *, pairs: int, epochs: float, strategy: str | None = None) -> Kept:
        """A head that is fine-tuned now or was before; its scores are kept, so that it is loaded only if they lack.

        `strategy`: of these pairs alone (None: the true gaps and consecutive pairs).
        """
        wanted = replace(self.wanted(seed), strategy=strategy or "consecutive", gaps=strategy is None)
        corpus, few = self.data.parts.few(wanted, pairs)
        place = folder_of(self.base, Settings.load().cache, kind="encoder")
        known = {
            "corpus": hashlib.sha256("\x1f".join(corpus.texts).encode("utf-8", "surrogatepass")).hexdigest(),
            "pairs": hashlib.sha256(np.stack([few.left, few.right, few.same, few.weight]).tobytes()).hexdigest(),
            "dev": fingerprint([one.document for one in self.dev]),
            "base": model_fingerprint(place),  # what learns; the encoder of the data may be another
            "code": "-".join(code_digest(*TRAINING, within=f"foveal.{one}") for one in ("training", "models")),
        }
        loop = self.scale.loop(seed, epochs)
        digest = hashlib.sha256(json.dumps([known, kind, self.scale.window, str(loop)]).encode()).hexdigest()[:24]
        folder = self.data.settings.cache / "same-topic" / digest

        def make() -> Head:
            documents = [one.document for one in self.dev]
            head, _ = tuned(kind, place, corpus, few, documents, loop, folder, window=self.scale.window, identity=known)
            return head

        return Kept(kind, make, folder / "scores.json")

    def model(self, heads: Mapping[str, Head]) -> SameTopicModel:
        """Their sum, calibrated on the dev documents."""
        return calibrated(heads, self.dev, reaches=(1,), card={})


class Kept:
    """A head whose scores are kept by the texts that they are of."""

    far = False

    def __init__(self, kind: str, make: Callable[[], Head], path: Path) -> None:
        self.kind, self.make, self.path = kind, make, path

    @cached_property
    def kept(self) -> dict[str, list[float]]:
        """What was scored, now or before."""
        return checkpoints.read(self.path) or {}

    @cached_property
    def head(self) -> Head:
        """The head itself."""
        return self.make()

    def score(self, read: Paragraphs, distance: int) -> Floats:
        """Its scores, made or read."""
        key = hashlib.sha256("\x1f".join(read.texts).encode("utf-8", "surrogatepass")).hexdigest()[:24]
        if f"{key}-{distance}" not in self.kept:
            self.kept[f"{key}-{distance}"] = self.head.score(read, distance).tolist()
            checkpoints.write(self.path, self.kept)
        return np.array(self.kept[f"{key}-{distance}"], dtype=np.float32)

    def arrays(self) -> Mapping[str, Floats]:
        """None: it is measured, and not saved."""
        return {}
