"""prefill on the command line, with a tiny model: what is printed, drawn and refused."""

from __future__ import annotations

import json

import pytest
from cli.test_reading import call
from tiny import tiny

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prefill")
    tiny("qwen", folder / "model")
    (folder / "rain.txt").write_text("".join(f"It rained on day {number} by the mill.\n" for number in range(200)))
    (folder / "short.txt").write_text("It rained.\n")
    return folder


def prefill(place, *more: str, source: str = "rain.txt", **options):
    return call(place, "prefill", str(place / source), "--model", str(place / "model"), *more, **options)


def test_it_tells_what_was_looked_at_and_what_that_changed(place):
    done = prefill(place, "--attention", "block-topk", "--set", "density=0.5", "--tokens", "1000", "--compare")
    assert "1,000 tokens in" in done.stdout
    assert "of the attention in them" in done.stdout
    assert "next token" in done.stdout
    assert "looks, density" in done.stdout


def test_its_json_has_every_head_and_its_picture_is_drawn(place):
    picture = place / "blocks.png"
    asked = ("--attention", "streaming", "--set", "recent=256", "--tokens", "1000", "--question", "When did it rain?")
    told = json.loads(prefill(place, *asked, "--picture", str(picture), "--compare", "--json").stdout)
    assert told["tokens"] > 1000
    assert told["layers_looked_at"] == len(told["layers"]) == 3
    assert all(len(layer["density"]) == len(layer["recall"]) == 4 for layer in told["layers"])
    assert 0 < told["density"] < 1
    assert told["divergence_nats"] >= 0
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_all_of_the_blocks_change_nothing(place):
    told = json.loads(prefill(place, "--attention", "dense", "--compare", "--json").stdout)
    assert (told["density"], told["same_next_token"]) == (1, True)
    assert told["recall"] == pytest.approx(1, abs=1e-3)
    assert told["divergence_nats"] == pytest.approx(0, abs=1e-3)


def test_no_more_is_read_than_the_model_was_made_for(place):
    """A model whose positions are learnt has none beyond."""
    tiny("qwen", place / "narrow", positions=700)
    more = ("--attention", "streaming", "--set", "recent=128", "--question", "When?", "--json", "--model")
    done = prefill(place, *more, str(place / "narrow"))
    assert json.loads(done.stdout)["tokens"] == 700
    assert "was made for 700 tokens" in done.stderr


def test_a_short_text_stays_dense_and_says_so(place):
    done = prefill(place, source="short.txt")
    assert "every layer stayed dense: texts too short for the method, which begins at " in done.stdout
    assert "are all of it" in done.stderr


@pytest.mark.parametrize(
    ("more", "status", "told"),
    [
        (("--attention", "telepathy"), 1, "telepathy"),
        (("--set", "gamma"), 2, "NAME=VALUE"),
        (("--set", "depth=3"), 1, "no option depth"),
        (("--set", "gamma=7"), 1, "gamma 7"),
        (("--set", "gamma=much"), 1, "gamma"),
        (("--layer", "70", "--picture", "p.png"), 1, "Layers [70] were chosen; the model has 0 to 2"),
        (("--layer", "1"), 2, "give --picture, too"),
        (("--picture", "p.jpg"), 2, "must end in .png"),
        (("--picture", f"{__file__}/p.png"), 2, "Nothing can be written in"),
        (("--tokens", "9999999999"), 0, ""),
    ],
)
def test_what_it_refuses(place, more, status, told):
    done = prefill(place, *more, status=status)
    assert told in (done.said + done.stderr)


def test_a_layer_that_slides_is_no_part_of_a_picture(place):
    tiny("gemma", place / "slides")
    asked = ("--picture", str(place / "slides.png"), "--layer", "1", "--layer", "2", "--model", str(place / "slides"))
    assert "Nothing is ever chosen in layer 2 of" in prefill(place, *asked, status=1).said


def test_a_picture_of_nothing_is_told_of(place):
    done = prefill(place, "--picture", str(place / "none.png"), source="short.txt")
    assert "Picture: none, as nothing was chosen" in done.stdout
    told = prefill(place, "--picture", str(place / "none.png"), "--json", source="short.txt").stdout
    assert json.loads(told)["picture"] is None
    assert not (place / "none.png").exists()
