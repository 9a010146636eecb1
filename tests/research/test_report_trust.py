"""What nobody may slip into a report, and what a run that goes on must find again."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from types import SimpleNamespace

import pytest
from report_worlds import PAGES, QUESTION, Filler, Pages

from foveal.errors import InputError, UnknownDocument, UnknownPaper
from foveal.research.budget import Budget
from foveal.research.checking import Ledger, check_report
from foveal.research.claims import without_marks
from foveal.research.deep import DeepResearch, settings_of
from foveal.research.report import Brief
from foveal.research.report_blocks import blocks_of
from foveal.research.report_parts import UNREAD
from foveal.research.report_writing import Sentence, own_words
from foveal.research.sources import Found, Sources
from foveal.research.text_sources import DocumentsSource, PapersSource
from foveal.research.turning import unanswered
from foveal.research.verification import Verifier
from foveal.retrieval.terms import terms


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("It burnt down in 1842 [[e2]] [7].", "It burnt down in 1842."),
        ("It burnt down [1, 3][^4](https://x.example/a) in 1842.", "It burnt down in 1842."),
        ("It grinds barley (https://invented.example/x).", "It grinds barley."),
        ("It grinds barley (see www.invented.example).", "It grinds barley."),
        ("It grinds barley <https://invented.example/x>.", "It grinds barley."),
        ("It grinds barley, as https://invented.example/x says.", ""),
        ("It grinds [barley](https://invented.example/x).", "It grinds barley."),
        ("| rye | 120 |.", ""),
        ("## The mill grinds barley.", "The mill grinds barley."),
        ("- * The mill grinds barley.", "The mill grinds barley."),
        ("#1 of all mills is that at Orra.", "#1 of all mills is that at Orra."),
        ("- 5 °C is what it stands.", "- 5 °C is what it stands."),
        ("It grinds 3.5 tonnes (of barley).", "It grinds 3.5 tonnes (of barley)."),
    ],
)
def test_a_models_sentence_brings_no_marks_and_no_addresses(said, kept):
    assert own_words(said) == kept


@pytest.mark.parametrize(
    "said",
    [  # none of them an item of a list, or a quotation
        "> 900 sacks were ground.",
        "3. Oktober 1990 it burnt.",
        "12) of the laws says so.",
        "+ 4 °C it was.",
        "1842. No.",
    ],
)
def test_a_sentence_that_begins_with_a_sign_keeps_it_and_is_a_paragraph(said):
    shown = Sentence(said, ("e1",)).shown()
    (block,) = blocks_of(shown, {"e1"}.__contains__)
    assert (block.kind, block.text.rstrip()) == ("paragraph", said)
    assert without_marks(shown) == said  # so that the file is checked as what was written


def test_what_a_hostile_model_writes_into_sentences_is_in_no_report():
    def section(text):
        key = re.findall(r"^(e\d+) \(", text, re.MULTILINE)[0]
        lines = (
            "The Orra mill grinds barley for the whole valley (https://invented.example/x).",
            "The Orra mill grinds barley, as https://invented.example/y says.",
            "Petra Lindqvist designed the Orra mill in 1842 [[e2]] [7].",
        )
        return {"plan": "p", "sentences": [{"text": one, "cites": [key]} for one in lines]}

    for checks in (None, Verifier()):
        report = DeepResearch(Filler({"WrittenSection": section}), Pages(), checks=checks).report(
            QUESTION, planner="parallel"
        )
        told = report.to_markdown()
        assert "invented.example" not in told
        assert "[7]" not in told
        assert "Petra Lindqvist designed the Orra mill in 1842." in told


def test_a_sentence_that_numbers_another_source_is_held_against_that_one():
    report = DeepResearch(Filler(), Pages(), checks=Verifier()).report(QUESTION, planner="parallel")
    ledger, verifier = Ledger.of(report.ledger()), Verifier()
    told = report.to_markdown()
    assert check_report(told, verifier, ledger=ledger).good
    body, _, sources = told.partition("## Sources")
    count = len(report.bibliography)
    assert count > 2
    turned = re.sub(r"\[(\d)\]", lambda mark: f"[{int(mark[1]) % count + 1}]", body)
    checked = check_report(f"{turned}## Sources{sources}", verifier, ledger=ledger)
    assert not checked.good
    labels = [one.verdict.label for one in checked.claims]
    assert labels.count("supported") < len(labels) / 3
    nowhere = body.replace("[1]", "[9]")
    assert "9" in check_report(f"{nowhere}## Sources{sources}", verifier, ledger=ledger).unknown


@dataclass
class Papers:
    """The search over a home's papers, of which each process makes its own."""

    pages: tuple = PAGES

    def search(self, query, k, *, retriever=None, rank=None):  # noqa: ARG002
        wanted = set(terms(query))
        scored = sorted(((len(wanted & set(terms(f"{p.title} {p.text}"))), p.title) for p in self.pages), reverse=True)
        hits = [SimpleNamespace(paper=self.paper(name), score=float(n)) for n, name in scored if n]
        return SimpleNamespace(hits=hits[:k])

    def paper(self, which):
        for page in self.pages:
            if page.title == which:
                return SimpleNamespace(
                    id=which, title=which, abstract=page.text, page_url=page.url, published_at=page.published_at,
                    named_authors=(SimpleNamespace(name="Hart, Ada"), SimpleNamespace(name="Bo Lund")), doi="",
                    licence="CC BY 4.0",
                )  # fmt: skip
        raise UnknownPaper(f"The paper {which} is not here.")


def test_a_paper_of_the_home_has_its_date_its_authors_and_its_licence_in_a_report():
    brief = Brief(goal=QUESTION, since="1995-01-01", words=300)
    report = DeepResearch(Filler(), PapersSource(Papers())).report(QUESTION, planner="single", brief=brief)
    assert {one.title: (one.published_at or "")[:4] for one in report.sources} == {
        "Petra Lindqvist": "2001", "River mills": "2015",
    }  # fmt: skip
    for one in report.sources:
        assert (one.dated_by, one.authors, one.licence) == ("the paper's record", ("Hart, Ada", "Bo Lund"), "CC BY 4.0")
    assert "Hart, Ada, Bo Lund. River mills (2015-03-01)" in report.to_markdown()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (lambda: [PapersSource(Papers())], lambda: [PapersSource(Papers())]),
        (lambda: [PapersSource(Papers())], lambda: [PapersSource(Papers(PAGES[:1]))]),
        (lambda: [DocumentsSource(PAGES)], lambda: [DocumentsSource(PAGES[:1])]),
        (lambda: [Pages(), DocumentsSource(PAGES)], lambda: [DocumentsSource(PAGES)]),
        (lambda: [DocumentsSource(PAGES, name="a"), Pages()], lambda: [Pages(), DocumentsSource(PAGES, name="a")]),
    ],
    ids=["another process", "papers gone", "documents gone", "fewer sources", "another order"],
)
def test_a_run_goes_on_with_sources_that_another_process_made(before, after):
    first = DeepResearch(Filler(), before()).start(QUESTION, budget=Budget(pages=2))
    assert first.result().found
    second = DeepResearch(Filler(), after()).go_on(first.log.so_far(), budget=Budget())
    report = second.result()
    assert report.found
    assert report.stopped_by is None
    assert not [event for event in second.log.so_far() if event.kind == "error"]


def test_what_is_gone_is_said_by_name():
    found = Found(url="https://x.example", title="The mill", snippet="", address="nowhere\nd1")
    with pytest.raises(InputError, match="The mill was found in nowhere, which this run does not search"):
        Sources([Pages()]).read(found)
    with pytest.raises(UnknownDocument, match="The mill is not in documents any more"):
        DocumentsSource(PAGES).read(replace(found, address="d1"))


def test_a_run_goes_on_with_the_brief_that_it_was_given():
    brief = Brief(goal="Say what it grinds", must_cover=("its wheel",), words=100)
    first = DeepResearch(Filler(), Pages()).start(QUESTION, brief=brief, budget=Budget(pages=2))
    assert first.result().brief == brief
    model = Filler()
    second = DeepResearch(model, Pages()).go_on(first.log.so_far(), budget=Budget())
    assert second.result().brief == brief
    assert "Brief" not in "".join(model.calls)
    until = next(place for place, event in enumerate(first.log.so_far()) if event.kind == "brief")
    third = DeepResearch(Filler(), Pages()).go_on(first.log.so_far()[:until], budget=Budget())  # killed just before it
    assert third.result().brief == brief


def test_a_kill_between_a_search_and_its_edge_loses_no_edge():
    first = DeepResearch(Filler(), Pages()).start(QUESTION, budget=Budget(pages=2))
    first.result()
    events = first.log.so_far()
    until = next(place for place, event in enumerate(events) if event.kind == "graph.edge")
    assert events[until - 1].kind == "graph.node"
    again = DeepResearch(Filler(), Pages()).go_on(events[:until], budget=Budget(pages=2))
    again.result()
    assert again.state.graph.edges == first.state.graph.edges != {}


def test_what_nothing_bears_out_stays_marked_where_that_was_asked_for_also_when_the_run_goes_on():
    def section(text):
        key = re.findall(r"^(e\d+) \(", text, re.MULTILINE)[0]
        return {"plan": "p", "sentences": [{"text": "The mill was sold to Denmark in 1765.", "cites": [key]}]}

    def reports(*, mark):
        model = Filler({"WrittenSection": section})
        research = DeepResearch(model, Pages())
        first = research.start(QUESTION, settings=settings_of("quick", model, Budget(pages=2), mark=mark))
        yield first.result()
        yield research.go_on(first.log.so_far(), budget=Budget()).result()

    for mark in (True, False):
        for report in reports(mark=mark):
            words = " ".join(one.text for one in report.sections)
            assert ("sold to Denmark in 1765 (not borne out)" in words) == mark


def test_a_report_whose_model_fills_in_no_form_says_so_also_once_it_goes_on():
    no_form = dict.fromkeys(("Clarify", "Scope", "Goals", "Summarised", "WrittenSection"), lambda _: {"it": "says"})
    run = DeepResearch(Filler(no_form), Pages()).start(QUESTION, mode="quick")
    report = run.result()
    (told,) = [one for one in report.not_covered if one.startswith(UNREAD)]
    assert re.search(r"in (\d+) of \1 steps nothing that filler answered had the form", told)
    assert report.claims
    assert told not in unanswered(report)
    again = DeepResearch(Filler(no_form), Pages()).go_on(run.log.so_far()).result()
    assert again.not_covered == report.not_covered
    once = Filler({"Goals": lambda _: {"it": "says"}})  # of one step alone
    mostly = DeepResearch(once, Pages()).report(QUESTION, mode="quick")
    assert not any(one.startswith(UNREAD) for one in mostly.not_covered)
