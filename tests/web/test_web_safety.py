"""What strangers write and ask for: no script, no foreign link, no file, no host of theirs; headers on every answer."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from lxml import html
from paper_site import TODAY, WordSearch, day_address, records, select, site_app
from starlette.testclient import TestClient

from foveal.papers.records import Linked, Named, PaperRecord
from foveal.web.markup import MATHML
from foveal.web.safety import HEADERS

HOSTILE = (
    "<script>alert(1)</script> <svg onload=alert(1)> \"' onmouseover=alert(1) {{ 7*7 }} "
    "$\\href{javascript:alert(1)}{x}$"
)
EVIL = PaperRecord(
    id="2611.66666",
    title=f"Evil {HOSTILE}",
    abstract=f"Abstract {HOSTILE} javascript:alert(1)",
    authors=(Named(name=f"Mallory {HOSTILE}", affiliation=HOSTILE),),
    organisation=f"Org {HOSTILE}",
    categories=("<b>.x", "cs.CL"),
    comment=HOSTILE,
    journal_ref=HOSTILE,
    doi='10.1/"><script>alert(1)</script>',
    url="javascript:alert(1)",
    project_url="javascript:alert(1)",
    repo_url="data:text/html,<script>alert(1)</script>",
    repo_stars=7,
    summary=f"Summary {HOSTILE}",
    summary_model=HOSTILE,
    keywords=(f"word {HOSTILE}"[:100], "abstract"),
    links=(Linked(kind="code", url="JaVaScRiPt:alert(1)", title=HOSTILE), Linked(kind="page", url="//evil.example/x")),
    thumbnail="https://evil.example/pixel.png",
    source="hf",
    votes=999,
    listed_on=TODAY,
    submitted_by=HOSTILE,
)
VIEWS = [
    day_address(TODAY),
    f"{day_address(TODAY)}?sort=discussed",
    "/papers?q=evil+%3Cscript%3Ealert(1)%3C/script%3E&author=%22%3E%3Cscript%3E&category=%3Csvg/onload%3D1%3E",
    "/papers/trending",
    "/papers/rankings",
    "/papers/2611.66666",
    "/papers/2611.66666/similar",
    "/papers/submit?id=2611.66666",
    "/topics",
    "/categories/%3Cb%3E.x",
    "/api",
]
OTHERS = ["/api/papers/2611.66666", "/papers/2611.66666.md", "/papers/2611.66666/thumbnail.svg", "/feed/day.xml"]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> TestClient:
    return TestClient(site_app(tmp_path_factory.mktemp("safety"), [*records(20), EVIL]))


@pytest.mark.parametrize("path", VIEWS)
def test_no_word_of_a_stranger_becomes_an_element_an_attribute_or_a_link(client: TestClient, path: str):
    answer = client.get(path)
    assert answer.status_code == 200
    page = html.fromstring(answer.text)
    assert all((one.get("src") or "").startswith("/static/") for one in select(page, "script"))
    assert all("data-theme-switch" in one.getparent().attrib for one in select(page, "svg"))
    assert not select(page, "iframe,object,embed,base")
    for element in page.iter("*"):
        for name, value in element.attrib.items():
            assert not name.startswith("on")
            assert name not in ("style", "srcdoc")
            if name in ("href", "src", "action"):
                assert re.match(r"/(?!/)|https?://|#", value), value
                assert not value.startswith("https://evil.example")
        if element.tag in MATHML:
            assert set(element.attrib) <= MATHML[element.tag]
    assert "49" not in (page.findtext(".//h1") or "")


@pytest.mark.parametrize(
    "path", [*VIEWS, *OTHERS, "/papers/none", "/nothing", "/static/papers.css", "/robots.txt", "/"]
)
def test_headers_are_on_every_answer(client: TestClient, path: str):
    answer = client.get(path, follow_redirects=False)
    for name, value in HEADERS.items():
        assert answer.headers[name] == value
    assert "'unsafe-inline'" not in answer.headers["content-security-policy"]


@pytest.mark.parametrize(
    "which",
    [
        "../../../etc/passwd",
        "..%2f..%2f..%2fetc%2fpasswd",
        "%2e%2e/%2e%2e/foveal.db",
        "....//secret.key",
        "2611.66666/../../secret.key",
        "2611.66666%00.png",
        "hep-th/../9901001",
    ],
)
@pytest.mark.parametrize(
    "where", ["/papers/{}", "/papers/{}/thumbnail.png", "/papers/{}/thumbnail.svg", "/papers/{}.md", "/api/papers/{}"]
)
def test_an_id_is_no_path(client: TestClient, which: str, where: str):
    answer = client.get(where.format(which))
    assert answer.status_code in (400, 404)
    assert b"root:" not in answer.content
    assert b"SQLite" not in answer.content


@pytest.mark.parametrize(
    "host", ["evil.example", "testserver.evil.example", "evil.example:80", "testserver@evil.example", ""]
)
def test_a_forged_host_gets_no_page_and_no_link(client: TestClient, host: str):
    for path in (day_address(TODAY), "/feed/day.xml", "/sitemap.xml"):
        answer = client.get(path, headers={"host": host})
        assert answer.status_code == 400
        assert "evil" not in answer.text


def test_a_forwarded_host_is_not_believed(client: TestClient):
    forged = {"x-forwarded-host": "evil.example", "x-forwarded-proto": "gopher", "forwarded": "host=evil.example"}
    assert "evil.example" not in client.get("/papers/2611.00001", headers=forged).text


@pytest.mark.parametrize(
    "headers", [{"origin": "https://evil.example"}, {"sec-fetch-site": "cross-site"}, {"sec-fetch-site": "same-site"}]
)
def test_adding_a_paper_needs_a_page_of_ours(client: TestClient, headers: dict[str, str]):
    page = html.fromstring(client.get("/papers/submit?id=2101.00009").text)
    token = select(page, 'input[name="token"]')[0].get("value")
    for data in ({"id": "2101.00009"}, {"id": "2101.00009", "token": "0" * 64}, {"id": "2101.00009", "token": token}):
        answer = client.post("/papers/submit", data=data, headers=headers, follow_redirects=False)
        assert answer.status_code == 403
    assert not client.app.state.site.papers.many(["2101.00009"])


def test_getting_changes_nothing(client: TestClient):
    before = client.app.state.site.papers.count()
    for path in (
        "/papers/2101.00011",
        "/papers/submit?id=2101.00011",
        "/papers/submit?id=2611.00001",
        "/api/papers/2101.00011",
    ):
        client.get(path)
    assert client.app.state.site.papers.count() == before
    assert len(client.app.state.site.papers.get("2611.00001").listings) == 1


def test_long_questions_and_deep_pages_are_refused_before_they_cost_anything(client: TestClient):
    search = client.app.state.site.search
    assert isinstance(search, WordSearch)
    asked = len(search.asked)
    assert client.get("/papers", params={"q": "x" * 1001}).status_code == 400
    assert client.get("/papers?q=x&p=10001").status_code == 400
    assert client.get("/papers?q=x&author=" + "a" * 200).status_code == 400
    assert len(search.asked) == asked


def test_an_abstract_of_a_megabyte_is_cut_as_it_comes_in(tmp_path: Path):
    long = PaperRecord(
        id="2611.70000", title="Long " * 500, abstract="$x$ word <b> " * 80_000, source="hf", listed_on=TODAY
    )
    client = TestClient(site_app(tmp_path, [records()[0], long]))
    assert len(client.get("/papers/2611.70000").content) < 600 * 1024
    assert len(client.get(day_address(TODAY)).content) < 120 * 1024
    kept = client.get("/api/papers/2611.70000").json()["summary"]
    assert 0 < len(kept) < len(long.abstract)
    assert long.abstract.startswith(kept)


@pytest.mark.parametrize("path", ["/papers?q=a%00b", "/papers/%00", "/authors/a%00?sort=votes", "/api/papers?q=%00"])
def test_an_address_with_the_character_nul_is_refused(client: TestClient, path: str):
    """PostgreSQL takes no text with it."""
    answer = client.get(path)
    assert answer.status_code == 400
    assert "NUL" in answer.text


@pytest.mark.parametrize("body", ["email=a%00b", b"email=a\x00b", b"x" * 70_000 + b"%00"])
def test_a_form_with_the_character_nul_is_refused(client: TestClient, body: str | bytes):
    headers = {"content-type": "application/x-www-form-urlencoded", "sec-fetch-site": "same-origin"}
    answer = client.post("/login", content=body, headers=headers)
    assert answer.status_code == 400
    assert "NUL" in answer.text


@pytest.mark.parametrize("path", [*VIEWS, *OTHERS, "/static/foveal.css", "/health", "/no/such/page"])
def test_head_is_get_without_its_body(client: TestClient, path: str):
    asked, got = client.head(path, follow_redirects=False), client.get(path, follow_redirects=False)
    assert (asked.status_code, asked.content) == (got.status_code, b"")
    assert asked.headers.get("content-length") == got.headers.get("content-length")
    assert set(asked.headers) == set(got.headers)
