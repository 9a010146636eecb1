"""The plain loop beside which bench `mail` is held: python -m foveal.bench.mail_naive HOME DONE.

It sends to whom DONE does not name, and then names them there; who is refused for good is named, too, and any other
trouble is tried again at the next start. Messages, signature and connection are those of the real sender.
"""

from __future__ import annotations

import sys
from pathlib import Path

from foveal import faults
from foveal.bench.mail_data import composer
from foveal.database import Database
from foveal.papers.mail import schedule
from foveal.papers.mail.morning import outbox_of, preview
from foveal.papers.mail.smtp import Gone, Refused, Server, opened
from foveal.papers.mail.subscriptions import subscriptions
from foveal.settings import Settings


def main(home: Path, done: Path) -> None:
    """Send to everybody who is not done."""
    settings = Settings.load(home)
    database = Database.open(settings)
    outbox = outbox_of(settings, database)
    made = composer(database, faults.now())
    finished = set(done.read_text().splitlines()) if done.exists() else set()
    server: Server | None = None
    for one in subscriptions(database, state="confirmed"):
        if one.address in finished:
            continue
        raw = preview(outbox, made, one, schedule.current("daily", faults.now().date()))
        try:
            server = server or opened(outbox.mail, home)
            server.begin(outbox.mail.return_address, one.address)
            server.finish(raw or b"")
        except Refused as refused:
            if refused.code < 500:
                continue
        except Gone:
            server = None
            continue
        with done.open("a") as file:
            file.write(one.address + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
