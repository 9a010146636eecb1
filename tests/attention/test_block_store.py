"""Blocks in mapped files: fetched as they were put, and a full disk is an error, not the end of the process."""

from __future__ import annotations

import errno
import os

import pytest
import torch

from foveal.attention.block_store import SLAB, BlockStore
from foveal.errors import InputError, StorageFull


def blocks(count: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(1, 2, count, 4, 8, generator=draw) for _ in range(2))


def fallocate_failing(code: int, from_call: int = 1):
    """posix_fallocate on a disk that has no more room from some call on."""
    reserve, calls = os.posix_fallocate, []

    def stand_in(file: int, offset: int, count: int) -> None:
        calls.append(count)
        if len(calls) >= from_call:
            raise OSError(code, os.strerror(code))
        reserve(file, offset, count)

    return stand_in


@pytest.mark.parametrize("mapped", [False, True])
def test_blocks_are_fetched_as_they_were_put(tmp_path, mapped):
    store, (keys, values) = BlockStore(tmp_path if mapped else None), blocks(2 * SLAB)
    store.append(keys[:, :, :5], values[:, :, :5])
    store.append(keys[:, :, 5:], values[:, :, 5:])
    chosen = torch.tensor([3, 100]).expand(1, 4, 1, 2)
    found = store.fetch(chosen, like=keys)
    for mine, whole in zip(found, (keys, values), strict=True):
        assert torch.equal(mine[0, 2, 0], whole[0, 1, [3, 100]])
    assert not any(tmp_path.iterdir())


def test_the_room_of_a_file_is_taken_before_it_is_mapped(tmp_path, monkeypatch):
    taken = []
    monkeypatch.setattr(os, "posix_fallocate", lambda _, *room: taken.append(room), raising=False)
    BlockStore(tmp_path).append(*blocks(3))
    assert taken == [(0, SLAB * 2 * 4 * 8 * 4)] * 2  # keys and values, float32


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_said_and_what_was_put_stays(tmp_path, monkeypatch, code):
    store, (keys, values) = BlockStore(tmp_path), blocks(SLAB)
    store.append(keys, values)
    monkeypatch.setattr(os, "posix_fallocate", fallocate_failing(code, from_call=2), raising=False)
    with pytest.raises(StorageFull, match=r"No space is left .* in memory"):
        store.append(*blocks(SLAB + 1))
    assert len(store) == SLAB
    assert torch.equal(store.fetch(torch.full((1, 2, 1, 1), SLAB - 1), like=keys)[0][0, :, 0, 0], keys[0, :, SLAB - 1])
    assert not any(tmp_path.iterdir())


def test_a_file_system_that_cannot_take_room_is_used_as_it_is(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "posix_fallocate", fallocate_failing(errno.EOPNOTSUPP), raising=False)
    BlockStore(tmp_path).append(*blocks(3))
    monkeypatch.delattr(os, "posix_fallocate")
    BlockStore(tmp_path).append(*blocks(3))


def test_a_folder_that_is_not_there_is_told_and_one_that_goes_keeps_its_name(tmp_path):
    with pytest.raises(InputError, match="which is no folder"):
        BlockStore(tmp_path / "nowhere")
    (tmp_path / "gone").mkdir()
    store = BlockStore(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(FileNotFoundError):
        store.append(*blocks(1))
