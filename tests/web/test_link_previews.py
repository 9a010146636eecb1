"""What other sites and programs take from a page: Open Graph with a picture of ours, BibTeX, RIS."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import replace

import pytest
from lxml import html
from paper_site import TODAY, day_address, records, select, site_app
from starlette.testclient import TestClient

from foveal.papers.exporting import bibtex
from foveal.papers.periods import Period
from foveal.papers.thumbnails import keep, png_of
from foveal.web import cards
from foveal.web import papers_views as views

ODD = replace(
    records(1)[0],
    id="2611.77777",
    title='Braces } & "quotes" in $O(n^2)$ <b>',
    abstract="It costs $k^2$ steps.",
    votes=0,
)
LISTS = [
    day_address(TODAY),
    views.period_address(Period.around("week", TODAY)),
    views.period_address(Period.around("month", TODAY)),
    "/papers/trending",
    "/papers?q=sparse",
    "/topics/sparse",
    "/categories/cs.CL",
]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    app = site_app(tmp_path_factory.mktemp("links"), [*records(), ODD], base_url="http://testserver")
    with TestClient(app) as opened:
        yield opened


def told(client: TestClient, path: str) -> dict[str, str]:
    page = html.fromstring(client.get(path).text)
    return {one.get("property") or one.get("name"): one.get("content") for one in page.xpath("//meta[@content]")}


@pytest.mark.parametrize("path", [*LISTS, "/papers/2611.00001", "/papers/2611.77777"])
def test_every_page_of_papers_names_a_picture_of_ours(client, path):
    found = told(client, path)
    assert found["og:type"] == ("article" if path.startswith("/papers/2611") else "website")
    assert found["twitter:card"] == "summary_large_image"
    assert found["og:title"]
    assert found["og:image:alt"]
    assert found["og:url"].startswith("http://testserver/")
    assert found["og:image"].startswith("http://testserver/")
    picture = client.get(found["og:image"].removeprefix("http://testserver"))
    assert picture.headers["content-type"] == "image/png"
    assert struct.unpack(">II", picture.content[16:24]) == (1200, 630)
    assert (found["og:image:width"], found["og:image:height"]) == ("1200", "630")


def test_titles_outside_the_page_have_their_mathematics_in_letters(client):
    found, page = told(client, "/papers/2611.77777"), html.fromstring(client.get("/papers/2611.77777").text)
    shown = 'Braces } & "quotes" in O(n²) <b>'
    assert (found["og:title"], found["og:image:alt"]) == (shown, shown)
    assert found["description"] == found["og:description"] == "It costs k² steps."
    assert page.findtext(".//title") == f"{shown} · Foveal"
    assert page.xpath("//h1//*[local-name()='math']")


def test_papers_and_days_have_pictures_of_their_own(client):
    paths = ["/papers/2611.00001", "/papers/2611.00002", day_address(TODAY), "/papers/trending"]
    addresses = [told(client, path)["og:image"] for path in paths]
    pictures = {client.get(one.removeprefix("http://testserver")).content for one in addresses}
    assert len(set(addresses)) == len(pictures) == 4


def test_a_first_page_changes_the_picture_and_its_address(client):
    import numpy as np

    before = told(client, "/papers/2611.00003")["og:image"]
    page = png_of(np.full((320, 640, 3), 255, np.uint8))
    keep(client.app.state.site.settings.home, "2611.00003", page)
    after = told(client, "/papers/2611.00003")["og:image"]
    assert after != before
    pictures = [client.get(one.removeprefix("http://testserver")).content for one in (before, after)]
    assert pictures[0] == pictures[1]  # the address of before shows what there is now, too
    assert pictures[0] != client.get("/papers/2611.00004/card.png").content


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/papers/2612.99999/card.png", 404),
        ("/papers/no-such-id/card.png", 400),
        ("/cards/year/2026.png", 404),
        ("/cards/day/2026-13-01.png", 400),
        ("/cards/week/2026-W99.png", 400),
        ("/cards/day/0001-01-01.png", 200),
    ],
)
def test_pictures_of_what_is_not_there(client, path, status):
    assert client.get(path).status_code == status


def test_a_card_is_kept_and_not_drawn_twice(client):
    first = client.get("/papers/2611.00005/card.png")
    folder = client.app.state.site.settings.home / "thumbnails" / "cards"
    count = len(list(folder.iterdir()))
    again = client.get("/papers/2611.00005/card.png", headers={"if-none-match": first.headers["etag"]})
    assert again.status_code == 304
    assert len(list(folder.iterdir())) == count


def test_the_reference_stands_on_the_page_and_in_files(client):
    page = html.fromstring(client.get("/papers/2611.77777").text)
    (shown,) = select(page, "details.cite pre")
    paper = client.app.state.site.papers.get("2611.77777")
    assert shown.text == bibtex([paper], abstract=False)
    file = client.get("/papers/2611.77777/bibtex")
    assert file.headers["content-type"] == "text/x-bibtex; charset=utf-8"
    assert file.headers["content-disposition"] == 'inline; filename="2611.77777.bib"'
    assert file.text == bibtex([paper])
    assert "abstract = {" in file.text
    assert "abstract" not in shown.text
    ris = client.get("/papers/2611.77777/ris")
    assert ris.text.startswith("TY  - UNPB\r\n")
    assert ris.text.endswith("ER  - \r\n")
    assert client.get("/papers/2612.99999/bibtex").status_code == 404
    items = client.get("/papers/2611.77777/csl")
    assert items.headers["content-type"].startswith("application/vnd.citationstyles.csl+json")
    assert items.json()[0]["title"] == paper.title
    assert client.get("/papers/../../etc/passwd/bibtex").status_code in (400, 404)


def test_days_without_papers_share_the_picture_of_the_site(client):
    site = client.get("/cards/site.png").content
    folder = client.app.state.site.settings.home / "thumbnails" / "cards"
    count = len(list(folder.iterdir()))
    for key in ("day/1999-01-01", "week/1999-W01", "month/1999-01", "day/9999-12-31"):
        answer = client.get(f"/cards/{key}.png")
        assert answer.content == site
        assert answer.headers["cache-control"] == "public, max-age=3600"  # its papers may come
    assert len(list(folder.iterdir())) == count


def test_no_more_pictures_are_kept_than_there_may_be(client, monkeypatch):
    monkeypatch.setattr(cards, "_MOST", 10)
    folder = client.app.state.site.settings.home / "thumbnails" / "cards"
    for number in range(6, 18):
        answer = client.get(f"/papers/2611.000{number:02d}/card.png")
        assert answer.status_code == 200
        assert len(list(folder.iterdir())) <= 10
    assert client.get("/papers/2611.00006/card.png").content.startswith(b"\x89PNG")
