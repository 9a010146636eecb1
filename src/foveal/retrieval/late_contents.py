"""What a late-interaction index holds: N documents in codes, and the lists that lead from centroids to documents.

T token vectors; C centroids; U pairs (document, centroid), each once. It becomes arrays and a description for
`snapshots.py`, and comes back from them. Where others keep the names of its documents (`passage_segments.py`) it has
no ids, and rows are what it finds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from foveal.errors import InputError, LibraryCorrupt
from foveal.retrieval.late import Ids, TokenVectors
from foveal.retrieval.late_codes import Coded, Codes, ResidualCodec
from foveal.retrieval.snapshots import read_snapshot, write_snapshot

KIND = "late interaction"
CODEC = ("centroids", "cutoffs", "weights")
CODED = ("codes", "scales", "packed")
ARRAYS = ("starts", "alive", "members", "member_starts", "lists", "list_starts")


@dataclass(frozen=True)
class Contents:
    """The documents as they are at one time; nothing in it changes."""

    codec: ResidualCodec
    ids: tuple[str, ...]  # N, removed documents included; () where others keep the names
    starts: Ids  # (N + 1,): where each document's vectors begin
    coded: Coded
    alive: npt.NDArray[np.bool_]  # (N,): not removed
    members: Codes  # (U,): the centroids of each document, each once
    member_starts: Ids  # (N + 1,)
    lists: Codes  # (U,): the documents of each centroid
    list_starts: Ids  # (C + 1,)

    @classmethod
    def of(cls, codec: ResidualCodec, ids: Sequence[str], vectors: TokenVectors) -> Contents:
        """Of documents' vectors."""
        return _listed(
            codec, tuple(ids), vectors.starts, codec.encode(vectors.vectors), np.ones(len(vectors), dtype=bool)
        )

    def __len__(self) -> int:
        return len(self.alive)

    @property
    def bytes(self) -> int:
        """Of all arrays, the codec's included."""
        return sum(array.nbytes for array in self.arrays.values())

    @property
    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """All arrays by the names of their files."""
        parts = ((self.codec, CODEC), (self.coded, CODED), (self, ARRAYS))
        return {name: getattr(part, name) for part, names in parts for name in names}

    def with_more(self, more: Contents) -> Contents:
        """These documents, then those of `more`, which has the same codec."""
        return _listed(
            self.codec,
            (*self.ids, *more.ids),
            np.concatenate([self.starts, more.starts[1:] + self.starts[-1]]),
            Coded(*(np.concatenate([getattr(part.coded, name) for part in (self, more)]) for name in CODED)),
            np.concatenate([self.alive, more.alive]),
        )

    def without(self, gone: set[str]) -> Contents:
        """The documents called so marked as removed."""
        return replace(self, alive=self.alive & np.array([name not in gone for name in self.ids], dtype=bool))

    def compacted(self) -> Contents:
        """Those alone that are not removed."""
        return merged([self], [self.alive])


def merged(parts: Sequence[Contents], kept: Sequence[npt.NDArray[np.bool_]]) -> Contents:
    """The documents of all parts, which have one codec, that are to be kept: a mask for each part."""
    lengths = [np.diff(part.starts) for part in parts]
    coded = [
        part.coded if stays.all() else part.coded[np.flatnonzero(np.repeat(stays, of_part))]
        for part, of_part, stays in zip(parts, lengths, kept, strict=True)
    ]
    left = np.concatenate([of_part[stays] for of_part, stays in zip(lengths, kept, strict=True)])
    return _listed(
        parts[0].codec,
        tuple(name for part, stays in zip(parts, kept, strict=True) for name in compress(part.ids, stays)),
        np.concatenate([[0], np.cumsum(left)]).astype(np.int64),
        Coded(*(np.concatenate([getattr(part, name) for part in coded]) for name in CODED)),
        np.ones(len(left), dtype=bool),
    )


def write(folder: Path, contents: Contents, fingerprint: str, *, keep: int) -> int:
    """Write a snapshot and give its number; the last `keep` ones stay."""
    about = {"kind": KIND, "fingerprint": fingerprint, "ids": contents.ids}
    return write_snapshot(folder, about, contents.arrays, keep=keep)


def read(folder: Path, *, mmap: bool, snapshot: int | None) -> tuple[Contents, str]:
    """The contents of a snapshot, and the fingerprint of their encoder."""
    about, arrays = read_snapshot(folder, mmap=mmap, snapshot=snapshot)
    if about.get("kind") != KIND:
        raise InputError(f"{folder} holds an index of another kind. Name a folder that LateIndex.save wrote.")
    try:
        contents = joined(tuple(about["ids"]), arrays)
        if len(contents.ids) != len(contents):
            raise ValueError("its ids do not fit its documents")
    except (KeyError, ValueError) as error:
        raise LibraryCorrupt(f"The index in {folder} is damaged: {error}. Build and save it again.") from error
    return contents, str(about["fingerprint"])


def joined(ids: tuple[str, ...], arrays: Mapping[str, npt.NDArray[Any]]) -> Contents:
    """The contents of their arrays. KeyError: one is missing. ValueError: they do not fit each other."""
    codec, coded = ResidualCodec(*(arrays[name] for name in CODEC)), Coded(*(arrays[name] for name in CODED))
    contents = Contents(codec=codec, ids=ids, coded=coded, **{name: arrays[name] for name in ARRAYS})
    lengths = {len(contents.starts), len(contents.member_starts), len(contents) + 1}
    whole = len(lengths) == 1 and len(contents.list_starts) == len(codec.centroids) + 1
    ends = (contents.starts[-1], contents.member_starts[-1], contents.list_starts[-1])
    counts = (len(coded.codes), len(contents.members), len(contents.lists))
    if not whole or tuple(map(int, ends)) != counts or not len(coded.codes) == len(coded.scales) == len(coded.packed):
        raise ValueError("its arrays do not fit each other")
    return contents


def _listed(
    codec: ResidualCodec,
    ids: tuple[str, ...],
    starts: Ids,
    coded: Coded,
    alive: npt.NDArray[np.bool_],
) -> Contents:
    """The contents with the lists of both directions, made of the codes."""
    count = len(codec.centroids)
    document_of = np.repeat(np.arange(len(alive), dtype=np.int64), np.diff(starts))
    documents, members = np.divmod(np.unique(document_of * count + coded.codes), count)
    return Contents(
        codec=codec,
        ids=ids,
        starts=starts,
        coded=coded,
        alive=alive,
        members=members.astype(np.int32),
        member_starts=_ends(documents, len(alive)),
        lists=documents[np.argsort(members, kind="stable")].astype(np.int32),
        list_starts=_ends(members, count),
    )


def _ends(groups: Ids, count: int) -> Ids:
    """Where each of `count` groups begins among items sorted by group, and the end: (count + 1,)."""
    return np.concatenate([[0], np.cumsum(np.bincount(groups, minlength=count))]).astype(np.int64)
