"""SPLADE's weights, price and training (A5), by their definitions."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch.nn.functional import mse_loss
from training.test_pretraining import PAD, TEXTS, stepped, tiny_bert, tokenizer
from transformers import BertForMaskedLM

from foveal.errors import InputError
from foveal.training.pretraining import Tokens, collate
from foveal.training.pretraining_masked import MaskedEncoder
from foveal.training.sparse import Splade, SpladePrice, SpladeTraining, flops, own_scores, ramp, ranking_loss, splade

FREE = SpladePrice(queries=0, documents=0)


def read(texts):
    tokens = Tokens(tokenizer(), max_tokens=16)
    batch = collate([{"ids": tokens.framed(tokens.plain(text))} for text in texts], pad_id=PAD)
    return batch["ids"], batch["ids_mask"]


def training_batch(queries, candidates):
    first, first_mask = read(queries)
    second, second_mask = read(candidates)
    return {"first": first, "first_mask": first_mask, "second": second, "second_mask": second_mask}


@given(st.integers(0, 2**32), st.integers(1, 4), st.integers(1, 5))
@settings(max_examples=40)
def test_weights_are_the_highest_log_of_each_term(seed, texts, length):
    """A5: w_t = max_j log(1 + ReLU(z_jt)) over the text's own tokens."""
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(texts, length, 7, generator=generator)
    mask = torch.rand(texts, length, generator=generator) < 0.7
    found = splade(logits, mask)
    for row in range(texts):
        for term in range(7):
            each = [math.log1p(max(0.0, logits[row, j, term].item())) for j in range(length) if mask[row, j]]
            assert found[row, term].item() == pytest.approx(max(each, default=0.0), rel=1e-5, abs=1e-6)


def test_the_price_is_the_sum_of_squared_means():
    """A5: FLOPS."""
    weights = torch.tensor([[1.0, 0.0, 2.0], [3.0, 0.0, 0.0]])
    assert flops(weights).item() == 2**2 + 0 + 1**2
    assert [ramp(step, 10) for step in (0, 5, 10, 99)] == [0, 0.25, 1, 1]
    assert ramp(0, 0) == 1


@given(st.integers(0, 2**32), st.integers(1, 3))
@settings(max_examples=20)
def test_the_ranking_loss_is_its_formula(seed, count):
    """A5: each query's positive among all candidates of the batch; the positive's own text is no negative."""
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(3, 3 * count, generator=generator)
    candidates = torch.arange(3 * count)[:, None].repeat(1, 2)
    candidates[-1] = candidates[0]
    losses = []
    for row in range(3):
        right = row * count
        others = [
            column for column in range(3 * count) if column == right or candidates[column, 0] != candidates[right, 0]
        ]
        total = sum(math.exp(scores[row, column].item() / 0.5) for column in others)
        losses.append(-math.log(math.exp(scores[row, right].item() / 0.5) / total))
    assert ranking_loss(scores, candidates, temperature=0.5).item() == pytest.approx(sum(losses) / 3, rel=1e-4)
    own = own_scores(scores)
    assert own.shape == (3, count)
    assert all(own[row, c] == scores[row, row * count + c] for row in range(3) for c in range(count))


def test_the_loss_is_ranking_and_price_and_distillation():
    """A5: SPLADE's training loss with its hook for a teacher."""
    batch = training_batch(TEXTS[:2], [TEXTS[0], TEXTS[2], TEXTS[1], TEXTS[3]])
    teacher = torch.tensor([[1.0, 0.0], [3.0, 1.0]])
    model = SpladeTraining(
        Splade(tiny_bert()),
        price=SpladePrice(queries=0.1, documents=0.2, steps=4),
        temperature=2.0,
        distillation=lambda ours, theirs: mse_loss(ours[:, 0] - ours[:, 1], theirs[:, 0] - theirs[:, 1]),
        distillation_weight=0.5,
    )
    queries = model.splade(batch["first"], batch["first_mask"])
    documents = model.splade(batch["second"], batch["second_mask"])
    scores = queries @ documents.T
    margins = torch.stack([scores[0, 0] - scores[0, 1], scores[1, 2] - scores[1, 3]])
    for step in range(3):
        found = model(**batch, teacher=teacher)
        price = (step / 4) ** 2 * (0.1 * flops(queries) + 0.2 * flops(documents))
        distillation = 0.5 * ((margins - torch.tensor([1.0, 2.0])) ** 2).mean()
        torch.testing.assert_close(found["rank"], ranking_loss(scores, batch["second"], temperature=2.0))
        torch.testing.assert_close(found["price"], price)
        torch.testing.assert_close(found["distillation"], distillation)
        torch.testing.assert_close(found["loss"], found["rank"] + found["price"] + found["distillation"])
    model.eval()(**batch)
    assert model.step.item() == 3


def test_a_resume_goes_on_with_the_price(tmp_path):
    """A5: the step of the price is part of the checkpoint, which safetensors can write."""
    batch = training_batch(TEXTS[:2], TEXTS[:2])
    model = SpladeTraining(Splade(tiny_bert(BertForMaskedLM)))
    model(**batch)
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    other = SpladeTraining(Splade(tiny_bert(BertForMaskedLM, seed=1)))
    other.load_state_dict(load_file(tmp_path / "model.safetensors"))
    assert other.step.item() == 1
    torch.testing.assert_close(other.eval()(**batch), model.eval()(**batch))


def test_training_ranks_and_a_price_makes_sparse():
    """A5: thirty steps lower the loss; the same steps with a price leave fewer weights above 0."""
    queries = ["eye colour", "bread oven", "storm wind", "night snow"]
    batch = training_batch(queries, TEXTS[:4])
    active = {}
    for name, price in (("free", FREE), ("priced", SpladePrice(queries=0.3, documents=0.3, steps=10))):
        model = SpladeTraining(Splade(tiny_bert(BertForMaskedLM, layers=2)), price=price).train()
        losses = stepped(model, batch, 30)
        weights = model.splade(batch["second"], batch["second_mask"])
        active[name] = (weights > 0).sum().item()
        if name == "free":
            assert losses[-1] < 0.5 * losses[0]
    assert active["priced"] < 0.8 * active["free"]


def test_it_begins_at_a_pre_trained_head_and_gives_a_transformers_model():
    """A5: SPLADE from a MaskedEncoder; its model gives the same weights."""
    ids, mask = read(TEXTS)
    begun = MaskedEncoder(tiny_bert(BertForMaskedLM))
    model = Splade(begun).eval()
    assert model.model is begun
    logits = model.masked_model()(input_ids=ids, attention_mask=mask.long()).logits
    torch.testing.assert_close(model(ids, mask), splade(logits, mask))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SpladePrice(queries=-1), "queries = -1; it needs a number, at least 0"),
        (lambda: SpladeTraining(Splade(tiny_bert()), temperature=0), "temperature above 0"),
        (lambda: SpladeTraining(Splade(tiny_bert()))(**training_batch(TEXTS[:2], TEXTS[:3])), "the same number"),
        (
            lambda: SpladeTraining(Splade(tiny_bert()))(
                **training_batch(TEXTS[:2], TEXTS[:2]), teacher=torch.ones(2, 1)
            ),
            "no loss for them",
        ),
    ],
)
def test_what_cannot_be_trained_is_an_error(make, message):
    """A5: bad input."""
    with pytest.raises(InputError, match=message):
        make()
