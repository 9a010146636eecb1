"""The library's encoder in OpenAI's protocol: texts to vectors, for programs that keep an index of their own.

    POST /v1/embeddings             {"model": "minilm", "input": ["…", "…"]}

The model is called as the encoder is, never by a name that stays when the encoder is another one: vectors of two are
not to be compared. Who may search may ask for vectors, within the same limits, in which each `LONGEST_QUERY` characters
of a stranger count as a search, and a text as `LEAST` of them. Of each text the encoder reads its first `max_tokens`
tokens, as it does of a passage.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from foveal.errors import InputError
from foveal.models.characters import scalar
from foveal.types import Encoder
from foveal.web.api_shapes import Shape
from foveal.web.json_errors import FieldRefused
from foveal.web.library_api import Words, fresh
from foveal.web.library_search import LONGEST_QUERY
from foveal.web.request_limits import asked_by, take
from foveal.web.research_api import writes
from foveal.web.signed_in import private
from foveal.web.site import Site, site_of
from foveal.web.small_forms import SmallForms

MOST_TEXTS = 2048
"""Of one request, as at OpenAI."""

LEAST = 100
"""Characters as which a shorter text counts: a vector takes its time, too, and thousands of them some seconds."""

FORMATS = (None, "float", "base64")

NO_TOKENS = (
    "The encoder takes texts, and no numbers of tokens, as each model has its own. Send a text, or a list of texts "
    "(of LangChain's client: check_embedding_ctx_length=False)."
)
NONE_HERE = "This site makes no vectors: its library is empty, or is searched by words only."

router = APIRouter(prefix="/v1", route_class=SmallForms, tags=["chat"], dependencies=[Depends(fresh)])


class EmbeddingQuestion(BaseModel):
    """Texts that are to be made vectors; what else a client sends is ignored."""

    model: Words = Field(description="The library's encoder, as /v1/models lists it.")
    input: Any = Field(description=f"A text, or a list of up to {MOST_TEXTS:,}.")
    encoding_format: Any = Field(default=None, description="float or base64: of the bytes of float32, little-endian.")
    dimensions: int | None = Field(default=None, description="As many as the encoder's vectors have.")

    def texts(self) -> list[str]:
        """The texts. FieldRefused: there are none, or they are something else."""
        given = [self.input] if isinstance(self.input, str) else self.input
        if not isinstance(given, list) or not given:
            raise FieldRefused("input", "There is no text in `input`. Send one, or a list of texts.")
        if len(given) > MOST_TEXTS:
            raise FieldRefused("input", f"These are {len(given):,} texts; at most {MOST_TEXTS:,} are taken at once.")
        if not all(isinstance(one, str) for one in given):
            raise FieldRefused("input", NO_TOKENS)
        if not all(one.strip() for one in given):
            raise FieldRefused("input", "One of the texts is empty: it has no vector. Leave it out.")
        return list(map(scalar, given))


class Vector(Shape):
    """The vector of one text, of unit length."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str


class Read(Shape):
    """Tokens that the encoder has read, its own two of each text among them."""

    prompt_tokens: int
    total_tokens: int


class Vectors(Shape):
    """A vector for each text, in their order."""

    object: Literal["list"] = "list"
    data: list[Vector]
    model: str
    usage: Read


@router.post("/embeddings", response_model=Vectors, dependencies=writes)
def embeddings(request: Request, body: EmbeddingQuestion) -> Response:
    """Make vectors of texts by the library's own encoder."""
    site = site_of(request)
    texts = body.texts()
    encoder = _encoder(site, body.model)
    if body.encoding_format not in FORMATS:
        raise FieldRefused("encoding_format", "Vectors come as float or as base64. Name one of the two.")
    if body.dimensions not in (None, encoder.dimension):
        said = f"The vectors of {body.model} have {encoder.dimension} dimensions, and are not shortened. Leave it out."
        raise FieldRefused("dimensions", said)
    characters = sum(max(LEAST, len(text)) for text in texts) if asked_by(request) else 0
    take(request, "search", max(1, math.ceil(characters / LONGEST_QUERY)))
    vectors, read = _encoded(encoder, texts)
    shown = [_as_base64(one) for one in vectors] if body.encoding_format == "base64" else vectors.tolist()
    data = [{"object": "embedding", "index": place, "embedding": one} for place, one in enumerate(shown)]
    usage = {"prompt_tokens": read, "total_tokens": read}
    return JSONResponse({"object": "list", "data": data, "model": body.model, "usage": usage}, headers=private())


def encoder_name(site: Site) -> str | None:
    """What the library's encoder is called as a model, a folder by its own name; None: there is none."""
    name: str = site.library.store.settings["encoder"] if site.has_library else "none"
    return None if name == "none" else Path(name).name if Path(name).is_absolute() else name


def _encoder(site: Site, model: str) -> Encoder:
    """The encoder of that name. FieldRefused: it is not this one. InputError: the library has none."""
    name = encoder_name(site)
    if name is None:
        raise InputError(NONE_HERE)
    if model != name:
        raise FieldRefused("model", f"There is no encoder {model[:60]!r} here. There is: {name}.", 404)
    return site.library.encoder


def _encoded(encoder: Encoder, texts: Sequence[str]) -> tuple[np.ndarray, int]:
    """The vectors, and the tokens that were read for them; counted as they were cut, where the encoder tells."""
    counted: Callable[[Sequence[str]], tuple[np.ndarray, list[int]]] | None = getattr(encoder, "encode_counted", None)
    if counted is None:
        vectors = encoder.encode(texts)
        counts = [min(len(encoder.token_offsets(text)) + 2, encoder.max_tokens) for text in texts]
    else:
        vectors, counts = counted(texts)
    return np.asarray(vectors, dtype="<f4"), sum(counts)


def _as_base64(vector: np.ndarray) -> str:
    return base64.b64encode(vector.tobytes()).decode("ascii")
