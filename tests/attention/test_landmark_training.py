"""Training with landmarks: what is learnt from, both recipes, the command."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny import tiny
from typer.testing import CliRunner

from foveal.attention import LandmarkModel, LandmarkSettings, ReadSettings
from foveal.attention.landmark_training import (
    DecoderSize,
    LandmarkTraining,
    PassKeys,
    Windows,
    own_tokenizer,
    pass_keys_found,
    train_landmark,
)
from foveal.cli.main import app
from foveal.errors import InputError
from foveal.training.loop import LoopSettings
from foveal.training.low_rank import LowRank
from foveal.training.runs import RunSettings
from foveal.training.windows import batches_of

TEXT = " ".join(
    f"The keeper of the mill {number} reads the answer and keeps the river in mind." for number in range(200)
)
SMALL = LandmarkTraining(
    landmarks=LandmarkSettings(block=4, train_length=32),
    size=DecoderSize(layers=1, width=16, heads=2, vocabulary=300),
    loop=LoopSettings(batch=4, steps=6, learning_rate=3e-3),
    dev_windows=4,
    rank=2,
)


def test_windows_are_the_same_by_number_and_new_in_each_epoch():
    rows = Windows(torch.arange(1000), 24, seed=1)
    assert torch.equal(rows[7], rows[7])
    assert all(len(rows[number]) == 24 and (rows[number].diff() == 1).all() for number in range(60))
    plan = batches_of(rows, 4, 1)
    seen = [{number for batch in plan(epoch) for number in batch} for epoch in range(3)]
    assert not seen[0] & seen[1] | seen[1] & seen[2]
    assert all(len(batch) == 4 for batch in plan(0))


def test_a_pass_key_stands_in_the_window_and_is_its_end():
    tokenizer = own_tokenizer([TEXT + " What is the pass key? Remember it. 0123456789"], 400)
    keys = PassKeys(tokenizer)
    filler = torch.tensor(keys.encode(TEXT))[:120]
    for number in range(5):
        made, answer = keys.window(filler, np.random.default_rng(number))
        said = tokenizer.decode(made)
        key = tokenizer.decode(made[-answer:]).strip()
        assert len(made) == 120
        assert key.isdigit()
        assert said.count(key) == 3  # twice said, once asked
        assert said.endswith(f"What is the pass key? The pass key is {key}")
    with pytest.raises(InputError, match="too short for a pass key"):
        keys.window(filler[:20], np.random.default_rng(0))


def test_what_is_found_of_pass_keys_is_what_was_right():
    tokenizer = own_tokenizer([TEXT + "0123456789"], 400)
    torch.manual_seed(0)
    from foveal.attention.landmark_training import own_decoder

    model = LandmarkModel(own_decoder(SMALL.size, len(tokenizer), 0, positions=32), SMALL.landmarks).eval()
    found = pass_keys_found(model, PassKeys(tokenizer), torch.tensor(PassKeys(tokenizer).encode(TEXT)), 200, count=2)
    assert 0 <= found <= 1


@pytest.mark.slow
def test_from_scratch(tmp_path):
    folder, report = train_landmark([TEXT], None, SMALL, run=RunSettings(home=tmp_path, name="mine"))
    before, after = report.measured["24 tokens at once"]
    assert report.kept
    assert after["perplexity"] < before["perplexity"]
    assert folder == tmp_path / "models" / "mine"
    model = LandmarkModel.from_pretrained(folder)
    assert model.settings == SMALL.landmarks
    ids = torch.arange(60)[None]
    assert model.logprobs(ids, model.make_cache(ReadSettings(top_k=2))).isfinite().all()
    again, same = train_landmark([TEXT], None, SMALL, run=RunSettings(home=tmp_path, name="mine"))
    assert (again, same.measured) == (folder, report.measured)
    with pytest.raises(InputError, match="there already"):
        train_landmark([TEXT + " More."], None, SMALL, run=RunSettings(home=tmp_path, name="mine"))


@pytest.mark.parametrize("rank", [2, None])
def test_from_a_decoder_that_there_is(tmp_path, rank, monkeypatch):
    from dataclasses import replace

    base = tiny("qwen", tmp_path / "base")
    weight = base.model.model.layers[0].self_attn.q_proj.weight.detach().clone()
    chosen = replace(SMALL, rank=rank)
    folder, report = train_landmark([TEXT], str(tmp_path / "base"), chosen, run=RunSettings(home=tmp_path, name="fine"))
    assert report.kept
    model = LandmarkModel.from_pretrained(folder)
    learnt = model.base.model.layers[0].self_attn.q_proj.weight
    change = torch.linalg.matrix_rank(learnt - weight, atol=1e-6)
    assert change == 2 if rank else change > 2
    made = LandmarkModel.from_pretrained(tmp_path / "base", SMALL.landmarks)
    assert not torch.equal(made.landmark, model.landmark)
    kept = torch.equal(made.base.model.embed_tokens.weight, model.base.model.embed_tokens.weight)
    assert kept == bool(rank)  # low-rank changes leave the embedding as it was
    tiny("qwen", tmp_path / "base", seed=1)  # another model in its place
    with pytest.raises(InputError, match="there already"):
        train_landmark([TEXT], str(tmp_path / "base"), chosen, run=RunSettings(home=tmp_path, name="fine"))


def test_low_rank_changes_learn_in_mixed_precision_and_are_measured_without(tmp_path):
    """The loop knows the changes alone: it cast nothing, and what was to be bfloat16 learnt in float32."""
    from torch.nn.modules.module import register_module_forward_pre_hook

    tiny("qwen", tmp_path / "base")
    seen = set()

    def note(module, _):
        if isinstance(module, LowRank):
            seen.add((module.training, torch.is_autocast_enabled("cpu")))

    chosen = replace(SMALL, loop=replace(SMALL.loop, steps=1, bfloat16=True))
    hook = register_module_forward_pre_hook(note)
    try:
        train_landmark([TEXT], str(tmp_path / "base"), chosen, run=RunSettings(home=tmp_path))
    finally:
        hook.remove()
    assert seen == {(True, True), (False, False)}


def test_too_little_text_is_refused(tmp_path):
    with pytest.raises(InputError, match="Give more text"):
        train_landmark(["A few words."], None, SMALL, run=RunSettings(home=tmp_path))
    with pytest.raises(InputError, match="are held out; a window of 24 to learn from is not left"):
        train_landmark([TEXT], None, replace(SMALL, held_out=0.999), run=RunSettings(home=tmp_path))
    with pytest.raises(InputError, match="no text"):
        train_landmark(["", "  "], None, SMALL, run=RunSettings(home=tmp_path, name="empty"))
    with pytest.raises(InputError, match=r"pass_keys = 2\.0; it needs a number from 0 to 1"):
        LandmarkTraining(pass_keys=2.0)


@pytest.mark.slow
def test_the_command(tmp_path):
    (tmp_path / "book.txt").write_text(TEXT, encoding="utf-8")
    small = "--block 4 --train-length 32 --layers 1 --width 16 --heads 2 --vocabulary 300 --steps 2 --batch 2 --json"
    where = ["--data", str(tmp_path / "book.txt"), "--home", str(tmp_path), "--name", "mine"]
    done = CliRunner().invoke(app, ["train", "landmark", *small.split(), *where])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["settings"]["landmarks"] == {"block": 4, "train_length": 32, "jump": 0}
    assert told["curves"]["steps"] == 2
    wrong = CliRunner().invoke(app, ["train", "landmark", "--base", "qwen2.5-coder-0.5b", "--layers", "2", *where])
    assert wrong.exit_code == 1
    assert "A decoder has its own size" in str(wrong.exception or wrong.output)


def test_a_rank_is_of_a_decoder_that_there_is(tmp_path):
    (tmp_path / "book.txt").write_text(TEXT, encoding="utf-8")
    asked = ["train", "landmark", "--rank", "4", "--data", str(tmp_path / "book.txt"), "--home", str(tmp_path)]
    wrong = CliRunner().invoke(app, asked)
    assert wrong.exit_code == 1
    assert "From scratch all weights learn" in str(wrong.exception or wrong.output)


def test_a_real_decoder_reads_in_pieces_what_it_reads_at_once():
    model = LandmarkModel.from_pretrained("gemma3-270m", LandmarkSettings(block=8, train_length=64))
    ids = torch.randint(1000, 200_000, (1, 30), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        whole = model(ids).logits[:, :-1].log_softmax(-1).gather(-1, ids[:, 1:, None])[..., 0]
    read = model.logprobs(ids, model.make_cache(ReadSettings(top_k=6, chunk=8)))
    torch.testing.assert_close(read, whole, atol=2e-3, rtol=2e-3)
