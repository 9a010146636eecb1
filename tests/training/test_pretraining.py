"""Pre-training tasks (T13) and made-up queries (T12): the draws hold their definitions, the losses theirs."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from torch.nn.functional import normalize
from transformers import BertConfig, BertForMaskedLM, BertModel, PreTrainedTokenizerFast

from foveal.errors import InputError
from foveal.training import pretraining as tasks
from foveal.training.pretraining import Crops, Drawn, Page, Tokens
from foveal.training.pretraining_bottleneck import BottleneckAutoencoder, lexicon, replaced
from foveal.training.pretraining_condenser import CoCondenser, Condenser, span_contrast
from foveal.training.pretraining_contrast import MomentumContrast, PairContrast, info_nce, vectors
from foveal.training.pretraining_masked import MaskedEncoder
from foveal.training.pretraining_masks import IGNORED, Masking, mask_tokens, visible
from foveal.training.pretraining_queries import PromptedQueries, made_up_queries, queries_of
from foveal.training.pretraining_words import BagOfWords, word_loss

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
PAD, UNK, CLS, SEP, MASK = range(5)
_WORDS = (
    "the a of in and an eye sees sharp est light fall s on fovea cone rod night day colour river mill keeper key door "
    "stone bread oven baker salt sea ship sail wind storm map north star snow wolf pine hill"
)
WORDS = _WORDS.split()
PIECES = ["##s", "##es", "##ing", "##ed"]
TEXTS = [
    "the fovea sees sharp colour in light of day",
    "a baker and an oven on the hill bread and salt",
    "the ship sails north in storm and wind",
    "a wolf sees the night star on snow",
    "the keeper of the mill keys the river door",
    "cone and rod sees light and colour of the sea",
]


def tokenizer() -> PreTrainedTokenizerFast:
    vocabulary = {piece: place for place, piece in enumerate([*SPECIAL, *WORDS, *PIECES])}
    made = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    made.normalizer = normalizers.Lowercase()
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    names = ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token")
    return PreTrainedTokenizerFast(tokenizer_object=made, **dict(zip(names, SPECIAL, strict=True)))


VOCABULARY = len(SPECIAL) + len(WORDS) + len(PIECES)


def tiny_config(dropout: float = 0.0, layers: int = 4) -> BertConfig:
    return BertConfig(
        vocab_size=VOCABULARY,
        hidden_size=16,
        num_hidden_layers=layers,
        num_attention_heads=2,
        intermediate_size=24,
        max_position_embeddings=40,
        initializer_range=0.2,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
    )


def tiny_bert(kind=BertModel, *, dropout: float = 0.0, seed: int = 0, layers: int = 4):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return kind(tiny_config(dropout, layers))


@pytest.fixture
def tokens():
    return Tokens(tokenizer(), max_tokens=16)


def masking(rate=0.3, **more):
    return Masking(rate=rate, mask_id=MASK, vocabulary=VOCABULARY, special=frozenset(range(5)), **more)


def batch_of(examples, size=None):
    return tasks.collate([examples[number] for number in range(size or len(examples))], pad_id=PAD)


few = settings(max_examples=40)
SEEDS = st.integers(0, 2**32)
ORDINARY = st.lists(st.integers(5, VOCABULARY - 1), min_size=1, max_size=40)


# -- draws -----------------------------------------------------------------------------------------------------------


@few
@given(st.integers(2, 9), SEEDS, st.sampled_from([0.0, 0.1, 1.0]))
def test_ict_takes_one_sentence_out_of_its_passage(count, seed, keep):
    """T13: ICT."""
    sentences = [f"sentence {number}. " for number in range(count)]
    first, second = tasks.ict(sentences, np.random.default_rng(seed), keep=keep)
    place = [one.strip() for one in sentences].index(first)
    whole = " ".join(one.strip() for one in sentences)
    without = " ".join(one.strip() for number, one in enumerate(sentences) if number != place)
    assert second in ({whole} if keep == 1 else {without} if keep == 0 else {whole, without})


def test_ict_keeps_the_sentence_in_a_tenth():
    """T13: ICT keeps the sentence in with 10 %, and every sentence comes."""
    drawn = [tasks.ict(["one", "two", "three"], np.random.default_rng(seed)) for seed in range(3000)]
    assert 0.08 < np.mean([first in second for first, second in drawn]) < 0.12
    assert {first for first, _ in drawn} == {"one", "two", "three"}


@few
@given(SEEDS)
def test_bfs_is_a_sentence_of_the_first_section_and_a_passage_of_the_page(seed):
    """T13: BFS."""
    page = Page(["s1.", "s2."], ["s1. s2.", "p1", "p2"])
    first, second = tasks.bfs(page, np.random.default_rng(seed))
    assert first in page.first_section
    assert second in ("p1", "p2")  # the passage that holds the sentence is passed over
    alone = tasks.bfs(Page(["s1."], ["s1. s2."]), np.random.default_rng(seed))
    assert alone == ("s1.", "s1. s2.")


@few
@given(SEEDS)
def test_wlp_goes_to_a_passage_of_a_linking_page(seed):
    """T13: WLP."""
    pages = {name: Page([f"{name} opens."], [f"{name} passage {n}" for n in range(3)]) for name in "abc"}
    found = tasks.linked(pages, [("a", "b"), ("a", "b"), ("c", "c"), ("b", "c")])
    assert found == [(pages["b"], pages["a"]), (pages["c"], pages["b"])]
    first, second = tasks.wlp(found[0], np.random.default_rng(seed))
    assert first == "b opens."
    assert second in pages["a"].passages
    with pytest.raises(InputError, match="'d'"):
        tasks.linked(pages, [("a", "d")])


@few
@given(st.lists(st.integers(), min_size=1, max_size=60, unique=True), SEEDS)
def test_a_crop_is_a_random_part_of_the_text(ids, seed):
    """T13: Contriever's crops."""
    whole = tasks.crop(ids, np.random.default_rng(seed), Crops(deleted=0.0))
    start = ids.index(whole[0])
    assert ids[start : start + len(whole)] == whole
    assert max(1, round(0.05 * len(ids)) - 1) <= len(whole) <= max(1, round(0.5 * len(ids)))
    thinned = tasks.crop(ids, np.random.default_rng(seed), Crops(deleted=0.9))
    assert thinned
    assert [token for token in whole if token in set(thinned)] == thinned


def test_a_crop_loses_a_tenth_and_lies_anywhere():
    """T13: Contriever deletes tokens with 10 %; its crops cover the text's head and end."""
    ids = list(range(100))
    drawn = [tasks.crop(ids, np.random.default_rng(seed), Crops(shortest=0.5)) for seed in range(200)]
    assert 0.085 < 1 - np.mean([len(one) for one in drawn]) / 50 < 0.115
    assert min(map(min, drawn)) == 0
    assert max(map(max, drawn)) == 99


@few
@given(st.lists(st.integers(), min_size=2, max_size=60, unique=True), st.integers(1, 20), SEEDS)
def test_spans_are_two_pieces_of_the_text_that_share_nothing(ids, length, seed):
    """T13: coCondenser's spans."""
    pieces = tasks.spans(ids, np.random.default_rng(seed), length)
    for piece in pieces:
        start = ids.index(piece[0])
        assert ids[start : start + len(piece)] == piece
        assert 1 <= len(piece) <= length
    assert not set(pieces[0]) & set(pieces[1])


@few
@given(ORDINARY, st.floats(0.05, 1), SEEDS)
def test_masking_asks_the_stated_share_and_changes_nothing_else(ids, rate, seed):
    """T13: BERT's masking."""
    framed = [CLS, *ids, SEP]
    changed, labels = mask_tokens(framed, np.random.default_rng(seed), masking(rate))
    asked = [place for place, label in enumerate(labels) if label != IGNORED]
    assert len(asked) == max(1, round(rate * len(ids)))
    assert all(labels[place] == framed[place] for place in asked)
    assert 0 not in asked
    assert len(framed) - 1 not in asked
    assert all(changed[place] == framed[place] for place in range(len(framed)) if place not in asked)


def test_masking_is_eighty_ten_ten():
    """T13: BERT's shares; a random token is the original with 1 / vocabulary."""
    changed, labels = mask_tokens([7] * 20_000, np.random.default_rng(0), masking(1.0))
    assert set(labels) == {7}
    counts = np.bincount(changed, minlength=VOCABULARY) / 20_000
    assert counts[MASK] == pytest.approx(0.8 + 0.1 / VOCABULARY, abs=0.01)
    assert counts[7] == pytest.approx(0.1 + 0.1 / VOCABULARY, abs=0.01)
    assert counts.min() > 0
    assert mask_tokens([7] * 50, np.random.default_rng(0), masking(1.0, masked=1, random=0))[0] == [MASK] * 50
    assert mask_tokens([7] * 50, np.random.default_rng(0), masking(1.0, masked=0, random=0))[0] == [7] * 50


@few
@given(SEEDS)
def test_whole_words_are_asked_whole(seed):
    """T13: whole-word masking."""
    read = Tokens(tokenizer())
    rule = Masking.of(read.tokenizer, 0.3, whole_words=True)
    ids = read.framed(read.plain("sailing ships storms the doors keyed the wolfs"))
    assert {read.tokenizer.convert_ids_to_tokens(one) for one in rule.continues} == set(PIECES)
    _, labels = mask_tokens(ids, np.random.default_rng(seed), rule)
    asked = {place for place, label in enumerate(labels) if label != IGNORED}
    for place in range(1, len(ids)):
        if ids[place] in rule.continues:
            assert (place in asked) == (place - 1 in asked)
    ordinary = sum(token not in rule.special for token in ids)
    assert round(0.3 * ordinary) <= len(asked) <= round(0.3 * ordinary) + 1
    few = mask_tokens(ids, np.random.default_rng(seed), replace(rule, rate=1.0), most=3)[1]
    held = {place for place, label in enumerate(few) if label != IGNORED}
    assert 2 <= len(held) <= 3  # a word that would make them four is passed over
    assert all((place in held) == (place - 1 in held) for place in range(1, len(ids)) if ids[place] in rule.continues)


@few
@given(st.integers(2, 20), st.sampled_from([0.5, 0.7]), SEEDS)
def test_each_position_sees_a_draw_of_its_own(length, rate, seed):
    """T13: RetroMAE's position-specific mask."""
    sees = visible(length, np.random.default_rng(seed), rate)
    assert sees[:, 0].all()
    assert not sees.diagonal()[1:].any()
    assert sees[0].sum() == 1 + round((1 - rate) * (length - 1))
    assert (sees[1:].sum(1) == 1 + round((1 - rate) * (length - 2))).all()
    if length == 20:
        assert len({tuple(row) for row in sees[1:, 1:]}) > 15


# -- examples and batches --------------------------------------------------------------------------------------------


def test_an_example_hangs_on_seed_and_number_alone(tokens):
    """T13: repeatable batches."""
    make = partial(tasks.masked_examples, TEXTS, tokens, masking(), views=2)
    examples = make(seed=3)
    assert len(examples) == 12
    assert [examples[n] for n in (7, 1)] == [make(seed=3)[n] for n in (7, 1)]
    assert examples[1] != examples[7]  # the same text, seen anew
    assert [make(seed=4)[n] for n in range(6)] != [examples[n] for n in range(6)]
    assert len(list(examples)) == 12
    with pytest.raises(IndexError):
        examples[12]


def test_a_batch_is_padded_and_says_where(tokens):
    """T13: batches."""
    pairs = tasks.pair_examples(["the eye", "sharp light of the night sea"], tasks.twins, tokens, seed=0)
    batch = batch_of(pairs)
    assert batch["item"].tolist() == [0, 1]
    assert batch["first"][0].tolist() == [CLS, *tokens.plain("the eye"), SEP, PAD, PAD, PAD, PAD]
    assert batch["first_mask"].sum(1).tolist() == [4, 8]
    assert torch.equal(batch["first"], batch["second"])
    batch = batch_of(tasks.masked_examples(TEXTS, tokens, masking(), seed=0, decoder=masking(0.7)))
    assert set(batch) == {"ids", "ids_mask", "labels", "decoder_ids", "decoder_labels"}
    assert (batch["labels"][~batch["ids_mask"]] == IGNORED).all()
    asked = (batch["decoder_labels"] != IGNORED).sum() / (batch["ids_mask"].sum() - 2 * len(TEXTS))
    assert 0.6 < asked < 0.8


def test_a_long_text_gives_a_window_anywhere(tokens):
    """T13: no text's end is lost."""
    text = " ".join(WORDS)
    seen = set()
    for example in tasks.masked_examples([text], tokens, masking(1.0), seed=0, views=200):
        assert len(example["ids"]) == 16
        seen |= set(example["labels"]) - {IGNORED}
    assert seen == set(tokens.plain(text))


def test_crops_and_spans_make_batches(tokens):
    """T13: Contriever's and coCondenser's data."""
    batch = batch_of(tasks.crop_examples(TEXTS, tokens, seed=0))
    assert batch["item"].tolist() == list(range(6))
    assert batch["first"].shape[0] == batch["second"].shape[0] == 6
    batch = batch_of(tasks.span_examples(TEXTS, tokens, masking(1.0), seed=0))
    assert batch["ids"].shape[0] == 12
    assert batch["item"].tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    texts = [set(tokens.plain(text)) for text in TEXTS]
    for row, labels in enumerate(batch["labels"].tolist()):
        assert set(labels) - {IGNORED} <= texts[row // 2]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda _: tasks.ict(["one"], np.random.default_rng(0)), "two or more"),
        (lambda _: Page([], ["p"]), "one of each"),
        (lambda _: Crops(shortest=0.6, longest=0.5), "shortest <= longest"),
        (lambda _: masking(0.0), "rate above 0"),
        (lambda _: masking(0.5, masked=0.8, random=0.3), "at most 1"),
        (lambda t: Tokens(t.tokenizer, max_tokens=2), "at least 3 tokens"),
        (lambda t: tasks.masked_examples([], t, masking(), seed=0), "no text"),
        (lambda t: tasks.crop_examples(["the eye", " "], t, seed=0), "Text 1 .* has 0 tokens"),
        (lambda t: tasks.span_examples(["eye"], t, masking(), seed=0), "fewer than the 2"),
        (lambda t: tasks.masked_examples(["eye"], t, masking(), seed=0, enhanced=True), "decoder's masking"),
        (lambda t: tasks.pair_examples(["", "eye"], tasks.twins, t, seed=0)[0], "has 0 tokens"),
        (lambda _: Drawn([], lambda *_: {}, 0), "one of each"),
        (lambda _: Drawn([1], lambda *_: {}, 0, views=0), "views=0"),
        (lambda _: Condenser(tiny_bert(), early=4), "layer from 1 to 3"),
        (lambda _: Condenser(torch.nn.Linear(2, 2)), "BertModel or BertForMaskedLM"),
        (lambda _: BottleneckAutoencoder(tiny_bert(), layers=2, enhanced=True), "just one if enhanced"),
        (lambda _: BottleneckAutoencoder(tiny_bert(), bottleneck="max"), "cls, lexicon"),
        (lambda _: PairContrast(tiny_bert(), pooling="last"), "cls, mean"),
        (lambda _: PairContrast(tiny_bert(), temperature=0), "temperature above 0"),
        (lambda _: MomentumContrast(tiny_bert(), momentum=1.0), "momentum < 1"),
        (lambda _: span_contrast(torch.ones(2, 3)), "two for each of at least 2 texts"),
    ],
)
def test_what_cannot_be_trained_on_is_an_error(tokens, make, message):
    """T13: bad input."""
    with pytest.raises(InputError, match=message):
        make(tokens)


def test_masking_needs_a_tokenizer_like_berts():
    """T13: bad input."""
    without = tokenizer()
    without.mask_token = None
    with pytest.raises(InputError, match="no mask token"):
        Masking.of(without, 0.15)
    plain = Tokenizer(models.WordLevel({"[UNK]": 0, "[MASK]": 1}, unk_token="[UNK]"))
    wrapped = PreTrainedTokenizerFast(tokenizer_object=plain, unk_token="[UNK]", mask_token="[MASK]")
    with pytest.raises(InputError, match="pieces that begin"):
        Masking.of(wrapped, 0.15, whole_words=True)


# -- losses against their definitions --------------------------------------------------------------------------------


def nce_by_definition(scores, positives, left_out):
    """Python's own: mean over rows of -log(e^s+ / sum of e^s of the keys that count)."""
    losses = []
    for row, positive, out in zip(scores, positives, left_out, strict=True):
        counted = [math.exp(score) for score, gone in zip(row, out, strict=True) if not gone]
        losses.append(-math.log(math.exp(row[positive]) / sum(counted)))
    return sum(losses) / len(losses)


@given(SEEDS, st.floats(0.05, 2))
@settings(max_examples=30)
def test_info_nce_is_its_formula(seed, temperature):
    """T13 (T1): the contrastive loss."""
    generator = torch.Generator().manual_seed(seed)
    queries, keys = (torch.randn(n, 5, generator=generator) for n in (4, 7))
    positives = torch.randint(7, (4,), generator=generator)
    out = torch.rand(4, 7, generator=generator) < 0.3
    out[torch.arange(4), positives] = False
    got = info_nce(queries, keys, positives, left_out=out, temperature=temperature)
    scores = (queries.double() @ keys.double().T / temperature).tolist()
    assert got.item() == pytest.approx(nce_by_definition(scores, positives.tolist(), out.tolist()), rel=1e-4, abs=1e-5)


def test_span_contrast_leaves_only_itself_out():
    """T13: coCondenser's contrastive loss."""
    given_vectors = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    scores = (given_vectors @ given_vectors.T).tolist()
    itself = [[row == column for column in range(6)] for row in range(6)]
    expected = nce_by_definition(scores, [1, 0, 3, 2, 5, 4], itself)
    assert span_contrast(given_vectors).item() == pytest.approx(expected, rel=1e-5)


def test_pieces_of_one_text_that_is_drawn_twice_are_no_negatives():
    """A collection smaller than the steps comes several times, and a batch may hold a text more than once."""
    given_vectors = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    scores, item = (given_vectors @ given_vectors.T).tolist(), [7, 7, 3, 3, 7, 7]
    partners = [1, 0, 3, 2, 5, 4]
    out = [[item[row] == item[column] and column != partners[row] for column in range(6)] for row in range(6)]
    expected = nce_by_definition(scores, partners, out)
    assert span_contrast(given_vectors, torch.tensor(item)).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_pairs_find_each_other_by_cosine_and_the_same_text_is_no_negative(tokens, pooling):
    """T13: ICT, BFS, WLP, SimCSE: the in-batch loss, duplicates masked by id and by text."""
    texts = [*TEXTS[:3], TEXTS[0]]
    batch = batch_of(tasks.pair_examples(texts, tasks.twins, tokens, seed=0))
    batch["item"] = torch.tensor([0, 1, 1, 2])
    model = PairContrast(tiny_bert(), pooling=pooling, temperature=0.1).eval()
    hidden = model.encoder(input_ids=batch["first"], attention_mask=batch["first_mask"].long()).last_hidden_state
    rows = [hidden[row, 0] if pooling == "cls" else hidden[row, batch["first_mask"][row]].mean(0) for row in range(4)]
    unit = normalize(torch.stack(rows), dim=-1)
    out = [[False] * 4 for _ in range(4)]
    out[0][3] = out[3][0] = True  # the same text under two ids
    out[1][2] = out[2][1] = True  # two texts of one id
    expected = nce_by_definition((unit @ unit.T / 0.1).tolist(), range(4), out)
    assert model(**batch)["loss"].item() == pytest.approx(expected, rel=1e-4)


def test_twins_differ_by_dropout_only(tokens):
    """T13: SimCSE."""
    batch = batch_of(tasks.pair_examples(TEXTS, tasks.twins, tokens, seed=0))
    encoder = tiny_bert(dropout=0.1).train()
    torch.manual_seed(0)
    one, two = (vectors(encoder, batch["first"], batch["first_mask"], "cls") for _ in range(2))
    assert not torch.allclose(one, two)
    encoder.eval()
    one, two = (vectors(encoder, batch["first"], batch["first_mask"], "cls") for _ in range(2))
    assert torch.equal(one, two)


def test_moco_by_hand(tokens):
    """T13 (T3): Contriever's queue and momentum, two steps computed by hand."""
    examples = tasks.crop_examples(TEXTS, tokens, seed=0, views=2)
    first, second = (tasks.collate([examples[n] for n in part], pad_id=PAD) for part in ((0, 1, 2), (7, 2, 3)))
    encoder = tiny_bert()
    model = MomentumContrast(encoder, momentum=0.75, queue=4, temperature=0.2).train()
    start = {name: value.clone() for name, value in encoder.named_parameters()}
    model(**first)
    keys = vectors(model.follower, first["second"], first["second_mask"], "mean")
    torch.testing.assert_close(model.queue[:3], keys)
    assert model.queued.tolist() == [0, 1, 2, -1]

    with torch.no_grad():
        for value in encoder.parameters():
            value += 0.05
    loss = model(**second)["loss"]
    for name, slow in model.follower.named_parameters():
        torch.testing.assert_close(slow, start[name] * 0.75 + encoder.get_parameter(name) * 0.25)
        assert not slow.requires_grad
    queries = vectors(encoder, second["first"], second["first_mask"], "mean")
    new = vectors(model.follower, second["second"], second["second_mask"], "mean")
    scores = (queries @ torch.cat([new, keys]).T / 0.2).tolist()
    items = second["item"].tolist()  # 1, 2, 3: the same texts of the queue do not count
    out = [[key != row and items[key] == items[row] for key in range(3)] + [items[row] == n for n in range(3)]
           for row in range(3)]  # fmt: skip
    assert loss.item() == pytest.approx(nce_by_definition(scores, range(3), out), rel=1e-4)
    assert model.queued.tolist() == [2, 3, 2, 1]  # the oldest two went
    assert model.next.item() == 2
    loss.backward()
    assert all(value.grad is None for value in model.follower.parameters())

    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.eval()(**first)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_batch_larger_than_the_queue_leaves_its_last_keys(tokens):
    """T13 (T3): the queue's edge."""
    model = MomentumContrast(tiny_bert(), queue=4).train()
    model(**batch_of(tasks.crop_examples(TEXTS, tokens, seed=0)))
    assert sorted(model.queued.tolist()) == [2, 3, 4, 5]


def test_the_masked_loss_is_transformers_own(tokens):
    """T13: the masked-language head and loss, by BertForMaskedLM."""
    batch = batch_of(tasks.masked_examples(TEXTS, tokens, masking(), seed=0))
    theirs = tiny_bert(BertForMaskedLM).eval()
    theirs.cls.predictions.bias.data.normal_(generator=torch.Generator().manual_seed(1))
    ours = MaskedEncoder(theirs).eval()
    expected = theirs(input_ids=batch["ids"], attention_mask=batch["ids_mask"].long(), labels=batch["labels"])
    hidden = ours.hidden(batch["ids"], batch["ids_mask"])
    torch.testing.assert_close(ours.loss(hidden[-1], batch["labels"]), expected.loss)
    torch.testing.assert_close(ours.logits(hidden[-1]), expected.logits)
    nothing = torch.full_like(batch["labels"], IGNORED)
    assert ours.loss(hidden[-1], nothing).item() == 0


def test_what_was_trained_is_saved_without_shared_tensors_and_as_a_transformers_model(tokens, tmp_path):
    """T13: checkpoints, as a Trainer writes them, and the model that is used afterwards."""
    batch = batch_of(tasks.masked_examples(TEXTS, tokens, masking(), seed=0))
    trained = Condenser(tiny_bert(BertForMaskedLM)).eval()
    save_file(trained.state_dict(), tmp_path / "model.safetensors")
    other = Condenser(tiny_bert(BertForMaskedLM, seed=1)).eval()
    assert other(**batch)["loss"].item() != pytest.approx(trained(**batch)["loss"].item(), rel=1e-3)
    other.load_state_dict(load_file(tmp_path / "model.safetensors"))
    torch.testing.assert_close(other(**batch), trained(**batch))
    trained.model.masked_model().save_pretrained(tmp_path / "bert")
    loaded = BertForMaskedLM.from_pretrained(tmp_path / "bert").eval()
    read = loaded(input_ids=batch["ids"], attention_mask=batch["ids_mask"].long()).logits
    hidden = trained.model.hidden(batch["ids"], batch["ids_mask"])[-1]
    torch.testing.assert_close(read, trained.model.logits(hidden))


# -- what the heads see ----------------------------------------------------------------------------------------------


def nudged(module, layer, places):
    """Add something to the output of one encoder layer at `places`, as long as the handle is not removed."""

    def add(_, __, output):
        changed = output.clone()
        changed[:, places] += 0.5 * torch.linspace(-1, 1, output.shape[-1])
        return changed

    return module.model.encoder.encoder.layer[layer].register_forward_hook(add)


def test_condenser_reads_the_top_through_cls_only(tokens):
    """T13: Condenser's head gets [CLS] late and the tokens early."""
    batch = batch_of(tasks.masked_examples(TEXTS, tokens, masking(), seed=0))
    model = Condenser(tiny_bert(), late_loss=False).eval()
    assert model.early == 2
    plain = model(**batch)["loss"].item()
    rest, cls = slice(1, None), slice(0, 1)
    for layer, places, same in ((3, rest, True), (3, cls, False), (1, rest, False)):
        handle = nudged(model, layer, places)
        assert (model(**batch)["loss"].item() == pytest.approx(plain, abs=1e-6)) is same, (layer, places)
        handle.remove()


def test_condensers_head_by_definition(tokens):
    """T13: Condenser: the layers' own outputs put together by hand; the late loss by choice."""
    batch = batch_of(tasks.masked_examples(TEXTS, tokens, masking(), seed=0))
    model = Condenser(tiny_bert(), early=1).eval()
    states = model.model.hidden(batch["ids"], batch["ids_mask"])
    mixed = states[1].clone()
    mixed[:, 0] = states[4][:, 0]
    for layer in model.head:
        mixed = layer(mixed, src_key_padding_mask=~batch["ids_mask"])
    found = model(**batch)
    torch.testing.assert_close(found["head"], model.model.loss(mixed, batch["labels"]))
    torch.testing.assert_close(found["late"], model.model.loss(states[4], batch["labels"]))
    torch.testing.assert_close(found["loss"], found["head"] + found["late"])
    assert set(Condenser(tiny_bert(), late_loss=False)(**batch)) == {"loss", "head"}


def test_cocondenser_adds_the_contrast_of_the_late_cls(tokens):
    """T13: coCondenser."""
    examples = tasks.span_examples(TEXTS, tokens, masking(), seed=0, views=2)
    batch = tasks.collate([examples[number] for number in (0, 3, 6, 1)], pad_id=PAD)
    item = batch.pop("item")
    assert item.tolist() == [0, 0, 3, 3, 0, 0, 1, 1]
    condenser = Condenser(tiny_bert()).eval()
    found = CoCondenser(condenser)(**batch, item=item)
    late = condenser.model.hidden(batch["ids"], batch["ids_mask"])[-1][:, 0]
    torch.testing.assert_close(found["contrast"], span_contrast(late, item))
    torch.testing.assert_close(found["loss"], condenser(**batch)["loss"] + found["contrast"])


def decoder_batch(tokens, *, enhanced=False):
    decoder = masking(0.5)
    return batch_of(tasks.masked_examples(TEXTS, tokens, masking(), seed=0, decoder=decoder, enhanced=enhanced))


@pytest.mark.parametrize("enhanced", [False, True])
def test_retromaes_decoder_sees_the_text_through_its_vector_only(tokens, enhanced):
    """T13: RetroMAE: the encoder's tokens changed, [CLS] fixed: the decoder's loss stays."""
    batch = decoder_batch(tokens, enhanced=enhanced)
    model = BottleneckAutoencoder(tiny_bert(), enhanced=enhanced).eval()
    plain = model(**batch)["decoder"].item()
    for places, same in ((slice(1, None), True), (slice(0, 1), False)):
        handle = nudged(model, 3, places)
        assert (model(**batch)["decoder"].item() == pytest.approx(plain, abs=1e-6)) is same
        handle.remove()
    other = dict(batch, ids=batch["ids"].roll(1, 0))
    assert model(**other)["decoder"].item() != pytest.approx(plain, abs=1e-6)


def test_retromaes_loss_by_definition(tokens):
    """T13: RetroMAE: encoder's loss plus that of one layer over [vector, embeddings of the masked text]."""
    batch = decoder_batch(tokens)
    model = BottleneckAutoencoder(tiny_bert()).eval()
    bert, mask = model.model.encoder, batch["ids_mask"]
    hidden = bert(input_ids=batch["ids"], attention_mask=mask.long()).last_hidden_state
    inputs = bert.embeddings(input_ids=batch["decoder_ids"])
    inputs = torch.cat([hidden[:, :1], inputs[:, 1:]], 1)
    output = model.decoder[0](inputs, src_key_padding_mask=~mask)
    found = model(**batch)
    torch.testing.assert_close(found["encoder"], model.model.loss(hidden, batch["labels"]))
    torch.testing.assert_close(found["decoder"], model.model.loss(output, batch["decoder_labels"]))
    torch.testing.assert_close(found["loss"], found["encoder"] + found["decoder"])
    assert len(model.decoder) == 1


def test_the_loss_of_a_bag_of_words_by_definition(tokens):
    """T13: bag of words: what [CLS] gives each token that the text holds, once each; special tokens are not asked."""
    batch = batch_of(tasks.masked_examples(TEXTS, tokens, masking(), seed=0, words=True))
    model = BagOfWords(tiny_bert()).eval()
    hidden = model.model.encoder(input_ids=batch["ids"], attention_mask=batch["ids_mask"].long()).last_hidden_state
    expected = []
    for row, vector in enumerate(hidden[:, 0]):
        text = torch.where(batch["labels"][row] == IGNORED, batch["ids"][row], batch["labels"][row])
        held = {int(token) for token in text[batch["ids_mask"][row]]} - masking().special
        told = model.model.logits(vector).log_softmax(-1)
        expected.append(-sum(told[token] for token in held) / len(held))
    found = model(**batch)
    torch.testing.assert_close(found["words"], sum(expected) / len(expected))
    torch.testing.assert_close(found["loss"], found["encoder"] + found["words"])


def test_a_text_without_words_asks_for_none():
    logits = torch.randn(2, 9)
    labels = torch.tensor([[3, 3, IGNORED], [IGNORED, IGNORED, IGNORED]])
    torch.testing.assert_close(word_loss(logits, labels), -logits[0].log_softmax(-1)[3] / 2)


def test_enhanced_decoding_sees_what_its_mask_lets_through(tokens):
    """T13: RetroMAE's enhanced decoding: a token changes the positions that see it, and no others; all are asked."""
    batch = decoder_batch(tokens, enhanced=True)
    assert ((batch["decoder_labels"] != IGNORED).sum(1) == batch["ids_mask"].sum(1) - 2).all()
    model = BottleneckAutoencoder(tiny_bert(), enhanced=True).eval()
    whole = torch.randn(len(TEXTS), 16, generator=torch.Generator().manual_seed(0))
    args = (batch["ids_mask"], batch["sees"])
    plain = model.decode(whole, batch["decoder_ids"], *args)
    for place in range(1, 6):
        ids = batch["decoder_ids"].clone()
        ids[:, place] = (ids[:, place] - 4) % (VOCABULARY - 5) + 5
        moved = (model.decode(whole, ids, *args) - plain).abs().amax(-1) > 1e-7
        assert torch.equal(moved, batch["sees"][:, :, place])
    with pytest.raises(InputError, match="enhanced=True"):
        model.decode(whole, batch["decoder_ids"], batch["ids_mask"])


def test_lexmaes_vector_is_a_mixture_of_words(tokens):
    """T13: the lexicon bottleneck, by loops; its gradient leaves the words' embeddings alone."""
    batch = decoder_batch(tokens)
    model = MaskedEncoder(tiny_bert(BertForMaskedLM)).eval()
    hidden = model.hidden(batch["ids"], batch["ids_mask"])[-1].detach().requires_grad_()
    found = lexicon(model, hidden, batch["ids_mask"])
    logits = model.logits(hidden)
    for row in range(len(TEXTS)):
        highest = logits[row, batch["ids_mask"][row]].max(dim=0).values
        shares = highest.exp() / highest.exp().sum()
        expected = sum(share * word for share, word in zip(shares, model.words, strict=True))
        torch.testing.assert_close(found[row], expected, rtol=1e-4, atol=1e-5)
    (through_words,) = torch.autograd.grad(found.sum(), model.words, retain_graph=True)
    mixture = torch.stack([logits[row, mask].amax(dim=0).softmax(-1) for row, mask in enumerate(batch["ids_mask"])])
    (by_hand,) = torch.autograd.grad((mixture @ model.words.detach()).sum(), model.words)
    torch.testing.assert_close(through_words, by_hand)


def test_simlm_asks_all_tokens_of_a_text_with_guesses_in_it(tokens):
    """T13: SimLM's replaced tokens."""
    batch = decoder_batch(tokens)
    guesser = tiny_bert(BertForMaskedLM, seed=5).eval()
    make = partial(replaced, batch, guesser, special=frozenset(range(5)))
    found = make(generator=torch.Generator().manual_seed(0))
    framed = torch.where(batch["labels"] != IGNORED, batch["labels"], batch["ids"])
    for prefix in ("", "decoder_"):
        asked = batch[f"{prefix}labels"] != IGNORED
        ids, labels = found[f"{prefix}ids"], found[f"{prefix}labels"]
        assert torch.equal(ids[~asked], framed[~asked])
        ordinary = batch["ids_mask"] & (framed > 4)
        assert torch.equal(labels, framed.masked_fill(~ordinary, IGNORED))
    again = make(generator=torch.Generator().manual_seed(0))
    assert all(torch.equal(again[name], value) for name, value in found.items())
    many = {name: value[:1].expand(500, -1) for name, value in batch.items()}
    drawn = replaced(many, guesser, special=frozenset(), generator=torch.Generator().manual_seed(0))["ids"]
    place = int((batch["labels"][0] != IGNORED).nonzero()[0])
    logits = guesser(input_ids=batch["ids"], attention_mask=batch["ids_mask"].long()).logits[0, place]
    seen = torch.bincount(drawn[:, place], minlength=VOCABULARY) / 500
    assert (seen - logits.softmax(-1)).abs().max() < 0.08


# -- learning --------------------------------------------------------------------------------------------------------


def pages():
    return [Page([text], [text, *TEXTS[number : number + 2]]) for number, text in enumerate(TEXTS)]


def objectives(tokens):
    """Name -> (module, examples) of each task of T13."""
    pair = partial(tasks.pair_examples, tokens=tokens, seed=0)
    auto = partial(tasks.masked_examples, TEXTS, tokens, masking(), seed=0, decoder=masking(0.5))
    halves = [(text[: len(text) // 2], text[len(text) // 2 :]) for text in TEXTS]
    links = list(zip(pages(), pages()[1:], strict=False))
    bert, dropping = tiny_bert(layers=2), tiny_bert(layers=2, dropout=0.1)
    return {
        "ict": (PairContrast(bert), pair(halves, tasks.ict)),
        "bfs": (PairContrast(bert), pair(pages(), tasks.bfs)),
        "wlp": (PairContrast(bert), pair(links, tasks.wlp)),
        "simcse": (PairContrast(dropping), pair(TEXTS, tasks.twins)),
        "contriever": (MomentumContrast(bert, queue=8), tasks.crop_examples(TEXTS, tokens, seed=0)),
        "condenser": (Condenser(bert), tasks.masked_examples(TEXTS, tokens, masking(), seed=0)),
        "cocondenser": (CoCondenser(Condenser(bert)), tasks.span_examples(TEXTS, tokens, masking(), seed=0)),
        "retromae": (BottleneckAutoencoder(bert), auto()),
        "enhanced": (BottleneckAutoencoder(bert, enhanced=True), auto(enhanced=True)),
        "simlm": (BottleneckAutoencoder(bert, layers=2), auto()),
        "lexmae": (BottleneckAutoencoder(bert, bottleneck="lexicon"), auto()),
        "bow": (BagOfWords(bert), tasks.masked_examples(TEXTS, tokens, masking(), seed=0, words=True)),
    }


_OBJECTIVES = "ict bfs wlp simcse contriever condenser cocondenser retromae enhanced simlm lexmae bow"


def stepped(module, batch, steps, *, rate=5e-3):
    """The losses of some steps of Adam on one batch."""
    optimizer = torch.optim.Adam((value for value in module.parameters() if value.requires_grad), lr=rate, fused=True)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = module(**batch)["loss"]
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("name", _OBJECTIVES.split())
def test_thirty_steps_lower_the_loss(tokens, name):
    """T13: each task can be learnt."""
    torch.manual_seed(0)
    module, examples = objectives(tokens)[name]
    batch = batch_of(examples)
    if name == "simlm":
        generator = torch.Generator().manual_seed(0)
        guesser = tiny_bert(BertForMaskedLM, seed=5).eval()
        batch = replaced(batch, guesser, special=frozenset(range(5)), generator=generator)
    module.train()
    losses = stepped(module, batch, 30)
    assert losses[0] > 0.1
    assert np.mean(losses[-3:]) < 0.75 * losses[0]


def test_a_trainer_runs_it_and_resumes_to_the_same_weights(tokens, tmp_path):
    """T13: transformers.Trainer takes modules and examples as they are; MoCo's queue is resumed, too."""
    pytest.importorskip("accelerate")
    from transformers import Trainer, TrainingArguments

    def trained(folder, resume=None):
        module, examples = objectives(tokens)["contriever"]
        arguments = TrainingArguments(
            folder,
            max_steps=4,
            save_steps=2,
            per_device_train_batch_size=3,
            remove_unused_columns=False,
            dataloader_pin_memory=False,
            report_to=[],
            disable_tqdm=True,
            use_cpu=True,
        )
        trainer = Trainer(module, arguments, train_dataset=examples, data_collator=partial(tasks.collate, pad_id=PAD))
        trainer.train(resume_from_checkpoint=resume)
        return module.state_dict()

    whole = trained(tmp_path / "whole")
    resumed = trained(tmp_path / "resumed", str(tmp_path / "whole" / "checkpoint-2"))
    assert (whole["queued"] >= 0).all()
    torch.testing.assert_close(resumed, whole)


@pytest.mark.model
def test_minilm_learns_from_real_words():
    """T13: RetroMAE on the real MiniLM, its own tokenizer and whole words."""
    from transformers import AutoModel, AutoTokenizer

    from foveal.models.offline import OFFLINE, unpacked
    from foveal.settings import Settings

    folder = unpacked(OFFLINE["minilm"], Settings.load().cache)
    read = Tokens(AutoTokenizer.from_pretrained(folder), max_tokens=32)
    rule = partial(Masking.of, read.tokenizer, whole_words=True)
    texts = [
        "The fovea centralis is a pit of closely packed cones.",
        "Millstones were dressed by itinerant stonecutters.",
    ]
    examples = tasks.masked_examples(texts, read, rule(0.3), seed=0, decoder=rule(0.5))
    model = BottleneckAutoencoder(AutoModel.from_pretrained(folder)).train()
    torch.manual_seed(0)
    batch = tasks.collate([examples[0], examples[1]], pad_id=read.tokenizer.pad_token_id)
    losses = stepped(model, batch, 4, rate=3e-4)
    assert losses[-1] < 0.9 * losses[0]


# -- made-up queries -------------------------------------------------------------------------------------------------


class Scribe:
    """A chat that answers with queries about the passage's first word, and remembers what it was asked."""

    def __init__(self):
        self.asked = []

    def __call__(self, messages):
        self.asked.append(messages)
        passage = messages[-1]["content"].split("Passage:\n")[1]
        word = passage.split()[0]
        return f'Here are some:\n1. what is {word}?\n- {word} history\nwhat is {word}?\n\n"{word} for beginners"\n'


def test_queries_are_asked_of_a_chat_and_read_from_its_lines():
    """T12: doc2query over a chat model."""
    chat = Scribe()
    passages = {"a": "fovea {count} sees", "b": "oven bakes"}
    made = made_up_queries(passages, PromptedQueries(chat), per_passage=2)
    assert made == [
        ("what is fovea?", "a"),
        ("fovea history", "a"),
        ("what is oven?", "b"),
        ("oven history", "b"),
    ]
    content = chat.asked[0][0]["content"]
    assert content.endswith("fovea {count} sees")  # what stands in a passage is not filled in
    assert "Write 2 different" in content
    assert PromptedQueries(chat).queries(passages["b"], 9)[-1] == "oven for beginners"


def test_a_query_that_two_passages_got_is_dropped():
    """T12: a query that tells no passage from another."""
    made = made_up_queries({"a": "oven one", "b": "oven two", "c": "mill"}, PromptedQueries(Scribe()), per_passage=1)
    assert made == [("what is mill?", "c")]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("", []),
        ("Sure! Here you go:\n* one two\n(2) three\nQ: four\n3 pigs", ["one two", "three", "four", "3 pigs"]),
        ("The PASSAGE  itself\nwhy", ["why"]),
        ("x" * 201 + "\nONE\none", ["ONE"]),
        ("“quoted words”", ["quoted words"]),
    ],
)
def test_lines_that_are_no_queries_are_left_out(answer, expected):
    """T12: reading answers."""
    assert queries_of(answer, 10, passage="the passage itself") == expected


def test_generators_refuse_bad_settings():
    """T12: bad input."""
    with pytest.raises(InputError, match=r"\{passage\} and \{count\}"):
        PromptedQueries(Scribe(), prompt="write queries")
    with pytest.raises(InputError, match="at least one of both"):
        made_up_queries({}, PromptedQueries(Scribe()))
