"""calibrate --examples, heads sinks, heads eval, answers by calibrated heads, with a tiny model."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import torch
from cli.test_reading import QUESTION, STORY, call
from tiny import HEADS, LAYERS, tiny
from typer.testing import CliRunner

from foveal.attention.act_files import Calibration, load_calibration
from foveal.attention.profiles import architecture_of
from foveal.attention.sink_report import Sink
from foveal.attention.sinks import SinkRule
from foveal.cli.calibrating import _print_sinks
from foveal.cli.main import app

LAX = ("--rule", "least", "--least", "0.02")


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("act")
    model = tiny("qwen", folder / "model")
    (folder / "mill.md").write_text(STORY)
    words = ["keeper", "key", "mill", "river", "question", "answer", "text", "read", "excerpts", "very"]
    rows = [
        {
            "prompt": f"{n} the {words[n % 10]} of the {words[(3 * n) % 10]} reads the text in the mill and it is the",
            "choices": ["keeper", "mill"],
            "gold": n % 2,
        }
        for n in range(18)
    ]
    (folder / "some.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (folder / "bare.jsonl").write_text("\n".join(json.dumps(row | {"gold": None}) for row in rows))
    open_ = {"prompt": "the keeper of the mill reads the", "answers": ["nothing"]}
    (folder / "words.jsonl").write_text("\n".join(json.dumps(open_ | {"prompt": f"{n} the mill"}) for n in range(3)))
    config = model.model.config
    Calibration(
        model="tiny",
        fingerprint=model.fingerprint,
        architecture=architecture_of(config),
        layers=LAYERS["qwen"],
        heads_a_layer=HEADS,
        template="0",
        heads=((1, 0), (1, 1), (2, 2)),
        beta=0.0,
        rule=SinkRule(rule="least", least=0.02, min_rows=2),
    ).save(folder / "act.json")
    return folder


def test_heads_are_searched_and_kept(place):
    done = call(place, "calibrate", str(place / "model"), "--examples", str(place / "some.jsonl"), *LAX)
    assert "heads gain alone on 12 examples" in done.stdout
    assert "layer.head" in done.stdout
    kept = list((place / "home" / "models" / "act").iterdir())
    assert [path.suffix for path in kept] == [".json"]  # the trials of a search that ended are gone
    assert load_calibration(kept[0]).rule == SinkRule(rule="least", least=0.02)
    out = place / "other.json"
    told = json.loads(
        call(
            place,
            "calibrate",
            str(place / "model"),
            *("--examples", str(place / "some.jsonl"), "--out", str(out), "--beta", "0.7", "--json"),
        ).stdout
    )
    assert (told["beta"], told["path"]) == (0.7, str(out))
    assert load_calibration(out).beta == 0.7


def test_the_trials_of_a_search_stay_where_its_calibration_could_not_be_kept(place, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Calibration, "save", full)
    asked = ("calibrate", str(place / "model"), "--examples", str(place / "some.jsonl"), "--beta", "0.3")
    done = CliRunner().invoke(app, asked, env={"FOVEAL_HOME": str(place / "full")})
    assert isinstance(done.exception, OSError)
    assert [path.suffix for path in (place / "full" / "models" / "act").iterdir()] == [".jsonl"]


def test_examples_without_labels_are_refused(place):
    failed = call(place, "calibrate", str(place / "model"), "--examples", str(place / "bare.jsonl"), status=1)
    assert "has no label" in failed.said
    failed = call(place, "calibrate", str(place / "model"), "--out", "x.json", status=2)
    assert "go with --examples" in failed.said
    failed = call(place, "calibrate", str(place / "model"), "--beta", "0.2", "--rule", "alpha", status=2)
    assert "--beta, --rule: these go with --examples" in failed.said
    failed = call(
        place, "calibrate", str(place / "model"), "--examples", str(place / "some.jsonl"), "--alpha", "0", status=1
    )
    assert "alpha is above 0" in failed.said


def test_sinks_are_shown_and_drawn(place):
    picture = place / "sinks.png"
    shown = call(
        place,
        "heads",
        "sinks",
        str(place / "mill.md"),
        "--model",
        str(place / "model"),
        *LAX,
        "--picture",
        str(picture),
    )
    assert "later sinks stand in" in shown.stdout
    assert "sinks a head" in shown.stdout
    assert picture.read_bytes().startswith(b"\x89PNG")
    told = json.loads(
        call(place, "heads", "sinks", str(place / "mill.md"), "--model", str(place / "model"), *LAX, "--json").stdout
    )
    assert (told["tokens"], len(told["counts"]), len(told["counts"][0])) == (256, 3, HEADS)
    assert told["strongest"][0]["score"] >= told["strongest"][-1]["score"] > 0.02
    (place / "short.txt").write_text("It rained.\n")
    failed = call(place, "heads", "sinks", str(place / "short.txt"), "--model", str(place / "model"), status=1)
    assert "give a longer one" in failed.said


@pytest.mark.slow
def test_a_calibration_is_evaluated_beside_controls(place):
    given = ("--model", str(place / "model"), "--calibration", f"act:{place / 'act.json'}", "--draws", "1")
    told = json.loads(call(place, "heads", "eval", str(place / "some.jsonl"), *given, "--json").stdout)
    names = [one["name"] for one in told]
    assert names[:3] == ["as it is", "calibrated", "3 heads, draw 1"]
    assert "all candidate heads" in names
    assert all("p" in one for one in told[1:])
    shown = call(place, "heads", "eval", str(place / "words.jsonl"), *given)
    assert "as it is" in shown.stdout
    assert "in other words" in shown.said
    failed = call(
        place,
        "heads",
        "eval",
        str(place / "some.jsonl"),
        "--model",
        str(place / "model"),
        "--calibration",
        "act:nowhere.json",
        status=1,
    )
    assert "no calibration file" in failed.said


@pytest.mark.slow
def test_read_answers_by_calibrated_heads(place):
    given = (str(place / "mill.md"), QUESTION, "--model", str(place / "model"), "--window", "80", "--json")
    plain = json.loads(call(place, "read", *given).stdout)
    ours = json.loads(call(place, "read", *given, "--attention", f"act:{place / 'act.json'}").stdout)
    assert [one["quote"] for one in ours["passages"]] == [one["quote"] for one in plain["passages"]]  # chosen as ever
    rows = json.loads(call(place, "read", *given, "--row-beta", "0.2").stdout)
    assert rows["passages"]
    failed = call(
        place, "read", *given, "--attention", "act", "--url", "http://127.0.0.1:9", "--answerer", "x", status=2
    )
    assert "does not go with --url" in failed.said
    failed = call(place, "read", *given, "--attention", "act:nowhere.json", status=1)
    assert "no calibration file" in failed.said


def test_a_token_that_looks_like_markup_is_shown_as_it_is(capsys):
    """As Mistral's [/INST] does."""
    told = {"counts": torch.ones(2, HEADS), "first": torch.ones(2, HEADS), "share": 1.0}
    sink = Sink(0, 1, 1, "[/INST]", 0.5)
    report = SimpleNamespace(
        tokens=("a", "[/INST]"), strongest=lambda _: [sink], kinds=lambda _: [("[/INST]", 1)], **told
    )
    _print_sinks(report)
    assert "'[/INST]'" in capsys.readouterr().out


def test_bars_stay_short_where_sinks_are_many(capsys):
    counts = torch.tensor([[70.0] * HEADS, [35.0] * HEADS])
    report = SimpleNamespace(
        tokens=("a", "b"), strongest=lambda _: [], counts=counts, first=torch.ones(2, HEADS), share=1.0
    )
    _print_sinks(report)
    bars = [line.count("█") for line in capsys.readouterr().out.splitlines() if "█" in line]
    assert bars == [32, 16]
