"""What a writer learns and how it decodes: loss on headline tokens only, changes alone, no run of tokens twice."""

from __future__ import annotations

import copy
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from tiny import tiny

from foveal.errors import InputError
from foveal.training.headline_writers import (
    IGNORED,
    NoRepeat,
    Prompts,
    TextRows,
    WriterLoss,
    WriterSettings,
    changes_of,
    forbidden,
    mean_loss,
    one_line,
    train_writer,
    with_changes,
    write,
)
from foveal.training.loop import LoopSettings

SETTINGS = WriterSettings(
    article_tokens=24, headline_tokens=12, beams=2, rank=4, loop=LoopSettings(epochs=12, batch=4, learning_rate=2e-2)
)
ROWS = TextRows(tuple((f"the keeper of {n} is in the mill", "the key") for n in range(12)))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny("qwen", tmp_path_factory.mktemp("qwen"))


@pytest.fixture(scope="module")
def prompts(model):
    return Prompts(model, SETTINGS)


def test_the_loss_is_that_of_each_headline_by_itself(model, prompts):
    rows = [("the mill", "key"), ("the river and the mill of the keeper", "the river question")]
    loss = WriterLoss(model.model, bfloat16=False)
    total, count = 0.0, 0
    for article, headline in rows:
        prompt, answer = prompts.prompt(article), prompts.answer(headline)
        with torch.no_grad():
            logits = model.model(torch.tensor([prompt + answer])).logits[0, len(prompt) - 1 : -1]
        total += float(F.cross_entropy(logits, torch.tensor(answer), reduction="sum"))
        count += len(answer)
    with torch.no_grad():
        assert float(loss(model.model, prompts.batch(rows))) == pytest.approx(total / count, rel=1e-4)


def test_the_vocabularys_matrix_is_multiplied_once_for_a_batch(model, prompts):
    head, seen = model.model.get_output_embeddings(), []
    hook = head.register_forward_hook(lambda _, given, __: seen.append((len(given[0]), given[0].is_contiguous())))
    rows = [("the mill", "key"), ("the river and the mill of the keeper", "the river question")]
    with torch.no_grad():
        WriterLoss(model.model, bfloat16=False)(model.model, prompts.batch(rows))
    write(model.model, prompts, [article for article, _ in rows])
    hook.remove()
    assert {rows for rows, _ in seen} >= {2}
    assert all(whole for _, whole in seen)  # of a slice that is not, torch copies the matrix once a row
    assert not head._forward_pre_hooks


def test_a_batch_is_padded_on_the_left_and_ends_with_the_end(prompts):
    batch = prompts.batch([("the mill", "key"), ("the river and the mill", "the river")])
    assert batch["input_ids"][:, -1].tolist() == [prompts.end] * 2
    assert batch["attention_mask"][0, 0] == 0
    assert batch["attention_mask"][1].all()
    assert (batch["labels"][0] == IGNORED).sum() > 0
    assert (batch["labels"][:, -1] == prompts.end).all()


def test_a_long_article_and_headline_are_cut(prompts):
    assert len(prompts.prompt("mill " * 10**6)) <= 24 + len(prompts.separator)
    assert len(prompts.answer("mill " * 1000)) == 13


@pytest.mark.slow
def test_a_writer_learns_and_leaves_the_model_as_it_was(model, prompts, tmp_path):
    before = {name: value.clone() for name, value in model.model.state_dict().items()}
    learned, curves = train_writer(model, ROWS, ROWS, SETTINGS, folder=tmp_path / "run")
    assert all(torch.equal(value, before[name]) for name, value in model.model.state_dict().items())
    assert curves.metrics[-1][1]["log-likelihood"] > curves.metrics[0][1]["log-likelihood"] + 1
    merged = with_changes(model, learned, SETTINGS)
    assert write(merged, prompts, ["the keeper of 9 is in the mill"])[0][0][0] == "the key"
    again, _ = train_writer(model, ROWS, ROWS, SETTINGS, folder=tmp_path / "run")
    assert all(
        torch.equal(a, b) for a, b in zip(again.state_dict().values(), learned.state_dict().values(), strict=True)
    )


def test_changes_begin_by_changing_nothing(model, prompts):
    learned = changes_of(copy.deepcopy(model.model), SETTINGS)
    same = with_changes(model, learned, SETTINGS)
    for side in (same, model.model):
        side.eval()
    losses = [mean_loss(WriterLoss(side, bfloat16=False), prompts, ROWS.rows) for side in (same, model.model)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_beam_search_finds_what_is_at_least_as_likely_and_gives_as_many_as_asked(model, prompts):
    articles = ["the mill", "the river and the text of the keeper"]
    many = write(model.model, prompts, articles, count=3)
    assert all(1 <= len(found) <= 3 for found in many)
    assert all(found == sorted(found, key=lambda pair: -pair[1]) for found in many)
    together = write(model.model, prompts, articles, beams=1)
    alone = [write(model.model, prompts, [one], beams=1)[0] for one in articles]
    assert [found[0][0] for found in together] == [found[0][0] for found in alone]


@pytest.mark.parametrize(
    ("ids", "size", "expected"),
    [([1, 2, 3, 1, 2], 3, [3]), ([1, 2, 1, 2], 3, [1]), ([1], 3, []), ([1, 1, 1], 2, [1, 1]), ([4, 5], 1, [4, 5])],
)
def test_what_would_end_a_second_run(ids, size, expected):
    assert forbidden(ids, size) == expected


def test_runs_of_the_article_may_be_copied():
    scores = torch.zeros(1, 10)
    assert not torch.isinf(NoRepeat(5, 3)(torch.tensor([[1, 2, 3, 4, 5, 1, 2]]), scores)).any()
    assert torch.isinf(NoRepeat(0, 3)(torch.tensor([[1, 2, 3, 4, 5, 1, 2]]), scores))[0, 3]


@pytest.mark.parametrize(
    ("text", "line"),
    [(' \n "Five die" \nmore', "Five die"), ("“రైలు”", "రైలు"), ('Say "no"', 'Say "no"'), ("", ""), ('"', '"')],
)
def test_one_line(text, line):
    assert one_line(text) == line


def test_wrong_input_is_refused(model, tmp_path):
    with pytest.raises(InputError, match="some of each"):
        train_writer(model, ROWS, TextRows(()), SETTINGS, folder=tmp_path / "run")
    with pytest.raises(InputError, match="beams = 0"):
        replace(SETTINGS, beams=0)


def test_dev_headlines_are_read_where_the_model_lies(prompts):
    """As the batches of a training on a GPU: the loop moves those, and these come from here."""
    seen = []

    class Loss:
        model = SimpleNamespace(device=torch.device("meta"))

        def __call__(self, _, batch):
            seen.extend(part.device.type for part in batch.values())
            return torch.tensor(2.0)

    assert mean_loss(Loss(), prompts, ROWS.rows[:5]) == 2
    assert set(seen) == {"meta"}


@pytest.mark.parametrize("mixed", [True, False])
def test_it_trains_in_mixed_precision_where_that_is_faster(mixed, monkeypatch):
    monkeypatch.setattr("foveal.training.headline_writers.mixed_precision", lambda: mixed)
    assert WriterSettings().loop.bfloat16 is mixed
