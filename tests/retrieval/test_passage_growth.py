"""How an index of passages grows: what is written, how often, in how many segments; and what it finds all the while."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from honest import document
from retrieval.passage_shelf import KINDS, PlacedWords, WeighedWords, shelf_of_fruits, text_of
from retrieval.test_store import put

from foveal.retrieval import passage_indexes, passage_kinds, passage_making
from foveal.retrieval.passage_kinds import LatePassages, SparsePassages
from foveal.retrieval.passage_making import bring_up_to_date
from foveal.retrieval.passage_names import TEXT, stored_names, visible_names
from foveal.retrieval.passage_segments import MERGED, PassageIndex

LARGE = 64


class Counted(SparsePassages):
    """SparsePassages that counts the rows that it merged."""

    rows = 0

    def merged(self, parts, kept):
        part = super().merged(parts, kept)
        self.rows += part.documents
        return part


def names_of(numbers) -> pa.LargeStringArray:
    return pa.array([f"{number}:e:d" for number in numbers], TEXT)


def text(number: int) -> str:
    return f"common word{number} rare{number % 7}"


def test_passages_that_come_one_by_one_are_written_a_few_times_and_lie_in_few_segments():
    index, count = PassageIndex(Counted(WeighedWords())), 1200
    for number in range(count):
        index = index.with_more([f"{number}:e:d"], [text(number)], of=count).merged(LARGE)
    assert index.kind.rows <= 2 * count  # into eights, and into 64s; larger ones stay
    small = [len(segment) for segment in index.segments if len(segment) < LARGE]
    assert len(small) <= 2 * (MERGED - 1)
    assert max(len(segment) for segment in index.segments) <= MERGED * LARGE
    assert sorted(index.names) == sorted(names_of(range(count)).to_pylist())
    whole = PassageIndex(SparsePassages(WeighedWords())).with_more(
        index.names, [text(int(name.split(":")[0])) for name in index.names], of=count
    )
    for query in ("word77 rare3", "common rare5", "word1199"):
        assert dict(index.search(query, 40)).items() <= dict(whole.search(query, count)).items()
        assert [s for _, s in index.search(query, 40)] == [s for _, s in whole.search(query, 40)]


@pytest.mark.parametrize("make", [lambda: LatePassages(PlacedWords()), lambda: SparsePassages(WeighedWords())])
def test_what_is_gone_is_not_found_may_come_back_and_is_left_behind_where_it_is_much(make):
    index = PassageIndex(make())
    for first in (0, 20):
        numbers = range(first, first + 20)
        index = index.with_more(names_of(numbers).to_pylist(), [text(one) for one in numbers], of=40)
    few = index.showing(names_of([*range(14), 30]))
    assert (len(few), len(index)) == (15, 40)
    assert {name for name, _ in few.search("common word25", 40)} == {f"{n}:e:d" for n in (*range(14), 30)}
    assert few.showing(names_of([25])).search("word25", 1)[0][0] == "25:e:d"
    smaller = few.merged()  # 6 of 20 are spared, 19 of 20 are not
    assert sorted(len(segment) for segment in smaller.segments) == [1, 20]
    assert [segment.names for segment in few.showing(names_of([3])).merged().segments] == [names_of([3])]
    assert few.showing(names_of([])).merged().segments == ()
    assert few.showing(names_of([])).search("common", 3) == []


def test_a_search_within_some_names_finds_those_alone_and_none_where_there_are_none():
    index = PassageIndex(SparsePassages(WeighedWords()))
    for number in range(6):
        index = index.with_more([f"{number}:e:d"], [text(number)], of=6)
    index = index.showing(names_of(range(5)))
    masks = index.masks(names_of([1, 4, 5, 99]))
    assert {name for name, _ in index.search("common", 9, masks)} == {"1:e:d", "4:e:d"}  # 5 is not shown
    assert index.search("common", 9, index.masks(names_of([]))) == []
    assert index.lacking(names_of([0, 7])).to_pylist() == ["7:e:d"]
    assert len(index.lacking(names_of(range(5)))) == 0


def test_texts_are_read_some_at_a_time_and_few_wait_for_the_centroids(monkeypatch):
    """Of 384 numbers a token, what is in memory as floats is bounded, however many passages a group has."""
    monkeypatch.setattr(passage_kinds, "READ_AT_ONCE", 8)
    monkeypatch.setattr(passage_kinds, "FITTED_ON", 100)
    model, waited, real = PlacedWords(), [], passage_kinds.late_index.codec_for

    def noted(vectors, settings):
        waited.append((vectors.dtype, len(vectors)))
        return real(vectors, settings)

    monkeypatch.setattr(passage_kinds.late_index, "codec_for", noted)
    texts = [text(number) for number in range(100)]
    part = LatePassages(model).read(texts, like=None, of=5000)
    assert waited == [(np.float16, 120)]  # five groups of 8 texts with 3 tokens
    assert (len(part), len(part.coded.codes), model.read) == (100, 300, texts)
    again = LatePassages(model).read(texts[:5], like=part, of=5000)
    assert (again.coded.codes == part.coded.codes[:15]).mean() > 0.9  # half floats move a few to the centroid beside


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written_stays_as_it_is_and_new_passages_are_beside_it(own_settings, monkeypatch, kind):
    shelf = shelf_of_fruits(own_settings, monkeypatch)
    bring_up_to_date(shelf, kind)
    folder = shelf.asked(kind).folder
    before = {path: path.stat().st_mtime_ns for path in folder.glob("*/*")}
    put(shelf.store, [document("kiwis", text_of("kiwis"))])
    shelf.find("kiwis", kind)
    new = {path for path in folder.glob("*/*") if path not in before}
    assert before == {path: path.stat().st_mtime_ns for path in before}
    assert {path.parent for path in new} == {max(folder.glob("[0-9]*"))}
    assert len(shelf.asked(kind).open().segments) == 2
    for number in range(MERGED):
        put(shelf.store, [document(f"n{number}", text_of(f"n{number}"))])
        shelf.find("kiwis", kind)
    assert len(shelf.asked(kind).open().segments) == 3  # the first 18; eight times three; three
    assert shelf.elsewhere().find("dried n5 are sweet", kind, 1) == ["dried n5 are sweet"]


def test_a_command_merges_what_it_writes_and_what_searches_left(own_settings, monkeypatch):
    shelf = shelf_of_fruits(own_settings, monkeypatch)
    monkeypatch.setattr(passage_making, "AT_ONCE", 2)
    assert [len(segment) for segment in bring_up_to_date(shelf, "sparse").segments] == [16, 2]
    monkeypatch.setattr(passage_indexes, "MERGED_BY_SEARCH", 1)
    for number in range(MERGED):
        put(shelf.store, [document(f"n{number}", text_of(f"n{number}"))])
        shelf.find("kiwis", "sparse")
    assert len(shelf.asked("sparse").open().segments) == 2 + MERGED
    assert [len(segment) for segment in bring_up_to_date(shelf, "sparse").segments] == [23, 16, 3]


def test_names_are_of_what_is_visible_and_joined_without_a_loop(own_settings, monkeypatch):
    store = shelf_of_fruits(own_settings, monkeypatch).store
    names = visible_names(store).to_pylist()
    rows = store._passages.search().select(["document_id", "edition", "start"]).limit(99).to_list()
    assert sorted(names) == sorted(f"{row['start']}:{row['edition']}:{row['document_id']}" for row in rows)
    assert len(stored_names(store, "title = 'figs'")) == 3
    assert len(stored_names(store, "title = 'kiwis'")) == 0
    hidden = store._passages.search().where("title = 'figs'").limit(9).to_arrow()
    edition = pa.array(["of no document"] * 3, hidden.schema.field("edition").type)
    with store.writing():
        store.append([hidden.set_column(hidden.schema.get_field_index("edition"), "edition", edition)])
    assert sorted(visible_names(store).to_pylist()) == sorted(names)
    assert len(stored_names(store, "title = 'figs'")) == 6
