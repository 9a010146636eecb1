"""The rows of `foveal bench mail` at a small size; chaos is in tests/papers/mail/test_mail_kills.py."""

from __future__ import annotations

import random

import pytest

from foveal.bench import mail as bench
from foveal.bench.mail_keys import rsa_key
from foveal.bench.mail_server import Taken
from foveal.bench.settings import BenchSettings


@pytest.fixture(scope="module")
def key():
    return rsa_key(2048, random.Random(7))


@pytest.fixture
def settings(tmp_path):
    return BenchSettings(data=tmp_path, cache=tmp_path, quick=True)


def by_name(rows):
    return {(row.system, row.metric): row for row in rows}


def test_an_undisturbed_run_and_its_messages(settings, key, monkeypatch):
    monkeypatch.setattr(bench, "QUICK", 6)
    rows = by_name(bench.clean_rows(settings, key))
    assert rows["undisturbed", "share that got exactly one"].ok
    assert rows["undisturbed", "seconds for 1,000"].bar == "≤ 60"
    of_messages = [row for (system, _), row in rows.items() if system == "messages"]
    assert len(of_messages) == 5
    assert all(row.ok for row in of_messages)


def test_a_message_that_was_changed_on_its_way_is_seen(settings, key, monkeypatch):
    monkeypatch.setattr(bench, "QUICK", 2)
    with bench._site(1, key, seed=0) as (home, database, _, server):
        outbox = bench.outbox_of(bench.Settings.load(home, environment={}), database)
        bench.tick(outbox, lambda: bench.composer(database, bench.faults.now()), everybody=True)
        [one] = server.taken
        folded = one.raw.replace(b">, <mailto", b">,\r\n <mailto").replace(b"Where to Look", b"Where to Buy")
        changed = [Taken(one.sender, one.recipient, folded, one.at)]
        rows = by_name(bench.message_rows(changed, database, key))
    assert rows["messages", "share whose headers survive a round trip"].ok is False
    assert rows["messages", "share that DKIM verifies"].ok is False
    assert rows["messages", "share whose text names every paper"].ok is False


def test_links(settings):
    rows = by_name(bench.link_rows(settings))
    assert len(rows) == 3
    assert all(row.ok for row in rows.values())
