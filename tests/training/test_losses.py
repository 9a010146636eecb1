"""Objectives against their formulas, written out in plain Python, and against sentence-transformers' own."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor, nn

from foveal.errors import InputError, UnknownName
from foveal.training import model_folders
from foveal.training.losses import (
    LOSSES,
    InBatchTeacher,
    LossSettings,
    MemoryBank,
    adversarial,
    info_nce,
    joint_listwise,
    listwise_kl,
    make_loss,
    margin_mse,
    own_cosine,
    passage_centric,
    prefixes,
    text_codes,
)

B, D, TAU = 4, 6, 0.1
SETTINGS = LossSettings(temperature=TAU, mini_batch=3, dimensions=(16, 8), bank=10, momentum=0.9, in_batch_weight=0.0)


@pytest.fixture
def vectors() -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(B, D, generator=generator, requires_grad=True) for _ in range(3)]


def cos(a: Tensor, b: Tensor) -> float:
    return float((a @ b).detach() / (a.norm() * b.norm()).detach())


def share_of_first(scores: list[float]) -> float:
    """-log of the softmax share of the first score."""
    return -math.log(math.exp(scores[0]) / sum(map(math.exp, scores)))


def info_nce_by_definition(queries: Tensor, documents: list[Tensor]) -> float:
    losses = []
    for row, query in enumerate(queries):
        others = [d for place, d in enumerate(documents) if place != row]
        losses.append(share_of_first([cos(query, documents[row]) / TAU, *(cos(query, d) / TAU for d in others)]))
    return sum(losses) / len(losses)


def test_info_nce_by_its_definition(vectors):
    """T1: in-batch negatives, and A1's cosine over a temperature."""
    found = info_nce(vectors, temperature=TAU)
    assert float(found.detach()) == pytest.approx(
        info_nce_by_definition(vectors[0], [*vectors[1], *vectors[2]]), abs=1e-5
    )


def test_passage_centric_by_its_definition(vectors):
    """T9: PAIR's (1 - a) L(q; d+, d-) + a L(d+; q against d-)."""
    queries, positives, negatives = vectors
    everything = [*positives, *negatives]
    passage = 0.0
    for row, document in enumerate(positives):
        others = [cos(document, d) / TAU for place, d in enumerate(everything) if place != row]
        passage += share_of_first([cos(document, queries[row]) / TAU, *others]) / B
    expected = 0.7 * info_nce_by_definition(queries, everything) + 0.3 * passage
    found = passage_centric(vectors, temperature=TAU, weight=0.3)
    assert float(found.detach()) == pytest.approx(expected, abs=1e-5)
    found.backward()
    assert all(torch.isfinite(one.grad).all() and one.grad.abs().sum() > 0 for one in vectors)
    assert torch.equal(passage_centric(vectors, temperature=TAU, weight=0.0), info_nce(vectors, temperature=TAU))


def test_margin_mse_by_its_definition():
    """T8: ((t+ - t-) - (s+ - s-))^2; only margins count."""
    student, teacher = (
        torch.tensor([[3.0, 1.0, 0.0], [1.0, 2.0, 5.0]]),
        torch.tensor([[9.0, 8.0, 7.0], [0.0, 1.0, 2.0]]),
    )
    expected = [(1 - 2) ** 2, (2 - 3) ** 2, (-1 - -1) ** 2, (-2 - -4) ** 2]
    assert float(margin_mse(student, teacher)) == pytest.approx(sum(expected) / 4)
    assert float(margin_mse(teacher + 5, teacher)) == 0


def softmax(values: list[float]) -> list[float]:
    return [math.exp(value) / sum(map(math.exp, values)) for value in values]


def kl_by_definition(p: list[float], q: list[float]) -> float:
    return sum(a * math.log(a / b) for a, b in zip(softmax(p), softmax(q), strict=True))


def test_listwise_kl_by_its_definition():
    """T8: sum_d softmax(t)_d (log softmax(t)_d - log softmax(s)_d)."""
    student, teacher = [[0.1, 2.0, -1.0], [0.0, 0.0, 3.0]], [[1.0, 1.5, 0.0], [2.0, 0.0, 1.0]]
    expected = sum(kl_by_definition(t, s) for s, t in zip(student, teacher, strict=True)) / 2
    assert float(listwise_kl(torch.tensor(student), torch.tensor(teacher))) == pytest.approx(expected, abs=1e-6)


def test_joint_listwise_by_its_definition_moves_both():
    """T8: RocketQAv2, KL(retriever || ranker) and the ranker's own cross-entropy."""
    retriever = torch.tensor([[0.3, 1.0, -1.0]], requires_grad=True)
    ranker = torch.tensor([[2.0, 0.0, 0.5]], requires_grad=True)
    found = joint_listwise(retriever, ranker)
    pair = retriever[0].tolist(), ranker[0].tolist()
    assert float(found.detach()) == pytest.approx(kl_by_definition(*pair) + share_of_first(pair[1]), abs=1e-6)
    found.backward()
    assert retriever.grad.abs().sum() > 0
    assert ranker.grad.abs().sum() > 0


def test_adversarial_by_its_definition_moves_the_retriever_towards_what_deceives():
    """T8: AR2, the negatives that the retriever would draw times log p(relevant | that pair), and KL to the ranker."""
    retriever = torch.tensor([[0.3, 1.0, -1.0], [2.0, 0.0, 0.5]], requires_grad=True)
    ranker = torch.tensor([[2.0, 0.0, 2.5], [1.0, -3.0, 0.5]], requires_grad=True)
    found = adversarial(retriever, ranker)
    expected = 0.0
    for student, teacher in zip(retriever.tolist(), ranker.tolist(), strict=True):
        told = [math.log(math.exp(teacher[0]) / (math.exp(teacher[0]) + math.exp(wrong))) for wrong in teacher[1:]]
        game = sum(p * log for p, log in zip(softmax(student[1:]), told, strict=True))
        expected += (game + kl_by_definition(teacher, student)) / 2
    assert float(found.detach()) == pytest.approx(expected, abs=1e-6)
    game = found - listwise_kl(retriever, ranker.detach())
    [slope] = torch.autograd.grad(game, [retriever], retain_graph=True)
    assert slope[0, 2] < 0 < slope[0, 1]  # down the slope: the one that deceives scores more, the other less
    assert slope[:, 0].abs().max() < 1e-7
    found.backward()
    assert ranker.grad is None


def test_own_cosines(vectors):
    found = own_cosine(vectors[0], vectors[1:])
    for row in range(B):
        expected = [cos(vectors[0][row], column[row]) for column in vectors[1:]]
        assert found[row].tolist() == pytest.approx(expected, abs=1e-6)


# -- with a model -----------------------------------------------------------------------------------------------------

COLUMNS = (
    ["a0 f1", "a1 f2", "a2", "a3 f4 f5", "a4"],
    ["b0 f1 f3", "b1", "b2 f3 f4 f5", "b3 f0", "b4 f1 f1"],
    ["b5 f1", "b6 f2 f4", "b7", "b5 f2", "b6"],
)


@pytest.fixture
def model(tiny_encoder) -> nn.Module:
    return model_folders.sentence_transformer(tiny_encoder)


def columns(model: nn.Module) -> list[dict[str, Tensor]]:
    return [model.preprocess(texts) for texts in COLUMNS]


def gradients(model: nn.Module, loss: nn.Module, labels: Tensor | None = None) -> tuple[float, dict[str, Tensor]]:
    model.zero_grad()
    value = loss(columns(model), labels)
    value.backward()
    return float(value.detach()), {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def test_the_cached_loss_has_the_gradients_of_the_whole_batch(model):
    """T2: GradCache, encoding three rows at a time, to 1e-5."""
    model.train()
    value, expected = gradients(model, make_loss("in-batch", model, SETTINGS))
    again, found = gradients(model, make_loss("cached", model, SETTINGS))
    assert again == pytest.approx(value, abs=1e-5)
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        assert (found[name] - gradient).abs().max() < 1e-5, name
    assert max(float(gradient.abs().max()) for gradient in expected.values()) > 1e-2


def test_in_batch_of_a_model_is_info_nce_of_its_vectors(model):
    """T1, by sentence-transformers' loss; the temperature is 1 / scale."""
    vectors = [model(dict(features))["sentence_embedding"] for features in columns(model)]
    found = make_loss("in-batch", model, SETTINGS)(columns(model), None)
    torch.testing.assert_close(found, info_nce(vectors, temperature=TAU))


def test_symmetric_is_the_mean_of_both_directions(model):
    """T10: query given passage, too."""
    vectors = [model(dict(features))["sentence_embedding"].detach() for features in columns(model)]
    forth = info_nce_by_definition(vectors[0], [*vectors[1], *vectors[2]])
    back = info_nce_by_definition(vectors[1], list(vectors[0]))
    found = make_loss("symmetric", model, SETTINGS)(columns(model), None)
    assert float(found.detach()) == pytest.approx((forth + back) / 2, abs=1e-5)


def test_matryoshka_sums_over_prefixes(model):
    """T11: the loss at 16 and at the first 8 numbers of each vector."""
    vectors = [model(dict(features))["sentence_embedding"].detach() for features in columns(model)]
    expected = sum(info_nce([v[:, :d] for v in vectors], temperature=TAU) for d in (16, 8))
    torch.testing.assert_close(make_loss("matryoshka", model, SETTINGS)(columns(model), None).detach(), expected)
    with pytest.raises(InputError, match="32, 16 numbers, and this encoder's have 16: there is nothing to cut"):
        make_loss("matryoshka", model, LossSettings(dimensions=(32, 16)))


def test_matryoshka_trains_whole_vectors_whatever_their_length():
    """T11: by the same settings longer vectors are trained whole, too, and shorter ones by what is shorter still."""
    settings = LossSettings(dimensions=(384, 256, 128, 64))
    lengths = {768: [768, 384, 256, 128, 64], 384: [384, 256, 128, 64], 128: [128, 64]}
    assert {dimension: prefixes(settings, dimension) for dimension in lengths} == lengths


def test_distillations_are_those_of_sentence_transformers(model):
    """T8: MarginMSE and KL as theirs, where no in-batch term is added; with it, the sum."""
    from sentence_transformers.sentence_transformer.losses import DistillKLDivLoss, MarginMSELoss

    labels = torch.tensor([[3.0, 1.0], [2.0, 0.0], [0.0, 1.0], [5.0, 5.0], [1.0, -1.0]])
    scaled = lambda a, b: (nn.functional.normalize(a, dim=-1) * nn.functional.normalize(b, dim=-1)).sum(-1) / TAU  # noqa: E731
    for name, theirs in (("margin-mse", MarginMSELoss), ("kl", DistillKLDivLoss)):
        expected = theirs(model, similarity_fct=scaled)(columns(model), labels)
        found = make_loss(name, model, SETTINGS)(columns(model), labels)
        torch.testing.assert_close(found, expected)
        both = make_loss(name, model, LossSettings(temperature=TAU, in_batch_weight=0.5))(columns(model), labels)
        torch.testing.assert_close(both, found + 0.5 * make_loss("in-batch", model, SETTINGS)(columns(model), None))
        with pytest.raises(InputError, match="teacher's score of each document"):
            make_loss(name, model, SETTINGS)(columns(model), labels[:, :1])


def test_the_memory_bank_is_moco(model):
    """T3: keys of earlier batches are negatives, made by a copy that follows slowly and has no gradient."""
    bank = MemoryBank(model, SETTINGS, 16).train()
    slow = copy.deepcopy(bank.copy)
    value = bank(columns(model))
    keys = torch.cat([slow.eval()(f)["sentence_embedding"].detach() for f in columns(model)[1:]])
    query = model(columns(model)[0])["sentence_embedding"].detach()
    assert float(value.detach()) == pytest.approx(info_nce_by_definition(query, list(keys)), abs=1e-5)
    value.backward()
    assert all(parameter.grad is None for parameter in bank.copy.parameters())
    assert int(bank.filled) == 10
    torch.testing.assert_close(bank.keys, keys)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1)
    before = [parameter.clone() for parameter in bank.copy.parameters()]
    second = bank([columns(model)[0], *(model.preprocess(["b7 f9"] * 5) for _ in range(2))])
    for old, now, fast in zip(before, bank.copy.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(now, 0.9 * old + 0.1 * fast)
    # now 5 own keys, all of one text (the others masked), and 10 keys of the batch before, but for each query's answer
    fresh = bank.copy(model.preprocess(["b7 f9"]))["sentence_embedding"][0].detach()
    query = model(columns(model)[0])["sentence_embedding"].detach()
    others = [[key for place, key in enumerate(keys) if place != row] for row in range(5)]
    expected = sum(
        share_of_first([cos(q, fresh) / TAU, *(cos(q, k) / TAU for k in wrong)])
        for q, wrong in zip(query, others, strict=True)
    ) / 5  # fmt: skip
    assert float(second.detach()) == pytest.approx(expected, abs=1e-4)
    frozen = bank.keys.clone()
    bank.eval()(columns(model))
    assert torch.equal(bank.keys, frozen)


def test_another_answer_of_a_query_is_no_negative_of_it_in_the_memory_bank(model):
    """Batches hold rows apart that answer each other; a queue brings them together again."""
    bank = MemoryBank(model, SETTINGS, 16).train()

    def lost(query, right, wrong):
        return float(bank([model.preprocess([text]) for text in (query, right, wrong)]).detach())

    lost("a0", "b0 f1", "b5")  # the first answer of a0
    lost("a1", "b1", "b0 f1")  # which is a negative of another query
    keys = bank.keys[:4].clone()
    found = lost("a0", "b0 f2", "b6")  # the second answer
    query = model(model.preprocess(["a0"]))["sentence_embedding"][0].detach()
    own, wrong = (bank.copy(model.preprocess([text]))["sentence_embedding"][0].detach() for text in ("b0 f2", "b6"))
    left = [own, wrong, keys[1], keys[2]]  # b5 and b1, and neither key of "b0 f1"
    assert found == pytest.approx(share_of_first([cos(query, key) / TAU for key in left]), abs=1e-5)


def test_the_memory_bank_holds_the_last_keys_of_all(model):
    """T3: a queue; of a batch that is longer than it the last ones stay."""
    bank = MemoryBank(model, LossSettings(temperature=TAU, bank=7), 16).train()
    texts, codes = [f"b{number} f{number % 3}" for number in range(12)], []
    for first in range(0, 12, 4):
        made = [
            model.preprocess(some) for some in (["a0", "a1"], texts[first : first + 2], texts[first + 2 : first + 4])
        ]
        bank(made)
        codes += [code for column in made[1:] for code in text_codes(column).tolist()]
        count = min(7, len(codes))
        assert int(bank.filled) == count
        assert sorted(bank.texts[:count].tolist()) == sorted(codes[-count:])
        for place, code in enumerate(bank.texts[:count].tolist()):
            expected = bank.copy(model.preprocess([texts[codes.index(code)]]))["sentence_embedding"][0].detach()
            torch.testing.assert_close(bank.keys[place], expected / expected.norm(), atol=1e-5, rtol=0)
    long = columns(model)
    bank(long)
    last = [code for column in long[1:] for code in text_codes(column).tolist()][-7:]
    assert sorted(bank.texts.tolist()) == sorted(last)


def test_texts_are_told_apart_by_their_tokens_whatever_the_padding(model):
    one = text_codes(model.preprocess(["b1 f2", "f2 b1", "b1", "b1 f2"]))
    other = text_codes(model.preprocess(["b1 f2", "f3 f4 f5 f6 f7 f8"]))
    assert one[0] == one[3] == other[0]
    assert len(set(one.tolist())) == 3


def test_a_teacher_over_the_whole_batch(model):
    """T8: TCT's in-batch teacher; KL over all documents of the batch, no gradient to the teacher."""
    teacher = nn.Linear(1, 1)

    def score(features):
        taught = torch.arange(50.0).view(5, 10) / 50
        return taught + teacher(torch.ones(1)).sum()

    loss = InBatchTeacher(model, score, SETTINGS)
    found = loss(columns(model))
    vectors = [model(dict(f))["sentence_embedding"].detach() for f in columns(model)]
    expected = 0.0
    for row, query in enumerate(vectors[0]):
        student = [cos(query, document) / TAU for document in [*vectors[1], *vectors[2]]]
        expected += kl_by_definition((torch.arange(50.0).view(5, 10)[row] / 50).tolist(), student) / 5
    assert float(found.detach()) == pytest.approx(expected, abs=1e-5)
    found.backward()
    assert teacher.weight.grad is None


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_gives_the_encoder_a_gradient(model, name):
    labels = torch.tensor([[2.0, 0.0]] * 5) if name in ("margin-mse", "kl", "adversarial") else None
    value, found = gradients(model.train(), make_loss(name, model, SETTINGS), labels)
    assert math.isfinite(value)
    assert sum(float(gradient.abs().sum()) for gradient in found.values()) > 0


def test_losses_and_their_numbers_are_checked(model):
    with pytest.raises(UnknownName, match="in-batch, symmetric, cached"):
        make_loss("hinge", model)
    for wrong in ({"temperature": 0}, {"passage_weight": 2}, {"bank": 0}, {"momentum": 1.0}):
        with pytest.raises(InputError):
            LossSettings(**wrong)
