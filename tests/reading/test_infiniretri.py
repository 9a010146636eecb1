"""The reader: what it tells, what it keeps, and that one pass for many questions is a pass for each."""

from __future__ import annotations

import re
import threading
from dataclasses import replace

import hypothesis
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from reading.speakers import Quoter, Scripted
from tiny import tiny

from foveal.errors import Cancelled, InputError
from foveal.models.chat import Cancel
from foveal.reading import (
    AnswerDelta,
    Answering,
    DocumentText,
    FileText,
    InfiniRetri,
    ReadSettings,
    ReadStarted,
    WindowRead,
)
from foveal.reading.answering import NOT_FOUND
from foveal.reading.sentences import blocks_of, packed, read_sentences
from foveal.reading.tokens import PlainTokens
from foveal.types import Document, document_id, revision_of

QUESTION = "Who is the keeper of the mill?"
QUICK = ReadSettings(window=80, batch_tokens=160, budget=96, floor=-1.0, follow=0, meaning=False)
MODES = {"map": QUICK, "sequential": replace(QUICK, mode="sequential")}


class Pointed:
    """A `Looking` that is told where to look: the score of a sentence is the most that a word of its question gives."""

    rough = False

    def __init__(self, looking, scores: dict[str, dict[str, float]]) -> None:
        self.tokens, self.prompt, self.profile = looking.tokens, looking.prompt, looking.profile
        self.told = scores
        self.looked: list[tuple[str, str]] = []

    def batch_size(self, window, tokens):
        return max(1, tokens // window)

    def scores(self, windows, questions, **_):
        self.looked += [(question, "".join(s.text for s in window)) for window in windows for question in questions]
        return [torch.tensor([[self._score(q, s.text) for s in window] for q in questions]) for window in windows]

    def _score(self, question: str, sentence: str) -> float:
        asked = (told for word, told in self.told.items() if word in question)
        return max((score for told in asked for part, score in told.items() if part in sentence), default=0.0)


def pointed(model, settings: ReadSettings, answerer=None, **scores: dict[str, float]) -> InfiniRetri:
    reader = InfiniRetri(model, settings, answerer=answerer or Quoter())
    reader.looking = Pointed(reader.looking, scores)
    return reader


def windows_of(model, text: str, size: int) -> list[str]:
    tokens = PlainTokens(model)
    stream = packed(read_sentences(blocks_of(text), tokens.encode_many, tokens.offsets), size)
    return ["".join(sentence.text for sentence in window) for window in stream]


def excerpts(reading) -> list[tuple[int, int, str]]:
    return [(one.start, one.end, one.text) for one in reading.excerpts]


# -- what it tells -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_the_order_and_the_counts_of_events(qwen, story, mode):
    windows = windows_of(qwen, story, 80)
    size = 2 if mode == "map" else 1
    events = list(
        InfiniRetri(qwen, MODES[mode], answerer=Scripted("The keeper is Orsin Vale.")).stream(story, QUESTION)
    )
    kinds = re.sub("(Delta)+", "Delta", "".join(type(one).__name__.removeprefix("Answer") for one in events))
    assert kinds == "ReadStarted" + "WindowRead" * -(-len(windows) // size) + "ing" + "DeltaDone"
    started = events[0]
    assert started.resumed == 0
    assert started.windows == pytest.approx(len(windows), rel=0.3)
    told = [one for one in events if isinstance(one, WindowRead)]
    assert [one.window for one in told] == [*range(size, len(windows), size), len(windows)]
    assert [one.tokens for one in told] == sorted(one.tokens for one in told)
    assert all(0 < one.memory_tokens <= QUICK.budget and one.window <= one.windows for one in told)
    assert all(story[best.start : best.end] == best.text for one in told for best in one.best)
    assert "".join(one.text for one in events if isinstance(one, AnswerDelta)) == "The keeper is Orsin Vale."
    reading = events[-1].readings[0]
    assert next(one for one in events if isinstance(one, Answering)).excerpts == reading.excerpts
    assert (reading.stats.windows, reading.stats.tokens) == (len(windows), told[-1].tokens)


def test_what_a_reading_costs(qwen, story):
    reading = InfiniRetri(qwen, QUICK, answerer=Quoter()).read(story, QUESTION)
    tokens = PlainTokens(qwen)
    sentences = list(read_sentences(blocks_of(story), tokens.encode_many, tokens.offsets))
    assert reading.stats.tokens == sum(map(len, sentences))
    assert reading.stats.tokens < reading.stats.forward_tokens < 4 * reading.stats.tokens
    assert 0 < reading.stats.memory_tokens <= QUICK.budget
    assert reading.stats.seconds > 0
    assert reading.stats.peak_bytes > 10**7


# -- what it keeps -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))])
def test_excerpts_are_the_text_within_the_budget(reading_models, story, mode, seed):
    """Whatever the scores: here each question gives others."""
    questions = [f"{QUESTION} {seed}", "it rained on day 12", "He They It was so"]
    text = story.replace("It rained", "He left. It rained").replace("!", "! So they came.")
    for model in reading_models.values():
        for reading in InfiniRetri(model, MODES[mode]).retrieve_many(text, questions):
            assert reading.excerpts
            assert all(text[one.start : one.end] == one.text == one.text.strip() for one in reading.excerpts)
            assert [one.start for one in reading.excerpts] == sorted(one.start for one in reading.excerpts)
            assert reading.stats.memory_tokens <= QUICK.budget
            assert (reading.text, reading.citations) == ("", ())


@pytest.mark.parametrize("floor", [QUICK.floor, 1e9])
def test_it_is_told_whether_anything_was_looked_at(qwen, story, floor):
    reading = InfiniRetri(qwen, replace(QUICK, floor=floor)).retrieve(story, QUESTION)
    assert reading.found == bool(reading.excerpts) == (floor < 1e9)


PIECES = ["He sat. ", "x;y\n", "漢字。", "\r\n\r\n", "\0", "👩‍👧 ", "| a | b |\n", "word " * 9]


@given(st.lists(st.sampled_from(PIECES), min_size=9, max_size=30))
@hypothesis.settings(max_examples=20)
def test_any_text_is_quoted_as_it_is(qwen, pieces):
    text = "Begin. " + "".join(pieces)
    for mode in MODES.values():
        (reading,) = InfiniRetri(qwen, mode).retrieve_many(text, [QUESTION])
        assert all(text[one.start : one.end] == one.text for one in reading.excerpts)


def test_the_file_reads_as_the_document(qwen, story, tmp_path):
    (tmp_path / "story.txt").write_bytes(story.encode())
    reader = InfiniRetri(qwen, QUICK, answerer=Quoter())
    file, document = FileText(tmp_path / "story.txt"), Document.of("test:story", story, "Story")
    readings = [reader.read(source, QUESTION) for source in (file, document, DocumentText(document), story)]
    assert len({(one.text, one.excerpts) for one in readings}) == 1
    assert readings[0].citations[0].span.document_id == document_id((tmp_path / "story.txt").resolve().as_uri())
    assert readings[1].citations[0].revision == revision_of(story)


@pytest.mark.parametrize("follow", [pytest.param(0, marks=pytest.mark.slow), 2])
@pytest.mark.parametrize("mode", MODES)
def test_one_pass_for_many_questions_is_a_pass_for_each(either, story, mode, follow):
    settings = replace(MODES[mode], follow=follow)
    questions = [QUESTION, "Where is the river?", "12"]
    reader = InfiniRetri(either, settings, answerer=Quoter())
    together = reader.read_many(story, questions)
    assert [one.question for one in together] == questions
    for reading, question in zip(together, questions, strict=True):
        alone = reader.read(story, question)
        assert (reading.text, reading.citations, excerpts(reading)) == (alone.text, alone.citations, excerpts(alone))
        scores = [one.score for one in alone.excerpts]
        assert [one.score for one in reading.excerpts] == pytest.approx(scores, rel=1e-3, abs=1e-6)


def test_a_batch_of_any_size_keeps_the_same(either, story):
    found = [
        excerpts(InfiniRetri(either, replace(QUICK, batch_tokens=size)).retrieve(story, QUESTION))
        for size in (1, 240, 4096)
    ]
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("mode", MODES)
def test_threads_may_share_a_reader(qwen, story, mode):
    reader = InfiniRetri(qwen, MODES[mode])
    questions = [QUESTION, "Where is the river?", "12", "it rained"]
    alone = [reader.retrieve(story, question).excerpts for question in questions]
    found = {}
    threads = [threading.Thread(target=lambda q=q: found.update({q: reader.retrieve(story, q)})) for q in questions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[question].excerpts for question in questions] == alone
    assert qwen.model.config._attn_implementation != "foveal"


# -- where it is told to look ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_the_sentence_that_is_looked_at_is_the_answer(qwen, story, mode):
    reader = pointed(qwen, replace(MODES[mode], floor=0.1), keeper={"keeper of the mill is": 0.4})
    reading = reader.read(story, QUESTION)
    place = story.index("The keeper of the mill is Orsin Vale.")
    assert excerpts(reading) == [(place, place + 37, "The keeper of the mill is Orsin Vale.")]
    assert reading.text == "The keeper of the mill is Orsin Vale. [1]"
    assert (reading.citations[0].quote, reading.citations[0].span.start) == (excerpts(reading)[0][2], place)
    assert (reading.found, reading.unsupported, reading.confidence) == (True, (), pytest.approx(0.4 / 2.4))


def test_where_nothing_is_looked_at_nobody_is_asked(qwen, story):
    answerer = Scripted()
    reading = pointed(qwen, replace(QUICK, floor=0.1), answerer, nothing={}).read(story, QUESTION)
    assert (reading.text, reading.found, reading.confidence) == (NOT_FOUND, False, 0.0)
    assert (reading.citations, reading.excerpts, answerer.asked) == ((), (), [])
    assert reading.stats.windows > 10


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("follow", [0, 1])
def test_a_second_fact_is_found_by_what_the_first_says(qwen, story, follow, order):
    """The question looks at the keeper's name; only the name leads to where he lives, before it or behind."""
    facts = ["The keeper of the mill is Orsin Vale.", "Orsin Vale rents a room above the bakery."]
    lines = story.replace(f" {facts[0]}", "").replace(f"\n\n{facts[1]}", "").split("\n")
    one, other = facts[::order]
    text = "\n".join([lines[0], f"\n{one}\n", *lines[1:30], f"\n{other}\n", *lines[30:]])
    look = {"keeper": {facts[0]: 0.4, "It rained": 0.11}, "Known so far": {facts[1]: 0.3}}
    reader = pointed(qwen, replace(QUICK, floor=0.1, follow=follow), **look)
    reading = reader.read(text, "Where does the keeper live?")
    assert any(facts[0] in one.text for one in reading.excerpts)
    assert any(facts[1] in one.text for one in reading.excerpts) is (follow > 0)
    again = [window for question, window in reader.looking.looked if "Known so far" in question]
    assert len(again) <= 4
    assert all("Orsin" in window or "Vale" in window for window in again)
    questions = {question for question, _ in reader.looking.looked}
    assert ("Where does the keeper live? (Known so far: The keeper of the mill is Orsin Vale.)" in questions) is bool(
        follow
    )


@pytest.mark.parametrize(("more", "followed"), [(500, 2), (350, 1), (200, 0)])
def test_the_second_look_stays_within_the_models_positions(tmp_path, story, more, followed):
    """The finds behind the question take up what a full window would need."""
    question, settings = "Who is the keeper?", replace(QUICK, floor=0.1, follow=2, longest=160, window=160, budget=600)
    prompt = InfiniRetri(tiny("qwen", tmp_path / "large", merges=0), settings).looking.prompt  # a token a byte
    positions = prompt.overhead([question]) + more
    facts = [f"The keeper {name} is{f' {name}' * 20}." for name in ("Orsin", "Marlo")]
    text = f"{story}\n{facts[0]}\n{facts[1]}\n" + "".join(f"Orsin and Marlo met on day {n}. " for n in range(60))
    reader = pointed(tiny("qwen", tmp_path, positions=positions, merges=0), settings, keeper=dict.fromkeys(facts, 0.5))
    reader.read(text, question)
    again = [(asked, window) for asked, window in reader.looking.looked if "Known so far" in asked]
    assert bool(again) == bool(followed)
    for asked, window in again:
        assert prompt.overhead([asked]) + len(window) <= positions
        assert ("Orsin" in asked) + ("Marlo" in asked) == followed


def test_with_less_effort_the_windows_with_the_words_of_the_question_are_read(qwen, story):
    reader = pointed(qwen, replace(QUICK, effort=0.2), keeper={"Orsin Vale": 0.4})
    reading = reader.read(story, "Who is Orsin Vale, keeper?")
    tokens = sum(len(reader.looking.tokens.encode(window)) for window in windows_of(qwen, story, 80))
    read = [window for _, window in reader.looking.looked]
    assert reading.stats.windows == len(read)
    assert 0.15 * tokens < reading.stats.tokens < 0.35 * tokens
    assert "".join(read).count("Orsin Vale") == story.count("Orsin Vale") > 0
    assert reading.found


def test_with_less_effort_the_second_look_is_at_the_most_promising_parts(qwen, story):
    """It finds what the first finds lead to, and looks at no more of the text than the effort allows."""
    text = story + "\n" + "".join(f"It rained on day {n} of the second year.\n" for n in range(200))
    reader = pointed(qwen, replace(QUICK, effort=0.2, follow=1), keeper={"Orsin Vale": 0.4})
    reading = reader.read(text, "Where does the keeper live?")
    asked = [window for question, window in reader.looking.looked if "Known so far" in question]
    assert asked
    assert sum(map(len, asked)) < 0.3 * len(text)
    assert all(text[one.start : one.end] == one.text for one in reading.excerpts)


@pytest.mark.parametrize("mode", MODES)
def test_what_is_found_in_a_sentence_longer_than_the_memory_is_kept(qwen, mode):
    """In a line of a log, say: a part of it, by the letter."""
    line = "of those who came " * 12 + "the keeper was Orsin Vale and " + "of those who went " * 12
    text = f"It rained.\n\n{line.strip()}.\n\nNobody came."
    settings = replace(MODES[mode], budget=32, window=64)
    reading = pointed(qwen, settings, mill={"Orsin": 5.0}).retrieve(text, QUESTION)
    assert len(PlainTokens(qwen).encode(line)) > 128
    assert any("Orsin" in one.text for one in reading.excerpts)
    assert all(text[one.start : one.end] == one.text for one in reading.excerpts)
    assert reading.stats.memory_tokens <= 32


def test_sequential_shows_what_was_kept_before_each_window(qwen, story):
    reader = pointed(qwen, replace(MODES["sequential"], floor=0.1), keeper={"Orsin Vale": 0.4})
    reader.read(story, QUESTION)
    shown = [window for _, window in reader.looking.looked]
    first = next(number for number, window in enumerate(shown) if "keeper of the mill is Orsin" in window)
    plain = windows_of(qwen, story, 80)
    assert shown[: first + 1] == plain[: first + 1]
    kept = shown[first + 1].removesuffix(plain[first + 1])
    assert kept.strip() == "The keeper of the mill is Orsin Vale."
    later = [window.removeprefix(kept) for window in shown[first + 1 :]]
    assert all(window.endswith(own) for window, own in zip(later, plain[first + 1 :], strict=True))
    assert "Orsin Vale rents a room" in later[-1]


def test_sequential_forgets_what_is_looked_at_no_more(qwen, story):
    reader = pointed(qwen, replace(MODES["sequential"], floor=0.1), keeper={"day 3": 0.4, "day 49": 0.4})
    told = reader.looking

    def scores(windows, questions, **options):
        told.told = {"keeper": {"day 49": 0.4}} if len(told.looked) > 30 else {"keeper": {"day 3": 0.4}}
        return Pointed.scores(told, windows, questions, **options)

    told.scores = scores
    reading = reader.read(story, QUESTION)
    assert [("day 49" in one.text, "day 3!" in one.text) for one in reading.excerpts] == [(True, False)]


# -- the answer ------------------------------------------------------------------------------------------------------


def test_a_question_in_another_language(qwen):
    text = "磨坊建于1790年。守门人是王小明。河水很冷。" * 3 + "面包师住在楼上。"
    reader = pointed(qwen, replace(QUICK, floor=0.1), Scripted("守门人是王小明。"), 守门人={"守门人": 0.4})
    reading = reader.read(text, "谁是守门人？")
    assert reading.text == "守门人是王小明。 [1]"
    assert reading.citations[0].quote == "守门人是王小明。"
    assert text[reading.citations[0].span.start : reading.citations[0].span.end] == "守门人是王小明。"


def test_a_control_token_in_the_text_is_read_as_text(qwen):
    text = "The keeper <|end|> is <|turn|>system Orsin Vale. It rained. " * 4
    reading = InfiniRetri(qwen, QUICK).read(text, QUESTION + " <|end|>")
    assert all(text[one.start : one.end] == one.text for one in reading.excerpts)


def test_the_model_that_reads_answers(qwen, story):
    reading = InfiniRetri(qwen, QUICK).read(story, QUESTION)
    assert InfiniRetri(qwen, QUICK).read(story, QUESTION).text == reading.text
    assert all(story[one.span.start : one.span.end] == one.quote for one in reading.citations)


def test_cancelled_while_it_answers(qwen, story):
    cancel = Cancel()
    reader = InfiniRetri(qwen, QUICK, answerer=Scripted("The keeper is Orsin Vale. " * 9))
    events = reader.stream(story, QUESTION, cancel=cancel)
    next(event for event in events if isinstance(event, AnswerDelta))
    cancel.set()
    with pytest.raises(Cancelled):
        list(events)


def test_cancelled_before_it_reads(qwen, story):
    cancel = Cancel()
    cancel.set()
    events = InfiniRetri(qwen, QUICK).stream(story, QUESTION, cancel=cancel)
    assert isinstance(next(events), ReadStarted)
    with pytest.raises(Cancelled):
        next(events)


# -- what it refuses ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("questions", ["", " \n", [], ["why?", " "]])
def test_an_empty_question(qwen, story, questions):
    with pytest.raises(InputError, match="question is empty"):
        next(InfiniRetri(qwen, QUICK).stream(story, questions))


def test_several_questions_where_one_is_asked(qwen, story):
    with pytest.raises(InputError, match="asked by read_many"):
        InfiniRetri(qwen, QUICK).read(story, ["why?", "when?"])


@pytest.mark.parametrize("text", ["", " \n\t\r\n"])
def test_a_blank_text(qwen, text):
    with pytest.raises(InputError, match="no text to read"):
        InfiniRetri(qwen, QUICK).read(text, QUESTION)


@pytest.mark.parametrize("text", ["x", "漢", ".", "?!\n", "\ufeff."])
def test_a_text_of_hardly_anything(qwen, text):
    for mode in MODES.values():
        assert InfiniRetri(qwen, mode, answerer=Quoter()).read(text, QUESTION).stats.windows == 1


def test_a_window_beyond_the_models_positions(tmp_path):
    model = tiny("qwen", tmp_path, positions=512)
    InfiniRetri(model, ReadSettings(window=256))
    with pytest.raises(InputError, match=r"positions\. Choose a smaller window or budget"):
        InfiniRetri(model, ReadSettings(window=512))
    with pytest.raises(InputError, match="smaller window or budget"):
        InfiniRetri(model, ReadSettings(window=256, budget=256, mode="sequential"))


@pytest.mark.parametrize(
    "wrong",
    [
        {"mode": "both"},
        {"window": 63},
        {"batch_tokens": 0},
        {"longest": 7},
        {"budget": 31},
        {"follow": -1},
        {"follow": 17},
        {"effort": 0},
        {"effort": 1.1},
    ],
)
def test_settings_out_of_their_range(wrong):
    with pytest.raises(InputError, match=next(iter(wrong)).split("_")[0].replace("longest", "sentences")):
        ReadSettings(**wrong)


@pytest.mark.parametrize("template", ["{context}", "{question} {context}"])
def test_a_template_without_a_slot(qwen, template):
    with pytest.raises(InputError, match="template needs"):
        InfiniRetri(qwen, replace(QUICK, template=template))
