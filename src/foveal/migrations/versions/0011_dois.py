"""Papers by their DOIs: an index, and those of papers that were removed (papers/same_paper.py)."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Write DOIs in lower case, as they are looked up; what is longer than `LONGEST_DOI` is none."""
    op.execute("UPDATE paper SET doi = CASE WHEN length(doi) > 300 THEN '' ELSE lower(doi) END WHERE doi <> ''")
    op.create_index(op.f("ix_paper_doi"), "paper", ["doi"])
    op.add_column("removed_paper", sa.Column("doi", sa.Text(), nullable=False, server_default=""))
    op.create_index(op.f("ix_removed_paper_doi"), "removed_paper", ["doi"])


def downgrade() -> None:
    """Take the column and the indexes away; DOIs stay in lower case."""
    op.drop_index(op.f("ix_removed_paper_doi"), "removed_paper")
    op.drop_column("removed_paper", "doi")
    op.drop_index(op.f("ix_paper_doi"), "paper")
