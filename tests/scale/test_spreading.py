"""What needs no cluster of the work that is spread: parts of sources, batches in flight."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field, replace
from itertools import pairwise
from types import SimpleNamespace

import pytest
from honest import HashedWords

from foveal.errors import MissingExtra
from foveal.library import Library
from foveal.retrieval import indexing, tables
from foveal.retrieval.adding import OwnWork
from foveal.scale import cluster
from foveal.scale.adding import PART_BYTES, SMALL_PART_BYTES, parted
from foveal.scale.indexing import NAMES, build_indexes
from foveal.text.loading import Source


@dataclass
class Late(OwnWork):
    """`Work` whose vectors are made only when they are asked for, `ahead` batches later."""

    ahead: int = 3
    begun: int = 0
    most: int = 0
    order: list[int] = field(default_factory=list)

    def encode(self, texts):
        self.begun += 1
        self.most = max(self.most, self.begun - len(self.order))
        number = self.begun

        def vectors():
            self.order.append(number)
            return self.library.encoder.encode(texts)

        return vectors


def rows(library: Library, name: str, leave: tuple[str, ...] = ()):
    return tables.connect(library.store.uri).open_table(name).to_arrow().drop_columns(list(leave)).to_pylist()


def made(settings, name: str) -> Library:
    home = settings.home / name
    values = {"encoder": "hashed-words", "segmenter": "headings", "dimension": "64"}
    tables.create(str(home / "library"), values | {"fingerprint": HashedWords().fingerprint}, 64)
    library = Library.open(settings=replace(settings, home=home))
    library.encoder = HashedWords()
    return library


def test_batches_in_flight_make_the_tables_that_one_after_the_other_makes(own_settings, tmp_path, monkeypatch):
    monkeypatch.setattr(indexing, "BATCH", 8)
    (texts := tmp_path / "texts").mkdir()
    for number in range(12):
        lines = [f"Paragraph {row} of text {number}." for row in range(number * 9)] or ["Short."]
        (texts / f"{number:02d}.md").write_text("\n\n".join(f"# Part {n}\n\n{one}" for n, one in enumerate(lines)))
    own, late = made(own_settings, "own"), made(own_settings, "late")
    work = Late(late)
    first, second = own.add([texts]), late.add([texts], work=work)
    assert first.passages > 100
    assert (second.added, second.passages, second.sources_read) == (first.added, first.passages, first.sources_read)
    assert work.most == 4
    assert work.order == sorted(work.order)
    assert rows(own, "passages") == rows(late, "passages")
    assert rows(own, "documents", ("added_at",)) == rows(late, "documents", ("added_at",))


def test_parts_follow_each_other_and_grow_smaller():
    sources = [Source(f"file:///{number}", "text", 2**19) for number in range(200)]
    parts = parted(sources, 2)
    assert [one for part in parts for one in part] == sources
    sizes = [sum(one.size or 0 for one in part) for part in parts]
    assert max(sizes) <= PART_BYTES + 2**19
    assert sizes[:2] == [PART_BYTES] * 2
    assert all(later <= earlier for earlier, later in pairwise(sizes))
    assert sizes[-2] == SMALL_PART_BYTES  # the last is what is left


def test_few_or_small_sources_are_spread_over_all_cores():
    sources = [Source(f"file:///{number}", "text", size) for number, size in enumerate([10] * 50 + [500] + [10] * 50)]
    parts = parted(sources, 2)
    assert [one for part in parts for one in part] == sources
    assert 4 <= len(parts) <= 6
    assert parted(sources[:1], 8) == [sources[:1]]


def test_without_ray_its_extra_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(MissingExtra, match=r"foveal\[scale\]"), cluster.cluster():
        pytest.fail("there is no ray")


@dataclass
class WordTable:
    """A table of passages none of which an index covers: lancedb's, and lance-ray, which makes indexes of it."""

    names: list[str]
    fewest: int = 9  # indexes that a reader may have found

    def open_table(self, _name: str) -> WordTable:
        return self

    def count_rows(self) -> int:
        return 10

    def list_indices(self) -> list[SimpleNamespace]:
        return [SimpleNamespace(name=one, columns=["indexed"], num_unindexed_rows=10) for one in self.names]

    def create_scalar_index(self, _uri: str, *, name: str, **_: object) -> None:
        assert name not in self.names
        self.names.append(name)

    def drop_index(self, name: str) -> None:
        self.names.remove(name)
        self.fewest = min(self.fewest, len(self.names))

    def checkout_latest(self) -> None:
        """It is the latest."""


@pytest.mark.parametrize("before", [[], [NAMES[0]], [NAMES[1]], list(NAMES)], ids=["none", "one", "two", "both"])
def test_an_index_of_words_takes_the_place_of_those_before_even_after_a_kill(before, monkeypatch):
    table = WordTable(list(before))
    monkeypatch.setattr(tables, "connect", lambda _: table)
    monkeypatch.setitem(sys.modules, "lance_ray", table)
    store = SimpleNamespace(uri="library", settings={}, index=SimpleNamespace(name="ivf-rq"))
    assert build_indexes(store, workers=2, at_least=1) == ["indexed"]
    assert len(table.names) == 1
    assert table.fewest >= 1  # a reader finds one at any time
    assert not before or table.names != before
