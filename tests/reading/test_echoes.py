"""An answer that only gives the excerpts back is none: fewer excerpts are asked again."""

from __future__ import annotations

from dataclasses import replace

import pytest
from reading.speakers import Scripted
from reading.test_answering import spoken

from foveal.reading.answering import Evidence, drafted, messages
from foveal.reading.answering_settings import NOWHERE, AnswerSettings
from foveal.reading.echoes import LEAST, Echo
from foveal.reading.memory import Excerpt

LONG = [" ".join(f"{word} {n} turns the wheel at noon." for n in range(20)) for word in ("Mill", "Saw", "Ford")]
SERVED = AnswerSettings(lines=True, titled=True, nowhere=NOWHERE)


def given() -> list[Evidence]:
    texts = [*LONG, "Orsin Vale keeps the mill."]
    scores = [0.2, 0.3, 0.1, 0.9]
    return [
        Evidence(f"d{n}", Excerpt(0, len(text), text, score), f"Title {n}")
        for n, (text, score) in enumerate(zip(texts, scores, strict=True))
    ]


def shown(evidence: list[Evidence], first: int) -> str:
    """The excerpts as the model is shown them, from one on."""
    content = str(messages("Who keeps the mill?", evidence, SERVED)[-1]["content"])
    return content[content.index(f"[{first}] ") : content.index("\n\nQuestion:")]


class Echoing(Scripted):
    """Gives long prompts back, and answers short ones."""

    def __init__(self, echo: str, answer: str) -> None:
        super().__init__(answer)
        self.echo = echo

    def reply(self, messages):
        super().reply(messages)
        return self.echo if "Ford" in messages[-1]["content"] else self.answer


@pytest.mark.parametrize("first", [1, 2])
@pytest.mark.parametrize("numbered", [True, False])
def test_a_model_that_gives_the_excerpts_back_is_shown_fewer_of_them(first, numbered):
    echo = shown(given(), first)[0 if numbered else len("[1] ") :]
    model = Echoing(echo, "Orsin Vale [1]")
    events, draft = spoken(drafted(model, "Who keeps the mill?", given(), SERVED))
    assert draft.text == "Orsin Vale [1]"
    assert [one.quote for one in draft.citations] == ["Orsin Vale keeps the mill."]
    assert "".join(one.text for one in events) == "Orsin Vale [1]"  # of the echo nothing was shown
    assert len(model.asked) == 2
    assert NOWHERE in model.asked[1][-1]["content"]


def test_what_looked_like_an_echo_for_a_while_is_passed_on_whole():
    answer = f"[1] Title 0\n{LONG[0][:300]} and so on [1]."
    events, _ = spoken(drafted(Scripted(answer), "Who keeps the mill?", given(), SERVED))
    assert "".join(one.text for one in events) == answer
    assert len(events[0].text) > 300


def test_of_one_document_whose_excerpts_have_no_titles_every_word_is_passed_on_at_once():
    same = [replace(one, document_id="d") for one in given()]
    events, _ = spoken(drafted(Scripted(LONG[0][:60]), "Who keeps the mill?", same, SERVED))
    assert [one.text for one in events] == [LONG[0][place : place + 3] for place in range(0, 60, 3)]


def test_an_answer_that_is_one_excerpt_to_its_end_is_passed_on():
    model = Scripted(LONG[0] + " [1]")
    events, draft = spoken(drafted(model, "Quote the passage on the mill.", given(), SERVED))
    assert "".join(one.text for one in events) == model.answer
    assert len(model.asked) == 1
    assert draft.citations


def test_a_model_that_gives_all_back_is_asked_twice():
    class Parrot(Scripted):
        def reply(self, messages):
            super().reply(messages)
            content = messages[-1]["content"]
            return content[content.index("[1] ") : content.index("\n\nQuestion:")]

    model = Parrot()
    _, draft = spoken(drafted(model, "Who keeps the mill?", given()[:3], SERVED))
    assert len(model.asked) == 2
    assert draft.text


def test_short_excerpts_one_after_the_other_may_be_the_answer():
    short = ["Orsin keeps the mill.", "Ruth keeps the ford.", "Anna keeps the saw."]
    assert sum(map(len, short)) < LEAST
    assert not Echo(short).is_one(" [1] ".join(short))


def test_of_one_excerpt_there_is_no_echo():
    assert not Echo([LONG[0]]).is_one(LONG[0])
    assert not Echo([LONG[0]]).goes_on(LONG[0][:40])
    assert not Echo([]).is_one("Anything.")
