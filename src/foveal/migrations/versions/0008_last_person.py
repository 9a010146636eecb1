"""The last number of people, too (database.py), in place of a look at the audit for each new one."""

import re
from collections.abc import Iterator

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

GONE = re.compile(r"(?:person:)?deleted-([0-9]{1,9})")
"""Somebody deleted, as actor or target of a line of the audit."""

ASKED = re.compile(r'"whose job": "person ([0-9]{1,9})"')
"""Who asked for a job: jobs outlive people."""


def upgrade() -> None:
    """Note the last number; on a server the sequence, which rows copied in by hand may have left behind, goes on."""
    connection = op.get_bind()
    last = max(_numbers(connection))
    if connection.dialect.name == "sqlite":
        op.execute(f"INSERT INTO last_number VALUES ('person', {last})")
    elif last:
        sequence = "SELECT CAST(pg_get_serial_sequence('person', 'id') AS regclass) AS name"
        op.execute(
            f"SELECT CASE WHEN nextval(name) < {last} THEN setval(name, {last}) END FROM ({sequence}) AS sequence"
        )


def downgrade() -> None:
    """Forget it."""
    op.execute("DELETE FROM last_number WHERE name = 'person'")


def _numbers(connection: sa.Connection) -> Iterator[int]:
    """Numbers that people have, or had as far as anything tells; 0, too."""
    columns, there = [("person", "id")], sa.inspect(connection)
    for table in there.get_table_names():  # SQLite lets rows be whose person was deleted by hand
        keys = [key for key in there.get_foreign_keys(table) if key["referred_table"] == "person"]
        columns += [(table, key["constrained_columns"][0]) for key in keys]
    for table, column in columns:
        rows = sa.table(table, sa.column(column, sa.Integer))
        yield connection.scalar(sa.select(sa.func.max(rows.c[column]))) or 0
    audit = sa.table("audit", sa.column("actor"), sa.column("target"))
    for line in connection.execute(sa.select(audit.c.actor, audit.c.target)):
        yield from (int(found[1]) for words in line if (found := GONE.fullmatch(words)))
    job = sa.table("web_job", sa.column("asked"))
    for asked in connection.scalars(sa.select(job.c.asked)):
        yield from (int(number) for number in ASKED.findall(asked))
