"""The papers, their people, and what the group did with them (the tables of papers/schema.py)."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "fetched",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("source", sa.String(length=80), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("etag", sa.Text(), nullable=False),
        sa.Column("last_modified", sa.Text(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("added", sa.Integer(), nullable=False),
        sa.Column("updated", sa.Integer(), nullable=False),
        sa.Column("unchanged", sa.Integer(), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_fetched")),
    )
    op.create_index("ix_fetched_source_at", "fetched", ["source", "at"], unique=False)
    op.create_table(
        "kept",
        sa.Column("name", sa.String(length=40), nullable=False),
        sa.Column("made_of", sa.String(length=64), nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_kept")),
    )
    op.create_table(
        "lease",
        sa.Column("name", sa.String(length=40), nullable=False),
        sa.Column("holder", sa.String(length=80), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_lease")),
    )
    op.create_table(
        "source",
        sa.Column("name", sa.String(length=80), nullable=False),
        sa.Column("ask", sa.Text(), nullable=False),
        sa.Column("cursor", sa.Text(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("read_to", sa.Date(), nullable=True),
        sa.Column("error", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_source")),
    )
    op.create_table(
        "organisation",
        sa.Column("id", sa.String(length=80), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_organisation")),
    )
    op.create_table(
        "person",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("login", sa.String(length=40), nullable=False),
        sa.Column("email", sa.String(length=320), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("role", sa.String(length=20), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("verified_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_person")),
        sa.UniqueConstraint("email", name=op.f("uq_person_email")),
        sa.UniqueConstraint("login", name=op.f("uq_person_login")),
    )
    op.create_table(
        "star_sample",
        sa.Column("repo_url", sa.String(length=200), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("stars", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("repo_url", "day", name=op.f("pk_star_sample")),
    )
    op.create_table(
        "topic",
        sa.Column("id", sa.String(length=80), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("query", sa.Text(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_topic")),
    )
    op.create_table(
        "collection",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("person_id", sa.Integer(), nullable=False),
        sa.Column("slug", sa.String(length=80), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("public", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["person_id"], ["person.id"], name=op.f("fk_collection_person_id_person"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_collection")),
        sa.UniqueConstraint("person_id", "slug", name=op.f("uq_collection_person_id")),
    )
    op.create_index(op.f("ix_collection_person_id"), "collection", ["person_id"], unique=False)
    op.create_table(
        "paper",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("title_key", sa.String(length=32), nullable=False),
        sa.Column("abstract", sa.Text(), nullable=False),
        sa.Column("published_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("primary_category", sa.String(length=40), nullable=False),
        sa.Column("comment", sa.Text(), nullable=False),
        sa.Column("journal_ref", sa.Text(), nullable=False),
        sa.Column("doi", sa.Text(), nullable=False),
        sa.Column("licence", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("project_url", sa.Text(), nullable=False),
        sa.Column("repo_url", sa.Text(), nullable=False),
        sa.Column("repo_stars", sa.Integer(), nullable=True),
        sa.Column("stars_seen_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("organisation_id", sa.String(length=80), nullable=True),
        sa.Column("author_count", sa.Integer(), nullable=False),
        sa.Column("votes_elsewhere", sa.Integer(), nullable=False),
        sa.Column("comments_elsewhere", sa.Integer(), nullable=False),
        sa.Column("summary", sa.Text(), nullable=False),
        sa.Column("summary_model", sa.String(length=120), nullable=False),
        sa.Column("thumbnail", sa.Text(), nullable=False),
        sa.Column("source", sa.String(length=40), nullable=False),
        sa.Column("withdrawn", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["organisation_id"], ["organisation.id"], name=op.f("fk_paper_organisation_id_organisation")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_paper")),
    )
    op.create_index(op.f("ix_paper_changed_at"), "paper", ["changed_at"], unique=False)
    op.create_index(op.f("ix_paper_organisation_id"), "paper", ["organisation_id"], unique=False)
    op.create_index(op.f("ix_paper_published_at"), "paper", ["published_at"], unique=False)
    op.create_index(op.f("ix_paper_repo_url"), "paper", ["repo_url"], unique=False)
    op.create_index(op.f("ix_paper_title_key"), "paper", ["title_key"], unique=False)
    op.create_table(
        "author",
        sa.Column("paper_id", sa.String(length=64), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("name_key", sa.String(length=120), nullable=False),
        sa.Column("affiliation", sa.Text(), nullable=False),
        sa.Column("person_id", sa.Integer(), nullable=True),
        sa.Column("status", sa.String(length=20), nullable=False),
        sa.ForeignKeyConstraint(["paper_id"], ["paper.id"], name=op.f("fk_author_paper_id_paper"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["person_id"], ["person.id"], name=op.f("fk_author_person_id_person"), ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("paper_id", "position", name=op.f("pk_author")),
    )
    op.create_index(op.f("ix_author_name_key"), "author", ["name_key"], unique=False)
    op.create_index(op.f("ix_author_person_id"), "author", ["person_id"], unique=False)
    op.create_table(
        "category",
        sa.Column("paper_id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=40), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["paper_id"], ["paper.id"], name=op.f("fk_category_paper_id_paper"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("paper_id", "name", name=op.f("pk_category")),
    )
    op.create_index(op.f("ix_category_name"), "category", ["name"], unique=False)
    op.create_table(
        "collected",
        sa.Column("collection_id", sa.Integer(), nullable=False),
        sa.Column("paper_id", sa.String(length=64), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("added_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["collection_id"], ["collection.id"], name=op.f("fk_collected_collection_id_collection"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["paper_id"], ["paper.id"], name=op.f("fk_collected_paper_id_paper"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("collection_id", "paper_id", name=op.f("pk_collected")),
    )
    op.create_index(op.f("ix_collected_paper_id"), "collected", ["paper_id"], unique=False)
    op.create_table(
        "comment",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("paper_id", sa.String(length=64), nullable=False),
        sa.Column("parent_id", sa.Integer(), nullable=True),
        sa.Column("person_id", sa.Integer(), nullable=True),
        sa.Column("raw", sa.Text(), nullable=False),
        sa.Column("html", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("edited_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("hidden_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["paper_id"], ["paper.id"], name=op.f("fk_comment_paper_id_paper"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["parent_id"], ["comment.id"], name=op.f("fk_comment_parent_id_comment"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["person_id"], ["person.id"], name=op.f("fk_comment_person_id_person"), ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_comment")),
    )
    op.create_index(op.f("ix_comment_created_at"), "comment", ["created_at"], unique=False)
    op.create_index(op.f("ix_comment_paper_id"), "comment", ["paper_id"], unique=False)
    op.create_index(op.f("ix_comment_person_id"), "comment", ["person_id"], unique=False)
    op.create_table(
        "edition",
        sa.Column("paper_id", sa.String(length=64), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("abstract", sa.Text(), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["paper_id"], ["paper.id"], name=op.f("fk_edition_paper_id_paper"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("paper_id", "version", name=op.f("pk_edition")),
    )
    op.create_table(
        "keyword",
        sa.Column("paper_id", sa.String(length=64), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("words", sa.String(length=120), nullable=False),
        sa.Column("model", sa.String(length=120), nullable=False),
        sa.ForeignKeyConstraint(["paper_id"], ["paper.id"], name=op.f("fk_keyword_paper_id_paper"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("paper_id", "position", name=op.f("pk_keyword")),
    )
    op.create_index(op.f("ix_keyword_words"), "keyword", ["words"], unique=False)
    op.create_table(
        "headline",
        sa.Column("paper_id", sa.String(length=64), nullable=False),
        sa.Column("made_of", sa.String(length=64), nullable=False),
        sa.Column("label", sa.String(length=20), nullable=False),
        sa.Column("share", sa.Float(), nullable=False),
        sa.Column("sure", sa.Boolean(), nullable=False),
        sa.Column("evidence", sa.Text(), nullable=False),
        sa.Column("judge", sa.String(length=120), nullable=False),
        sa.Column("written", sa.Text(), nullable=False),
        sa.Column("writer", sa.String(length=120), nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["paper_id"], ["paper.id"], name=op.f("fk_headline_paper_id_paper"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("paper_id", name=op.f("pk_headline")),
    )
    op.create_table(
        "link",
        sa.Column("paper_id", sa.String(length=64), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("source", sa.String(length=40), nullable=False),
        sa.ForeignKeyConstraint(["paper_id"], ["paper.id"], name=op.f("fk_link_paper_id_paper"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("paper_id", "url", name=op.f("pk_link")),
    )
    op.create_table(
        "listing",
        sa.Column("paper_id", sa.String(length=64), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("listed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("submitted_by", sa.String(length=80), nullable=False),
        sa.Column("position", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(["paper_id"], ["paper.id"], name=op.f("fk_listing_paper_id_paper"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("paper_id", "day", name=op.f("pk_listing")),
    )
    op.create_index(op.f("ix_listing_day"), "listing", ["day"], unique=False)
    op.create_table(
        "pick",
        sa.Column("paper_id", sa.String(length=64), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("picked_by", sa.String(length=80), nullable=False),
        sa.Column("picked_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["paper_id"], ["paper.id"], name=op.f("fk_pick_paper_id_paper"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("paper_id", "day", name=op.f("pk_pick")),
    )
    op.create_index(op.f("ix_pick_day"), "pick", ["day"], unique=False)
    op.create_table(
        "vote",
        sa.Column("paper_id", sa.String(length=64), nullable=False),
        sa.Column("person_id", sa.Integer(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["paper_id"], ["paper.id"], name=op.f("fk_vote_paper_id_paper"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["person_id"], ["person.id"], name=op.f("fk_vote_person_id_person"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("paper_id", "person_id", name=op.f("pk_vote")),
    )
    op.create_index(op.f("ix_vote_at"), "vote", ["at"], unique=False)
    op.create_index(op.f("ix_vote_person_id"), "vote", ["person_id"], unique=False)


def downgrade() -> None:
    """Drop them."""
    op.drop_index(op.f("ix_vote_person_id"), table_name="vote")
    op.drop_index(op.f("ix_vote_at"), table_name="vote")
    op.drop_table("vote")
    op.drop_index(op.f("ix_pick_day"), table_name="pick")
    op.drop_table("pick")
    op.drop_table("source")
    op.drop_index(op.f("ix_listing_day"), table_name="listing")
    op.drop_table("listing")
    op.drop_table("link")
    op.drop_table("headline")
    op.drop_index(op.f("ix_keyword_words"), table_name="keyword")
    op.drop_table("keyword")
    op.drop_table("edition")
    op.drop_index(op.f("ix_comment_person_id"), table_name="comment")
    op.drop_index(op.f("ix_comment_paper_id"), table_name="comment")
    op.drop_index(op.f("ix_comment_created_at"), table_name="comment")
    op.drop_table("comment")
    op.drop_index(op.f("ix_collected_paper_id"), table_name="collected")
    op.drop_table("collected")
    op.drop_index(op.f("ix_category_name"), table_name="category")
    op.drop_table("category")
    op.drop_index(op.f("ix_author_person_id"), table_name="author")
    op.drop_index(op.f("ix_author_name_key"), table_name="author")
    op.drop_table("author")
    op.drop_index(op.f("ix_paper_title_key"), table_name="paper")
    op.drop_index(op.f("ix_paper_repo_url"), table_name="paper")
    op.drop_index(op.f("ix_paper_published_at"), table_name="paper")
    op.drop_index(op.f("ix_paper_organisation_id"), table_name="paper")
    op.drop_index(op.f("ix_paper_changed_at"), table_name="paper")
    op.drop_table("paper")
    op.drop_index(op.f("ix_collection_person_id"), table_name="collection")
    op.drop_table("collection")
    op.drop_table("topic")
    op.drop_table("star_sample")
    op.drop_table("person")
    op.drop_table("organisation")
    op.drop_table("lease")
    op.drop_table("kept")
    op.drop_index("ix_fetched_source_at", table_name="fetched")
    op.drop_table("fetched")
