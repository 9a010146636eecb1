"""What is worked out from all papers and kept in the database: written here, for rising topics and what is foretold.

keep(database, "rising topics", made_of=state, made_at=moment, value=json.dumps(topics))     # in the place of the last
"""

from __future__ import annotations

from datetime import datetime

from foveal.database import Database, add_unless_taken
from foveal.papers.schema import KeptRow


def keep(database: Database, name: str, *, made_of: str, made_at: datetime, value: str) -> None:
    """Keep a value, JSON, and what it was made of; of two processes at once the later one's stays."""
    with database.writing() as session:
        if session.get(KeptRow, name) is None:
            add_unless_taken(session, KeptRow(name=name))
        row = session.get_one(KeptRow, name)
        row.made_of, row.made_at, row.value = made_of, made_at, value
