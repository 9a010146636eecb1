"""Answers from excerpts: every number, quote and claim of a model is checked."""

from __future__ import annotations

import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from reading.speakers import Quoter, Scripted
from tiny import HEADS

from foveal.attention.retrieval_heads import HeadScores
from foveal.errors import Cancelled, InputError
from foveal.models.chat import Cancel
from foveal.models.local_chat import LocalChat
from foveal.reading.answering import NOT_FOUND, Evidence, answered, checked, drafted, evidence_of, messages
from foveal.reading.answering_settings import NOWHERE, SERVED, AnswerSettings, settings_for
from foveal.reading.events import AnswerDelta
from foveal.reading.memory import Excerpt, Kept
from foveal.reading.sources import DocumentText, text_of
from foveal.types import Document, Span
from foveal.web.answers import pieces

TEXT = (
    "The keeper of the mill is Orsin Vale. He came in March of 1790 with 12 sacks.\n\n"
    "The baker,\n   Anna Holm, sells bread on Sundays. Her oven is made of red brick.\n\n"
    "磨坊建于1790年。守门人是王小明，他住在河边。\n\n"
    "The river froze twice."
)
QUESTION = "Who keeps the mill?"
SETTINGS = AnswerSettings()


def evidence(*quotes: str) -> list[Evidence]:
    """The given pieces of TEXT as excerpts; without any, each paragraph."""
    found = []
    for quote in quotes or TEXT.split("\n\n"):
        start = TEXT.index(quote)
        found.append(Evidence("doc", Excerpt(start, start + len(quote), quote, 0.1), "Mills", "https://e.org", "rev"))
    return found


def check(answer: str, question: str = QUESTION, given: list[Evidence] | None = None, settings=SETTINGS):
    found = checked(answer, question, given if given is not None else evidence(), settings)
    assert all(TEXT[one.span.start : one.span.end] == one.quote for one in found.citations)
    numbers = [int(number) for number in re.findall(r"\[(\d+)\]", found.text)]
    assert set(numbers) == set(range(1, len(found.citations) + 1))
    return found


def quotes(found) -> list[str]:
    return [one.quote for one in found.citations]


def spoken(pieces):
    """What a generator of answer pieces yields, and what it returns."""
    said = []
    while True:
        try:
            said.append(next(pieces))
        except StopIteration as stop:
            return said, stop.value


def test_a_citation_is_the_one_sentence_and_its_place():
    found = check("The keeper is Orsin Vale [1].")
    start = TEXT.index("The keeper")
    (one,) = found.citations
    assert (one.span, one.quote) == (Span("doc", start, start + 37), "The keeper of the mill is Orsin Vale.")
    assert (one.title, one.url, one.revision) == ("Mills", "https://e.org", "rev")
    assert (found.found, found.unsupported) == (True, ())
    assert found.text.replace(" [1]", "") == "The keeper is Orsin Vale."


@pytest.mark.parametrize("number", ["[9]", "[0]", "[5, 17]", "[123]"])
def test_a_number_that_there_is_not_goes(number):
    found = check(f"The keeper is Orsin Vale {number}.")
    assert number not in found.text
    assert quotes(found) == ["The keeper of the mill is Orsin Vale."]
    found = check(f"Zebras gallop loudly {number}.")
    assert (found.text, found.citations, found.unsupported) == ("Zebras gallop loudly.", (), ("Zebras gallop loudly.",))


def test_a_wrong_number_is_put_right():
    assert quotes(check("The keeper is Orsin Vale [4].")) == ["The keeper of the mill is Orsin Vale."]


def test_citations_are_numbered_in_the_order_of_their_use_once_each():
    found = check("Anna Holm sells bread [2]. Orsin Vale is the keeper [1]. Anna Holm sells it on Sundays [2].")
    assert re.findall(r"\[(\d)\]", found.text) == ["1", "2", "1"]
    assert quotes(found)[0].startswith("The baker,\n   Anna Holm")
    assert quotes(found)[1] == "The keeper of the mill is Orsin Vale."


def test_what_cites_nothing_is_traced():
    assert quotes(check("Orsin Vale came in 1790.")) == ["He came in March of 1790 with 12 sacks."]
    assert check("Her oven is of red brick.").citations[0].quote == "Her oven is made of red brick."


def test_what_nothing_bears_out_is_said_so():
    found = check("The keeper is Orsin Vale. Dragons guard the castle.")
    assert found.unsupported == ("Dragons guard the castle.",)
    assert found.text == "The keeper is Orsin Vale. [1] Dragons guard the castle."
    assert len(found.citations) == 1


@pytest.mark.parametrize("wrong", ["He brought 13 sacks.", "He came in March of 1791 with 12 sacks."])
def test_a_wrong_number_in_a_right_sentence_is_not_borne_out(wrong):
    found = check(wrong, "What did he bring?")
    assert found.unsupported == (wrong,)


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ("42", "The mill has forty-two sacks in it."),
        ("42 sacks.", "The mill has FORTY-TWO sacks in it."),
        ("3,000", "Below it 3000 eels were counted."),
        ("3000", "Below it 3,000 eels were counted."),
        ("2000 eels", "Below it two thousand eels were counted."),
        ("7", "It is seven years old."),
        ("The road is 3,000 km long.", "The road is 3,000km long."),
        ("3,000", "里面有3,000条鳗鱼。"),
        ("It cost 3,000 million that year.", "It cost \u00a33,000m that year."),
    ],
)
def test_a_number_may_be_written_in_another_way(answer, text):
    document = f"The wheel stands still. {text} It is cold."
    given = [Evidence("doc", Excerpt(0, len(document), document, 0.5), "Mills", None, "rev")]
    found = checked(answer, "How many?", given, SETTINGS)
    assert (found.unsupported, [one.quote for one in found.citations]) == ((), [text])


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ("42", "It was in nineteen forty-two."),
        ("40", "The mill has forty-two sacks in it."),
        ("2", "The mill has forty-two sacks, and two thirds of them are full."),
        ("1", "One of them is the mill."),
        ("2", "Two thousand eels were counted."),
        ("3000", "3,00 and 0,300 are no such number."),
        ("300", "Below it 3,000 eels were counted."),
        ("5000", "Rows 1,5,000 it says."),
        ("2", "Two or three hundred eels were counted."),
        ("20", "In all five-and-twenty men came."),
        ("10", "Ten młyn stoi nad rzeką."),
    ],
)
def test_what_a_number_in_words_does_not_say_is_not_borne_out(answer, text):
    given = [Evidence("doc", Excerpt(0, len(text), text, 0.5), "Mills", None, "rev")]
    assert checked(answer, "How many?", given, SETTINGS).unsupported == (answer,)


def test_a_number_of_the_question_may_be_repeated():
    assert check("In 1850 the keeper was Orsin Vale.", "Who was the keeper in 1850?").unsupported == ()


@pytest.mark.parametrize(
    "answer",
    [
        "",
        " \n",
        "not found",
        "Nicht gefunden.",
        "Der Text nennt keine Antwort.",
        "Le texte ne le dit pas.",
        "No se menciona en el texto.",
        "文中没有提到磨坊的主人。",
        "未找到。",
        "Not found.",
        "The text does not say.",
        "The excerpts do not hold the answer.",
        "The passage doesn't mention it.",
        "I don't know.",
        "Not mentioned in the text.",
        "The answer is not in the excerpts.",
        "Not found in the given excerpts, though [2] names a mill.",
        "not found (the excerpts are on bread)",
        "Not provided in the text.",
        "I'm sorry, but the excerpts do not mention the owner.",
        "There is no mention of the owner in the text.",
        "No information is given about the owner.",
        "There is no information in the excerpts.",
        "Not found [1].",
        "Not found\nThe excerpts are on bread.",
        "Not found because the excerpts are on bread.",
        "I’m sorry, but the text doesn’t mention it.",
        "[1]",
        " [2][3] ",
    ],
)
def test_a_refusal_is_no_answer(answer):
    found = check(answer)
    assert (found.found, found.text, found.citations, found.unsupported) == (False, NOT_FOUND, (), ())


def test_the_question_given_back_is_no_answer():
    """Its words stand in the text, and so would be borne out."""
    asked = "Who is the keeper of the mill?"
    for answer in (asked, "Who is the keeper of the mill? [1]", " who is the keeper of the mill"):
        found = check(answer, asked)
        assert (found.found, found.text, found.citations) == (False, NOT_FOUND, ())
    assert check("The keeper of the mill is Orsin Vale.", asked).found
    assert check("The keeper of the mill is Orsin Vale.", "The keeper of the mill is Orsin Vale.").found


@pytest.mark.parametrize(
    "answer",
    [
        "Nothing but bread is sold by Anna Holm.",
        "Anna Holm, not found elsewhere, sells bread.",
        "Notwehr.",
        "The passage does not freeze in winter.",
        "The answer is not 41 but 42.",
        "Not given bail, he fled.",
        "Not found guilty on 3 May.",
        "Not provided by the state but by donors.",
        "Not found in the wild since 1901.",
        "No information desk is open on Sundays.",
        "There was no indication of fraud, the court held [1].",
        "There was no mention of a dowry in the will [2].",
        "No information was given to the residents before the flood.",
        "Not found in the report of 1901 but in that of 1902.",
        "文中的钥匙由安娜保管。",
    ],
)
def test_a_no_in_an_answer_is_no_refusal(answer):
    assert check(answer).found


def test_a_chinese_answer():
    found = check("守门人是王小明[3]。", "谁是守门人？")
    assert quotes(found) == ["守门人是王小明，他住在河边。"]
    assert (found.found, found.unsupported) == (True, ())
    assert check("面包师是李四。", "谁是面包师？").unsupported == ("面包师是李四。",)


def test_a_quote_across_lines_keeps_them():
    assert quotes(check("Anna Holm sells bread on Sundays.", "Who sells bread?")) == [
        "The baker,\n   Anna Holm, sells bread on Sundays."
    ]


def test_an_answer_of_more_sentences_than_excerpts():
    answer = "Orsin Vale is the keeper. He came in March. The river froze. Anna Holm has a red oven of brick."
    assert len(check(answer, given=evidence("The river froze twice.")).citations) == 1
    assert len(check(answer).citations) >= 3


def test_without_excerpts_nothing_is_borne_out():
    found = check("The keeper is Orsin Vale [1].", given=[])
    assert (found.citations, len(found.unsupported)) == ((), 1)


@given(
    answer=st.lists(
        st.sampled_from(
            [
                "[1]",
                "[2, 3]",
                "[0]",
                "[99]",
                " ",
                "\n",
                ". ",
                "Orsin Vale",
                "keeper",
                "12",
                "1790",
                "守门人",
                "。",
                "[",
                "]",
                "*",
            ]
        )
        | st.text(max_size=6),
        max_size=14,
    ).map("".join),
    given_some=st.integers(0, 4),
    question=st.sampled_from([QUESTION, "谁是守门人？", "12", "?"]),
)
def test_whatever_a_model_says_each_citation_is_a_place(answer, given_some, question):
    found = checked(answer, question, evidence()[:given_some], SETTINGS)
    assert all(TEXT[one.span.start : one.span.end] == one.quote == one.quote.strip() for one in found.citations)
    assert found.found or found.text == NOT_FOUND
    assert len(set(found.citations)) == len(found.citations) <= given_some * 3


# -- what a model is asked -----------------------------------------------------------------------------------------


def test_the_excerpts_are_numbered_lines():
    (system, user) = messages(QUESTION, evidence(), SETTINGS)
    assert (system["content"], user["role"]) == ("", "user")
    assert "[2] The baker, Anna Holm, sells bread on Sundays. Her oven" in user["content"]
    assert re.findall(r"^\[(\d)\] ", user["content"], re.MULTILINE) == ["1", "2", "3", "4"]
    assert user["content"].index(SETTINGS.instruction) < user["content"].index("[1]") < user["content"].index(QUESTION)
    assert NOWHERE not in user["content"]
    assert f" {NOWHERE}\n\n[1] " in messages(QUESTION, evidence(), AnswerSettings(nowhere=NOWHERE))[1]["content"]


ROWS = "".join(f"| P-{n} | {7 * n} | {90 - n} |\n" for n in range(10, 40))
MANUAL = Document.of(
    "file:///pumps.md",
    f"# Pumps\n\n## Models\n\nThese are sold.\n\n| model | flow (l/min) | mass 2019 (kg) |\n|---|---|---|\n{ROWS}\n"
    "## Care\n\nClean them [1]. Grease them.\n",
    "Pumps",
)


def from_manual(first: str, last: str, heading: str | None) -> Evidence:
    start, end = MANUAL.text.index(first), MANUAL.text.index(last) + len(last)
    return evidence_of(MANUAL, Excerpt(start, end, MANUAL.text[start:end], 1.0), heading)


COLUMNS = "Pumps > Models > model | flow (l/min) | mass 2019 (kg)"


def test_rows_are_shown_as_rows_below_the_head_that_they_lack_once():
    given = [
        from_manual("| P-20", "P-22 | 154 | 68 |\n", COLUMNS),
        from_manual("| P-30", "P-30 | 210 | 60 |\n", COLUMNS),
    ]
    assert messages("How heavy is P-21?", given, SETTINGS)[1]["content"].split("\n\n")[1:3] == [
        "[1] Models\n| model | flow (l/min) | mass 2019 (kg) |\n| P-20 | 140 | 70 |\n| P-21 | 147 | 69 |\n"
        "| P-22 | 154 | 68 |",
        "[2] Models\n| P-30 | 210 | 60 |",
    ]


def test_a_heading_is_shown_where_neither_the_text_nor_the_title_says_it():
    whole, end = from_manual("## Care", "Grease them.", "Pumps > Care"), from_manual("Grease", "them.", "Pumps > Care")
    assert messages("?", [whole], SETTINGS)[1]["content"].split("\n\n")[1] == "[1] ## Care Clean them (1). Grease them."
    assert messages("?", [end], SETTINGS)[1]["content"].split("\n\n")[1].startswith("[1] Care\nGrease them")


def test_of_a_long_path_of_headings_the_end_is_shown():
    path = " > ".join(["Pumps", "a" * 90, "b" * 60, "Care"])
    assert from_manual("Grease", "them.", path).heading == f"{'b' * 60} > Care"


@pytest.mark.parametrize("answer", ["69", "The mass of P-21 is 69 kg.", "In 2019 its mass was 69 kg [1]."])
def test_a_row_is_what_is_cited_and_the_columns_are_borne_out_by_it(answer):
    found = checked(answer, "How heavy is P-21?", [from_manual("| P-12", "P-30 | 210 | 60 |", COLUMNS)], SETTINGS)
    (one,) = found.citations
    assert (one.quote, found.unsupported) == ("| P-21 | 147 | 69 |", ())
    assert MANUAL.quote(one.span) == one.quote


def test_a_no_of_an_excerpt_is_an_answer_that_cites_it():
    said = "There is no information on the label about allergens."
    said_there = "The label has no information on allergens."
    text = f"Jam is sweet. {said_there} It is red."
    given = [Evidence("doc", Excerpt(0, len(text), text, 0.1), "Jam", "https://e.org", "rev")]
    found = checked(said, "What does the label tell about allergens?", given, SETTINGS)
    assert (found.found, quotes(found)) == (True, [said_there])
    assert not check(said).found


def test_what_stands_above_is_never_quoted():
    found = checked("It is told of mass and flow.", "What?", [from_manual("| P-12", "P-30 | 210", COLUMNS)], SETTINGS)
    assert (found.citations, len(found.unsupported)) == ((), 1)


def test_a_reader_shows_the_head_of_a_table_too():
    start = MANUAL.text.index("| P-20")
    row = MANUAL.text[start : MANUAL.text.index("\n", start)]
    speaker = Scripted("140")
    _, reading = spoken(
        answered(speaker, DocumentText(MANUAL), "P-20?", [Kept(start, start + len(row), row, 9, 1.0, 0)], SETTINGS)
    )
    assert f"[1] | model | flow (l/min) | mass 2019 (kg) |\n{row}\n" in speaker.asked[0][1]["content"]
    assert quotes(reading) == [row]


def test_only_a_server_is_told_that_it_may_refuse(qwen):
    assert settings_for(LocalChat(qwen)) == AnswerSettings()
    served = settings_for(Quoter())
    assert (served.instruction, served.nowhere, served.titled, served.lines) == (SERVED, NOWHERE, True, True)
    assert not served.best_first
    assert 1024 <= served.context <= Quoter.context_tokens // 2
    assert settings_for(Quoter(), context=96).context == 96


def test_a_large_model_of_this_machine_is_told_as_much_as_a_servers(qwen, monkeypatch):
    monkeypatch.setattr("foveal.models.chat.SMALL", 1000)
    large = settings_for(LocalChat(qwen))
    assert (large.instruction, large.nowhere, large.titled) == (SERVED, NOWHERE, True)
    assert 32 <= large.context <= min(1024, qwen.context_tokens // 2)


def test_a_draft_comes_in_pieces():
    said, draft = spoken(drafted(Quoter(), QUESTION, evidence(), SETTINGS))
    assert "".join(one.text for one in said) == "The keeper of the mill is Orsin Vale. [1]"
    assert all(isinstance(one, AnswerDelta) for one in said)
    assert draft.citations[0].quote == "The keeper of the mill is Orsin Vale."


LONG_ROUND = "So. The year is the year. The builder is the builder. Who built it did."


@pytest.mark.parametrize(
    ("said", "left"),
    [
        ("About 1" + ",000" * 40, "About 1,000"),
        ("It is so. " + "Yes it is. " * 30, "It is so. Yes it is."),
        ("So. " + "The year is the year. The builder is the builder. Who built it did. " * 9 + "The year", LONG_ROUND),
        ("The mill has 1,000,000,000 stones.", "The mill has 1,000,000,000 stones."),
        ("It is --------------- there.", "It is --------------- there."),
    ],
    ids=["number", "sentence", "three sentences", "a large number", "a rule"],
)
def test_an_answer_that_goes_round_ends_where_it_had_said_it_once(said, left):
    pieces, draft = spoken(drafted(Scripted(said), QUESTION, evidence(), SETTINGS))
    assert re.sub(r" \[\d\]", "", draft.text) == left
    assert len("".join(one.text for one in pieces)) < 5 * len(left) + 150


def test_a_draft_can_be_cancelled():
    cancel = Cancel()
    pieces = drafted(Quoter(), QUESTION, evidence(), SETTINGS, cancel=cancel)
    next(pieces)
    cancel.set()
    with pytest.raises(Cancelled):
        list(pieces)


def kept(quote: str, score: float, tokens: int = 20) -> Kept:
    start = TEXT.index(quote)
    return Kept(start, start + len(quote), quote, tokens, score, 0)


def answer_of(model, memory, settings=SETTINGS):
    text = text_of(Document.of("test:mills", TEXT, "Mills", url="https://e.org"))
    return spoken(answered(model, text, QUESTION, memory, settings))[1]


def test_an_answer_from_what_was_kept():
    memory = [kept("The keeper of the mill is Orsin Vale. ", 6.0), kept("The river froze twice.", 0.5)]
    reading = answer_of(Quoter(), memory)
    assert (reading.text, reading.found, reading.question) == (
        "The keeper of the mill is Orsin Vale. [1]",
        True,
        QUESTION,
    )
    assert [one.text for one in reading.excerpts] == [one.text.strip() for one in memory]
    assert reading.confidence == pytest.approx(0.75)
    assert reading.citations[0].url == "https://e.org"


def test_confidence_falls_where_something_is_not_borne_out():
    memory = [kept("The keeper of the mill is Orsin Vale. ", 2.0)]
    assert answer_of(Scripted("Orsin Vale."), memory).confidence == pytest.approx(0.5)
    assert answer_of(Scripted("Orsin Vale. Dragons guard it."), memory).confidence == pytest.approx(0.25)
    reading = answer_of(Scripted("Not found."), memory)
    assert (reading.confidence, reading.found, reading.text) == (0.0, False, NOT_FOUND)
    sure = [answer_of(Quoter(), [kept("The river froze twice.", score)]).confidence for score in (0.2, 1, 5, 50)]
    assert sure == sorted(sure)
    assert 0 < sure[0] < 0.1 < 0.9 < sure[-1] < 1


@pytest.mark.parametrize("best_first", [True, False])
def test_the_model_is_shown_the_best_that_fit(best_first):
    memory = [
        kept("The keeper of the mill is Orsin Vale. ", 0.2),
        kept("Her oven is made of red brick.", 0.1),
        kept("The river froze twice.", 0.3),
    ]
    model = Scripted("Orsin Vale.")
    reading = answer_of(model, memory, AnswerSettings(context=45, best_first=best_first))
    shown = re.findall(r"\[\d\] (.+)", model.asked[0][-1]["content"])
    in_the_text = ["The keeper of the mill is Orsin Vale.", "The river froze twice."]
    assert shown == (in_the_text[::-1] if best_first else in_the_text)
    assert len(reading.excerpts) == 3


def test_what_stands_twice_is_shown_once():
    said = "The keeper of the mill\nis Orsin Vale. "
    text = f"{said}The river froze twice. {' '.join(said.split())} It rained."
    places = [(0, len(said)), (len(said), len(said) + 23), (len(said) + 23, len(said) + 60)]
    memory = [Kept(a, b, text[a:b], 20, score, 0) for (a, b), score in zip(places, (0.5, 0.3, 0.9), strict=True)]
    model = Scripted("Orsin Vale.")
    made = text_of(Document.of("test:mills", text, "Mills"))
    reading = spoken(answered(model, made, QUESTION, memory, AnswerSettings(context=45)))[1]
    shown = re.findall(r"\[\d\] (.+)", model.asked[0][-1]["content"])
    assert shown == ["The river froze twice. The keeper of the mill is Orsin Vale."]
    assert reading.citations[0].span.start == places[2][0]
    assert [one.text for one in reading.excerpts] == [text[: places[2][1]].strip()]


@pytest.mark.parametrize("wrong", [{"max_tokens": 0}, {"context": 31}, {"supported": 0}, {"supported": 1.1}])
def test_settings_out_of_their_range(wrong):
    with pytest.raises(InputError, match="An answer needs"):
        AnswerSettings(**wrong)


CODE = "Attributes are looked up by a[0] and then in d[2, 3]. Its third is b[1]. The keeper of a list is its owner."


@pytest.mark.parametrize(
    ("answer", "shown"),
    [
        ("It is looked up by a[0].", "It is looked up by a[0]. [1]"),
        ("It is looked up by a[0] and in d[2, 3] [1].", "It is looked up by a[0] and in d[2, 3]. [1]"),
        ("The keeper of a list is its owner[1].", "The keeper of a list is its owner. [1]"),
        ("Its third is b[1].", "Its third is b[1]. [1]"),
    ],
)
def test_brackets_of_the_text_itself_are_no_citations(answer, shown):
    given = [Evidence("doc", Excerpt(0, len(CODE), CODE, 1.0), "Lists")]
    found = checked(answer, "How are attributes looked up?", given, SETTINGS)
    assert found.text == shown
    assert len(found.citations) == 1


REFERENCES = "Orsin Vale keeps the mill [2]. Anna Holm bakes red bread, [1, 2] says so. The river froze twice [17]."


def test_numbers_of_the_text_itself_are_no_citations():
    """A text with references of its own: what the model writes in brackets is an excerpt's number, and nothing else."""
    at = REFERENCES.index("Anna")
    given = [
        Evidence("doc", Excerpt(0, at, REFERENCES[:at], 1.0), "Mills"),
        Evidence("doc", Excerpt(at, len(REFERENCES), REFERENCES[at:], 1.0), "Mills"),
    ]
    asked = messages("What does [2] say of a[0]?", given, SETTINGS)[-1]["content"]
    assert re.findall(r"\[[\d, ]+\]", asked) == ["[1]", "[2]", "[0]"]
    assert "[1] Orsin Vale keeps the mill (2)." in asked
    assert "What does (2) say of a[0]?" in asked
    found = checked("Anna Holm bakes red bread [2]. Orsin Vale keeps the mill [1].", QUESTION, given, SETTINGS)
    assert found.text == "Anna Holm bakes red bread. [1] Orsin Vale keeps the mill. [2]"
    assert [one.quote[:10] for one in found.citations] == ["Anna Holm ", "Orsin Vale"]


def test_an_answer_is_traced_into_excerpts_with_numbers_of_their_own(qwen):
    scores = HeadScores(torch.full((1, 3, HEADS), 0.5))
    given = [Evidence("doc", Excerpt(0, len(REFERENCES), REFERENCES, 1.0), "Mills")]
    draft = spoken(drafted(LocalChat(qwen), QUESTION, given, SETTINGS, heads=scores))[1]
    assert draft.grounded is not None


def test_each_number_of_an_answer_without_blanks_is_a_link():
    found = check("守门人是王小明[3]。磨坊建于1790年[3]。Orsin Vale is the keeper.", "谁是守门人？")
    numbers = [number for _, number in pieces(found.text, len(found.citations)) if number]
    assert numbers == [1, 2, 3]
    assert "".join(text for text, _ in pieces(found.text, 3)).count("[") == 0


def test_a_number_that_is_a_word_is_a_link_and_keeps_its_blank():
    told = "According to [1], it is oak. [2] Both [1] and [2] say so\n[2] adds more [3] b[1]."
    shown = list(pieces(told, 2))
    assert [number for _, number in shown if number] == [1, 2, 1, 2, 2]
    assert "".join(text if number is None else f"<{number}>" for text, number in shown) == (
        "According to <1>, it is oak.<2> Both <1> and <2> say so\n<2> adds more [3] b[1]."
    )


@pytest.mark.parametrize("score", [1.0, 600.0])
def test_a_high_score_bears_nothing_out(score):
    """Scores come in any unit: they break ties, no more."""
    said = "Rook stole the diamonds and fled by night to Lisbon with his brother."
    text = "Rook was seen in Lisbon."
    given = [Evidence("doc", Excerpt(0, len(text), text, score), "Rook")]
    assert checked(said, "What did they do?", given, SETTINGS).unsupported == (said,)


def test_blank_finds_are_not_found(qwen):
    kept = [Kept(0, 3, "  \n", 2, 3.0, 0)]
    events = answered(LocalChat(qwen), text_of("  \nabc"), QUESTION, kept, SETTINGS)
    with pytest.raises(StopIteration) as done:
        next(events)
    assert (done.value.value.found, done.value.value.text) == (False, NOT_FOUND)


def test_a_lone_surrogate_reaches_no_model():
    assert "\udcff" not in messages("Who \udcff?", evidence(), SETTINGS)[-1]["content"]
