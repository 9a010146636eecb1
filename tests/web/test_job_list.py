"""The list of one's own jobs: what goes on, what is done, what failed; and nobody else's."""

from __future__ import annotations

from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from reading_site import Visitor as AtHome
from reading_site import made_app, text_of, visiting
from research_site import QUESTION, TWO_HOPS, ended, key_of, research_app
from research_site import Held as HeldResearch
from visitors import Visitor

from foveal.bench.research_world import Rules
from foveal.errors import StorageFull

STORY = b"# The mill\n\nThe mill on the river is kept by Orsin Vale.\n"


def test_at_home_it_shows_what_goes_on_what_is_done_and_what_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = made_app(tmp_path)
    site = app.state.site
    with visiting(app) as visitor:
        assert "Nothing yet." in text_of(visitor.client.get("/jobs").text)
        assert 'href="/jobs"' in visitor.client.get("/library").text
        visitor.add(("mill.md", STORY))
        with site.library.store.writing():
            adds = visitor.post("/library/add", pasted="A text on mills", title="Mills")
            page = visitor.client.get("/jobs")
            assert page.headers["cache-control"] == "private, no-store"
            going, _, over = text_of(page.text).partition("Ended")
            assert "Add Mills" in going
            assert f'href="{adds.url.path}"' in page.text
            assert "every 3s" in page.text
            assert "Add mill.md done" in over
        visitor.waited(adds)
        page = visitor.client.get("/jobs")
        assert "Going on" not in page.text
        assert "every 3s" not in page.text

        def broken(*_: object, **__: object) -> None:
            raise StorageFull("There is no space left.")

        monkeypatch.setattr(site.library, "add", broken)
        visitor.waited(visitor.post("/library/add", pasted="More words on mills", title="Lost"))
        assert "Add Lost.txt failed There is no space left." in text_of(visitor.client.get("/jobs").text)


def test_after_a_restart_they_are_still_listed(tmp_path: Path) -> None:
    with visiting(made_app(tmp_path)) as visitor:
        visitor.add(("mill.md", STORY))
    with visiting(made_app(tmp_path)) as visitor:
        assert "Add mill.md" in text_of(visitor.client.get("/jobs").text)


def test_an_address_sees_its_own_and_a_site_with_a_name_none(tmp_path: Path) -> None:
    app = made_app(tmp_path)

    def at(address: str) -> AtHome:
        return AtHome(TestClient(app, base_url="http://localhost", client=(address, 1)))

    at("9.9.9.9").add(("mill.md", STORY))
    assert "Add mill.md" in text_of(at("9.9.9.9").client.get("/jobs").text)
    for other in ("9.9.9.90", "9.9.9.", "127.0.0.1"):
        assert "Nothing yet." in text_of(at(other).client.get("/jobs").text)
    app.state.site.close()
    for number, options in enumerate(({"base_url": "http://localhost"}, {"hosts": ("*",)}, {"writers": "nobody"})):
        with visiting(made_app(tmp_path / str(number), writers=options.pop("writers", "anyone"), **options)) as visitor:
            assert visitor.client.get("/jobs").status_code == 404
            assert 'href="/jobs"' not in visitor.client.get("/library").text


def test_members_see_their_own_and_sign_in_for_it(tmp_path: Path) -> None:
    app = made_app(tmp_path, writers="members")
    ana, bo, visitor = Visitor(app), Visitor(app), Visitor(app)
    ana.sign_in("ana")
    bo.sign_in("bo")
    assert visitor.get("/jobs").headers["location"] == "/login?next=/jobs"
    assert 'href="/jobs"' not in visitor.get("/papers").text
    assert ana.submit("/library/add", pasted="A text by Ana", title="Ana’s notes").status_code == 303
    assert "Ana’s notes" in text_of(ana.get("/jobs").text)
    assert "Ana’s notes" not in bo.get("/jobs").text
    assert bo.get("/settings").text.count('href="/jobs"') == 2  # among what is theirs, and at the foot
    app.state.site.close()


def test_runs_of_research_are_among_them(tmp_path: Path) -> None:
    model = HeldResearch(Rules(TWO_HOPS), at=QUESTION)
    app = research_app(tmp_path, model)
    with TestClient(app, base_url="http://localhost", follow_redirects=False) as client:
        key = key_of(AtHome(client).post("/research", question=QUESTION, source="library"))
        going = client.get("/jobs").text
        assert f"Research: {QUESTION}" in text_of(going)
        assert f'href="/research/{key}"' in going
        assert "Going on" in going
        model.go.set()
        ended(client, key)
        assert "Going on" not in client.get("/jobs").text
        assert QUESTION not in TestClient(app, base_url="http://localhost").get("/jobs").text
    app.state.site.close()
