"""An answer from numbered excerpts, and the exact place of each thing it says.

The model is given excerpts numbered [1] … [m] and may cite them. Whatever it writes is then checked, sentence by
sentence: numbers that do not exist are taken out; a sentence that cites nothing is traced to the excerpt that holds its
words; one whose words no excerpt holds is reported as unsupported. A citation is the one sentence of the excerpt that
bears the answer out, or the one row of a table, quoted exactly. Where several hold its words, the question's words
decide, together with what the model's retrieval heads copied it from (grounding.py), if the model is on this machine
and its heads are known.

Shared by `read` (excerpts of one text) and `ask` (passages of a library).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING

from foveal.models.characters import scalar
from foveal.models.chat import Cancel, ChatModel, Messages, Sampling
from foveal.models.chat_requests import ContextExceeded
from foveal.reading.answer_marks import (
    CITED,
    INSIDE,
    claims_of,
    folded,
    groups_cited,
    is_word,
    is_worded,
    remarked,
    unmarked,
)
from foveal.reading.answering_refusals import refuses
from foveal.reading.answering_settings import AnswerSettings
from foveal.reading.cited_forms import numbers_in, plain_marks, without_footnotes, without_preface
from foveal.reading.echoes import Echo, heard
from foveal.reading.events import AnswerDelta, Reading
from foveal.reading.grounding import NO_ROWS, Grounding, grounding, one_line
from foveal.reading.loops import said_once
from foveal.reading.memory import Excerpt, Kept, excerpts, in_order, shown_of
from foveal.reading.number_words import in_digits, unseparated
from foveal.reading.skim import content_words
from foveal.reading.sources import DocumentText, Text
from foveal.text.headings import LONGEST_TITLE
from foveal.text.table_heads import Table, path_without, rows_in
from foveal.text.units import Offsets, sentences
from foveal.types import Citation, Document, Span

if TYPE_CHECKING:
    from foveal.attention.retrieval_heads import HeadScores

NOT_FOUND = "Nothing in the text answers this."

_GLUED = re.compile(rf"(?P<before>(?<!\w)\w++|[\])])?\[(?P<inside>{INSIDE})\]")
_BLANKS = re.compile(r"\n(?:[ \t]*\r?\n){2,}")
_OPEN, _CLOSE = "\ue000", "\ue001"  # of the private use area: in no text that is read as such
_NUMBER = re.compile(r"\d+(?:[.,:]\d+)*")
_WORD = re.compile(r"\w+")
_ASKED = re.compile(r"(?<![^.!?…“”„«»\"])[^.!?…“”„«»\"]*[?？]")


@dataclass(frozen=True, slots=True)
class Evidence:
    """An excerpt with its address: what a citation is made of; and what is shown of what stands above it."""

    document_id: str
    excerpt: Excerpt
    title: str
    url: str | None = None
    revision: str | None = None
    heading: str = ""  # the headings above it that it does not hold itself
    head: str = ""  # of the table among whose rows it begins
    rows: tuple[int, int] = NO_ROWS  # the characters of its own text that are rows of a table
    tables: tuple[Table, ...] = ()  # whose rows they are
    told: str = ""  # what is shown instead of head and text, of one row: each cell behind its column's name

    def citation(self, start: int, end: int) -> Citation:
        """Characters `start` to `end` of the excerpt's own text, as a citation."""
        offset = self.excerpt.start
        span = Span(self.document_id, offset + start, offset + end)
        return Citation(span, self.excerpt.text[start:end], self.title, self.url, self.revision)


def evidence_of(document: Document, excerpt: Excerpt, heading: str | None = None) -> Evidence:
    """An excerpt of a document as evidence; `heading` is that of its passage."""
    rows = rows_in(document, excerpt.start, excerpt.end)
    path = heading or ""
    if rows and rows.table:
        path = path_without(rows.table, path)
    return Evidence(
        document.id,
        excerpt,
        document.title,
        document.url,
        document.revision,
        heading=_above(path, document.title, excerpt.text),
        head=rows.head if rows else "",
        rows=(rows.start - excerpt.start, rows.end - excerpt.start) if rows else NO_ROWS,
        tables=rows.tables if rows else (),
    )


def _above(path: str, title: str, text: str) -> str:
    """What of a path of headings is neither the document's title nor in the text itself, whose first line it may be; of
    a long path its end."""
    parts = [part for part in path.split(" > ") if part and part != title and part not in text]
    while len(parts) > 1 and len(" > ".join(parts)) > LONGEST_TITLE:
        del parts[0]
    return " > ".join(parts)


@dataclass(frozen=True, slots=True)
class Drafted:
    """An answer that was checked."""

    text: str
    citations: tuple[Citation, ...]
    unsupported: tuple[str, ...]
    found: bool
    grounded: float | None = None  # share of it that the model's heads copied from the excerpts; None: not known


def not_found(question: str) -> Reading:
    """The answer where nothing in the text was looked at."""
    return Reading(NOT_FOUND, (), 0.0, question=question, found=False)


def answered(
    model: ChatModel,
    text: Text,
    question: str,
    kept: Sequence[Kept],
    settings: AnswerSettings,
    *,
    heads: HeadScores | None = None,
    cancel: Cancel | None = None,
) -> Generator[AnswerDelta, None, Reading]:
    """Answer from what a reader kept, piece by piece; the value returned is the whole. `heads` as in `drafted`."""
    shown = shown_of(kept, settings.context, best_first=settings.best_first)
    if not shown:
        return not_found(question)  # what was kept is blank
    evidence = [_evidence_in(text, one) for one in shown]
    draft = yield from drafted(model, question, evidence, settings, heads=heads, cancel=cancel)
    return Reading(
        draft.text,
        draft.citations,
        confidence(max(one.score for one in kept), draft),
        question=question,
        excerpts=tuple(excerpts(in_order(kept))),
        found=draft.found,
        unsupported=draft.unsupported,
        grounded=draft.grounded,
    )


def _evidence_in(text: Text, excerpt: Excerpt) -> Evidence:
    """An excerpt of what was read; the tables of a text that is not held are not known."""
    if isinstance(text, DocumentText):
        return evidence_of(text.document, excerpt)
    return Evidence(text.document_id, excerpt, text.title, text.url, text.revision)


def confidence(score: float, draft: Drafted) -> float:
    """0 to 1, by the best sentence's score (a literal find has about 10, a paraphrase 1 to 2); no probability."""
    return score / (score + 2) * borne_out(draft)


def borne_out(draft: Drafted) -> float:
    """1; half where something said is not borne out; 0 where nothing was found."""
    return (0.5 if draft.unsupported else 1.0) if draft.found else 0.0


def drafted(
    model: ChatModel,
    question: str,
    evidence: Sequence[Evidence],
    settings: AnswerSettings,
    *,
    heads: HeadScores | None = None,
    cancel: Cancel | None = None,
) -> Generator[AnswerDelta, None, Drafted]:
    """Ask `model`, passing on its words as they come, and check what it said.

    `heads`: the copy scores of a model of this machine; with them the answer is traced to what it was copied from.
    """
    sampling = Sampling(max_tokens=settings.max_tokens)
    while True:
        asked = messages(question, evidence, settings)
        echo = Echo(list(_shown_lines(evidence, settings)) if _is_titled(evidence, settings) else [])
        try:
            answer = yield from heard(model.stream(asked, sampling, cancel=cancel), echo)
        except ContextExceeded:  # the server reads less than was known
            if len(evidence) < 2:
                raise
            evidence = _better_half(evidence)
        else:
            if not echo.is_one(answer):
                break
            evidence = _fewer(model, evidence)
            settings = AnswerSettings(nowhere=settings.nowhere, supported=settings.supported)
    answer = said_once(answer)
    local = getattr(model, "language_model", None)
    ground = None
    if local is None or settings.titled:
        answer = as_asked(answer, evidence)
    if heads is not None and local is not None and not any(one.told for one in evidence):
        shown = [_unnumbered(one.excerpt.text) for one in evidence]
        ground = grounding(local, local.render(asked), answer, shown, heads, [one.rows for one in evidence])
    return checked(answer, question, evidence, settings, ground)


def _fewer(model: ChatModel, evidence: Sequence[Evidence]) -> list[Evidence]:
    """The best of the excerpts, best first: as many as a small model is shown, and fewer than they were."""
    left = AnswerSettings().context
    taken: list[Evidence] = []
    for one in sorted(evidence, key=lambda one: -one.excerpt.score)[: len(evidence) - 1]:
        left -= model.count_tokens(one.excerpt.text)
        if left < 0 and taken:
            break
        taken.append(one)
    return taken


def _better_half(evidence: Sequence[Evidence]) -> list[Evidence]:
    """Half of the excerpts, those with the best scores, in their order."""
    best = sorted(range(len(evidence)), key=lambda place: -evidence[place].excerpt.score)[: len(evidence) // 2]
    return [evidence[place] for place in sorted(best)]


def messages(question: str, evidence: Sequence[Evidence], settings: AnswerSettings) -> Messages:
    """What the model is asked: instruction, numbered excerpts below what stands above them, question."""
    numbered = "\n\n".join(f"[{number}] {lines}" for number, lines in enumerate(_shown_lines(evidence, settings), 1))
    instruction = " ".join(part for part in (settings.instruction, settings.nowhere) if part)
    content = f"{instruction}\n\n{numbered}\n\nQuestion: {_unnumbered(question.strip())}\n\nAnswer:"
    return [{"role": "system", "content": ""}, {"role": "user", "content": scalar(content)}]


def _is_titled(evidence: Sequence[Evidence], settings: AnswerSettings) -> bool:
    """Whether each excerpt stands below its title, with which no answer begins that is no echo."""
    return settings.titled and len({one.document_id for one in evidence}) > 1


def _shown_lines(evidence: Sequence[Evidence], settings: AnswerSettings) -> Iterator[str]:
    """Each excerpt in one line, or in its own; above it title and headings and, once, the head of its table."""
    heads = {""}
    titled = _is_titled(evidence, settings)
    for one in evidence:
        above = " > ".join(filter(None, (" ".join(one.title.split()) if titled else "", one.heading)))
        lines = [above] if above else []
        if one.told:
            lines.append(one.told)
        elif one.head not in heads:
            heads.add(one.head)
            lines.append(one.head)
        text = _unnumbered(one.excerpt.text)
        body = _BLANKS.sub("\n\n", text.strip("\r\n")) if settings.lines else one_line(text, one.rows)[0]
        yield "\n".join([*map(_unnumbered, lines), *([] if one.told else [body])])


def _unnumbered(text: str) -> str:
    """A text whose own "[1]" is "(1)", each character in its place: all those of the answer are then citations.

    What is glued to a word, as in "a[0]", stays: by that word it is known again.
    """
    return _GLUED.sub(lambda found: found.group() if found["before"] else f"({found['inside']})", text)


def checked(
    answer: str,
    question: str,
    evidence: Sequence[Evidence],
    settings: AnswerSettings,
    ground: Grounding | None = None,
) -> Drafted:
    """The answer with its citations numbered anew in the order of their use, and what no excerpt bears out.

    `ground`: what of the answer, as it was given, was copied from where.
    """
    place = len(answer) - len(answer.lstrip())
    answer = answer.strip()
    given = (question, *(part for one in evidence for part in (one.heading, one.head, one.excerpt.text)))
    verbatim = {one.group() for text in given for one in _GLUED.finditer(text) if one["before"]}
    answer = _GLUED.sub(lambda found: _hidden(found, verbatim, len(evidence)), answer)
    refused = refuses(answer, (one.excerpt.text for one in evidence))
    if refused or not unmarked(answer).strip() or _is_asked_again(answer, question):
        return Drafted(NOT_FOUND, (), (), found=False)
    citations: list[Citation] = []
    unsupported: list[str] = []
    parts: list[str] = []
    for whole in _sentences(answer):
        sentence = folded(whole)
        claims, asked = claims_of(sentence), groups_cited(sentence, len(evidence))
        copied = partial(ground.votes, (place, place + len(whole))) if ground else None
        place += len(whole)
        bears = partial(_bears, question, evidence, settings, copied, each=is_worded(sentence))
        support = [bears(claim, named) for claim, named in zip(claims, asked, strict=True)]
        numbers: list[list[int]] = []
        for found in support:
            citations += [one for one in found if one not in citations]
            numbers.append([citations.index(one) + 1 for one in found])
        if any(not found and _says_something(claim) for found, claim in zip(support, claims, strict=True)):
            unsupported.append(remarked(sentence, numbers).strip())
        parts.append(remarked(sentence, numbers))
    grounded = ground.grounded if ground else None
    return Drafted(_shown("".join(parts).strip()), tuple(citations), tuple(map(_shown, unsupported)), True, grounded)


def as_asked(answer: str, evidence: Sequence[Evidence]) -> str:
    """An answer without polite words before it and footnotes behind it, its citations as they were asked for."""
    texts = (_unnumbered(one.excerpt.text) for one in evidence)
    return without_footnotes(plain_marks(without_preface(answer), range(1, len(evidence) + 1), texts=texts))


def _is_asked_again(answer: str, question: str) -> bool:
    """Whether the answer is the question, word for word, as a small model gives it back."""
    if not question.rstrip().endswith(("?", "？")):
        return False
    said, asked = (_WORD.findall(text.casefold()) for text in (unmarked(answer), question))
    return said == asked


def _hidden(found: re.Match[str], verbatim: Collection[str], count: int) -> str:
    """Brackets that are no citation, made such that none is read in them: those of the text itself, as in "a[0]".

    So are numbers that no excerpt has, right behind a word.
    """
    whole = found.group()
    numbers = numbers_in(found["inside"])
    theirs = whole in verbatim or (found["before"] and not any(1 <= number <= count for number in numbers))
    return whole.replace("[", _OPEN).replace("]", _CLOSE) if theirs else whole


def _shown(text: str) -> str:
    return text.replace(_OPEN, "[").replace(_CLOSE, "]")


Votes = Callable[[int, tuple[int, int]], float]
"""(excerpt, characters of it) -> how much of a sentence of the answer was copied from there."""


def _bears(
    question: str,
    evidence: Sequence[Evidence],
    settings: AnswerSettings,
    copied: Votes | None,
    said: str,
    cited: Sequence[int],
    *,
    each: bool,
) -> list[Citation]:
    """The sentence that bears `said` out, of what it cites (of `each` of it one), else of all."""
    for numbers in (cited, range(len(evidence))):
        best = [
            max(
                _places(said, question, evidence[number], partial(copied, number) if copied else None),
                key=lambda one: one[0],
                default=None,
            )
            for number in numbers
        ]
        found = [one for one in best if one and one[0][0] >= settings.supported]
        if found:
            best_one = max(found, key=lambda one: one[0])
            return list(dict.fromkeys(one for _, one in (found if each and numbers is cited else [best_one])))
    return []


def _places(
    said: str, question: str, evidence: Evidence, copied: Callable[[tuple[int, int]], float] | None = None
) -> Iterator[tuple[tuple[float, float, float], Citation]]:
    """Each sentence or row of the excerpt with the share of the words of `said` that it holds; those that name a
    table's columns are held by each of its rows.

    A tie goes to what states, or stands near, more of the question's words and what it was copied from, and then to the
    excerpt's score. A question states nothing: “How far is it?” in a sentence does not make it the answer's.
    """
    rows = evidence.rows != NO_ROWS  # of which a comma may part the cells
    plain = str if rows else unseparated
    said, question, head = plain(said), plain(question), plain(evidence.head)
    words, asked = content_words(said), content_words(question)
    own = (words - asked - content_words(head)) or (words - asked) or words
    if not own:
        return
    numbers = set(_NUMBER.findall(said)) - set(_NUMBER.findall(question)) - set(_NUMBER.findall(head))
    around = content_words(plain(evidence.excerpt.text))
    for start, end in quotable(evidence):
        text = plain(evidence.excerpt.text[start:end])
        given = {*_NUMBER.findall(text), *_NUMBER.findall(text.replace(",", " ") if rows else "")}
        if not numbers <= given:
            given |= in_digits(text)
        if not numbers <= given:
            continue
        held = content_words(text) | (numbers & given)  # a number may stand right before its unit, as in 3000km
        share = len(own & held) / len(own)
        near = len(asked & stated(text)) / max(1, len(asked)) + 0.1 * len(asked & around) / max(1, len(asked))
        body = evidence.excerpt.text[start:end].rstrip()
        if share:
            near += copied((start, end)) if copied else 0.0
            yield (share, near, evidence.excerpt.score), evidence.citation(start, start + len(body))


def stated(text: str) -> set[str]:
    """The words of a text, as `content_words` has them, that do not stand in a question."""
    return content_words(_ASKED.sub(" ", text))


def quotable(evidence: Evidence) -> Offsets:
    """The sentences of an excerpt, and the rows of its tables, without what is blank before them."""
    text, (first, last) = evidence.excerpt.text, evidence.rows
    if first >= last:
        return sentences(text)
    outside = (start for start, _ in sentences(text) if not first < start < last)
    rows = (found.end() for found in re.finditer("\n", text[:last]) if found.end() > first)
    cuts = sorted({*outside, first, *rows, len(text)})
    return [(b - len(text[a:b].lstrip()), b) for a, b in pairwise(cuts) if text[a:b].strip()]


def _sentences(answer: str) -> list[str]:
    """The sentences of an answer; a citation behind a full stop belongs to what it follows."""
    pieces: list[str] = []
    for start, end in sentences(answer):
        piece = answer[start:end]
        leading = CITED.match(piece) if pieces else None
        if leading and "\n" not in leading[0] and not is_word(piece, 0, leading.end()):
            pieces[-1] += piece[: leading.end()]
            piece = piece[leading.end() :]
        if piece:
            pieces.append(piece)
    return pieces


def _says_something(said: str) -> bool:
    return bool(content_words(said))
