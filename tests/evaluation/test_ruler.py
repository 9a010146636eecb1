import re
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foveal.errors import InputError, UnknownName
from foveal.evaluation.haystack import sentence_ends
from foveal.evaluation.ruler import (
    TASKS,
    TOLERANCE,
    Documents,
    Fact,
    Sample,
    accuracy,
    answer_tokens,
    make,
    zipf_counts,
)
from foveal.evaluation.ruler_text import FORMS

ESSAYS = [
    f"Essay {n} opens here. It rained on day {n} of the walk, and then it rained more.\n\nWho cares?" for n in (1, 2)
]


def count(text):
    """Pieces of words of up to four characters, and marks: about what a tokenizer does."""
    return len(re.findall(r"\w{1,4}|[^\w\s]", text))


def one(task, length=2000, seed=0, **given):
    return make(task, 1, length, count, seed=seed, **given)[0]


def sample_of(*answers, task="niah_multivalue"):
    return Sample(task, "", "", answers, "", 0, 0, 0)


def told(sample):
    """What the needles say: name -> numbers, in their order."""
    found = {}
    for name, number in re.findall(r"One magic number of (\w+ \w+) is (\d{7})\.", sample.context):
        found.setdefault(name, []).append(number)
    return found


# what holds of every task


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("length", [1500, 9000])
def test_a_prompt_is_nearly_as_long_as_asked_for(task, length):
    for sample in make(task, 3, length, count):
        assert sample.tokens == count(sample.prompt)
        assert (1 - TOLERANCE) * length <= sample.tokens <= length
        assert (sample.task, sample.length) == (task, length)


@settings(max_examples=20)
@given(
    length=st.integers(400, 4000), seed=st.integers(0, 10**6), task=st.sampled_from([t for t in TASKS if t != "cwe"])
)
def test_any_length_and_seed_gives_a_prompt_as_long_whose_gold_is_right(length, seed, task):
    sample = one(task, length, seed, haystack=ESSAYS)
    assert (1 - TOLERANCE) * length <= count(sample.prompt) <= length
    assert accuracy(sample.gold, sample) == 1


@pytest.mark.parametrize("task", TASKS)
def test_a_sample_is_known_by_its_seed(task):
    samples = make(task, 3, 1500, count, seed=5)
    assert [sample.seed for sample in samples] == [5, 6, 7]
    assert samples[1:] == [one(task, 1500, seed=6), one(task, 1500, seed=7)]
    assert len({sample.prompt for sample in samples}) == 3


@pytest.mark.parametrize("task", TASKS)
def test_a_seed_asks_the_same_at_each_length(task):
    short, long = one(task, 1500), one(task, 6000)
    assert (short.question, short.answers, short.prefix) == (long.question, long.answers, long.prefix)


@pytest.mark.parametrize("task", TASKS)
def test_the_context_holds_the_answers_and_nothing_else_gives_them_away(task):
    for sample in make(task, 3, 2000, count):
        assert accuracy(sample.context, sample) == 1
        assert accuracy(f"{sample.question} {sample.prefix}", sample) == 0
        assert sample.prompt == f"{sample.context}\n\n{sample.question}\n{sample.prefix}"
        assert sample.gold == f" {', '.join(sample.answers)}"


@pytest.mark.parametrize("task", TASKS)
def test_a_length_below_the_least_is_refused_and_the_least_is_not(task):
    with pytest.raises(InputError, match=rf"5 tokens were asked for; these samples of {task} need") as refused:
        make(task, 2, 5, count)
    least = int(re.search(r"at least (\d+)", str(refused.value))[1])
    with pytest.raises(InputError):
        make(task, 2, least - 1, count)
    assert max(sample.tokens for sample in make(task, 2, least, count)) == least


def test_what_makes_no_sample_is_refused():
    with pytest.raises(UnknownName, match=r"'niah'.*niah_single, .*, qa\."):
        make("niah", 1, 1000, count)
    with pytest.raises(InputError, match="at least 1"):
        make("qa", 0, 1000, count)
    for empty in ("", " \n", [], ["", " "]):
        with pytest.raises(InputError, match="none of which has any"):
            make("niah_single", 1, 1000, count, haystack=empty)
    with pytest.raises(InputError, match="must grow with the text"):
        make("niah_single", 1, 1000, lambda _text: 7)


def test_each_task_has_the_tokens_that_its_answer_may_take():
    assert [answer_tokens(task) for task in TASKS] == [128, 128, 128, 128, 128, 30, 120, 50, 32]
    with pytest.raises(UnknownName, match="'niah'"):
        answer_tokens("niah")


# niah


def test_a_single_needle_is_the_only_one():
    sample = one("niah_single")
    assert told(sample) == {re.search(r"number of (\w+ \w+),", sample.question)[1]: [*sample.answers]}
    assert sample.prefix.endswith(f"{next(iter(told(sample)))} is")


@pytest.mark.parametrize("task", ["niah_multikey_1", "niah_multikey_2"])
def test_of_many_keys_one_is_asked_for(task):
    sample = one(task, 4000)
    needles = told(sample)
    asked = [name for name in needles if name in sample.question]
    assert len(asked) == 1
    assert needles[asked[0]] == [*sample.answers]
    assert all(len(numbers) == 1 for numbers in needles.values())
    assert len(needles) == 4 if task == "niah_multikey_1" else len(needles) > 150
    assert ("river" in sample.context) == (task == "niah_multikey_1")


def test_the_key_asked_for_may_come_first_or_last():
    samples = make("niah_multikey_1", 24, 500, count)
    assert {[*told(sample).values()].index([*sample.answers]) for sample in samples} == {0, 1, 2, 3}


def test_all_values_of_the_key_are_asked_for_in_the_order_of_the_text():
    sample = one("niah_multivalue")
    assert [*told(sample).values()] == [[*sample.answers]]
    assert len(set(sample.answers)) == 4


def test_all_keys_are_asked_for_in_the_order_of_the_question():
    sample = one("niah_multiquery")
    needles = told(sample)
    order = sorted(needles, key=sample.question.index)
    assert [needles[name] for name in order] == [[answer] for answer in sample.answers]
    assert len(order) == 4


def test_the_haystack_is_the_callers_from_one_of_its_sentences_on():
    starts = set()
    for sample in make("niah_single", 8, 600, count, haystack=ESSAYS):
        text = re.sub(r"One magic number of \w+ \w+ is \d+\. ?", "", sample.context).split("\n\n", 1)[1]
        words = " ".join(text.split())
        assert words in " ".join(" ".join(ESSAYS * 40).split())
        starts.add(words[:30])
    assert len(starts) > 2
    assert one("niah_single", haystack=ESSAYS[0]) == one("niah_single", haystack=ESSAYS[:1])


def test_needles_stand_between_sentences_at_depths_of_all_kinds():
    depths = []
    for sample in make("niah_single", 40, 1000, count, haystack=ESSAYS):
        place = sample.context.index("One magic")
        assert place in {end + 1 for end in [*sentence_ends(sample.context)]} | {sample.context.index("\n\n") + 2}
        depths.append(place / len(sample.context))
    assert min(depths) < 0.25
    assert max(depths) > 0.75
    assert 0.35 < sum(depths) / 40 < 0.65


def test_a_script_without_spaces_can_be_measured():
    sample = one("niah_single", 700, haystack="天黑了，他们走得很慢。雨还在下，山路上没有人。" * 3)
    assert 686 <= sample.tokens <= 700


# vt


def held(context):
    """Variable -> number, by doing what the text says."""
    values = {}
    for name, value in re.findall(r"Set ([A-Z]{5}) to (\w+)\.", context):
        values[name] = values.get(value, value)
    return values


def test_the_variables_asked_for_are_those_that_hold_the_number_and_come_in_order():
    for sample in make("vt", 5, 1500, count):
        values = held(sample.context)
        number = re.search(r"\d{5}", sample.question)[0]
        assert {name for name, value in values.items() if value == number} == {*sample.answers}
        assert len(sample.answers) == 5
        steps = zip((number, *sample.answers), sample.answers, strict=False)
        assert all(f"Set {name} to {value}." in sample.context for value, name in steps)
        assert Counter(values.values()).most_common(1)[0][1] == 5
        assert len(values) == 20  # two chains, and two in the example
        assert all(value.isdecimal() for value in values.values())


def test_the_example_of_vt_is_answered_rightly():
    context = one("vt").context
    number, answers = re.search(r"The 5 variables that hold (\d+) are ([A-Z, ]+)\.", context).groups()
    assert {name for name, value in held(context).items() if value == number} == {*answers.split(", ")}


# cwe and fwe


def test_the_common_words_come_up_ten_times_as_often():
    for length in (1500, 5000):
        sample = one("cwe", length)
        example, asked = sample.context.split("Which 10 words")
        words = Counter(re.findall(r"\d+\. (\w+)", asked))
        assert {word for word, times in words.items() if times == 20} == {*sample.answers}
        assert set(words.values()) <= {1, 2, 20}
        assert Counter(words.values())[1] <= 1
        shown = Counter(re.findall(r"\d+\. (\w+)", example))
        assert {word for word, times in shown.items() if times == 3} == {
            *re.search(r"most often are ([\w, ]+)\.", asked)[1].split(", ")
        }
        assert not shown.keys() & words.keys()


def test_the_frequent_words_are_the_three_commonest_in_order():
    for length in (600, 1000, 5000):
        sample = one("fwe", length)
        words = Counter(sample.context.split("\n\n")[1].split())
        ranked = words.most_common()
        assert ranked[0][0] == "..."
        assert [word for word, _ in ranked[1:4]] == [*sample.answers]
        assert ranked[1][1] > ranked[2][1] > ranked[3][1] > ranked[4][1]


@given(st.integers(80, 10**6))
def test_zipf_counts_set_the_first_three_apart_and_leave_the_rest_to_the_dots(total):
    counts = [*zipf_counts(total)]
    assert counts[0] > counts[1] > counts[2] > counts[3]
    assert 0.25 * total < sum(counts) < 0.4 * total  # 1 - 1 / zeta(2) is 0.392
    assert min(counts) > 0


def test_zipf_counts_by_hand():
    assert [*zipf_counts(100)] == [15, 6, 3, 2, 1, 1]  # 60.79 / 4, 9, 16, 25, 36, 49; / 64 is below 1


# qa


def test_without_data_the_facts_are_invented_and_one_paragraph_alone_answers():
    assert len(FORMS) == 16
    asked = set()
    for sample in make("qa", 6, 2500, count):
        paragraphs = re.findall(r"Document \d+: (.+)", sample.context)
        assert len(paragraphs) > 20
        place = re.search(r"(?:of|at|above) ([A-Z]\w+)", sample.question)[1]
        about = [text for text in paragraphs if place in text and accuracy(text, sample)]
        assert about
        asked.add(sample.question.replace(place, ""))
    assert len(asked) > 3


def test_each_form_has_a_paragraph_that_names_its_place_and_holds_its_answer_once():
    for form in FORMS:
        *paragraph, question, answer = form.splitlines()
        text = " ".join(paragraph)
        assert re.fullmatch(r"\{(town|name|given|number|year)\}", answer)
        assert text.count(answer) == 1
        assert "{place}" in text
        assert "{place}" in question
        assert question.endswith("?")
        assert answer not in question


def test_the_facts_given_take_turns_and_the_other_paragraphs_distract():
    triples = [(f"What is {n}?", f"thing{n}", f"Number {n} is thing{n}, they say.") for n in range(3)]
    samples = make("qa", 4, 400, count, documents=Documents.of(triples, ["A stray one.", " "]))
    assert [sample.answers for sample in samples] == [("thing0",), ("thing1",), ("thing2",), ("thing0",)]
    for sample in samples:
        documents = re.findall(r"Document \d+: (.*)", sample.context)
        for _, _, paragraph in triples:
            assert documents.count(paragraph) == 1
        assert documents.count("A stray one.") == 1
        assert "" not in documents
        assert len(documents) > 5  # invented ones fill it up


def test_the_paragraph_asked_for_may_be_any_document():
    fact = Fact("Who?", ("Ann",), "It was Ann.")
    samples = make("qa", 20, 400, count, documents=Documents([fact]))
    numbers = {int(re.search(r"Document (\d+): It was Ann", sample.context)[1]) for sample in samples}
    assert min(numbers) <= 2
    assert max(numbers) >= 5


def test_a_paragraph_with_several_questions_never_distracts_from_itself():
    facts = [Fact(f"Question {n}?", ("x1", "x2"), "The paragraph of x1.") for n in range(3)]
    sample = one("qa", 400, documents=Documents(facts))
    assert sample.context.count("The paragraph of x1.") == 1
    assert sample.gold == " x1"


# accuracy


@pytest.mark.parametrize(
    ("output", "share"),
    [
        ("12, 345", 1),
        ("They are 345\nand\n12.", 1),
        ("12,345", 1),
        ("123 and 345", 0.5),
        ("012", 0),
        ("A12", 0),
        ("", 0),
    ],
)
def test_accuracy_is_the_share_of_answers_that_stand_whole(output, share):
    assert accuracy(output, sample_of("12", "345")) == share


def test_case_and_white_space_do_not_matter():
    assert accuracy("it was ORSIN\n  ashaby!", sample_of("Orsin Ashaby")) == 1
    assert accuracy("it was Orsin Ashabyson", sample_of("Orsin Ashaby")) == 0


def test_of_the_answers_of_qa_any_will_do():
    both = sample_of("12", "twelve", task="qa")
    assert accuracy("Twelve.", both) == 1
    assert accuracy("123", both) == 0
    assert accuracy("Twelve.", replace(both, task="vt")) == 0.5


@pytest.mark.parametrize("depth", [0.0, 30.0, 100.0])
def test_needles_stand_where_they_are_to(depth):
    sample = make("niah_single", 1, 2000, count, seed=3, depth=depth)[0]
    place = sample.context.index(sample.answers[0]) / len(sample.context)
    assert place == pytest.approx(depth / 100, abs=0.12)


def test_a_depth_is_a_share():
    with pytest.raises(InputError, match="0 to 100"):
        make("niah_single", 1, 2000, count, depth=101)
