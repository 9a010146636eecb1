"""Work spread over a Ray cluster of two nodes on this machine. Slow: `make test-ray`, or pytest -m slow."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass

import pytest
from ray_parts import library, same, written
from tiny import tiny

from foveal.errors import LibraryBusy
from foveal.library import Library
from foveal.models.language import LanguageModel
from foveal.retrieval import indexing, tables
from foveal.scale.adding import RayWork, loaded
from foveal.scale.cluster import nodes, our_errors
from foveal.scale.indexing import build_indexes
from foveal.scale.tasks import Tasks

pytest.importorskip("ray", reason="foveal[scale] is not installed")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]  # Ray's own warnings are not ours to mend


@dataclass
class KilledBy(RayWork):
    """`RayWork` whose tasks die of one file."""

    victim: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        victim = self.victim

        def loaded_or_dead(recipe, part):
            if any(source.address.endswith(victim) for source in part):
                os.kill(os.getpid(), signal.SIGKILL)
            return loaded(recipe, part)

        self._loading = Tasks(self.ray, loaded_or_dead)


@pytest.fixture(scope="module")
def qwen(tmp_path_factory) -> LanguageModel:
    return tiny("qwen", tmp_path_factory.mktemp("qwen"))


@pytest.fixture(scope="module")
def cluster():
    with nodes([1, 1]) as (ray, made):
        yield ray, made


@pytest.mark.model
def test_a_cluster_makes_the_library_that_one_process_makes(cluster, own_settings, tmp_path, monkeypatch):
    monkeypatch.setattr(indexing, "BATCH", 32)
    texts = written(tmp_path / "texts", 30, paragraphs=120)
    (texts / "broken.pdf").write_bytes(b"%PDF-1.4 no more")
    (texts / "records.jsonl").write_text('{"id": "a", "text": "one"}\n{"id": "a", "text": "two"}\n{broken\n')
    own, spread = library(own_settings, "own", "minilm"), library(own_settings, "spread", "minilm")
    first = own.add([texts])
    second = spread.add([texts], work=RayWork(spread, cluster[0]))
    assert first.passages > 128
    for name in ("added", "updated", "unchanged", "passages", "characters", "sources_read", "skipped"):
        assert getattr(second, name) == getattr(first, name), name
    same(own, spread)
    (texts / "003.txt").write_text("Changed.", encoding="utf-8")
    again = spread.add([texts], work=RayWork(spread, cluster[0]))
    assert (len(again.updated), len(again.unchanged)) == (1, 30)


def test_an_error_of_a_task_is_the_one_that_it_raised(cluster):
    ray, _ = cluster

    @ray.remote
    def fails():
        raise LibraryBusy("the words of a task")

    with pytest.raises(LibraryBusy) as found, our_errors():
        ray.get(fails.remote())
    assert type(found.value) is LibraryBusy
    assert str(found.value) == "the words of a task"


def test_a_file_that_kills_its_process_is_skipped_and_no_other(cluster, own_settings, tmp_path):
    texts = written(tmp_path / "texts", 12)
    spread = library(own_settings, "killed")
    report = spread.add([texts], work=KilledBy(spread, cluster[0], victim="007.txt"))
    assert [one.address for one in report.skipped] == [(texts / "007.txt").as_uri()]
    assert "WorkerCrashedError" in report.skipped[0].reason
    assert (len(report.added), report.sources_read) == (11, 12)


def test_indexes_that_tasks_built_find_what_lance_finds(cluster, own_settings, tmp_path):
    one = library(own_settings, "indexed")
    one.add([written(tmp_path / "texts", 20)])
    (tmp_path / "texts" / "more.txt").write_text("One heron stands.\n\nTwo herons stand together.", encoding="utf-8")
    before = [hit.passage.span for hit in one.search("light 38", k=5)]
    with one.store.writing():
        table = tables.connect(one.store.uri).open_table("passages")
        table.drop_index("indexed_idx")
        assert build_indexes(one.store, workers=2, at_least=10) == ["indexed"]
        one.store.refresh_indexes()
    reopened = Library.open(settings=one.settings, create=False)
    assert [hit.passage.span for hit in reopened.search("light 38", k=5)] == before
    reopened.add([tmp_path / "texts"])
    assert "heron" in reopened.search('"herons stand"')[0].passage.text


def test_windows_that_tasks_scored_give_the_same_reading(cluster, qwen):
    from foveal.reading import InfiniRetri, ReadSettings
    from foveal.scale.reading import RayLooking

    text = " ".join(f"Box {number} holds {number * 7} coins." for number in range(400)) + " The key lies in box 231."
    settings = ReadSettings(window=256)
    own = InfiniRetri(qwen, settings).retrieve(text, "Where does the key lie?")
    looking = RayLooking.of(qwen, cluster[0])
    spread = InfiniRetri(qwen, settings, looking=looking).retrieve(text, "Where does the key lie?")
    assert [one.text for one in spread.excerpts] == [one.text for one in own.excerpts]
    assert spread.stats.windows == own.stats.windows > 8
