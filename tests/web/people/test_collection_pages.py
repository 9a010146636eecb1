"""Collections on the site: from a paper's page, by forms, private or not; nothing without a token, or of others."""

from __future__ import annotations

from lxml import html
from members import PAPER
from visitors import Visitor

from foveal.papers.collecting import make, shelves


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
    assert panel(visitor) == "Add to collection ✓ To <read> 1 paper Title of a new collectionMake it"
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


def test_the_list_of_lists_is_for_members(app, visitor, database):
    assert visitor.get("/collections").status_code == 303
    ana = visitor.sign_in("ana")
    assert "None yet" in visitor.get("/collections").text
    make(database, ana, "One")
    answer = visitor.get("/collections")
    assert "One" in answer.text
    assert answer.headers["cache-control"] == "private, no-store"
