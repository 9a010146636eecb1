"""Why a hit stands where it stands: which of its words or sentences matched, as numbers and as a picture.

    explained = explain(query, ranker.rank(query, hits)[:3], ranker, words=WordWeights.of(texts))     explaining.py
    explained[0].best()                                the strongest reasons, in words
    draw(explained[0], Path("why.png"))                a match matrix, or the text with what counted marked

One form for all that rank: weights of a passage's parts, words or sentences, and of the query's words where these look
one by one.

Shapes    m words of the query (1 row where the whole query looks), n parts of the passage -> weights (m, n)
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from textwrap import shorten
from typing import Any
from unicodedata import category

import numpy as np
import numpy.typing as npt

from foveal.errors import InputError
from foveal.retrieval.words import ASKING_WORDS, FUNCTION_WORDS
from foveal.types import Hit

Floats = npt.NDArray[np.float64]
SMALL_WORDS = FUNCTION_WORDS | ASKING_WORDS
"""English words that stand in any text, or that a question is asked with: they tell no passage from another."""

MARKS = ("P", "Sk", "Sm")
"""Unicode's categories of what is no word: punctuation, and such as "`", "|" and "=" of Markdown."""

Part = tuple[int, int]
"""Start (included) and end (excluded) character of a passage's text."""


@dataclass(frozen=True)
class Reason:
    """A part of the passage that counted, and the word of the query that it matched ("": the whole query)."""

    query: str
    text: str
    weight: float


@dataclass(frozen=True, eq=False)
class Explanation:
    """What counted in a hit. InputError: the weights are not (max(1, m), n)."""

    hit: Hit
    by: str  # what looked
    says: str  # what a weight is
    query: tuple[str, ...]  # its m words; none where the whole query looks
    parts: tuple[Part, ...]  # n of them, in the order of the text
    weights: Floats
    adds: bool = True  # weights of several parts add up; if not, only the strongest counts, as of cosines

    def __post_init__(self) -> None:
        if self.weights.shape != (max(1, len(self.query)), len(self.parts)):
            raise InputError(
                f"An explanation of {len(self.query)} words and {len(self.parts)} parts got weights of shape "
                f"{self.weights.shape}; give one row a word (one in all for no words) and one column a part."
            )

    @property
    def of_parts(self) -> Floats:
        """One weight for each part, (n,)."""
        found: Floats = self.weights.sum(0) if self.adds else self.weights.max(0)
        return found

    def strongest(self, count: int) -> list[int]:
        """The places of the `count` parts that counted most (`order`), in the text's order."""
        return sorted(self.order()[:count])

    def order(self) -> list[int]:
        """The places of the parts, those that counted most first. Where only the strongest counts each word of the
        query gets its best matches in turn, and `SMALL_WORDS` come last on either side.
        """
        if self.adds:
            return list(map(int, np.argsort(-self.of_parts, kind="stable")))
        asked = [row for row, word in enumerate(self.query) if word not in SMALL_WORDS]
        rows = self.weights[asked or range(len(self.weights))]
        turns = np.argsort(np.argsort(-rows, axis=1, kind="stable"), axis=1).min(0)
        last = [self.text(part).lower() in SMALL_WORDS for part in self.parts]
        return list(map(int, np.lexsort((-rows.max(0), turns, last))))

    def text(self, part: Part) -> str:
        """The characters of a part."""
        return self.hit.passage.text[part[0] : part[1]]

    def best(self, count: int = 5) -> list[Reason]:
        """The strongest reasons, the same words taken together, in lower case, and sentences as they are written; a
        weight of 0 or below is none, nor is a mark. Where only the strongest counts each word of the query has one: its
        best match. `SMALL_WORDS` make no reason on either side, unless there is no other.
        """
        found: dict[tuple[str, str], float] = {}
        texts = [" ".join(self.text(part).split()) for part in self.parts]
        for word, row in zip(self.query or ("",), self.weights.tolist(), strict=True):
            for text, weight in zip(texts, row, strict=True):
                if all(category(one).startswith(MARKS) for one in text):
                    continue
                key = word, text if " " in text else text.lower()
                before = found.get(key, 0.0)
                found[key] = before + weight if self.adds else max(before, weight)
        order = sorted((key for key in found if found[key] > 0), key=lambda key: -found[key])
        order = [key for key in order if SMALL_WORDS.isdisjoint(key)] or order
        if not self.adds:
            strongest: dict[str, tuple[str, str]] = {}
            for word, text in order:
                strongest.setdefault(word, (word, text))
            order = list(strongest.values())
        return [Reason(word, text, found[word, text]) for word, text in order[:count]]

    def __str__(self) -> str:
        told = []
        for reason in self.best():
            matched = "" if reason.query in ("", reason.text) else f"{reason.query} ~ "
            told.append(f"{matched}{shorten(reason.text, 60, placeholder=' …')} {reason.weight:.2g}")
        return f"{self.by}: {' · '.join(told) or 'nothing matched'}"

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        parts = [{"start": start, "end": end, "text": self.text((start, end))} for start, end in self.parts]
        weights = np.round(self.weights, 6).tolist()
        return {"by": self.by, "says": self.says, "query": list(self.query), "parts": parts, "weights": weights}


# -- the picture -------------------------------------------------------------------------------------------------------

COLUMNS, MOST_WORDS = 96, 30
"""Characters of a line, and words of a match matrix that are shown, the strongest."""


def draw(explanation: Explanation, path: Path) -> Path:
    """A match matrix where single words of the query looked, else the text with what counted marked: a PNG.

    InputError: another ending than .png, or nothing to draw. MissingExtra: there is no matplotlib.
    """
    from foveal.evaluation.plots import heatmap

    if not explanation.parts:
        raise InputError(f"Nothing of the passage matched ({explanation}), so there is nothing to draw.")
    title = f"{explanation.by}: {explanation.says}"
    if len(explanation.query) < 2:
        return _marked(explanation, path, title)
    strongest = explanation.strongest(MOST_WORDS)
    return heatmap(
        explanation.weights[:, strongest],
        path,
        title=title,
        x_label="passage",
        y_label="query",
        value_label=explanation.says,
        x_names=[explanation.text(explanation.parts[number]) for number in strongest],
        y_names=explanation.query,
    )


def wrapped(text: str, width: int) -> list[tuple[int, str]]:
    """Offset and characters of each line; a longer one in pieces that end at blanks. Together they are the text."""
    pieces = re.findall(rf"[^\n]{{1,{width}}}(?:\n|(?<=\s)|$)|[^\n]{{1,{width}}}|\n", text)
    offsets = [0]
    for piece in pieces:
        offsets.append(offsets[-1] + len(piece))
    return list(zip(offsets, pieces, strict=False))


def _marked(explanation: Explanation, path: Path, title: str) -> Path:
    """The text in letters of one width, a part on a ground as dark as it counted, of another colour where against."""
    from foveal.evaluation.plots import COLOURS, blank, plain, saved
    from foveal.registry import require

    rectangle = require("matplotlib.patches", extra="bench").Rectangle
    lines = wrapped(explanation.hit.passage.text, COLUMNS)
    figure = blank(0.0669 * COLUMNS + 0.4, 0.155 * len(lines) + 0.6)  # a letter of 8 points and its line, in inches
    figure.set_layout_engine("none")  # the letters must stay on their cells
    axis = figure.add_axes((0.2 / figure.get_figwidth(), 0.1 / figure.get_figheight(), 1, 1))
    axis.set(xlim=(0, figure.get_figwidth() / 0.0669), ylim=(figure.get_figheight() / 0.155, 0))
    axis.set_axis_off()
    above = 3.0
    axis.text(0, above - 1.5, plain(title), fontsize=9, fontweight="bold")
    weights = explanation.of_parts
    strongest = float(np.abs(weights).max()) or 1.0
    for number, (start, text) in enumerate(lines):
        for (first, last), weight in zip(explanation.parts, weights.tolist(), strict=True):
            left, right = max(first, start), min(last, start + len(text.rstrip()))
            if left < right and weight:
                style = {"color": COLOURS[0] if weight > 0 else COLOURS[1], "alpha": 0.6 * abs(weight) / strongest}
                axis.add_patch(rectangle((left - start, above + number - 0.8), right - left, 1, linewidth=0, **style))
        axis.text(0, above + number, plain(text.rstrip("\n")), family="monospace", fontsize=8)
    return saved(figure, path)
