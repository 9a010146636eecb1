"""How like a question sentences are in meaning, and what a reader makes of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from reading.speakers import Scripted

from foveal.errors import InputError, ModelUnavailable
from foveal.reading import InfiniRetri, ReadSettings
from foveal.reading.answering import NOT_FOUND, not_found
from foveal.reading.likeness import KNOWN, Meaning, known_encoder, likeness, nothing_answers

QUESTION = "Who keeps the key?"
SETTINGS = ReadSettings(window=80, batch_tokens=160, budget=96, floor=-1.0, follow=0)


class Counted:
    """An encoder of letters' counts, which says what it was given."""

    name, dimension, max_tokens, fingerprint = KNOWN, 26, 128, "letters"

    def __init__(self) -> None:
        self.given: list[list[str]] = []

    def encode(self, texts) -> np.ndarray:
        self.given.append(list(texts))
        rows = [[text.lower().count(chr(97 + letter)) + 1e-3 for letter in range(26)] for text in texts]
        vectors = np.array(rows, dtype=np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    def token_offsets(self, text):
        raise NotImplementedError


def test_cosines_are_of_each_question_with_each_text():
    encoder, texts = Counted(), ["The keeper has it. ", "Rain.", "\n"]
    found = Meaning(encoder).cosines([QUESTION, "Rain?"], texts)
    plain = Counted()
    for row, question in zip(found, [QUESTION, "Rain?"], strict=True):
        for value, text in zip(row, texts, strict=True):
            assert value == pytest.approx(float(plain.encode([question])[0] @ plain.encode([text.strip()])[0]))


def test_a_question_is_encoded_once_and_sentences_once_for_all_questions():
    encoder = Counted()
    meaning = Meaning(encoder)
    for text in ("It rained.", "It snowed."):
        meaning.cosines([QUESTION, "Rain?"], [text])
    assert encoder.given == [[QUESTION], ["Rain?"], ["It rained."], ["It snowed."]]


@pytest.mark.parametrize(
    ("nearest", "looked_at", "so"),
    [(0.3, 1.0, True), (-0.02, 1.0, True), (0.0, 1.0, False), (0.6, 1.0, False), (0.3, 5.0, False), (-0.1, 5.0, False)],
)
def test_a_text_answers_nothing_where_it_is_known_to_be_unlike_the_question(nearest, looked_at, so):
    assert nothing_answers(nearest, looked_at) is so


def test_a_question_in_other_letters_has_no_likeness():
    encoder = Counted()
    found = Meaning(encoder).cosines(["谁拿着钥匙？", QUESTION], ["The keeper.", "Rain."])
    assert not found[0].any()
    assert found[1].all()
    assert not Meaning(encoder).cosines(["谁拿着钥匙？"], ["The keeper."]).any()
    assert Meaning(encoder).cosines([QUESTION], []).shape == (1, 0)


def test_a_text_in_other_letters_has_no_likeness_among_others():
    encoder, texts = Counted(), ["守门人拿着钥匙。", "The keeper.", "Où est la clé ?"]
    found = Meaning(encoder).cosines([QUESTION], texts)
    assert found[0, 0] == 0
    assert found[0, 1] == pytest.approx(float(np.prod(encoder.encode([QUESTION, "The keeper."]), axis=0).sum()))
    assert found[0, 2] > 0
    assert likeness(QUESTION, texts[:1], encoder) is None
    assert likeness("钥匙在哪里？", texts, encoder) is None
    assert likeness(QUESTION, texts, encoder) == pytest.approx(float(found.max()))


def test_an_encoder_that_is_not_there_is_none(monkeypatch, tmp_path):
    def missing(*_, **__):
        raise ModelUnavailable("not here")

    assert known_encoder(tmp_path).name == KNOWN
    monkeypatch.setattr("foveal.models.load_encoder", missing)
    assert known_encoder(tmp_path) is None


def worths(reading_model, story, encoder, **options) -> list[tuple[int, float]]:
    reader = InfiniRetri(reading_model, replace(SETTINGS, **options), encoder=encoder)
    return [(one.start, one.worth) for one in reader.retrieve(story, QUESTION).excerpts]


def test_a_reader_ranks_by_what_is_alike_unless_told_not_to(qwen, story):
    with_it, without = worths(qwen, story, Counted()), worths(qwen, story, Counted(), meaning=False)
    assert with_it != without
    other = Counted()
    other.name = "another"
    assert worths(qwen, story, other) == without  # of another encoder's cosines nothing is known
    assert other.given == []


def test_what_is_alike_is_kept_though_nothing_looks_there(qwen, story):
    """A copy of the question, at the end: the tiny model's attention is noise."""
    text = f"{story}\nWho keeps the key, I asked."
    found = InfiniRetri(qwen, replace(SETTINGS, budget=32, floor=0.0, words=False), encoder=Counted())
    assert any("I asked" in one.text for one in found.retrieve(text, QUESTION).excerpts)


class Far(Counted):
    """An encoder to which nothing is like a question."""

    def encode(self, texts) -> np.ndarray:
        vectors = np.zeros((len(texts), 26), dtype=np.float32)
        for row, text in zip(vectors, texts, strict=True):
            row[:2] = (1.0, 0.0) if text.endswith("?") else (0.3, 0.954)
        return vectors


def test_where_nothing_is_near_a_small_model_is_not_asked(qwen, story):
    settings = replace(SETTINGS, floor=0.0)
    reading = InfiniRetri(qwen, settings, encoder=Far()).read(story, QUESTION)
    assert (reading.found, reading.text, reading.confidence) == (False, NOT_FOUND, 0.0)
    assert reading.excerpts  # to judge for oneself
    assert reading.stats.windows > 10


@pytest.mark.parametrize(
    ("question", "options"),
    [(QUESTION, {"likeness": 0.2}), (QUESTION, {"likeness": 0.0}), (QUESTION, {"meaning": False}), ("钥匙？", {})],
    ids=["near enough", "any", "no meaning", "other letters"],
)
def test_it_is_asked_where_something_is_near_or_nothing_is_known_of_it(qwen, story, question, options, monkeypatch):
    asked = []

    def answered(*given, **_):
        asked.append(given)
        yield from ()
        return not_found(question)

    monkeypatch.setattr("foveal.reading.infiniretri.answered", answered)
    InfiniRetri(qwen, replace(SETTINGS, floor=-1.0, **options), encoder=Far()).read(story, question)
    assert len(asked) == 1


def test_a_find_that_is_looked_at_much_is_put_to_the_model_though_nothing_is_like_it(qwen, story, monkeypatch):
    monkeypatch.setattr("foveal.reading.likeness.LOOKED_AT", 0.0)
    reading = InfiniRetri(qwen, replace(SETTINGS, floor=0.0), encoder=Far()).read(story, QUESTION)
    assert reading.text != NOT_FOUND


def test_a_server_is_asked_all_the_same(qwen, story):
    answerer = Scripted("not found")
    InfiniRetri(qwen, replace(SETTINGS, floor=0.0), answerer=answerer, encoder=Far()).read(story, QUESTION)
    assert len(answerer.asked) == 1


def test_a_likeness_is_a_cosine():
    with pytest.raises(InputError, match="it is a cosine"):
        ReadSettings(likeness=1.5)
