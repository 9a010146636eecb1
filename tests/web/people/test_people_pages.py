"""Settings, following, claims, moderation and the desk over HTTP."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import feedparser
import pytest
from fastapi import FastAPI
from members import OTHER, PAPER, record, today
from reading_site import text_of
from visitors import Outbox, Visitor

from foveal.database import Database
from foveal.errors import UnknownPaper
from foveal.papers import accounts, curating, discussion, moderation, sessions
from foveal.papers.records import Named
from foveal.papers.schema import PaperRow
from foveal.papers.store import PaperStore
from foveal.papers.upserts import upsert
from foveal.web.pages import ago, xml_text
from foveal.web.safety import SESSION
from foveal.web.site import in_the_log


@dataclass
class Search:
    """What `PaperSearch` gives, over titles; by meaning all papers are found."""

    store: PaperStore

    def search(self, query: str, k: int) -> SimpleNamespace:
        papers = self.store.page().papers[:k]
        holding = [one for one in papers if query.lower() in one.title.lower()]
        return SimpleNamespace(hits=[SimpleNamespace(paper=one) for one in papers], holding=holding)


@pytest.fixture
def searching(app: FastAPI, database: Database) -> None:
    app.state.site.__dict__["search"] = Search(PaperStore(database))  # as the site keeps what it opened


def test_a_name_is_chosen(visitor: Visitor, database: Database) -> None:
    visitor.sign_in("ana")
    assert visitor.submit("/settings/name", "/settings", login="ana-f", name="Ana <b>F</b>").status_code == 303
    assert "Ana &lt;b&gt;F&lt;/b&gt;" in visitor.get("/settings").text
    assert visitor.submit("/settings/name", "/settings", login="admin", name="x").status_code == 400
    assert accounts.find(database, "ana-f").name == "Ana <b>F</b>"


def test_sessions_are_listed_and_ended(app: FastAPI, visitor: Visitor, database: Database) -> None:
    ana = visitor.sign_in("ana")
    phone = Visitor(app, headers={"user-agent": "A phone <script>"})
    link = sessions.request_link(database, ana.email, browser="phone")
    key = sessions.use_link(database, link.token, browser="phone", agent="A phone <script>").token
    phone.cookies.set(SESSION, key)
    assert phone.get("/settings").status_code == 200
    assert "A phone &lt;script&gt;" in visitor.get("/settings").text
    other = Visitor(app)
    other.sign_in("bo")
    other.submit("/settings/sessions", "/settings", which=2)
    assert phone.get("/settings").status_code == 200  # not his to end
    visitor.submit("/settings/sessions", "/settings", which="others")
    assert phone.get("/settings").status_code == 303
    assert visitor.get("/settings").status_code == 200
    assert visitor.submit("/settings/sessions", "/settings", which="x").status_code == 400


def test_all_data_comes_as_one_file_of_ones_own(app: FastAPI, visitor: Visitor) -> None:
    visitor.sign_in("ana")
    visitor.submit(f"/discussion/{PAPER}", text="Mine")
    got = visitor.get("/settings/data.json")
    assert got.headers["content-disposition"] == 'attachment; filename="foveal-ana.json"'
    assert got.headers["cache-control"] == "private, no-store"
    assert got.json()["remarks"][0]["raw"] == "Mine"
    assert Visitor(app).get("/settings/data.json").status_code == 303


def test_an_account_is_deleted_by_who_types_its_login(visitor: Visitor, database: Database) -> None:
    visitor.sign_in("ana")
    visitor.submit(f"/discussion/{PAPER}", text="Mine")
    assert visitor.submit("/settings/delete", "/settings", sure="yes").status_code == 400
    done = visitor.submit("/settings/delete", "/settings", sure=" Ana ", remarks="keep")
    assert "Your account is deleted" in done.text
    assert SESSION not in visitor.cookies
    with pytest.raises(UnknownPaper):
        accounts.find(database, "ana")
    assert "deleted account" in visitor.get(f"/discussion/{PAPER}").text
    assert discussion.discussion(database, PAPER).count == 1


@pytest.mark.usefixtures("searching")
def test_following_is_a_page_and_a_feed(app: FastAPI, visitor: Visitor) -> None:
    visitor.sign_in("ana")
    assert "You follow nothing yet" in visitor.get("/following").text
    visitor.submit("/follow", "/following", kind="author", value="Léa Martin")
    visitor.submit("/follow", "/following", kind="query", value="branes")
    page = visitor.get("/following").text
    assert "Where to Look" in page
    assert "Strings &lt;and&gt; Branes" in page
    visitor.submit(f"/read/{PAPER}", "/following")
    assert "Where to Look" not in visitor.get("/following?unread=yes").text
    visitor.submit("/mute", "/settings", words="strings")
    assert "Branes" not in visitor.get("/following").text
    visitor.submit("/mute", "/settings", words="strings", on="no")

    address = page.split("http://localhost/following/feed/")[1].split(".xml")[0]
    reader = Visitor(app)
    got = reader.get(f"/following/feed/{address}.xml")
    feed = feedparser.parse(got.content)
    assert not feed.bozo
    assert got.headers["content-type"] == "application/atom+xml; charset=utf-8"
    assert {entry.title for entry in feed.entries} == {"Where to Look", "Strings <and> Branes"}
    assert {entry.link for entry in feed.entries} == {f"http://localhost/papers/{one}" for one in (PAPER, OTHER)}
    same = reader.get(f"/following/feed/{address}.xml", headers={"if-none-match": got.headers["etag"]})
    assert (same.status_code, same.content) == (304, b"")
    weak = f'"other", W/{got.headers["etag"]}'  # as a proxy that compresses hands it on
    assert reader.get(f"/following/feed/{address}.xml", headers={"if-none-match": weak}).status_code == 304
    assert (got.headers["cache-control"], got.headers["referrer-policy"]) == ("private, max-age=600", "no-referrer")
    visitor.submit("/following/feed", "/following")
    assert reader.get(f"/following/feed/{address}.xml").status_code == 404
    assert visitor.submit("/follow", "/following", kind="all", value="x").status_code == 400


@pytest.mark.usefixtures("searching")
def test_what_only_the_meaning_of_a_search_finds_is_not_followed(visitor: Visitor) -> None:
    visitor.sign_in("ana")
    visitor.submit("/follow", "/following", kind="query", value="branes")
    page = visitor.get("/following").text
    assert "Strings &lt;and&gt; Branes" in page
    assert "Where to Look" not in page


@pytest.mark.usefixtures("searching")
def test_a_paper_that_was_withdrawn_says_so_to_those_who_follow(visitor: Visitor, database: Database) -> None:
    visitor.sign_in("ana")
    visitor.submit("/follow", "/following", kind="author", value="Léa Martin")
    with database.writing() as session:
        session.get_one(PaperRow, PAPER).withdrawn = True
    page = visitor.get("/following").text
    assert page.count("pill withdrawn") == 1
    address = page.split("http://localhost/following/feed/")[1].split(".xml")[0]
    assert visitor.get(f"/following/feed/{address}.xml").text.count("This paper was withdrawn. ") == 1


def test_what_one_follows_counts_as_a_search(app: FastAPI, visitor: Visitor) -> None:
    visitor.sign_in("ana")
    key = visitor.get("/following").text.split("http://localhost/following/feed/")[1].split(".xml")[0]
    site = app.state.site
    site.options = replace(site.options, search_per_minute=2)
    assert [visitor.get("/following").status_code for _ in range(3)] == [200, 200, 429]
    assert Visitor(app).get(f"/following/feed/{key}.xml").status_code == 429


def test_a_claim_is_made_and_decided(app: FastAPI, visitor: Visitor, database: Database) -> None:
    visitor.sign_in("ana")
    assert "Léa Martin" in visitor.get(f"/claim/{PAPER}").text
    assert visitor.submit(f"/claim/{PAPER}", position="").status_code == 400
    visitor.submit(f"/claim/{PAPER}", position=0, reason="<b>My</b> page")
    assert "A moderator will decide" in visitor.get(f"/claim/{PAPER}").text
    assert visitor.get("/admin/claims").status_code == 403
    assert visitor.submit("/admin/claims", paper=PAPER, claimant=1, verdict="grant").status_code == 403
    mo = Visitor(app)
    mo.sign_in("mo", "moderator")
    assert "&lt;b&gt;My&lt;/b&gt; page" in mo.get("/admin/claims").text
    mo.submit("/admin/claims", "/admin/claims", paper=PAPER, claimant=1, verdict="grant")
    assert "You are known here as" in visitor.get(f"/claim/{PAPER}").text
    visitor.submit(f"/discussion/{PAPER}", text="Mine")
    assert "Paper author" in visitor.get(f"/discussion/{PAPER}").text
    assert "Where to Look" in visitor.get("/people/ana").text
    bo = Visitor(app)
    bo.sign_in("bo", domain="lab.example")  # whose address the paper names
    bo.submit(f"/claim/{PAPER}", position=1)
    assert "You are known here as" in bo.get(f"/claim/{PAPER}").text


def test_pages_for_a_role_are_for_that_role(app: FastAPI) -> None:
    may = {"member": (403, 403), "curator": (200, 403), "moderator": (403, 200), "admin": (200, 200)}
    for role, (desk, admin) in may.items():
        visitor = Visitor(app)
        visitor.sign_in(f"x-{role}", role)
        answers = [visitor.get(path).status_code for path in ("/desk", "/admin", "/admin/claims")]
        assert answers == [desk, admin, admin]
    assert Visitor(app).get("/admin").headers["location"] == "/login?next=/admin"


def test_an_admin_gives_roles_and_the_audit_says_so(app: FastAPI, visitor: Visitor, database: Database) -> None:
    Visitor(app).sign_in("bo")
    mo = Visitor(app)
    mo.sign_in("mo", "moderator")
    assert "bo@example.org" not in mo.get("/admin").text  # addresses are the admins' business
    assert mo.submit("/admin/roles", "/admin", login="mo", role="admin").status_code == 403
    visitor.sign_in("root-a", "admin")
    assert "bo@example.org" in visitor.get("/admin").text
    visitor.submit("/admin/roles", "/admin", login="bo", role="curator")
    assert accounts.find(database, "bo").role == "curator"
    assert "member -&gt; curator" in visitor.get("/admin").text
    assert visitor.submit("/admin/roles", "/admin", login="root-a", role="member").status_code == 403
    assert visitor.submit("/admin/roles", "/admin", login="bo", role="king").status_code == 400


def test_an_admin_is_asked_and_then_somebody_is_gone(app: FastAPI, visitor: Visitor, database: Database) -> None:
    asked = "/admin/people/bo/remove"
    bo, mo = Visitor(app), Visitor(app)
    number = bo.sign_in("bo").id
    bo.submit(f"/vote/{PAPER}")
    bo.submit(f"/discussion/{PAPER}", text="Words of Bo")
    mo.sign_in("mo", "moderator")
    assert (mo.get(asked).status_code, mo.submit(asked, asked, sure="bo").status_code) == (403, 403)
    visitor.sign_in("root-a", "admin")
    desk = visitor.get("/admin").text
    assert f'href="{asked}"' in desk
    assert 'href="/admin/people/root-a/remove"' not in desk
    told = text_of(visitor.get(asked).text)
    for said in ("1 vote", "1 session", "1 remark", f"deleted-{number}"):
        assert said in told
    assert visitor.submit(asked, asked, sure="somebody").status_code == 400
    assert visitor.post(asked, data={"sure": "bo"}).status_code == 403  # without the form's token
    assert accounts.find(database, "bo")  # nothing was deleted
    done = visitor.submit(asked, asked, sure=" Bo ", remarks="remove")
    assert (done.status_code, done.headers["location"]) == (303, "/admin?gone=yes#people")
    assert "The account is deleted" in visitor.get("/admin?gone=yes").text
    assert visitor.get(asked).status_code == 404
    assert bo.get("/settings").status_code == 303  # signed out
    assert discussion.discussion(database, PAPER).count == 0
    act = moderation.audit(database)[0]
    assert (act.actor, act.target, act.detail) == ("root-a", f"person:deleted-{number}", "remarks: remove")


def test_an_admins_own_account_is_no_click_away_on_that_page(visitor: Visitor, database: Database) -> None:
    visitor.sign_in("root-a", "admin")
    own = "/admin/people/root-a/remove"
    assert visitor.get(own).headers["location"] == "/settings#data"
    assert visitor.submit(own, "/admin", sure="root-a").status_code == 400
    assert accounts.find(database, "root-a")


def test_an_admin_adds_somebody_who_is_told_by_mail(
    app: FastAPI, visitor: Visitor, outbox: Outbox, database: Database
) -> None:
    mo = Visitor(app)
    mo.sign_in("mo", "moderator")
    assert "Add somebody" not in mo.get("/admin").text
    assert mo.submit("/admin/people", "/admin", address="bo@example.org").status_code == 403
    visitor.sign_in("ana", "admin")
    app.state.site.deliver = outbox
    done = visitor.submit("/admin/people", "/admin", address="bo@EXAMPLE.org", name="Bo Li", role="curator")
    bo = accounts.find(database, "bo@example.org")
    assert (bo.name, bo.role, done.headers["location"]) == ("Bo Li", "curator", f"/admin?added={bo.login}#people")
    assert [one[:2] for one in outbox] == [("bo@example.org", "You may sign in to Foveal")]
    assert outbox.link == "/login"
    assert "ana added you to Foveal" in outbox[0][2]
    page = visitor.get(done.headers["location"]).text
    assert "bo@example.org was added. A mail says where to sign in." in page
    assert ">Bo Li<" in page
    assert [one.actor for one in moderation.audit(database, target=f"person:{bo.login}")] == ["ana"]
    again = visitor.submit("/admin/people", "/admin", address="bo@example.org")
    assert (again.status_code, len(outbox)) == (400, 1)
    assert "has an account already. Its role can be changed." in again.text


def test_where_no_mail_is_set_up_an_admin_is_told_what_to_do(app: FastAPI, visitor: Visitor) -> None:
    visitor.sign_in("ana", "admin")
    app.state.site.deliver = in_the_log
    done = visitor.submit("/admin/people", "/admin", address="bo@example.org")
    page = visitor.get(done.headers["location"]).text
    assert "No mail is set up here: tell them to sign in at" in page
    assert "http://localhost/login" in page


def test_the_desk_picks_orders_and_schedules(visitor: Visitor, database: Database) -> None:
    visitor.sign_in("cy", "curator")
    day = today().isoformat()
    for paper in (PAPER, OTHER):
        assert visitor.submit("/desk", f"/desk?day={day}", day=day, act="pick", paper=paper).status_code == 303
    visitor.submit("/desk", "/desk", day=day, act="up", paper=f"https://arxiv.org/abs/{OTHER}")
    page = visitor.get(f"/desk?day={day}").text
    assert page.index("Strings") < page.index("Where to Look")
    visitor.submit("/desk", "/desk", day=day, act="unpick", paper=OTHER)
    assert "Nothing is chosen" not in visitor.get("/desk").text
    for fields in ({"day": "tomorrow"}, {"act": "burn"}, {"paper": "nonsense"}, {"day": "2999-01-01"}):
        answer = visitor.submit("/desk", "/desk", **{"day": day, "act": "pick", "paper": PAPER, **fields})
        assert answer.status_code == 400
    assert visitor.get("/desk?day=0001-01-01").status_code == 200
    assert visitor.get("/desk?day=9999-12-31").status_code == 200


def test_names_of_another_direction_turn_nothing_beside_them_round(visitor: Visitor, database: Database) -> None:
    title = "القراءة (Sparse Attention)"
    upsert(database, [record("2605.04321", title, authors=(Named(name="ليلى حسن"),), votes=7)])
    visitor.sign_in("cy", "curator")
    candidates = visitor.get("/desk").text
    link = f'<a dir="auto" href="/papers/2605.04321">{title}</a>'
    assert link in candidates
    assert "<bdi>ليلى حسن</bdi> · 7 votes" in candidates  # not "7 · ليلى حسن votes"
    assert link in visitor.get("/papers/rankings").text


def test_what_is_followed_is_called_as_on_the_other_pages(visitor: Visitor) -> None:
    visitor.sign_in("ana")
    for kind, value in (("category", "cs.CL"), ("query", "branes")):
        visitor.submit("/follow", "/following", kind=kind, value=value)
    page = visitor.get("/following").text
    assert 'aria-label="Stop following subject cs.CL"' in page
    assert 'aria-label="Stop following search branes"' in page
    assert "category, such as" not in page


def test_a_paper_is_chosen_on_its_own_page_by_whoever_may(app: FastAPI, visitor: Visitor, database: Database) -> None:
    own, tomorrow = f"/papers/{PAPER}", today() + timedelta(days=1)
    visitor.sign_in("mo", "moderator")
    assert "Choose for a day" not in visitor.get(own).text
    cy = Visitor(app)
    cy.sign_in("cy", "curator")
    assert "Choose for a day" in cy.get(own).text
    for day in (today(), tomorrow):
        answer = cy.submit("/desk", own, day=day.isoformat(), act="pick", paper=PAPER)
        assert answer.headers["location"] == own
    page = cy.get(own).text
    assert "Chosen ✓" in page
    assert page.index("place 1, waiting") < page.index("place 1<")  # the last day first
    cy.submit("/desk", own, day=tomorrow.isoformat(), act="unpick", paper=PAPER)
    assert "waiting" not in cy.get(own).text
    assert [one.day for one in curating.days_of(database, PAPER)] == [today()]


@pytest.mark.parametrize(
    ("past", "told"),
    [
        (timedelta(seconds=-5), "just now"),
        (timedelta(seconds=59), "just now"),
        (timedelta(seconds=60), "1 minute ago"),
        (timedelta(hours=2, minutes=59), "2 hours ago"),
        (timedelta(days=6), "6 days ago"),
        (timedelta(days=8), "1 week ago"),
        (timedelta(days=364), "12 months ago"),
    ],
)
def test_times_are_told_as_people_tell_them(past: timedelta, told: str) -> None:
    moment = datetime(2026, 10, 2, tzinfo=UTC)
    assert ago(moment - past, moment) == told
    assert ago(datetime(2020, 5, 1, tzinfo=UTC)) == "May 1, 2020"


def test_what_xml_may_not_hold_is_left_out() -> None:
    assert xml_text("a\x00\x0b\ud800\ufffe\tb\U0001f600") == "a    \tb\U0001f600"
