"""Word sets that stand for a text: B-PROP's distributions to the last digit, PROP's likelihood, and the draws."""

from __future__ import annotations

import logging
import math
from collections import Counter

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer, BertConfig, BertModel, DistilBertConfig, DistilBertModel

from foveal.errors import InputError, UnknownName
from foveal.models.quiet import quiet
from foveal.training.bprop_attention import AttentionReader, Reading, is_word
from foveal.training.bprop_sampling import (
    HIGHEST,
    Choices,
    Contrast,
    Likelihood,
    Pair,
    RandomTerms,
    Sets,
    contrasted,
    contrastive_choices,
    distribution,
    saturated,
    word_sets,
)
from foveal.training.bprop_terms import ContrastiveTerms, term_distribution, word_set_examples

ATTENTION = {"fovea": 0.09, "pit": 0.03, "retina": 0.19, "the": 0.39, "sight": 0.01, "sharp": 0.04}
OTHER = {"the": 0.59, "oven": 0.09, "pit": 0.01}


def g(a):
    return a / (a + 0.01)


# -- exactness: six words with given attentions ----------------------------------------------------------------------


def test_the_distribution_of_a_document_is_its_saturated_attention():
    """C: P(t|D) to 1e-9."""
    total = sum(g(a) for a in ATTENTION.values())
    found = distribution(ATTENTION, Contrast())
    assert found == pytest.approx({word: g(a) / total for word, a in ATTENTION.items()}, abs=1e-9)
    assert math.fsum(found.values()) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize(
    ("kind", "formula"),
    [
        ("fraction", lambda a: a / (a + 0.01)),
        ("root", lambda a: a**0.5),
        ("sigmoid", lambda a: 1 / (1 + math.exp(-200 * (a - 0.02)))),
    ],
)
def test_saturations_by_their_formulas(kind, formula):
    found = saturated(ATTENTION, Contrast(saturation=kind))
    assert found == pytest.approx({word: formula(a) for word, a in ATTENTION.items()}, abs=1e-12)


def test_the_random_distribution_is_a_mean_of_saturated_attention_not_of_counts():
    """C: P(t|R) to 1e-9, g = 0 where a text lacks the word; a word of no text has a little mass."""
    epsilon = 1e-6
    random = RandomTerms.fit([saturated(one, Contrast()) for one in (ATTENTION, OTHER)], epsilon=epsilon)
    words = ATTENTION.keys() | OTHER.keys()
    mean = {word: (g(ATTENTION.get(word, 0)) + g(OTHER.get(word, 0))) / 2 for word in words}
    mass = sum(mean.values()) + epsilon * (len(words) + 1)
    for word in words:
        assert random.probability(word) == pytest.approx((mean[word] + epsilon) / mass, abs=1e-9)
    assert random.probability("unseen") == pytest.approx(epsilon / mass, abs=1e-12)
    assert sum(map(random.probability, [*words, "unseen"])) == pytest.approx(1, abs=1e-9)


def test_the_contrast_by_its_formula():
    """C: c(t) to 1e-9; a word that the collection lacks raises it, never lowers it (the reference: negative)."""
    random = RandomTerms.fit([saturated(OTHER, Contrast())])
    document = distribution(ATTENTION, Contrast())
    found = contrasted(document, random, Contrast())
    for word, p in document.items():
        assert found[word] == pytest.approx(-p * math.log2(random.probability(word)), abs=1e-9)
    assert found["retina"] > found["the"] > 0
    difference = contrasted(document, random, Contrast(contrast="difference"))
    assert difference["the"] == 0  # it is likelier elsewhere
    assert difference["retina"] == pytest.approx(document["retina"] - random.probability("retina"), abs=1e-12)


def test_the_contrast_has_a_highest_value():
    tiny = RandomTerms.fit([{"the": 1.0}], epsilon=1e-300)
    assert contrasted({"rare": 1.0}, tiny, Contrast()) == {"rare": HIGHEST}


def test_a_low_temperature_sharpens_and_an_infinite_one_makes_all_even():
    """The pitfall of T = 1: c is some hundredths, so that the softmax is all but even."""
    random = RandomTerms.fit([saturated(one, Contrast()) for one in (ATTENTION, OTHER)])
    document = distribution(ATTENTION, Contrast())
    scores = contrasted(document, random, Contrast())
    choices = contrastive_choices(document, random, Contrast(temperature=0.3))
    raised = {word: math.exp(score / 0.3) for word, score in scores.items()}
    expected = [raised[word] / sum(raised.values()) for word in choices.words]
    np.testing.assert_allclose(choices.probabilities, expected, atol=1e-9)
    even = contrastive_choices(document, random, Contrast(temperature=math.inf))
    np.testing.assert_allclose(even.probabilities, 1 / 6)
    sharp = contrastive_choices(document, random, Contrast(temperature=0.001))
    assert sharp.probabilities.max() > 0.99
    assert sharp.words[int(sharp.probabilities.argmax())] == max(scores, key=scores.__getitem__)


def test_a_temperature_in_deviations_follows_the_spread_of_the_scores():
    """A short text has scores that lie further apart: by this unit its words are as alike as those of a long one."""
    random = RandomTerms.fit([saturated(one, Contrast()) for one in (ATTENTION, OTHER)])
    document = distribution(ATTENTION, Contrast())
    deviation = np.std(list(contrasted(document, random, Contrast()).values()))
    found = contrastive_choices(document, random, Contrast(temperature=0.5, unit="deviation"))
    expected = contrastive_choices(document, random, Contrast(temperature=0.5 * deviation))
    np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=1e-12)
    alike = contrastive_choices({"pit": 1.0}, random, Contrast(unit="deviation"))
    assert alike.probabilities.tolist() == [1.0]


def test_a_collection_that_grows_gives_what_one_pass_gives(tmp_path):
    texts = [saturated(one, Contrast()) for one in (ATTENTION, OTHER, {"oven": 0.2})]
    whole = RandomTerms.fit(texts)
    grown = RandomTerms.fit(texts[:1])
    grown.update(texts[1:])
    grown.save(tmp_path / "terms.json")
    read = RandomTerms.load(tmp_path / "terms.json")
    for word in (*ATTENTION, *OTHER, "unseen"):
        assert whole.probability(word) == grown.probability(word) == read.probability(word)
    (tmp_path / "broken.json").write_text('{"texts": 1}', encoding="utf-8")
    with pytest.raises(InputError, match="Fit and save it anew"):
        RandomTerms.load(tmp_path / "broken.json")
    with pytest.raises(InputError, match="no text"):
        RandomTerms.fit([])


# -- PROP ------------------------------------------------------------------------------------------------------------


def test_the_likelihood_is_smoothed_by_the_collection():
    """Dirichlet: (tf + mu p) / (|D| + mu), mu the mean length; a set scores the sum of the logarithms."""
    texts = [["the", "pit", "the", "fovea"], ["oven", "the"]]
    likelihood = Likelihood.fit(texts, others=0, threshold=None)
    assert likelihood.mu == 3
    choices = likelihood.choices(texts[0], np.random.default_rng(0))
    expected = {"the": (2 + 3 * 3 / 6) / 7, "pit": (1 + 3 / 6) / 7, "fovea": (1 + 3 / 6) / 7}
    assert dict(zip(choices.words, np.exp(choices.scores), strict=True)) == pytest.approx(expected, abs=1e-12)
    total = sum(expected.values())
    assert choices.probabilities.tolist() == pytest.approx([value / total for value in expected.values()], abs=1e-12)


def test_words_of_the_collection_may_be_drawn_and_frequent_ones_are_passed_over():
    texts = [["the"] * 50 + ["pit"], [f"w{n}" for n in range(40)]]
    likelihood = Likelihood.fit(texts, others=15, threshold=1e-3)
    choices = likelihood.choices(texts[0], np.random.default_rng(0))
    assert 2 < len(choices.words) <= 17
    found = dict(zip(choices.words, choices.probabilities, strict=True))
    plain = Likelihood.fit(texts, others=0, threshold=None).choices(texts[0], np.random.default_rng(0))
    shares = dict(zip(plain.words, plain.probabilities, strict=True))
    assert found["pit"] / found["the"] > 2 * shares["pit"] / shares["the"]
    assert likelihood.choices([], np.random.default_rng(0)).words == ()
    with pytest.raises(InputError, match="without words"):
        Likelihood.fit([[], []])


@pytest.mark.parametrize("others", [0, 1, 5, 40])
def test_other_words_are_those_whose_exponential_clocks_ring_first(others):
    likelihood = Likelihood.fit([[f"w{n}" for n in range(40) for _ in range(1 + n % 3)]], others=others)
    names, shares = zip(*likelihood.frequencies.items(), strict=True)
    for seed in range(20):
        clocks = np.random.default_rng(seed).exponential(size=40) / np.array(shares)
        expected = [names[place] for place in sorted(range(40), key=lambda place: clocks[place])][:others]
        assert likelihood.choices(["w0"], np.random.default_rng(seed)).words[:others] == tuple(expected)


# -- sets ------------------------------------------------------------------------------------------------------------

NONE_OUT = Sets(least=1, left_out=())


def drawn_words(choices, sets, number, seed=0):
    """Words of both sets of `number` pairs."""
    found = word_sets(choices, sets, np.random.default_rng(seed))
    assert len(found) <= number
    return Counter(word for pair in found for words in (pair.better, pair.worse) for word in words)


def test_single_words_are_drawn_as_often_as_they_are_likely():
    """C: chi-square of some 1e5 draws; below the 0.999 quantile for 5 degrees of freedom."""
    probabilities = np.array([0.4, 0.25, 0.15, 0.1, 0.07, 0.03])
    from foveal.training.bprop_sampling import _drawn_set

    choices = Choices(tuple("abcdef"), probabilities, np.arange(6.0))
    rng = np.random.default_rng(0)
    draws = np.bincount([_drawn_set(choices, 1, rng)[0] for _ in range(100_000)], minlength=6)
    expected = 100_000 * probabilities
    assert ((draws - expected) ** 2 / expected).sum() < 20.5


def test_a_set_is_drawn_one_word_after_the_other_without_putting_back():
    """The second word's distribution given the first: p / (1 - p_first), as numpy's choice without replacement."""
    from foveal.training.bprop_sampling import _drawn_set

    probabilities = np.array([0.6, 0.3, 0.1])
    choices = Choices(tuple("abc"), probabilities, np.zeros(3))
    rng = np.random.default_rng(1)
    draws = Counter(tuple(_drawn_set(choices, 2, rng).tolist()) for _ in range(20_000))
    for one in range(3):
        for other in {0, 1, 2} - {one}:
            expected = probabilities[one] * probabilities[other] / (1 - probabilities[one])
            assert draws[one, other] / 20_000 == pytest.approx(expected, abs=0.015)


def test_the_better_set_is_the_one_that_scores_more_however_long_it_is():
    choices = Choices(tuple("abcdefghijkl"), np.full(12, 1 / 12), 2.0 ** np.arange(12))
    value = dict(zip(choices.words, choices.scores, strict=True))
    found = word_sets(choices, Sets(pairs=200, left_out=()), np.random.default_rng(0))
    assert len(found) > 150
    for pair in found:
        assert pair.better_score == sum(value[word] for word in pair.better)
        assert pair.worse_score == sum(value[word] for word in pair.worse)
        assert pair.better_score > pair.worse_score
        assert len(pair.better) == len(pair.worse) == len(set(pair.better)) > 0
    lengths = [len(pair.better) for pair in found]
    assert 2.5 < np.mean(lengths) < 4  # Poisson of 3, above 0
    again = word_sets(choices, Sets(pairs=200, left_out=()), np.random.default_rng(0))
    assert again == found


def test_sets_that_hardly_differ_are_drawn_again():
    choices = Choices(tuple("abcdefghijkl"), np.full(12, 1 / 12), np.linspace(1, 2, 12))
    sets = Sets(pairs=100, margin=0.3, left_out=())
    found = word_sets(choices, sets, np.random.default_rng(0))
    assert len(found) > 80
    assert all(pair.better_score - pair.worse_score >= 0.3 * pair.better_score for pair in found)
    assert word_sets(choices, Sets(margin=0.6, left_out=()), np.random.default_rng(0)) == []
    likely = choices._replace(scores=-choices.scores)  # logarithms are negative
    assert all(
        pair.better_score - pair.worse_score >= 0.3 * abs(pair.better_score)
        for pair in word_sets(likely, sets, np.random.default_rng(0))
    )


def test_stop_words_are_not_drawn_and_sets_that_tie_make_no_pair():
    choices = Choices(("the", "of", "pit", "fovea"), np.full(4, 0.25), np.array([9.0, 9.0, 1.0, 2.0]))
    found = word_sets(choices, Sets(pairs=50, length=1, least=2), np.random.default_rng(0))
    assert found
    assert {word for pair in found for word in (*pair.better, *pair.worse)} == {"pit", "fovea"}
    even = Choices(("pit", "fovea"), np.full(2, 0.5), np.ones(2))
    assert word_sets(even, Sets(pairs=50, length=1, least=2), np.random.default_rng(0)) == []


def test_a_text_with_few_words_gives_no_pair_and_a_set_longer_than_it_repeats_words():
    choices = Choices(("pit", "fovea"), np.full(2, 0.5), np.array([1.0, 2.0]))
    assert word_sets(choices, Sets(), np.random.default_rng(0)) == []
    found = word_sets(choices, Sets(pairs=30, length=6, least=2), np.random.default_rng(0))
    assert max(len(pair.better) for pair in found) > 2
    empty = Choices((), np.empty(0), np.empty(0))
    assert word_sets(empty, NONE_OUT, np.random.default_rng(0)) == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"pairs": 0}, {"length": 0}, {"length": -1.0}, {"length": 1e30}, {"length": math.inf}, {"length": math.nan},
        {"least": 0}, {"margin": -0.1}, {"margin": math.inf}, {"margin": math.nan},
    ],
    ids=str,
)  # fmt: skip
def test_sets_are_checked(wrong):
    with pytest.raises(InputError, match="Word sets"):
        Sets(**wrong)


def test_the_contrast_is_checked():
    for wrong in ({"temperature": 0}, {"temperature": -1.0}, {"b": 0}):
        with pytest.raises(InputError, match="above 0"):
            Contrast(**wrong)
    with pytest.raises(UnknownName, match="fraction, root, sigmoid"):
        Contrast(saturation="log")
    with pytest.raises(UnknownName, match="entropy, difference"):
        Contrast(contrast="ratio")
    with pytest.raises(UnknownName, match="score, deviation"):
        Contrast(unit="bits")
    assert Contrast().temperature == 0.02
    with pytest.raises(InputError, match="epsilon"):
        RandomTerms(epsilon=0)


# -- attention -------------------------------------------------------------------------------------------------------

TEXTS = ["a1 b1, f1 f2 f1.", "b2", "f3 a2 b2 f4 f5 f6 a3 b3 f7 f8 f9 a4 b4", "…"]


def letters(text):
    """The tiny encoder's words hold digits: here they count as words."""
    return text.isalnum()


@pytest.fixture
def any_word(monkeypatch):
    monkeypatch.setattr("foveal.training.bprop_attention.is_word", letters)


def model_of(folder, attention="eager"):
    with quiet():
        return AutoModel.from_pretrained(folder, attn_implementation=attention).eval()


def attention_by_definition(folder, text, tokens, row=None):
    """(words, attention) from the weights that transformers itself gives, one text at a time."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    read = tokenizer(text, return_tensors="pt", truncation=True, max_length=tokens, return_offsets_mapping=True)
    offsets = read.pop("offset_mapping")[0].tolist()
    with torch.no_grad():
        every = model_of(folder)(**read, output_attentions=True).attentions[-1][0].mean(0)
    paid = (every[0] if row is None else every.mean(0)).tolist()
    kept = [(text[a:b], weight) for (a, b), weight in zip(offsets, paid, strict=True) if letters(text[a:b])]
    return tuple(word for word, _ in kept), [weight for _, weight in kept]


@pytest.mark.parametrize("rows", ["cls", "mean"])
def test_the_attention_is_that_of_the_last_layers_cls_row(tiny_encoder, any_word, rows):
    """The mean over heads of one row of the model's own attentions; in a batch as alone; cut to the window."""
    tokenizer = AutoTokenizer.from_pretrained(tiny_encoder)
    reading = Reading(max_tokens=12, rows=rows)
    reader = AttentionReader(model_of(tiny_encoder, "sdpa"), tokenizer, reading)
    for text, found in zip(TEXTS, reader.read(TEXTS), strict=True):
        words, paid = attention_by_definition(tiny_encoder, text, 12, None if rows == "cls" else "mean")
        assert found.words == words
        np.testing.assert_allclose(found.paid, paid, atol=1e-5)
    first = reader.read(TEXTS)[0]
    assert first.terms()["f1"] == pytest.approx(first.paid[2] + first.paid[4])
    assert first.terms(most=True)["f1"] == max(first.paid[2], first.paid[4])


def test_cls_is_not_the_mean_over_all_rows(tiny_encoder, any_word):
    """What a fake gets wrong."""
    tokenizer = AutoTokenizer.from_pretrained(tiny_encoder)
    one, other = (AttentionReader(model_of(tiny_encoder), tokenizer, Reading(rows=rows)) for rows in ("cls", "mean"))
    assert np.abs(one.read(TEXTS)[2].paid - other.read(TEXTS)[2].paid).max() > 1e-3


def pieces_tokenizer():
    """Word pieces: "fovea" is one, "retinas" three."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "fovea", "ret", "##ina", "##s", "pit", "."]
    made = Tokenizer(models.WordPiece({name: n for n, name in enumerate(names)}, unk_token="[UNK]"))
    made.normalizer, made.pre_tokenizer = normalizers.Lowercase(), pre_tokenizers.BertPreTokenizer()
    named = {f"{name.lower()}_token": f"[{name}]" for name in ("PAD", "UNK", "CLS", "SEP", "MASK")}
    return PreTrainedTokenizerFast(tokenizer_object=made, **named)


def pieces_model(kind=BertModel, config=BertConfig, **options):
    with torch.random.fork_rng(devices=[]), quiet():
        torch.manual_seed(0)
        return kind(config(vocab_size=11, **options)).eval()


TINY = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32,
        "initializer_range": 0.4, "max_position_embeddings": 16}  # fmt: skip


def test_a_word_gets_what_its_pieces_get_or_as_the_reference_the_first_one():
    model, tokenizer = pieces_model(**TINY), pieces_tokenizer()
    text = "Retinas fovea. pit"  # [CLS] ret ##ina ##s fovea . pit [SEP]
    whole, first, only = (
        AttentionReader(model, tokenizer, reading).read([text])[0]
        for reading in (Reading(), Reading(pieces="first"), Reading(first_only=True))
    )
    model.set_attn_implementation("eager")
    ids = torch.tensor([[2, 6, 7, 8, 5, 10, 9, 3]])
    with torch.no_grad():
        row = model(ids, output_attentions=True).attentions[-1][0].mean(0)[0].numpy()
        seen = torch.tensor([[1, 1, 0, 0, 1, 1, 1, 1]])
        unseen = model(ids, attention_mask=seen, output_attentions=True).attentions[-1][0].mean(0)[0].numpy()
    assert whole.words == first.words == ("retinas", "fovea", "pit")
    np.testing.assert_allclose(whole.paid, [row[1:4].sum(), row[4], row[6]], atol=1e-6)
    np.testing.assert_allclose(first.paid, [row[1], row[4], row[6]], atol=1e-6)
    np.testing.assert_allclose(only.paid, [unseen[1], unseen[4], unseen[6]], atol=1e-6)


def test_many_texts_are_read_in_parts(monkeypatch):
    """Their tokens take more memory than what is read of them."""
    reader = AttentionReader(pieces_model(**TINY), pieces_tokenizer())
    texts = ["fovea pit", "retinas", "", "pit fovea retinas fovea", "fovea"]
    whole = reader.read(texts)
    monkeypatch.setattr("foveal.training.bprop_attention.TEXTS_TOGETHER", 2)
    for one, other in zip(reader.read(texts), whole, strict=True):
        assert (one.words, one.tokens) == (other.words, other.tokens)
        np.testing.assert_allclose(one.paid, other.paid, atol=1e-6)


def test_other_models_are_read_by_their_attentions_and_fused_kernels_are_named():
    """A model without attention outputs: the error names the setting that it needs."""
    small = {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32, "max_position_embeddings": 16,
             "initializer_range": 0.4}  # fmt: skip
    model, tokenizer = pieces_model(DistilBertModel, DistilBertConfig, **small), pieces_tokenizer()
    model.set_attn_implementation("eager")
    found = AttentionReader(model, tokenizer).read(["fovea pit", "retinas"])
    with torch.no_grad():
        row = model(torch.tensor([[2, 5, 9, 3]]), output_attentions=True).attentions[-1][0].mean(0)[0].numpy()
    np.testing.assert_allclose(found[0].paid, row[1:3], atol=1e-6)
    model.set_attn_implementation("sdpa")
    with pytest.raises(InputError, match='attn_implementation="eager"'):
        AttentionReader(model, tokenizer).read(["fovea pit"])


def test_a_long_text_is_read_in_windows_that_cut_no_word():
    tokenizer = pieces_tokenizer()
    reader = AttentionReader(pieces_model(**TINY), tokenizer, Reading(max_tokens=6))  # room for 4
    assert reader.windows("fovea pit retinas fovea retinas") == ["fovea pit ", "retinas fovea ", "retinas"]
    assert reader.windows("") == []
    terms = ContrastiveTerms.fit(["fovea pit retinas fovea retinas", "pit pit"], reader)
    parts = [distribution(one.terms(), Contrast()) for one in reader.read(["fovea pit ", "retinas fovea ", "retinas"])]
    found = terms.distributions(["fovea pit retinas fovea retinas"])[0]
    expected = sum(part.get("fovea", 0) * tokens / 9 for part, tokens in zip(parts, (2, 4, 3), strict=True))
    assert found["fovea"] == pytest.approx(expected)
    assert sum(found.values()) == pytest.approx(1)
    assert terms.random.texts == 4


def test_words_are_letters_of_any_script():
    assert all(map(is_word, ("fovea", "Sehgrube", "глаз", "目", "हिन्दी")))
    assert not any(map(is_word, ("", "p53", ".", "3", "́")))


def test_readings_are_checked():
    tokenizer = pieces_tokenizer()
    with pytest.raises(UnknownName, match="cls, mean"):
        Reading(rows="sep")
    with pytest.raises(UnknownName, match="sum, first"):
        Reading(pieces="last")
    with pytest.raises(InputError, match="at least 3"):
        Reading(max_tokens=2)
    with pytest.raises(InputError, match="2 layers"):
        AttentionReader(pieces_model(**TINY), tokenizer, Reading(layer=2))
    tokenizer.cls_token = None
    with pytest.raises(InputError, match=r"\[CLS\]"):
        AttentionReader(pieces_model(**TINY), tokenizer)


# -- terms -----------------------------------------------------------------------------------------------------------


def test_terms_are_ordered_by_their_contrast_and_the_same_each_time():
    reader = AttentionReader(pieces_model(**TINY), pieces_tokenizer())
    terms = ContrastiveTerms.fit(["fovea pit", "pit pit retinas"], reader)
    found = terms.of("fovea pit retinas")
    assert [term.score for term in found] == sorted((term.score for term in found), reverse=True)
    assert sum(term.probability for term in found) == pytest.approx(1)
    assert terms.of("fovea pit retinas", k=1) == found[:1]
    flat = terms.of("fovea pit retinas", temperature=math.inf)
    assert [term.probability for term in flat] == pytest.approx([1 / 3] * 3)
    sets = Sets(least=2, left_out=(), length=1, pairs=5)
    assert terms.word_sets("fovea pit retinas", sets, seed=4) == terms.word_sets("fovea pit retinas", sets, seed=4)
    with pytest.raises(InputError, match="k = 0"):
        terms.of("fovea", k=0)
    with pytest.raises(InputError, match="above 0"):
        terms.of("fovea", temperature=0)
    with pytest.raises(InputError, match="no text"):
        ContrastiveTerms.fit([], reader)


def test_a_text_without_letters_has_no_terms_and_says_so(caplog):
    reader = AttentionReader(pieces_model(**TINY), pieces_tokenizer())
    terms = ContrastiveTerms.fit(["fovea pit"], reader)
    with caplog.at_level(logging.WARNING, logger="foveal.training"):
        assert terms.of("... .") == []
        assert terms.of("") == []
    assert "no word" in caplog.text
    assert terms.word_sets("...") == []


def test_distributions_by_attention_and_by_counts():
    reader = AttentionReader(pieces_model(**TINY), pieces_tokenizer())
    texts = ["fovea pit pit", "retinas"]
    by_attention = term_distribution(texts, reader)
    expected = distribution(reader.read(texts[:1])[0].terms(), Contrast())
    assert by_attention[0] == pytest.approx(expected)
    by_counts = term_distribution(texts, reader, "unigram")  # mu = 2, |D| = 3: (2 + 2/2) : (1 + 2/4)
    assert by_counts[0] == pytest.approx({"pit": 2 / 3, "fovea": 1 / 3})
    with pytest.raises(UnknownName, match="attention, unigram"):
        term_distribution(texts, reader, "tf-idf")


def test_sets_are_queries_for_any_trainer():
    pairs = {"a": [Pair(("fovea", "pit"), ("pit",), 2, 1), Pair(("same",), ("pit",), 2, 1)],
             "b": [Pair(("same",), ("oven",), 2, 1)]}  # fmt: skip
    made = word_set_examples({"a": "fovea …", "b": "oven …"}, pairs)
    assert made.queries == {"w0": "fovea pit"}
    assert made.positives == {"w0": ["a"]}
    with pytest.raises(InputError, match="one text alone"):
        word_set_examples({"a": "x"}, {"a": []})
