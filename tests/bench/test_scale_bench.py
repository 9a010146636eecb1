"""bench scale: what its libraries are made of, what it fits, and that it goes on where it was."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from honest import HashedWords

from foveal.bench import scale_library
from foveal.bench.scale_data import Real, passages_of, power_law, write
from foveal.bench.settings import BenchSettings
from foveal.retrieval import tables
from foveal.retrieval.store import Store


@pytest.fixture
def real() -> Real:
    texts = [f"passage {number} tells of {number * 7} lamps in house {number * 3} on the hill" for number in range(40)]
    return Real(texts, HashedWords(dimension=64).encode(texts))


def test_copies_are_near_their_originals_and_none_is_another(real):
    made = list(passages_of(real, 200, seed=0))
    assert [text for text, _ in made[:40]] == real.texts
    assert len({text for text, _ in made}) == 200
    vectors = np.array([vector for _, vector in made])
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    cosines = [float(vectors[row] @ real.vectors[row % 40]) for row in range(40, 200)]
    assert 0.87 < np.mean(cosines) < 0.93
    again = list(passages_of(real, 200, seed=0))
    assert all(one[0] == other[0] and np.array_equal(one[1], other[1]) for one, other in zip(made, again, strict=True))


def test_a_store_holds_what_was_written(real, tmp_path):
    uri = str(tmp_path / "library")
    tables.create(uri, {"encoder": "hashed-words", "segmenter": "fixed", "dimension": "64"}, 64)
    store = Store.open(uri)
    with store.writing():
        write(store, passages_of(real, 120, seed=0))
        store.refresh_indexes()
    assert store.counts() == {"documents": 3, "passages": 120, "revisions": 0}
    hit = store.nearest(real.vectors[7], 1)[0]
    assert hit.passage.text == real.texts[7]
    assert store.text(hit.passage.span.document_id).quote(hit.passage.span) == real.texts[7]


def test_a_power_law_is_read_off_its_own_points():
    factor, slope = power_law({size: 0.5 * size**0.3 for size in (10, 1_000, 50_000)})
    assert (factor, slope) == pytest.approx((0.5, 0.3))


def cell(size: int, **changed: float) -> scale_library.Cell:
    """A size of a library that costs what the model says: query time by a root, all else in proportion."""
    growth = 2 * size**0.25
    told = {"write_s": size / 1e4, "index_s": size / 2e4, "bytes": size * 2000, "peak_mib": 400 + size / 1e4}
    return replace(
        scale_library.Cell("", size, 40, 0.0, 0.0, 0, *[growth] * 5, start_mib=400.0, peak_mib=0.0), **told | changed
    )


def test_the_cost_model_is_held_against_a_size_that_it_has_not_seen():
    cells = [cell(size) for size in (10_000, 100_000, 1_000_000)]
    assert [row.value for row in scale_library._foretold(cells)] == pytest.approx([1.0] * 4)
    grown = cell(1_000_000, hybrid_p50=4 * 2 * 1_000_000**0.25, bytes=1_400 * 1_000_000, index_s=10.0)
    found = {row.metric.partition(":")[0]: row for row in scale_library._foretold([*cells[:-1], grown])}
    assert found["hybrid query"].value == pytest.approx(4)
    assert found["disk"].value == pytest.approx(2000 / 1400)
    assert found["time to build"].value == pytest.approx(150 / 110)
    assert {what for what, row in found.items() if not row.ok} == {"hybrid query"}
    assert "foretold 63.25 ms, measured 253" in found["hybrid query"].note


def test_a_size_that_was_measured_is_not_measured_again(real, tmp_path, monkeypatch):
    asked = []

    def measured(key, size, *_):
        asked.append(size)
        growth = size**0.4
        return scale_library.Cell(
            key, size, 40, size / 1e4, size / 1e4, size * 2000, *[growth] * 5, 400.0, 400 + size / 1e4
        )

    monkeypatch.setattr(scale_library, "_measured", measured)
    monkeypatch.setattr(scale_library, "real_passages", lambda *_: real)
    monkeypatch.setattr(BenchSettings, "encoder", lambda _: HashedWords())
    settings = BenchSettings(data=tmp_path, quick=True, cache=tmp_path)
    rows = list(scale_library.library(settings))
    assert asked == list(scale_library.QUICK_SIZES)
    values = {(row.system, row.metric): row.value for row in rows}
    assert values["growth of query time", "exponent, hybrid"] == pytest.approx(0.4)
    assert values["10^8 passages, extrapolated", "terabytes on disk"] == pytest.approx(0.2)
    assert [row.value for row in scale_library.library(settings)] == [row.value for row in rows]
    foretold = {row.metric: row for row in rows if row.system.startswith("cost model of 10,000 and 30,000")}
    assert [row.value for row in foretold.values()] == pytest.approx([1.0] * 4)
    assert all(row.ok for row in foretold.values())
    assert asked == list(scale_library.QUICK_SIZES)
    monkeypatch.setattr(scale_library, "code_digest", lambda *_: "other code")
    list(scale_library.library(settings))
    assert asked == [*scale_library.QUICK_SIZES] * 2
    monkeypatch.setattr(scale_library, "version", lambda _: "another")
    list(scale_library.library(settings))
    assert asked == [*scale_library.QUICK_SIZES] * 3
