"""What BlockRank is measured against: other ways in which the same language model ranks, as `Ranker`s.

ListwiseRanker      all candidates in one prompt under ordinary attention, by the likelihood of each ID (as FIRST ranks
                    by the first ID's logits: Reddy et al., EMNLP 2024, arXiv 2406.15657), or by the attention signal
SlidingWindow       a listwise ranker over windows from the last candidate to the first (Sun et al., "Is ChatGPT Good at
                    Search?", EMNLP 2023, arXiv 2304.09542); a window is ordered at once, nothing is generated
PointwiseRanker     each passage by itself: P("Yes") against "No" (Nogueira et al., Findings of EMNLP 2020, for T5)
RetrievalHeads      what the heads of a profile look at under the query, less what they look at under "N/A" (QRHead,
                    arXiv 2506.09944; ICR, arXiv 2410.02642)

Cost of n candidates: ListwiseRanker and RetrievalHeads grow with n² in attention, PointwiseRanker with n, the whole
model deep; SlidingWindow with n, each candidate read `window / stride` times.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch

from foveal.attention.profiles import Profile, profile_of
from foveal.attention.recorder import Recorder
from foveal.attention.retrieval_heads import by_layer, find_scores
from foveal.attention.shared_prefix import SharedPrefix
from foveal.attention.watch import watch
from foveal.errors import InputError
from foveal.models.language import LanguageModel, load_language_model
from foveal.models.threads import Threads
from foveal.ranges import COUNT, require_settings
from foveal.ranking.blockrank import AUTO, MODES, checked_layer, default_layer, ordered, saved_settings
from foveal.ranking.blockrank_decode import ID_TOKENS, id_likelihoods
from foveal.ranking.blockrank_forward import read
from foveal.ranking.blockrank_plan import Ask
from foveal.ranking.blockrank_prompt import DocumentTokens, Layout, Prompter, Segments
from foveal.retrieval.pipeline import require_once
from foveal.settings import Settings
from foveal.types import Hit, Ranker, require_hits

NO_QUERY = "N/A"
"""The query that asks for nothing."""

POINT = "Query:{query}\n\nDocument:{document}\n\nDoes the document answer the query? Reply with Yes or No."
YES, NO = " Yes", " No"
QUERY_HEADS = 16
"""Heads that rank, of those with the best query scores (QRHead's number)."""


@dataclass(frozen=True, eq=False)
class ListwiseRanker:
    """A `Ranker` under full attention, by BlockRank's prompt; scores sum to 1 over the hits that are read."""

    model: LanguageModel
    mode: str = "decode"  # or "attention"
    layer: int | str = AUTO  # of the signal
    layout: Layout = field(default_factory=Layout)
    budget: int | None = None  # hits read, the rest follow below; None: all that are given

    def __post_init__(self) -> None:
        if self.mode not in MODES or (self.budget is not None and self.budget < 1):
            raise InputError(f"A listwise ranker got mode={self.mode!r}, budget={self.budget}; see {', '.join(MODES)}.")
        _ = self.depth

    @classmethod
    def load(cls, name: str, **options: Any) -> ListwiseRanker:
        """The ranker of a model by name, with the layer that it was trained with."""
        model = load_language_model(name)
        saved = saved_settings(model.folder)
        given = {"layer": saved.get("layer", AUTO), "layout": Layout(**saved.get("layout", {}))}
        return cls(model, **{**given, **options})

    @cached_property
    def depth(self) -> int:
        """The signal's layer."""
        return default_layer(self.model.model.config) if self.layer == AUTO else checked_layer(self.model, self.layer)

    @cached_property
    def prompter(self) -> Prompter:
        """Writes the prompts."""
        return Prompter(self.model, self.layout)

    def rank(self, query: str, hits: Sequence[Hit]) -> list[Hit]:
        """The best `budget` hits by score, the rest below; no hits give none.

        InputError: the query or a passage is empty, a passage comes twice, or all together are too long for the model.
        """
        taken = list(require_hits(hits)[: self.budget])
        return ordered(taken, self.scores(query, taken), "listwise", hits) if taken else []

    def scores(self, query: str, hits: Sequence[Hit]) -> list[float]:
        """The score of each hit, in order."""
        require_once(hits)
        texts, headings = [hit.passage.text for hit in hits], [hit.passage.heading for hit in hits]
        segments = self.prompter.segments(query, texts, headings, after=ID_TOKENS, full=True)
        with torch.inference_mode(), Threads(self.model.device).chosen():
            if self.mode == "decode":
                return id_likelihoods(self.model.model, self.prompter, segments, full=True)
            found = read(self.model.model, segments, Ask(layers=(self.depth,), full=True))
        scores: list[float] = found.scores(self.depth).tolist()
        return scores


@dataclass(frozen=True)
class SlidingWindow:
    """A `Ranker` that lets another one order `window` hits at a time, from the last to the first."""

    ranker: Ranker
    window: int = 20
    stride: int = 10

    def __post_init__(self) -> None:
        if not 0 < self.stride <= self.window or self.window < 2:
            raise InputError(
                f"A sliding window got window={self.window}, stride={self.stride}; it needs a window of 2 or more, and "
                "a stride from 1 to that."
            )

    def rank(self, query: str, hits: Sequence[Hit]) -> list[Hit]:
        """The hits in their last order; scores fall evenly and sum to 1, for windows give no common ones."""
        order, end = list(require_hits(hits)), len(hits)
        while end > 0:
            start = max(0, end - self.window)
            order[start:end] = self.ranker.rank(query, order[start:end])
            end = end - self.stride if start else 0
        total = len(order) * (len(order) + 1) / 2
        return [
            replace(hit, score=(len(order) - place) / total, source="sliding-window") for place, hit in enumerate(order)
        ]


@dataclass(frozen=True, eq=False)
class PointwiseRanker:
    """A `Ranker` by the probability of "Yes"; the query is read once for all passages, and these beside it."""

    model: LanguageModel
    document_tokens: int = 384  # of a passage; what is longer is cut
    budget: int | None = None

    def __post_init__(self) -> None:
        require_settings("A pointwise ranker", self, document_tokens=COUNT, budget=COUNT)

    @cached_property
    def prompter(self) -> Prompter:
        """Writes the tokens."""
        return Prompter(self.model, Layout(document_tokens=self.document_tokens))

    def rank(self, query: str, hits: Sequence[Hit]) -> list[Hit]:
        """The best `budget` hits by P(Yes), each 0 to 1, the rest below. InputError: the query is empty."""
        taken = list(require_hits(hits)[: self.budget])
        return ordered(taken, self.scores(query, taken), "pointwise", hits) if taken else []

    def scores(self, query: str, hits: Sequence[Hit]) -> list[float]:
        """P(Yes) of each hit, in order, among "Yes" and "No". Errors as in `rank`, and InputError where there is no
        hit.
        """
        if not query.strip():
            raise InputError("The query is empty, so no passage can answer it. Ask something.")
        if not hits:
            raise InputError("There are no candidates to rank. Give at least one passage.")
        segments = self._segments(query, [hit.passage.text for hit in require_hits(hits)])
        with torch.inference_mode(), Threads(self.model.device).chosen():
            logits = read(self.model.model, segments, Ask(rows="documents")).logits
        assert logits is not None
        scores: list[float] = logits[:, self._answers[1]].float().softmax(-1)[:, 0].tolist()
        return scores

    @cached_property
    def _answers(self) -> tuple[list[int], list[int]]:
        """What both answers begin with (a tokenizer may part the blank from the word), and the token of each behind."""
        yes, no = map(self.prompter.plain, (YES, NO))
        shared = next(place for place, pair in enumerate(zip(yes, no, strict=False)) if pair[0] != pair[1])
        return yes[:shared], [yes[shared], no[shared]]

    def _segments(self, query: str, texts: Sequence[str]) -> Segments:
        """The prompts as one: what all begin with, then each passage with what all end with."""
        content = POINT.format(query="\ue000Q\ue000", document="\ue000D\ue000")
        before, _, after = self.model.render([{"role": "user", "content": content}]).partition("\ue000D\ue000")
        head, rest = before.split("\ue000Q\ue000")
        start = [*self.model.encode(head), *self.prompter.plain(f" {query.strip()}"), *self.model.encode(rest)]
        end = [*self.model.encode(f"{after}Answer:"), *self._answers[0]]
        documents = []
        for text in texts:
            ids = (*self.prompter.plain(f" {text}")[: self.document_tokens], *end)
            documents.append(DocumentTokens("", ids, (None,) * len(ids)))
        longest = max(len(one.ids) for one in documents)
        if len(start) + longest > self.model.context_tokens:
            raise InputError(
                f"Query and passage take {len(start) + longest} tokens, and {self.model.name} has "
                f"{self.model.context_tokens} positions. Lower document_tokens, or shorten the query."
            )
        return Segments(tuple(start), tuple(documents), (), (), len(start) + longest)


@dataclass(frozen=True, eq=False)
class RetrievalHeads:
    """A `Ranker` by chosen heads under full attention; scores are differences of shares, and may be negative.

    Without heads named they are the best of `foveal heads detect MODEL --by query`, else those that `foveal calibrate`
    found. `heads` names them by layer, as `retrieval_heads.by_layer(scores.top(16))`.
    """

    model: LanguageModel
    profile: Profile | None = None
    heads: Mapping[int, Sequence[int]] | None = None
    document_tokens: int = 384
    budget: int | None = None

    def __post_init__(self) -> None:
        require_settings("Retrieval heads", self, document_tokens=COUNT, budget=COUNT)

    @cached_property
    def watched(self) -> Mapping[int, Sequence[int]]:
        """The heads that are looked at, by layer."""
        if self.heads is not None:
            return self.heads
        if self.profile is not None:
            return self.profile.by_layer
        home = Settings.load().home
        scores = find_scores(self.model, "query", home)
        return by_layer(scores.top(QUERY_HEADS)) if scores else profile_of(self.model, home).by_layer

    @cached_property
    def prompter(self) -> Prompter:
        """Writes the prompts, the query behind the documents alone."""
        return Prompter(self.model, Layout(prefix_query=False, document_tokens=self.document_tokens))

    def rank(self, query: str, hits: Sequence[Hit]) -> list[Hit]:
        """The best `budget` hits by score, the rest below; errors as in `ListwiseRanker.rank`."""
        taken = list(require_hits(hits)[: self.budget])
        return ordered(taken, self.scores(query, taken), "retrieval-heads", hits) if taken else []

    def scores(self, query: str, hits: Sequence[Hit]) -> list[float]:
        """What a hit's tokens get under the query, less what they get under "N/A", mean over heads and rows."""
        require_once(hits)
        segments = self.prompter.segments(query, [hit.passage.text for hit in hits], full=True)
        text = [*segments.instruction, *(token for one in segments.documents for token in one.ids)]
        tails = [segments.query, self.prompter.question(NO_QUERY)[0]]
        device = self.model.device
        layout = SharedPrefix(torch.tensor([len(text)], device=device), len(text), [len(tail) for tail in tails])
        rows = torch.cat([layout.rows(number) for number in range(len(tails))], dim=1)
        recorder = Recorder(rows, self.watched, stop=True)
        ids = torch.tensor([[*text, *(token for tail in tails for token in tail)]], device=device)
        with Threads(device).chosen():
            watch(self.model.model, ids, recorder, method=layout, positions=layout.positions)
        paid = torch.cat(list(recorder.attention.values()), dim=1)[0, :, :, : len(text)].mean(0)  # (rows, text)
        asked, empty = torch.split(paid, [len(tail) for tail in tails])
        told = (asked.mean(0) - empty.mean(0))[len(segments.instruction) :]
        return [float(part.sum()) for part in torch.split(told, [len(one.ids) for one in segments.documents])]
