"""Grades given on the library's page: kept as `foveal judge` keeps them, for the passage and text that were shown."""

from __future__ import annotations

import re
from html import unescape

import pytest
from reading_site import STORY, made_app, visiting

from foveal.evaluation.judgements import FILE, read_judgements


@pytest.fixture
def app(tmp_path):
    return made_app(tmp_path)


@pytest.fixture
def visitor(app):
    with visiting(app) as opened:
        opened.add(("mill.md", STORY.encode()), ("hawk.txt", b"Hawks have two foveas in each eye, mills have none."))
        yield opened


def forms(page: str) -> list[dict[str, str]]:
    """The hidden fields of each form of grades."""
    parts = re.findall(r"<form class=\"grades\".*?</form>", page, re.DOTALL)
    return [
        {name: unescape(value) for name, value in re.findall(r'name="(\w+)" value="([^"]*)">', part)} for part in parts
    ]


def pressed(page: str) -> list[str]:
    return re.findall(r'value="(\d)" aria-pressed="true"', page)


def test_a_grade_is_kept_shown_and_replaced(visitor, tmp_path):
    plain = visitor.client.get("/library", params={"q": "mills & foveas"}).text
    assert "Grade these" in plain
    assert not forms(plain)
    page = visitor.client.get("/library", params={"q": "mills & foveas", "judge": 1}).text
    first = forms(page)[0]
    assert len(forms(page)) == page.count('class="hit-title"')
    assert pressed(page) == []
    for grade in ("2", "0"):
        answer = visitor.post("/library/judge", **{**first, "token": visitor.token(), "grade": grade})
        assert answer.status_code == 200
        assert str(answer.url).endswith("judge=1#hit-1")
        assert pressed(answer.text) == [grade]
    [kept] = read_judgements(tmp_path / FILE)
    assert (kept.query, kept.grade, kept.span.document_id) == ("mills & foveas", 0, first["document"])
    assert kept.judged_at
    other = visitor.client.get("/library", params={"q": "foveas", "judge": 1}).text
    assert pressed(other) == []  # a grade is of its query


def test_the_way_of_searching_outlives_a_grade_and_a_look_at_why(visitor):
    how = {"q": "mill", "each": "1", "no_events": "1"}
    page = visitor.client.get("/library", params=how | {"judge": 1}).text
    answer = visitor.post("/library/judge", **{**forms(page)[0], "token": visitor.token(), "grade": "2"})
    assert dict(answer.url.params) == how | {"judge": "1"}
    why = visitor.client.get(unescape(re.findall(r'href="(/library/\w+/why\?[^"]+)"', page)[0])).text
    [back] = re.findall(r'href="/library\?([^"]+)">What was found', why)
    assert sorted(unescape(back).split("&")) == [f"{name}={value}" for name, value in sorted(how.items())]


def test_what_cannot_be_graded_is_refused_and_keeps_nothing(visitor, tmp_path):
    page = visitor.client.get("/library", params={"q": "mill", "judge": 1}).text
    given = forms(page)[0] | {"token": visitor.token()}
    for wrong, status in (
        ({"grade": "7"}, 400),
        ({"grade": "2", "end": "3"}, 400),
        ({"grade": "2", "revision": "0" * 64}, 400),
        ({"grade": "2", "document": "f" * 32}, 404),
        ({"grade": "2", "q": "  "}, 400),
        ({"grade": "2", "token": "forged"}, 403),
    ):
        answer = visitor.client.post("/library/judge", data=given | wrong)
        assert answer.status_code == status, (wrong, answer.text[-800:])
    assert not (tmp_path / FILE).exists()


def test_visitors_who_may_only_look_see_no_grades(tmp_path):
    app = made_app(tmp_path)
    with visiting(app) as owner:
        owner.add(("mill.md", STORY.encode()))
    with visiting(made_app(tmp_path, writers="nobody")) as guest:
        page = guest.client.get("/library", params={"q": "mill", "judge": 1}).text
        assert not forms(page)
        assert "Grade these" not in page
        fields = {"q": "mill", "document": "a" * 32, "start": "0", "end": "9", "revision": "r", "grade": "1"}
        assert guest.post("/library/judge", **fields).status_code == 403
