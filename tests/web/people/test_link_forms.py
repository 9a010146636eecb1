"""Links of a paper over HTTP: the form on its page, who sees it, and what the API then says."""

from __future__ import annotations

from fastapi import FastAPI
from members import PAPER
from visitors import Visitor

CODE = "https://github.com/ana/look"
FORM = f'action="/link/{PAPER}"'


def test_a_link_is_added_and_taken_out_on_the_papers_page(app: FastAPI, visitor: Visitor) -> None:
    visitor.sign_in("cy", "curator")
    page = f"/papers/{PAPER}"
    assert FORM in visitor.get(page).text
    assert visitor.submit(f"/link/{PAPER}", page, url=CODE, kind="code").headers["location"] == page
    visitor.submit(f"/link/{PAPER}", page, url="https://models.example/<b>", kind="model", title="<i>Look</i>")
    seen = Visitor(app).get(page).text
    assert "★ GitHub" in seen
    assert "Models" in seen
    assert "&lt;i&gt;Look&lt;/i&gt;" in seen
    told = Visitor(app).get(f"/api/papers/{PAPER}").json()
    assert (told["githubRepo"], told["githubRepoAddedBy"]) == (CODE, "user")
    assert visitor.submit(f"/link/{PAPER}", page, url="javascript:alert(1)").status_code == 400
    visitor.submit(f"/link/{PAPER}", page, url=CODE, on="no")
    assert "★ GitHub" not in visitor.get(page).text


def test_others_see_no_form(app: FastAPI, visitor: Visitor) -> None:
    visitor.sign_in("kim")
    assert FORM not in visitor.get(f"/papers/{PAPER}").text
    assert visitor.submit(f"/link/{PAPER}", url=CODE).status_code == 403
    assert FORM not in Visitor(app).get(f"/papers/{PAPER}").text
