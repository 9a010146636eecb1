"""Ask: the answer with its places, that there is none, what is wrong, and the real model once."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path

import pytest
from honest import document
from reading.speakers import Quoter, Scripted
from reading_site import FACT, STORY, OwnModels, made_app, pdf, text_of, visiting

from foveal.errors import ModelUnavailable
from foveal.types import Span
from foveal.web.answers import pieces, where_of
from foveal.web.models import LocalModels

QUESTION = "What is the keeper of the tide mill called?"


class Missing(OwnModels):
    """Models that cannot be had."""

    def chat(self):
        raise ModelUnavailable("The model is not on this machine. Fetch it: foveal models.")


def asked(visitor, question: str = QUESTION, **fields: str) -> str:
    return visitor.waited(visitor.post("/ask", question=question, **fields))


def test_an_answer_has_numbers_that_lead_to_the_marked_place(tmp_path: Path):
    speaker = Scripted("He is called Orsin Vale.")
    with visiting(made_app(tmp_path, OwnModels(speaker))) as visitor:
        visitor.add(("mill.md", STORY.encode()))
        page = asked(visitor)
        links = re.findall(r'<a class="cite" href="([^"]+)"[^>]*>(\d)</a>', page)
        assert [number for _, number in links] == ["1"]
        shown = visitor.client.get(unescape(links[0][0]).partition("#")[0]).text
        assert re.findall(r'<mark class="cited"[^>]*>([^<]*)</mark>', shown) == [FACT]
        text = text_of(page)
        assert text.index("He is called Orsin Vale.") < text.index(FACT)
        assert "quoter" in text  # the model is named
        assert "Passages that were found (1)" in text
        assert FACT in speaker.asked[0][-1]["content"]


def test_a_citation_of_a_pdf_names_its_page(tmp_path: Path):
    with visiting(made_app(tmp_path, OwnModels(Scripted("Orsin Vale keeps it.")))) as visitor:
        visitor.add(("tides.pdf", pdf("Water comes twice a day.", f"{FACT} He has two cats.")))
        assert "Tide mills · page 2" in text_of(asked(visitor))


def test_a_page_is_told_by_what_is_printed_on_it_too(tmp_path: Path):
    with visiting(made_app(tmp_path, OwnModels(Scripted("Orsin Vale keeps it.")))) as visitor:
        visitor.add(("tides.pdf", pdf("Water comes twice a day.", f"{FACT} He has two cats.", first=1023)))
        answer = visitor.post("/ask", question=QUESTION)
        page = visitor.waited(answer)
        assert "Tide mills · page 2 (printed 1024)" in text_of(page)
        (bib,) = re.findall(r'href="(/ask/[^"]+/sources\.bib)"', page)
        assert "page 2 (printed 1024) (characters" in visitor.client.get(bib).text
        document = visitor.client.app.state.site.library.documents()[0].id
        shown = visitor.client.get(f"/library/{document}").text
        assert "page 2 (printed 1024)" in text_of(shown)
        assert "Printed page" in shown
        found = visitor.client.get(f"/library/{document}?printed=1024", follow_redirects=False)
        assert found.headers["location"].endswith("#page-2")
        assert visitor.client.get(f"/library/{document}?printed=7").status_code == 400


def test_the_sources_of_an_answer_can_be_taken_along(tmp_path: Path):
    with visiting(made_app(tmp_path, OwnModels(Scripted("Orsin Vale keeps it.")))) as visitor:
        visitor.add(("tides.pdf", pdf("Water comes twice a day.", f"{FACT} He has two cats.")))
        answer = visitor.post("/ask", question=QUESTION)
        page = visitor.waited(answer)
        links = re.findall(r'href="(/ask/[^"]+/sources\.\w+)"', page)
        assert [one.rpartition(".")[2] for one in links] == ["bib", "ris", "json"]
        entry, record, items = (visitor.client.get(one) for one in links)
        revision = visitor.client.app.state.site.library.documents()[0].revision
        note = rf"Cited: page 2 \(characters \d+ to \d+\)\. text {revision[:16]}"
        assert re.search(rf"  note = \{{{note}\}}", entry.text)
        assert entry.headers["content-type"].startswith("text/x-bibtex")
        assert 'filename="sources.bib"' in entry.headers["content-disposition"]
        assert re.search(rf"N1  - {note}\r\n", record.text)
        (item,) = items.json()
        assert (item["title"], item["source"]) == ("Tide mills", "tides.pdf")
        assert str(tmp_path) not in entry.text + record.text + items.text
        key = answer.url.path.rpartition("/")[2]
        for wrong in (f"/ask/{key}/sources.docx", "/ask/nothing/sources.bib", f"/library/x/read/{key}/sources.bib"):
            assert visitor.client.get(wrong).status_code == 404


def test_an_answer_that_cites_nothing_has_no_sources(tmp_path: Path):
    with visiting(made_app(tmp_path, OwnModels(Scripted("not found")))) as visitor:
        visitor.add(("mill.md", STORY.encode()))
        answer = visitor.post("/ask", question=QUESTION)
        assert "/sources." not in visitor.waited(answer)
        assert visitor.client.get(f"{answer.url.path}/sources.bib").status_code == 404


def test_a_question_loads_no_model_that_reads(tmp_path: Path):
    """Where a server answers, the model of this machine, of gigabytes, waits until a whole document is to be read."""

    class Served(OwnModels):
        def reader(self) -> None:
            raise ModelUnavailable("There is none on this machine.")

    with visiting(made_app(tmp_path, Served())) as visitor:
        visitor.add(("mill.md", STORY.encode()))
        assert FACT in text_of(asked(visitor))


def test_that_the_library_does_not_hold_the_answer_is_said_with_what_came_nearest(tmp_path: Path):
    with visiting(made_app(tmp_path, OwnModels(Scripted("not found")))) as visitor:
        visitor.add(("mill.md", STORY.encode()))
        text = text_of(asked(visitor))
        assert "Ask / not found" in text
        assert "The library does not hold the answer" in text
        assert FACT in text  # the passage that came nearest
        nothing = text_of(asked(visitor, "zeppelin quarks?"))
        assert "No passage fits the question" in nothing


def test_what_nothing_bears_out_is_said(tmp_path: Path):
    speaker = Scripted("He is Orsin Vale. Submarines were invented there.")
    with visiting(made_app(tmp_path, OwnModels(speaker))) as visitor:
        visitor.add(("mill.md", STORY.encode()))
        text = text_of(asked(visitor))
        assert "Nothing in the text bears this out Submarines were invented there." in text


def test_code_in_an_answer_is_code_and_an_answer_of_its_own_making_is_not_told_twice(tmp_path: Path):
    speaker = Scripted("Submarines use `<dive>` there.")
    with visiting(made_app(tmp_path, OwnModels(speaker))) as visitor:
        visitor.add(("mill.md", STORY.encode()))
        page = asked(visitor)
        assert '<p class="answer-text" dir="auto">Submarines use <code>&lt;dive&gt;</code> there.</p>' in page
        assert "Nothing in the text bears this out The whole answer is the model’s own." in text_of(page)
        assert text_of(page).count("Submarines") == 1


def test_an_answer_is_text_and_nothing_else(tmp_path: Path):
    with visiting(made_app(tmp_path, OwnModels(Scripted("<script>alert(1)</script> Orsin Vale")))) as visitor:
        visitor.add(("mill.md", STORY.encode()))
        page = asked(visitor, "<img src=x onerror=alert(2)> keeper of the mill?")
        assert "<script>alert" not in page
        assert "<img src=x" not in page


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"question": "   "}, "The question is empty"),
        ({"question": "why? " * 500}, "at most 2,000 are read"),
        ({"question": "Who?", "where": "nonsense"}, "is not understood"),
        ({"question": "Who?", "retriever": "semantic"}, "No retriever is called"),
    ],
)
def test_a_question_that_cannot_be_is_refused_beside_the_form(tmp_path: Path, fields, said):
    with visiting(made_app(tmp_path)) as visitor:
        visitor.add(("mill.md", STORY.encode()))
        answer = visitor.post("/ask", **fields)
        assert answer.status_code == 400
        assert said in text_of(answer.text)
        assert "<textarea" in answer.text


def test_a_filter_holds_for_the_question(tmp_path: Path):
    with visiting(made_app(tmp_path, OwnModels(Quoter()))) as visitor:
        visitor.add(("mill.md", STORY.encode()), ("tides.pdf", pdf(f"The other book says: {FACT}")))
        assert "Tide mills" not in text_of(asked(visitor, where="kind=markdown"))
        assert "Passages that were found (2)" in text_of(asked(visitor))


def test_asked_again_it_is_looked_for_where_it_was_before(tmp_path: Path):
    with visiting(made_app(tmp_path, OwnModels(Quoter()))) as visitor:
        visitor.add(("mill.md", STORY.encode()))
        page = asked(visitor, where="kind=markdown", retriever="lexical")
        form = visitor.client.get(unescape(re.search(r'href="([^"]+)">Ask it again', page)[1])).text
        assert 'value="kind=markdown"' in form
        assert '<option value="lexical" selected>words (lexical)</option>' in form
        assert QUESTION in form
        own = visitor.client.get("/ask?retriever=generative:mine").text  # of a model trained here, which is not listed
        assert '<option value="generative:mine" selected>titles that answer (generative:mine)</option>' in own


def test_failures_are_sentences(tmp_path: Path):
    with visiting(made_app(tmp_path, Missing())) as visitor:
        visitor.add(("mill.md", STORY.encode()))
        assert "The model is not on this machine. Fetch it" in text_of(asked(visitor))


def test_an_answer_can_be_shared_and_other_addresses_of_it_lead_there(tmp_path: Path):
    app = made_app(tmp_path)
    with visiting(app) as visitor, visiting(app) as other:
        visitor.add(("mill.md", STORY.encode()))
        answer = visitor.post("/ask", question=QUESTION)
        visitor.waited(answer)
        key = answer.url.path.rpartition("/")[2]
        assert QUESTION in other.client.get(f"/ask/{key}").text
        assert f'href="/ask/{key}"' in other.client.get(f"/jobs/{key}").text
        assert other.client.get("/ask/nothing").status_code == 404
        adding = next(iter(app.state.site.jobs._jobs))
        assert other.client.get(f"/ask/{adding}").url.path == f"/jobs/{adding}"


def test_citations_are_told_from_brackets_of_the_text():
    assert list(pieces("It is a[1] here. [1] And there [2]", 1)) == [
        ("It is a[1] here.", None),
        ("", 1),
        (" And there [2]", None),
    ]
    assert list(pieces("", 0)) == [("", None)]


@pytest.mark.model
@pytest.mark.slow
def test_the_real_model_answers_from_the_page(tmp_path: Path):
    app = made_app(tmp_path, LocalModels(cache=None))
    app.state.site.library.add_documents([document("mill", STORY, title="The mill")])
    with visiting(app) as visitor:
        page = asked(visitor)
        assert "Orsin Vale" in re.search(r'class="answer-text"[^>]*>(.*?)</p>', page, re.DOTALL)[1]
        assert "qwen2.5-coder-0.5b" in page
        shown = visitor.client.get(unescape(re.search(r'class="cite" href="([^"#]+)', page)[1])).text
        assert "Orsin Vale" in re.search(r'<mark class="cited"[^>]*>([^<]*)</mark>', shown)[1]


def test_the_columns_of_a_table_are_told_without_bars():
    assert where_of((), "Prices > mill | grain", "Prices", Span("d", 3, 9)) == "mill · grain"
    assert where_of((0, 40), "Prices > 2020", "Prices", Span("d", 3, 9)) == "page 1 · 2020"


def test_a_heading_that_begins_with_the_title_is_whole():
    assert where_of((), "Ferryman > Times", "Ferry", Span("d", 3, 9)) == "Ferryman > Times"
    assert where_of((), "Ferry", "Ferry", Span("d", 3, 9)) == ""
