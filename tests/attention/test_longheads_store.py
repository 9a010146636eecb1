"""A text that LongHeads keeps: opened by any number, gone on with after a kill, refused where it does not fit."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import CACHE, tiny

from foveal import faults
from foveal.attention import LongHeads, RetrievalAttention, attach
from foveal.attention.memory_decoding import MemoryDecoder
from foveal.attention.memory_store import keep, kept_in, load, logits_of, save, tokens_of
from foveal.attention.prefill import prefill
from foveal.errors import InputError, LibraryCorrupt, StorageFull

IDS = torch.randint(200, (163,), generator=torch.Generator().manual_seed(0)).tolist()
METHOD = LongHeads(chunk_size=8, attention_length=64)
AFTER = ([3], [7, 9, 11, 5, 1, 2, 8], [4])


@pytest.fixture(scope="module")
def qwen(attention_models):
    return attention_models["qwen"]


@pytest.fixture(scope="module")
def shelf(tmp_path_factory, qwen) -> Path:
    """A kept text, not to be written to."""
    return keep(qwen, IDS, tmp_path_factory.mktemp("kept") / "text", METHOD, note={"title": "rain"})


def said(model, memory, method=METHOD) -> torch.Tensor:
    """Logits after each pass behind a text."""
    return torch.cat([prefill(model, torch.tensor([one]), memory.layers, method=method) for one in AFTER])


def fresh(model, method=METHOD, ids=IDS):
    memory = method.make_cache(model)
    return prefill(model, torch.tensor([ids]), memory.layers, method=method), memory


@pytest.mark.parametrize("count", [163, 160, 70, 40, 5])
def test_a_kept_text_answers_as_one_just_read(attention_models, kind, count, tmp_path):
    loaded, ids = attention_models[kind], IDS[:count]
    folder = keep(loaded, ids, tmp_path / "text", METHOD)
    first, memory = fresh(loaded.model, ids=ids)
    torch.testing.assert_close(logits_of(folder), first, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(said(loaded.model, load(folder, loaded)), said(loaded.model, memory))
    assert tokens_of(folder) == ids
    assert kept_in(folder).method == METHOD


def test_a_model_without_lean_layers_is_kept_too(tmp_path):
    loaded = tiny("gemma2", tmp_path / "model")
    folder = keep(loaded, IDS, tmp_path / "text", METHOD)
    memory = load(folder, loaded)
    with torch.inference_mode(), attach(loaded.model, METHOD):
        new = METHOD.make_cache(loaded.model)
        loaded.model(input_ids=torch.tensor([IDS]), **{CACHE: new})
        for one in AFTER:
            ours, theirs = (loaded.model(input_ids=torch.tensor([one]), **{CACHE: c}).logits for c in (memory, new))
            torch.testing.assert_close(ours, theirs)
    state = MemoryDecoder(loaded.model, METHOD).reading(load(folder, loaded), [3, 4])
    assert state.logits.shape[0] == 1


def test_bfloat16_is_kept_to_the_bit(qwen, tmp_path):
    loaded = replace(qwen, model=tiny("qwen", tmp_path / "model").model.bfloat16())
    opened = load(keep(loaded, IDS, tmp_path / "text", METHOD), loaded)
    _, memory = fresh(loaded.model)
    for one, other in zip(opened.memories, memory.memories, strict=True):
        assert one.text.held.keys.base.dtype == torch.bfloat16
        assert torch.equal(one.text.held.keys.base, other.text.held.keys.added[:, :160])
        assert torch.equal(one.text.vectors.base, other.text.vectors.added)


def test_two_readers_never_change_it(qwen, shelf):
    one, other = load(shelf, qwen), load(shelf, qwen)
    files = {path: path.read_bytes() for path in shelf.rglob("*.npy")}
    for token in range(20):
        prefill(qwen.model, torch.tensor([[token]]), one.layers, method=METHOD)
    assert one.get_seq_length() == 183
    torch.testing.assert_close(said(qwen.model, other), said(qwen.model, load(shelf, qwen)))
    assert {path: path.read_bytes() for path in shelf.rglob("*.npy")} == files


def test_it_can_be_asked_in_another_way_than_it_was_kept_for(qwen, shelf):
    wide = replace(METHOD, attention_length=256)
    everything = load(shelf, qwen, wide)
    assert everything.method == wide
    _, memory = fresh(qwen.model)
    for layer in memory.memories:
        layer.method = layer.text.method = wide
        layer.text.shape = wide.shape_for(qwen.model.config)
    torch.testing.assert_close(said(qwen.model, everything, wide), said(qwen.model, memory, wide))
    blind = replace(METHOD, representation="none")
    assert (said(qwen.model, load(shelf, qwen, blind), blind) - said(qwen.model, load(shelf, qwen))).abs().max() > 0.01
    for other in (replace(METHOD, chunk_size=16), replace(METHOD, representation="mean")):
        with pytest.raises(InputError, match="Keep it anew"):
            load(shelf, qwen, other)
    with pytest.raises(InputError, match="kept by longheads, not by retrieval"):
        load(shelf, qwen, RetrievalAttention())


def test_a_cache_is_saved_after_the_fact(qwen, tmp_path):
    _, memory = fresh(qwen.model)
    folder = save(memory, tmp_path / "text", qwen, IDS)
    torch.testing.assert_close(said(qwen.model, load(folder, qwen)), said(qwen.model, memory))
    with torch.inference_mode(), attach(qwen.model, METHOD):
        batch = METHOD.make_cache(qwen.model)
        qwen.model(input_ids=torch.tensor([IDS, IDS]), **{CACHE: batch})
    with pytest.raises(InputError, match="or a batch"):
        save(batch, tmp_path / "other", qwen, IDS)


def test_a_seed_is_kept_where_there_is_one(qwen, shelf, tmp_path):
    """A folder of before there were seeds is that of seed 0."""
    told = json.loads((shelf / "manifest.json").read_text(encoding="utf-8"))["method"]
    assert "seed" not in told
    drawn = replace(METHOD, representation="random", seed=3)
    folder = keep(qwen, IDS, tmp_path / "text", drawn)
    assert kept_in(folder).method == drawn
    with pytest.raises(InputError, match="another text, or one read in another way"):
        keep(qwen, IDS, folder, replace(drawn, seed=4))


@pytest.mark.slow
def test_a_killed_process_leaves_nothing_half_made(qwen, shelf, tmp_path):
    code = (
        "import sys, json; from pathlib import Path\n"
        "from foveal.attention import LongHeads\n"
        "from foveal.attention.memory_store import keep\n"
        "from foveal.models import load_language_model\n"
        "model, folder, ids = sys.argv[1:]\n"
        "loaded = load_language_model(model, dtype='float32', cache=Path(folder))\n"
        "keep(loaded, json.loads(ids), Path(folder) / 'text', LongHeads(chunk_size=8, attention_length=64))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(qwen.folder), str(tmp_path), json.dumps(IDS)],
        env=os.environ | {"FOVEAL_FAULTS": "memory.layer-kept=kill@2", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert not (tmp_path / "text").exists()
    layers: list[int] = []
    folder = keep(qwen, IDS, tmp_path / "text", METHOD, on_progress=lambda done, _: layers.append(done))
    assert layers[0] in (0, 2)  # from the start, where the child's model goes by another name
    torch.testing.assert_close(said(qwen.model, load(folder, qwen)), said(qwen.model, load(shelf, qwen)))


@pytest.mark.parametrize(("fault", "error"), [("interrupt@2", KeyboardInterrupt), ("full@2", StorageFull)])
def test_a_stopped_reading_goes_on_with_the_next_layer(qwen, tmp_path, shelf, fault, error):
    with faults.injected({"memory.layer-kept": fault}), pytest.raises(error):
        keep(qwen, IDS, tmp_path / "text", METHOD)
    assert not (tmp_path / "text").exists()
    layers: list[int] = []
    folder = keep(qwen, IDS, tmp_path / "text", METHOD, on_progress=lambda done, _: layers.append(done))
    assert layers[0] == 2
    torch.testing.assert_close(said(qwen.model, load(folder, qwen)), said(qwen.model, load(shelf, qwen)))


def test_what_does_not_fit_is_refused(attention_models, qwen, shelf, tmp_path):
    with pytest.raises(InputError, match="was read by tiny-qwen"):
        load(shelf, attention_models["gemma"])
    folder = Path(shutil.copytree(shelf, tmp_path / "copy"))
    path = folder / "layer-01" / "vectors.npy"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(LibraryCorrupt, match=r"layer-01/vectors\.npy has"):
        load(folder, qwen)
    with pytest.raises(InputError, match="nothing to keep"):
        keep(qwen, [], tmp_path / "text", METHOD)
    with pytest.raises(InputError, match="another text, or one read in another way"):
        keep(qwen, IDS, shelf, replace(METHOD, selection="token"))


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("keys", lambda one: one[:, :-1]),
        ("values", lambda one: one[:1]),
        ("vectors", lambda one: one[:, :-1]),
        ("vectors", lambda one: one.astype("float64")),
        ("last_keys", lambda one: one[:, :0]),
        ("last_queries", lambda one: one[0]),
    ],
)
def test_arrays_of_chunks_that_do_not_go_together_are_refused(qwen, shelf, tmp_path, name, change):
    folder = Path(shutil.copytree(shelf, tmp_path / "copy"))
    path = folder / "layer-01" / f"{name}.npy"
    np.save(path, change(np.load(path)))
    told = json.loads((folder / "manifest.json").read_text())
    told["files"] = {name: (folder / name).stat().st_size for name in told["files"]}
    (folder / "manifest.json").write_text(json.dumps(told))
    with pytest.raises(LibraryCorrupt, match="layer-01"):
        load(folder, qwen)


def test_a_control_goes_on_behind_bounds(qwen, tmp_path):
    method = LongHeads(chunk_size=8, attention_length=64, representation="minmax")
    folder = keep(qwen, IDS, tmp_path / "text", method)
    control = replace(method, representation="none")
    fresh = control.make_cache(qwen.model)
    prefill(qwen.model, torch.tensor([IDS]), fresh.layers, method=method)
    memory = load(folder, qwen, control)
    assert said(qwen.model, memory, control).shape == said(qwen.model, fresh, method).shape
