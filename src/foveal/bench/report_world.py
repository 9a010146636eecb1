"""A world to report on: a few dated pages, and a chat model of rules that fills in every form of a deep run.

What a run gives with these depends on nothing but the run: bench report-kills and the tests of reports go by them.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from pydantic import ValidationError

from foveal.errors import FovealError, InputError
from foveal.models.chat import GREEDY, Cancel, Messages, Sampling, SchemaT
from foveal.research.sources import Found
from foveal.retrieval.terms import terms
from foveal.types import Document

QUESTION = "What does the Orra mill grind and who designed the Orra mill?"


def page(name: str, text: str, *, year: int | None = None, url: str = "", **metadata: str) -> Document:
    """A page of the world."""
    published = datetime(year, 3, 1, tzinfo=UTC) if year else None
    address = url or f"https://mills.example/{name}"
    return Document.of(address, text, name, url=address, published_at=published, metadata=metadata)


PAGES = (
    page(
        "Orra mill",
        "The Orra mill grinds barley for the whole valley. It was built beside the river in 1842. The wheel of the "
        "Orra mill has 40 paddles of oak.",
        year=1990,
    ),
    page(
        "Petra Lindqvist",
        "Petra Lindqvist designed the Orra mill in 1842. She had learnt to draw from Olof Brandt in Vasa. Petra "
        "Lindqvist designed two bridges as well.",
        year=2001,
    ),
    page(
        "River mills",
        "The Orra mill grinds barley and oats since the fire. Each autumn the Orra mill grinds 900 sacks of grain. "
        "Millers of the valley pay with a tenth of the flour.",
        year=2015,
    ),
    page("Olof Brandt", "Olof Brandt taught drawing in Vasa for thirty years. He designed no mill himself.", year=1985),
)


@dataclass
class Pages:
    """A Source over pages, found by the words that they share with the query."""

    pages: Sequence[Document] = PAGES
    name: str = "pages"
    queries: list[str] = field(default_factory=list)
    read_urls: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def search(self, query: str, k: int, *, cancel: Cancel | None = None) -> list[Found]:
        """The pages that share most words with the query."""
        if cancel:
            cancel.check()
        with self._lock:
            self.queries.append(query)
        wanted = set(terms(query))
        scored = [(len(wanted & set(terms(f"{one.title} {one.text}"))), one) for one in self.pages]
        best = sorted((one for one in scored if one[0]), key=lambda one: (-one[0], one[1].title))[:k]
        return [Found(url=str(one.url), title=one.title, snippet=one.text[:200]) for _, one in best]

    def read(self, found: Found, *, cancel: Cancel | None = None) -> Document:
        """The page of that address."""
        if cancel:
            cancel.check()
        with self._lock:
            self.read_urls.append(found.url)
        return next(one for one in self.pages if one.url == found.url)


Form = Callable[[str], object]
_SOURCE = re.compile(r"^(e\d+) \((.*?)\)\nBEGIN SOURCE \1\n(.*?)\nEND SOURCE \1$", re.DOTALL | re.MULTILINE)


@dataclass
class Filler:
    """A ChatModel that fills in forms by their names, and repeats what it is shown; `forms` stand before its own."""

    forms: dict[str, Form] = field(default_factory=dict)
    name: str = "filler"
    context_tokens: int = 8192
    calls: list[str] = field(default_factory=list)
    prompts: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def parse(
        self,
        messages: Messages,
        schema: type[SchemaT],
        sampling: Sampling = GREEDY,  # noqa: ARG002
        *,
        cancel: Cancel | None = None,  # noqa: ARG002
    ) -> SchemaT:
        """The form, filled in. InputError: by a rule of `forms` that the form does not accept."""
        text = "\n".join(one["content"] for one in messages)
        self._note(schema.__name__, text)
        try:
            return schema.model_validate_json(json.dumps(self._filled(schema.__name__, text)))
        except ValidationError as error:
            raise InputError(f"A {schema.__name__} that is none: {error.errors()[0]['msg']}") from error

    def chat(self, messages: Messages, sampling: Sampling = GREEDY, *, cancel: Cancel | None = None) -> str:  # noqa: ARG002
        """The first sentence of what it is shown."""
        text = messages[-1]["content"]
        self._note("chat", text)
        if "chat" in self.forms:
            return str(self.forms["chat"](text))
        body = text.split("\n\n", 1)[1] if text.startswith("Read") else text.removeprefix("Passage: ")
        first = re.match(r".*?\.(?=\s|$)", body.strip(), re.DOTALL)
        return " ".join((first[0] if first else body).split()).partition(": ")[2] or (first[0] if first else "")

    def stream(self, messages: Messages, sampling: Sampling = GREEDY, *, cancel: Cancel | None = None) -> Iterator[str]:
        """The answer at once."""
        yield self.chat(messages, sampling, cancel=cancel)

    def score(self, messages: Messages, continuation: str, *, cancel: Cancel | None = None) -> list[float]:  # noqa: ARG002
        """Sure of each word."""
        self._note("score", continuation)
        return [-0.1] * max(1, len(continuation.split()))

    def chat_many(
        self, conversations: Sequence[Messages], sampling: Sampling = GREEDY, *, cancel: Cancel | None = None
    ) -> list[str]:
        """The answer to each."""
        return [self.chat(one, sampling, cancel=cancel) for one in conversations]

    def count_tokens(self, text: str) -> int:
        """A token for a word."""
        return len(text.split())

    def _note(self, name: str, text: str) -> None:
        with self._lock:
            self.calls.append(name)
            self.prompts.append(text)

    def _filled(self, name: str, text: str) -> object:  # noqa: C901
        if name in self.forms:
            return self.forms[name](text)
        question = text.rpartition("Question: ")[2].partition("\n")[0]
        match name:
            case "Clarify":
                return {"clear": True, "questions": []}
            case "Scope":
                return {"goal": text.splitlines()[-1], "must_cover": ["what it grinds"], "out_of_scope": []}
            case "Goals" | "Queries":
                parts = [one.strip(" ?") for one in question.split(" and ")]
                queries = [f"{one}" for one in parts] if len(parts) > 1 else [f"{question} history"]
                return {"parts": [{"goal": one, "query": one} for one in queries]}
            case "Next":
                return {"action": "stop", "query": ""}
            case "Summarised":
                passage = text.rpartition("BEGIN SOURCE")[2].partition("\n")[2].partition("\nEND SOURCE")[0]
                common = set(terms(question)) & set(terms(passage))
                return {
                    "summary": passage.split(". ")[0].rstrip(".") + ".",
                    "relevance": min(10, 2 * len(common)),
                    "stance": "supports",
                }
            case "WrittenSection":
                shown = [(one[1], one[3].splitlines()[-1]) for one in _SOURCE.finditer(text)]
                before = text.rpartition("Already written: ")[2] if "Already written: " in text else ""
                said = [
                    {"text": f"{part.rstrip('.')}.", "cites": [key]}
                    for key, body in shown
                    for part in body.split(". ")
                    if part.rstrip(".") not in before
                ]
                most = int(re.findall(r"Up to (\d+) sentences", text)[-1])
                return {"plan": "as they come", "sentences": said[:most]}
            case "Sure":
                return {"confidence": 7}
            case "Side":
                return {"side": "none"}
            case "Review":
                return {"score": 6, "strengths": ["It was run."], "weaknesses": []}
            case "Act":
                return {"action": "search", "text": question or "mill"}
        raise FovealError(f"No rule of the bench fills in a {name}.")
