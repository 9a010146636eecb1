"""What is in a digest: what is wanted, what is new, in turns, nothing twice, and why."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest

from foveal import faults
from foveal.bench.mail_data import composer, papers, subscribe_and_confirm
from foveal.errors import InputError
from foveal.papers.curating import pick
from foveal.papers.mail.digest import Composer, DigestSettings, Entry, reason
from foveal.papers.mail.morning import nobody
from foveal.papers.mail.subscriptions import Preferences, subscriptions
from foveal.papers.paper_filters import parse
from foveal.papers.people_schema import FollowRow, MuteRow, ReadMarkRow
from foveal.papers.periods import Period
from foveal.papers.records import Named
from foveal.papers.schema import PersonRow
from foveal.papers.store import PaperStore
from foveal.papers.upserts import upsert

NOW = datetime(2026, 10, 2, 12, tzinfo=UTC)  # a Friday
DAY = Period.of("day", "2026-10-02")


@pytest.fixture
def site(make_site):
    with faults.injected({}, clock=lambda: NOW):
        yield make_site(1)


def entries(site, preferences=None, *, period=DAY, now=NOW, settings=None, **person):
    made = composer(site.database, now)
    if settings:
        made.settings = settings
    one = replace(nobody(preferences or Preferences()), **person)
    return made.entries(one, period)


def ids(found):
    return [entry.paper_id for entry in found]


def test_without_wishes_it_is_what_trends_in_that_order_and_no_more_than_twelve(site):
    found = entries(site)
    assert ids(found) == [f"2610.{number:05d}" for number in range(12)]
    assert {entry.section for entry in found} == {"Trending"}
    assert found[0] == Entry("2610.00000", "Trending", "no. 1 of what trends · 200 votes · listed Oct 2")
    assert found[3].why == "no. 4 of what trends · 197 votes · 30 stars · listed Oct 1"


def test_what_curators_chose_comes_before_what_trends(site):
    late, lone = "2610.00013", "2610.00014"  # neither is among the twelve that trend
    pick(site.database, late, DAY.first)
    pick(site.database, lone, DAY.first - timedelta(days=1))
    pick(site.database, "2610.00001", DAY.first - timedelta(days=9))  # too long ago
    pick(site.database, "2610.00002", DAY.first + timedelta(days=1))  # of tomorrow's page
    upsert(site.database, [replace(next(one for one in papers(NOW) if one.id == lone), withdrawn=True)])
    found = entries(site)
    assert [(one.paper_id, one.section) for one in found[:2]] == [
        *((late, "Chosen by a curator"), ("2610.00000", "Trending")),
    ]
    assert len(set(ids(found))) == 12
    assert {one.section for one in entries(site, Preferences(topics=("retrieval",)))} == {"Retrieval"}


def test_what_is_chosen_for_a_day_is_in_the_mail_of_its_first_minute(site):
    """Eight in Shanghai is midnight in UTC, when nothing else has put the day's picks on their page."""
    wanted = Preferences(hour=8, zone="Asia/Shanghai")
    subscribe_and_confirm(site.database, site.secret, "ana@example.org", wanted)
    pick(site.database, "2610.00013", date(2026, 10, 5))
    with faults.injected({}, clock=lambda: datetime(2026, 10, 5, 0, 0, 5, tzinfo=UTC)):
        site.tick(everybody=False)
    (raw,) = (one.raw for one in site.server.taken if one.recipient == "ana@example.org")
    assert b"Chosen by a curator" in raw


def test_topics_and_search_take_turns_and_a_paper_stands_once(site):
    wanted = Preferences(topics=("long-context", "retrieval"), query="passage")
    found = entries(site, wanted)
    assert [entry.section for entry in found] == ["Long context"] * 4 + ["Retrieval"] * 4 + ["Your search: passage"] * 4
    assert len(set(ids(found))) == 12
    assert ids(found)[:4] == ["2610.00000", "2610.00003", "2610.00006", "2610.00009"]  # all fit all three: in turns


def test_old_papers_that_do_not_trend_are_no_news_and_old_ones_that_do_are(site):
    later = NOW + timedelta(days=10)
    found = entries(site, now=later)
    assert ids(found) == [f"2610.{number:05d}" for number in range(12)]  # the first dozen of what trends
    assert ids(entries(site, now=later, settings=DigestSettings(most=5))) == [f"2610.{n:05d}" for n in range(5)]
    with_new = replace(papers(later)[0], id="2610.10000", title="Brand new", votes=0, listed_on=later.date())
    upsert(site.database, [with_new])
    found = entries(site, now=later, settings=DigestSettings(most=16))
    assert "2610.10000" in ids(found)


def test_withdrawn_papers_are_left_out(site):
    upsert(site.database, [replace(papers(NOW)[0], withdrawn=True)])
    assert "2610.00000" not in ids(entries(site))


def test_what_was_sent_does_not_come_again_for_thirty_days(site):
    [one] = subscriptions(site.database)
    assert site.tick().sent == 1
    sent = set(ids(composer_of(site, NOW).entries(one, DAY)))
    assert len(sent) <= 3  # of 15 papers, 12 were sent
    with faults.injected({}, clock=lambda: NOW + timedelta(days=31)):
        again = composer_of(site, NOW + timedelta(days=31)).entries(one, DAY)
    assert len(again) == 12


def composer_of(site, now):
    return composer(site.database, now)


def test_nothing_new_is_no_entry(site):
    empty = Composer(site.database, trending=lambda *_: (), search=lambda *_: (), now=NOW)
    assert empty.entries(nobody(Preferences(query="x")), DAY) == ()


def test_follows_are_sections_mutes_and_read_marks_are_kept(site):
    with site.database.writing() as session:
        session.add(PersonRow(id=7, login="ana", email="ana@example.org"))
        session.flush()
        for minute, (kind, value) in enumerate(
            [("author", "Ivo Novak"), ("organisation", "Example Lab"), ("category", "cs.*"), ("topic", "gone")]
        ):
            when = NOW + timedelta(minutes=minute)
            session.add(FollowRow(person_id=7, kind=kind, value=value, created_at=when))
        session.add_all([MuteRow(person_id=7, words="passage 4"), MuteRow(person_id=7, words="passage 1")])
        session.add(ReadMarkRow(person_id=7, paper_id="2610.00005"))
    found = entries(site, person_id=7)
    sections = list(dict.fromkeys(entry.section for entry in found))
    assert sections == ["You follow Ivo Novak", "From Example Lab", "Subject cs.*", "Trending"]
    assert ids(found)[:2] == ["2610.00009", "2610.00014"]  # four authors each; 2610.00004 holds the muted words
    assert not {"2610.00001", "2610.00004"} & set(ids(found))
    assert {"2610.00010", "2610.00014"} <= set(ids(found))  # words are muted whole, as on the pages
    assert "2610.00005" not in ids(found)


def test_what_is_followed_counts_where_it_does_not_trend(site):
    """On a busy day the papers that trend are the newest few hundred: whom one follows may not be among them."""
    rare = replace(papers(NOW)[0], id="2610.20000", title="Rare", votes=0, authors=(Named(name="Rára Avis"),))
    listed = [replace(rare, listed_on=DAY.first), replace(rare, id="2610.20001", listed_on=date(2026, 9, 20))]
    gone = replace(rare, id="2610.20002", title="Gone", withdrawn=True, listed_on=DAY.first)
    upsert(site.database, [*listed, gone])
    with site.database.writing() as session:
        session.add(PersonRow(id=7, login="ana", email="ana@example.org"))
        session.flush()
        session.add(FollowRow(person_id=7, kind="author", value="rara-avis", created_at=NOW))
        session.add(FollowRow(person_id=7, kind="author", value="nobody-here", created_at=NOW))
    made = Composer(site.database, trending=lambda *_: (), search=lambda *_: (), now=NOW)
    found = made.entries(replace(nobody(Preferences()), person_id=7), DAY)
    assert [(one.paper_id, one.section) for one in found] == [("2610.20000", "You follow Rára Avis")]
    week = made.entries(replace(nobody(Preferences(cadence="weekly")), person_id=7), Period.of("week", "2026-W39"))
    assert ids(week) == ["2610.20000"]  # 20 September is more than a week ago
    month = made.entries(replace(nobody(Preferences(cadence="monthly")), person_id=7), Period.of("month", "2026-09"))
    assert ids(month) == ["2610.20000", "2610.20001"]


def test_who_signs_in_after_subscribing_is_the_same_reader(site):
    """Most subscribe before they have an account: what they then follow, mute and read counts all the same."""
    [one] = subscriptions(site.database)
    assert one.person_id is None
    with site.database.writing() as session:
        session.add(PersonRow(id=7, login="ana", email=one.address))
        session.flush()
        session.add(FollowRow(person_id=7, kind="author", value="ivo-novak", created_at=NOW))
        session.add(MuteRow(person_id=7, words="passage 4"))
        session.add(ReadMarkRow(person_id=7, paper_id="2610.00009"))
    made = composer(site.database, NOW)
    assert not any(entry.section.startswith("You follow") for entry in made.entries(one, DAY))  # who is that?
    with site.database.writing() as session:
        session.get_one(PersonRow, 7).verified_at = NOW
    found = made.entries(one, DAY)
    assert [entry.paper_id for entry in found if entry.section == "You follow Ivo Novak"] == ["2610.00014"]
    assert not {"2610.00004", "2610.00009"} & set(ids(found))


def test_a_search_that_cannot_be_asked_stops_nobody_elses_digest(site):
    def search(query, _):
        parse(query)
        return PaperStore(site.database).page(limit=2).papers

    with pytest.raises(InputError, match="year:"):
        nobody(Preferences(query="year:soon attention"))
    kept = replace(nobody(Preferences()), preferences=Preferences(query="year:soon"))  # from before it was refused
    made = Composer(site.database, trending=lambda *_: (), search=search, now=NOW)
    assert made.entries(kept, DAY) == ()
    assert len(made.entries(nobody(Preferences(query="attention")), DAY)) == 2


def test_a_search_may_find_what_does_not_trend(site):
    everything = PaperStore(site.database).page(limit=50).papers
    made = Composer(
        site.database,
        trending=lambda *_: everything[:3],
        search=lambda *_: [everything[9], everything[1]],
        now=NOW,
    )
    found = made.entries(nobody(Preferences(query="x")), DAY)
    assert ids(found) == [everything[1].id, everything[9].id]
    assert found[1].why.startswith("191 votes")


def test_a_search_is_believed_for_a_twentieth_of_the_papers(site):
    asked = []

    def search(_, k):
        asked.append(k)
        return []

    for count in (15, 300):
        upsert(site.database, papers(NOW, count=count))
        made = Composer(site.database, trending=lambda *_: (), search=search, now=NOW)
        made.entries(nobody(Preferences(query="x")), DAY)
    made = Composer(
        site.database, trending=lambda *_: (), search=search, now=NOW, settings=DigestSettings(searched_share=1.0)
    )
    made.entries(nobody(Preferences(query="x")), DAY)
    assert asked == [12, 15, 200]


def test_reasons_count_in_words(site):
    paper = replace(PaperStore(site.database).get("2610.00001"), votes_elsewhere=1, comments_elsewhere=2)
    assert reason(paper, None, date(2027, 1, 1)) == "1 vote · 2 comments · listed Oct 1, 2026"
    assert reason(replace(paper, votes_elsewhere=0, comments_elsewhere=0, listings=()), 3, NOW.date()) == (
        "no. 3 of what trends"
    )


def test_settings_are_checked():
    with pytest.raises(InputError, match="as many candidates"):
        DigestSettings(most=20, candidates=10)
