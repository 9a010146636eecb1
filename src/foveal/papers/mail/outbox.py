"""What sending needs and tells: the outbox, a report, a message that waits, and the message as it is sent."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from pathlib import Path

from foveal import faults
from foveal.database import Database
from foveal.papers import lease
from foveal.papers.mail.digest import Entry
from foveal.papers.mail.links import Links
from foveal.papers.mail.message import Headline, digest_of, whole
from foveal.papers.mail.settings import MailSettings
from foveal.papers.mail.signing import Dkim, unsubscribe_token
from foveal.papers.mail.subscriptions import Subscription
from foveal.papers.periods import Period
from foveal.papers.store import Paper


@dataclass(frozen=True, kw_only=True)
class Outbox:
    """What a sender needs; made anew for each sender, since it bears the sender's name."""

    database: Database
    home: Path
    mail: MailSettings
    secret: bytes
    dkim: Dkim | None = None
    headline: Headline | None = None
    patience_s: tuple[float, ...] = (1, 2, 4, 8)  # waits before a server that is away is asked again
    stop: threading.Event = field(default_factory=threading.Event)
    holder: str = field(default_factory=lease.new_holder)

    @property
    def links(self) -> Links:
        """The site's addresses."""
        return Links(self.mail.url)


@dataclass
class Report:
    """What a sender did; `stopped` says why it did not go on."""

    planned: int = 0
    empty: int = 0
    sent: int = 0
    later: int = 0
    failed: int = 0
    suppressed: int = 0
    unknown: int = 0
    stopped: str = ""


@dataclass(frozen=True)
class Waiting:
    """A delivery that is due, with all that its message is made of."""

    id: int
    message_id: str
    subscription: Subscription
    cadence: str
    period: Period | None  # None: about an answer
    entries: tuple[Entry, ...]
    about: str = ""  # of an answer: its number


def message_of(outbox: Outbox, one: Waiting, papers: dict[str, Paper]) -> bytes | None:
    """The digest as it is sent, None where all its papers are gone."""
    assert one.period is not None
    digest = digest_of(
        papers, one.entries, one.period, cadence=one.cadence, links=outbox.links, headline=outbox.headline
    )
    if not digest.papers:
        return None
    return whole(
        digest,
        to=one.subscription.address,
        mail=outbox.mail,
        links=outbox.links,
        token=unsubscribe_token(outbox.secret, one.subscription.seed),
        message_id=one.message_id,
        date=faults.now(),
    )
