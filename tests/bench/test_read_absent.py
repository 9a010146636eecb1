"""What is told of questions that are asked of another text."""

from __future__ import annotations

from types import SimpleNamespace

from foveal.bench import read_absent
from foveal.bench.readers import Bench
from foveal.bench.settings import BenchSettings
from foveal.evaluation.longdoc import Question, Task


def test_each_question_is_asked_of_its_text_and_of_one_other(monkeypatch, tmp_path):
    """Of its own text a question's likeness is its number, of another one less by half."""
    questions = tuple(Question(f"q{n}", f"d{n % 3}", f"text {n % 3}", f"question {n}", ("a",)) for n in range(6))
    asked = []

    class Reader:
        def __init__(self, _, settings):
            assert settings.effort == read_absent.EFFORT

        def retrieve_many(self, text, given):
            asked.extend((text, one) for one in given)
            near = [0.9 if int(one[-1]) % 3 == int(text[-1]) else 0.4 for one in given]
            return [SimpleNamespace(details={"nearest": one, "looked_at": 1.0}) for one in near]

    monkeypatch.setattr(read_absent, "InfiniRetri", Reader)
    monkeypatch.setattr(read_absent, "load", lambda *_: Task("natural_question", "f1", questions))
    monkeypatch.setattr(Bench, "model", None)
    rows = list(read_absent.absent(Bench(BenchSettings(data=tmp_path))))
    assert {(row.system.split(",")[0], row.metric): row.value for row in rows} == {
        ("Foveal", "refused"): 0.0,  # the later of two rows: of its own text
        ("likeness", "AUROC"): 1.0,
        ("attention", "AUROC"): 0.5,
    }
    assert rows[0].value == 1.0
    assert len(asked) == len(set(asked)) == 12
    assert all(sum(one == question.question for _, one in asked) == 2 for question in questions)
