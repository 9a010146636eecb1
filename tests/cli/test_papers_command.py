"""`foveal papers`, run as a person runs them, in one process."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest
from papers.arxiv_answers import atom as answer
from papers.arxiv_answers import entry
from servers import page, redirect, serving
from typer.testing import CliRunner

from foveal import faults
from foveal.cli import papers
from foveal.cli.main import app
from foveal.cli.papers_output import papers_database
from foveal.database import Database
from foveal.errors import InputError, UnknownName, UnknownPaper
from foveal.papers import sample
from foveal.papers.moderation import audit
from foveal.papers.records import PaperRecord
from foveal.papers.schema import AuthorRow, PaperRow
from foveal.papers.store import PaperStore
from foveal.papers.upserts import upsert
from foveal.settings import Settings

NOW = datetime(2026, 10, 2, 12, tzinfo=UTC)
PAGE = """Daily Papers
by AK and the research community
Jan 8
Where to Look [a study]
We choose where to look, and say what follows from it for texts of any length.
18 authors
·
May 29
3
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("FOVEAL_CACHE", str(tmp_path / "cache"))
    with faults.injected({}, clock=lambda: NOW):
        yield tmp_path


@pytest.fixture(scope="module")
def sampled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("sampled")
    database = Database.open(Settings(home=made, cache=made))
    with faults.injected({}, clock=lambda: NOW):
        sample.load(database, NOW.date())
    database.close()
    return made


@pytest.fixture
def filled(home: Path, sampled: Path) -> Path:
    shutil.copy(sampled / "foveal.db", home / "foveal.db")
    return home


def run(home: Path, *arguments: str, text: str | None = None, fails: type[BaseException] | int = 0):
    done = CliRunner().invoke(app, ["papers", *arguments, "--home", str(home)], input=text)
    if isinstance(fails, int):
        assert done.exit_code == fails, done.output
        return done.stdout
    assert isinstance(done.exception, fails), done.output
    return str(done.exception)


def test_a_page_from_standard_input_is_listed_shown_and_exported(home):
    assert run(home, "import-page", "-", text=PAGE) == "1 papers: 1 new.\n"
    assert run(home, "import-page", "-", text=PAGE) == "1 papers: 1 as before.\n"
    listed = run(home, "list")
    assert "Where to Look [a study]" in listed
    assert "18 authors" in listed
    [paper] = json.loads(run(home, "list", "--json"))["papers"]
    assert (paper["comments_elsewhere"], paper["published_at"][:10]) == (3, "2026-05-29")
    shown = run(home, "show", paper["id"])
    assert "We choose where to look" in shown
    assert "from pasted" in shown
    assert json.loads(run(home, "show", paper["id"], "--json"))["title"] == "Where to Look [a study]"
    assert "title = {{Where to Look [a study]}}" in run(home, "export")
    run(home, "export", paper["id"], "--format", "ris", "--out", str(home / "out.ris"))
    assert (home / "out.ris").read_bytes().startswith(b"TY  - UNPB\r\n")


def test_an_author_who_is_hidden_is_not_shown(filled):
    [paper] = json.loads(run(filled, "list", "--all", "--json"))["papers"][:1]
    name = paper["authors"][0]["name"]
    assert name in run(filled, "show", paper["id"])
    database = Database.open(Settings(home=filled, cache=filled))
    with database.writing() as session:
        session.get_one(AuthorRow, (paper["id"], 0)).status = "hidden"
    database.close()
    for arguments in (("show", paper["id"]), ("show", paper["id"], "--json")):
        assert name not in run(filled, *arguments)
    [same] = json.loads(run(filled, "list", "--all", "--json"))["papers"][:1]
    assert (same["id"], [one["name"] for one in same["authors"]].count(name)) == (paper["id"], 0)


def test_an_id_as_lists_show_it_and_the_address_of_a_page_are_enough(home):
    run(home, "import-page", "-", text=PAGE)
    [paper] = json.loads(run(home, "list", "--all", "--json"))["papers"]
    shown = next(word for word in run(home, "list", "--all").split() if word.startswith("title-"))
    assert paper["id"].startswith(shown) != (paper["id"] == shown)
    for given in (shown, f"http://localhost:8000/papers/{paper['id']}"):
        assert "Where to Look [a study]" in run(home, "show", given)
        assert f"1. {paper['id']}" in run(home, "pick", given, "--day", "tomorrow")
        assert "Where to Look" in run(home, "export", given)
    assert "1 written" in run(home, "summarise", shown, "--model", "none")
    assert "is not here" in run(home, "pick", "title-0123456789", fails=UnknownPaper)
    assert "is not here" in run(home, "summarise", "2609.00009", "--model", "none", fails=UnknownPaper)


def test_a_paper_that_was_withdrawn_is_shown_as_such(home):
    run(home, "import-page", "-", text=PAGE)
    assert "withdrawn" not in run(home, "list", "--all") + run(home, "show", _one(home))
    database = Database.open(Settings(home=home, cache=home))
    with database.writing() as session:
        session.get_one(PaperRow, _one(home)).withdrawn = True
    database.close()
    assert "[withdrawn] Where" in run(home, "list", "--all")
    assert "This paper was withdrawn." in run(home, "show", _one(home))


def test_a_page_from_a_file_on_a_day(home):
    (home / "page.txt").write_text(PAGE)
    run(home, "import-page", str(home / "page.txt"), "--day", "2026-10-01")
    assert json.loads(run(home, "list", "--json"))["period"] == {"kind": "day", "key": "2026-10-01"}
    assert "cannot be read" in run(home, "import-page", str(home / "none.txt"), fails=InputError)


def test_lists_by_period_and_filter(filled):
    def total(*arguments: str) -> int:
        return json.loads(run(filled, "list", *arguments, "--json"))["total"]

    assert total() == total("--day", "today") == total("--day", "2026-10-02") == 12
    assert total("--week", "2026-W40") > total()
    assert total("--all") == 64
    assert 0 < total("--all", "--category", "cs.IR") < 64
    assert 0 < total("--all", "--author", "Suri Valtonen") < 10
    assert 0 < total("--all", "--with-code") < 64
    assert "No papers here" in run(filled, "list", "--day", "2020-01-01")
    assert total("--day", "yesterday") == total("--day", "2026-10-01") > 0
    assert total("--week", "last") == total("--week", "2026-W39") > 0
    assert total("--month", "next") == total("--day", "tomorrow") == 0
    assert "A day looks like" in run(filled, "list", "--day", "someday", fails=InputError)
    assert "No order is called" in run(filled, "list", "--sort", "best", fails=InputError)
    run(filled, "list", "--day", "today", "--all", fails=2)
    assert "No format" in run(filled, "export", "--format", "docx", fails=UnknownName)
    assert run(filled, "export", "--all", "--format", "csv").count("\n") == 65
    assert "is not here" in run(filled, "show", "2609.00009", fails=UnknownPaper)


def test_open_prints_the_address(home):
    with serving({"/api": page(answer(entry()), "application/atom+xml")}) as server:
        _allow_private(home)
        said = run(home, "add", "https://arxiv.org/abs/2609.00001", "--url", server.url("/api"))
    assert said == "add:arxiv: 1 new (1 request).\n"
    assert run(home, "open", "2609.00001", "--print") == "https://arxiv.org/abs/2609.00001\n"
    assert run(home, "open", "2609.00001", "--print", "--pdf") == "https://arxiv.org/pdf/2609.00001v1\n"
    assert "is no paper's id" in run(home, "add", "nothing", fails=InputError)


def test_a_source_that_fails_is_said_with_status_1(home):
    _allow_private(home)
    with serving({"/api": page("Rate exceeded.")}) as server:
        ask = ("--from", "arxiv", "cs.CL", "--since", "2026-10-01")
        said = run(home, "add", *ask, "--url", server.url("/api"), fails=1)
    assert said == "add:arxiv: not read (1 request).\n"  # nobody knows whether there is something new
    assert (
        "no library"
        in CliRunner().invoke(app, ["papers", "add", "--from", "library", "all", "--home", str(home)]).output
    )


def test_a_feed_that_moved_for_good_is_told_and_asked_where_it_was(home):
    body = b"<rss><channel><item><title>One</title><link>http://example.org/1</link></item></channel></rss>"
    routes = {"/old": redirect("/new", 301), "/new": page(body), "/detour": redirect("/new", 302)}
    with serving(routes) as server:
        asks = "".join(
            f'[papers.sources.{one}]\nfrom = "feed"\nask = "{server.url("/" + one)}"\n' for one in ("old", "detour")
        )
        _allow_private(home, asks)
        told = " ".join(CliRunner().invoke(app, ["papers", "update", "--home", str(home)]).output.split())
        assert f"old: it moved to {server.url('/new')}; change the address that you ask." in told
        assert "detour: it moved" not in told
        assert [one["moved_to"] for one in json.loads(run(home, "update", "--json"))] == [server.url("/new"), ""]
        assert server.asked("/old") == 2


def test_update_reads_what_the_file_names(home):
    assert "No source is set" in run(home, "update", fails=InputError)
    body = b"<rss><channel><item><title>One</title><link>http://example.org/1</link></item></channel></rss>"
    with serving({"/feed": page(body)}) as server:
        _allow_private(home, f'[papers.sources.blog]\nfrom = "feed"\nask = "{server.url("/feed")}"\n')
        assert run(home, "update") == "blog: 1 new (1 request).\n"
        [told] = json.loads(run(home, "update", "blog", "--json"))
        assert told["upserted"]["unchanged"] != []
        assert "There are: blog" in run(home, "update", "other", fails=UnknownName)


def test_how_each_source_stands_is_shown_without_reading(home):
    body = b"<rss><channel><item><title>One</title><link>http://example.org/1</link></item></channel></rss>"
    with serving({"/feed": page(body)}) as server:
        plan = '[papers.sources.{0}]\nfrom = "feed"\nask = "{1}"\n'
        both = plan.format("blog", server.url("/feed")) + plan.format("gone", server.url("/none"))
        _allow_private(home, both + 'at = ["12:30"]\n')
        assert run(home, "update", "--list").count("never") == 2
        run(home, "update", fails=1)
        asked = len(server.requests)
        blog, gone = (" ".join(row.split()) for row in run(home, "update", "--list").splitlines()[1:3])
        assert "Oct 02 12:00 Oct 03 06:30" in blog
        assert "never Oct 02 12:30" in gone
        [told] = json.loads(run(home, "update", "gone", "--list", "--json"))
        assert (told["name"], told["read_at"], "status 404" in told["error"]) == ("gone", None, True)
        assert len(server.requests) == asked
        assert "There are: blog, gone" in run(home, "update", "gon", "--list", fails=UnknownName)
    _allow_private(home, plan.format("blog", "https://example.org/other"))
    assert "never" in run(home, "update", "--list")  # it is asked something else now


def test_a_curators_day(filled):
    store = PaperStore(Database.open(Settings.load(filled)))
    first, second, third = (paper.id for paper in store.page(limit=3).papers)
    store.database.close()
    assert "nothing picked" in run(filled, "pick")
    run(filled, "pick", third, first, "--day", "2026-10-03", "--by", "ana")
    run(filled, "pick", second, "--day", "2026-10-03", "--place", "1")
    told = json.loads(run(filled, "pick", "--day", "2026-10-03", "--json"))
    assert [one["paper"] for one in told["picks"]] == [second, third, first]
    assert third not in told["queue"]
    shown = run(filled, "pick")
    assert shown.index("nothing picked") < shown.index("2026-10-03: 3 picked") < shown.index(f"3. {first}")
    assert [one["paper"] for one in json.loads(run(filled, "pick", "--json"))["planned"]] == [second, third, first]
    run(filled, "pick", third, second, first, "--day", "2026-10-03", "--order")
    said = run(filled, "pick", second, "--day", "2026-10-03", "--remove")
    assert "2 picked" in said
    assert f"1. {third}" in said
    assert "1 picked" in run(filled, "pick", third, "--day", "2026-10-03", "--unlist")
    run(filled, "pick", third, "--day", "2020-01-01", "--unlist", fails=UnknownPaper)
    with papers_database(filled) as database:
        acts = [(one.actor, one.action, one.target, one.detail) for one in audit(database)]
    day = "2026-10-03"
    assert acts[:2] == [("system", "unlist", f"paper:{third}", day), ("system", "unpick", f"paper:{second}", day)]
    assert acts[2:] == [
        ("system", "pick", f"paper:{second}", day),
        *(("ana", "pick", f"paper:{paper}", day) for paper in (first, third)),
    ]


def test_a_paper_is_removed_after_a_question_and_let_back(filled):
    store = PaperStore(Database.open(Settings.load(filled)))
    first, second, third = store.page(limit=3).papers
    store.database.close()
    assert "Nothing was removed" in run(filled, "remove")
    asked = CliRunner().invoke(app, ["papers", "remove", first.id, "--home", str(filled)], input="n\n")
    assert (asked.exit_code, "Remove it for good, with votes and remarks?" in asked.stderr) == (1, True)
    assert run(filled, "show", first.id)  # it is still there
    run(filled, "remove", first.id, "2699.00001", "--yes", fails=UnknownPaper)
    assert run(filled, "show", first.id)  # all of them, or none
    said = run(filled, "remove", first.id, first.id, "--reason", "spam", text="y\n")
    assert f"{first.id} is removed: {first.title}\n" in said
    run(filled, "show", first.id, fails=UnknownPaper)
    run(filled, "remove", second.id, "--same-as", third.id, "--yes")
    told = json.loads(run(filled, "remove", "--json"))
    assert {(one["id"], one["reason"], one["same_as"]) for one in told} == {
        (second.id, "", third.id),
        (first.id, "spam", ""),
    }
    assert "spam" in run(filled, "remove")
    assert f"{first.id} may come again" in run(filled, "remove", "--undo", first.id)
    assert run(filled, "remove", "--undo", fails=2) == ""
    assert run(filled, "remove", "--reason", "spam", fails=2) == ""


def test_what_belongs_to_a_paper(filled):
    store = PaperStore(Database.open(Settings.load(filled)))
    paper = next(one for one in store.page(limit=40).papers if not one.repo_url and not one.links).id
    store.database.close()
    assert run(filled, "link", paper) == "No links yet.\n"
    run(filled, "link", paper, "https://models.example/look", "--kind", "model", "--title", "Look")
    said = run(filled, "link", paper, "https://github.com/ana/look")
    assert said == "code: https://github.com/ana/look\nmodel: https://models.example/look  Look\n"
    run(filled, "link", paper, "https://github.com/ana/look", "--remove")
    told = json.loads(run(filled, "link", paper, "--json"))
    assert told == [{"kind": "model", "url": "https://models.example/look", "title": "Look"}]
    run(filled, "link", paper, "look", fails=InputError)
    run(filled, "link", paper, "--remove", fails=2)


def test_what_was_removed_is_told_by_what_would_bring_it(home):
    run(home, "import-page", "-", text=PAGE)
    database = Database.open(Settings.load(home))
    paper = PaperStore(database).page().papers[0].id
    upsert(database, [PaperRecord(id="2605.01234", title="How to Look", source="arxiv")])
    database.close()
    run(home, "remove", paper, "2605.01234", "--yes")
    assert run(home, "import-page", "-", text=PAGE) == "0 papers: 1 removed here, and left out.\n"
    with serving({"/api": page(answer(entry("2605.01234")))}) as server:
        _allow_private(home)
        asked = ["papers", "add", "2605.01234", "--url", server.url("/api"), "--home", str(home)]
        told = CliRunner().invoke(app, asked)
    assert "1 removed here, and left out (1 request)" in told.stdout
    assert "foveal papers remove --undo ID" in told.stderr


def test_topics(filled):
    assert "sparse-attention  Sparse attention: sparse attention" in run(filled, "topics")
    run(filled, "topics", "law", "--query", "legal texts", "--title", "Law")
    assert [one["name"] for one in json.loads(run(filled, "topics", "--json"))][-1] == "law"
    run(filled, "topics", "law", "--remove")
    assert "law" not in run(filled, "topics")
    run(filled, "topics", "law", fails=2)


def test_search_by_words_and_by_id(filled):
    (filled / "foveal.toml").write_text('encoder = "none"\n')
    found = json.loads(run(filled, "search", "sparse attention", "-k", "3", "--json"))
    assert found["retriever"] == "lexical"
    assert 1 <= len(found["papers"]) <= 3
    first = found["papers"][0]["paper"]
    assert "attention" in first["title"].lower() + first["abstract"].lower()
    assert json.loads(run(filled, "search", first["id"], "--json"))["papers"][0]["paper"]["id"] == first["id"]
    assert "Nothing found" in run(filled, "search", "zzzzqq")
    assert json.loads(run(filled, "search", "", "--json"))["note"].startswith("Type words")


def test_summaries_by_rule_are_written_once(filled):
    missing = json.loads(run(filled, "summarise", "--model", "none", "--json"))
    assert missing["left"] == 0
    assert json.loads(run(filled, "summarise", "--model", "none", "--json"))["written"] == []
    some = run(filled, "summarise", "--model", "none", "--again", "--limit", "2")
    assert some.startswith("2 written")
    for one in missing["written"][:3]:
        paper = json.loads(run(filled, "show", one, "--json"))
        assert paper["summary"] in " ".join(paper["abstract"].split())


def _allow_private(home: Path, more: str = "") -> None:
    (home / "foveal.toml").write_text(f"allow_private_addresses = true\n{more}")


def test_every_command_is_in_the_docs():
    page = (Path(__file__).parents[2] / "docs" / "commands.md").read_text(encoding="utf-8")
    names = [one.name or one.callback.__name__ for one in papers.app.registered_commands]
    assert len(names) == 15
    assert [name for name in names if f"papers {name}`" not in page] == []


def test_titles_are_judged_only_by_a_judge_of_ones_own(filled):
    assert "foveal train headline-judge" in run(filled, "headlines")
    assert json.loads(run(filled, "headlines", "--json"))["judged"] == []
    assert "No headline judge is called 'mine'" in run(filled, "headlines", "--judge", "mine", fails=UnknownName)
    assert "a judge where it names a writer" in run(filled, "headlines", "--writer", "mine", fails=InputError)


def test_who_judges_titles_by_hand_is_told_what_shows_them(home):
    (home / "models" / "mine").mkdir(parents=True)
    (home / "models" / "mine" / "judge.json").write_text("{}")  # not read: there is no paper
    said = run(home, "headlines", "--judge", "mine")
    assert "0 titles judged" in said
    assert 'The site shows them once foveal.toml names a judge: [headlines] judge = "mine".' in said
    (home / "foveal.toml").write_text('[headlines]\njudge = "mine"\n')
    assert "The site shows" not in run(home, "headlines")


def test_an_export_of_a_time_without_papers_says_so(filled):
    done = CliRunner().invoke(app, ["papers", "export", "--day", "2020-01-01", "--home", str(filled)])
    assert (done.exit_code, done.stdout) == (0, "")
    assert "nothing is exported" in " ".join(done.stderr.split())


def test_an_export_of_papers_by_name_takes_no_time_beside_it(filled):
    done = CliRunner().invoke(app, ["papers", "export", "2605.01234", "--day", "soon", "--home", str(filled)])
    assert (done.exit_code, done.stdout) == (2, "")
    assert "Papers are named" in " ".join(done.stderr.split())


def _one(home: Path) -> str:
    [paper] = json.loads(run(home, "list", "--all", "--json"))["papers"]
    return paper["id"]


def test_a_narrow_terminal_shows_ids_that_can_be_typed_again(filled, monkeypatch):
    monkeypatch.setenv("COLUMNS", "44")
    narrow = run(filled, "list", "--all").splitlines()
    assert max(map(len, narrow)) <= 44
    named = [line.split()[1] for line in narrow if "  title-" in line]
    assert named
    assert json.loads(run(filled, "show", named[0], "--json"))["id"].startswith(named[0])
