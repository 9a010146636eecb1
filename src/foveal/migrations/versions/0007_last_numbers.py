"""The last numbers of collections, remarks and watched questions (database.py): none is given again."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Make the table; what is there has the numbers up to its largest."""
    op.create_table(
        "last_number",
        sa.Column("name", sa.String(length=40), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_last_number")),
    )
    if op.get_bind().dialect.name == "sqlite":
        for table in ("collection", "comment", "research_watch"):
            op.execute(f"INSERT INTO last_number SELECT '{table}', coalesce(max(id), 0) FROM {table}")


def downgrade() -> None:
    """Drop it."""
    op.drop_table("last_number")
