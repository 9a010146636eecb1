"""bench segment over small data in the layout that it asks for, and without."""

import gzip
import json

import pytest
from honest import HashedWords

from foveal.bench.known_sets import SIZES
from foveal.bench.segment import choi, exactness, headless, segment, terms
from foveal.bench.segment_use import covered, floor_of, use
from foveal.bench.settings import BenchSettings
from foveal.errors import InputError
from foveal.types import Span


class Settings(BenchSettings):
    def encoder(self):
        return HashedWords()


def write(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    with (gzip.open if path.suffix == ".gz" else open)(path, "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


@pytest.fixture
def data(tmp_path):
    about = [[f"Sentence {n} on {topic} and {topic}s." for n in range(4)] for topic in ("cat", "rain", "law")]
    write(tmp_path / "choi/choi.jsonl", [{"_id": f"choi-1/3-11/{n}", "segments": about} for n in range(9)])
    text = "".join(f"# Part {n}\n\nFirst words of {n}.\n\nSecond.\n\nThird.\n\n" for n in range(5))
    write(tmp_path / "tos/some.jsonl.gz", [{"_id": "a", "text": text}, {"_id": "b", "text": "No headings."}])
    passages = [
        {"_id": f"p{n}", "title": "", "text": f"Rule {n} is on word{n}.", "metadata": {"document": n // 9}}
        for n in range(18)
    ]
    write(tmp_path / "obliqa/corpus.jsonl", passages)
    write(tmp_path / "obliqa/queries.jsonl", [{"_id": "q", "text": "What is on word3?"}])
    (tmp_path / "obliqa/qrels").mkdir()
    (tmp_path / "obliqa/qrels/test.tsv").write_text("query-id\tcorpus-id\tscore\nq\tp3\t1\n")
    return tmp_path


@pytest.mark.parametrize("quick", [True, False])
def test_any_data_of_the_layout_gives_all_rows(data, tmp_path, quick, monkeypatch):
    monkeypatch.setitem(SIZES, "Choi", (9, 9 * 12))  # as if it were that set
    settings = Settings(data=data, cache=tmp_path / "cache", quick=quick)
    rows = [row for part in (exactness, choi, terms, use) for row in part(settings)]  # all but speed, which takes long
    bars = {(row.system, row.metric): row.bar for row in rows}
    most = "≤ 10.5" if quick else "≤ 7"
    assert [bars[f"Choi: {name}", "P_k %"] for name in ("depth, plain means of 5", "depth")] == [most, most]
    values = {(row.system, row.metric): row.value for row in rows}
    assert values["Choi documents", "size"] == 2
    assert values["P_k beside segeval", "largest difference"] <= 1e-12
    assert values["Choi: no boundary", "boundary F1"] == 0
    assert values["terms paragraphs", "size"] == 15
    assert values["regulations: headings", "answer recall, 400 tokens"] == 1
    assert all(0 <= row.value <= 100 for row in rows if row.metric in ("P_k %", "WindowDiff %"))


@pytest.mark.parametrize("name", ["choi/choi.jsonl", "tos/some.jsonl.gz", "obliqa/qrels/test.tsv"])
def test_missing_data_is_named_with_the_ways_out(data, tmp_path, name):
    (data / name).unlink()
    with pytest.raises(InputError, match=r"--data or FOVEAL_DATA"):
        list(segment(Settings(data=data, cache=tmp_path / "cache")))


@pytest.mark.parametrize("line", ["{", "[]", '{"_id": "x/3-11/1"}', '{"_id": "x", "segments": []}'])
def test_lines_of_another_layout_are_named(data, tmp_path, line):
    (data / "choi/choi.jsonl").write_text(line)
    with pytest.raises(InputError, match=r"choi"):
        list(segment(Settings(data=data, cache=tmp_path / "cache")))


def test_headless_gives_the_paragraphs_of_sections_without_their_headings():
    text = "Before.\n\n# A\n\n## A1\n\nOne.\n\nTwo.\n\n# B\n\n## B1\n\nThree.\n\n# C\n\nFour.\n"
    assert headless(text) == [["Before."], ["One.", "Two."], ["Three."], ["Four."]]
    assert headless("# A\n\nOne.\n\n# B\n\nTwo.\n") == []


def test_learned_segments_are_held_to_the_better_baseline():
    recalls = {"windows of 200 tokens": 0.333, "fixed": 0.466, "headings": 0.472}
    assert floor_of("same-topic", recalls) == 0.466
    assert floor_of("dynamic programming", recalls) == 0.333
    assert floor_of("fixed", recalls) is None
    assert floor_of("same-topic", {"windows of 200 tokens": 0.333}) == 0.333


def test_covered_counts_characters():
    span = Span("a", 10, 20)
    assert covered(span, [Span("a", 0, 12), Span("a", 15, 30), Span("b", 0, 30)]) == 7
