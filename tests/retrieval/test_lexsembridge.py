"""The bridge against its formulas, written out; its properties; that it is there after saving, and in the search."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from honest import HashedWords, document
from retrieval.test_store import make, put
from torch.utils._python_dispatch import TorchDispatchMode
from training.conftest import make_encoder

from foveal.errors import InputError, ModelUnavailable, UnknownName
from foveal.evaluation.fine_grained import crop, recall_at_1
from foveal.models import load_encoder
from foveal.models.lexsembridge import Bridge, BridgeSettings, MaskedHead, Reading, bounded, fused, least_cosine
from foveal.models.lexsembridge_reading import ENCODER, Units, corpus_weights, held_units, made_bridge
from foveal.models.lexsembridge_single import fits, of_one
from foveal.models.quiet import quiet
from foveal.retrieval.dense import DenseRetriever
from foveal.retrieval.flat import flat_search, int8_search, quantise_int8
from foveal.retrieval.lexsembridge import LexSemBridge, LexSemBridgeRetriever
from foveal.retrieval.lexsembridge_vision import PatchUnits, VisionBridge, patches
from foveal.settings import Settings

SIZE, WIDTH = 12, 8
IDS = torch.tensor([[1, 4, 4, 7, -1], [5, 2, 11, 3, 4], [-1, -1, -1, -1, -1]])
TEXTS = [f"{word} of the {word} {other}" for word in ("rods", "cones", "tears", "asf1") for other in ("eye", "retina")]


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


def reading(generator, ids=IDS):
    count, length = ids.shape
    shapes = ((count, WIDTH), (count, length, WIDTH), (count, WIDTH))
    vectors, states, first = (torch.randn(*shape, generator=generator) for shape in shapes)
    return Reading(vectors, ids, states, first)


def random_bridge(generator, special=(), **settings):
    """A bridge all of whose weights are drawn."""
    chosen = BridgeSettings(**settings)
    head = MaskedHead(torch.randn(SIZE, WIDTH, generator=generator)) if chosen.method == "CLR" else None
    bridge = Bridge(SIZE, WIDTH, chosen, special=special, head=head)
    with torch.no_grad():
        for parameter in bridge.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.7)
        if bridge.scale is not None:
            bridge.scale.fill_(1.3)
    return bridge.eval()


def weights_by_definition(bridge, read):
    """w, element by element."""
    w, method, variant = torch.zeros(len(read.ids), SIZE), bridge.settings.method, bridge.settings.variant
    for row in range(len(read.ids)):
        for token in range(SIZE):
            places = [j for j, found in enumerate(read.ids[row].tolist()) if found == token]
            if token in bridge.ignored.tolist():
                continue
            if method == "SLR" and places:
                w[row, token] = np.log(2) if variant == "paper" else float(bridge.scale)
            if method == "LLR" and variant == "code" and places:
                w[row, token] = max(float(bridge.place(read.states[row, j]).relu()) for j in places)
            if method == "LLR" and variant == "paper":
                w[row, token] = torch.log(1 + bridge.summary(read.vectors[row])[token].relu())
            if method == "CLR":
                head = bridge.head
                state = head.norm(torch.nn.functional.gelu(head.dense(read.first[row])))
                w[row, token] = torch.log(1 + (state @ head.words[token] + head.bias[token]).relu())
        there = sorted({token for token in read.ids[row].tolist() if token >= 0} - set(bridge.ignored.tolist()))
        if bridge.settings.vocabulary_filter and there:
            w[row, there] = w[row].max()
    return w


FORMS = [("SLR", "code"), ("SLR", "paper"), ("LLR", "code"), ("LLR", "paper"), ("CLR", "code")]


# -- formulas ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("vocabulary_filter", [False, True])
@pytest.mark.parametrize(("method", "variant"), FORMS)
def test_each_method_is_its_definition(method, variant, vocabulary_filter, generator):
    """w, v = softmax(W w + c), and e * v / |e * v|; the vocabulary filter works on every row, not on the first only."""
    options = {"method": method, "variant": variant, "vocabulary_filter": vocabulary_filter}
    bridge, read = random_bridge(generator, (1, 3), **options), reading(generator)
    with torch.no_grad():
        w = weights_by_definition(bridge, read)
        v = torch.softmax(w @ bridge.weight + bridge.bias, dim=-1)
        product = read.vectors * v
        torch.testing.assert_close(bridge.weights(read), w)
        torch.testing.assert_close(bridge.enhancement(read), v)
        torch.testing.assert_close(bridge(read), product / product.norm(dim=-1, keepdim=True))
    assert bool((w >= 0).all())
    assert v.sum(dim=-1) == pytest.approx(torch.ones(3))


def test_w_of_a_low_rank_is_the_product_of_its_parts(generator):
    bridge, read = random_bridge(generator, rank=2), reading(generator)
    whole = random_bridge(generator)
    with torch.no_grad():
        whole.weight.copy_(bridge.weight @ bridge.mix)
        whole.bias.copy_(bridge.bias)
        whole.scale.copy_(bridge.scale)
        torch.testing.assert_close(bridge(read), whole(read))
    fresh = Bridge(SIZE, WIDTH, BridgeSettings(rank=2))
    torch.testing.assert_close(fresh(read).detach(), fused(read.vectors, torch.ones(3, WIDTH)))


@pytest.mark.parametrize("settings", [{}, {"reach": 0.5}, {"rank": 2}, {"vocabulary_filter": True}])
@pytest.mark.parametrize(("method", "variant"), [("SLR", "code"), ("SLR", "paper"), ("LLR", "code")])
def test_one_text_alone_is_the_same_by_fewer_steps(method, variant, settings, generator):
    bridge = random_bridge(generator, special=(2,), method=method, variant=variant, **settings).eval()
    assert fits(bridge)
    with torch.no_grad():
        for ids in ([[3, 1, 3, 2, -1]], [[2, 2, -1]], [[4]], *([[[]]] if method == "SLR" else [])):
            read = reading(generator, torch.tensor(ids, dtype=torch.long))
            np.testing.assert_allclose(of_one(bridge, read), bridge(read).numpy(), atol=1e-6)
        with pytest.raises(InputError, match="another one than W"):
            of_one(bridge, reading(generator, torch.tensor([[SIZE]])))
    assert not fits(Bridge(SIZE, WIDTH, BridgeSettings(method="LLR", variant="paper")))
    assert not fits(Bridge(SIZE, WIDTH).double())


def test_slr_is_free_of_order_and_count(generator):
    """Words of a query that change places, or are said again, leave w as it was."""
    bridge = random_bridge(generator)
    ids = torch.tensor([[4, 1, 7, -1, -1], [7, 4, 1, 1, 7]])
    first, second = bridge.weights(Reading(torch.ones(2, WIDTH), ids)).detach()
    assert torch.equal(first, second)


@pytest.mark.parametrize("method", ["SLR", "LLR", "CLR"])
def test_special_tokens_have_no_weight(method, generator):
    """Of [CLS], [SEP], [PAD], [UNK] nothing is left, unless they are asked for; of LLR never."""
    read = reading(generator)
    bridge = random_bridge(generator, (4, 7), method=method)
    assert not bridge.weights(read)[:, [4, 7]].any()
    kept = random_bridge(generator, (4, 7), method=method, ignore_special_tokens=False)
    with torch.no_grad():
        for one in (kept.place, kept.head):
            if one is not None:
                one.bias.fill_(9.0)
    weights = kept.weights(read)[0, [4, 7]]
    assert not weights.any() if method == "LLR" else bool((weights > 0).all())


def test_padding_is_masked_before_the_maximum(generator):
    """What stands behind the text changes neither w nor v, whatever its hidden states are."""
    bridge, read = random_bridge(generator, method="LLR"), reading(generator)
    longer = torch.cat([read.states, torch.full((3, 4, WIDTH), 99.0)], dim=1)
    ids = torch.cat([read.ids, torch.full((3, 4), -1)], dim=1)
    with torch.no_grad():
        torch.testing.assert_close(bridge(read), bridge(Reading(read.vectors, ids, longer)))


# -- properties -------------------------------------------------------------------------------------------------------


def test_a_constant_v_leaves_the_ranking_as_it_was(generator):
    bridge, read = Bridge(SIZE, WIDTH), reading(generator)
    with torch.no_grad():
        plain = torch.nn.functional.normalize(read.vectors, dim=-1)
        torch.testing.assert_close(bridge(read), plain, rtol=0, atol=1e-6)
        bridge.bias.fill_(3.0)
        torch.testing.assert_close(bridge(read), plain, rtol=0, atol=1e-6)


def test_signs_stay_and_the_direction_is_kept_within_kantorovichs_bound(generator):
    """cos(e, e * v) is at least 2 sqrt(m M) / (m + M), and some e comes down to it."""
    vectors, v = torch.randn(500, WIDTH, generator=generator), torch.rand(500, WIDTH, generator=generator) + 0.01
    made = fused(vectors, v)
    assert torch.equal(made.sign(), vectors.sign())
    cosines = torch.cosine_similarity(vectors, vectors * v)
    assert bool((cosines >= least_cosine(v) - 1e-6).all())
    worst = torch.zeros(1, WIDTH)
    low, high = v[0].argmin(), v[0].argmax()
    worst[0, low], worst[0, high] = v[0, high].sqrt(), v[0, low].sqrt()
    assert torch.cosine_similarity(worst, worst * v[:1]) == pytest.approx(least_cosine(v[:1]), abs=1e-5)


def test_a_scaled_v_changes_nothing(generator):
    vectors, v = torch.randn(5, WIDTH, generator=generator), torch.rand(5, WIDTH, generator=generator)
    torch.testing.assert_close(fused(vectors, v), fused(vectors, 1e-4 * v))


def test_the_product_is_made_in_float32():
    """In half precision e * v would be 0 in most numbers."""
    vectors, v = torch.full((1, 384), 1e-4, dtype=torch.float16), torch.full((1, 384), 1 / 384, dtype=torch.float16)
    assert not (vectors * v / 8).any()
    assert fused(vectors, v).norm() == pytest.approx(1)


@pytest.mark.parametrize("method", ["SLR", "LLR", "CLR"])
def test_in_mixed_precision_it_is_nearly_the_same(generator, method):
    """As a training in bfloat16 has it: sums over W take weights of its own kind only."""
    bridge, asked = random_bridge(generator, method=method), reading(generator)
    with torch.no_grad():
        expected = bridge(asked)
        with torch.autocast("cpu", torch.bfloat16):
            made = bridge(asked)
    assert made.dtype == torch.float32
    assert torch.cosine_similarity(made, expected).min() > 0.99


def test_the_reach_bounds_how_far_log_v_spreads(generator):
    logits = torch.randn(4, 64, generator=generator) * torch.tensor([[0.01], [0.3], [3.0], [0.0]])
    made = bounded(logits, 0.5)
    assert made.std(dim=1, correction=0)[2] == pytest.approx(0.5, abs=1e-5)
    torch.testing.assert_close(made[:2], logits[:2] - logits[:2].mean(dim=1, keepdim=True))
    assert not made[3].any()


def test_a_permuted_vocabulary_is_no_control_for_a_bridge_that_begins_at_zero(generator):
    """Whoever exchanges ids for good only permutes W's rows: with W = 0 the two train alike, step by step."""
    order = torch.randperm(SIZE, generator=generator)
    target, read = torch.randn(3, WIDTH, generator=generator), reading(generator)
    exchanged = replace(read, ids=torch.where(read.ids >= 0, order[read.ids.clamp(min=0)], -1))
    made = []
    for one in (read, exchanged):
        bridge = Bridge(SIZE, WIDTH)
        optimiser = torch.optim.AdamW(bridge.parameters(), lr=0.1)
        for _ in range(5):
            optimiser.zero_grad()
            (-(bridge(one) * target).sum()).backward()
            optimiser.step()
        made.append(bridge(one).detach())
    torch.testing.assert_close(*made)
    assert not torch.allclose(made[0], Bridge(SIZE, WIDTH)(read))


class Largest(TorchDispatchMode):
    """Notes the most numbers that a tensor made inside has."""

    numbers = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        for one in made if isinstance(made, tuple | list) else [made]:
            if isinstance(one, torch.Tensor):
                self.numbers = max(self.numbers, one.numel())
        return made


@pytest.mark.parametrize("method", ["SLR", "LLR"])
def test_nothing_as_large_as_the_vocabulary_is_made(method, generator):
    """With 250,000 tokens, 16 texts of 10: neither B x V, nor B x L x V, nor anything above B · L · L."""
    bridge = Bridge(250_000, WIDTH, BridgeSettings(method=method)).eval()
    ids = torch.randint(250_000, (16, 10), generator=generator)
    with torch.inference_mode(), Largest() as seen:
        bridge(reading(generator, ids))
    assert seen.numbers <= 16 * 10 * 10


# -- texts ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    folder = make_encoder(tmp_path_factory.mktemp("bert") / "tiny")
    return load_encoder(str(folder), dtype="float32")


@pytest.fixture(scope="module")
def masked_bert(tmp_path_factory):
    """The same with a masked-language head."""
    from transformers import BertConfig, BertForMaskedLM

    folder = make_encoder(tmp_path_factory.mktemp("masked") / "tiny")
    with quiet(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = BertForMaskedLM(BertConfig.from_pretrained(folder))
        torch.nn.init.normal_(model.cls.predictions.bias)
        model.save_pretrained(folder)
    return load_encoder(str(folder), dtype="float32"), model.eval()


def of_bert(encoder, **settings):
    """A bridge over the tokens of a BERT, W drawn."""
    chosen = BridgeSettings(**settings)
    units = Units.of_tokens(encoder)
    bridge = made_bridge(encoder, units, chosen, init_mlm_head=chosen.method == "CLR")
    torch.nn.init.normal_(bridge.weight, std=0.5, generator=torch.Generator().manual_seed(2))
    return LexSemBridge(encoder, bridge, units)


def test_queries_go_through_the_bridge_and_passages_do_not(bert):
    bridge = of_bert(bert)
    texts = ["a1 b2 f3", "f1"]
    plain = bert.encode(texts)
    v = np.stack([bridge.enhancement(text) for text in texts])
    product = plain * v
    expected = product / np.linalg.norm(product, axis=1, keepdims=True)
    np.testing.assert_allclose(bridge.encode_query(texts), expected, atol=1e-6)
    np.testing.assert_allclose(bridge.encode(texts), expected, atol=1e-6)
    assert np.abs(expected - plain).max() > 0.05
    np.testing.assert_array_equal(bridge.encode_document(texts), plain)
    assert bridge.towers().documents is bert
    assert isinstance(bridge.fingerprint, str)


def test_a_bridge_for_both_sides_has_another_index(bert):
    bridge = of_bert(bert, fuse_passage=True)
    np.testing.assert_array_equal(bridge.encode_document(["a1 b2"]), bridge.encode_query(["a1 b2"]))
    towers = bridge.towers()
    np.testing.assert_array_equal(towers.documents.encode(["a1 b2"]), bridge.encode_document(["a1 b2"]))
    assert len({towers.fingerprint, bert.fingerprint, bridge.fingerprint, towers.documents.fingerprint}) == 4


def test_the_bridge_is_a_switch_of_each_call(bert):
    bridge = of_bert(bert)
    plain = bert.encode(["a1 b2"])
    np.testing.assert_array_equal(bridge.encode_query(["a1 b2"], enabled=False), plain)
    assert np.abs(bridge.encode_query(["a1 b2"]) - plain).max() > 0.05
    bridge.enabled = False
    np.testing.assert_array_equal(bridge.encode_query(["a1 b2"]), plain)
    assert np.abs(bridge.encode_query(["a1 b2"], enabled=True) - plain).max() > 0.05


@pytest.mark.parametrize("method", ["SLR", "LLR", "CLR"])
def test_many_texts_at_once_are_each_alone(bert, method):
    """Ragged batches, more than are read at a time; unit length, float32."""
    bridge = of_bert(bert, method=method)
    texts = [" ".join(["a1", "b2", "f3", "f4"][: 1 + number % 4]) + f" f{number % 12}" for number in range(70)]
    many = bridge.encode_query(texts)
    alone = np.concatenate([bridge.encode_query([text]) for text in texts])
    np.testing.assert_allclose(many, alone, atol=1e-5)
    assert many.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(many, axis=1), 1, atol=1e-5)


def test_weights_are_shown_by_token_and_by_word(bert):
    weights = of_bert(bert).lexical_weights("a1 b2 a1")
    assert weights == {"a1": 1.0, "b2": 1.0}
    words = LexSemBridge.of_collection(HashedWords(), TEXTS)
    assert set(words.lexical_weights("Asf1, of unknownword!")) == {"asf1", "of"}
    assert words.enhancement("asf1").sum() == pytest.approx(1, abs=1e-5)


def test_llr_reads_the_words_own_hidden_states(bert):
    """Over whole words each token's state counts for the word that it stands in."""
    units = Units.of_words(["a1 b2 f3"])
    bridge = made_bridge(bert, units, BridgeSettings(method="LLR"))
    with torch.no_grad():
        bridge.place.weight.normal_(generator=torch.Generator().manual_seed(0))
    found = LexSemBridge(bert, bridge, units).lexical_weights("b2 a1 b2")
    ids = torch.tensor([bert.tokenizer.encode("b2 a1 b2").ids])
    values = bridge.place(bert.hidden(ids, torch.ones_like(ids, dtype=torch.bool)))[0, :, 0].relu().tolist()
    expected = {"b2": max(values[1], values[3]), "a1": values[2]}
    assert {word: found.get(word, 0.0) for word in expected} == pytest.approx(expected, abs=1e-5)


def test_clr_reads_the_models_own_head_at_the_first_token(masked_bert):
    """Words that are not in the text may have weights, too."""
    encoder, model = masked_bert
    bridge = LexSemBridge(encoder, made_bridge(encoder, Units.of_tokens(encoder), BridgeSettings(method="CLR")),
                          Units.of_tokens(encoder))  # fmt: skip
    ids = torch.tensor([encoder.tokenizer.encode("a1 b2").ids])
    with torch.no_grad():
        expected = torch.log1p(model(input_ids=ids).logits[0, 0].relu())
    expected[list(bridge.units.special)] = 0
    names = {encoder.tokenizer.id_to_token(unit): float(expected[unit]) for unit in expected.nonzero()[:, 0].tolist()}
    found = bridge.lexical_weights("a1 b2")
    assert found == pytest.approx(names, abs=1e-4)
    assert set(found) - {"a1", "b2"}


def test_words_beyond_the_window_do_not_count(bert):
    """The encoder reads 22 tokens; a word after them is not in its vector, nor in w."""
    long = "f1 " * 22
    words = LexSemBridge(bert, Bridge(3, 16), Units(3, ("f1", "a1", "b2")))
    assert set(words.lexical_weights(f"{long} a1")) == {"f1"}
    assert set(of_bert(bert).lexical_weights(f"{long} a1")) == {"f1"}
    assert set(of_bert(bert).lexical_weights("f1 a1")) == {"f1", "a1"}


def test_no_text_an_empty_one_and_unknown_words(bert):
    """An empty list gives an empty array, an empty text an error with its number; unknown words change nothing."""
    bridge = of_bert(bert)
    assert bridge.encode_query([]).shape == (0, 16)
    assert bridge.encode_document([]).shape == (0, 16)
    with pytest.raises(InputError, match="Text 2 of 2 is empty"):
        bridge.encode_query(["a1", " \n"])
    words = LexSemBridge.of_collection(HashedWords(), TEXTS)
    assert words.lexical_weights("zebrafish 東京") == {}
    np.testing.assert_allclose(words.encode_query(["zebrafish"]), HashedWords().encode(["zebrafish"]), atol=1e-6)


# -- W from a collection ----------------------------------------------------------------------------------------------


def test_w_of_a_collection_is_its_definition():
    vectors = np.random.default_rng(0).normal(size=(5, 6)).astype(np.float32)
    holding = [[0, 1, 1], [1, -1], [1, 2], [1], [1, 2]]
    made = corpus_weights(holding, vectors, 4, strength=0.1).numpy()
    mean = vectors.mean(axis=0)
    for unit, rows in ((0, [0]), (2, [2, 4])):
        apart = np.abs(vectors[rows].mean(axis=0) - mean)
        idf = np.log(1 + (5 - len(rows) + 0.5) / (len(rows) + 0.5))
        expected = 0.1 * idf**3 * np.sqrt(6) * apart / np.linalg.norm(apart)
        np.testing.assert_allclose(made[unit], expected, rtol=1e-4)
    assert not made[1].any()  # all hold it
    assert not made[3].any()  # none does


def test_a_collections_bridge_finds_rare_words_without_training():
    """Each passage is common words and one of its own; the encoder's vector is too short to tell them all apart."""
    draw, encoder = np.random.default_rng(0), HashedWords(dimension=64)
    common = [f"common{n}" for n in range(60)]
    passages = [f"{' '.join(draw.choice(common, size=12))} rare{n}" for n in range(200)]
    vectors = encoder.encode(passages)
    bridge = LexSemBridge.of_collection(encoder, passages, vectors)
    queries = [f"rare{n}" for n in range(200)]
    plain, made = recall_at_1(encoder.encode(queries), vectors), recall_at_1(bridge.encode_query(queries), vectors)
    assert made > plain + 0.05
    order = np.random.default_rng(1).permutation(bridge.units.size)
    exchanged = Units(bridge.units.size, tuple(bridge.units.words[place] for place in order))
    control = LexSemBridge(encoder, bridge.bridge, exchanged)
    assert recall_at_1(control.encode_query(queries), vectors) < plain + 0.03


def test_a_bridged_query_finds_the_same_in_an_int8_index():
    encoder = HashedWords(dimension=48)
    vectors = encoder.encode(TEXTS)
    queries = LexSemBridge.of_collection(encoder, TEXTS, vectors).encode_query(["asf1 retina", "rods eye"])
    assert (int8_search(quantise_int8(vectors), queries, 3)[0] == flat_search(vectors, queries, 3)[0]).all()


@pytest.mark.parametrize("method", ["SLR", "LLR"])
def test_stray_bytes_of_a_shell_are_read_as_an_unknown_letter(bert, method):
    """Such a byte comes as half a surrogate pair, which is no character to a tokenizer."""
    texts = ["a1 b2", "f3 \udcff b5"]
    bridge = LexSemBridge.of_collection(bert, texts, settings=BridgeSettings(method=method), units="tokens")
    made = bridge.encode_query(texts)
    np.testing.assert_array_equal(made, bridge.encode_query(["a1 b2", "f3 \ufffd b5"]))


# -- the folder -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["SLR", "LLR", "CLR"])
def test_saved_and_loaded_it_gives_the_same_vectors(bert, tmp_path, method):
    """With the bridge: the reference saves the encoder alone."""
    bridge = of_bert(bert, method=method, reach=0.8)
    texts = ["a1 b2", "f3 f4 b5"]
    again = LexSemBridge.load(bridge.save(tmp_path / "saved"), encoder=bert)
    made = bridge.encode_query(texts)
    assert np.abs(again.encode_query(texts) - made).max() < 1e-6
    assert np.abs(made - bert.encode(texts)).max() > 0.01
    assert again.fingerprint == bridge.fingerprint
    assert again.bridge.settings == bridge.bridge.settings
    alone = LexSemBridge.load(tmp_path / "saved")  # its own copy of the encoder
    assert alone.encoder.fingerprint == bert.fingerprint
    with pytest.raises(InputError, match="there already"):
        bridge.save(tmp_path / "saved")


def test_a_bridge_over_words_keeps_its_words(tmp_path):
    encoder = HashedWords()
    bridge = LexSemBridge.of_collection(encoder, TEXTS)
    again = LexSemBridge.load(bridge.save(tmp_path / "saved"), encoder=encoder)
    np.testing.assert_allclose(again.encode_query(TEXTS), bridge.encode_query(TEXTS), atol=1e-6)
    (tmp_path / "saved" / "words.json").write_text(json.dumps(["eye"]))
    with pytest.raises(InputError, match="do not belong together"):
        LexSemBridge.load(tmp_path / "saved", encoder=encoder)


@pytest.mark.parametrize("lost", ["lexsembridge.safetensors", "lexsembridge.json"])
def test_a_folder_without_the_bridge_is_never_taken_for_one(bert, tmp_path, lost):
    folder = of_bert(bert).save(tmp_path / "saved")
    (folder / lost).unlink()
    with pytest.raises(ModelUnavailable, match="nothing was loaded"):
        LexSemBridge.load(folder)
    with pytest.raises(ModelUnavailable, match="nothing was loaded"):
        LexSemBridge.load(bert.folder)
    with pytest.raises(UnknownName, match="No bridge is called"):
        LexSemBridge.load("nothing-of-that-name")


def test_a_bridges_folder_is_no_plain_encoder(bert, tmp_path):
    """Whoever loads it as one is told, and does not search without the bridge."""
    folder = of_bert(bert).save(tmp_path / "saved")
    with pytest.raises(ModelUnavailable, match="holds no model"):
        load_encoder(str(folder))
    assert (folder / ENCODER / "config.json").is_file()


def test_a_bridge_of_another_encoder_is_refused(bert, tmp_path):
    folder = of_bert(bert).save(tmp_path / "saved")
    other = load_encoder(str(make_encoder(tmp_path / "other", seed=5)), dtype="float32")
    with pytest.raises(InputError, match="was made for the encoder"):
        LexSemBridge.load(folder, encoder=other)
    shutil.rmtree(folder / "encoder")
    about = folder / "lexsembridge.json"
    about.write_text(json.dumps({**json.loads(about.read_text()), "encoder": "gone"}))
    with pytest.raises(ModelUnavailable, match="saved reads by the encoder gone, which is not there"):
        LexSemBridge.load(folder)


# -- what is refused --------------------------------------------------------------------------------------------------


def test_unknown_methods_and_settings_out_of_range_are_refused():
    with pytest.raises(UnknownName, match="SLR, LLR, CLR"):
        BridgeSettings(method="XLR")
    with pytest.raises(UnknownName, match="code, paper"):
        BridgeSettings(variant="other")
    for wrong in ({"scale": -1.0}, {"reach": 0.0}, {"rank": 0}):
        with pytest.raises(InputError, match=f"{next(iter(wrong))}="):
            BridgeSettings(**wrong)


def test_clr_needs_a_head(bert):
    units, settings = Units.of_tokens(bert), BridgeSettings(method="CLR")
    with pytest.raises(InputError, match="init_mlm_head=True"):
        made_bridge(bert, units, settings)
    with pytest.raises(InputError, match="init_mlm_head=True"):
        Bridge(SIZE, WIDTH, settings)
    assert made_bridge(bert, units, settings, init_mlm_head=True).head is not None


def test_what_does_not_fit_is_refused(bert, generator):
    """Vocabulary against W, widths, states that lack, an encoder without tokens."""
    bridge = Bridge(SIZE, WIDTH, BridgeSettings(method="LLR"))
    with pytest.raises(InputError, match="knows 12 units, but got number 12"):
        bridge(reading(generator, torch.tensor([[12]])))
    with pytest.raises(InputError, match="vectors of 8 numbers"):
        bridge(Reading(torch.ones(1, 3), IDS[:1]))
    with pytest.raises(InputError, match="hidden states"):
        bridge(Reading(torch.ones(3, WIDTH), IDS))
    with pytest.raises(InputError, match="must belong together"):
        LexSemBridge(bert, Bridge(SIZE, 16), Units.of_tokens(bert))
    with pytest.raises(ModelUnavailable, match="works with any encoder"):
        Units.of_tokens(HashedWords())
    with pytest.raises(InputError, match="must be one for each"):
        LexSemBridge.of_collection(HashedWords(), TEXTS, np.ones((2, 64), np.float32))
    with pytest.raises(InputError, match="holds no word"):
        LexSemBridge.of_collection(HashedWords(), [])
    assert held_units(bert, Units.of_tokens(bert), ["a1 b2"]) == [bert.tokenizer.encode("a1 b2").ids[1:-1]]


# -- a library's search -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def collection(tmp_path_factory):
    store = make(tmp_path_factory.mktemp("bridged") / "library")
    put(store, [document(f"d{n}", f"{text}\n") for n, text in enumerate(TEXTS)])
    return SimpleNamespace(store=store, encoder=HashedWords())


def test_the_retriever_searches_the_librarys_own_vectors_through_the_bridge(collection):
    bridge = LexSemBridge.of_collection(collection.encoder, TEXTS)
    bridge.bridge.weight.data.mul_(50)  # of eight texts no word is rare
    retriever = LexSemBridgeRetriever.over(collection, None, model=bridge)
    queries = ["asf1 in the eye", "", "tears"]
    found, nothing, more = retriever.search(queries, 8)
    assert nothing == []
    assert more[0].source == "lexsembridge"
    vector = bridge.encode_query(queries[:1])[0]
    for hit in found:  # a passage is indexed with its document's title before it
        name = TEXTS.index(hit.passage.text.strip())
        stored = collection.encoder.encode([f"d{name} {TEXTS[name]}"])[0]
        assert hit.score == pytest.approx(float(vector @ stored), abs=1e-4)
    plain = DenseRetriever(collection.store, collection.encoder).search(queries[:1], 8)[0]
    assert [hit.score for hit in found] != pytest.approx([hit.score for hit in plain], abs=1e-3)
    off = LexSemBridgeRetriever.over(collection, None, model=bridge, enabled=False).search(queries[:1], 8)[0]
    assert off == plain


class Latin(HashedWords):
    """It has a token for no other letters."""

    def knows(self, text):
        return any(letter.isascii() and letter.isalpha() for letter in text)


def test_a_query_of_no_known_token_finds_nothing_through_the_bridge(collection):
    bridge = LexSemBridge.of_collection(Latin(), TEXTS)
    retriever = LexSemBridgeRetriever.over(collection, None, model=bridge)
    nothing, found = retriever.search(["☃☃", "tears"], 1)
    assert nothing == []
    assert found
    with pytest.raises(InputError, match=r"search got one text, 'tears'"):
        retriever.search("tears", 1)


def test_the_retriever_refuses_bridges_that_do_not_fit_the_library(collection, tmp_path):
    other = LexSemBridge.of_collection(HashedWords(salt="x"), TEXTS)
    with pytest.raises(InputError, match="made for the encoder"):
        LexSemBridgeRetriever.over(collection, None, model=other)
    both = LexSemBridge.of_collection(collection.encoder, TEXTS, settings=BridgeSettings(fuse_passage=True))
    with pytest.raises(InputError, match="queries only"):
        LexSemBridgeRetriever.over(collection, None, model=both)


def test_the_retriever_takes_the_bridge_of_a_name_or_the_last_one(collection, tmp_path):
    shelf = SimpleNamespace(
        store=collection.store, encoder=collection.encoder, settings=Settings(home=tmp_path, cache=tmp_path)
    )
    with pytest.raises(ModelUnavailable, match="foveal train lexsembridge"):
        LexSemBridgeRetriever.over(shelf, None)
    saved: Path = LexSemBridge.of_collection(shelf.encoder, TEXTS).save(tmp_path / "models" / "mine")
    for model in (None, "mine", saved):
        [found] = LexSemBridgeRetriever.over(shelf, "title = 'd3'", model=model).search(["eye"], 8)
        assert [hit.passage.text.strip() for hit in found] == [TEXTS[3]]  # and nothing of another title
    with pytest.raises(UnknownName, match="Trained here: mine"):
        LexSemBridgeRetriever.over(shelf, None, model="other")
    (tmp_path / "runs" / "train" / "worse").mkdir(parents=True)
    (tmp_path / "runs" / "train" / "worse" / "report.json").write_text('{"kept": false}')
    with pytest.raises(UnknownName, match=r"'worse' \(it was trained here, but not kept, since it was no better\)"):
        LexSemBridgeRetriever.over(shelf, None, model="worse")
    before = LexSemBridgeRetriever.over(shelf, None).model
    later = LexSemBridge.of_collection(shelf.encoder, TEXTS[:2]).save(tmp_path / "models" / "later")
    os.utime(later / "lexsembridge.json", ns=(2**62, 2**62))
    assert LexSemBridgeRetriever.over(shelf, None).model.fingerprint != before.fingerprint


def test_a_bridge_that_was_trained_anew_in_its_place_is_the_one_that_searches(collection, tmp_path):
    shelf = SimpleNamespace(
        store=collection.store, encoder=collection.encoder, settings=Settings(home=tmp_path, cache=tmp_path)
    )
    bridges = [LexSemBridge.of_collection(shelf.encoder, texts) for texts in (TEXTS, TEXTS[:2])]
    place = tmp_path / "models" / "mine"
    for bridge in bridges:
        shutil.rmtree(place, ignore_errors=True)
        bridge.save(place)
        first, again = (LexSemBridgeRetriever.over(shelf, None, model="mine").model for _ in range(2))
        assert first.fingerprint == bridge.fingerprint
        assert again is first


# -- images -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def images():
    return [np.random.default_rng(n).integers(0, 256, (16, 16, 3), dtype=np.uint8) for n in range(30)]


def test_patches_as_they_stand(images):
    found = patches(images[0], 4, 4)
    assert found.shape == (16, 48)
    second = images[0][:4, 4:8].transpose(2, 0, 1).reshape(-1) / 255
    np.testing.assert_allclose(found[1], second, atol=1e-6)
    assert patches(images[0][:3], 4, 4).shape == (0, 48)
    with pytest.raises(InputError, match="height, width, 3"):
        patches(images[0][:, :, 0], 4, 4)


def test_a_crop_finds_its_image_by_its_patches(images):
    """Vectors that say little (the mean colour, and noise of the crop), patches that say much."""
    units = PatchUnits.fit(images, edge=4, step=4, count=200)
    draw = np.random.default_rng(0)

    def vectors(some):
        means = np.array([one.mean(axis=(0, 1)) / 255 - 0.5 for one in some])
        means = means @ np.random.default_rng(5).normal(size=(3, 32))
        made = means + draw.normal(scale=0.05, size=means.shape)
        return (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float32)

    stored, crops = vectors(images), [crop(image, 0.5) for image in images]
    asked = vectors(crops)
    bridge = VisionBridge.of_collection(units, images, stored)
    made = bridge.encode_query(crops, asked)
    assert recall_at_1(made, stored) > recall_at_1(asked, stored)
    tiny = [image[:2, :2] for image in images]
    np.testing.assert_allclose(bridge.encode_query(tiny, asked), asked, atol=1e-5)
    every = bridge.bridge.enhancement(Reading(torch.ones(2, 32), torch.arange(16).expand(2, 16)))
    assert torch.equal(every[0], every[1])  # positions as ids, as in the published code: one v for all images
    assert [one.ids.shape for one in bridge.readings(crops[:2], asked[:2])] == [(1, 4), (1, 4)]


def test_a_codebook_needs_patches(images):
    with pytest.raises(InputError, match="16 patches were to give"):
        PatchUnits.fit(images[:1], edge=4, step=4, count=17)
    with pytest.raises(InputError, match="step=0"):
        PatchUnits.fit(images, step=0)
    units = PatchUnits.fit(images, edge=4, step=4, count=16)
    with pytest.raises(InputError, match="both must agree"):
        VisionBridge(units, Bridge(3, 4))
    with pytest.raises(InputError, match="came with 1 vectors"):
        VisionBridge(units, Bridge(16, 4)).encode_query(images, np.ones((1, 4), np.float32))
