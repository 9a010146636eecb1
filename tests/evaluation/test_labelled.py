"""Labelled examples: files, letters, splits; and choosing among candidates without believing luck."""

from __future__ import annotations

import gzip
import json
import re

import numpy as np
import pytest

from foveal.errors import InputError
from foveal.evaluation.labelled import (
    Labelled,
    LabelledText,
    lettered,
    read_labelled,
    read_rows,
    read_texts,
    split,
    template_of,
)
from foveal.evaluation.selection import gains, passing, shrunk


def one(number: int, gold: int | None = 0) -> Labelled:
    return Labelled(f"Which?\nReview: {number} is dull.\nSentiment:", ("good", "bad"), gold)


def test_a_file_is_read(tmp_path):
    rows = [
        {"prompt": "a:", "choices": ["yes", "no"], "gold": 1, "task": "t"},
        {"prompt": "b:", "choices": ["yes", "no"], "gold": "yes"},
        {"prompt": "c:", "answers": "Orsin Vale"},
        {"prompt": "d:", "choices": ["yes", "no"]},
    ]
    path = tmp_path / "some.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    found = read_labelled(path)
    assert [example.gold for example in found] == [1, 0, None, None]
    assert found[0].task == "t"
    assert found[2].answers == ("Orsin Vale",)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"choices": ["a", "b"], "gold": 0}, "prompt"),
        ({"prompt": " ", "choices": ["a", "b"]}, "no prompt"),
        ({"prompt": "x", "choices": ["a"]}, "two different choices"),
        ({"prompt": "x", "choices": ["a", "a"]}, "two different choices"),
        ({"prompt": "x", "choices": ["a", "b"], "gold": 2}, "number 2 of 2"),
        ({"prompt": "x", "choices": ["a", "b"], "gold": "c"}, "no example"),
        ({"prompt": "x", "choices": ["a", "b"], "gold": 1.0}, "no example"),
        ({"prompt": "x", "choices": "ab", "gold": 1}, "choices must be a list"),
    ],
)
def test_a_wrong_line_is_told_of(tmp_path, row, said):
    path = tmp_path / "some.jsonl"
    path.write_text(json.dumps(row))
    with pytest.raises(InputError, match=said):
        read_labelled(path)
    path.write_text("")
    with pytest.raises(InputError, match="holds no example"):
        read_labelled(path)


def test_a_choice_follows_behind_one_space():
    assert one(1).continuation(1) == " bad"
    assert Labelled("x\n", ("a", "b")).continuation(0) == "a"


def test_options_get_letters():
    made = lettered("What grows?", ["a  tree", "a stone"], 0, task="growth")
    assert made.prompt == "What grows?\nA. a tree\nB. a stone\nAnswer:"
    assert (made.choices, made.gold, made.task) == (("A", "B"), 0, "growth")
    with pytest.raises(InputError, match="26 letters"):
        lettered("?", [str(n) for n in range(27)], 0)


def test_parts_share_no_prompt():
    examples = [one(number % 30) for number in range(60)]
    first, second, third = split(examples, [10, 15, 5], seed=3)
    assert [len(first), len(second), len(third)] == [10, 15, 5]
    assert len({example.prompt for example in [*first, *second, *third]}) == 30
    assert split(examples, [10, 15, 5], seed=3)[1] == second
    with pytest.raises(InputError, match="30 different examples"):
        split(examples, [20, 11], seed=0)


def test_a_template_is_what_the_prompts_share():
    some, others = [one(n) for n in range(5)], [one(n) for n in range(20, 31)]
    assert template_of(some) == template_of(others)
    changed = [Labelled(example.prompt.replace("Sentiment", "Feeling"), example.choices, 0) for example in some]
    assert template_of(some) != template_of(changed)
    labels = [Labelled(example.prompt, ("fine", "bad"), 0) for example in some]
    assert template_of(some) != template_of(labels)


def test_false_discoveries_by_the_definition():
    draw = np.random.default_rng(0)
    for _ in range(50):
        p, rate = draw.random(12) ** 3, 0.2
        ordered = sorted(p)
        most = max((k for k in range(1, 13) if ordered[k - 1] <= k / 12 * rate), default=0)
        assert passing(list(p), rate) == [bool(most) and one <= ordered[most - 1] for one in p]


def test_of_candidates_that_do_nothing_hardly_any_passes():
    draw = np.random.default_rng(0)
    nothing = gains(draw.normal(0, 1, (200, 100)))
    assert sum(passing([one.p for one in nothing], 0.1)) <= 2
    effects = np.where(np.arange(200) < 20, 0.6, 0.0)[:, None]
    some = gains(draw.normal(0, 1, (200, 100)) + effects)
    passed = passing([one.p for one in some], 0.1)
    assert sum(passed[:20]) == 20
    assert sum(passed[20:]) <= 6
    best = max(nothing, key=lambda one: one.mean)
    assert abs(best.shrunk) < 0.5 * best.mean  # luck is drawn back


def test_gains_are_means_with_errors_and_missing_values_are_left_out():
    table = [[1.0, 0.0, 2.0, float("nan")], [0.5, 0.5, 0.5, 0.5]]
    first, second = gains(table)
    assert (first.mean, first.count) == (1.0, 3)
    assert first.error == pytest.approx(1 / np.sqrt(3))
    assert (second.mean, second.error, second.p) == (0.5, 0.0, 0.5**4)  # the same four times: as a coin
    assert gains([[0.0, 0.0]])[0].p == 1.0
    for same in (0.25, 0.1, 0.3):  # rounding gives 0.1 three times a spread of its own
        assert [one.p for one in gains([[same] * 3, [-same] * 3])] == [0.125, 1.0]
    assert gains([[0.3 - 0.2, 0.7 - 0.6, 1.1 - 1.0]])[0].p == 0.125  # so does what they are the differences of
    assert gains([[0.1 + 0.2 - 0.3] * 3])[0].p == 1.0
    with pytest.raises(InputError, match="at least two"):
        gains([[1.0, float("nan")]])
    for wrong in ([], [1.0, 2.0]):
        with pytest.raises(InputError, match="shape"):
            gains(wrong)
    for rate in (0, 1):
        with pytest.raises(InputError, match="between 0 and 1"):
            passing([0.5], rate)


def test_means_are_drawn_by_their_share_of_the_spread():
    means, errors = np.array([0.0, 1.0, 2.0]), np.array([0.5, 0.5, 0.5])
    spread = 1.0 - 0.25
    told = 1 + (means - 1) * spread / (spread + 0.25)
    np.testing.assert_allclose(shrunk(means, errors), told)
    np.testing.assert_allclose(shrunk(means, errors * 10), [1, 1, 1])
    np.testing.assert_allclose(shrunk(means[:2], errors[:2]), [0.25, 0.75])  # half the spread is error
    np.testing.assert_allclose(shrunk(means[2:], errors[2:]), [2])


# -- texts with a label ------------------------------------------------------------------------------------------------


def test_texts_are_read_from_tables_and_lines(tmp_path):
    table = 'label,title,text\nsky,Comets,They come back.\n2,,"One,\ntwo"\n'
    (tmp_path / "some.csv").write_text(table)
    (tmp_path / "some.tsv").write_text("review\tstars\nDull, long.\t2\n")
    lines = [
        {"text": "They come back.", "topic": "sky"},
        {"prompt": "Review: dull.", "choices": ["good", "bad"], "gold": 1},
        {"abstract": "Of pumps.", "label": 3},
    ]
    with gzip.open(tmp_path / "some.jsonl.gz", "wt") as file:
        file.write("\n".join(map(json.dumps, lines)))
    assert read_texts(tmp_path / "some.csv") == [
        LabelledText("Comets\nThey come back.", "sky"), LabelledText("One,\ntwo", "2"),
    ]  # fmt: skip
    assert read_texts(tmp_path / "some.tsv") == [LabelledText("Dull, long.", "2")]
    assert [one.label for one in read_texts(tmp_path / "some.jsonl.gz")] == ["sky", "bad", "3"]


def test_a_number_is_one_label_with_a_point_and_without(tmp_path):
    (tmp_path / "some.jsonl").write_text("\n".join(f'{{"text": "x", "label": {one}}}' for one in ("1", "1.0", "1.5")))
    assert [one.label for one in read_texts(tmp_path / "some.jsonl")] == ["1", "1", "1.5"]


def test_a_gold_label_is_a_place_among_choices_or_the_label_itself(tmp_path):
    path = tmp_path / "some.jsonl"
    path.write_text('{"text": "x", "gold": 1}\n')
    assert read_texts(path) == [LabelledText("x", "1")]
    path.write_text('{"prompt": "x", "choices": ["a", "b"], "gold": 2}\n')
    with pytest.raises(InputError, match="number 2 of 2"):
        read_texts(path)
    path.write_text('{"prompt": "x", "choices": ["a", "b"], "gold": -1}\n')  # as sets without labels have it
    with pytest.raises(InputError, match="number -1 of 2 choices"):
        read_texts(path)


def test_fields_may_be_named(tmp_path):
    (tmp_path / "some.csv").write_text("a,b,kind,text\nx,y,k,z\n")
    found = read_texts(tmp_path / "some.csv", text=("b", "a"), label="kind")
    assert found == [LabelledText("y\nx", "k")]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("label,text\n,words\n", "line 2, is no labelled text (it lacks label"),
        ("label,words\nx,y\n", "line 2, is no labelled text (it has label, words, and no text). A row is"),
        ("label,text\n", "holds no labelled text"),
    ],
)
def test_rows_without_text_or_label_are_named(tmp_path, content, said):
    (tmp_path / "some.csv").write_text(content)
    with pytest.raises(InputError, match=re.escape(said)):
        read_texts(tmp_path / "some.csv")
    for no_file in (tmp_path / "other.csv", tmp_path):
        with pytest.raises(InputError, match="There is no file"):
            read_texts(no_file)


def test_a_line_of_a_text_file_ends_where_the_file_ends_it(tmp_path):
    (tmp_path / "lines.txt").write_bytes("one\u2028still one\r\n\r\ntwo\x0cstill two\nthree".encode())
    found = read_rows(tmp_path / "lines.txt")
    assert [one.text for one in found] == ["one\u2028still one", "two\x0cstill two", "three"]
