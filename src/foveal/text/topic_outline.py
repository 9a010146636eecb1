"""The topics of a document by level: its headings, and below them, or in their stead, where its passages change topic.

    outline = topic_outline(text, headings, passages)           # passages: (start, end) in order; vectors, where known
    steps = outline.steps()                                     # how fine it can be shown: levels, coarse to fine
    for topic in titled(text, outline.down_to(steps[0])): print("  " * topic.depth, topic.title, topic.start)

Levels    1 is the top. Headings have those of their author, counted without gaps; topics come below all of them.
          Passages below one heading are cut where they are least alike: of n about n ^ (1 / levels) on the first level,
          and so on down, so that each level holds those above it (`segment_tree.py`)
Likeness  the cosine of what stands on both sides of a border, two passages each: of the library's vectors, where it
          has them, else of the words
Titles    a heading's, else the phrase that tells a topic best from those shown beside it (`segment_titles.py`); and
          the first words
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from foveal.text.headings import Heading
from foveal.text.paragraph_units import readable
from foveal.text.segment_titles import segment_titles
from foveal.text.segment_tree import nested_levels
from foveal.text.table_cells import rows_in_a_line
from foveal.text.texttiling import SMALL_WORDS
from foveal.text.tokens import words

LEVELS = 4
"""Levels of topics below a heading, or in a text without, at most."""

SIDE = 2
"""Passages on each side of a border that are compared."""

MOST = 300
"""Topics that are shown at once, at most."""

CLEAR = 1.25
"""Times as many topics as at the step before."""

FEW = 40
"""Topics that are shown first of a text without headings, at most."""

BEGINS = 60
"""Characters of the first words of a topic."""

READ = 4000
"""Characters of a passage whose words are compared."""

Vectors = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Topic:
    """What begins at a character of a text."""

    start: int
    level: int  # from which on it is shown
    depth: int  # how far it stands below the top: its heading may be one of the highest
    title: str = ""  # of a heading; `titled` gives the others one
    heading: bool = False
    begins: str = ""  # the first words of what is no heading


@dataclass(frozen=True)
class TopicOutline:
    """The topics of a text in order, of all levels."""

    topics: tuple[Topic, ...] = ()

    def down_to(self, level: int, most: int = MOST) -> list[Topic]:
        """The topics of the levels to `level`, at most `most`."""
        return [one for one in self.topics if one.level <= level][:most]

    def steps(self, most: int = MOST) -> list[int]:
        """The levels down to which it can be shown, each with clearly more topics than the step before, at most `most`.

        The last level of headings is a step, and so is the finest that fits. Where even the first has too many, it is
        the only one, and is cut off; a text of one topic has none.
        """
        levels = sorted({one.level for one in self.topics})
        counts = {level: sum(one.level <= level for one in self.topics) for level in levels}
        fit = [level for level in levels if 1 < counts[level] <= most] or [one for one in levels if counts[one] > 1][:1]
        needed = {max((one.level for one in self.topics if one.heading), default=0), *fit[-1:]}
        found = list[int]()
        for level in fit:
            clear = not found or counts[level] >= CLEAR * counts[found[-1]]
            if clear or (level in needed and found[-1] in needed):
                found.append(level)
            elif level in needed:
                found[-1] = level
        return found

    def usual(self) -> int:
        """The step to begin with: all headings that fit; without headings at most `FEW` topics, if any is. 0: none."""
        steps, headings = self.steps(), [one.level for one in self.topics if one.heading]
        if len(headings) > 1:
            kept = [step for step in steps if step <= max(headings)]
        else:
            kept = [step for step in steps if len(self.down_to(step)) <= FEW]
        return max(kept or steps[:1], default=0)


def topic_outline(
    text: str,
    headings: Sequence[Heading],
    passages: Sequence[tuple[int, int]],
    vectors: Vectors | None = None,
) -> TopicOutline:
    """The outline of `text`; `vectors` (n, d) are those of the passages."""
    names = sorted({one.level for one in headings})
    found = list[Topic]()
    for one in headings:
        level = names.index(one.level) + 1
        found.append(Topic(one.start, level, level, one.title, heading=True))
    topics, starts = list[Topic](), [start for start, _ in passages]
    bodies = [0, *(one.end for one in headings)]
    untils = [*(one.start for one in headings), len(text)]
    for number, (body, until) in enumerate(zip(bodies, untils, strict=True)):
        run = range(bisect_left(starts, body), bisect_left(starts, until))
        above = found[number - 1].depth if number else 0
        topics += _below(text, passages, run, vectors, above, len(names))
    return TopicOutline(tuple(sorted([*found, *topics], key=lambda one: one.start)))


def titled(text: str, shown: Sequence[Topic]) -> list[Topic]:
    """The topics that are shown together, those that are no headings with a title, if some phrase can be one."""
    if all(one.heading for one in shown):
        return list(shown)
    ends = [*(one.start for one in shown[1:]), len(text)]
    stretches = [readable(text[one.start : min(end, one.start + READ)]) for one, end in zip(shown, ends, strict=True)]
    named = zip(shown, segment_titles(stretches), strict=True)
    return [one if one.heading else replace(one, title=title or "") for one, title in named]


def _below(
    text: str,
    passages: Sequence[tuple[int, int]],
    run: range,
    vectors: Vectors | None,
    above: int,
    highest: int,
) -> list[Topic]:
    """The topics among the passages that begin below one heading, which is `above` deep (0: before the first one).

    What stands at once below a heading is its own, and no topic of it. `highest`: levels that headings have.
    """
    at = [run.start - 1, *run] if above and run.start else [*run]
    if len(at) < 2:
        return []
    likeness = _by_vectors(vectors[at]) if vectors is not None else _by_words([text[slice(*passages[n])] for n in at])
    deep = max(1, min(LEVELS, round(math.log2(len(at)) / 2)))
    levels = [1, *nested_levels([1.0 - one for one in likeness], deep)]
    return [
        Topic(passages[n][0], highest + level, above + level, begins=_begins(text, *passages[n]))
        for n, level in zip(at, levels, strict=True)
        if n in run
    ]


def _by_vectors(vectors: Vectors) -> list[float]:
    """The likeness at each border between passages with these vectors."""
    sums = np.concatenate([np.zeros((1, vectors.shape[1])), np.cumsum(vectors, axis=0, dtype=np.float64)])
    found = []
    for at in range(1, len(vectors)):
        before, after = sums[at] - sums[max(0, at - SIDE)], sums[min(len(vectors), at + SIDE)] - sums[at]
        found.append(float(before @ after) / max(1e-9, float(np.linalg.norm(before) * np.linalg.norm(after))))
    return found


def _by_words(texts: Sequence[str]) -> list[float]:
    """The same by words, each as often as it stands there."""
    counts = [Counter(word for word in words(text[:READ]) if word not in SMALL_WORDS) for text in texts]
    found = []
    for at in range(1, len(counts)):
        before, after = (sum(part, Counter[str]()) for part in (counts[max(0, at - SIDE) : at], counts[at : at + SIDE]))
        length = math.sqrt(sum(n * n for n in before.values()) * sum(n * n for n in after.values()))
        found.append(sum(n * after[word] for word, n in before.items()) / max(1e-9, length))
    return found


def _begins(text: str, start: int, end: int) -> str:
    """The first words of a passage, as they are read."""
    line = readable(rows_in_a_line(text[start : min(end, start + 8 * BEGINS)]))
    return line if len(line) <= BEGINS else f"{line[: BEGINS - 1].rpartition(' ')[0] or line[: BEGINS - 1]}…"
