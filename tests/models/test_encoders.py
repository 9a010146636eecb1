"""The BERT forward pass against transformers' own, on the real MiniLM and on small random models."""

from __future__ import annotations

import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pydoc_data.topics import topics
from threading import Event

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from foveal.errors import InputError, ModelUnavailable, UnknownName
from foveal.models import load_encoder
from foveal.models.bert import BertEncoder, supports
from foveal.models.bert_torch import batches, pooled, workers
from foveal.models.byte_products import pays
from foveal.models.dtypes import native_bfloat16
from foveal.models.encoders import SentenceTransformerEncoder

TEXTS = ["where is sight sharpest?", "", "The fovea. " * 90, "北京大学 ünïcödé 🙂", "one two three"]

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def peer(folder):
    return SentenceTransformerEncoder(folder, dtype="float32")


def test_vectors_are_those_of_sentence_transformers(exact, peer):
    np.testing.assert_allclose(exact.encode(TEXTS), peer.encode(TEXTS), atol=1e-5)
    assert (exact.dimension, exact.max_tokens) == (peer.dimension, peer.max_tokens) == (384, 256)


def test_no_texts_have_as_wide_vectors_as_some(exact, peer):
    assert exact.encode([]).shape == peer.encode([]).shape == (0, 384)
    assert exact.encode(np.array(TEXTS[:2])).shape == peer.encode(np.array(TEXTS[:2])).shape == (2, 384)


def test_counting_tokens_leaves_the_batches_of_other_threads_as_they_are(peer):
    """A text that was encoded while another thread counted tokens was not cut: an error, or the vector of all of it."""
    backend, long = peer._model.tokenizer.backend_tokenizer, "word " * 400
    expected = peer.encode([long, "short"])
    set_to = backend.truncation, backend.padding
    assert set_to[0]["max_length"] == peer.max_tokens
    assert len(peer.token_offsets(long)) == 400
    assert peer.knows(long)
    assert not peer.knows("\U0001f9ff")
    assert (backend.truncation, backend.padding) == set_to
    np.testing.assert_array_equal(peer.encode([long, "short"]), expected)


def test_bfloat16_stays_close(folder, exact):
    half = BertEncoder(folder, dtype=torch.bfloat16)
    assert (half.encode(TEXTS) * exact.encode(TEXTS)).sum(1).min() > 0.999


def test_int8_stays_close_and_leaves_a_query_as_it_is(folder, exact):
    rough = BertEncoder(folder, dtype=torch.int8)
    assert rough.in_bytes == pays()
    assert rough.dtype == torch.float32
    words = list(topics.values())[:40]
    alike = (rough.encode(words) * exact.encode(words)).sum(1)
    assert alike.min() > 0.996
    assert (alike.max() < 1 - 1e-5) == pays()  # else nothing was rounded
    np.testing.assert_allclose(rough.encode(TEXTS[:1]), exact.encode(TEXTS[:1]), atol=1e-6)


def test_the_default_is_the_fastest_that_is_close(folder):
    encoder = BertEncoder(folder)
    encoder.encode(["one", "two"] * 200)  # too much for NumPy
    assert encoder.dtype == (torch.bfloat16 if native_bfloat16() else torch.float32)
    assert encoder.in_bytes == pays()


def test_hidden_states_are_never_rough(folder, exact):
    ids = torch.arange(1000, 1400).view(2, 200)
    seen = torch.ones_like(ids, dtype=torch.bool)
    with torch.inference_mode():
        rough = BertEncoder(folder, dtype=torch.int8).hidden(ids, seen)
        torch.testing.assert_close(rough, exact.hidden(ids, seen), rtol=0, atol=1e-5)


def test_a_vector_does_not_depend_on_its_neighbours(exact):
    together = exact.encode(TEXTS)
    alone = np.concatenate([exact.encode([text]) for text in TEXTS])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    assert exact.encode([]).shape == (0, 384)


def test_meaning_beats_words(exact):
    query, near, far = exact.encode(["a fast car", "the quick automobile", "a fast breaking of bread"])
    assert query @ near > query @ far


def test_token_offsets_cut_the_text_itself(exact, peer):
    for text in TEXTS:
        offsets = exact.token_offsets(text)
        assert offsets == peer.token_offsets(text)
        assert all(0 <= start <= end <= len(text) for start, end in offsets)


def test_cls_pooling_takes_the_first_token(folder, exact, tmp_path):
    other = tmp_path / "cls"
    shutil.copytree(folder, other)
    config = json.loads((other / "1_Pooling/config.json").read_text())
    changed = {k: v for k, v in config.items() if not k.startswith("pooling_mode")} | {"pooling_mode_cls_token": True}
    (other / "1_Pooling/config.json").write_text(json.dumps(changed))
    first = BertEncoder(other, dtype=torch.float32)
    np.testing.assert_allclose(
        first.encode(TEXTS), SentenceTransformerEncoder(other, dtype="float32").encode(TEXTS), atol=1e-5
    )
    assert first.fingerprint != exact.fingerprint


def test_last_token_pooling_is_left_to_sentence_transformers(folder, exact, tmp_path):
    """A1: the vector is the last token's, whatever the padding beside longer texts."""
    other = tmp_path / "last"
    shutil.copytree(folder, other, copy_function=os.symlink)
    pooling = other / "1_Pooling/config.json"
    config = json.loads(pooling.read_text())
    pooling.unlink()
    changed = {k: v for k, v in config.items() if not k.startswith("pooling_mode")} | {"pooling_mode_lasttoken": True}
    pooling.write_text(json.dumps(changed))
    assert not supports(other)
    texts = [TEXTS[0], TEXTS[-1]]
    found = SentenceTransformerEncoder(other, dtype="float32").encode(texts)
    for vector, one in zip(found, exact.tokens(texts), strict=True):
        ids = torch.tensor([one.ids])
        last = exact.hidden(ids, torch.ones_like(ids, dtype=torch.bool))[0, -1]
        np.testing.assert_allclose(vector, (last / last.norm()).numpy(), atol=1e-5)


def test_another_architecture_is_left_to_sentence_transformers(folder, tmp_path):
    other = tmp_path / "roberta"
    shutil.copytree(folder, other)
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(config | {"model_type": "roberta"}))
    assert not supports(other)
    with pytest.raises(ModelUnavailable, match="no BERT sentence encoder"):
        BertEncoder(other)


@pytest.mark.parametrize("kind", ["a layer behind the pooling", "a prompt before each text"])
def test_an_encoder_of_more_parts_is_left_to_sentence_transformers(folder, tmp_path, kind):
    """Its vectors were made without them: other ones than the model's, without a word."""
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    assert supports(other)
    if kind.startswith("a layer"):
        parts = json.loads((other / "modules.json").read_text())
        dense = {"idx": len(parts), "name": "2", "path": "2_Dense", "type": "sentence_transformers.models.Dense"}
        (other / "modules.json").write_text(json.dumps([*parts, dense]))
    else:
        told = {"prompts": {"query": "query: "}, "default_prompt_name": "query"}
        (other / "config_sentence_transformers.json").write_text(json.dumps(told))
    assert not supports(other)


def test_an_encoder_is_loaded_once():
    assert load_encoder("minilm") is load_encoder("minilm")


@given(st.lists(st.integers(0, 300), max_size=60), st.integers(1, 1000))
def test_batches_hold_each_row_once_within_the_budget(lengths, tokens):
    found = list(batches(lengths, tokens))
    assert sorted(row for rows in found for row in rows) == list(range(len(lengths)))
    for rows in found:
        assert len(rows) == 1 or len(rows) * max(lengths[row] for row in rows) <= tokens


def test_pooling_by_its_definition():
    hidden = torch.tensor([[[3.0, 4.0], [1.0, 0.0], [9.0, 9.0]]])
    mask = torch.tensor([[True, True, False]])
    torch.testing.assert_close(pooled(hidden, mask, "mean"), torch.tensor([[2.0, 2.0]]) / 8**0.5)
    torch.testing.assert_close(pooled(hidden, mask, "cls"), torch.tensor([[0.6, 0.8]]))


def test_encoding_leaves_torchs_threads_as_they_were(exact):
    before = torch.get_num_threads()
    exact.encode(TEXTS * 40)
    assert torch.get_num_threads() == before
    assert len({worker.submit(torch.get_num_threads).result() for worker in [workers()] * 8}) == 1
    assert workers().submit(torch.get_num_threads).result() == 1


def test_a_query_does_not_wait_for_a_collection_that_is_being_encoded(exact):
    gate = Event()
    waiting = [workers().submit(gate.wait) for _ in range(64)]  # a collection, as far as the threads can tell
    try:
        with ThreadPoolExecutor(1) as other:
            found = other.submit(exact.encode, TEXTS[:1]).result(timeout=60)
    finally:
        gate.set()
    assert all(one.result() for one in waiting)
    np.testing.assert_array_equal(found, exact.encode(TEXTS[:1]))


def test_a_folder_may_be_a_path_and_a_type_pytorchs_own(folder):
    by_path = load_encoder(folder, dtype=torch.float32)
    assert by_path is load_encoder(str(folder), dtype="float32")
    with pytest.raises(InputError, match=r"dtype is torch.int16; an encoder takes bfloat16, int8, float32\."):
        load_encoder(folder, dtype=torch.int16)
    with pytest.raises(UnknownName, match="No encoder is called"):
        load_encoder(folder / "nothing")


def test_a_folder_is_known_by_its_whole_path(folder, tmp_path, monkeypatch):
    """Who keeps its name, as a ranker over it does, finds it from anywhere."""
    (tmp_path / "mine").symlink_to(folder)
    monkeypatch.chdir(tmp_path)
    assert load_encoder("mine").name == str(folder.resolve())
    assert load_encoder("minilm").name == "minilm"


def test_one_text_is_not_read_letter_by_letter(exact, peer):
    for encoder in (exact, peer):
        with pytest.raises(InputError, match=r"encode got one text, 'a fast car'; .*give \[text\]"):
            encoder.encode("a fast car")


def test_a_text_without_a_token_that_is_known_is_told(exact, peer):
    for encoder in (exact, peer):
        assert [encoder.knows(text) for text in ("☃☃", "ሰላም", "", "☃ eye", "?")] == [False, False, False, True, True]


def test_halves_of_surrogate_pairs_are_read_as_some_mark(exact, peer):
    """A shell's argument with a stray byte."""
    for encoder in (exact, peer):
        np.testing.assert_array_equal(encoder.encode(["a \udcff"]), encoder.encode(["a \ufffd"]))
        assert encoder.token_offsets("a \udcff") == encoder.token_offsets("a \ufffd")
