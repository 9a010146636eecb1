"""Mails about watched questions: what changed in a report, and nothing else, by the digest's own machine.

    wish(database, secret, ana, on=True)                 # by a button of the site; or `ask_for_changes`, by a link
    queue_change(outbox, "ana@example.org", change.to_row(), run=key, now=…)
    change_of(outbox, waiting)                           # the message

What a message says is written down when it is queued (mail_note): plain values, as `research.watching.Change.to_row`
gives them. It goes to an address whose owner asked for such mails and has not left; to nobody else.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import delete, select

from foveal.database import Database
from foveal.papers.accounts import Person
from foveal.papers.mail import wishes
from foveal.papers.mail.links import Links
from foveal.papers.mail.message import SITE, listed, web_address
from foveal.papers.mail.outbox import Outbox, Waiting
from foveal.papers.mail.schedule import CHANGES
from foveal.papers.mail.signing import message_id, unsubscribe_token
from foveal.papers.mail.subscriptions import CONSENT_CHANGES, Preferences, subscribe
from foveal.papers.mail_addresses import canonical
from foveal.papers.people_schema import DeliveryRow, DigestRunRow, NoteRow, SubscriptionRow
from foveal.papers.plain_titles import clipped, one_line

MOST = 12
"""Claims of a kind, and sources, that a mail shows."""

LONGEST = 400
"""Characters of a claim or quote in a mail."""

WHY = {
    "number": "The number is another one now.",
    "denial": "It is said not to be so now.",
    "verdict": "What is cited does not bear it out any more, or does so now.",
    "source": "A new source says otherwise.",
}


def wish(database: Database, secret: bytes, person: Person, *, on: bool, ip: str = "") -> None:
    """Be mailed about watched questions, or no longer. NotAllowed: the address is not verified."""
    wishes.wish(database, secret, person, CHANGES, CONSENT_CHANGES, on=on, ip=ip)


def ask_for_changes(
    database: Database, secret: bytes, address: str, *, deliver: Callable[[str, str, str], None], links: Links
) -> str:
    """Ask an address whether it wants such mails; nothing is sent before its owner confirms. InputError: no address."""
    wanted = Preferences(cadence=CHANGES)
    return subscribe(database, secret, address, wanted, deliver=deliver, links=links, kinds=(CHANGES,))


def queue_change(
    outbox: Outbox, address: str, change: Mapping[str, Any], *, run: str = "", look: str = "", now: datetime
) -> bool:
    """Queue the mail about a change; False: the address is nobody's who wants such mails. `run`: a page to link.

    `look` names the look that found it: one that was killed and is done again writes no second mail.
    """
    with outbox.database.writing() as session:
        same = SubscriptionRow.address_key == canonical(address)
        confirmed = (SubscriptionRow.cadence == CHANGES) & (SubscriptionRow.state == "confirmed")
        wished = session.scalar(select(SubscriptionRow).where(same, confirmed))
        if wished is None:
            return False
        written = session.scalars(select(NoteRow.content).where(NoteRow.subscription_id == wished.id))
        if look and any(json.loads(one).get("look") == look for one in written):
            return True
        content = json.dumps({**change, "run": run, "look": look}, ensure_ascii=False)
        note = NoteRow(subscription_id=wished.id, content=content, created_at=now)
        session.add(note)
        session.flush()
        # SQLite gives the number of a note that went with its subscription once more; the run of that one is still here
        stale = delete(DigestRunRow).where(DigestRunRow.cadence == CHANGES, DigestRunRow.period == str(note.id))
        session.execute(stale)
        made = DigestRunRow(cadence=CHANGES, period=str(note.id), created_at=now)
        session.add(made)
        session.flush()
        name = message_id(outbox.secret, f"{CHANGES}/{note.id}", wished.seed, outbox.mail.domain)
        session.add(DeliveryRow(run_id=made.id, subscription_id=wished.id, state="queued", message_id=name, due_at=now))
        return True


def change_of(outbox: Outbox, one: Waiting) -> bytes | None:
    """The message about a change; None where what it says is gone."""
    with outbox.database.reading() as session:
        note = session.get(NoteRow, int(one.about))
    if note is None:
        return None
    content = json.loads(note.content)
    question, to = one_line(content["question"]), one.subscription.address
    token = unsubscribe_token(outbox.secret, one.subscription.seed)
    words = {
        "why": f"You get this because {to} watches this question on {SITE} and wants to hear what changes.",
        "ways": (("Send no more of these", outbox.links.unsubscribe(token)),),
        "question": question,
        "counted": one_line(content["counted"]),
        "flipped": [_flip(each) for each in content["flipped"][:MOST]],
        "new": _claims(content["new"]),
        "gone": _claims(content["gone"]),
        "sources": _claims(content["sources"]),
        "page": outbox.links.run(content["run"]) if content["run"] else "",
    }
    return listed(
        "change",
        words,
        subject=f"{one_line(content['counted']).capitalize()}: {clipped(question, 80)}",
        to=to,
        mail=outbox.mail,
        links=outbox.links,
        token=token,
        message_id=one.message_id,
        date=note.created_at,
    )


def _flip(row: Mapping[str, Any]) -> dict[str, Any]:
    return {"before": _claim(row["before"]), "after": _claim(row["after"]), "why": WHY.get(row["why"], "")}


def _claims(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    return [_claim(row) for row in rows[:MOST]]


def _claim(row: Mapping[str, Any]) -> dict[str, str]:
    """A claim as plain lines."""
    quote = clipped(one_line(row["quote"]), LONGEST)
    about = " · ".join(part for part in (clipped(one_line(row["source"]), 160), one_line(row["date"])) if part)
    return {
        "text": clipped(one_line(row["text"]), LONGEST),
        "said": one_line(row["said"]),
        "quote": quote,
        "about": about,
        "url": web_address(row["url"]),
    }
