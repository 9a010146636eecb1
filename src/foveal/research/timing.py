"""When to search while an answer is written: six policies, and the loop that writes by one of them.

    timed = answered("Who taught the architect …?", TIMINGS["attention"](), find, model)
    timed.text, timed.queries, timed.passages

always        before each sentence (IRCoT, arXiv 2212.10509): the question first, then the sentence before
never         the model's own knowledge
tagged        the model says itself whether it wants to search, and for what (Search-R1, arXiv 2503.09516; ReAct)
confidence    FLARE (Jiang et al., EMNLP 2023, arXiv 2305.06983): draft a sentence; where a token's p < theta, search
              with the draft without those tokens, and draft anew
attention     DRAGIN (Su et al., ACL 2024, arXiv 2403.10081): S(t_i) = H(p_i) · max over j > i of A_ji, 0 for stop
              words; at the first S above theta search with the n tokens that t_i looks at most, in text order
consistency   several samples of the answer; they disagree by more than theta: search (Rowen, arXiv 2402.10612)

Every policy drafts by the same prompt, so that they differ in when they search and for what, and in nothing else.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from statistics import fmean
from typing import Annotated, Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field

from foveal.errors import FetchFailed, InputError, UnknownName
from foveal.evaluation.answers import score
from foveal.models.chat import Cancel, ChatModel, Message, Sampling
from foveal.research.budget import is_unreadable
from foveal.research.draft_signals import drafted, watched
from foveal.research.graph import same_question
from foveal.research.prompts import CONCISE, as_data
from foveal.retrieval.terms import terms
from foveal.retrieval.words import FUNCTION_WORDS
from foveal.types import Passage

Find = Callable[[str], Sequence[Passage]]
"""A search: a query -> passages, the best first."""

LONG, SHORT = "Answer:", "Answer with the name, date or words alone:"

_WORD = re.compile(r"[\w'-]+")

logger = logging.getLogger("foveal.research.timing")


@dataclass(frozen=True)
class Draft:
    """The next sentence as a model would write it, and the query by which to search first; None: it stands."""

    text: str
    query: str | None = None
    score: float = 0.0  # what the policy went by


@dataclass(frozen=True)
class Moment:
    """Where an answer is: its question, what was found, what is written, and what was asked of the search."""

    question: str
    passages: tuple[Passage, ...] = ()
    written: tuple[str, ...] = ()
    queries: tuple[str, ...] = ()
    tokens: int = 48  # of a sentence
    short: bool = False  # whether a name, a date, or a few words are wanted

    def messages(self) -> list[Message]:
        """Asks for the next sentence."""
        shown = "\n".join(as_data(one.text).strip() for one in self.passages)
        asked = SHORT if self.short else LONG
        before = f"The answer so far: {' '.join(self.written)}\nIts next sentence:" if self.written else asked
        found = f"{CONCISE}\n\n{shown}\n\n" if shown else ""
        content = f"{found}Question: {self.question}\n\n{before}"
        return [{"role": "system", "content": ""}, {"role": "user", "content": content}]

    def sampling(self, **changes: Any) -> Sampling:
        """How it is drawn."""
        return replace(Sampling(max_tokens=self.tokens, stop=("\n",)), **changes)


class Timing(Protocol):
    """Drafts the next sentence and says whether to search before it is taken."""

    @property
    def name(self) -> str:
        """What a person calls it."""
        ...

    def look(self, moment: Moment, model: ChatModel, *, cancel: Cancel | None = None) -> Draft:
        """The draft, with a query where a search is wanted."""
        ...


def _draft(moment: Moment, model: ChatModel, cancel: Cancel | None) -> str:
    return model.chat(moment.messages(), moment.sampling(), cancel=cancel).strip()


@dataclass(frozen=True)
class Always:
    """Searches before each sentence."""

    name: str = "always"

    def look(self, moment: Moment, model: ChatModel, *, cancel: Cancel | None = None) -> Draft:  # noqa: ARG002
        """No draft is needed to know that."""
        return Draft("", f"{moment.question} {moment.written[-1]}" if moment.written else moment.question)


@dataclass(frozen=True)
class Never:
    """Does not search."""

    name: str = "never"

    def look(self, moment: Moment, model: ChatModel, *, cancel: Cancel | None = None) -> Draft:
        """The model's own sentence."""
        return Draft(_draft(moment, model, cancel))


class Act(BaseModel):
    """What a model wants to do next."""

    model_config = ConfigDict(extra="forbid")
    action: Literal["search", "answer"]
    text: Annotated[str, Field(min_length=1, max_length=200)]


@dataclass(frozen=True)
class Tagged:
    """Lets the model say whether it searches."""

    name: str = "tagged"

    def look(self, moment: Moment, model: ChatModel, *, cancel: Cancel | None = None) -> Draft:
        """The model's act; a query that was made already is answered instead. What cannot be read is a search."""
        *before, last = moment.messages()
        known = f" Already searched: {'; '.join(moment.queries)}." if moment.queries else ""
        rule = (
            'If you do not know this for certain, search first. Write JSON: {"action": "search", "text": a query} or '
            f'{{"action": "answer", "text": the answer}}.{known}'
        )
        asked = [*before, {"role": "user", "content": f"{last['content']}\n\n{rule}"}]
        try:
            act = model.parse(asked, Act, Sampling(max_tokens=96), cancel=cancel)
        except (FetchFailed, InputError) as error:
            if not is_unreadable(error):
                raise
            logger.info("no act for %r: %s", moment.question, error)
            return Draft("", moment.question)
        return Draft("", act.text) if act.action == "search" else Draft(act.text)


@dataclass(frozen=True)
class Confidence:
    """FLARE: searches where the draft holds a token that the model was not sure of."""

    theta: float = 0.4  # probability below which a token asks for a search
    name: str = "confidence"

    def look(self, moment: Moment, model: ChatModel, *, cancel: Cancel | None = None) -> Draft:
        """The draft; the query is the draft without its unsure words, after the question."""
        text = _draft(moment, model, cancel)
        tokens = drafted(model, moment.messages(), text, cancel=cancel) if text else []
        least = min((one.probability for one in tokens), default=0.0)
        if least >= self.theta:
            return Draft(text, None, least)
        unsure = [(one.start, one.end) for one in tokens if one.probability < self.theta]
        return Draft(text, f"{moment.question} {without(text, unsure)}".strip(), least)


@dataclass(frozen=True)
class Attention:
    """DRAGIN: searches at the first token whose choice was open and that what follows looks back at."""

    theta: float = 0.3  # of S, in nats
    tokens: int = 12  # of the query
    name: str = "attention"

    def look(self, moment: Moment, model: ChatModel, *, cancel: Cancel | None = None) -> Draft:
        """The draft; the query is made of what that token looked at, in the question and in what is written."""
        text = _draft(moment, model, cancel)
        if not text:
            return Draft("", moment.question)
        seen = watched(model, moment.messages(), text)
        scores = open_and_seen(
            seen.entropy, seen.attention, [_is_stop(text[one.start : one.end]) for one in seen.tokens]
        )
        at = next((place for place, one in enumerate(scores) if one > self.theta), None)
        if at is None:
            return Draft(text, None, max(scores, default=0.0))
        read = self._read(moment, seen.prompt, seen.places, text, [(one.start, one.end) for one in seen.tokens[:at]])
        words = looked_at(seen.attention[at], read, self.tokens)
        return Draft(text, words or moment.question, scores[at])

    def _read(
        self,
        moment: Moment,
        prompt: str,
        places: Sequence[tuple[int, int]],
        text: str,
        before: Sequence[tuple[int, int]],
    ) -> list[tuple[int, str, tuple[int, int]]]:
        """Tokens that may come into the query: number in the row, the text they stand in, their characters."""
        first = prompt.rfind(moment.question)
        own = [(number, prompt, place) for number, place in enumerate(places) if place[0] >= first >= 0]
        end = first + len(moment.question)
        own = [one for one in own if one[2][1] <= end]
        return [*own, *((len(places) + number, text, place) for number, place in enumerate(before))]


@dataclass(frozen=True)
class Consistency:
    """Searches where samples of the answer disagree."""

    samples: int = 3
    theta: float = 0.5  # disagreement, 0 to 1: 1 less the mean F1 of the pairs' words
    temperature: float = 0.8
    name: str = "consistency"

    def look(self, moment: Moment, model: ChatModel, *, cancel: Cancel | None = None) -> Draft:
        """The first sample; the query is the question."""
        drawn = [
            model.chat(
                moment.messages(), moment.sampling(temperature=self.temperature, seed=seed), cancel=cancel
            ).strip()
            for seed in range(self.samples)
        ]
        apart = disagreement(drawn)
        return Draft(drawn[0], moment.question if apart > self.theta else None, apart)


TIMINGS: dict[str, Callable[[], Timing]] = {
    "always": Always, "never": Never, "tagged": Tagged, "confidence": Confidence, "attention": Attention,
    "consistency": Consistency,
}  # fmt: skip


def timing_of(name: str) -> Timing:
    """The policy of that name. UnknownName: there is none."""
    if name not in TIMINGS:
        raise UnknownName(f"No timing is called {name!r}. There are: {', '.join(TIMINGS)}.")
    return TIMINGS[name]()


# -- the arithmetic ---------------------------------------------------------------------------------------------------


def open_and_seen(entropy: Any, attention: Any, stops: Sequence[bool]) -> list[float]:
    """DRAGIN's S of each of N tokens: H · max over later rows of what they give it; 0 for stop words and the last.

    `entropy` (N,), `attention` (N, P + N).
    """
    count = len(stops)
    first = attention.shape[1] - count
    later = [attention[place + 1 :, first + place].max() if place + 1 < count else 0.0 for place in range(count)]
    return [0.0 if stop else float(entropy[place]) * float(later[place]) for place, stop in enumerate(stops)]


def looked_at(row: Any, read: Sequence[tuple[int, str, tuple[int, int]]], most: int) -> str:
    """The words of the `most` tokens that a row gives most, in text order, each word once; no stop words."""
    wanted = [one for one in read if not _is_stop(one[1][one[2][0] : one[2][1]])]
    best = sorted(wanted, key=lambda one: -float(row[one[0]]))[:most]
    words = [_word_at(text, place) for _, text, place in sorted(best, key=lambda one: one[0])]
    return " ".join(dict.fromkeys(word for word in words if word))


def without(text: str, places: Sequence[tuple[int, int]]) -> str:
    """The text without the words that `places` touch."""
    kept = (
        found[0] for found in _WORD.finditer(text)
        if not any(start < found.end() and found.start() < end for start, end in places)
    )  # fmt: skip
    return " ".join(kept)


def disagreement(drawn: Sequence[str]) -> float:
    """1 less the mean F1 over all pairs; 0 of fewer than two. InputError: an answer is missing."""
    if len(drawn) < 2:
        return 0.0
    return 1.0 - fmean(score("f1", one, [other]) for one, other in combinations(drawn, 2))


def _is_stop(token: str) -> bool:
    word = token.strip().lower()
    return not re.search(r"\w", word) or word in FUNCTION_WORDS


def _word_at(text: str, place: tuple[int, int]) -> str:
    start, end = place
    start += len(text[start:end]) - len(text[start:end].lstrip())
    return next((found[0] for found in _WORD.finditer(text) if found.start() <= start < found.end()), "")


# -- the loop ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Timed:
    """An answer, the queries made while it was written, and what they found."""

    text: str
    queries: tuple[str, ...] = ()
    passages: tuple[Passage, ...] = ()
    drafts: tuple[Draft, ...] = field(default=())


def answered(
    question: str,
    timing: Timing,
    find: Find,
    model: ChatModel,
    *,
    sentences: int = 1,
    searches: int = 2,
    passages: int = 9,
    tokens: int = 48,
    short: bool = False,
    cancel: Cancel | None = None,
) -> Timed:
    """Write an answer of at most so many sentences, with at most so many searches and passages in all; `short`: only
    with the words that were asked for.

    InputError: a limit below its least.
    """
    if min(sentences, tokens, passages) < 1 or searches < 0:
        raise InputError("An answer needs 1 sentence, token and passage, or more, and 0 searches or more.")
    moment = Moment(question, tokens=tokens, short=short)
    drafts: list[Draft] = []
    while len(moment.written) < sentences:
        draft = timing.look(moment, model, cancel=cancel)
        drafts.append(draft)
        text = draft.text
        if draft.query and len(moment.queries) < searches and not _asked(draft.query, moment.queries):
            moment = _searched(moment, draft.query, find, passages)
            text = _draft(moment, model, cancel)
        elif not text:
            text = _draft(moment, model, cancel)
        if not terms(text) or text in moment.written:
            break
        moment = replace(moment, written=(*moment.written, text))
    return Timed(" ".join(moment.written), moment.queries, moment.passages, tuple(drafts))


def _searched(moment: Moment, query: str, find: Find, most: int) -> Moment:
    known = {one.span for one in moment.passages}
    new = [one for one in find(query) if one.span not in known]
    found = (*moment.passages, *new)[:most]
    return replace(moment, passages=found, queries=(*moment.queries, query))


def _asked(query: str, before: Sequence[str]) -> bool:
    return any(same_question(query, one) for one in before)
