"""BlockRank's prompt: an instruction, the documents, the question, each a segment; what sees what, and where it stands.

    segments = Prompter(model, Layout()).segments("Where is sight sharpest?", texts)

Layout    [instruction, with the query][document 1] … [document N][the query again, "Final Answer:", " ["]
          Each segment is tokenised by itself, a document's frame apart from its content, which alone is ever cut
Mask      A segment is causal inside. A document sees the instruction too, the question sees all; no document sees
          another one (`visible` is the definition, `segment_blocks` the same by blocks, for the block kernel)
Positions The instruction from 0, every document from the instruction's end, the question from a fixed offset
Signal    The last token of "Final Answer:" and that of " [": what they look at is what the model is about to name

Source    Gupta et al., "Scalable In-context Ranking with Generative Models", NeurIPS 2025 (arXiv 2510.05396), section 3
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from foveal.attention.blocks import BLOCK, Blocks
from foveal.errors import InputError
from foveal.models.characters import scalar
from foveal.ranges import COUNT, require_settings

if TYPE_CHECKING:
    from foveal.models.language import LanguageModel

NUMBERS = ("order", "text")
"""What a document's ID is made of: its place in the list, or its own text (so that it is the same in any list)."""

ASK = (
    'Below are documents, each written as "ID: <id> | CONTENT: <content> | END ID: <id>". Read all of them and find '
    "every document that helps to answer the query."
)
REQUEST = "Print the ID of the document that is the most relevant to the query."
QUESTION = "Query:{query}\nThe following document(s) can help answer the query:"
CLOSE = f"\n====== Now let's start! ======\n{REQUEST}\n\n{QUESTION}"
ANSWER, OPEN, NEXT, END = "Final Answer:", " [", ", ", "]"

_DOCUMENTS, _QUERY = "\ue000DOCUMENTS\ue000", "\ue000QUERY\ue000"

REMEMBERED = 1024
"""Documents whose tokens a prompter holds, some 20 KB each: of kept documents, tokenising took a sixth of a query."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How the prompt is laid out; checked when made."""

    prefix_query: bool = True  # whether the instruction holds the query, too; without, documents can be kept
    numbers: str = "order"
    document_tokens: int = 384  # of a document with its frame; what is longer loses the end of its content
    query_offset: int = 8192  # position of the question's first token

    def __post_init__(self) -> None:
        if self.numbers not in NUMBERS:
            raise InputError(f"BlockRank numbers documents by {' or '.join(NUMBERS)}, not by {self.numbers!r}.")
        require_settings("BlockRank", self, document_tokens=COUNT, query_offset=COUNT)

    @property
    def keeps(self) -> bool:
        """Whether a document's tokens are the same in every list and for every query."""
        return not self.prefix_query and self.numbers == "text"


@dataclass(frozen=True)
class DocumentTokens:
    """A document as it is read; `places` holds a token's start and end in the text, None for the frame and heading."""

    number: str
    ids: tuple[int, ...]
    places: tuple[tuple[int, int] | None, ...]


@dataclass(frozen=True)
class Segments:
    """A prompt; `signal` names tokens of `query`, `branches` (token, parent) what may follow it, as a tree."""

    instruction: tuple[int, ...]
    documents: tuple[DocumentTokens, ...]
    query: tuple[int, ...]
    signal: tuple[int, ...]
    offset: int
    branches: tuple[tuple[int, int], ...] = ()  # a parent is the number of another branch before it, or -1

    @property
    def lengths(self) -> list[int]:
        """Tokens of the instruction, of each document, and of the question."""
        return [len(self.instruction), *(len(one.ids) for one in self.documents), len(self.query)]


# -- what sees what ----------------------------------------------------------------------------------------------------


def positions(lengths: Sequence[int], offset: int) -> Tensor:
    """The position of each token of segments that lie one after another: (T,) int64."""
    first = [0, *([lengths[0]] * (len(lengths) - 2)), offset]
    return torch.cat([start + torch.arange(length) for start, length in zip(first, lengths, strict=True)])


def segment_numbers(lengths: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Of each token its segment, and its place inside it: (T,) int64 each."""
    sizes = torch.tensor(list(lengths))
    segment = torch.arange(len(sizes)).repeat_interleave(sizes)
    return segment, torch.arange(len(segment)) - (sizes.cumsum(0) - sizes)[segment]


def visible(lengths: Sequence[int]) -> Tensor:
    """(T, T) bool: whether the token of a row sees that of a column; the definition, for small sizes."""
    segment, place = segment_numbers(lengths)
    row, column = segment[:, None], segment
    inside = (row == column) & (place[:, None] >= place)
    of_document = (row > 0) & (row < len(lengths) - 1) & (column == 0)
    of_query = (row == len(lengths) - 1) & (column < row)
    return inside | of_document | of_query


def segment_blocks(lengths: Sequence[int], *, block: int = BLOCK) -> Blocks:
    """The same for the block kernel, told from where segments end and never token by token.

    `.block_mask()` of it is FlexAttention's form. Memory is (T / block)² booleans and T numbers.
    """
    segment, _ = segment_numbers(lengths)
    last, total = len(lengths) - 1, len(segment)
    starts = torch.arange(0, total, block)
    first_of, last_of = segment[starts], segment[(starts + block).clamp(max=total) - 1]
    row, column = (first_of[:, None], last_of[:, None]), (first_of, last_of)
    shared = torch.maximum(row[0], column[0]) <= torch.minimum(row[1], column[1])
    seen = shared | (column[0] == 0) | (row[1] == last)
    whole = (row[0] == row[1]) & (column[0] == column[1]) & shared  # below the diagonal: one segment, all of it
    whole |= (row[0] >= 1) & (column[1] == 0)
    whole |= (row[0] == last) & (column[1] <= last)
    blocks = Blocks.of(seen[None, None], queries=total, keys=total, query_block=block, key_block=block)

    def rule(_: Tensor, __: Tensor, query: Tensor, key: Tensor) -> Tensor:
        mine, theirs = segment[query], segment[key]
        return (query >= key) & ((mine == theirs) | (theirs == 0) | (mine == last))

    bound = blocks.keep & ~(whole & blocks.whole)
    return Blocks(blocks.keep, total, total, block, block, rule=rule, bound=bound)


# -- tokens ------------------------------------------------------------------------------------------------------------


class Prompter:
    """Writes the prompts of one model; what a text or query spells is never a control token."""

    def __init__(self, model: LanguageModel, layout: Layout) -> None:
        """For `model`'s tokenizer, chat template and most positions."""
        self.layout, self.name, self.most = layout, model.name, model.context_tokens
        self._encode = model.encode
        self._plain: Any = copy.deepcopy(model.tokenizer.backend_tokenizer)
        self._plain.encode_special_tokens = True
        self._plain.no_truncation()
        self._plain.no_padding()
        asked = f"\n\nQuery:{_QUERY}" if layout.prefix_query else ""
        request, close = "", CLOSE
        if layout.keeps:  # what all queries have in common stands in the instruction: each token behind looks at all
            request, close = f" {REQUEST}", f"\n\n{QUESTION}"
        content = f"{ASK}{request}{asked}\n\nDocuments:{_DOCUMENTS}{close.format(query=_QUERY)}"
        rendered = model.render([{"role": "user", "content": content}])
        self._before, _, after = rendered.partition(_DOCUMENTS)
        self._after = after + ANSWER
        self._document = lru_cache(REMEMBERED)(self._document_read)

    def plain(self, text: str) -> list[int]:
        """The tokens of a text, none of them a control token."""
        ids: list[int] = self._plain.encode(scalar(text), add_special_tokens=False).ids
        return ids

    @cached_property
    def ends(self) -> tuple[int, ...]:
        """The tokens that may follow an ID: the one that ends the list, and the one before its next ID."""
        one, two = self.plain("1"), self.plain(NEXT.join("11"))
        return tuple(dict.fromkeys([self.plain(END)[0], *two[len(one) : len(one) + 1]]))

    def instruction(self, query: str) -> tuple[int, ...]:
        """The first segment."""
        return tuple(self._filled(self._before, query))

    def question(self, query: str) -> tuple[tuple[int, ...], tuple[int, int]]:
        """The last segment, up to " [", and the places of its two signal tokens."""
        asked, opened = self._filled(self._after, query), self.plain(OPEN)
        return (*asked, *opened), (len(asked) - 1, len(asked) + len(opened) - 1)

    def completion(self, numbers: Sequence[str]) -> list[int]:
        """What follows " [" where these IDs are the answer."""
        return [*self.plain(NEXT.join(numbers)), *self.plain(END)]

    def document(
        self, number: str, text: str, heading: str | None = None, *, room: int | None = None
    ) -> DocumentTokens:
        """A document's segment of at most `room` tokens. InputError: its frame alone takes them."""
        return self._document(number, text, heading, self.layout.document_tokens if room is None else room)

    def _document_read(self, number: str, text: str, heading: str | None, room: int) -> DocumentTokens:
        head, tail = self.plain(f"\nID: {number} | CONTENT:"), self.plain(f" | END ID: {number}")
        frame = len(head) + len(tail)
        lead = f" {heading} " if heading else " "
        found = self._plain.encode(scalar(lead + text), add_special_tokens=False)
        most = room - frame
        if most < 1:
            raise InputError(
                f"A document may take {most + frame} tokens, and its frame takes {frame}. Raise document_tokens or "
                "query_offset, or shorten the query."
            )
        ids, offsets = found.ids[:most], found.offsets[:most]
        places = [(max(0, start - len(lead)), end - len(lead)) for start, end in offsets]
        inside: list[tuple[int, int] | None] = [place if place[1] > 0 else None for place in places]
        return DocumentTokens(number, (*head, *ids, *tail), (*([None] * len(head)), *inside, *([None] * len(tail))))

    def numbers(self, texts: Sequence[str], headings: Sequence[str | None]) -> list[str]:
        """The ID of each document."""
        if self.layout.numbers == "order":
            return [str(place) for place in range(len(texts))]
        return [_number_of(text, heading) for text, heading in zip(texts, headings, strict=True)]

    def segments(
        self,
        query: str,
        texts: Sequence[str],
        headings: Sequence[str | None] | None = None,
        *,
        after: int = 0,
        full: bool = False,
    ) -> Segments:
        """The prompt, with room for `after` more tokens; `full`: at ordinary positions, one token after another.

        InputError: the query or a text is empty, there is no text, or a position is beyond what the model has.
        """
        headings = headings or [None] * len(texts)
        self._check(query, texts)
        instruction = self.instruction(query)
        room = self.layout.document_tokens
        if not full:
            room = min(room, self.layout.query_offset - len(instruction))
        numbers = self.numbers(texts, headings)
        documents = tuple(
            self.document(number, text, heading, room=room)
            for number, text, heading in zip(numbers, texts, headings, strict=True)
        )
        asked, signal = self.question(query)
        segments = Segments(instruction, documents, asked, signal, self.layout.query_offset)
        if full:
            self._check_length(sum(segments.lengths) + after, len(texts))
        else:
            self._check_positions(len(asked) + after)
        return segments

    def _check(self, query: str, texts: Sequence[str]) -> None:
        if not query.strip():
            raise InputError("The query is empty, so no passage can be more relevant than another. Ask something.")
        if not texts:
            raise InputError("There are no candidates to rank. Give at least one passage.")
        blank = next((place for place, text in enumerate(texts) if not text.strip()), None)
        if blank is not None:
            raise InputError(f"Candidate {blank} has no text. Leave it out.")

    def _check_positions(self, tokens: int) -> None:
        offset = self.layout.query_offset
        if offset + tokens > self.most:
            raise InputError(
                f"The question takes {tokens} tokens from position {offset} on, and {self.name} has {self.most} "
                f"positions. Set query_offset to {max(1, self.most - tokens)} or less."
            )

    def _check_length(self, tokens: int, texts: int) -> None:
        if tokens > self.most:
            raise InputError(
                f"A prompt of {texts} candidates takes {tokens} tokens one after another, and {self.name} has "
                f"{self.most} positions. Give fewer, rank them in windows (SlidingWindow), or take BlockRank."
            )

    def _filled(self, template: str, query: str) -> list[int]:
        """The template's tokens with those of the query where it is marked."""
        parts = [self._encode(part) for part in template.split(_QUERY)]
        asked = self.plain(" " + " ".join(query.split()))
        return [token for place, part in enumerate(parts) for token in [*(asked if place else []), *part]]


def _number_of(text: str, heading: str | None) -> str:
    """Four digits of the text's hash."""
    digest = hashlib.sha256(f"{heading or ''}\0{text}".encode("utf-8", "surrogatepass")).hexdigest()
    return f"{int(digest[:8], 16) % 10_000:04d}"
