"""The shapes of the papers' API, for its description: those of the Hugging Face Hub. A key without a value is absent.

papers_api.py makes the answers; that they have these shapes is a test's business, not each answer's.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel


class _Shape(BaseModel):
    model_config = ConfigDict(extra="forbid", alias_generator=to_camel)


class Author(_Shape):
    """An author; `status` says whether somebody here claimed the place."""

    id: str = Field(alias="_id")
    name: str
    hidden: bool
    status: str | None = None


class Submitter(_Shape):
    """Who listed a paper; their login is `name` beside a paper, and `user` within it."""

    id: str = Field(alias="_id")
    avatar_url: str
    is_pro: bool
    fullname: str
    type: str
    name: str | None = None
    user: str | None = None


class Organisation(_Shape):
    """Where a paper comes from."""

    id: str = Field(alias="_id")
    name: str
    fullname: str
    avatar: str


class Paper(_Shape):
    """A paper itself."""

    id: str
    authors: list[Author]
    published_at: str | None = None
    submitted_on_daily_at: str | None = None
    title: str
    submitted_on_daily_by: Submitter | None = None
    summary: str
    upvotes: int
    discussion_id: str
    project_page: str | None = None
    github_repo: str | None = None
    github_repo_added_by: str | None = None
    github_stars: int | None = None
    ai_summary: str | None = Field(None, alias="ai_summary")
    ai_keywords: list[str] | None = Field(None, alias="ai_keywords")
    organization: Organisation | None = None


class PaperEntry(_Shape):
    """A paper in a list; `publishedAt` is when it was listed here."""

    paper: Paper
    published_at: str | None = None
    title: str
    summary: str
    thumbnail: str
    num_comments: int
    submitted_by: Submitter | None = None
    organization: Organisation | None = None
    is_author_participating: bool


class Linked(_Shape):
    """A model, data set or demo."""

    id: str


class PaperDetail(Paper):
    """A paper with what belongs to it."""

    num_comments: int
    linked_models: list[Linked]
    num_total_models: int
    linked_datasets: list[Linked]
    num_total_datasets: int
    linked_spaces: list[Linked]
    num_total_spaces: int


class Owner(_Shape):
    """Who made a collection."""

    id: str = Field(alias="_id")
    name: str
    fullname: str
    type: str


class Note(_Shape):
    """Why a paper was put somewhere."""

    text: str


class CollectedShape(_Shape):
    """A paper of a collection; `addedBy` is the login of who put it there."""

    item_id: str = Field(alias="_id")
    id: str
    type: str
    position: int
    title: str
    published_at: str | None = None
    upvotes: int
    note: Note | None = None
    added_by: str | None = None
    added_at: str | None = None


class CollectionShape(_Shape):
    """A list of papers that somebody made; to an open one whoever is signed in may add."""

    slug: str
    title: str
    description: str | None = None
    owner: Owner
    items: list[CollectedShape]
    number_items: int
    last_updated: str
    position: int | None = None
    private: bool
    open: bool
    theme: str
    upvotes: int


class ChangedCollectionShape(_Shape):
    """A list as it is now, where the Hub's client looks for it."""

    data: CollectionShape
