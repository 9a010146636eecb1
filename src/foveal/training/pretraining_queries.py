"""Made-up queries from a generator: what a passage might be looked for by (doc2query; the first step of GPL).

Source    doc2query: Nogueira et al., arXiv 1904.08375; GPL: Wang et al., NAACL 2022 (generate, mine negatives, label
          by a cross-encoder, train with MarginMSE)
Needs     any function from a conversation to an answer, such as `chat` of a `foveal.models.ChatModel`

The queries are as good as the generator. Filter them before training: keep those by which a search finds their own
passage, or label them by a cross-encoder as GPL does.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from foveal.errors import InputError

Chat = Callable[[Sequence[Mapping[str, str]]], str]
"""Messages (role, content) to the whole answer."""

PROMPT = (
    "Below is a passage. Write {count} different search queries that this passage answers, as a person would type who "
    "has not read it: some as questions, some as a few key words. Use no quotes and no numbers before them. Write "
    "one query on each line and nothing else.\n\nPassage:\n{passage}"
)

LONGEST = 200
"""Characters; a longer line is no query."""
_BEFORE = re.compile(r"^\s*(?:[-*•–]|\(?\d{1,2}[.):]|q(?:uery)?\s*\d*\s*:)\s+", re.IGNORECASE)


class QueryGenerator(Protocol):
    """Writes queries that a passage answers; a sequence-to-sequence doc2query model can be put behind it."""

    def queries(self, passage: str, count: int) -> list[str]:
        """At most `count` different queries."""
        ...


@dataclass(frozen=True)
class PromptedQueries:
    """A `QueryGenerator` that asks a chat model by PROMPT, or another with {passage} and {count} in it."""

    chat: Chat
    prompt: str = PROMPT
    passage_characters: int = 4_000  # of a passage that the model is shown

    def __post_init__(self) -> None:
        if "{passage}" not in self.prompt or "{count}" not in self.prompt or self.passage_characters < 1:
            raise InputError("A prompt for queries needs {passage} and {count} in it, and room for the passage.")

    def queries(self, passage: str, count: int) -> list[str]:
        """At most `count` different queries; fewer, or none, where the model writes no more."""
        shown = passage[: self.passage_characters]
        content = self.prompt.replace("{count}", str(count)).replace("{passage}", shown)
        return queries_of(self.chat([{"role": "user", "content": content}]), count, passage=passage)


def queries_of(answer: str, count: int, *, passage: str) -> list[str]:
    """The first `count` lines of an answer that can be queries, freed of list marks and quotes, each once.

    Left out are lines that introduce ("Here are ...:"), are longer than LONGEST, or are the passage itself.
    """
    found: dict[str, str] = {}
    for line in answer.splitlines():
        query = _BEFORE.sub("", line).strip().strip("\"'“”").strip()
        key = " ".join(query.lower().split())
        if key and not query.endswith(":") and len(query) <= LONGEST and key != " ".join(passage.lower().split()):
            found.setdefault(key, query)
    return list(found.values())[:count]


def made_up_queries(
    passages: Mapping[str, str], generator: QueryGenerator, *, per_passage: int = 3
) -> list[tuple[str, str]]:
    """(query, id of its passage), in the passages' order. A query that two passages got is dropped: it tells neither.

    InputError: no passage, or none asked of each.
    """
    if not passages or per_passage < 1:
        raise InputError(f"Queries for {len(passages)} passages, {per_passage} each; it needs at least one of both.")
    made = [(query, name) for name, text in passages.items() for query in generator.queries(text, per_passage)]
    owners: dict[str, set[str]] = {}
    for query, name in made:
        owners.setdefault(query.lower(), set()).add(name)
    return [(query, name) for query, name in made if len(owners[query.lower()]) == 1]
