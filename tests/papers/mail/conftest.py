"""A home with papers and a mail server of its own; one key for all tests."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from foveal import faults
from foveal.bench.mail_data import composer, make_home
from foveal.bench.mail_keys import RsaKey, rsa_key
from foveal.bench.mail_server import MailServer
from foveal.database import Database
from foveal.papers.mail.morning import outbox_of, tick
from foveal.papers.mail.outbox import Outbox, Report
from foveal.papers.people_schema import DeliveryRow, MailDayRow, SubscriptionRow
from foveal.settings import Settings


@pytest.fixture(scope="session")
def key() -> RsaKey:
    """A key that is found quickly."""
    return rsa_key(2048, random.Random(7))


@dataclass
class Site:
    """A home, its database, the server that its mail goes to."""

    home: Path
    database: Database
    secret: bytes
    server: MailServer

    @property
    def settings(self) -> Settings:
        return Settings.load(self.home, environment={})

    def outbox(self, **changes: Any) -> Outbox:
        return replace(outbox_of(self.settings, self.database), patience_s=(0.05,), **changes)

    def tick(self, outbox: Outbox | None = None, **changes: Any) -> Report:
        """Queue and send what is due to everybody."""
        given = {"everybody": True, **changes}
        return tick(outbox or self.outbox(), lambda: composer(self.database, faults.now()), **given)


def rows(database: Database) -> dict[str, DeliveryRow]:
    """The messages, by address, where each was to get one."""
    wanted = select(SubscriptionRow.address, DeliveryRow).join(
        DeliveryRow, DeliveryRow.subscription_id == SubscriptionRow.id
    )
    with database.reading() as session:
        return {row[0]: row[1] for row in session.execute(wanted)}


def told(database: Database, state: str) -> int:
    """Messages of a state in the day's count."""
    with database.reading() as session:
        return session.scalar(select(func.sum(MailDayRow.messages)).where(MailDayRow.state == state)) or 0


@pytest.fixture
def make_site(tmp_path: Path) -> Iterator[Callable[..., Site]]:
    """Makes sites with so many subscribers; `server` are the server's faults, the rest goes to `make_home`."""
    with ExitStack() as stack:

        def make(subscribers: int = 0, server: dict[str, Any] | None = None, **options: Any) -> Site:
            running = stack.enter_context(MailServer(**(server or {})))
            home = tmp_path / "home"
            database, secret = make_home(home, running.port, subscribers=subscribers, **options)
            stack.callback(database.close)
            return Site(home, database, secret, running)

        yield make
