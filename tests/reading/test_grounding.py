"""An answer's copies mapped back to its excerpts, and what citations make of them."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from tiny import HEADS

from foveal.attention.retrieval_heads import HeadScores
from foveal.models.local_chat import LocalChat
from foveal.reading.answering import Evidence, checked, drafted, messages
from foveal.reading.answering_settings import AnswerSettings
from foveal.reading.grounding import Copied, Grounding, _copied, grounding, one_line
from foveal.reading.memory import Excerpt

SETTINGS = AnswerSettings(max_tokens=6)


def excerpt(start: int, text: str) -> Evidence:
    return Evidence("d", Excerpt(start, start + len(text), text, 1.0), "t")


def whole(pieces):
    """What a generator returns at its end."""
    while True:
        try:
            next(pieces)
        except StopIteration as end:
            return end.value


def test_one_line_knows_its_characters():
    line, places = one_line("  a\n\n b c ")
    assert line == "a b c"
    assert [("  a\n\n b c "[place]) for place in places] == ["a", "\n", "b", " ", "c"]
    assert one_line(" \n") == ("", [])


def test_rows_stay_lines_and_tabs_stay_between_their_cells():
    text = "Words  of\nprose.\n\n a\t\tb \r\n\tc\nd\n\nMore\nprose. "
    line, places = one_line(text, (text.index(" a"), text.index("\nMore")))
    assert line == "Words of prose.\na\t\tb\n\tc\nd\nMore prose."
    assert [text[place] for place, shown in zip(places, line, strict=True) if shown.isalnum()] == list(
        "WordsofproseabcdMoreprose"
    )


def test_a_copied_token_is_mapped_to_its_excerpt_and_the_character_there():
    first, second = "The mill  is\nold.", "It rained."
    prompt = "1: The mill is old. 2: It rained."
    maps = [(prompt.index("The"), one_line(first)[1]), (prompt.index("It"), one_line(second)[1])]

    def token(start, end, source, share):
        return SimpleNamespace(start=start, end=end, source=source, share=share)

    old, rained = prompt.index(" old"), prompt.index(" rained")
    behind = prompt.index(" 2:")  # the first place after an excerpt
    tokens = [
        token(0, 4, (old, old + 4), 0.75), token(4, 5, None, 0.5), token(5, 6, (behind, behind + 1), 0.5),
        token(6, 8, (behind + 1, behind + 3), 0.5), token(8, 15, (rained, rained + 7), 0.25),
    ]  # fmt: skip
    found = _copied(SimpleNamespace(tokens=tokens), maps)
    assert found == [
        Copied(0, 4, 0, first.index("old") + 1, 0.75),
        Copied(8, 15, 1, second.index("rained") + 2, 0.25),
    ]


@pytest.mark.parametrize("number", [0, 1])
def test_of_two_sentences_with_the_same_words_the_copied_one_is_cited(number):
    evidence = [excerpt(0, "Ada saw 48213 on a wall. It rained."), excerpt(90, "There 48213 was the code. Ada saw it.")]
    answer = "It was 48213."
    start = answer.index("48213")
    place = evidence[number].excerpt.text.index("48213")
    ground = Grounding((Copied(start, start + 5, number, place, 0.8),), 0.8)
    found = checked(answer, "What did it say?", evidence, SETTINGS, ground)
    assert found.citations[0].span.start == evidence[number].excerpt.start
    assert found.grounded == 0.8
    assert checked(answer, "What did it say?", evidence, SETTINGS).grounded is None


@pytest.mark.parametrize("question", ["What is the code of Orra?", "奥拉的代码是什么？"])
def test_a_sentence_that_asks_the_question_does_not_answer_it(question):
    says = {"W": "One code of Orra is 48213.", "奥": "奥拉的代码之一是 48213。"}[question[0]]
    evidence = [excerpt(0, f"“{question}” the children sang, and then: 48213."), excerpt(90, says)]
    found = checked("48213.", question, evidence, SETTINGS)
    assert found.citations[0].span.start == evidence[1].excerpt.start
    plain = [excerpt(0, "The code of Orra, the children sang, is: 48213."), evidence[1]]  # it states it in more words
    sung = checked("48213.", "What is the code of Orra that the children sang?", plain, SETTINGS)
    assert sung.citations[0].span.start == plain[0].excerpt.start


def test_what_no_excerpt_holds_stays_unsupported_whatever_was_looked_at():
    evidence = [excerpt(0, "Ada saw 48213 on a wall.")]
    ground = Grounding((Copied(7, 12, 0, 8, 1.0),), 1.0)
    assert checked("It was 99999.", "What?", evidence, SETTINGS, ground).unsupported == ("It was 99999.",)


def test_each_sentence_has_its_own_votes():
    ground = Grounding((Copied(2, 4, 0, 5, 0.5), Copied(20, 22, 0, 7, 0.25), Copied(3, 5, 1, 5, 0.125)), 0.5)
    assert ground.votes((0, 10), 0, (0, 10)) == 0.5 / 0.625
    assert ground.votes((0, 30), 0, (0, 10)) == 0.75 / 0.875
    assert ground.votes((0, 30), 0, (6, 10)) == 0.25 / 0.875
    assert ground.votes((0, 30), 1, (0, 10)) == 0.125 / 0.875
    assert ground.votes((5, 9), 0, (0, 10)) == 0


def test_a_local_answer_is_traced_into_its_excerpts(qwen):
    scores = HeadScores(torch.full((1, 3, HEADS), 0.5))
    evidence = [excerpt(0, "The mill  is\nold."), excerpt(40, "The keeper reads the text.")]
    chat = LocalChat(qwen)
    prompt = qwen.render(messages("who?", evidence, SETTINGS))
    answer = "The keeper reads the text in the mill is old."
    found = grounding(qwen, prompt, answer, [one.excerpt.text for one in evidence], scores)
    assert found is not None
    for one in found.copied:
        text = evidence[one.number].excerpt.text
        assert answer[one.start : one.end].strip()[:1] in text[max(0, one.place - 4) : one.place + 5]
    assert grounding(qwen, "something else", answer, ["The mill"], scores) is None
    assert grounding(qwen, prompt, " ", [one.excerpt.text for one in evidence], scores) is None
    draft = whole(drafted(chat, "who?", evidence, SETTINGS, heads=scores))
    assert draft.grounded is None or 0 <= draft.grounded <= 1


@pytest.mark.parametrize(
    "scores",
    [torch.full((1, 3, HEADS), 0.05), torch.full((1, 4, HEADS), 0.5)],
    ids=["no head copies enough", "another model's"],
)
def test_an_answer_that_cannot_be_traced_is_given_all_the_same(qwen, scores):
    evidence = [excerpt(0, "The mill is old."), excerpt(40, "The keeper reads the text.")]
    prompt = qwen.render(messages("who?", evidence, SETTINGS))
    excerpts = [one.excerpt.text for one in evidence]
    assert grounding(qwen, prompt, "The keeper.", excerpts, HeadScores(scores)) is None
    draft = whole(drafted(LocalChat(qwen), "who?", evidence, SETTINGS, heads=HeadScores(scores)))
    assert draft.grounded is None
    assert draft.text


def test_an_answer_that_fills_the_model_is_given_untraced(qwen):
    evidence = [excerpt(0, "The mill is old.")]
    prompt = qwen.render(messages("who?", evidence, SETTINGS))
    scores = HeadScores(torch.full((1, 3, HEADS), 0.5))
    assert grounding(qwen, prompt, "The mill. " * qwen.context_tokens, [evidence[0].excerpt.text], scores) is None


def test_a_row_of_empty_cells_is_read_once():
    text = "a" + "\t" * 300_000 + "b"
    assert one_line(text, (0, len(text)))[0] == text
    assert one_line("a\t \n\n\t b", (0, 10))[0] == "a\n\tb"
