"""Training a language model on one's own text: what is learnt from, what is measured, going on, the command."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
import torch
from typer.testing import CliRunner

from foveal.cli.main import app
from foveal.errors import InputError, ModelUnavailable
from foveal.nn.language_training import (
    MODELS,
    LanguageSize,
    LanguageTraining,
    _parts,
    config_of,
    decoded,
    encoded,
    language_model,
    made,
    stream_nats,
    train_language,
    window_nats,
    without_updates,
)
from foveal.nn.passage_memory import PassageMemory, PassageSettings
from foveal.training.loop import LoopSettings, undecayed
from foveal.training.runs import RunSettings

TEXT = " ".join(f"The keeper of mill {number} réads and keeps the river in mind." for number in range(120))
SIZE = LanguageSize(layers=1, width=16, heads=2, window=16)
SMALL = LanguageTraining(
    size=SIZE, length=48, dev_windows=4, loop=LoopSettings(batch=4, steps=6, learning_rate=5e-3, evaluate_every=3)
)


def test_bytes_are_tokens():
    assert encoded("Aé").tolist() == [[65, 0xC3, 0xA9]]
    assert decoded(encoded("Aé")[0]) == "Aé"
    assert decoded(torch.tensor([65, 0xC3])) == "A\ufffd"
    with pytest.raises(InputError, match="empty"):
        encoded("")


def test_weight_decay_leaves_a_memorys_rest_and_norms_alone():
    """What is forgotten towards is part of the memory's rule, and would itself be forgotten."""
    model = made(config_of("mag", SIZE), 0)
    left, every = undecayed(model), {name for name, _ in model.named_parameters()}
    rests = {name for name in every if ".initial." in name}
    assert len(rests) == 2
    norms = {f"{name}.weight" for name, one in model.named_modules() if isinstance(one, torch.nn.RMSNorm)}
    assert len(norms) == 6
    assert left == rests | norms
    assert {"initial.0"} == undecayed(PassageMemory(PassageSettings(vector=64, codes=64)))


def test_memories_write_again_if_they_did_before():
    model = made(config_of("mag", SIZE), 0)
    memory = model.blocks[0].mixer.memory
    for wrote in (True, False):  # one that was asleep in training stays so
        model.set_updates(wrote)
        with without_updates(model) as has_any:
            assert has_any
            assert not memory.updates
        assert memory.updates is wrote
    with without_updates(made(config_of("gru", SIZE), 0)) as has_any:
        assert not has_any


@pytest.mark.parametrize("name", MODELS)
def test_every_model_is_made_and_reads_a_stream_as_a_whole(name):
    model, text = made(config_of(name, SIZE), 0).eval(), encoded(TEXT)[0, :100]
    with torch.no_grad():
        logprobs = model(text[None]).logits[0, :-1].log_softmax(-1)
    whole = -logprobs.gather(-1, text[1:, None]).mean()
    assert stream_nats(model, text, 17) == pytest.approx(float(whole), abs=1e-4)
    assert window_nats(model, text[None]) == pytest.approx(float(whole), abs=1e-4)


def test_it_is_trained_kept_and_found_again(tmp_path):
    folder, report = train_language([TEXT], SMALL, run=RunSettings(home=tmp_path, name="mine"))
    assert folder == tmp_path / "models" / "mine"
    assert report.kept
    for before, after in report.measured.values():
        assert after["bits per character"] < before["bits per character"]
    assert {place.partition(",")[2] for place in report.measured} == {"", " updates off"}
    model = language_model(folder)
    assert decoded(model.generate(encoded("The "), max_new_tokens=3)[0]).startswith("The ")
    held = encoded(TEXT)[0, -round(0.05 * len(TEXT.encode())) :]
    windows = held[: len(held) // 48 * 48].view(-1, 48)
    windows = windows[torch.linspace(0, len(windows) - 1, 4).round().long()]
    told = bytes(held.tolist())
    characters = len(told) - sum(0x80 <= byte < 0xC0 for byte in told)
    bits = window_nats(model, windows) * len(told) / characters / math.log(2)
    assert report.measured["48 bytes at once"][1]["bits per character"] == pytest.approx(bits, rel=1e-5)
    again, same = train_language([TEXT], SMALL, run=RunSettings(home=tmp_path, name="mine"))
    assert (again, same.measured) == (folder, report.measured)
    with pytest.raises(InputError, match="there already"):
        train_language([TEXT + " More."], SMALL, run=RunSettings(home=tmp_path, name="mine"))


def test_what_is_held_out_is_measured_all_over_by_its_own_characters():
    text = "a" * 2000 + "文" * 100
    _, held = _parts(text.encode(), replace(SMALL, held_out=0.125))  # 288 bytes: 6 windows of 48
    assert held.bits == pytest.approx(3 / math.log(2))
    tokens = torch.arange(6 * 48)
    dev = replace(held, tokens=tokens).dev()
    assert [int(one[0]) // 48 for one in dev] == [0, 2, 3, 5]


def test_a_stream_is_measured_by_the_characters_that_it_reads():
    text = ("a" * 800 + "文" * 300).encode()
    _, held = _parts(text, replace(SMALL, held_out=0.99, length=16))
    held = replace(held, tokens=encoded(text.decode())[0])  # its first 16 windows are letters of one byte
    model = made(config_of("aaren", SIZE), 0).eval()
    told = held.measured(model)["256 bytes as a stream"]["bits per character"]
    assert told == pytest.approx(stream_nats(model, held.tokens[:256], 16) / math.log(2), rel=1e-5)


def test_a_routing_model_of_one_head_routes_it():
    assert config_of("routing", replace(SIZE, heads=1)).layer_settings(0).routing_heads == 1


@pytest.mark.slow
def test_a_run_that_was_stopped_ends_as_one_that_was_not(tmp_path, monkeypatch):
    from foveal.training import watch

    settings = replace(SMALL, model="routing")
    text = TEXT[:1000]  # an epoch is 4 steps: the run is stopped in the second
    folder, _ = train_language([text], settings, run=RunSettings(home=tmp_path / "whole", name="mine"))
    step = watch.Watch.on_step_end

    def stopped(self, args, state, control, **more):
        self.interrupted = self.interrupted or state.global_step == 5
        return step(self, args, state, control, **more)

    monkeypatch.setattr(watch.Watch, "on_step_end", stopped)
    with pytest.raises(KeyboardInterrupt):
        train_language([text], settings, run=RunSettings(home=tmp_path / "cut", name="mine"))
    monkeypatch.setattr(watch.Watch, "on_step_end", step)
    other, report = train_language([text], settings, run=RunSettings(home=tmp_path / "cut", name="mine"))
    assert report.curves.resumed_at == 5
    theirs = language_model(other).state_dict()
    for name, weight in language_model(folder).state_dict().items():
        assert torch.equal(weight, theirs[name]), name


def test_wrong_input_is_named(tmp_path):
    for call, words in (
        (lambda: train_language(["A few words."], SMALL, run=RunSettings(home=tmp_path)), "Give more text"),
        (lambda: train_language(["", " "], SMALL, run=RunSettings(home=tmp_path)), "0 bytes"),
        (  # a share that is held out of much text is more than a window
            lambda: train_language(
                ["x" * 600], replace(SMALL, length=64, held_out=0.9), run=RunSettings(home=tmp_path)
            ),
            "600 bytes; 64 to learn from and 540 to measure need 604",
        ),
        (lambda: LanguageTraining(model="lstm"), "lmm, mac, mag, mal, routing"),
        (lambda: LanguageTraining(length=1), "length = 1"),
        (lambda: LanguageSize(window=0), "window = 0"),
        (lambda: LanguageTraining(size=LanguageSize(width=10, heads=4)), "multiple of heads"),
    ):
        with pytest.raises(InputError, match=words):
            call()
    with pytest.raises(ModelUnavailable, match="foveal train language-model"):
        language_model(tmp_path)


@pytest.mark.slow
def test_the_command(tmp_path):
    (tmp_path / "book.txt").write_text(TEXT)
    command = ["train", "language-model", "--data", str(tmp_path / "book.txt"), "--model", "lmm", "--name", "mine"]
    size = ["--layers", "1", "--width", "16", "--heads", "2", "--length", "32", "--steps", "3", "--batch", "2"]
    env = {"FOVEAL_HOME": str(tmp_path / "home"), "COLUMNS": "120"}
    done = CliRunner().invoke(app, [*command, *size, "--json"], env=env)
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["model"] == str(tmp_path / "home" / "models" / "mine")
    assert told["curves"]["steps"] == 3
    shown = CliRunner().invoke(app, [*command, *size], env=env)
    assert "bits per character" in shown.stdout
    assert "numbers learnt from 192 bytes" in shown.stdout


def test_what_could_not_be_read_is_told(tmp_path):
    """One damaged file ended a training on a folder; what was no text was left out without a word."""
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "book.txt").write_text("A few words.")
    for number in range(6):
        (tmp_path / "texts" / f"{number}.pdf").write_bytes(b"%PDF-1.7 and nothing else")
    command = ["train", "language-model", "--data", str(tmp_path / "texts"), "--home", str(tmp_path / "home")]
    done = CliRunner().invoke(app, command)
    assert "Give more text" in str(done.exception)
    assert done.stderr.count("Not learnt from: ") == 5
    assert "0.pdf" in done.stderr
    assert "1 more could not be read" in done.stderr


def test_a_memory_in_training_shortens_its_errors_unless_it_is_told_not_to():
    assert config_of("mag", SIZE).mixer["memory"]["max_surprise"] == 2.0
    plain = replace(SIZE, mixer={"memory": {"max_surprise": None}})
    assert config_of("mag", plain).mixer["memory"]["max_surprise"] is None
