"""GGUF to safetensors: each weight by the format's own definition, names and settings by transformers' model."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import gguf as gguf_package
import numpy as np
import pytest
import torch
from models.tiny_gguf import LAYERS, write_gguf
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from foveal import faults
from foveal.errors import ModelUnavailable
from foveal.models import gguf, load_language_model

ARCHITECTURES = ["qwen2", "qwen3", "gemma3"]


@pytest.fixture(params=ARCHITECTURES)
def architecture(request):
    return request.param


@pytest.fixture
def tiny(architecture, tmp_path):
    tensors = write_gguf(tmp_path / "tiny.gguf", architecture, generator=np.random.default_rng(7))
    (tmp_path / "made").mkdir()
    gguf.convert(tmp_path / "tiny.gguf", tmp_path / "made")
    return tensors, load_file(tmp_path / "made" / "model.safetensors")


def q8_0_by_definition(weights: np.ndarray) -> np.ndarray:
    """Blocks of 32: a half-precision scale, the largest magnitude over 127, and 32 whole numbers."""
    values = []
    for block in weights.reshape(-1, 32):
        scale = np.abs(block).max() / np.float32(127)
        # the format rounds halves away from zero
        whole = [np.trunc(v / scale + np.copysign(np.float32(0.5), v)) if scale else 0 for v in block]
        values += [np.float32(np.float16(scale)) * np.float32(w) for w in whole]
    return np.array(values, dtype=np.float32).reshape(weights.shape)


def q4_0_by_definition(packed: bytes, shape: tuple[int, ...]) -> np.ndarray:
    """Blocks of 18 bytes: a half-precision scale d, then 16 bytes whose low halves come first; d * (half - 8)."""
    values: list[np.float32] = []
    for start in range(0, len(packed), 18):
        scale = np.float32(np.frombuffer(packed[start : start + 2], dtype=np.float16)[0])
        halves = [b & 15 for b in packed[start + 2 : start + 18]] + [b >> 4 for b in packed[start + 2 : start + 18]]
        values += [scale * np.float32(half - 8) for half in halves]
    return np.array(values, dtype=np.float32).reshape(shape)


def test_each_weight_is_what_the_format_defines(tiny, architecture):
    given, made = tiny
    assert len(given) == len(made)
    for name, weights in given.items():
        if "ffn" in name and "norm" not in name:
            packed = gguf_package.quants.quantize(weights, gguf_package.GGMLQuantizationType.Q4_0)
            expected = q4_0_by_definition(packed.tobytes(), weights.shape)
        elif name.endswith(("norm.weight", ".bias")):
            expected = weights - 1 if architecture == "gemma3" else weights
        elif "attn_v" in name:
            expected = weights.astype(np.float16).astype(np.float32)
        else:
            expected = q8_0_by_definition(weights)
        assert torch.equal(made[gguf.hf_name(name, architecture)], torch.from_numpy(expected).bfloat16()), name


def test_transformers_finds_every_weight_and_no_other(tiny, architecture, tmp_path):
    model, loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "made", output_loading_info=True)
    assert not any(loaded.values())
    assert model.config.num_hidden_layers == LAYERS
    assert model.config.hidden_size == 64
    assert type(model).__name__ == gguf.CLASSES[architecture][1]
    assert torch.isfinite(model(input_ids=torch.arange(40)[None]).logits).all()


def test_slices_of_rows_give_the_same_bytes(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(gguf, "SLICE", 3 * 64 + 1)
    (tmp_path / "sliced").mkdir()
    told = []
    gguf.convert(tmp_path / "tiny.gguf", tmp_path / "sliced", on_progress=lambda *step: told.append(step))
    for name in ("model.safetensors", "config.json", "tokenizer.json"):
        assert (tmp_path / "sliced" / name).read_bytes() == (tmp_path / "made" / name).read_bytes()
    assert told == sorted(told)
    assert told[-1][0] == told[-1][1] > 0


def test_other_architectures_and_scaled_positions_are_refused(tmp_path):
    write_gguf(tmp_path / "llama.gguf", "llama", generator=np.random.default_rng(7))
    with pytest.raises(ModelUnavailable, match="architecture 'llama'; converted are: qwen2, qwen3, gemma3"):
        gguf.convert(tmp_path / "llama.gguf", tmp_path)
    with pytest.raises(ModelUnavailable, match=r"rope_freqs\.weight, which no qwen2"):
        gguf.hf_name("rope_freqs.weight", "qwen2")
    writer = gguf_package.GGUFWriter(tmp_path / "scaled.gguf", "qwen2")
    writer.add_rope_scaling_factor(8.0)
    for write in (writer.write_header_to_file, writer.write_kv_data_to_file, writer.write_tensors_to_file):
        write()
    writer.close()
    with pytest.raises(ModelUnavailable, match="scales its rotary positions"):
        gguf.convert(tmp_path / "scaled.gguf", tmp_path)


@pytest.mark.parametrize("content", [b"", b"GGUF", b"not a model at all" * 9])
def test_what_is_no_gguf_is_refused_and_leaves_nothing(content, tmp_path):
    (tmp_path / "bad.gguf").write_bytes(content)
    with pytest.raises(ModelUnavailable, match=r"bad\.gguf could not be"):
        load_language_model(str(tmp_path / "bad.gguf"), cache=tmp_path / "cache")
    assert list((tmp_path / "cache" / "models").iterdir()) == []


def test_a_damaged_gguf_is_refused(tmp_path):
    write_gguf(tmp_path / "whole.gguf", "qwen2", generator=np.random.default_rng(7))
    whole = (tmp_path / "whole.gguf").read_bytes()
    for cut in (40, len(whole) // 4, len(whole) - 5000):
        (tmp_path / "cut.gguf").write_bytes(whole[:cut])
        with pytest.raises(ModelUnavailable, match=r"cut\.gguf could not be read"):
            load_language_model(str(tmp_path / "cut.gguf"), cache=tmp_path / "cache")


@pytest.mark.slow
def test_a_kill_leaves_no_half_model_and_its_rest_is_swept(tmp_path):
    write_gguf(tmp_path / "tiny.gguf", "qwen2", generator=np.random.default_rng(7))
    code = f"""
from pathlib import Path
from foveal.models import load_language_model
load_language_model({str(tmp_path / "tiny.gguf")!r}, cache=Path({str(tmp_path)!r}))
"""
    env = {**os.environ, "FOVEAL_FAULTS": "models.before-rename=kill"}
    assert subprocess.run([sys.executable, "-c", code], env=env).returncode == -signal.SIGKILL
    assert [path.name[0] for path in (tmp_path / "models").iterdir()] == ["."]
    model = load_language_model(str(tmp_path / "tiny.gguf"), cache=tmp_path)
    assert [path.name for path in (tmp_path / "models").iterdir()] == [model.folder.name]
    assert json.loads((model.folder / "config.json").read_text())["model_type"] == "qwen2"


def test_a_full_disk_is_named(tmp_path):
    write_gguf(tmp_path / "tiny.gguf", "qwen2", generator=np.random.default_rng(7))
    with faults.injected({"models.before-rename": "full"}), pytest.raises(ModelUnavailable, match="No space left"):
        load_language_model(str(tmp_path / "tiny.gguf"), cache=tmp_path / "cache")
    assert list((tmp_path / "cache" / "models").iterdir()) == []
