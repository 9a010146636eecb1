"""The titles of a collection as a prefix tree of their tokens, in arrays: which tokens may follow what was written.

Shapes    a title is a sequence of token ids that ends with `end`, which stands nowhere else, so that a title may be the
          beginning of another one. A node is a number, the root is 0; the nodes that follow node n in the tree are
          first[n] to first[n + 1], in the order of their tokens: a step of a search is a slice, for many nodes at once
Source    decoding along a tree of names: De Cao et al. (GENRE), ICLR 2021, where it is nested dicts that are walked
          from the root for each token of each beam; CorpusBrain (Chen et al., CIKM 2022) has the same
Changes   a title that is added later hangs on lists beside the arrays, until so many do that the arrays are made anew;
          one that is removed leaves nodes behind that no search enters (`below` counts the titles under each node)
Bytes     16 a node, 4 a token of a title; nested dicts take some 230 a node
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from foveal.errors import InputError, LibraryCorrupt
from foveal.retrieval.snapshots import read_snapshot, write_snapshot

Ids = npt.NDArray[np.int64]
KIND = "title trie"
ARRAYS = ("token", "first", "title", "below", "flat", "starts")

LATE_SHARE = 0.1
"""Share of the nodes that may hang beside the arrays before these are made anew."""


class TitleTrie:
    """Titles numbered in the order in which they came; make it with `of` or `load`."""

    def __init__(self, arrays: dict[str, npt.NDArray[Any]], end: int, fingerprint: str = "") -> None:
        """From the arrays that `of` makes."""
        self.end, self.fingerprint = end, fingerprint
        self.token, self.first = arrays["token"], arrays["first"]  # (N,), (N + 1,)
        self.title, self.below = arrays["title"], arrays["below"]  # (N,): -1 where no title ends
        self.flat, self.starts = arrays["flat"], arrays["starts"]  # tokens of all titles, and where each begins
        self._late: dict[int, list[int]] = {}  # node -> nodes that follow it and are not in its slice
        self._more: list[list[int]] = []  # the sequences of titles that were added later
        self._packed, self._size = len(self.first) - 1, len(self.token)
        self._longest = int(np.diff(self.starts).max(initial=0))

    @classmethod
    def of(cls, sequences: Sequence[Sequence[int]], end: int, *, fingerprint: str = "") -> TitleTrie:
        """The tree of these sequences; `fingerprint` says which tokens they are of.

        InputError: none, one twice, one without a token, or `end` where it must not stand.
        """
        if not len(sequences):
            raise InputError("A tree of titles got no title. Give at least one document with a title.")
        for number, sequence in enumerate(sequences):
            _check(sequence, end, number)
        lengths = np.fromiter(map(len, sequences), dtype=np.int64, count=len(sequences))
        flat = np.fromiter((token for one in sequences for token in one), dtype=np.int32, count=int(lengths.sum()))
        starts = np.concatenate([[0], np.cumsum(lengths)])
        return cls(_built(flat, starts), end, fingerprint)

    # -- what is in it ------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        """Titles that can be found."""
        return int(self.below[0])

    @property
    def nodes(self) -> int:
        """Nodes, those of removed titles included."""
        return self._size

    @property
    def bytes(self) -> int:
        """What it takes in memory, the tokens of the titles included."""
        late = sum(map(len, self._late.values())) + sum(map(len, self._more))
        return sum(int(getattr(self, name).nbytes) for name in ARRAYS) + 100 * late

    @property
    def longest(self) -> int:
        """Tokens of the longest title, its end included."""
        return self._longest

    @property
    def count(self) -> int:
        """Numbers that were given to titles, those of removed ones included."""
        return len(self.starts) - 1 + len(self._more)

    def sequence(self, number: int) -> list[int]:
        """The tokens of a title, its end included."""
        if not 0 <= number < self.count:
            raise InputError(f"There is no title number {number}; there are {self.count}.")
        stored = len(self.starts) - 1
        if number >= stored:
            return list(self._more[number - stored])
        found: list[int] = self.flat[self.starts[number] : self.starts[number + 1]].tolist()
        return found

    def find(self, sequence: Sequence[int]) -> int | None:
        """The number of a title, if it can be found."""
        node = self.walk(sequence)
        return int(self.title[node]) if node is not None and self.title[node] >= 0 else None

    def __iter__(self) -> Iterator[int]:
        """Numbers of the titles, in the order in which they came."""
        return iter(np.sort(self.title[: self._size][self._ends()]).tolist())

    def in_order(self) -> list[int]:
        """Numbers of the titles, in the order of their tokens."""
        return sorted(self, key=self.sequence)

    def _ends(self) -> npt.NDArray[np.bool_]:
        ends: npt.NDArray[np.bool_] = (self.title[: self._size] >= 0) & (self.below[: self._size] > 0)
        return ends

    # -- steps --------------------------------------------------------------------------------------------------

    def children(self, nodes: Ids) -> tuple[Ids, Ids]:
        """Nodes (R,) -> for all that may follow them: the place in `nodes` (C,), and the node (C,)."""
        packed = np.minimum(nodes, self._packed)  # what came later has no slice
        begin, stop = self.first[packed], self.first[np.minimum(packed + 1, self._packed)]
        counts = np.where(nodes < self._packed, stop - begin, 0).astype(np.int64)
        rows = np.repeat(np.arange(len(nodes)), counts)
        offsets = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
        found = np.repeat(begin.astype(np.int64), counts) + offsets
        if self._late:
            rows, found = self._with_late(nodes, rows, found)
        living = self.below[found] > 0
        return (rows, found) if living.all() else (rows[living], found[living])

    def _with_late(self, nodes: Ids, rows: Ids, found: Ids) -> tuple[Ids, Ids]:
        late = [(row, child) for row, node in enumerate(nodes.tolist()) for child in self._late.get(node, ())]
        if not late:
            return rows, found
        more = np.array(late, dtype=np.int64)
        rows, found = np.concatenate([rows, more[:, 0]]), np.concatenate([found, more[:, 1]])
        order = np.lexsort((self.token[found], rows))
        return rows[order], found[order]

    def walk(self, prefix: Sequence[int]) -> int | None:
        """The node that a prefix leads to; None where no title begins so."""
        node = 0
        for token in prefix:
            following = self._following(node, int(token))
            if following is None or not self.below[following]:
                return None
            node = following
        return node

    def _following(self, node: int, token: int) -> int | None:
        """The node behind `token`, of a removed title, too."""
        if node < self._packed:
            begin, stop = int(self.first[node]), int(self.first[node + 1])
            place = begin if stop - begin == 1 else begin + int(self.token[begin:stop].searchsorted(token))
            if place < stop and self.token[place] == token:
                return place
        return next((child for child in self._late.get(node, ()) if self.token[child] == token), None)

    def allowed(self, prefix: Sequence[int]) -> Ids:
        """The tokens that may follow a prefix, in order; behind an end, or where no title begins so, none."""
        node = self.walk(prefix)
        if node is None:
            return np.empty(0, dtype=np.int64)
        if not self._late and node < self._packed and len(self) == self.count:  # nothing was added or removed
            return self.token[self.first[node] : self.first[node + 1]].astype(np.int64)
        return self.token[self.children(np.array([node]))[1]].astype(np.int64)

    def tails(self, nodes: Ids) -> tuple[Ids, Ids, Ids]:
        """For nodes under which one title is left: its tokens from there (R, T), how many (R,), and its number (R,).

        Rows are padded by `end`.
        """
        at, steps = nodes.copy(), []
        counts = np.zeros(len(nodes), dtype=np.int64)
        open_rows = np.flatnonzero(self.title[at] < 0)
        while len(open_rows):
            rows, found = self.children(at[open_rows])
            if len(found) != len(open_rows):
                raise InputError("A tail was asked for at a node under which there is more than one title, or none.")
            at[open_rows[rows]] = found
            step = np.full(len(nodes), self.end, dtype=np.int64)
            step[open_rows] = self.token[at[open_rows]]
            steps.append(step)
            counts[open_rows] += 1
            open_rows = open_rows[self.title[at[open_rows]] < 0]
        tokens = np.stack(steps, axis=1) if steps else np.empty((len(nodes), 0), dtype=np.int64)
        return tokens, counts, self.title[at].astype(np.int64)

    def under(self, nodes: Ids) -> tuple[Ids, Ids, Ids]:
        """All nodes of the trees under nodes (R,), these first, then depth by depth: the nodes (C,), the place here of
        the one above each (-1: none), and which of the R it is under."""
        found, above, roots = [nodes], [np.full(len(nodes), -1)], [np.arange(len(nodes))]
        first = 0
        while len(found[-1]):
            rows, children = self.children(found[-1])
            roots.append(roots[-1][rows])
            above.append(first + rows)
            first += len(found[-1])
            found.append(children)
        return np.concatenate(found), np.concatenate(above), np.concatenate(roots)

    # -- changes ------------------------------------------------------------------------------------------------

    def add(self, sequence: Sequence[int]) -> int:
        """Add a title and give its number; one that was removed comes back under its old number.

        InputError: it is there already, has no token, or holds `end` inside.
        """
        _check(sequence, self.end, self.count)
        if (known := self.find(sequence)) is not None:
            raise InputError(f"Title {self.count} has the tokens of title {known}. Give it another name.")
        path = [0]
        for token in sequence:
            following = self._following(path[-1], int(token))
            path.append(self._new_node(path[-1], int(token)) if following is None else following)
        number = int(self.title[path[-1]])
        if number < 0:
            number = self.count
            self._more.append(list(map(int, sequence)))
            self.title[path[-1]] = number
        self._count(path, 1)
        self._longest = max(self._longest, len(sequence))
        if sum(map(len, self._late.values())) > max(1000, LATE_SHARE * self._packed):
            self._pack()
        return number

    def remove(self, sequence: Sequence[int]) -> int:
        """Take a title out and give its number. InputError: it is not there."""
        number = self.find(sequence)
        if number is None:
            raise InputError("A title was to be removed that is not in the tree. Take its tokens from `sequence`.")
        path = [0]
        for token in sequence:
            path.append(self._following(path[-1], int(token)))  # type: ignore[arg-type]  # `find` walked it
        self._count(path, -1)
        return number

    def _count(self, path: Sequence[int], by: int) -> None:
        self.below[np.array(path)] += by

    def _new_node(self, parent: int, token: int) -> int:
        node = self._size
        if node == len(self.token):
            for name, filled in (("token", 0), ("title", -1), ("below", 0)):
                held = getattr(self, name)
                grown = np.full(max(64, len(held) // 8), filled, dtype=held.dtype)
                setattr(self, name, np.concatenate([held, grown]))
        self.token[node], self.title[node], self.below[node] = token, -1, 0
        self._size += 1
        self._late.setdefault(parent, []).append(node)
        return node

    def _pack(self) -> None:
        """Make the arrays anew, with all titles in their slices; removed ones keep their numbers and stay out."""
        living = set(self)
        sequences = [self.sequence(number) for number in range(self.count)]
        made = TitleTrie.of(sequences, self.end, fingerprint=self.fingerprint)
        for number in range(self.count):
            if number not in living:
                made.remove(sequences[number])
        self.__dict__.update(made.__dict__)

    # -- files --------------------------------------------------------------------------------------------------

    def save(self, folder: Path, *, keep: int = 1, beside: Mapping[str, Any] | None = None) -> int:
        """Write a snapshot into `folder`, whole or not at all, and give its number; with what belongs `beside` it."""
        if self._late or self._more:
            self._pack()
        about = {**(beside or {}), "kind": KIND, "end": self.end, "fingerprint": self.fingerprint}
        return write_snapshot(folder, about, {name: getattr(self, name) for name in ARRAYS}, keep=keep)

    @classmethod
    def load(cls, folder: Path, *, fingerprint: str | None = None, mmap: bool = True) -> TitleTrie:
        """The last snapshot in `folder`, mapped into memory; `fingerprint` is that of the model in use.

        InputError: no such tree, or another model's. LibraryCorrupt: damaged.
        """
        return cls.load_beside(folder, fingerprint=fingerprint, mmap=mmap)[0]

    @classmethod
    def load_beside(
        cls, folder: Path, *, fingerprint: str | None = None, mmap: bool = True
    ) -> tuple[TitleTrie, dict[str, Any]]:
        """As `load`, with what was saved beside the tree."""
        about, arrays = read_snapshot(folder, mmap=mmap)
        if about.get("kind") != KIND:
            raise InputError(f"{folder} holds no tree of titles. Name a folder that TitleTrie.save wrote.")
        if not set(ARRAYS) <= arrays.keys() or len(arrays["first"]) != len(arrays["token"]) + 1:
            raise LibraryCorrupt(f"The tree of titles in {folder} is damaged. Build and save it again.")
        if fingerprint not in (None, about["fingerprint"]):
            raise InputError(
                f"The tree of titles in {folder} was made of another model's tokens (fingerprint "
                f"{about['fingerprint'][:12]}, not {str(fingerprint)[:12]}). Build it anew from the titles."
            )
        return cls(arrays, int(about["end"]), str(about["fingerprint"])), about


def _check(sequence: Sequence[int], end: int, number: int) -> None:
    if len(sequence) < 2 or sequence[-1] != end or end in sequence[:-1]:
        raise InputError(
            f"Title {number} has the tokens {list(sequence)[:8]}; it needs at least one before the end ({end}), the "
            "end last, and nowhere else. Leave out titles without a letter."
        )


def _built(flat: npt.NDArray[np.int32], starts: Ids) -> dict[str, npt.NDArray[Any]]:
    """The arrays of a tree, depth by depth: titles in the order of their tokens stand together under each node."""
    lengths = np.diff(starts)
    order = _sorted(flat, starts, lengths)
    tokens, firsts, titles, below = [np.zeros(1, np.int32)], [], [np.full(1, -1, np.int32)], [np.array([len(order)])]
    node = np.zeros(len(order), dtype=np.int64)  # of each title, in the order, at this depth
    size, depth = 1, 0
    while len(order):
        at = flat[starts[order] + depth]
        opens = np.ones(len(order), dtype=bool)
        opens[1:] = (node[1:] != node[:-1]) | (at[1:] != at[:-1])
        begin = np.flatnonzero(opens)
        parents = node[begin]
        firsts.append(size + np.searchsorted(parents, np.arange(size - len(below[-1]), size)))
        numbers = np.cumsum(opens) - 1
        counts = np.diff(np.concatenate([begin, [len(order)]]))
        ends = lengths[order] == depth + 1
        leaves = np.where(ends[begin], order[begin], -1)
        if (ends[begin] & (counts > 1)).any():
            twice = int(np.flatnonzero(ends[begin] & (counts > 1))[0])
            one, two = sorted(order[begin[twice] : begin[twice] + 2].tolist())
            raise InputError(f"Title {two} has the tokens of title {one}. Give them different names, or leave one out.")
        tokens.append(at[begin].astype(np.int32))
        titles.append(leaves.astype(np.int32))
        below.append(counts)
        node = size + numbers
        size += len(begin)
        order, node = order[~ends], node[~ends]
        depth += 1
    firsts.append(np.full(len(below[-1]) + 1, size))  # the deepest, and the end of all
    return {
        "token": np.concatenate(tokens),
        "first": np.concatenate(firsts).astype(np.int32),
        "title": np.concatenate(titles),
        "below": np.concatenate(below).astype(np.int32),
        "flat": flat,
        "starts": starts,
    }


def _sorted(flat: npt.NDArray[np.int32], starts: Ids, lengths: Ids) -> Ids:
    """The titles in the order of their tokens: sorted by the last token first, each pass stable."""
    order = np.arange(len(lengths))
    for depth in range(int(lengths.max()) - 1, -1, -1):
        place = np.minimum(starts[:-1] + depth, len(flat) - 1)
        keys = np.where(lengths > depth, flat[place], -1)
        order = order[np.argsort(keys[order], kind="stable")]
    return order
