"""The stand-in for the published package against its rules, written down slowly with strings and whole matrices."""

from __future__ import annotations

import inspect
import re
from itertools import pairwise
from math import ceil, floor

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from speakers import Scripted
from tiny import LAYERS

from foveal.errors import InputError
from foveal.reading.published import TEMPLATE, Published, token_scores
from foveal.reading.published_prompt import PublishedTemplate
from foveal.reading.published_text import SENTENCE_GLUE, WINDOW_GLUE, Cutter, Traced, sentence_spans

QUESTION = "Who is the keeper of the mill?"
PIECES = [
    "the keeper", " of ", " ", "  ", "\n", "\n\n", ".", ". ", "?", "！", "。", "Dr", " J", "mill", "12", "漢字",
    "e\u0301", "\t", "a" * 30, " is in a be", "Where?", "\r\n", "\u3000", "“Hi.”",
]  # fmt: skip
TEXTS = st.lists(st.sampled_from(PIECES), max_size=60).map("".join)
READABLE = TEXTS.filter(str.strip)


# -- scores ----------------------------------------------------------------------------------------------------------


def scores_by_definition(attention, weights, phrase):
    """s_j = sum over rows i of w_i² times the sum of G[i, j - ⌈(p-1)/2⌉ … j + ⌊(p-1)/2⌋]."""
    rows, tokens = attention.shape
    scores = np.zeros(tokens)
    for j in range(tokens):
        for i in range(rows):
            first, last = j - ceil((phrase - 1) / 2), j + floor((phrase - 1) / 2)
            seen = sum(float(attention[i, u]) for u in range(first, last + 1) if 0 <= u < tokens)
            scores[j] += float(weights[i, 0]) ** 2 * seen
    return scores


@pytest.mark.parametrize("phrase", [1, 2, 3, 5, 8, 15])
@pytest.mark.parametrize("tokens", [1, 4, 40])
def test_scores_are_those_of_the_definition(phrase, tokens):
    rng = np.random.default_rng(phrase)
    attention = rng.random((6, tokens), dtype=np.float32)
    weights = rng.random((6, 1), dtype=np.float32)
    expected = scores_by_definition(attention, weights, phrase)
    np.testing.assert_allclose(token_scores(attention, weights, phrase), expected, rtol=1e-6)


@pytest.mark.parametrize(("phrase", "lit"), [(1, [10]), (2, [10, 11]), (5, range(8, 13)), (8, range(7, 15))])
def test_one_looked_at_token_lights_the_phrases_that_hold_it(phrase, lit):
    impulse = np.zeros((1, 20), dtype=np.float32)
    impulse[0, 10] = 1
    scores = token_scores(impulse, np.ones((1, 1), dtype=np.float32), phrase)
    assert np.flatnonzero(scores).tolist() == list(lit)
    assert set(scores[list(lit)]) == {1.0}


def test_a_row_counts_by_its_weight_squared():
    attention = np.eye(2, 5, dtype=np.float32)
    scores = token_scores(attention, np.array([[3.0], [0.5]], dtype=np.float32), 1)
    assert scores.tolist() == [9, 0.25, 0, 0, 0]


# -- sentences -------------------------------------------------------------------------------------------------------


def sentences_by_definition(text: str, glue: int) -> list[str]:
    """Cut at marks, then put onto the sentence before what is blank, a mark, or short after a full stop."""
    sentences = [""]
    for piece in re.findall(r"\n\n|[。！？.?!]|(?:(?!\n\n)[^。！？.?!])+", text):
        short = sentences[-1].endswith(".") and len(piece.strip()) <= glue
        mark = piece in ("\n\n", *"。！？.?!")
        if not sentences[-1].strip() or not piece.strip() or mark or short:
            sentences[-1] += piece
        else:
            sentences.append(piece)
    return [sentence for sentence in sentences if sentence.strip()]


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("It rained. He stayed in!", ["It rained.", " He stayed in!"]),
        ("J. R. Poe. He sat there.", ["J. R. Poe.", " He sat there."]),
        ("Mr. Poe sat. 12345678 and", ["Mr. Poe sat.", " 12345678 and"]),
        ("Dr. No! 12 men", ["Dr. No!", " 12 men"]),  # only a full stop is a sign of an abbreviation
        ("One\n\nTwo", ["One\n\n", "Two"]),
        ("One.\n\n Two?!", ["One.\n\n", " Two?!"]),
        ("\n\n  . One.", ["\n\n  . One."]),
        ("漢字。漢字！", ["漢字。", "漢字！"]),
        ("One\n \nTwo", ["One\n \nTwo"]),
        (" \n\n ", []),
    ],
)
def test_sentences_of_small_texts(text, sentences):
    assert [text[a:b] for a, b in sentence_spans(text)] == sentences == sentences_by_definition(text, SENTENCE_GLUE)


@given(TEXTS, st.sampled_from([SENTENCE_GLUE, WINDOW_GLUE]))
def test_sentences_are_those_of_the_definition_and_cover_the_text(text, glue):
    spans = sentence_spans(text, glue)
    assert [text[a:b] for a, b in spans] == sentences_by_definition(text, glue)
    assert "".join(text[a:b] for a, b in spans) == (text if text.strip() else "")


@pytest.mark.parametrize(("glue", "most"), [(SENTENCE_GLUE, 8), (WINDOW_GLUE, 10)])
@pytest.mark.parametrize("more", [0, 1])
def test_what_is_glued_has_at_most_so_many_characters_without_its_blanks(glue, most, more):
    text = f"It was No. {'x' * (most + more)} "
    assert len(sentence_spans(text, glue)) == 1 + more


# -- windows ---------------------------------------------------------------------------------------------------------


def windows_by_definition(text, size, count):
    """Whole sentences while they fit, one more token counted for each but the first; longer ones cut at blanks."""
    runs, total = [""], 0
    for sentence in sentences_by_definition(text, WINDOW_GLUE):
        more = count(sentence) + (count("\n") if runs[-1] else 0)
        if runs[-1] and total + more > size:
            runs.append("")
            more, total = count(sentence), 0
        runs[-1] += sentence
        total += more
    cut = [[run] if count(run) <= size else shortened(run, size, count, in_sentences) for run in runs if run]
    return [window for pieces in cut for window in pieces if window.strip()]


def in_sentences(text):
    return sentences_by_definition(text, WINDOW_GLUE)


def in_words(text):
    words = [word + " " for word in text.split(" ") if word]
    return [*words[:-1], words[-1].strip()]


def shortened(text, size, count, cut):
    filled = [""]
    for part in cut(text):
        if filled[-1] and count(filled[-1]) + count(part) > size:
            filled.append("")
        filled[-1] += part
    pieces = []
    for piece in filled:
        if count(piece) <= size:
            pieces.append(piece)
        elif cut is in_sentences:
            pieces += shortened(piece, size, count, in_words)
    pieces = [piece for piece in pieces if piece]
    if len(pieces) > 1 and count(pieces[-1]) < size // 2:
        parts = cut("".join(pieces[-2:]))
        if len(parts) > 1:
            pieces[-2:] = dealt(parts, size, count)
    return pieces


def dealt(parts, size, count):
    """One part to the front and one to the back, in turn; what fits neither is lost."""
    front, back, parts = "", "", list(parts)
    while parts:
        left = len(parts)
        if count(front + parts[0]) <= size:
            front += parts.pop(0)
        if parts and count(back + parts[-1]) <= size:  # counted as if it stood behind
            back = parts.pop() + back
        if len(parts) == left:
            break
    return [front, back]


def cutter(model, size: int) -> Cutter:
    return Cutter(model.tokenizer.backend_tokenizer, size)


def texts_of(windows: list[Traced]) -> list[str]:
    return [window.text for window in windows]


@pytest.mark.parametrize(
    ("text", "size", "windows"),
    [  # a token a character
        ("Ab. Cdefghijklm. N", 19, ["Ab. Cdefghijklm. N"]),
        ("Abcdefghijkl!Bcdefghijkl!", 25, ["Abcdefghijkl!", "Bcdefghijkl!"]),  # 13 and 12, and 1 for the separator
        ("Abcdefghijkl!Bcdefghijkl!", 26, ["Abcdefghijkl!Bcdefghijkl!"]),
        ("a b c d e f g", 12, ["a b c d ", "e f g"]),  # 12 and 1 would be uneven
        ("aaaa bbbb cccc dddd", 10, ["aaaa bbbb ", "cccc dddd"]),
        ("aaaa  bbbb   cccc dddd", 10, ["aaaa bbbb ", "cccc dddd"]),  # blanks are made one
        ("aaaa bbbbbbbbbbbbbbb cccc dd", 10, ["aaaa ", "cccc dd"]),  # a word that is longer than a window is lost
        ("aaaaaaaaaaaaaaa", 10, []),
        ("  \n", 10, []),
    ],
)
def test_windows_of_small_texts(bytewise, text, size, windows):
    assert texts_of(cutter(bytewise, size).windows(text)) == windows == windows_by_definition(text, size, len)


@settings(max_examples=300)
@given(TEXTS, st.sampled_from([6, 9, 16, 17, 40]))
@example("of mill xxxxxxxx rivermill", 12)  # "rivermill" and "xxxxxxxx " are 13 tokens in this order, 12 in the other
def test_windows_are_those_of_the_definition(qwen, text, size):
    cut = cutter(qwen, size)
    assert texts_of(cut.windows(text)) == windows_by_definition(text, size, cut.count)


@given(TEXTS, st.sampled_from([6, 17, 40]))
def test_a_windows_characters_are_those_of_the_text_in_its_order(qwen, text, size):
    windows = cutter(qwen, size).windows(text)
    places = [place for window in windows for place in window.places.tolist() if place >= 0]
    assert places == sorted(set(places))
    for window in windows:
        assert [text[a:b] for a, b in window.spans()] == runs_of(window)
        assert {char for char, place in zip(window.text, window.places, strict=True) if place < 0} <= {" "}


def runs_of(window: Traced) -> list[str]:
    """The characters that have a place, cut where the place does not follow the one before."""
    runs: list[str] = []
    last = None
    for char, place in zip(window.text, window.places.tolist(), strict=True):
        if place < 0:
            continue
        if last is None or place != last + 1:
            runs.append("")
        runs[-1] += char
        last = place
    return runs


@given(READABLE, st.sampled_from([17, 40]))
def test_windows_without_long_sentences_cover_the_text(bytewise, text, size):
    if all(len(s.encode()) <= size for s in sentences_by_definition(text, WINDOW_GLUE)):
        windows = cutter(bytewise, size).windows(text)
        assert "".join(texts_of(windows)) == text
        assert all(len(window.text.encode()) <= size for window in windows)


# -- the prompt ------------------------------------------------------------------------------------------------------


def prompt(model, text, question, template=TEMPLATE):
    return PublishedTemplate(model, template).prompt(Traced.part(text, 0, len(text)), question)


def spelt(model, found, tokens) -> str:
    return str(model.tokenizer.decode([found.ids[token] for token in tokens]))


@pytest.mark.parametrize(
    "text", ["The mill. It rained!", "No mark", "A\n\nB", "Question: why? Read. Answer:", "\n Hm. "]
)
def test_ranges_of_the_prompt_are_text_and_question(either, text):
    found = prompt(either, text, f" {QUESTION}\n")
    content = TEMPLATE.format(context=text.strip(), question=QUESTION)
    whole = either.render([{"role": "system", "content": ""}, {"role": "user", "content": content}])
    assert spelt(either, found, range(len(found.ids))) == whole
    assert spelt(either, found, found.context) == text.strip() + "\n\n"
    assert spelt(either, found, found.rows) == whole[whole.index(QUESTION) :]


def test_sentences_of_the_prompt_are_tokenised_each_by_itself(qwen):
    found = prompt(qwen, "The keeper. The keeper of", QUESTION)
    edges = [*found.starts, len(found.ids)]
    assert [list(found.ids[a:b]) for a, b in pairwise(edges)] == [
        qwen.encode(sentence.text) for sentence in found.sentences
    ]


@pytest.mark.parametrize(
    ("template", "rows"),
    [
        ("{context} {question} Answer:", f"{QUESTION} Answer:"),  # no blank lines: the package stops here
        ("Read {context}", None),  # the question is not asked: what stands behind the text looks
        ("{question}\n\n{context}\n\nAnswer:", f"{QUESTION}\n\nThe keeper reads.\n\nAnswer:"),
        ("The keeper reads.\n\n{context}\n\n{question}", QUESTION),  # the package takes the first for the text
    ],
)
def test_other_templates(qwen, template, rows):
    found = prompt(qwen, "The keeper reads.", QUESTION, template)
    assert spelt(qwen, found, found.context).strip().startswith("The keeper reads.")
    assert spelt(qwen, found, range(found.context.start)).count("The keeper reads.") == template.count("The keeper")
    told = spelt(qwen, found, found.rows)
    assert found.rows.stop == len(found.ids)
    assert told.startswith(rows) if rows else found.rows.start == found.context.stop


def test_a_prompt_holds_the_sentences_of_its_tokens(qwen):
    found = prompt(qwen, "One mill stood. Two keepers sat! Three rivers ran?", QUESTION)
    first, last = found.context.start, found.context.stop - 1
    assert [one.text for one in found.holding([last, first, last])] == ["One mill stood.", " Three rivers ran?\n\n"]
    assert found.holding([first])[0].spans() == ((0, 15),)


# -- the loop --------------------------------------------------------------------------------------------------------


def eager_attention(model, ids) -> np.ndarray:
    """The last layer's (N, N) attention, summed over heads, of transformers' own plain implementation."""
    before = model.model.config._attn_implementation
    model.model.set_attn_implementation("eager")
    try:
        with torch.inference_mode():
            found = model.model(input_ids=torch.tensor([ids]), output_attentions=True).attentions
    finally:
        model.model.set_attn_implementation(before)
    assert len(found) == LAYERS[model.name.removeprefix("tiny-")]
    return found[-1][0].sum(0).numpy()


def memories_by_definition(model, text, question, *, topk, phrase, size) -> list[list[str]]:
    """The sentences kept after each window, by strings and whole matrices."""
    memory, weights, kept = "", None, []
    for window in windows_by_definition(text, size, lambda piece: len(model.encode(piece))):
        context = (memory + window).strip()
        content = TEMPLATE.format(context=context, question=question)
        sentences = sentences_by_definition(
            model.render([{"role": "system", "content": ""}, {"role": "user", "content": content}]), SENTENCE_GLUE
        )
        ids = [model.encode(sentence) for sentence in sentences]
        owner = [number for number, own in enumerate(ids) for _ in own]
        own = sentences_by_definition(context + "\n\n", SENTENCE_GLUE)
        first = next(n for n in range(len(sentences)) if sentences[n : n + len(own)] == own)
        asked = next(n for n in range(first + len(own), len(sentences)) if sentences[n].startswith(question))
        columns = [token for token, number in enumerate(owner) if first <= number < first + len(own)]
        rows = [token for token, number in enumerate(owner) if number >= asked]
        attention = eager_attention(model, [token for own in ids for token in own])
        if weights is None:
            weights = attention[np.ix_(rows, rows)].sum(1, keepdims=True)
        scores = scores_by_definition(attention[np.ix_(rows, columns)], weights, phrase)
        marked = {owner[columns[place]] for place in np.argsort(scores)[::-1][:topk]}
        kept.append([sentences[number] for number in sorted(marked)])
        memory = "".join(kept[-1])
    return kept


@pytest.mark.parametrize(("topk", "phrase"), [(5, 8), (20, 3), (300, 8)])
def test_kept_sentences_are_those_of_the_definition(either, story, topk, phrase):
    text = story[:1200]
    published = Published(either, topk=topk, answer_length=phrase, window_length=120)
    windows = list(published.windows(text, QUESTION))
    ours = [[sentence.text for sentence in window.sentences] for window in windows]
    assert ours == memories_by_definition(either, text, QUESTION, topk=topk, phrase=phrase, size=120)
    assert [(window.window, window.windows) for window in windows] == [(n + 1, len(ours)) for n in range(len(ours))]
    assert len(ours) > 4


@settings(max_examples=40)
@given(text=READABLE, size=st.sampled_from([17, 40]), topk=st.sampled_from([1, 10, 300]))
def test_what_is_kept_stands_in_the_text(qwen, text, size, topk):
    for window in Published(qwen, topk=topk, window_length=size).windows(text, QUESTION):
        assert window.memory == "".join(sentence.text for sentence in window.sentences)
        for sentence in window.sentences:
            own = "".join(text[start:end] for start, end in sentence.spans)
            assert "".join(own.split()) == "".join(sentence.text.split())  # all but blanks comes from the text


def test_a_sentence_that_is_kept_is_a_slice_of_the_text(qwen, story):
    last = list(Published(qwen, topk=10, window_length=300).windows(story, QUESTION))[-1]
    assert last.sentences
    for sentence in last.sentences:
        ((start, end),) = sentence.spans
        assert story[start:end] == sentence.text.rstrip("\n") or story[start:end] == sentence.text


def test_enough_marks_keep_everything(qwen, story):
    text = story[:600]
    last = list(Published(qwen, topk=10_000, window_length=100).windows(text, QUESTION))[-1]
    assert "".join(last.memory.split()) == "".join(text.split())


def test_sizes_of_a_call_stand_before_those_of_the_object(qwen, story):
    called = Published(qwen).windows(
        story[:800], QUESTION, topk=3, answer_length=2, window_length=90, prompt="{context}"
    )
    made = Published(qwen, topk=3, answer_length=2, window_length=90, template="{context}")
    assert list(called) == list(made.windows(story[:800], QUESTION))


def test_a_question_that_comes_first_is_asked_in_every_window(qwen, story):
    template = "{question}\n\n{context}\n\nAnswer:"  # its rows hold the text: the package stops at the second window
    assert len(list(Published(qwen, template=template, window_length=100).windows(story[:900], QUESTION))) > 2


# -- the answer ------------------------------------------------------------------------------------------------------


class Remembering(Scripted):
    """A ChatModel that keeps how it was to answer."""

    def chat(self, messages, sampling, *, cancel=None):
        self.sampling = sampling
        return super().chat(messages, sampling, cancel=cancel)


def test_generate_takes_what_the_package_takes():
    told = inspect.signature(Published.generate).parameters
    assert {name: one.default for name, one in told.items() if name not in ("self", "context")} == {
        "question": None, "prompt": None, "topk": None, "answer_length": None, "window_length": None,
        "temperature": 0.5, "retri_split_pattern": None, "max_new_tokens": 128, "print_info": False,
    }  # fmt: skip
    assert list(told)[:3] == ["self", "context", "question"]
    assert list(told)[-4:] == ["temperature", "retri_split_pattern", "max_new_tokens", "print_info"]


def test_the_answer_is_made_from_what_was_kept(qwen, story):
    answerer = Remembering("Orsin Vale")
    published = Published(qwen, topk=10, window_length=300, answerer=answerer)
    assert published.generate(story, f" {QUESTION} ", temperature=0.25, max_new_tokens=7) == "Orsin Vale"
    memory = list(published.windows(story, QUESTION))[-1].memory
    assert answerer.asked == [
        [
            {"role": "system", "content": ""},
            {"role": "user", "content": TEMPLATE.format(context=memory.strip(), question=QUESTION)},
        ]
    ]
    assert (answerer.sampling.temperature, answerer.sampling.max_tokens) == (0.25, 7)


def test_the_end_of_the_text_is_the_question_where_none_is_asked(qwen, story):
    end = next(n for n in range(len(story), 0, -1) if story[n - 512].strip() and story[n - 1].strip())
    answerer, text = Remembering(), story[:end]  # no blanks at the question's ends: they are taken off
    Published(qwen, window_length=500, answerer=answerer).generate(text)
    assert f"Question:\n\n{text[-512:]}\n\nAnswer:" in answerer.asked[0][1]["content"]


def test_the_model_that_reads_answers(qwen, story):
    published = Published(qwen, window_length=200)
    answers = {published.generate(story[:700], QUESTION, max_new_tokens=4) for _ in range(2)}
    assert len(answers) == 1  # sampled, but from a seed


# -- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", " \n\t"])
def test_a_blank_text_is_refused(qwen, text):
    with pytest.raises(InputError, match="blank"):
        Published(qwen).generate(text, QUESTION)


@pytest.mark.parametrize("name", ["topk", "answer_length", "window_length"])
def test_sizes_need_a_token(qwen, name):
    with pytest.raises(InputError, match=f"{name} is 0"):
        Published(qwen, **{name: 0})
    with pytest.raises(InputError, match=f"{name} is 0"):
        Published(qwen).generate("The mill.", QUESTION, **{name: 0})


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("Answer {question}", "no {context}"),
        ("", "no {context}"),
        ("{context} {text}", "'text'"),
        ("{context} {", "brace"),
    ],
)
def test_a_template_that_cannot_be_filled_is_refused(qwen, template, said):
    with pytest.raises(InputError, match=re.escape(said)):
        Published(qwen).generate("The mill.", QUESTION, prompt=template)
