"""A new library: empty tables that know the encoder and the segmenter which it keeps.

create_library(settings, "minilm", "headings")      # in the place that the settings name
"""

from __future__ import annotations

from foveal.models.hub import whole_name
from foveal.retrieval import tables
from foveal.retrieval.store import Store
from foveal.settings import Settings
from foveal.text.segmenter_by_name import make_segmenter


def create_library(settings: Settings, encoder_name: str, segmenter_name: str, *, anew: bool = False) -> None:
    """Make the library, unless another process was first. `anew`: also over one that is empty, still."""
    uri = settings.library_uri
    name = str(whole_name(encoder_name))
    encoder = None
    if name != "none":
        from foveal.models import load_encoder

        encoder = load_encoder(name, cache=settings.cache, home=settings.home)
    make_segmenter(segmenter_name, encoder, home=settings.home)  # says now what would go wrong at the first document
    values = {"encoder": name, "segmenter": segmenter_name}
    if encoder:
        values |= {"fingerprint": encoder.fingerprint, "dimension": str(encoder.dimension)}
    with tables.writer_lock(uri):  # looked at again: loading the encoder took its time
        if not tables.exists(uri) or (anew and is_empty(Store.open(uri))):
            tables.create(uri, values, encoder.dimension if encoder else None)


def is_empty(store: Store) -> bool:
    """Whether a library holds nothing, replaced texts included."""
    return not any(store.counts().values())
