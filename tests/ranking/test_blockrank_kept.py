"""A library that is read for a BlockRank: what is refused, before what, and how much of it is kept."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from honest import Lines
from tiny import tiny

from foveal.errors import InputError
from foveal.ranking.blockrank import KEPT, BlockRank
from foveal.ranking.blockrank_cache import BlockCache
from foveal.ranking.blockrank_kept import bytes_a_token, keep_library, load_kept
from foveal.retrieval.rows import Entry
from foveal.training.blockrank import KEPT as SAVED
from foveal.types import Document

MANY, FEW = 230, 45
NOW = datetime(2026, 1, 1, tzinfo=UTC)
TOKEN = (2 * 2 + 1) * 2 * 8 * 4
"""Bytes: keys of three layers and values of two, of 2 groups of 8 float32."""


@dataclass
class Shelf:
    """Documents of lines; `read` says which were asked for."""

    texts: list[str]
    segmenter: Lines = field(default_factory=Lines)
    read: list[str] = field(default_factory=list)

    def documents(self) -> list[Entry]:
        return [
            Entry(
                str(n), "", "", None, "", None, (), {}, characters=len(text), passages=text.count("\n"), added_at=NOW
            )
            for n, text in enumerate(self.texts)
        ]  # fmt: skip

    def get(self, which: str, *, revision: str | None = None) -> Document:  # noqa: ARG002
        self.read.append(which)
        return Document(which, "", self.texts[int(which)], "")

    def find(self, which: str) -> list[Entry]:
        return [entry for entry in self.documents() if entry.id == which]

    @property
    def store(self) -> SimpleNamespace:
        return SimpleNamespace(texts=lambda: (self.get(entry.id) for entry in self.documents()))


def lines_of(count: int) -> list[str]:
    return [f"the key {n} of the mill{' is in the river' * (n % 3)}\n" for n in range(count)]


@pytest.fixture
def few() -> Shelf:
    """All passages but one are of one document."""
    *lines, last = lines_of(FEW)
    return Shelf(["".join(lines), "", last])


@pytest.fixture(scope="module")
def ranker(tmp_path_factory) -> BlockRank:
    return BlockRank(tiny("qwen", tmp_path_factory.mktemp("qwen")), layout=replace(KEPT, query_offset=1024))


def test_a_token_takes_what_the_cache_says(ranker):
    assert bytes_a_token(ranker) == TOKEN


def wanted(ranker: BlockRank, count: int) -> int:
    """Bytes of the passages, by the definition."""
    return TOKEN * sum(ranker.prompter.segments("-", lines_of(count)).lengths[1:-1])


def test_a_library_that_is_too_large_is_refused_each_time_and_before_it_is_cut(ranker, tmp_path):
    """By some of its passages; nothing is read, so a second run knows no more than the first."""
    full = replace(ranker, cache=BlockCache(tmp_path / "kept", most_bytes=wanted(ranker, MANY) // 2))
    many = Shelf(lines_of(MANY))
    for _ in range(2):
        with pytest.raises(InputError, match=f"{MANY} passages would take about"):
            keep_library(full, many)
        assert 0 < len(many.read) < MANY
        assert not (tmp_path / "kept").exists()
        many.read.clear()


def test_how_large_a_library_is_tell_passages_of_all_its_text(ranker):
    """Not the first of each document, which may be short; one whose size is known is not read again."""
    lines = ["x\n", *(f"key {n}{' is in the river' * 9}\n" for n in range(60))]
    tokens = sum(ranker.prompter.segments("-", lines).lengths[1:-1])
    library = Shelf(["".join(lines)])
    with pytest.raises(InputError, match="61 passages would take about"):
        keep_library(replace(ranker, cache=BlockCache(None, most_bytes=2 * TOKEN * tokens // 3)), library)
    assert library.read == ["0"]


def test_a_ranker_whose_passages_follow_the_question_keeps_none(few, ranker):
    with pytest.raises(InputError, match="so nothing can be kept"):
        keep_library(BlockRank(ranker.model), few)
    assert few.read == []


@pytest.mark.parametrize(("where", "share"), [("folder", 0.95), ("memory", 1.05)])
def test_what_would_not_stay_is_refused(few, ranker, tmp_path, where, share):
    """A folder is cut down to nine tenths: of a library between the two what was read first would be lost."""
    most = int(wanted(ranker, FEW) / share)
    cache = BlockCache(tmp_path / "kept" if where == "folder" else None, most_bytes=most)
    with pytest.raises(InputError, match=f"{FEW} passages would take about"):
        keep_library(replace(ranker, cache=cache), few)
    assert cache.bytes == 0


def test_memory_is_used_whole(few, ranker):
    cache = BlockCache(most_bytes=int(wanted(ranker, FEW) / 0.92))  # the instruction is kept, too
    assert keep_library(replace(ranker, cache=cache), few) == FEW
    assert cache.bytes > 0.9 * cache.most_bytes


def test_all_that_fit_are_read_and_those_held_are_counted(few, ranker, tmp_path, caplog):
    cache = BlockCache(tmp_path, most_bytes=int(wanted(ranker, FEW) / 0.6))
    keeping, seen = replace(ranker, cache=cache), []
    assert keep_library(keeping, few, on_progress=lambda *done: seen.append(done)) == FEW
    assert seen == [(20, FEW), (40, FEW), (FEW, FEW)]
    assert len(list(tmp_path.glob("*/*"))) == FEW + 1  # and the instruction
    assert not caplog.records

    def another_deletes(done: int, of: int) -> None:
        if done == of:
            for path in sorted(tmp_path.glob("*/*"), key=lambda path: path.stat().st_size)[:3]:
                path.unlink()

    with caplog.at_level(logging.WARNING, "foveal.ranking"):
        assert keep_library(keeping, few, on_progress=another_deletes) == FEW - 3
    assert f"{FEW - 3} of {FEW} passages are kept" in caplog.text


def test_a_library_is_not_read_in_vain(few, ranker, tmp_path, caplog):
    """Where nothing can be written the first passages end it; a search would go on."""
    (tmp_path / "file").write_text("no folder")
    with caplog.at_level(logging.WARNING, "foveal.ranking"), pytest.raises(InputError, match=f"After 0 of {FEW}"):
        keep_library(replace(ranker, cache=BlockCache(tmp_path / "file")), few)
    assert caplog.text.count("cannot be written to") == 1


def test_a_model_whose_positions_stretch_ranks_and_keeps_nothing(few, tmp_path):
    """What it reads of a passage depends on how far behind the question stands."""
    folder = tiny("qwen", tmp_path / "model").folder
    (folder / SAVED).write_text(json.dumps({"layer": 1, "layout": asdict(replace(KEPT, query_offset=1024))}))
    assert load_kept(str(folder)).cache is not None
    config = json.loads((folder / "config.json").read_text())
    config["rope_parameters"] = {"rope_theta": 1e4, "rope_type": "dynamic", "factor": 4.0}
    (folder / "config.json").write_text(json.dumps(config))
    ranker = load_kept(str(folder))
    assert ranker.cache is None
    with pytest.raises(InputError, match="turns positions otherwise in longer texts"):
        keep_library(ranker, few)
