"""The Titans reader: what it keeps, that it goes on, other documents, and how it is trained."""

from __future__ import annotations

import json
import zlib

import numpy as np
import pytest
import torch
from honest import document
from nn.streams import assert_same_state
from reading.speakers import Scripted
from safetensors import safe_open
from safetensors.torch import save_file
from typer.testing import CliRunner

from foveal.cli.main import app
from foveal.errors import Cancelled, InputError, ModelUnavailable
from foveal.models.chat import Cancel
from foveal.nn.passage_memory import PassageMemory, PassageSettings
from foveal.reading import TitansReader, TitansReadSettings, titans_memory
from foveal.reading.events import Done, ReadStarted, WindowRead
from foveal.reading.skim import content_words
from foveal.reading.sources import DocumentText
from foveal.reading.titans_training import ReaderTraining, load_memory, pairs_of, train_reader
from foveal.training.loop import LoopSettings
from foveal.training.runs import RunSettings

FACT = "The keeper of the mill is Orsin Vale. "
QUESTION = "Who is the keeper of the mill?"


class Words:
    """An encoder whose vectors are sums of drawn vectors of words."""

    name, dimension, max_tokens, fingerprint = "words", 256, 1000, "words 256"

    def encode(self, texts):
        made = np.zeros((len(texts), 256), dtype=np.float32)
        for row, text in enumerate(texts):
            for word in content_words(text):
                made[row] += np.random.default_rng(zlib.crc32(word.encode())).standard_normal(256)
        return made / np.maximum(np.linalg.norm(made, axis=1, keepdims=True), 1e-6)

    def token_offsets(self, text):
        ends = [end for end in range(1, len(text) + 1) if end == len(text) or text[end] == " "]
        return list(zip([0, *ends[:-1]], ends, strict=True))


def rain(first: int, days: int = 400) -> str:
    return "".join(f"On day {first + day} it rained upon house {7 * (first + day)}. " for day in range(days))


@pytest.fixture
def mill():
    return document("mill", rain(0) + FACT + rain(400))


@pytest.fixture
def bread():
    return document("bread", rain(5000, 200) + "The baker of Elm Lane sells bread with fennel. " + rain(6000, 300))


def reader(answer="The keeper of the mill is Orsin Vale.", **options):
    return TitansReader(Scripted(answer), encoder=Words(), **options)


def test_it_answers_from_the_window_that_it_recalls_and_cites_it(mill):
    found = reader().read(mill, QUESTION)
    assert found.found
    (citation,) = found.citations[:1]
    assert citation.span.document_id == mill.id
    assert mill.text[citation.span.start : citation.span.end] == citation.quote
    assert "Orsin Vale" in citation.quote
    for one in found.excerpts:
        assert mill.text[one.start : one.end] == one.text
    assert found.stats.windows == -(-len(mill.text.rstrip()) // titans_memory.WINDOW)
    assert 0 < found.confidence <= 1


def test_a_text_in_the_memory_is_not_read_again_and_another_goes_into_it(mill, bread, tmp_path):
    path, texts = tmp_path / "memory.safetensors", {one.id: DocumentText(one) for one in (mill, bread)}
    reads, sells = (reader(one, reopen=texts.__getitem__) for one in ("It is Orsin Vale.", "She sells fennel bread."))
    first = list(reads.stream(mill, QUESTION, path))
    size = path.stat().st_size
    again = list(reads.stream(mill, "Which house did it rain upon on day 17?", path))
    assert any(isinstance(event, WindowRead) for event in first)
    assert sum(isinstance(event, WindowRead) and event.tokens > 0 for event in again) == 0
    assert next(event for event in again if isinstance(event, ReadStarted)).resumed > 0
    found = sells.read(bread, "What does the baker of Elm Lane sell?", state=path)
    assert "fennel" in found.citations[0].quote
    assert abs(path.stat().st_size - size) < 1000
    earlier = reads.read(bread, QUESTION, state=path)
    assert earlier.citations[0].span.document_id == mill.id
    assert "Orsin Vale" in earlier.citations[0].quote
    for one in earlier.excerpts:
        assert bread.text[one.start : one.end] == one.text
    gone = reader().read(bread, QUESTION, state=path)  # the mill cannot be opened any more
    assert all(one.span.document_id == bread.id for one in gone.citations)


def test_a_reading_that_was_broken_off_ends_with_the_same_memory(mill, tmp_path):
    whole, cut, cancel = tmp_path / "whole.safetensors", tmp_path / "cut.safetensors", Cancel()
    reader().read(mill, QUESTION, state=whole)
    with pytest.raises(Cancelled):
        [cancel.set() for event in reader().stream(mill, QUESTION, cut, cancel=cancel) if isinstance(event, WindowRead)]
    memory = reader().memory
    half = titans_memory.load(cut, memory, Words())
    assert 0 < half.known[0].done < len(mill.text)
    assert not half.known[0].whole
    with pytest.raises(InputError, match="in the middle of"):
        reader().read(document("other", "Another text."), QUESTION, state=cut)
    reader().read(mill, QUESTION, state=cut)
    one, other = (titans_memory.load(path, memory, Words()) for path in (whole, cut))
    assert_same_state(one.state, other.state)
    assert one.known == other.known


def test_units_cover_the_text_and_lie_in_one_window():
    text = rain(0, 300)
    units = list(titans_memory.units_of(titans_memory.sentences_of([text], Words())))
    assert "".join(one.text for one in units) == text
    assert all(text[one.start : one.end] == one.text for one in units)
    assert max(one.end - one.start for one in units) <= titans_memory.UNIT


def test_wrong_input_is_named(mill, tmp_path):
    path = tmp_path / "memory.safetensors"
    reader().read(mill, QUESTION, state=path)
    other = PassageMemory(PassageSettings(vector=256, codes=64))
    for call, words in (
        (lambda: reader().read(mill, " "), "question is empty"),
        (lambda: reader().read(mill, [QUESTION]), "asked by read_many"),
        (lambda: reader(memory=other).read(mill, QUESTION, state=path), "another --memory"),
        (lambda: reader(memory=PassageMemory(PassageSettings(vector=32))), "train titans-reader"),
    ):
        with pytest.raises(InputError, match=words):
            call()
    path.write_bytes(b"no state at all")
    with pytest.raises(InputError, match="holds no state"):
        reader().read(mill, QUESTION, state=path)


def _saved_anew(path, *, drop=(), **changed):
    with safe_open(path, framework="pt") as opened:
        about = opened.metadata()
        tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    told = {name: value for name, value in (about | changed).items() if name in about and name not in drop}
    save_file(tensors | {name: value for name, value in changed.items() if name not in about}, path, told)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"moment": torch.full((1, 256, 256), torch.nan)}, "damaged: moment"),
        ({"moment": torch.zeros(1, 256, 256, dtype=torch.float64)}, "damaged: moment"),
        ({"moment": torch.zeros(1, 256, 255)}, "moment has rows of shape"),
        ({"numbers": "{"}, "damaged state"),
        ({"drop": ("numbers",)}, "damaged state"),
        ({"known": '[{"later": 1}]'}, "names no documents"),
        ({"drop": ("known",)}, "names no documents"),
    ],
)
def test_a_damaged_memory_is_refused(mill, tmp_path, changed, words):
    path = tmp_path / "memory.safetensors"
    reader().read(mill, QUESTION, state=path)
    _saved_anew(path, **changed)
    with pytest.raises(InputError, match=words):
        reader().read(mill, QUESTION, state=path)


def test_nothing_is_found_where_nothing_is_alike():
    found = reader(settings=TitansReadSettings(floor=0.6)).read(document("rain", rain(0, 50)), "Whose violin squeaks?")
    assert not found.found
    assert found.citations == ()


def test_a_memory_is_trained_kept_and_loaded(tmp_path):
    settings = ReaderTraining(
        codes=256, stretch=16, before=32, passages=200,
        loop=LoopSettings(batch=2, steps=4, learning_rate=1e-3, evaluate_every=2),
    )  # fmt: skip
    folder, report = train_reader([rain(0, 900)], Words(), settings, run=RunSettings(home=tmp_path, name="mine"))
    assert report.curves.steps == 4
    assert all(0 <= one["found"] <= 1 for pair in report.measured.values() for one in pair)
    place = folder if report.kept else tmp_path / "runs" / "train" / "mine" / "rejected"
    memory = load_memory(place, Words())
    assert memory.settings.codes == 256
    assert not torch.equal(memory.key.weight, torch.eye(256)) or not report.kept
    again, same = train_reader([rain(0, 900)], Words(), settings, run=RunSettings(home=tmp_path, name="mine"))
    assert (again, same.measured) == (folder, report.measured)
    with pytest.raises(InputError, match="Give more text"):
        train_reader(["A few words about the mill."], Words(), settings, run=RunSettings(home=tmp_path))
    with pytest.raises(ModelUnavailable, match="train titans-reader"):
        load_memory(tmp_path, Words())


@pytest.mark.model
@pytest.mark.slow
def test_the_commands_with_a_real_encoder(tmp_path):
    from tiny import tiny

    tiny("qwen", tmp_path / "model")
    (tmp_path / "mill.txt").write_text(rain(0, 60) + FACT + rain(60, 60))
    env = {"FOVEAL_HOME": str(tmp_path / "home"), "COLUMNS": "100", "NO_COLOR": "1"}

    def called(*arguments: str, status: int = 0):
        done = CliRunner().invoke(app, list(arguments), env=env)
        assert done.exit_code == status, done.output
        return done

    command = ["read", str(tmp_path / "mill.txt"), QUESTION, "--reader", "titans", "--model", str(tmp_path / "model")]
    told = json.loads(called(*command, "--json").stdout)
    assert any("Orsin Vale" in one["quote"] for one in told["passages"])
    (kept,) = (tmp_path / "home" / "memory").glob("titans-*.safetensors")
    shown = called(*command, "--passages-only")
    assert "Orsin Vale" in shown.stdout
    assert str(kept) in "".join(shown.stderr.split("\n"))
    assert "not for --reader titans" in " ".join(called(*command, "--effort", "quick", status=2).stderr.split())
    assert "There are" in str(CliRunner().invoke(app, [*command[:4], "mamba"], env=env).exception)


def test_done_is_the_last_event(mill):
    *_, last = reader().stream(mill, [QUESTION, "Where is the river?"])
    assert isinstance(last, Done)
    assert [one.question for one in last.readings] == [QUESTION, "Where is the river?"]


def test_half_a_character_does_not_stop_a_training():
    """A PDF's text may hold such; encoders pass over them."""
    settings = ReaderTraining(stretch=8, passages=32)
    text = rain(0, 30).replace("house", "house \ud800")
    assert pairs_of([text], Words(), settings)
