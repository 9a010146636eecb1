"""The same on PostgreSQL: subscribing, sending once, leaving, limits, the lease."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from postgres import emptied

from foveal import faults
from foveal.bench.mail_data import composer
from foveal.errors import TooMany
from foveal.papers import lease
from foveal.papers.mail.delivery import LEASE, counts
from foveal.papers.mail.links import Links
from foveal.papers.mail.planning import plan
from foveal.papers.mail.signing import unsubscribe_token
from foveal.papers.mail.subscriptions import Preferences, forget_unconfirmed, subscribe, subscriptions, unsubscribe


def test_two_planners_at_once_make_one_run(make_site, postgres):
    """Two sites, or a site and `digest send`, at the first look of a day."""
    site = make_site(5, database=emptied(postgres))
    together = Barrier(4)

    def look(_):
        made, outbox = composer(site.database, faults.now()), site.outbox()
        together.wait(10)
        return plan(outbox, made, now=faults.now(), everybody=True).planned

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(look, range(4))) == 5
    [found] = counts(site.database).values()
    assert found == {"queued": 5}


def test_a_run_on_postgresql(make_site, postgres):
    site = make_site(
        4, database=emptied(postgres), server={"fault": lambda who, _: "never" if "reader3" in who else ""}
    )
    first = subscriptions(site.database)[0]

    def leave(report):
        if report.sent == 1:
            unsubscribe(site.database, unsubscribe_token(site.secret, subscriptions(site.database)[2].seed))

    report = site.tick(on_sent=leave)
    assert (report.sent, report.suppressed, report.failed) == (2, 1, 1)
    assert site.tick().sent == 0
    [found] = counts(site.database).values()
    assert found == {"sent": 2, "suppressed": 1, "failed": 1}
    assert [one.recipient for one in site.server.taken] == ["reader0@example.org", "reader1@example.org"]
    assert unsubscribe(site.database, unsubscribe_token(site.secret, first.seed)).state == "unsubscribed"
    with site.database.writing() as session:
        assert lease.take(session, LEASE, "elsewhere/1/a", seconds=60)
        assert not lease.take(session, LEASE, lease.new_holder(), seconds=60)

    def ask(number):
        known = {"links": Links("https://papers.example.org"), "deliver": lambda *_: None, "ip": "192.0.2.3"}
        subscribe(site.database, site.secret, f"new{number}@example.org", Preferences(), **known)

    for number in range(20):
        ask(number)
    with pytest.raises(TooMany):
        ask(20)
    assert forget_unconfirmed(site.database) == 0
