"""Orders of papers: each formula against its plain definition, and what must hold of all of them."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import delete

from foveal.errors import InputError, UnknownName
from foveal.papers.ranking import RANKINGS, Signals, explain, ranking, wilson
from foveal.papers.records import Linked, PaperRecord
from foveal.papers.schema import (
    CollectedRow,
    CollectionRow,
    CommentRow,
    ListingRow,
    PaperRow,
    PersonRow,
    StarSampleRow,
    VoteRow,
)
from foveal.papers.signals import NEW, read_signals, within
from foveal.papers.store import MOST
from foveal.papers.taste import TagClassifier, tastes
from foveal.papers.trending import candidates, ordered, page_of, ranked, trending
from foveal.papers.upserts import upsert

DAY = 86_400
NOW = datetime(2026, 10, 9, 12, tzinfo=UTC)
COUNTS = st.integers(0, 10**6)
FEW = st.integers(0, 60)
TIMES = st.floats(-1e9, 5e9)
SIGNALS = st.builds(
    Signals,
    now=TIMES,
    listed_at=TIMES,
    votes=FEW | COUNTS,
    votes_against=FEW,
    votes_7d=st.floats(0, 1e6),
    comments=FEW | COUNTS,
    comments_7d=COUNTS,
    comment_scores=st.lists(st.integers(-5, 50), max_size=5).map(tuple),
    stars=st.none() | COUNTS,
    stars_7d_ago=st.none() | COUNTS,
    has_url=st.booleans(),
    lightweight=st.booleans(),
    by_author=st.booleans(),
    tag_modifiers=st.lists(st.floats(-3, 3), max_size=3).map(tuple),
    models=FEW,
    downloads_7d=COUNTS,
    downloads_growth_7d=st.integers(-(10**6), 10**6),
    taste=st.floats(-500, 500),
)


# -- the formulas as the literature writes them, for papers whose dates lie in the past --------------------------------


def hacker_news(s):
    p, minutes = s.votes - s.votes_against + 1, (s.now - s.listed_at) / 60
    score = ((p - 1) ** 0.8 if p > 1 else p - 1) / ((minutes + 120) / 60) ** 1.8
    score *= (1 if s.has_url else 0.4) * (0.3 if s.lightweight else 1)
    return score * min(1, (p / s.comments) ** 2) if s.comments > 20 else score


def reddit(s):
    net = s.votes - s.votes_against
    sign = 1 if net > 0 else -1 if net < 0 else 0
    return round(sign * math.log(max(abs(net), 1), 10) + (s.listed_at - 1134028003) / 45000, 7)


def lobsters(s):
    score = s.votes - s.votes_against
    sign = 1 if score > 0 else -1 if score < 0 else 0
    c = min(score, 0.5 * sum(one + 1 for one in s.comment_scores))
    base = sum(s.tag_modifiers) + (0.25 if s.by_author else 0)
    hotness = -(sign * math.log10(max(abs(score + 1) + c, 1)) + base + s.listed_at / 79200)
    return -hotness  # there the lowest stands first


def lamer(s):
    age = s.now - s.listed_at
    return -age if age > 30 * DAY else (s.votes - s.votes_against) * 10**6 / (age + 28800) ** 1.1


def foveal(s):
    stars = 0 if s.stars is None or s.stars_7d_ago is None else max(0, s.stars - s.stars_7d_ago)
    t0 = s.now - 30 * DAY
    return (
        math.log10(1 + s.votes_7d)
        + 0.5 * math.log10(1 + s.comments_7d)
        + 0.7 * math.log10(1 + stars)
        + (s.listed_at - t0) / (3 * DAY) * 0.5
    )


def adoption(s):
    grown = math.log10(1 + max(0, s.downloads_growth_7d))
    recency = 0.5 ** ((s.now - s.listed_at) / (30 * DAY))
    return 0.15 * math.log10(1 + s.models) + 0.45 * math.log10(1 + s.downloads_7d) + 0.3 * grown + 0.1 * recency


DEFINITIONS = {
    "hacker-news": hacker_news, "reddit": reddit, "lobsters": lobsters, "lamer": lamer, "foveal": foveal,
    "adoption": adoption,
}  # fmt: skip


@pytest.mark.parametrize("name", DEFINITIONS)
@given(signals=SIGNALS)
def test_a_formula_is_its_plain_definition(name, signals):
    signals = replace(signals, listed_at=min(signals.listed_at, signals.now))
    assert RANKINGS[name].score(signals) == pytest.approx(DEFINITIONS[name](signals), rel=1e-9, abs=1e-6)


def test_a_story_of_hacker_news_by_hand():
    story = Signals(now=3600.0 * 4, listed_at=0.0, votes=32, comments=66)
    assert RANKINGS["hacker-news"].score(story) == pytest.approx(32**0.8 / 6**1.8 * (33 / 66) ** 2)


@given(up=FEW, down=FEW)
def test_wilson_is_where_the_share_stops_being_likely(up, down):
    """The bound b solves (p - b)² = z² b (1 - b) / n from below."""
    bound, n = wilson(up, down), up + down
    assert 0 <= bound <= (up / n if n else 0)
    if n:
        share = up / n
        assert (share - bound) ** 2 == pytest.approx(1.281551565545**2 * bound * (1 - bound) / n, abs=1e-9)
    assert wilson(up + 1, down) >= bound >= wilson(up, down + 1)


@pytest.mark.parametrize("name", RANKINGS)
@given(signals=SIGNALS, more=st.integers(1, 1000))
def test_more_votes_never_lower_a_score(name, signals, more):
    score = RANKINGS[name].score
    liked = replace(signals, votes=signals.votes + more, votes_7d=signals.votes_7d + more)
    assert score(liked) >= score(signals)


@pytest.mark.parametrize("name", RANKINGS)
@given(signals=SIGNALS, ahead=st.floats(0, 1e9))
def test_a_date_to_come_counts_as_now_and_missing_stars_as_none(name, signals, ahead):
    score = RANKINGS[name].score
    today = replace(signals, listed_at=signals.now)
    assert score(replace(signals, listed_at=signals.now + ahead)) == score(today)
    uncounted, same = replace(signals, stars=None), replace(signals, stars=5, stars_7d_ago=5)
    assert score(uncounted) == score(same)
    assert math.isfinite(score(signals))


@pytest.mark.parametrize("name", RANKINGS)
@given(signals=SIGNALS)
def test_what_is_explained_is_what_was_counted(name, signals):
    terms = explain(name, signals)
    values = [term.value for term in terms]
    whole = math.prod(values) if len(values) > 1 and name in ("hacker-news", "lamer") else math.fsum(values)
    assert ranking(name).score(signals) == pytest.approx(whole, abs=1e-6, rel=1e-9)
    assert all(term.term and term.meaning for term in terms)


def test_the_numbers_that_went_in_are_said():
    told = explain("foveal", Signals(now=40.0 * DAY, listed_at=39.0 * DAY, votes_7d=7.4, comments_7d=3, stars=9))
    assert [term.term for term in told] == ["votes", "comments", "stars", "recency"]
    assert "7.4 votes" in told[0].meaning
    assert "c = 3" in told[1].meaning
    assert "not counted" in told[2].meaning
    assert "29.00 days" in told[3].meaning
    counted = Signals(now=40.0 * DAY, listed_at=39.0 * DAY, stars=9, stars_7d_ago=5)
    assert explain("foveal", counted)[2].meaning.endswith("4 more in 7 days")
    assert "not counted" in explain("foveal", replace(counted, stars=None))[2].meaning


def test_unknown_orders_and_impossible_signals_are_named():
    with pytest.raises(UnknownName, match="hacker-news"):
        explain("best", Signals(now=0, listed_at=0))
    with pytest.raises(InputError, match="counts of 0 or more"):
        Signals(now=0, listed_at=0, votes=-1)
    with pytest.raises(InputError, match="finite"):
        Signals(now=float("nan"), listed_at=0)


# -- from the database -------------------------------------------------------------------------------------------------


def record(number: int, **told: object) -> PaperRecord:
    return PaperRecord(
        **{
            "id": f"2610.{number:05d}", "title": f"Paper {number}", "abstract": f"About thing {number}.",
            "source": "arxiv", "published_at": NOW - timedelta(days=number), **told,
        }
    )  # fmt: skip


def people(session, count: int, *, verified: bool = True, age: timedelta = timedelta(days=100), first: int = 1) -> None:
    for number in range(first, first + count):
        name = f"p{number}"
        session.add(
            PersonRow(
                id=number, login=name, email=f"{name}@example.org", created_at=NOW - age,
                verified_at=NOW - age if verified else None,
            )
        )  # fmt: skip
    session.flush()


def test_signals_are_counted_by_their_rules(database):
    upsert(
        database,
        [
            record(1, votes=5, comments=2, listed_on=(NOW - timedelta(days=2)).date(), repo_url="https://e.org/r"),
            record(2, votes=50, listed_on=(NOW - timedelta(days=20)).date()),
            record(3, links=(Linked(kind="model", url="https://e.org/m1"), Linked(kind="code", url="https://e.org/c"))),
        ],
    )
    with database.writing() as session:
        people(session, 3)
        people(session, 1, age=timedelta(hours=5), first=10)
        people(session, 1, verified=False, first=20)
        for person, paper, days in ((1, 1, 1), (2, 1, 1), (3, 1, 8), (10, 1, 0), (20, 1, 1), (1, 2, 1)):
            session.add(VoteRow(paper_id=f"2610.{paper:05d}", person_id=person, at=NOW - timedelta(days=days, hours=1)))
        for hidden, days in ((None, 1), (NOW, 1), (None, 30)):
            at = NOW - timedelta(days=days)
            session.add(CommentRow(paper_id="2610.00001", raw="x", html="x", created_at=at, hidden_at=hidden))
        for days, stars in ((0, 130), (3, 120), (7, 100), (9, 90), (40, 1)):
            session.add(StarSampleRow(repo_url="https://e.org/r", day=(NOW - timedelta(days=days)).date(), stars=stars))
    found = read_signals(database, ["2610.00003", "2610.00001", "2610.00002", "2610.99999"], NOW)
    assert list(found) == ["2610.00003", "2610.00001", "2610.00002"]
    one, two, three = (found[f"2610.0000{n}"] for n in (1, 2, 3))
    assert one.votes == 4 + 5  # the one without a verified address does not count
    assert one.votes_7d == pytest.approx(2 + NEW + 5)  # new here and listed elsewhere within the week
    assert (one.comments, one.comments_7d) == (2 + 2, 1 + 2)
    assert (one.stars, one.stars_7d_ago, one.star_growth) == (130, 100, 30)
    assert (two.votes, two.votes_7d) == (51, 1)  # its 50 came long ago
    assert (two.stars, two.star_growth) == (None, 0)
    assert (three.models, three.votes) == (1, 0)
    assert three.listed_at == (NOW - timedelta(days=3)).timestamp()  # never listed: when it was published


def test_votes_elsewhere_of_an_old_paper_are_not_new_because_a_day_shows_it_again(database):
    """A curator's pick of today would stand above all that was voted for this week."""
    old = record(1, votes=500, comments=40, listed_on=(NOW - timedelta(days=200)).date())
    upsert(database, [old, replace(old, listed_on=NOW.date())])
    [found] = read_signals(database, ["2610.00001"], NOW).values()
    assert (found.votes, found.votes_7d, found.comments_7d) == (500, 0, 0)
    assert found.age_s < 86_400  # listed is the last day


def test_a_day_imported_later_does_not_look_new():
    day, imported = date(2026, 1, 5), datetime(2026, 10, 9, tzinfo=UTC)
    assert within(day, imported) == datetime(2026, 1, 6, tzinfo=UTC)
    assert within(day, datetime(2026, 1, 5, 9, tzinfo=UTC)) == datetime(2026, 1, 5, 9, tzinfo=UTC)
    assert within(date(2026, 10, 12), imported) == datetime(2026, 10, 12, tzinfo=UTC)


def test_trending_orders_by_score_then_id_and_pages(database):
    today = NOW.date()
    upsert(database, [record(number, published_at=NOW, listed_on=today) for number in range(1, 6)])
    with database.writing() as session:
        people(session, 3)
        session.query(ListingRow).update({"listed_at": NOW})
        for person in (1, 2, 3):
            session.add(VoteRow(paper_id="2610.00004", person_id=person, at=NOW))
        session.add(VoteRow(paper_id="2610.00002", person_id=1, at=NOW))
    page = trending(database, now=NOW)
    assert [paper.id for paper in page.papers] == [f"2610.0000{n}" for n in (4, 2, 1, 3, 5)]
    assert list(page.scores) == [ranking("foveal").score(known) for known in page.signals]
    second = trending(database, now=NOW, limit=2, page=1)
    assert ([paper.id for paper in second.papers], second.total) == (["2610.00001", "2610.00003"], 5)


def test_an_order_that_is_kept_shows_papers_as_they_are_now(database):
    upsert(database, [record(number, listed_on=NOW.date()) for number in (1, 2)])
    kept = ordered(database, "foveal", now=NOW)
    assert page_of(database, kept) == trending(database, now=NOW)
    with database.writing() as session:
        people(session, 1)
        session.add(VoteRow(paper_id="2610.00002", person_id=1, at=NOW))
    after = page_of(database, kept)
    assert [(paper.id, paper.votes) for paper in after.papers] == [("2610.00001", 0), ("2610.00002", 1)]
    assert [paper.id for paper in trending(database, now=NOW).papers] == ["2610.00002", "2610.00001"]
    with database.writing() as session:
        session.execute(delete(PaperRow).where(PaperRow.id == "2610.00001"))
    assert [paper.id for paper in page_of(database, kept).papers] == ["2610.00002"]


def test_an_unrelated_paper_changes_no_order(database):
    today = NOW.date()
    upsert(
        database, [record(number, votes=number % 4, listed_on=today - timedelta(days=number)) for number in range(1, 9)]
    )
    before = {name: ranked(database, name, now=NOW).papers for name in RANKINGS if name != "taste"}
    upsert(database, [record(50, votes=1000, repo_url="https://e.org/x", repo_stars=9000, listed_on=today)])
    for name, papers in before.items():
        after = [paper.id for paper in ranked(database, name, now=NOW).papers if paper.id != "2610.00050"]
        assert after == [paper.id for paper in papers]


def test_candidates_are_what_lately_had_anything(database):
    upsert(database, [record(number) for number in range(1, 8)])
    upsert(database, [record(5, repo_url="https://e.org/5"), record(6, repo_url="https://e.org/6")])
    with database.writing() as session:
        people(session, 2)
        for number, days in ((1, 3), (2, 29), (3, 31)):
            session.add(ListingRow(paper_id=f"2610.0000{number}", day=(NOW - timedelta(days=days)).date()))
        session.add(VoteRow(paper_id="2610.00004", person_id=1, at=NOW - timedelta(days=6)))
        session.add(VoteRow(paper_id="2610.00007", person_id=1, at=NOW - timedelta(days=8)))
        session.add(StarSampleRow(repo_url="https://e.org/5", day=NOW.date(), stars=3))
        session.add(StarSampleRow(repo_url="https://e.org/6", day=(NOW - timedelta(days=30)).date(), stars=3))
    assert candidates(database, NOW) == [f"2610.0000{n}" for n in (1, 2, 4, 5)]


def test_trending_keeps_to_the_papers_and_days_that_are_asked_for(database):
    upsert(database, [record(number, listed_on=(NOW - timedelta(days=number)).date()) for number in (1, 2, 9)])
    assert [paper.id[-1] for paper in trending(database, now=NOW).papers] == ["1", "2", "9"]
    assert [paper.id[-1] for paper in trending(database, now=NOW, window=timedelta(days=5)).papers] == ["1", "2"]
    asked = ["2610.00009", "2610.00002", "2610.00009"]
    assert [paper.id[-1] for paper in trending(database, now=NOW, ids=asked).papers] == ["2", "9"]
    assert trending(database, now=NOW, limit=MOST).total == 3
    for limit in (0, MOST + 1):
        with pytest.raises(InputError, match="limit"):
            trending(database, now=NOW, limit=limit)


def test_wrong_pages_are_refused(database):
    with pytest.raises(InputError, match="page=-1"):
        trending(database, page=-1)
    with pytest.raises(UnknownName, match="No order"):
        ranked(database, "best")
    with pytest.raises(InputError, match="somebody's own"):
        ranked(database, "taste")
    assert trending(database, now=NOW).papers == ()


# -- somebody's taste --------------------------------------------------------------------------------------------------


def test_taste_finds_what_resembles_a_collection(database):
    pytest.importorskip("sklearn")
    words = {"fish": "salmon river spawning gills trout", "stars": "galaxy redshift quasar nebula telescope"}
    upsert(
        database,
        [
            record(number, abstract=" ".join([words[kind]] * 2 + [f"note{number % 7}"]), listed_on=NOW.date())
            for number, kind in enumerate(["fish", "stars"] * 12, start=1)
        ],
    )
    with database.writing() as session:
        people(session, 1)
        session.add(CollectionRow(id=1, person_id=1, slug="sky", title="Sky"))
        session.flush()
        for number in (2, 4, 6):
            session.add(CollectedRow(collection_id=1, paper_id=f"2610.{number:05d}", person_id=1))
    page = ranked(database, "taste", now=NOW, person_id=1)
    assert {int(paper.id[-2:]) % 2 for paper in page.papers[:12]} == {0}
    assert page.scores[0] > 0 > page.scores[-1]
    assert tastes(database, ["2610.00001"], person_id=2) == {}


def test_what_others_put_on_an_open_list_is_their_taste_and_not_its_owners(database):
    pytest.importorskip("sklearn")
    words = {"fish": "salmon river spawning gills trout", "stars": "galaxy redshift quasar nebula telescope"}
    upsert(
        database,
        [
            record(number, abstract=" ".join([words[kind]] * 2 + [f"note{number % 7}"]), listed_on=NOW.date())
            for number, kind in enumerate(["fish", "stars"] * 12, start=1)
        ],
    )
    with database.writing() as session:
        people(session, 3)
        session.add(CollectionRow(id=1, person_id=1, slug="group", title="Of the group", open=True))
        session.flush()
        for number, by in ((1, 1), (3, 1), (2, 2), (4, 2), (6, None)):  # None: of somebody who is gone
            session.add(CollectedRow(collection_id=1, paper_id=f"2610.{number:05d}", person_id=by))
    for person, kind in ((1, 1), (2, 0)):  # the owner likes fish; stars are the other's, on a list that is not hers
        page = ranked(database, "taste", now=NOW, person_id=person)
        assert {int(paper.id[-2:]) % 2 for paper in page.papers[:12]} == {kind}
    assert tastes(database, ["2610.00001"], person_id=3) == {}


@pytest.mark.parametrize("text", ["眼睛看哪里", "the of and", ""], ids=["other letters", "function words", "nothing"])
def test_texts_without_a_word_that_counts_have_no_taste(text):
    pytest.importorskip("sklearn")
    assert TagClassifier().scores([text, text], {"a": [0]}).tolist() == [0, 0]


def test_tags_that_teach_nothing_are_left_out():
    pytest.importorskip("sklearn")
    assert TagClassifier().scores(["a b", "c d"], {"none": [], "all": [0, 1]}).tolist() == [0, 0]
    with pytest.raises(InputError, match="above 0"):
        TagClassifier(c=0)
