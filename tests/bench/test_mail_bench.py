"""The rows of `foveal bench mail` at a small size; chaos is in tests/papers/mail/test_mail_kills.py."""

from __future__ import annotations

import random

import pytest

from foveal.bench import mail as bench
from foveal.bench import mail_site as site_bench
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


@pytest.mark.slow
def test_a_site_of_its_own_bears_all_of_it(settings, monkeypatch):
    monkeypatch.setattr(site_bench, "QUICK_VOTES", 70)
    rows = by_name(site_bench.site_rows(settings))
    assert len(rows) == 15
    assert {name: row.note for name, row in rows.items() if not row.ok} == {}
    assert "; none changed" in rows["a scanner of mail", "tables changed by opening every link"].note


@pytest.mark.parametrize("words", [one for one in site_bench.HOSTILE if "$" not in one])
def test_what_is_live_in_a_page_is_seen(words):
    shown = words.replace("[a](javascript:alert(1))", "<a href=' JavaScript:alert(1)'>a</a>")
    shown = shown.replace("![a](data:image/svg+xml,", "<img src='data:image/svg+xml,'>")
    assert site_bench.live(f"<body><p>{shown}</p></body>")
    assert (
        site_bench.live("<body><svg><path d='M0'/></svg><script src='/static/x.js'></script><a href='/x'>x</a>") == []
    )


@pytest.mark.slow
def test_a_row_fails_where_a_request_of_ours_passes_for_a_forged_one(settings, monkeypatch):
    with site_bench._running(0) as site, site_bench._browser(site) as ana:
        monkeypatch.setattr(site_bench, "FORMS", {"/subscribe": {"email": "eve@example.org"}})
        monkeypatch.setattr(site_bench, "forgeries", lambda ours, _: (({}, ours),))
        rows = by_name(site_bench.thief_rows(site, ana))
    assert [row.ok for row in rows.values()] == [False, False]
