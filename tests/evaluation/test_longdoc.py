import gzip
import json
import os
from pathlib import Path

import pytest

from foveal.errors import InputError, UnknownName
from foveal.evaluation.answers import METRICS, chosen, contains, normalised, score
from foveal.evaluation.babilong import support
from foveal.evaluation.longdoc import TASKS, load, sample

# answers


def test_the_normal_form_is_that_of_squad():
    assert normalised("The  Cat's-paw, an  APPLE!") == "catspaw apple"
    assert normalised("April 25 , 2018") == normalised("april 25, 2018.")
    assert normalised("theatre") == "theatre"


@pytest.mark.parametrize(
    ("metric", "answer", "gold", "value"),
    [
        ("exact", "The Eiffel Tower.", "eiffel tower", 1),
        ("exact", "Eiffel Towers", "eiffel tower", 0),
        ("f1", "a tower in Paris", "the Paris tower", 2 * (2 / 3) * 1 / (2 / 3 + 1)),
        ("f1", "red red blue", "red green", 2 * (1 / 3) * (1 / 2) / (1 / 3 + 1 / 2)),
        ("f1", "blue", "red", 0),
        ("f1", "the", "a", 1),  # both are empty in normal form
        ("f1", "", "red", 0),
        ("recall", "it was red and, well, also green", "red green", 1),
        ("recall", "red red", "red green red blue", 2 / 4),
        ("recall", "", "the", 1),
        ("f1_zh", "在厦门大学", "厦门大学。", 2 * (4 / 5) * 1 / (4 / 5 + 1)),
        ("f1_zh", "《红楼梦》 ＡＢ！", "红楼梦ａｂ", 1),
        ("f1_zh", "北京", "上海", 0),
        ("contains", "It is kept in the kitchen, I think.", "Kitchen", 1),
        ("contains", "in 2010", "10", 0),
        ("contains", "10kg", "10", 0),
        ("contains", "共10篇", "10", 1),
        ("contains", "在2厦门大学读书", "厦门大学", 1),
        ("contains", "เขาอยู่ที่กรุงเทพมหานคร", "กรุงเทพ", 1),
        ("contains", "ဒီမှာရန်ကုန်မြို့ပါ", "ရန်ကုန်", 1),
        ("contains", "राजधानी", "राज", 0),
        ("contains", "the code is QX4827.", "qx4827", 1),
        ("contains", "Orsin", "Orsin Vale", 0),
        ("contains", "", "the", 1),
        ("choice", "(B) because", "(B) It rained", 1),
        ("choice", "(A)", "(B) It rained", 0),
        ("choice", "I cannot say", "(B) It rained", 0),
    ],
)
def test_metrics_on_small_cases(metric, answer, gold, value):
    assert score(metric, answer, [gold]) == pytest.approx(value)


@pytest.mark.parametrize(
    ("answer", "letter"),
    [
        ("B", "B"),
        ("C.", "C"),
        (" D) since", "D"),
        ("A\nbecause", "A"),
        ("the right one is (c), not (a)", "C"),
        ("The answer is B because", "B"),
        ("Option D", "D"),
        ("Answer: C", "C"),
        ("A man went away", None),
        ("Because of it", None),
        ("", None),
    ],
)
def test_the_letter_chosen(answer, letter):
    assert chosen(answer) == letter


def test_the_best_gold_answer_counts():
    assert score("f1", "blue", ["red", "blue"]) == 1
    assert all(score(metric, "(A) x", ["(A) x"]) == 1 for metric in METRICS)
    assert contains("x (y)", "(y)")


def test_scores_refuse_what_they_cannot_score():
    with pytest.raises(UnknownName, match=r"'bleu'.*exact, f1"):
        score("bleu", "a", ["a"])
    with pytest.raises(InputError, match="at least one"):
        score("f1", "a", [])
    with pytest.raises(InputError, match=r"needs to open with \(A\)"):
        score("choice", "(A)", ["It rained"])


# the stories of BABILong

STORY = (
    "It was a dark night. Mary moved to the bathroom. He wrote to Mary. John went back\nto the hallway. It rained. "
    "Mary got the milk there. She said: John is late. Mary travelled to the office. John picked up the apple. "
    "Mary put down the milk there. Mary journeyed to the garden. Sandra left the football."
)


@pytest.mark.parametrize(
    ("question", "place", "facts"),
    [
        ("Where is Mary?", "garden", ["Mary journeyed to the garden."]),
        ("Where is John?", "hallway", ["John went back\nto the hallway."]),
        ("Where is the milk?", "office", ["Mary travelled to the office.", "Mary put down the milk there."]),
        ("Where is the apple?", "hallway", ["John went back\nto the hallway.", "John picked up the apple."]),
    ],
)
def test_the_supporting_facts_of_a_story(question, place, facts):
    found = support(STORY, question)
    assert found.place == place
    assert [STORY[start:end] for start, end in found.ranges] == facts


def test_a_thing_that_is_carried_goes_where_its_bearer_goes():
    found = support(
        "Mary took the milk. John got the apple. Mary went to the garden. John moved to the kitchen.",
        "Where is the milk?",
    )
    assert (found.place, len(found.ranges)) == ("garden", 2)


@pytest.mark.parametrize("question", ["Where is Daniel?", "Where is the football?", "Why is Mary sad?", ""])
def test_what_a_story_does_not_say(question):
    assert support(STORY, question) is None
    assert support("It was a dark night.", question) is None


# the tasks


def written(folder, name, rows, *, packed=True):
    path = folder / "longdoc" / f"{name}.jsonl{'.gz' if packed else ''}"
    path.parent.mkdir(exist_ok=True)
    with (gzip.open if packed else open)(path, "wt", encoding="utf-8") as file:
        file.writelines((row if isinstance(row, str) else json.dumps(row, ensure_ascii=False)) + "\n" for row in rows)
    return path


def document(identity, text, *questions):
    asked = [{"_id": f"{identity}-{n}", "question": q, "answers": answers} for n, (q, answers) in enumerate(questions)]
    return {"_id": identity, "title": "", "text": text, "questions": asked}


@pytest.mark.parametrize("packed", [True, False])
def test_answers_are_found_where_they_stand_as_whole_words(tmp_path, packed):
    text = "Season 10 has 10 parts; 2010 was dry ( 6.1 m )."
    rows = [document("a", text, ("how many?", ["10"]), ("how deep?", ["( 6.1 m )", "six"]), ("who?", ["Ann"])), ""]
    written(tmp_path, "natural_question", [*rows, document("b", "Else.", ("what?", ["Else."]))], packed=packed)
    task = load("natural_question", tmp_path)
    assert (task.name, task.metric) == ("natural_question", "f1")
    assert task.documents == {"a": text, "b": "Else."}
    many, deep, who, what = task.questions
    assert [[(span.start, span.end) for span in spans] for spans in many.evidence] == [[(7, 9)], [(14, 16)]]
    assert [text[span.start : span.end] for (span,) in deep.evidence] == ["( 6.1 m )"]
    assert who.evidence == ()
    assert (what.id, what.document_id, what.answers) == ("b-0", "b", ("Else.",))
    assert many.supported_by([(12, 20)]) is True
    assert many.supported_by([(0, 8), (30, 40)]) is False
    assert who.supported_by([(0, 40)]) is None


def test_chinese_answers_are_found_without_their_full_stop(tmp_path):
    written(tmp_path, "multifieldqa_zh", [document("a", "会议在厦门大学举行。", ("在哪里？", ["厦门大学。"]))])
    task = load("multifieldqa_zh", tmp_path)
    assert [(span.start, span.end) for (span,) in task.questions[0].evidence] == [(3, 7)]
    assert score(task.metric, "厦门大学", task.questions[0].answers) == 1


def test_all_facts_of_a_story_are_needed(tmp_path):
    rows = [
        document("a", STORY, ("Where is the milk?", ["office"])),
        document("b", STORY, ("Where is Mary?", ["office"])),
    ]
    written(tmp_path, "babilong_8k_qa2", rows)
    milk, contradicted = load("babilong_8k_qa2", tmp_path).questions
    ((moved, put),) = milk.evidence
    assert milk.supported_by([(moved.start, moved.end), (put.start, put.end)]) is True
    assert milk.supported_by([(put.start, put.end)]) is False
    assert contradicted.evidence == ()  # the story says otherwise than the gold answer


def test_choices_have_no_evidence(tmp_path):
    written(tmp_path, "quality", [document("a", "It rained.", ("Why?\n (A) x\n (B) It rained", ["(B) It rained"]))])
    task = load("quality", tmp_path)
    assert task.questions[0].evidence == ()
    assert score(task.metric, "The answer is (B).", task.questions[0].answers) == 1


def test_a_sample_is_repeatable_and_in_order(tmp_path):
    written(tmp_path, "quality", [document(str(n), f"Text {n}.", ("?", ["(A)"])) for n in range(20)])
    task = load("quality", tmp_path)
    some = sample(task, 5, seed=1)
    assert some == sample(task, 5, seed=1) != sample(task, 5, seed=2)
    places = [task.questions.index(question) for question in some.questions]
    assert places == sorted(set(places))
    assert len(some.documents) == 5
    assert sample(task, 99, seed=0) == task
    with pytest.raises(InputError, match="at least 1"):
        sample(task, 0, seed=0)


def test_a_missing_folder_says_how_to_name_another(tmp_path):
    with pytest.raises(InputError, match=r"longdoc holds neither quality\.jsonl\.gz.*does not exist.*FOVEAL_DATA"):
        load("quality", tmp_path)
    with pytest.raises(UnknownName, match=r"'squad'.*natural_question, quality"):
        load("squad", tmp_path)


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ("{", "cannot be read"),
        ("[]", "line 2, is not in the layout"),
        ({"_id": "a", "text": "x"}, "line 2, is not in the layout .*questions"),
        (document("a", "x", ("?", [1])), "line 2, is not in the layout .*1 is no string"),
        (document("a", "x", ("?", "(A)")), "line 2, is not in the layout .*is no list"),
        (document("a", "x", ("?", [])), "line 2, has no answer to 'a-0'"),
    ],
)
def test_a_damaged_line_is_named(tmp_path, row, complaint):
    written(tmp_path, "quality", [document("ok", "x", ("?", ["(A)"])), row])
    with pytest.raises(InputError, match=complaint):
        load("quality", tmp_path)


def test_a_file_without_questions_is_refused(tmp_path):
    (tmp_path / "longdoc").mkdir()
    for content in ("", '{"_id": "d", "text": "t", "questions": []}\n'):
        (tmp_path / "longdoc" / "quality.jsonl").write_text(content)
        with pytest.raises(InputError, match="holds no question"):
            load("quality", tmp_path)


def test_a_file_cut_off_is_refused(tmp_path):
    path = written(tmp_path, "quality", [document(str(n), f"Text {n}.", ("?", ["(A)"])) for n in range(200)])
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(InputError, match="fetch it again"):
        load("quality", tmp_path)


DATA = Path(os.environ.get("FOVEAL_DATA") or "../shared/data")


@pytest.mark.skipif(not (DATA / "longdoc").is_dir(), reason="the data folder is not here")
def test_the_real_sets_are_as_their_readme_counts_them():
    counts = {name: (len(task.questions), len(task.documents)) for name in TASKS for task in [load(name, DATA)]}
    assert counts == {
        "natural_question": (109, 21),
        "quality": (202, 15),
        "multifieldqa_zh": (200, 142),
        "babilong_8k_qa1": (100, 100),
        "babilong_8k_qa2": (100, 100),
    }
    for name, facts in (("babilong_8k_qa1", 1), ("babilong_8k_qa2", 2)):  # the story gives each gold answer
        assert all([len(spans) for spans in q.evidence] == [facts] for q in load(name, DATA).questions)
    assert sum(bool(question.evidence) for question in load("natural_question", DATA).questions) == 105
