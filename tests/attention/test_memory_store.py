"""A kept text: whole or absent, opened by its own model only, gone on with after a kill, read by many at once."""

from __future__ import annotations

import copy
import errno
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
from transformers import GPT2Config, GPT2LMHeadModel

from foveal import faults
from foveal.attention import LongHeads, RetrievalAttention, attach, memory_store
from foveal.attention.memory_layer_files import open_chunks, plain_array, write_array
from foveal.attention.memory_store import _begun, forget, keep, kept_in, load, logits_of, save, tokens_of
from foveal.attention.owned_layers import Turn
from foveal.attention.prefill import prefill
from foveal.errors import InputError, LibraryBusy, LibraryCorrupt, LibraryTooNew, StorageFull
from foveal.models.decoding import Decoder
from foveal.models.language import LanguageModel
from foveal.models.lean import Lean

IDS = torch.randint(200, (160,), generator=torch.Generator().manual_seed(0)).tolist()
METHOD = RetrievalAttention(index="roar", top_k=15, n_sink=8, n_local=16)
AFTER = ([3], [7, 9, 11], [4])


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


def fresh(model, method=METHOD):
    memory = method.make_cache(model)
    first = prefill(model, torch.tensor([IDS]), memory.layers, method=method)
    return first, memory


@pytest.mark.parametrize(
    ("kind", "index"),
    [
        ("qwen", "roar"),
        ("gemma", "roar"),
        ("qwen", "flat"),
        ("qwen", "snapkv"),
        ("gemma", "full"),
        ("qwen", "streaming"),
    ],
)
def test_a_kept_text_answers_as_one_just_read(attention_models, kind, index, tmp_path):
    loaded, method = attention_models[kind], replace(METHOD, index=index)
    layers = []
    folder = keep(loaded, IDS, tmp_path / "text", method, on_progress=lambda done, of: layers.append((done, of)))
    first, memory = fresh(loaded.model, method)
    torch.testing.assert_close(logits_of(folder), first, atol=1e-5, rtol=1e-5)
    opened = load(folder, loaded)
    assert set(opened.statistics()["built"]) == set(memory.statistics()["built"]) >= {"seconds"}
    torch.testing.assert_close(said(loaded.model, opened, method), said(loaded.model, memory, method))
    assert layers[-1][0] == layers[-1][1] == len(layers) - 1
    assert tokens_of(folder) == IDS
    assert not list(folder.glob("state-*"))
    assert not (tmp_path / "text.partial").exists()


def test_a_model_without_lean_layers_is_kept_too(tmp_path):
    loaded = tiny("gemma2", tmp_path / "model")
    method = replace(METHOD, index="flat")
    folder = keep(loaded, IDS, tmp_path / "text", method)
    memory = load(folder, loaded)
    with torch.inference_mode(), attach(loaded.model, method):
        fresh = method.make_cache(loaded.model)
        loaded.model(input_ids=torch.tensor([IDS]), **{CACHE: fresh})
        for one in AFTER:
            ours, theirs = (loaded.model(input_ids=torch.tensor([one]), **{CACHE: c}).logits for c in (memory, fresh))
            torch.testing.assert_close(ours, theirs)


def gpt2(like, folder: Path) -> LanguageModel:
    """One without rotary positions, whose configuration names no key-value heads."""
    sizes = {"n_embd": 16, "n_layer": 2, "n_head": 4, "n_positions": 512, "vocab_size": 256}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = GPT2LMHeadModel(GPT2Config(bos_token_id=None, eos_token_id=None, **sizes)).eval()
    made.save_pretrained(folder)
    return LanguageModel("gpt2", folder, made, like.tokenizer, folder)


def test_a_model_that_names_no_key_value_heads_is_kept_too(qwen, tmp_path):
    loaded = gpt2(qwen, tmp_path / "model")
    method = replace(METHOD, index="flat", top_k=len(IDS))
    memory = load(keep(loaded, IDS, tmp_path / "text", method), loaded)
    with torch.inference_mode():
        wanted = loaded.model(input_ids=torch.tensor([[*IDS, 7]])).logits[:, -1:]
        with attach(loaded.model, method):
            found = loaded.model(input_ids=torch.tensor([[7]]), **{CACHE: memory}).logits
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)


def test_what_a_model_cannot_be_read_by_leaves_nothing_behind(qwen, tmp_path):
    loaded = gpt2(qwen, tmp_path / "model")
    with pytest.raises(InputError, match="RoPE"):
        keep(loaded, IDS, tmp_path / "text", LongHeads(chunk_size=8, attention_length=64))
    assert not (tmp_path / "text.partial").exists()


def test_bfloat16_is_kept_to_the_bit(qwen, tmp_path):
    loaded = replace(qwen, model=tiny("qwen", tmp_path / "model").model.bfloat16())
    folder = keep(loaded, IDS, tmp_path / "text", METHOD)
    opened, (_, memory) = load(folder, loaded), fresh(loaded.model)
    for one, other in zip(opened.memories, memory.memories, strict=True):
        assert one.sequences[0].hidden.index.keys.base.dtype == torch.bfloat16
        assert torch.equal(one.sequences[0].hidden.index.keys.base, other.sequences[0].hidden.index.keys.base)


def test_what_was_kept_already_is_not_read_again(qwen, shelf):
    before = (shelf / "manifest.json").stat().st_mtime_ns
    assert keep(qwen, IDS, shelf, METHOD, note={"title": "of another kind"}) == shelf
    assert (shelf / "manifest.json").stat().st_mtime_ns == before
    assert kept_in(shelf).note == {"title": "rain"}
    assert kept_in(shelf).method == METHOD
    with pytest.raises(InputError, match="another text"):
        keep(qwen, IDS[:-1], shelf, METHOD)


def test_it_can_be_asked_in_another_way_than_it_was_kept_for(qwen, shelf):
    everything = said(qwen.model, load(shelf, qwen, replace(METHOD, index="full")))
    found = said(qwen.model, load(shelf, qwen, replace(METHOD, index="flat", top_k=1000)))
    torch.testing.assert_close(found, everything, atol=1e-4, rtol=1e-4)
    assert load(shelf, qwen, replace(METHOD, index="hnsw")).memories[0].sequences[0].hidden.index.kind == "hnsw"
    with pytest.raises(InputError, match="queries that are gone"):
        load(shelf, qwen, replace(METHOD, index="snapkv"))


def test_readers_never_change_it(qwen, shelf):
    inserting = replace(METHOD, stream="insert", local_max=2)
    one, other = load(shelf, qwen, inserting), load(shelf, qwen)
    files = {path: path.read_bytes() for path in shelf.rglob("*.npy")}
    for token in range(12):
        prefill(qwen.model, torch.tensor([[token]]), one.layers, method=inserting)
    assert len(one.memories[0].sequences[0].hidden) > len(other.memories[0].sequences[0].hidden)
    torch.testing.assert_close(said(qwen.model, other), said(qwen.model, load(shelf, qwen)))
    assert {path: path.read_bytes() for path in shelf.rglob("*.npy")} == files


def test_a_cache_is_saved_after_the_fact(qwen, tmp_path):
    _, memory = fresh(qwen.model)
    folder = save(memory, tmp_path / "text", qwen, IDS)
    torch.testing.assert_close(said(qwen.model, load(folder, qwen)), said(qwen.model, memory))
    with pytest.raises(InputError, match="there already"):
        save(memory, folder, qwen, IDS)
    with pytest.raises(InputError, match="has read"):
        save(memory, tmp_path / "other", qwen, IDS)
    with pytest.raises(InputError, match="does not know what follows"):
        logits_of(folder)
    for what in (tokens_of, logits_of):
        with pytest.raises(InputError, match="No text is kept"):
            what(tmp_path / "nothing")


# -- stopped -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("visit", [1, 3])
def test_a_stopped_reading_goes_on_with_the_next_layer(qwen, tmp_path, shelf, visit):
    with faults.injected({"memory.layer-kept": f"interrupt@{visit}"}), pytest.raises(KeyboardInterrupt):
        keep(qwen, IDS, tmp_path / "text", METHOD)
    assert not (tmp_path / "text").exists()
    layers: list[int] = []
    folder = keep(qwen, IDS, tmp_path / "text", METHOD, on_progress=lambda done, _: layers.append(done))
    assert layers[0] == visit
    torch.testing.assert_close(said(qwen.model, load(folder, qwen)), said(qwen.model, load(shelf, qwen)))


@pytest.mark.slow
def test_a_killed_process_leaves_nothing_half_made(qwen, shelf, tmp_path):
    code = (
        "import sys, json; from pathlib import Path\n"
        "from foveal.attention import RetrievalAttention\n"
        "from foveal.attention.memory_store import keep\n"
        "from foveal.models import load_language_model\n"
        "model, folder, ids = sys.argv[1:]\n"
        "method = RetrievalAttention(index='roar', top_k=15, n_sink=8, n_local=16)\n"
        "loaded = load_language_model(model, dtype='float32', cache=Path(folder))\n"
        "keep(loaded, json.loads(ids), Path(folder) / 'text', method)\n"
    )
    environment = os.environ | {"FOVEAL_FAULTS": "memory.layer-kept=kill@2", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code, str(qwen.folder), str(tmp_path), json.dumps(IDS)],
        env=environment,
        capture_output=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert not (tmp_path / "text").exists()
    layers: list[int] = []
    folder = keep(qwen, IDS, tmp_path / "text", METHOD, on_progress=lambda done, _: layers.append(done))
    assert layers[0] in (0, 2)  # from the start, where the child's model goes by another name
    torch.testing.assert_close(said(qwen.model, load(folder, qwen)), said(qwen.model, load(shelf, qwen)))


def test_another_plan_does_not_go_on_with_what_was_left(qwen, tmp_path):
    with faults.injected({"memory.layer-kept": "interrupt@2"}), pytest.raises(KeyboardInterrupt):
        keep(qwen, IDS, tmp_path / "text", METHOD)
    layers: list[int] = []
    keep(qwen, IDS[:150], tmp_path / "text", METHOD, on_progress=lambda done, _: layers.append(done))
    assert layers[0] == 0


def test_a_full_disk_keeps_what_was_written(qwen, tmp_path):
    with faults.injected({"memory.layer-kept": "full@2"}), pytest.raises(StorageFull, match="Free some"):
        keep(qwen, IDS, tmp_path / "text", METHOD)
    layers: list[int] = []
    keep(qwen, IDS, tmp_path / "text", METHOD, on_progress=lambda done, _: layers.append(done))
    assert layers[0] == 2


@pytest.mark.parametrize("kind", ["qwen", "gemma2"])  # layer by layer, and whole
@pytest.mark.parametrize(("fault", "error"), [("interrupt", KeyboardInterrupt), ("full", StorageFull)])
def test_a_reading_that_was_stopped_before_its_last_move_is_not_lost(tmp_path, kind, fault, error):
    loaded, method, folder = tiny(kind, tmp_path / "model"), replace(METHOD, index="flat"), tmp_path / "text"
    with faults.injected({"memory.before-rename": fault}), pytest.raises(error):
        keep(loaded, IDS, folder, method)
    assert not folder.exists()
    layers: list[int] = []
    keep(loaded, IDS, folder, method, on_progress=lambda done, _: layers.append(done))
    assert layers == []  # nothing was read again
    other = keep(loaded, IDS, tmp_path / "other", method)
    torch.testing.assert_close(logits_of(folder), logits_of(other))
    files = [sorted(path.relative_to(one).as_posix() for path in one.rglob("*")) for one in (folder, other)]
    assert files[0] == files[1]
    assert not {"plan.json", "manifest.json"} & set(json.loads((folder / "manifest.json").read_text())["files"])
    assert not [name for name in files[0] if name.startswith(("plan", "state", ".partial"))]
    kept_in(folder)


def test_a_reading_that_was_stopped_before_its_logits_goes_on_with_the_last_state(qwen, tmp_path):
    with faults.injected({"memory.layer-kept": "interrupt@3"}), pytest.raises(KeyboardInterrupt):
        keep(qwen, IDS, tmp_path / "text", METHOD)
    (tmp_path / "text.partial" / ".partial-cut.npy").write_bytes(b"what a killed process left")
    layers: list[int] = []
    folder = keep(qwen, IDS, tmp_path / "text", METHOD, on_progress=lambda done, _: layers.append(done))
    assert layers == [3]
    assert not list(folder.glob(".partial-*"))


def test_two_do_not_make_it_at_once(qwen, tmp_path):
    def second(done: int, _: int) -> None:
        if done == 1:
            with pytest.raises(LibraryBusy, match="Another process"):
                keep(qwen, IDS, tmp_path / "text", METHOD)
            with pytest.raises(LibraryBusy, match="Another process"):
                forget(tmp_path / "text")

    assert kept_in(keep(qwen, IDS, tmp_path / "text", METHOD, on_progress=second))


def test_one_that_was_just_kept_by_another_process_is_not_in_the_way(qwen, tmp_path, monkeypatch):
    """Between a look at the place and the lock, the other one may put its text there."""
    made, lock = keep(qwen, IDS, tmp_path / "made", METHOD), memory_store.fcntl.flock

    def late(handle: int, how: int) -> None:
        monkeypatch.undo()
        (tmp_path / "text.partial").rmdir()
        made.rename(tmp_path / "text")
        lock(handle, how)

    monkeypatch.setattr(memory_store.fcntl, "flock", late)
    with pytest.raises(LibraryBusy, match="just now"):
        keep(qwen, IDS, tmp_path / "text", METHOD)
    assert not (tmp_path / "text.partial").exists()
    assert kept_in(keep(qwen, IDS, tmp_path / "text", METHOD))


# -- on a GPU ----------------------------------------------------------------------------------------------------------


class Far(torch.Tensor):
    """As on a GPU: NumPy cannot have it before it is brought over."""

    def numpy(self, **_):
        raise TypeError("can't convert cuda:0 device type tensor to numpy")

    def cpu(self):
        return self.as_subclass(torch.Tensor)


@pytest.mark.parametrize(("kind", "owner"), [("qwen", Lean), ("gemma2", Decoder)])  # layer by layer, and whole
def test_what_follows_a_text_is_written_wherever_it_was_computed(monkeypatch, tmp_path, kind, owner):
    loaded, name = tiny(kind, tmp_path / "model"), "logits" if owner is Lean else "extend"
    expected = logits_of(keep(loaded, IDS, tmp_path / "here", replace(METHOD, index="flat")))
    computed = getattr(owner, name)
    monkeypatch.setattr(owner, name, lambda *given, **options: computed(*given, **options).as_subclass(Far))
    folder = keep(loaded, IDS, tmp_path / "text", replace(METHOD, index="flat"))
    assert torch.equal(logits_of(folder), expected)


def test_what_the_model_goes_on_with_lies_on_its_device(attention_models, tmp_path):
    """The meta device stands for a GPU; what is searched stays in the processor's memory."""
    x = torch.rand(3, 4)
    write_array(tmp_path / "state-2.npy", plain_array(x))
    number, state = _begun(tmp_path, x.to("meta"))
    assert (number, state.device.type) == (2, "meta")
    assert torch.equal(_begun(tmp_path, x)[1], x)

    gemma = attention_models["gemma"]
    folder = keep(gemma, IDS, tmp_path / "searched", replace(METHOD, index="flat"))
    far = replace(gemma, model=copy.deepcopy(gemma.model).to("meta"))
    memory = load(folder, far)
    assert [layer.keys.device.type for layer in memory.layers if layer.is_sliding] == ["meta", "meta"]
    assert {one.sequences[0].window.keys.device.type for one in memory.memories} == {"cpu"}

    chunks = LongHeads(chunk_size=8, attention_length=64)
    folder = keep(gemma, IDS, tmp_path / "chunks", chunks)
    far.model.model.rotary_emb = gemma.model.model.rotary_emb  # is tried out on a sample
    manifest = json.loads((folder / "manifest.json").read_text())
    layers = open_chunks(folder, chunks, chunks, Turn(), manifest, far)
    assert {layer.keys.device.type for layer in layers if layer.is_sliding} == {"meta"}
    texts = [layer.text for layer in layers if not layer.is_sliding]
    held = [part for text in texts for part in (text.tail, text.held.keys.base, text.vectors.base)]
    assert {part.device.type for part in held} == {"meta"}


# -- what is refused ---------------------------------------------------------------------------------------------------


def test_another_model_or_tokenizer_is_refused(attention_models, qwen, shelf, tmp_path):
    with pytest.raises(InputError, match="was read by tiny-qwen"):
        load(shelf, attention_models["gemma"])
    shutil.copytree(qwen.folder, tmp_path / "model", ignore=shutil.ignore_patterns("cache"))
    words = json.loads((tmp_path / "model" / "tokenizer.json").read_text(encoding="utf-8"))
    words["model"]["merges"] = words["model"]["merges"][:-1]
    (tmp_path / "model" / "tokenizer.json").write_text(json.dumps(words), encoding="utf-8")
    with pytest.raises(InputError, match="another tokenizer"):
        load(shelf, replace(qwen, folder=tmp_path / "model", cache=tmp_path))
    half = replace(qwen, model=tiny("qwen", tmp_path / "half").model.bfloat16())
    with pytest.raises(InputError, match=r"layout than tiny-qwen has here: dtype float32, not bfloat16\. Load"):
        load(shelf, half)


@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_a_damaged_store_is_refused(qwen, shelf, tmp_path, damage):
    folder = Path(shutil.copytree(shelf, tmp_path / "copy"))
    path = folder / "layer-01" / "keys.npy"
    path.unlink() if damage == "gone" else path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(LibraryCorrupt, match=r"layer-01/keys\.npy (is missing|has)"):
        load(folder, qwen)


@pytest.mark.parametrize("name", ["manifest.json", "layer-01/layer.json", "layer-01/keys.npy"])
def test_a_store_whose_files_hold_something_else_is_refused(qwen, shelf, tmp_path, name):
    """As long as what was written: a machine that lost its power may leave zeros."""
    folder = Path(shutil.copytree(shelf, tmp_path / "copy"))
    (folder / name).write_bytes(bytes((folder / name).stat().st_size))
    with pytest.raises(LibraryCorrupt, match="is damaged, or was being removed"):
        load(folder, qwen)


def _with_sizes(folder: Path) -> Path:
    """As if its files had been written so."""
    told = json.loads((folder / "manifest.json").read_text())
    told["files"] = {name: (folder / name).stat().st_size for name in told["files"]}
    (folder / "manifest.json").write_text(json.dumps(told))
    return folder


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("tail_counts", lambda one: one[:, :0]),  # once read past its end
        ("tail_counts", lambda one: one.reshape(-1)),
        ("tail_keys", lambda one: one[..., :-1]),
        ("tail_covariance", lambda one: one[0]),
        ("tail_values", lambda one: one.astype("float64")),
        ("tail_cross", lambda one: one[:, :, :-1]),
        ("keys", lambda one: one.astype("float16")),
        ("keys", lambda one: one.copy(order="F")),
        ("values", lambda one: one[:, :-1]),
        ("window_keys", lambda one: one[:, :-1]),
        ("window_values", lambda one: one[:1]),
        ("links", lambda one: one[..., :0]),
        ("entries", lambda one: one[:, :0]),
        ("means", lambda one: one[:, :-1]),
        ("shapes", lambda one: one.astype("float64")),
    ],
)
def test_arrays_that_do_not_go_together_are_refused(qwen, shelf, tmp_path, name, change):
    """Before anything of them is read by its address."""
    folder = Path(shutil.copytree(shelf, tmp_path / "copy"))
    path = folder / "layer-01" / f"{name}.npy"
    np.save(path, change(np.load(path)))
    with pytest.raises(LibraryCorrupt, match=rf"layer-01/{name}|layer-01 holds|layer-01/\w+\.npy holds"):
        said(qwen.model, load(_with_sizes(folder), qwen))


@pytest.mark.parametrize(("index", "ids"), [("snapkv", 10**4), ("snapkv", -2)])
def test_keys_that_are_not_there_are_not_read(qwen, tmp_path, index, ids):
    folder = keep(qwen, IDS, tmp_path / "text", replace(METHOD, index=index))
    path = folder / "layer-01" / "ids.npy"
    changed = np.load(path)
    changed[0, 0] = ids
    np.save(path, changed)
    with pytest.raises(LibraryCorrupt, match="were chosen where there are"):
        load(_with_sizes(folder), qwen)


@pytest.mark.parametrize("change", [lambda one: one[:, :, :-1], lambda one: one[0], lambda one: one.astype("float64")])
def test_a_damaged_window_is_refused(attention_models, tmp_path, change):
    folder = keep(attention_models["gemma"], IDS, tmp_path / "text", replace(METHOD, index="flat"))
    for name in ("keys", "values"):
        path = folder / "layer-00" / f"{name}.npy"
        np.save(path, change(np.load(path)))
    with pytest.raises(LibraryCorrupt, match="layer-00"):
        load(_with_sizes(folder), attention_models["gemma"])


@pytest.mark.parametrize("told", [{"length": 159}, {"length": None}, {"sinks": 99}, {"sinks": -1}])
def test_a_layer_that_says_what_is_not_so_is_refused(qwen, shelf, tmp_path, told):
    folder = Path(shutil.copytree(shelf, tmp_path / "copy"))
    path = folder / "layer-01" / "layer.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | told))
    with pytest.raises(LibraryCorrupt, match="layer-01"):
        load(_with_sizes(folder), qwen)


@pytest.mark.parametrize("name", ["layer-01/keys.npy", "tokens.npy", "logits.npy"])
def test_a_file_that_a_cut_of_the_power_left_empty_is_told_of(qwen, shelf, tmp_path, name):
    folder = Path(shutil.copytree(shelf, tmp_path / "copy"))
    (folder / name).write_bytes(b"")
    read_in = {"tokens.npy": tokens_of, "logits.npy": logits_of}.get(name, lambda folder: load(folder, qwen))
    with pytest.raises(LibraryCorrupt, match="damaged"):
        read_in(_with_sizes(folder))


@pytest.mark.parametrize("field", ["files", "tokens", "method", "layout", "fingerprint"])
def test_a_manifest_that_lacks_something_is_damaged(qwen, shelf, tmp_path, field):
    folder = Path(shutil.copytree(shelf, tmp_path / "copy"))
    told = json.loads((folder / "manifest.json").read_text())
    for left in ({name: value for name, value in told.items() if name != field}, told | {field: None}):
        (folder / "manifest.json").write_text(json.dumps(left))
        with pytest.raises((LibraryCorrupt, InputError), match=r"damaged|was read by"):
            load(folder, qwen)
    later = told["method"] | {"later": 1}
    (folder / "manifest.json").write_text(json.dumps(told | {"method": later}))
    with pytest.raises(LibraryCorrupt, match="later"):
        load(folder, qwen)


def test_a_reading_goes_on_behind_damaged_files_of_an_earlier_try(qwen, tmp_path, shelf):
    making = tmp_path / "text.partial"
    making.mkdir()
    (making / "plan.json").write_text("")
    (making / "state-1.npy").write_bytes(b"")
    folder = keep(qwen, IDS, tmp_path / "text", METHOD)  # of an unknown plan: all anew
    assert tokens_of(folder) == IDS
    plan = json.loads((shelf / "manifest.json").read_text())
    del plan["files"]
    other = tmp_path / "other.partial"
    other.mkdir()
    (other / "plan.json").write_text(json.dumps(plan))
    (other / "state-1.npy").write_bytes(b"")
    with pytest.raises(LibraryCorrupt, match=r"other\.partial is damaged"):
        keep(qwen, IDS, tmp_path / "other", METHOD, note={"title": "rain"})
    forget(tmp_path / "other")
    assert not other.exists()


def test_a_store_of_another_version_or_of_nothing_is_refused(qwen, shelf, tmp_path):
    with pytest.raises(InputError, match="foveal prefill SOURCE --keep"):
        load(tmp_path, qwen)
    folder = Path(shutil.copytree(shelf, tmp_path / "copy"))
    told = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(told | {"version": 99}))
    with pytest.raises(LibraryTooNew, match="version 99"):
        load(folder, qwen)
    for damaged in ("{", "[]", "{}"):
        (folder / "manifest.json").write_text(damaged)
        with pytest.raises(LibraryCorrupt, match="damaged"):
            load(folder, qwen)
    with pytest.raises(InputError, match="nothing to keep"):
        keep(qwen, [], tmp_path / "text", METHOD)


def test_a_batch_cannot_be_kept(qwen, tmp_path):
    with torch.inference_mode(), attach(qwen.model, METHOD):
        memory = METHOD.make_cache(qwen.model)
        qwen.model(input_ids=torch.tensor([IDS, IDS]), **{CACHE: memory})
    with pytest.raises(InputError, match="2 texts"):
        save(memory, tmp_path / "text", qwen, IDS)


def test_a_forgetting_that_was_stopped_leaves_nothing_half(qwen, tmp_path, monkeypatch):
    method, folder, removed = replace(METHOD, index="flat"), tmp_path / "text", shutil.rmtree

    def stopped(path, **options):
        if Path(path).is_dir() and (Path(path) / "manifest.json").is_file():
            (Path(path) / "manifest.json").unlink()
            raise KeyboardInterrupt
        removed(path, **options)

    keep(qwen, IDS, folder, method)
    monkeypatch.setattr(shutil, "rmtree", stopped)
    with pytest.raises(KeyboardInterrupt):
        forget(folder)
    monkeypatch.undo()
    assert not folder.exists()
    keep(qwen, IDS, folder, method)
    forget(folder)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("left", ["a folder", "a file"])
def test_what_stands_in_the_place_is_met_before_the_text_is_read(qwen, tmp_path, left):
    """As an older forget left it: layers, and no manifest."""
    folder, layers = tmp_path / "text", []
    folder.mkdir() if left == "a folder" else folder.write_text("notes")
    if left == "a folder":
        (folder / "logits.npy").write_bytes(b"")
    with pytest.raises(InputError, match="is there and holds no whole text"):
        keep(qwen, IDS, folder, METHOD, on_progress=lambda done, _: layers.append(done))
    assert not layers
    if left == "a folder":
        forget(folder)
        keep(qwen, IDS, folder, METHOD)


def test_a_text_is_forgotten(qwen, tmp_path):
    keep(qwen, IDS, tmp_path / "text", replace(METHOD, index="flat"))
    forget(tmp_path / "text")
    assert not (tmp_path / "text").exists()
    with pytest.raises(InputError, match="No text is kept"):
        forget(tmp_path / "text")


def test_what_was_read_of_a_text_stays_where_its_plan_cannot_be_read_just_now(qwen, tmp_path):
    def stop(done: int, _: int) -> None:
        if done == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        keep(qwen, IDS, tmp_path / "text", METHOD, on_progress=stop)
    making = tmp_path / "text.partial"
    (making / "plan.json").rename(tmp_path / "plan.json")
    (making / "plan.json").symlink_to("/proc/self/mem")  # there, and its reading is an error of the machine (EIO)
    before = {path.name for path in making.iterdir()}
    assert len(before) > 1
    with pytest.raises(OSError, match="Input/output error"):
        keep(qwen, IDS, tmp_path / "text", METHOD)
    assert {path.name for path in making.iterdir()} == before


def test_a_text_that_cannot_be_removed_is_not_called_forgotten(qwen, tmp_path, monkeypatch):
    keep(qwen, IDS, tmp_path / "text", METHOD)
    removed = shutil.rmtree

    def refused(path, ignore_errors=False, **_):
        if not ignore_errors:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(shutil, "rmtree", refused)
    with pytest.raises(PermissionError):
        forget(tmp_path / "text")
    monkeypatch.setattr(shutil, "rmtree", removed)
    forget(tmp_path / "text")
    assert list(tmp_path.iterdir()) == []
