"""Segments by same-topic prediction: headings where they can be trusted, else a trained model, decoded jointly.

    segmenter = SameTopicSegmenter(encoder=encoder)                # the shipped model, of terms and policies
    segmenter = SameTopicSegmenter(encoder=encoder, model="mine")  # HOME/models/mine, made by `foveal train segmenter`
    segmenter.segment(document)                                    # passages
    segmenter.outline(document)                                    # the tree, with titles and confidences

Decoding   the segmentation that maximises the sum over its borders of (threshold - log-odds that the section goes on),
           within limits of tokens: dynamic programming, exact (embedding_segmentation.py). Without limits this is one
           decision for each gap; with them, the cuts fall where they hurt least. `coherence` adds the vectors' own sums
Headings   three or more are trusted; a section that fits max_tokens stays whole, a longer one is cut by the model
Titles     where headings cannot be trusted, the phrase that tells a segment best (segment_titles.py)
Fall-back  a model belongs to one encoder; with another one, where none was named, the vectors alone decide
Source     Aumiller et al., ICAIL 2021; joint decoding, tree, confidences and titles are ours
Speed      one pass of the encoder over the paragraphs that are to be decided on, and over a few phrases
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import groupby, pairwise
from pathlib import Path

import numpy as np

from foveal.errors import InputError, ModelUnavailable, UnknownName
from foveal.settings import Settings, expanded
from foveal.text.embedding_segmentation import segment_vectors
from foveal.text.paragraph_units import paragraph_units, readable
from foveal.text.programs import headings_in
from foveal.text.segment_titles import segment_titles
from foveal.text.segment_tree import HEADING, SIZE, START, TOPIC, Leaf, Outline, inner_parts, nested_levels, tree_of
from foveal.text.segmentation import (
    MAX_TOKENS,
    MIN_TOKENS,
    UNLIMITED,
    Piece,
    Section,
    check_limits,
    join_small,
    join_wordless,
    kinship,
    passage,
    sections,
)
from foveal.text.table_heads import with_columns
from foveal.text.units import Offsets
from foveal.text.windows import Window, WindowRule, count_tokens, windows
from foveal.training.same_topic_heads import LONGEST, Floats, Paragraphs
from foveal.training.same_topic_model import ABOUT, SameTopicModel
from foveal.types import Document, Encoder, Passage

log = logging.getLogger("foveal.text")

TRUSTED = 3
"""Headings from which on a document's own are trusted."""

PENALTY = 0.9
"""What a segment costs where only vectors decide: what `dp` takes for paragraphs."""

SHIPPED = "terms"


@dataclass(frozen=True, kw_only=True)
class SameTopicSegmenter:
    """Cuts documents where their topics change, as a model trained on documents with headings sees it."""

    encoder: Encoder
    model: str | SameTopicModel | None = None  # a name, a folder, or a model; None: the shipped one
    max_tokens: int | None = MAX_TOKENS  # most tokens of a passage
    min_tokens: int | None = MIN_TOKENS  # fewest tokens of a passage, where both limits can be kept
    threshold: float | None = None  # log-odds below which a section ends; None: the model's own
    coherence: float = 0.0  # weight of |sum of a segment's vectors| beside the model, at least 0
    levels: int = 3  # of the tree, where headings cannot be trusted; at least 1
    titles: bool = True  # whether segments without headings get one

    def __post_init__(self) -> None:
        check_limits(self.max_tokens, self.min_tokens)
        if self.coherence < 0 or self.levels < 1:
            raise InputError(
                f"The segmenter got coherence {self.coherence} and levels {self.levels}; it needs at least 0 and 1."
            )
        _ = self.trained  # says now what would go wrong at the first document

    def segment(self, document: Document) -> list[Passage]:
        """The document's passages, in order; none where the text is empty."""
        return list(self.outline(document).passages)

    def outline(self, document: Document) -> Outline:
        """The document's passages as a tree, with titles and the confidences of their borders."""
        text = document.text
        if not text:
            return Outline(document)
        headings = headings_in(document)
        trusted = len(headings) >= TRUSTED
        plans = [_Plan.of(text, section, self.encoder) for section in sections(text, headings)]
        cuts = self._cuts(text, [plan for plan in plans if len(plan.units) > 1 and not (trusted and self._fits(plan))])
        pieces = [piece for plan in plans for piece in self._pieces(text, plan, cuts.get(plan.section.start))]
        if self.max_tokens is not None or self.min_tokens:
            most = self.max_tokens or UNLIMITED
            pieces = join_small(join_wordless(text, pieces, most), self.min_tokens or 0, most)
        borders = {plan.section.start: plan.border for plan in plans}
        for cut in cuts.values():
            borders |= cut.borders
        leaves = _placed([_leaf(piece, borders) for piece in pieces], 1 if trusted else self.levels)
        return self._outlined(document, leaves, list(cuts.values()), titled=self.titles and not trusted)

    @cached_property
    def trained(self) -> SameTopicModel | None:
        """The model that decides; None where only vectors do."""
        if isinstance(self.model, SameTopicModel):
            return self.model
        if self.model is not None:
            return SameTopicModel.load(model_folder(self.model), self.encoder)
        try:
            return SameTopicModel.load(shipped_folder(SHIPPED), self.encoder)
        except (InputError, ModelUnavailable):
            log.info("No same-topic model belongs to the encoder %s; its vectors alone decide.", self.encoder.name)
            return None

    def _fits(self, plan: _Plan) -> bool:
        return self.max_tokens is None or sum(plan.sizes) <= self.max_tokens

    def _cuts(self, text: str, plans: Sequence[_Plan]) -> dict[int, _Cut]:
        """What the model says of each section that is to be cut, by the section's start."""
        texts = [[_read(text, max(start, plan.section.body), end) for start, end in plan.units] for plan in plans]
        vectors = Paragraphs([one for group in texts for one in group]).vectors(self.encoder)
        edges = np.cumsum([0, *map(len, texts)])
        made = {}
        for plan, group, first, last in zip(plans, texts, edges[:-1], edges[1:], strict=True):
            own = vectors[first:last]
            odds, costs, weight = self._costs(Paragraphs(group, {self.encoder.fingerprint: own}), own)
            bounds = segment_vectors(
                weight * own if weight else np.zeros((len(own), 1)),
                np.concatenate(([0.0], costs)),
                sizes=plan.sizes,
                min_size=self.min_tokens,
                max_size=self.max_tokens,
            )
            made[plan.section.start] = _Cut(plan.units, own, odds, bounds)
        return made

    def _costs(self, read: Paragraphs, vectors: Floats) -> tuple[Floats, Floats, float]:
        """Log-odds that the section goes on (n - 1,), what a border there costs, and how much the vectors count."""
        if self.trained is None:
            alike = np.einsum("nd,nd->n", vectors[:-1], vectors[1:]).clip(0.01, 0.99)
            odds: Floats = (np.log(alike) - np.log1p(-alike)).astype(np.float32)
            return odds, np.full(len(odds), PENALTY, dtype=np.float32), 1.0
        odds = self.trained.log_odds(read)
        threshold = self.trained.threshold if self.threshold is None else self.threshold
        return odds, odds - np.float32(threshold), self.coherence

    def _pieces(self, text: str, plan: _Plan, cut: _Cut | None) -> list[Piece]:
        """A section as pieces: its segments, each that does not fit max_tokens in windows."""
        found: list[Piece] = []
        edges = [0, *(cut.bounds if cut else ()), len(plan.units)]
        for first, last in pairwise(edges):
            start, end, tokens = plan.units[first][0], plan.units[last - 1][1], sum(plan.sizes[first:last])
            if self.max_tokens is None or tokens <= self.max_tokens:
                found.append(Piece(Window(start, end, tokens), plan.section.path))
                continue
            rule, body = WindowRule(self.max_tokens, even=True), plan.section.body if first == 0 else 0
            within = windows(text, start, end, rule, self.encoder.token_offsets, body=body)
            found += [Piece(window, plan.section.path) for window in within]
        return found

    def _outlined(self, document: Document, leaves: list[Leaf], cuts: Sequence[_Cut], *, titled: bool) -> Outline:
        """The outline; `titled`: parts are named by what stands in them, not by headings."""
        names: dict[tuple[int, int], str | None] = {}
        if titled:
            single = [(at, at + 1) for at in range(len(leaves))]
            inner = inner_parts(leaves)
            own, above = (self._titles(document.text, leaves, parts, cuts) for parts in (single, inner))
            leaves = [replace(leaf, title=title) for leaf, title in zip(leaves, own, strict=True)]
            names = dict(zip(inner, above, strict=True))
        passages = tuple(
            passage(document, leaf.start, leaf.end, (*leaf.path, leaf.title) if titled and leaf.title else leaf.path)
            for leaf in leaves
        )
        gaps = tuple((place, border.confidence) for cut in cuts for place, border in cut.every.items())
        return Outline(document, tree_of(document.id, leaves, names), tuple(with_columns(document, passages)), gaps)

    def _titles(
        self, text: str, leaves: Sequence[Leaf], parts: Sequence[tuple[int, int]], cuts: Sequence[_Cut]
    ) -> list[str | None]:
        """A title for each part, a run of leaves; its vector is the sum of its units', which are known."""
        spans = [(leaves[first].start, leaves[last - 1].end) for first, last in parts]
        texts = [_read(text, start, end) for start, end in spans]
        if not cuts:
            return segment_titles(texts)
        starts = np.concatenate([[start for start, _ in cut.units] for cut in cuts])
        sums = np.cumsum(
            np.concatenate([np.zeros((1, cuts[0].vectors.shape[1])), *(cut.vectors for cut in cuts)]), axis=0
        )
        first, last = (np.searchsorted(starts, [span[side] for span in spans]) for side in (0, 1))
        first = np.minimum(first, np.maximum(last - 1, 0))  # a window inside a unit has the unit's vector
        return segment_titles(texts, self.encoder, (sums[last] - sums[first]).astype(np.float32))


@dataclass(frozen=True, slots=True)
class _Border:
    """Where a segment begins: how sure that is, and why it does."""

    confidence: float
    method: str


@dataclass(frozen=True)
class _Plan:
    """A section, its units (the first begins with the heading), and their sizes in tokens."""

    section: Section
    units: Offsets
    sizes: list[int]

    @classmethod
    def of(cls, text: str, section: Section, encoder: Encoder) -> _Plan:
        body = text[section.body : section.end]
        units = [(section.body + start, section.body + end) for start, end in paragraph_units(body)]
        if body and not body.isspace():
            units[0] = (section.start, units[0][1])
        else:
            units = [(section.start, section.end)]
        return cls(section, units, [count_tokens(text[start:end], encoder.token_offsets) for start, end in units])

    @property
    def border(self) -> _Border:
        """Text before the first heading begins for no other reason than that the document does."""
        return _Border(1.0, HEADING if self.section.body > self.section.start else START)


@dataclass(frozen=True)
class _Cut:
    """A section's units, their vectors, the log-odds of its gaps, and the units that open a segment."""

    units: Offsets
    vectors: Floats
    odds: Floats
    bounds: list[int]

    @property
    def every(self) -> dict[int, _Border]:
        """What a border at each gap would be, by its place."""
        sure = 1 / (1 + np.exp(np.clip(self.odds.astype(np.float64), -30, 30)))
        return {start: _Border(value, TOPIC) for (start, _), value in zip(self.units[1:], sure.tolist(), strict=True)}

    @property
    def borders(self) -> dict[int, _Border]:
        """The borders that there are, by their places."""
        every = self.every
        return {self.units[at][0]: every[self.units[at][0]] for at in self.bounds}


def model_folder(name: str) -> Path:
    """Where the same-topic model called so lies: shipped, HOME/models/NAME, or a folder. UnknownName: nowhere."""
    home = Settings.load().home / "models"
    for place in (shipped_folder(name), home / name, expanded(name)):
        if (place / ABOUT).is_file():
            return place
    shipped = sorted(path.parent.name for path in shipped_folder("*").parent.glob(f"same-topic-*/{ABOUT}"))
    there = [one.removeprefix("same-topic-") for one in shipped]
    there += sorted(path.parent.name for path in home.glob(f"*/{ABOUT}"))
    raise UnknownName(
        f"No same-topic model is called {name!r}. There are: {', '.join(there) or 'none'}; or give a folder. "
        "To train one: foveal train segmenter"
    )


def shipped_folder(name: str) -> Path:
    """Where a model that comes with Foveal lies."""
    return Path(__file__).parent / "shipped" / f"same-topic-{Path(name).name}"


def _read(text: str, start: int, end: int) -> str:
    """A stretch as it is read: without marks, and of one that is very long no more than counts."""
    return readable(text[start : min(end, start + 2 * LONGEST)])


def _leaf(piece: Piece, borders: dict[int, _Border]) -> Leaf:
    """A piece with what is known of its first border; where nothing is, a limit of size made it."""
    border = borders.get(piece.window.start, _Border(0.0, SIZE))
    title = piece.path[-1] if piece.path else None
    start, end = piece.window.start, piece.window.end
    return Leaf(start, end, piece.window.tokens, 1, piece.path, title, border.confidence, border.method)


def _placed(leaves: Sequence[Leaf], levels: int) -> list[Leaf]:
    """The leaves with their levels: by headings, and below these, among leaves of one path, by how sure borders are."""
    made: list[Leaf] = []
    for path, run in groupby(leaves, key=lambda leaf: leaf.path):
        alike = list(run)
        deep = min(levels, 1 + int(np.log2(len(alike))) // 2)
        below = nested_levels([leaf.confidence for leaf in alike[1:]], deep)
        opens = _shared(made[-1].path, path) + 1 if made else 1
        made.append(replace(alike[0], opens=opens))
        made += [replace(leaf, opens=len(path) + level) for leaf, level in zip(alike[1:], below, strict=True)]
    return made


def _shared(one: tuple[str, ...], other: tuple[str, ...]) -> int:
    """How many headings, from the highest down, two paths share."""
    empty = Window(0, 0, 0)
    return kinship(Piece(empty, one), Piece(empty, other))
