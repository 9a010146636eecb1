"""prefill --keep and read --attention retrieval, with a tiny model: a text is read once, and asked after that."""

from __future__ import annotations

import json

import pytest
from cli.test_reading import call
from tiny import tiny

from foveal.attention import RetrievalAttention
from foveal.attention.memory_decoding import MemoryDecoder
from foveal.attention.memory_store import load
from foveal.cli.prefill import by_home
from foveal.models import language, load_language_model
from foveal.reading import DocumentText
from foveal.reading.answering_settings import AnswerSettings
from foveal.reading.kept import KeptText
from foveal.text.loading import read_document

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keep")
    tiny("qwen", folder / "model")
    (folder / "rain.txt").write_text("".join(f"It rained on day {number} by the mill.\n" for number in range(60)))
    return folder


def prefill(place, *more: str, **options):
    return call(place, "prefill", str(place / "rain.txt"), "--model", str(place / "model"), *more, **options)


def read(place, *more: str, **options):
    asked = ("read", str(place / "rain.txt"), "When did it rain?", "--model", str(place / "model"))
    return call(place, *asked, "--attention", "retrieval", *more, **options)


KEEP = ("--keep", "--set", "n_sink=16", "--set", "n_local=64", "--set", "top_k=20")


def test_a_text_is_kept_asked_and_forgotten(place):
    told = json.loads(prefill(place, *KEEP, "--json").stdout)
    assert told["tokens"] > 500
    assert told["bytes"] > 100_000
    again = prefill(place, *KEEP)
    assert "are kept" in again.stdout
    asked = f'foveal read {place / "rain.txt"} "…" --attention retrieval --model {place / "model"}'
    assert asked in again.stdout  # by the default model there would be nothing to ask
    found = json.loads(read(place, "--also", "Where is the mill?", "--json").stdout)
    assert found["document"]["title"] == "rain"
    assert len(found["also"]) == 1
    one = json.loads(read(place, "--json").stdout)  # both questions are paid for
    assert found["stats"]["forward_tokens"] > one["stats"]["forward_tokens"]
    text = (place / "rain.txt").read_text()
    assert found["passages"]
    for passage in found["passages"]:
        span = passage["span"]
        assert text[span["start"] : span["end"]] == passage["quote"]
    assert "tokens in 1 window;" in read(place).stderr
    assert "is gone" in prefill(place, "--forget").stdout
    said = read(place, status=1).said
    assert "No text is kept of" in said
    assert f"--keep --attention retrieval --model {place / 'model'}" in said


def test_to_forget_a_text_or_to_find_none_takes_no_model(place):
    """Its weights are those of gigabytes; what a text is kept under is known without."""
    prefill(place, *KEEP)
    language._loaded.cache_clear()
    assert "is gone" in prefill(place, "--forget").stdout
    assert "No text is kept of" in read(place, status=1).said
    assert language._loaded.cache_info().misses == 0


def test_in_another_home_the_next_command_names_it(place):
    home = place / "another home"
    named = f" --home '{home}'"
    assert read(place, "--home", str(home), status=1).said.rstrip().endswith(named)
    assert prefill(place, *KEEP, "--home", str(home)).stdout.rstrip().endswith(named)
    assert by_home(None) == ""  # in the usual home it is found without


@pytest.mark.parametrize("since", ["changed", "gone"])
def test_a_text_is_forgotten_that_was_kept_before_it_changed(place, since):
    path, home = place / f"{since}.txt", place / "home" / "memory"
    asked = ("prefill", str(path), "--model", str(place / "model"))
    for words in ("first", "second"):
        path.write_text(f"It rained on the {words} day by the mill.\n" * 40)
        call(place, *asked, *KEEP)
    assert len(list(home.iterdir())) == 2
    path.unlink() if since == "gone" else path.write_text("It did not rain.\n")
    assert "is gone" in call(place, *asked, "--forget").stdout
    assert not list(home.iterdir())
    told = f"No text is kept of {path} by retrieval" if since == "changed" else "no file"
    assert told in call(place, *asked, "--forget", status=1).said


def test_of_standard_input_only_the_text_that_comes_is_forgotten(place):
    asked, home = ("prefill", "-", "--model", str(place / "model")), place / "home" / "memory"
    texts = ["It rained by the mill. " * 40, "The river rose by the mill. " * 40]
    for text in texts:
        call(place, *asked, *KEEP, input=text)
    for left, text in ((1, texts[0]), (0, texts[1])):
        assert "is gone" in call(place, *asked, "--forget", input=text).stdout
        assert len(list(home.iterdir())) == left


def test_what_does_not_go_together_is_wrong_usage(place):
    assert "--keep" in prefill(place, "--attention", "retrieval", status=2).said
    assert "not with dhsa" in prefill(place, "--keep", "--attention", "dhsa", status=2).said
    assert "opposite" in prefill(place, "--keep", "--forget", status=2).said
    assert "without them" in prefill(place, "--keep", "--compare", status=2).said
    assert "no option gama" in prefill(place, "--keep", "--set", "gama=1", status=1).said
    for more in (("--set", "top_k=9"), ("--tokens", "300")):
        assert "--forget removes it" in prefill(place, "--forget", *more, status=2).said


@pytest.mark.parametrize("name", ["retrieval", "longheads"])
def test_options_behind_the_name_of_a_kept_text_are_refused_with_where_they_belong(place, name):
    belongs = f"--keep --attention {name} --set NAME=VALUE"
    assert belongs in read(place, "--attention", f"{name}:top_k=5", status=2).said
    assert belongs in call(place, "ask", "When?", "--attention", f"{name}:top_k=5", status=2).said


@pytest.mark.parametrize("attention", ["retrieval", "longheads"])
def test_options_that_a_kept_text_has_no_use_for_are_refused(place, attention):
    given = {
        "mode": "sequential", "effort": "quick", "follow": "2", "window": "100", "row-beta": "0.5", "budget": "64",
        "url": "http://127.0.0.1:9/v1", "answerer": "other", "resume": "state.json", "ray-address": "auto",
    }  # fmt: skip
    options = [f"--{name}={value}" for name, value in given.items()]
    said = read(place, *options, "--passages-only", "--ray", "--attention", attention, status=2).said
    every = ", ".join(f"--{name}" for name in [*list(given)[:-1], "passages-only", "ray", "ray-address"])
    assert f"{every}: not for --attention {attention}, which answers from all" in said
    assert "--budget: not for" in read(place, "--budget", "64", "--attention", attention, status=2).said


def test_a_text_longer_than_the_model_is_refused(place, tmp_path):
    model = tiny("qwen", tmp_path / "small", positions=800)
    text = DocumentText(read_document(place / "rain.txt"))
    with pytest.raises(ValueError, match="Keep the beginning by --tokens"):
        KeptText.keep(model, text, tmp_path / "text")
    kept = KeptText.keep(model, text, tmp_path / "text", tokens=200)
    assert kept.kept.note["text_tokens"] == 200
    reading = kept.read("When did it rain?")
    assert reading.stats.tokens == kept.kept.tokens
    assert reading.excerpts
    assert all(one.end <= 4000 for one in reading.excerpts)


def test_a_question_that_the_model_has_no_positions_for_is_refused(place, tmp_path):
    model = tiny("qwen", tmp_path / "small", positions=800)
    text = DocumentText(read_document(place / "rain.txt"))
    kept = KeptText.keep(model, text, tmp_path / "text", tokens=230)
    with pytest.raises(ValueError, match="question is empty"):
        kept.read(" ")
    with pytest.raises(ValueError, match="Ask in fewer words"):
        kept.read("When did it rain on the mill? " * 60)
    asked = "When did it rain? " * 30
    left = 800 - kept.kept.tokens - len(kept._prompt.tail(asked))
    reading = kept.read(asked, AnswerSettings(max_tokens=left + 500))
    assert reading.stats.forward_tokens <= 800 - kept.kept.tokens


def test_a_text_that_fits_into_the_window_has_passages_too(place, tmp_path):
    model = tiny("qwen", tmp_path / "model")
    path = tmp_path / "note.txt"
    path.write_text("The keeper has the key. The mill is by the river. It is in the answer.")
    kept = KeptText.keep(model, DocumentText(read_document(path)), tmp_path / "text")
    assert kept.kept.tokens < RetrievalAttention().static
    reading = kept.read("Who has the key?")
    assert [(one.start, one.text) for one in reading.excerpts] == [
        (0, "The keeper has the key. "),
        (24, "The mill is by the river. "),
        (50, "It is in the answer."),
    ]


def test_the_first_and_the_last_sentence_can_be_cited(place, tmp_path):
    """The window holds both; what is hidden between them is not all that is looked at."""
    model = tiny("qwen", tmp_path / "model")
    path = tmp_path / "note.txt"
    path.write_text("Orsin Vale keeps the mill. " + "It rained. " * 80 + "The river rose.")
    text = DocumentText(read_document(path))
    kept = KeptText.keep(model, text, tmp_path / "text", RetrievalAttention(n_sink=64, n_local=64, top_k=20))
    memory = load(kept.folder, model)
    decoder = MemoryDecoder(model.model, memory.method)
    state = decoder.reading(memory, [1, 2, 3])
    memory.watch({2: [0, 1, 2, 3]})
    decoder.step(state, [[4]])
    paid = memory.looked()[kept.kept.note["head"] : kept.kept.tokens]
    assert float(paid[0]) > 0
    assert float(paid[-1]) > 0


def test_a_text_that_has_changed_is_refused(place, tmp_path):
    model = tiny("qwen", tmp_path / "model")
    path = tmp_path / "note.txt"
    path.write_text("The key hangs behind the clock. " * 30)
    KeptText.keep(model, DocumentText(read_document(path)), tmp_path / "text")
    path.write_text("The key is lost. " * 30)
    with pytest.raises(ValueError, match="has changed"):
        KeptText(model, DocumentText(read_document(path)), tmp_path / "text")


@pytest.mark.model
@pytest.mark.slow
def test_a_real_model_cites_the_ends_of_a_short_text(tmp_path):
    path = tmp_path / "note.txt"
    rain = "It rained on most days of that spring, and the river was high. "
    path.write_text(f"The keeper of the mill is Orsin Vale. {3 * rain}The key to the granary hangs behind the clock.")
    kept = KeptText.keep(load_language_model(), DocumentText(read_document(path)), tmp_path / "text")
    for question, place in (("Who is the keeper of the mill?", 0), ("Where does the key to the granary hang?", -1)):
        reading = kept.read(question)
        sentence = ("The keeper of the mill is Orsin Vale.", "The key to the granary hangs behind the clock.")[place]
        assert [one.quote for one in reading.citations] == [sentence]
        assert not reading.unsupported
        assert max(reading.excerpts, key=lambda one: one.score).text.strip() == sentence
