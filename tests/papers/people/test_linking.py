"""What belongs to a paper: who may say so, that it holds against sources, and that it can be taken back."""

from __future__ import annotations

import pytest
from members import OTHER, PAPER, member, record

from foveal.database import Database
from foveal.errors import InputError, NotAllowed, UnknownPaper
from foveal.papers import browsing, claims, moderation
from foveal.papers.linking import LONGEST, MOST, link, unlink
from foveal.papers.records import Linked
from foveal.papers.store import Paper, PaperStore
from foveal.papers.upserts import upsert

CODE, FORK = "https://github.com/ana/look", "https://github.com/somebody/fork"


def paper(database: Database) -> Paper:
    return PaperStore(database).get(PAPER)


def test_what_a_person_says_holds_until_a_person_says_otherwise(both: Database) -> None:
    upsert(both, [record(repo_url=FORK, repo_stars=900)])
    mo = member(both, "mo", "moderator")
    link(both, PAPER, CODE, kind="code", by=mo)
    link(both, PAPER, "https://look.example", kind="project", by=mo)
    assert (paper(both).repo_url, paper(both).repo_stars) == (CODE, None)
    upsert(both, [record(version=2, repo_url=FORK, repo_stars=901, project_url="https://other.example")])
    assert (paper(both).version, paper(both).repo_url, paper(both).repo_stars) == (2, CODE, None)
    assert paper(both).project_url == "https://look.example"
    link(both, PAPER, f"{CODE}-2", kind="code", by=mo)
    assert [one.url for one in paper(both).links if one.kind == "code"] == [f"{CODE}-2"]  # there is one
    unlink(both, PAPER, f"{CODE}-2", by=mo)
    assert paper(both).repo_url == ""
    upsert(both, [record(version=2, repo_url=FORK, repo_stars=902)])
    assert (paper(both).repo_url, paper(both).repo_stars) == (FORK, 902)
    with pytest.raises(UnknownPaper, match="Nobody here added"):
        unlink(both, PAPER, FORK, by=mo)
    acts = [(one.actor, one.action, one.detail) for one in moderation.audit(both, target=f"paper:{PAPER}")]
    assert acts[0] == ("mo", "unlink", f"code {CODE}-2")
    assert ("mo", "link", "project https://look.example") in acts


def test_authors_submitters_curators_and_moderators_may_and_no_one_else(database: Database) -> None:
    kim = member(database, "kim")
    with pytest.raises(NotAllowed):
        link(database, PAPER, CODE, kind="code", by=kim)
    with pytest.raises(NotAllowed):
        unlink(database, PAPER, CODE, by=kim)
    browsing.list_on(database, PAPER, browsing.listed_days(database)[0].replace(year=2020), by="@kim")
    bo = member(database, "bo", domain="lab.example")
    claims.claim(database, bo, PAPER, 1)
    for number, person in enumerate((kim, bo, member(database, "cy", "curator"), member(database, "mo", "moderator"))):
        link(database, PAPER, f"https://models.example/{number}", kind="model", by=person)
    with pytest.raises(NotAllowed):
        link(database, OTHER, CODE, kind="code", by=kim)
    assert len(paper(database).links) == 4


@pytest.mark.parametrize(
    "url",
    ["", "look", "javascript:alert(1)", "ftp://a.example/x", "https://", "http://[", "https://a.example/a b", "\n"],
    ids=["empty", "word", "script", "ftp", "nowhere", "broken", "space", "line"],
)
def test_only_addresses_of_the_web_are_taken(database: Database, url: str) -> None:
    with pytest.raises(InputError, match="needs an address"):
        link(database, PAPER, url, kind="code")
    assert paper(database).links == ()


def test_kinds_lengths_and_numbers_are_bounded(database: Database) -> None:
    with pytest.raises(InputError, match="code, project, model"):
        link(database, PAPER, CODE, kind="virus")
    with pytest.raises(InputError, match="needs an address"):
        link(database, PAPER, f"https://a.example/{'x' * LONGEST}", kind="demo")
    upsert(database, [record(links=(Linked(kind="page", url="https://doi.example"),))])
    for number in range(MOST):
        link(database, PAPER, f"https://models.example/{number}", kind="model", title=f"M  {number}")
    link(database, PAPER, "https://models.example/3", kind="demo", title="A demo")  # the same one, by another name
    with pytest.raises(InputError, match="Take one out"):
        link(database, PAPER, "https://models.example/more", kind="model")
    told = {one.url: (one.kind, one.title) for one in paper(database).links}
    assert (told["https://models.example/3"], told["https://models.example/4"]) == (
        ("demo", "A demo"),
        ("model", "M 4"),
    )
    assert told["https://doi.example"] == ("page", "")
