"""A question to a library: which texts are read, what counts as evidence, and that each quote stands where it says."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from honest import document
from hypothesis import given
from hypothesis import strategies as st
from reading.speakers import Quoter, Scripted
from reading.test_infiniretri import Pointed

from foveal.errors import Cancelled, InputError, LibraryCorrupt, LibraryError, UnknownDocument
from foveal.library import Library
from foveal.models.chat import Cancel
from foveal.models.local_chat import LocalChat
from foveal.reading.answering import evidence_of
from foveal.reading.answering_settings import AnswerSettings, settings_for
from foveal.reading.asking import NOT_IN_LIBRARY, Asked, Asker, AskSettings, Chosen, Searched, compared, opened
from foveal.reading.events import AnswerDelta
from foveal.reading.likeness import LIKE, held_share, likeness
from foveal.reading.memory import Excerpt
from foveal.types import Hit, Passage, Span

QUESTION = "Who is the keeper of the mill?"
RAIN = "".join(f"It rained on day {number}. " for number in range(90))
FACT = "The keeper of the mill is Orsin Vale. "
SMALL = AskSettings(looks=True, window=64, batch_tokens=128, floor=0.1)


@pytest.fixture
def mill():
    return document("mill", f"{RAIN}{FACT}{RAIN}", url="https://example.org/mill")


@pytest.fixture
def bread():
    return document("bread", "The baker sells bread. Her oven is of red brick.")


def hit_in(one, quote: str, score: float = 1.0, *, longer: int = 0) -> Hit:
    start = one.text.index(quote)
    span = Span(one.id, start, start + len(quote) + longer)
    return Hit(Passage(span, one.text[start : start + len(quote) + longer]), score, "test", one.revision)


def asker(documents, answerer=None, reader=None, settings=SMALL, **look) -> Asker:
    held = {(one.id, one.revision): one for one in documents}

    def get(which, revision):
        if (which, revision) not in held:
            raise UnknownDocument(f"{which} is gone.")
        return held[which, revision]

    made = Asker(get, answerer or Quoter(), reader, settings)
    if look:
        made._looking = Pointed(made._looking, look)
    return made


def ask(made: Asker, *hits: Hit, question: str = QUESTION):
    return list(made.stream(question, hits))


def assert_exact(answer: Asked, *documents) -> None:
    texts = {one.id: one for one in documents}
    for one in answer.citations:
        assert texts[one.span.document_id].quote(one.span) == one.quote
    for one in answer.evidence:
        text = texts[one.document_id].text
        assert text[one.excerpt.start : one.excerpt.end] == one.excerpt.text


def test_what_the_question_looks_at_is_the_evidence(qwen, mill, bread):
    look = {"keeper": {"Orsin Vale": 0.3, "oven": 0.2}}
    made = asker([mill, bread], reader=qwen, **look)
    chosen, *deltas, answer = ask(made, hit_in(mill, "Orsin"), hit_in(bread, "bread"))
    assert [one.excerpt.text for one in chosen.evidence] == [
        FACT.strip(),
        "The baker sells bread. Her oven is of red brick.",  # "her" is told by the sentence before
    ]
    assert [one.document_id for one in chosen.evidence] == [mill.id, bread.id]
    assert "".join(one.text for one in deltas) == f"{FACT}[1]"
    assert all(isinstance(one, AnswerDelta) for one in deltas)
    assert isinstance(answer, Asked)
    assert (answer.text, answer.found, answer.question) == (f"{FACT}[1]", True, QUESTION)
    assert (answer.unsupported, answer.evidence) == ((), chosen.evidence)
    assert answer.confidence == pytest.approx(0.3 / 2.3)
    (cited,) = answer.citations
    assert (cited.quote, cited.title, cited.url, cited.revision) == (FACT.strip(), "mill", mill.url, mill.revision)
    assert_exact(answer, mill, bread)


def test_only_what_lies_around_the_passage_is_read(qwen, mill):
    made = asker([mill], reader=qwen, settings=replace(SMALL, window=128), keeper={"Orsin": 0.3})
    chosen = ask(made, hit_in(mill, FACT.strip()))[0]
    read = "".join(window for _, window in made._looking.looked)
    assert FACT in read
    assert read in mill.text
    assert read.startswith("It rained on day")  # whole sentences
    assert read.endswith(". ")
    assert 64 < chosen.tokens < 2 * 128


def test_places_that_overlap_are_read_once(qwen, mill):
    near = [hit_in(mill, "Orsin Vale"), hit_in(mill, "keeper"), hit_in(mill, "The keeper of the mill")]
    apart = [hit_in(mill, "day 3."), hit_in(mill, "Orsin")]
    for hits, areas in ((near, 1), (apart, 2)):
        made = asker([mill], reader=qwen, keeper={"Orsin": 0.3})
        chosen = ask(made, *hits)[0]
        read = [window for _, window in made._looking.looked]
        assert sum(window.count(FACT) for window in read) == 1
        assert len(made._areas(made._looking, hits, {(mill.id, mill.revision): mill})) == areas
        assert [one.excerpt.text for one in chosen.evidence] == [FACT.strip()]


def test_what_stands_in_two_documents_is_shown_once(qwen, mill):
    copy = document("copy", f"{FACT.replace(' of', '  of')}It snowed.")
    made = asker([mill, copy], reader=qwen, keeper={"Orsin": 0.3})
    chosen = ask(made, hit_in(copy, "Orsin"), hit_in(mill, "Orsin"))[0]
    assert [one.document_id for one in chosen.evidence] == [copy.id]


def test_the_document_of_the_best_find_comes_first(qwen, mill, bread):
    made = asker([bread, mill], reader=qwen, keeper={"oven": 0.2, "Orsin": 0.3})
    chosen = ask(made, hit_in(bread, "bread"), hit_in(mill, "Orsin"))[0]
    assert [one.title for one in chosen.evidence] == ["mill", "bread"]


def test_what_is_weak_beside_the_best_is_left_out(qwen, mill, bread):
    made = asker([bread, mill], reader=qwen, settings=replace(SMALL, near=0.8), keeper={"oven": 0.2, "Orsin": 0.3})
    chosen = ask(made, hit_in(bread, "bread"), hit_in(mill, "Orsin"))[0]
    assert [one.title for one in chosen.evidence] == ["mill"]


def test_evidence_fits_what_the_model_is_shown(qwen, mill):
    settings = replace(SMALL, window=400, answer=AnswerSettings(context=40))
    made = asker([mill], reader=qwen, settings=settings, keeper={"Orsin": 0.3, "It rained": 0.2})
    chosen = ask(made, hit_in(mill, FACT.strip()))[0]
    assert any(FACT.strip() in one.excerpt.text for one in chosen.evidence)
    assert 0 < sum(len(qwen.encode(one.excerpt.text)) for one in chosen.evidence) <= 44


def test_the_best_sentence_is_evidence_however_little_the_model_is_shown(qwen):
    told = "Orsin Vale, who is old, " + "and has seen it rain by the mill, " * 4 + "keeps the key."
    long = document("long", f"It rained. {told} It rained.")
    settings = replace(SMALL, answer=AnswerSettings(context=32))
    assert len(qwen.encode(told)) > 32
    chosen = ask(asker([long], reader=qwen, settings=settings, keeper={"Orsin": 0.3}), hit_in(long, told))[0]
    assert [one.excerpt.text for one in chosen.evidence] == [told]


def test_a_document_that_was_removed_is_left_out(qwen, mill, bread):
    made = asker([bread], reader=qwen, keeper={"oven": 0.2, "Orsin": 0.3})
    chosen, *_, answer = ask(made, hit_in(mill, "Orsin"), hit_in(bread, "bread"))
    assert [one.title for one in chosen.evidence] == ["bread"]
    assert_exact(answer, bread)
    chosen, answer = ask(made, hit_in(mill, "Orsin"))
    assert (chosen.evidence, answer.text, answer.found) == ((), NOT_IN_LIBRARY, False)


def test_where_nothing_is_looked_at_nobody_is_asked(qwen, mill):
    model = Scripted()
    chosen, answer = ask(asker([mill], model, qwen, keeper={}), hit_in(mill, "Orsin"))
    assert (chosen.evidence, model.asked) == ((), [])
    assert (answer.text, answer.found, answer.confidence, answer.citations) == (NOT_IN_LIBRARY, False, 0.0, ())
    assert chosen.tokens > 0


def test_a_refusal_is_said_as_such(qwen, mill):
    *_, answer = ask(asker([mill], Scripted("Not found."), qwen, keeper={"Orsin": 0.3}), hit_in(mill, "Orsin"))
    assert (answer.text, answer.found, answer.confidence) == (NOT_IN_LIBRARY, False, 0.0)
    assert len(answer.evidence) == 1


def test_confidence_is_halved_by_what_is_not_borne_out(qwen, mill):
    made = asker([mill], Scripted("Orsin Vale [1]. Dragons guard it [1]."), qwen, keeper={"Orsin": 2.0})
    *_, answer = ask(made, hit_in(mill, "Orsin"))
    assert answer.unsupported == ("Dragons guard it.",)
    assert answer.confidence == pytest.approx(0.25)


# -- without a model here --------------------------------------------------------------------------------------------


def test_a_server_is_shown_the_passages_themselves(mill, bread):
    hits = [hit_in(mill, FACT.strip()), hit_in(bread, "Her oven is of red brick.", 0.5)]
    model = Quoter()
    chosen, *_, answer = ask(asker([mill, bread], model), *hits)
    assert [one.excerpt.text for one in chosen.evidence] == [hit.passage.text for hit in hits]
    assert (chosen.tokens, answer.confidence) == (0, None)
    assert answer.text == f"{FACT}[1]"
    assert "[2] Her oven is of red brick." in model.asked[0][-1]["content"]
    assert_exact(answer, mill, bread)


def test_as_many_passages_as_the_server_is_shown(mill, bread):
    """The scripted model counts a token a character."""
    hits = [hit_in(mill, FACT.strip()), hit_in(bread, "Her oven is of red brick."), hit_in(mill, "It rained on day 3.")]
    for context, shown in ((32, 1), (37, 1), (70, 2), (2000, 3)):
        made = asker([mill, bread], settings=replace(SMALL, answer=AnswerSettings(context=context)))
        assert len(ask(made, *hits)[0].evidence) == shown


def test_a_passage_that_is_not_in_its_document_is_an_error(mill):
    right = hit_in(mill, FACT.strip())
    wrong = replace(right, passage=replace(right.passage, text=FACT.strip().replace("Vale", "Dale")))
    with pytest.raises(LibraryCorrupt, match="not quoted as it stands"):
        ask(asker([mill]), wrong)


def test_a_server_with_a_model_here_reads_around(qwen, mill):
    made = asker([mill], Quoter(), qwen)
    assert made._looking is not None
    assert ask(made, hit_in(mill, "Orsin"))[0].tokens > 0


def test_a_local_answerer_reads_by_its_own_model(qwen, mill):
    made = asker([mill], LocalChat(qwen), keeper={"Orsin": 0.3})
    *_, answer = ask(made, hit_in(mill, "Orsin"))
    assert answer.evidence
    assert_exact(answer, mill)


# -- whole passages, which is how a model of this machine answers, too -------------------------------------------------


class Meanings:
    """An encoder of two meanings: what speaks of the mill, and all else; `name` is the one whose cosines are known."""

    name, dimension, max_tokens, fingerprint = "minilm", 2, 512, "meanings"

    def encode(self, texts):
        return np.array([[1.0, 0.0] if "mill" in text else [0.3, 0.954] for text in texts], np.float32)

    def token_offsets(self, text):
        return [(0, len(text))]


def test_a_model_of_this_machine_is_shown_whole_passages_and_reads_nothing_else(qwen, mill, bread):
    held = {(one.id, one.revision): one for one in (mill, bread)}
    made = Asker(lambda *which: held[which], LocalChat(qwen), encoder=Meanings())
    hits = [hit_in(mill, FACT.strip()), hit_in(bread, "Her oven is of red brick.", 0.5)]
    chosen, *_, answer = ask(made, *hits)
    assert [one.excerpt.text for one in chosen.evidence] == [hit.passage.text for hit in hits]
    assert chosen.tokens == 0
    assert answer.found
    assert answer.confidence == pytest.approx(0.5, abs=0.01)  # what a random model says is not borne out
    assert_exact(answer, mill, bread)


def test_where_nothing_is_near_the_question_a_small_model_is_not_asked(qwen, bread, monkeypatch):
    monkeypatch.setattr(LocalChat, "stream", lambda *_, **__: pytest.fail("it was asked"))
    held = {(bread.id, bread.revision): bread}
    hit = hit_in(bread, "Her oven is of red brick.")
    *_, answer = ask(Asker(lambda *which: held[which], LocalChat(qwen), encoder=Meanings()), hit)
    assert (answer.text, answer.found, answer.confidence, answer.citations) == (NOT_IN_LIBRARY, False, 0.0, ())
    assert [one.excerpt.text for one in answer.evidence] == [hit.passage.text]  # to look at


@pytest.mark.parametrize(("weights", "asked"), [(500_000_000, False), (8_000_000_000, True), (None, True)])
def test_a_small_model_of_a_server_is_asked_as_one_of_this_machine_is(bread, weights, asked):
    held = {(bread.id, bread.revision): bread}
    model = Scripted("not found")
    model.weights = weights
    asker = Asker(lambda *which: held[which], model, encoder=Meanings())
    ask(asker, hit_in(bread, "Her oven is of red brick."))
    assert bool(model.asked) == asked
    assert asker.settings.answer == settings_for(model)
    assert (asker.settings.answer == AnswerSettings()) == (not asked)


def test_the_opening_that_is_shown_counts_as_near(qwen):
    mill = document("Mill", "The mill grinds. " + "It rained. " * 80)
    held = {(mill.id, mill.revision): mill}
    made = Asker(lambda *which: held[which], LocalChat(qwen), encoder=Meanings())
    asked = {one: ask(made, hit_in(mill, "It rained."), question=one)[-1] for one in ("mill?", "How old is the mill?")}
    assert [one.found for one in asked.values()] == [True, False]
    assert asked["mill?"].evidence[0].excerpt.start == 0


def test_likeness_is_of_the_nearest_sentence_and_of_a_known_encoder_alone():
    passages = ["It rained. The mill turned.", "Bread."]
    assert likeness(QUESTION, passages, Meanings()) == pytest.approx(1)
    assert likeness(QUESTION, ["It rained."], Meanings()) == pytest.approx(0.3)
    other = Meanings()
    other.name = "another"
    assert likeness(QUESTION, passages, other) is None
    assert likeness(QUESTION, passages, None) is None
    assert likeness(QUESTION, [" \n"], Meanings()) is None


def test_likeness_of_the_real_encoder_tells_an_answer_from_none():
    from foveal.models import load_encoder

    encoder, text = load_encoder("minilm"), [FACT + "It rained all day. The baker sells bread."]
    assert likeness(QUESTION, text, encoder) > LIKE
    assert likeness("How large is the moon of Saturn that has lakes?", text, encoder) < LIKE
    assert held_share(LIKE) < 0.2 < held_share(0.7)


def test_a_question_for_a_documents_subject_is_answered_by_its_opening(mill):
    told = "Routing sends each query to the keys of its cluster. "
    routing = document("Routing", told + "Routing is 3 times as fast. " * 60)
    documents = {(one.id, one.revision): one for one in (mill, routing)}
    hits = [hit_in(mill, FACT.strip()), hit_in(routing, "3 times as fast")]
    first, *rest = opened("What is routing?", hits, documents)
    assert rest == hits
    assert (first.passage.span.document_id, first.passage.span.start) == (routing.id, 0)
    assert first.passage.text == routing.quote(first.passage.span)
    assert first.passage.text.startswith(told)
    assert len(first.passage.text) <= 600
    assert opened("What is fast routing?", hits, documents) == hits
    assert opened("What is it?", hits, documents) == hits


def test_the_opening_is_not_shown_twice_and_an_empty_one_not_at_all():
    short, blank = document("Key", "The key hangs behind the clock."), document("Clock", " " * 700 + "It ticks.")
    documents = {(one.id, one.revision): one for one in (short, blank)}
    assert len(opened("key?", [hit_in(short, short.text)], documents)) == 1
    assert len(opened("clock?", [hit_in(blank, "It ticks.")], documents)) in (1, 2)


# -- any text --------------------------------------------------------------------------------------------------------

PIECES = [
    "He sat. ",
    "x;y\n",
    "漢字。",
    "\r\n\r\n",
    "\0",
    "👩‍👧 ",
    "| a | b |\n",
    "word " * 40,
    "Orsin came. ",
    " " * 30,
]


@given(pieces=st.lists(st.sampled_from(PIECES), min_size=1, max_size=60), where=st.data())
def test_any_passage_of_any_text_is_read_whole_and_quoted_exactly(qwen, pieces, where):
    one = document("any", "".join(pieces))
    start = where.draw(st.integers(0, len(one.text) - 1))
    end = where.draw(st.integers(start + 1, min(len(one.text), start + 200)))
    made = asker([one], reader=qwen, settings=replace(SMALL, floor=-1.0, near=0.0))
    span = Span(one.id, start, end)
    area = made._around(made._looking, one, span)
    assert 0 <= area.start <= start < end <= area.end <= len(one.text)
    looked = Pointed(made._looking, {"keeper": {"": 0.5}})
    made._looking = looked
    *_, answer = ask(made, Hit(Passage(span, one.quote(span)), 1.0, "test", one.revision))
    assert one.text[area.start : area.end] == "".join(window for _, window in looked.looked)
    assert_exact(answer, one)


# -- what it refuses ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong", [{"window": 63}, {"batch_tokens": 0}, {"near": -0.1}, {"near": 1.1}, {"likeness": 1.1}]
)
def test_settings_out_of_their_range(wrong):
    with pytest.raises(InputError, match="Asking needs"):
        AskSettings(**wrong)


def test_it_can_be_cancelled(qwen, mill):
    cancel = Cancel()
    made = asker([mill], reader=qwen, keeper={"Orsin": 0.3})
    events = made.stream(QUESTION, [hit_in(mill, "Orsin")], cancel=cancel)
    next(events)
    cancel.set()
    with pytest.raises(Cancelled):
        list(events)
    with pytest.raises(Cancelled):
        next(made.stream(QUESTION, [hit_in(mill, "Orsin")], cancel=cancel))


# -- a library ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def library(own_settings, mill, bread):
    made = Library.open(settings=own_settings, encoder="none")
    made.add_documents([mill, bread])
    return made


def test_a_library_tells_what_happens(library, mill, bread, qwen):
    events = []
    answer = library.ask(QUESTION, model=Quoter(), reader=qwen, on_event=events.append)
    kinds = [type(one) for one in events]
    assert kinds[:2] == [Searched, Chosen]
    assert set(kinds[2:-1]) <= {AnswerDelta}
    assert events[-1] == answer
    assert "Orsin" in events[0].hits[0].passage.text
    assert_exact(answer, mill, bread)


def test_a_row_of_a_table_is_asked_about_with_its_columns(own_settings, tmp_path):
    rows = "".join(f"Mill No. {n},{1800 + n},{n * 3}\n" for n in range(80))
    (tmp_path / "mills.csv").write_text(f"name,built,height\n{rows}")
    made = Library.open(settings=own_settings, encoder="none")
    made.add([tmp_path / "mills.csv"])
    speaker = Scripted("171")
    answer = made.ask("What is the height of mill No. 57?", model=speaker)
    assert re.search(r"\[1\] name,built,height\nMill No\. \d+,.*\nMill", speaker.asked[0][1]["content"])
    assert [one.quote for one in answer.citations] == ["Mill No. 57,1857,171"]


def test_each_row_is_compared_with_a_question_below_its_head():
    made = document("mills", "Words.\n\n| mill | built |\n|---|---|\n| Kettle | 1790 |\n| Farrow | 1802 |\n")

    def seen(quote: str) -> str:
        start = made.text.index(quote)
        return compared(evidence_of(made, Excerpt(start, start + len(quote), quote, 1.0)))

    assert seen("| Farrow | 1802 |\n") == "| mill | built | | Farrow | 1802 |"
    assert seen(made.text).split("\n\n")[-1] == "| Farrow | 1802 |"
    assert seen("Words.") == "Words."


def test_a_library_without_the_words(library):
    answer = library.ask("xylophone?", model=Scripted())
    assert (answer.text, answer.found, answer.evidence) == (NOT_IN_LIBRARY, False, ())


def test_a_question_goes_to_the_part_that_is_named(library):
    answer = library.ask("keeper bread", model=Quoter(), where="title=bread")
    assert {one.title for one in answer.evidence} == {"bread"}


def test_a_library_that_is_empty(own_settings):
    made = Library.open(settings=own_settings, encoder="none")
    with pytest.raises(LibraryError, match=r"is empty.*foveal add"):
        made.ask(QUESTION, model=Scripted())


@pytest.mark.parametrize("question", ["", " \n"])
def test_an_empty_question(library, question):
    with pytest.raises(InputError, match="question is empty"):
        library.ask(question, model=Scripted())


def test_a_document_is_read_whole(library, qwen, mill):
    reading = library.read(mill.id, QUESTION, model=qwen)
    assert reading.stats.tokens > 1000
    assert reading.excerpts
    assert all(mill.text[one.start : one.end] == one.text for one in reading.excerpts)
    assert all(mill.text[one.span.start : one.span.end] == one.quote for one in reading.citations)
