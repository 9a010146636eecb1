"""Pairwise ranking by prompting: a language model says which of two passages answers a query better.

Source    "Large Language Models are Effective Text Rankers with Pairwise Ranking Prompting" (Qin et al., Findings of
          NAACL 2024, arXiv 2306.17563), its sliding windows: k passes from the last candidate to the first, neighbours
          compared in both orders, and swapped where the lower one wins; so many passes bring so many to the top
Cost      at most 2 · passes · (budget - 1) prompts of two passages; only two letters are scored, nothing is generated.
          Two that meet again are asked for once: the better the first order, the more is spared
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from foveal.errors import InputError
from foveal.models.chat import ChatModel, Message
from foveal.models.language import LanguageModel
from foveal.ranges import COUNT, require_settings
from foveal.types import Hit, require_hits

LONGEST = 1200
"""Characters of a passage that are read."""

ASKED = """\
Query: {query}

Passage A: {one}

Passage B: {other}

Which passage answers the query better? Reply with A or B."""


@dataclass(frozen=True, eq=False)
class PairwiseRanker:
    """A `Ranker` by comparisons; those behind `budget` keep their order below."""

    model: LanguageModel
    passes: int = 5  # places at the top that are brought into order
    budget: int | None = None  # hits that are compared; None: all that are given
    prefers: Callable[[str, str, str], float] | None = None  # query, two texts -> above 0 for the first, else below

    def __post_init__(self) -> None:
        """InputError: a value below 1."""
        require_settings("A pairwise ranker", self, passes=COUNT, budget=COUNT)

    @cached_property
    def _chat(self) -> ChatModel:
        from foveal.models.local_chat import LocalChat

        chat: ChatModel = LocalChat(self.model)
        return chat

    def rank(self, query: str, hits: Sequence[Hit]) -> list[Hit]:
        """The hits, best first; scores fall evenly and sum to 1. InputError: the query is empty."""
        if not query.strip():
            raise InputError("The query is empty, so no passage can answer it. Ask something.")
        order = list(require_hits(hits)[: self.budget])
        told: dict[tuple[str, str], float] = {}  # passes meet the same neighbours again
        for settled in range(min(self.passes, len(order) - 1)):
            for place in range(len(order) - 1, settled, -1):
                one, other = order[place].passage.text, order[place - 1].passage.text
                if (one, other) not in told:
                    told[one, other] = (self.prefers or self._prefers)(query, one, other)
                    told[other, one] = -told[one, other]
                if told[one, other] > 0:
                    order[place - 1], order[place] = order[place], order[place - 1]
        order += hits[len(order) :]
        total = len(order) * (len(order) + 1) / 2
        return [replace(hit, score=(len(order) - at) / total, source="pairwise") for at, hit in enumerate(order)]

    def _prefers(self, query: str, one: str, other: str) -> float:
        """How much likelier the model is to name the first, over both orders: where it stands must not decide."""
        return self._first(query, one, other) - self._first(query, other, one)

    def _first(self, query: str, one: str, other: str) -> float:
        content = ASKED.format(query=query.strip(), one=one[:LONGEST], other=other[:LONGEST])
        messages: list[Message] = [{"role": "user", "content": content}]
        first, second = (sum(self._chat.score(messages, letter)) for letter in ("A", "B"))
        return first - second
