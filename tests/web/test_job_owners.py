"""Whose jobs are: neither a run of research nor what somebody asked or adds is stopped by others who know its page."""

from __future__ import annotations

from pathlib import Path

from fastapi.testclient import TestClient
from reading_site import Held as HeldAnswer
from reading_site import OwnModels, Visitor, made_app, wait_for
from research_site import FACTS, QUESTION, TWO_HOPS, Held, ended, key_of, research_app

from foveal.bench.research_world import Rules


def test_a_shared_run_that_goes_on_is_not_stopped_by_who_looks_on(tmp_path: Path) -> None:
    model = Held(Rules(TWO_HOPS), at=FACTS["architect"])
    app = research_app(tmp_path, model)
    with TestClient(app, base_url="http://localhost", follow_redirects=False) as client:
        owner = Visitor(client)
        key = key_of(owner.post("/research", question=QUESTION, source="library"))
        wait_for(model.began.is_set)
        owner.post(f"/research/{key}/share", shared="yes")
        other = TestClient(app, base_url="http://localhost", follow_redirects=False)
        assert QUESTION in other.get(f"/research/{key}").text
        assert Visitor(other).post(f"/jobs/{key}/cancel").status_code == 404
        assert other.get(f"/jobs/{key}").status_code == 404
        assert other.get(f"/jobs/{key}/events").status_code == 404
        assert not app.state.site.jobs.get(key).cancel.cancelled
        model.go.set()
        assert "Cancelled" not in ended(client, key)
    app.state.site.close()


def test_only_who_asked_cancels_and_who_runs_the_site(tmp_path: Path) -> None:
    held = HeldAnswer()
    app = made_app(tmp_path, OwnModels(held))

    def at(address: str) -> Visitor:
        return Visitor(TestClient(app, base_url="http://localhost", client=(address, 1)))

    at("127.0.0.1").add(("wheel.md", b"# The wheel\n\nThe wheel has twelve paddles."))
    page = at("9.9.9.9").post("/ask", question="What has twelve paddles?").url.path
    assert held.began.wait(10)
    other, cancel = at("8.8.8.8"), f"/jobs/{page.rpartition('/')[2]}/cancel"
    shown = other.client.get(page).text
    assert "progress-card" in shown
    assert "/cancel" not in shown
    refused = other.post(cancel)
    assert (refused.status_code, "Only who asked" in refused.text) == (403, True)
    assert "/cancel" in at("9.9.9.9").client.get(page).text
    assert "It was cancelled." in at("127.0.0.1").waited(at("127.0.0.1").post(cancel))
    app.state.site.close()
