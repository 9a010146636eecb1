"""Searches of strangers that a ranker orders: as many candidates as fit into the time, and not too often."""

from __future__ import annotations

import os
import re
import time
from dataclasses import dataclass, field, replace
from html import unescape
from pathlib import Path

import pytest
from honest import document
from paper_site import records, site_app
from reading_site import made_app
from starlette.testclient import TestClient

from foveal.errors import InputError
from foveal.ranking import by_name
from foveal.ranking.chosen import choose
from foveal.settings import Settings
from foveal.web.models import Rankers
from foveal.web.settings import WebSettings, load_web

STRANGER, OWNER = ("9.9.9.9", 1), ("127.0.0.1", 1)


@dataclass
class Slow:
    """A ranker that turns its hits round, and takes a hundredth of a second for each."""

    given: list[int] = field(default_factory=list)

    def rank(self, query, hits):  # noqa: ARG002
        self.given.append(len(hits))
        time.sleep(0.01 * len(hits))
        return [replace(hit, score=float(at), source="slow") for at, hit in enumerate(hits)][::-1]


@dataclass
class Named:
    """The rankers of a site: one, under each name."""

    slow: Slow = field(default_factory=Slow)

    def get(self, name, home):  # noqa: ARG002
        return self.slow


def library_app(home: Path, **options: object):
    app = made_app(home, **options)
    texts = [document(f"d{n}", f"The mill number {n} stands at the river.") for n in range(30)]
    app.state.site.library.add_documents(texts)
    app.state.site.rankers = Named()
    return app


@pytest.fixture
def app(tmp_path: Path):
    app = library_app(tmp_path, writers="nobody")
    yield app
    app.state.site.close()


def asked(app, client, path="/library?q=mill&rank=pairwise"):
    return TestClient(app, base_url="http://localhost", client=client).get(path)


def test_a_stranger_gets_what_fits_into_the_time_and_is_told(app):
    site, slow = app.state.site, app.state.site.rankers.slow
    site.web = replace(site.web, ranking_s=0.1)
    page = asked(app, STRANGER)
    assert page.status_code == 200
    assert 5 <= slow.given[-1] <= 10
    said = (
        f"pairwise read {slow.given[-1]} of 20 candidates: more would have taken longer than the 0.1 s that this site"
    )
    assert said in page.text
    before = len(slow.given)
    asked(app, STRANGER)
    assert len(slow.given) == before + 1  # its times are known by now


def test_who_has_time_enough_gets_all_and_no_word_of_it(app):
    page = asked(app, STRANGER)
    assert app.state.site.rankers.slow.given[-1] == 20
    assert "slow 19.000" in page.text
    assert "this site gives a search" not in page.text


def test_a_time_below_none_is_said():
    with pytest.raises(InputError, match="ranking_s got -1; it needs seconds"):
        WebSettings(ranking_s=-1)


def test_as_long_as_it_takes_can_be_said_in_the_home(tmp_path):
    (tmp_path / "foveal.toml").write_text("[web]\nranking_s = 0\n", encoding="utf-8")
    settings = Settings(home=tmp_path, cache=tmp_path / "cache")
    assert load_web(settings).ranking_s == 0
    (tmp_path / "foveal.toml").write_text("[web]\nranking_s = -3\n", encoding="utf-8")
    with pytest.raises(InputError, match="ranking_s got -3; it needs a whole number or 0"):
        load_web(settings)
    (tmp_path / "foveal.toml").write_text("[web]\nstreams = 0\n", encoding="utf-8")
    with pytest.raises(InputError, match="streams got 0; it needs a whole number above 0"):
        load_web(settings)


@pytest.mark.parametrize(("client", "seconds"), [(OWNER, 0.1), (STRANGER, 0)])
def test_this_machine_itself_may_take_its_time_and_so_may_all_where_none_is_set(app, client, seconds):
    site = app.state.site
    site.web = replace(site.web, ranking_s=seconds)
    asked(app, client)
    assert site.rankers.slow.given == [20]


def test_the_sites_own_ranker_orders_what_names_none_as_often_as_one_searches(tmp_path: Path):
    app = library_app(tmp_path, writers="nobody", ranked_per_minute=1)
    site = app.state.site
    site.settings = site.library.settings = replace(site.settings, ranker="mine")
    for _ in range(3):
        page = asked(app, STRANGER, "/library?q=mill")
        assert (page.status_code, "slow 19.000" in page.text) == (200, True)
    assert '<option value="">mine (this site’s)</option>' in page.text
    why = unescape(re.search(r'href="(/library/[0-9a-f]+/why[^"]*)"', page.text)[1])
    assert asked(app, OWNER, why).status_code == 200
    before = len(site.rankers.slow.given)
    for plain in ("rank=none", "retriever=lexical"):
        page = asked(app, OWNER, f"/library?q=mill&{plain}")
        assert (page.status_code, "slow" in page.text) == (200, False)
    assert len(site.rankers.slow.given) == before
    app.state.site.close()


def test_a_site_follows_the_ranker_that_is_chosen_while_it_runs(tmp_path: Path):
    app = library_app(tmp_path)
    site = app.state.site
    site.settings = site.library.settings = replace(site.settings, ranker="", ranker_in_file="")  # as they are loaded
    assert "slow 19.000" not in asked(app, OWNER, "/library?q=mill").text
    choose(site.settings.home, "mine")
    page = asked(app, OWNER, "/library?q=mill").text
    assert "slow 19.000" in page
    assert '<option value="">mine (this site’s)</option>' in page
    choose(site.settings.home, "none")
    assert "slow 19.000" not in asked(app, OWNER, "/library?q=mill").text
    app.state.site.close()


def test_a_ranker_that_was_trained_anew_is_loaded_anew(tmp_path: Path, monkeypatch):
    made: list[object] = []
    monkeypatch.setattr(by_name, "load_ranker", lambda *_, **__: made.append(object()) or made[-1])
    folder = tmp_path / "models" / "mine"
    folder.mkdir(parents=True)
    rankers = Rankers()
    assert rankers.get("mine", tmp_path) is rankers.get("mine", tmp_path) is made[0]
    os.utime(folder, ns=(1, 1))
    assert rankers.get("mine", tmp_path) is made[1]


def test_that_the_sites_own_ranker_is_gone_is_said(tmp_path: Path):
    app = library_app(tmp_path)
    site = app.state.site
    site.rankers = Rankers()
    site.settings = site.library.settings = replace(site.settings, ranker="mine")
    page = asked(app, OWNER, "/library?q=mill")
    assert page.status_code == 400
    assert "not there any more" in page.text
    assert asked(app, OWNER, "/library?q=mill&rank=none").status_code == 200
    app.state.site.close()


def test_a_stranger_has_few_of_them_a_minute(tmp_path: Path):
    app = library_app(tmp_path, writers="nobody", ranked_per_minute=2)
    assert [asked(app, STRANGER).status_code for _ in range(3)] == [200, 200, 429]
    refused = asked(app, STRANGER)
    assert "more than 2 searches that a ranker orders in 1 min" in refused.text
    assert 1 <= int(refused.headers["retry-after"]) <= 30
    assert asked(app, STRANGER, "/library?q=mill").status_code == 200
    assert asked(app, ("8.8.8.8", 1)).status_code == 200
    assert {asked(app, OWNER).status_code for _ in range(4)} == {200}
    app.state.site.close()


class CrossEncoderRanker(Slow):
    """Explained by what its score loses without a sentence, as any of that name; a hundredth of a second for each."""

    def scores(self, query, texts):  # noqa: ARG002
        self.given.append(len(texts))
        time.sleep(0.01 * len(texts))
        return [float(len(text)) for text in texts]


@pytest.mark.parametrize(("client", "all_of_them"), [(OWNER, True), (STRANGER, False)])
def test_a_strangers_why_takes_no_more_time_than_a_search(app, client, all_of_them):
    site, slow = app.state.site, CrossEncoderRanker()
    site.rankers.slow, site.web = slow, replace(site.web, ranking_s=0.1)
    site.library.add_documents([document("long", " ".join(f"Hill {n} is seen." for n in range(30)))])
    found = re.search(
        r'href="(/library/[0-9a-z]+/why\?[^"]*)"', asked(app, OWNER, "/library?q=hill&rank=pairwise").text
    )
    assert found
    slow.given.clear()
    page = asked(app, client, unescape(found[1]))
    assert page.status_code == 200
    assert (sum(slow.given) == 31) == all_of_them
    if not all_of_them:
        assert 1 < sum(slow.given) <= 11
        assert f"({sum(slow.given) - 1} of 30 sentences were looked at: there was no time for more)" in page.text


def test_papers_are_ordered_within_the_time_too(tmp_path: Path):
    app = site_app(tmp_path, records(12), ranked_per_minute=1)
    app.state.site.rankers = Named()
    path = "/papers?q=sparse+attention&rank=blockrank"
    page = TestClient(app, client=STRANGER).get(path)
    told = app.state.site.search.asked[-1]
    assert (told["rank"].cascade.budget_ms, told["candidates"]) == (20_000, 20)
    assert "ordered by blockrank" in page.text
    assert TestClient(app, client=STRANGER).get(path).status_code == 429
