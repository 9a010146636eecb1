"""The forward pass without torch against torch's, on the real MiniLM; that a query from the shell imports no torch."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from threadpoolctl import threadpool_info

from foveal.models import bert
from foveal.models.bert import BertEncoder
from foveal.models.bert_numpy import NumpyBert, gelu, reads

TEXTS = ["where is sight sharpest?", "", "The fovea. " * 90, "北京大学 ünïcödé 🙂", "one"]


def numpy_of(folder):
    encoder = BertEncoder(folder, dtype=torch.float32)
    return NumpyBert(folder, json.loads((folder / "config.json").read_text()), encoder.pooling)


@pytest.mark.model
def test_vectors_and_states_are_torchs(folder, exact):
    ids = [one.ids for one in exact.tokens(TEXTS)]
    np.testing.assert_allclose(numpy_of(folder).vectors(ids), exact.encode(TEXTS), atol=1e-6)
    own = torch.tensor([ids[0]])
    whole = exact.hidden(own, torch.ones_like(own, dtype=torch.bool))[0]
    np.testing.assert_allclose(numpy_of(folder).hidden(ids[0]), whole, atol=1e-5)


@pytest.mark.model
def test_first_token_pooling_and_halves(folder, exact, tmp_path):
    """Weights that are stored in halves are read as float32; bfloat16, which NumPy has not, is left to torch."""
    ids = [one.ids for one in exact.tokens(TEXTS[:1])]
    for name, dtype in (("half", torch.float16), ("bfloat", torch.bfloat16)):
        other = shutil.copytree(folder, tmp_path / name)
        pooling = json.loads((other / "1_Pooling/config.json").read_text())
        kept = {key: value for key, value in pooling.items() if not key.startswith("pooling_mode")}
        (other / "1_Pooling/config.json").write_text(json.dumps(kept | {"pooling_mode_cls_token": True}))
        floats = {
            key: value.to(dtype)
            for key, value in load_file(folder / "model.safetensors").items()
            if value.is_floating_point()
        }
        save_file(floats, other / "model.safetensors")
    assert reads(tmp_path / "half")
    assert not reads(tmp_path / "bfloat")
    torchs = BertEncoder(tmp_path / "half", dtype=torch.float32).encode(TEXTS[:1])
    np.testing.assert_allclose(numpy_of(tmp_path / "half").vectors(ids), torchs, atol=1e-5)
    assert abs(torchs - exact.encode(TEXTS[:1])).max() > 1e-2


SHELL = """
import sys
from foveal.models import load_encoder
encoder, query = load_encoder(sys.argv[1]), "where is sight sharpest?"
first = encoder.encode([query])[0]
encoder.fingerprint, encoder.dimension, encoder.max_tokens, encoder.token_offsets("one two")
print("torch" in sys.modules)
many = encoder.encode([query, *["a text of several words " * 20] * 12])[0]
print("torch" in sys.modules, *(abs(first - one).max() < 0.02 for one in (many, encoder.encode([query])[0])))
"""


@pytest.mark.model
def test_a_query_needs_no_torch_and_many_texts_do(folder):
    found = subprocess.run([sys.executable, "-c", SHELL, str(folder)], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["False", "True", "True", "True"]


@pytest.mark.model
def test_few_texts_are_numpys_only_where_torch_is_not_yet(folder, exact, monkeypatch):
    monkeypatch.setattr(bert, "_torch_is_here", lambda: False)
    encoder = BertEncoder(folder)
    asked = []
    monkeypatch.setattr(NumpyBert, "vectors", lambda _, ids: asked.append(len(ids)) or np.zeros((len(ids), 384)))
    encoder.encode(["one"])
    encoder.encode(["word " * 200, "word " * 200])
    assert asked == [1]
    assert encoder._quick is None  # nobody holds the weights twice
    monkeypatch.setattr(bert, "_torch_is_here", lambda: True)
    np.testing.assert_allclose(encoder.encode(["one"]), exact.encode(["one"]), atol=0.02)
    assert asked == [1]


@pytest.mark.model
def test_threads_are_left_as_they_were(folder, exact):
    """Many at once, of which each takes one thread for a while."""
    before, ids = threads(), [one.ids for one in exact.tokens(["one two three"])]
    model = numpy_of(folder)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: model.vectors(ids), range(32)))
    assert all((one == found[0]).all() for one in found)
    assert threads() == before


def threads():
    return [one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"]


def test_gelu_by_its_definition():
    x = np.concatenate([np.linspace(-9, 9, 5001), [0.0, -100.0, 100.0]]).astype(np.float32)
    expected = [value * 0.5 * math.erfc(-value / math.sqrt(2)) for value in x.tolist()]
    np.testing.assert_allclose(gelu(x), expected, atol=2e-7)
    assert gelu(x).dtype == np.float32
