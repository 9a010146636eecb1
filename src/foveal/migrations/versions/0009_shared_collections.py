"""Collections that others may add to: whether one is open, and who put each paper there."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"

OWNER = (  # SQLite lets rows be whose person was deleted by hand
    "SELECT person.id FROM collection JOIN person ON person.id = collection.person_id "
    "WHERE collection.id = collected.collection_id"
)


def upgrade() -> None:
    """Add the columns; what lies in a list so far its owner put there."""
    op.add_column("collection", sa.Column("open", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.execute(  # alembic adds no foreign key to a table of SQLite; SQL does, where it is of one column
        "ALTER TABLE collected ADD COLUMN person_id INTEGER "
        "CONSTRAINT fk_collected_person_id_person REFERENCES person (id) ON DELETE SET NULL"
    )
    op.create_index(op.f("ix_collected_person_id"), "collected", ["person_id"])
    op.execute(f"UPDATE collected SET person_id = ({OWNER})")


def downgrade() -> None:
    """Take them away."""
    op.drop_index(op.f("ix_collected_person_id"), "collected")
    with op.batch_alter_table("collected") as table:
        table.drop_column("person_id")
    op.drop_column("collection", "open")  # in place: a new table in the place of this one would empty `collected`
