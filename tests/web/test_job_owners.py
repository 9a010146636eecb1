"""A run of research has an owner: its key, which a shared page's address tells, is no way around that."""

from __future__ import annotations

from pathlib import Path

from fastapi.testclient import TestClient
from reading_site import Visitor, wait_for
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
