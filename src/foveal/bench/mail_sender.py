"""A sender of the bench `mail`, a process of its own that can be killed: python -m foveal.bench.mail_sender HOME.

It does what `foveal digest send --now` does, with papers by votes (mail_data.py); the report is a line of JSON.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, replace
from pathlib import Path

from foveal import faults
from foveal.bench.mail_data import composer
from foveal.database import Database
from foveal.papers.mail.morning import outbox_of, tick
from foveal.settings import Settings

PATIENCE_S = (0.1, 0.2, 0.5, 1.0, 2.0)


def main(home: Path) -> None:
    """Send what is due to everybody."""
    settings = Settings.load(home)
    database = Database.open(settings)
    outbox = replace(outbox_of(settings, database), patience_s=PATIENCE_S)
    report = tick(outbox, lambda: composer(database, faults.now()), everybody=True)
    sys.stdout.write(json.dumps(asdict(report)) + "\n")
    database.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
