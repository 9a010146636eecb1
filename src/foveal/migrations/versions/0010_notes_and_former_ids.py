"""Notes of collections that are reported and hidden (papers/notes.py), and the ids that papers had before."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"

COLUMNS = ("note_changed_at", "note_hidden_at")


def upgrade() -> None:
    """Add the columns and the table."""
    for name in COLUMNS:
        op.add_column("collected", sa.Column(name, sa.DateTime(timezone=True), nullable=True))
    op.execute(  # alembic adds no foreign key to a table of SQLite; SQL does, where it is of one column
        "ALTER TABLE complaint ADD COLUMN collection_id INTEGER "
        "CONSTRAINT fk_complaint_collection_id_collection REFERENCES collection (id) ON DELETE CASCADE"
    )
    op.create_index(op.f("ix_complaint_collection_id"), "complaint", ["collection_id"])
    op.create_table(
        "former_id",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("paper_id", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_former_id")),
    )
    op.create_index(op.f("ix_former_id_paper_id"), "former_id", ["paper_id"])


def downgrade() -> None:
    """Take them away, and with them what an earlier Foveal would get wrong.

    Reports of notes: it would take them for reports of papers. Hidden notes: it would show them.
    """
    op.drop_table("former_id")
    op.execute("UPDATE collected SET note = '' WHERE note_hidden_at IS NOT NULL")
    op.execute("DELETE FROM complaint WHERE collection_id IS NOT NULL")
    op.drop_index(op.f("ix_complaint_collection_id"), "complaint")
    with op.batch_alter_table("complaint") as table:
        table.drop_column("collection_id")
    for name in COLUMNS:
        op.drop_column("collected", name)
