"""Mails that a person wants of the site, beside digests: asked for by a button, ended by one click in any of them.

    wish(database, secret, ana, "replies", CONSENT, on=True, ip=…)     # nobody is asked for an address: it is verified
    wanted(database, ana, "replies")

A wish is a subscription of a cadence of its own (schedule.NO_DIGESTS), so that one click ends this kind and no other,
and bounces and complaints end all of them.
"""

from __future__ import annotations

import secrets as random

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from foveal import faults
from foveal.database import Database, add_unless_taken
from foveal.errors import InputError, NotAllowed
from foveal.papers.accounts import Person
from foveal.papers.mail.signing import unsubscribe_token
from foveal.papers.mail.subscriptions import end
from foveal.papers.mail_addresses import canonical
from foveal.papers.people_schema import SubscriptionRow, SuppressedRow
from foveal.papers.secrets import hash_of


def wanted(database: Database, person: Person, cadence: str) -> bool:
    """Whether the person is sent mails of a kind."""
    with database.reading() as session:
        row = session.scalar(_wish_of(person, cadence))
        return row is not None and row.state == "confirmed"


def wish(
    database: Database, secret: bytes, person: Person, cadence: str, consent: str, *, on: bool, ip: str = ""
) -> None:
    """Be sent mails of a kind, or no longer. NotAllowed: the address is not verified, or must not be written to."""
    with database.writing() as session:
        row = session.scalar(_wish_of(person, cadence))
        if not on:
            if row is not None and row.state == "confirmed":
                end(session, row, "unsubscribed")
            return
        _may_be_written_to(session, person)
        if row is None:
            add_unless_taken(session, _new_wish(secret, person, cadence))
            row = session.scalars(_wish_of(person, cadence)).one()
        row.person_id = person.id
        if row.state != "confirmed":
            row.state, row.ended_at, row.soft_bounces = "confirmed", None, 0
            row.consent_at, row.consent_ip, row.consent_text = faults.now(), ip[:45], consent


def _wish_of(person: Person, cadence: str) -> Select[SubscriptionRow]:
    same = SubscriptionRow.address_key == canonical(person.email)
    return select(SubscriptionRow).where(same, SubscriptionRow.cadence == cadence)


def _may_be_written_to(session: Session, person: Person) -> None:
    if person.verified_at is None:
        raise NotAllowed("Mails go to verified addresses: sign in by the link mailed to yours.")
    if session.get(SuppressedRow, canonical(person.email)) is not None:
        raise InputError(
            f"Mail to {person.email} came back, or was complained about, and is not sent any more. Whoever runs this "
            "site can lift that."
        )


def _new_wish(secret: bytes, person: Person, cadence: str) -> SubscriptionRow:
    seed, key = random.token_hex(16), canonical(person.email)
    return SubscriptionRow(
        address=key,
        address_key=key,
        person_id=person.id,
        cadence=cadence,
        seed=seed,
        unsubscribe_hash=hash_of(unsubscribe_token(secret, seed)),
        state="unconfirmed",
    )
