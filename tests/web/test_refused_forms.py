"""A form that is refused loses nothing: its page shows what was typed, and sends it again where that helps."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path

import pytest
from members import PAPER, with_papers
from reading_site import made_app, visiting
from visitors import Visitor

TEXT = "\nA first line\n<b>& 'more'</b>"


def texts_of(page: str) -> list[str]:
    """What the page's fields of text hold, as a browser takes it."""
    return [unescape(one).removeprefix("\n") for one in re.findall(r"<textarea[^>]*>(.*?)</textarea>", page, re.DOTALL)]


def test_a_stale_page_shows_the_text_and_sends_it_again_with_all_its_fields(tmp_path: Path) -> None:
    with visiting(made_app(tmp_path)) as visitor:
        client = visitor.client
        visitor.token()
        fields = {"pasted": TEXT, "title": 'A "title"', "token": "of another day"}
        headers = {"referer": "http://localhost/library?q=1", "sec-fetch-site": "same-origin"}
        page = client.post("/library/add", data=fields, headers=headers)
        assert page.status_code == 403
        assert "had gone stale" in page.text
        assert texts_of(page.text) == [TEXT]
        assert 'data-typed="/library"' in page.text
        form = page.text.split("<form", 2)[1] if "/library/add" in page.text.split("<form", 2)[1] else ""
        again = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', form))
        assert again == {"title": "A &#34;title&#34;", "token": visitor.token()}
        shown = visitor.waited(client.post("/library/add", data={**again, "pasted": TEXT, "title": 'A "title"'}))
        assert "Added" in shown or "added" in shown


@pytest.mark.parametrize("headers", [{"sec-fetch-site": "cross-site"}, {"origin": "https://elsewhere.example"}])
def test_what_another_site_sends_is_not_shown(tmp_path: Path, headers: dict[str, str]) -> None:
    with visiting(made_app(tmp_path)) as visitor:
        page = visitor.client.post("/ask", data={"question": "Planted", "token": "x"}, headers=headers)
        assert page.status_code == 403
        assert "Planted" not in page.text


def test_whose_session_ended_finds_the_text_and_the_way_to_sign_in(tmp_path: Path) -> None:
    app = made_app(tmp_path, writers="members")
    with_papers(app.state.site.database)
    visitor = Visitor(app)
    for path, status, fields in (
        ("/ask", 403, {"question": TEXT, "retriever": "lexical"}),
        (f"/claim/{PAPER}", 401, {"reason": TEXT}),
    ):
        page = visitor.submit(path, came_from := path, **fields)
        assert page.status_code == status
        assert texts_of(page.text) == [TEXT]
        assert f'href="/login?next={came_from}"' in page.text
        assert f'data-typed="{came_from}"' in page.text
        assert "Send it again" not in page.text  # it would be refused again
    nothing = visitor.submit(f"/claim/{PAPER}", f"/claim/{PAPER}", reason=" ")
    assert (nothing.status_code, nothing.headers["location"]) == (303, f"/login?next=/claim/{PAPER}")
    app.state.site.close()


def test_too_much_at_once_is_sent_again_later(tmp_path: Path) -> None:
    app = made_app(tmp_path)
    app.state.site.jobs.closing = True  # as a server that is being stopped answers
    with visiting(app) as visitor:
        page = visitor.post("/library/add", pasted=TEXT)
        assert page.status_code == 503
        assert texts_of(page.text) == [TEXT]
        assert "Send it again" in page.text
        files = visitor.post("/library/add", [("files", ("a.txt", b"A text"))], pasted=TEXT)
        assert "Send it again" not in files.text  # a page cannot send a file
