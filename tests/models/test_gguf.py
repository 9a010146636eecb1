"""GGUF to safetensors: each weight by the format's own definition, each architecture by transformers' own model."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import gguf as gguf_package
import numpy as np
import pytest
import torch
from models.as_gguf import MODELS, paired, tiny, write_model
from models.tiny_gguf import LAYERS, write_gguf
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from foveal import faults
from foveal.errors import ModelUnavailable
from foveal.models import gguf, language, load_language_model
from foveal.models.gguf_layouts import LAYOUTS, renamed

ARCHITECTURES = ["qwen2", "qwen3", "gemma3"]


@pytest.fixture(params=ARCHITECTURES)
def architecture(request):
    return request.param


@pytest.fixture
def small(architecture, tmp_path):
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


def test_each_weight_is_what_the_format_defines(small, architecture):
    given, made = small
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
        assert torch.equal(made[renamed(name, LAYOUTS[architecture])], torch.from_numpy(expected).bfloat16()), name


USUAL = ["Q4_0", "Q4_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL", "IQ4_XS", "IQ3_S", "IQ2_XS"]


@pytest.mark.parametrize("kind", USUAL)
def test_each_packing_is_unpacked_as_transformers_does(kind, monkeypatch):
    """Its torch code is another implementation; every byte may come, but for scales that are no numbers."""
    theirs = pytest.importorskip("transformers.integrations.gguf.dequant")
    number = gguf_package.GGMLQuantizationType[kind]
    block, size = gguf_package.GGML_QUANT_SIZES[number]
    packed = np.random.default_rng(3).integers(0, 256, (6, 2 * size), dtype=np.uint8)
    packed &= 0xBF  # no half of infinity, wherever a scale lies
    part = gguf.Part("w", (6, 2 * block), int(number), packed, None, 0.0)
    monkeypatch.setattr(gguf, "SLICE", 4 * block)
    ours = torch.cat(list(gguf._unpacked(part)))
    expected = theirs.dequantize(torch.from_numpy(packed.reshape(-1)), int(number)).reshape(6, -1)
    torch.testing.assert_close(ours, expected, rtol=1e-6, atol=0)


def test_half_floats_are_what_they_are():
    for kind, numbers in (("F16", np.float16), ("F32", np.float32)):
        rows = np.arange(12).reshape(3, 4).astype(numbers)
        part = gguf.Part("w", (3, 4), int(gguf_package.GGMLQuantizationType[kind]), rows.view(np.uint8), None, 0.0)
        assert torch.equal(torch.cat(list(gguf._unpacked(part))), torch.arange(12.0).reshape(3, 4))
    bits = torch.arange(12.0).reshape(3, 4).bfloat16()
    part = gguf.Part("w", (3, 4), 30, bits.view(torch.int16).numpy().view(np.uint8), None, 0.0)
    assert torch.equal(torch.cat(list(gguf._unpacked(part))), bits.float())


def test_a_packing_without_values_is_refused_by_its_name():
    rows = np.zeros((1, 292), dtype=np.uint8)
    with pytest.raises(ValueError, match="w is packed as Q8_K, which is not unpacked; take a file in Q8_0"):
        list(gguf._unpacked(gguf.Part("w", (1, 256), 15, rows, None, 0.0)))


def test_transformers_finds_every_weight_and_no_other(small, architecture, tmp_path):
    model, loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "made", output_loading_info=True)
    assert not any(loaded.values())
    assert model.config.num_hidden_layers == LAYERS
    assert model.config.hidden_size == 64
    assert type(model).__name__ == LAYOUTS[architecture].model_class
    assert torch.isfinite(model(input_ids=torch.arange(40)[None]).logits).all()


@pytest.mark.parametrize("name", MODELS)
def test_a_model_as_llama_cpp_writes_it_gives_its_own_logits(name, tmp_path):
    """Longer than the windows that slide, and than what Phi-3 and YaRN were first trained on."""
    model, ids = tiny(name), torch.arange(5, 105)[None]
    write_model(tmp_path / "model.gguf", name, model)
    (tmp_path / "made").mkdir()
    gguf.convert(tmp_path / "model.gguf", tmp_path / "made")
    made, loaded = AutoModelForCausalLM.from_pretrained(
        tmp_path / "made", dtype=torch.float32, output_loading_info=True
    )
    assert not any(loaded.values())
    with torch.no_grad():
        expected = model(input_ids=ids).logits
        torch.testing.assert_close(made.eval()(input_ids=ids).logits, expected, rtol=0, atol=1e-5)
    assert float(expected.std()) > 0.1


def test_all_architectures_are_tried():
    assert {architecture for architecture, *_ in MODELS.values()} == set(LAYOUTS)


def test_rows_of_pairs_are_put_back():
    rows = np.arange(24 * 3).reshape(24, 3)
    for heads in (1, 2, 3):
        assert (paired(rows, heads)[gguf.halves_apart(24, heads)] == rows).all()
    with pytest.raises(ValueError, match="12 rows of queries or keys are not those of 8 heads"):
        gguf.halves_apart(12, 8)


@pytest.mark.parametrize("name", ["qwen2", "llama-biased"])
def test_slices_of_rows_give_the_same_bytes(name, tmp_path, monkeypatch):
    write_model(tmp_path / "model.gguf", name, tiny(name))
    (tmp_path / "whole").mkdir()
    gguf.convert(tmp_path / "model.gguf", tmp_path / "whole")
    monkeypatch.setattr(gguf, "SLICE", 3 * 64 + 1)
    (tmp_path / "sliced").mkdir()
    told = []
    gguf.convert(tmp_path / "model.gguf", tmp_path / "sliced", on_progress=lambda *step: told.append(step))
    assert told == sorted(told)
    assert told[-1][0] == told[-1][1] > 0
    for file in ("model.safetensors", "config.json", "tokenizer.json"):
        assert (tmp_path / "sliced" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()


def refused(tmp_path, name: str, model=None, **facts) -> str:
    write_model(tmp_path / "model.gguf", name, model or tiny(name), **facts)
    with pytest.raises(ModelUnavailable) as caught:
        gguf.convert(tmp_path / "model.gguf", tmp_path)
    assert not list(tmp_path.glob("*.safetensors"))
    return str(caught.value)


def test_another_architecture_is_refused_with_those_that_are_read(tmp_path):
    writer = gguf_package.GGUFWriter(tmp_path / "model.gguf", "mamba")
    for write in (writer.write_header_to_file, writer.write_kv_data_to_file, writer.write_tensors_to_file):
        write()
    writer.close()
    with pytest.raises(ModelUnavailable, match=r"architecture 'mamba'; read are llama, qwen2, .*granite.* hub id"):
        gguf.convert(tmp_path / "model.gguf", tmp_path)


@pytest.mark.parametrize(
    ("name", "facts", "told"),
    [
        ("llama", {"expert_count": 8}, "it states expert_count, which no llama has that is known here"),
        ("qwen2", {"attention.causal": False}, "it states attention.causal"),
        ("qwen2", {"final_logit_softcapping": 30.0}, "it states final_logit_softcapping"),
        ("qwen2", {"rope.scaling.type": "longrope"}, r"scales its positions in a way that is not known \(longrope"),
        ("qwen2", {"rope.scaling.yarn_attn_factor": 2.0}, "yarn_attn_factor"),
        ("llama", {"rope.dimension_count": 16}, "its heads have 32 dimensions, of which not all"),
        ("llama", {"attention.head_count_kv": [2, 1]}, r"head_count_kv = \[2, 1\], where one number"),
        ("llama", {"block_count": 3}, "it holds 2 of its 3 layers"),
        ("llama", {"block_count": 1025}, "block_count = 1025, where one number from 1 to 1024"),
        ("qwen3moe", {"expert_count": 5}, "its blk.0.ffn_gate_exps.weight has 4 experts, where 5 are stated"),
        ("llama", {"feed_forward_length": 95}, r"has the sizes \(96, 64\), where its facts make \(95, 64\)"),
        ("llama", {"context_length": None}, "it states no llama.context_length"),
        ("llama-3", {"rope.freq_base": 5e5}, "stretches its positions by other factors than Llama 3's"),
        ("phi3", {"rope.scaling.original_context_length": 64}, "without the factors by which its positions"),
        ("phi3", {"rope.scaling.type": "linear", "rope.scaling.factor": 4.0}, r"that is not known \(linear"),
        ("phi3", {"attention.sliding_window": "x"}, "attention.sliding_window = x, where one number"),
        ("olmo2", {"attention.sliding_window": 64}, "see a window of the text only, as those of OLMo 3"),
        ("gemma2", {"attention.sliding_window_pattern": 4}, "other layers than one in 2 see the whole text"),
        ("granite", {"rope.scaling.finetuned": False}, "a Granite model without positions"),
    ],
)
def test_what_would_be_read_nearly_right_is_refused(name, facts, told, tmp_path):
    assert re.search(told, refused(tmp_path, name, **facts))


def test_a_part_of_a_model_and_tensors_of_another_are_refused(tmp_path):
    model = tiny("llama")
    del model.model.layers[1].mlp.up_proj
    assert "its model.layers.1.mlp.up_proj.weight is missing" in refused(tmp_path, "llama", model)
    model = tiny("qwen3moe")
    del model.model.layers[1].mlp.experts.down_proj
    assert "its model.layers.1.mlp.experts.0.down_proj.weight is missing" in refused(tmp_path, "qwen3moe", model)
    model = tiny("qwen2")
    model.model.layers[0].self_attn.o_proj.bias = torch.nn.Parameter(torch.zeros(64))
    assert "1 tensors too many, the first is model.layers.0.self_attn.o_proj.bias" in refused(tmp_path, "qwen2", model)


def test_factors_of_positions_are_no_others_architectures(tmp_path):
    """Left out without a word, they would give a model that is nearly right."""
    model = tiny("qwen2")
    model.config.rope_parameters |= {"rope_type": "llama3", "factor": 8.0}
    model.config.head_dim = 16
    told = refused(tmp_path, "qwen2", model)
    assert "it holds a tensor rope_freqs.weight, which no qwen2 model has here" in told


def test_all_that_ends_an_answer_is_kept(tmp_path):
    write_model(tmp_path / "model.gguf", "llama", tiny("llama"), eot=6)
    (tmp_path / "made").mkdir()
    gguf.convert(tmp_path / "model.gguf", tmp_path / "made")
    assert json.loads((tmp_path / "made" / "generation_config.json").read_text())["eos_token_id"] == [260, 6]


def test_a_file_that_states_no_end_gives_a_model_that_generates(tmp_path, monkeypatch):
    monkeypatch.setattr(gguf_package.GGUFWriter, "add_eos_token_id", lambda *_: None)
    write_model(tmp_path / "model.gguf", "qwen2", tiny("qwen2"))
    (tmp_path / "made").mkdir()
    gguf.convert(tmp_path / "model.gguf", tmp_path / "made")
    made = AutoModelForCausalLM.from_pretrained(tmp_path / "made")
    assert made.generate(torch.arange(5)[None], max_new_tokens=2).shape == (1, 7)


def test_one_of_several_files_says_how_they_are_joined(tmp_path):
    writer = gguf_package.GGUFWriter(tmp_path / "model.gguf", "llama")
    writer.add_uint16("split.count", 3)
    for write in (writer.write_header_to_file, writer.write_kv_data_to_file, writer.write_tensors_to_file):
        write()
    writer.close()
    with pytest.raises(ModelUnavailable, match="one of several parts; join them first: llama-gguf-split --merge"):
        gguf.convert(tmp_path / "model.gguf", tmp_path)


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


def test_a_file_without_the_ending_is_known_by_its_first_bytes(tmp_path):
    """As Ollama keeps them."""
    write_gguf(tmp_path / "tiny.gguf", "qwen2", generator=np.random.default_rng(7))
    shutil.move(tmp_path / "tiny.gguf", tmp_path / "sha256-1234")
    model = load_language_model(str(tmp_path / "sha256-1234"), cache=tmp_path / "cache")
    assert model.context_tokens == 256


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


def names(cache):
    return {path.name for path in (cache / "models").iterdir()}


def test_what_an_older_reader_made_is_made_anew_and_goes(tmp_path, monkeypatch):
    """What was made of the same file before: by a reader of another version, or of another state of the file."""
    for place in ("mine", "other"):
        (tmp_path / place).mkdir()
        write_gguf(tmp_path / place / "tiny.gguf", "qwen2", generator=np.random.default_rng(7))
    file = tmp_path / "mine" / "tiny.gguf"
    stat = file.stat()
    key = hashlib.sha256(f"{file} {stat.st_size} {stat.st_mtime_ns}".encode()).hexdigest()[:12]
    (tmp_path / "models" / f"tiny-{key}-bf16").mkdir(parents=True)  # as it was named before versions counted
    other = load_language_model(str(tmp_path / "other" / "tiny.gguf"), cache=tmp_path).folder
    made = [load_language_model(str(file), cache=tmp_path).folder]
    assert names(tmp_path) == {other.name, made[0].name}
    monkeypatch.setattr(language, "VERSION", language.VERSION + 1)
    made.append(load_language_model(str(file), cache=tmp_path).folder)
    assert names(tmp_path) == {other.name, made[1].name}
    os.utime(file, ns=(0, stat.st_mtime_ns + 10**9))
    made.append(load_language_model(str(file), cache=tmp_path).folder)
    assert names(tmp_path) == {other.name, made[2].name}
    assert len(set(made)) == 3
    assert load_language_model(str(file), cache=tmp_path).folder == made[2]


def test_the_longest_name_that_a_file_may_have_is_no_hindrance(tmp_path):
    file = tmp_path / ("語" * 83 + ".gguf")
    write_gguf(file, "qwen2", generator=np.random.default_rng(7))
    assert load_language_model(str(file), cache=tmp_path).context_tokens == 256


def test_a_file_that_may_not_be_opened_is_not_called_damaged(tmp_path, monkeypatch):
    def denied(*_, **__):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    write_gguf(tmp_path / "tiny.gguf", "qwen2", generator=np.random.default_rng(7))
    monkeypatch.setattr(np, "memmap", denied)
    with pytest.raises(ModelUnavailable, match=r"it cannot be opened \(Permission denied\)"):
        load_language_model(str(tmp_path / "tiny.gguf"), cache=tmp_path)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux's")
@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_a_disk_that_fills_midway_is_no_fault_of_the_file(name, tmp_path):
    write_gguf(tmp_path / "tiny.gguf", "qwen2", generator=np.random.default_rng(7))
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / name).symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"):
        gguf.convert(tmp_path / "tiny.gguf", tmp_path / "made")


def test_a_full_disk_is_named(tmp_path):
    write_gguf(tmp_path / "tiny.gguf", "qwen2", generator=np.random.default_rng(7))
    with faults.injected({"models.before-rename": "full"}), pytest.raises(ModelUnavailable, match="No space left"):
        load_language_model(str(tmp_path / "tiny.gguf"), cache=tmp_path / "cache")
    assert list((tmp_path / "cache" / "models").iterdir()) == []
