"""What the neural rankers share: words and ids, vectors, match matrices, losses, training, saving, ranking."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as few
from hypothesis import strategies as st
from retrieval.shelf import Words, hit, names
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers

from foveal.errors import Cancelled, InputError, ModelUnavailable, UnknownName
from foveal.evaluation.scripts import composed, pieces
from foveal.models import OFFLINE
from foveal.models.chat import Cancel
from foveal.models.offline import unpacked
from foveal.models.word_vectors import principal
from foveal.ranking.neural import build
from foveal.ranking.neural.inputs import Pairs, Vocabulary, pairs, placed, prepared, words
from foveal.ranking.neural.losses import LOSSES, RankLossSettings, make_loss, ndcg_changes, teaches
from foveal.ranking.neural.matches import (
    binned,
    bins,
    cosine_matches,
    cosines,
    histograms,
    indicator_matches,
    kernel_sums,
    kernels,
    log_sums,
    masked_softmax,
    pair_mask,
    same_word,
    top_matches,
)
from foveal.ranking.neural.ranker import Neural
from foveal.ranking.neural.scorer import Scorer
from foveal.ranking.neural.training import (
    KnownWords,
    Lists,
    NeuralSettings,
    fit_ranker,
    load_ranker,
    scored,
    train_ranker,
    untrained,
)
from foveal.ranking.neural.vectors import WordVectors
from foveal.retrieval.pipeline import Pipeline
from foveal.settings import Settings
from foveal.training.examples import Examples, Rows
from foveal.training.loop import LoopSettings
from foveal.training.runs import RunSettings

TEXTS = ["the old mill grinds grain", "a mill by the river", "steam drives the engine"]


@pytest.fixture
def vocabulary():
    return Vocabulary.of_texts(TEXTS, ["old wheel"], min_frequency=2, buckets=50)


# -- words and ids ----------------------------------------------------------------------------------------------------


def test_words_are_lower_case_and_ideographs_stand_alone():
    assert words("Sight's sharpest—here! 0.5 Ärger 目を見る x2") == [
        "sight", "s", "sharpest", "here", "0", "5", "ärger", "目", "を", "見", "る", "x2",
    ]  # fmt: skip
    assert words(" …") == []


@pytest.mark.parametrize(
    ("text", "cut"),
    [
        ("हिन्दी भाषा।", ["हिन्दी", "भाषा"]),  # vowel signs are no letters for a regular expression
        ("مُحَمَّد كتب", ["مُحَمَّد", "كتب"]),
        ("re\u0301sume\u0301", ["résumé"]),
        ("co\u00adoperate", ["cooperate"]),
        ("か\u3099くは", ["が", "く", "は"]),
        ("𠀀𠀁字", ["𠀀", "𠀁", "字"]),
        ("İstanbul", ["i\u0307stanbul"]),
        ("\u0301 x", ["x"]),
    ],
    ids=[
        "Hindi",
        "Arabic",
        "accents apart",
        "a soft hyphen",
        "kana apart",
        "rare ideographs",
        "Turkish",
        "an accent alone",
    ],
)
def test_words_of_any_script_stay_whole_and_in_place(text, cut):
    assert words(text) == cut
    assert [word for word, _, _ in placed(text)] == cut
    assert [composed(text[start:end].lower()) for _, start, end in placed(text)] == cut


def test_where_no_space_parts_words_pieces_of_them_match():
    """The word of a question was never one of a text of Thai: that was one word without end."""
    text = "น้ำตาลหวาน 5 กก2"
    assert words(text) == [*pieces("น้ำตาลหวาน"), "5", "กก", "2"]  # as the other parts of the library cut it
    assert len(words("น้ำตาลหวาน")) == 7
    assert set(words("ตาล")) <= set(words(text))
    assert [word for word, _, _ in placed(text)] == words(text)
    places = [(start, end) for _, start, end in placed(text)]
    assert "".join(text[start:end] for start, end in places) == text.replace(" ", "")


def test_a_soft_hyphen_in_a_text_without_spaces_is_no_word():
    text = "น้ำ\u00adตาล\u00ad หวาน"
    assert words(text) == [*pieces("น้ำตาล"), *pieces("หวาน")]
    assert [word for word, _, _ in placed(text)] == words(text)


def test_a_vocabulary_of_before_cuts_as_it_did(tmp_path):
    cafe = "cafe\u0301"
    known = Vocabulary.of_texts([f"the {cafe}", "the"])
    assert known.words == ("the", "café")
    known.save(tmp_path / "new.json")
    told = json.loads((tmp_path / "new.json").read_text())
    del told["cutting"]
    (tmp_path / "old.json").write_text(json.dumps(told | {"words": ["the", cafe]}))
    old = Vocabulary.load(tmp_path / "old.json")
    for vocabulary, word in ((old, cafe), (Vocabulary.load(tmp_path / "new.json"), "café")):
        read = prepared(vocabulary, f"The {cafe}", length=9)
        assert (read.words, read.ids) == (("the", word), (1, 2))
    assert prepared(old, "ตาลหวาน", length=9).words == ("ตาลหวาน",)
    assert [word for word, _, _ in placed(cafe, old.cutting)] == [cafe]
    (tmp_path / "later.json").write_text(json.dumps(told | {"cutting": 3}))
    with pytest.raises(InputError, match=r"cut in the way 3.*newer Foveal\.$") as told_of:
        Vocabulary.load(tmp_path / "later.json")
    assert "anew" not in str(told_of.value)


def test_a_place_is_that_of_the_text_though_small_letters_are_more():
    text = "İs ΟΔΟΣ İt, İ."
    assert [word for word, _, _ in placed(text)] == words(text)
    assert [text[start:end] for _, start, end in placed(text)] == ["İs", "ΟΔΟΣ", "İt", "İ"]


def test_each_word_has_an_id_of_its_own_and_idf_by_definition(vocabulary):
    """OOV pitfall: rare words of a collection keep ids of their own; unseen ones share few, never 0."""
    assert vocabulary.words[: vocabulary.known] == ("the", "mill", "old")
    ids = [vocabulary.id_of(word) for word in vocabulary.words]
    assert ids == list(range(1, 1 + len(ids)))
    assert vocabulary.id_of("unheard") == vocabulary.id_of("unheard") > len(ids)
    assert vocabulary.id_of("unheard") != vocabulary.id_of("unseen")
    assert len(vocabulary) == 1 + len(ids) + 50
    by_id = vocabulary.idf_by_id
    for word, holding in (("the", 3), ("mill", 2), ("wheel", 0), ("unheard", 0)):
        expected = math.log(1 + (3 - holding + 0.5) / (holding + 0.5))
        assert by_id[vocabulary.id_of(word)].item() == pytest.approx(expected, rel=1e-6)
    assert by_id[0].item() == 0


def test_a_vocabulary_is_saved_and_damage_is_told(vocabulary, tmp_path):
    vocabulary.save(tmp_path / "v.json")
    assert Vocabulary.load(tmp_path / "v.json") == vocabulary
    (tmp_path / "v.json").write_text('{"words": ["a"]}')
    with pytest.raises(InputError, match="holds no vocabulary"):
        Vocabulary.load(tmp_path / "v.json")
    with pytest.raises(InputError, match="got 0 documents"):
        Vocabulary.of_texts([])
    with pytest.raises(InputError, match="an idf for each word"):
        replace(vocabulary, idf=(1.0,))


def test_pairs_are_padded_to_the_longest_and_cut_at_the_lengths(vocabulary):
    both = pairs(vocabulary, ["old mill wheel", ""], ["the river", TEXTS[0]], query_length=2, document_length=4)
    assert (both.query.shape, both.document.shape, len(both)) == ((2, 2), (2, 4), 2)
    assert both.query.tolist() == [[vocabulary.id_of("old"), vocabulary.id_of("mill")], [0, 0]]
    assert both.document_words == (("the", "river"), ("the", "old", "mill", "grinds"))
    assert both.document_mask.tolist() == [[True, True, False, False], [True] * 4]
    assert both.idf[1].tolist() == [0, 0]
    wide = both.padded(3, 2)
    assert (wide.query.shape, wide.document.shape) == ((2, 3), (2, 4))
    content = pairs(vocabulary, ["the"], ["the mill", "the"][:1], query_length=3, document_length=3, content_only=True)
    assert (content.query_words, content.document_words) == ((("the",),), (("mill",),))
    for wrong in ({"queries": []}, {"query_length": 0}):
        given_ = {"queries": ["a"], "documents": ["b"], "query_length": 2, "document_length": 2} | wrong
        with pytest.raises(InputError):
            pairs(vocabulary, **given_)
    with pytest.raises(InputError, match="Pairs got"):
        Pairs(both.query, both.document[:1], both.idf)


# -- vectors ----------------------------------------------------------------------------------------------------------


def test_padding_is_zero_and_stays_so():
    held = WordVectors(torch.randn(5, 3), trained=True)
    ids = torch.tensor([[1, 2, 0]])
    found = held(ids)
    assert found[0, 2].tolist() == [0, 0, 0]
    assert found[0, :2].norm(dim=-1).tolist() == pytest.approx([1, 1], abs=1e-6)
    (found * torch.randn(3)).sum().backward()
    assert held.table.grad[0].tolist() == [0, 0, 0]
    assert bool(held.table.grad[1].any())
    frozen = held.like(trained=False)
    assert list(frozen.parameters()) == []
    assert torch.allclose(frozen(ids), found)
    assert not torch.allclose(WordVectors(torch.randn(5, 3) * 3, unit=False)(ids).norm(dim=-1)[0, 0], torch.tensor(1.0))
    with pytest.raises(InputError, match="got a table"):
        WordVectors(torch.randn(4))


def tiny_encoder(folder):
    """A word table of 6 numbers over pieces: whole words, "mill" as "mi" and "ll"."""
    pieces = ["[UNK]", "the", "old", "mi", "##ll", "grinds", "grain", "by", "river"]
    made = Tokenizer(models.WordPiece({piece: n for n, piece in enumerate(pieces)}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    folder.mkdir()
    made.save(str(folder / "tokenizer.json"))
    table = torch.randn(len(pieces), 6, generator=torch.Generator().manual_seed(0))
    save_file({"embeddings.word_embeddings.weight": table}, str(folder / "model.safetensors"))
    return table.numpy().astype(np.float64), {piece: n for n, piece in enumerate(pieces)}


def test_vectors_of_an_encoder_are_means_of_pieces_along_their_main_directions(vocabulary, tmp_path):
    """from_encoder, by definition: means of a word's rows, centred, their coordinates by NumPy's SVD."""
    table, place = tiny_encoder(tmp_path / "encoder")
    spelt = {"the": ["the"], "old": ["old"], "mill": ["mi", "##ll"], "grinds": ["grinds"], "grain": ["grain"],
             "by": ["by"], "river": ["river"]}  # fmt: skip
    means = np.array([np.mean([table[place[one]] for one in spelt[word]], axis=0) for word in spelt])
    centred = means - means.mean(0)
    expected = np.abs(centred @ np.linalg.svd(centred)[2][:3].T)  # the sign of a direction is free
    made = WordVectors.from_encoder(tmp_path / "encoder", vocabulary, 3, unit=False)
    rows = [vocabulary.id_of(word) for word in spelt]
    assert np.abs(made.table[rows].numpy()) == pytest.approx(expected, abs=1e-5)
    others = made.table[[vocabulary.id_of(word) for word in ("steam", "engine", "unheard")]]
    assert others.norm(dim=-1).tolist() == pytest.approx([np.linalg.norm(expected, axis=1).mean()] * 3, rel=1e-4)
    assert len({tuple(row) for row in made.table.tolist()}) == len(vocabulary)
    again = WordVectors.from_encoder(tmp_path / "encoder", vocabulary, 3, unit=False)
    assert torch.equal(again.table, made.table)


def test_what_is_no_encoder_is_refused(vocabulary, tmp_path):
    tiny_encoder(tmp_path / "encoder")
    with pytest.raises(InputError, match="of 9 numbers were asked for"):
        WordVectors.from_encoder(tmp_path / "encoder", vocabulary, 9)
    with pytest.raises(InputError, match="can spell none of the 1 words"):
        WordVectors.from_encoder(tmp_path / "encoder", Vocabulary.of_texts(["Пример"], min_frequency=1), 1)
    with pytest.raises(ModelUnavailable, match="holds no tokenizer"):
        WordVectors.from_encoder(tmp_path, vocabulary, 2)
    save_file({"x": torch.zeros(2)}, str(tmp_path / "encoder" / "model.safetensors"))
    with pytest.raises(ModelUnavailable, match="no table called word_embeddings"):
        WordVectors.from_encoder(tmp_path / "encoder", vocabulary, 2)


def test_vectors_of_texts_factor_the_pointwise_mutual_information():
    """trained_on: with all factors U sqrt(S) has the Gram matrix U S U^T of the positive PMI, counted by hand."""
    texts = ["a b c a", "b c d", "d a b"]
    vocabulary = Vocabulary.of_texts(texts, min_frequency=1, buckets=2)
    known = [words(text) for text in texts]
    near = np.zeros((4, 4))
    for text in known:
        for i, j in permutations(range(len(text)), 2):
            if abs(i - j) <= 2:
                near[vocabulary.id_of(text[i]) - 1, vocabulary.id_of(text[j]) - 1] += 1
    sums = near.sum(0)
    with np.errstate(divide="ignore"):
        information = np.maximum(np.log(near * near.sum() / np.outer(sums, sums)), 0)
    left, sizes, _ = np.linalg.svd(information)
    made = WordVectors.trained_on(texts, vocabulary, 4, window=2, unit=False).table[1:5].numpy()
    assert made @ made.T == pytest.approx(left * sizes @ left.T, abs=1e-4)
    with pytest.raises(InputError, match="4 frequent words give"):
        WordVectors.trained_on(texts, vocabulary, 5)
    with pytest.raises(InputError, match="No two frequent words"):
        WordVectors.trained_on(["a", "b"], vocabulary, 2)


def test_vectors_beside_others_have_the_mean_of_both_cosines():
    """beside: also for vectors that are not of length 1; padding stays zero."""
    one, other = WordVectors.random(9, 4, seed=1, unit=False), WordVectors.random(9, 7, seed=2)
    both, ids = one.beside(other), torch.arange(1, 9)
    assert both.dimension == 11
    assert both(torch.tensor([0])).abs().max() == 0
    expected = (cosines(one(ids)[None], one(ids)[None]) + cosines(other(ids)[None], other(ids)[None])) / 2
    torch.testing.assert_close(cosines(both(ids)[None], both(ids)[None]), expected)
    with pytest.raises(InputError, match="the same vocabulary"):
        one.beside(WordVectors.random(8, 4))


def test_principal_directions_do_not_depend_on_signs():
    vectors = torch.randn(20, 5, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(principal(vectors, 5) @ principal(vectors, 5).T,
                          (vectors - vectors.mean(0)) @ (vectors - vectors.mean(0)).T, atol=1e-4)  # fmt: skip


@pytest.mark.model
def test_minilms_words_of_like_meaning_lie_near():
    """from_encoder on the offline MiniLM."""
    folder = unpacked(OFFLINE["minilm"], Settings.load().cache)
    texts = ["king queen river lake boat ship", "mathematics algebra physics chemistry apple pear bread butter"]
    vocabulary = Vocabulary.of_texts(texts, min_frequency=1)
    held = WordVectors.from_encoder(folder, vocabulary, 10)
    one = dict(zip(vocabulary.words, held.table[1:], strict=False))
    for near, to, far in (("river", "lake", "algebra"), ("physics", "chemistry", "butter"), ("boat", "ship", "pear")):
        assert one[near] @ one[to] > one[near] @ one[far]


# -- matches ----------------------------------------------------------------------------------------------------------


def test_kernels_are_those_of_the_paper():
    """K-NRM's 11 kernels: mu 1.0 (sigma 1e-3), 0.9, 0.7 … -0.9 (sigma 0.1)."""
    mus, sigmas = zip(*kernels(), strict=True)
    assert mus == pytest.approx([1.0, 0.9, 0.7, 0.5, 0.3, 0.1, -0.1, -0.3, -0.5, -0.7, -0.9])
    assert sigmas == (1e-3, *[0.1] * 10)
    with pytest.raises(InputError):
        kernels(1)


@given(st.integers(1, 4), st.integers(1, 5), st.integers(0, 3), st.integers(0, 2**31))
def test_kernel_sums_by_definition_and_without_padding(m, n, more, seed):
    generator = torch.Generator().manual_seed(seed)
    matches = torch.rand(1, m, n + more, generator=generator) * 2 - 1
    mask = torch.arange(n + more).expand(1, m, -1) < n
    found = kernel_sums(matches, mask, kernels())
    for i in range(m):
        for k, (mu, sigma) in enumerate(kernels()):
            total = sum(math.exp(-((float(matches[0, i, j]) - mu) ** 2) / (2 * sigma**2)) for j in range(n))
            assert found[0, i, k].item() == pytest.approx(total, abs=1e-5)


def test_logs_are_clamped_or_smooth_and_masked():
    """K-NRM pitfall: the log of an empty kernel is log 1e-10, not -inf; log1p by choice."""
    sums, mask = torch.tensor([[[0.0, 2.0], [1.0, 1.0]]]), torch.tensor([[True, False]])
    assert log_sums(sums, mask)[0].flatten().tolist() == pytest.approx([math.log(1e-10), math.log(2), 0, 0])
    assert log_sums(sums, mask, smooth=True)[0, 0].tolist() == pytest.approx([0, math.log(3)])


def test_equal_words_match_exactly_in_any_precision(vocabulary):
    """Exact match by ids: bfloat16 vectors, whose own cosine misses 1."""
    both = pairs(vocabulary, ["old mill old"], ["mill unheard"], query_length=4, document_length=4).padded(4, 3)
    held = WordVectors.random(len(vocabulary), 100, unit=False)
    query, document = (held(ids).bfloat16() for ids in (both.query, both.document))
    found = cosine_matches(query, document, both)
    assert found.dtype == torch.float32
    assert found[0, 1, 0].item() == 1.0
    assert indicator_matches(both)[0].tolist() == [[0, 0, 0], [1, 0, 0], [0, 0, 0], [0, 0, 0]]
    assert not bool(found[0, 3].any())
    assert not bool(found[0, :, 2].any())
    assert pair_mask(both)[0].sum().item() == 6


@given(st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=8), st.integers(1, 6), st.integers(0, 3))
def test_best_matches_are_the_highest_then_the_fill(values, k, more):
    matches = torch.tensor([values + [9.0] * more])
    mask = torch.arange(len(values) + more)[None] < len(values)
    expected = (sorted(values, reverse=True) + [0.5] * k)[:k]
    assert top_matches(matches, mask, k, fill=0.5)[0].tolist() == pytest.approx(expected)


@given(st.floats(-1, 1, width=32), st.integers(2, 200))
def test_bins_are_equal_parts_with_one_for_exact_matches(value, count):
    exact = torch.tensor([[[False, True]]])
    place = bins(torch.tensor([[[value, value]]]), exact, count)[0, 0].tolist()
    assert place[1] == count - 1
    assert 0 <= place[0] <= count - 2
    low = -1 + 2 * place[0] / (count - 1)
    assert low - 1e-5 <= value <= low + 2 / (count - 1) + 1e-5


@pytest.mark.parametrize("count", [2, 30])
def test_histograms_are_sums_of_ones(count):
    vocabulary = Vocabulary.of_texts(["a b c d e"], ["a b"], min_frequency=1)
    both = pairs(vocabulary, ["a b", "c", ""], ["b a a e", "", "d d"], query_length=3, document_length=5)
    matches = torch.rand(*both.query.shape, both.document.shape[1], generator=torch.Generator().manual_seed(3)) * 2 - 1
    places = bins(matches, same_word(both), count)
    assert histograms(matches, both, count).equal(binned(torch.ones_like(matches), places, pair_mask(both), count))


def test_a_softmax_over_nothing_is_nothing():
    """NaN guard for rows of padding alone, in the gradient, too."""
    logits = torch.tensor([[1.0, 2.0, 3.0], [1.0, 2.0, 3.0]], requires_grad=True)
    found = masked_softmax(logits, torch.tensor([[True, True, False], [False] * 3]))
    assert found.tolist()[0] == pytest.approx([1 / (1 + math.e), math.e / (1 + math.e), 0])
    assert found.tolist()[1] == [0, 0, 0]
    found[0, 0].add(found[1].sum()).backward()
    assert bool(logits.grad.isfinite().all())


# -- losses -----------------------------------------------------------------------------------------------------------


def better_pairs(y):
    return [(i, j) for i, j in permutations(range(len(y)), 2) if y[i] > y[j]]


def mean(values):
    values = list(values)
    return sum(values) / len(values)


def exp_softmax(f):
    total = sum(map(math.exp, f))
    return [math.exp(one) / total for one in f]


def by_definition(name, f, y, gamma):
    """One list's loss (of the pointwise ones the list of each document's)."""
    scaled = [gamma * one for one in f]
    if name == "bce":
        shares = [1 / (1 + math.exp(-one)) for one in scaled]
        return [-math.log(p) if label > 0 else -math.log(1 - p) for p, label in zip(shares, y, strict=True)]
    if name == "mse":
        return [(one - label) ** 2 for one, label in zip(f, y, strict=True)]
    if name == "hinge":
        return mean(max(0, 1 - f[i] + f[j]) for i, j in better_pairs(y))
    ranknet = {(i, j): math.log(1 + math.exp(-(scaled[i] - scaled[j]))) for i, j in better_pairs(y)}
    if name == "ranknet":
        return mean(ranknet.values())
    if name == "lambdarank":
        return sum(loss * abs(ndcg_swapped(f, y, i, j) - ndcg_swapped(f, y, i, i)) for (i, j), loss in ranknet.items())
    shares = exp_softmax(scaled)
    if name == "softmax":
        return -math.log(sum(s for s, label in zip(shares, y, strict=True) if label == max(y)))
    if name == "listnet":
        return -sum(t * math.log(s) for t, s in zip(exp_softmax(y), shares, strict=True))
    if name == "listmle":
        order = sorted(range(len(y)), key=lambda i: -y[i])
        drawn = [math.exp(scaled[i]) for i in order]
        return -sum(math.log(one / sum(drawn[place:])) for place, one in enumerate(drawn))
    raised = [math.exp(label) if label > 0 else 0.0 for label in y]
    target = [one / sum(raised) for one in raised]
    return -sum(a * math.log(s) + (1 - a) * math.log(1 - s) for a, s in zip(target, shares, strict=True))


def ndcg_swapped(f, y, i, j):
    """nDCG of the order by f in which documents i and j have changed places."""
    order = sorted(range(len(f)), key=lambda one: -f[one])
    a, b = order.index(i), order.index(j)
    order[a], order[b] = order[b], order[a]
    ideal = sum(label / math.log2(2 + rank) for rank, label in enumerate(sorted(y, reverse=True)))
    return sum(y[one] / math.log2(2 + rank) for rank, one in enumerate(order)) / ideal


SCORED = st.tuples(st.integers(-3000, 3000).map(lambda score: score / 1000), st.sampled_from([0, 0, 1, 2]))
LISTS = st.lists(st.lists(SCORED, min_size=1, max_size=5), min_size=1, max_size=3)


@pytest.mark.parametrize("name", LOSSES)
@few(max_examples=30)
@given(lists=LISTS, gamma=st.sampled_from([0.5, 1.0, 2.0]))
def test_losses_by_definition(name, lists, gamma):
    """bce, mse, hinge, ranknet, softmax (gamma), listnet, listmle, attention-rank, lambdarank, over lists of any
    length; a list from which nothing can be learnt counts nothing."""
    lists = [list({score: (score, label) for score, label in one}.values()) for one in lists]  # no ties
    wide = max(map(len, lists)) + 1
    scores, labels = torch.full((len(lists), wide), 5.0), torch.zeros(len(lists), wide)
    mask = torch.zeros(len(lists), wide, dtype=torch.bool)
    for row, one in enumerate(lists):
        scores[row, : len(one)] = torch.tensor([score for score, _ in one])
        labels[row, : len(one)] = torch.tensor([float(label) for _, label in one])
        mask[row, : len(one)] = True
    split = [([score for score, _ in one], [label for _, label in one]) for one in lists]
    useful = [(f, y) for f, y in split if len(set(y)) > 1]
    assert teaches(labels, mask).tolist() == [len(set(y)) > 1 for _, y in split]
    if name in ("bce", "mse"):
        expected = mean(value for f, y in split for value in by_definition(name, f, y, gamma))
    else:
        expected = mean(by_definition(name, f, y, gamma) for f, y in useful) if useful else 0.0
    scores.requires_grad_()
    found = make_loss(name, RankLossSettings(gamma=gamma))(scores, labels, mask)
    assert found.item() == pytest.approx(expected, rel=1e-3, abs=1e-4)
    found.backward()
    assert bool(scores.grad.isfinite().all())
    assert not bool(scores.grad[~mask].any())


def test_losses_of_several_tasks_are_added_up():
    """Multi-task: an order, and for each text whether it is relevant; as many negatives as the one that wants most."""
    scores, labels = torch.tensor([[0.3, 0.9, -0.4]], requires_grad=True), torch.tensor([[0.0, 1.0, 0.0]])
    mask = torch.ones(1, 3, dtype=torch.bool)
    found = make_loss("softmax+bce", bounded=True, middle=0.5)(scores, labels, mask)
    of_order = -math.log(exp_softmax([3.0, 9.0, -4.0])[1])
    of_each = mean(by_definition("bce", [-0.2, 0.4, -0.9], [0, 1, 0], 10.0))
    assert found.item() == pytest.approx(of_order + of_each, rel=1e-4)
    found.backward()
    assert bool(scores.grad.all())
    counts = {loss: NeuralSettings(loss=loss).per_row for loss in ("bce", "hinge+bce", "softmax+bce", "bce+listmle")}
    assert counts == {"bce": 1, "hinge+bce": 1, "softmax+bce": 4, "bce+listmle": 4}
    for wrong in ("softmax+", "softmax+clicks", "+"):
        with pytest.raises(UnknownName, match=r"There are: bce, mse.*; or a sum, a\+b"):
            NeuralSettings(loss=wrong)


def test_hinge_averages_the_hinges():
    """Pitfall: not the hinge of the mean negative."""
    scores, labels = torch.tensor([[1.0, 3.0, -5.0]]), torch.tensor([[1.0, 0.0, 0.0]])
    found = make_loss("hinge")(scores, labels, torch.ones(1, 3, dtype=torch.bool))
    assert found.item() == pytest.approx((3.0 + 0.0) / 2)


def test_bounded_scores_are_scaled_and_names_are_checked():
    scores, labels, mask = torch.tensor([[0.5, -0.5]]), torch.tensor([[1.0, 0.0]]), torch.ones(1, 2, dtype=torch.bool)
    assert make_loss("softmax", bounded=True)(scores, labels, mask).item() == pytest.approx(
        math.log(1 + math.exp(-10)), rel=1e-2
    )
    assert make_loss("softmax")(scores, labels, mask).item() == pytest.approx(math.log(1 + math.exp(-1)))
    half = make_loss("bce", RankLossSettings(gamma=2.0), middle=0.5)(scores[:, :1], labels[:, :1], mask[:, :1])
    assert half.item() == pytest.approx(math.log(2))
    assert ndcg_changes(scores, labels, mask)[0, 0, 1].item() == pytest.approx(1 - 1 / math.log2(3))
    with pytest.raises(UnknownName, match="bce, mse, hinge"):
        make_loss("triplet")
    for wrong in ({"margin": 0.0}, {"gamma": -1.0}):
        with pytest.raises(InputError):
            RankLossSettings(**wrong)


# -- scoring, saving, ranking -----------------------------------------------------------------------------------------

COLOURS = ["red", "green", "blue", "black"]
NOISE = ["mill", "wheel", "river", "old", "steam", "engine"]


def collection(count=24, seed=0):
    """A query names a colour and a thing; the text with both answers it; others have one of them, often repeated."""
    generator = np.random.default_rng(seed)
    queries, corpus, judged, found = {}, {}, {}, {}
    for n in range(count):
        colour, thing = COLOURS[n % 4], f"thing{n % 6}"
        queries[f"q{n}"] = f"{colour} {thing}"
        noise = " ".join(generator.choice(NOISE, 3))
        other = COLOURS[(n + 1) % 4]
        corpus |= {
            f"d{n}-a": f"{noise} {colour} {thing} number{n}",
            f"d{n}-b": f"{noise} {colour} {colour} number{n}",
            f"d{n}-c": f"{noise} {other} thing{(n + 1) % 6} {thing}x number{n}",
            f"d{n}-d": f"{noise} {noise} number{n}",
        }
        judged[f"q{n}"] = {f"d{n}-a": 1, f"d{n}-b": 0}
        found[f"q{n}"] = {f"d{n}-b": 3.0, f"d{n}-c": 2.0, f"d{n}-a": 1.0, f"d{n}-d": 0.5}
    return Examples(queries, corpus, judged, "colours"), found


EXAMPLES, FOUND = collection()
SETTINGS = NeuralSettings(
    query_length=6, document_length=12, min_frequency=1, dev_share=0.25,
    loop=LoopSettings(epochs=8, batch=8, learning_rate=0.02, checkpoint_every=1000),
)  # fmt: skip


def scorer_of(name="drmm", **options):
    vocabulary = Vocabulary.of_texts(EXAMPLES.corpus.values(), EXAMPLES.queries.values(), min_frequency=1, buckets=20)
    held = WordVectors.random(len(vocabulary), 8, seed=1)
    return Scorer(build(name, held, seed=1), vocabulary, 6, 12, **options)


@pytest.mark.parametrize("name", ["drmm", "knrm", "arc-i", "match-pyramid"])
def test_a_saved_ranker_scores_as_before(name, tmp_path):
    """Save and load: vocabulary, idf, word vectors, sizes; safetensors and JSON, nothing pickled."""
    scorer = scorer_of(name, weight=0.3, content_only=True)
    texts = [("red thing1", text) for text in list(EXAMPLES.corpus.values())[:9]] + [
        ("unheard red", "unheard"),
        ("", ""),
    ]
    folder = scorer.save(tmp_path / "ranker")
    assert sorted(path.name for path in folder.iterdir()) == ["model.safetensors", "ranker.json", "vocabulary.json"]
    again = load_ranker(folder)
    assert again(texts) == scorer(texts)
    assert (again.weight, again.content_only, again.model.settings) == (0.3, True, scorer.model.settings)
    assert replace(again, batch=2)(texts) == pytest.approx(scorer(texts), abs=1e-6)
    with pytest.raises(InputError, match="is there already"):
        scorer.save(folder)


def test_damaged_rankers_are_told(tmp_path):
    """Bad input: no folder, damaged JSON, a field that the model lacks, missing or foreign weights."""
    folder = scorer_of().save(tmp_path / "ranker")
    with pytest.raises(InputError, match="holds no neural ranker"):
        load_ranker(tmp_path)
    told = json.loads((folder / "ranker.json").read_text())
    (folder / "ranker.json").write_text(json.dumps({**told, "settings": {"layers": 3}}))
    with pytest.raises(InputError, match="cannot have the settings"):
        load_ranker(folder)
    (folder / "ranker.json").write_text(json.dumps({**told, "settings": {**told["settings"], "hidden": 7}}))
    with pytest.raises(InputError, match="does not fit this model"):
        load_ranker(folder)
    (folder / "ranker.json").write_text("{}")
    with pytest.raises(InputError, match="is damaged"):
        load_ranker(folder)
    (folder / "ranker.json").write_text(json.dumps(told))
    (folder / "model.safetensors").unlink()
    with pytest.raises(InputError, match="lacks model"):
        load_ranker(folder)
    scorer = scorer_of()
    for wrong in ({"weight": 2.0}, {"batch": 0}, {"vocabulary": Vocabulary.of_texts(["a"], min_frequency=1)}):
        with pytest.raises(InputError):
            replace(scorer, **wrong)


def test_a_score_that_is_no_number_is_an_error():
    scorer = scorer_of()
    with torch.no_grad():
        scorer.model.network[0].weight.fill_(torch.nan)
    with pytest.raises(InputError, match="gave no finite score for 'red'"):
        scorer([("red", "red mill")])


HITS = [
    hit(f"d{n}", 9.0 - n, text) for n, text in enumerate(["red mill", "green thing1", "", "red thing1 old", "river"])
]


def test_hits_come_by_score_beside_the_first_stage():
    """Neural: the model's scores with weight 1, the first stage's order with 0, a mixture between; budget; cancel."""
    scorer = scorer_of()
    scores = scorer([("red thing1", one.passage.text) for one in HITS])
    alone = Neural(scorer).rank("red thing1", HITS)
    assert names(alone) == [f"d{n}" for n in np.argsort(-np.array(scores), kind="stable")]
    assert [one.score for one in alone] == sorted(scores, reverse=True)
    assert {one.source for one in alone} == {"drmm"}
    assert names(Neural(scorer, weight=0.0).rank("red thing1", HITS)) == names(HITS)
    low, high = min(scores), max(scores)
    mixed = {f"d{n}": 0.6 * (1 - n / 4) + 0.4 * (s - low) / (high - low) for n, s in enumerate(scores)}
    found = Neural(scorer, weight=0.4).rank("red thing1", HITS)
    assert {one.passage.span.document_id: one.score for one in found} == pytest.approx(mixed)
    few = Neural(scorer, budget=2).rank("red thing1", HITS)
    assert names(few)[2:] == ["d2", "d3", "d4"]
    assert Neural(scorer).rank("red", []) == []
    cancel = Cancel()
    cancel.set()
    with pytest.raises(Cancelled):
        Neural(scorer).rank("red", HITS, cancel=cancel)
    with pytest.raises(InputError, match="budget=0"):
        Neural(scorer, budget=0)
    texts = {f"d{n}": one.passage.text for n, one in enumerate(HITS)}
    assert len(Pipeline([Words(texts), Neural(scorer)], [4, 3]).search(["red thing1"], 4)[0]) == 3


def test_a_query_of_unknown_words_or_of_none_is_told(caplog):
    """Bad input: a query with no known term has a defined score, and the log says so."""
    ranker = Neural(scorer_of())
    ranker.rank("red zebra", HITS)
    ranker.rank("zebra", [])
    assert not caplog.records
    ranker.rank("zebra", HITS)
    assert "drmm has learnt no word of 'zebra'" in caplog.text
    found = ranker.rank(" ?! ", HITS)
    assert "' ?! ' holds no word, so the ranker drmm gives all passages the same score" in caplog.text
    assert len({one.score for one in found}) == 1
    caplog.clear()
    Neural(scorer_of("dssm")).rank("zebra", HITS)  # it reads letters
    assert not caplog.records


def test_a_match_matrix_shows_which_words_matched(tmp_path):
    """Explain: words of query and text, their matches, what each word adds; an empty text has none."""
    folder = scorer_of().save(tmp_path / "ranker")
    ranker = Neural(str(folder))
    told = ranker.explain("Red thing1", hit("d", 1.0, "old red RED mill"))
    assert (told.query, told.document) == (("red", "thing1"), ("old", "red", "red", "mill"))
    assert told.matches.shape == (2, 4)
    assert told.matches[0, 1:3].tolist() == [1, 1]
    assert told.best()[0] == ("red", "red", 1.0)
    assert told.terms.sum() == pytest.approx(told.score, abs=1e-6)
    assert told.score == pytest.approx(ranker.scorer([("red thing1", "old red red mill")])[0], abs=1e-6)
    assert ranker.explain("red", hit("d", 1.0, "")).best() == []
    assert Neural(scorer_of("arc-i")).explain("red", hit("d", 1.0, "old")).terms is None


# -- training ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "loss"), [("drmm", "hinge"), ("knrm", "softmax")])
def test_a_ranker_learns_and_is_kept_by_the_guard(name, loss, tmp_path):
    """train_ranker: dev MAP above the first stage's, kept; a second start finds it; the folder is a ranker."""
    vectors = scorer_of()
    settings = replace(SETTINGS, loss=loss)
    words, run = KnownWords(vectors.vocabulary, vectors.model.vectors), RunSettings(home=tmp_path)
    folder, report = train_ranker(name, EXAMPLES, FOUND, settings, run=run, words=words)
    before, after = report.measured["dev"]
    assert before["map"] == pytest.approx(1 / 3)
    assert report.kept
    assert after["map"] > 0.8
    assert folder == tmp_path / "models" / report.name
    assert "by the model alone" in report.notes[0]
    ranked = Neural(folder).rank("blue thing2", [hit("b", 2.0, "blue blue mill"), hit("a", 1.0, "old blue thing2")])
    assert names(ranked)[0] == "a"
    run = RunSettings(home=tmp_path, on_progress=lambda _: pytest.fail("it trained"))
    again = train_ranker(name, EXAMPLES, FOUND, settings, run=run, words=words)
    assert again == (folder, report)


def test_a_ranker_that_orders_no_better_is_not_kept(tmp_path):
    """Guard: a first stage that is right already; the model lies in the run's folder, with weight 0 beside it."""
    scorer = scorer_of()
    right = {q: {d: 5.0 if d.endswith("a") else score for d, score in one.items()} for q, one in FOUND.items()}
    settings = replace(SETTINGS, loop=replace(SETTINGS.loop, epochs=1.0))
    folder, report = train_ranker(
        "drmm",
        EXAMPLES,
        right,
        settings,
        run=RunSettings(home=tmp_path, name="mine"),
        words=KnownWords(scorer.vocabulary, scorer.model.vectors),
    )
    assert (folder, report.kept) == (None, False)
    assert "was not kept" in report.notes[-1]
    assert load_ranker(tmp_path / "runs" / "train" / "mine" / "rejected").model.name == "drmm"


def test_rows_are_drawn_anew_each_epoch_and_batches_hold_them():
    """Pairs 1:1 for hinge, 1:4 for softmax, resampled every epoch; grades go with their documents."""
    assert (SETTINGS.per_row, replace(SETTINGS, loss="softmax").per_row) == (1, 4)
    assert replace(SETTINGS, negatives=2).per_row == 2
    scorer = scorer_of()
    pool = {query: [d for d in FOUND[query] if not d.endswith("a")] for query in EXAMPLES.queries}
    lists = Lists(Rows(EXAMPLES, pool, 2, seed=0), scorer)
    drawn = {tuple(lists[epoch * len(lists)][1]) for epoch in range(40)}
    assert drawn == {("d0-a", "d0-b", "d0-c"), ("d0-a", "d0-b", "d0-d")}  # d0-b was judged wrong
    for epoch in (0, 3):
        places = [place for one in lists.plan(epoch, batch=5, seed=1) for place in one]
        assert sorted(places) == list(range(24 * epoch, 24 * (epoch + 1)))
    assert lists.plan(0, batch=5, seed=1) != [[place - 24 for place in one] for one in lists.plan(1, batch=5, seed=1)]
    batch = lists.joined([lists[0], lists[25]])
    assert batch["grades"].tolist() == [[1, 0, 0], [1, 0, 0]]
    assert batch["pairs"].document_words[0] == tuple(words(EXAMPLES.corpus["d0-a"]))
    assert batch["pairs"].query_words[3:] == (tuple(words(EXAMPLES.queries["q1"])),) * 3


class Reading(Scorer):
    """A scorer that remembers which documents it was given to learn from."""

    def document(self, text):
        READ.append(text)
        return super().document(text)


READ: list[str] = []


def test_what_was_judged_wrong_teaches_though_it_was_not_found(tmp_path):
    """A document of another query, which the first stage does not find for this one."""
    learnt = EXAMPLES.only([f"q{n}" for n in range(8)])
    judged = {query: {f"d{query[1:]}-a": 1, f"d{12 + int(query[1:])}-d": 0} for query in learnt.queries}
    kept = scorer_of()
    scorer = Reading(kept.model, kept.vocabulary, 6, 12)
    READ.clear()
    settings = replace(SETTINGS, loop=replace(SETTINGS.loop, epochs=1.0))
    fit_ranker(scorer, replace(learnt, judged=judged), FOUND, settings, tmp_path / "run")
    assert {EXAMPLES.corpus[f"d{12 + n}-d"] for n in range(8)} <= set(READ)


@pytest.mark.slow
def test_a_seed_gives_a_model_and_the_best_dev_map_stays(tmp_path):
    """Seeds; selection by dev MAP; the lengths reach a model that has them."""
    scorer, learnt = scorer_of(), EXAMPLES.only([f"q{n}" for n in range(16)])
    dev = EXAMPLES.only([f"q{n}" for n in range(16, 24)])
    settings = replace(SETTINGS, loop=replace(SETTINGS.loop, epochs=3.0))
    made = []
    for run, seed in (("a", 0), ("b", 0), ("c", 1)):
        settings = replace(settings, loop=replace(settings.loop, seed=seed))
        one = untrained("arc-i", scorer.vocabulary, scorer.model.vectors, settings)
        curves = fit_ranker(one, learnt, FOUND, settings, tmp_path / run, dev=dev)
        made.append((one([("red thing1", "red thing1 mill")]), curves))
        best = max(metrics["map"] for _, metrics in curves.metrics)
        assert dict(curves.metrics)[curves.best_step]["map"] == best
        assert len(scored(one, dev, FOUND)["q16"]) == 4
    assert made[0][0] == made[1][0] != made[2][0]
    near = {query: {one: score + 1e-9 for one, score in found.items()} for query, found in FOUND.items()}
    assert fit_ranker(one, learnt, near, settings, tmp_path / "c", dev=dev) == made[2][1]  # it is that run
    with pytest.raises(InputError, match="of another run"):
        fit_ranker(scorer, learnt, FOUND, replace(settings, loss="ranknet"), tmp_path / "a", dev=dev)
    assert (one.model.settings.query_length, one.model.settings.document_length) == (6, 12)


def test_what_cannot_be_trained_is_told(tmp_path):
    """Bad input: unknown model or loss, a query for which nothing was found, a strange document."""
    scorer = scorer_of()
    options = {"run": RunSettings(home=tmp_path), "words": KnownWords(scorer.vocabulary, scorer.model.vectors)}
    with pytest.raises(UnknownName, match="No neural ranker is called 'bert'"):
        train_ranker("bert", EXAMPLES, FOUND, SETTINGS, **options)
    with pytest.raises(UnknownName, match="No ranking loss"):
        replace(SETTINGS, loss="triplet")
    with pytest.raises(InputError, match="depth = 0"):
        replace(SETTINGS, depth=0)
    with pytest.raises(InputError, match="Nothing was found for query"):
        train_ranker("drmm", EXAMPLES, {**FOUND, "q3": {}}, SETTINGS, **options)
    with pytest.raises(InputError, match="'zz' was found for query 'q3'"):
        train_ranker("drmm", EXAMPLES, {**FOUND, "q3": {"zz": 1.0}}, SETTINGS, **options)
    with pytest.raises(InputError, match="must not be longer"):
        train_ranker("arc-i", EXAMPLES, FOUND, replace(SETTINGS, query_length=2), **options)


def test_naming_the_models_loads_no_torch():
    """Lazy: the list of models is free."""
    code = (
        "from foveal.ranking.neural import MODELS; import sys; assert len(MODELS) == 18; print('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout.strip() == b"False"
