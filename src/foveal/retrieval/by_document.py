"""Documents in place of passages: of each the passage that was found first.

best_of_each(lambda k: library.search("cones", k), 5)     five documents, though one has the ten best passages
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from foveal.types import Hit

MORE, MOST = 3, 1000
"""Times as many passages that are asked for each time, and where that ends: a library may be one long book."""


def best_of_each(search: Callable[[int], Sequence[Hit]], k: int) -> list[Hit]:
    """The best passage of each of the `k` best documents, or of fewer, where `MOST` passages are of fewer.

    `search` gives as many of the best passages as it is asked for, if there are so many.
    """
    asked = k
    while True:
        asked = max(k, min(MORE * asked, MOST))
        hits = search(asked)
        first: dict[str, Hit] = {}
        for hit in hits:
            first.setdefault(hit.passage.span.document_id, hit)
        if len(first) >= k or len(hits) < asked or asked >= MOST:
            return list(first.values())[:k]
