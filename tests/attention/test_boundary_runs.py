"""Training a boundary predictor by name: windows, files, what is measured, going on after a stop, and who finds it."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from tiny import tiny
from transformers import LlamaConfig
from typer.testing import CliRunner

from foveal.attention import DHSA, attach, boundary_runs
from foveal.attention.boundaries import BoundaryPredictor, Origin
from foveal.attention.boundary_chunks import segment
from foveal.attention.boundary_runs import (
    BoundaryTraining,
    Samples,
    mass_kept,
    masses_kept,
    read_samples,
    train_boundaries,
    windows,
)
from foveal.attention.boundary_training import Recipe, TokenText, capture, measure, sample_of
from foveal.attention.own_boundaries import FILE, own_predictor
from foveal.attention.profiles import architecture_of
from foveal.attention.remarks import warn_once
from foveal.cli.main import app
from foveal.errors import InputError
from foveal.training.loop import LoopSettings
from foveal.training.runs import RunSettings

WORDS = ("the", "keeper", "of", "mill", "is", "in", "river", "and", "key", "to", "be", "answered", "excerpts")


def prose(characters: int, seed: int = 0) -> str:
    draw = torch.Generator().manual_seed(seed)
    words = [WORDS[number] for number in torch.randint(len(WORDS), (characters // 3,), generator=draw)]
    return " ".join(word + ("." if number % 9 == 8 else "") for number, word in enumerate(words))[:characters]


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    """One token a byte."""
    return tiny("qwen", tmp_path_factory.mktemp("model"), merges=0)


def small(steps: int = 6, **recipe: object) -> BoundaryTraining:
    return BoundaryTraining(
        recipe=Recipe(**{"length": 520, "layers_per_text": 2, "hidden": 16} | recipe), texts=3, held=1, held_out=0.25,
        loop=LoopSettings(steps=steps, batch=1, learning_rate=2e-3, evaluate_every=3),
    )  # fmt: skip


def test_windows_lie_evenly_and_none_over_another(loaded):
    text = prose(9_000)
    found = windows(loaded, text, 2, 600)
    assert [loaded.tokenizer.decode(one.ids) for one in found] == [text[:600], text[4_500:5_100]]
    ends = [place for place in range(600) if text[place] == "." and text[place + 1] == " "]
    assert list(found[0].sentence_ends) == ends
    assert len(windows(loaded, prose(9_000), 48, 600)) == 2  # 6 characters are a token, at most
    assert windows(loaded, prose(400), 4, 600) == []


def test_what_is_kept_of_a_window_is_what_its_layers_show(loaded, tmp_path):
    texts = [TokenText(torch.randint(256, (70,), generator=torch.Generator().manual_seed(n)).tolist()) for n in (1, 2)]
    told = []
    rows = read_samples(loaded.model, texts, tmp_path, Recipe(layers_per_text=2), 0, lambda *at: told.append(at))
    assert told == [(1, 2), (2, 2)]
    assert len(rows) == 4
    seen = {}
    capture(loaded.model, texts[1].ids, lambda q, k, c: seen.update({c.layer: sample_of(q, k, c)}))
    for number in (2, 3):
        alike = [layer for layer, one in seen.items() if torch.equal(one.key, rows[number]["key"])]
        assert len(alike) == 1
        torch.testing.assert_close(rows[number]["rho"], seen[alike[0]].rho.float())


def test_of_a_model_that_slides_only_whole_layers_are_kept(tmp_path):
    gemma = tiny("gemma", tmp_path / "model", merges=0)
    texts = [TokenText(list(range(60)))]
    rows = read_samples(gemma.model, texts, tmp_path / "rows", Recipe(layers_per_text=12), 0, lambda *_: None)
    seen = {}
    capture(gemma.model, texts[0].ids, lambda _, key, context: seen.update({context.layer: key.clone()}))
    kept = [rows[number]["key"] for number in range(len(rows))]
    assert [[layer for layer, key in seen.items() if torch.equal(key, one)] for one in kept] == [[1], [3]]


def test_windows_that_were_read_are_not_read_again(loaded, tmp_path, monkeypatch):
    texts = [TokenText(list(range(60))), TokenText(list(range(80, 140)))]
    whole = read_samples(loaded.model, texts, tmp_path / "whole", Recipe(), 0, lambda *_: None)
    read_samples(loaded.model, texts[:1], tmp_path / "stopped", Recipe(), 0, lambda *_: None)
    called = []
    monkeypatch.setattr(boundary_runs, "capture", lambda *given: (called.append(given[1]), capture(*given)))
    after = read_samples(loaded.model, texts, tmp_path / "stopped", Recipe(), 0, lambda *_: None)
    assert called == [texts[1].ids]
    assert all(torch.equal(whole[n]["key"], after[n]["key"]) for n in range(len(whole)))


def test_mass_kept_is_the_share_of_the_definition():
    draw = torch.Generator().manual_seed(0)
    q, k = torch.randn(1, 4, 300, 8, generator=draw), torch.randn(1, 2, 300, 8, generator=draw)
    keep = torch.rand(1, 4, 3, 300, generator=draw) < 0.4
    expected = []
    for head in range(4):
        for row in range(128, 300):
            weights = (k[0, head // 2, : row + 1] @ q[0, head, row] * 0.3).softmax(0)
            expected.append(float(weights[keep[0, head, row // 128, : row + 1]].sum()))
    context = SimpleNamespace(scale=0.3, softcap=None)
    assert mass_kept(q, k, keep, context) == pytest.approx(sum(expected) / len(expected), rel=1e-5)


def test_a_predictor_is_trained_measured_and_found(loaded, tmp_path):
    """Kept or not, its figures are those of what was written, and only a kept one is found."""
    texts = [prose(14_000)]
    folder, report = train_boundaries(loaded, texts, small(), run=RunSettings(home=tmp_path, name="mine"))
    place = folder if report.kept else tmp_path / "runs" / "train" / "mine" / "rejected"
    assert folder == tmp_path / "models" / "mine"
    predictor = BoundaryPredictor.load(place / FILE)
    assert predictor.origin.architecture == architecture_of(loaded.model.config)
    assert predictor.origin.fingerprint == loaded.fingerprint
    held = windows(loaded, texts[0][-3_500:], 1, 520)
    masses = masses_kept(loaded.model, predictor, held)
    before, after = report.measured[boundary_runs.MEASURED]
    assert after["mass kept"] == pytest.approx(masses["predicted"], abs=1e-3)  # it is written in half precision
    assert before["mass kept"] == pytest.approx(max(masses["fixed"], masses["as many"]))
    assert report.kept == (after["mass kept"] > before["mass kept"])
    assert len({*masses.values()}) == 3  # there was something to choose, and chunks were chosen by
    found = measure(loaded.model, predictor, held, length=520)["predictor"]
    assert report.measured["boundaries"][1]["f1"] == pytest.approx(found.f1, abs=0.01)
    assert [step for step, _ in report.curves.metrics] == [0, 3, 6]
    assert not (tmp_path / "runs" / "train" / "mine" / "samples").exists()
    assert (own_predictor(loaded.model.config, tmp_path) is not None) == report.kept
    again = train_boundaries(loaded, texts, small(), run=RunSettings(home=tmp_path, name="mine"))
    assert again == (folder, report)


@pytest.mark.parametrize(("fixed", "as_many", "better"), [(0.5, 0.55, True), (0.6, 0.5, False), (0.5, 0.7, False)])
def test_it_is_kept_only_if_it_beats_fixed_chunks(loaded, tmp_path, monkeypatch, fixed, as_many, better):
    masses = {"predicted": 0.6, "fixed": fixed, "as many": as_many}
    monkeypatch.setattr(boundary_runs, "masses_kept", lambda *_: masses)
    folder, report = train_boundaries(
        loaded, [prose(14_000)], small(steps=3), run=RunSettings(home=tmp_path, name="one")
    )
    assert report.kept is better
    assert folder.exists() is better
    assert (own_predictor(loaded.model.config, tmp_path) is not None) is better


def test_a_run_that_was_stopped_goes_on_to_the_same_predictor(loaded, tmp_path, monkeypatch):
    texts = [prose(14_000)]
    monkeypatch.setattr(boundary_runs, "masses_kept", lambda *_: {"predicted": 1.0, "fixed": 0.5, "as many": 0.5})
    whole, _ = train_boundaries(loaded, texts, small(), run=RunSettings(home=tmp_path / "whole", name="one"))
    weights = BoundaryPredictor.load(whole / FILE).state_dict()

    def stopping(progress):
        if progress.metrics and progress.step == 3:
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        train_boundaries(
            loaded, texts, small(), run=RunSettings(home=tmp_path / "cut", name="one", on_progress=stopping)
        )
    monkeypatch.setattr(boundary_runs, "capture", lambda *_: pytest.fail("it was read before"))
    cut, _ = train_boundaries(loaded, texts, small(), run=RunSettings(home=tmp_path / "cut", name="one"))
    after = BoundaryPredictor.load(cut / FILE).state_dict()
    assert all(torch.equal(weights[name], one) for name, one in after.items())


def test_too_little_text_is_refused(loaded, tmp_path):
    with pytest.raises(InputError, match="held out; a window of 512 tokens"):
        train_boundaries(loaded, [prose(1_000)], small(), run=RunSettings(home=tmp_path, name="one"))
    with pytest.raises(InputError, match="windows of 512 tokens or more"):
        BoundaryTraining(recipe=Recipe(length=100))


def written(home: Path, config, name: str, seed: int) -> BoundaryPredictor:
    torch.manual_seed(seed)
    predictor = BoundaryPredictor(16, heads=2, hidden=8)
    origin = Origin(model="m", fingerprint="f", architecture=architecture_of(config))
    predictor.save(home / "models" / name / FILE, origin, dtype=torch.float32)
    return predictor.eval()


def test_dhsa_and_segments_take_ones_own_predictor(loaded, tmp_path, monkeypatch, caplog):
    config = loaded.model.config
    monkeypatch.setenv("FOVEAL_HOME", str(tmp_path))
    ids = torch.tensor([loaded.encode(prose(400))[:400]])
    with pytest.raises(InputError, match="foveal train boundaries"), attach(loaded.model, DHSA(budget=256)):
        loaded.model(input_ids=ids)
    predictor = written(tmp_path, config, "mine", 1)
    (tmp_path / "models" / "broken").mkdir()
    (tmp_path / "models" / "broken" / FILE).write_bytes(b"nothing")
    warn_once.cache_clear()
    with attach(loaded.model, DHSA(budget=256)) as attached:
        found = loaded.model(input_ids=ids).logits
    assert attached.report.looks
    assert "broken" in caplog.text
    with attach(loaded.model, DHSA(budget=256, predictor=predictor)):
        torch.testing.assert_close(found, loaded.model(input_ids=ids).logits)
    text = prose(300)
    assert segment(text, loaded, tokens=16) == segment(text, loaded, tokens=16, predictor=predictor)
    other = LlamaConfig(num_hidden_layers=2, num_attention_heads=4, hidden_size=32)
    assert own_predictor(other) is None


def test_of_several_predictors_the_last_one_counts(loaded, tmp_path):
    config, newest = loaded.model.config, None
    for seed, name in enumerate(("b", "a", "c")):
        last = written(tmp_path, config, name, seed)
        made = 10**18 + (5 if name == "a" else seed)
        path = tmp_path / "models" / name / FILE
        os.utime(path, ns=(made, made))
        newest = last if name == "a" else newest
    found = own_predictor(config, tmp_path)
    assert all(torch.equal(one, newest.state_dict()[name]) for name, one in found.state_dict().items())


def test_rows_are_read_from_their_files(loaded, tmp_path):
    texts = [TokenText(list(range(number, number + 40))) for number in range(3)]
    rows = read_samples(loaded.model, texts, tmp_path, Recipe(layers_per_text=1), 5, lambda *_: None)
    assert isinstance(rows, Samples)
    assert [one.key.shape for one in rows.all(torch.device("cpu"))] == [(1, 2, 40, 8)] * 3


def test_the_command_trains_and_tells(loaded, tmp_path, monkeypatch):
    monkeypatch.setattr(boundary_runs, "masses_kept", lambda *_: {"predicted": 0.6, "fixed": 0.5, "as many": 0.5})
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "one.txt").write_text(prose(40_000))
    given = ["--data", tmp_path / "texts", "--model", loaded.folder, "--texts", 2, "--length", 512, "--layers", 1]
    given += ["--steps", 3, "--name", "mine", "--home", tmp_path / "home"]
    done = CliRunner().invoke(app, ["train", "boundaries", *map(str, given)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert "mass kept" in done.stdout
    assert "--attention dhsa" in done.stdout
    assert (tmp_path / "home" / "models" / "mine" / FILE).is_file()
