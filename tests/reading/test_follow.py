"""The second look: what is followed, and which sentences it gathers, against going through all of them by hand."""

from __future__ import annotations

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from foveal.reading import follow
from foveal.reading.memory import Kept
from foveal.reading.sentences import Sentence
from foveal.reading.skim import content_words

WORDS = ["keeper", "mill", "rain", "Orsin", "the", "守门人", "café", "key"]


def kept(text: str, score: float, start: int = 0) -> Kept:
    return Kept(start, start + len(text), text, 1, score, 0)


def windows_of(*windows: list[str]) -> list[list[Sentence]]:
    """Sentences of a token a word, standing one after the other over all windows."""
    made, place = [], 0
    for texts in windows:
        window = []
        for text in texts:
            window.append(Sentence(place, place + len(text), text, (0,) * len(text.split())))
            place += len(text)
        made.append(window)
    return made


def gathered(windows: list[list[Sentence]], asked: follow.Asked | None, size: int) -> list[Sentence]:
    assert asked is not None
    (found,) = follow.gathered(lambda: windows, [asked], size)
    return found


# -- what is followed ----------------------------------------------------------------------------------------------


def test_the_best_finds_are_followed():
    found = follow.asked("Where?", [kept("third", 0.2), kept(" first \n", 0.5, 9), kept("second", 0.4)])
    assert [one.text for one in found.leads] == [" first \n", "second"]
    assert found.text == "Where? (Known so far: first second)"
    weak = follow.asked(" Where? ", [kept("first", 0.5), kept("weak", 0.1)])
    assert (len(weak.leads), weak.text) == (1, "Where? (Known so far: first)")
    assert follow.asked("Where?", []) is None
    assert follow.asked("Where?", [kept(" \n", 0.5)]) is None


def test_a_long_find_is_shown_in_part():
    found = follow.asked("Where?", [kept("x" * 900, 0.5)])
    assert found.text == f"Where? (Known so far: {'x' * follow.LONGEST_LEAD})"


def test_finds_that_leave_no_room_are_not_followed():
    found = follow.asked("Where?", [kept("x" * 100, 0.5), kept("y" * 40, 0.4, 200)])
    room = lambda text: 300 - len(text)  # noqa: E731
    assert found.with_room(room, 64) is found
    assert [one.text[0] for one in found.with_room(room, 150).leads] == ["x"]
    assert found.with_room(room, 200) is None


def test_only_what_the_question_does_not_say_is_looked_for():
    found = follow.asked("Where does the keeper live?", [kept("The keeper of the café is Orsin Vale.", 0.5)])
    assert found.words == {"café", "orsin", "vale"}


# -- what is gathered ----------------------------------------------------------------------------------------------


def test_a_sentence_comes_with_its_neighbours_and_in_the_order_of_the_text():
    windows = windows_of(["It rained. ", "Orsin slept. ", "He left. ", "No. "], ["A cat. ", "A dog. ", "Orsin Vale! "])
    asked = follow.asked("Where?", [kept("Orsin Vale.", 0.5, 900)])
    found = gathered(windows, asked, 99)
    assert [one.text for one in found] == ["It rained. ", "Orsin slept. ", "He left. ", "A dog. ", "Orsin Vale! "]
    assert [one.text for one in gathered(windows, asked, 4)] == ["A dog. ", "Orsin Vale! "]


def test_the_find_itself_is_not_gathered_for_its_own_words():
    windows = windows_of(["It rained. ", "Orsin slept. ", "He left. "], ["A cat. "])
    lead = windows[0][1]
    asked = follow.asked("Where?", [kept(lead.text, 0.5, lead.start)])
    assert gathered(windows, asked, 99) == []


def test_rare_words_come_before_common_ones():
    common = [f"The mill of house {n}. " for n in range(30)]
    windows = windows_of(common[:15], [*common[15:], "Vale sleeps. "])
    asked = follow.asked("Where?", [kept("The mill of Vale.", 0.5, 9_000)])
    assert gathered(windows, asked, 2)[0].text == "Vale sleeps. "


def by_definition(windows: list[list[Sentence]], asked: follow.Asked, size: int) -> list[Sentence]:
    """All sentences ranked by the weights of the new words that they hold; then taken, neighbours and all."""
    every = [sentence for window in windows for sentence in window]
    holds = {one.start: content_words(one.text) & asked.words for one in every}
    count = {word: sum(word in words for words in holds.values()) for word in asked.words}
    weight = {word: math.log(1 + (len(every) - n + 0.5) / (n + 0.5)) for word, n in count.items()}
    leads = {one.start for one in asked.leads}
    score = {
        one.start: sum(weight[word] for word in sorted(holds[one.start])) for one in every if one.start not in leads
    }
    taken: dict[int, Sentence] = {}
    for start in sorted((start for start in score if score[start] > 1e-12), key=lambda s: (-round(score[s], 9), s)):
        window = next(window for window in windows if any(one.start == start for one in window))
        place = next(number for number, one in enumerate(window) if one.start == start)
        for near in (place, place - 1, place + 1):
            if 0 <= near < len(window) and window[near].start not in taken:
                one = window[near]
                if len(one) <= size - sum(map(len, taken.values())):
                    taken[one.start] = one
    return [taken[start] for start in sorted(taken)]


TEXTS = st.lists(st.lists(st.sampled_from(WORDS), min_size=1, max_size=6).map(" ".join), min_size=1, max_size=12)


@example(  # two sentences of equal weight, by other sums
    windows=[
        ["keeper 守门人", "keeper 守门人", *["keeper"] * 5, "守门人", "keeper rain", "keeper café key"],
        [
            "keeper",
            "keeper",
            "keeper 守门人 café key",
            "keeper 守门人 key",
            "keeper rain 守门人 key",
            "守门人",
            "keeper rain",
            "café",
        ],
    ],
    lead=["rain café key"],
    size=1,
)
@given(windows=st.lists(TEXTS, min_size=1, max_size=6), lead=TEXTS, size=st.integers(1, 60))
def test_any_text_by_definition(windows, lead, size):
    made = windows_of(*windows)
    first = made[0][0]
    asked = follow.asked("Where is the mill?", [kept(" ".join(lead), 0.9, 10_000), kept(first.text, 0.8, first.start)])
    found = gathered(made, asked, size)
    assert sum(map(len, found)) <= size
    assert [one.start for one in found] == [one.start for one in by_definition(made, asked, size)]


@given(windows=st.lists(TEXTS, min_size=1, max_size=4), leads=st.lists(TEXTS, min_size=1, max_size=3))
def test_several_questions_at_once_are_each_alone(windows, leads):
    made = windows_of(*windows)
    asked = [follow.asked("Where?", [kept(" ".join(lead), 0.9, 10_000)]) for lead in leads]
    together = list(follow.gathered(lambda: made, asked, 40))
    assert together == [gathered(made, one, 40) for one in asked]


@pytest.mark.parametrize("count", [follow.CANDIDATES - 1, follow.CANDIDATES, 3 * follow.CANDIDATES])
def test_of_more_than_it_remembers_the_first_of_equal_sentences_are_taken(count):
    windows = windows_of([f"Orsin {n}. " for n in range(count)])
    asked = follow.asked("Where?", [kept("Orsin.", 0.5, 10**6)])
    assert [one.start for one in gathered(windows, asked, 10)] == [one.start for one in windows[0][:5]]
