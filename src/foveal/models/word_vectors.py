"""Vectors of words out of an encoder's table of word pieces, for small models that begin with them.

A word is the mean of its pieces' rows, as they lie in the table, before any layer; brought to fewer numbers by the
directions of most variance (PCA).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from foveal.errors import ModelUnavailable


def word_vectors(folder: Path, words: Sequence[str]) -> tuple[list[int], Tensor]:
    """The places of those words that the encoder of a folder can spell, and their vectors (len(places), D).

    ModelUnavailable: it has no tokenizer or table.
    """
    pieces, table = _pieces(folder, words), _table(folder)
    places = list(pieces)
    vectors = [table[pieces[place]].mean(0) for place in places]
    return places, torch.stack(vectors) if vectors else table.new_zeros(0, table.shape[1])


def principal(vectors: Tensor, dimension: int) -> Tensor:
    """(N, D) -> (N, dimension): the coordinates along the directions of most variance, the mean taken off."""
    centred = (vectors - vectors.mean(0)).double()
    _, directions = torch.linalg.eigh(centred.T @ centred)  # in rising order
    chosen = directions.flip(1)[:, :dimension]
    signs = chosen.gather(0, chosen.abs().argmax(0, keepdim=True)).sign()  # else they differ between machines
    coordinates: Tensor = (centred @ (chosen * signs)).float()
    return coordinates


def _pieces(folder: Path, words: Sequence[str]) -> dict[int, list[int]]:
    """Place -> rows of the table, of words without an unknown piece."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(_there(folder, "tokenizer.json")))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    unknown = {tokenizer.token_to_id(one) for one in ("[UNK]", "<unk>")}
    encoded = tokenizer.encode_batch(list(words), add_special_tokens=False)
    return {place: ids for place, one in enumerate(encoded) if (ids := list(one.ids)) and unknown.isdisjoint(ids)}


def _table(folder: Path) -> Tensor:
    from safetensors import SafetensorError, safe_open

    path = _there(folder, "model.safetensors")
    try:
        with safe_open(str(path), framework="pt") as opened:
            name = next((key for key in opened.keys() if key.endswith("word_embeddings.weight")), None)  # noqa: SIM118
            table: Tensor | None = opened.get_tensor(name).float() if name else None
    except SafetensorError as error:
        raise ModelUnavailable(f"{path} is damaged ({error}). Fetch or unpack it anew.") from error
    if table is None:
        raise ModelUnavailable(f"{folder} has no table called word_embeddings. Name an encoder of the BERT family.")
    return table


def _there(folder: Path, name: str) -> Path:
    if not (folder / name).is_file():
        raise ModelUnavailable(f"{folder} holds no {name}. Name the folder of an encoder of the BERT family.")
    return folder / name
