"""The attention-aware graph of one head in plain Python: what native/roar_graph.cpp does, step by step.

It is the definition that the compiled code is tested against, and what runs, many times slower, where there is no
compiler. The paper's steps (roar_graph.py has the source), each in an order that does not hang on threads.

Shapes    keys (n, width) float32, lists (queries, nearest) -> links (n, degree) int32, -1 where there are fewer
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]
Scored = tuple[float, int]
"""A negated product and a key: sorted, the best come first, and the lower number where two are alike."""

PASSED = 16
"""Keys passed on the way to itself by which a key that cannot be reached may be attached."""


def build(keys: Floats, lists: Ints, entries: Ints, *, near: int, degree: int, beam: int) -> Ints:
    """The links of the graph: `near` of the projection, then those that connect, up to `degree`."""
    links = project(keys, lists, near)
    walks = [walk(keys, links, entries, key, beam) for key in keys]
    expanded = [[one for one in sorted(done) if one[1] != t] for t, (_, done, _) in enumerate(walks)]
    more = [_unlinked(keys, links[t], found, degree - near) for t, found in enumerate(expanded)]
    reverse(keys, more, list(range(len(keys))), degree - near, into=more)
    for mine, found in zip(links, more, strict=True):
        mine += [one for one in found if one not in mine]
    _attach(links, [[one for _, one in found[:PASSED]] for found in expanded], entries, degree)
    return np.array([row + [-1] * (degree - len(row)) for row in links], np.int32)


def project(keys: Floats, lists: Ints, most: int) -> list[list[int]]:
    """Links between keys that the same queries look at: the bipartite graph with its queries taken out."""
    kept = [pruned(keys, row[0], row[1:], most) for row in lists.tolist()]
    pivots = [row[0] for row in lists.tolist()]
    links: list[list[int]] = [[] for _ in keys]
    for pivot, found in zip(pivots, kept, strict=True):
        links[pivot] = list(found)  # the last query of a pivot decides
    reverse(keys, kept, pivots, most, into=links)
    reverse(keys, [list(row) for row in links], list(range(len(keys))), most, into=links)
    return links


def reverse(
    keys: Floats, lists: Sequence[Sequence[int]], targets: Sequence[int], most: int, *, into: list[list[int]]
) -> None:
    """Add x -> t for every x in the list of t, and prune what grows beyond `most`."""
    for target, found in zip(targets, [list(row) for row in lists], strict=True):
        for one in found:
            if target not in into[one]:
                into[one].append(target)
    for target, held in enumerate(into):
        if len(held) > most:
            into[target] = pruned(keys, target, held, most)


def pruned(keys: Floats, target: int, candidates: Sequence[int], most: int) -> list[int]:
    """Of the candidates those to which no kept one is nearer than the target is; filled up with the best others."""
    scored = sorted((-float(keys[target] @ keys[one]), one) for one in candidates if one != target)
    return occluded(keys, scored, most, fill=True)


def occluded(keys: Floats, scored: Sequence[Scored], most: int, *, fill: bool) -> list[int]:
    """The same of candidates with their products, best first."""
    kept: list[int] = []
    skipped: list[int] = []
    for negated, one in scored:
        if len(kept) == most:
            break
        hidden = any(float(keys[one] @ keys[other]) > -negated for other in kept)
        (skipped if hidden else kept).append(one)
    return kept + skipped[: most - len(kept)] if fill else kept


def walk(
    keys: Floats, links: Sequence[Sequence[int]], entries: Ints, query: Floats, beam: int
) -> tuple[list[Scored], list[Scored], list[Scored]]:
    """Best-first search: the best keys, those whose links were followed, and all that the query was multiplied with."""
    seen: set[int] = set()
    queue: list[Scored] = []
    done: list[Scored] = []
    scored: list[Scored] = []

    def take(ids: Sequence[int]) -> None:
        for one in ids:
            if one >= 0 and one not in seen:
                seen.add(one)
                scored.append((-float(query @ keys[one]), one))
                insort(queue, scored[-1])
                del queue[beam:]

    take(entries.tolist())
    followed: set[int] = set()
    while (at := next((one for one in queue if one[1] not in followed), None)) is not None:
        followed.add(at[1])
        done.append(at)
        take(list(links[at[1]]))
    return queue, done, scored


def _unlinked(keys: Floats, linked: Sequence[int], found: list[Scored], most: int) -> list[int]:
    """Neighbours to add, from the first key passed that is not linked to."""
    first = next((place for place, (_, one) in enumerate(found) if one not in linked), len(found))
    return occluded(keys, found[first:], most, fill=False)


def reached(links: Sequence[Sequence[int]], start: Sequence[int], seen: set[int]) -> None:
    """Put into `seen` all keys that links lead to from `start`."""
    fresh = [one for one in start if one not in seen]
    seen.update(fresh)
    while fresh:
        for one in links[fresh.pop()]:
            if one >= 0 and one not in seen:
                seen.add(one)
                fresh.append(one)


def _attach(links: list[list[int]], passed: Sequence[Sequence[int]], entries: Ints, degree: int) -> None:
    """Link each key that no walk can reach from one that can be, and has room."""
    seen: set[int] = set()
    reached(links, entries.tolist(), seen)
    for target in range(len(links)):
        if target in seen:
            continue
        near = (one for one in [*passed[target], *range(len(links))] if one in seen and len(links[one]) < degree)
        if (place := next(near, None)) is None:
            return
        links[place].append(target)
        reached(links, [target], seen)
