"""From raw text to notes: facts, a running summary, open questions; notes made smaller without losing a citation.

    facts = extracted(text, source="e3", now=now, model=chat)       # by rule first, then by the model under a grammar
    notes = notes.with_text(text, source="e3")
    if fills(notes, facts, count, window=4096) > 0.6: notes, more = compacted(notes, facts, tokens=800, count=count)

Compaction   prose goes, facts and citations stay: a sentence that cites what no fact carries is kept word for word; the
             summary is written anew (by the model, or of the sentences that say most) within its tokens
Constant     `rewritten` keeps one state of at most so many tokens (1024) and writes it anew with each chunk, as MEM1
             (arXiv 2506.15841) and MemAgent (arXiv 2507.02259) do, for windows of 4 to 8 thousand tokens; a citation
             that a model leaves out of its new state is put back, and where there is no model the lines that fit the
             question stay
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from foveal.errors import InputError
from foveal.models.chat import ChatModel, Sampling
from foveal.research.anchors import anchors
from foveal.research.memory_facts import OPEN, Fact, lines, moment_of, said
from foveal.research.verification_signals import stems
from foveal.text.units import sentences

logger = logging.getLogger("foveal.research.memory")

Count = Callable[[str], int]
FULL = 0.6
"""Share of the window above which notes are compacted."""
STATE_TOKENS = 1024
CITED = re.compile(r"\[\[\s*([\w.:-]{1,40})\s*\]\]")
"""A mark of a key: [[e7]]."""


@dataclass(frozen=True, slots=True)
class Notes:
    """What is known beside the facts: a running summary, questions still open, and prose not yet compacted."""

    summary: str = ""
    open_questions: tuple[str, ...] = ()
    prose: tuple[str, ...] = ()

    def with_text(self, text: str, source: str = "") -> Notes:
        """The notes and a text more; what it says comes from `source`."""
        body = " ".join(text.split())
        marked = f"{body} [[{source}]]" if source and body and source not in cited_keys(body) else body
        return replace(self, prose=(*self.prose, marked)) if marked else self

    def asking(self, *questions: str) -> Notes:
        """The notes with more open questions, each once."""
        return replace(self, open_questions=tuple(dict.fromkeys((*self.open_questions, *questions))))

    def answered(self, *questions: str) -> Notes:
        """The notes without some open questions."""
        return replace(self, open_questions=tuple(one for one in self.open_questions if one not in questions))

    @property
    def shown(self) -> str:
        """As a part of a prompt."""
        asked = [f"Open: {one}" for one in self.open_questions]
        return "\n".join(filter(None, [self.summary, *asked, *self.prose]))


class _FoundFact(BaseModel):
    model_config = ConfigDict(extra="forbid")
    subject: str = Field(min_length=1, max_length=80)
    relation: str = Field(min_length=1, max_length=60)
    object: str = Field(min_length=1, max_length=120)


class _Found(BaseModel):
    """What a model reads from a text."""

    model_config = ConfigDict(extra="forbid")
    facts: list[_FoundFact] = Field(max_length=6)
    open_questions: list[Annotated[str, Field(max_length=160)]] = Field(max_length=2)


@dataclass(frozen=True, slots=True)
class Extracted:
    """What a text states, and what it leaves open."""

    facts: tuple[Fact, ...]
    open_questions: tuple[str, ...] = ()


def extracted(
    text: str, *, source: str = "", now: datetime | None = None, importance: float = 5.0, model: ChatModel | None = None
) -> Extracted:
    """The facts of a text: those in a plain form by rule; from its other sentences, where there is a model, by it.

    What a model names must stand in the text: a fact with a subject or object that does not is dropped. Open is what a
    sentence asks, or says that nobody knows; and what the model adds.
    """
    found = said(text, source=source, created=now, importance=importance)
    read = {one.text for one in found}
    rest = [one for one in _pieces(text) if one not in read]
    asked = tuple(one for one in rest if OPEN.search(one))
    if model is None or not rest:
        return Extracted(tuple(found), asked)
    more, open_questions = _by_model(" ".join(rest), source, now, importance, model)
    return Extracted((*found, *more), tuple(dict.fromkeys((*asked, *open_questions))))


def _by_model(
    text: str, source: str, now: datetime | None, importance: float, model: ChatModel
) -> tuple[list[Fact], list[str]]:
    asked = (
        f"Text:\n{text}\n\nList the facts that the text states, each as subject, relation and object in the text's own "
        "words. Leave out opinions. If it states none, give an empty list. Then what it leaves open, as questions."
    )
    try:
        answer = model.parse([{"role": "user", "content": asked}], _Found, Sampling(max_tokens=400))
    except InputError as error:  # it did not come to an end: what the rules read stands
        logger.warning("no facts were read from a text: %s", error)
        return [], []
    facts = []
    for one in answer.facts:
        sentence = next((s for s in _pieces(text) if _stands(one.subject, s) and _stands(one.object, s)), None)
        if sentence:
            when = next(filter(None, map(moment_of, anchors(sentence))), now)
            facts.append(
                Fact(
                    subject=one.subject, relation=one.relation, object=one.object, source=source, text=sentence,
                    valid_from=when, created=now, importance=importance,
                )
            )  # fmt: skip
    return facts, [one.strip() for one in answer.open_questions if one.strip()]


def cited_keys(text: str) -> list[str]:
    """The keys that a text cites, in order, each once."""
    return list(dict.fromkeys(CITED.findall(text)))


def fills(notes: Notes, facts: Sequence[Fact], count: Count, window: int) -> float:
    """The share of a window that notes and facts take."""
    if window < 1:
        raise InputError(f"A window of {window} tokens holds nothing; give the model's own.")
    return (count(notes.shown) + count(lines(facts))) / window


def compacted(
    notes: Notes, facts: Sequence[Fact], *, tokens: int, count: Count, model: ChatModel | None = None
) -> tuple[Notes, list[Fact]]:
    """The notes without prose, the summary within `tokens`; and what became a fact, so that no citation is lost."""
    carried = {one.source for one in facts}
    more: list[Fact] = []
    text = " ".join(filter(None, (notes.summary, *notes.prose)))
    for sentence, keys in _cited_sentences(text):
        for key in keys:
            if key not in carried:
                carried.add(key)
                more.append(Fact(subject=key, relation="says", object=sentence[:600], source=key, text=sentence))
    summary = _summary(text, tokens, count, model) if text else ""
    return replace(notes, summary=summary, prose=()), more


def _summary(text: str, tokens: int, count: Count, model: ChatModel | None) -> str:
    if count(text) <= tokens:
        return text
    if model is not None:
        asked = (
            f"Notes:\n{text}\n\nSum the notes up in at most {tokens // 2} words. Keep the marks [[…]] of what you keep."
        )
        written = " ".join(model.chat([{"role": "user", "content": asked}], Sampling(max_tokens=tokens)).split())
        if written and count(written) <= tokens and set(cited_keys(written)) <= set(cited_keys(text)):
            return written
    return _saying_most(text, tokens, count)


def _saying_most(text: str, tokens: int, count: Count) -> str:
    """The sentences with the most new words for their length, cited ones first, in their order."""
    pieces = _pieces(text)
    known: set[str] = set()
    chosen: list[int] = []
    left = tokens
    waiting = list(range(len(pieces)))
    words = [set(stems(one)) for one in pieces]
    while waiting:
        best = max(
            waiting, key=lambda at: (bool(CITED.search(pieces[at])), len(words[at] - known) / (5 + len(words[at])))
        )
        waiting.remove(best)
        cost = count(pieces[best]) + 1
        if cost <= left and words[best] - known:
            chosen.append(best)
            known |= words[best]
            left -= cost
        if left < 8:
            break
    return " ".join(pieces[at] for at in sorted(chosen))


def rewritten(
    state: str,
    chunk: str,
    question: str,
    *,
    count: Count,
    tokens: int = STATE_TOKENS,
    model: ChatModel | None = None,
    cited: Collection[str] = (),
) -> str:
    """The state after one more chunk, of at most `tokens`; lines with a key of `cited` stay, the newest of each."""
    if tokens < 32:
        raise InputError(f"A state of {tokens} tokens holds nothing; give 32 or more ({STATE_TOKENS} is usual).")
    old_lines, new_lines = state.splitlines(), [one.strip() for one in _pieces(chunk)]
    if model is not None:
        asked = (
            f"Question: {question}\n\nMemory:\n{state or '(empty)'}\n\nNew text:\n{chunk}\n\n"
            f"Write the memory anew in at most {tokens // 2} words, one fact a line: keep what helps with the "
            "question, add what is new, put newer values in the place of older ones, keep the marks [[…]]."
        )
        written = model.chat([{"role": "user", "content": asked}], Sampling(max_tokens=tokens)).splitlines()
        new_lines, old_lines = [one.strip() for one in written if one.strip()], []
    must = [one for one in (*state.splitlines(), *_pieces(chunk)) if set(cited_keys(one)) & set(cited)]
    held = {key for line in new_lines for key in cited_keys(line)}
    must = [one for one in must if not set(cited_keys(one)) & set(cited) <= held]
    return _fitting([*old_lines, *new_lines], must, question, tokens, count)


def _fitting(all_lines: Sequence[str], must: Sequence[str], question: str, tokens: int, count: Count) -> str:
    """The lines that must stay and those with the most words of the question, newest first among equals, in order."""
    given = list(dict.fromkeys(one for one in (*must, *all_lines) if one))
    wanted = set(stems(question))
    order = sorted(
        range(len(given)), key=lambda at: (given[at] not in must, -len(wanted & set(stems(given[at]))), -at)
    )  # fmt: skip
    chosen: list[int] = []
    left = tokens
    for at in order:
        cost = count(given[at]) + 1
        if cost <= left:
            chosen.append(at)
            left -= cost
    return "\n".join(given[at] for at in sorted(chosen))


def _cited_sentences(text: str) -> list[tuple[str, list[str]]]:
    """Sentences and the keys that stand in them; a mark behind the full stop belongs to the sentence before it."""
    moved = re.sub(r"([.!?])((?:\s*\[\[[^\]]*\]\])+)", r"\2\1", text)
    return [(one, cited_keys(one)) for one in _pieces(moved) if CITED.search(one)]


def _pieces(text: str) -> list[str]:
    return [text[start:end].strip() for start, end in sentences(text) if text[start:end].strip()]


def _stands(part: str, text: str) -> bool:
    words = set(stems(part))
    return bool(words) and words <= set(stems(text))
