from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from retrieval.test_late import unit

from foveal.errors import InputError, ModelUnavailable, UnknownName
from foveal.models import load_encoder
from foveal.retrieval.late import LateInteraction, matches
from foveal.retrieval.late_index import LateIndex
from foveal.retrieval.late_tokens import COLBERT, TokenEncoder, TokenSettings, TrainedTokens, load_token_model
from foveal.retrieval.passage_models import late_model
from foveal.settings import Settings
from foveal.types import Passage, Span

pytestmark = pytest.mark.model

TEXTS = [
    "The fovea, it is said, sees sharply.",
    "Rods see (dimly) in the dark; cones do not!",
    "ein Text über Flüsse",
    "",
]


@pytest.fixture(scope="module")
def minilm():
    return load_encoder("minilm", dtype="float32")


@pytest.fixture(scope="module")
def published(minilm):
    """The same model by transformers: its tokenizer and its last hidden states."""
    from transformers import AutoModel, AutoTokenizer

    return AutoTokenizer.from_pretrained(minilm.folder), AutoModel.from_pretrained(minilm.folder).eval()


def hidden_by_definition(published, ids, seen):
    """Unit hidden states of token ids, of which the first `seen` may be attended to."""
    mask = torch.tensor([[1] * seen + [0] * (len(ids) - seen)])
    with torch.inference_mode():
        states = published[1](input_ids=torch.tensor([ids]), attention_mask=mask).last_hidden_state[0]
    return unit(states.numpy())


def test_documents_are_the_hidden_states_without_punctuation(minilm, published):
    """A2: document punctuation dropped, unit length."""
    found = TokenEncoder(minilm).document_tokens(TEXTS)
    for text, tokens in zip(TEXTS, found, strict=True):
        encoded = published[0](text, return_offsets_mapping=True)
        words = published[0].convert_ids_to_tokens(encoded["input_ids"])
        kept = [place for place, word in enumerate(words) if word not in {",", ".", "(", ")", ";", "!"}]
        expected = hidden_by_definition(published, encoded["input_ids"], len(words))[kept]
        assert tokens.vectors == pytest.approx(expected, abs=1e-4)
        assert tokens.vectors.dtype == np.float32
        assert tokens.ids.tolist() == [encoded["input_ids"][place] for place in kept]
        assert tokens.offsets.tolist() == [list(encoded["offset_mapping"][place]) for place in kept]
        assert np.linalg.norm(tokens.vectors, axis=1) == pytest.approx(np.ones(len(kept)), abs=1e-5)


def test_punctuation_stays_where_it_is_wanted(minilm, published):
    lengths = [len(v) for v in TokenEncoder(minilm, TokenSettings(drop_punctuation=False)).documents(TEXTS)]
    assert lengths == [len(published[0](text)["input_ids"]) for text in TEXTS]


@pytest.mark.parametrize("attend", [False, True])
def test_queries_are_padded_by_masks(minilm, published, attend):
    """A2: the query padded with [MASK] to 32, which the other tokens see or do not see; prefixes [Q] and [D]."""
    encoder = TokenEncoder(minilm, TokenSettings(query_tokens=32, attend_masks=attend, markers=True))
    for text, vectors in zip(TEXTS, encoder.queries(TEXTS), strict=True):
        ids = published[0](text)["input_ids"]
        ids = [ids[0], published[0].convert_tokens_to_ids("[unused0]"), *ids[1:]]
        padded = ids + [published[0].mask_token_id] * (32 - len(ids))
        assert vectors == pytest.approx(hidden_by_definition(published, padded, 32 if attend else len(ids)), abs=1e-4)
    marked = encoder.document_tokens(TEXTS[:1])[0]
    assert marked.ids[1] == published[0].convert_tokens_to_ids("[unused1]")
    assert marked.offsets[1].tolist() == [0, 0]


def test_a_query_longer_than_the_padding_is_not_cut_by_it(minilm):
    short = TokenEncoder(minilm, TokenSettings(query_tokens=4))
    assert len(short.queries(["one two three four five six"])[0]) == 8
    assert len(short.queries(["word " * 1000])[0]) == minilm.max_tokens
    assert len(TokenEncoder(minilm, COLBERT).queries(["word " * 1000])[0]) == minilm.max_tokens


def test_a_head_maps_each_vector(minilm):
    head = np.random.default_rng(0).normal(size=(128, 384)).astype(np.float32)
    plain, mapped = TokenEncoder(minilm), TokenEncoder(minilm, head=head)
    assert (plain.dimension, mapped.dimension) == (384, 128)
    for before, after in zip(plain.documents(TEXTS), mapped.documents(TEXTS), strict=True):
        assert after == pytest.approx(unit(before @ head.T), abs=1e-4)
    with pytest.raises(InputError, match=r"it needs \(new dimension, 384\)"):
        TokenEncoder(minilm, head=head.T)


def test_what_decides_a_vector_decides_the_fingerprint(minilm):
    """I9: an index of another encoder, or another setting, is refused."""
    head = np.eye(384, dtype=np.float32)[:128]
    settings = [None, COLBERT, TokenSettings(drop_punctuation=False), TokenSettings(query_tokens=32)]
    made = [TokenEncoder(minilm, one).fingerprint for one in settings]
    made += [TokenEncoder(minilm, head=head).fingerprint, TokenEncoder(minilm, head=2 * head).fingerprint]
    assert len(set(made)) == len(made)
    assert TokenEncoder(minilm).fingerprint == made[0]


def test_settings_that_do_not_fit_are_refused(minilm):
    with pytest.raises(InputError, match="query_tokens is -1"):
        TokenSettings(query_tokens=-1)
    with pytest.raises(InputError, match="takes at most 256 tokens"):
        TokenEncoder(minilm, TokenSettings(query_tokens=257))


PASSAGES = [
    "The fovea is the small pit of the retina where sight is sharpest.",
    "Rods outnumber cones and work in dim light.",
    "The optic nerve carries signals to the brain.",
    "A lens bends light so that it meets in one place.",
    "Tears keep the cornea wet.",
    "The iris opens in the dark and closes in the sun.",
]
QUESTIONS = {
    "which part of the eye sees most clearly?": 0,
    "what works when the light is dim?": 1,
    "how does the pupil change its size": 5,
}


@pytest.mark.parametrize("pruned", [False, True])
def test_a_plain_sentence_encoder_finds_by_its_tokens(minilm, pruned):
    """A2 and I8 with a real model."""
    encoder = TokenEncoder(minilm)
    ids = [str(row) for row in range(len(PASSAGES))]
    shown = [Passage(Span("eye", row, row + 1), text) for row, text in enumerate(PASSAGES)]
    retriever = LateInteraction.exact(ids, shown, encoder)
    if pruned:
        index = LateIndex.build(ids, encoder.documents(PASSAGES), fingerprint=encoder.fingerprint)
        retriever = LateInteraction(encoder, dict(zip(ids, shown, strict=True)), index)
    for hits, place in zip(retriever.search(list(QUESTIONS), 2), QUESTIONS.values(), strict=True):
        assert place in {hit.passage.span.start for hit in hits}


def test_a_match_names_the_words(minilm):
    encoder = TokenEncoder(minilm)
    query, document = encoder.query_tokens(["dim light"])[0], encoder.document_tokens([PASSAGES[1]])[0]
    places, _ = matches(query.vectors[1:3], document.vectors)
    assert [PASSAGES[1][slice(*document.offsets[place])] for place in places] == ["dim", "light"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory, minilm) -> Path:
    """A tiny BERT with random weights and 8 numbers a token, as sentence-transformers saves a multi-vector model."""
    from sentence_transformers import MultiVectorEncoder
    from sentence_transformers.base.modules import Dense, Normalize, Transformer
    from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask
    from transformers import AutoTokenizer, BertConfig, BertModel

    base, folder = tmp_path_factory.mktemp("no-pooling"), tmp_path_factory.mktemp("multi")
    config = BertConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        BertModel(config).save_pretrained(base)
        AutoTokenizer.from_pretrained(minilm.folder).save_pretrained(base)
        dense = Dense(16, 8, bias=False, activation_function=torch.nn.Identity(), module_input_name="token_embeddings")
    parts = [Transformer(str(base)), dense, MultiVectorMask(skiplist_words=[","]), Normalize()]
    MultiVectorEncoder(modules=parts, device="cpu").save(str(folder))
    return folder


def test_a_trained_model_is_loaded_by_its_folder(trained):
    model = load_token_model(str(trained))
    assert isinstance(model, TrainedTokens)
    assert model.dimension == 8
    vectors = model.documents(["a, b", "c"])
    assert [v.shape for v in vectors] == [(4, 8), (3, 8)]  # the comma is left out
    assert [v.shape for v in model.queries(["a, b"])] == [(5, 8)]
    assert all(np.linalg.norm(v, axis=1) == pytest.approx(np.ones(len(v)), abs=1e-5) for v in vectors)
    assert model.queries([]) == model.documents([]) == []
    assert [model.knows(text) for text in ("☃☃", "a ☃")] == [False, True]
    for read in (model.queries, model.documents):  # a shell's stray byte is no character
        np.testing.assert_array_equal(read(["a \udcff"])[0], read(["a \ufffd"])[0])
    assert len(model.fingerprint) == 64
    with pytest.raises(InputError, match="settings of its own"):
        load_token_model(str(trained), COLBERT)


def test_names_lead_to_models(trained):
    model = load_token_model("minilm", TokenSettings(query_tokens=32))
    assert isinstance(model, TokenEncoder)
    assert len(model.queries(["eye"])[0]) == 32
    with pytest.raises(UnknownName, match="No encoder is called 'minilmm'"):
        load_token_model("minilmm")
    with pytest.raises(UnknownName, match="To train one of your own: foveal train late"):
        late_model("minilmm", Settings.load())
    with pytest.raises(ModelUnavailable, match="neither a sentence encoder of the BERT family"):
        load_token_model(str(trained.parent / "no-pooling0"))  # a BERT that says nothing of pooling
