"""Collections filled by programs: by the Hub's own client, with the rights and limits of the pages."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError
from members import OTHER, PAPER, member
from reading_site import served
from visitors import AT, Visitor

from foveal.database import Database
from foveal.errors import TooMany
from foveal.papers import collecting, notes, tokens
from foveal.papers.collecting import make, placed, put, shelves
from foveal.papers.person import Person
from foveal.papers.rate_limits import CHANGES, take
from foveal.papers.schema import now

NEW = {"item": {"id": PAPER, "type": "paper"}}


def program(app: FastAPI, login: str, role: str = "member") -> TestClient:
    """A client that knows a token of somebody new, and no cookies."""
    return client_of(app, member(app.state.site.database, login, role))


def client_of(app: FastAPI, person: Person) -> TestClient:
    headers = {"authorization": f"Bearer {tokens.make(app.state.site.database, person, 'test').secret}"}
    return TestClient(app, base_url=AT, follow_redirects=False, headers=headers)


def told(answer: Any, status: int = 200) -> Any:
    assert answer.status_code == status, answer.text
    return answer.json()


def test_the_hubs_client_makes_fills_changes_and_drops_a_list(app: FastAPI, database: Database) -> None:
    ana = member(database, "ana")
    secret = tokens.make(database, ana, "test").secret
    with served(app) as base:
        hub = HfApi(endpoint=base, token=secret)
        made = hub.create_collection("Reads", namespace="ana", description="For Friday")
        assert (made.title, made.description, made.private, made.items) == ("Reads", "For Friday", False, [])
        whole = hub.add_collection_item(made.slug, PAPER, "paper", note="Table 3")
        assert [(item.item_id, item.note) for item in whole.items] == [(PAPER, "Table 3")]
        hub.add_collection_item(made.slug, OTHER, "paper")
        hub.update_collection_item(made.slug, whole.items[0].item_object_id, note="Table 4")
        found = hub.get_collection(made.slug)
        assert [(item.item_id, item.note) for item in found.items] == [(OTHER, None), (PAPER, "Table 4")]
        hub.delete_collection_item(made.slug, found.items[0].item_object_id)
        changed = hub.update_collection_metadata(made.slug, title="Reads!", private=True)
        assert (changed.title, changed.description, changed.private) == ("Reads!", "For Friday", True)
        assert [item.item_id for item in changed.items] == [PAPER]
        (shelf,) = shelves(database, ana)
        assert (shelf.title, shelf.public, shelf.count) == ("Reads!", False, 1)
        with pytest.raises(HfHubHTTPError) as refused:
            HfApi(endpoint=base, token=False).get_collection(made.slug)
        assert refused.value.response.status_code == 404
        hub.delete_collection(made.slug)
        assert shelves(database, ana) == []


def test_to_an_open_list_programs_add_and_take_out_what_their_person_added(app: FastAPI, database: Database) -> None:
    ana, bo, cy = (program(app, one) for one in ("ana", "bo", "cy"))
    mod = program(app, "mo", "moderator")
    made = ana.post("/api/collections", json={"title": "Reads", "open": True})
    where = made.headers["location"]
    assert (told(made, 201)["open"], where) == (True, f"/api/collections/{made.json()['slug']}")
    assert told(bo.post(f"{where}/items", json=NEW | {"note": "By Bo"}))["items"][0]["addedBy"] == "bo"
    told(ana.post(f"{where}/items", json={"item": {"id": OTHER}}))
    again = told(cy.post(f"{where}/items", json=NEW | {"note": "not theirs to say"}))
    assert [(one["id"], one.get("note")) for one in again["items"]] == [(OTHER, None), (PAPER, {"text": "By Bo"})]
    assert cy.patch(f"{where}/items/{PAPER}", json={"note": "mine"}).status_code == 403
    assert cy.delete(f"{where}/items/{PAPER}").status_code == 403
    assert bo.patch(f"{where}/items/{PAPER}v2", json={"note": ""}).status_code == 204
    assert "note" not in told(cy.get(where))["items"][1]
    assert bo.delete(f"{where}/items/{PAPER}").status_code == 204
    assert bo.delete(f"{where}/items/{PAPER}").status_code == 404
    assert mod.delete(f"{where}/items/{OTHER}").status_code == 204
    assert told(cy.get(where))["numberItems"] == 0
    for who in (bo, mod):
        assert who.patch(where, json={"title": "His"}).status_code == 404
        assert who.delete(where).status_code == 404
    told(ana.patch(where, json={"open": False}))
    assert cy.post(f"{where}/items", json=NEW).status_code == 404


REFUSED: dict[str, tuple[str, str, Any, int, str]] = {
    "no title": ("POST", "", {"title": " "}, 400, "needs a title"),
    "of another": ("POST", "", {"title": "A", "namespace": "bo"}, 403, "is ana's"),
    "open and private": ("POST", "", {"title": "A", "open": True, "private": True}, 400, "seen by everybody"),
    "another field": ("POST", "", {"title": "A", "theme": "blue"}, 400, "theme"),
    "half a character": ("POST", "", b'{"title": "A \\ud800"}', 201, "A"),
    "made open and private": ("PATCH", "/1", {"open": True, "private": True}, 400, "seen by everybody"),
    "no such list": ("POST", "/999/items", NEW, 404, "no such collection"),
    "a list of another": ("POST", "/2/items", NEW, 404, "no such collection"),
    "a private list": ("DELETE", f"/3/items/{PAPER}", None, 404, "No public collection"),
    "no such paper": ("POST", "/1/items", {"item": {"id": "2612.99999"}}, 404, "is not here"),
    "no id": ("POST", "/1/items", {"item": {"id": "look"}}, 400, "is no paper's id"),
    "a model": ("POST", "/1/items", {"item": {"id": "a/b", "type": "model"}}, 400, "item.type"),
    "a long note": ("POST", "/1/items", NEW | {"note": "x" * 501}, 400, "501 characters"),
    "a place": ("PATCH", f"/1/items/{PAPER}", {"note": "a", "position": 3}, 400, "position"),
    "not there": ("DELETE", f"/1/items/{OTHER}", None, 404, "holds no"),
}


@pytest.mark.parametrize("what", sorted(REFUSED))
def test_what_is_refused_says_why(app: FastAPI, database: Database, what: str) -> None:
    ana, bo = member(database, "ana"), member(database, "bo")
    put(database, ana, make(database, ana, "One"), PAPER)
    make(database, bo, "Bo's")
    put(database, bo, make(database, bo, "Hidden", public=False), PAPER)
    method, path, body, status, said = REFUSED[what]
    sent: dict[str, Any] = {"json": body} if body else {}
    if isinstance(body, bytes):
        sent = {"content": body, "headers": {"content-type": "application/json"}}
    answer = client_of(app, ana).request(method, f"/api/collections{path}", **sent)
    assert (answer.status_code, said in str(answer.json())) == (status, True), answer.text


def test_who_is_nobody_and_pages_of_other_sites_change_nothing(app: FastAPI, visitor: Visitor) -> None:
    stranger = TestClient(app, base_url=AT, follow_redirects=False)
    refused = stranger.post("/api/collections", json={"title": "A"})
    assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
    assert "/settings/tokens" in refused.json()["error"]
    visitor.sign_in("bo")
    theirs = {"origin": "https://evil.example", "sec-fetch-site": "cross-site"}
    assert visitor.post("/api/collections", json={"title": "A"}, headers=theirs).status_code == 403
    assert visitor.post("/api/collections", json={"title": "A"}, headers={"origin": AT}).status_code == 201


def test_pages_and_programs_share_one_limit_of_changes(app: FastAPI, database: Database) -> None:
    ana = member(database, "ana")
    which, client = make(database, ana, "Reads"), client_of(app, ana)
    later = now() + timedelta(seconds=30)  # nothing comes back till then
    for _ in range(CHANGES.most - 1):  # one made the token
        take(database, CHANGES, f"person:{ana.id}", at=later)
    with suppress(TooMany):
        take(database, CHANGES, f"person:{ana.id}", at=later)
    refused = client.post(f"/api/collections/{which}/items", json=NEW)
    assert (refused.status_code, "changes came from you" in refused.json()["error"]) == (429, True)
    assert placed(database, which, [PAPER]) == {}


def test_a_note_that_a_moderator_hid_is_told_to_no_program(app: FastAPI, database: Database) -> None:
    ana, bo = program(app, "ana"), program(app, "bo")
    where = told(ana.post("/api/collections", json={"title": "Reads", "open": True}), 201)["slug"]
    bo.post(f"/api/collections/{where}/items", json=NEW | {"note": "Buy this"})
    notes.hide(database, int(where), PAPER, by=member(database, "mo", "moderator"))
    for reader in (ana, bo):
        for path in (f"/api/collections/{where}", "/api/collections", f"/feed/collection/{where}.json"):
            assert "Buy this" not in reader.get(path).text
    refused = bo.patch(f"/api/collections/{where}/items/{PAPER}", json={"note": "Buy that"})
    assert (refused.status_code, "A moderator hid the note" in refused.json()["error"]) == (403, True)
    assert collecting.latest(database, [int(where)], 9)[int(where)][PAPER].hidden
