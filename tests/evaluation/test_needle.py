import json
import math
import re
from collections import Counter
from dataclasses import replace
from itertools import combinations, product

import pytest

from foveal.errors import InputError, UnknownName
from foveal.evaluation import needles as forms
from foveal.evaluation.haystack import haystack, plant, plant_all, sentence_ends, shuffled
from foveal.evaluation.kept import covered, first_and_last, first_tokens, last_tokens
from foveal.evaluation.needle import Outcome, growth, heat_map, linear_fit, run, summary
from foveal.evaluation.needles import KINDS, Needle, make, wrong_question

FUNCTION_WORDS = """
a an and or the this that these those of in on at to for from by with without into under over near up than as if when
while whenever since because but all only more most much many no not nobody nothing else how what which who whom whose
where why is are was were be been do does did have has had its his her our their they he she it we us i you get got
"""
TEXT = 'Mr. Poe sat. "Is it late?" he asked.\n\nIt was! They left. 天黑了。他们走了。'
FILLER = [f"The cook counted {n} eggs. Was it {n}? It was {n}!\n\nThen the rain fell on roof {n}." for n in range(40)]


def words(text):
    return re.findall(r"\w+", text.lower())


def content(text):
    return {word for word in words(text) if word not in FUNCTION_WORDS.split() and len(word) > 1}


def same_stem(a, b):
    """Equal, or alike in the first four letters: cruder, and stricter, than a stemmer."""
    return a == b or (min(len(a), len(b)) >= 4 and a[:4] == b[:4])


def shared(text, question):
    return {(a, b) for a, b in product(content(text), content(question)) if same_stem(a, b)}


# needles


@pytest.mark.parametrize("kind", KINDS)
def test_needles_are_the_same_for_the_same_seed_and_differ_else(kind):
    assert make(kind, 40, seed=3) == make(kind, 40, seed=3) != make(kind, 40, seed=4)
    assert len({needle.sentences for needle in make(kind, 40, seed=3)}) == 40


@pytest.mark.parametrize("kind", KINDS)
def test_only_the_needle_holds_the_answer(kind):
    for needle in make(kind, 60, seed=0):
        assert needle.kind == kind
        assert sum(needle.answer in sentence for sentence in needle.sentences) == 1
        assert needle.answer not in needle.question
        assert "{" not in " ".join((*needle.sentences, needle.question))
        assert needle.question.endswith("?")
        assert all(sentence_ends(sentence) == [len(sentence)] for sentence in needle.sentences)


def test_a_literal_question_shares_words_with_its_needle():
    assert all(len(shared(needle.sentences[0], needle.question)) >= 3 for needle in make("literal", 24, seed=0))


def test_a_paraphrase_shares_no_word_of_content_with_its_question():
    assert len(forms.PARAPHRASE) >= 24
    for sentence, question in forms.PARAPHRASE:
        assert shared(re.sub(r"{\w+}", "", sentence), question) == set()
    for needle in make("paraphrase", 300, seed=0):
        assert shared(needle.sentences[0], needle.question) == set()


def test_a_two_hop_question_shares_words_with_the_naming_sentence_only():
    for (role, naming), (telling, question) in product(forms.ROLES, forms.FACTS):
        asked = question.format(role=role)
        assert content(role) <= content(naming.format(role=role, bearer="")) & content(asked)
        assert shared(re.sub(r"{\w+}", "", telling), asked) == set()
        assert {a for a, _ in shared(naming.format(role=role, bearer=""), asked)} == content(role)


def test_two_hops_are_joined_by_a_name_and_come_in_both_orders():
    needles = make("two-hop", 40, seed=0)
    assert len(forms.ROLES) * len(forms.FACTS) >= 24
    for needle in needles:
        first, second = needle.sentences
        assert set(re.findall(r"[A-Z]\w+ [A-Z]\w+", first)) & set(re.findall(r"[A-Z]\w+ [A-Z]\w+", second))
    assert sum(needle.answer in needle.sentences[1] for needle in needles) == 20


def test_depths_keep_the_distance_from_the_first_per_cent_to_the_last():
    needle = make("two-hop", 1, seed=0)[0]
    assert needle.depths(0) == (0, 30)
    assert needle.depths(50) == (35, 65)
    assert needle.depths(100) == (70, 100)
    assert make("literal", 1, seed=0)[0].depths(40) == (40,)
    assert replace(needle, sentences=("a", "b", "c", "d")).depths(50) == (35, 45, 55, 65)


@pytest.mark.parametrize("kind", KINDS)
def test_a_wrong_question_is_of_another_fact(kind):
    needles = make(kind, 12, seed=0)
    for right, wrong in zip(needles, wrong_question(needles), strict=True):
        assert (wrong.sentences, wrong.answer) == (right.sentences, right.answer)
        assert wrong.question in {needle.question for needle in needles} - {right.question}
        assert content(" ".join(right.sentences)) & content(wrong.question) == set()


def test_needles_refuse_what_they_cannot_make():
    with pytest.raises(UnknownName, match=r"'exact'.*literal, paraphrase, two-hop"):
        make("exact", 1, seed=0)
    with pytest.raises(InputError, match="at least 1"):
        make("literal", 0, seed=0)
    with pytest.raises(InputError, match="at least 2"):
        wrong_question(make("literal", 1, seed=0))
    two = make("literal", 2, seed=0)
    assert [needle.question for needle in wrong_question(two)] == [needle.question for needle in reversed(two)]


# haystacks


def test_sentences_end_after_their_quotes_and_not_after_titles():
    ends = sentence_ends(TEXT)
    parts = [TEXT[start:end].strip() for start, end in zip([0, *ends], ends, strict=False)]
    assert parts == ["Mr. Poe sat.", '"Is it late?"', "he asked.", "It was!", "They left.", "天黑了。", "他们走了。"]


@pytest.mark.parametrize("depth", [0, 1, 13.7, 50, 99, 100])
@pytest.mark.parametrize("kind", KINDS)
def test_planted_sentences_stand_at_their_ranges_near_their_depths(kind, depth):
    text = "\n\n".join(FILLER)
    places = [0, *sentence_ends(text)]
    for needle in make(kind, 6, seed=0):
        planted = plant(text, needle, needle.depths(depth))
        assert tuple(planted.text[start:end] for start, end in planted.ranges) == needle.sentences
        for asked, reached in zip(needle.depths(depth), planted.depths, strict=True):
            target = asked / 100 * len(text)
            assert abs(reached / 100 * len(text) - target) == pytest.approx(min(abs(end - target) for end in places))
        without = planted.text
        for sentence in needle.sentences:
            without = without.replace(sentence, "", 1)
        assert without.split() == text.split()


@pytest.mark.parametrize("hay", ["It rained that day. " * 30, "天黑了。他们走了。" * 30], ids=["spaced", "unspaced"])
@pytest.mark.parametrize("order", range(6))
def test_needles_planted_later_move_the_ranges_of_earlier_ones(hay, order):
    """Where no space parts sentences each planted one brings two spaces, one before and one after."""
    pair = Needle("pair", ("The dog is Rex.", "猫叫小黑。"), "?", "Rex", gap=30.0)
    plan = [(pair, 10.0), (Needle("one", ("The code is QX4827.",), "?", "QX4827"), 40.0), (pair, 100.0)]
    plan = [*plan[order % 3 :], *plan[: order % 3]][:: 1 if order < 3 else -1]
    for (needle, _), planted in zip(plan, plant_all(hay, *zip(*plan, strict=True)), strict=True):
        assert tuple(planted.text[start:end] for start, end in planted.ranges) == needle.sentences


def test_a_planted_sentence_is_set_apart_and_keeps_its_place_among_others_there():
    needle = Needle("two-hop", ("A b.", "C d."), "?", "d")
    assert plant("First. Then.", needle, (0, 0)).text == "A b. C d. First. Then."
    assert plant("First. Then.", needle, (50, 50)).text == "First. A b. C d. Then."
    assert plant("First. Then.", needle, (100, 100)).text == "First. Then. A b. C d."
    assert plant("First. Then.", needle, (100, 0)).text == "C d. First. Then. A b."
    assert plant("天黑了。走了。", needle, (0, 55)).text == "A b. 天黑了。 C d. 走了。"
    assert plant("", needle, (0, 100)).text == "A b. C d."


@pytest.mark.parametrize("depths", [(), (1, 2), (-1,), (101,), (math.nan,)])
def test_planting_refuses_depths_that_are_none(depths):
    with pytest.raises(InputError, match="0 to 100"):
        plant("First. Then.", make("literal", 1, seed=0)[0], depths)


@pytest.mark.parametrize("tokens", [20, 100, 5000, 20_000])
def test_a_haystack_has_nearly_the_tokens_asked_for_and_whole_sentences(tokens):
    text = haystack(FILLER, tokens, lambda piece: len(piece.split()))
    assert tokens - 12 < len(text.split()) <= tokens
    assert sentence_ends(text)[-1] == len(text)
    whole = " ".join(" ".join(FILLER * 50).split())
    assert whole.startswith(" ".join(text.split()))


def test_a_long_text_is_counted_once_by_pieces():
    counted = []
    text = haystack(
        ["Word word word word. " * 20_000], 50_000, lambda piece: counted.append(len(piece)) or piece.count("ord")
    )
    assert text.count("ord") == 50_000
    assert sum(counted) < 2.5 * len(text)


def test_a_haystack_refuses_empty_texts_and_lengths_below_a_sentence():
    with pytest.raises(InputError, match="none of which has any"):
        haystack([" \n"], 10, len)
    with pytest.raises(InputError, match="longer haystack"):
        haystack(["Four words in here."], 3, lambda text: len(text.split()))


def test_shuffling_keeps_the_sentences():
    text = "\n".join(FILLER)
    mixed = shuffled(text, seed=1)
    assert sorted(words(mixed)) == sorted(words(text))
    assert mixed != shuffled(text, seed=2)
    assert mixed == shuffled(text, seed=1)


# what was kept


def covered_by_definition(text, place, kept):
    held = {index for start, end in kept for index in range(start, end)}
    return all(index in held or text[index].isspace() for index in range(*place))


def test_covered_is_what_its_definition_says():
    text = "ab cd  e"
    ranges = [(a, b) for a, b in product(range(9), range(9)) if a <= b]
    for pair in combinations(ranges, 2):
        for place in ((0, 8), (1, 7), (2, 3), (3, 5)):
            assert covered(text, place, pair) == covered_by_definition(text, place, pair), (place, pair)


def test_baselines_keep_tokens_at_the_ends():
    text, offsets = "a bb ccc dd e", [(0, 1), (2, 4), (5, 8), (9, 11), (12, 13)]

    def shown(kept):
        return [text[start:end] for start, end in kept]

    assert shown(first_tokens(text, 2, offsets)) == ["a bb"]
    assert shown(last_tokens(text, 2, offsets)) == ["dd e"]
    assert shown(first_and_last(text, 3, offsets)) == ["a bb", "e"]
    assert shown(first_and_last(text, 1, offsets)) == ["a"]
    for choose in (first_tokens, last_tokens, first_and_last):
        assert shown(choose(text, 5, offsets)) == [text]
        assert choose("", 5, []) == [(0, 0)]
        with pytest.raises(InputError, match="at least 1"):
            choose(text, 0, offsets)


# the runner


class Grep:
    """An honest reader without a model: it keeps and answers the sentences that share a word of content."""

    def __init__(self):
        self.calls = 0

    def __call__(self, text, question):
        self.calls += 1
        ends = sentence_ends(text)
        kept = [
            (start, end)
            for start, end in zip([0, *ends], ends, strict=False)
            if content(text[start:end]) & content(question)
        ]
        answer = " ".join(text[start:end] for start, end in kept)
        return Outcome(answer, kept, len(answer.split()), len(text) / 1000, len(text.split()))


def filler(tokens):
    return haystack(FILLER, tokens, lambda piece: len(piece.split()))


def test_a_reader_by_words_finds_the_literal_needles_only():
    needles = [needle for kind in KINDS for needle in make(kind, 4, seed=1)]
    cells = run(Grep(), filler, needles, [100, 300], [0, 50, 100])
    assert [(cell.length, cell.depth) for cell in cells] == [
        (length, depth) for length in (100, 300) for depth in (0, 50, 100) for _ in needles
    ]
    found = summary(cells)
    assert list(found) == list(KINDS)
    assert (found["literal"].retention, found["literal"].accuracy) == (1, 1)
    assert (found["paraphrase"].retention, found["paraphrase"].accuracy) == (0, 0)
    assert (found["two-hop"].retention, found["two-hop"].accuracy) == (0, 0)
    assert found["literal"].cells == 24
    literal = [cell for cell in cells if cell.kind == "literal"]
    assert found["literal"].memory_tokens == sum(cell.memory_tokens for cell in literal) / 24
    rate = sum(cell.tokens_read for cell in literal) / sum(cell.seconds for cell in literal)
    assert found["literal"].tokens_per_second == pytest.approx(rate)


def test_keeping_and_answering_are_counted_apart():
    def mute(text, question):
        return replace(Grep()(text, question), answer="42", memory_tokens=7, seconds=2, tokens_read=10)

    found = summary(run(mute, filler, make("literal", 2, seed=1), [100], [50]))["literal"]
    assert (found.retention, found.accuracy, found.memory_tokens, found.tokens_per_second) == (1, 0, 7, 5)
    always = run(mute, filler, make("literal", 2, seed=1), [100], [50], answered=lambda output, _: output == "42")
    assert summary(always)["literal"].accuracy == 1


def test_the_wrong_question_keeps_no_needle():
    found = summary(run(Grep(), filler, wrong_question(make("literal", 12, seed=1)), [100], [50]))
    assert found["literal"].retention == 0


def test_a_killed_run_goes_on_and_gives_what_an_unbroken_one_does(tmp_path):
    needles = make("literal", 3, seed=0) + make("two-hop", 2, seed=0)
    settings = filler, needles, [100, 200], [0, 50]
    unbroken = run(Grep(), *settings)
    store = tmp_path / "runs" / "grep.jsonl"

    def killed_after(count):
        def on_result(_cell):
            nonlocal count
            count -= 1
            if not count:
                raise KeyboardInterrupt

        return on_result

    with pytest.raises(KeyboardInterrupt):
        run(Grep(), *settings, store=store, on_result=killed_after(7))
    assert len(store.read_text().splitlines()) == 7
    reader, seen = Grep(), []
    assert run(reader, *settings, store=store, on_result=seen.append) == unbroken
    assert reader.calls == len(seen) == 13
    assert seen == unbroken[7:]
    assert run(reader, *settings, store=store) == unbroken
    assert reader.calls == 13
    assert [path.name for path in store.parent.iterdir()] == ["grep.jsonl"]


def test_another_question_is_another_needle_to_the_store(tmp_path):
    needles, reader = make("literal", 4, seed=0), Grep()
    run(reader, filler, needles, [100], [0], store=tmp_path / "r.jsonl")
    run(reader, filler, wrong_question(needles), [100], [0], store=tmp_path / "r.jsonl")
    assert reader.calls == 8


def test_a_damaged_store_is_refused(tmp_path):
    store = tmp_path / "r.jsonl"
    store.write_text(json.dumps({"needle": "x"}) + "\n")
    with pytest.raises(InputError, match=r"r\.jsonl holds no results"):
        run(Grep(), filler, make("literal", 1, seed=0), [100], [0], store=store)


def test_needles_take_turns_where_only_some_are_planted_at_each_place():
    cells = run(Grep(), filler, make("literal", 3, seed=0), [100, 200, 300], [0, 50, 100], per_place=2)
    for length in (100, 200, 300):
        assert set(Counter(cell.needle for cell in cells if cell.length == length).values()) == {2}
    assert len({(cell.needle, cell.length, cell.depth) for cell in cells}) == len(cells) == 18
    orders = {tuple(cell.needle for cell in cells if cell.length == length) for length in (100, 200, 300)}
    assert len(orders) > 1


def test_a_run_of_nothing_is_refused():
    needles = make("literal", 2, seed=0)
    for arguments, what in (
        (([], [1], [0]), "needles"),
        ((needles, [], [0]), "lengths"),
        ((needles, [1], []), "depths"),
    ):
        with pytest.raises(InputError, match=f"no {what}"):
            run(Grep(), filler, *arguments)
    with pytest.raises(InputError, match="per_place got 3 of 2"):
        run(Grep(), filler, needles, [100], [0], per_place=3)


def test_a_heat_map_colours_shares_from_0_to_1(tmp_path):
    pytest.importorskip("matplotlib")
    from matplotlib.image import imread

    def share_of(path, colour):
        image = imread(path)[:, :, :3]
        wanted = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        return (abs(image - wanted).max(axis=2) < 0.02).mean()

    all_kept = run(Grep(), filler, make("literal", 2, seed=0), [100, 200], [0, 50, 100])
    yellow = share_of(heat_map(all_kept, tmp_path / "all.png"), "#fde725")  # the upper end of viridis
    assert yellow > 0.3
    assert 0 < share_of(heat_map(all_kept[:-2], tmp_path / "gap.png"), "#fde725") < yellow
    for measure in ("answered", "memory_tokens", "seconds", "tokens_per_second"):
        heat_map(all_kept, tmp_path / f"{measure}.png", measure)
    with pytest.raises(UnknownName, match=r"'luck'.*retained"):
        heat_map(all_kept, tmp_path / "x.png", "luck")


def test_a_linear_fit_has_the_slope_and_the_share_explained():
    slope, r2 = linear_fit([1, 2, 3], [3, 5, 7])
    assert (slope, r2) == (pytest.approx(2), pytest.approx(1))
    slope, r2 = linear_fit([1, 2, 3], [1, 3, 2])  # slope 1/2 about the means (2, 2): residuals 1/4 + 1 + 1/4 of 2
    assert (slope, r2) == (pytest.approx(0.5), pytest.approx(1 - 1.5 / 2))
    assert linear_fit([1, 2, 3], [2, 2, 2]) == (pytest.approx(0), 1)


def test_growth_tells_what_r2_does_not():
    lengths = [1, 2, 4, 8, 16]
    squares = [n * n for n in lengths]
    assert linear_fit(lengths, squares)[1] == pytest.approx(0.95, abs=0.005)
    assert growth(lengths, squares) == pytest.approx(2)
    assert growth(lengths, [3 * n for n in lengths]) == pytest.approx(1)


@pytest.mark.parametrize(
    ("lengths", "seconds"),
    [([1, 2], [1, 2]), ([1, 2, 3], [1, 2]), ([1, 2, 3], [0, 1, 2]), ([], []), ([1, 2, 3], [1, math.nan, 2])],
)
def test_a_fit_needs_three_lengths_with_a_time_each(lengths, seconds):
    for fit in (linear_fit, growth):
        with pytest.raises(InputError, match="at least 3"):
            fit(lengths, seconds)
