"""A batch's loss part by part: the same loss and gradients as of the whole, and never more read at once than may be."""

from __future__ import annotations

import pytest
import torch

from foveal.nn.text_classifier import TextClassifier, TextClassifierConfig
from foveal.nn.text_classifier_training import loss
from foveal.training.part_by_part import PartByPart, documents

SENTENCES = (5, 1, 2, 4, 9)


def batch_of(sentences=SENTENCES, words=3):
    """Documents of so many sentences of words 1 to 9, the last word of each second one missing."""
    ids = torch.zeros(len(sentences), max(sentences), words, dtype=torch.long)
    drawn = torch.randint(1, 10, ids.shape, generator=torch.Generator().manual_seed(0))
    for row, count in enumerate(sentences):
        ids[row, :count] = drawn[row, :count]
        ids[row, 1:count:2, -1] = 0
    return {"ids": ids, "labels": torch.arange(len(sentences)) % 2}


def test_parts_hold_all_rows_in_order_and_few_words():
    batch = batch_of()
    parts = documents(batch, most=21)
    assert [tuple(one["ids"].shape) for _, one in parts] == [(2, 5, 3), (2, 4, 3), (1, 9, 3)]
    assert [share for share, _ in parts] == [0.4, 0.4, 0.2]
    assert torch.equal(torch.cat([one["labels"] for _, one in parts]), batch["labels"])
    for (_, one), rows in zip(parts, ([0, 1], [2, 3], [4]), strict=True):
        whole, length = batch["ids"][rows], one["ids"].shape[1]
        assert torch.equal(one["ids"], whole[:, :length])
        assert not whole[:, length:].any()
    [(share, one)] = documents(batch)
    assert share == 1
    assert torch.equal(one["ids"], batch["ids"])


@pytest.mark.parametrize("diversity", [0.0, 0.5])
def test_loss_and_gradients_are_those_of_the_whole_batch(diversity):
    torch.manual_seed(0)
    model = TextClassifier(
        TextClassifierConfig(
            vocab_size=10, classes=["a", "b"], word_dim=6, hidden=4, inside=5, heads=2, dropout=0.0,
            hierarchical=True, diversity=diversity,
        )
    )  # fmt: skip
    batch, read = batch_of(), []
    whole = loss(model, batch)
    whole.backward()
    expected = {name: one.grad.clone() for name, one in model.named_parameters()}
    model.zero_grad()
    model.register_forward_pre_hook(lambda _, given: read.append(len(given[0])))
    found = PartByPart(loss, lambda one: documents(one, most=21))(model, batch)
    assert read == [2, 2, 1]
    found.backward()
    torch.testing.assert_close(found, whole)
    for name, one in model.named_parameters():
        torch.testing.assert_close(one.grad, expected[name], msg=name)
    with torch.no_grad():
        torch.testing.assert_close(PartByPart(loss, documents)(model, batch), whole)
