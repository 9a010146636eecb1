"""`RayWork` over a `ray` of one process: order, what it keeps, files that kill, and what is under way when it ends."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
from one_process_ray import NodeDiedError, OneProcessRay, OutOfMemoryError, WorkerCrashedError
from ray_parts import library, same, written

from foveal.errors import LibraryBusy, LibraryError
from foveal.retrieval.adding import AddReport
from foveal.scale import adding
from foveal.scale.adding import PART_BYTES, WAITING_A_CORE, RayWork
from foveal.text.discovery import discover
from foveal.text.sources import Source, load_settings


class Never:
    """A segmenter that nobody should ask."""

    def segment(self, document):
        raise AssertionError(f"{document.title} was cut by the command")


@dataclass
class FarRay(OneProcessRay):
    """Nodes that do not reach the library's tables."""

    def remote(self, function):
        def far(recipe, *given):
            return function(replace(recipe, uri="/nowhere"), *given)

        return super().remote(far)


def sources(folder) -> list[Source]:
    return [one for one in discover([folder]) if isinstance(one, Source)]


def test_documents_come_in_order_and_what_tasks_cut_is_handed_out(own_settings, tmp_path):
    texts = written(tmp_path / "texts", 30)
    own, spread = library(own_settings, "own"), library(own_settings, "spread")
    spread.segmenter = Never()
    work = RayWork(spread, OneProcessRay(cores=2))
    first, second = own.add([texts]), spread.add([texts], work=work)
    assert (second.added, second.sources_read) == (first.added, first.sources_read)
    same(own, spread)
    assert not work._cut


def test_what_was_cut_and_is_unchanged_is_not_kept(own_settings, tmp_path, monkeypatch):
    monkeypatch.setattr(adding, "KEPT", 4)
    texts = written(tmp_path / "texts", 12, paragraphs=3)
    one = library(own_settings, "one")
    one.add([texts])
    work = RayWork(one, FarRay())
    assert len(one.add([texts], work=work).unchanged) == 12
    assert len(work._cut) == 4
    (texts / "010.txt").write_text("Changed.", encoding="utf-8")
    one.segmenter = Never()
    assert len(one.add([texts], work=RayWork(one, FarRay())).updated) == 1


@pytest.mark.parametrize("kind", [WorkerCrashedError, OutOfMemoryError])
def test_a_file_that_kills_its_process_is_skipped_by_name_and_no_other(kind, own_settings, tmp_path):
    texts = written(tmp_path / "texts", 30)
    own, spread = library(own_settings, "own"), library(own_settings, "spread")

    def dies(_recipe, part):
        if any(source.address.endswith("017.txt") for source in part):
            raise kind

    report = spread.add([texts], work=RayWork(spread, OneProcessRay(dies, cores=2)))
    assert [one.address for one in report.skipped] == [(texts / "017.txt").as_uri()]
    assert kind.__name__ in report.skipped[0].reason
    assert report.sources_read == 30
    (texts / "017.txt").unlink()
    own.add([texts])
    same(own, spread)


def test_nodes_that_die_lose_nothing(own_settings, tmp_path):
    texts = written(tmp_path / "texts", 30)
    own, spread = library(own_settings, "own"), library(own_settings, "spread")
    own.add([texts])
    lost = set()

    def dies(_recipe, part):
        if part[0].address not in lost:
            lost.add(part[0].address)
            raise NodeDiedError

    report = spread.add([texts], work=RayWork(spread, OneProcessRay(dies, cores=2)))
    assert len(lost) > 2
    assert not report.skipped
    same(own, spread)


def test_an_error_stops_what_is_under_way(own_settings, tmp_path):
    texts = written(tmp_path / "texts", 30)
    spread = library(own_settings, "spread")

    def dies(_recipe, part):
        if any(source.address.endswith("010.txt") for source in part):
            raise LibraryBusy("the words of a task")

    ray = OneProcessRay(dies, cores=2)
    with pytest.raises(LibraryBusy, match=r"^the words of a task$"):
        spread.add([texts], work=RayWork(spread, ray))
    left = [ref for ref in ray.begun if ref.made is None]
    assert left
    assert {*ray.cancelled} == {*left}


def test_who_takes_no_more_documents_stops_what_is_under_way(own_settings, tmp_path):
    texts = written(tmp_path / "texts", 30)
    spread = library(own_settings, "spread")
    work = RayWork(spread, ray := OneProcessRay(cores=2))
    documents = work.load(sources(texts), load_settings(spread.settings), AddReport())
    next(documents)
    work.encode(["a batch"])
    documents.close()
    assert {*ray.cancelled} == {*ray.begun[1:]}


def test_a_batch_that_fails_stops_those_behind_it(own_settings):
    spread = library(own_settings, "spread")
    work = RayWork(spread, ray := OneProcessRay())
    assert not list(work.load([], load_settings(spread.settings), AddReport()))
    first, _second = work.encode(["one"]), work.encode(["two"])
    with pytest.raises(LibraryError, match="without an encoder"):
        first()
    assert ray.cancelled == [ray.begun[1]]


def test_a_cluster_that_grows_is_given_more(own_settings, tmp_path):
    texts = written(tmp_path / "texts", 40, paragraphs=1)
    large = [replace(source, size=PART_BYTES) for source in sources(texts)]
    spread, waiting = library(own_settings, "spread"), []

    def dies(*_):
        waiting.append(ray.waiting())
        ray.cores = 4

    ray = OneProcessRay(dies)
    report = AddReport()
    for _ in RayWork(spread, ray).load(large, load_settings(spread.settings), report):
        pass
    assert report.sources_read == 40
    assert waiting[0] == WAITING_A_CORE
    assert max(waiting) == 4 * WAITING_A_CORE
