"""Alive, ready, measured; logs as JSON; traces; and 503 with Retry-After where the database is away."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from paper_site import records, site_app
from reading_site import OwnModels, made_app, visiting
from sqlalchemy.exc import OperationalError

from foveal.cli.output import JsonLines
from foveal.errors import InputError, UnknownName
from foveal.reading import ReadSettings
from foveal.settings import Settings
from foveal.web import tracing
from foveal.web.app import create_app
from foveal.web.settings import WebSettings, load_web
from foveal.web.site import SiteSettings


def test_alive_and_ready_are_answered_by_any_name_without_a_queue(tmp_path: Path) -> None:
    app = made_app(tmp_path)
    for gate in app.state.gates.values():
        gate.room = gate.waiting = 0
    with TestClient(app, base_url="http://10.1.2.3") as client:
        assert client.get("/health").json() == {"status": "alive"}
        answer = client.get("/ready")
        assert (answer.status_code, answer.json()["status"]) == (200, "ready")
        assert answer.json() | {"library": "none yet", "database": "ok", "server": "ok"} == answer.json()
        assert client.get("/library").status_code == 400  # this name is not ours


def test_not_ready_without_a_database_and_while_it_stops(tmp_path: Path) -> None:
    away = Settings(home=tmp_path, cache=tmp_path, encoder="none", database="postgresql://nobody@127.0.0.1:1/none")
    with TestClient(create_app(away, SiteSettings(), models=OwnModels()), base_url="http://localhost") as client:
        answer = client.get("/ready")
        assert answer.status_code == 503
        assert answer.json()["database"] == "it cannot be used (DatabaseError)"
        assert client.get("/health").status_code == 200
        page = client.get("/papers/trending")
        assert (page.status_code, page.headers["retry-after"]) == (503, "10")
        assert "nobody@" not in answer.text
    app = made_app(tmp_path / "home")
    with TestClient(app, base_url="http://localhost") as client:
        app.state.site.jobs.closing = True
        assert client.get("/ready").json()["server"] == "it is being stopped"
        app.state.site.jobs.closing = False


def test_a_database_that_goes_away_is_503_for_signed_in_people_too(tmp_path: Path) -> None:
    client = TestClient(site_app(tmp_path, records(12)), base_url="http://localhost", raise_server_exceptions=False)
    assert client.get("/papers/trending").status_code == 200
    site = client.app.state.site

    class Gone:
        def __getattr__(self, name: str) -> Any:
            raise OperationalError("SELECT 1", {}, Exception("the server closed the connection"))

    kept = site.database.engine
    site.database.engine = Gone()
    try:
        client.cookies.set("foveal_session", "x" * 40)
        answers = [client.get("/papers/trending"), client.get("/api/daily_papers")]
        assert [(one.status_code, one.headers.get("retry-after")) for one in answers] == [(503, "10")] * 2
        assert "closed the connection" not in answers[0].text
        assert client.get("/following", follow_redirects=False).status_code == 503  # not: sign in
        assert "error" in answers[1].json()
    finally:
        site.database.engine = kept
    assert client.get("/papers/trending").status_code == 200


def test_measures_count_routes_and_hold_no_address(tmp_path: Path) -> None:
    client = TestClient(site_app(tmp_path, records(12)), base_url="http://localhost")
    for path in (
        "/papers/trending",
        "/papers/trending",
        "/papers/2611.00001",
        "/nothing/secret-token",
        "/u/secret-token",
    ):
        client.get(path)
    answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    assert 'foveal_requests_total{method="GET",route="/papers/trending",status="200"} 2.0' in answer.text
    assert 'foveal_request_seconds_count{route="/papers/trending"} 2.0' in answer.text
    assert 'foveal_queued{kind="page"} 0.0' in answer.text
    assert "process_resident_memory_bytes" in answer.text
    assert "secret-token" not in answer.text
    assert "2611.00001" not in answer.text


@pytest.mark.parametrize(
    ("token", "headers", "status"),
    [
        ("", {}, 200),
        ("", {"x-forwarded-for": "9.9.9.9"}, 404),
        ("s3cret", {}, 404),
        ("s3cret", {"authorization": "Bearer s3cret"}, 200),
        ("s3cret", {"authorization": "Bearer s3cre"}, 404),
        ("s3cret", {"authorization": "Bearer s3cret", "x-forwarded-for": "9.9.9.9"}, 200),
    ],
)
def test_measures_are_not_for_strangers(tmp_path: Path, token: str, headers: dict[str, str], status: int) -> None:
    (tmp_path / "foveal.toml").write_text(f'[web]\nmetrics_token = "{token}"\n' if token else "", encoding="utf-8")
    client = TestClient(made_app(tmp_path), base_url="http://localhost")
    assert client.get("/metrics", headers=headers).status_code == status


def test_a_stranger_of_the_network_reads_no_measures(tmp_path: Path) -> None:
    client = TestClient(made_app(tmp_path), base_url="http://localhost", client=("9.9.9.9", 1))
    assert client.get("/metrics").status_code == 404


def test_requests_are_logged_as_json_by_setting(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "foveal.toml").write_text('[web]\nlog = "json"\n', encoding="utf-8")
    with caplog.at_level(logging.INFO, "foveal.web.requests"), visiting(made_app(tmp_path)) as visitor:
        visitor.client.get("/ask?q=a+secret+question")
    lines = [json.loads(JsonLines().format(record)) for record in caplog.records if "requests" in record.name]
    assert lines[0] | {"method": "GET", "route": "/ask", "status": 200, "level": "INFO"} == lines[0]
    assert lines[0]["ms"] > 0
    assert "secret" not in json.dumps(lines)


def test_settings_of_the_web_app_are_checked(tmp_path: Path) -> None:
    assert load_web(Settings(home=tmp_path, cache=tmp_path)) == WebSettings()
    with pytest.raises(InputError, match="text, json"):
        WebSettings(log="xml")
    with pytest.raises(UnknownName, match=r"'act'\. There are: auto, dense, .*flexprefill"):
        WebSettings(attention="act")
    assert WebSettings().window == ReadSettings().window
    with pytest.raises(InputError, match="window got 63; a document is read by 64 tokens at once"):
        WebSettings(window=63)


def test_spans_name_routes_and_jobs_and_nothing_else(tmp_path: Path) -> None:
    sdk = pytest.importorskip("opentelemetry.sdk.trace")
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    spans, provider = InMemorySpanExporter(), sdk.TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    tracing.set_up(provider)
    try:
        with visiting(made_app(tmp_path)) as visitor:
            above = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
            visitor.client.get("/ask?q=a+secret+question", headers=above)
            visitor.add(("mill.md", b"# The mill\n\nIt stands at the river."))
    finally:
        tracing.turn_off()
    found = spans.get_finished_spans()
    assert {"GET /ask", "POST /library/add", "job add"} <= {span.name for span in found}
    below = [span.name for span in found if span.context.trace_id == 0x0AF7651916CD43DD8448EB211C80319C]
    assert below == ["GET /ask"]
    assert "secret" not in str([(span.name, dict(span.attributes)) for span in found])
    with tracing.traced("nothing") as span:
        assert span is None
