"""Collections on the site: from a paper's page, by forms, private or not; nothing without a token, or of others."""

from __future__ import annotations

import re
import shutil

import feedparser
from lxml import html
from members import PAPER, record
from sqlalchemy import event
from visitors import Visitor

from foveal.papers import accounts, collecting, tokens
from foveal.papers.collecting import make, shelves
from foveal.papers.records import Named
from foveal.papers.upserts import upsert
from foveal.settings import Settings
from foveal.web.app import create_app
from foveal.web.site import SiteSettings


def panel(visitor: Visitor) -> str:
    (found,) = html.fromstring(visitor.get(f"/papers/{PAPER}").text).xpath("//details[@class='collect']")
    return " ".join(found.text_content().split())


def test_a_paper_is_put_on_a_new_list_and_taken_off_again(app, visitor, database):
    assert "Add to collection" not in visitor.get(f"/papers/{PAPER}").text
    ana = visitor.sign_in("ana")
    assert panel(visitor) == "Add to collection Title of a new collectionMake it"
    here = f"/papers/{PAPER}"
    assert visitor.submit(f"/collect/{PAPER}", here, title="To <read>").headers["location"] == here
    (shelf,) = shelves(database, ana, PAPER)
    assert panel(visitor) == "In a collection ✓ ✓ To <read> 1 paper Take it out Title of a new collectionMake it"
    page = visitor.get(f"/collections/{shelf.id}").text
    assert "To &lt;read&gt;" in page
    assert f'href="/papers/{PAPER}"' in page
    visitor.submit(f"/collect/{PAPER}", here, collection=shelf.id, on="no")
    assert not shelves(database, ana, PAPER)[0].holds
    assert visitor.submit(f"/collect/{PAPER}", here).status_code == 400
    assert visitor.submit("/collect/2612.99999", here, title="New").status_code == 404
    assert len(shelves(database, ana)) == 1


def test_a_list_is_changed_hidden_and_deleted(app, visitor, database):
    ana = visitor.sign_in("ana")
    address = visitor.submit("/collections", "/collections", title="Mine", public="yes").headers["location"]
    stranger = Visitor(app)
    assert stranger.get(address).status_code == 200
    assert "Change this collection" not in stranger.get(address).text
    visitor.submit(f"{address}/change", address, title="Hidden", description="Only for me")
    assert "only you see it" in visitor.get(address).text
    assert stranger.get(address).status_code == 404
    assert "only you" in visitor.get("/collections").text
    other = Visitor(app)
    other.sign_in("bo")
    for path in (f"{address}/change", f"{address}/delete"):
        assert other.submit(path, address, title="His").status_code == 404
        assert stranger.submit(path, address, title="His").headers["location"].startswith("/login")
        assert visitor.post(path, data={"title": "x"}).status_code == 403
    assert [one.title for one in shelves(database, ana)] == ["Hidden"]
    visitor.submit(f"{address}/delete", address)
    assert shelves(database, ana) == []
    assert visitor.get(address).status_code == 404


def test_who_may_do_what_stands_beside_what_lies_in_a_list(app, visitor, database):
    ana = visitor.sign_in("ana")
    bo = Visitor(app)
    which = make(database, ana, "Reads", open=True)
    collecting.put(database, bo.sign_in("bo"), which, PAPER, note="Table 3")

    def acts(reader: Visitor) -> str:
        found = html.fromstring(reader.get(f"/collections/{which}").text).xpath("//div[@class='put-acts']")
        return " ".join(" ".join(words for one in found for words in one.itertext()).split())

    assert acts(Visitor(app)) == ""
    assert acts(bo) == "Take it out"  # their own words
    told = "What is wrong with it? Moderators read this, and who says it; nobody else does. Tell the moderators"
    assert acts(visitor) == f"Take it out Report the note {told}"


def test_the_list_of_lists_is_for_members(app, visitor, database):
    assert visitor.get("/collections").status_code == 303
    ana = visitor.sign_in("ana")
    assert "None yet" in visitor.get("/collections").text
    make(database, ana, "One")
    answer = visitor.get("/collections")
    assert "One" in answer.text
    assert answer.headers["cache-control"] == "private, no-store"


def test_a_group_fills_a_list_and_takes_it_along(app, visitor, database):
    """Without JavaScript: who added what, and why, on its page, in its feed, and as references."""
    visitor.sign_in("ana")
    address = visitor.submit("/collections", "/collections", title="Reads <1>", open="yes").headers["location"]
    number = address.rpartition("/")[2]
    bo, cy, stranger = Visitor(app), Visitor(app), Visitor(app)
    bo.sign_in("bo")
    cy.sign_in("cy")
    assert "Reads <1> (by ana)" in panel(bo)
    bo.submit(f"/collect/{PAPER}", f"/papers/{PAPER}", collection=number, note="Table 3 <b>")
    page = stranger.get(address).text
    assert "Table 3 &lt;b&gt;" in page
    assert "Take it out" not in page
    assert f'href="http://localhost/feed/collection/{number}.xml"' in page
    assert "Take it out" in bo.get(address).text
    assert "Take it out" in visitor.get(address).text
    assert "Take it out" not in cy.get(address).text
    assert cy.submit(f"/collect/{PAPER}", address, collection=number, on="no").status_code == 403
    assert "Reads &lt;1&gt;" in cy.get("/collections").text
    assert f'href="{address}"' in stranger.get("/topics").text
    for kind, begins in (("bibtex", "@misc{"), ("ris", "TY  - "), ("csl", "[")):
        answer = stranger.get(f"{address}/{kind}")
        assert answer.text.lstrip().startswith(begins)
        assert "Where to Look" in answer.text
        assert answer.headers["content-disposition"].startswith('inline; filename="Reads_1_.')
    assert stranger.get(f"{address}/pdf").status_code == 404
    feed = stranger.get(f"/feed/collection/{number}.xml").text
    assert "Added by bo: Table 3 &amp;lt;b&amp;gt;" in feed
    visitor.submit(f"{address}/change", address, title="Reads")  # neither public nor open
    for path in (address, f"{address}/bibtex", f"/feed/collection/{number}.xml", f"/api/collections/{number}"):
        assert stranger.get(path).status_code == 404, path
    mine = visitor.get(f"{address}/bibtex")
    assert mine.status_code == 200
    assert mine.headers["cache-control"].startswith("private")


def test_a_feed_of_a_list_is_new_when_an_old_paper_is_put_there(app, visitor, database):
    ana = visitor.sign_in("ana")
    which = make(database, ana, "Reads")
    empty = visitor.get(f"/feed/collection/{which}.xml")
    since = {"if-modified-since": empty.headers["last-modified"]}
    assert visitor.get(f"/feed/collection/{which}.xml", headers=since).status_code == 304
    collecting.put(database, ana, which, PAPER)
    assert visitor.get(f"/feed/collection/{which}.xml", headers=since).status_code == 200
    put_at = collecting.placed(database, which, [PAPER])[PAPER].at
    item = visitor.get(f"/feed/collection/{which}.json").json()["items"][0]
    assert item["date_modified"] == put_at.strftime("%Y-%m-%dT%H:%M:%SZ")


def test_lists_are_told_to_programs_by_as_many_questions_however_many_they_are(app, visitor, database):
    ana = visitor.sign_in("ana")
    asked, counts = [], []
    event.listen(database.engine, "before_cursor_execute", lambda *told: asked.append(told[2]))
    for number in range(6):
        collecting.put(database, ana, make(database, ana, f"Reads {number}"), PAPER)
        asked.clear()
        told = visitor.get("/api/collections").json()
        assert [[item["id"] for item in one["items"]] for one in told] == [[PAPER]] * (number + 1)
        counts.append(len(asked))
    assert len(set(counts)) == 1


def test_a_whole_list_as_references_counts_as_a_call_of_the_api(filled_site, tmp_path):
    shutil.copy(filled_site, tmp_path / "foveal.db")
    app = create_app(Settings(home=tmp_path, cache=tmp_path), SiteSettings(api_per_hour=1))
    database = app.state.site.database
    which = make(database, accounts.add(database, "ana@example.org"), "Reads")
    answers = [Visitor(app).get(f"/collections/{which}/bibtex") for _ in range(2)]
    assert [one.status_code for one in answers] == [200, 429]
    app.state.site.close()


def test_odd_words_come_whole_and_harmless_out_of_every_form_of_a_list(app, visitor, database):
    """A title, a name and a note that would be markup, an entity, a formula or the end of a field."""
    ana = visitor.sign_in("ana")
    title = 'A {Brace, 50% & <b>$x$ \\emph{it} @misc{y, ]]> "q" _u_ #1 ~ ^ 研究'
    authors = (Named(name="Eve\nER  - \nTY  - {JOUR}"), Named(name="O'Neil <script>"))
    upsert(database, [record("2605.02000", title, authors=authors)])
    which = make(database, ana, "Reads ]]> <script>alert(1)</script> & co")
    collecting.put(database, ana, which, "2605.02000", note='"><script>alert(2)</script> ]]> $y$ &amp;')
    page = visitor.get(f"/collections/{which}").text
    assert "<script>alert" not in page
    feed = feedparser.parse(visitor.get(f"/feed/collection/{which}.xml").text)
    assert not feed.bozo
    assert feed.feed.title == "Reads ]]> <script>alert(1)</script> & co, by ana"
    assert "<script" not in visitor.get(f"/feed/collection/{which}.json").json()["items"][0]["content_html"]
    (item,) = visitor.get(f"/collections/{which}/csl").json()
    assert item["title"].endswith("研究")
    ris = visitor.get(f"/collections/{which}/ris").text
    assert [line[:5] for line in ris.splitlines()].count("TY  -") == 1
    assert [line[:5] for line in ris.splitlines()].count("ER  -") == 1
    bib = visitor.get(f"/collections/{which}/bibtex").text
    plain = re.sub(r"\\.", "", bib)
    assert plain.count("{") == plain.count("}")
    assert len(re.findall(r"(?m)^@", bib)) == 1


def test_a_list_is_hidden_by_a_moderator_on_its_page(app, visitor, database):
    ana = visitor.sign_in("ana")
    address = f"/collections/{make(database, ana, 'Buy this')}"
    mod, bo = Visitor(app), Visitor(app)
    mod.sign_in("mod", "moderator")
    bo.sign_in("bo")
    assert [f'action="{address}/hide"' in one.get(address).text for one in (mod, bo, visitor)] == [True, False, False]
    assert bo.submit(f"{address}/hide", address).status_code == 403
    assert mod.submit(f"{address}/hide", address).headers["location"] == "/collections"
    assert [one.get(address).status_code for one in (mod, bo, visitor)] == [404, 404, 200]
    assert "Buy this" not in bo.get("/topics").text


def test_a_hidden_list_is_told_to_its_owners_token_alone(app, visitor, database):
    ana, bo, mod = visitor.sign_in("ana"), Visitor(app).sign_in("bo"), Visitor(app).sign_in("mod", "moderator")
    which = make(database, ana, "Mine", public=False)
    collecting.put(database, ana, which, PAPER, note="to myself")
    program = Visitor(app)  # without a cookie
    answers = [
        program.get(
            f"/api/collections/{which}", headers={"authorization": f"Bearer {tokens.make(database, one, 'p').secret}"}
        )
        for one in (ana, bo, mod)
    ]
    assert [one.status_code for one in answers] == [200, 404, 404]
    told = answers[0].json()
    assert (told["private"], told["items"][0]["note"], told["items"][0]["addedBy"]) == (
        True,
        {"text": "to myself"},
        "ana",
    )
    assert answers[0].headers["cache-control"] == "private, no-cache"
    assert program.get("/api/collections").json() == []
    assert program.get(f"/feed/collection/{which}.bib").status_code == 404
