"""How a report is written: only stored evidence, at its length, conflicts said, claims checked, the best draft kept."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from pydantic import ValidationError
from report_worlds import PAGES, QUESTION, Filler, Pages, page

from foveal.errors import InputError
from foveal.models.grammar import checked_schema
from foveal.research.budget import Budget
from foveal.research.checks import WordChecks, contradicts, missing_of
from foveal.research.claims import claims_of
from foveal.research.conflicts import conflicts, debated
from foveal.research.deep import DeepResearch, settings_of
from foveal.research.evidence import Claim, Evidence, SourceRecord, Verdict
from foveal.research.likeness import Likeness
from foveal.research.markdown import word_count
from foveal.research.outline import Planned, not_covered, outline
from foveal.research.planning import Finding, SubQuery
from foveal.research.report import Brief, Report
from foveal.research.report_drafts import Draft, checked, fitted, from_rows, scored, to_rows, without_repeats
from foveal.research.report_html import html_of
from foveal.research.report_parts import LEAD, Conflict, Section, cited_keys
from foveal.research.report_writing import SectionWriter, Sentence, first_sentence, section_form
from foveal.types import Passage, Span


def evidence(key, text, *, source="s1", goal="g", relevance=5.0, stance="supports"):
    passage = Passage(Span(source, 0, len(text)), text)
    summary = first_sentence(text) or text
    return Evidence(
        key=key, source=source, question=goal, passage=passage, summary=summary, relevance=relevance, stance=stance
    )  # type: ignore[arg-type]


def source(key, *, published=None, trust=""):
    return SourceRecord(
        key=key, url=f"https://x.example/{key}", title=f"Title {key}", document_id=key, revision="r",
        published_at=published,
        trust=trust, identities=(f"https://x.example/{key}",),
    )  # fmt: skip


TEXTS = {
    "e1": "The Orra mill grinds barley. It was built in 1842.",
    "e2": "Petra Lindqvist designed the Orra mill. She drew it in Vasa.",
    "e3": "The roof of the mill is slate. It was laid in 1901.",
}
HELD = {key: evidence(key, text, source=f"s{key[1:]}") for key, text in TEXTS.items()}
SOURCES = {f"s{n}": source(f"s{n}") for n in (1, 2, 3)}


def writer(*, plain=False, held=HELD):
    return SectionWriter(held, SOURCES, Likeness(), WordChecks(), plain=plain)


# -- integrate upstream -----------------------------------------------------------------------------------------------


def test_outline_each_section_gets_only_its_own_evidence_and_none_is_without():
    found = [
        Finding("a", SubQuery("q1", "what the mill grinds"), ("e1",)),
        Finding("b", SubQuery("q2", "who designed the mill"), ("e2", "e1")),
        Finding("c", SubQuery("q3", "the owner today"), ()),
        Finding("d", SubQuery("q4", "the roof", parent="a"), ("e3",)),
    ]
    planned = outline(found, HELD, Likeness(), Brief(goal="g", words=600))
    assert [(one.heading, one.evidence) for one in planned] == [
        ("What the mill grinds", ("e1", "e3")), ("Who designed the mill", ("e2",))
    ]  # fmt: skip
    assert sum(one.words for one in planned) == pytest.approx(600, abs=2)
    missing = not_covered(found, planned, Brief(goal="g", must_cover=("its taxes",)), Likeness())
    assert missing == ["the owner today", "its taxes"]
    short = outline(found, HELD, Likeness(), Brief(goal="the roof of the mill", words=200))
    assert [(one.heading, one.evidence[0]) for one in short] == [("What the sources say", "e3")]  # nearest to the goal


def test_a_section_is_written_from_its_evidence_alone():
    model = Filler()
    DeepResearch(model, Pages()).report(QUESTION, planner="parallel")
    asked = [text for text in model.prompts if "You write a section" in text and "Already written" not in text]
    assert len(asked) >= 2
    shown = [
        set(cited_keys("".join(f"[[{word.split(' ')[0]}]]" for word in text.split("\n") if word.startswith("e"))))
        for text in asked
    ]
    assert all(shown)
    assert not shown[0] & shown[1]


def test_what_a_small_model_says_twice_stands_in_a_report_once():
    said = [page.text.split(". ")[0].strip(".") + "." for page in PAGES[:3]]
    round_ = f"{' '.join(said)} {' '.join(said)}"
    form = {"plan": "again", "sentences": [{"text": round_, "cites": ["e1"]}] * 2}
    model = Filler({"chat": lambda _: round_, "WrittenSection": lambda _: form})
    report = DeepResearch(model, Pages()).report(QUESTION, mode="quick")
    assert report.sections[0].heading == LEAD
    assert {report.sections[0].text.count(one) for one in said} == {1}
    plan = Planned("H", "What of the mill?", ("e1",), words=200)
    assert [one.text for one in writer().write(plan, model)] == [" ".join(said)]


# -- citations --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("year", "own", "stays"),
    [(2015, "It grinds barley.", True), (None, "It grinds barley.", False), (None, "Recently it was mended.", True)],
    ids=["a date", "no date", "it says so itself"],
)
def test_nothing_is_called_recent_whose_source_has_no_date(year, own, stays):
    recent = "The Orra mill recently grinds barley and oats for the whole valley."

    def section(text):
        key = re.findall(r"^(e\d+) \(", text, re.MULTILINE)[0]
        return {"plan": "p", "sentences": [{"text": recent, "cites": [key]}]}

    mill = page("Mill", f"The Orra mill grinds barley and oats for the whole valley. {own}", year=year)
    model = Filler({"WrittenSection": section, "chat": lambda _: recent})
    report = DeepResearch(model, Pages([mill])).report("What does the Orra mill grind?", mode="quick")
    assert (recent in [one.text for one in report.claims]) is stays
    assert report.found
    assert any(recent in one for one in report.not_covered) is not stays


def test_citations_only_keys_in_context_can_be_written():
    form = section_form(["e1", "e7"], 3)
    schema = checked_schema(form)  # bounded, so that a grammar can be made of it
    assert schema["$defs"]["CitedSentence"]["properties"]["cites"]["items"]["enum"] == ["e1", "e7"]
    good = {"plan": "p", "sentences": [{"text": "The mill grinds barley.", "cites": ["e7"]}]}
    assert form.model_validate(good)
    for cites in (["e2"], [], ["https://invented.example"]):
        with pytest.raises(ValidationError):
            form.model_validate({"plan": "p", "sentences": [{"text": "The mill grinds barley.", "cites": cites}]})


def test_citations_no_url_of_a_report_is_from_anywhere_but_its_sources():
    invented = Filler({"chat": lambda _: "Read https://invented.example/x now. [[e99]]"})
    report = DeepResearch(invented, Pages()).report(QUESTION)
    text = report.to_markdown()
    assert "invented.example" not in text
    assert "e99" not in text
    assert all(set(claim.evidence) <= set(report.by_key) for claim in report.claims)
    assert all(claim.evidence for claim in report.claims)  # each sentence has one or more


def test_citations_a_passage_s_own_marks_do_not_become_ours():
    text = "The Orra mill [3, 4] was designed by Petra Lindqvist [12](https://x.example/12). It stands in Vasa [[e9]]."
    held = {"e1": evidence("e1", text)}
    made = writer(held=held).quotes(Planned("h", "who designed the Orra mill", ("e1",), 100))
    assert [one.text for one in made] == [
        "The Orra mill […] was designed by Petra Lindqvist […].", "It stands in Vasa […]."
    ]  # fmt: skip
    report = " ".join(one.shown() for one in made)
    assert cited_keys(report) == ["e1"]
    verdicts = WordChecks().check_many([(one.text, [held["e1"].passage]) for one in made])
    assert [one.label for one in verdicts] == ["supported", "supported"]


def test_citations_a_source_s_licence_stands_beside_it():
    kept = SourceRecord.from_row(replace(source("s1"), licence="CC BY 4.0").to_row())
    assert kept.licence == "CC BY 4.0"
    assert SourceRecord.from_row({k: v for k, v in kept.to_row().items() if k != "licence"}).licence == ""  # older runs
    section = Section(heading="H", text="It grinds barley [[e1]].")
    report = Report(
        question="q", brief=Brief(goal="g"), title="T", sections=(section,), sources=(kept,), evidence=(HELD["e1"],),
        claims=(),
    )  # fmt: skip
    assert "Title s1 (no date). CC BY 4.0. <https://x.example/s1>" in report.to_markdown()
    assert "CC BY 4.0" in html_of(report)


def test_citations_are_numbers_and_the_bibliography_holds_each_source_once():
    twin = replace(source("s2"), identities=("arxiv:1",))
    report = Report(
        question="q", brief=Brief(goal="g"), title="T",
        sections=(Section(heading="H", text="A [[e1]]. B [[e2]] [[e3]]. C [[e9]]."),),
        sources=(replace(source("s1"), identities=("arxiv:1",)), twin, source("s3")), evidence=tuple(HELD.values()),
        claims=(Claim(text="A | B", evidence=("e1",), verdict=Verdict(label="partly", score=0.5, missing=("7",))),),
        conflicts=(Conflict(about="They differ.", sides=(("e1",), ("e3",)), preferred="newer"),),
        not_covered=("taxes",), stopped_by="budget",
    )  # fmt: skip
    text = report.to_markdown()
    assert report.numbers == {"e1": 1, "e2": 1, "e3": 2}
    assert "A [1]. B [1][2]. C ." in text
    assert text.count("https://x.example/") == 2
    assert "| A \\| B | [1] | partly (0.50); not in the source: 7 |" in text
    assert "Not complete: the budget was spent." in text
    assert "## Not covered\n\n- taxes" in text
    assert "They differ.\n\n| preferred: newer | against it |" in text
    pair = next(line for line in text.splitlines() if line.startswith("| ") and "[2]: “" in line)
    assert re.fullmatch(r"\| .* \[1\]: “.*” \| .* \[2\]: “.*” \|", pair)
    assert Report.of_ledger(report.ledger()) == report
    assert '<table class="checks">' in html_of(report)
    assert "<script" not in html_of(replace(report, title="<script>"))


# -- structure and length ---------------------------------------------------------------------------------------------


def long_pages(count=40):
    subjects = ("barley", "oats", "rye", "wheat", "maize")
    return [
        page(f"Mill book {n}", " ".join(
            f"In the year {1700 + 10 * n + k} the Orra mill ground {subjects[n % 5]} lot{n}x{k} for town{n}x{k}."
            for k in range(5)))
        for n in range(count)
    ]  # fmt: skip


@pytest.mark.parametrize("words", [200, 500])
def test_length_is_within_15_percent_of_what_was_asked_for(words):
    model = Filler(
        {
            "Goals": lambda _: {
                "parts": [
                    {"goal": f"Orra mill {one}", "query": f"Orra mill {one}"} for one in ("barley", "oats", "rye")
                ]
            }
        }
    )
    own = replace(settings_of("normal", model), words=words)
    report = DeepResearch(model, Pages(long_pages())).start(QUESTION, settings=own).result()
    count = sum(len(claim.text.split()) for claim in report.claims)
    assert 0.85 * words <= count <= 1.15 * words
    assert all(section.text for section in report.sections)


def test_length_without_evidence_is_shorter_and_not_padded():
    report = DeepResearch(Filler(), Pages()).report(QUESTION, mode="deep")
    said = [claim.text for claim in report.claims if claim.section != "In short"]
    assert len(said) == len(set(said))
    assert sum(map(len, said)) < 2000


def test_a_draft_is_shortened_where_it_is_least_borne_out():
    good, bad = (Verdict(label="supported", score=one) for one in (0.9, 0.7))
    plan = Planned("H", "g", ("e1",), words=10)
    said = (Sentence("one two three four five.", ("e1",), verdict=good),
            Sentence("six seven eight nine ten.", ("e1",), verdict=bad),
            Sentence("eleven twelve thirteen fourteen fifteen.", ("e1",), verdict=good))  # fmt: skip
    ((_, kept),) = fitted(((plan, said),), 10, lambda _: (), Likeness())
    assert [one.text[:3] for one in kept] == ["one", "ele"]
    ((_, more),) = fitted(((plan, said[:1]),), 10, lambda _: said[1:], Likeness())
    assert len(more) == 2
    twice = ((plan, said), (plan, said))
    assert [len(part) for _, part in without_repeats(twice, Likeness())] == [3, 0]


def test_a_long_section_stands_in_paragraphs_that_begin_with_a_sentence_of_their_own():
    plan = Planned("H", "g", ("e1",), words=400)
    texts = [
        f"The mill of Orra ground {one} sacks of barley for the whole valley in the year {one}." for one in range(24)
    ]
    texts[7], texts[8] = "However, this was a bad year.", "9 of them were sold."  # no beginnings of a paragraph
    said = tuple(Sentence(text, ("e1",)) for text in texts)
    (section,) = Draft(((plan, said),)).to_sections()
    parts = section.text.split("\n\n")
    assert [part.count("[[e1]]") for part in parts] == [9, 7, 8]
    assert " ".join(parts) == " ".join(one.shown() for one in said)
    (short,) = Draft(((plan, said[:10]),)).to_sections()
    assert "\n\n" not in short.text  # what would be left is no paragraph


def test_a_sentence_is_encoded_once_however_often_it_is_compared():
    seen = []

    class Encoder:
        dimension = 4

        def encode(self, texts):
            seen.extend(texts)
            return np.eye(4, dtype=np.float32)[[len(text) % 4 for text in texts]]

    near = Likeness(Encoder())
    said = tuple(Sentence(f"{'a' * one} mill stands in the valley of Orra.", ("e1",)) for one in range(1, 30))
    plan = Planned("H", "g", ("e1",), words=200)
    fitted(((plan, said[:1]),), 200, lambda _: said[1:], near)
    assert len(seen) == len(set(seen))
    assert near.to("abc", ["abcd", "abc", "abcd"]) == [0.0, 1.0, 0.0]


def test_a_small_model_writes_a_sentence_a_passage_and_a_wrong_one_is_quoted_instead():
    told = iter(["The Orra mill grinds barley.", "Petra Lindqvist was a dancer from Paris."])
    plan = Planned("H", "what the mill grinds", ("e1", "e2"), words=44)
    said = writer(plain=True).write(plan, Filler({"chat": lambda _: next(told)}))
    assert [(one.text, one.keys, one.quoted) for one in said] == [
        ("The Orra mill grinds barley.", ("e1",), False),
        ("Petra Lindqvist designed the Orra mill.", ("e2",), True),
    ]
    assert said[1].shown() == "“Petra Lindqvist designed the Orra mill.” [[e2]]"
    quotes = [one.text for one in writer().write(plan, None)]
    assert quotes == ["The Orra mill grinds barley.", "Petra Lindqvist designed the Orra mill."]


# -- conflict and uncertainty -----------------------------------------------------------------------------------------


def test_conflicts_are_said_with_dates_and_trust_and_the_primary_or_newer_is_preferred():
    held = {
        "e1": evidence("e1", "The wheel of the Orra mill has 40 paddles.", source="s1"),
        "e2": evidence("e2", "The wheel of the Orra mill has 12 paddles.", source="s2"),
        "e3": evidence("e3", "The roof is slate.", source="s3"),
    }
    for first, second, why, ahead in (
        (source("s1", published="1990-01-01"), source("s2", published="2020-05-05"), "newer", "e2"),
        (source("s1", published="1990-01-01", trust="primary"), source("s2", published="2020-05-05"), "primary", "e1"),
        (source("s1"), source("s2", published="2020-05-05"), "", "e1"),  # no date is not old
    ):
        (one,) = conflicts(held, {"s1": first, "s2": second, "s3": source("s3")}, Likeness(), WordChecks())
        assert (one.preferred, one.sides[0]) == (why, (ahead,))
        assert "40 paddles" in one.about
        assert "12 paddles" in one.about
        assert "2020-05-05" in one.about
        assert ("no date" in one.about) == (first.published_at is None)
    apart = {key: replace(one, stance="contradicts" if key == "e2" else "supports") for key, one in HELD.items()}
    assert conflicts(apart, SOURCES, Likeness(), WordChecks()) == []  # they do not speak of the same


def test_conflicts_set_all_who_say_the_same_on_one_side_and_say_how_sure_that_is():
    forty, twelve = (f"The wheel of the Orra mill has {count} paddles of oak." for count in (40, 12))
    texts = {"e1": forty, "e2": twelve, "e3": f"It is old. {forty}", "e4": "The roof is slate.", "e5": forty}
    held = {key: evidence(key, text, source="s1" if key == "e5" else f"s{key[1:]}") for key, text in texts.items()}
    held["e3"] = replace(held["e3"], summary=forty)
    for second, third, sides, why, said in (
        ("2020-05-05", "2001-01-01", (("e2",), ("e1", "e3")), "newer", "Confidence: low, 1 source against 2."),
        ("2000-05-05", "2001-01-01", (("e1", "e3"), ("e2",)), "newer", "Confidence: high, 2 sources against 1."),
        (None, None, (("e1", "e3"), ("e2",)), "", "nothing speaks for either but their number: 2 sources against 1."),
    ):
        sources = {"s1": source("s1"), "s2": source("s2", published=second), "s3": source("s3", published=third)}
        sources["s4"] = source("s4")
        (one,) = conflicts(held, sources, Likeness(), WordChecks())
        assert (one.sides, one.preferred) == (sides, why)
        report = Report(
            question="q", brief=Brief(goal="q"), title="q", sections=(Section(heading="h", text=f"{forty} [[e1]]"),),
            sources=tuple(sources.values()), evidence=tuple(held.values()), claims=(), conflicts=(one,),
        )  # fmt: skip
        for told in (report.to_markdown(), html_of(report)):
            assert said in told
            assert "Nothing speaks for either." not in told
    alone = replace(one, sides=(("e1",), ("e2",)))
    assert "Nothing speaks for either." in replace(report, conflicts=(alone,)).to_markdown()
    stances = {key: replace(one, stance="contradicts" if key == "e2" else "supports") for key, one in held.items()}
    (one,) = conflicts(stances, sources, Likeness(), WordChecks())
    assert one.sides == (("e1", "e3"), ("e2",))
    texts = ("Tall oak wheel of Orra mill turns fast today.", "Orra mill wheel never turns fast, says Lund.",
             "Orra mill wheel turns fast despite ice.")  # fmt: skip
    for stance, sides in (
        ("supports", {"e1 e3", "e2"}),
        ("contradicts", {"e1", "e2 e3"}),
        ("neutral", {"e1", "e2"}),
    ):
        held = {
            f"e{n}": evidence(f"e{n}", text, source=f"s{n}", stance=own)
            for n, (text, own) in enumerate(zip(texts, ("supports", "contradicts", stance), strict=True), start=1)
        }
        (one,) = conflicts(held, SOURCES, Likeness(), WordChecks())
        assert {" ".join(sorted(side)) for side in one.sides} == sides


def test_a_debate_lets_each_side_see_the_other_and_ends_when_nobody_changes_their_answer():
    rounds = []

    def agent(text):
        rounds.append(text)
        return "forty" if "40 paddles" in text.partition("Another source")[0] else "twelve"

    held = {"e1": evidence("e1", "It has 40 paddles."), "e2": evidence("e2", "It has 12 paddles.", source="s2")}
    conflict = Conflict(about="paddles", sides=(("e1",), ("e2",)))
    model = Filler({"chat": agent, "Side": lambda _: {"side": "2"}})
    settled = debated("How many paddles?", conflict, held, model)
    assert settled.sides == (("e2",), ("e1",))
    assert settled.preferred
    assert len(rounds) == 4  # two agents, two rounds: nobody changed
    assert "Another source says: twelve" in rounds[2]
    assert "Another source" not in rounds[0]
    wavering = iter(range(99))
    debated("q", conflict, held, model := Filler({"chat": lambda _: f"answer {next(wavering)}"}))
    assert model.calls.count("chat") == 6  # three rounds at most
    assert debated("q", conflict, held, Filler({"chat": agent, "Side": lambda _: {"side": "none"}})) == conflict


# -- checks and drafts ------------------------------------------------------------------------------------------------


def test_words_check_numbers_names_and_negation():
    text = Passage(Span("d", 0, 90), "Petra Lindqvist designed the Orra mill in 1842. It has not burnt since.")
    check = lambda claim: WordChecks().check(claim, [text])  # noqa: E731
    assert check("Petra Lindqvist designed the Orra mill.").label == "supported"
    assert check("Petra Lindqvist designed the Orra mill in 1843.").label == "contradicted"
    assert check("Petra Lindqvist did not design the Orra mill.").label != "supported"
    assert check("The Orra mill was designed by Karin Ek.").missing == ("Karin", "Ek")
    assert check("The bakery sells bread.").label == "unsupported"
    assert WordChecks().check("Anything.", []) == Verdict(label="unsupported", score=0.0)
    where = check("The mill was designed in 1842.").where
    assert text.text[where.start : where.end] == check("The mill was designed in 1842.").quote
    assert missing_of("It cost 1,200 crowns.", "1200 crowns") == ()
    assert contradicts("The mill of Orra has 40 paddles", "The mill of Orra has 12 paddles")


def test_claims_that_nothing_bears_out_are_searched_once_more_then_go_or_are_marked():
    false = {"text": "The Fallow mill was sold to Karin Ek for 900 crowns.", "cites": ["e1"]}
    true = {"text": "Karin Ek bought the Fallow mill.", "cites": ["e1"]}
    hidden = page("Deeds", "Karin Ek bought the Fallow mill. She paid in silver.")

    def written(text):
        if "Already written" in text:
            raise InputError("There is no more to say.")
        return {"plan": "p", "sentences": [false, true]}

    source_ = Pages((*PAGES, hidden))
    goals = {"parts": [{"goal": "what the Orra mill grinds", "query": "Orra barley"}]}
    model = Filler({"Goals": lambda _: goals, "WrittenSection": written})
    own = settings_of("normal", model)
    own = replace(own, drafts=1, plan=replace(own.plan, breadth=1, depth=1), desk=replace(own.desk, hits=2))
    report = DeepResearch(model, source_).start(QUESTION, settings=own, planner="parallel").result()
    assert source_.queries == ["Orra barley", false["text"], true["text"]]  # each once more
    mended = next(claim for claim in report.claims if claim.text == true["text"])
    assert report.by_key[mended.evidence[0]].passage.text.startswith("Karin Ek bought")
    assert all(claim.text != false["text"] for claim in report.claims)
    assert f"Left out, as nothing bears it out: {false['text']}" in report.not_covered
    marked = DeepResearch(model, Pages((*PAGES, hidden))).start(
        QUESTION, settings=replace(own, mark=True), planner="parallel"
    )
    told = marked.result().to_markdown()
    note = "The Fallow mill was sold to Karin Ek for 900 crowns (not borne out)"
    assert f"{note} [" in told or f"{note}. [" in told
    [said] = [claim for claim in claims_of(told.partition("## Not covered")[0]) if "not borne out" in claim.text]
    assert said.text.rstrip(".") == note  # a claim of its own, which takes no other along
    assert note in [claim.text.rstrip(".") for claim in marked.result().claims]
    assert not any(one.startswith("Left out") for one in marked.result().not_covered)


def test_the_best_draft_is_kept_more_drafts_do_not_make_a_report_worse():
    version = [0]

    def written(text):
        if "Already written" in text:
            raise InputError("There is no more to say.")
        version[0] += 1
        bad = {"text": "The moon is made of green cheese and butter.", "cites": ["e1"]}
        worse = {"text": "Every miller owns a pink submarine.", "cites": ["e1"]}
        good = {"text": "The Orra mill grinds barley for the whole valley.", "cites": ["e1"]}
        return {"plan": "p", "sentences": [good, bad] if version[0] == 1 else [bad, worse]}

    goals = {"parts": [{"goal": "what the Orra mill grinds", "query": "barley valley"}]}
    model = Filler({"Goals": lambda _: goals, "WrittenSection": written})
    own = settings_of("deep", model)
    own = replace(own, mended=0, plan=replace(own.plan, breadth=1, depth=1), words=50, desk=replace(own.desk, hits=1))
    run = DeepResearch(model, Pages()).start(QUESTION, settings=own, planner="parallel")
    report = run.result()
    drafts = run.state.drafts
    assert [one["best"] for one in drafts] == [True, False, False]
    assert drafts[0]["score"] > drafts[1]["score"]
    assert "grinds barley for the whole valley" in report.to_markdown()
    assert [one["text"] for one in run.state.claims] == [one.text for one in report.claims]
    again = [text for text in model.prompts if "Not borne out before" in text]
    assert again
    assert "green cheese" in again[0]


def test_a_drafts_score_counts_what_is_borne_out_covered_and_long_enough_and_comes_back_from_its_rows():
    plan = Planned("H", "g", ("e1",), words=50)
    sections = checked(
        ((plan, (Sentence("The Orra mill grinds barley.", ("e1",)), Sentence("Nobody knows that at all.", ("e1",)))),),
        HELD,
        WordChecks(),
    )
    draft = scored(Draft(sections), [plan, plan], 10)
    assert draft.score == pytest.approx(0.5 * 0.5 * 1.0)
    assert from_rows(to_rows(draft)) == draft


CHINESE = (
    page("奥拉磨坊", "奥拉磨坊由佩特拉·林德奎斯特于1842年设计。磨坊的水轮有40个橡木桨叶。", year=1990),
    page("佩特拉", "佩特拉·林德奎斯特在1842年设计了奥拉磨坊。她在瓦萨学习绘画。", year=2001),
)


def test_a_text_without_spaces_has_sentences_to_be_quoted():
    for changes in ({"plain": True}, {"budget": Budget(tokens=900)}):  # by a small model; put together without one
        settings = settings_of("normal", Filler(), **changes)
        report = DeepResearch(Filler(), Pages(CHINESE)).start("奥拉磨坊是谁设计的?", settings=settings).result()
        assert report.found
        assert "“磨坊的水轮有40个橡木桨叶。”" in report.to_markdown()
    assert first_sentence("佩特拉设计了奥拉磨坊。她学习。") == "佩特拉设计了奥拉磨坊。"
    assert first_sentence("वह चक्की बहुत पुरानी है। और") == "वह चक्की बहुत पुरानी है।"
    assert (word_count("ten words"), word_count("奥拉磨坊 mill")) == (2, 4)


def test_a_comma_of_a_fraction_parts_no_thousands():
    said = "Der Anteil der Windkraft am Strom lag 2020 bei 15 Prozent."
    fraction = "Der Anteil der Windkraft am Strom lag 2020 bei 1,5 Prozent."
    passage = Passage(Span("d", 0, len(said)), said)
    assert missing_of(fraction, said) == ("1,5",)
    assert WordChecks().check(fraction, [passage]).label != "supported"
    assert missing_of("It took 1,200,000 steps.", "It took 1200000 steps.") == ()


def test_a_number_that_another_language_writes_otherwise_is_borne_out_by_its_value():
    def label(claim, said):
        return WordChecks().check(claim, [Passage(Span("d", 0, len(said)), said)]).label

    german = "Der Kanal von Orra liegt 3{}125 km unter der Mühle."
    assert label(german.format(","), german.format(",")) == "supported"
    assert [label(german.format(sign), german.format(",")) for sign in ("", ".")] == ["contradicted"] * 2
    row = "Kanal Orra Länge Mühle 3{}125 km."
    page = f"{row.format(',')} Er liegt unter der Mühle und ist von der Stadt."
    assert label(row.format(","), page) == "supported"
    assert label(row.format(""), page) == "contradicted"
    told = "The channel of Orra lies 3{}125 km beneath the mill."
    assert label(told.format(","), told.format("")) == label(told.format(""), told.format(",")) == "supported"
    fragment = "Channel Orra, mill: beneath, lies 3,125 km"
    assert [label(told.format(sign), fragment) for sign in ("", ".")] == ["partly"] * 2  # it may be either
    assert label(told.format(","), fragment) == "supported"
    assert not contradicts(told.format(""), fragment)
    assert contradicts(told.format("9"), fragment)


def test_signs_of_markdown_are_escaped_outside_of_code_alone():
    assert Sentence("It is `2*3`, not 2*3.", ()).shown().strip() == "It is `2*3`, not 2\\*3."
    assert Sentence("It is `2*3`.", ()).shown().strip() == "It is `2*3`."
    assert Sentence("a" * 300_000 + "`", ()).shown().strip() == "a" * 300_000 + "`"
