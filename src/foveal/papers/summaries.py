"""One sentence and 5 to 15 keywords for each paper, by a language model where there is one, else by rule.

    report = summarise(database, model="qwen2.5-coder-0.5b", limit=100)        # report.written, .by_rule, .left
    summary_of(title, abstract, chat)                                          # Summary(sentence, keywords, model)

Grammar   the model fills a schema (`ChatModel.parse`): a text of bounded length, and a choice among phrases of the
          abstract (`extracts.keyphrases`), so that a keyword always stands in it and can be linked
Checked   a sentence of more than 40 words, or with a number that the abstract lacks, is not taken: the rule's is, and
          `model` says "extractive". The name of what wrote it is stored and shown
Kept      an author's words are never touched; a summary or keywords that are there only by `again=True`, and of these
          none that came with the paper (no model named)
Stopping  each paper is written by itself: Ctrl-C, a kill or `cancel` lose at most one, and the next call goes on
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import or_, select

from foveal.database import Database
from foveal.errors import Cancelled, InputError
from foveal.models.hub import require_known
from foveal.papers.extracts import FEWEST_KEYWORDS, MOST_KEYWORDS, MOST_WORDS, central_sentence, keyphrases
from foveal.papers.keyword_links import occurs
from foveal.papers.schema import KeywordRow, PaperRow, now
from foveal.text.units import sentences

if TYPE_CHECKING:
    from pydantic import BaseModel

    from foveal.models.chat import Cancel, ChatModel

log = logging.getLogger("foveal.papers")

EXTRACTIVE = "extractive"
"""The name under which the rule writes."""

OFFERED = 40
"""Phrases that a model chooses keywords from."""

LONGEST = 300
"""Characters of a sentence: 40 words seldom have more."""

READ = 4000
"""Characters of an abstract that a model is shown."""

INSTRUCTION = (
    "Read the abstract of a research paper. Write one plain sentence of at most 30 words that says what the paper does "
    "and finds, using only what the abstract says. Then choose the {count} phrases that name its subject best.\n\n"
    "Title: {title}\n\nAbstract: {abstract}"
)

_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")


@dataclass(frozen=True)
class Summary:
    """What was made of one abstract; `model` wrote the sentence."""

    sentence: str
    keywords: tuple[str, ...]
    model: str


@dataclass
class Summarised:
    """What `summarise` did: ids written, how many of them by rule though a model was given, papers still without."""

    written: list[str] = field(default_factory=list)
    by_rule: int = 0
    left: int = 0
    cancelled: bool = False


def summary_of(title: str, abstract: str, chat: ChatModel | None = None, *, cancel: Cancel | None = None) -> Summary:
    """A sentence and keywords of an abstract. InputError: it is empty. Cancelled: `cancel` was set."""
    if not abstract.strip():
        raise InputError(f"The paper {title[:80]!r} has no abstract, so nothing can be said of it.")
    offered = [one for one in keyphrases(abstract, title, OFFERED) if occurs(one, abstract)]
    by_rule = Summary(central_sentence(abstract, title), tuple(offered[:MOST_KEYWORDS]), EXTRACTIVE)
    if chat is None:
        return by_rule
    asked = INSTRUCTION.format(count=min(8, len(offered)), title=title.strip()[:300], abstract=abstract.strip()[:READ])
    try:
        answer: Any = chat.parse([{"role": "user", "content": asked}], schema_of(offered), cancel=cancel)
    except Cancelled:
        raise
    except InputError as error:  # an answer that is no JSON, or longer than it may be
        log.info("%s gave no summary of %r (%s): the rule writes it", chat.name, title[:80], error)
        return by_rule
    chosen = dict.fromkeys([*getattr(answer, "keywords", ()), *offered])
    sentence = sound(answer.sentence, abstract)
    count = max(FEWEST_KEYWORDS, len(set(getattr(answer, "keywords", ()))))
    keywords = tuple(chosen)[: min(count, MOST_KEYWORDS)]
    return Summary(sentence or by_rule.sentence, keywords, chat.name if sentence else EXTRACTIVE)


def schema_of(offered: Sequence[str]) -> type[BaseModel]:
    """What a model fills: `sentence`, and `keywords` among those offered, where there are any."""
    from pydantic import ConfigDict, Field, create_model

    make = partial(create_model, __config__=ConfigDict(extra="forbid"))
    sentence: Any = (str, Field(min_length=20, max_length=LONGEST))
    if not offered:
        return make("Told", sentence=sentence)
    choice: Any = Literal[tuple(offered)]
    bounds = Field(min_length=min(FEWEST_KEYWORDS, len(offered)), max_length=min(MOST_KEYWORDS, len(offered)))
    keywords: Any = (list[choice], bounds)
    return make("Told", sentence=sentence, keywords=keywords)


def sound(sentence: str, abstract: str) -> str:
    """The first sentence of what a model wrote, on one line; "" where it is too long, breaks off or adds a number."""
    text = " ".join(sentence.split())
    spans = sentences(text)
    first = text[slice(*spans[0])].strip() if spans else ""
    numbers = set(_NUMBER.findall(first))
    ends = first.endswith((".", "!", "?", "…", "。"))
    fits = 4 <= len(first.split()) <= MOST_WORDS and ends and numbers <= set(_NUMBER.findall(abstract))
    return first if fits else ""


def summarise(
    database: Database,
    *,
    model: str | ChatModel | None = None,
    limit: int | None = None,
    ids: Sequence[str] | None = None,
    again: bool = False,
    cancel: Cancel | None = None,
    on_progress: Callable[[Summarised], None] = lambda _: None,
    on_stage: Callable[[str, int], None] = lambda *_: None,
) -> Summarised:
    """Write what is missing for the newest papers (or for `ids`), at most `limit` of them.

    `model` is a name for `load_chat`, or a chat model; None: by rule. `again` writes anew what a model or the rule
    wrote before. `on_stage` hears what begins, and of how many papers: "Loading NAME", 0, then "Summaries", 4.

    UnknownName, ModelUnavailable: no such model.
    """
    if limit is not None and limit < 1:
        raise InputError(f"Summaries of {limit} papers were asked for; it needs 1 or more.")
    if isinstance(model, str):  # said now, also where nothing is to be written
        require_known(model, kind="language model")
    report = Summarised()
    wanted = _wanted(database, ids, again=again)
    report.left = len(wanted)
    chat = _loaded(model, on_stage) if wanted else None
    on_stage("Summaries", len(wanted[:limit]))
    for paper in wanted[:limit]:
        try:
            if cancel is not None:
                cancel.check()
            _write(database, paper, chat, cancel, report, again=again)
        except Cancelled:
            report.cancelled = True
            return report
        report.left -= 1
        on_progress(report)
    return report


def _loaded(model: str | ChatModel | None, on_stage: Callable[[str, int], None]) -> ChatModel | None:
    if isinstance(model, str):
        on_stage(f"Loading {model}", 0)
        from foveal.models import load_chat

        return load_chat(model)
    return model


def _wanted(database: Database, ids: Sequence[str] | None, *, again: bool) -> list[str]:
    """Papers with an abstract that lack a summary or keywords (`again`: or have some that were made), newest first."""
    wanted = select(PaperRow.id).where(PaperRow.abstract != "")
    if ids is not None:
        wanted = wanted.where(PaperRow.id.in_(ids))
    lacks = PaperRow.summary == "" if not again else or_(PaperRow.summary == "", PaperRow.summary_model != "")
    without = PaperRow.id.not_in(select(KeywordRow.paper_id))
    wanted = wanted.where(or_(lacks, without))
    with database.reading() as session:
        return list(session.scalars(wanted.order_by(PaperRow.published_at.desc().nulls_last(), PaperRow.id)))


def _write(
    database: Database,
    paper: str,
    chat: ChatModel | None,
    cancel: Cancel | None,
    report: Summarised,
    *,
    again: bool,
) -> None:
    """Make one summary, outside of any transaction, and store what is still missing of it."""
    with database.reading() as session:
        row = session.get(PaperRow, paper)
    if row is None or not row.abstract.strip():
        return
    if row.summary and not again and not keyphrases(row.abstract, row.title, 1):
        return  # only keywords are missing, and there are none to be had
    made = summary_of(row.title, row.abstract, chat, cancel=cancel)
    with database.writing() as session:
        if (stored := session.get(PaperRow, paper)) is None or stored.abstract != row.abstract:
            return  # gone, or a new version came meanwhile: the next call reads that
        if _store(stored, made, again=again):
            report.written.append(paper)
            report.by_rule += chat is not None and made.model == EXTRACTIVE


def _store(row: PaperRow, made: Summary, *, again: bool) -> bool:
    """Put in what is missing, or was made before and is to be made again; whether that was anything."""
    changed = False
    if made.sentence and (not row.summary or (again and row.summary_model)):
        row.summary, row.summary_model = made.sentence, made.model[:120]
        changed = True
    if made.keywords and (not row.keywords or (again and all(one.model for one in row.keywords))):
        row.keywords = [
            KeywordRow(position=place, words=words[:120], model=made.model[:120])
            for place, words in enumerate(made.keywords)
        ]
        changed = True
    if changed:
        row.changed_at = now()
    return changed
