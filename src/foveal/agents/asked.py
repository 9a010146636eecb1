"""What each tool is asked: the arguments and their words, from which the protocol's schemas are made.

Names are those of the API and of the commands (`query`, `k`, `retriever`, `where`, `effort`).
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from foveal.models.characters import scalar

MOST_SHOWN = 50_000
"""Characters of a document in one answer: an assistant has to read them."""

MOST_LISTED = 200
"""Documents, headings or papers in one answer."""

LONGEST = 2000
"""Characters of a question, a query or a source's name."""

MOST_ADDED = 20
"""Sources that are added at once."""

MOST_TEXT = 160_000
"""Characters of a text that is added: as the API takes them."""

Words = Annotated[str, AfterValidator(scalar), Field(max_length=LONGEST)]
"""A text without halves of characters, which JSON may name and no model or database takes."""

Which = Annotated[Words, Field(min_length=1, description="A document's id (or its first 6 digits), path or URL.")]
Where = Annotated[Words, Field(description='A condition, such as "kind=pdf", "published>=2024-01-01", "title~neural".')]
Retriever = Annotated[
    Words, Field(description="hybrid (words and meaning), lexical (words), dense (meaning), fresh (time counts), …")
]
Day = Annotated[Words, Field(description="A day, such as 2026-10-02, or today, yesterday.")]


class Asked(BaseModel):
    """Arguments; what is none of them is refused."""

    model_config = ConfigDict(extra="forbid")


class Search(Asked):
    """A search in the library."""

    query: Annotated[
        Words, Field(min_length=1, description='What to find; "quoted words" must stand there as a phrase.')
    ]
    k: Annotated[int, Field(ge=1, le=50, description="Passages to give.")] = 8
    retriever: Retriever = ""
    rank: Annotated[
        Words, Field(description="Order what was found anew, by a ranker's name; none: as it is found.")
    ] = ""
    where: Where = ""
    as_of: Annotated[Words, Field(description="As of this day: 2023-05-01. It goes with the retriever fresh.")] = ""
    each: Annotated[bool, Field(description="Of each document its best passage alone.")] = False


class Show(Asked):
    """A part of a document."""

    which: Which
    start: Annotated[int, Field(ge=0, le=10**12, description="The first character; `next` of the answer before.")] = 0
    end: Annotated[int | None, Field(ge=0, le=10**12, description="The character behind the last one.")] = None
    heading: Annotated[Words, Field(description="What stands under this heading, as `outline` names it.")] = ""
    page: Annotated[int | None, Field(ge=1, le=10**7, description="This page, counted from 1.")] = None
    revision: Annotated[Words, Field(description="The text of this revision, as a citation names it.")] = ""
    most: Annotated[int, Field(ge=1, le=MOST_SHOWN, description="Most characters to give.")] = 8000


class Outline(Asked):
    """The headings of a document."""

    which: Which
    first: Annotated[int, Field(ge=0, le=10**7, description="The first heading; `next` of the answer before.")] = 0


class Documents(Asked):
    """A page of the library's documents."""

    where: Where = ""
    p: Annotated[int, Field(ge=1, le=10**6, description="The page, counted from 1.")] = 1
    limit: Annotated[int, Field(ge=1, le=MOST_LISTED)] = 50


class Ask(Asked):
    """A question to the library."""

    question: Annotated[Words, Field(min_length=1)]
    retriever: Retriever = ""
    where: Where = ""


class Read(Asked):
    """A question to one whole text."""

    source: Annotated[
        Words,
        Field(
            min_length=1,
            description="A document's id, path or URL; or a file, page or arXiv id that the person has allowed.",
        ),
    ]
    question: Annotated[Words, Field(min_length=1)]
    effort: Annotated[
        Literal["quick", "normal", "full"],
        Field(description="quick reads the most promising tenth; full takes a larger second look."),
    ] = "normal"


class Research(Asked):
    """A question that no single page answers."""

    question: Annotated[Words, Field(min_length=1)]
    sources: Annotated[
        list[Literal["library", "papers", "arxiv"]], Field(min_length=1, max_length=3, description="Where to search.")
    ] = ["library"]
    seconds: Annotated[float | None, Field(gt=0, le=86_400, description="Most seconds that it takes.")] = None


class SearchPapers(Asked):
    """A search over the papers."""

    query: Annotated[
        Words,
        Field(
            min_length=1, description="Words, a question, an id; filters may stand in it: cat:cs.CL author:Li year:2026"
        ),
    ]
    k: Annotated[int, Field(ge=1, le=100, description="Papers to give.")] = 10
    p: Annotated[int, Field(ge=1, le=10_000, description="The page, counted from 1.")] = 1


class DailyPapers(Asked):
    """The papers of a day, a week or a month; of the last day that has some where none is named."""

    day: Day = ""
    week: Annotated[Words, Field(description="A week, such as 2026-W40, or this, last.")] = ""
    month: Annotated[Words, Field(description="A month, such as 2026-10, or this, last.")] = ""
    sort: Literal["votes", "published", "listed", "discussed"] = "votes"
    category: Annotated[Words, Field(description="Of this category, such as cs.CL, or cs.* for all of cs.")] = ""
    author: Words = ""
    with_code: Annotated[bool, Field(description="Only papers that name a repository.")] = False
    p: Annotated[int, Field(ge=1, le=10_000, description="The page, counted from 1.")] = 1
    limit: Annotated[int, Field(ge=1, le=100)] = 20


class ShowPaper(Asked):
    """One paper."""

    paper: Annotated[Words, Field(min_length=1, description="A paper's id, or its address at arXiv.")]


class SimilarPapers(ShowPaper):
    """Papers near another one."""

    k: Annotated[int, Field(ge=1, le=50, description="Papers to give.")] = 8


class Add(Asked):
    """What to add: sources, or a text."""

    sources: Annotated[
        list[Words],
        Field(max_length=MOST_ADDED, description="Files, folders, pages or arXiv ids that the person has allowed."),
    ] = []
    text: Annotated[str, AfterValidator(scalar), Field(max_length=MOST_TEXT, description="In place of sources.")] = ""
    title: Annotated[Words, Field(max_length=200, description="Of the text; without it its first line.")] = ""


class Remove(Asked):
    """What to take out."""

    which: Which
