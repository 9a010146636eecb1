"""LexSemBridge: a dense search that finds exact words and pasted fragments, over the index that is there already.

    bridge = LexSemBridge.of_collection(encoder, texts, vectors)     # nothing is trained; or LexSemBridge.load(folder)
    bridge.encode_query(["who isolated asf1?"])                      # (1, d), to be searched in the old index
    library.search("asf1", retriever="lexsembridge", model="my-bridge")

A query's embedding is multiplied, number by number, with a positive vector made of the query's own words. Passages keep
their vectors, so that the bridge is a switch of each query: `enabled`.

Shapes    texts -> unit vectors (n, d), float32
Source    Zhan et al., 2025, arXiv 2508.17858; `models/lexsembridge.py` has the formulas
Needs     SLR over words: any encoder. LLR, CLR and units "tokens": an encoder of the BERT family
Against   BM25 (`lexical.py`) finds a rare word outright. The bridge weighs numbers of a vector; what a passage's vector
          has lost, it cannot bring back. Fuse it with BM25
"""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Sequence
from dataclasses import astuple, dataclass, replace
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from foveal.errors import InputError
from foveal.models.characters import each_read, require_several
from foveal.models.folders import written_at
from foveal.ranges import require_k
from foveal.retrieval.rows import hits
from foveal.retrieval.store import Collection, Store
from foveal.retrieval.towers import Towers
from foveal.retrieval.trained import trained_folder
from foveal.settings import Settings, expanded
from foveal.types import Encoder, Hit

if TYPE_CHECKING:
    from torch import Tensor

    from foveal.models.lexsembridge import Bridge, BridgeSettings, Reading
    from foveal.models.lexsembridge_reading import Units

Floats = npt.NDArray[np.float32]


class LexSemBridge:
    """An `Encoder` of queries, by any encoder and a bridge; its documents' side is `encode_document`."""

    def __init__(self, encoder: Encoder, bridge: Bridge, units: Units, *, enabled: bool = True) -> None:
        """`units` say what the rows of W stand for. InputError: these three do not fit each other."""
        from foveal.models.lexsembridge_reading import Reader

        if bridge.dimension != encoder.dimension or bridge.size != units.size:
            raise InputError(
                f"A bridge of {bridge.size:,} units and {bridge.dimension} numbers got {units.size:,} {units.kind} and "
                f"an encoder of {encoder.dimension} numbers; all must belong together."
            )
        self.encoder, self.bridge, self.units, self.enabled = encoder, bridge.eval(), units, enabled
        self.name, self.dimension, self.max_tokens = encoder.name, encoder.dimension, encoder.max_tokens
        self._reader = Reader(encoder, units, bridge.settings)

    @classmethod
    def of_collection(
        cls,
        encoder: Encoder,
        texts: Sequence[str],
        vectors: Floats | None = None,
        settings: BridgeSettings | None = None,
        *,
        units: str = "words",
        init_mlm_head: bool = False,
    ) -> LexSemBridge:
        """The bridge that a collection's texts and their vectors (N, d; encoded where not given) give, untrained.

        `settings`: default SLR with a bounded reach. Errors: InputError: no texts, or not one vector for each.
        """
        from foveal.models.lexsembridge_reading import corpus_weights, held_units, made_bridge, units_of

        chosen = settings or _bounded()
        rows = units_of(units, encoder, texts)
        bridge = made_bridge(encoder, rows, chosen, init_mlm_head=init_mlm_head)
        if chosen.rank is not None:
            raise InputError("A bridge of low rank has to be trained; without training leave rank=None.")
        if vectors is None:
            vectors = encoder.encode(texts)
        bridge.weight.data.copy_(corpus_weights(held_units(encoder, rows, texts), vectors, rows.size))
        return cls(encoder, bridge, rows)

    # -- vectors ------------------------------------------------------------------------------------------------

    def encode(self, texts: Sequence[str]) -> Floats:
        """`encode_query`: as an `Encoder` this is the queries' side."""
        return self.encode_query(texts)

    def encode_query(self, texts: Sequence[str], *, enabled: bool | None = None) -> Floats:
        """Unit vectors of queries. InputError, with its number: a text is empty."""
        return self._encoded(texts, self.bridge.settings.fuse_query and self._on(enabled))

    def encode_document(self, texts: Sequence[str], *, enabled: bool | None = None) -> Floats:
        """Unit vectors of documents: the plain encoder's, unless the bridge is for both sides."""
        return self._encoded(texts, self.bridge.settings.fuse_passage and self._on(enabled))

    def token_offsets(self, text: str) -> list[tuple[int, int]]:
        """The encoder's own."""
        return self.encoder.token_offsets(text)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over the encoder's fingerprint, the settings, the units and all weights."""
        digest = hashlib.sha256(repr((self.encoder.fingerprint, astuple(self.bridge.settings), self.units)).encode())
        for name, value in sorted(self.bridge.state_dict().items()):
            digest.update(name.encode() + value.detach().cpu().numpy().tobytes())
        return digest.hexdigest()

    def towers(self) -> Towers:
        """Both sides, for a new index; with fusion of queries only, the documents' side is the encoder itself."""
        return Towers(_Documents(self) if self.bridge.settings.fuse_passage else self.encoder, self)

    # -- to look at ---------------------------------------------------------------------------------------------

    def lexical_weights(self, text: str) -> dict[str, float]:
        """Each unit whose weight is above 0, the heaviest first."""
        found = self._weights(self._reader([text]))[0]
        heavy = sorted(found.nonzero()[:, 0].tolist(), key=lambda unit: (-float(found[unit]), unit))
        return {self._called(unit): float(found[unit]) for unit in heavy}

    def enhancement(self, text: str) -> Floats:
        """v (d,): what the text's embedding is multiplied with; above 0, of sum 1."""
        import torch

        with torch.inference_mode():
            made: Floats = self.bridge.enhancement(self._reader([text]))[0].numpy()
        return made

    # -- the folder ---------------------------------------------------------------------------------------------

    def save(self, folder: Path) -> Path:
        """Write a folder with the bridge and a copy of its encoder. InputError: it is there already."""
        from foveal.models.lexsembridge_reading import write_bridge

        if folder.exists():
            raise InputError(f"{folder} is there already, and a library may use it. Give the bridge another name.")
        folder.mkdir(parents=True)
        return write_bridge(folder, self.bridge, self.units, self.encoder)

    @classmethod
    def load(
        cls, name: str | Path | None = None, *, encoder: Encoder | None = None, home: Path | None = None
    ) -> LexSemBridge:
        """The bridge in a folder, or of a name in HOME/models; None: the one trained last.

        `encoder` saves loading it where it is loaded already. UnknownName, ModelUnavailable: no bridge is there: never
        is the plain encoder taken for it. InputError: another encoder's.
        """
        from foveal.models.lexsembridge_reading import read_bridge

        folder = bridge_folder(home or Settings.load().home, name)
        bridge, units, found = read_bridge(folder, encoder)
        return cls(found, bridge, units)

    # -- parts --------------------------------------------------------------------------------------------------

    def _on(self, enabled: bool | None) -> bool:
        return self.enabled if enabled is None else enabled

    def _encoded(self, texts: Sequence[str], fuse: bool) -> Floats:
        from foveal.models.lexsembridge_reading import bridged

        if not texts:
            return np.empty((0, self.dimension), dtype=np.float32)
        if fuse:
            return bridged(self.bridge, self._reader, texts)
        return np.asarray(self.encoder.encode(texts), dtype=np.float32)

    def _weights(self, reading: Reading) -> Tensor:
        import torch

        with torch.inference_mode():
            return self.bridge.weights(reading)

    def _called(self, unit: int) -> str:
        if self.units.words is not None:
            return self.units.words[unit]
        from foveal.models.lexsembridge_reading import bert_of

        return str(bert_of(self.encoder, "its tokens").tokenizer.id_to_token(unit))


class _Documents:
    """The documents' side of a bridge as an `Encoder`."""

    def __init__(self, bridge: LexSemBridge) -> None:
        self._bridge = bridge
        self.name, self.dimension, self.max_tokens = bridge.name, bridge.dimension, bridge.max_tokens

    @property
    def fingerprint(self) -> str:
        """That of the bridge, as the documents' side."""
        return hashlib.sha256(f"documents {self._bridge.fingerprint}".encode()).hexdigest()

    def encode(self, texts: Sequence[str]) -> Floats:
        """Vectors of documents."""
        return self._bridge.encode_document(texts)

    def token_offsets(self, text: str) -> list[tuple[int, int]]:
        """The encoder's own."""
        return self._bridge.token_offsets(text)


@dataclass(frozen=True)
class LexSemBridgeRetriever:
    """A `Retriever` over a library's own vectors, which were made by the bridge's encoder without it."""

    store: Store
    model: LexSemBridge
    where: str | None = None
    enabled: bool = True  # False: the plain dense search

    @classmethod
    def over(
        cls,
        collection: Collection,
        where: str | None,
        *,
        model: LexSemBridge | str | Path | None = None,
        enabled: bool = True,
    ) -> LexSemBridgeRetriever:
        """The retriever over a collection, by a bridge, or one by its name (see `LexSemBridge.load`).

        UnknownName, ModelUnavailable: no such bridge. InputError: one of another encoder, or for new vectors.
        """
        encoder = collection.encoder
        settings = getattr(collection, "settings", None) or Settings.load()
        if isinstance(model, LexSemBridge):
            loaded = model
        else:
            folder = bridge_folder(settings.home, model)
            loaded = _loaded(folder, cast("Hashable", encoder), written_at(folder))
        if loaded.encoder.fingerprint != encoder.fingerprint:
            raise InputError(
                f"The bridge was made for the encoder {loaded.encoder.name} ({loaded.encoder.fingerprint[:12]}), the "
                f"library's vectors by {encoder.name} ({encoder.fingerprint[:12]}). Train a bridge for this library: "
                "foveal train lexsembridge."
            )
        if loaded.bridge.settings.fuse_passage:
            raise InputError(
                "The bridge changes passages, too, but the library's vectors were made without it. Use one for queries "
                "only (fuse_passage=False)."
            )
        return cls(collection.store, loaded, where, enabled)

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """For each query the `k` passages with the highest cosine to its bridged vector. An empty one, or one of no
        token that the encoder knows, finds nothing.
        """
        require_several(queries, "search")
        require_k(k)
        encode = partial(self.model.encode_query, enabled=self.enabled)
        vectors = each_read(self.model.encoder, queries, encode)
        source = "lexsembridge" if self.enabled else "dense"
        nearest = partial(self.store.nearest, k=k, where=self.where)
        return [[] if vector is None else hits(nearest(vector), source) for vector in vectors]


def bridge_folder(home: Path, name: str | Path | None = None) -> Path:
    """A folder that is there, the one of a name in HOME/models, or, None, that of the bridge trained last there."""
    from foveal.models.lexsembridge_reading import ABOUT

    folder = None if name is None else expanded(name)
    if folder is not None and folder.is_dir():
        return folder
    return trained_folder(home, ABOUT, name, kind="bridge", command="foveal train lexsembridge")


@lru_cache(maxsize=2)
def _loaded(folder: Path, encoder: Any, written: int) -> LexSemBridge:  # noqa: ARG001
    return LexSemBridge.load(folder, encoder=encoder)


def _bounded() -> BridgeSettings:
    from foveal.models.lexsembridge import BridgeSettings
    from foveal.models.lexsembridge_reading import REACH

    return replace(BridgeSettings(), reach=REACH)
