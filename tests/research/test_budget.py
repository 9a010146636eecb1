"""What a run may spend and has spent: each kind of call counted, refused once nothing is left, stopped by the run's own
token."""

from __future__ import annotations

import threading
import time

import pytest
from pydantic import BaseModel

from foveal.errors import Cancelled
from foveal.models.chat import GREEDY, Cancel
from foveal.research.budget import Budget, Meter, Metered

ASKED = [{"role": "user", "content": "one two"}]


class Said(BaseModel):
    text: str


class Words:
    """A ChatModel of words as tokens that says three of them, and keeps the token that it was given."""

    name, context_tokens = "words", 4096

    def __init__(self):
        self.given = []

    def stream(self, messages, sampling=GREEDY, *, cancel=None):  # noqa: ARG002
        self.given.append(cancel)
        yield from ("three ", "more ", "words")

    def parse(self, messages, schema, sampling=GREEDY, *, cancel=None):  # noqa: ARG002
        self.given.append(cancel)
        return schema(text="three more words")  # in JSON: '{"text":"three', 'more', 'words"}'

    def score(self, messages, continuation, *, cancel=None):  # noqa: ARG002
        self.given.append(cancel)
        return [0.0] * self.count_tokens(continuation)

    def chat_many(self, conversations, sampling=GREEDY, *, cancel=None):  # noqa: ARG002
        self.given.append(cancel)
        return ["three more words" for _ in conversations]

    def count_tokens(self, text):
        return len(text.split())


CALLS = {
    "chat": (lambda model: model.chat(ASKED), 5, 1),
    "parse": (lambda model: model.parse(ASKED, Said), 5, 1),
    "score": (lambda model: model.score(ASKED, "three more words"), 5, 1),
    "many": (lambda model: model.chat_many([ASKED, ASKED]), 10, 2),
}


@pytest.mark.parametrize("kind", CALLS)
def test_each_kind_of_call_is_counted_and_refused_once_nothing_is_left(kind):
    call, tokens, calls = CALLS[kind]
    model, own = Words(), Cancel()
    meter = Meter(Budget(tokens=tokens))
    metered = Metered(model, meter, own)
    call(metered)
    assert {name: meter.used()[name] for name in ("tokens", "calls", "pages")} == {
        "tokens": tokens, "calls": calls, "pages": 0,
    }  # fmt: skip
    assert model.given == [own]  # it stops what is given no token of its own
    with pytest.raises(Cancelled, match="budget of this run is spent"):
        call(metered)
    stopped = Metered(model, Meter(Budget()), own)
    own.set()
    with pytest.raises(Cancelled):
        call(stopped)
    assert (len(model.given), stopped.meter.used()["calls"]) == (1, 0)
    call(Metered(model, Meter(Budget(pages=0))))  # pages do not keep it from being asked


def test_what_was_said_of_an_answer_that_breaks_off_is_counted():
    meter = Meter(Budget())
    answer = Metered(Words(), meter).stream(ASKED)
    assert next(answer) == "three "
    answer.close()
    assert meter.used()["tokens"] == 3


def test_a_run_that_goes_on_has_spent_what_it_had():
    before = Meter(Budget())
    before.spend(tokens=7, calls=2)
    before.pages(3)
    used = before.used() | {"seconds": 8.0, "unknown": 1}
    meter = Meter(Budget(tokens=8, seconds=10.0, pages=4), before=used)
    assert {**meter.used(), "seconds": 8} == {"tokens": 7, "calls": 2, "pages": 3, "seconds": 8}
    assert 1.0 < meter.seconds_left <= 2.0
    assert (meter.pages(2), meter.empty()) == (1, "pages")
    late = Meter(Budget(seconds=7.0), before=used)
    assert (late.seconds_left, late.empty()) == (0.0, "seconds")
    assert Meter(Budget()).seconds_left is None


def test_pages_that_were_taken_ahead_are_short_only_where_they_are_needed():
    meter = Meter(Budget(pages=3))
    assert (meter.pages(2), meter.short_of_pages) == (2, False)
    assert (meter.pages(2, ahead=True), meter.pages(1, ahead=True), meter.short_of_pages) == (1, 0, False)
    meter.give_back(1)
    assert (meter.used()["pages"], meter.pages(1), meter.short_of_pages) == (2, 1, False)
    assert (meter.pages(1), meter.short_of_pages) == (0, True)
    meter.give_back(1)
    assert (meter.pages(1), meter.short_of_pages) == (1, True)  # once it was short it stays so
    meter.give_back(0, short=True)
    ahead = Meter(Budget(pages=1))
    ahead.give_back(ahead.pages(1, ahead=True), short=True)
    assert ahead.short_of_pages
    assert Meter(Budget()).pages(9) == 9


def test_who_waits_is_told_that_tokens_or_seconds_have_run_out_but_not_that_pages_have():
    told = []
    meter = Meter(Budget(tokens=2, pages=0), on_empty=lambda: told.append("tokens"))
    meter.spend(tokens=1)
    assert (meter.empty(), told) == ("pages", [])
    meter.spend(tokens=1)
    meter.spend(tokens=1)
    assert (meter.empty(), told) == ("tokens", ["tokens"])
    time.sleep(0.002)
    clock = Meter(Budget(seconds=0.001), on_empty=lambda: told.append("seconds"), before={"seconds": 0.001})
    clock.tell()
    assert told == ["tokens", "seconds"]


def test_a_model_of_this_machine_is_asked_one_thing_at_a_time():
    for local in (True, False):
        model = Words()
        model.language_model = object() if local else None
        metered = Metered(model, Meter(Budget()))
        first = metered.stream(ASKED)
        next(first)
        other = threading.Thread(target=metered.chat, args=(ASKED,))
        other.start()
        other.join(0.05 if local else 10.0)
        assert len(model.given) == (1 if local else 2)
        first.close()
        other.join(10.0)
        assert len(model.given) == 2
