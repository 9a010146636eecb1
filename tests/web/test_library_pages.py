"""The library's pages: files, URLs and texts in, search, removal; and what must not get in."""

from __future__ import annotations

import re
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from fpdf import FPDF
from honest import document
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from reading_site import STORY, made_app, pdf, text_of, visiting
from servers import page, serving
from text.books import epub, paragraph, word

from foveal import faults
from foveal.errors import InputError
from foveal.library import Library
from foveal.retrieval import adding
from foveal.retrieval.store import Store
from foveal.settings import Settings
from foveal.text.discovery import KINDS
from foveal.text.files import file_address
from foveal.types import Document
from foveal.web import library_pages
from foveal.web.job import Job, JobSettings
from foveal.web.library_adding import AddWork
from foveal.web.passage_marks import marked_words
from foveal.web.uploads import ACCEPT, LONGEST_NAME, TAKEN, addresses_in, file_given, pasted_given, safe_name


@pytest.fixture
def app(tmp_path: Path):
    return made_app(tmp_path, max_upload_mb=1)


@pytest.fixture
def visitor(app):
    with visiting(app) as opened:
        yield opened


def kept(home: Path) -> list[str]:
    return sorted(str(path.relative_to(home / "uploads")) for path in (home / "uploads").rglob("*") if path.is_file())


def test_an_empty_library_says_what_to_do_and_is_not_made_by_looking(visitor, tmp_path):
    page = text_of(visitor.client.get("/library").text)
    assert "Nothing is here yet" in page
    assert "Add to the library" in page
    assert "The library is empty" in text_of(visitor.client.get("/ask").text)
    assert visitor.client.get("/library/abcdef12").status_code == 404
    assert not (tmp_path / "library").exists()


def test_files_of_all_kinds_get_in_and_are_listed(visitor, tmp_path):
    page = text_of(
        visitor.add(
            ("mill.md", STORY.encode()),
            ("tides.pdf", pdf("Water comes twice a day.", "It goes, too.")),
            ("page.html", b"<html><head><title>A page</title></head><body><p>Hawks have two foveas.</p></body></html>"),
            ("plain.txt", "Schärfe ist in der Mitte.".encode()),
        )
    )
    assert page.count("is in the library now: 1 passage") == 4
    assert "1 passage of 2 pages" in page
    listed = text_of(visitor.client.get("/library").text)
    for title in ("The mill", "Tide mills", "A page", "plain"):
        assert title in listed
    assert "4 documents" in listed
    assert len(kept(tmp_path)) == 4


def test_pages_that_are_but_pictures_are_told_to_who_added_them_and_to_readers(visitor):
    made = FPDF()
    made.set_font("helvetica", size=11)
    for n in range(3):
        made.add_page()
        if n:
            made.image(Image.new("L", (50, 70), 200), w=180)
        else:
            made.multi_cell(0, text=STORY)
    said = "2 pages of it cannot be read"
    assert said in text_of(visitor.add(("scan.pdf", bytes(made.output()))))
    assert said in text_of(visitor.client.get(f"/library/{visitor.only()}").text)
    assert visitor.client.get("/library?q=mill&where=unread_pages>1&retriever=lexical").text.count('class="hit"') == 1


def test_a_page_of_many_documents_reads_its_own_alone(visitor, app, monkeypatch):
    monkeypatch.setattr(library_pages, "LISTED", 3)
    library = app.state.site.library
    for n in range(8):
        library.add_documents([document(f"d{n}", f"A text about {n}.", title=f"Document {n}")])
    asked, entries = [], Store.entries

    def noted(self, condition=None, *, limit=None):
        found = entries(self, condition, limit=limit)
        asked.append(len(found))
        return found

    monkeypatch.setattr(Store, "entries", noted)
    shown = {n: text_of(visitor.client.get(f"/library?p={n}").text) for n in (0, 1, 2, 3, 9)}
    pages = {n: re.findall(r"Document (\d)", text) for n, text in shown.items()}
    assert pages == {0: ["7", "6", "5"], 1: ["7", "6", "5"], 2: ["4", "3", "2"], 3: ["1", "0"], 9: ["1", "0"]}
    assert max(asked) == 3


def test_the_same_file_again_is_the_same_document_whatever_its_name(visitor, tmp_path):
    visitor.add(("mill.md", STORY.encode()))
    assert "was in the library already" in text_of(visitor.add(("renamed.md", STORY.encode())))
    visitor.only()
    assert len(kept(tmp_path)) == 1


def test_a_text_that_another_document_holds_is_said_to_be_there(visitor, app):
    app.state.site.library.add_documents([document("elsewhere", STORY, title="Elsewhere")])
    assert "The same text stands in Elsewhere" in text_of(visitor.add(("mill.md", STORY.encode())))


def test_a_pasted_text_becomes_a_document_named_by_its_first_line(visitor):
    page = text_of(visitor.waited(visitor.post("/library/add", pasted="About the moon\n\nIt is far away.")))
    assert "About the moon is in the library now" in page


def test_a_text_in_a_script_without_blanks_is_a_text(visitor):
    text = "中央凹是视网膜上视觉最敏锐的区域。"
    assert f"{text} is in the library now" in text_of(visitor.waited(visitor.post("/library/add", pasted=text)))


def test_what_was_pasted_is_added_beside_files(visitor):
    page = visitor.post("/library/add", [("files", ("mill.md", STORY.encode()))], pasted="About the moon\n\nIt is far.")
    assert text_of(visitor.waited(page)).count("is in the library now") == 2


@pytest.mark.parametrize(
    ("pasted", "said"),
    [
        ("", "Nothing was given"),
        ("nonsense", "neither a URL"),
        ("file:///etc/passwd", "neither a URL"),
        ("/etc/passwd", "neither a URL"),
        ("ftp://example.org/x", "neither a URL"),
    ],
)
def test_what_is_no_source_is_refused_beside_the_form(visitor, tmp_path, pasted, said):
    answer = visitor.post("/library/add", pasted=pasted)
    assert answer.status_code == 400
    assert said in text_of(answer.text)
    assert not (tmp_path / "uploads").exists()


def test_what_is_refused_is_said_beside_a_library_with_documents_too(visitor):
    visitor.add(("mill.md", STORY.encode()))
    answer = visitor.post("/library/add", pasted="nonsense")
    assert answer.status_code == 400
    assert "neither a URL" in text_of(answer.text)
    assert "nonsense" in answer.text  # what was pasted is still there
    assert "form-first" in answer.text  # on a phone, too, it is seen at once
    assert "form-first" not in visitor.client.get("/library").text


def test_addresses_that_are_pasted_together_are_each_fetched_and_are_no_text(visitor, tmp_path):
    page = text_of(visitor.waited(visitor.post("/library/add", pasted="http://127.0.0.1:9/a\nhttp://127.0.0.1:9/b\n")))
    assert page.count("only public ones are read") == 2
    assert not (tmp_path / "uploads").exists()
    answer = visitor.post("/library/add", pasted=" ".join(f"http://127.0.0.1:9/{n}" for n in range(21)))
    assert "21 addresses were sent; at most 20" in text_of(answer.text)
    assert addresses_in("2103.00020 https://example.org") == ["2103.00020", "https://example.org"]
    assert addresses_in("See https://example.org\nand https://example.org/b") == []


def test_an_address_of_this_machine_is_not_fetched(visitor):
    page = text_of(visitor.waited(visitor.post("/library/add", pasted="http://127.0.0.1:9/secret")))
    assert "was not added" in page
    assert "only public ones are read" in page


def test_a_book_and_a_word_document_are_read(visitor):
    text = "The fovea sees sharply."
    book = epub({"one.xhtml": f"<h1>Sight</h1><p>{text}</p>"})
    page = text_of(
        visitor.add(("sight.epub", book), ("letter.docx", word(paragraph(text))), ("bad.docx", b"PK\x03\x04"))
    )
    assert "bad.docx" in page
    assert "damaged" in page
    found = visitor.client.get("/library", params={"q": "fovea"}).text
    assert found.count('class="hit-title"') == 2


def test_old_office_files_are_added(visitor):
    here = Path(__file__).parent.parent / "text"
    names = ("book.doc", "deck.ppt", "book.xls")
    page = text_of(visitor.add(*((name, (here / name).read_bytes()) for name in names)))
    assert "cannot be read" not in page
    for asked in ("eleven feet", "drowned", "Verbunden"):
        assert visitor.client.get("/library", params={"q": asked}).text.count('class="hit-title"') >= 1


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("picture.jxl", b"\x89PNG\r\n\x1a\n" + bytes(64), "an image"),
        ("report.xlsb", b"\xd0\xcf\x11\xe0" + bytes(64), "an old Office document"),
        ("notes.txt.gz", b"\x1f\x8b" + bytes(64), "compressed with gzip"),
        ("rows.jsonl", b'{"text": "x"}\n', "of kind jsonl"),
        ("empty.txt", b"", "is empty"),
    ],
)
def test_files_of_other_kinds_are_refused_before_they_are_kept(visitor, tmp_path, name, content, said):
    answer = visitor.post("/library/add", [("files", (name, content))])
    assert answer.status_code == 400
    assert said in text_of(answer.text)
    assert not (tmp_path / "uploads").exists()


def test_of_files_that_are_refused_together_none_is_kept_but_those_of_documents(visitor, tmp_path):
    wrong = ("files", ("picture.jxl", b"\x89PNG\r\n\x1a\n" + bytes(64)))
    answer = visitor.post("/library/add", [("files", ("mill.md", STORY.encode())), wrong])
    assert answer.status_code == 400
    assert "None of the 2 files was added" in text_of(answer.text)
    assert kept(tmp_path) == []
    visitor.add(("mill.md", STORY.encode()))
    assert visitor.post("/library/add", [("files", ("again.md", STORY.encode())), wrong]).status_code == 400
    assert len(kept(tmp_path)) == 1


class Busy:
    """Work that keeps the library's lane until it is let go."""

    title, lane = "Busy", "library"

    def __init__(self) -> None:
        self.go = threading.Event()

    def page(self, key: str) -> str:
        return f"/jobs/{key}"

    def __call__(self, _job: Job) -> None:
        assert self.go.wait(60)


def test_the_pages_of_a_long_file_are_told_while_it_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(adding, "LONG_S", 0.0)
    settings = Settings(home=tmp_path, cache=Settings.load().cache)
    given = file_given(settings, "tides.pdf", pdf("Water comes twice a day.", "It goes, too."))
    work = AddWork((given,), lambda: Library.open(settings=settings, encoder="none"))
    job, told = Job(work, JobSettings(every_s=0)), list[str]()
    with job.watched(lambda: told.append(job.progress.text)):
        work(job)
    assert told.index("Reading tides.pdf: 1 of 2 pages") < told.index("Reading tides.pdf: 2 of 2 pages")
    assert work.outcome[0].state == "added"


def test_a_file_goes_with_the_last_job_that_was_to_add_it(visitor, app, tmp_path):
    busy, jobs = Busy(), app.state.site.jobs
    jobs.start(busy)
    first, second = (visitor.post("/library/add", [("files", ("mill.md", STORY.encode()))]) for _ in range(2))
    assert "was cancelled" in visitor.post(f"{first.url.path}/cancel").text
    assert len(kept(tmp_path)) == 1  # the second waits for it
    assert "was cancelled" in visitor.post(f"{second.url.path}/cancel").text
    assert kept(tmp_path) == []
    busy.go.set()


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("broken.pdf", b"%PDF-1.4 and then nothing", "no PDF that can be read"),
        ("blank.pdf", pdf(""), "1 page without text"),
        ("page.png", b"\x89PNG\r\n\x1a\n" + bytes(64), "is no picture that can be read"),
        ("nothing.pdf", b"just text", "is no PDF"),
        ("binary.txt", bytes(range(256)) * 40, "binary.txt"),
    ],
)
def test_a_file_that_cannot_be_read_says_so_and_is_not_kept(visitor, tmp_path, name, content, said):
    page = text_of(visitor.add((name, content)))
    assert "was not added" in page
    assert said in page
    assert str(tmp_path) not in page
    assert kept(tmp_path) == []


def test_what_is_too_large_is_a_clear_page(visitor):
    answer = visitor.post("/library/add", [("files", ("big.txt", b"word " * 2**18))])
    assert answer.status_code == 413
    assert answer.headers["content-type"].startswith("text/html")
    assert "larger than 1 MB" in text_of(answer.text)


def test_a_text_that_is_too_long_to_be_pasted_says_what_to_do(tmp_path):
    with visiting(made_app(tmp_path)) as visitor:
        answer = visitor.post("/library/add", pasted="word " * 2**18, files=[("files", ("a.txt", b"Some text."))])
        assert answer.status_code == 413
        assert "Save it as a file" in text_of(answer.text)
        assert "is in the library now" in visitor.add(("word.txt", b"word " * 2**18))


def test_names_lead_nowhere_else_and_are_shown_as_text(visitor, tmp_path):
    visitor.add(("../../../etc/<script>alert(1)</script>.md", b"Some text about nothing."))
    page = visitor.client.get("/library").text
    assert "<script>alert" not in page
    assert all(path.is_relative_to(tmp_path / "uploads") for path in (tmp_path / "uploads").rglob("*"))
    assert len(kept(tmp_path)) == 1


@given(st.text(max_size=300))
def test_a_safe_name_is_one_part_of_a_path(name):
    safe = safe_name(name)
    assert len(safe.encode()) <= LONGEST_NAME
    assert "/" not in safe
    assert "\\" not in safe
    assert not safe.startswith(".")
    assert safe.isprintable()
    assert safe_name(safe) in (safe, safe.strip(". "))


def test_safe_names():
    assert safe_name("../../etc/pass\nwd") == "passwd"
    assert safe_name("C:\\Users\\x\\Report 2.pdf") == "Report 2.pdf"
    assert safe_name("..") == ""
    assert safe_name("Über die Mühle.pdf") == "Über die Mühle.pdf"
    assert safe_name("x" * 500 + ".pdf").endswith("x.pdf")


def test_arxiv_ids_and_urls_are_told_from_texts(tmp_path):
    settings = Settings(home=tmp_path, cache=tmp_path)
    for given_, address in {
        "2103.00020": "arxiv:2103.00020",
        " arXiv:2103.00020v2 ": "arxiv:2103.00020v2",
        "https://arxiv.org/pdf/2103.00020": "arxiv:2103.00020",
        "https://example.org/a?b=c": "https://example.org/a?b=c",
    }.items():
        assert pasted_given(settings, given_).source == address
    text = pasted_given(settings, "https://example.org says so.\nAnd more.")
    assert text.kept
    assert text.kept.read_text() == "https://example.org says so.\nAnd more."
    with pytest.raises(InputError, match="at most"):
        file_given(Settings(home=tmp_path, cache=tmp_path, max_file_mb=1), "a.txt", b"x" * (2**20 + 1))


@pytest.mark.parametrize("ending", ACCEPT.partition(",application")[0].split(","))
def test_every_ending_that_the_form_offers_is_taken(tmp_path, ending):
    given = file_given(Settings(home=tmp_path, cache=tmp_path), f"page{ending}", b"From: a@b.example\n\nSome words.")
    assert given.name == f"page{ending}"
    assert all(any(one in ACCEPT.split(",") for one, kind in KINDS.items() if kind == taken) for taken in TAKEN)


def test_search_shows_the_place_with_words_marked(visitor, monkeypatch):
    visitor.add(("mill.md", STORY.encode()), ("tides.pdf", pdf("Nothing here.", "The tide is high at noon.")))
    page = visitor.client.get("/library?q=keepers+of+the+mill").text
    assert "<mark>keeper</mark>" in page
    assert "<mark>the</mark>" not in page
    address = re.search(r'class="hit-title" href="([^"#]+)(#[^"]+)"', page)
    assert address
    shown = visitor.client.get(address[1].replace("&amp;", "&"))
    assert f'id="{address[2][1:]}"' in shown.text
    only = text_of(visitor.client.get("/library?q=tide&where=kind%3Dpdf").text)
    assert "pages 1 to 2" in only
    assert "Orsin" not in only
    assert "Nothing found" in text_of(visitor.client.get("/library?q=zeppelin").text)
    monkeypatch.setattr(Library, "reads", lambda _, query, retriever: query != "☃" or retriever == "lexical")
    assert "knows no token" in text_of(visitor.client.get("/library?q=☃").text)
    assert "knows no token" not in text_of(visitor.client.get("/library?q=☃&retriever=lexical").text)


def test_each_document_is_shown_once_where_that_is_asked_for(visitor):
    mills = "\n\n".join(f"The mill has {n} wheels. " + "Water runs. " * 60 for n in range(9))
    visitor.add(("mill.txt", mills.encode()), ("other.txt", b"A mill stands here, too."))
    assert visitor.client.get("/library?q=mill+wheels").text.count('class="hit-title"') > 2
    page = visitor.client.get("/library?q=mill+wheels&each=1").text
    assert page.count('class="hit-title"') == 2
    assert "each document once" in page
    assert 'name="each" value="1" checked' in page
    assert "each=1" in re.search(r'href="(/library/[0-9a-f]+/why[^"]*)"', page)[1]  # and so back again


@pytest.mark.parametrize(
    "wrong",
    [
        *("retriever=semantic", "where=nonsense", "rank=nobody-trained-this", "retriever=dense"),
        *(
            "rank=/etc",
            "rank=some/model",
            "retriever=generative:/etc",
            "rank=" + "m" * 300,
        ),  # nothing outside of the home is opened
    ],
)
def test_a_search_that_cannot_be_keeps_what_was_typed_and_says_why(visitor, wrong):
    visitor.add(("mill.md", STORY.encode()))
    answer = visitor.client.get(f"/library?q=mill&{wrong}")
    assert answer.status_code == 400
    assert 'role="alert"' in answer.text
    assert 'value="mill"' in answer.text


def test_a_search_as_of_a_day_sees_nothing_later(visitor):
    for name, day, said in (("First", "2023-05-01", "opened"), ("Second", "2024-06-01", "closed")):
        head = f'<title>{name} bridge</title><meta property="article:published_time" content="{day}">'
        page = f"<html><head>{head}</head><body><p>The bridge of Orsin was {said} by its keeper.</p></body></html>"
        visitor.add((f"{name}.html", page.encode()))
    whole = text_of(visitor.client.get("/library?q=bridge+of+Orsin&retriever=fresh").text)
    assert "First bridge" in whole
    assert "Second bridge" in whole
    page = visitor.client.get("/library?q=bridge+of+Orsin&as_of=2023-12-31")
    assert "First bridge" in text_of(page.text)
    assert "Second bridge" not in text_of(page.text)
    assert 'name="as_of" value="2023-12-31"' in page.text
    assert "as_of=2023-12-31&amp;judge=1" in page.text
    assert "About something of now: " in text_of(page.text)  # what the search took the query to be about
    assert "Events taken for it" not in visitor.client.get("/library?q=bridge+of+Orsin&retriever=lexical").text
    without = visitor.client.get("/library?q=bridge+of+Orsin&as_of=2023-12-31&no_events=1")
    assert "Events taken for it: none." in text_of(without.text)
    assert 'name="no_events" value="1" checked' in without.text
    assert "no_events=1&amp;judge=1" in without.text
    told = visitor.client.get("/api/library/search?q=bridge+of+Orsin&as_of=2023-12-31&events=false").json()
    assert told["note"].endswith("Events taken for it: none.")
    wrong = {"retriever=lexical&as_of=2023-12-31": "Choose fresh, or clear the day", "as_of=yesterday": "yesterday"}
    for query, said in wrong.items():
        answer = visitor.client.get(f"/library?q=bridge&{query}")
        assert answer.status_code == 400
        assert said in text_of(answer.text)
        assert 'role="alert"' in answer.text
    trained = text_of(visitor.client.get("/library?q=bridge&retriever=fresh:mine&as_of=2023-12-31").text)
    assert "As of” goes with" not in trained  # a model's fresh search has a moment, too; this one is not there
    assert "mine" in trained


def test_nothing_is_removed_while_something_is_added(visitor, app):
    visitor.add(("mill.md", STORY.encode()))
    with app.state.site.library.store.writing():
        answer = visitor.post(f"/library/{visitor.only()}/remove")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "10")
    assert "is being added to just now. Nothing was removed" in text_of(answer.text)
    assert "The mill" in visitor.client.get("/library").text


def test_a_document_gets_another_title_and_its_own_back(visitor, app):
    visitor.add(("mill.md", STORY.encode()))
    which = visitor.only()
    assert f'href="/library/{which}/rename"' in visitor.client.get(f"/library/{which}").text
    form = visitor.client.get(f"/library/{which}/rename").text
    assert 'value="The mill"' in form
    assert visitor.client.post(f"/library/{which}/rename", data={"title": "No token"}).status_code == 403
    answer = visitor.post(f"/library/{which}/rename", title="A & B <b>")
    assert '<h1 dir="auto">A &amp; B &lt;b&gt;</h1>' in answer.text
    assert "Its source calls it “ The mill ”" in text_of(visitor.client.get(f"/library/{which}/rename").text)
    too_long = visitor.post(f"/library/{which}/rename", title="x" * 301)
    assert (too_long.status_code, "300 characters" in text_of(too_long.text)) == (400, True)
    with app.state.site.library.store.writing():
        busy = visitor.post(f"/library/{which}/rename", title="Busy")
    assert (busy.status_code, "Nothing was renamed" in text_of(busy.text)) == (503, True)
    assert "The mill" in visitor.post(f"/library/{which}/rename", title=" ").text


def test_no_error_tells_where_the_home_lies(visitor, tmp_path):
    visitor.add(("mill.md", STORY.encode()))
    library = visitor.client.get("/library?q=mill&retriever=generative")
    ask = visitor.post("/ask", question="Who?", retriever="generative")
    for answer in (library, ask):
        assert answer.status_code == 400
        assert "There is no model of titles in HOME/models yet." in text_of(answer.text)
        assert str(tmp_path) not in answer.text
    assert "Who?</textarea>" in ask.text  # what was typed is still there


def test_a_document_is_removed_after_a_question_with_the_file_that_was_kept(visitor, tmp_path):
    visitor.add(("mill.md", STORY.encode()))
    which = visitor.only()
    asked = visitor.client.get(f"/library/{which}/remove")
    assert "The file that was uploaded is deleted." in text_of(asked.text)
    assert visitor.client.post(f"/library/{which}/remove").status_code == 403
    assert kept(tmp_path) != []
    assert "Nothing is here yet" in text_of(visitor.post(f"/library/{which}/remove").text)
    assert kept(tmp_path) == []
    assert visitor.client.get(f"/library/{which}").status_code == 404


def test_a_home_that_was_moved_lets_its_uploads_go_too(tmp_path):
    with visiting(made_app(tmp_path / "before")) as visitor:
        visitor.add(("mill.md", STORY.encode()))
    (tmp_path / "before").rename(tmp_path / "after")
    with visiting(made_app(tmp_path / "after")) as visitor:
        which = visitor.only()
        asked = visitor.client.get(f"/library/{which}/remove")
        assert "The file that was uploaded is deleted." in text_of(asked.text)
        visitor.post(f"/library/{which}/remove")
    assert kept(tmp_path / "after") == []


def test_a_file_that_is_sent_again_since_its_home_was_moved_is_the_same_document(tmp_path):
    with visiting(made_app(tmp_path / "before")) as visitor:
        visitor.add(("mill.md", STORY.encode()))
        before = visitor.only()
    (tmp_path / "before").rename(tmp_path / "after")
    with visiting(made_app(tmp_path / "after")) as visitor:
        assert "unchanged" in visitor.add(("again.md", STORY.encode()))
        assert visitor.only() == before
        assert len(kept(tmp_path / "after")) == 1
        visitor.add(("other.md", f"{STORY} More.".encode()))
        assert len(kept(tmp_path / "after")) == 2
        assert len(Library.open(tmp_path / "after").documents()) == 2
        visitor.post(f"/library/{before}/remove")
        assert len(kept(tmp_path / "after")) == 1


def test_a_file_that_an_older_foveal_added_again_in_a_moved_home_stays_with_its_new_document(tmp_path):
    with visiting(made_app(tmp_path / "before")) as visitor:
        visitor.add(("mill.md", STORY.encode()))
        before = visitor.only()
    (tmp_path / "before").rename(tmp_path / "after")
    with visiting(made_app(tmp_path / "after")) as visitor:
        address = file_address(tmp_path / "after" / "uploads" / kept(tmp_path / "after")[0])
        Library.open(tmp_path / "after").add_documents(
            [Document.of(address, STORY, "The mill", metadata={"source": address, "kind": "markdown"})]
        )
        visitor.add(("mill.md", STORY.encode()))
        assert len(Library.open(tmp_path / "after").documents()) == 2
        assert "is deleted" not in text_of(visitor.client.get(f"/library/{before}/remove").text)
        visitor.post(f"/library/{before}/remove")
        assert len(kept(tmp_path / "after")) == 1
        visitor.post(f"/library/{visitor.only()}/remove")
    assert kept(tmp_path / "after") == []


@pytest.mark.parametrize("which", ["..%2F..%2Fetc", "%2e%2e", "x' OR 1=1", "short", "z" * 33, "add"])
def test_an_id_that_cannot_be_is_no_path(visitor, which):
    visitor.add(("mill.md", STORY.encode()))
    assert visitor.client.get(f"/library/{which}").status_code in (400, 404)


def test_visitors_who_may_only_look_change_nothing(tmp_path):
    with visiting(made_app(tmp_path)) as owner:
        owner.add(("mill.md", STORY.encode()))
        which = owner.only()
    with visiting(made_app(tmp_path, writers="nobody")) as visitor:
        assert 'type="file"' not in visitor.client.get("/library").text
        assert "<textarea" not in visitor.client.get("/ask").text
        assert "<textarea" not in visitor.client.get(f"/library/{which}/read").text
        for path, fields in {
            "/library/add": {"pasted": "a text"},
            f"/library/{which}/remove": {},
            "/ask": {"question": "Who?"},
            f"/library/{which}/read": {"question": "Who?"},
        }.items():
            assert visitor.post(path, **fields).status_code == 403, path
        for path in ("/library", "/library?q=mill", f"/library/{which}"):
            page = visitor.client.get(path)
            assert page.status_code == 200
            links = page.text.split("<main", 1)[1]
            assert not re.search(r">(Ask|Remove|Grade)\b[^<]*</a>", links), path  # what would be refused


def test_every_write_needs_a_form_of_ours(visitor):
    visitor.add(("mill.md", STORY.encode()))
    which = visitor.only()
    for path in ("/library/add", f"/library/{which}/remove", "/ask", f"/library/{which}/read"):
        assert visitor.client.post(path, data={"question": "Who?", "pasted": "a text"}).status_code == 403


def test_words_stand_in_their_own_direction_and_one_is_one(visitor):
    visitor.add(("الصيد.txt", "لا يجوز الصيد هنا (fishing) يوم الأحد؟".encode()))
    listed, found = visitor.client.get("/library").text, visitor.client.get("/library?q=الصيد").text
    assert "1 document · 1 passage ·" in text_of(listed)
    assert "1 passage for" in text_of(found)
    for shown, name in ((listed, "document-title"), (found, "hit-title"), (found, "quote")):
        assert re.search(rf'class="{name}"[^>]* dir="auto"', shown), name


def test_passages_of_a_document_that_is_not_there_yet_are_not_counted(visitor, app):
    visitor.add(("mill.md", STORY.encode()))
    before = re.search(r"1 document · \d passages?", text_of(visitor.client.get("/library").text))[0]
    with faults.injected({"store.passages-written": "interrupt"}), pytest.raises(KeyboardInterrupt):
        app.state.site.library.add_documents([document("tide", "The tide mill turns twice a day.")])
    for path in ("/library", "/library?q=mill"):
        assert before in text_of(visitor.client.get(path).text)


def test_marks_stand_on_the_words_that_were_asked_for():
    def shown(text: str, query: str, most: int = 400) -> str:
        return "".join(f"[{one.text}]" if one.marked else one.text for one in marked_words(text, query, most))

    assert shown("Reading is what readers do.", "read") == "[Reading] is what [readers] do."
    assert shown("It was regulated.", "regulations") == "It was [regulated]."
    assert shown("the cat sat", "the cat") == "the [cat] sat"
    assert shown("to be or not", "to be") == "[to] [be] or not"
    assert shown("視力は中心で鋭い", "中心") == "視力は[中心]で鋭い"
    long = "filler " * 200 + "the keeper of the key " + "filler " * 200
    cut = shown(long, "keeper key", 100)
    assert "[keeper] of the [key]" in cut
    assert cut.startswith("… ")
    assert len(cut) < 130


def test_a_page_of_the_web_is_added_under_its_address_and_again_is_the_same(tmp_path):
    html = b"<html><head><title>Hawks</title></head><body><p>A hawk has two foveas in each eye.</p></body></html>"
    rows = b'{"_id": "a", "text": "One row of two."}\n{"_id": "b", "text": "The other row of two."}\n'
    routes = {"/hawks": page(html), "/rows.jsonl": page(rows, "application/jsonl")}
    app = made_app(tmp_path)
    app.state.site.settings = replace(app.state.site.settings, allow_private_addresses=True)
    with serving(routes) as server, visiting(app) as visitor:
        address = server.url("/hawks").replace("http://", "HTTP://") + "#part"
        assert "Hawks is in the library now" in text_of(visitor.waited(visitor.post("/library/add", pasted=address)))
        assert "was in the library already" in text_of(visitor.waited(visitor.post("/library/add", pasted=address)))
        several = text_of(visitor.waited(visitor.post("/library/add", pasted=server.url("/rows.jsonl"))))
        assert "2 documents; the first has 1 passage" in several
